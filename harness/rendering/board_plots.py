"""The plots of scores by task and of possible ranks, and the alternative text of every plot of a board."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.rendering import tables
from harness.rendering.drawing import FAINT, GRID, PAPER, percent_text, svg, text_width
from harness.rendering.forest_plot import forest_words
from harness.rendering.layout import (
    BLUE,
    EDGE,
    FONTS,
    PAGE,
    REFERENCES,
    ROLES,
    SPELT,
    Facts,
    NothingToDraw,
    apart,
    board_with_rows,
    draw_bars,
    joined,
    label_rows,
    open_sheet,
    percent_limits,
    ranked_together,
    reading_of,
    row_name,
    seeds_note,
    sizes_note,
    ticks_of,
    width_of_names,
)
from harness.rendering.pareto_plot import pareto_words
from harness.rendering.wins_plot import wins_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Dots:
    """A panel with an estimate for each row; None: the row was not evaluated on this task."""

    title: str
    scores: Sequence[Facts | None]


def dots(facts: Facts) -> str:
    """SVG of scores with intervals: a panel for all items and one for each task, rows in the board's order.

    Strict scores; lenient scores for a collection, whose prompts asked for other formats; scores as printed for a
    board of reported scores.
    """
    board = board_with_rows(facts)
    panels = _panels(board)
    if not any(score and score["value"] is not None for panel in panels for score in panel.scores):
        raise NothingToDraw("no dots to draw: no row has a score")
    return svg(lambda: _dots(board, panels), f"{board['title']}: scores by task", FONTS)


def _panels(board: Facts) -> list[_Dots]:
    rows, kind = board["rows"], board.get("kind")
    if kind == "reported":
        return [
            _Dots(f"{task} ({n:,})", [row["scores"].get(task) for row in rows]) for task, n in board["tasks"].items()
        ]
    if kind == "collection":
        tasks = dict.fromkeys(task for row in rows for task in row["tasks"])
        return [
            _Dots(task, [row["tasks"][task]["lenient"] if task in row["tasks"] else None for row in rows])
            for task in tasks
        ]
    sizes = board["n_items"]
    whole = [_Dots(f"all items ({sum(sizes.values()):,})", [row["score"] for row in rows])]
    each = [
        _Dots(f"{task} ({sizes[task]:,})", [row["tasks"][task]["score"] for row in rows]) for task in board["tasks"]
    ]
    return whole + each if len(each) > 1 else each


def _dots(board: Facts, panels: Sequence[_Dots]) -> Figure:
    rows, kind = board["rows"], board.get("kind")
    names = [row_name(row) for row in rows]
    bold = [bool(row.get("among_best")) for row in rows]
    names_wide = width_of_names(names, bold)
    lines = math.ceil(len(panels) / (4 if len(rows) <= 20 else 6))
    columns = math.ceil(len(panels) / lines)
    has_lines = any(row.get("role") in REFERENCES for row in rows)
    gap, pitch = 16.0, 16.0 if len(rows) <= 20 else 12.5
    least = max(text_width(panel.title, 8.5, "bold") for panel in panels)
    wide = min(max((PAGE - 2 * EDGE - names_wide) / columns - gap, 92.0, least), 300.0)
    above, below, high = 36.0 if has_lines else 22.0, 26.0, pitch * len(rows)
    note = "Bars: 95 % intervals. Each panel has a scale of its own. "
    note += "" if kind else f"{sizes_note(board)} {seeds_note(rows)}"
    if has_lines:
        note += "Upright lines: base and teacher. "
    note += "In bold: those that none is shown to be better than. " if any(bold) else ""
    note += "Rows are not ranked: prompts, decoding and item sets differ." if kind == "collection" else ""
    reading = {"reported": "Score as printed", "collection": "Lenient score"}.get(str(kind))
    reading = reading or f"{reading_of(board).capitalize()} score"
    width = names_wide + columns * (wide + gap)
    sheet = open_sheet(width, lines * (above + high + below), board["title"], f"{reading} by task, in %", note)
    for i, panel in enumerate(panels):
        line, column = divmod(i, columns)
        axes = sheet.axes(names_wide + column * (wide + gap), line * (above + high + below) + above, wide, high)
        axes.set_gid(f"panel-{i}")
        label_rows(axes, names if column == 0 else None, bold, len(rows), wide)
        axes.text(0, 1 + (above - 14) / high, panel.title, transform=axes.transAxes, fontsize=8.5, fontweight="bold")
        _draw_dots(axes, i, panel, rows, wide)
    return sheet.figure


def _draw_dots(axes: Axes, place: int, panel: _Dots, rows: Sequence[Facts], wide: float) -> None:
    judged = [(y, rows[y].get("role", "model"), s) for y, s in enumerate(panel.scores) if s and s["value"] is not None]
    low, high = percent_limits([score for _, _, score in judged])
    axes.set_xlim(low, high)
    marked = ticks_of(low, high, 5 if wide > 140 else 3)
    axes.set_xticks(marked, [percent_text(value) for value in marked])
    axes.grid(True, axis="x", color=GRID, linewidth=0.6)
    for role in dict.fromkeys(role for _, role, _ in judged):
        marker, colour = ROLES.get(role, ("o", BLUE))
        found = [(y, *(100 * score[k] for k in ("value", "low", "high"))) for y, r, score in judged if r == role]
        places, value, least, most = zip(*found, strict=True)
        draw_bars(axes, places, least, most, color=colour, linewidth=1.3, zorder=2.5).set_gid(
            f"interval-{place}-{role}"
        )
        (points,) = axes.plot(value, places, linestyle="none", marker=marker, markersize=5, color=colour, zorder=3)
        points.set_gid(f"dots-{place}-{role}")
    lines = sorted((100 * score["value"], role) for _, role, score in judged if role in REFERENCES)
    half = max((text_width(role, 7) for _, role in lines), default=0.0) / 2
    beside = apart([(x - low) / (high - low) * wide for x, _ in lines], 2 * half + 4, half, wide - half)
    for (x, role), at in zip(lines, beside, strict=True):
        line = axes.axvline(x, color=FAINT, linestyle=REFERENCES[role], linewidth=0.8, alpha=0.7, zorder=1.5)
        line.set_gid(f"reference-{place}-{role}")
        above = 1 + 5 / (axes.bbox.height or 1)
        axes.text(at / wide, above, role, transform=axes.transAxes, ha="center", fontsize=7, color=FAINT)
    for y, score in enumerate(panel.scores):
        if score is None or score["value"] is None:
            said = "no score" if score is None else "no verdict"
            ground = {"facecolor": PAPER, "linewidth": 0, "pad": 1}
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": FAINT}
            axes.text(0.5, y, said, transform=axes.get_yaxis_transform(), bbox=ground, **style)


_NO_RANK = "no rank intervals to draw: no row has a rank (it takes two strategies with all runs done)"


def rank_plot(facts: Facts) -> str:
    """SVG of the possible ranks of each row, in the board's order; the rows among the best in bold."""
    board = ranked_together(facts, "rank intervals")
    rows = [row for row in board["rows"] if row.get("rank")]
    if not rows:
        raise NothingToDraw(_NO_RANK)
    return svg(lambda: _ranks(board, rows), f"{board['title']}: rank intervals", FONTS)


def _ranks(board: Facts, rows: Sequence[Facts]) -> Figure:
    names, bold = [row_name(row) for row in rows], [bool(row["among_best"]) for row in rows]
    last = max(row["rank"][1] for row in rows)
    left, pitch = width_of_names(names, bold), 17.0
    wide, high = max(min(PAGE - 2 * EDGE - left - 70, 60.0 * last), 200.0), pitch * len(rows)
    note = "The places that the comparison of all pairs leaves possible, at 95 %. In bold and filled: those that none "
    note += f"is shown to be better than. {sizes_note(board)} {seeds_note(board['rows'])}"
    sheet = open_sheet(
        left + wide + 70, 4 + high + 40, board["title"], f"Rank intervals by {reading_of(board)} score", note
    )
    axes = sheet.axes(left, 4, wide, high)
    axes.set_gid("panel-ranks")
    label_rows(axes, names, bold, len(rows), wide)
    axes.set_xlim(0.5, last + 0.5)
    every = math.ceil(last / max(wide / 26, 1))
    marked = [1, *range(every, last + 1, every)] if every > 1 else list(range(1, last + 1))
    axes.set_xticks(marked, list(map(str, marked)))
    axes.set_xlabel("rank (1 is best)")
    axes.grid(True, axis="x", color=GRID, linewidth=0.6)
    for y, (row, is_best) in enumerate(zip(rows, bold, strict=True)):
        best, worst = row["rank"]
        colour = BLUE if is_best else FAINT
        places = range(best, worst + 1)
        bar = axes.hlines([y], best, worst, color=colour, linewidth=7, alpha=0.30, capstyle="round", zorder=2)
        bar.set_gid(f"interval-{y}")
        (dots_,) = axes.plot(places, [y] * len(places), linestyle="none", marker="o", color=colour, zorder=3)
        dots_.set(
            gid=f"places-{y}", markersize=5 if wide / last > 10 else 2.5, markerfacecolor=colour if is_best else PAPER
        )
        axes.text(
            1 + 10 / wide,
            y,
            _rank_text(row),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontweight="bold" if is_best else "normal",
        )
    return sheet.figure


def _rank_text(row: Facts) -> str:
    best, worst = row["rank"]
    return str(best) if best == worst else f"{best} to {worst}"


def alt_text(kind: str, facts: Facts) -> str:
    """One sentence with a plot's numbers, as alternative text. kind: "pareto", "dots", "forest", "wins" or "ranks".

    facts: the board's; for "wins" the arguments of `wins` by name; for "forest" the board's or the arguments `rows` and
    `reference` of `forest_of`. Raises ValueError if the plot itself would.
    """
    tell = {
        "pareto": pareto_words,
        "dots": _dots_words,
        "forest": forest_words,
        "wins": wins_words,
        "ranks": _ranks_words,
    }
    if kind not in tell:
        raise ValueError(f"unknown picture {kind!r}; pictures: {', '.join(tell)}")
    return tell[kind](facts)


def _dots_words(facts: Facts) -> str:
    board = board_with_rows(facts)
    panels = _panels(board)
    said = []
    for panel in panels:
        judged = [
            (row["name"], s) for row, s in zip(board["rows"], panel.scores, strict=True) if s and s["value"] is not None
        ]
        if judged:
            found = [f"{name} {tables.percent(score)}" for name, score in judged]
            values = [score["value"] for _, score in judged]
            span = f"{len(judged)} rows from {100 * min(values):.1f} to {100 * max(values):.1f}"
            said.append(f"{panel.title}: {', '.join(found) if len(panels) * len(found) <= SPELT else span}")
    if not said:
        raise NothingToDraw("no dots to draw: no row has a score")
    return f"Scores in % by task: {joined(said)}."


def _ranks_words(facts: Facts) -> str:
    rows = [row for row in ranked_together(facts, "rank intervals")["rows"] if row.get("rank")]
    if not rows:
        raise NothingToDraw(_NO_RANK)
    best = ", ".join(row["name"] for row in rows if row["among_best"])
    said = [f"{row['name']} {_rank_text(row)}" for row in rows]
    return f"Possible ranks: {joined(said)}; among the best: {best}."
