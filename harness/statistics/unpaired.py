"""Comparisons of scores of which only the share and the number of items are known, so that nothing can be paired."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from harness.statistics import intervals
from harness.statistics.intervals import Contrast, Sided


@dataclass(frozen=True)
class Published:
    """A score without records. share: in [0, 1]; n: the number of items it is made on."""

    share: float
    n: int

    @property
    def variance(self) -> float:
        """Of the share, if each item was answered once."""
        return self.share * (1 - self.share) / self.n


def difference(candidate: float, n: int, reference: float, n_reference: int) -> Contrast:
    """Difference of two shares of n and n_reference items.

    Newcombe's interval from the two Wilson intervals (1998, Statistics in Medicine 17:873, method 10); p: one less the
    confidence at which that interval reaches 0. The power is less than that of `intervals.paired`.
    """

    def reach(z: float, side: int) -> float:
        """How far the interval at z reaches below (side -1) or above (side 1) the difference."""
        return math.hypot(_wilson_reach(candidate, n, z, side), _wilson_reach(reference, n_reference, z, -side))

    gap, z = candidate - reference, float(stats.norm.ppf(0.5 + intervals.CONFIDENCE / 2))
    error = math.sqrt(candidate * (1 - candidate) / n + reference * (1 - reference) / n_reference)
    df, p = float(n + n_reference - 2), 2 * _tail(gap, reach)
    low, high = gap - reach(z, -1), gap + reach(z, 1)
    return Contrast(gap, low, high, min(n, n_reference), "unpaired, Newcombe", p, error, df)


def sided_unpaired(
    columns: Sequence[np.ndarray],
    references: Sequence[Published],
    weights: Sequence[float],
    margin: float,
    alpha: float,
    clusters: Sequence[np.ndarray] | None = None,
) -> Sided:
    """The weighted mean of the columns' means minus the references': is it worse, is it not worse by `margin` or more?

    columns: for each task the items' scores in [0, 1]. Newcombe's interval from the Wilson intervals of all sides
    (1998, Statistics in Medicine 17:873, method 10; for several tasks: Zou & Donner 2008, Statistics in Medicine
    27:1693), and the p-values at which it just reaches 0 or the margin. Scores of several samples count as those of
    one, and both sides as scores of other items, so the tests are conservative. clusters: for each task those of its
    items; related items count for less, on both sides.
    """
    means, related = [float(column.mean()) for column in columns], _related(columns, weights, clusters)
    sizes, others = [len(column) / related for column in columns], [of.n / related for of in references]
    value = sum(w * (mean - of.share) for w, mean, of in zip(weights, means, references, strict=True))

    def reach(z: float, side: int) -> float:
        """How far the interval at z reaches below (side -1) or above (side 1) the value."""
        squares = 0.0
        for w, mean, n, of, other in zip(weights, means, sizes, references, others, strict=True):
            squares += (w * _wilson_reach(mean, n, z, side)) ** 2 + (w * _wilson_reach(of.share, other, z, -side)) ** 2
        return math.sqrt(squares)

    z = float(stats.norm.isf(alpha))
    n, method = sum(map(len, columns)), "unpaired, Newcombe"
    low, high = max(value - reach(z, -1), -1.0), min(value + reach(z, 1), 1.0)
    error = math.sqrt(
        sum(
            w**2 * (mean * (1 - mean) / size + of.variance * related)
            for w, mean, size, of in zip(weights, means, sizes, references, strict=True)
        )
    )
    worse, below = 1 - _p_above(value, reach), _p_above(value + margin, reach)
    return Sided(value, low, high, n, method, None, worse, below, error)


def _related(columns: Sequence[np.ndarray], weights: Sequence[float], clusters: Sequence[np.ndarray] | None) -> float:
    """The variance of the weighted mean over that of independent items; at least 1."""
    if clusters is None:
        return 1.0
    parts = [(column - column.mean()) * w / len(column) for column, w in zip(columns, weights, strict=True)]
    shares, codes = np.concatenate(parts), np.unique(np.concatenate(clusters), return_inverse=True)[1]
    alone = float((shares**2).sum())
    return max(1.0, float((np.bincount(codes, shares) ** 2).sum()) / alone) if alone else 1.0


def _wilson_reach(share: float, n: float, z: float, side: int) -> float:
    """How far Wilson's interval at z reaches below (side -1) or above (side 1) the share."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return abs(centre + side * half - share)


def _p_above(gap: float, reach: Callable[[float, int], float]) -> float:
    """The one-sided p-value of a gap of 0 or less; above a half if the gap is negative."""
    return _tail(gap, reach) if gap > 0 else 1 - _tail(gap, reach)


def _tail(gap: float, reach: Callable[[float, int], float]) -> float:
    """The share left out on one side by the interval that just reaches 0; a half if there is no gap."""
    if gap == 0:
        return 0.5
    side = -1 if gap > 0 else 1
    if reach(_MOST, side) <= abs(gap):
        return float(stats.norm.sf(_MOST))
    return float(stats.norm.sf(optimize.brentq(lambda z: reach(z, side) - abs(gap), 0.0, _MOST)))


_MOST = 37.0  # standard errors; beyond, the tail of a normal distribution is 0 in a float
