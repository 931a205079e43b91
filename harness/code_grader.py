"""Grades replies that should complete or contain a Python function, by running them against the task's tests.

strict reads the reply exactly as it stands; lenient also looks for the code in a chatty or badly indented reply.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.protocols import CodeJob, CodeRunner
from harness.types import Sample, Score

VERSION = "code-1"  # raised whenever a verdict can change

_FENCE = re.compile(r"^[ \t]*```[ \t]*(?:python|py|python3)?[ \t]*\r?\n(.*?)(?:^[ \t]*```|\Z)", re.M | re.S | re.I)
_CODE_START = re.compile(r"^(?:async def|def|import|from|class|@)(?=[\s\w])", re.M)
# A line at the margin that may belong to the code after its first line; prose, print(...), asserts and a main block
# may not.
_CODE_LINE = re.compile(
    r"(?:async\s+def|def|class|import)\s+\w|from\s+[\w.]+\s+import\b|@\w|#|[)\]}]|[A-Za-z_]\w*\s*(?::[^=]+)?=[^=]|\s|$"
)


def score_code(sample: Sample, text: str, runner: CodeRunner) -> dict[str, Score]:
    """Verdicts "strict" and "lenient" on one reply; 1.0 passed, 0.0 failed, None where the sandbox failed.

    sample.metadata has `prompt` (source that ends in the open function), `entry_point` and `test` (which defines
    `check(candidate)`). Score.answer is the program that was run. Lenient never runs what strict has passed.
    """
    prompt, entry_point = str(sample.metadata["prompt"]), str(sample.metadata["entry_point"])
    test = str(sample.metadata["test"])

    def judge(program: str) -> Score:
        result = runner.run(CodeJob(program, entry_point, test, prelude=prompt))
        return Score(None if result.passed is None else float(result.passed), program, result.why)

    program = _program(prompt, entry_point, text)
    strict = lenient = judge(program)
    tried = {program.rstrip()}
    for program in _lenient_programs(prompt, entry_point, text):
        if lenient.value != 0.0:
            break
        if program.rstrip() not in tried:
            tried.add(program.rstrip())
            lenient = judge(program)
    return {"strict": strict, "lenient": lenient if lenient.value != 0.0 else _best_failure(strict, lenient)}


def _best_failure(strict: Score, lenient: Score) -> Score:
    """Of two failures the one that says more: a program that ran and was wrong, rather than one that did not parse."""
    return strict if lenient.why.startswith(("SyntaxError", "IndentationError", "NameError")) else lenient


def _program(prompt: str, entry_point: str, text: str) -> str:
    """The reply as a program: alone behind the prompt's imports and helpers if it is whole, else behind the prompt.

    By pattern, not by parsing: an untrusted text can crash or stall the parser.
    """
    if _is_whole(text, entry_point):
        return _preamble(prompt, entry_point) + "\n" + text
    return prompt + text


def _is_whole(text: str, entry_point: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return not first[:1].isspace() and _defines(text, entry_point)


def _defines(text: str, entry_point: str) -> bool:
    return re.search(rf"^(?:async\s+)?def\s+{re.escape(entry_point)}\b", text, re.M) is not None


def _preamble(prompt: str, entry_point: str) -> str:
    """What stands in the (trusted) prompt before the function that is asked for: imports and helpers."""
    for node in ast.parse(prompt).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == entry_point:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "".join(prompt.splitlines(keepends=True)[: first - 1])
    return ""


def _lenient_programs(prompt: str, entry_point: str, text: str) -> Iterator[str]:
    """Programs the reply may have meant, most literal first."""
    for source in _sources(text, entry_point):
        if _defines(source, entry_point):
            start = _CODE_START.search(source)
            code = source[start.start() :] if start else source
            yield _program(prompt, entry_point, code)
            yield _program(prompt, entry_point, _until_prose(code))
            continue
        code = _until_prose(source)
        yield prompt + code
        stripped = source.strip("\r\n")
        if not stripped[:1].isspace():
            yield prompt + "    " + code.strip("\r\n") + "\n"  # the first line lost its indent
            yield prompt + "".join(f"    {line}\n" for line in stripped.splitlines())  # all lines did


def _sources(text: str, entry_point: str) -> list[str]:
    """The last fenced block that defines the entry point, or else the first fenced block; the whole reply without."""
    blocks = [m.group(1) for m in _FENCE.finditer(text)]
    defining = [b for b in blocks if _defines(b, entry_point)]
    if blocks:
        return [defining[-1] if defining else blocks[0]]
    return [text]


def _until_prose(code: str) -> str:
    """The code up to the first later line at the margin that is no definition, import, comment or assignment."""
    lines = code.splitlines(keepends=True)
    started = False
    for i, line in enumerate(lines):
        if started and not _CODE_LINE.match(line):
            return "".join(lines[:i])
        started = started or bool(line.strip())
    return code
