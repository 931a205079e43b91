"""How often the gate blocks, passes and stops early: simulated, to compare with published operating characteristics.

    python tests/bench/gate_rates.py [repetitions [part]]

1,319 items, one-sided alpha 5 %, margin 3 points; BLOCK wants a drop shown,
PASS a drop of the margin ruled out. A part alone: `attempts`, `families` (checkpoints of one run), `policies` (six
tasks), `samples` (more of the baseline), `published` (scores without records), `clusters` (related items),
`single` (checks).
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
from scipy import stats

from harness.gate import plan
from harness.gate.decide import PRIMARY, Settings, decide, decide_attempts, pooled
from harness.gate.family import FamilyTest, Share, next_share
from harness.statistics.unpaired import Published

ITEMS = 1319
DROPS = (0, 1, 2, 3, 5, 8)
ATTEMPTS = (1, 2, 3, 5, 10)
RUN_OF = 10  # checkpoints


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


def each_alone(settings, baselines, attempts):
    """(verdict, attempt that decided) by the rule before: the first that decides alone, else all at alpha / k."""
    for number in range(1, len(attempts) + 1):
        found = decide(settings, baselines, attempts[number - 1])
        if found.verdict == "INCONCLUSIVE":
            found = decide(replace(settings, alpha=settings.alpha / number), baselines, pooled(attempts[:number]))
        if found.verdict != "INCONCLUSIVE":
            break
    return found.verdict, number


def together(settings, baselines, attempts):
    """(verdict, attempt that decided) by the rule of the gate."""
    found = decide_attempts(settings, baselines, attempts)
    return found.verdict, found.attempts


def tries(rng, n, drop, certain, number):
    """Verdicts of a baseline and of so many attempts of a candidate whose replies are sampled.

    drop: in points, the same share of every item's chance. certain: the baseline always answers an item alike.
    """
    chance = rng.beta(0.63, 0.42, n)  # of a right reply, 60 % on average
    base = rng.random(n) < (rng.random(n) < chance if certain else chance)
    if certain:
        chance = np.where(base, 0.85, 0.225)  # 60 % on average too, but no item's reply is certain
    return base.astype(float), (rng.random((number, n)) < chance * (1 - drop / 60)).astype(float)


def wrong_in_the_end(rule, settings, certain, repetitions, rng, n=600):
    """For unchanged, and for worse by the margin: the share ever blocked, or ever passed, by each of `ATTEMPTS`."""
    rates = {}
    for drop, verdict in ((0.0, "BLOCK"), (settings.margin, "PASS")):
        at = []
        for _ in range(repetitions):
            base, candidates = tries(rng, n, drop, certain, max(ATTEMPTS))
            found, number = rule(settings, {"base": {"t": base}}, [{"t": candidate} for candidate in candidates])
            at += [number] if found == verdict else []
        rates[verdict] = [np.sum(np.array(at) <= number) / repetitions for number in ATTEMPTS]
    return rates


def checkpoints_of_a_run(rng, n, drop, correlation, count):
    """Verdicts of a baseline and of checkpoints of one run, whose replies to an item are correlated (latent normal)."""
    chance = rng.beta(0.63, 0.42, n)
    base = rng.random(n) < chance
    shared, own = rng.normal(size=n), rng.normal(size=(count, n))
    latent = stats.norm.cdf(math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)
    return base.astype(float), (latent < chance * (1 - drop / 60)).astype(float)


def every_one_alone(_checkpoints, _earlier, _candidate):
    """The rule before: each checkpoint is tested at alpha."""
    return Share()


def one_of_a_run(rule, settings, drop, correlation, repetitions, rng):
    """(share with one blocked, share with one passed, mean number passed) of `RUN_OF` checkpoints worse by `drop`."""
    blocked = passed = number = 0
    for _ in range(repetitions):
        base, candidates = checkpoints_of_a_run(rng, 600, drop, correlation, RUN_OF)
        tests = []
        for at, candidate in enumerate(candidates):
            share = rule(settings.checkpoints, tests, str(at))
            found = decide(settings, {"base": {"t": base}}, {"t": candidate}, share)
            tests.append(FamilyTest(str(at), share, found.verdict))
        verdicts = [test.verdict for test in tests]
        blocked, passed = blocked + ("BLOCK" in verdicts), passed + ("PASS" in verdicts)
        number += verdicts.count("PASS")
    return blocked / repetitions, passed / repetitions, number / repetitions


def main(repetitions: int, part: str) -> None:
    parts = {
        "attempts": repeated_attempts,
        "families": families,
        "policies": policies,
        "samples": more_samples,
        "published": published,
        "clusters": clusters,
        "single": single_checks,
    }
    for run in [parts[part]] if part else parts.values():
        run(repetitions)


def repeated_attempts(repetitions: int) -> None:
    print(f"600 items, sampled replies, margin 3 points, group-sequential, {repetitions} repetitions")
    print(f"unchanged, ever blocked / worse by the margin, ever passed, by attempt {', '.join(map(str, ATTEMPTS))}")
    settings = Settings(margin=3.0, margins={}, design="group-sequential")
    for certain in (False, True):
        for rule in (each_alone, together):
            found = wrong_in_the_end(rule, settings, certain, repetitions, np.random.default_rng(4))
            texts = [" ".join(f"{100 * rate:4.1f}" for rate in rates) for rates in found.values()]
            who = "a baseline without chance" if certain else "both sampled alike"
            print(f"  {who:<26} {rule.__name__:<11} {' / '.join(texts)} %", flush=True)


def families(repetitions: int) -> None:
    print(f"{RUN_OF} checkpoints of one run, 600 items, margin 5 points, {repetitions} repetitions")
    print("unchanged, one of them blocked / worse by the margin, one of them passed; of the unchanged ones passed")
    for correlation in (0.0, 0.5, 0.9):
        for rule, checkpoints in ((every_one_alone, 1), (next_share, 1), (next_share, 3), (next_share, 10)):
            settings = Settings(margin=5.0, margins={}, checkpoints=checkpoints)
            cells = [
                one_of_a_run(rule, settings, drop, correlation, repetitions, np.random.default_rng(4))
                for drop in (0.0, settings.margin)
            ]
            name = rule.__name__ if rule is every_one_alone else f"one family, {checkpoints} at equal level"
            print(
                f"  correlation {correlation:<4} {name:<31} {100 * cells[0][0]:4.1f} / {100 * cells[1][1]:4.1f} %, "
                f"{cells[0][2]:4.1f} of {RUN_OF}",
                flush=True,
            )


def of_samples(samples, n, drop, repetitions, rng, margin=None):
    """(share passed, share blocked) of a candidate with one sample an item; samples: of the baseline.

    drop: in points, the same share of every item's chance. margin: in points; None: 10.
    """
    settings, verdicts = Settings(margin=margin or 10.0, margins={}), []
    for _ in range(repetitions):
        chance = rng.beta(0.63, 0.42, n)
        base = rng.binomial(samples, chance) / samples
        candidate = (rng.random(n) < chance * (1 - drop / 60)).astype(float)
        verdicts.append(decide(settings, {"base": {"t": base}}, {"t": candidate}).verdict)
    return tuple(verdicts.count(word) / repetitions for word in ("PASS", "BLOCK"))


def more_samples(repetitions: int) -> None:
    print(f"a candidate with one sample an item, {repetitions} repetitions; samples of the baseline:")
    print("unchanged passed / worse by the margin passed / unchanged blocked")
    for n, margin in ((1319, 3.0), (164, 8.0), (100, 10.0), (40, 15.0)):
        cells = []
        for samples in (1, 2, 4):
            rng = np.random.default_rng(6)
            unchanged, worse = (of_samples(samples, n, drop, repetitions, rng, margin) for drop in (0.0, margin))
            cells.append(f"{samples}: {100 * unchanged[0]:4.1f} / {100 * worse[0]:3.1f} / {100 * unchanged[1]:3.1f} %")
        print(f"  {n:>5} items, margin {margin:<4}  " + "   ".join(cells), flush=True)


def without_records(n, of, same, drop, margin, repetitions, rng):
    """(share passed, share blocked) of a candidate compared with a published score on `of` items.

    same: on the candidate's own items, else on others of the kind. drop, margin: in points.
    """
    settings, verdicts = Settings(margin=margin, margins={}), []
    for _ in range(repetitions):
        chance = rng.beta(0.63, 0.42, n)
        others = chance if same else rng.beta(0.63, 0.42, of)
        score = Published(float((rng.random(len(others)) < others).mean()), len(others))
        candidate = (rng.random(n) < chance * (1 - drop / 60)).astype(float)
        verdicts.append(decide(settings, {"release": {"t": score}}, {"t": candidate}).verdict)
    return tuple(verdicts.count(word) / repetitions for word in ("PASS", "BLOCK"))


def published(repetitions: int) -> None:
    print(f"a published score without records, {repetitions} repetitions")
    print("unchanged passed / worse by the margin passed / unchanged blocked")
    for n, of, same, margin in ((1319, 1319, False, 5.0), (1319, 1319, True, 5.0), (164, 164, False, 14.0),
                                (100, 1319, False, 14.0)):  # fmt: skip
        rng = np.random.default_rng(9)
        unchanged, worse = (without_records(n, of, same, drop, margin, repetitions, rng) for drop in (0.0, margin))
        items = "the same items" if same else f"{of} other items"
        print(
            f"  {n:>5} items, score on {items:<16} margin {margin:<4}  "
            f"{100 * unchanged[0]:4.1f} / {100 * worse[0]:3.1f} / {100 * unchanged[1]:3.1f} %",
            flush=True,
        )


def alike(rng, codes, correlation, drop):
    """Verdicts of baseline and candidate on items whose chances, and changes, are alike within a cluster.

    drop: in points, the same share of every item's chance. correlation: of the latent normals within a cluster.
    """
    _, codes = np.unique(codes, return_inverse=True)

    def latent():
        own, shared = rng.normal(size=len(codes)), rng.normal(size=codes.max() + 1)[codes]
        return stats.norm.cdf(math.sqrt(1 - correlation) * own + math.sqrt(correlation) * shared)

    chance = stats.beta(1.2, 0.8).ppf(latent())
    return (latent() < chance).astype(float), (latent() < chance * (1 - drop / 60)).astype(float)


def related(settings, sizes, codes, told, drop, repetitions, rng):
    """(share passed, share blocked) if items of the same code are related. told: the gate knows it."""
    verdicts, starts = [], np.cumsum([0, *sizes])
    parts = {f"t{i}": slice(*starts[i : i + 2]) for i in range(len(sizes))}
    for _ in range(repetitions):
        order = np.concatenate([rng.permutation(size) + start for size, start in zip(sizes, starts, strict=False)])
        base, candidate = (side[order] for side in alike(rng, codes, 0.7, drop))
        known = {task: codes[order][part] for task, part in parts.items()} if told else None
        sides = [{task: side[part] for task, part in parts.items()} for side in (base, candidate)]
        verdicts.append(decide(settings, {"base": sides[0]}, sides[1], clusters=known).verdict)
    return tuple(verdicts.count(word) / repetitions for word in ("PASS", "BLOCK"))


def clusters(repetitions: int) -> None:
    print(f"related items, {repetitions} repetitions: unchanged blocked / worse by the margin passed; not told, told")
    for name, sizes, codes in (
        *((f"500 items in clusters of {size}", [500], np.arange(500) // size) for size in (2, 5, 20)),
        ("the same 250 problems in two tasks", [250, 250], np.tile(np.arange(250), 2)),
    ):
        # below 50 clusters, so at early analyses, signs are flipped, which is slow
        for design in ("fixed", "group-sequential") if repetitions <= 200 else ("fixed",):
            margins = {f"t{i}": 30.0 for i in range(len(sizes))} if len(sizes) > 1 else {}
            agreed, cells = Settings(margin=8.0, margins=margins, design=design), []
            for told in (False, True):
                rng = np.random.default_rng(3)
                rates = [related(agreed, sizes, codes, told, drop, repetitions, rng) for drop in (0.0, 8.0)]
                cells.append(f"{100 * rates[0][1]:4.1f} / {100 * rates[1][0]:4.1f} %")
            print(f"  {name:<35} {design:<16}  {',  '.join(cells)}", flush=True)


def six_tasks(rng, drops, gaps=(0.0, 0.0), n=200):
    """Scores of two baselines and of a candidate on six tasks; drops: of the candidate, in points, by task.

    All three sample their replies, so that two of them differ on a fifth of the items.
    """
    sides = [{}, {}, {}]
    for task, drop in enumerate(drops):
        chance = rng.beta(1.2, 0.8, n)
        chance = np.where(rng.random(n) < SURE, rng.random(n) < 0.6, chance)
        for side, lost in zip(sides, (*gaps, drop), strict=True):
            side[f"t{task}"] = (rng.random(n) < chance * (1 - lost / 60)).astype(float)
    return {"release": sides[0], "previous": sides[1]}, sides[2]


SURE = 0.375  # of the items: answered alike by all


def policies(repetitions: int) -> None:
    print(f"six tasks of 200 items, two baselines, margins of `plan`, {repetitions} repetitions: passed / blocked")
    for tier, primary in (("critical", "macro"), ("supporting", "macro"), ("advisory", "items")):
        tiers = {f"t{i}": tier for i in range(6)}
        for design in ("fixed", "group-sequential"):
            settings = planned(Settings(0.0, {}, design=design, tiers=tiers, primary=primary))
            task = settings.margins["t0"]
            designs = {
                "unchanged": [0.0] * 6,
                f"all worse by the margin ({settings.margin:g})": [settings.margin] * 6,
                f"one task by its margin ({task:g})": [task] + [0.0] * 5,
            }
            cells, rng = [], np.random.default_rng(5)
            for name, drops in designs.items():
                verdicts = [decide(settings, *six_tasks(rng, drops)).verdict for _ in range(repetitions)]
                passed, blocked = (100 * verdicts.count(word) / repetitions for word in ("PASS", "BLOCK"))
                cells.append(f"{name} {passed:.1f} / {blocked:.1f} %")
            print(f"  {tier:<10} {design:<16} {'; '.join(cells)}", flush=True)


def planned(settings, n=200):
    """The settings with the margins of a plan for six tasks of this size."""
    error = math.sqrt(0.2 / n)
    parts = [
        plan.Part(PRIMARY, 6 * n, 0.0, error / math.sqrt(6)),
        *(plan.Part(f"t{i}", n, 0.0, error) for i in range(6)),
    ]
    parts = plan.with_margins(parts, {}, settings, False)
    return replace(settings, margin=parts[0].margin, margins={part.task: part.margin for part in parts[1:]})


def single_checks(repetitions: int) -> None:
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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, "".join(sys.argv[2:]))
