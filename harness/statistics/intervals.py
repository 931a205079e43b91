"""Intervals and paired differences, as pure functions of numbers; shares are in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

FloatArray = Sequence[float] | np.ndarray
Table = Sequence[Sequence[float]] | np.ndarray  # (seeds, items)
Clusters = Sequence[Hashable] | np.ndarray | None  # of each item, the group of related items it is in; None: no groups

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


def mid_p(gained: ArrayLike, lost: ArrayLike) -> Any:
    """Two-sided mid-p of McNemar's test: of the items that one side alone has right, does each side have half?

    gained, lost: numbers, or arrays of them; so is the result. Source: Fagerland, Lydersen & Laake 2013, BMC Medical
    Research Methodology 13:91; it kept its level in all their scenarios, in which the exact test was too conservative.
    """
    n, fewer = np.add(gained, lost), np.minimum(gained, lost)
    return np.minimum(1.0, 2 * stats.binom.cdf(fewer, n, 0.5) - stats.binom.pmf(fewer, n, 0.5))[()]


def clustered(values: FloatArray, clusters: Clusters = None) -> Contrast:
    """Mean of values with a cluster-robust 95 % t interval, and the p-value of a mean of 0.

    clusters: for each value, the group of related items it belongs to (one passage, one template); None: all values
    are independent, and this is Student's t. CR1. Below 50 clusters, p is that of flipping the signs of whole clusters.
    Raises ValueError for fewer than two clusters.
    """
    column = np.asarray(values, float)
    clusters = _related(clusters, len(column))
    spread = _spread_of_mean(column, _codes(clusters, len(column)))
    if spread.clusters < 2:
        raise ValueError(f"a spread needs two clusters of items, got {spread.clusters}")
    mean, error = float(column.mean()), max(spread.error, _unmeasured(column))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, spread.df)) * error
    if spread.clusters < _FEW_CLUSTERS:
        p, how = _sign_flip(np.bincount(spread.codes, column)), ", p by sign flips"
    else:
        p, how = 2 * float(stats.t.sf(abs(mean) / error, spread.df)), ""
    name = "paired t" if clusters is None else f"cluster-robust t, {spread.clusters} clusters"
    return Contrast(mean, mean - half, mean + half, len(column), name + how, p, error, spread.df)


_FEW_CLUSTERS = 50


def _related(clusters: Clusters, n: int) -> Clusters:
    """The clusters; None if each of the n items is its own, so that tests of independent items are exact."""
    return None if clusters is None or len(np.unique(np.asarray(clusters))) == n else clusters


def _codes(clusters: Clusters, n: int) -> np.ndarray:
    """(n,) the number of each item's cluster; None: each is its own."""
    if clusters is None:
        return np.arange(n)
    given = np.asarray(clusters)
    if given.dtype.kind == "i" and n and given.min() == 0 and np.bincount(given).all():
        return given  # numbered already
    return np.asarray(np.unique(given.astype(str), return_inverse=True)[1])


@dataclass(frozen=True)
class _Spread:
    """How far a mean over items spreads. codes: of the items' clusters; error: standard error of the mean."""

    codes: np.ndarray
    clusters: int
    error: float
    df: float


def _spread_of_mean(column: np.ndarray, codes: np.ndarray) -> _Spread:
    """The cluster-robust standard error (CR1) of a mean, and the degrees of freedom of its t.

    df: the effective number of clusters less one; a few large clusters among many small ones count for less. Source:
    Carter, Schnepel & Steigerwald 2017, Review of Economics and Statistics 99:698, with the observed correlation.
    """
    n, sizes = len(column), np.bincount(codes)
    if len(sizes) < 2:
        return _Spread(codes, len(sizes), 1.0, 1.0)
    gaps = column - column.mean()
    sums, own = np.bincount(codes, gaps), float((gaps**2).sum())
    pairs = float((sizes * (sizes - 1.0)).sum())
    related = min(max((float((sums**2).sum()) - own) / pairs * (n - 1) / own, 0.0), 1.0) if pairs and own else 0.0
    weights = sizes * (1 + (sizes - 1) * related)
    df = float(weights.sum()) ** 2 / float((weights**2).sum()) - 1
    error = math.sqrt(len(sizes) / (len(sizes) - 1) * float((sums**2).sum())) / n
    return _Spread(codes, len(sizes), error, max(df, 1.0))


def _unmeasured(column: np.ndarray) -> float:
    """The least standard error of a mean if fewer than five values differ from the most common one; else 0.

    Their sample variance is 0, or that of a few items which happened to be drawn.
    """
    differ = int((abs(column - np.median(column)) > 1e-9).sum())  # the median is the most common one then
    return _least_error(len(column), LEVEL / 2) if differ < _FEW_DIFFER else 0.0


_FEW_DIFFER = 5


def _least_error(n: int, alpha: float) -> float:
    """The standard error that Tango's interval has if none of n items differs."""
    z = float(stats.norm.isf(alpha))
    return z / (n + z * z)


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


def paired(candidate: FloatArray, reference: FloatArray, clusters: Clusters = None) -> Estimate:
    """Mean of candidate - reference over the same items, and the p-value of a mean of 0.

    Tango's interval and McNemar's mid-p for 0/1 scores of independent items, else `clustered`.
    """
    if len(candidate) != len(reference):
        raise ValueError(f"paired columns must have equal length, got {len(candidate)} and {len(reference)}")
    a, b, clusters = np.asarray(candidate, float), np.asarray(reference, float), _related(clusters, len(candidate))
    if clusters is None and _all_0_or_1(a) and _all_0_or_1(b):
        gained, lost = int((a > b).sum()), int((a < b).sum())
        return replace(tango(gained, lost, len(a)), p=float(mid_p(gained, lost)))
    if len(np.unique(_codes(clusters, len(a)))) < 2:  # it says nothing of others
        return Estimate(float((a - b).mean()), -1.0, 1.0, len(a), "one item", 1.0)
    return clustered(a - b, clusters)


def _all_0_or_1(scores: np.ndarray) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())


def of_score(scores: Table, clusters: Clusters = None) -> Estimate:
    """The mean of scores with its 95 % interval. scores: (runs, items) in [0, 1]; runs are training seeds.

    Wilson for one run of 0/1 scores of independent items. Else a t interval over items (and seeds), to whose spread an
    item that is right and one that is wrong are added: near 0 and 1 the sample variance is too small, or 0. For k
    samples an item it covers 94.8 % or more of the time (10 to 500 items, 3 to 99 % right). Raises ValueError for none.
    """
    table = np.asarray(scores, float)
    n = table.shape[1]
    if not n:
        raise ValueError("no items, so no mean")
    clusters = _related(clusters, n)
    if len(table) == 1 and clusters is None and _all_0_or_1(table):
        return wilson(int(table.sum()), n)
    value = float(table.mean())
    more = np.concatenate([table, np.ones((len(table), 1)), np.zeros((len(table), 1))], axis=1)
    codes = _codes(clusters, n)
    codes = np.append(codes, codes.max() + np.array([1, 2]))
    if len(table) == 1:
        spread = _spread_of_mean(more[0], codes)
        name = "t over items" if clusters is None else f"t over {spread.clusters - 2} clusters of items"
    else:
        spread = _crossed(more, np.zeros((1, n + 2)), codes, 0.0)
        name = f"crossed random effects, df {spread.df:.3g}"
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, spread.df)) * spread.error
    low, high = float(more.mean()) - half, float(more.mean()) + half
    return Estimate(value, min(max(low, 0.0), value), max(min(high, 1.0), value), n, name)


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


def sided(
    candidate: FloatArray, reference: FloatArray, margin: float, alpha: float = LEVEL, clusters: Clusters = None
) -> Sided:
    """candidate - reference over the same items: is it worse, and is it not worse by `margin` (in [0, 1]) or more?

    0/1 scores of independent items: mid-p McNemar for worse, Tango's score test for the margin. Else Student's t over
    the items (cluster-robust), and below 50 clusters the larger of its p and that of flipping signs. One item, or one
    cluster, proves nothing.
    """
    a, b = np.asarray(candidate, float), np.asarray(reference, float)
    n, gaps, clusters = len(a), a - b, _related(clusters, len(a))
    if not (_all_0_or_1(a) and _all_0_or_1(b)):
        return mean_sided([gaps], margin, alpha, None if clusters is None else [clusters])
    gained, lost = int((gaps > 0).sum()), int((gaps < 0).sum())
    if clusters is not None:
        return replace(mean_sided([gaps], margin, alpha, [clusters]), gained=gained, lost=lost)
    found = tango(gained, lost, n, 1 - 2 * alpha)
    m = gained + lost
    worse = float(stats.binom.cdf(gained, m, 0.5) - stats.binom.pmf(gained, m, 0.5) / 2)
    below = float(stats.norm.sf(_tango_score(gained, lost, n, -margin)))
    error = math.sqrt(max(gained + lost - n * found.value**2, 0.0)) / n
    if n < 2:
        found, worse, below, error = Estimate(found.value, -1.0, 1.0, n, "one item"), 1.0, 1.0, 1.0
    return Sided(found.value, found.low, found.high, n, found.method, None, worse, below, error, gained, lost)


def mean_sided(
    parts: Sequence[np.ndarray],
    margin: float,
    alpha: float = LEVEL,
    clusters: Sequence[Sequence[Hashable] | np.ndarray] | None = None,
) -> Sided:
    """Like `sided`, for the mean of the tasks' means; parts: for each task the differences of its items.

    clusters: for each task those of its items; a cluster may have items in several tasks. None: all are independent.
    """
    n, sizes = sum(map(len, parts)), list(map(len, parts))
    together = None if clusters is None else _related(np.concatenate([np.asarray(of) for of in clusters]), n)
    codes = _codes(None if together is None else np.asarray(together).astype(str), n)
    groups = len(np.unique(codes))
    if min(sizes) < 2 or groups < 2:  # one item says nothing of others
        value = sum(float(gaps.sum()) for gaps in parts) / max(n, 1)
        return Sided(value, -1.0, 1.0, n, "one item", error=1.0)
    mean = sum(float(gaps.mean()) for gaps in parts) / len(parts)
    squares = [_error(gaps, alpha) ** 2 for gaps in parts]
    df = sum(squares) ** 2 / sum(x**2 / max(size - 1, 1) for x, size in zip(squares, sizes, strict=True))
    related = 1.0  # the variance over that of independent items
    if groups < n:
        shares = np.concatenate([(gaps - gaps.mean()) * n / (len(gaps) * len(parts)) for gaps in parts])
        spread = _spread_of_mean(shares, codes)
        related = max(1.0, spread.error**2 / (sum(squares) / len(parts) ** 2))
        df = min(df, spread.df)
    error = math.sqrt(related * sum(squares)) / len(parts)
    # a drop of the margin may be a few items of one task, lost entirely: with few of them observed, the sample variance
    # is too small, so the test of the margin uses at least the variance of such a drop
    lost = min(margin * len(parts), 0.5)
    least = [max(x, lost * (1 - lost) / size) for x, size in zip(squares, sizes, strict=True)]
    error_at_margin = math.sqrt(related * sum(least)) / len(parts)
    half = float(stats.t.isf(alpha, df)) * error
    worse, below = float(stats.t.cdf(mean / error, df)), float(stats.t.sf((mean + margin) / error_at_margin, df))
    method = "paired t" if len(parts) == 1 else f"mean of {len(parts)} tasks, t"
    if groups < n:
        method += f", {groups} clusters"
    if len(parts) == 1 and groups < _FEW_CLUSTERS:
        worse = max(worse, _sign_flip(np.bincount(codes, parts[0]), "less"))
        below = max(below, _sign_flip(np.bincount(codes, parts[0] + margin), "greater"))
        method += " and sign flips"
    low = mean - float(stats.t.isf(alpha, df)) * error_at_margin
    return Sided(mean, max(low, -1.0), min(mean + half, 1.0), n, method, None, worse, below, error)


def _error(gaps: np.ndarray, alpha: float) -> float:
    """Standard error of a mean of independent items."""
    return max(float(gaps.std(ddof=1)) / math.sqrt(len(gaps)), _least_error(len(gaps), alpha))


def across_seeds(candidate: Table, reference: Table, clusters: Clusters = None) -> Contrast:
    """Difference of two strategies; items (or clusters of them) and training seeds are crossed random effects.

    Rows are seeds, columns the same items in the same order; a fixed checkpoint (the base) is one row. df: by
    Satterthwaite over the item variance and the seed variance of each arm, at most twice the degrees of freedom of the
    seeds of both arms, and those of the items. Without that bound a few seeds that happen to agree would give a small
    error and many df at once: eight equal strategies of four seeds would make a false claim on 8 to 9 % of boards (a
    spread of 3 points over seeds, 36 tests), and sixteen on 11 %; with it on 4.5 and 6.5 % (`false_claims.py`).
    Raises ValueError if neither arm has two seeds.
    """
    a, b = np.asarray(candidate, float), np.asarray(reference, float)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both arms need the same items, got {a.shape[1]} and {b.shape[1]}")
    n, codes = a.shape[1], _codes(clusters, a.shape[1])
    if len(a) == len(b) == 1:
        raise ValueError("one training seed on each side: only `paired` applies, and it compares checkpoints alone")
    gap = float(a.mean() - b.mean())
    spread = _crossed(a, b, codes, _unmeasured(a.mean(axis=0) - b.mean(axis=0)))
    if spread.clusters < 2:  # one item says nothing of others
        return Contrast(gap, -1.0, 1.0, n, "crossed random effects, one item", 1.0, 1.0, 1.0)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, spread.df)) * spread.error
    p = 2 * float(stats.t.sf(abs(gap) / spread.error, spread.df))
    method = f"crossed random effects, df {spread.df:.3g}"
    method += f", {spread.clusters} clusters" if spread.clusters < n else ""
    return Contrast(gap, max(gap - half, -1.0), min(gap + half, 1.0), n, method, p, spread.error, spread.df)


def _crossed(a: np.ndarray, b: np.ndarray, codes: np.ndarray, least: float) -> _Spread:
    """How far the mean of a less that of b spreads, both (seeds, items). least: the error due to items is not less."""
    items = _spread_of_mean(a.mean(axis=0) - b.mean(axis=0), codes)
    if items.clusters < 2:
        return items
    item_part = max(items.error, least) ** 2
    variance, squares = item_part, item_part**2 / items.df
    for arm in (a, b):
        if len(arm) > 1:
            seed_part, residual = _seed_variance(arm, codes)
            variance += seed_part - residual
            squares += seed_part**2 / (len(arm) - 1)
    variance = max(variance, item_part)
    df = min(variance**2 / squares if squares else math.inf, _MOST_DF * (len(a) + len(b) - 2), items.df)
    return _Spread(codes, items.clusters, math.sqrt(variance), df)


_MOST_DF = 2  # times the degrees of freedom of the seeds


def _seed_variance(arm: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """Variance of the mean over seeds, and its seed x cluster residual, which the item variance already contains."""
    seeds, items = arm.shape
    row_means = arm.mean(axis=1)
    residual = arm - row_means[:, None] - arm.mean(axis=0)[None, :] + arm.mean()
    sums = np.array([np.bincount(codes, row) for row in residual])
    clusters = sums.shape[1]
    within = float((sums**2).sum()) * clusters / ((clusters - 1) * (seeds - 1) * seeds * items**2)
    return float(row_means.var(ddof=1)) / seeds, within


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


DISCORDANCE = 0.2
"""Share of items on which two checkpoints differ, assumed if nothing better is known."""


def detectable(discordant: float, n: int, power: float = 0.8) -> float:
    """Smallest paired difference detectable with `power` at 5 % two-sided; discordant: share of items that differ."""
    return float((stats.norm.ppf(0.975) + stats.norm.ppf(power)) * math.sqrt(discordant / n))


def detectable_across_seeds(discordant: float, n: int, seed_sd: float, seeds: int, power: float = 0.8) -> float:
    """Smallest difference of two strategies detectable with `power` at 5 % two-sided, with `seeds` runs of each.

    n: items. seed_sd: standard deviation of a strategy's score over seeds. discordant: share of items on which a pair
    of runs differs. It is not divided by the seeds, since the strategies may differ on the same items in every seed, so
    the result is conservative. The test is `across_seeds`, with its df.
    """
    of_seeds, of_items = 2 * (seeds - 1), discordant / n
    variance = 2 * seed_sd**2 / seeds + of_items
    squares = 2 * (seed_sd**2 / seeds) ** 2 / (seeds - 1) + of_items**2 / (n - 1)
    df = min(variance**2 / squares, _MOST_DF * of_seeds, n - 1)
    return smallest_found(math.sqrt(variance), df, power=power)


def smallest_found(error: float, df: float, level: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference that a two-sided t test at `level` detects with `power`; error: its standard error."""
    return float(stats.t.ppf(1 - level / 2, df) + stats.t.ppf(power, df)) * error
