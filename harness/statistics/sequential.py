"""Group-sequential bounds: when a test with several interim analyses may stop. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

import numpy as np
from scipy import integrate, optimize, signal, stats

Spending = Callable[[float, float], float]
"""The part of a one-sided alpha that is spent up to a fraction of all items."""


def obrien_fleming(alpha: float, fraction: float) -> float:
    """Little is spent early, so the final analysis loses almost no power.

    Source: Lan & DeMets 1983, Biometrika 70:659.
    """
    return float(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / math.sqrt(fraction)))


def hwang_shih_decani(alpha: float, fraction: float) -> float:
    """More is spent early than by O'Brien and Fleming's function: gamma -2, about halfway to equal levels (gamma 1).

    Source: Hwang, Shih & DeCani 1990, Statistics in Medicine 9:1439.
    """
    return alpha * math.expm1(2 * fraction) / math.expm1(2)


@cache
def levels(alpha: float, fractions: tuple[float, ...], spending: Spending = obrien_fleming) -> tuple[float, ...]:
    """For each interim analysis the p-value below which a one-sided test stops; all analyses together have level alpha.

    fractions: the share of all items evaluated at each analysis, rising to at most 1. By recursive integration over the
    density of the statistic if the test has not stopped before (Jennison & Turnbull 2000, chapter 19).
    """
    if not fractions or any(b <= a for a, b in zip((0.0, *fractions), fractions, strict=False)) or fractions[-1] > 1:
        raise ValueError(f"fractions must rise, from above 0 to at most 1, got {fractions}")
    found = [spending(alpha, fractions[0])]
    if len(fractions) == 1:
        return tuple(found)
    grid = np.linspace(-_REACH, _REACH, _POINTS)  # of the score: Brownian motion at time `fraction`
    bound = stats.norm.isf(found[0]) * math.sqrt(fractions[0])
    density = stats.norm.pdf(grid, scale=math.sqrt(fractions[0])) * _below(grid, bound)
    for before, now in pairwise(fractions):
        step = math.sqrt(now - before)
        to_spend = spending(alpha, now) - spending(alpha, before)
        bound = optimize.brentq(partial(_excess, to_spend, density, grid, step), 0, _REACH, xtol=1e-10)
        found.append(float(stats.norm.sf(bound / math.sqrt(now))))
        moved = signal.fftconvolve(density, stats.norm.pdf(grid, scale=step), mode="same") * (grid[1] - grid[0])
        density = moved * _below(grid, bound)
    return tuple(found)


_REACH, _POINTS = 8.0, 4001


def _excess(to_spend: float, density: np.ndarray, grid: np.ndarray, step: float, bound: float) -> float:
    """The probability beyond the bound after a step, minus `to_spend`."""
    return float(integrate.simpson(density * stats.norm.sf((bound - grid) / step), x=grid)) - to_spend


def _below(grid: np.ndarray, bound: float) -> np.ndarray:
    """1 below the bound, 0 above, a fraction in the cell that contains the bound: keeps the integral smooth."""
    width = grid[1] - grid[0]
    return np.asarray(np.clip((bound - grid) / width + 0.5, 0.0, 1.0))


def seen(n: int, fraction: float) -> int:
    """The number of the n items that are evaluated at an analysis at this fraction."""
    return math.ceil(n * fraction - 1e-9)
