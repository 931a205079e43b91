r"""Finds the program in a reply to a programming problem. By pattern, not by parsing: untrusted text can crash or stall
Python's parser, so only the sandbox parses it. Patterns run in linear time.

`in_form` reads the form that tasks ask for: one fenced Python block that defines the function, with or without text
around it. A reply that is a bare program as a whole is in that form too: the whole function, or for HumanEval the body
that continues the prompt, as base models write it.

`anywhere` reads one program from any reply, by one rule:

1. Of fenced blocks of Python the last that defines the function, behind the imports and definitions of the blocks
   before it; without such a block the first one. Without blocks the reply from its first line of code on.
2. Of that source the imports, functions and classes, and other statements only in front of the function: calls,
   prints and tests behind it are left out, and so is prose.
3. A body without its function continues the prompt; its indent is mended if the first line or all lines lost it.

A problem about standard input has no function: there the last block that reads input counts, and all of it is run.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from harness.graders.fences import CODE_START, blocks, first_line
from harness.graders.problems import Problem
from harness.graders.reasoning import after_thoughts

_END_TOKEN = re.compile(r"<\|[a-zA-Z_▁｜]{1,40}\|>.*|(?:</s>|<end_of_turn>|\[/INST\]|<\|)\s*\Z", re.DOTALL)
_DEFINITION = re.compile(r"(?:async\s+def|def|class|import)\s+\w|from\s+[\w.]+\s+import\b|@\w")
_STATEMENT = re.compile(  # what may stand in front of the function, beside definitions
    r"[A-Za-z_]\w*\s*(?::[^=\n]+)?=[^=]|(?:if|for|while|try|with|match)\b[^\n]*:|[\w.]+\(|(?:\"\"\"|''')"
)
_CONTINUATION = re.compile(r"(?:else|elif|except|finally)\b")
_READS_INPUT = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*0\b|/dev/stdin")
_LEX = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*|[([{]|[)\]}]|\\\n|\n', re.DOTALL)
_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]+[\w, \t]+$\n?", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A program that was found. fenced: it is a fenced block; else it is one only if it parses."""

    source: str
    fenced: bool


def in_form(problem: Problem, text: str) -> Program | str:
    """The program of a reply in the form asked for, or the reason why there is none."""
    text = _without_end_tokens(text)
    found = blocks(text)
    if found:
        python = [block for block in found if block.is_python]
        if len(python) != 1:
            return f"the reply has {len(python)} fenced blocks of Python, expected one"
        if not python[0].whole:
            return "the fenced block is not whole"
        if problem.entry_point and not _defines(python[0].code, problem.entry_point):
            return f"the fenced block does not define {problem.entry_point!r}"
        return Program(_whole(problem, python[0].code), fenced=True)
    if not text.strip():
        return "the reply is empty"
    if not problem.entry_point or _defines(text, problem.entry_point):
        return Program(_whole(problem, text), fenced=False)
    if problem.head and first_line(text)[:1].isspace():
        return Program(problem.prompt + text, fenced=False)
    return f"the reply has no fenced block, and is no program that defines {problem.entry_point!r}"


def anywhere(problem: Problem, text: str) -> Program | str:
    """The program of a reply in whatever form, by the rule above, or the reason why there is none."""
    text = _without_end_tokens(text)
    source, fenced = _source(problem, text)
    if not source.strip():
        return "the reply is empty"
    if not problem.entry_point:
        return Program(source, fenced)
    if _defines(source, problem.entry_point):
        return Program(_whole(problem, _definitions(source, problem.entry_point)), fenced=False)
    if problem.head and _may_be_body(source):
        return Program(problem.prompt + _body(source), fenced=False)
    return f"nothing in the reply defines {problem.entry_point!r}"


def _without_end_tokens(text: str) -> str:
    """The reply behind its thoughts, up to the first special token of a chat template."""
    return _END_TOKEN.sub("", after_thoughts(text)).replace("\r\n", "\n")


def _source(problem: Problem, text: str) -> tuple[str, bool]:
    """The part of a reply that holds the program, and whether it is a fenced block."""
    python = [block.code for block in blocks(text) if block.is_python and block.code.strip()]
    name = problem.entry_point
    if python:
        serving = [i for i, code in enumerate(python) if (_defines(code, name) if name else _READS_INPUT.search(code))]
        if not serving:
            return python[0 if name else -1], True
        before = [_definitions(code, "") for code in python[: serving[-1]]] if name else []
        return "\n".join([*filter(str.strip, before), python[serving[-1]]]), True
    start = CODE_START.search(text)
    return (text[start.start() :] if start and _defines(text, name) else text), False


def _defines(code: str, entry_point: str) -> bool:
    name = re.escape(entry_point.partition(".")[0])
    return re.search(rf"^(?:(?:async\s+def|def|class)\s+{name}\b|{name}\s*=[^=])", code, re.MULTILINE) is not None


def _whole(problem: Problem, code: str) -> str:
    """A whole program behind the imports and helpers of its prompt, if the prompt has any."""
    before = _preamble(problem.head, problem.entry_point) if problem.head else ""
    if not before.strip():
        return code
    future = "".join(match[0].rstrip("\n") + "\n" for match in _FUTURE.finditer(code))  # must come first
    return f"{future}{before}\n{_FUTURE.sub('', code) if future else code}"


def _preamble(prompt: str, entry_point: str) -> str:
    """The part of the (trusted) prompt before the function to complete: imports and helpers."""
    for node in ast.parse(prompt).body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name == entry_point.partition(".")[0]:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "".join(prompt.splitlines(keepends=True)[: first - 1])
    return ""


def _definitions(source: str, entry_point: str) -> str:
    """Imports, functions and classes, and in front of the last definition of the entry point other statements too."""
    parts = _top_level(source)
    last = max((i for i, part in enumerate(parts) if entry_point and _defines(part, entry_point)), default=-1)
    kept = [
        part
        for i, part in enumerate(parts)
        if _DEFINITION.match(part) or i == last or (i < last and _STATEMENT.match(part))
    ]
    return source if all(part in kept or part.lstrip().startswith("#") for part in parts) else "".join(kept)


def _may_be_body(source: str) -> bool:
    """Whether a source without the function may be its body, and not other functions only."""
    return not re.match(r"\s*^(?:async\s+def|def|class)\b", source, re.M) or bool(re.search(r"^return\b", source, re.M))


def _body(source: str) -> str:
    """The body of a function, indented, and the definitions behind it."""
    lines = [_with_blanks(line) for line in source.strip("\r\n").splitlines()]
    first = next((line for line in lines if line.strip()), "")
    if not first[:1].isspace():
        rest = [len(line) - len(line.lstrip()) for line in lines[lines.index(first) + 1 :] if line.strip()]
        only_first = rest and min(rest) >= 4 and (rest[0] > 4 or not first.rstrip().endswith(":"))
        lines = [f"    {line}" if not only_first or line is first else line for line in lines]
    inside, *behind = _top_level("\n".join(lines) + "\n")
    return inside + "".join(part for part in behind if _DEFINITION.match(part))


def _with_blanks(line: str) -> str:
    """A line whose indent is of blanks, as that of the prompts is."""
    code = line.lstrip(" \t")
    return line[: len(line) - len(code)].expandtabs(4) + code


def _top_level(source: str) -> list[str]:
    """The source in parts that each begin with a line without indent: a statement, with what belongs to it.

    What stands indented in front of the first such line is the first part.
    """
    starts = [0]
    decorated = False
    for at in _line_starts(source):
        if at and not (decorated or _CONTINUATION.match(source, at)):
            starts.append(at)
        decorated = source.startswith("@", at)
    return [source[a:b] for a, b in zip(starts, [*starts[1:], len(source)], strict=True)]


def _line_starts(source: str) -> list[int]:
    """Where lines without indent begin that are in no string and no bracket."""
    found = [0] if source[:1].strip() else []
    depth = position = 0
    while token := _LEX.search(source, position):
        position = token.end()
        text = token[0]
        if text in ('"""', "'''"):
            end = source.find(text, position)
            position = len(source) if end < 0 else end + 3
        elif text in "([{":
            depth += 1
        elif text in ")]}":
            depth = max(depth - 1, 0)
        elif text == "\n" and source[position : position + 1].strip():
            if CODE_START.match(source, position):
                depth = 0  # a bracket that prose left open ends here
            if depth == 0:
                found.append(position)
    return found
