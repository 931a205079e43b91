"""The plot of accuracy by cost: every row as a point, and the Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.rendering.drawing import (
    FAINT,
    GRID,
    PAPER,
    TEXT,
    count_text,
    look,
    number_text,
    percent_text,
    svg,
    text_width,
)
from harness.rendering.layout import (
    EDGE,
    FONTS,
    PAGE,
    REFERENCES,
    YELLOW,
    Facts,
    NothingToDraw,
    apart,
    joined,
    open_sheet,
    percent_limits,
    ranked_together,
    reading_of,
    seeds_note,
    sizes_note,
    spelt,
    ticks_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAME_COST = 1.05  # budgets end with a whole step: costs within 5 % count as equal


@dataclass(frozen=True)
class _Spot:
    """A row as a point of the plot. x, y: its position in points, y upwards."""

    row: Mapping[str, Any]
    style: int
    cost: float
    x: float
    y: float
    low: float
    high: float
    on_front: bool

    @property
    def look(self) -> dict[str, Any]:
        filled = {} if self.on_front else {"markerfacecolor": PAPER}
        return look(self.style) | {"linestyle": "none", "markeredgewidth": 1.2, "markersize": 7} | filled

    @property
    def label(self) -> str:
        return f"{self.row['name']} {100 * self.row['score']['value']:.1f}"


def pareto(facts: Facts) -> str:
    """SVG of strict score by training FLOPs, or by tokens per item if no row was trained.

    The Pareto front is drawn through the filled points: no other row has at least their score at a lower cost, or a
    higher score at their cost. Base and teacher are lines. Raises ValueError for boards whose rows are not ranked
    together.
    """
    board = ranked_together(facts, "score against cost")
    unit, costs = _costs(board["rows"])
    title = str(board["title"])
    return svg(lambda: _pareto(board, unit, costs), f"{title}: score against cost", FONTS)


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each (cost, score) whether it is on the Pareto front: none is as good and cheaper, or better at its cost."""

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        more = a[1] > b[1] and a[0] <= b[0] * SAME_COST
        return more or (a[1] == b[1] and a[0] * SAME_COST < b[0])

    return [not any(beats(other, point) for other in points) for point in points]


def _costs(rows: Sequence[Facts]) -> tuple[str, list[float | None]]:
    """Label of the cost axis, and each row's cost; None: base or teacher, or its cost is unknown."""
    placed = [row["role"] not in REFERENCES and row["score"]["value"] is not None for row in rows]
    flops = [_flops(row) if is_placed else None for row, is_placed in zip(rows, placed, strict=True)]
    if any(cost is not None for cost in flops):
        return "FLOPs of training, the teacher's included", flops
    tokens = [
        (row["tokens_per_item"] or None) if is_placed else None for row, is_placed in zip(rows, placed, strict=True)
    ]
    if any(cost is not None for cost in tokens):
        return "tokens per reply", tokens
    raise NothingToDraw("no plot of score by cost: no graded row has a training cost or tokens per item")


def _flops(row: Facts) -> float | None:
    cost = row.get("cost")
    return None if cost is None else float(cost["flops_train"] + cost["flops_generate"] + cost["flops_teacher"])


def _pareto(board: Facts, unit: str, costs: Sequence[float | None]) -> Figure:
    rows = board["rows"]
    drawn = [row for row, cost in zip(rows, costs, strict=True) if cost is not None]
    lines = [row for row in rows if row["role"] in REFERENCES and row["score"]["value"] is not None]
    low, top = percent_limits([row["score"] for row in (*drawn, *lines)])
    high, left = max(300.0, 13.0 * (len(drawn) + len(lines))), 44.0

    def level(share: float) -> float:
        return (100 * share - low) / (top - low) * high

    levels = [level(row["score"]["value"]) for row in lines]
    for beside in (lines, [*drawn, *lines]):  # the rows named in a column at the right: all, if necessary
        column = max((text_width(spelt(row), 8.5, "bold") for row in beside), default=0.0) + 40
        wide = max(PAGE - 2 * EDGE - left - column, 380.0)
        scale = _Scale([cost for cost in costs if cost is not None], wide)
        spots = _spots(rows, costs, scale, level)
        near = _near(spots, levels, wide, high)
        if near is not None:
            break
    note = f"{sizes_note(board)} Bars: 95 % intervals. {seeds_note(rows)}"
    note += "Filled, and joined: the front, where no other scores as much for less or more for as much. It is drawn by "
    note += f"the scores, which the intervals may not tell apart; costs within {100 * SAME_COST - 100:.0f} % count as "
    note += "equal. Points that would cover each other stand side by side. "
    if missing := [r["name"] for r, cost in zip(rows, costs, strict=True) if cost is None and r not in lines]:
        note += f"Not drawn, for want of a score or a cost: {', '.join(missing)}."
    sheet = open_sheet(
        left + wide + column, high + 46, board["title"], f"{reading_of(board).capitalize()} score against {unit}", note
    )
    axes = sheet.axes(left, 8, wide, high)
    axes.set_gid("panel-pareto")
    axes.set_xlim(0, wide)
    axes.set_ylim(0, high)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"{unit} (log scale)")
    axes.set_ylabel(f"{reading_of(board)} score (%)")
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.set_xticks([x for x, _ in scale.ticks()], [text for _, text in scale.ticks()])
    marked = ticks_of(low, top, 7)
    axes.set_yticks([level(value / 100) for value in marked], [percent_text(value) for value in marked])
    for row, y in zip(lines, levels, strict=True):
        dashes = REFERENCES[row["role"]]
        axes.axhline(y, color=FAINT, linewidth=1.0, linestyle=dashes, zorder=1.5).set_gid(f"reference-{row['role']}")
    _draw_front(axes, [spot for spot in spots if spot.on_front], wide)
    for spot in spots:
        bar = axes.vlines([spot.x], spot.low, spot.high, color=spot.look["color"], linewidth=1.2, zorder=2.5)
        bar.set_gid(f"interval-{spot.style}")
        (point,) = axes.plot([spot.x], [spot.y], **spot.look, zorder=3)
        point.set_gid(f"point-{spot.style}")
    if near is not None:
        for spot, (x, y) in zip(spots, near, strict=True):
            weight = "bold" if spot.on_front else "normal"
            axes.text(x, y, spot.label, va="center", fontsize=8.5, fontweight=weight, zorder=4)
    _column(axes, spots if near is None else [], list(zip(levels, lines, strict=True)), wide, high)
    return sheet.figure


class _Scale:
    """Positions of costs on a logarithmic axis that spans at least a factor of 2.5; 0 is drawn at its left end."""

    def __init__(self, costs: Sequence[float], wide: float) -> None:
        above = [cost for cost in costs if cost > 0] or [1.0]
        self.has_zero = min(costs) <= 0
        middle, half = math.sqrt(min(above) * max(above)), max(max(above) / min(above), 2.5) ** 0.5
        self.least, self.most = middle / half, middle * half
        self.start, self.end = 70.0 if self.has_zero else 26.0, wide - 26

    def place(self, cost: float) -> float:
        if cost <= 0:
            return 22.0
        share = math.log(cost / self.least) / math.log(self.most / self.least)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels of the ticks: round numbers, more of them if the axis spans less."""
        decades = math.log10(self.most / self.least)
        digits = (1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)
        every = math.ceil(decades / 10)
        exponents = range(math.floor(math.log10(self.least)), math.ceil(math.log10(self.most)) + 1)
        values = [float(f"{d}e{e}") for e in exponents if e % every == 0 for d in digits]
        text = number_text if self.most >= 1e9 else count_text
        found = [(self.place(v), text(v)) for v in values if self.least * 0.999 <= v <= self.most * 1.001]
        return [(self.place(0), "0"), *found] if self.has_zero else found


def _spots(
    rows: Sequence[Facts], costs: Sequence[float | None], scale: _Scale, level: Callable[[float], float]
) -> list[_Spot]:
    """The points in order of cost; points that would overlap are moved apart sideways, in the same order."""
    styles = {i: style for style, i in enumerate(i for i, cost in enumerate(costs) if cost is not None)}
    order = sorted(styles, key=lambda i: (costs[i], i))
    placed = [(_known(costs[i]), rows[i]["score"]["value"]) for i in order]
    gap = min(11.0, 110.0 / len(order))  # only so far that they still look like one cost
    x = apart([scale.place(cost) for cost, _ in placed], gap, 6.0, scale.end + 20)
    spots = []
    for i, at, (cost, score), is_best in zip(order, x, placed, front(placed), strict=True):
        low, high = level(rows[i]["score"]["low"]), level(rows[i]["score"]["high"])
        spots.append(_Spot(rows[i], styles[i], cost, at, level(score), low, high, is_best))
    return spots


def _known(cost: float | None) -> float:
    assert cost is not None
    return cost


def _draw_front(axes: Axes, best: Sequence[_Spot], wide: float) -> None:
    """Draw the front as steps from the cheapest row on: the best score for at most this cost."""
    x, y = [spot.x for spot in best], [spot.y for spot in best]
    (line,) = axes.step([*x, wide], [*y, y[-1]], where="post", color=YELLOW, linewidth=5, zorder=1.7)
    line.set_gid("front")


def _near(
    spots: Sequence[_Spot], levels: Sequence[float], wide: float, high: float
) -> list[tuple[float, float]] | None:
    """Middle left of each label beside its point, or None if a label has no room there.

    Labels are placed one by one, best score first, at the first of eight positions that covers nothing.
    """
    taken = [(s.x - 5, s.y - 5, s.x + 5, s.y + 5) for s in spots] + [(s.x - 1, s.low, s.x + 1, s.high) for s in spots]
    taken += [(0.0, level - 1, wide, level + 1) for level in levels]
    best = [spot for spot in spots if spot.on_front]
    for spot, after in itertools.zip_longest(best, best[1:]):
        end = wide if after is None else after.x
        taken += [
            (spot.x, spot.y - 3, end, spot.y + 3),
            (end - 3, spot.y, end + 3, spot.y if after is None else after.y),
        ]
    found: dict[int, tuple[float, float]] = {}
    for spot in sorted(spots, key=lambda s: (-s.y, s.x)):
        room, half = text_width(spot.label, 8.5, "bold" if spot.on_front else "normal") + 2, 5.5
        right, left = spot.x + 8, spot.x - 8 - room
        for x, y in [(x, spot.y + dy) for dy in (0, 10, -10, 20) for x in (right, left)]:
            box = (x, y - half, x + room, y + half)
            inside = x >= 0 and x + room <= wide and half <= y <= high - half
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found[spot.style] = (x, y)
                break
        else:
            return None
    return [found[spot.style] for spot in spots]


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _column(axes: Axes, spots: Sequence[_Spot], lines: Sequence[tuple[float, Facts]], wide: float, high: float) -> None:
    """Draw names and scores of these rows and of base and teacher at the right, each connected by a thin line."""
    entries = sorted(
        [(s.y, s.row, s) for s in spots] + [(y, row, None) for y, row in lines], key=lambda entry: entry[0]
    )
    places = apart([y for y, _, _ in entries], 12.5, 5, high - 5)
    for (level, row, spot), y in zip(entries, places, strict=True):
        colour, start = (FAINT, wide) if spot is None else (spot.look["color"], spot.x)
        lead: dict[str, Any] = {"color": colour, "linewidth": 0.6, "alpha": 0.6, "clip_on": False, "zorder": 1.8}
        axes.plot([start, wide + 4, wide + 18], [level, level, y], **lead)
        if spot is not None:
            axes.plot([wide + 25], [y], **spot.look | {"markersize": 6}, clip_on=False)
        weight = "bold" if spot is not None and spot.on_front else "normal"
        x, shade = (wide + 22, FAINT) if spot is None else (wide + 34, TEXT)
        axes.text(x, y, spelt(row), va="center", fontsize=8.5, fontweight=weight, color=shade)


def pareto_words(facts: Facts) -> str:
    board = ranked_together(facts, "score against cost")
    unit, costs = _costs(board["rows"])
    placed = [(row, cost) for row, cost in zip(board["rows"], costs, strict=True) if cost is not None]
    best = front([(cost, row["score"]["value"]) for row, cost in placed])
    said = [f"{spelt(row)} at {number_text(float(f'{cost:.3g}'))}" for row, cost in placed]
    said += [spelt(row) for row in board["rows"] if row["role"] in REFERENCES and row["score"]["value"] is not None]
    names = ", ".join(row["name"] for (row, _), is_best in zip(placed, best, strict=True) if is_best)
    score = f"{reading_of(board).capitalize()} score in % (95 % interval)"
    return f"{score} against {unit}: {joined(said)}; on the front: {names}."
