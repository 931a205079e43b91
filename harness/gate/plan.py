"""Power of a gate before anything is run: the smallest testable margin, and the cost of a check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from scipy.stats import norm

from harness.errors import DataError, UsageError
from harness.gate import lock as locks
from harness.gate.decide import PRIMARY, Settings
from harness.gate.lock import PerItem
from harness.rendering import tables
from harness.statistics import intervals, sequential

POWER = 0.8


@dataclass(frozen=True)
class Part:
    """One check as planned. error: standard error of its difference, as a share; n: items."""

    task: str
    n: int
    margin: float
    error: float


@dataclass(frozen=True)
class SampleSizePlan:
    """settings: with all margins set. within: share of items two samples of the baseline answer differently.

    discordance: for each task the share of items that two equally good checkpoints are assumed to answer differently.
    """

    settings: Settings
    parts: tuple[Part, ...]
    samples: int
    discordance: Mapping[str, float]
    within: float | None
    tokens: float


def plan(
    baseline: PerItem,
    settings: Settings,
    margin: float | None,
    margins: Mapping[str, float],
    discordance: float = intervals.DISCORDANCE,
    underpowered: bool = False,
) -> SampleSizePlan:
    """The checks of a gate against this baseline. margin, margins: in points; None or left out: the smallest testable.

    discordance: the share of items that two equally good checkpoints are assumed to answer differently, if the score
    allows so many. A margin is testable if an unchanged checkpoint passes with 80 % power. Raises `UsageError` for a
    smaller one unless `underpowered`, and for a task that is not in the baseline.
    """
    tasks = list(dict.fromkeys(item.task for item in baseline.items))
    for name, points in {PRIMARY: margin, **margins}.items():
        if points is not None and not 0 < points < 100:
            raise UsageError(f"the margin of {name} must lie between 0 and 100 points, got {points:g}")
    if not locks.LEAST_ALPHA <= settings.alpha < 0.5:
        raise UsageError(f"--alpha must lie between {locks.LEAST_ALPHA:g} and 0.5, got {settings.alpha:g}")
    if unknown := [task for task in margins if task not in tasks]:
        raise UsageError(f"--task-margin {unknown[0]}: the baseline has no such task; its tasks: {', '.join(tasks)}")
    errors, sizes, means, assumed = {}, {}, {}, {}
    for task in tasks:
        items = [item for item in baseline.items if item.task == task and item.n]
        if not items:
            raise DataError(f"{baseline.name!r}: no reply to {task} has a verdict; evaluate it again")
        sizes[task] = len(items)
        score = fmean(getattr(item, settings.reading) / item.n for item in items)
        means[task] = 100 * score
        assumed[task] = min(discordance, most_discordant(score, len(items)))
        errors[task] = math.sqrt(_variance(baseline, task, settings, assumed[task]) / len(items))
    together = _together(errors, sizes, settings)
    if len(tasks) > 1:
        found = {task: _margin(task, margins.get(task), errors[task], settings, underpowered) for task in tasks}
        overall = _margin(PRIMARY, margin, together, settings, underpowered)
        parts = [Part(PRIMARY, sum(sizes.values()), overall, together)]
    else:
        found, parts = {}, []
        overall = _margin(tasks[0], margins.get(tasks[0], margin), together, settings, underpowered)
    weights = _weights(sizes, settings)
    together_mean = sum(weights[task] * means[task] for task in tasks)
    whole = PRIMARY if found else tasks[0]
    asked = {whole: margin, **margins}
    for name, points, mean in [(whole, overall, together_mean), *((task, found[task], means[task]) for task in found)]:
        if points >= mean:
            what = f"a margin of {points:g} points for {name}"
            if asked.get(name) is None:
                what = f"the smallest margin that this many items can test is {points:g} points for {name}, which"
            raise UsageError(
                f"{what} is larger than the baseline's own {settings.reading} score ({mean:.1f}), so losing all of it "
                "would pass; use more items, more samples per item, or leave the task out"
            )
    agreed = replace(settings, margin=overall, margins=found)
    parts += [Part(task, sizes[task], found.get(task, overall), errors[task]) for task in tasks]
    within = _within(baseline, settings) if baseline.samples > 1 else None
    return SampleSizePlan(agreed, tuple(parts), baseline.samples, assumed, within, baseline.tokens_per_reply)


def most_discordant(score: float, n: int) -> float:
    """The largest share of n items on which an equally good checkpoint differs from a baseline with this score.

    It loses at most what the baseline has right, and gains as much, at most what the baseline has wrong: twice the
    smaller of the two. What is right is counted, as one item at least; what is wrong is taken at the upper end of its
    95 % interval, since a baseline with a lucky score has fewer items to gain than an equally good checkpoint loses.
    """
    wrong = intervals.wilson(round((1 - score) * n), n).high
    return 2 * min(max(score, 1 / n), wrong)


def _margin(task: str, asked: float | None, error: float, settings: Settings, underpowered: bool) -> float:
    """The margin in points: the one given, else the smallest with 80 % power for an unchanged checkpoint."""
    least = 100 * float(norm.isf(settings.alpha) + norm.ppf(POWER)) * error
    if asked is None:
        return math.ceil(10 * least) / 10
    if asked < least - 0.05 and not underpowered:
        raise UsageError(
            f"a margin of {asked:g} points for {task} is too small for this many items: an unchanged checkpoint "
            f"would pass {100 * _passes(asked, error, settings):.0f} % of the time; the smallest with "
            f"{100 * POWER:.0f} % power is {least:.1f} points. Use that, more items or more samples "
            "per item, or --underpowered"
        )
    return asked


def _passes(margin: float, error: float, settings: Settings) -> float:
    return float(norm.cdf(margin / 100 / error - norm.isf(settings.alpha)))


def _variance(baseline: PerItem, task: str | None, settings: Settings, discordance: float) -> float:
    """Variance of one item's score difference between two equally good checkpoints.

    Several samples per item reduce only the sampling variance, estimated from the samples of the baseline.
    """
    if baseline.samples < 2:
        return discordance
    within = _within(baseline, settings, task)
    return max(discordance - within, 0.0) + within / baseline.samples


def _within(baseline: PerItem, settings: Settings, task: str | None = None) -> float:
    """Share of items that two samples of the same checkpoint answer differently."""
    items = [item for item in baseline.items if item.n > 1 and task in (None, item.task)]
    shares = np.array([getattr(item, settings.reading) / item.n for item in items])
    n = np.array([item.n for item in items])
    return float((2 * shares * (1 - shares) * n / (n - 1)).mean()) if items else 0.0


def _together(errors: Mapping[str, float], sizes: Mapping[str, int], settings: Settings) -> float:
    """Standard error of the score of all tasks together."""
    weights = _weights(sizes, settings)
    return math.sqrt(sum((weights[task] * errors[task]) ** 2 for task in errors))


def _weights(sizes: Mapping[str, int], settings: Settings) -> dict[str, float]:
    """The weight of each task in the score of all tasks together."""
    if settings.primary == "macro":
        return dict.fromkeys(sizes, 1 / len(sizes))
    return {task: n / sum(sizes.values()) for task, n in sizes.items()}


DROPS = (0, 1, 2, 3, 5)


def chances(part: Part, settings: Settings, checks: int, drop: float) -> tuple[float, float, float]:
    """(blocked, passed, share of items used) for a true drop in points: a normal model, 20,000 draws of a fixed seed.

    checks: tests of the gate in all; BLOCK is corrected for them as at Holm's first step.
    """
    fractions = settings.fractions
    times = np.array(fractions) / part.error**2
    steps = np.diff(times, prepend=0.0)
    noise = np.random.default_rng(0).normal(size=(_DRAWS, len(times))) * np.sqrt(steps)
    path = (noise + steps * (-drop / 100)).cumsum(axis=1)
    worse = norm.cdf(path / np.sqrt(times))
    below = norm.sf((path + times * part.margin / 100) / np.sqrt(times))
    block = worse < np.array(sequential.levels(settings.alpha / checks, fractions))
    passed = below < np.array(sequential.levels(settings.alpha, fractions))
    over = block | passed
    first = np.where(over.any(axis=1), over.argmax(axis=1), len(times) - 1)
    rows = np.arange(_DRAWS)
    return (
        float((block & ~passed)[rows, first].mean()),
        float(passed[rows, first].mean()),
        float(np.array(fractions)[first].mean()),
    )


_DRAWS = 20_000


def passes(planned: SampleSizePlan, baselines: int) -> float:
    """The chance that an unchanged checkpoint passes every check with this number of baselines; model as in `chances`.

    The candidate's share of the noise is the same for each baseline.
    """
    settings, parts = planned.settings, planned.parts
    tasks = [part for part in parts if part.task != PRIMARY or len(parts) == 1]
    weights = np.array(list(_weights({part.task: part.n for part in tasks}, settings).values()))
    steps = np.sqrt(np.diff(np.array(settings.fractions), prepend=0.0))
    random = np.random.default_rng(0)
    shape = (_DRAWS, len(tasks), len(steps))
    candidate = random.normal(size=shape)
    levels = np.array(sequential.levels(settings.alpha, settings.fractions))
    passed = np.ones(_DRAWS, bool)
    for _ in range(baselines):
        noise = (candidate + random.normal(size=shape)) / math.sqrt(2) * steps
        gaps = noise.cumsum(axis=2) / np.array(settings.fractions) * np.array([part.error for part in tasks])[:, None]
        for part in parts:
            if part.task == PRIMARY and len(parts) > 1:
                mean, error = np.einsum("dtl,t->dl", gaps, weights), part.error
            else:
                place = [one.task for one in tasks].index(part.task)
                mean, error = gaps[:, place], part.error
            z = (mean + part.margin / 100) / error * np.sqrt(np.array(settings.fractions))
            passed &= (norm.sf(z) < levels).any(axis=1)
    return float(passed.mean())


def _shares(discordance: Mapping[str, float]) -> str:
    """The share of items by task, or one for all: "20 % of the items of t, 12.6 % of u"."""
    texts = {task: f"{100 * share:.3g} %" for task, share in discordance.items()}
    if len(set(texts.values())) == 1:
        return f"{next(iter(texts.values()))} of the items"
    first, *others = texts
    return f"{texts[first]} of the items of {first}, " + ", ".join(f"{texts[task]} of {task}" for task in others)


def plan_lines(planned: SampleSizePlan, baselines: int = 1) -> Sequence[str]:
    """The plan as lines of text for the terminal."""
    settings, parts = planned.settings, planned.parts
    checks = len(parts) * baselines
    kinds = {
        "fixed": "one decision after all items",
        "group-sequential": f"up to {settings.looks} interim analyses, stops when decided",
    }
    text = [
        f"{tables.count(checks, 'check')}, each one-sided at {100 * settings.alpha:g} %, {settings.reading} scores",
        f"{settings.design}: {kinds[settings.design]}",
        f"assumed: two equally good checkpoints answer {_shares(planned.discordance)} differently",
    ]
    if planned.within is not None:
        text.append(
            f"measured: two samples of the baseline differ on {100 * planned.within:.1f} % of the items; "
            f"{planned.samples} samples per item are drawn"
        )
    for part in parts:
        text += ["", f"{part.task}: {part.n:,} items, margin {part.margin:g} points"]
        for drop in DROPS:
            blocked, passed, used = chances(part, settings, checks, drop)
            name = "unchanged" if not drop else f"{tables.count(int(drop), 'point')} worse"
            tail = f", {100 * used:.0f} % of the items" if settings.design == "group-sequential" else ""
            text.append(f"  {name:<15} PASS {100 * passed:3.0f} %   BLOCK {100 * blocked:3.0f} %{tail}")
    if checks > 1:
        whole = 100 * passes(planned, baselines)
        text += ["", f"all {checks} checks: an unchanged checkpoint passes {whole:.0f} % of the time"]
    replies = sum(part.n for part in parts if part.task != PRIMARY) * planned.samples
    text += ["", f"cost of a check: at most {replies:,} replies, about {replies * planned.tokens:,.0f} tokens"]
    return text
