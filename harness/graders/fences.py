"""Finds fenced blocks in a reply. Patterns run in linear time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.graders.code_lines import CODE_START, is_code

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)$", re.MULTILINE)
# Behind the mark of a list or a quotation, behind text, or in front of its block's code. Its ticks are the only ones of
# the line, except those at the end of a block of one line.
_LOOSE_FENCE = re.compile(
    r"^(?P<indent>[ \t]*+(?:(?:>|[-*+]|[0-9]{1,9}[.)])[ \t]++)?+)(?P<text>[^`~\n]*+)(?P<ticks>`{3,}+|~{3,}+)"
    r"(?P<info>[^`\n]*+)(?P<closing>`{3,}+[ \t]*+)?$",
    re.MULTILINE,
)
_PYTHON = re.compile(r"\s*(?:\{?\.?(?:python|py)(?![a-z])|$)", re.IGNORECASE)
_NAME = re.compile(r"[ \t]*(?:(?:python|py)[0-9.]{0,5}(?![a-z0-9(=.])[ \t]*)?", re.IGNORECASE)
_MARK = re.compile(
    r"^[ \t]*(?:<[a-zA-Z][\w-]{0,30}(?: [^<>\n]{0,200})?>|\[/?[A-Z]{2,20}\][ \t]*$)|</[a-zA-Z][\w-]{0,30}>[ \t]*$",
    re.MULTILINE,
)
_IN_TICKS = re.compile(r"\s*(`{1,2})([^`]+)\1\s*")


@dataclass(frozen=True)
class Block:
    """A fenced block. code: without the indent of its fence. whole: the reply holds both of its fences.

    is_python: its fence names Python, or nothing. start, end: its place in the reply, with its fences.
    """

    code: str
    is_python: bool
    whole: bool
    start: int
    end: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks, as CommonMark reads them, except that a fence with a name in a block opens a new block.

    Of a reply that begins inside a block, since its prompt opened one, the beginning is a block too.
    """
    found: list[Block] = []
    opening: re.Match[str] | None = None
    fences = list(_FENCE.finditer(text))
    if len(fences) % 2 and not fences[0][3].strip() and _begins_with_code(text[: fences[0].start()]):
        found.append(Block(text[: fences[0].start()], is_python=True, whole=False, start=0, end=fences[0].end()))
        fences = fences[1:]
    for fence in fences:
        if opening:
            indent = len(fence[1].expandtabs(4)) - len(opening[1].expandtabs(4))
            if fence[2][0] != opening[2][0] or len(fence[2]) < len(opening[2]) or indent > 3:
                continue  # a line of the block
            found.append(_block(text, opening, fence))
            opening = fence if fence[3].strip() else None
        else:
            opening = fence
    if opening and text[opening.end() :].strip():
        found.append(_block(text, opening, None))
    return found


def _begins_with_code(text: str) -> bool:
    first = first_line(text)
    return first[:1].isspace() or CODE_START.match(first) is not None


def _block(text: str, opening: re.Match[str], closing: re.Match[str] | None) -> Block:
    code = text[opening.end() + 1 : closing.start() if closing else len(text)]
    if opening[1]:
        code = re.sub(rf"^[ \t]{{1,{len(opening[1])}}}", "", code, flags=re.MULTILINE)
    is_python, end = _PYTHON.match(opening[3]) is not None, closing.end() if closing else len(text)
    return Block(code, is_python, closing is not None, opening.start(), end)


@dataclass(frozen=True)
class _Opening:
    """A fence that opens a block."""

    fence: re.Match[str]
    is_python: bool
    head: str  # code that stands on the line of the fence


def loose_blocks(text: str) -> list[Block]:
    """The blocks of code in a reply, whatever marks them: fences in forms that CommonMark does not know too, else tags.

    Fences may stand behind text, a list's mark or code, and in front of code; a block may be one line. A fence that
    names Python opens a block inside one of another language. Without fences, lines of tags (`<code>`, `[PYTHON]`)
    mark the blocks, or ticks around the reply. What is not named and does not look like Python is no block.
    """
    fences = list(_LOOSE_FENCE.finditer(text))
    bare = [fence for fence in fences if not fence["closing"]]
    found: list[Block] = []
    if len(bare) % 2 and not bare[0]["info"].strip() and _begins_with_code_of_any_kind(text[: bare[0].start("ticks")]):
        found.append(Block(text[: bare[0].start("ticks")], is_python=True, whole=False, start=0, end=bare[0].end()))
        fences = [fence for fence in fences if fence.start() >= bare[0].end()]
    odd = _odd_closings(fences)
    opening: _Opening | None = None
    for i, fence in enumerate(fences):
        if opening is None:
            opening = _opening(fence)
            if opening and fence["closing"]:
                found.append(Block(opening.head, True, True, fence.start("ticks"), fence.end()))
                opening = None
        elif _closes(opening, fence) and not (fence["text"] and odd[i]):
            found.append(_loose_block(text, opening, fence))
            opening = None
        elif _opens_inside(opening, fence):
            found.append(_loose_block(text, opening, fence))
            opening = _opening(fence)
    if opening and text[opening.fence.end() :].strip():
        found.append(_loose_block(text, opening, None))
    return [block for block in found or _marked(text) if block.code.strip()]


def _odd_closings(fences: list[re.Match[str]]) -> list[bool]:
    """Whether behind each fence, up to the next with a name, an odd number of lines are a fence alone."""
    odd = [False]
    for fence in reversed(fences[1:]):
        alone = not fence["text"] and not fence["closing"]
        odd.append(False if fence["info"].strip() else odd[-1] ^ alone)
    return odd[::-1]


def _opening(fence: re.Match[str]) -> _Opening | None:
    """The block that a fence opens, if it opens one."""
    info = fence["info"]
    name = _NAME.match(info)
    rest = info[name.end() if name else 0 :]
    if is_code(rest) and (CODE_START.match(rest) or "(" in rest):
        return _Opening(fence, True, rest + "\n")
    if fence["closing"] or (fence["text"] and len(info.split()) > 1):
        return None
    return _Opening(fence, _PYTHON.match(info) is not None, "")


def _closes(opening: _Opening, fence: re.Match[str]) -> bool:
    ticks, ours = fence["ticks"], opening.fence["ticks"]
    if fence["info"].strip() or fence["closing"] or ticks[0] != ours[0] or len(ticks) < len(ours):
        return False
    return bool(fence["text"]) or _width(fence) - _width(opening.fence) <= 3


def _opens_inside(opening: _Opening, fence: re.Match[str]) -> bool:
    info, ticks, ours = fence["info"], fence["ticks"], opening.fence["ticks"]
    if not info.strip() or fence["closing"] or fence["text"]:
        return False
    alike = ticks[0] == ours[0] and len(ticks) >= len(ours) and _width(fence) - _width(opening.fence) <= 3
    return alike or (not opening.is_python and _PYTHON.match(info) is not None)


def _width(fence: re.Match[str]) -> int:
    return len(fence["indent"].expandtabs(4))


def _loose_block(text: str, opening: _Opening, closing: re.Match[str] | None) -> Block:
    end = (closing.start("ticks") if closing["text"] else closing.start()) if closing else len(text)
    code = text[opening.fence.end() + 1 : end]
    indent = opening.fence["indent"]
    if ">" in indent:
        code = re.sub(r"^[ \t]{0,40}>[ \t]?", "", code, flags=re.MULTILINE)
    elif indent:
        code = re.sub(rf"^[ \t]{{1,{len(indent)}}}", "", code, flags=re.MULTILINE)
    place = opening.fence.start("ticks"), closing.end() if closing else len(text)
    is_python = opening.is_python and (bool(opening.fence["info"].strip()) or _begins_with_code_of_any_kind(code))
    return Block(opening.head + code, is_python, closing is not None, *place)


def _begins_with_code_of_any_kind(text: str) -> bool:
    lines = (line for line in text.split("\n") if line.strip() and not line.startswith("#"))
    first = next(lines, "")
    return _begins_with_code(first) or is_code(first)


def _marked(text: str) -> list[Block]:
    """The parts of a reply between lines of tags that look like Python, or the reply in ticks."""
    inside = _IN_TICKS.fullmatch(text)
    marks = [(mark.start(), mark.end()) for mark in _MARK.finditer(text)]
    if inside and not marks:
        return [Block(inside[2], is_python=True, whole=False, start=0, end=len(text))]
    if not marks or _begins_with_code_of_any_kind(text[: marks[0][0]]):
        return []  # tags in the text of a program, or behind it
    edges = [0, *(edge for mark in marks for edge in mark), len(text)]
    parts = [Block(text[a:b], True, False, a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [part for part in parts if _begins_with_code_of_any_kind(part.code)]


def first_line(text: str) -> str:
    """The first line that is not blank; "" if there is none."""
    return next((line for line in text.splitlines() if line.strip()), "")
