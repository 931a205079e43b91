"""How often the gate blocks, passes and stops early: simulated, to hold against published operating characteristics.

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


def main(repetitions: int) -> None:
    rng = np.random.default_rng(3)
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
