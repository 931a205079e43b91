"""The forest plot: paired differences to the reference row, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.rendering import tables
from harness.rendering.drawing import FAINT, GRID, TEXT, number_text, svg, text_width
from harness.rendering.layout import (
    BLUE,
    EDGE,
    FONTS,
    PAGE,
    RED,
    ROLES,
    SIGNS,
    Facts,
    NothingToDraw,
    base_name,
    board_with_rows,
    joined,
    label_rows,
    open_sheet,
    ranked_together,
    seeds_note,
    ticks_of,
    width_of_names,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_BASE = "no forest plot to draw: the board has no base that rows are compared with"


def difference_rows(facts: Facts) -> list[dict[str, Any]]:
    """The rows for `forest_of`, in the board's order: name, role, value, low, high, n, and the verdict if any."""
    rows = [row for row in ranked_together(facts, "forest plot")["rows"] if "difference" in row]
    found = []
    for row in rows:
        gap = row["difference"]
        verdict = gap.get("verdict")
        kept = {"name": row["name"], "role": row["role"], **{key: gap[key] for key in ("value", "low", "high", "n")}}
        found.append(kept if verdict is None else kept | {"verdict": verdict})
    return found


def board_forest(facts: Facts, margin: float | None = None) -> str:
    """SVG of each row's difference to the base in points, with its interval. margin: see `forest_of`."""
    found = difference_rows(facts)
    if not found:
        raise NothingToDraw(_NO_BASE)
    board = board_with_rows(facts)
    return forest_of(found, base_name(board), str(board["title"]), margin, seeds_note(board["rows"]))


def forest_of(
    rows: Sequence[Mapping[str, Any]],
    reference: str,
    title: str,
    margin: float | None = None,
    note: str = "",
    level: float = 0.95,
) -> str:
    """SVG of differences to `reference` in points, one row each, with their intervals and n.

    rows: name, value, low, high as shares (0.02 is 2 points), n. Optional: verdict, drawn as its sign in `SIGNS`, or as
    text if it has no sign; role, which marks base and teacher. margin: also a share; differences below -margin are
    shaded. level: of the intervals. Raises ValueError if there are no rows, and for values that are not finite.
    """
    if not rows:
        raise NothingToDraw("no forest plot to draw: no rows were given")
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
    left = width_of_names(names, [False] * len(names))
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
    sheet = open_sheet(left + wide + right, above + high + 42, title, f"Difference to {reference}, in points", text)
    axes = sheet.axes(left, above, wide, high)
    axes.set_gid("panel-forest")
    label_rows(axes, names, [False] * len(names), len(rows), wide)
    ends = [100 * value for row in rows for value in (row["low"], row["high"])] + [0.0]
    ends += [] if margin is None else [-100 * margin]
    rim = max(0.06 * (max(ends) - min(ends)), 0.2)
    low, top = min(ends) - rim * (1 if margin is None else 2), max(ends) + rim
    axes.set_xlim(low, top)
    marked = ticks_of(low, top, 9)
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
    """Sign, marker and colour of a row of the forest plot."""
    verdict = str(row.get("verdict") or "")
    marker, colour = ROLES.get(str(row.get("role")), ("o", BLUE))
    return SIGNS.get(verdict, (verdict, marker, colour))


def forest_words(facts: Facts) -> str:
    is_board = "reference" not in facts or "rows" not in facts or "title" in facts
    rows, reference = (difference_rows(facts), "") if is_board else (facts["rows"], facts["reference"])
    if not rows:
        raise NothingToDraw(_NO_BASE)
    said = [f"{r['name']} {tables.percent(r, '+')}{', ' + r['verdict'] if r.get('verdict') else ''}" for r in rows]
    return f"Differences to {reference or base_name(board_with_rows(facts))} in points (95 % interval): {joined(said)}."
