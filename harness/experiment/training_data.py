"""The training data: train rows without held-out questions, a dev split, and the teacher's traces."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness.atomic import write_json, write_lines
from harness.board.facts import TraceFacts
from harness.checkpoints import matmul_params
from harness.errors import DataError, UnknownSplit
from harness.evaluation.evaluate import evaluate
from harness.evaluation.forecast import Standing
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import EvalJob, job
from harness.experiment.recipes import TraceSettings as TraceSettings
from harness.protocols import Engine, Task
from harness.records.serialization import read_lines
from harness.training.decontaminate import HeldOut, Overlap, sift
from harness.training.run_stage import TraceCost
from harness.types import Checkpoint, Record, Sample, Sampling, TrainRow, canonical_json, sha256_of

Ticker = Callable[[float, str], None]


@dataclass(frozen=True)
class TrainingItems:
    """The training items of a comparison: every strategy is trained on `rows`, in order.

    tasks: those trained on. dev: items to choose checkpoints on. dropped: rows that repeat a held-out question, left
    out of `rows`.
    """

    tasks: Mapping[str, Task]
    rows: tuple[TrainRow, ...]
    dev: tuple[EvalJob, ...]
    heldout: HeldOut
    dropped: tuple[Overlap, ...]
    n_offered: int


def gather(
    tasks: Mapping[str, Task],
    suite: Sequence[EvalJob],
    given: Sequence[TrainRow] | None,
    dev_items: int,
    limit: int | None,
    source: str,
) -> TrainingItems:
    """The rows to train on, from the tasks' train splits or as `given`, and dev items that are not among them.

    If a task has no dev split, the last `dev_items` of its train split are used. Raises `DataError` if no row is left.
    """
    dev, carved = [], set()
    for task in tasks.values():
        part = _dev(task, dev_items)
        if part.split == "train":
            carved |= {sample.id for sample in part.samples}
        dev.append(replace(part, samples=part.samples[:limit]))
    offered = given if given is not None else _own_rows(tasks, carved)
    if not offered:
        raise DataError(f"no training items in {source}")
    whole = [sample for part in suite for sample in _whole_split(part)]
    heldout = HeldOut([*whole, *(sample for part in dev for sample in part.samples)])
    rows, dropped = sift(offered, heldout)
    if not rows:
        raise DataError(f"all {len(offered)} training items of {source} repeat a held-out question: {dropped[0]}")
    return TrainingItems(tasks, rows, tuple(dev), heldout, tuple(dropped), len(offered))


def _dev(task: Task, n: int) -> EvalJob:
    try:
        return job(task, "dev", n)
    except UnknownSplit:
        whole = job(task, "train")
        return replace(whole, samples=whole.samples[-n:])


def _whole_split(part: EvalJob) -> Sequence[Sample]:
    """All test items of a task, even if only a few are evaluated: only all of them show the text that prompts share."""
    return tuple(part.task.samples("test")) if part.split == "test" else part.samples


def _own_rows(tasks: Mapping[str, Task], without: set[str]) -> tuple[TrainRow, ...]:
    """The train splits of the tasks, interleaved, so that any first part contains all tasks."""
    columns = [
        [TrainRow(name, s, s.metadata.get("solution")) for s in task.samples("train") if s.id not in without]
        for name, task in tasks.items()
    ]
    longest = max(map(len, columns))
    return tuple(column[i] for i in range(longest) for column in columns if i < len(column))


def write_dropped(path: Path, dropped: Sequence[Overlap]) -> None:
    """Write the dropped rows, one JSON line per row; an equal file is not written again."""
    lines = [canonical_json(asdict(overlap)) for overlap in dropped]
    if not path.exists() or read_lines(path) != lines:
        write_lines(path, lines)


@dataclass(frozen=True)
class Traces:
    """The teacher's solutions that were graded right, and the cost of all its solutions."""

    rows: tuple[TrainRow, ...]
    teaching: TraceCost
    n_asked: int
    n_right: int
    dropped: tuple[Overlap, ...]  # right, but containing a held-out question

    @property
    def facts(self) -> TraceFacts:
        """What a board records of them."""
        return TraceFacts(self.n_asked, self.n_right, len(self.dropped))


@dataclass(frozen=True)
class Teacher:
    """The model that writes traces, their number and their sampling parameters."""

    checkpoint: Checkpoint
    settings: TraceSettings


def teach(
    teacher: Teacher, items: TrainingItems, engine: Engine, graders: Graders, folder: Path, tick: Ticker
) -> Traces:
    """The teacher's replies to the first train items that are strictly right. Raises `DataError` if there are none."""
    begun = time.monotonic()
    asked, checkpoint = teacher.settings, teacher.checkpoint
    rows = items.rows[: asked.prompts]
    records: dict[str, Record] = {}
    for number, (name, task) in enumerate(items.tasks.items()):
        samples = tuple(row.sample for row in rows if row.task == name)
        if samples:
            drawn = job(task, "train", 1, Sampling(temperature=asked.temperature, max_tokens=asked.max_tokens))
            part = replace(drawn, samples=samples)
            share = ticker(tick, number, len(items.tasks), name)
            found = evaluate(part, engine, checkpoint, graders, folder / "traces", share)
            records |= {r.item.sample_id: r for r in found.records()}
    right = [
        replace(row, completion=records[row.sample.id].reply.text)
        for row in rows
        if records[row.sample.id].scores["strict"].value == 1.0
    ]
    kept, dropped = sift(right, items.heldout)
    if not kept:
        raise DataError(
            f"the teacher {checkpoint.path} answered none of {len(rows)} train items right, so nothing can be distilled"
        )
    key = sha256_of([checkpoint.digest, asdict(asked), [row.sample.hash for row in rows]])[:16]
    teaching = TraceCost(
        sum(r.reply.n_prompt_tokens for r in records.values()),
        sum(r.reply.n_tokens for r in records.values()),
        _seconds(folder / "traces" / f"seconds-{key}.json", time.monotonic() - begun),
    )
    return Traces(kept, teaching, len(rows), len(right), tuple(dropped))


def _seconds(path: Path, now: float) -> float:
    """Seconds that the traces took when they were generated; later calls only read them."""
    if not path.exists():
        write_json(path, {"seconds": now})
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])


def teacher_params(teacher: Checkpoint | None) -> int:
    """Matmul weights of the teacher; 0 without one."""
    return matmul_params(teacher.path) if teacher else 0


def ticker(tick: Ticker, number: int, of: int, name: str) -> Callable[[Standing], None]:
    """Progress of part `number` of `of` equal parts."""
    return lambda standing: tick((number + standing.fraction) / of, f"{name} {standing}")
