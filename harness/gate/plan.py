"""Power of a gate before anything is run: the smallest testable margin, and the cost of a check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import fmean

import numpy as np
from scipy import optimize
from scipy.stats import norm

from harness.errors import DataError, UsageError
from harness.gate import lock as locks
from harness.gate.decide import LOOKS, PRIMARY, TO_BLOCK, TO_PASS, Settings
from harness.gate.family import WHOLE, Share
from harness.gate.lock import PerItem
from harness.rendering import tables
from harness.statistics import intervals, sequential
from harness.statistics.unpaired import Published

POWER = 0.9  # the chance that the whole gate passes an unchanged checkpoint, with margins that are not given
LEAST_POWER = 0.8  # the chance that one check passes it; a given margin with less is refused
BASELINES = 2  # of a lock, once a candidate was accepted: release and previous


@dataclass(frozen=True)
class Part:
    """One check as planned. error: standard error of its difference, as a share; n: items.

    single: one sample per item on both sides, so that the scores are 0 or 1. paired: the baseline has records. related:
    the variance over that of independent items.
    """

    task: str
    n: int
    margin: float
    error: float
    single: bool = True
    paired: bool = True
    related: float = 1.0


@dataclass(frozen=True)
class OfScore:
    """A margin as a percentage of the baseline's score."""

    percent: float

    def points(self, score: float) -> float:
        """The margin in points; score: in percent."""
        return round(self.percent / 100 * score, 2)


@dataclass(frozen=True)
class SampleSizePlan:
    """settings: with all margins set. within: share of items two samples of the baseline answer differently.

    discordance: for each task the share of items that two equally good checkpoints are assumed to answer differently.
    of_scores: the margins that were given as a percentage of the baseline's score, in words. times_larger: the error of
    an unpaired comparison with published scores, in those of a paired one; None: the baseline has records.
    """

    settings: Settings
    parts: tuple[Part, ...]
    samples: int
    discordance: Mapping[str, float]
    within: float | None
    tokens: float
    of_scores: Mapping[str, str]
    times_larger: float | None = None


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a gate; None or left out: the default.

    margin, margins: of all tasks together and of tasks. discordance: the share of items that two equally good
    checkpoints are assumed to answer differently, if the score allows so many. underpowered: accept a margin that is
    too small to test. samples: replies per item of a candidate; None: as many as the baseline has.
    """

    margin: float | OfScore | None = None
    margins: Mapping[str, float | OfScore] = field(default_factory=dict)
    discordance: float = intervals.DISCORDANCE
    underpowered: bool = False
    samples: int | None = None


def plan(baseline: PerItem, settings: Settings, wanted: Wanted) -> SampleSizePlan:
    """The checks of a gate with this baseline.

    All margins that are not given are the same number of standard errors, the smallest at which the whole gate with two
    baselines passes an unchanged checkpoint with 90 % power. Raises `UsageError` for a given one that a single check
    passes with less than 80 % unless `underpowered`, and for a task that is not in the baseline.
    """
    margin, margins, samples = wanted.margin, wanted.margins, wanted.samples or baseline.samples
    if not 1 <= samples <= baseline.samples and not baseline.published:
        raise UsageError(
            f"--samples {samples}: the baseline has {baseline.samples} per item, so a candidate cannot have more"
        )
    tasks = list(dict.fromkeys(item.task for item in baseline.items))
    if not locks.LEAST_ALPHA <= settings.alpha < 0.5:
        raise UsageError(f"--alpha must lie between {locks.LEAST_ALPHA:g} and 0.5, got {settings.alpha:g}")
    for option, named in (("--task-margin", margins), ("--tier", settings.tiers)):
        if unknown := [task for task in named if task not in tasks]:
            raise UsageError(f"{option} {unknown[0]}: the baseline has no such task; its tasks: {', '.join(tasks)}")
    if settings.tiers and len(tasks) == 1:
        raise UsageError(f"--tier {tasks[0]}: the only task of a gate is always critical")
    errors, sizes, means, assumed = {}, {}, {}, {}
    for task in tasks:
        score, sizes[task] = _score(baseline, task, settings)
        means[task] = 100 * score
        assumed[task] = min(wanted.discordance, most_discordant(score, sizes[task]))
        errors[task] = math.sqrt(_variance(baseline, task, settings, assumed[task], samples) / sizes[task])
    together, times_larger = _together(errors, sizes, settings), None
    if baseline.published:
        paired, sides = together, {task: Published(*of) for task, of in baseline.published.items()}
        errors = {
            task: math.sqrt(of.variance + Published(of.share, sizes[task]).variance) for task, of in sides.items()
        }
        together = _together(errors, sizes, settings)
        times_larger = together / paired
    whole = PRIMARY if len(tasks) > 1 else tasks[0]
    weights = _weights(sizes, settings)
    means[whole] = sum(weights[task] * means[task] for task in tasks)
    given = {task: value for task, value in {whole: margin, **margins}.items() if value is not None}
    asked = {task: of.points(means[task]) if isinstance(of, OfScore) else of for task, of in given.items()}
    for task, points in asked.items():
        if not 0 < points < 100:
            raise UsageError(f"the margin of {task} must lie between 0 and 100 points, got {points:g}")
    single = baseline.samples == 1
    known, factors = not baseline.published, _related(baseline, weights, settings)
    related = [(whole, sum(sizes.values()), together, factors[PRIMARY])]
    related += [(task, sizes[task], errors[task], factors[task]) for task in tasks if task != whole]
    parts = [Part(task, n, 0.0, error * math.sqrt(by), single, known, by) for task, n, error, by in related]
    parts = with_margins(parts, asked, settings, wanted.underpowered)
    for part in parts:
        if part.margin >= means[part.task] and settings.tier(part.task) != "advisory":
            _refuse_too_large(part, means[part.task], settings, part.task in asked)
    agreed = replace(settings, margin=parts[0].margin, margins={part.task: part.margin for part in parts[1:]})
    within = _within(baseline, settings) if baseline.samples > 1 else None
    of_scores = {
        task: f"{of.percent:g} % of the baseline's {means[task]:.1f}"
        for task, of in given.items()
        if isinstance(of, OfScore)
    }
    return SampleSizePlan(
        agreed, tuple(parts), samples, assumed, within, baseline.tokens_per_reply, of_scores, times_larger
    )


def _related(baseline: PerItem, weights: Mapping[str, float], settings: Settings) -> dict[str, float]:
    """For each task, and for all together, the variance of a mean over that of independent items; at least 1.

    Of the baseline's scores: its difference to an equally good checkpoint is assumed to be as alike within clusters.
    """
    places: dict[str, list[tuple[str, float]]] = {task: [] for task in weights}
    for item in baseline.items:
        if item.n:
            places[item.task].append((item.group, getattr(item, settings.reading) / item.n))
    columns = {task: np.array([score for _, score in items]) for task, items in places.items()}
    shares = {task: (of - of.mean()) * weights[task] / len(of) for task, of in columns.items() if len(of)}
    found = {task: _times([group for group, _ in places[task]], of) for task, of in shares.items()}
    groups = [group for task in shares for group, _ in places[task]]
    return (
        dict.fromkeys(weights, 1.0) | found | {PRIMARY: _times(groups, np.concatenate([*shares.values(), [0.0]])[:-1])}
    )


def _times(groups: Sequence[str], shares: np.ndarray) -> float:
    """How many times the variance of a sum is that of independent parts."""
    if len(set(groups)) == len(groups) or not shares.any():
        return 1.0
    codes = np.unique(groups, return_inverse=True)[1]
    return max(1.0, float((np.bincount(codes, shares) ** 2).sum() / (shares**2).sum()))


def _score(baseline: PerItem, task: str, settings: Settings) -> tuple[float, int]:
    """(its share, items of a candidate) of a task in the baseline."""
    items = [item for item in baseline.items if item.task == task and (item.n or baseline.published)]
    if not items:
        raise DataError(f"{baseline.name!r}: no reply to {task} has a verdict; evaluate it again")
    if baseline.published:
        return baseline.published[task][0], len(items)
    return fmean(getattr(item, settings.reading) / item.n for item in items), len(items)


def _refuse_too_large(part: Part, mean: float, settings: Settings, given: bool) -> None:
    what = f"a margin of {part.margin:g} points for {part.task}"
    if not given:
        what = f"the smallest margin that this many items can test is {part.margin:g} points for {part.task}, which"
    without = "leave the task out" if part.task not in settings.tiers else f"--tier {part.task}=advisory"
    raise UsageError(
        f"{what} is larger than the baseline's own {settings.reading} score ({mean:.1f}), so losing all of it would "
        f"pass; use more items, more samples per item, or {without}"
    )


def with_margins(
    parts: Sequence[Part], asked: Mapping[str, float], settings: Settings, underpowered: bool
) -> list[Part]:
    """The checks with their margins: those given, the others the smallest with `POWER`."""
    for part in parts:
        if part.task in asked and not underpowered:
            _refuse_too_small(part, asked[part.task], settings)
    least = float(norm.isf(settings.alpha))
    if all(part.task in asked for part in parts):
        errors = 0.0
    else:

        def lacking(errors: float) -> float:
            # the given margins are not blamed: 100 points always pass
            tried = [replace(part, margin=100.0 if part.task in asked else 100 * errors * part.error) for part in parts]
            return POWER - whole_gate(tried, settings, BASELINES).passed

        most = least + _MOST_ERRORS
        errors = most if lacking(most) > 0 else float(optimize.brentq(lacking, least, most, xtol=1e-3))
    return [
        replace(part, margin=asked.get(part.task) or math.ceil(1000 * errors * part.error - 1e-9) / 10)
        for part in parts
    ]


_MOST_ERRORS = 8.0


def _refuse_too_small(part: Part, asked: float, settings: Settings) -> None:
    least = 100 * float(norm.isf(settings.alpha) + norm.ppf(LEAST_POWER)) * part.error
    if asked < least - 0.05:
        passed = float(norm.cdf(asked / 100 / part.error - norm.isf(settings.alpha)))
        raise UsageError(
            f"a margin of {asked:g} points for {part.task} is too small for this many items: an unchanged checkpoint "
            f"would pass {100 * passed:.0f} % of the time; the smallest with {100 * LEAST_POWER:.0f} % power is "
            f"{least:.1f} points. Use that, more items or more samples per item, or --underpowered"
        )


def most_discordant(score: float, n: int) -> float:
    """The largest share of n items on which an equally good checkpoint differs from a baseline with this score.

    It loses at most what the baseline has right, and gains as much, at most what the baseline has wrong: twice the
    smaller of the two. What is right is counted, as one item at least; what is wrong is taken at the upper end of its
    95 % interval, since a baseline with a lucky score has fewer items to gain than an equally good checkpoint loses.
    """
    wrong = intervals.wilson(round((1 - score) * n), n).high
    return 2 * min(max(score, 1 / n), wrong)


def _variance(baseline: PerItem, task: str | None, settings: Settings, discordance: float, samples: int) -> float:
    """Variance of one item's score difference between two equally good checkpoints.

    Several samples per item, of the baseline and (`samples`) of the candidate, reduce only the sampling variance, which
    is estimated from the samples of the baseline.
    """
    if baseline.samples < 2:
        return discordance
    within = _within(baseline, settings, task)
    return max(discordance - within, 0.0) + within * (1 / baseline.samples + 1 / samples) / 2


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


@dataclass(frozen=True)
class Chances:
    """Of a check or a gate: the chance of BLOCK, of PASS, and the mean share of the items used."""

    blocked: float
    passed: float
    used: float


def whole_gate(
    parts: Sequence[Part],
    settings: Settings,
    baselines: int,
    drops: Mapping[str, float] | None = None,
    share: Share = WHOLE,
) -> Chances:
    """What the gate decides if the true drops of the tasks are these, in points: a normal model of a fixed seed.

    drops: of tasks; one that is not named is unchanged. All of a drop are items lost in addition, which makes it harder
    to see than if fewer were gained. The candidate's part of the noise is the same for each baseline. share: of alpha.
    """
    tasks = [part for part in parts if part.task != PRIMARY]
    fractions = np.array(settings.fractions)
    weights = np.array(list(_weights({part.task: part.n for part in tasks}, settings).values()))
    lost = np.array([(drops or {}).get(part.task, 0.0) for part in tasks]) / 100
    usual = np.array([part.error for part in tasks])
    more = lost * (1 - lost) * np.array([part.related / part.n if part.paired else 0.0 for part in tasks])
    errors = np.sqrt(usual**2 + more)
    noise = _noise(len(tasks), baselines, settings.fractions) * errors[:, None]  # (baseline, draw, task, look)
    apart, before = (math.sqrt(float(((weights * of) ** 2).sum())) for of in (errors, usual))  # of all tasks
    places = {part.task: at for at, part in enumerate(tasks)}
    each = [
        np.einsum("bdtl,t->bdl", noise, weights) * (part.error / before) - weights @ lost
        if part.task == PRIMARY
        else noise[:, :, places[part.task]] - lost[places[part.task]]
        for part in parts
    ]
    known = {part.task: errors[at] for part, at in zip(tasks, places.values(), strict=True)}
    seen = [known.get(part.task, part.error * apart / before) for part in parts]
    root = np.sqrt(fractions)
    worse = np.stack([-gap / error * root for gap, error in zip(each, seen, strict=True)])
    below = np.stack(
        [
            (gap + part.margin / 100) / max(error, _error_at_margin(part, tasks, settings)) * root
            for gap, part, error in zip(each, parts, seen, strict=True)
        ]
    )
    tiers = np.repeat([settings.tier(part.task) for part in parts], baselines)
    counted = tiers != "advisory"
    flat = (-1, _DRAWS, len(fractions))
    worse, below = worse.reshape(flat)[counted], below.reshape(flat)[counted]
    return _decided(settings, share, worse, below, (tiers == "critical")[counted])


def _error_at_margin(part: Part, tasks: Sequence[Part], settings: Settings) -> float:
    """The standard error by which an unchanged checkpoint is tested for a drop of the margin."""
    margin = min(part.margin / 100, 0.99)
    if not part.paired:
        return part.error
    if part.task == PRIMARY and settings.primary == "macro":
        lost = min(margin * len(tasks), 0.5)
        squares = [max(task.error**2 / task.related, lost * (1 - lost) / task.n) for task in tasks]
        return math.sqrt(part.related * sum(squares)) / len(tasks)
    if not part.single or part.related > 1:
        lost = min(margin, 0.5)
        return max(part.error, math.sqrt(part.related * lost * (1 - lost) / part.n))
    differ = part.error**2 * part.n  # Tango's test, if half of these items are gained and half are lost
    gained = (math.sqrt(differ**2 + 4 * margin**2 * (1 - differ)) + differ + 2 * margin) / 4
    return math.sqrt((2 * gained - margin * (1 + margin)) / part.n)


def _decided(settings: Settings, share: Share, worse: np.ndarray, below: np.ndarray, critical: np.ndarray) -> Chances:
    """The verdicts by the rules of `decide`. worse, below: z of both tests of every check, (check, draw, look)."""
    checks, draws, looks = worse.shape
    fractions = settings.fractions
    passing = norm.isf(sequential.levels(settings.alpha * share.passing, fractions, TO_PASS))
    steps = np.array(
        [sequential.levels(settings.alpha * share.own / (checks - rank), fractions, TO_BLOCK) for rank in range(checks)]
    )
    blocking = norm.isf(steps)
    passed = np.zeros((checks, draws), bool)
    block, whole, used = np.zeros(draws, bool), np.zeros(draws, bool), np.ones(draws)
    for look in range(looks):
        open_ = ~(block | whole)
        z = np.where(passed, -np.inf, worse[:, :, look])  # a check that passed is closed
        now = passed | (below[:, :, look] > passing[look])
        order = np.argsort(-z, axis=0)
        rejected = np.logical_and.accumulate(np.take_along_axis(z, order, 0) > blocking[:, [look]], axis=0)
        blocked = (rejected & ~np.take_along_axis(now, order, 0)).any(axis=0) & open_
        must = now if look < looks - 1 else now[critical]
        passes = must.all(axis=0) & open_ & ~blocked
        used[(blocked | passes) & open_] = fractions[look]
        block, whole, passed = block | blocked, whole | passes, now
    return Chances(float(block.mean()), float(whole.mean()), float(used.mean()))


@cache
def _noise(tasks: int, baselines: int, fractions: tuple[float, ...]) -> np.ndarray:
    """Mean differences in standard errors of all items: (baseline, draw, task, look)."""
    random = np.random.default_rng(0)
    shape = (_DRAWS, tasks, len(fractions))
    steps = np.sqrt(np.diff(np.array(fractions), prepend=0.0))
    candidate = random.normal(size=shape)
    noise = np.stack([(candidate + random.normal(size=shape)) / math.sqrt(2) for _ in range(baselines)])
    return np.asarray((noise * steps).cumsum(axis=3) / np.array(fractions))


_DRAWS = 10_000


def _shares(discordance: Mapping[str, float]) -> str:
    """The share of items by task, or one for all: "20 % of the items of t, 12.6 % of u"."""
    texts = {task: f"{100 * share:.3g} %" for task, share in discordance.items()}
    if len(set(texts.values())) == 1:
        return f"{next(iter(texts.values()))} of the items"
    first, *others = texts
    return f"{texts[first]} of the items of {first}, " + ", ".join(f"{texts[task]} of {task}" for task in others)


DROPS = (0, 1, 2, 3, 5, 8)


def plan_lines(planned: SampleSizePlan, baselines: int = 1) -> Sequence[str]:
    """The plan as lines of text for the terminal. baselines: of the lock now."""
    settings, parts = planned.settings, planned.parts
    counted = sum(settings.tier(part.task) != "advisory" for part in parts) * baselines
    kinds = {
        "fixed": "one decision after all items",
        "group-sequential": f"up to {len(LOOKS)} interim analyses, stops when decided",
    }
    text = [
        f"{tables.count(counted, 'check')}, each one-sided at {100 * settings.alpha:g} %, {settings.reading} scores",
        f"{settings.design}: {kinds[settings.design]}",
    ]
    if planned.times_larger is None:
        alike = f"two equally good checkpoints answer {_shares(planned.discordance)} differently"
        text.append(f"assumed: {alike}, a worse one loses items besides")
    else:
        text.append(
            "unpaired: the baseline is a published score without records, so the smallest testable margin is "
            f"{planned.times_larger:.1f} times that of a paired comparison on these items"
        )
    if planned.within is not None:
        text.append(
            f"measured: two samples of the baseline differ on {100 * planned.within:.1f} % of the items; "
            f"{tables.count(planned.samples, 'sample')} per item of a candidate are drawn"
        )
    text += [""]
    for part in parts:
        tier = f", {settings.tier(part.task)}" if len(parts) > 1 else ""
        of = f" ({planned.of_scores[part.task]})" if part.task in planned.of_scores else ""
        alike = f", related ones count as {part.n / part.related:,.0f}" if part.related > 1 else ""
        text.append(f"{part.task}: {part.n:,} items{alike}, margin {part.margin:g} points{of}{tier}")
    text += ["", *_chance_lines(planned, baselines)]
    replies = sum(part.n for part in parts if part.task != PRIMARY) * planned.samples
    tokens = f", about {replies * planned.tokens:,.0f} tokens" if planned.tokens else ""
    text += ["", f"cost of a check: at most {replies:,} replies{tokens}"]
    return text


def _chance_lines(planned: SampleSizePlan, baselines: int) -> Iterator[str]:
    """How often the gate passes and blocks: for drops in all tasks, in one task alone, and for checkpoints of a run."""
    settings, parts = planned.settings, planned.parts
    tasks = [part.task for part in parts if part.task != PRIMARY]

    def line(name: str, drops: Mapping[str, float]) -> str:
        found = whole_gate(parts, settings, baselines, drops)
        tail = f", {100 * found.used:.0f} % of the items" if settings.design == "group-sequential" else ""
        return f"  {name:<24} PASS {100 * found.passed:3.0f} %   BLOCK {100 * found.blocked:3.0f} %{tail}"

    yield f"the gate with {tables.count(baselines, 'baseline')}, for a checkpoint that is"
    for drop in sorted({*map(float, DROPS), settings.margin}):
        name = "unchanged" if not drop else f"{drop:g} point{'s' * (drop != 1)} worse"
        yield line(name + (" (the margin)" if drop == settings.margin else ""), dict.fromkeys(tasks, drop))
    if len(tasks) > 1:
        yield "worse by the margin of one task, in that task alone"
        for task in tasks:
            yield line(f"{task}, {settings.margins[task]:g} points", {task: settings.margins[task]})
    if baselines < BASELINES:
        both = 100 * whole_gate(parts, settings, BASELINES).passed
        yield f"with {BASELINES} baselines (release, previous) an unchanged checkpoint passes {both:.0f} % of the time"
    first, later = (
        whole_gate(parts, settings, baselines, share=share).passed
        for share in (Share(1 / settings.checkpoints), Share(_FIRST_LATER, 0.0, 1))
    )
    yield (
        f"checkpoints of one run: {settings.checkpoints} at equal level, of which an unchanged one passes "
        f"{100 * first:.0f} % of the time; one beyond them {100 * later:.0f} %, or more if the one before it passed"
    )


_FIRST_LATER = 1 / 20  # of alpha: the first test from the remainder
