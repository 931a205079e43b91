"""The tests of a board: every one that a claim rests on, corrected together as one family."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import stats

from harness.statistics import intervals

BETTER, WORSE, ALIKE, NO_CLAIM = "better", "worse", "not told apart", "no claim"


def pairs_of_strategies(scores: Mapping[str, np.ndarray], clusters: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Every pair of strategies, items and training seeds both random: a `Contrast` of `a` less `b`, and their names.

    scores: for each strategy, best first, (seeds, items), NaN if an item was not graded; only those with enough
    seeds for a claim take part. clusters: (items,) the number of each item's cluster; None: all are independent.
    """
    enough = {name: runs for name, runs in scores.items() if len(runs) >= intervals.MIN_SEEDS_FOR_CLAIM}
    found = []
    for a, b in itertools.combinations(enough, 2):
        shared = ~np.isnan(np.concatenate([enough[a], enough[b]])).any(axis=0)
        if shared.any():
            of = None if clusters is None else clusters[shared]
            contrast = intervals.across_seeds(enough[a][:, shared], enough[b][:, shared], of)
            found.append({"a": a, "b": b, **asdict(contrast)})
    return found


def pairs_of_checkpoints(scores: Mapping[str, np.ndarray], clusters: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Every pair of checkpoints, the items alone random: `a`, `b`, the `value` of a less b, and its `p`.

    scores: for each checkpoint, best first, (1, items); items that not all have a verdict for are left out.
    """
    names = list(scores)
    table = np.array([runs[0] for runs in scores.values()])
    shared = ~np.isnan(table).any(axis=0)
    if len(names) < 2 or not shared.any():
        return []
    table = table[:, shared]
    means = table.mean(axis=1)
    if clusters is None and np.isin(table, (0.0, 1.0)).all():
        gained = np.rint(table @ (1 - table).T)  # [i, j]: items that i alone has right
        p = intervals.mid_p(gained, gained.T)
    else:
        of = None if clusters is None else clusters[shared]
        p = np.ones((len(names), len(names)))
        for i, j in itertools.combinations(range(len(names)), 2):
            p[i, j] = intervals.paired(table[i], table[j], of).p
    return [
        {"a": names[i], "b": names[j], "value": float(means[i] - means[j]), "p": float(p[i, j])}
        for i, j in itertools.combinations(range(len(names)), 2)
    ]


def correct(tests: Sequence[dict[str, Any]]) -> None:
    """Set in each of these tests, which have a `value` and a `p`, its `p_holm` over all of them, and its `verdict`."""
    for test, p in zip(tests, intervals.holm([test["p"] for test in tests]), strict=True):
        test |= {"p_holm": p, "verdict": verdict(test["value"], p)}


def verdict(value: float, p_holm: float) -> str:
    """What a difference shows after the correction."""
    return ALIKE if p_holm >= intervals.LEVEL else BETTER if value > 0 else WORSE


def rank_ranges(found: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """For each row of these corrected pairs the (best, worst) rank that they leave possible."""
    names = list(dict.fromkeys(name for pair in found for name in (pair["a"], pair["b"])))
    better, worse = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for pair in found:
        if pair["verdict"] != ALIKE:
            first, second = (pair["a"], pair["b"]) if pair["verdict"] == BETTER else (pair["b"], pair["a"])
            better[first] += 1
            worse[second] += 1
    return {name: (1 + worse[name], len(names) - better[name]) for name in names}


def found_from(gap: Mapping[str, Any], tests: int) -> float | None:
    """The detectable difference (80 % power) in points, at the strictest of so many tests."""
    # an interval of paired 0/1 scores is about so many standard errors wide
    error = gap.get("error") or (gap["high"] - gap["low"]) / 2 / 1.96
    if gap["n"] < 2 or not error:
        return None
    return 100 * intervals.smallest_found(error, gap.get("df") or gap["n"] - 1, intervals.LEVEL / max(tests, 1))


def holds_up_to(pair: Mapping[str, Any]) -> float:
    """The standard deviation, in points, of a draw that all seeds of a strategy share, up to which a claim holds.

    Such draws are the teacher's traces and the settings that were chosen on dev: no seed of the same run tells how much
    another draw would change. Each of the two strategies is taken to have one of its own. The level is what Holm's
    correction left to this pair.
    """
    level = intervals.LEVEL * pair["p"] / pair["p_holm"] if pair["p_holm"] else intervals.LEVEL
    reach = abs(pair["value"]) / float(stats.t.isf(level / 2, pair["df"]))
    return 100 * math.sqrt(max(reach**2 - pair["error"] ** 2, 0.0) / 2)


def false_claims_if_drawn(pair: Mapping[str, Any], points: float) -> float:
    """How often this pair alone would be claimed at 5 % if equal strategies differed by such a draw; 0.05 for none.

    points: standard deviation of the draw of each of the two strategies.
    """
    wider = math.hypot(pair["error"], math.sqrt(2) * points / 100)
    return 2 * float(stats.t.sf(stats.t.isf(intervals.LEVEL / 2, pair["df"]) * pair["error"] / wider, pair["df"]))
