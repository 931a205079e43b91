"""What is evaluated and how: a task's items, and how replies to them are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from harness.errors import DataError, boundary
from harness.protocols import ItemTask, ReplyRequest, Task
from harness.types import RAW, Message, Sample, Sampling, SamplingParams, Split, sha256_of


@dataclass(frozen=True)
class EvalJob:
    """What is evaluated and how: everything that decides the records."""

    task: Task
    split: Split
    samples: tuple[Sample, ...]
    params: SamplingParams
    repeats: int = 1

    @cached_property
    def items_hash(self) -> str:
        """Hash of the item set, order left out."""
        return sha256_of(sorted(sample.hash for sample in self.samples))

    def asks(self, sample: Sample) -> Sequence[ReplyRequest]:
        """The requests of one item, in order; repeats differ in their seed."""
        if isinstance(self.task, ItemTask):
            return self.task.asks(sample)
        return [ReplyRequest(_seeded(self.params, repeat)) for repeat in range(self.repeats)]

    @property
    def sampling(self) -> dict[str, Any]:
        """All that decides how replies are drawn, as JSON data."""
        if isinstance(self.task, ItemTask):
            return {"asks": sha256_of([[asdict(ask) for ask in self.asks(sample)] for sample in self.samples])}
        return {**params_json(self.params), "repeats": self.repeats}


def job(task: Task, split: Split, limit: int | None = None, sampling: Sampling | None = None) -> EvalJob:
    """The whole split of a task, or its first `limit` items. Raises `DataError` for no items, or two of one id."""
    how = sampling or Sampling()
    with boundary(DataError, f"task {task.name!r}"):
        samples = tuple(task.samples(split)[:limit])
    if not samples:
        raise DataError(f"task {task.name!r} has no {split} items")
    if len({sample.id for sample in samples}) < len(samples):
        raise DataError(f"task {task.name!r} gives two {split} items the same id")
    if not how.chat:
        samples = tuple(map(_as_text, samples))
    params = SamplingParams(
        how.max_tokens or task.max_tokens,
        how.temperature,
        how.top_p,
        how.top_k,
        stop=task.stop,
        seed=how.seed if how.temperature > 0 else None,
    )
    return EvalJob(task, split, samples, params, how.repeats)


def _as_text(sample: Sample) -> Sample:
    """The item for a model without chat template: the messages one after the other, then room for the reply."""
    if sample.messages[0].role == RAW:
        return sample
    text = "\n\n".join(m.content for m in sample.messages) + "\n\n"
    return replace(sample, messages=(Message(RAW, text),), cluster=sample.cluster or sample.question)


def grader_version(task: Task) -> str:
    """What graded the replies. A change here makes older verdicts incomparable."""
    return f"{task.name} {task.version}, grader {task.grader}"


def _seeded(params: SamplingParams, repeat: int) -> SamplingParams:
    return params if params.seed is None else replace(params, seed=params.seed + repeat)


def params_json(params: SamplingParams) -> dict[str, Any]:
    """As JSON gives it back, so that a record read again equals the one written."""
    return asdict(params) | {"stop": list(params.stop)}


def known_defects(jobs: Sequence[EvalJob]) -> dict[str, Mapping[str, str]]:
    """For each task its items that are known to be faulty (id to why): a board shows a second score without them."""
    return {job.task.name: job.task.defects() for job in jobs}
