"""The engine that replays recorded generations, for grading and statistics of runs made elsewhere.

It renders no prompt and counts no tokens; the sampling parameters of the replies are unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness import registry
from harness.engines.requests import checked, no_likelihoods
from harness.errors import DataError
from harness.interop.recorded_match import match, places
from harness.interop.recorded_read import read_generations
from harness.protocols import Task
from harness.types import Checkpoint, EngineInfo, Generation, Request, Sample, Split

REPLAY_VERSION = "3"  # raised whenever another text of a file is read as the reply


@dataclass(frozen=True)
class ReplayConfig:
    """`harness eval --engine replay --generations FILE --task NAME` sets these, and counts how the file matches."""

    generations: str
    task: str
    split: Split = "test"
    field: str = ""


class ReplayEngine:
    """Replies of one file to the items of one task's split. field: the column, if the file has several models.

    Raises `DataError` for a file that cannot be read, or that has no reply to any item of the split.
    """

    name: ClassVar[str] = "replay"
    Config: ClassVar[type] = ReplayConfig

    def __init__(self, path: Path, task: Task, split: Split = "test", field: str = "") -> None:
        self.file = read_generations(path, field)
        samples = task.samples(split)
        self.matched = match(self.file, samples, texts=False)
        self._samples = samples
        if not self.matched.replies:
            raise DataError(
                f"{path} ({self.file.shape}) answers none of the {len(samples)} {split} items of task {task.name!r} "
                f"({self.matched.unmatched[0]}): is it a run of another task?"
            )
        self.covered: tuple[Sample, ...] = tuple(s for s in samples if s.id in self.matched.replies)

    @classmethod
    def open(cls, config: ReplayConfig, notify: Callable[[str], None]) -> ReplayEngine:  # noqa: ARG003 - no news
        return cls(Path(config.generations), registry.make_task(config.task), config.split, config.field)

    @property
    def digest(self) -> str:
        """The checkpoint in the records, in place of a weights digest: "recorded:<sha256>"."""
        return self.file.digest

    @property
    def n_repeats(self) -> int:
        """Number of replies that every covered item has."""
        return self.matched.n_repeats

    def load(self, checkpoint: Checkpoint) -> None:
        """Nothing to do: the replies are already loaded."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """The recorded reply for each "<sample id>#<repeat>", in the file's order; "error" if the file has none."""
        wanted: dict[str, set[int]] = {}
        for request in checked(requests):
            if request.continuation is not None:
                raise no_likelihoods(self.name, request)
            item, _, number = request.key.rpartition("#")
            wanted.setdefault(item, set()).add(int(number))
        met = dict.fromkeys(wanted, 0)
        for sample, replies, _ in places(self.file, self._samples):
            if sample is None or sample.id not in met:
                continue
            for reply in replies:
                repeat, met[sample.id] = met[sample.id], met[sample.id] + 1
                if repeat in wanted[sample.id]:
                    digest = hashlib.sha256(reply.prompt.encode()).hexdigest() if reply.prompt else ""
                    yield Generation(
                        f"{sample.id}#{repeat}", reply.text, 0, 0, reply.finish, digest, 0.0, prompt=reply.prompt
                    )
        for item, repeats in wanted.items():
            for missing in sorted(r for r in repeats if r >= met[item]):
                why = f"{self.file.path.name} holds {met[item]} replies for item {item}, none for repeat {missing}"
                yield Generation(f"{item}#{missing}", "", 0, 0, "error", "", 0.0, why)

    def describe(self) -> EngineInfo:
        """The file, its shape and column."""
        return EngineInfo(
            self.name,
            REPLAY_VERSION,
            dtype="recorded",
            settings={"shape": self.file.shape, "file": self.digest, "field": self.file.field},
            sampling={"as recorded": self.file.shape},
        )

    def running(self) -> tuple[int, ...]:
        return ()

    def sleep(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""
