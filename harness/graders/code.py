"""Grades replies that are a program, complete one or contain one, by running a problem's tests.

strict runs the program of a reply in the form asked for, unchanged; lenient the one program that a reply in any form
has by the rule of `code_extract`. Neither tries several.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace

from harness.graders import code_extract
from harness.graders.code_extract import Program
from harness.graders.problems import DEFAULT_TIMEOUT_S, BadProblem, Problem, read_problem
from harness.protocols import CodeResult, CodeRunner
from harness.types import Sample, Score, canonical_json

CODE_VERSION = "code-5"  # raised whenever a verdict can change
_DOES_NOT_PARSE = ("SyntaxError:", "IndentationError:", "TabError:")


@dataclass(frozen=True)
class CodeVerdict:
    """The program that was found in a reply, and its verdict. program None: none was found, and none was run."""

    program: str | None
    result: CodeResult


def score_code(sample: Sample, text: str, runner: CodeRunner) -> dict[str, Score]:
    """Scores "strict" and "lenient" of one reply: 1.0 passed, 0.0 failed, None if the sandbox failed.

    sample.metadata is a row that `problems.read_problem` can read. Score.answer is the program that was run; None: the
    reply has none (scored 0.0).
    """
    row = {k: v for k, v in sample.metadata.items() if k != "level"}
    try:
        problem = _problem(canonical_json(row))
    except BadProblem as e:
        nothing = Score(None, None, str(e))
        return {"strict": nothing, "lenient": nothing}
    strict, lenient = run_both_readings(problem, text, runner)
    return {"strict": _score(strict), "lenient": _score(lenient)}


@functools.lru_cache(maxsize=4096)
def _problem(row: str) -> Problem:
    return read_problem(json.loads(row))


def _score(judged: CodeVerdict) -> Score:
    passed, why = judged.result.passed, judged.result.why
    if judged.result.verdict == "timeout":
        why = f"timeout: {why}"
    return Score(None if passed is None else float(passed), judged.program, why)


def run_both_readings(
    problem: Problem, text: str, runner: CodeRunner, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[CodeVerdict, CodeVerdict]:
    """The verdicts on a reply, (strict, lenient), which share one run if they read the same program.

    What passes in the form asked for passes in any form.
    """

    def run(found: Program | str) -> CodeVerdict:
        if isinstance(found, str):
            return CodeVerdict(None, CodeResult("error", found))
        result = run_program(problem, found.source, runner, timeout_s)
        if not found.fenced and result.verdict == "error" and result.why.startswith(_DOES_NOT_PARSE):
            return CodeVerdict(None, replace(result, why=f"no program: the reply does not parse, {result.why}"))
        return CodeVerdict(found.source, result)

    form = code_extract.in_form(problem, text)
    strict = run(form)
    if strict.result.passed:
        return strict, strict
    any_form = code_extract.anywhere(problem, text)
    if isinstance(any_form, str) or (isinstance(form, Program) and form.source.rstrip() == any_form.source.rstrip()):
        return strict, strict
    lenient = run(any_form)
    return strict, strict if lenient.program is None and strict.program is not None else lenient


def run_program(problem: Problem, program: str, runner: CodeRunner, timeout_s: float = DEFAULT_TIMEOUT_S) -> CodeResult:
    """The verdict on a whole program: that of its first run that fails, else that of all runs together."""
    result = _run(problem, program, runner, timeout_s, copy_back=False)
    if result.verdict in ("failed", "refused") and not result.why.startswith("sandbox:"):
        reference = _reference(problem, runner, timeout_s)
        if result.verdict == "refused" and reference == "passes":  # so the tests are sound, and the program is not
            return replace(result, verdict="error")
        if result.verdict == "failed" and reference == "passes in place":
            return _run(problem, program, runner, timeout_s, copy_back=True)
    return result


def _run(problem: Problem, program: str, runner: CodeRunner, timeout_s: float, copy_back: bool) -> CodeResult:
    cpu_s = wall_s = 0.0
    result = CodeResult("refused", "the problem has no tests")
    for i, job in enumerate(problem.jobs(program, timeout_s, copy_back)):
        result = runner.run(job)
        cpu_s, wall_s = cpu_s + result.cpu_s, wall_s + result.wall_s
        if not result.passed:
            test = f"input {i + 1} of {len(problem.stdio)}" if problem.stdio else result.test
            return CodeResult(result.verdict, result.why, cpu_s, wall_s, test)
    return CodeResult(result.verdict, result.why, cpu_s, wall_s)


def _reference(problem: Problem, runner: CodeRunner, timeout_s: float) -> str:
    """The result of the problem's own solution: "passes", "passes in place", "fails", or "" if there is none.

    "in place": the tests can only be passed by changing the arguments. Only then are a program's changes passed back to
    the tests; otherwise a program could change the values it is compared with.
    """
    key = (problem, timeout_s)
    if not problem.reference or problem.stdio:
        return ""
    if key not in _REFERENCES:
        passes = (_run(problem, problem.reference, runner, timeout_s, copy_back=c).passed for c in (False, True))
        if len(_REFERENCES) >= 10_000:
            _REFERENCES.clear()
        _REFERENCES[key] = "passes" if next(passes) else "passes in place" if next(passes) else "fails"
    return _REFERENCES[key]


_REFERENCES: dict[tuple[Problem, float], str] = {}
