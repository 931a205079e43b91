"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A GitHub table over strings as they are; `|` is escaped. (tabulate escapes none and strips trailing zeros.)"""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in (escaped[0], rule, *escaped[1:])]
