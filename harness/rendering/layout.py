"""Shared by the plots of a board: reading its facts, colours, names, and the figure with title, axes and note."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.rendering import tables
from harness.rendering.drawing import COLOURS, FAINT, GRID, TICK_STEPS, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Facts = Mapping[str, Any]
BLUE, RED, PURPLE = COLOURS[0], COLOURS[1], COLOURS[3]
YELLOW = "#F0E442"  # the palette's eighth colour: visible on white only as a broad line
REFERENCES: Mapping[str, Any] = {"base": (0, (6, 4)), "teacher": (0, (1.5, 2))}  # role -> dashes of its line
ROLES: Mapping[str, tuple[str, str]] = {"base": ("s", FAINT), "teacher": ("D", FAINT)}  # role -> marker, colour
SIGNS: Mapping[str, tuple[str, str, str]] = {  # verdict -> sign, marker, colour
    "better": ("▲", "^", BLUE),
    "worse": ("▼", "v", RED),
    "not told apart": ("≈", "o", FAINT),
}
SPELT = 12  # an alternative text names at most this many rows
EDGE = 14.0  # margin of a plot, in points
PAGE = 720.0  # width in points, unless names need more
FONTS = {"font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"]}  # the text beside each is its full name


class NothingToDraw(ValueError):
    """The board has no data for this plot."""


def spelt(row: Facts) -> str:
    return f"{row['name']}: {tables.percent(row['score'])}"


def joined(said: Sequence[str]) -> str:
    more = [f"and {len(said) - SPELT} more"] if len(said) > SPELT else []
    return "; ".join([*said[:SPELT], *more])


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions in [low, high] as close as possible to the `wanted` ones (rising), at least `gap` apart.

    If there is not enough room, the gap is smaller. Least squares: pool adjacent violators.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    blocks: list[tuple[float, int]] = []  # (sum of the wanted positions minus their steps, count)
    for i, value in enumerate(wanted):
        total, n = value - i * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / n:
            total, n = total + blocks[-1][0], n + blocks[-1][1]
            blocks.pop()
        blocks.append((total, n))
    most = high - (len(wanted) - 1) * gap
    starts = [min(max(total / n, low), most) for total, n in blocks for _ in range(n)]
    return [start + i * gap for i, start in enumerate(starts)]


def board_with_rows(facts: Facts) -> Facts:
    """The board itself, or the board inside the facts of a comparison of existing runs."""
    board: Facts = facts["board"] if facts.get("kind") == "comparison" else facts
    if not board.get("rows"):
        raise NothingToDraw("nothing to draw: the board has no rows")
    reading = reading_of(board)
    return {**board, "rows": [_with_score(row, reading) for row in board["rows"]]}


def reading_of(board: Facts) -> str:
    """The score by which the board ranks: "strict" or "lenient"."""
    return str(board.get("reading", "strict"))


def _with_score(row: Facts, reading: str) -> Facts:
    """The row with `score` added to it and to its tasks: the score by which the board ranks."""
    if reading not in row:
        return row
    tasks = {task: {**of, "score": of[reading]} for task, of in row.get("tasks", {}).items() if reading in of}
    return {**row, "score": row[reading], "tasks": {**row.get("tasks", {}), **tasks}}


def ranked_together(facts: Facts, picture: str) -> Facts:
    board = board_with_rows(facts)
    if kind := board.get("kind"):
        raise NothingToDraw(f"no {picture} to draw: the rows of a board of kind {kind!r} are not ranked together")
    return board


def base_name(board: Facts) -> str:
    """Name of the row that the others are compared with."""
    named = board.get("reference")
    return str(named or next((row["name"] for row in board["rows"] if row["role"] == "base"), "base"))


def row_name(row: Facts) -> str:
    """The row's name, with its status if the run is not done, as in the table."""
    failed = [run["status"] for run in row.get("runs", ()) if run["status"] != "done"]
    return f"{row['name']} ({failed[0]})" if failed else str(row["name"])


def sizes_note(board: Facts) -> str:
    sizes = board["n_items"]
    return f"n = {sum(sizes.values()):,} items." if sizes else ""


def seeds_note(rows: Sequence[Facts]) -> str:
    """A note on the number of training seeds; a single seed is always mentioned."""
    found = {len(row["seeds"]) for row in rows if row.get("role") == "strategy"}
    if not found:
        return ""
    if found == {1}:
        return "Single run: one training seed each. "
    few, many = min(found), max(found)
    return f"{few if few == many else f'{few} to {many}'} training seeds each. "


def percent_limits(scores: Sequence[Facts]) -> tuple[float, float]:
    """Limits in percent of an axis that shows these estimates: at least two points wide, hardly beyond 0 and 100."""
    values = [100 * score[key] for score in scores for key in ("low", "value", "high")] or [0.0, 100.0]
    rim = max(0.05 * (max(values) - min(values)), 1.0)
    return max(min(values) - rim, -2.0), min(max(values) + rim, 102.0)


def ticks_of(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high, at most `most` of them."""
    from matplotlib.ticker import MaxNLocator

    return [float(v) for v in MaxNLocator(most, steps=list(TICK_STEPS)).tick_values(low, high) if low <= v <= high]


def width_of_names(names: Sequence[str], bold: Sequence[bool]) -> float:
    widths = [text_width(name, 9, "bold" if b else "normal") for name, b in zip(names, bold, strict=True)]
    return math.ceil(max(widths)) + 12.0


def draw_bars(axes: Axes, y: Iterable[int], low: Sequence[float], high: Sequence[float], **look: Any) -> Line2D:
    """Draw horizontal lines from low to high, as one path."""
    ends = [(value, at) for at, *pair in zip(y, low, high, strict=True) for value in (*pair, math.nan)]
    (line,) = axes.plot([x for x, _ in ends], [at for _, at in ends], solid_capstyle="butt", **look)
    return line


def label_rows(axes: Axes, names: Sequence[str] | None, bold: Sequence[bool], n: int, wide: float) -> None:
    """Label the rows with their names, the first on top; None: rows without names, beside a panel that has them."""
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_yticks([])
    across = axes.get_yaxis_transform()
    draw_bars(axes, range(n), [0.0] * n, [1.0] * n, transform=across, color=GRID, linewidth=0.6, zorder=0.5)
    for y, (name, is_bold) in enumerate(zip(names or (), bold, strict=False)):
        weight, left = "bold" if is_bold else "normal", -8 / wide
        axes.text(left, y, name, transform=across, ha="right", va="center", fontweight=weight)
    axes.tick_params(axis="x", labelsize=8, length=2)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


@dataclass(frozen=True)
class _Sheet:
    """A figure, and where its body begins: `top` points below the upper edge."""

    figure: Figure
    width: float
    height: float
    top: float

    def axes(self, x: float, y: float, wide: float, high: float) -> Axes:
        """Axes whose upper left corner is x and y points from that of the body."""
        bottom = self.height - self.top - y - high
        return self.figure.add_axes(
            ((EDGE + x) / self.width, bottom / self.height, wide / self.width, high / self.height)
        )


def open_sheet(wide: float, high: float, title: str, subtitle: str, note: str) -> _Sheet:
    """A new figure: title, what is shown, a body of the given size in points, and a note under it."""
    from matplotlib.figure import Figure

    head, foot = _wrapped(title, wide, 12, "bold"), _wrapped(" ".join(note.split()), wide, 8)
    top = EDGE + 16 * len(head) + (15 if subtitle else 0) + 8
    width, height = math.ceil(wide + 2 * EDGE), math.ceil(top + high + 11 * len(foot) + EDGE)
    figure = Figure(figsize=(width / 72, height / 72))
    x = EDGE / width
    figure.text(x, 1 - EDGE / height, "\n".join(head), va="top", fontsize=12, fontweight="bold")
    figure.text(x, 1 - (EDGE + 16 * len(head)) / height, subtitle, va="top", fontsize=9.5, color=FAINT)
    figure.text(x, (EDGE - 4) / height, "\n".join(foot), va="bottom", fontsize=8, color=FAINT, linespacing=1.15)
    return _Sheet(figure, width, height, top)


def _wrapped(text: str, wide: float, size: float, weight: str = "normal") -> list[str]:
    """The text in lines of about `width` points."""
    each = text_width(text, size, weight) / max(len(text), 1) or 1.0
    return textwrap.wrap(text, max(int(0.97 * wide / each), 8))
