"""Checkpoints of one training run as one family: the part of alpha that each of their tests has. No files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_CHECKPOINTS = 10  # of a run at equal level; a test from the remainder has less than a tenth of alpha


@dataclass(frozen=True)
class Share:
    """The part of alpha that a test of a family has. own: its own part, for PASS and for BLOCK each.

    carried: of the tests directly before it that passed, for PASS only. later: its number among the tests from the
    remainder, from 1; 0: it is the first test of a checkpoint at equal level.
    """

    own: float = 1.0
    carried: float = 0.0
    later: int = 0

    @property
    def passing(self) -> float:
        """The part of alpha that PASS is tested at."""
        return self.own + self.carried


WHOLE = Share()
UNTESTED = Share(0.0)  # of an attempt that tells nothing new


@dataclass(frozen=True)
class FamilyTest:
    """A test of a family that was made. candidate: one of the names of its checkpoint."""

    candidate: str
    share: Share
    verdict: str


def next_share(checkpoints: int, earlier: Sequence[FamilyTest], candidate: str) -> Share:
    """The part of alpha for the next test of a family, after the earlier ones (oldest first).

    The first test of each of the first `checkpoints` candidates has an equal part of alpha. Every other one, a further
    candidate or another attempt, is tested from a remainder: 1 / (10 k (k + 1)) of alpha for number k, which sums to a
    tenth. So however many are tested, and whatever they have in common, the chance that one of them is wrongly passed
    is at most 1.1 alpha, and that one is wrongly blocked too. A test that passes hands its part for PASS on to the next
    one, since a part is lost only if a test does not pass (fallback procedure: Wiens 2003, Pharmaceutical Statistics
    2:211).
    """
    tests = [test for test in earlier if test.share.own]
    carried = tests[-1].share.passing if tests and tests[-1].verdict == "PASS" else 0.0
    left = 1 - sum(test.share.own for test in tests if not test.share.later)
    equal = 1 / checkpoints
    if left > equal - 1e-9 and candidate not in {test.candidate for test in tests}:
        return Share(equal, carried)
    later = 1 + sum(test.share.later > 0 for test in tests)
    return Share(1 / (10 * later * (later + 1)), carried, later)


def attempts_alone(number: int) -> list[Share]:
    """The parts for so many attempts of a candidate that is its own family, none of which passed."""
    tests: list[FamilyTest] = []
    for _ in range(number):
        tests.append(FamilyTest("", next_share(1, tests, ""), "INCONCLUSIVE"))
    return [test.share for test in tests]


def of_path(checkpoint: Path) -> str:
    """The run that a checkpoint's folder belongs to by its path; empty if the path does not tell.

    `RUN/checkpoint-2000`, `RUN/step_2000` and the like are of RUN, `stages/STAGE/work/...` is of STAGE.
    """
    path = checkpoint.resolve()
    for folder in path.parents:
        if folder.name == "work" and folder.parent.parent.name == "stages":
            return folder.parent.name
    return path.parent.name if is_step(path.name) else ""


def is_step(name: str) -> bool:
    """Whether this is the name of one checkpoint among several of a run: checkpoint-2000, step_2000, epoch3."""
    return re.fullmatch(r"(checkpoint|ckpt|global_step|step|epoch|iter|iteration)[-_]?\d+", name) is not None
