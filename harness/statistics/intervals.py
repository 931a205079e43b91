"""Intervals and paired differences, as pure functions of numbers; shares are in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from scipy import optimize, stats

FloatArray = Sequence[float] | np.ndarray
Table = Sequence[Sequence[float]] | np.ndarray  # (seeds, items)

CONFIDENCE = 0.95
LEVEL = 0.05  # of a claim, or of a family of them together
MIN_SEEDS_FOR_CLAIM = 4  # below this no seed-aware test can reach p < 0.05 with useful power


@dataclass(frozen=True)
class Estimate:
    """A number with its n and its interval; `method` names how the interval was computed.

    p: two-sided p-value of no difference; None if the number has no test.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    p: float | None = None


@dataclass(frozen=True)
class Contrast(Estimate):
    """A difference of two strategies. error: standard error; df: degrees of freedom of its t."""

    error: float = 0.0
    df: float = 1.0


def wilson(k: int, n: int) -> Estimate:
    """Share k/n with its Wilson 95 % score interval. Raises ValueError for n = 0: no samples, no mean."""
    if n == 0:
        raise ValueError("no samples, so no share")
    interval = stats.binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(k / n, float(interval.low), float(interval.high), n, "Wilson")


def tango(gained: int, lost: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Paired difference (gained - lost)/n of two 0/1 columns with Tango's score interval.

    gained: items only the candidate has right; lost: items only the reference has right. Source: Tango 1998,
    Statistics in Medicine 17:891.
    """
    if n == 0:
        raise ValueError("no pairs, so no difference")
    z = stats.norm.ppf(0.5 + confidence / 2)
    observed = (gained - lost) / n
    score = partial(_tango_score, gained, lost, n)
    edge = 1 - 1e-12
    low = -1.0 if score(-edge) <= z else optimize.brentq(lambda d: score(d) - z, -edge, observed, xtol=1e-10)
    high = 1.0 if score(edge) >= -z else optimize.brentq(lambda d: score(d) + z, observed, edge, xtol=1e-10)
    return Estimate(observed, float(low), float(high), n, "Tango")


def _tango_score(gained: int, lost: int, n: int, delta: float) -> float:
    """The score statistic; standard normal if the true difference is delta."""
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + delta * (1 - delta))
    gap = gained - lost - n * delta
    return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0


def mid_p(gained: int, lost: int) -> float:
    """Two-sided mid-p of McNemar's test: of the items that one side alone has right, does each side have half?

    Source: Fagerland, Lydersen & Laake 2013, BMC Medical Research Methodology 13:91; it kept its level in all their
    scenarios, in which the exact test was too conservative.
    """
    n = gained + lost
    fewer = min(gained, lost)
    return float(min(1.0, 2 * stats.binom.cdf(fewer, n, 0.5) - stats.binom.pmf(fewer, n, 0.5)))


def clustered(values: FloatArray, clusters: Sequence[Hashable] | None = None) -> Contrast:
    """Mean of values with a cluster-robust 95 % t interval, and the p-value of a mean of 0.

    clusters: for each value, the group of related items it belongs to (one passage, one template); None: all values
    are independent, and this is Student's t. CR1; degrees of freedom: clusters - 1. Below 50 clusters, p is that of
    flipping the signs of whole clusters. Raises ValueError for fewer than two clusters.
    """
    column = np.asarray(values, float)
    group = np.arange(len(column))
    if clusters is not None:
        _, group = np.unique(list(map(str, clusters)), return_inverse=True)
    n, of = len(column), int(group.max(initial=-1)) + 1
    if of < 2:
        raise ValueError(f"a spread needs two clusters of items, got {of}")
    mean = float(column.mean())
    error = math.sqrt(of / (of - 1) * float((np.bincount(group, column - mean) ** 2).sum())) / n
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, of - 1)) * error
    if of < _FEW_CLUSTERS:
        p, how = _sign_flip(np.bincount(group, column)), ", p by sign flips"
    else:
        p, how = 2 * float(stats.t.sf(abs(mean) / error, of - 1)) if error else float(mean == 0), ""
    name = "paired t" if of == n else f"cluster-robust t, {of} clusters"
    return Contrast(mean, mean - half, mean + half, n, name + how, p, error, of - 1)


_FEW_CLUSTERS = 50


def _sign_flip(sums: np.ndarray, alternative: Literal["two-sided", "less", "greater"] = "two-sided") -> float:
    """p of a sum under independent random signs: all sign patterns if few, else 9,999 with a fixed seed."""
    if not sums.any():
        return 1.0
    test = stats.permutation_test(
        (sums,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=0,
        alternative=alternative,
    )
    return float(test.pvalue)


def paired(candidate: FloatArray, reference: FloatArray, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Mean of candidate - reference over the same items, and the p-value of a mean of 0.

    Tango's interval and McNemar's mid-p for 0/1 scores of independent items, else `clustered`.
    """
    if len(candidate) != len(reference):
        raise ValueError(f"paired columns must have equal length, got {len(candidate)} and {len(reference)}")
    a, b = np.asarray(candidate, float), np.asarray(reference, float)
    if clusters is None and np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all():
        gained, lost = int((a > b).sum()), int((a < b).sum())
        return replace(tango(gained, lost, len(a)), p=mid_p(gained, lost))
    if len(a) < 2:
        return Estimate(float(a[0] - b[0]), -1.0, 1.0, 1, "one item", 1.0)  # it says nothing of others
    return clustered(a - b, clusters)


@dataclass(frozen=True)
class Sided(Estimate):
    """A difference with both of its one-sided tests. The interval leaves out alpha on each side.

    p_worse: p-value of no drop (or a gain). p_below: p-value of a drop of the margin or more. gained, lost: numbers
    of items, for 0/1 scores.
    """

    p_worse: float = 1.0
    p_below: float = 1.0
    error: float = 0.0
    gained: int | None = None
    lost: int | None = None


def sided(candidate: FloatArray, reference: FloatArray, margin: float, alpha: float = LEVEL) -> Sided:
    """candidate - reference over the same items: is it worse, and is it not worse by `margin` (in [0, 1]) or more?

    0/1 scores: mid-p McNemar for worse, Tango's score test for the margin. Else Student's t over the items, and below
    50 items the larger of its p and that of flipping signs. One item proves nothing.
    """
    a, b = np.asarray(candidate, float), np.asarray(reference, float)
    n, gaps = len(a), a - b
    if np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all():
        gained, lost = int((gaps > 0).sum()), int((gaps < 0).sum())
        found = tango(gained, lost, n, 1 - 2 * alpha)
        m = gained + lost
        worse = float(stats.binom.cdf(gained, m, 0.5) - stats.binom.pmf(gained, m, 0.5) / 2)
        below = float(stats.norm.sf(_tango_score(gained, lost, n, -margin)))
        error = math.sqrt(max(gained + lost - n * found.value**2, 0.0)) / n
        if n < 2:
            found, worse, below, error = Estimate(found.value, -1.0, 1.0, n, "one item"), 1.0, 1.0, 1.0
        return Sided(found.value, found.low, found.high, n, found.method, None, worse, below, error, gained, lost)
    return mean_sided([gaps], margin, alpha)


def mean_sided(parts: Sequence[np.ndarray], margin: float, alpha: float = LEVEL) -> Sided:
    """Like `sided`, for the mean of the tasks' means; parts: for each task the differences of its items."""
    if any(len(gaps) < 2 for gaps in parts):  # one item says nothing of others
        value = sum(float(gaps.sum()) for gaps in parts) / max(sum(map(len, parts)), 1)
        return Sided(value, -1.0, 1.0, sum(map(len, parts)), "one item", error=1.0)
    means = [float(gaps.mean()) for gaps in parts]
    squares = [_error(gaps, alpha) ** 2 for gaps in parts]
    n, mean, error = sum(map(len, parts)), sum(means) / len(parts), math.sqrt(sum(squares)) / len(parts)
    # a drop of the margin may be a few items of one task, lost entirely: with few of them observed, the sample variance
    # is too small, so the test of the margin uses at least the variance of such a drop
    lost = min(margin * len(parts), 0.5)
    least = [max(x, lost * (1 - lost) / len(gaps)) for x, gaps in zip(squares, parts, strict=True)]
    error_at_margin = math.sqrt(sum(least)) / len(parts)
    df = sum(squares) ** 2 / sum(x**2 / max(len(gaps) - 1, 1) for x, gaps in zip(squares, parts, strict=True))
    half = float(stats.t.isf(alpha, df)) * error
    worse, below = float(stats.t.cdf(mean / error, df)), float(stats.t.sf((mean + margin) / error_at_margin, df))
    method = "paired t" if len(parts) == 1 else f"mean of {len(parts)} tasks, t"
    if len(parts) == 1 and n < _FEW_CLUSTERS:
        worse = max(worse, _sign_flip(parts[0], "less"))
        below = max(below, _sign_flip(parts[0] + margin, "greater"))
        method += " and sign flips"
    low = mean - float(stats.t.isf(alpha, df)) * error_at_margin
    return Sided(mean, max(low, -1.0), min(mean + half, 1.0), n, method, None, worse, below, error)


def _error(gaps: np.ndarray, alpha: float) -> float:
    """Standard error of a mean; for a sample variance of 0, at least that of Tango's interval if no item differs."""
    z = float(stats.norm.isf(alpha))
    spread = float(gaps.std(ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else 1.0
    return max(spread, z / (len(gaps) + z * z))


def unpaired(candidate: float, n: int, reference: float, n_reference: int) -> Contrast:
    """Difference of two shares if only the shares and the numbers of items are known.

    Newcombe's interval from the two Wilson intervals (1998, Statistics in Medicine 17:873, method 10); p from z with
    each side's own variance. Without scores per item nothing can be paired, so the power is less than that of `paired`.
    """
    parts = [(share, of, wilson(round(share * of), of)) for share, of in ((candidate, n), (reference, n_reference))]
    (a, _, ours), (b, _, theirs) = parts
    gap, error = a - b, math.sqrt(sum(share * (1 - share) / of for share, of, _ in parts))
    low = gap - math.hypot(a - ours.low, theirs.high - b)
    high = gap + math.hypot(ours.high - a, b - theirs.low)
    p = 2 * float(stats.norm.sf(abs(gap) / error)) if error else float(gap == 0)
    return Contrast(gap, low, high, min(n, n_reference), "unpaired, Newcombe", p, error, float(n + n_reference - 2))


def across_seeds(candidate: Table, reference: Table) -> Contrast:
    """Difference of two strategies; items and training seeds are crossed random effects.

    Rows are seeds, columns the same items in the same order; a fixed checkpoint (the base) is one row. df: by
    Satterthwaite over the item variance and the seed variance of each arm, at most the degrees of freedom of the seeds
    of both arms and of the items. (With the df of the seeds alone, arms with unequal variance over seeds would give
    8 % false claims at a nominal 5 %: 2,000 items, four seeds, a spread of 5 points in one arm and 0 in the other.)
    Raises ValueError if neither arm has two seeds.
    """
    a, b = np.asarray(candidate, float), np.asarray(reference, float)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both arms need the same items, got {a.shape[1]} and {b.shape[1]}")
    n = a.shape[1]
    most = (len(a) - 1) + (len(b) - 1)
    if most < 1:
        raise ValueError("one training seed on each side: only `paired` applies, and it compares checkpoints alone")
    gap = float(a.mean() - b.mean())
    if n < 2:  # one item says nothing of others
        return Contrast(gap, -1.0, 1.0, n, "crossed random effects, one item", 1.0, 1.0, 1.0)
    item_part = float((a.mean(axis=0) - b.mean(axis=0)).var(ddof=1)) / n
    variance, squares = item_part, item_part**2 / (n - 1)
    for arm in (a, b):
        if len(arm) > 1:
            seed_part, residual = _seed_variance(arm)
            variance += seed_part - residual
            squares += seed_part**2 / (len(arm) - 1)
    variance = max(variance, item_part)
    df = min(variance**2 / squares if squares else math.inf, most, n - 1)
    error = math.sqrt(variance)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df)) * error
    # items that all differ by the same have no variance, so a sign test of them is used
    p = 2 * float(stats.t.sf(abs(gap) / error, df)) if error else 2.0 ** (1 - n) if gap else 1.0
    method = f"crossed random effects, df {df:.3g}"
    return Contrast(gap, max(gap - half, -1.0), min(gap + half, 1.0), n, method, p, error, df)


def _seed_variance(arm: np.ndarray) -> tuple[float, float]:
    """Variance of the mean over seeds, and its seed x item residual, which the item variance already contains."""
    seeds, items = arm.shape
    row_means = arm.mean(axis=1)
    residual = arm - row_means[:, None] - arm.mean(axis=0)[None, :] + arm.mean()
    mean_square = float((residual**2).sum()) / ((seeds - 1) * (items - 1)) if items > 1 else 0.0
    return float(row_means.var(ddof=1)) / seeds, mean_square / (items * seeds)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction for multiple tests, in the order given.

    If results below 5 % are claimed, at most 5 % of such families of tests contain a false claim. Source: Holm 1979,
    Scandinavian Journal of Statistics 6:65.
    """
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = worst
    return corrected


@dataclass(frozen=True)
class Resampled:
    """Rows of scores on the same items, and a bootstrap of their means over the items.

    table: (items, rows). centred: (draws, rows), the bootstrapped means minus the observed means.
    """

    names: tuple[str, ...]
    table: np.ndarray
    centred: np.ndarray


def resampled(scores: Mapping[str, FloatArray], draws: int = 5000, seed: int = 0) -> Resampled:
    """A bootstrap over the items, with the same draws for all rows. scores: of each row, on the same items."""
    table = np.asarray(list(scores.values()), float).T
    n = len(table)
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, draws, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, draws - start)
        places = random.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        parts.append(np.bincount(places.ravel(), minlength=size * n).reshape(size, n) @ table / n)
    return Resampled(tuple(scores), table, np.concatenate(parts) - table.mean(axis=0))


_DRAWS_AT_ONCE = 100  # of 20,000 items: 16 MB of places, and as much of counts


def confidence_set(drawn: Resampled) -> dict[str, float]:
    """Model confidence set: a p-value for each row; rows above 5 % do not differ significantly from the best.

    Higher scores are better. Statistic T_max over a bootstrap of the items; tied rows are dropped together. Source:
    Hansen, Lunde & Nason 2011, Econometrica 79:453.
    """
    names, table, centred = drawn.names, drawn.table, drawn.centred
    left, p, found = list(range(len(names))), 0.0, dict.fromkeys(names, 1.0)
    while len(left) > 1:
        errors = centred[:, left] - centred[:, left].mean(axis=1, keepdims=True)
        gaps = table[:, left].mean(axis=0).mean() - table[:, left].mean(axis=0)
        spread = np.sqrt((errors**2).mean(axis=0))
        if not (gaps > 1e-12).any():
            break  # all are equal
        alike = spread < 1e-12  # differs from the others by the same on every item: no spread to measure by
        spread[alike] = np.inf
        worst = np.where(alike & (gaps > 1e-12), np.inf if _sure(len(table)) else 0.0, gaps / spread)
        p = max(p, float((worst.max() < (-errors / spread).max(axis=1)).mean()) if worst.max() > 0 else 1.0)
        out = [row for row, value in zip(left, worst, strict=True) if value == worst.max()]
        if len(out) == len(left):
            break
        found |= {names[row]: p for row in out}
        left = [row for row in left if row not in out]
    return found


def rank_intervals(drawn: Resampled) -> dict[str, tuple[int, int]]:
    """For each row its (best, worst) possible rank, simultaneously for all rows at 95 % confidence.

    From simultaneous intervals of all pairs, by the largest t of a bootstrap over the items: best = 1 + the number of
    rows that are significantly better, worst = the number of rows that are not significantly worse.
    """
    names, table, centred = drawn.names, drawn.table, drawn.centred
    means, spread = table.mean(axis=0), np.zeros((len(names), len(names)))
    largest = np.zeros(len(centred))
    for row in range(len(names)):
        errors = centred - centred[:, [row]]
        spread[row] = np.sqrt((errors**2).mean(axis=0))
        scaled = np.abs(errors[:, spread[row] > 0]) / spread[row][spread[row] > 0]
        largest = np.maximum(largest, scaled.max(axis=1, initial=0.0))
    reach = float(np.quantile(largest, CONFIDENCE)) * spread
    reach[spread < 1e-12] = 1e-12 if _sure(len(table)) else np.inf
    gaps = means[None, :] - means[:, None]  # of the column's row over the row's
    better, worse = (gaps > reach).sum(axis=1), (gaps < -reach).sum(axis=1)
    return {name: (1 + int(better[i]), len(names) - int(worse[i])) for i, name in enumerate(names)}


def _sure(n: int) -> bool:
    """Whether n items that all differ by the same make a significant difference, by a sign test."""
    return bool(2.0 ** (1 - n) < LEVEL)


DISCORDANCE = 0.2
"""Share of items on which two checkpoints differ, assumed if nothing better is known."""


def detectable(discordant: float, n: int, power: float = 0.8) -> float:
    """Smallest paired difference detectable with `power` at 5 % two-sided; discordant: share of items that differ."""
    return float((stats.norm.ppf(0.975) + stats.norm.ppf(power)) * math.sqrt(discordant / n))


def detectable_across_seeds(discordant: float, n: int, seed_sd: float, seeds: int, power: float = 0.8) -> float:
    """Smallest difference of two strategies detectable with `power` at 5 % two-sided, with `seeds` runs of each.

    n: items. seed_sd: standard deviation of a strategy's score over seeds. discordant: share of items on which a pair
    of runs differs. It is not divided by the seeds, since the strategies may differ on the same items in every seed, so
    the result is conservative. The test is `across_seeds` with df = 2 (seeds - 1).
    """
    return smallest_found(math.sqrt(2 * seed_sd**2 / seeds + discordant / n), 2 * (seeds - 1), power=power)


def smallest_found(error: float, df: float, level: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference that a two-sided t test at `level` detects with `power`; error: its standard error."""
    return float(stats.t.ppf(1 - level / 2, df) + stats.t.ppf(power, df)) * error
