"""A candidate held against a lock: its attempts pooled, the decision, and all that a report says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.gate import lock as locks
from harness.gate import report
from harness.gate.decide import Check, Decision, Scores, Settings, decide
from harness.gate.lock import Lock, PerItem
from harness.records import write_text
from harness.sequential import seen
from harness.types import sha256_of

MANY_CANDIDATES = 20  # checked against one set of items, after which it is worn out

EXIT_CODES = {"PASS": 0, "BLOCK": 3, "INCONCLUSIVE": 4}


class Attempts:
    """The folder that keeps what was ever checked against a lock, so that trying again until it passes does not help.

    An attempt of a candidate is one file; the same scores again are the same attempt.
    """

    def __init__(self, folder: Path, lock: Lock) -> None:
        self._folder = folder
        self._suite = sha256_of({task: sorted(ids) for task, ids in lock.items.items()})[:12]

    def add(self, candidate: PerItem, key: str) -> list[PerItem]:
        """Keep this attempt; all attempts of the candidate on these items, the first one first."""
        text = candidate.text()
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        known = self._paths(key)
        if not any(path.stem.endswith(digest) for path in known):
            path = self._folder / f"{self._suite}-{_safe(key)}-{len(known) + 1:03d}-{digest}.jsonl"
            write_text(path, text)
            known.append(path)
        return [PerItem.from_text(path.read_text(encoding="utf-8"), str(path)) for path in known]

    def candidates(self) -> int:
        """Different candidates ever checked on these items."""
        return len({path.stem.rsplit("-", 2)[0] for path in self._folder.glob(f"{self._suite}-*.jsonl")})

    def _paths(self, key: str) -> list[Path]:
        return sorted(self._folder.glob(f"{self._suite}-{_safe(key)}-*.jsonl"))


def _safe(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class Comparison:
    """A lock with its baselines, ready to judge candidates. Raises `NotComparable` where the lock is not sound."""

    def __init__(self, path: Path, allowed: frozenset[str] = frozenset()) -> None:
        self.path, self.allowed = path, allowed
        self.lock = locks.read(path)
        self.baselines = {
            name: locks.read_per_item(path, name, baseline) for name, baseline in self.lock.baselines.items()
        }
        if len({baseline.sha256 for baseline in self.lock.baselines.values()}) == 1:  # one checkpoint is tested once
            self.baselines = {"release": self.baselines["release"]}

    @property
    def settings(self) -> Settings:
        """What was agreed on."""
        return self.lock.settings

    def decided(self, attempts: Sequence[PerItem]) -> Decision:
        """The decision on a candidate's attempts; in a design with looks, the first attempt that is over stands.

        Raises `NotComparable` where they cannot be compared, or items are missing before the first look.
        """
        if self.settings.design == "group-sequential":
            for attempt in attempts:
                if (found := self._decision([attempt])).over:
                    return found
        return self._decision(attempts)

    def _decision(self, attempts: Sequence[PerItem]) -> Decision:
        return decide(self.settings, *self.scores(attempts))

    def scores(self, attempts: Sequence[PerItem]) -> tuple[dict[str, Scores], Scores]:
        """(baselines, candidate): the mean over attempts of the scores of each item."""
        baselines: dict[str, Scores] = {}
        for attempt in attempts:
            locks.refuse_failed(attempt, self.settings)
        for name, baseline in self.baselines.items():
            pairs = [locks.scores_of(baseline, attempt, self.lock, self.settings, self.allowed) for attempt in attempts]
            baselines[name] = pairs[0][0]
            candidate = {task: _mean([theirs[task] for _, theirs in pairs]) for task in self.lock.items}
        needed = {task: values[: seen(len(values), self.settings.fractions[0])] for task, values in candidate.items()}
        locks.refuse_missing(needed, self.lock, attempts[-1].name)
        return baselines, candidate

    def report(self, attempts: Sequence[PerItem], candidates: int) -> dict[str, Any]:
        """Everything the reports are made of, as JSON data."""
        decision = self.decided(attempts)
        baselines, candidate = self.scores(attempts)
        policy, last = self.settings.policy, attempts[-1]
        code = EXIT_CODES[decision.verdict]
        if decision.verdict == "INCONCLUSIVE" and policy == "block-on-regression":
            code = 0
        return {
            "kind": report.KIND,
            "schema": report.SCHEMA,
            "verdict": decision.verdict,
            "exit_code": code,
            "candidate": _described(last),
            "baselines": {name: _described(of) | _accepted(self.lock, name) for name, of in self.baselines.items()},
            "lock": {"file": self.path.name, "seal": self.lock.seal, "shuffle_seed": self.lock.shuffle_seed},
            "settings": asdict(self.settings),
            "n": decision.n,
            "n_used": decision.n_used,
            "samples": self.lock.samples,
            "look": decision.look,
            "over": decision.over,
            "attempts": len(attempts),
            "candidates_checked": candidates,
            "allowed": sorted(self.allowed),
            "checks": [_check(check) for check in decision.checks],
            "flipped": {name: _flipped(self.lock, baselines[name], candidate) for name in self.baselines},
            "warnings": self._warnings(attempts, decision, candidates),
        }

    def _warnings(self, attempts: Sequence[PerItem], decision: Decision, candidates: int) -> list[str]:
        found = []
        if candidates >= MANY_CANDIDATES:
            found.append(
                f"{candidates} candidates were checked on these items: what passes is more and more chosen for them; "
                "take fresh items"
            )
        if len(attempts) > 1:
            found.append(f"{len(attempts)} attempts of this candidate are pooled; none of them is left out")
        if self.allowed:
            found.append(f"allowed to differ: {', '.join(sorted(self.allowed))}")
        if decision.n_used < decision.n:
            found.append(
                f"stopped after {decision.n_used:,} of {decision.n:,} items: good for a verdict, and no score to quote"
            )
        last, base = attempts[-1], next(iter(self.baselines.values()))
        for word in ("errored", "truncated", "unparsable"):
            now, then = (of.counts[word] / of.counts["replies"] for of in (last, base))
            if now - then > 0.01:
                found.append(f"{100 * now:.1f} % of the replies are {word}, {100 * then:.1f} % of the baseline's")
        return found


def _mean(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over the attempts that have a score; NaN where none has."""
    table = np.array(columns)
    there = ~np.isnan(table)
    n = there.sum(axis=0)
    return np.where(n > 0, np.where(there, table, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)


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


def key_of(candidate: PerItem, said: str | None) -> str:
    """By what attempts are known to be of one candidate: as said, else the digest of its weights."""
    if said is None and not candidate.checkpoint:
        raise DataError(f"{candidate.name!r} does not say which weights it is of; name it: --candidate ID")
    return said or candidate.checkpoint
