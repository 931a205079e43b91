"""The log of test-set evaluations: each checkpoint ever scored on held-out items, by any run in the same folder.

Repeated use of a test set for decisions overfits it. One JSONL file lies beside the run folders, so that trying one
setting after another in new folders is counted too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.records.serialization import read_objects
from harness.types import canonical_json

NAME = "test-looks.jsonl"


@dataclass(frozen=True)
class LoggedEvaluation:
    """One checkpoint scored on one held-out item set. who: "kd+rl seed 1"."""

    items: str  # hash of the item set
    checkpoint: str  # weights digest
    task: str
    who: str


class EvaluationLog:
    """`test-looks.jsonl` in the folder that holds the run folder."""

    def __init__(self, run: Path) -> None:
        self.path = run.parent / NAME
        self._run = run.name

    def add(self, evaluations: Iterable[LoggedEvaluation]) -> None:
        """Append evaluations; the same checkpoint on the same items is logged once."""
        known = set(map(_key, self._entries()))
        new = [one for one in evaluations if (one.items, one.checkpoint) not in known]
        if not new:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lines = [canonical_json({"time": now, "run": self._run, **vars(one)}) for one in new]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))  # one write: other runs may append at the same time

    def count(self, items: str) -> int:
        """Number of different checkpoints ever scored on an item set."""
        return len({key for key in map(_key, self._entries()) if key[0] == items})

    def _entries(self) -> list[dict[str, str]]:
        return read_objects(self.path)


def _key(entry: dict[str, str]) -> tuple[str, str]:
    return entry["items"], entry["checkpoint"]
