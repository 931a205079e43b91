"""Intervals and paired differences. Pure functions: numbers in, numbers out; shares are in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
MIN_SEEDS_FOR_CLAIM = 4  # below this no seed-aware test can reach p < 0.05 with useful power


@dataclass(frozen=True)
class Estimate:
    """A number with its n and its interval; `method` names how the interval was made.

    p: two-sided, of no difference; None where no test belongs to the number.
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


def tango(gained: int, lost: int, n: int) -> Estimate:
    """Paired difference (gained - lost)/n of two 0/1 columns with Tango's 95 % score interval.

    gained: items only the candidate has right; lost: items only the reference has right. Source: Tango 1998,
    Statistics in Medicine 17:891.
    """
    if n == 0:
        raise ValueError("no pairs, so no difference")
    z = stats.norm.ppf(0.5 + CONFIDENCE / 2)
    observed = (gained - lost) / n

    def score(delta: float) -> float:
        a = 2 * n
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * q + delta * (1 - delta))
        gap = gained - lost - n * delta
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0

    edge = 1 - 1e-12
    low = -1.0 if score(-edge) <= z else optimize.brentq(lambda d: score(d) - z, -edge, observed, xtol=1e-10)
    high = 1.0 if score(edge) >= -z else optimize.brentq(lambda d: score(d) + z, observed, edge, xtol=1e-10)
    return Estimate(observed, float(low), float(high), n, "Tango")


def paired(candidate: Sequence[float], reference: Sequence[float]) -> Estimate:
    """Mean of candidate - reference over the same items: Tango for 0/1 scores, Student's t otherwise."""
    if len(candidate) != len(reference):
        raise ValueError(f"paired columns must have equal length, got {len(candidate)} and {len(reference)}")
    if all(x in (0.0, 1.0) for x in (*candidate, *reference)):
        gained = sum(x > y for x, y in zip(candidate, reference, strict=True))
        lost = sum(x < y for x, y in zip(candidate, reference, strict=True))
        return tango(gained, lost, len(candidate))
    difference = np.subtract(candidate, reference)
    interval = stats.ttest_1samp(difference, 0.0).confidence_interval(CONFIDENCE)
    return Estimate(float(difference.mean()), float(interval.low), float(interval.high), len(difference), "paired t")


def across_seeds(candidate: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> Contrast:
    """Difference of two strategies, items and training seeds both random: crossed random effects.

    Rows are seeds, columns the same items in the same order; a fixed checkpoint (the base) is one row. df: by
    Satterthwaite over the item part and the seed part of each arm, at most the seeds of both arms less one each and the
    items less one. (By the seeds alone, too much would be claimed of arms whose seeds scatter unequally: 8 % at a
    nominal 5 % for 2,000 items, four seeds, a spread of 5 points against 0.) Raises ValueError where no arm has two.
    """
    a, b = np.asarray(candidate, float), np.asarray(reference, float)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both arms need the same items, got {a.shape[1]} and {b.shape[1]}")
    n = a.shape[1]
    most = (len(a) - 1) + (len(b) - 1)
    if most < 1:
        raise ValueError("one training seed on each side: only `paired` applies, and it speaks of checkpoints alone")
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
    # items that all differ alike leave no spread to measure by: a sign test of them
    p = 2 * float(stats.t.sf(abs(gap) / error, df)) if error else 2.0 ** (1 - n) if gap else 1.0
    method = f"crossed random effects, df {df:.3g}"
    return Contrast(gap, max(gap - half, -1.0), min(gap + half, 1.0), n, method, p, error, df)


def _seed_variance(arm: np.ndarray) -> tuple[float, float]:
    """Variance of the mean over seeds, and the seed x item residual part of it that the item term already holds."""
    seeds, items = arm.shape
    row_means = arm.mean(axis=1)
    residual = arm - row_means[:, None] - arm.mean(axis=0)[None, :] + arm.mean()
    mean_square = float((residual**2).sum()) / ((seeds - 1) * (items - 1)) if items > 1 else 0.0
    return float(row_means.var(ddof=1)) / seeds, mean_square / (items * seeds)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, in the order given.

    Of families of claims made where one is below 5 %, at most 5 % hold a false one. Source: Holm 1979, Scandinavian
    Journal of Statistics 6:65.
    """
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = worst
    return corrected


def detectable(discordant: float, n: int, power: float = 0.8) -> float:
    """Smallest paired difference found with `power` at 5 % two-sided, for a share `discordant` of differing items."""
    return float((stats.norm.ppf(0.975) + stats.norm.ppf(power)) * math.sqrt(discordant / n))


def detectable_across_seeds(discordant: float, n: int, seed_sd: float, seeds: int, power: float = 0.8) -> float:
    """Smallest difference of two strategies found with `power` at 5 % two-sided, from `seeds` runs of each on n items.

    seed_sd: of a strategy's score from seed to seed. discordant: share of items a pair of runs answers differently; it
    is not divided by the seeds, as what one strategy solves and another does not stays so, hence a careful figure. The
    test is `across_seeds` with df = 2 (seeds - 1).
    """
    return smallest_found(math.sqrt(2 * seed_sd**2 / seeds + discordant / n), 2 * (seeds - 1), power=power)


def smallest_found(error: float, df: float, level: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference that a two-sided t test at `level` finds with `power`; error: its standard error."""
    return float(stats.t.ppf(1 - level / 2, df) + stats.t.ppf(power, df)) * error
