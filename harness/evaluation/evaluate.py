"""One checkpoint, one task: prompts to the engine, replies to the graders while the engine decodes, one record each.

Replies and verdicts are kept as they come. The same call again reads what is there and makes only what is missing or
failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from harness.errors import EngineError
from harness.evaluation.forecast import Forecast, Standing, reported
from harness.evaluation.grading_pool import Batch, Graders, tier
from harness.evaluation.job import EvalJob, grader_version, params_json
from harness.protocols import Engine, ReplyRequest
from harness.records.columns import Columns
from harness.records.record_files import read_records
from harness.records.store import Store
from harness.records.summary import Summary, joined, read_summary, write_records
from harness.types import (
    Checkpoint,
    EngineInfo,
    Record,
    RecordItem,
    RecordOrigin,
    RecordReply,
    Request,
    Sample,
    sha256_of,
)

Report = Callable[[Standing], None]


@dataclass(frozen=True)
class Evaluation:
    """A finished job: nothing is missing in its folder. as_written: what was noted while the records were written."""

    job: EvalJob
    checkpoint: Checkpoint
    engine: EngineInfo
    sandbox: str
    folder: Path
    as_written: Summary | None = None  # None: the records were there, or are not yet

    @classmethod
    def of(cls, job: EvalJob, checkpoint: Checkpoint, engine: Engine, graders: Graders, home: Path) -> Evaluation:
        """The evaluation of a job, finished or not, in a folder of `home` named by all its replies depend on."""
        found = cls(job, checkpoint, engine.describe(), tier(job.task, graders.runner), home)
        name = job.task.name.replace("/", "-")
        return replace(found, folder=home / f"{name}-{sha256_of(found.replies_key)[:16]}")

    @cached_property
    def replies_key(self) -> dict[str, Any]:
        """Everything the replies depend on."""
        return {
            "checkpoint": self.checkpoint.digest,
            "tokenizer": self.checkpoint.tokenizer_digest,
            "task": self.job.task.name,
            "split": self.job.split,
            "prompts": sha256_of([[s.id, [asdict(m) for m in s.messages]] for s in self.job.samples]),
            "sampling": self.job.sampling,
            "engine": self.engine.as_json(),
        }

    @cached_property
    def verdicts_key(self) -> dict[str, Any]:
        """Everything the verdicts depend on besides the replies."""
        return {"items": self.job.items_hash, "grader": grader_version(self.job.task), "sandbox": self.sandbox}

    def open(self) -> Store:
        """The store; close it."""
        parts = [len(self.job.asks(sample)) for sample in self.job.samples]
        return Store(self.folder, parts, self.replies_key, self.verdicts_key)

    @property
    def records_path(self) -> Path:
        """The records, one a line, ordered by item and repeat; written when nothing is missing."""
        return self.folder / f"records-{sha256_of(self.verdicts_key)[:12]}.jsonl"

    @cached_property
    def summary(self) -> Summary:
        """The records without their texts, and their digest."""
        return self.as_written or read_summary(self.records_path)

    def records(self) -> Iterator[Record]:
        """One record for each reply, ordered by item and repeat."""
        return read_records(self.records_path)

    def items(self) -> Iterator[tuple[Sample, list[Record], str]]:
        """For each item its sample, records and prompt: what the files for other tools are made of."""
        records = self.records()
        with self.open() as store:
            for item, sample in enumerate(self.job.samples):
                found = list(islice(records, len(store.places(item))))
                yield sample, found, store.prompt(item)

    def join(self, store: Store, item: int) -> list[Record]:
        """The records of one item, made of its replies and its verdict."""
        sample, replies, graded = self.job.samples[item], store.replies(item), store.verdict(item)
        task, asks = self.job.task, self.job.asks(sample)
        level = str(sample.metadata.get("level", ""))
        at = RecordItem(task.name, task.version, sample.id, sample.hash, level, sample.cluster_hash)
        return [
            Record(
                at,
                RecordOrigin(
                    self.checkpoint.digest,
                    self.engine.label,
                    params_json(ask.params) if self.engine.sampling is None else self.engine.sampling,
                    self.verdicts_key["grader"],
                    self.sandbox,
                    self.checkpoint.quantization,
                ),
                repeat,
                RecordReply.of(reply),
                scores,
            )
            for repeat, (reply, scores, ask) in enumerate(zip(replies, graded.scores, asks, strict=True))
        ]


def summarised(evaluations: Iterable[Evaluation]) -> tuple[Columns, str]:
    """The columns of several evaluations of one checkpoint as one run, and the digest of all their records."""
    return joined([evaluation.summary for evaluation in evaluations])


def evaluate(
    job: EvalJob,
    engine: Engine,
    checkpoint: Checkpoint,
    graders: Graders,
    home: Path,
    report: Report = lambda _standing: None,
) -> Evaluation:
    """Answer and grade every item, in a folder of `home`; the engine loads the checkpoint only if replies are missing.

    Raises `EngineError` if a reply is missing in the end. Replies and verdicts made so far are kept, whatever is
    raised.
    """
    found = Evaluation.of(job, checkpoint, engine, graders, home)
    with found.open() as store:
        missing = store.n_replies - store.n_generated
        if missing or store.n_graded < store.n_items:
            forecast = Forecast(missing, _most_tokens(job))
            if missing:
                report(Standing(0, store.n_replies, doing="loading the model"))
                engine.load(checkpoint)
                if Evaluation.of(job, checkpoint, engine, graders, home).folder != found.folder:
                    return evaluate(job, engine, checkpoint, graders, home, report)  # the engine fell back to another
            forecast.begin()
            with graders.start(job.task, lambda item: (job.samples[item], store.replies(item))) as batch:
                _complete(store, batch, job, engine, forecast, report)
        if lost := store.n_replies - store.n_generated:
            item, part = next(store.missing())
            raise EngineError(
                f"engine {engine.name!r} gave no reply for {lost} of {store.n_replies} requests, first "
                f"{job.samples[item].id!r} (repeat {part}); nothing is reported. The same command asks for them again"
            )
        if not found.records_path.exists():
            records = (record for item in range(store.n_items) for record in found.join(store, item))
            return replace(found, as_written=write_records(found.records_path, records))
    return found


def _complete(store: Store, batch: Batch, job: EvalJob, engine: Engine, forecast: Forecast, report: Report) -> None:
    """Generate what is missing and grade every item as soon as all its replies are there."""
    items = {sample.id: item for item, sample in enumerate(job.samples)}
    graded = 0

    def tell() -> None:
        report(forecast.now(engine.running(), graded, store.n_replies))

    def keep(wait: bool) -> None:
        nonlocal graded
        for item, verdict in batch.finished(wait):
            store.add_verdict(item, verdict)
            graded += len(store.places(item))

    for item in range(store.n_items):
        if store.graded(item):
            graded += len(store.places(item))
        elif store.complete(item):
            batch.submit(item)
    tell()  # the model is loaded
    with reported(tell):
        if store.n_generated < store.n_replies:
            for generation in engine.generate(_requests(store, job)):
                name, _, part = generation.key.rpartition("#")
                store.add_reply(items[name], int(part), generation)
                forecast.finished(generation.n_tokens, generation.finish == "length")
                if store.graded(items[name]):  # it failed as it did before: the verdict stands
                    graded += len(store.places(items[name]))
                elif store.complete(items[name]):
                    batch.submit(items[name])
                keep(wait=False)
        keep(wait=True)
    tell()


def _most_tokens(job: EvalJob) -> int:
    """The limit of a reply, by the first item's requests."""
    return max(ask.params.max_tokens for ask in job.asks(job.samples[0]))


def _requests(store: Store, job: EvalJob) -> Iterator[Request]:
    """The requests whose replies are missing."""
    last, asks = -1, list[ReplyRequest]()
    for item, part in store.missing():
        sample = job.samples[item]
        if item != last:
            last, asks = item, list(job.asks(sample))
        yield Request(f"{sample.id}#{part}", sample.messages, asks[part].params, asks[part].continuation)
