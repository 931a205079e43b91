"""Tasks and an engine for tests of the evaluation core, importable by other processes without pytest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.engines.scripted import ScriptedEngine
from harness.graders.number import score_number
from harness.protocols import Task
from harness.types import Checkpoint, Generation, Message, Request, Sample, Score


class Sums(Task):
    """n sums: what is i + i? `version` is the grader's: a change of it is a changed grader."""

    name = "sums"
    grader = "number-2"
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


NOWHERE = Checkpoint(Path(__file__).parent, "d" * 64, "t" * 64)


def right(request: Request) -> str:
    number = int(request.messages[-1].content.split()[2])
    return f"\\boxed{{{2 * number + (number % 5 == 4)}}}"  # one in five is wrong


class Counting(ScriptedEngine):
    """Counts what it was asked."""

    def __init__(self, reply=right) -> None:  # type: ignore[no-untyped-def]
        super().__init__(reply)
        self.asked: list[str] = []

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        return super().generate(self._noted(requests))

    def _noted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.asked.append(request.key)
            yield request
