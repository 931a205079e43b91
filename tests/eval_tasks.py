"""Tasks for tests of the evaluation core, importable by grading processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence

from harness.graders.number import score_number
from harness.protocols import Task
from harness.types import Message, Sample, Score


class Sums(Task):
    """n sums: what is i + i? `version` is the grader's: a change of it is a changed grader."""

    name = "sums"
    grader = "number-1"
    needs_sandbox = False
    max_tokens = 32
    stop: tuple[str, ...] = ()

    def __init__(self, n: int = 20, version: str = "1") -> None:
        self.n, self.version = n, version

    def samples(self, split: str) -> Sequence[Sample]:
        return [
            Sample(f"sums/{split}/{i:06d}", (Message("user", f"what is {i} + {i}?"),), str(2 * i), {"level": i % 3})
            for i in range(self.n)
        ]

    def score(self, sample: Sample, text: str, runner: object = None) -> Mapping[str, Score]:  # noqa: ARG002
        return score_number(text, sample.target)


class Deadly(Sums):
    """A grader that some replies hang, some kill, and some break."""

    name = "deadly"

    def score(self, sample: Sample, text: str, runner: object = None) -> Mapping[str, Score]:
        if text == "hang":
            time.sleep(3600)
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "raise":
            raise ZeroDivisionError("no such thing")
        return super().score(sample, text, runner)
