r"""Finds the program in a reply to a programming problem. By pattern, not by parsing: untrusted text can crash or stall
Python's parser, so only the sandbox parses it. Patterns run in linear time.

`in_form` reads the form that tasks ask for: one fenced Python block that defines the function, with or without text
around it. A reply that is a bare program as a whole is in that form too: the whole function, or for HumanEval the body
that continues the prompt, as base models write it.

`anywhere` reads one program from any reply, by one rule:

1. Of the blocks of Python, however they are marked, the last that defines the function, behind the imports of the
   blocks before it and those of their definitions that it uses; without such a block the first one. Without blocks, or
   if the function is defined beside them, the reply as it is.
2. Of that source the imports, functions and classes, and other statements only in front of the function: calls,
   prints and tests behind it are left out, and so is prose.
3. A body without its function continues the prompt; its indent is mended if the first line or all lines lost it.

A problem about standard input has no function: there the last block that reads input counts, behind the definitions
that it uses, and all of it is run; without blocks all lines of the reply that are code. Only in problems of calls may
the function be a method of `class Solution` instead.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from harness.graders.code_lines import CODE_START, is_code
from harness.graders.fences import Block, blocks, first_line, loose_blocks
from harness.graders.problems import Problem, behind
from harness.graders.reasoning import after_thoughts

_SPECIAL = r"<[|｜][^<>|｜\n]{1,60}[|｜]>"  # a token of a chat template, as most models write them
_FIRST_TOKENS = re.compile(rf"\s*(?:(?:{_SPECIAL}|<s>|\[/INST\])\s*(?:assistant\b\s*)?)*")
_END = re.compile(rf"{_SPECIAL}|</s>[ \t]*(?=$|<)|<[|｜][^<>\n]{{0,60}}\Z", re.MULTILINE)
_LAST_TOKEN = re.compile(r"</?[a-zA-Z_]{1,30}>|\[/INST\]")  # no program ends in one
_DEFINITION = re.compile(r"(?:async\s+def|def|class|import)\s+\w|from\s+[\w.]+\s+import\b|@\w")
_CONTINUATION = re.compile(r"(?:else|elif|except|finally)\b")
_READS_INPUT = re.compile(
    r"\binput\s*\(|\bstdin\b|\b(?:open|read|FileIO|mmap)\s*\(\s*0\b|/dev/(?:stdin|fd/0)|\bfileinput\b"
)
# A string that does not end on its line, such as an apostrophe in prose, ends with it.
_LEX = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\\n])*+"?|\'(?:\\.|[^\'\\\n])*+\'?|#[^\n]*|[([{]|[)\]}]|\\\n|\n', re.DOTALL)
_BOUND = re.compile(r"(?:async\s+def|def|class)\s+(\w+)")


@dataclass(frozen=True)
class Program:
    """A program that was found. fenced: it is a fenced block; else it is one only if it parses."""

    source: str
    fenced: bool


def in_form(problem: Problem, text: str) -> Program | str:
    """The program of a reply in the form asked for, or the reason why there is none."""
    text = _without_tokens(text)
    found = blocks(text)
    if found:
        python = [block for block in found if block.is_python]
        if len(python) != 1:
            return f"the reply has {len(python)} fenced blocks of Python, expected one"
        if not python[0].whole:
            return "the fenced block is not whole"
        if problem.entry_point and not problem.defined_in(python[0].code):
            return f"the fenced block does not define {problem.entry_point!r}"
        return Program(behind(problem.before, python[0].code), fenced=True)
    if not text.strip():
        return "the reply is empty"
    if not problem.entry_point or problem.defined_in(text):
        return Program(behind(problem.before, text), fenced=False)
    if problem.head and first_line(text)[:1].isspace():
        return Program(problem.prompt + text, fenced=False)
    return f"the reply has no fenced block, and is no program that defines {problem.entry_point!r}"


def anywhere(problem: Problem, text: str) -> Program | str:
    """The program of a reply in whatever form, by the rule above, or the reason why there is none."""
    text = _without_tokens(text)
    if not text.strip():
        return "the reply is empty"
    if not problem.entry_point:
        return _program_of_input(text)
    before, source = _source_of_function(problem, text)
    if problem.defined_in(source):
        program = _definitions(problem, source)
        return Program(behind(problem.before, behind(before, program) if before else program), fenced=False)
    if problem.head and _may_be_body(source):
        return Program(problem.prompt + _body(source, _depth(problem.prompt)), fenced=False)
    return f"nothing in the reply defines {problem.entry_point!r}"


def _without_tokens(text: str) -> str:
    """The reply behind its thoughts, without the special tokens of a chat template and what follows them."""
    reply = after_thoughts(text)
    first = _FIRST_TOKENS.match(reply)
    start = first.end() if first and first[0].strip() else 0
    cut = _END.search(reply, start)
    end = cut.start() if cut else len(reply)
    while True:
        last = end
        while last > start and reply[last - 1].isspace():
            last -= 1
        opened = max(reply.rfind(sign, max(last - 40, start), last) for sign in ("<", "[/INST]"))
        if opened < 0 or not _LAST_TOKEN.fullmatch(reply, opened, last):
            return reply[start:end].replace("\r\n", "\n")
        end = opened


def _source_of_function(problem: Problem, text: str) -> tuple[str, str]:
    """What stands in earlier blocks and is needed, and the part of a reply that holds the function."""
    python = [block for block in loose_blocks(text) if block.is_python]
    serving = [i for i, block in enumerate(python) if problem.defined_in(block.code)]
    if serving:
        return _needed(python[: serving[-1]], python[serving[-1]].code), python[serving[-1]].code
    start = CODE_START.search(text)
    if start and problem.defined_in(text):
        return "", text[start.start() :]
    if python:
        return "", python[0].code
    indented = "" if first_line(text)[:1].isspace() else _indented(text)
    return "", indented if problem.defined_in(indented) else text


def _program_of_input(text: str) -> Program:
    """The program in a reply to a problem about standard input."""
    found = loose_blocks(text)
    python = [block for block in found if block.is_python]
    serving = [i for i, block in enumerate(python) if _READS_INPUT.search(block.code)]
    beside = "" if serving else _beside(text, found)
    if python and not (_READS_INPUT.search(beside) and _statements(beside)):
        last = serving[-1] if serving else -1
        before = _needed(python[:last], python[last].code)
        return Program(behind(before, python[last].code) if before else python[last].code, fenced=True)
    return Program(_statements(beside) or text, fenced=False)


def _beside(text: str, found: list[Block]) -> str:
    """What of a reply stands in no block."""
    edges = [0, *(edge for block in found for edge in (block.start, block.end)), len(text)]
    return "\n".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))


def _needed(earlier: list[Block], code: str) -> str:
    """The imports of earlier blocks, and those of their definitions that a program uses and lacks."""
    words, bound = set(re.findall(r"\w+", code)), set(_BOUND.findall(code))
    kept: list[str] = []
    for part in [part for block in earlier for part in _top_level(block.code)][::-1]:
        names = set(_BOUND.findall(part))
        if _DEFINITION.match(part) and (not names or (names & words and not names & bound)):
            kept.append(part)
            words |= set(re.findall(r"\w+", part))
            bound |= names
    return "".join(part if part.endswith("\n") else f"{part}\n" for part in reversed(kept))


def _definitions(problem: Problem, source: str) -> str:
    """Imports, functions and classes, and in front of the last definition of the entry point other statements too."""
    parts = _top_level(source)
    last = max((i for i, part in enumerate(parts) if problem.defined_in(part)), default=-1)
    kept = [i == last or (is_code(part) and (i < last or _DEFINITION.match(part))) for i, part in enumerate(parts)]
    if all(keep or part.lstrip().startswith("#") for keep, part in zip(kept, parts, strict=True)):
        return source
    return "".join(part for keep, part in zip(kept, parts, strict=True) if keep)


def _statements(text: str) -> str:
    """The lines of a reply that are code, with what belongs to them; "" if none is."""
    parts = _top_level(text)
    kept = [part for part in parts if is_code(part) or part.startswith("#")]
    if any(map(is_code, kept)):
        return text if len(kept) == len(parts) else "".join(kept)
    indented = _indented(text)
    return indented if is_code(indented.lstrip("\n")) else ""


def _indented(text: str) -> str:
    """The indented lines of a reply, as Markdown marks a block of code, without their indent."""
    return textwrap.dedent("\n".join(line for line in text.split("\n") if line[:1].isspace()))


def _may_be_body(source: str) -> bool:
    """Whether a source without the function may be its body, and not other functions only."""
    return not re.match(r"\s*^(?:async\s+def|def|class)\b", source, re.M) or bool(re.search(r"^return\b", source, re.M))


def _depth(prompt: str) -> int:
    """The indent of the body that a prompt leaves open."""
    heads = re.findall(r"^([ \t]*)(?:async\s+def|def)\b", prompt, re.MULTILINE)
    return len(heads[-1].expandtabs(4)) + 4 if heads else 4


def _body(source: str, depth: int) -> str:
    """The body of a function, indented, and the definitions behind it."""
    lines = [_with_blanks(line) for line in source.strip("\r\n").splitlines()]
    first = next((line for line in lines if line.strip()), "")
    if not first[:1].isspace():
        rest = [len(line) - len(line.lstrip()) for line in lines[lines.index(first) + 1 :] if line.strip()]
        only_first = rest and min(rest) >= depth and (rest[0] > depth or not first.rstrip().endswith(":"))
        lines = [f"{' ' * depth}{line}" if not only_first or line is first else line for line in lines]
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
