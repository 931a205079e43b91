"""Finds fenced blocks in a reply. Patterns run in linear time."""

from __future__ import annotations

import re
from dataclasses import dataclass

CODE_START = re.compile(
    r"^(?:(?:async[ \t]+def|def|class|import)[ \t]+\w|from[ \t]+[\w.]+[ \t]+import\b|@\w)", re.MULTILINE
)
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)$", re.MULTILINE)
_PYTHON = re.compile(r"\s*(?:\{?\.?(?:python|py)(?![a-z])|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """A fenced block. code: without the indent of its fence. whole: the reply holds both of its fences.

    is_python: its fence names Python, or nothing. end: where it ends in the reply.
    """

    code: str
    is_python: bool
    whole: bool
    end: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks, as CommonMark reads them, except that a fence with a name in a block opens a new block.

    Of a reply that begins inside a block, since its prompt opened one, the beginning is a block too.
    """
    found: list[Block] = []
    opening: re.Match[str] | None = None
    fences = list(_FENCE.finditer(text))
    if len(fences) % 2 and not fences[0][3].strip() and _begins_with_code(text[: fences[0].start()]):
        found.append(Block(text[: fences[0].start()], is_python=True, whole=False, end=fences[0].end()))
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
    return Block(
        code, _PYTHON.match(opening[3]) is not None, closing is not None, closing.end() if closing else len(text)
    )


def first_line(text: str) -> str:
    """The first line that is not blank; "" if there is none."""
    return next((line for line in text.splitlines() if line.strip()), "")
