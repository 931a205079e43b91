"""How often our comparisons claim what is not there, and find what is: simulated, or enumerated where that is possible.

    python tests/bench/false_claims.py [repetitions]

Nominal level 5 %, two-sided. Logit of solving an item = its difficulty + the strategy's taste for it + the seed's level
+ noise: strategies solve different items, and runs of one strategy differ as a whole and item by item.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy import stats as scipy_stats

from harness.board import claims
from harness.statistics import intervals

ITEMS = 1319
SLOPE = 12.4  # points a logit shifts the score by, near the middle of these items


def arm(rng, item, seeds, points, seed_sd, taste):
    """(seeds, items) verdicts of one strategy. points, seed_sd: in points of the score."""
    n = len(item)
    logit = item + rng.normal(0, taste, n) + points / SLOPE
    logit = logit + rng.normal(0, seed_sd / SLOPE, seeds)[:, None] + rng.normal(0, 0.7, (seeds, n))
    return (rng.random((seeds, n)) < 1 / (1 + np.exp(-logit))).astype(float)


def checkpoints() -> None:
    """mid-p McNemar for one run of each: exact, over all tables of gained and lost items."""
    print("two checkpoints, same items (exact): false claims / found at a true difference of 3 points")
    for n in (30, 164, 500, 1319):
        cells = []
        for discordant in (0.1, 0.2, 0.3):
            found = []
            for gap in (0.0, 0.03):
                total = 0.0
                low, high = (int(scipy_stats.binom.ppf(q, n, discordant)) for q in (1e-9, 1 - 1e-9))
                for m in range(low, high + 1):
                    k = np.arange(m + 1)
                    p = np.minimum(1, 2 * scipy_stats.binom.cdf(np.minimum(k, m - k), m, 0.5)
                                   - scipy_stats.binom.pmf(np.minimum(k, m - k), m, 0.5))  # fmt: skip
                    share = 0.5 + gap / discordant / 2
                    total += (
                        scipy_stats.binom.pmf(m, n, discordant) * scipy_stats.binom.pmf(k, m, share)[p < 0.05].sum()
                    )
                found.append(total)
            assert abs(intervals.mid_p(3, 9) - 0.0923) < 5e-4  # the rule enumerated above is the one that is used
            cells.append(f"{100 * found[0]:4.1f} % / {100 * found[1]:5.1f} %")
        print(f"  n = {n:5}   " + "   ".join(f"q = {q}: {c}" for q, c in zip((0.1, 0.2, 0.3), cells, strict=True)))


def strategies(repetitions: int) -> None:
    """`intervals.across_seeds` for two strategies with several training seeds each."""
    rng = np.random.default_rng(11)
    print(f"\ntwo strategies, {ITEMS} items, {repetitions} repetitions: false claims / found at 2 points")
    for taste in (0.4, 1.5):
        for seed_sds in ((0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (3.0, 0.0)):
            cells = []
            for seeds in (4, 5, 8):
                rejected = []
                for points in (0.0, 2.0):
                    hits = 0
                    for _ in range(repetitions):
                        item = rng.normal(0.5, 2.2, ITEMS)
                        a, b = (
                            arm(rng, item, seeds, p, sd, taste) for p, sd in zip((points, 0.0), seed_sds, strict=True)
                        )
                        hits += intervals.across_seeds(a, b).p < 0.05
                    rejected.append(100 * hits / repetitions)
                cells.append(f"{seeds} seeds: {rejected[0]:4.1f} % / {rejected[1]:4.1f} %")
            print(f"  taste {taste}, seed spread {seed_sds[0]} and {seed_sds[1]} points   " + "   ".join(cells))


def boards(repetitions: int) -> None:
    """`claims.compare_pairs` for a board of six equal strategies: boards with any false claim."""
    rng = np.random.default_rng(12)
    false = 0
    for _ in range(repetitions):
        item = rng.normal(0.5, 2.2, 430)
        scores = {name: arm(rng, item, 4, 0.0, 1.5, 0.4) for name in "abcdef"}
        false += any(pair["p_holm"] < intervals.LEVEL for pair in claims.compare_pairs(scores))
    print(
        f"\nboards of six equal strategies, four seeds, 430 items: {100 * false / repetitions:.1f} % make a false claim"
    )


if __name__ == "__main__":
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    checkpoints()
    strategies(repetitions)
    boards(min(repetitions, 300))
