"""A candidate compared with a lock: its attempts, the decision on them, and the facts of the report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from harness.atomic import write_text
from harness.errors import DataError, UnknownName, UsageError
from harness.gate import lock as locks
from harness.gate import report
from harness.gate.decide import Check, Decision, Scores, Settings, complete_looks, decide_attempts, pooled
from harness.gate.lock import Lock, PerItem
from harness.statistics.sequential import seen
from harness.types import sha256_of

MANY_CANDIDATES = 20  # checked on one set of items, after which passing it may be overfitting

EXIT_CODES = {"PASS": 0, "BLOCK": 3, "INCONCLUSIVE": 4}


class Attempts:
    """The folder of all attempts checked against a lock, so that repeated attempts do not raise the chance to pass.

    An attempt is one file. Attempts belong to one candidate if their weights or their --candidate names are equal; the
    same replies again are the same attempt.
    """

    def __init__(self, folder: Path, comparison: Comparison) -> None:
        self._folder = folder
        release = comparison.baselines["release"]
        asked = [(item.task, item.id, item.item, item.prompt) for item in release.items]
        self._suite = sha256_of([asked, release.rules, release.samples])[:12]

    def add(self, attempt: PerItem, named: str | None) -> list[PerItem]:
        """Keep this attempt; returns all attempts of its candidate on these items and rules, oldest first.

        named: the candidate's name, if the records have no weights digest. Raises `UsageError` if neither is known, and
        `DataError` for a file that is not an attempt.
        """
        if not attempt.weights and not named:
            raise UsageError(
                f"the records of {attempt.name!r} have no weights digest, so a second attempt could not be told from "
                "another candidate; name the candidate, for instance by a commit: --candidate ID"
            )
        earlier = self.of(attempt.weights, named)
        found = joined(earlier, attempt)
        if len(found) > len(earlier):
            number, mine = f"{len(self._paths()) + 1:04d}", "-".join(_identity(attempt.weights, named))
            path = self._folder / f"{self._suite}-{number}-{mine}-{attempt.replies[:12]}.jsonl"
            write_text(path, attempt.text())
        return found

    def of(self, weights: str, named: str | None) -> list[PerItem]:
        """The attempts of a candidate so far, oldest first. weights: their digest, or empty if it is not known."""
        mine = _identity(weights, named)
        return [_read(path) for path in self._paths() if _is_of(path, mine)]

    def candidates(self) -> int:
        """Number of different candidates checked on these items so far."""
        return len({tuple(path.stem.split("-")[2:4]) for path in self._paths()})

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._suite}-*.jsonl"))


def joined(earlier: Sequence[PerItem], attempt: PerItem) -> list[PerItem]:
    """The earlier attempts, and this one unless it has the replies of one of them."""
    again = any(attempt.replies == other.replies for other in earlier)
    return list(earlier) if again else [*earlier, attempt]


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


def _identity(weights: str, named: str | None) -> tuple[str, str]:
    return _short(weights), _short(named or "")


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else "unknown"


def _is_of(path: Path, key: tuple[str, str]) -> bool:
    """Whether an attempt belongs to the candidate with these weights or this name."""
    parts = tuple(path.stem.split("-")[2:4])
    return any(mine == theirs != "unknown" for mine, theirs in zip(key, parts, strict=True))


def _read(path: Path) -> PerItem:
    try:
        return PerItem.from_text(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not an attempt ({error}); move it away") from None


class Comparison:
    """A lock with its baselines, ready to compare candidates. Raises `NotComparable` if the lock is not valid.

    allowed: fields in which a candidate may differ; raises `UnknownName` for an unknown one.
    """

    def __init__(self, path: Path, allowed: frozenset[str] = frozenset()) -> None:
        for name in allowed:
            if name not in locks.MUST_AGREE:
                raise UnknownName("field", name, locks.MUST_AGREE)
        self.path, self.allowed = path, allowed
        self._scored: tuple[tuple[PerItem, ...], tuple[dict[str, Scores], list[Scores]]] | None = None
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

    def decided(self, attempts: Sequence[PerItem], in_part: bool = False) -> Decision:
        """The decision on all attempts of a candidate, oldest first.

        in_part: later items may be missing. Raises `NotComparable` if attempts cannot be compared or items are missing.
        """
        baselines, told = self.scores(attempts)
        candidate, first = pooled(told), self.settings.fractions[0]
        needed = {task: values[: seen(len(values), first)] for task, values in candidate.items()}
        locks.refuse_missing(needed, self.lock, attempts[-1].name)
        found = decide_attempts(self.settings, baselines, told)
        if not found.over and not in_part:
            locks.refuse_missing(candidate, self.lock, attempts[-1].name)
        return found

    def settled(self, attempts: Sequence[PerItem], weights: str) -> Decision | None:
        """The decision on these attempts if one more with these weights cannot change it, else None."""
        baselines, told = self.scores(attempts)
        if not complete_looks(self.settings, pooled(told)):
            return None  # made under other settings, with fewer items than the first look needs now
        found = decide_attempts(self.settings, baselines, told)
        stands = found.verdict != "INCONCLUSIVE" and self.settings.design == "group-sequential"
        repeated = any(attempt.greedy and attempt.weights == weights for attempt in attempts)
        return found if stands or (repeated and found.over) else None

    def scores(self, attempts: Sequence[PerItem]) -> tuple[dict[str, Scores], list[Scores]]:
        """(baselines, candidate) scores per item; the candidate's for each attempt that tells something new.

        Kept for the attempts asked for last: a decision and the report on it need the same.
        """
        key = tuple(attempts)
        if self._scored is None or self._scored[0] != key:
            self._scored = key, self._scores(key)
        return self._scored[1]

    def _scores(self, attempts: Sequence[PerItem]) -> tuple[dict[str, Scores], list[Scores]]:
        for attempt in attempts:
            locks.refuse_failed(attempt, self.settings, self.lock.items)
        told, candidates = told_apart(attempts), list[Scores]()
        baselines: dict[str, Scores] = {}
        for name, baseline in self.baselines.items():
            # the last attempt as it is, too: it must be comparable even if it tells nothing new
            of = [*told, attempts[-1]]
            pairs = [locks.scores_of(baseline, attempt, self.lock, self.settings, self.allowed) for attempt in of]
            baselines[name] = pairs[0][0]
            candidates = [theirs for _, theirs in pairs[:-1]]  # the same for every baseline
        return baselines, candidates

    def report(
        self, checked: PerItem, attempts: Sequence[PerItem], decision: Decision, candidates: int
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
            "level": decision.alpha,
            "candidates_checked": candidates,
            "allowed": sorted(self.allowed),
            "checks": [_check(check) for check in decision.checks],
            "flipped": {name: _flipped(self.lock, baselines[name], candidate) for name in self.baselines},
            "warnings": [
                *_of_attempts(len(attempts), len(told), decision),
                *self._warnings(checked, decision, candidates),
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
            if left_out := sum(item.n == 0 for item in scores.items):
                found.append(f"{left_out} items without a score in the {name} baseline are left out")
        base = self.baselines["release"]
        for word in ("errored", "truncated", "unparsable"):
            now, then = (of.counts[word] / of.counts["replies"] for of in (checked, base))
            if now - then > 0.01:
                found.append(f"{100 * now:.1f} % of the replies are {word}, {100 * then:.1f} % of the baseline's")
        return found


def _of_attempts(attempts: int, told: int, decision: Decision) -> list[str]:
    """Which of several attempts the decision is made on, as a warning. told: attempts that tell something new."""
    if attempts == 1:
        return []
    if told == 1:
        how = "their replies are greedy and of the same weights, so the first counts"
    elif decision.verdict != "INCONCLUSIVE" and decision.attempts < told:
        how = f"the verdict of {'the first' if decision.attempts == 1 else f'the first {decision.attempts}'} stands"
    else:
        how = f"they are pooled and tested at {100 * decision.alpha:.2g} %"
    return [f"{attempts} attempts of this candidate: {how}"]


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


def _flipped(lock: Lock, baseline: Scores, candidate: Scores) -> dict[str, dict[str, list[str]]]:
    """For each task the items whose score rose, and those whose score fell."""
    found: dict[str, dict[str, list[str]]] = {}
    for task, ids in lock.items.items():
        gaps = candidate[task] - baseline[task]
        found[task] = {
            "gained": sorted(ids[i] for i in np.flatnonzero(gaps > 0)),
            "lost": sorted(ids[i] for i in np.flatnonzero(gaps < 0)),
        }
    return found
