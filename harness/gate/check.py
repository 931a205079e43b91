"""A candidate compared with a lock: its attempts, the decision on them, and the facts of the report."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.atomic import write_text
from harness.errors import DataError, UnknownName, UsageError
from harness.gate import lock as locks
from harness.gate import report
from harness.gate.decide import (
    BaselineScores,
    Check,
    Clusters,
    Decision,
    Scores,
    Settings,
    complete_looks,
    decide_attempts,
    pooled,
)
from harness.gate.family import UNTESTED, WHOLE, FamilyTest, Share, next_share
from harness.gate.lock import Lock, PerItem
from harness.statistics import intervals
from harness.statistics.sequential import seen
from harness.statistics.unpaired import Published
from harness.types import sha256_of

MANY_CANDIDATES = 20  # checked on one set of items, after which passing it may be overfitting

EXIT_CODES = {"PASS": 0, "BLOCK": 3, "INCONCLUSIVE": 4}


class Attempts:
    """The folder of all attempts checked with a lock, so that repeated attempts do not raise the chance to pass.

    An attempt is one file. Attempts belong to one candidate if their weights or their --candidate names are equal; the
    same replies again are the same attempt. Candidates of one family share alpha.
    """

    def __init__(self, folder: Path, comparison: Comparison) -> None:
        self._folder, self._checkpoints = folder, comparison.settings.checkpoints
        release = comparison.baselines["release"]
        asked = [(item.task, item.id, item.item, item.prompt) for item in release.items]
        self._suite = sha256_of([asked, release.rules, release.samples])[:12]

    def of(self, who: Candidate) -> list[Attempt]:
        """The attempts of a candidate so far, oldest first."""
        return [_read(path) for path in self._paths() if _is_of(path, who)]

    def tests(self, who: Candidate) -> list[FamilyTest]:
        """The tests of a candidate's family so far, oldest first; its own ones if it has no family."""
        found = []
        for path in self._paths():
            mine = _is_of(path, who)
            family, share, verdict = _head(path)
            if mine or (who.family and who.family == family):
                found.append(FamilyTest(_MINE if mine else "-".join(_stored_as(path)), share, verdict))
        return found

    def share(self, attempt: PerItem, who: Candidate) -> Share:
        """The part of alpha for this attempt, which was not added yet."""
        earlier = [of.scores for of in self.of(who)]
        if len(told_apart([*earlier, attempt])) == len(told_apart(earlier)):
            return UNTESTED
        return next_share(self._checkpoints, self.tests(who), _MINE)

    def joined(self, attempt: PerItem, who: Candidate) -> list[Attempt]:
        """The earlier attempts, and this one with its share unless it has the replies of one of them."""
        earlier = self.of(who)
        again = any(attempt.replies == other.scores.replies for other in earlier)
        return earlier if again else [*earlier, Attempt(attempt, self.share(attempt, who))]

    def add(self, attempts: Sequence[Attempt], who: Candidate, verdict: str) -> None:
        """Keep the last one of these attempts of a candidate, if it was not kept before. verdict: of all of them.

        Raises `UsageError` if neither its weights nor its name are known.
        """
        last = attempts[-1]
        if not who.weights and not who.named:
            raise UsageError(
                f"the records of {last.scores.name!r} have no weights digest, so a second attempt could not be told "
                "from another candidate; name the candidate, for instance by a commit: --candidate ID"
            )
        if all(last.scores.replies != other.scores.replies for other in self.of(who)):
            number = f"{len(self._paths()) + 1:04d}"
            name = "-".join([self._suite, number, *who.identity, last.scores.replies[:12]])
            head = {"family": who.family, "share": asdict(last.share), "verdict": verdict}
            write_text(self._folder / f"{name}.jsonl", json.dumps(head) + "\n" + last.scores.text())

    def candidates(self) -> int:
        """Number of different candidates checked on these items so far."""
        return len({_stored_as(path) for path in self._paths()})

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._suite}-*.jsonl"))


_MINE = "this candidate"


@dataclass(frozen=True)
class Candidate:
    """What identifies a candidate's attempts, and the run it is a checkpoint of; empty: not known.

    weights: their digest. named: by --candidate. family: the run; empty: it is its own family.
    """

    weights: str = ""
    named: str = ""
    family: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Its weights and its name, as they stand in the name of an attempt's file."""
        return _short(self.weights), _short(self.named)


@dataclass(frozen=True)
class Attempt:
    """The scores of one attempt, and the part of alpha it is tested at."""

    scores: PerItem
    share: Share


@dataclass(frozen=True)
class Checked:
    """A candidate that was checked: its scores now, all of its attempts, and the decision on them."""

    who: Candidate
    scores: PerItem
    attempts: Sequence[Attempt]
    decision: Decision


def told_apart(attempts: Sequence[PerItem]) -> list[PerItem]:
    """The attempts that tell something new, oldest first.

    Greedy replies of the same weights are the same up to rounding: of each item the first counts.
    """
    found: list[PerItem] = []
    for attempt in attempts:
        same = [attempt.greedy and other.greedy and attempt.weights == other.weights != "" for other in found]
        if any(same):
            found[same.index(True)] = found[same.index(True)].continued(attempt)
        else:
            found.append(attempt)
    return found


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else "unknown"


def _stored_as(path: Path) -> tuple[str, ...]:
    """The weights and the name of the candidate whose attempt is in this file."""
    return tuple(path.stem.split("-")[2:4])


def _is_of(path: Path, who: Candidate) -> bool:
    """Whether an attempt belongs to the candidate with these weights or this name."""
    return any(mine == theirs != "unknown" for mine, theirs in zip(who.identity, _stored_as(path), strict=True))


def _head(path: Path) -> tuple[str, Share, str]:
    """(family, share, verdict) of an attempt."""
    try:
        with path.open(encoding="utf-8") as file:
            values = json.loads(file.readline())
        return str(values["family"]), Share(**values["share"]), str(values["verdict"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_attempt(path, error) from None


def _read(path: Path) -> Attempt:
    share = _head(path)[1]
    try:
        _, _, text = path.read_text(encoding="utf-8").partition("\n")
        return Attempt(PerItem.from_text(text, str(path)), share)
    except (OSError, UnicodeDecodeError) as error:
        raise _no_attempt(path, error) from None


def _no_attempt(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is not an attempt ({type(error).__name__}: {error}); move it away")


class Comparison:
    """A lock with its baselines, ready to compare candidates. Raises `NotComparable` if the lock is not valid.

    allowed: fields in which a candidate may differ; raises `UnknownName` for an unknown one.
    """

    def __init__(self, path: Path, allowed: frozenset[str] = frozenset()) -> None:
        for name in allowed:
            if name not in locks.MUST_AGREE:
                raise UnknownName("field", name, locks.MUST_AGREE)
        self.path, self.allowed = path, allowed
        self._scored: tuple[tuple[PerItem, ...], tuple[dict[str, BaselineScores], list[Scores]]] | None = None
        self.lock = locks.read_lock(path)
        self.baselines = {
            name: locks.read_per_item(path, name, baseline) for name, baseline in self.lock.baselines.items()
        }
        if len({baseline.sha256 for baseline in self.lock.baselines.values()}) == 1:  # one checkpoint is tested once
            self.baselines = {"release": self.baselines["release"]}

    @property
    def settings(self) -> Settings:
        """The settings of the lock."""
        return self.lock.settings

    @cached_property
    def clusters(self) -> Clusters:
        """The clusters of the lock's items, as the release baseline records them."""
        groups = {(item.task, item.id): item.group for item in self.baselines["release"].items}
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups.values()))}
        return {
            task: np.array([numbers[groups[task, id_]] for id_ in ids], int) for task, ids in self.lock.items.items()
        }

    def decided(self, attempts: Sequence[Attempt], in_part: bool = False) -> Decision:
        """The decision on all attempts of a candidate, oldest first.

        in_part: later items may be missing. Raises `NotComparable` if attempts cannot be compared or items are missing.
        """
        baselines, told = self.scores(attempts)
        candidate, first = pooled(told), self.settings.fractions[0]
        needed = {task: values[: seen(len(values), first)] for task, values in candidate.items()}
        name = attempts[-1].scores.name
        locks.refuse_missing(needed, self.lock, name)
        found = decide_attempts(self.settings, baselines, told, _shares(attempts), self.clusters)
        if not found.over and not in_part:
            locks.refuse_missing(candidate, self.lock, name)
        return found

    def settled(self, attempts: Sequence[Attempt], weights: str) -> Decision | None:
        """The decision on these attempts if one more with these weights cannot change it, else None."""
        baselines, told = self.scores(attempts)
        if not complete_looks(self.settings, pooled(told)):
            return None  # made under other settings, with fewer items than the first look needs now
        found = decide_attempts(self.settings, baselines, told, _shares(attempts), self.clusters)
        stands = found.verdict != "INCONCLUSIVE" and self.settings.design == "group-sequential"
        repeated = any(of.scores.greedy and of.scores.weights == weights for of in attempts)
        return found if stands or (repeated and found.over) else None

    def scores(self, attempts: Sequence[Attempt]) -> tuple[dict[str, BaselineScores], list[Scores]]:
        """(baselines, candidate) scores per item; the candidate's for each attempt that tells something new.

        Kept for the attempts asked for last: a decision and the report on it need the same.
        """
        key = tuple(of.scores for of in attempts)
        if self._scored is None or self._scored[0] != key:
            self._scored = key, self._scores(key)
        return self._scored[1]

    def _scores(self, attempts: Sequence[PerItem]) -> tuple[dict[str, BaselineScores], list[Scores]]:
        for attempt in attempts:
            locks.refuse_failed(attempt, self.settings, self.lock.items)
        told, candidates = told_apart(attempts), list[Scores]()
        baselines: dict[str, BaselineScores] = {}
        for name, baseline in self.baselines.items():
            # the last attempt as it is, too: it must be comparable even if it tells nothing new
            of = [*told, attempts[-1]]
            pairs = [locks.scores_of(baseline, attempt, self.lock, self.settings, self.allowed) for attempt in of]
            published = {task: Published(*of) for task, of in baseline.published.items()}
            baselines[name] = published or pairs[0][0]
            candidates = [theirs for _, theirs in pairs[:-1]]  # the same for every baseline
        return baselines, candidates

    def report(
        self, checked: PerItem, attempts: Sequence[Attempt], decision: Decision, standing: Standing
    ) -> dict[str, Any]:
        """The facts of the report, as JSON data. checked: the attempt made now; decision: the one on all attempts."""
        baselines, told = self.scores(attempts)
        candidate = pooled(told[: decision.attempts])
        code = EXIT_CODES[decision.verdict]
        if decision.verdict == "INCONCLUSIVE" and self.settings.policy == "block-on-regression":
            code = 0
        return {
            "kind": report.KIND,
            "schema": report.SCHEMA,
            "verdict": decision.verdict,
            "exit_code": code,
            "candidate": _described(checked),
            "baselines": {name: _described(of) | _accepted(self.lock, name) for name, of in self.baselines.items()},
            "lock": {"file": self.path.name, "seal": self.lock.seal, "shuffle_seed": self.lock.shuffle_seed},
            "settings": asdict(self.settings),
            "n": decision.n,
            "n_used": decision.n_used,
            "samples": self.lock.samples,
            "look": decision.look,
            "over": decision.over,
            "attempts": len(attempts),
            "attempts_used": decision.attempts,
            "level": self.settings.alpha * decision.share.passing,
            "level_block": self.settings.alpha * decision.share.own,
            "family": {"name": standing.family, "checked": standing.checked, "share": asdict(decision.share)},
            "candidates_checked": standing.candidates,
            "allowed": sorted(self.allowed),
            "checks": [_check(check) for check in decision.checks],
            "flipped": {name: _flipped(self.lock, baselines[name], candidate) for name in self.baselines},
            "warnings": [
                *_of_attempts(len(attempts), len(told), decision, self.settings.alpha),
                *_of_family(self.settings, standing, decision),
                *self._warnings(checked, decision, standing.candidates),
            ],
        }

    def _warnings(self, checked: PerItem, decision: Decision, candidates: int) -> list[str]:
        found = []
        if candidates >= MANY_CANDIDATES:
            found.append(
                f"{candidates} candidates were checked on these items: a PASS may be overfitting; use fresh items"
            )
        if self.allowed:
            found.append(f"allowed to differ: {', '.join(sorted(self.allowed))}")
        if more := sorted({item.task for item in checked.items} - set(self.lock.items)):
            found.append(f"not in the lock, so not compared: {', '.join(more)}")
        if decision.n_used < decision.n:
            found.append(f"stopped after {decision.n_used:,} of {decision.n:,} items: a verdict, not a score to report")
        for name, scores in self.baselines.items():
            if scores.published:
                found.append(
                    f"the {name} baseline is a published score without records: the comparison is unpaired, so the "
                    f"smallest testable margin is {_times_larger(decision, name):.1f} times that of a paired one"
                )
            elif left_out := sum(item.n == 0 for item in scores.items):
                found.append(f"{left_out} items without a score in the {name} baseline are left out")
        base = self.baselines["release"]
        for word in ("errored", "truncated", "unparsable"):
            now, then = (of.counts[word] / max(of.counts["replies"], 1) for of in (checked, base))
            if now - then > 0.01:
                found.append(f"{100 * now:.1f} % of the replies are {word}, {100 * then:.1f} % of the baseline's")
        return found


@dataclass(frozen=True)
class Standing:
    """What was checked on these items so far. candidates: of all; checked: of this one's family, itself included."""

    candidates: int = 1
    family: str = ""
    checked: int = 1


def _shares(attempts: Sequence[Attempt]) -> list[Share]:
    """The shares of the attempts that tell something new."""
    return [of.share for of in attempts if of.share.own]


def _of_attempts(attempts: int, told: int, decision: Decision, alpha: float) -> list[str]:
    """Which of several attempts the decision is made on, as a warning. told: attempts that tell something new."""
    if attempts == 1:
        return []
    if told == 1:
        how = "their replies are greedy and of the same weights, so the first counts"
    elif decision.verdict != "INCONCLUSIVE" and decision.attempts < told:
        how = f"the verdict of {'the first' if decision.attempts == 1 else f'the first {decision.attempts}'} stands"
    else:
        how = f"they are pooled and tested at {100 * alpha * decision.share.own:.2g} %"
    return [f"{attempts} attempts of this candidate: {how}"]


def _of_family(settings: Settings, standing: Standing, decision: Decision) -> list[str]:
    """The level of a checkpoint that shares alpha with others of its run, as a warning."""
    if not standing.family or decision.share == WHOLE:
        return []
    own, passing = (100 * settings.alpha * part for part in (decision.share.own, decision.share.passing))
    handed = f" and PASS at {passing:.2g} %, as the checkpoint before it passed" if decision.share.carried else ""
    of = f"one of {settings.checkpoints} at equal level"
    if decision.share.later:
        of = f"beyond the {settings.checkpoints} at equal level"
    return [
        f"one of {standing.checked} checkpoints checked of {standing.family!r}, {of}: tested at {own:.2g} %{handed}"
    ]


def _check(check: Check) -> dict[str, Any]:
    values = {field.name: getattr(check, field.name) for field in fields(check) if field.name != "test"}
    return values | {"note": check.note, **asdict(check.test)}


def _described(of: PerItem) -> dict[str, Any]:
    return {
        "name": of.name,
        "checkpoint": of.checkpoint,
        "counts": dict(of.counts),
        "tokens_per_reply": of.tokens_per_reply,
    }


def _accepted(lock: Lock, name: str) -> dict[str, str]:
    baseline = lock.baselines[name]
    return {"accepted": baseline.accepted, "reason": baseline.reason, "sha256": baseline.sha256}


def _times_larger(decision: Decision, baseline: str) -> float:
    """How many times larger the error of an unpaired comparison is than that of a paired one on the same items."""
    check = next(check for check in decision.checks if check.baseline == baseline)
    return check.test.error / math.sqrt(intervals.DISCORDANCE / check.test.n)


def _flipped(lock: Lock, baseline: BaselineScores, candidate: Scores) -> dict[str, dict[str, list[str]]]:
    """For each task the items whose score rose, and those whose score fell."""
    found: dict[str, dict[str, list[str]]] = {}
    for task, ids in lock.items.items():
        scores = baseline[task]
        gaps = np.array([]) if isinstance(scores, Published) else candidate[task] - scores
        found[task] = {
            "gained": sorted(ids[i] for i in np.flatnonzero(gaps > 0)),
            "lost": sorted(ids[i] for i in np.flatnonzero(gaps < 0)),
        }
    return found
