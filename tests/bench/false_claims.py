"""How often our comparisons claim what is not there, and find what is: simulated, or enumerated where that is possible.

    python tests/bench/false_claims.py [repetitions [PART ...]]     # PARTS, below; about an hour for all of 1000

Nominal level 5 %, two-sided. Logit of solving an item = its difficulty + the strategy's taste for it + the seed's level
+ noise: strategies solve different items, and runs of one strategy differ as a whole and item by item.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import asdict

import numpy as np
from scipy import stats as scipy_stats

from harness.board import family
from harness.statistics import intervals, unpaired

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


def df_of_seeds(repetitions: int) -> None:
    """How many degrees of freedom a few seeds give: those of the seeds (the rule before), twice those, no bound.

    Scores are normal, so that boards can be drawn by the thousand; per arm `spread` points over seeds.
    """
    print(f"\ndf at most 1 x (before) / 2 x (now) / any x those of the seeds, {repetitions} boards of equal strategies")
    designs = [(8, 4, 1, 1.0), (8, 4, 2, 1.0), (8, 4, 3, 0.3), (16, 4, 3, 0.3), (8, 5, 3, 0.3), (8, 8, 2, 1.0)]
    for strategies, seeds, spread, error in designs:
        rng = np.random.default_rng(13)
        false = dict.fromkeys(BOUNDS, 0)
        for _ in range(repetitions):
            arms = [normal_arm(rng, seeds, spread, error) for _ in range(strategies)]
            base = normal_arm(rng, 1, 0, error)
            tests = [(a, b) for a, b in itertools.combinations(arms, 2)] + [(a, base) for a in arms]
            found = np.array([p_by_bound(a, b) for a, b in tests])
            for bound, p in zip(BOUNDS, found.T, strict=True):
                false[bound] += min(intervals.holm(p.tolist())) < 0.05
        rates = " / ".join(f"{100 * count / repetitions:4.1f} %" for count in false.values())
        print(
            f"  {strategies:2} strategies, {seeds} seeds, {spread} points over seeds, item error {error}: {rates}",
            flush=True,
        )
    for seeds in (3, 4, 8):
        rng = np.random.default_rng(14)
        cells = []
        for points in (0.0, 5.0):
            hits = dict.fromkeys(BOUNDS, 0)
            for _ in range(repetitions):
                item = rng.normal(0.5, 2.2, 430)
                a, b = arm(rng, item, seeds, points, 1.5, 0.4), arm(rng, item, 1, 0.0, 0.0, 0.4)
                for bound, p in zip(BOUNDS, p_by_bound(a, b), strict=True):
                    hits[bound] += p < 0.05
            cells.append(" / ".join(f"{100 * count / repetitions:.1f} %" for count in hits.values()))
        print(
            f"  {seeds} seeds against a fixed base, 430 items: false {cells[0]}; found at 5 points {cells[1]}",
            flush=True,
        )


BOUNDS = (1.0, 2.0, 1e9)


def p_by_bound(a, b):
    """The p-value of `intervals.across_seeds` with each of `BOUNDS`."""
    now, intervals._MOST_DF = intervals._MOST_DF, BOUNDS[-1]
    found = intervals.across_seeds(a, b)
    intervals._MOST_DF = now
    df = np.minimum(found.df, np.array(BOUNDS) * (len(a) + len(b) - 2))
    return 2 * scipy_stats.t.sf(abs(found.value) / found.error, df)


def normal_arm(rng, seeds, spread, error, n=60):
    """(seeds, n) scores as of items that were asked many times. spread, error: over seeds and items, in points."""
    item = rng.normal(0, error * np.sqrt(n / 2) / 100, n)
    noise = rng.normal(0, error * np.sqrt(n / 2) / 100, (seeds, n))
    return 0.5 + rng.normal(0, spread / 100, (seeds, 1)) + item + noise


def related_items(repetitions: int) -> None:
    """Items in clusters, taken as independent (before) and as clusters (now)."""
    print(f"\n500 items, equal checkpoints, {repetitions} repetitions: false if taken as independent / as clusters")
    for label, codes in {
        "clusters of 2": np.repeat(np.arange(250), 2),
        "clusters of 5": np.repeat(np.arange(100), 5),
        "clusters of 20": np.repeat(np.arange(25), 20),
        "one of 50, 450 alone": np.r_[np.zeros(50, int), np.arange(1, 451)],
        "five of 50, 250 alone": np.r_[np.repeat(np.arange(5), 50), np.arange(5, 255)],
    }.items():
        rng = np.random.default_rng(15)
        rates = np.zeros((3, 2))
        for _ in range(repetitions):
            for row, related in enumerate((0.0, 0.5, 0.9)):
                own = np.sqrt(related) * rng.normal(size=codes.max() + 1)[codes]
                gaps = own + np.sqrt(1 - related) * rng.normal(size=len(codes))
                ours, theirs = (gaps > 1.28).astype(float), (gaps < -1.28).astype(float)
                rates[row] += [intervals.paired(ours, theirs, of).p < 0.05 for of in (None, codes)]
        cells = [f"{100 * a:4.1f} / {100 * b:3.1f} %" for a, b in rates / repetitions]
        print(f"  {label:<22} correlation 0, 0.5, 0.9: {'   '.join(cells)}", flush=True)


def one_seed_as_reference(repetitions: int) -> None:
    """A strategy with several seeds compared with one that has a single seed: what an arrow would have been worth."""
    print(f"\na strategy compared with an equal one of a single seed, 430 items, {repetitions} repetitions")
    for seeds in (4, 8):
        for spread in (2.0, 3.0):
            rng, hits = np.random.default_rng(16), 0
            for _ in range(repetitions):
                item = rng.normal(0.5, 2.2, 430)
                a, b = (arm(rng, item, n, 0.0, spread, 0.4) for n in (seeds, 1))
                hits += intervals.across_seeds(a, b).p < 0.05
            rate = 100 * hits / repetitions
            print(f"  {seeds} seeds, {spread} points over seeds: {rate:.1f} % would be false; now there is no claim")


def ranks_of_single_runs(repetitions: int) -> None:
    """Holm over mid-p of all pairs."""
    print(f"\nranks of equal single runs, {repetitions} boards: false")
    for n in (40, 60, 430):
        for rows in (5, 10):
            rng, false = np.random.default_rng(17), 0
            for _ in range(repetitions):
                logit = rng.normal(0.5, 1.5, n)
                scores = (rng.random((rows, n)) < 1 / (1 + np.exp(-logit))).astype(float)
                found = family.pairs_of_checkpoints({str(i): row[None] for i, row in enumerate(scores)})
                family.correct(found)
                false += any(pair["verdict"] != family.ALIKE for pair in found)
            print(f"  {n:3} items, {rows:2} rows: {100 * false / repetitions:.1f} %", flush=True)


def coverage(repetitions: int) -> None:
    """How often the interval of a score holds the true one; students: the rule before."""
    print(f"\n95 % interval of a score near 0 and 1, {repetitions} repetitions: Student's t (before) / now")
    worst = [1.0, 1.0]
    for seeds, k, n, share in itertools.product((1, 4), (1, 4, 8), (20, 40, 100, 430), (0.007, 0.03, 0.5, 0.9, 0.97)):
        if seeds == k == 1:
            continue  # Wilson, then as now
        for scatter in (0.5, 2.0, 1e6):
            rng, held = np.random.default_rng(18), np.zeros(2)
            for _ in range(repetitions):
                scores = rng.binomial(k, rng.beta(share * scatter, (1 - share) * scatter, n), (seeds, n)) / k
                means = scores.mean(axis=0)
                half = scipy_stats.t.ppf(0.975, n - 1) * means.std(ddof=1) / np.sqrt(n)
                found = intervals.of_score(scores)
                held += [abs(means.mean() - share) <= half, found.low <= share <= found.high]
            worst = np.minimum(worst, held / repetitions)
            if (seeds, k, n, scatter) in ((4, 1, 40, 1e6), (1, 4, 40, 2.0)):
                rates = " / ".join(f"{100 * rate:.1f} %" for rate in held / repetitions)
                print(f"  {seeds} seeds, {k} samples, {n} items, {100 * share:g} % right: {rates}", flush=True)
    print(f"  the least of all designs (chance included): {' / '.join(f'{100 * rate:.1f} %' for rate in worst)}")


def shared_draws(repetitions: int) -> None:
    """What a draw that all seeds of a strategy share does to claims about it, and what the board says of it."""
    print(
        f"\na draw shared by all seeds, 430 items, 1.5 points over seeds, {repetitions} repetitions: false / as printed"
    )
    for seeds in (4, 8):
        for points in (0.0, 1.0, 2.0):
            rng, hits, printed = np.random.default_rng(19), 0, 0.0
            for _ in range(repetitions):
                item = rng.normal(0.5, 2.2, 430)
                a, b = (arm(rng, item, seeds, rng.normal(0, points), 1.5, 0.4) for _ in range(2))
                found = intervals.across_seeds(a, b)
                hits += found.p < 0.05
                printed += family.false_claims_if_drawn(asdict(found), points)
            rates = f"{100 * hits / repetitions:.1f} % / {100 * printed / repetitions:.1f} %"
            print(f"  {seeds} seeds, {points} points: {rates}", flush=True)


def unpaired_scores() -> None:
    """p of two shares without scores per item, against its interval, and its level (exact)."""
    print("\ntwo shares without scores per item (exact): false claims")
    for n in (40, 164, 500):
        cells = []
        for share in (0.05, 0.3, 0.9):
            weights = scipy_stats.binom.pmf(np.arange(n + 1), n, share)
            likely = np.flatnonzero(weights > 1e-5)
            total = sum(
                weights[a] * weights[b] * (unpaired.difference(a / n, n, b / n, n).p < 0.05)
                for a, b in itertools.product(likely, likely)
                if abs(a - b) / n > 0.02
            )
            cells.append(f"{100 * share:g} %: {100 * total:.1f} %")
        print(f"  n = {n:3}: {', '.join(cells)}", flush=True)


PARTS = {
    part.__name__: part
    for part in (
        strategies, df_of_seeds, related_items, one_seed_as_reference, ranks_of_single_runs, coverage, shared_draws,
    )
}  # fmt: skip


if __name__ == "__main__":
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    chosen = sys.argv[2:] or PARTS
    if not sys.argv[2:]:
        checkpoints()
        unpaired_scores()
    for name in chosen:
        PARTS[name](repetitions)
