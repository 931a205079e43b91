"""Plots of runs as SVG text: dev scores by cost, and the metrics that training stages logged.

Pure functions: the same input gives the same bytes (see `drawing`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from harness.rendering.drawing import (
    FAINT,
    GRID,
    PAPER,
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

UNITS: Mapping[str, str] = {  # unit of cost -> label of its axis
    "flops": "FLOPs",
    "tokens": "tokens processed",
    "generated": "tokens generated",
    "device_s": "device-seconds",
}
LOGGED: Mapping[str, str] = {  # what a progress line may hold -> label of its axis
    "loss": "loss",
    "reward": "mean reward",
    "entropy": "entropy (nats per token)",
    "kl": "KL to the reference (nats)",
    "clipped": "replies clipped at max_tokens (%)",
    "completion_tokens": "tokens per completion",
    "lr": "learning rate",
}
IN_PERCENT = {"clipped"}
LOG_SPAN = 100  # a cost axis is logarithmic if its largest cost is more than this many times its smallest above 0
MARKS_PER_LINE = 8  # on the long lines of a training log


@dataclass(frozen=True)
class Point:
    """A checkpoint of a run, scored on the dev split."""

    strategy: str
    seed: int
    score: float  # share right, 0..1
    costs: Mapping[str, float]  # by unit of UNITS: spent when it was made; a unit left out was not measured


@dataclass(frozen=True)
class _Curve:
    """One line of a panel. style: its index among the names. y is NaN at a gap in the line.

    low, high: the band, over the first len(low) points. n_whole: number of points with all seeds; later points have
    fewer.
    """

    style: int
    x: Sequence[float]
    y: Sequence[float]
    n_whole: int
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class _Panel:
    """One panel of a figure. in_percent: y is a share, 0 to 100. base: y of the dashed line; None: no line."""

    key: str
    x_label: str
    y_label: str
    lines: Sequence[_Curve]
    x_text: Callable[[float], str]
    in_percent: bool = False
    is_log: bool = False
    base: float | None = None


def learning_curves(points: Sequence[Point], title: str, base: float | None = None, unit: str | None = None) -> str:
    """SVG of dev score by cost: a panel for each unit in which any cost is above zero, or one panel for `unit`.

    A line is the mean over seeds, of their first checkpoints, their second and so on, in the order of cost; x is the
    mean cost. The band is the range over seeds. base: score of the model that all runs started from. Raises ValueError
    if there is nothing to draw, and for a score or cost that is not a number.
    """
    _refuse(points, base, unit)
    names = list(dict.fromkeys(p.strategy for p in points))
    runs: dict[str, dict[int, list[Point]]] = {name: {} for name in names}
    for p in sorted(points, key=lambda p: [p.costs.get(each, 0.0) for each in UNITS]):
        runs[p.strategy].setdefault(p.seed, []).append(p)
    panels = []
    for each in [unit] if unit else [u for u in UNITS if any(p.costs.get(u) for p in points)]:
        found = [_over_seeds(style, each, seeds.values()) for style, seeds in enumerate(runs.values())]
        lines = [line for line in found if line.x]
        spent = [x for line in lines for x in line.x if x > 0]
        panels.append(
            _Panel(
                each,
                UNITS[each],
                "dev score (%)",
                lines,
                number_text if each == "flops" else count_text,
                in_percent=True,
                is_log=bool(spent) and max(spent) > LOG_SPAN * min(spent),
                base=None if base is None else 100 * base,
            )
        )
    notes = ""
    if any(line.low for panel in panels for line in panel.lines):
        notes += "Line: mean over seeds. Band: lowest to highest seed. "
    if any(line.n_whole < len(line.x) for panel in panels for line in panel.lines):
        notes += "Hollow: the mean of fewer seeds, as one or more had stopped."
    return _svg(panels, names, title, notes.strip())


def training_series(series: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> str:
    """SVG of the metrics that training stages logged: a panel for each key of LOGGED that was logged, a line per run.

    series: a run's label -> the lines of its progress.jsonl. x is `fraction`, the share of the budget. Lines without
    the key are skipped; a value that is not finite makes a gap. Raises ValueError if there is nothing to draw.
    """
    panels = []
    for key, label in LOGGED.items():
        scale = 100 if key in IN_PERCENT else 1
        lines = []
        for style, rows in enumerate(series.values()):
            held = [row for row in rows if _is_placed(row) and isinstance(row.get(key), (int, float))]
            x = [100.0 * row["fraction"] for row in held]
            y = [float(scale * row[key]) if math.isfinite(row[key]) else math.nan for row in held]
            if any(map(math.isfinite, y)):
                lines.append(_Curve(style, x, y, len(x)))
        if lines:
            panels.append(_Panel(key, "share of the budget (%)", label, lines, number_text, key in IN_PERCENT))
    if not panels:
        told = f" of {', '.join(map(repr, series))}" if series else ""
        raise ValueError(f"no training series to draw: no progress line{told} holds any of {', '.join(LOGGED)}")
    return _svg(panels, list(series), title, "")


def _refuse(points: Sequence[Point], base: float | None, unit: str | None) -> None:
    if not points:
        raise ValueError("no learning curve to draw: no points were given")
    for p in points:
        who = f"strategy {p.strategy!r}, seed {p.seed}"
        if not 0 <= p.score <= 1:
            raise ValueError(f"{who}: score must be a share in [0, 1], got {p.score}")
        for name, cost in p.costs.items():
            if name not in UNITS:
                raise ValueError(f"{who}: unknown unit of cost {name!r}; units: {', '.join(UNITS)}")
            if not 0 <= cost < math.inf:
                raise ValueError(f"{who}: cost in {name!r} must be a finite number >= 0, got {cost}")
    if base is not None and not 0 <= base <= 1:
        raise ValueError(f"base must be a share in [0, 1], got {base}")
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unknown unit of cost {unit!r}; units: {', '.join(UNITS)}")
    if unit is not None and not any(unit in p.costs for p in points):
        raise ValueError(f"no learning curve to draw: no point has a cost in {unit!r}")
    if unit is None and not any(cost for p in points for cost in p.costs.values()):
        raise ValueError("no learning curve to draw: no point has a cost above 0")


def _over_seeds(style: int, unit: str, runs: Iterable[Sequence[Point]]) -> _Curve:
    """Mean, lowest and highest seed at each checkpoint of one strategy; a run that ended early counts until its end."""
    measured = [[p for p in run if unit in p.costs] for run in runs]
    steps = [[run[k] for run in measured if len(run) > k] for k in range(max(map(len, measured)))]
    several = [step for step in steps if len(step) > 1]
    return _Curve(
        style,
        [fmean(p.costs[unit] for p in step) for step in steps],
        [100 * fmean(p.score for p in step) for step in steps],
        sum(len(step) == len(steps[0]) for step in steps),
        [100 * min(p.score for p in step) for step in several],
        [100 * max(p.score for p in step) for step in several],
    )


def _is_placed(row: Mapping[str, Any]) -> bool:
    """Whether a progress line has its share of the budget."""
    return isinstance(row.get("fraction"), (int, float)) and math.isfinite(row["fraction"])


def _svg(panels: Sequence[_Panel], names: Sequence[str], title: str, notes: str) -> str:
    return svg(lambda: _figure(panels, names, title, notes), title)


def _figure(panels: Sequence[_Panel], names: Sequence[str], title: str, notes: str) -> Figure:
    """The figure, from top to bottom: title, panels in rows of two, legend, notes. All sizes in inches."""
    from matplotlib.figure import Figure

    columns = min(len(panels), 2)
    rows = math.ceil(len(panels) / columns)
    wide, high = (3.9, 2.5) if columns == 2 else (6.4, 3.4)
    left, right, below = 0.75, 0.45, 0.65  # around each panel: y label; "base"; x label
    used = sorted({line.style for panel in panels for line in panel.lines})
    entry = 0.8 + max(text_width(names[style]) / 72 for style in used)  # a name and its line in the legend
    width = max(columns * (left + wide + right), left + entry)
    legend_columns = max(1, min(len(used), int((width - left) / entry)))
    headline = textwrap.wrap(title, int(7.5 * width))
    head = 0.3 + 0.22 * len(headline)
    foot = 0.1 + 0.2 * math.ceil(len(used) / legend_columns) + (0.25 if notes else 0.0)
    height = head + rows * (high + below) + foot

    figure = Figure(figsize=(width, height))
    figure.text(left / width, 1 - 0.15 / height, "\n".join(headline), va="top", fontsize=12, fontweight="bold")
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        x = left + column * (left + wide + right)
        y = height - head - row * (high + below) - high
        _draw(figure.add_axes((x / width, y / height, wide / width, high / height)), panel)
    _legend(figure, [names[style] for style in used], used, legend_columns, (left / width, foot / height))
    if notes:
        figure.text(left / width, 0.12 / height, notes, va="bottom", fontsize=8, color=FAINT)
    return figure


def _draw(axes: Axes, panel: _Panel) -> None:
    axes.set_gid(f"panel-{panel.key}")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    for line in panel.lines:
        shown = look(line.style)
        n = len(line.low)
        if n == 1:  # no area: a bar
            bar = axes.vlines(line.x[:1], line.low, line.high, color=shown["color"], alpha=0.25, linewidth=4)
            bar.set_gid(f"band-{panel.key}-{line.style}")
        elif n > 1:
            band = axes.fill_between(line.x[:n], line.low, line.high, color=shown["color"], alpha=0.12, linewidth=0)
            band.set_gid(f"band-{panel.key}-{line.style}")
        crowded = len(line.x) > 2 * MARKS_PER_LINE
        if crowded:
            shown |= {"linewidth": 0.9, "alpha": 0.85}
        marked = range(0, len(line.x), math.ceil(len(line.x) / MARKS_PER_LINE) if crowded else 1)
        (curve,) = axes.plot(line.x, line.y, **shown, markevery=[k for k in marked if k < line.n_whole])
        curve.set_gid(f"line-{panel.key}-{line.style}")
        if fewer := [k for k in marked if k >= line.n_whole]:
            shown |= {"linestyle": "none", "markerfacecolor": PAPER, "markeredgewidth": 1.1}
            (hollow,) = axes.plot([line.x[k] for k in fewer], [line.y[k] for k in fewer], **shown)
            hollow.set_gid(f"hollow-{panel.key}-{line.style}")
    if panel.base is not None:
        rule = axes.axhline(panel.base, color=FAINT, linestyle=(0, (6, 4)), linewidth=1.0, zorder=1.5)
        rule.set_gid(f"base-{panel.key}")
        axes.text(1.01, panel.base, "base", transform=rule.get_transform(), va="center", color=FAINT)
    _scale(axes, panel)


def _scale(axes: Axes, panel: _Panel) -> None:
    """Set limits and ticks: x from 0 unless it is logarithmic; y of a share spans at least a point within 0 to 100."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    x = [value for line in panel.lines for value in line.x]
    top, steps = max(x) or 1.0, list(TICK_STEPS)
    if panel.is_log:
        least = min(value for value in x if value > 0)
        rim = (top / least) ** 0.04
        if min(x) > 0:
            axes.set_xscale("log")
            axes.set_xlim(least / rim, top * rim)
        else:  # 0 is drawn to the left of the smallest cost
            axes.set_xscale("symlog", linthresh=least, linscale=0.6)
            axes.set_xlim(-0.4 * least, top * rim)
    else:
        axes.set_xlim(-0.03 * top, 1.04 * top)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=steps))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: panel.x_text(value)))
    if panel.in_percent:
        y = [value for line in panel.lines for value in (*line.y, *line.low, *line.high) if math.isfinite(value)]
        y += [] if panel.base is None else [panel.base]
        rim = max(0.06 * (max(y) - min(y)), 1.0)
        low, high = max(min(y) - rim, 0.0), min(max(y) + rim, 100.0)
        axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    y_text = percent_text if panel.in_percent else number_text
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: y_text(value)))


def _legend(figure: Figure, names: Sequence[str], styles: Sequence[int], n: int, corner: tuple[float, float]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **look(style)) for style in styles]
    legend = figure.legend(
        lines,
        ["?"] * len(lines),
        loc="upper left",
        bbox_to_anchor=corner,
        ncols=n,
        frameon=False,
        handlelength=3.4,
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.55,
    )
    legend.set_gid("legend")
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)  # set here, since matplotlib leaves out labels that begin with "_"
