"""Our gate and others side by side: how often each blocks and passes the same simulated and recorded pairs.

    python3.12 -m venv rivals
    rivals/bin/pip install -r tests/bench/rivals.txt
    HARNESS_DATA=... PYTHONPATH=.:tests OMP_NUM_THREADS=1 rivals/bin/python -m bench.gate_rivals [repetitions [rule]]

The others run in an environment of their own; one that is not installed is left out, with a message. Margin 3 points,
wherever a rule has a margin or a threshold; else the settings that its documentation recommends. Verdicts: BLOCK if it
reports a regression, PASS if it lets the candidate go (exit code 0), OPEN for everything else ("inconclusive"). rule:
only those with this in their name; they see the same pairs as in a run of all.
"""

from __future__ import annotations

import bisect
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path

import numpy as np
from bench.gate_rates import pair, tries
from scipy import stats

from harness.gate.decide import Design, Settings, Tier, decide, decide_attempts
from harness.gate.family import FamilyTest, next_share
from harness.interop.recorded_read import read_generations

MARGIN = 3.0  # points
DROPS = (0, 1, 2, 3, 5, 8)
ITEMS, SIX = 1319, (400,) * 6
TRIES = 10
BLOCK, PASS, OPEN = "BLOCK", "PASS", "OPEN"

Scores = dict[str, np.ndarray]  # of each task, in the order in which the items are evaluated
Tried = tuple[Scores, list[Scores]]  # a baseline, and what is compared with it one after the other
Answer = tuple[str, int]  # the verdict, and the number of the candidate's replies that it took


@dataclass(frozen=True)
class Rule:
    """One way to decide. source: whose code ran, or where its rule is documented.

    answer: from the scores of baseline and candidate. retried: the verdicts after each attempt of one candidate. run:
    those on the checkpoints of one run. A rule without these two decides on each by itself.
    """

    name: str
    source: str
    answer: Callable[[Scores, Scores], Answer]
    retried: Callable[[Scores, Sequence[Scores]], list[str]] | None = None
    run: Callable[[Scores, Sequence[Scores]], list[str]] | None = None
    several: bool = False  # it is another rule than those before it only if there are several tasks

    def apart(self, base: Scores, candidates: Sequence[Scores]) -> list[str]:
        """The verdict on each candidate by itself."""
        return [self.answer(base, candidate)[0] for candidate in candidates]


@dataclass(frozen=True)
class Counts:
    """What a rule for right and wrong answers can know of one task."""

    n: int
    both: int  # right in both
    lost: int  # right in the baseline alone
    gained: int

    @property
    def drop(self) -> float:
        return (self.lost - self.gained) / self.n


def counted(base: np.ndarray, candidate: np.ndarray) -> Counts:
    kept, lost = base * candidate, base * (1 - candidate)
    return Counts(len(base), int(kept.sum()), int(lost.sum()), int(candidate.sum() - kept.sum()))


def summed(tasks: Sequence[Counts]) -> Counts:
    return Counts(*(sum(getattr(of, name) for of in tasks) for name in ("n", "both", "lost", "gained")))


def by_counts(name: str, source: str, verdict: Callable[[Sequence[Counts]], str], several: bool = False) -> Rule:
    """A rule for which the counts of each task are enough."""

    def answer(base: Scores, candidate: Scores) -> Answer:
        tasks = [counted(base[task], candidate[task]) for task in base]
        return verdict(tasks), summed(tasks).n

    return Rule(name, source, answer, several=several)


def pooled(verdict: Callable[[Counts], str]) -> Callable[[Sequence[Counts]], str]:
    """For rules that know one list of items: those of all tasks are in one file."""
    return lambda tasks: verdict(summed(tasks))


class Asked:
    """The verdict of slow code, by numbers lost and gained: asked only near where it changes.

    The more of the discordant items are lost, the worse the candidate; so PASS, OPEN and BLOCK follow each other.
    """

    def __init__(self, ask: Callable[[int, int, int], str]) -> None:
        self.ask, self.bounds = cache(ask), cache(self._bounds)
        self.last = (0.0, 0.0)  # the bounds found last, as shares of the items: where to begin next time

    def __call__(self, of: Counts) -> str:
        not_passed, blocked = self.bounds(of.n, of.lost + of.gained)
        return PASS if of.lost < not_passed else BLOCK if of.lost >= blocked else OPEN

    def _bounds(self, n: int, discordant: int) -> tuple[int, int]:
        """The smallest number lost that does not pass, and that is blocked; `discordant` + 1: no number is."""
        guesses = [(discordant + n * net) / 2 for net in self.last]
        not_passed, blocked = (
            first(discordant + 1, partial(self._reached, n, discordant, verdicts), round(guess))
            for verdicts, guess in zip(((OPEN, BLOCK), (BLOCK,)), guesses, strict=True)
        )
        self.last = ((2 * not_passed - discordant) / n, (2 * blocked - discordant) / n)
        return not_passed, blocked

    def _reached(self, n: int, discordant: int, verdicts: Sequence[str], lost: int) -> bool:
        return self.ask(n, lost, discordant - lost) in verdicts


def first(size: int, reached: Callable[[int], bool], guess: int) -> int:
    """The first of 0, ..., size - 1 that is reached, as all behind it are; size: none is. Searched from a guess."""
    low, high, step = 0, size, 1
    at = min(max(guess, 0), size - 1)
    while low <= at < high:
        if reached(at):
            high, at = at, at - step
        else:
            low, at = at + 1, at + step
        step *= 2
    return low + bisect.bisect_left(range(low, high), True, key=reached)


def streamed(name: str, source: str, watch: Callable[[np.ndarray], Answer]) -> Rule:
    """A rule that follows the differences as they come: of several tasks in turn."""

    def answer(base: Scores, candidate: Scores) -> Answer:
        differences = [candidate[task] - base[task] for task in base]
        return watch(differences[0] if len(differences) == 1 else np.stack(differences, axis=1).ravel())

    return Rule(name, source, answer)


# Ours


def ours(design: Design, tier: Tier = "critical") -> Rule:
    """tier: of each of several tasks. advisory: only the check of all items together counts."""

    def settings(base: Scores) -> Settings:
        margins = dict.fromkeys(base, MARGIN)
        tiers = dict.fromkeys(base, tier) if len(base) > 1 else {}  # the only task of a gate is critical
        agreed = Settings(margin=MARGIN, margins=margins, tiers=tiers, design=design, checkpoints=TRIES)
        return replace(agreed, primary="items") if tier == "advisory" else agreed

    def answer(base: Scores, candidate: Scores) -> Answer:
        found = decide(settings(base), {"base": base}, candidate)
        return named(found.verdict), found.n_used

    def retried(base: Scores, candidates: Sequence[Scores]) -> list[str]:
        if design == "fixed":
            firsts = [candidates[:number] for number in range(1, len(candidates) + 1)]
            return [named(decide_attempts(settings(base), {"base": base}, some).verdict) for some in firsts]
        found = decide_attempts(settings(base), {"base": base}, candidates)  # a verdict stands, so no attempt follows
        return [OPEN] * (found.attempts - 1) + [named(found.verdict)]

    def run(base: Scores, candidates: Sequence[Scores]) -> list[str]:
        tests: list[FamilyTest] = []
        for number, candidate in enumerate(candidates):
            share = next_share(TRIES, tests, str(number))
            found = decide(settings(base), {"base": base}, candidate, share)
            tests.append(FamilyTest(str(number), share, found.verdict))
        return [named(test.verdict) for test in tests]

    of_tasks = "" if tier == "critical" else f", tasks {tier}"
    return Rule(f"**ours, {design}**{of_tasks}", "ours", answer, retried, run, several=tier != "critical")


def named(verdict: str) -> str:
    return verdict if verdict in (BLOCK, PASS) else OPEN


# Rules as documented


def documented() -> list[Rule]:
    paper, lm_eval = "as documented: arXiv:2602.10144", "as documented: lm-eval, scripts/model_comparator.py"
    return [
        by_counts(f"score falls by more than {MARGIN:g}", "as documented: a common CI check", falls),
        by_counts("two standard errors, unpaired", lm_eval, two_standard_errors),
        by_counts("pooled McNemar test", paper, pooled(lambda of: worse(exact(of)))),
        by_counts("maximum drop test", paper, lambda tasks: worse(largest_drop(tasks)), several=True),
        by_counts("Fisher's combination", paper, lambda tasks: worse(fisher(tasks)), several=True),
    ]


def worse(p: float) -> str:
    """A test alone: what is not significantly worse is let go."""
    return BLOCK if p < 0.05 else PASS


def falls(tasks: Sequence[Counts]) -> str:
    return BLOCK if np.mean([of.drop for of in tasks]) > MARGIN / 100 else PASS


def two_standard_errors(tasks: Sequence[Counts]) -> str:
    """BLOCK if any task is worse by more than two standard errors of the difference of two independent scores."""
    for of in tasks:
        before, after = (of.both + of.lost) / of.n, (of.both + of.gained) / of.n
        error = math.sqrt((before * (1 - before) + after * (1 - after)) / (of.n - 1))
        if before - after > 2 * error:
            return BLOCK
    return PASS


def exact(of: Counts) -> float:
    """One-sided exact McNemar test for a drop."""
    return float(stats.binom.sf(of.lost - 1, of.lost + of.gained, 0.5))


def fisher(tasks: Sequence[Counts]) -> float:
    return float(stats.chi2.sf(-2 * sum(math.log(exact(of)) for of in tasks), 2 * len(tasks)))


def largest_drop(tasks: Sequence[Counts]) -> float:
    """The chance of a standardized drop as large as the largest of the tasks, if no task is worse."""
    sizes = [max(of.lost + of.gained, 1) for of in tasks]
    largest = max((of.lost - of.gained) / math.sqrt(size) for of, size in zip(tasks, sizes, strict=True))
    least = [math.ceil((size + largest * math.sqrt(size)) / 2 - 1e-9) for size in sizes]  # lost, for such a drop
    return 1 - math.prod(float(stats.binom.cdf(k - 1, size, 0.5)) for k, size in zip(least, sizes, strict=True))


# Others' own code. Each function imports its package, and so fails if that is not installed.


def nemo_evaluator(version: str) -> list[Rule]:
    from nemo_evaluator.config import GatePolicy
    from nemo_evaluator.engine import comparison, gate
    from nemo_evaluator.metrics.paired_tests import mcnemar_test

    limits = {"tier": "critical", "max_drop": MARGIN / 100, "metric": "mean_reward"}
    policy = GatePolicy.model_validate({"defaults": limits}).resolve("task")

    @cache
    def status(n: int, lost: int, gained: int) -> str:
        differences = [-1.0] * lost + [1.0] * gained + [0.0] * (n - lost - gained)
        low, high = gate._paired_delta_ci(differences)
        found = gate.BenchmarkGateResult(
            tier="critical", delta=(gained - lost) / n, delta_ci_lower=low, delta_ci_upper=high
        )
        gate._apply_thresholds(found, policy, allow_point_estimate=False)
        return found.status

    def together(tasks: Sequence[Counts]) -> str:
        results = [
            gate.BenchmarkGateResult(benchmark=str(i), tier="critical", status=status(of.n, of.lost, of.gained))
            for i, of in enumerate(tasks)
        ]
        return {"NO-GO": BLOCK, "GO": PASS}.get(gate._aggregate_verdict(results)[0], OPEN)

    def compare(of: Counts) -> str:
        flips = comparison.FlipSummary(n_paired=of.n, n_regressions=of.lost, n_improvements=of.gained)
        table = {"baseline_only_correct": of.lost, "candidate_only_correct": of.gained}
        report = comparison.RegressionReport(
            flip_report=comparison.FlipReport(summary=flips), mcnemar=mcnemar_test(table, of.n), test_used="mcnemar"
        )
        return named(comparison._compute_verdict(report, MARGIN / 100)[0])

    def worst(tasks: Sequence[Counts]) -> str:
        found = set(map(compare, tasks))
        return BLOCK if BLOCK in found else OPEN if OPEN in found else PASS

    return [by_counts("nel gate", version, together), by_counts("nel compare", version, worst)]


def statgate(version: str) -> list[Rule]:
    from statgate.core import MixtureSPRT, bca_mean_interval
    from statgate.verdict import _decide

    def compare(n: int, lost: int, gained: int) -> str:
        differences = np.repeat([-1.0, 1.0, 0.0], [lost, gained, n - lost - gained])
        interval = bca_mean_interval(differences, 0.95, resamples=1000, seed=n * lost + gained)
        return {"SHIP": PASS, "BLOCK": BLOCK}.get(_decide(interval, MARGIN / 100).value, OPEN)

    def sequential(differences: np.ndarray) -> Answer:
        test, batch = MixtureSPRT(theta0=-MARGIN / 100, alpha=0.05, min_samples=10), 25
        for start in range(0, len(differences), batch):
            found = test.update(differences[start : start + batch])
            if found.decided:
                return PASS if found.direction > 0 else BLOCK, found.n
        return OPEN, len(differences)

    return [
        by_counts("statgate compare", version, pooled(Asked(compare))),
        streamed("statgate sequential", version, sequential),
    ]


def evalsig(version: str) -> list[Rule]:
    from evalsig import ItemResult, RunFrame, gate
    from evalsig.inference.sequential import confidence_sequence

    def no_regression(n: int, lost: int, gained: int) -> str:
        base = np.repeat([1.0, 0.0, 0.0], [lost, gained, n - lost - gained])
        candidate = np.repeat([0.0, 1.0, 0.0], [lost, gained, n - lost - gained])
        frames = [
            RunFrame("r", "m", "t", "accuracy", [ItemResult(str(i), float(score)) for i, score in enumerate(side)])
            for side in (base, candidate)
        ]
        return {"ALLOW": PASS, "REJECT": BLOCK}.get(gate(*frames, min_delta=0.005).verdict.value, OPEN)

    def watch(differences: np.ndarray) -> Answer:
        for n in [*range(50, len(differences), 25), len(differences)]:
            if confidence_sequence(differences[:n], alpha=0.05).ci[1] < 0:
                return BLOCK, n
        return OPEN, len(differences)

    return [
        by_counts("evalsig gate", version, pooled(Asked(no_regression))),
        streamed("evalsig watch, for a drop", version, watch),
    ]


def evalproof(version: str) -> list[Rule]:
    from evalproof.compare import Comparison, MetricComparison, RunStats
    from evalproof.config import GateConfig
    from evalproof.gate import decide as decided
    from evalproof.stats import mcnemar_exact

    settings, nothing = GateConfig(metric="m", max_drop=MARGIN / 100), RunStats(0, 0, 0.0, 0.0, 0.0, 0)

    def gate(of: Counts) -> str:
        p = mcnemar_exact(of.lost, of.gained)
        metric = MetricComparison("m", "binary", of.n, 0.0, 0.0, -of.drop, 0.0, 0.0, p, "exact McNemar")
        found = decided(Comparison([], [], [], True, {"m": metric}, nothing, nothing), settings)
        return BLOCK if found.exit_code else PASS

    return [by_counts("evalproof gate", version, pooled(gate))]


def evalgate_cli(version: str) -> list[Rule]:
    from evalgate.decide import decide as decided
    from evalgate.stats import mcnemar_test

    def paired(of: Counts) -> str:
        return BLOCK if decided(mcnemar_test(of.lost, of.gained)).is_regression else PASS

    return [by_counts("evalgate paired", version, pooled(paired))]


def deltagate(version: str) -> list[Rule]:
    from deltagate import evaluate_comparison, holm_bonferroni, paired_delta

    def sides(n: int, lost: int, gained: int) -> tuple[np.ndarray, np.ndarray]:
        rest = n - lost - gained
        return np.repeat([1.0, 0.0, 0.0], [lost, gained, rest]), np.repeat([0.0, 1.0, 0.0], [lost, gained, rest])

    @cache
    def p_value(n: int, lost: int, gained: int) -> float:
        return float(paired_delta(*sides(n, lost, gained))["p_value"])

    def one(n: int, lost: int, gained: int) -> str:
        if p_value(n, lost, gained) >= 0.05 or lost < gained:
            return PASS
        return BLOCK if evaluate_comparison(*sides(n, lost, gained), n_boot=500).significant else PASS

    single = Asked(one)

    def report(tasks: Sequence[Counts]) -> str:
        if len(tasks) == 1:
            return single(tasks[0])
        rejected = holm_bonferroni([p_value(of.n, of.lost, of.gained) for of in tasks], alpha=0.05).rejected
        return BLOCK if any(no and of.drop > 0 for no, of in zip(rejected, tasks, strict=True)) else PASS

    return [by_counts("deltagate report", version, report)]


def evalci(version: str) -> list[Rule]:
    from evalci._significance import paired_permutation_p

    def permuted(_n: int, lost: int, gained: int) -> str:
        differences = np.repeat([1.0, -1.0], [lost, gained])  # ties change nothing
        p = paired_permutation_p(differences, 3000, rng=np.random.default_rng(lost))
        return BLOCK if p < 0.05 and lost > gained else PASS

    return [by_counts("evalci compare", version, pooled(Asked(permuted)))]


OTHERS = (nemo_evaluator, statgate, evalsig, evalproof, evalgate_cli, deltagate, evalci)


def rules() -> tuple[list[Rule], list[str]]:
    """All rules that can run here, ours first, and the names of the packages that are not installed."""
    found = [ours("fixed"), *(ours("group-sequential", tier) for tier in ("critical", "supporting", "advisory"))]
    missing = []
    for adapter in OTHERS:
        name = adapter.__name__.replace("_", "-")
        try:
            found += adapter(f"{name} {metadata.version(name)}")
        except ImportError:  # also if the package is there, but not what it needs
            missing.append(name)
    return found + documented(), missing


# What is measured


def share(verdicts: Sequence[str], verdict: str) -> float:
    return 100 * sum(each == verdict for each in verdicts) / len(verdicts)


def outcome(rule: Rule, pairs: Sequence[tuple[Scores, Scores]]) -> tuple[str, float]:
    """ "blocked / passed" in % as text, and the mean number of replies."""
    answers = [rule.answer(*each) for each in pairs]
    verdicts = [verdict for verdict, _ in answers]
    text = f"{share(verdicts, BLOCK):.1f} / {share(verdicts, PASS):.1f}"
    return text, float(np.mean([used for _, used in answers]))


def drawn(rng: np.random.Generator, drops: Sequence[float], n: int, discordant: float) -> tuple[Scores, Scores]:
    """Tasks of n items each, with these drops in points."""
    sides = [pair(rng, n, drop, discordant) for drop in drops]
    base, candidate = ({f"t{i}": side[which] for i, side in enumerate(sides)} for which in (0, 1))
    return base, candidate


def measured(rule: Rule, cells: Sequence[Sequence[tuple[Scores, Scores]]]) -> str:
    """A row of the table: verdicts of each cell; replies without a drop, at 5 and at 8 points."""
    found = [outcome(rule, pairs) for pairs in cells]
    used = [f"{found[DROPS.index(drop)][1]:.0f}" for drop in (0, 5, 8)]
    return " | ".join([rule.name, *(text for text, _ in found), *used])


def print_table(title: str, heads: Sequence[str], rows: Iterator[str] | Sequence[str]) -> None:
    print(f"\n{title}\n\n| rule | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    for row in rows:
        print(f"| {row} |", flush=True)


def rates(every: Sequence[Rule], repetitions: int) -> None:
    heads = ["no drop", *(f"{drop} {'point' if drop == 1 else 'points'}" for drop in DROPS[1:])]
    replies = [f"replies, {when}" for when in ("no drop", "5 points", "8 points")]
    single = [rule for rule in every if not rule.several]
    for discordant in (0.12, 0.2):
        rng = np.random.default_rng([1, int(100 * discordant)])
        cells = [[drawn(rng, [drop], ITEMS, discordant) for _ in range(repetitions)] for drop in DROPS]
        title = f"One task of {ITEMS:,} items, {discordant:.0%} discordant: blocked / passed in %, {repetitions} pairs"
        print_table(title, [*heads, *replies], (measured(rule, cells) for rule in single))
    rng, repetitions = np.random.default_rng(2), max(repetitions // 2, 1)
    cells = [[drawn(rng, [drop] * len(SIX), SIX[0], 0.12) for _ in range(repetitions)] for drop in DROPS]
    cells += [[drawn(rng, [8, *[0] * (len(SIX) - 1)], SIX[0], 0.12) for _ in range(repetitions)]]
    title = f"Six tasks of {SIX[0]} items, 12 % discordant, the same drop in all: blocked / passed in %"
    title += f", {repetitions} pairs"
    print_table(title, [*heads, "8 in one task", *replies], (measured(rule, cells) for rule in every))


def again(rule: Rule, unchanged: Sequence[Tried], worse_ones: Sequence[Tried]) -> str:
    """A row: ever blocked unchanged, and ever passed worse by the margin; by attempts, and by checkpoints of a run."""
    apart = [[rule.apart(*each) for each in draws] for draws in (unchanged, worse_ones)]
    retried, run = (
        apart if how is None else [[how(*each) for each in draws] for draws in (unchanged, worse_ones)]
        for how in (rule.retried, rule.run)
    )
    cells = []
    for blocked, passed in (retried, run):
        for number in (1, 3, TRIES):
            ever = [100 * np.mean([BLOCK in verdicts[:number] for verdicts in blocked]),
                    100 * np.mean([PASS in verdicts[:number] for verdicts in passed])]  # fmt: skip
            cells.append(f"{ever[0]:.1f} / {ever[1]:.1f}")
    cells.append(f"{np.mean([verdicts.count(PASS) for verdicts in run[0]]):.1f}")
    return " | ".join([rule.name, *cells])


AGAIN = ["1 attempt", "3 attempts", f"{TRIES} attempts", "1 checkpoint", "3 checkpoints", f"{TRIES} checkpoints",
         f"passed of {TRIES} unchanged"]  # fmt: skip


def attempts(every: Sequence[Rule], repetitions: int) -> None:
    def tried(drop: float) -> Tried:
        base, candidates = tries(rng, ITEMS, drop, False, TRIES)
        return {"t": base}, [{"t": candidate} for candidate in candidates]

    rng = np.random.default_rng(3)
    draws = [[tried(drop) for _ in range(repetitions)] for drop in (0.0, MARGIN)]
    title = (
        f"{ITEMS:,} items, sampled replies: unchanged and ever blocked / worse by the margin and ever passed, in %, "
    )
    print_table(title + f"{repetitions} repetitions", AGAIN, (again(rule, *draws) for rule in every))


def recorded(name: str) -> np.ndarray:
    """(items, samples) of verdicts as the file has them; the questions' order is that of the benchmark."""
    entries = list(read_generations(Path(os.environ["HARNESS_DATA"]) / "generations" / name).entries)
    return np.array([[float(bool(reply.verdict)) for reply in entry.replies] for entry in entries])


def real_pairs(every: Sequence[Rule], repetitions: int) -> None:
    """Pairs of real models: verdicts once, and on items drawn with replacement.

    If each item's two verdicts change places with chance s, the drop is (1 - 2s) of what it was; which items differ,
    and how many, stays real. s = 1/2: no drop.
    """
    models = ("Phi-3.5-mini-instruct", "Qwen2-7B-Instruct", "Yi-1.5-9B-Chat")
    phi, qwen, yi = (recorded(f"zeroeval_gsm_{model}.jsonl.gz")[:, 0] for model in models)
    rng, n = np.random.default_rng(4), len(phi)

    def again_with(other: np.ndarray, chance: float) -> list[tuple[Scores, Scores]]:
        found = []
        for _ in range(repetitions):
            item, swap = rng.integers(0, n, n), rng.random(n) < chance
            found.append(({"t": np.where(swap, other[item], phi[item])}, {"t": np.where(swap, phi[item], other[item])}))
        return found

    drop = 100 * (phi - yi).mean()
    at_margin = (1 - MARGIN / drop) / 2
    cells = [again_with(yi, 0.5), again_with(qwen, 0.0), again_with(yi, at_margin), again_with(yi, 0.0)]
    heads = [f"{models[0]} to {other}, -{100 * (phi - of).mean():.1f}"
             for other, of in ((models[1], qwen), (models[2], yi))]  # fmt: skip
    heads += ["drawn again: no drop", f"-{100 * (phi - qwen).mean():.1f}", f"-{MARGIN:g}", f"-{drop:.1f}"]

    def row(rule: Rule) -> str:
        once = [rule.answer({"t": phi}, {"t": other})[0] for other in (qwen, yi)]
        return " | ".join([rule.name, *once, *(outcome(rule, pairs)[0] for pairs in cells)])

    shares = [f"{(phi != other).mean():.1%}" for other in (qwen, yi)]
    title = f"GSM8K, {n:,} recorded items, {' and '.join(shares)} discordant: verdict, and blocked / passed in %"
    print_table(f"{title}, {repetitions} draws", heads, (row(rule) for rule in every))


def real_attempts(every: Sequence[Rule], repetitions: int) -> None:
    samples = recorded("humaneval_codegen-16b-mono_t0.8_50samples.jsonl.gz")
    rng, score = np.random.default_rng(5), 100 * samples.mean()

    def tried(drop: float) -> Tried:
        items = samples[rng.integers(0, len(samples), len(samples))]
        base, *others = rng.permuted(items, axis=1)[:, : TRIES + 1].T  # an item drawn twice has other replies
        kept = [other * (rng.random(len(other)) > drop / score) for other in others]
        return {"t": base}, [{"t": other} for other in kept]

    draws = [[tried(drop) for _ in range(repetitions)] for drop in (0.0, MARGIN)]
    title = f"HumanEval, {len(samples)} items, recorded samples of CodeGen-16B: ever blocked / ever passed in %"
    print_table(f"{title}, {repetitions} draws", AGAIN, (again(rule, *draws) for rule in every))


def main(repetitions: int, part: str) -> None:
    every, missing = rules()
    every = [rule for rule in every if part in rule.name]
    single = [rule for rule in every if not rule.several]
    for name in missing:
        print(f"{name} is not installed and left out: pip install -r tests/bench/rivals.txt")
    print_table("Rules", ["source"], (f"{rule.name} | {rule.source}" for rule in every))
    rates(every, repetitions)
    attempts(single, max(repetitions // 3, 1))
    if "HARNESS_DATA" not in os.environ:
        print("HARNESS_DATA is not set: no recorded pairs")
        return
    real_pairs(single, repetitions)
    real_attempts(single, max(repetitions // 3, 1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 600, "".join(sys.argv[2:]))
