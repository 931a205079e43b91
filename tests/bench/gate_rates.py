"""How often the gate blocks, passes and stops early: simulated, to compare with published operating characteristics.

    python tests/bench/gate_rates.py [repetitions]

1,319 items, one-sided alpha 5 %, margin 3 points; BLOCK wants a drop shown,
PASS a drop of the margin ruled out.
"""

from __future__ import annotations

import sys

import numpy as np

from harness.gate.decide import Settings, decide

ITEMS = 1319
DROPS = (0, 1, 2, 3, 5)


def pair(rng, n, drop, discordant, share=0.6):
    """Verdicts of baseline and candidate on n items; drop in points."""
    base = rng.random(n) < share
    lost, gained = ((discordant + sign * drop / 100) / 2 for sign in (1, -1))
    flips = rng.random(n) < np.where(base, lost / share, gained / (1 - share))
    return base.astype(float), (base ^ flips).astype(float)


def rates(settings, drop, discordant, repetitions, rng, n=ITEMS):
    """(share blocked, share passed, mean items used)"""
    blocked = passed = used = 0
    for _ in range(repetitions):
        base, candidate = pair(rng, n, drop, discordant)
        found = decide(settings, {"base": {"t": base}}, {"t": candidate})
        blocked += found.verdict == "BLOCK"
        passed += found.verdict == "PASS"
        used += found.n_used
    return blocked / repetitions, passed / repetitions, used / repetitions


def lost_as_a_whole(rng, sizes, drop, repetitions):
    """Share passed where a drop of the margin, of the mean of tasks, is items of the first task lost as a whole."""
    agreed = Settings(margin=drop, margins={f"t{i}": 90.0 for i in range(len(sizes))})
    passed = 0
    for _ in range(repetitions):
        base = {f"t{i}": np.ones(n) for i, n in enumerate(sizes)}
        lost = rng.random(sizes[0]) < drop / 100 * len(sizes)
        passed += decide(agreed, {"b": base}, {**base, "t0": base["t0"] - lost}).verdict == "PASS"
    return passed / repetitions


def samples_lost(rng, samples, n, drop, repetitions):
    """Share passed where a drop of the margin, over several samples an item, is items lost as a whole."""
    passed = 0
    for _ in range(repetitions):
        share = (rng.random(n) < 0.6).astype(float)
        left = share * (rng.random(n) > drop / 100 / 0.6)
        base, candidate = (rng.binomial(samples, p) / samples for p in (share, left))
        passed += decide(Settings(margin=drop, margins={}), {"b": {"t": base}}, {"t": candidate}).verdict == "PASS"
    return passed / repetitions


def main(repetitions: int) -> None:
    rng = np.random.default_rng(3)
    print(f"a drop of the margin that is items lost as a whole: passed, of {repetitions}")
    for sizes, drop in (((50, 1000), 5), ((164, 1319), 3), ((100,) * 5, 3)):
        rate = lost_as_a_whole(rng, sizes, drop, repetitions)
        print(f"  tasks of {sizes} items, mean of tasks, margin {drop}: {100 * rate:.1f} %", flush=True)
    for samples, n, drop in ((4, 100, 5), (2, 60, 10), (4, 164, 6), (2, 1319, 2)):
        rate = samples_lost(rng, samples, n, drop, repetitions)
        print(f"  {n} items x {samples} samples, margin {drop}: {100 * rate:.1f} %", flush=True)
    print()
    print(f"{ITEMS} items, margin 3 points, {repetitions} repetitions; drop in points: blocked / passed, items used")
    for discordant in (0.1, 0.2, 0.3):
        for design in ("fixed", "group-sequential"):
            settings = Settings(margin=3.0, margins={}, design=design)
            cells = []
            for drop in DROPS:
                blocked, passed, used = rates(settings, drop, discordant, repetitions, rng)
                cells.append(f"{drop}: {100 * blocked:4.1f} % / {100 * passed:4.1f} %, {used:4.0f}")
            print(f"  q = {discordant}  {design:<16}  " + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
