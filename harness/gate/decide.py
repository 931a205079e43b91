"""The verdict: a pure function of per-item scores and the lock's settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from harness.gate.family import WHOLE, Share, attempts_alone
from harness.statistics import intervals, sequential, unpaired
from harness.statistics.unpaired import Published
from harness.types import Reading

GateVerdict = Literal["PASS", "BLOCK", "INCONCLUSIVE"]
Design = Literal["fixed", "group-sequential"]
Policy = Literal["block-on-regression", "require-noninferior"]
Tier = Literal["critical", "supporting", "advisory"]
LOOKS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)  # of all items, in the group-sequential design
PRIMARY = "all tasks"  # the name of the check of all tasks together

# a large drop is seen early, and PASS, which needs nearly all items, loses no power: each test has its own alpha
TO_PASS, TO_BLOCK = sequential.obrien_fleming, sequential.hwang_shih_decani

Scores = Mapping[str, np.ndarray]
"""For each task the items' scores in the lock's order, in [0, 1]; NaN: not evaluated yet; in a baseline: no score."""
BaselineScores = Mapping[str, np.ndarray] | Mapping[str, Published]
"""The same of a baseline, or its published scores."""
Clusters = Mapping[str, np.ndarray]
"""For each task a number for each item, the same for items that are not independent, in any task."""


@dataclass(frozen=True)
class Settings:
    """The settings of a gate. Margins are in points: for PASS, a drop of the margin or more must be ruled out.

    margin: for all tasks together, or the only task. margins: for each task, if there are several. policy: the exit
    code of INCONCLUSIVE. alpha: one-sided, of the gate as a whole for BLOCK, of each check for PASS. tiers: of tasks,
    if there are several; one that is not named is critical, and so is the check of all tasks together.
    """

    margin: float
    margins: Mapping[str, float]
    alpha: float = 0.05
    policy: Policy = "block-on-regression"
    design: Design = "fixed"
    tiers: Mapping[str, Tier] = field(default_factory=dict)
    checkpoints: int = 1  # of one run that are tested at equal level, each at its part of alpha
    reading: Reading = "strict"
    primary: Literal["macro", "items"] = "macro"  # the mean of the tasks' means, or over all items
    max_errors: float = 0.01  # share of replies without a score above which nothing is compared

    @property
    def fractions(self) -> tuple[float, ...]:
        """The share of all items evaluated by each look."""
        return LOOKS if self.design == "group-sequential" else LOOKS[-1:]

    def tier(self, task: str) -> Tier:
        """critical: must PASS for the gate to PASS. supporting: must not BLOCK. advisory: is reported, never counts."""
        return self.tiers.get(task, "critical")


@dataclass(frozen=True)
class Check:
    """One comparison with one baseline, on one task or all. look: the interim analysis that decided it, from 1.

    level: at that look, a p-value for a drop below it is BLOCK whatever the other checks show (Holm's first step).
    """

    baseline: str
    task: str
    tier: Tier
    margin: float
    verdict: GateVerdict
    test: intervals.Sided
    look: int
    level: float

    @property
    def note(self) -> str:
        """A remark to print beside the verdict, or empty."""
        if self.verdict == "PASS" and self.test.high < 0:
            return "significantly worse, by less than the margin"
        return ""


@dataclass(frozen=True)
class Decision:
    """The verdict of the gate. n_used: items compared, of n. over: no later look can change it.

    share: the part of alpha it was tested at. attempts: the number of attempts it was made on, the earliest ones.
    """

    verdict: GateVerdict
    checks: tuple[Check, ...]
    n_used: int
    n: int
    look: int
    over: bool
    share: Share
    attempts: int = 1


def decide_attempts(
    settings: Settings,
    baselines: Mapping[str, BaselineScores],
    attempts: Sequence[Scores],
    shares: Sequence[Share] | None = None,
    clusters: Clusters | None = None,
) -> Decision:
    """The decision on all attempts of one candidate, oldest first: pooled, as if they were samples of one evaluation.

    An attempt is never tested without the earlier ones. In the group-sequential design the first attempts that pass or
    are blocked stand, as no more items would have been drawn; each prefix is tested at the share of its last attempt.
    shares: of alpha, one for each attempt; None: those of a candidate that is its own family. clusters: see `decide`.
    """
    shares = attempts_alone(len(attempts)) if shares is None else shares
    numbers = range(1, len(attempts) + 1) if settings.design == "group-sequential" else [len(attempts)]
    for number in numbers:
        scores = pooled(attempts[:number])
        if number < len(attempts) and not complete_looks(settings, scores):
            continue  # made under other settings, with fewer items than the first look needs now
        found = replace(decide(settings, baselines, scores, shares[number - 1], clusters), attempts=number)
        if found.verdict != "INCONCLUSIVE":
            break
    return found


def pooled(attempts: Sequence[Scores]) -> dict[str, np.ndarray]:
    """For each item the mean over the attempts that have a score; NaN: the last attempt has none yet."""
    found = {}
    for task, last in attempts[-1].items():
        table = np.array([scores[task] for scores in attempts])
        there = ~np.isnan(table)
        sums, n = np.where(there, table, 0.0).sum(axis=0), there.sum(axis=0)
        found[task] = np.where(np.isnan(last), np.nan, sums / np.maximum(n, 1))
    return found


def decide(
    settings: Settings,
    baselines: Mapping[str, BaselineScores],
    candidate: Scores,
    share: Share = WHOLE,
    clusters: Clusters | None = None,
) -> Decision:
    """Compare the candidate with every baseline, look by look, as far as its scores reach, at a share of alpha.

    BLOCK if any check shows a drop (Holm over all checks) and does not rule out the margin; PASS if every check rules
    the margin out; the first look that decides a check is final. At the last look a supporting check that is open is
    enough for PASS; an advisory one is tested alone, and counts for neither. Items are in the lock's order, in which
    every look takes the same share of each task. clusters: of the items; None: all are independent.
    """
    looks = complete_looks(settings, candidate)
    if not looks:
        raise ValueError("no look is complete: scores are missing before the first")
    checks: dict[tuple[str, str], Check] = {}
    for look, upto in enumerate(looks, 1):
        used, last = upto, look
        alpha = settings.alpha * share.passing
        tests = {
            (name, task): (margin, _test(settings, columns, margin / 100, alpha))
            for name, baseline in baselines.items()
            for task, margin, columns in _columns(settings, baseline, candidate, upto, clusters)
        }
        open_ones = {key: of for key, of in tests.items() if key not in checks or checks[key].verdict == "INCONCLUSIVE"}
        counted = sum(settings.tier(task) != "advisory" for _, task in tests)
        checks |= _tested(settings, share, look, open_ones, counted)
        verdict = _verdict(checks.values(), look == len(settings.fractions))
        if verdict != "INCONCLUSIVE":
            break
    over = verdict != "INCONCLUSIVE" or last == len(settings.fractions)
    n = sum(map(len, candidate.values()))
    return Decision(verdict, tuple(checks.values()), sum(used.values()), n, last, over, share)


def _verdict(checks: Iterable[Check], at_last: bool) -> GateVerdict:
    """The verdict of the gate after a look. Before the last one, a supporting check that is open keeps PASS open."""
    verdicts: dict[Tier, set[GateVerdict]] = {"critical": set(), "supporting": set(), "advisory": set()}
    for check in checks:
        verdicts[check.tier].add(check.verdict)
    counted = verdicts["critical"] | verdicts["supporting"]
    if "BLOCK" in counted:
        return "BLOCK"
    return "PASS" if (verdicts["critical"] if at_last else counted) == {"PASS"} else "INCONCLUSIVE"


def complete_looks(settings: Settings, candidate: Scores) -> list[dict[str, int]]:
    """For each look that the candidate's scores reach: the number of items of each task."""
    plan = [
        {task: sequential.seen(len(scores), share) for task, scores in candidate.items()}
        for share in settings.fractions
    ]
    there = {task: _first(scores) for task, scores in candidate.items()}
    return list(itertools.takewhile(lambda upto: all(there[task] >= n for task, n in upto.items()), plan))


def _first(scores: np.ndarray) -> int:
    """The number of scores before the first missing one."""
    missing = np.flatnonzero(np.isnan(scores))
    return int(missing[0]) if len(missing) else len(scores)


@dataclass(frozen=True)
class _Column:
    """The first items of one task: the candidate's scores, the baseline's, and the items' clusters."""

    ours: np.ndarray
    theirs: np.ndarray | Published
    clusters: np.ndarray | None


def _columns(
    settings: Settings,
    baseline: BaselineScores,
    candidate: Scores,
    upto: Mapping[str, int],
    clusters: Clusters | None,
) -> Iterator[tuple[str, float, list[_Column]]]:
    """(task, its margin in points, what is compared) of every check with a baseline."""
    columns = {
        task: _scored_by_both(_Column(candidate[task][:n], baseline[task], clusters[task][:n] if clusters else None))
        for task, n in upto.items()
    }
    yield PRIMARY if len(columns) > 1 else next(iter(columns)), settings.margin, list(columns.values())
    if len(columns) > 1:
        for task, column in columns.items():
            yield task, settings.margins[task], [column]


def _scored_by_both(column: _Column) -> _Column:
    """Without the items that the baseline has no score for."""
    if isinstance(column.theirs, Published):
        return column
    theirs = column.theirs[: len(column.ours)]
    there = ~np.isnan(theirs)
    clusters = None if column.clusters is None else column.clusters[there]
    return _Column(column.ours[there], theirs[there], clusters)


def _test(settings: Settings, columns: Sequence[_Column], margin: float, alpha: float) -> intervals.Sided:
    """The tests of one check, over one task or several."""
    ours = [column.ours for column in columns]
    clusters = [column.clusters for column in columns if column.clusters is not None] or None
    if published := [column.theirs for column in columns if isinstance(column.theirs, Published)]:
        sizes = [len(column) if settings.primary == "items" else 1 for column in ours]
        weights = [size / sum(sizes) for size in sizes]
        return unpaired.sided_unpaired(ours, published, weights, margin, alpha, clusters)
    theirs = [column.theirs for column in columns if not isinstance(column.theirs, Published)]
    if len(columns) == 1 or settings.primary == "items":
        of = None if clusters is None else np.concatenate(clusters)
        return intervals.sided(np.concatenate(ours), np.concatenate(theirs), margin, alpha, of)
    gaps = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    return intervals.mean_sided(gaps, margin, alpha, clusters)


def _tested(
    settings: Settings,
    share: Share,
    look: int,
    tests: Mapping[tuple[str, str], tuple[float, intervals.Sided]],
    counted: int,
) -> dict[tuple[str, str], Check]:
    """The undecided checks, tested at a look: PASS at each one's level, BLOCK by Holm's steps over all `counted`.

    An advisory check is tested alone.
    """

    def level(part: float, spending: sequential.Spending) -> float:
        return sequential.levels(settings.alpha * part, settings.fractions, spending)[look - 1]

    found = {}
    for key, (margin, test) in tests.items():
        tier = settings.tier(key[1])
        verdict: GateVerdict = "PASS" if test.p_below < level(share.passing, TO_PASS) else "INCONCLUSIVE"
        blocking = level(share.own / (1 if tier == "advisory" else counted), TO_BLOCK)
        if verdict != "PASS" and test.p_worse < blocking:
            verdict = "BLOCK"
        found[key] = Check(*key, tier, margin, verdict, test, look, blocking)
    family = sorted((key for key in tests if found[key].tier != "advisory"), key=lambda key: tests[key][1].p_worse)
    for rank, key in enumerate(family):
        if tests[key][1].p_worse >= level(share.own / (counted - rank), TO_BLOCK):
            break
        if found[key].verdict != "PASS":
            found[key] = replace(found[key], verdict="BLOCK")
    return found
