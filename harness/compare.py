"""The comparison: every strategy from one base, on the same items, at the same budget, judged on the same suite.

Everything is kept under keys of its inputs in one run folder, so the same command goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from harness import registry, stats, strategies
from harness.checkpoints import matmul_params, open_checkpoint
from harness.decontaminate import GRAM, Overlap, overlaps, refuse_repeats
from harness.errors import BadConfig, DataError
from harness.evaluate import Job, Sampling, evaluate, grader_version, job, summarised
from harness.graders import NO_SANDBOX, Graders
from harness.hub import resolve_model
from harness.leaderboard import Board, Entry, Run, build
from harness.protocols import CodeRunner, Engine, Task
from harness.recipes import Recipe
from harness.storage import enough_space, full_disk_is_named, owned, writable
from harness.train import StageResult, Teaching, plan_stage, resolve_config, run_stage
from harness.types import Budget, Checkpoint, Record, Strategy, TrainRow


class Progress(Protocol):
    """What the shell shows while a comparison runs."""

    def say(self, text: str) -> None:
        """One line that stays."""
        ...

    def step(self, name: str, weight: float) -> contextlib.AbstractContextManager[Callable[[float, str], None]]:
        """A step of the plan; the callable takes (fraction done, what to show)."""
        ...


@dataclass(frozen=True)
class Plan:
    """A comparison as asked for. train_rows None: the tasks' own train split."""

    recipe: Recipe
    strategies: tuple[Strategy, ...]
    seeds: tuple[int, ...]
    folder: Path
    engine: str = "auto"
    limit: int | None = None  # evaluate the first so many items of each task only
    train_rows: tuple[TrainRow, ...] | None = None
    train_source: str = "train split"
    jobs: int = 1  # stages trained at the same time
    allow_weak_sandbox: bool = False


@dataclass
class _World:
    """What all steps of one comparison share."""

    plan: Plan
    base: Checkpoint
    teacher: Checkpoint | None
    tasks: dict[str, Task]
    rows: tuple[TrainRow, ...]
    suite: list[Job]
    engine: Engine
    graders: Graders
    progress: Progress
    overlap: list[Overlap] = field(default_factory=list)
    traces: str | None = None  # how many the teacher wrote and how many were kept; None: no strategy asked for any
    stopping: threading.Event = field(default_factory=threading.Event)


def compare(plan: Plan, progress: Progress) -> Board:
    """Train, evaluate and tabulate. Raises a `HarnessError` for anything a person can mend; nothing done is lost."""
    writable(plan.folder)
    with owned(plan.folder), full_disk_is_named(plan.folder), _open(plan, progress) as world:
        rows_of = _training_rows(world)
        references = _references(world)
        world.engine.rest()
        results = _train_all(world, rows_of)
        entries = [*references, *_evaluate_all(world, results)]
        facts = {name: fact for name, fact in _facts(world).items() if fact is not None}
        return build(f"Which training works: {plan.recipe.name}", entries, facts, _notes(world))


def weight(plan: Plan) -> float:
    """The sum of the weights of all steps of a plan, for a progress bar."""
    chains = len(plan.strategies) * len(plan.seeds)
    return 3.0 * _needs_teacher(plan) + 1.0 + bool(plan.recipe.teacher) + 11.0 * chains


def outline(plan: Plan) -> list[str]:
    """What `compare` would do, one line a step, without doing it."""
    tasks = _load_tasks(plan.recipe.tasks)
    base = open_checkpoint(resolve_model(plan.recipe.base))
    n_params = matmul_params(base.path)
    budget = plan.recipe.budget
    per_token = 6 * n_params if budget.unit == "flops" else 1
    lines = [f"base {base.path} ({n_params:,} matmul weights, digest {base.digest[:12]})"]
    n_rows = len(plan.train_rows or _own_rows(tasks))
    n_items = {name: len(job(task, "test", plan.limit).samples) for name, task in tasks.items()}
    lines.append(f"train items: {n_rows:,} from {plan.train_source}")
    if _needs_teacher(plan):
        lines.append(
            f"teacher {plan.recipe.teacher}: one trace for each of {plan.recipe.teaching.prompts:,} train items"
        )
    for strategy in plan.strategies:
        for seed in plan.seeds:
            parts = [
                f"{stage.trainer} for {part.amount:.3g} {part.unit} (at most {part.amount / per_token:,.0f} tokens)"
                for stage, part in zip(strategy.stages, strategies.slices(strategy, budget), strict=True)
            ]
            lines.append(f"train {strategy.name}, seed {seed}: " + ", then ".join(parts))
    models = 1 + bool(plan.recipe.teacher) + len(plan.strategies) * len(plan.seeds)
    total = sum(n_items.values())
    lines.append(f"evaluate {models} checkpoints on {total} held-out items ({_sizes(n_items)})")
    lines.append(
        f"smallest difference this suite finds (80 % power, one fifth of items differing): "
        f"{100 * stats.detectable(0.2, total):.1f} points between two checkpoints"
    )
    lines.append(f"total training budget {budget.amount * len(plan.strategies) * len(plan.seeds):.3g} {budget.unit}")
    return lines


@contextlib.contextmanager
def _open(plan: Plan, progress: Progress) -> Iterator[_World]:
    """Everything a comparison stands on, checked before the first step and closed after the last."""
    from harness.engines import open_engine
    from harness.sandbox import Sandbox

    for strategy in plan.strategies:
        for stage in strategy.stages:
            resolve_config(stage.trainer, plan.recipe.trainers.get(stage.trainer, {}))
    tasks = _load_tasks(plan.recipe.tasks)
    base = open_checkpoint(resolve_model(plan.recipe.base))
    if _needs_teacher(plan) and not plan.recipe.teacher:
        raise BadConfig(
            "a strategy distils from a teacher, and none is named; add teacher = ... to the recipe, or --teacher"
        )
    teacher = open_checkpoint(resolve_model(plan.recipe.teacher)) if plan.recipe.teacher else None
    stages = sum(len(s.stages) for s in plan.strategies) * len(plan.seeds)
    enough_space(plan.folder, _space_needed(base, stages))
    suite = [job(task, "test", plan.limit) for task in tasks.values()]
    rows = plan.train_rows if plan.train_rows is not None else _own_rows(tasks)
    if not rows:
        raise DataError(f"no training items in {plan.train_source}")
    found = overlaps((row.sample for row in rows), (s for j in suite for s in j.samples))
    refuse_repeats(found, plan.train_source)
    runner: CodeRunner | None = None
    with contextlib.ExitStack() as closing:
        if any(task.needs_sandbox for task in tasks.values()):
            runner = Sandbox(allow_weak=plan.allow_weak_sandbox)
            closing.callback(runner.close)
            progress.say(f"sandbox: {runner.tier}")
        engine = open_engine(plan.engine, progress.say)
        closing.callback(engine.close)
        graders = closing.enter_context(Graders(runner))
        yield _World(plan, base, teacher, tasks, rows, suite, engine, graders, progress, found)


def _load_tasks(names: Sequence[str]) -> dict[str, Task]:
    return {name: registry.load("task", name)() for name in names}


def _own_rows(tasks: Mapping[str, Task]) -> tuple[TrainRow, ...]:
    """The train splits of the tasks, taking turns, so that any first part holds all of them."""
    columns = [
        [TrainRow(name, s, s.metadata.get("solution")) for s in task.samples("train")] for name, task in tasks.items()
    ]
    longest = max(map(len, columns))
    return tuple(column[i] for i in range(longest) for column in columns if i < len(column))


def _needs_teacher(plan: Plan) -> bool:
    return any(
        registry.load("trainer", stage.trainer).needs == "teacher" for s in plan.strategies for stage in s.stages
    )


def _space_needed(base: Checkpoint, stages: int) -> int:
    """Bytes: each stage keeps its weights once; the one that runs also two checkpoints with optimizer state."""
    weights = sum(f.stat().st_size for f in base.path.glob("*.safetensors"))
    return stages * weights + 2 * 4 * weights + 200_000_000


# ------------------------------------------------------------------------------------------------ steps


def _training_rows(world: _World) -> dict[str, tuple[tuple[TrainRow, ...], Teaching]]:
    """What each kind of trainer learns from, by its `needs`."""
    prompts = tuple(replace(row, completion=None) for row in world.rows)
    kinds: dict[str, tuple[tuple[TrainRow, ...], Teaching]] = {"prompts": (prompts, Teaching())}
    kinds["completions"] = (tuple(row for row in world.rows if row.completion is not None), Teaching())
    if _needs_teacher(world.plan):
        kinds["teacher"] = _teach(world)
    return kinds


def _teach(world: _World) -> tuple[tuple[TrainRow, ...], Teaching]:
    """The teacher's replies to train items, those the strict grader calls right; and what all of them cost."""
    assert world.teacher is not None
    teaching = world.plan.recipe.teaching
    asked = world.rows[: teaching.prompts]
    records: dict[str, Record] = {}
    with world.progress.step("teacher writes traces", 3.0) as tick:
        for number, (name, task) in enumerate(world.tasks.items()):
            samples = tuple(row.sample for row in asked if row.task == name)
            if not samples:
                continue
            part = replace(
                job(task, "test", 1, Sampling(temperature=teaching.temperature)),
                split="train",
                samples=samples,
            )
            share = _ticker(tick, number, len(world.tasks), name)
            folder = world.plan.folder / "traces"
            found = evaluate(part, world.engine, world.teacher, world.graders, folder, share)
            records |= {r.sample_id: r for r in found.records()}
    kept = tuple(
        replace(row, completion=records[row.sample.id].text)
        for row in asked
        if records[row.sample.id].scores["strict"].value == 1.0
    )
    world.traces = f"one for each of the first {len(asked):,} train items, {len(kept):,} graded right and kept"
    world.progress.say(f"teacher's traces: {world.traces}")
    if not kept:
        raise DataError(
            f"the teacher {world.teacher.path} answered none of {len(asked)} train items right; nothing to distil"
        )
    cost = Teaching(
        matmul_params(world.teacher.path),
        sum(r.n_prompt_tokens for r in records.values()),
        sum(r.n_tokens for r in records.values()),
    )
    return kept, cost


def _references(world: _World) -> list[Entry]:
    """Rows for teacher and base, the teacher first: the engine it needs differs from all others'."""
    references = [("teacher", world.teacher), ("base", world.base)]
    return [
        Entry(role, role, (_reference(world, role, checkpoint),))
        for role, checkpoint in references
        if checkpoint is not None
    ]


def _reference(world: _World, role: str, checkpoint: Checkpoint) -> Run:
    records, content = _evaluate(world, role, checkpoint)
    return Run(checkpoint.digest, records, content=content)


def _train_all(
    world: _World, rows_of: Mapping[str, tuple[tuple[TrainRow, ...], Teaching]]
) -> list[tuple[Strategy, int, list[StageResult]]]:
    """All stages of all strategies and seeds; `jobs` chains at the same time. The first failure stops the rest."""
    chains = [(strategy, seed) for strategy in world.plan.strategies for seed in world.plan.seeds]
    with ThreadPoolExecutor(max_workers=world.plan.jobs, thread_name_prefix="train") as pool:
        futures = [pool.submit(_chain, world, rows_of, strategy, seed) for strategy, seed in chains]
        try:
            return [(*chain, future.result()) for chain, future in zip(chains, futures, strict=True)]
        except BaseException:
            world.stopping.set()
            pool.shutdown(cancel_futures=True)
            raise


def _chain(
    world: _World, rows_of: Mapping[str, tuple[tuple[TrainRow, ...], Teaching]], strategy: Strategy, seed: int
) -> list[StageResult]:
    """The stages of one strategy in order, each from the checkpoint of the one before."""
    parent, results = world.base, []
    budgets: Sequence[Budget] = strategies.slices(strategy, world.plan.recipe.budget)
    names = [f"{name}@{task.version}" for name, task in world.tasks.items()]
    for number, (spec, budget) in enumerate(zip(strategy.stages, budgets, strict=True), 1):
        trainer = registry.load("trainer", spec.trainer)
        rows, teaching = rows_of[trainer.needs]
        config = resolve_config(spec.trainer, world.plan.recipe.trainers.get(spec.trainer, {}))
        stage = plan_stage(spec.trainer, config, parent, rows, names, seed, budget)
        label = f"train {strategy.name}" + (f" stage {number} ({spec.trainer})" if len(strategy.stages) > 1 else "")
        label += f" seed {seed}" if len(world.plan.seeds) > 1 else ""
        with world.progress.step(label, 10.0 * spec.share) as tick:
            result = run_stage(stage, parent, rows, teaching, world.plan.folder / "stages", tick, world.stopping)
        results.append(result)
        if result.status != "done":
            world.progress.say(f"{label} ended early: {result.status}: {result.why}")
            break
        parent = result.checkpoint
    return results


def _evaluate_all(world: _World, results: Sequence[tuple[Strategy, int, list[StageResult]]]) -> list[Entry]:
    runs: dict[str, list[Run]] = {}
    for strategy, seed, stages in results:
        last = stages[-1]
        label = strategy.name + (f" seed {seed}" if len(world.plan.seeds) > 1 else "")
        records, content = _evaluate(world, label, last.checkpoint)
        cost = stages[0].cost
        for stage in stages[1:]:
            cost = cost.plus(stage.cost)
        run = Run(last.checkpoint.digest, records, seed, cost, last.status, last.why, content)
        runs.setdefault(strategy.name, []).append(run)
    return [Entry(name, "strategy", tuple(of_name)) for name, of_name in runs.items()]


def _evaluate(world: _World, label: str, checkpoint: Checkpoint) -> tuple[tuple[Record, ...], str]:
    """The records of the suite, and the digest of their contents."""
    found = []
    with world.progress.step(f"evaluate {label}", 1.0) as tick:
        for number, part in enumerate(world.suite):
            share = _ticker(tick, number, len(world.suite), part.task.name)
            folder = world.plan.folder / "evals"
            found.append(evaluate(part, world.engine, checkpoint, world.graders, folder, share))
    return summarised(found)


def _ticker(tick: Callable[[float, str], None], number: int, of: int, name: str) -> Callable[[int, int], None]:
    """Progress of part `number` of `of` equal parts."""
    return lambda done, total: tick((number + done / total) / of, f"{name} {done}/{total}")


# ------------------------------------------------------------------------------------------------ provenance


def _facts(world: _World) -> dict[str, object]:
    plan, recipe = world.plan, world.plan.recipe
    found = [o for o in world.overlap if o.kind not in ("exact", "normalised")]
    return {
        "base": f"{recipe.base if not Path(recipe.base).is_dir() else Path(recipe.base).name} {world.base.digest[:16]}",
        "teacher": f"{Path(recipe.teacher).name} {world.teacher.digest[:16]}" if world.teacher else "none",
        "budget of every strategy": f"{recipe.budget.amount:.3g} {recipe.budget.unit}, teacher's share included",
        "train items": f"{len(world.rows)} from {plan.train_source}, the same for every strategy",
        "teacher's traces": world.traces,
        "train items that repeat a held-out question": "0 (the run refuses any)",
        f"train items that share a {GRAM}-gram with the suite": len(found),
        "training settings": {name: dict(settings) for name, settings in recipe.trainers.items()},
        "suite": {j.task.name: f"{len(j.samples)} test items, set {j.items_hash[:12]}" for j in world.suite},
        "decoding": {
            j.task.name: f"temperature {j.params.temperature:g}, at most {j.params.max_tokens} tokens"
            for j in world.suite
        },
        "engine": dict(world.engine.describe()),
        "graders": [grader_version(task) for task in world.tasks.values()],
        "sandbox": world.graders.runner.tier if world.graders.runner else NO_SANDBOX,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "srlm-harness")},
    }


def _notes(world: _World) -> list[str]:
    notes = []
    described = world.engine.describe()
    if world.plan.engine == "auto" and described["engine"] != "vllm":
        notes.append(f"vLLM could not be used on this machine; replies come from {described['engine']}.")
    if world.plan.limit is not None:
        notes.append(
            f"Only the first {world.plan.limit} items of each task were used (--limit): not a result to quote."
        )
    return notes


def _sizes(n_items: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in n_items.items())
