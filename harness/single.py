"""One model evaluated alone, or the recorded replies of one scored through the same path."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import generations, registry
from harness.checkpoints import open_checkpoint
from harness.compare import Progress
from harness.errors import UsageError
from harness.evaluate import Job, evaluate, grader_version, job
from harness.hub import resolve_model
from harness.leaderboard import Board, Entry, Run, build
from harness.protocols import CodeRunner, Engine, Task
from harness.records import write_json
from harness.storage import full_disk_is_named, owned, writable
from harness.types import Checkpoint, Record, Split


@dataclass(frozen=True)
class Asked:
    """What `harness eval` was asked for. generations: recorded replies; None: a model answers."""

    tasks: tuple[str, ...]
    folder: Path
    model: str = ""
    generations: Path | None = None
    field: str = ""
    name: str = ""
    engine: str = "auto"
    split: Split = "test"
    limit: int | None = None
    allow_weak_sandbox: bool = False


@dataclass(frozen=True)
class Result:
    """board: one row. path: its facts as JSON. agreement: how our verdicts compare with the file's own, for people."""

    board: Board
    path: Path
    agreement: list[str]


def run(asked: Asked, progress: Progress) -> Result:
    """Evaluate and write the result. Raises `UsageError` for options that do not go together."""
    if (asked.engine == "replay") != (asked.generations is not None):
        raise UsageError("--engine replay and --generations FILE go together: the one names what the other reads")
    if (asked.generations is None) != bool(asked.model):
        raise UsageError("give either --model, or --engine replay with --generations")
    if asked.generations is not None and len(asked.tasks) != 1:
        raise UsageError(f"recorded replies belong to one task, got {', '.join(asked.tasks)}")
    tasks = [registry.load("task", name)() for name in asked.tasks]
    writable(asked.folder)
    with owned(asked.folder), full_disk_is_named(asked.folder), contextlib.ExitStack() as closing:
        runner = _sandbox(tasks, asked, closing)
        if asked.generations is not None:
            return _replay(asked, asked.generations, tasks[0], runner, progress)
        return _answer(asked, tasks, runner, progress, closing)


def _sandbox(tasks: list[Task], asked: Asked, closing: contextlib.ExitStack) -> CodeRunner | None:
    if not any(task.needs_sandbox for task in tasks):
        return None
    from harness.sandbox import Sandbox

    return closing.enter_context(Sandbox(allow_weak=asked.allow_weak_sandbox))


def _answer(
    asked: Asked, tasks: list[Task], runner: CodeRunner | None, progress: Progress, closing: contextlib.ExitStack
) -> Result:
    from harness.engines import open_engine

    checkpoint = open_checkpoint(resolve_model(asked.model))
    engine = open_engine(asked.engine, progress.say)
    closing.callback(engine.close)
    jobs = [job(task, asked.split, asked.limit) for task in tasks]
    records = _evaluate(jobs, engine, checkpoint, runner, asked, progress)
    return _write(asked, asked.name or Path(asked.model).name, records, jobs, engine, {})


def _replay(asked: Asked, path: Path, task: Task, runner: CodeRunner | None, progress: Progress) -> Result:
    from harness.engines.replay import ReplayEngine

    engine = ReplayEngine(path, task, asked.split, asked.field)
    covered = engine.covered[: asked.limit]
    part = replace(job(task, asked.split, 1), samples=covered, repeats=engine.n_repeats)
    checkpoint = Checkpoint(path, engine.digest, "")
    records = _evaluate([part], engine, checkpoint, runner, asked, progress)
    found = generations.differences(records, covered, engine.matched)
    verdicts = [engine.matched.verdicts[r.sample_id, r.repeat] for r in records]
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
    name = asked.name or stem + (f" {asked.field}" if asked.field else "")
    recorded: dict[str, Any] = {
        "file": path.name,
        "field": asked.field,
        "unmatched_rows": len(engine.matched.unmatched),
        "repeats": part.repeats,
        "items_of_task": len(task.samples(asked.split)),
        "with_verdict": sum(v is not None for v in verdicts),
        "correct": sum(v is True for v in verdicts),
        "differences": [asdict(d) for d in found],
    }
    result = _write(asked, name, records, [part], engine, {"recorded": recorded})
    return replace(result, agreement=_agreement(recorded, records, generations.count_kinds(found)))


def _agreement(recorded: dict[str, Any], records: list[Record], kinds: dict[str, int]) -> list[str]:
    n = recorded["with_verdict"]
    if not n:
        return ["\nThe file has no verdicts of its own to compare with."]
    ours = sum(r.scores["lenient"].value == 1.0 for r in records)
    lines = [f"\nThe file's own verdicts: {recorded['correct']} of {n} right; ours, lenient: {ours} of {len(records)}."]
    lines += [f"  {count} differ: {kind}" for kind, count in kinds.items()]
    return lines


def _evaluate(
    jobs: list[Job],
    engine: Engine,
    checkpoint: Checkpoint,
    runner: CodeRunner | None,
    asked: Asked,
    progress: Progress,
) -> list[Record]:
    records: list[Record] = []
    for part in jobs:
        with progress.step(part.task.name, 1.0) as tick:
            records += evaluate(part, engine, checkpoint, runner, asked.folder / "evals", _shown(tick))
    return records


def _shown(tick: Callable[[float, str], None]) -> Callable[[int, int], None]:
    return lambda done, total: tick(done / total, f"{done}/{total}")


def _write(
    asked: Asked, name: str, records: list[Record], jobs: list[Job], engine: Engine, more: dict[str, Any]
) -> Result:
    digest = records[0].checkpoint
    facts = {
        "engine": dict(engine.describe()),
        "suite": {j.task.name: f"{len(j.samples)} {j.split} items, set {j.items_hash[:12]}" for j in jobs},
        "graders": [grader_version(j.task) for j in jobs],
        "sandbox": sorted({r.sandbox for r in records}),
    }
    board = build(name, [Entry(name, "model", (Run(digest, tuple(records)),))], facts)
    safe = re.sub(r"[^\w.+-]+", "_", name)
    path = asked.folder / "results" / f"{safe}-{'-'.join(asked.tasks)}.json"
    write_json(path, {"board": asdict(board), **more})
    return Result(board, path, [])
