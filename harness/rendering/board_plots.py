"""Pictures of a board as SVG text: score against cost, dots by task, differences, items won, rank intervals.

Pure functions of a board's facts (`leaderboard.Board` as JSON): the same input gives the same bytes (see `drawing`).
Each raises ValueError where there is nothing to draw. Colour never stands alone: marker, place or word says the same.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.rendering import tables
from harness.rendering.drawing import (
    COLOURS,
    FAINT,
    GRID,
    PAPER,
    TEXT,
    TICK_STEPS,
    count_text,
    look,
    number_text,
    percent_text,
    svg,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Facts = Mapping[str, Any]

BLUE, RED, PURPLE = COLOURS[0], COLOURS[1], COLOURS[3]
YELLOW = "#F0E442"  # the palette's eighth: on white for a broad line at most
REFERENCES: Mapping[str, Any] = {"base": (0, (6, 4)), "teacher": (0, (1.5, 2))}  # role -> dashes of its line
ROLES: Mapping[str, tuple[str, str]] = {"base": ("s", FAINT), "teacher": ("D", FAINT)}  # role -> marker, colour
SIGNS: Mapping[str, tuple[str, str, str]] = {  # verdict -> sign, marker, colour
    "better": ("▲", "^", BLUE),
    "worse": ("▼", "v", RED),
    "not told apart": ("≈", "o", FAINT),
}
SAME_COST = 1.05  # budgets end with a whole step: costs within 5 % count as equal
CLASSES: Mapping[str, str] = {  # what became of an item -> colour
    "gained": BLUE,
    "lost": RED,
    "both right": "#b5b5b5",
    "both wrong": "#f0f0f0",
    (_MIXED := "mixed or not judged"): PURPLE,
}
MOST_CORNERS = 14_000  # of a map of items: about 210 kB
SPELT = 12  # rows that an alternative text names one by one

EDGE = 14.0  # points around a picture
PAGE = 720.0  # points across, unless names need more
FONTS = {"font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"]}  # each text names all of them


# ------------------------------------------------------------------------------------------------ score against cost


class NothingToDraw(ValueError):
    """The board holds nothing that this picture shows."""


@dataclass(frozen=True)
class _Spot:
    """A row on the picture of score against cost. x, y: its place in points, y upwards."""

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
    """SVG: strict score against FLOPs of training, or against tokens per item where no row was trained.

    The front is drawn through the filled points: no other row scores as much for less, or more for as much. Base and
    teacher are lines. Raises ValueError for boards whose rows are not ranked together.
    """
    board = _ranked_together(facts, "score against cost")
    unit, costs = _costs(board["rows"])
    title = str(board["title"])
    return svg(lambda: _pareto(board, unit, costs), f"{title}: score against cost", FONTS)


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each (cost, score) whether no other scores as much for less, or more for as much."""

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        more = a[1] > b[1] and a[0] <= b[0] * SAME_COST
        return more or (a[1] == b[1] and a[0] * SAME_COST < b[0])

    return [not any(beats(other, point) for other in points) for point in points]


def _costs(rows: Sequence[Facts]) -> tuple[str, list[float | None]]:
    """Label of the cost axis, and each row's cost; None: a reference, or nothing to place it by."""
    placed = [row["role"] not in REFERENCES and row["score"]["value"] is not None for row in rows]
    flops = [_flops(row) if is_placed else None for row, is_placed in zip(rows, placed, strict=True)]
    if any(cost is not None for cost in flops):
        return "FLOPs of training, the teacher's included", flops
    tokens = [
        (row["tokens_per_item"] or None) if is_placed else None for row, is_placed in zip(rows, placed, strict=True)
    ]
    if any(cost is not None for cost in tokens):
        return "tokens per reply", tokens
    raise NothingToDraw("no score against cost to draw: no judged row has a training cost or tokens per item")


def _flops(row: Facts) -> float | None:
    cost = row.get("cost")
    return None if cost is None else float(cost["flops_train"] + cost["flops_generate"] + cost["flops_teacher"])


def _pareto(board: Facts, unit: str, costs: Sequence[float | None]) -> Figure:
    rows = board["rows"]
    drawn = [row for row, cost in zip(rows, costs, strict=True) if cost is not None]
    lines = [row for row in rows if row["role"] in REFERENCES and row["score"]["value"] is not None]
    low, top = _percent_limits([row["score"] for row in (*drawn, *lines)])
    high, left = max(300.0, 13.0 * (len(drawn) + len(lines))), 44.0

    def level(share: float) -> float:
        return (100 * share - low) / (top - low) * high

    levels = [level(row["score"]["value"]) for row in lines]
    for beside in (lines, [*drawn, *lines]):  # what stands in a column at the right: all names, if need be
        column = max((text_width(_spelt(row), 8.5, "bold") for row in beside), default=0.0) + 40
        wide = max(PAGE - 2 * EDGE - left - column, 380.0)
        scale = _Scale([cost for cost in costs if cost is not None], wide)
        spots = _spots(rows, costs, scale, level)
        near = _near(spots, levels, wide, high)
        if near is not None:
            break
    note = f"{_sizes(board)} Bars: 95 % intervals. {_seeds(rows)}"
    note += "Filled, and joined: the front, where no other scores as much for less or more for as much. It is drawn by "
    note += f"the scores, which the intervals may not tell apart; costs within {100 * SAME_COST - 100:.0f} % count as "
    note += "equal. Points that would cover each other stand side by side. "
    if missing := [r["name"] for r, cost in zip(rows, costs, strict=True) if cost is None and r not in lines]:
        note += f"Not drawn, for want of a score or a cost: {', '.join(missing)}."
    sheet = _sheet(
        left + wide + column, high + 46, board["title"], f"{_reading(board).capitalize()} score against {unit}", note
    )
    axes = sheet.axes(left, 8, wide, high)
    axes.set_gid("panel-pareto")
    axes.set_xlim(0, wide)
    axes.set_ylim(0, high)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"{unit} (log scale)")
    axes.set_ylabel(f"{_reading(board)} score (%)")
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.set_xticks([x for x, _ in scale.ticks()], [text for _, text in scale.ticks()])
    marked = _ticks(low, top, 7)
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
    """Places of costs on a logarithmic axis, over a factor of 2.5 at least; 0 has a place of its own at the left."""

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
        """Places and words: round numbers, the more of them the less the axis spans."""
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
    """In order of cost; those that would cover each other are moved apart sideways, in the same order."""
    styles = {i: style for style, i in enumerate(i for i, cost in enumerate(costs) if cost is not None)}
    order = sorted(styles, key=lambda i: (costs[i], i))
    placed = [(_known(costs[i]), rows[i]["score"]["value"]) for i in order]
    gap = min(11.0, 110.0 / len(order))  # no further than the eye would take for one cost
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
    """Steps through the front, from the cheapest on: what can be had for at most so much."""
    x, y = [spot.x for spot in best], [spot.y for spot in best]
    (line,) = axes.step([*x, wide], [*y, y[-1]], where="post", color=YELLOW, linewidth=5, zorder=1.7)
    line.set_gid("front")


def _near(
    spots: Sequence[_Spot], levels: Sequence[float], wide: float, high: float
) -> list[tuple[float, float]] | None:
    """Middle left of each label beside its point where every label has room there, else None.

    Labels are placed one by one, best score first, at the first of eight places where nothing lies beneath.
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
    """At the right, names and scores of these spots and of the references, each led to by a thin line."""
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
        axes.text(x, y, _spelt(row), va="center", fontsize=8.5, fontweight=weight, color=shade)


def _spelt(row: Facts) -> str:
    return f"{row['name']}: {tables.percent(row['score'])}"


# ------------------------------------------------------------------------------------------------ dots by task


@dataclass(frozen=True)
class _Dots:
    """A panel: an estimate for each row; None: the row has no such task."""

    title: str
    scores: Sequence[Facts | None]


def dots(facts: Facts) -> str:
    """SVG: scores with intervals, a panel for all items and one for each task, rows in the board's order.

    Strict scores; lenient ones for a collection, whose prompts asked for other formats; as printed for reported ones.
    """
    board = _board(facts)
    panels = _panels(board)
    if not any(score and score["value"] is not None for panel in panels for score in panel.scores):
        raise NothingToDraw("no dots to draw: no row has a judged score")
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
    names = [_name(row) for row in rows]
    bold = [bool(row.get("among_best")) for row in rows]
    names_wide = _names_width(names, bold)
    lines = math.ceil(len(panels) / (4 if len(rows) <= 20 else 6))
    columns = math.ceil(len(panels) / lines)
    has_lines = any(row.get("role") in REFERENCES for row in rows)
    gap, pitch = 16.0, 16.0 if len(rows) <= 20 else 12.5
    least = max(text_width(panel.title, 8.5, "bold") for panel in panels)
    wide = min(max((PAGE - 2 * EDGE - names_wide) / columns - gap, 92.0, least), 300.0)
    above, below, high = 36.0 if has_lines else 22.0, 26.0, pitch * len(rows)
    note = "Bars: 95 % intervals. Each panel has a scale of its own. "
    note += "" if kind else f"{_sizes(board)} {_seeds(rows)}"
    if has_lines:
        note += "Upright lines: base and teacher. "
    note += "In bold: those that none is shown to be better than. " if any(bold) else ""
    note += "Rows are not ranked: prompts, decoding and item sets differ." if kind == "collection" else ""
    reading = {"reported": "Score as printed", "collection": "Lenient score"}.get(str(kind))
    reading = reading or f"{_reading(board).capitalize()} score"
    width = names_wide + columns * (wide + gap)
    sheet = _sheet(width, lines * (above + high + below), board["title"], f"{reading} by task, in %", note)
    for i, panel in enumerate(panels):
        line, column = divmod(i, columns)
        axes = sheet.axes(names_wide + column * (wide + gap), line * (above + high + below) + above, wide, high)
        axes.set_gid(f"panel-{i}")
        _rows(axes, names if column == 0 else None, bold, len(rows), wide)
        axes.text(0, 1 + (above - 14) / high, panel.title, transform=axes.transAxes, fontsize=8.5, fontweight="bold")
        _draw_dots(axes, i, panel, rows, wide)
    return sheet.figure


def _draw_dots(axes: Axes, place: int, panel: _Dots, rows: Sequence[Facts], wide: float) -> None:
    judged = [(y, rows[y].get("role", "model"), s) for y, s in enumerate(panel.scores) if s and s["value"] is not None]
    low, high = _percent_limits([score for _, _, score in judged])
    axes.set_xlim(low, high)
    marked = _ticks(low, high, 5 if wide > 140 else 3)
    axes.set_xticks(marked, [percent_text(value) for value in marked])
    axes.grid(True, axis="x", color=GRID, linewidth=0.6)
    for role in dict.fromkeys(role for _, role, _ in judged):
        marker, colour = ROLES.get(role, ("o", BLUE))
        found = [(y, *(100 * score[k] for k in ("value", "low", "high"))) for y, r, score in judged if r == role]
        places, value, least, most = zip(*found, strict=True)
        _bars(axes, places, least, most, color=colour, linewidth=1.3, zorder=2.5).set_gid(f"interval-{place}-{role}")
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


# ------------------------------------------------------------------------------------------------ forest of differences


_NO_BASE = "no forest of differences to draw: the board has no base that rows are compared with"


def differences(facts: Facts) -> list[dict[str, Any]]:
    """Rows for `forest_of`, in the board's order: name, role, value, low, high, n, and verdict where there is one."""
    rows = [row for row in _ranked_together(facts, "forest of differences")["rows"] if "difference" in row]
    found = []
    for row in rows:
        gap = row["difference"]
        verdict = row.get("verdict", gap.get("verdict"))
        kept = {"name": row["name"], "role": row["role"], **{key: gap[key] for key in ("value", "low", "high", "n")}}
        found.append(kept if verdict is None else kept | {"verdict": verdict})
    return found


def forest(facts: Facts, margin: float | None = None) -> str:
    """SVG: each row's difference to the base in points, with its interval. margin: see `forest_of`."""
    found = differences(facts)
    if not found:
        raise NothingToDraw(_NO_BASE)
    board = _board(facts)
    return forest_of(found, _base(board), str(board["title"]), margin, _seeds(board["rows"]))


def forest_of(
    rows: Sequence[Mapping[str, Any]],
    reference: str,
    title: str,
    margin: float | None = None,
    note: str = "",
    level: float = 0.95,
) -> str:
    """SVG: differences to `reference` in points, a row each, with their intervals and n.

    rows: name, value, low, high as shares (0.02 is 2 points), n; verdict, if any, is shown by its sign (`SIGNS`), a
    word that has none as it is; role, if any, sets base and teacher apart. margin: a share too; what lies more than it
    below 0 is shaded. level: of the intervals. Raises ValueError for no rows, and for values that are none.
    """
    if not rows:
        raise NothingToDraw("no forest of differences to draw: no rows were given")
    for row in rows:
        if not math.isfinite(row["value"]):
            raise ValueError(f"difference of {row['name']!r} must be finite, got {row['value']}")
        if not (math.isfinite(row["low"]) and math.isfinite(row["high"])):
            raise ValueError(f"interval of {row['name']!r} must be finite, got {row['low']} to {row['high']}")
        if not row["low"] <= row["value"] <= row["high"]:
            raise ValueError(
                f"difference of {row['name']!r} must lie in its interval, got {row['value']} "
                f"in [{row['low']}, {row['high']}]"
            )
    if margin is not None and not 0 <= margin <= 1:
        raise ValueError(f"margin must be a share in [0, 1], got {margin}")
    return svg(
        lambda: _forest(rows, reference, title, margin, note, level), f"{title}: differences to {reference}", FONTS
    )


def _forest(rows: Sequence[Facts], reference: str, title: str, margin: float | None, note: str, level: float) -> Figure:
    from matplotlib.patches import Rectangle

    names = [str(row["name"]) for row in rows]
    sizes = {row["n"] for row in rows}
    said = [tables.percent(row, "+") for row in rows]
    counted = [f"n = {row['n']:,}" if len(sizes) > 1 else "" for row in rows]
    signs = [_sign(row) for row in rows]
    left = _names_width(names, [False] * len(names))
    columns = [16.0, max(map(text_width, said)) + 10]
    columns += [max(map(text_width, counted)) + (10 if len(sizes) > 1 else 0)]
    right = sum(columns) + max(text_width(sign, 10) for sign, _, _ in signs)
    wide, high, above = (
        max(PAGE - 2 * EDGE - left - right, 240.0),
        18.0 * len(rows),
        20.0 if margin is not None else 4.0,
    )
    text = f"Bars: {100 * level:g} % intervals. "
    text += f"n = {max(sizes):,} items. " if len(sizes) == 1 else ""
    text += note + " "
    if any(row.get("verdict") in SIGNS for row in rows):
        text += "".join(f"{sign} {word}. " for word, (sign, _, _) in SIGNS.items())
    text += f"Shaded: more than the margin of {100 * margin:g} points below." if margin is not None else ""
    sheet = _sheet(left + wide + right, above + high + 42, title, f"Difference to {reference}, in points", text)
    axes = sheet.axes(left, above, wide, high)
    axes.set_gid("panel-forest")
    _rows(axes, names, [False] * len(names), len(rows), wide)
    ends = [100 * value for row in rows for value in (row["low"], row["high"])] + [0.0]
    ends += [] if margin is None else [-100 * margin]
    rim = max(0.06 * (max(ends) - min(ends)), 0.2)
    low, top = min(ends) - rim * (1 if margin is None else 2), max(ends) + rim
    axes.set_xlim(low, top)
    marked = _ticks(low, top, 9)
    axes.set_xticks(marked, [number_text(value) if value <= 0 else f"+{number_text(value)}" for value in marked])
    axes.set_xlabel(f"points less or more than {reference}")
    axes.grid(True, axis="x", color=GRID, linewidth=0.6)
    if margin is not None:
        shade = Rectangle((low, -0.5), -100 * margin - low, len(rows), color=RED, alpha=0.10, linewidth=0, zorder=1)
        axes.add_patch(shade).set_gid("beyond-margin")
        axes.axvline(-100 * margin, color=RED, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1.6).set_gid("margin")
        share = (-100 * margin - low) / (top - low)
        axes.text(
            share,
            1 + 5 / high,
            number_text(-100 * margin),
            transform=axes.transAxes,
            ha="center",
            fontsize=8,
            color=RED,
        )
    axes.axvline(0, color=TEXT, linewidth=1.0, zorder=1.7).set_gid("zero")
    across = axes.get_yaxis_transform()
    for y, (row, (sign, marker, colour)) in enumerate(zip(rows, signs, strict=True)):
        axes.hlines([y], 100 * row["low"], 100 * row["high"], color=colour, linewidth=1.6, zorder=2.5).set_gid(
            f"interval-{y}"
        )
        (point,) = axes.plot([100 * row["value"]], [y], marker=marker, markersize=6, color=colour, zorder=3)
        point.set_gid(f"point-{y}")
        for k, (cell, size, tint) in enumerate(((said[y], 9, TEXT), (counted[y], 9, FAINT), (sign, 10, colour))):
            at = 1 + sum(columns[: k + 1]) / wide
            axes.text(at, y, cell, transform=across, va="center", fontsize=size, color=tint)
    return sheet.figure


def _sign(row: Facts) -> tuple[str, str, str]:
    """Sign, marker and colour of a row of a forest."""
    verdict = str(row.get("verdict") or "")
    marker, colour = ROLES.get(str(row.get("role")), ("o", BLUE))
    return SIGNS.get(verdict, (verdict, marker, colour))


# ------------------------------------------------------------------------------------------------ items won and lost


def wins(names: Sequence[str], verdicts: Mapping[str, Sequence[float | None]], reference: str) -> str:
    """SVG: what each row won and lost against the reference, item by item, with counts.

    verdicts: name -> strict score of each item (None: not judged), the same items in the same order for all. Items lie
    from those that most rows solve to those that none does. Pooled where there are too many, which the picture says.
    """
    rows, counts = _won(names, verdicts, reference)
    order = _by_difficulty([verdicts[name] for name in (*rows, reference)])
    classes = {name: [_class(verdicts[name][i], verdicts[reference][i]) for i in order] for name in rows}
    solved = [sum(verdicts[name][i] == 1.0 for name in (*rows, reference)) for i in order]
    title = f"Items won and lost against {reference}"
    return svg(lambda: _wins(title, classes, counts, solved), title, FONTS)


def _won(
    names: Sequence[str], verdicts: Mapping[str, Sequence[float | None]], reference: str
) -> tuple[list[str], dict[str, dict[str, int]]]:
    """The rows to draw, and for each how many items are of each class; refuses what cannot be compared."""
    rows = [name for name in dict.fromkeys(names) if name != reference]
    if not rows:
        raise NothingToDraw(f"no items won to draw: no row beside the reference {reference!r} was given")
    for name in (reference, *rows):
        if name not in verdicts:
            raise ValueError(
                f"no verdicts of {name!r} were given; there are: {', '.join(map(repr, verdicts)) or 'none'}"
            )
        if len(verdicts[name]) != len(verdicts[reference]):
            raise ValueError(
                f"{name!r} and {reference!r} must be judged on the same items, "
                f"got {len(verdicts[name])} and {len(verdicts[reference])}"
            )
        for i, value in enumerate(verdicts[name]):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"score of {name!r} on item {i} must be a share in [0, 1] or None, got {value}")
    if not verdicts[reference]:
        raise NothingToDraw("no items won to draw: there are no items")
    found = {}
    for name in rows:
        kinds = [_class(a, b) for a, b in zip(verdicts[name], verdicts[reference], strict=True)]
        found[name] = {kind: kinds.count(kind) for kind in CLASSES}
    return rows, found


def _class(ours: float | None, theirs: float | None) -> str:
    words = {(1.0, 0.0): "gained", (0.0, 1.0): "lost", (1.0, 1.0): "both right", (0.0, 0.0): "both wrong"}
    return "mixed or not judged" if ours is None or theirs is None else words.get((ours, theirs), "mixed or not judged")


def _by_difficulty(columns: Sequence[Sequence[float | None]]) -> list[int]:
    """Items by how many solve them, most first, then as they stand."""
    solved = [sum(value == 1.0 for value in item) for item in zip(*columns, strict=True)]
    return sorted(range(len(solved)), key=lambda i: (-solved[i], i))


HALF = 10.0  # points that a strip reaches above its middle, and below


@dataclass(frozen=True)
class _Band:
    """Where one class is drawn in a strip: how far below and above its middle, for each column, in points."""

    kind: str
    down: Sequence[float]
    up: Sequence[float]

    def corners(self) -> int:
        """About how many points its outline has."""
        return sum((2 if down == 0 or up == 0 else 4) for _, down, up in self.runs() if down or up)

    def runs(self) -> list[tuple[int, float, float]]:
        """(first column, down, up) wherever that changes."""
        ends = list(zip(self.down, self.up, strict=True))
        return [(i, *end) for i, end in enumerate(ends) if i == 0 or end != ends[i - 1]]


def _bands(kinds: Sequence[str], pool: int) -> list[_Band]:
    """The classes of one row, in the order in which they are drawn over each other.

    Above the middle: the row is right; below: the reference is. Of a column of several items the shares are stacked
    from the middle: won or lost, what both have right, and half as high what is mixed. In half points, not below one.
    """
    columns = [kinds[i : i + pool] for i in range(0, len(kinds), pool)]

    def stacked(changed: str) -> tuple[list[float], list[float], list[float]]:
        tops: tuple[list[float], list[float], list[float]] = ([], [], [])
        for column in columns:
            reached = 0.0
            for top, (kind, full) in zip(tops, ((changed, 1.0), ("both right", 1.0), (_MIXED, 0.5)), strict=True):
                count = column.count(kind)
                if count:
                    reached = min(reached + max(0.5, round(2 * HALF * full * count / len(column)) / 2), HALF)
                top.append(reached if count else 0.0)  # nothing lies hidden: it would show at the edges
        return tops

    up, down, nothing = stacked("gained"), stacked("lost"), [0.0] * len(columns)
    return [
        _Band(_MIXED, down[2], up[2]),
        _Band("both right", down[1], up[1]),
        _Band("gained", nothing, up[0]),
        _Band("lost", down[0], nothing),
    ]


def _pooled(classes: Mapping[str, Sequence[str]]) -> tuple[int, dict[str, list[_Band]]]:
    """The fewest items to a column, of 1, 2, 5, 10, ..., with which the map stays small, and the bands of every row."""
    n = max(map(len, classes.values()))
    for pool in (digit * 10**k for k in range(9) for digit in (1, 2, 5)):
        if math.ceil(n / pool) > 2 * (PAGE - 2 * EDGE):
            continue
        bands = {name: _bands(kinds, pool) for name, kinds in classes.items()}
        if sum(band.corners() for found in bands.values() for band in found) <= MOST_CORNERS:
            break
    return pool, bands


def _wins(
    title: str,
    classes: Mapping[str, Sequence[str]],
    counts: Mapping[str, Mapping[str, int]],
    solved: Sequence[int],
) -> Figure:
    from matplotlib.patches import Rectangle

    pool, bands = _pooled(classes)
    n = len(solved)
    columns = math.ceil(n / pool)
    each = min(max(math.floor(2 * (PAGE - 2 * EDGE) / columns) / 2, 0.5), 24.0)  # in half points: short coordinates
    wide, pitch = each * columns, 2 * HALF + 28
    note = f"{n:,} items, from those that most of the {len(classes) + 1} rows solve (left) to those that none does. "
    note += "Above the middle line: the row is right; below it: the reference is. "
    if pool > 1:
        note += f"Pooled: a column shows the shares of {pool:,} items. "
    note += "Mixed: several replies that differ." if any(c[_MIXED] for c in counts.values()) else ""
    shown = [kind for kind in CLASSES if kind != _MIXED or any(c[_MIXED] for c in counts.values())]
    said = {name: [f"{kind} {counts[name][kind]:,}" for kind in shown] for name in classes}
    texts = sum(max(text_width(words[k], 8.5) for words in said.values()) + 24 for k in range(len(shown)))
    name_wide = max(text_width(name, 9.5, "bold") for name in classes)
    width = math.ceil(max(wide, name_wide + 18 + texts, 330))
    sheet = _sheet(width, pitch * len(classes) + 24, title, "", note)
    axes = sheet.axes(0, 0, width, pitch * len(classes) + 24)
    axes.set_gid("panel-wins")
    axes.set_xlim(0, width)
    axes.set_ylim(pitch * len(classes) + 24, 0)
    axes.axis("off")
    for i, name in enumerate(classes):
        axes.text(0, pitch * i + 7, name, va="center", fontsize=9.5, fontweight="bold")
        x = name_wide + 18
        for k, kind in enumerate(shown):
            box = Rectangle((x, pitch * i + 3), 8, 8, facecolor=CLASSES[kind], edgecolor=FAINT, linewidth=0.4)
            axes.add_patch(box)
            axes.text(x + 12, pitch * i + 7, said[name][k], va="center", fontsize=8.5)
            x += max(text_width(words[k], 8.5) for words in said.values()) + 24
        middle = pitch * i + 16 + HALF
        ground = Rectangle((0, middle - HALF), wide, 2 * HALF, color=CLASSES["both wrong"], linewidth=0)
        axes.add_patch(ground).set_gid(f"strip-{i}")
        for band in bands[name]:
            _draw_band(axes, band, f"{band.kind.split(' or ')[0].replace(' ', '-')}-{i}", middle, each, wide)
        axes.hlines([middle], 0, wide, color=PAPER, linewidth=0.6)
    _ruler(axes, solved, each / pool, pitch * len(classes), len(classes) + 1)
    return sheet.figure


def _draw_band(axes: Axes, band: _Band, name: str, middle: float, each: float, wide: float) -> None:
    runs = band.runs()
    if not any(down or up for _, down, up in runs):
        return
    edges = [each * start for start, _, _ in runs] + [wide]
    shown = [bool(down or up) for _, down, up in runs]
    tops = [middle - up if some else math.nan for (_, _, up), some in zip(runs, shown, strict=True)]
    ends = [middle + down if some else math.nan for (_, down, _), some in zip(runs, shown, strict=True)]
    one_sided = band.kind in ("gained", "lost")
    values = ends if band.kind == "lost" else tops
    patch = axes.stairs(values, edges, baseline=middle if one_sided else ends, fill=True, color=CLASSES[band.kind])
    patch.set(gid=name, linewidth=0)


def _ruler(axes: Axes, solved: Sequence[int], scale: float, y: float, most: int) -> None:
    """Under the strips: how many rows solve the items there."""
    start = 0
    for i in range(1, len(solved) + 1):
        if i < len(solved) and solved[i] == solved[start]:
            continue
        left, right = start * scale, i * scale
        axes.plot([left, left, right, right], [y + 2, y - 3, y - 3, y + 2], color=FAINT, linewidth=0.7)
        words = [f"{solved[start]} of {most} right", f"{solved[start]} of {most}", str(solved[start])]
        if fitting := [text for text in words if text_width(text, 7.5) + 4 <= right - left]:
            axes.text((left + right) / 2, y + 7, fitting[0], ha="center", va="center", fontsize=7.5, color=FAINT)
        start = i


# ------------------------------------------------------------------------------------------------ rank intervals


_NO_RANK = "no rank intervals to draw: no row has a rank (it takes two strategies with all runs done)"


def ranks(facts: Facts) -> str:
    """SVG: for each ranked row the places that are possible, in the board's order; in bold those among the best."""
    board = _ranked_together(facts, "rank intervals")
    rows = [row for row in board["rows"] if row.get("rank")]
    if not rows:
        raise NothingToDraw(_NO_RANK)
    return svg(lambda: _ranks(board, rows), f"{board['title']}: rank intervals", FONTS)


def _ranks(board: Facts, rows: Sequence[Facts]) -> Figure:
    names, bold = [_name(row) for row in rows], [bool(row["among_best"]) for row in rows]
    last = max(row["rank"][1] for row in rows)
    left, pitch = _names_width(names, bold), 17.0
    wide, high = max(min(PAGE - 2 * EDGE - left - 70, 60.0 * last), 200.0), pitch * len(rows)
    note = "The places that the comparison of all pairs leaves possible, at 95 %. In bold and filled: those that none "
    note += f"is shown to be better than. {_sizes(board)} {_seeds(board['rows'])}"
    sheet = _sheet(left + wide + 70, 4 + high + 40, board["title"], f"Rank intervals by {_reading(board)} score", note)
    axes = sheet.axes(left, 4, wide, high)
    axes.set_gid("panel-ranks")
    _rows(axes, names, bold, len(rows), wide)
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


# ------------------------------------------------------------------------------------------------ alternative texts


def words(kind: str, facts: Facts) -> str:
    """One sentence with a picture's numbers, for its alternative text: "pareto", "dots", "forest", "wins" or "ranks".

    facts: the board's; for "wins" a mapping of the arguments of `wins` by name; for "forest" also one of `rows` and
    `reference`, as `forest_of` takes them. Raises ValueError where the picture would.
    """
    tell = {
        "pareto": _pareto_words,
        "dots": _dots_words,
        "forest": _forest_words,
        "wins": _wins_words,
        "ranks": _ranks_words,
    }
    if kind not in tell:
        raise ValueError(f"unknown picture {kind!r}; pictures: {', '.join(tell)}")
    return tell[kind](facts)


def _listed(said: Sequence[str]) -> str:
    more = [f"and {len(said) - SPELT} more"] if len(said) > SPELT else []
    return "; ".join([*said[:SPELT], *more])


def _pareto_words(facts: Facts) -> str:
    board = _ranked_together(facts, "score against cost")
    unit, costs = _costs(board["rows"])
    placed = [(row, cost) for row, cost in zip(board["rows"], costs, strict=True) if cost is not None]
    best = front([(cost, row["score"]["value"]) for row, cost in placed])
    said = [f"{_spelt(row)} at {number_text(float(f'{cost:.3g}'))}" for row, cost in placed]
    said += [_spelt(row) for row in board["rows"] if row["role"] in REFERENCES and row["score"]["value"] is not None]
    names = ", ".join(row["name"] for (row, _), is_best in zip(placed, best, strict=True) if is_best)
    score = f"{_reading(board).capitalize()} score in % (95 % interval)"
    return f"{score} against {unit}: {_listed(said)}; on the front: {names}."


def _dots_words(facts: Facts) -> str:
    board = _board(facts)
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
        raise NothingToDraw("no dots to draw: no row has a judged score")
    return f"Scores in % by task: {_listed(said)}."


def _forest_words(facts: Facts) -> str:
    is_board = "reference" not in facts or "rows" not in facts or "title" in facts
    rows, reference = (differences(facts), "") if is_board else (facts["rows"], facts["reference"])
    if not rows:
        raise NothingToDraw(_NO_BASE)
    said = [f"{r['name']} {tables.percent(r, '+')}{', ' + r['verdict'] if r.get('verdict') else ''}" for r in rows]
    return f"Differences to {reference or _base(_board(facts))} in points (95 % interval): {_listed(said)}."


def _wins_words(facts: Facts) -> str:
    _, counts = _won(facts["names"], facts["verdicts"], facts["reference"])
    said = [f"{name} {', '.join(f'{n:,} {kind}' for kind, n in found.items() if n)}" for name, found in counts.items()]
    n = len(facts["verdicts"][facts["reference"]])
    return f"Of {n:,} items, against {facts['reference']}: {_listed(said)}."


def _ranks_words(facts: Facts) -> str:
    rows = [row for row in _ranked_together(facts, "rank intervals")["rows"] if row.get("rank")]
    if not rows:
        raise NothingToDraw(_NO_RANK)
    best = ", ".join(row["name"] for row in rows if row["among_best"])
    said = [f"{row['name']} {_rank_text(row)}" for row in rows]
    return f"Possible ranks: {_listed(said)}; among the best: {best}."


# ------------------------------------------------------------------------------------------------ what all share


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places in the order of those wanted (rising), as near to them as can be, at least `gap` apart, in [low, high].

    Where they have no room they stand closer. Least squares: pool adjacent violators.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    blocks: list[tuple[float, int]] = []  # (sum of wanted less their steps, how many)
    for i, value in enumerate(wanted):
        total, n = value - i * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / n:
            total, n = total + blocks[-1][0], n + blocks[-1][1]
            blocks.pop()
        blocks.append((total, n))
    most = high - (len(wanted) - 1) * gap
    starts = [min(max(total / n, low), most) for total, n in blocks for _ in range(n)]
    return [start + i * gap for i, start in enumerate(starts)]


def _board(facts: Facts) -> Facts:
    """The board itself; a comparison of existing runs holds one."""
    board: Facts = facts["board"] if facts.get("kind") == "comparison" else facts
    if not board.get("rows"):
        raise NothingToDraw("nothing to draw: the board has no rows")
    reading = _reading(board)
    return {**board, "rows": [_with_score(row, reading) for row in board["rows"]]}


def _reading(board: Facts) -> str:
    """By which reading the board ranks."""
    return str(board.get("reading", "strict"))


def _with_score(row: Facts, reading: str) -> Facts:
    """The row, and in it and its tasks `score`: that of the reading which the board ranks by."""
    if reading not in row:
        return row
    tasks = {task: {**of, "score": of[reading]} for task, of in row.get("tasks", {}).items() if reading in of}
    return {**row, "score": row[reading], "tasks": {**row.get("tasks", {}), **tasks}}


def _ranked_together(facts: Facts, picture: str) -> Facts:
    board = _board(facts)
    if kind := board.get("kind"):
        raise NothingToDraw(f"no {picture} to draw: the rows of a board of kind {kind!r} are not ranked together")
    return board


def _base(board: Facts) -> str:
    """The row that differences are to."""
    named = board.get("reference")
    return str(named or next((row["name"] for row in board["rows"] if row["role"] == "base"), "base"))


def _name(row: Facts) -> str:
    """With the status of a run that is not done, as in the table."""
    failed = [run["status"] for run in row.get("runs", ()) if run["status"] != "done"]
    return f"{row['name']} ({failed[0]})" if failed else str(row["name"])


def _sizes(board: Facts) -> str:
    sizes = board["n_items"]
    return f"n = {sum(sizes.values()):,} items." if sizes else ""


def _seeds(rows: Sequence[Facts]) -> str:
    """How many training seeds a strategy has; a single one must be said."""
    found = {len(row["seeds"]) for row in rows if row.get("role") == "strategy"}
    if not found:
        return ""
    if found == {1}:
        return "Single run: one training seed each. "
    few, many = min(found), max(found)
    return f"{few if few == many else f'{few} to {many}'} training seeds each. "


def _percent_limits(scores: Sequence[Facts]) -> tuple[float, float]:
    """Limits of an axis over these estimates in percent, over two points or more, hardly beyond 0 and 100."""
    values = [100 * score[key] for score in scores for key in ("low", "value", "high")] or [0.0, 100.0]
    rim = max(0.05 * (max(values) - min(values)), 1.0)
    return max(min(values) - rim, -2.0), min(max(values) + rim, 102.0)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high, at most so many."""
    from matplotlib.ticker import MaxNLocator

    return [float(v) for v in MaxNLocator(most, steps=list(TICK_STEPS)).tick_values(low, high) if low <= v <= high]


def _names_width(names: Sequence[str], bold: Sequence[bool]) -> float:
    widths = [text_width(name, 9, "bold" if b else "normal") for name, b in zip(names, bold, strict=True)]
    return math.ceil(max(widths)) + 12.0


def _bars(axes: Axes, y: Iterable[int], low: Sequence[float], high: Sequence[float], **look: Any) -> Line2D:
    """Level lines from low to high, in one path."""
    ends = [(value, at) for at, *pair in zip(y, low, high, strict=True) for value in (*pair, math.nan)]
    (line,) = axes.plot([x for x, _ in ends], [at for _, at in ends], solid_capstyle="butt", **look)
    return line


def _rows(axes: Axes, names: Sequence[str] | None, bold: Sequence[bool], n: int, wide: float) -> None:
    """A row for each name, the first on top; None: rows without names, beside a panel that has them."""
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_yticks([])
    across = axes.get_yaxis_transform()
    _bars(axes, range(n), [0.0] * n, [1.0] * n, transform=across, color=GRID, linewidth=0.6, zorder=0.5)
    for y, (name, is_bold) in enumerate(zip(names or (), bold, strict=False)):
        weight, left = "bold" if is_bold else "normal", -8 / wide
        axes.text(left, y, name, transform=across, ha="right", va="center", fontweight=weight)
    axes.tick_params(axis="x", labelsize=8, length=2)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


@dataclass(frozen=True)
class _Sheet:
    """A figure, and where on it the body begins: `top` points below its upper edge."""

    figure: Figure
    width: float
    height: float
    top: float

    def axes(self, x: float, y: float, wide: float, high: float) -> Axes:
        """Axes whose upper left corner lies x and y points from the body's."""
        bottom = self.height - self.top - y - high
        return self.figure.add_axes(
            ((EDGE + x) / self.width, bottom / self.height, wide / self.width, high / self.height)
        )


def _sheet(wide: float, high: float, title: str, subtitle: str, note: str) -> _Sheet:
    """Title, what is shown, a body of so many points, and a note under it."""
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
    """Lines of about so many points."""
    each = text_width(text, size, weight) / max(len(text), 1) or 1.0
    return textwrap.wrap(text, max(int(0.97 * wide / each), 8))
