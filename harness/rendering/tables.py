"""Numbers and tables as markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A GitHub markdown table of these strings; `|` is escaped.

    Not by tabulate: it escapes nothing, and it pads each cell to the width of its column, so that one longer name would
    change every line of a committed board.
    """
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in (escaped[0], rule, *escaped[1:])]


def line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def escape_markup(text: str) -> str:
    """A name on one line with its markup escaped: for prose and cells, not for code spans."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", line(text))
    return re.sub(r"([`*\[\]])", r"\\\1", text.replace("<", "&lt;").replace(">", "&gt;"))


def code(text: str) -> str:
    """The text as a code span on one line."""
    return f"`{line(text).replace('`', chr(39))}`"


def count(n: int, noun: str) -> str:
    """`1 item`, `1,319 items`."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def percent(estimate: Mapping[str, Any], sign: str = "") -> str:
    """`41.2 (36.4 to 46.1)` in percent, or percentage points with sign="+"."""
    if estimate["value"] is None:
        return "no verdict"
    value, low, high = (100 * estimate[k] for k in ("value", "low", "high"))
    return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"
