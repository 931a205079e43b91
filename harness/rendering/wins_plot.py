"""The plot of items won and lost against the reference, one strip per row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.rendering.drawing import FAINT, PAPER, svg, text_width
from harness.rendering.layout import BLUE, EDGE, FONTS, PAGE, PURPLE, RED, Facts, NothingToDraw, joined, open_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSES: Mapping[str, str] = {  # outcome of an item -> colour
    "gained": BLUE,
    "lost": RED,
    "both right": "#b5b5b5",
    "both wrong": "#f0f0f0",
    (_MIXED := "mixed or not graded"): PURPLE,
}
MOST_CORNERS = 14_000  # of a map of items: about 210 kB


def wins(names: Sequence[str], verdicts: Mapping[str, Sequence[float | None]], reference: str) -> str:
    """SVG of the items that each row won and lost against the reference, with counts.

    verdicts: name -> strict score of each item (None: not graded), the same items in the same order for all. Items are
    sorted from those that most rows solve to those that none does. If there are too many, several share a column, and
    the note under the plot reports it.
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
    """The rows to draw, and for each the number of items of each class. Raises ValueError if the items differ."""
    rows = [name for name in dict.fromkeys(names) if name != reference]
    if not rows:
        raise NothingToDraw(f"no items won to draw: no row except the reference {reference!r} was given")
    for name in (reference, *rows):
        if name not in verdicts:
            raise ValueError(f"no verdicts of {name!r} were given; given: {', '.join(map(repr, verdicts)) or 'none'}")
        if len(verdicts[name]) != len(verdicts[reference]):
            raise ValueError(
                f"{name!r} and {reference!r} must be graded on the same items, "
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
    return "mixed or not graded" if ours is None or theirs is None else words.get((ours, theirs), "mixed or not graded")


def _by_difficulty(columns: Sequence[Sequence[float | None]]) -> list[int]:
    """The items, those that most rows solve first, else in their given order."""
    solved = [sum(value == 1.0 for value in item) for item in zip(*columns, strict=True)]
    return sorted(range(len(solved)), key=lambda i: (-solved[i], i))


HALF = 10.0  # points that a strip extends above its middle, and below


@dataclass(frozen=True)
class _Band:
    """The part of a strip that shows one class: how far it extends below and above the middle, in points per column."""

    kind: str
    down: Sequence[float]
    up: Sequence[float]

    def corners(self) -> int:
        """About how many points the outline has."""
        return sum((2 if down == 0 or up == 0 else 4) for _, down, up in self.runs() if down or up)

    def runs(self) -> list[tuple[int, float, float]]:
        """(first column, down, up) at every change."""
        ends = list(zip(self.down, self.up, strict=True))
        return [(i, *end) for i, end in enumerate(ends) if i == 0 or end != ends[i - 1]]


def _bands(kinds: Sequence[str], pool: int) -> list[_Band]:
    """The classes of one row, in the order in which they are drawn over each other.

    Above the middle: the row is right; below: the reference is right. In a column of several items the shares are
    stacked from the middle: won or lost, then both right, then mixed at half the height. In steps of half a point, at
    least one.
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
                top.append(reached if count else 0.0)  # skip what is hidden completely: it would show at the edges
        return tops

    up, down, nothing = stacked("gained"), stacked("lost"), [0.0] * len(columns)
    return [
        _Band(_MIXED, down[2], up[2]),
        _Band("both right", down[1], up[1]),
        _Band("gained", nothing, up[0]),
        _Band("lost", down[0], nothing),
    ]


def _pooled(classes: Mapping[str, Sequence[str]]) -> tuple[int, dict[str, list[_Band]]]:
    """The smallest number of items per column (1, 2, 5, 10, ...) that keeps the SVG small, and each row's bands."""
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
    sheet = open_sheet(width, pitch * len(classes) + 24, title, "", note)
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
    """Draw under the strips how many rows solve the items there."""
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


def wins_words(facts: Facts) -> str:
    _, counts = _won(facts["names"], facts["verdicts"], facts["reference"])
    said = [f"{name} {', '.join(f'{n:,} {kind}' for kind, n in found.items() if n)}" for name, found in counts.items()]
    n = len(facts["verdicts"][facts["reference"]])
    return f"Of {n:,} items, against {facts['reference']}: {joined(said)}."
