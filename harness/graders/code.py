"""Grades replies that are a program, complete one or contain one, by running a problem's tests.

strict reads the reply exactly as it is; lenient also finds the code in a chatty or badly indented reply.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.graders.problems import DEFAULT_TIMEOUT_S, BadProblem, Problem, read_problem
from harness.graders.reasoning import after_thoughts
from harness.protocols import CodeResult, CodeRunner
from harness.types import Sample, Score, canonical_json

CODE_VERSION = "code-3"  # raised whenever a verdict can change

_FENCE = re.compile(r"^[ \t]*```[ \t]*(?:python|py|python3)?[ \t]*\r?\n(.*?)(?:^[ \t]*```|\Z)", re.M | re.S | re.I)
_CODE_START = re.compile(r"^(?:async def|def|import|from|class|@)(?=[\s\w])", re.M)
# An unindented line that may belong to the code after its first line; prose, print(...), asserts and a main block do
# not belong to it.
_CODE_LINE = re.compile(
    r"(?:async\s+def|def|class|import)\s+\w|from\s+[\w.]+\s+import\b|@\w|#|[)\]}]|[A-Za-z_]\w*\s*(?::[^=]+)?=[^=]|\s|$"
)


@dataclass(frozen=True)
class CodeVerdict:
    """A program that was extracted from a reply, and its verdict."""

    program: str
    result: CodeResult


def score_code(sample: Sample, text: str, runner: CodeRunner) -> dict[str, Score]:
    """Scores "strict" and "lenient" of one reply: 1.0 passed, 0.0 failed, None if the sandbox failed.

    sample.metadata is a row that `problems.read_problem` can read. Score.answer is the program that was run.
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
    """The verdicts on a reply, (strict, lenient). A reply that passes strict is not run again for lenient."""

    def run(program: str) -> CodeVerdict:
        return CodeVerdict(program, run_program(problem, program, runner, timeout_s))

    text = after_thoughts(text)
    program = _program(problem, text)
    strict = lenient = run(program)
    tried = {program.rstrip()}
    for program in _lenient_programs(problem, text):
        if lenient.result.passed is not False:
            break
        if program.rstrip() not in tried:
            tried.add(program.rstrip())
            lenient = run(program)
    return strict, lenient if lenient.result.passed is not False else _best_failure(strict, lenient)


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


def _best_failure(strict: CodeVerdict, lenient: CodeVerdict) -> CodeVerdict:
    """The more informative of two failures: a program that ran and was wrong, rather than one that did not parse."""
    said = lenient.result.why
    return strict if said.startswith(("SyntaxError", "IndentationError", "NameError")) else lenient


def _program(problem: Problem, text: str) -> str:
    """The reply as a program: after the prompt's imports and helpers if it is a whole program, else after the prompt.

    By pattern, not by parsing, since an untrusted text can crash or stall the parser.
    """
    if not problem.head:
        return text
    if _is_whole(text, problem.entry_point):
        return _preamble(problem.head, problem.entry_point) + "\n" + text
    return problem.prompt + text


def _is_whole(text: str, entry_point: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return not first[:1].isspace() and _defines(text, entry_point)


def _defines(text: str, entry_point: str) -> bool:
    name = re.escape(entry_point.partition(".")[0])
    return re.search(rf"^(?:async\s+def|def|class)\s+{name}\b", text, re.M) is not None


def _preamble(prompt: str, entry_point: str) -> str:
    """The part of the (trusted) prompt before the function to complete: imports and helpers."""
    for node in ast.parse(prompt).body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name == entry_point.partition(".")[0]:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "".join(prompt.splitlines(keepends=True)[: first - 1])
    return ""


def _lenient_programs(problem: Problem, text: str) -> Iterator[str]:
    """Programs that the reply may have meant, the most literal first."""
    prompt, entry_point = problem.prompt, problem.entry_point
    for source in _sources(text, entry_point):
        if not problem.head:
            yield source
            start = _CODE_START.search(source)
            if entry_point and start:
                yield source[start.start() :]
                yield _until_prose(source[start.start() :])
            continue
        if _defines(source, entry_point):
            start = _CODE_START.search(source)
            code = source[start.start() :] if start else source
            yield _program(problem, code)
            yield _program(problem, _until_prose(code))
            continue
        code = _until_prose(source)
        yield prompt + code
        if "\t" in code:  # indented by tabs, while the prompt has blanks
            yield prompt + code.expandtabs(4)
        stripped = source.strip("\r\n")
        if not stripped[:1].isspace():
            yield prompt + "    " + code.strip("\r\n") + "\n"  # the first line lost its indent
            yield prompt + "".join(f"    {line}\n" for line in stripped.splitlines())  # all lines did


def _sources(text: str, entry_point: str) -> list[str]:
    """The last fenced block that defines the entry point, else the first fenced block, else the whole reply."""
    blocks = [m.group(1) for m in _FENCE.finditer(text)]
    defining = [b for b in blocks if entry_point and _defines(b, entry_point)]
    if blocks:
        return [defining[-1] if defining else blocks[0]]
    return [text]


def _until_prose(code: str) -> str:
    """The code up to the first later unindented line that is not a definition, import, comment or assignment."""
    lines = code.splitlines(keepends=True)
    started = False
    for i, line in enumerate(lines):
        if started and not _CODE_LINE.match(line):
            return "".join(lines[:i])
        started = started or bool(line.strip())
    return code
