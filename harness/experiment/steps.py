"""The steps of a comparison: what is learnt from, every stage, and the checkpoints judged on dev."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from harness import registry
from harness.evaluation.evaluate import evaluate
from harness.evaluation.job import grader_version
from harness.experiment.checkpoint_choice import Candidate, candidates
from harness.experiment.run_context import RunContext
from harness.experiment.training_data import teach, teacher_params, ticker
from harness.protocols import Trainer
from harness.rendering import curves
from harness.training import strategies
from harness.training.run_stage import Material, StageEnvironment, StageResult, plan_stage, resolve_config, run_stage
from harness.types import Budget, Checkpoint, Cost, Strategy, sha256_of


@dataclass(frozen=True)
class StrategyRun:
    """A strategy to be trained with one seed. settings: of each trainer, where they differ from its defaults."""

    strategy: Strategy
    seed: int
    settings: Mapping[str, Mapping[str, Any]]
    trial: str = ""  # what sets it apart from other trials of the same strategy and seed

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.strategy.name, self.trial, f"seed {self.seed}")))


@dataclass(frozen=True)
class TrainedRun:
    """A trained strategy_run: its stages, and the last one's checkpoints judged on dev."""

    strategy_run: StrategyRun
    stages: tuple[StageResult, ...]
    candidates: tuple[Candidate, ...] = ()
    points: tuple[curves.Point, ...] = ()

    @property
    def strategy(self) -> Strategy:
        return self.strategy_run.strategy

    @property
    def seed(self) -> int:
        return self.strategy_run.seed


def materials(context: RunContext) -> Callable[[Trainer], Material]:
    """What each trainer learns from, by its `needs`."""
    rows = context.items.rows
    prompts = tuple(replace(row, completion=None) for row in rows)
    references = tuple(row for row in rows if row.completion is not None)
    if context.plan.needs("traces"):
        assert context.teacher is not None
        asked = context.plan.recipe.teaching
        with context.progress.step("teacher writes traces", 3.0) as tick:
            context.traces = teach(
                context.teacher,
                asked,
                context.tasks,
                context.items,
                context.engine,
                context.graders,
                context.plan.folder,
                tick,
            )
        context.progress.say(f"teacher's traces: {context.traces}")
    traces = context.traces

    def material(trainer: Trainer) -> Material:
        needs = trainer.needs
        teacher = context.teacher if "teacher" in needs else None
        n_params = teacher_params(context.teacher) if needs & {"teacher", "traces"} else 0
        if "traces" in needs:
            assert traces is not None
            return Material(traces.rows, traces.teaching, teacher, n_params)
        return Material(references if "completions" in needs else prompts, teacher=teacher, n_teacher_params=n_params)

    return material


def train_all(
    context: RunContext, strategy_runs: Sequence[StrategyRun], material: Callable[[Trainer], Material]
) -> list[TrainedRun]:
    """All stages of all runs, in order; `parallel_stages` runs at the same time. The first failure stops the rest."""
    locks = _Locks()
    with ThreadPoolExecutor(max_workers=context.plan.parallel_stages, thread_name_prefix="train") as pool:
        futures = [pool.submit(_train, context, material, strategy_run, locks) for strategy_run in strategy_runs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            context.stopping.set()
            pool.shutdown(cancel_futures=True)
            raise


class _Locks:
    """One lock for each stage: two strategies may begin with the same one, and it is trained once."""

    def __init__(self) -> None:
        self._own = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def __getitem__(self, key: str) -> threading.Lock:
        with self._own:
            return self._locks.setdefault(key, threading.Lock())


def _train(
    context: RunContext, material: Callable[[Trainer], Material], strategy_run: StrategyRun, locks: _Locks
) -> TrainedRun:
    """The stages of one strategy_run in order, each from the checkpoint of the one before.

    What a stage spent beyond or short of its share, the next one gets less or more of.
    """
    plan, parent, results = context.plan, context.base, list[StageResult]()
    names = [f"{name}@{task.version}" for name, task in context.tasks.items()]
    place = StageEnvironment(plan.folder, plan.recipe.devices, plan.report_to)
    total, planned, spent = plan.recipe.budget, 0.0, 0.0
    stages = strategy_run.strategy.stages
    for number, spec in enumerate(stages, 1):
        planned += strategies.share_of(spec, total)
        budget = Budget(planned - spent, total.unit)
        config = resolve_config(spec.trainer, strategy_run.settings.get(spec.trainer, {}))
        source = material(registry.load("trainer", spec.trainer))
        stage = plan_stage(spec.trainer, config, parent, source, names, strategy_run.seed, budget, place.devices)
        label = f"train {strategy_run.label}" + (f", stage {number} ({spec.trainer})" if len(stages) > 1 else "")
        with context.progress.step(label, 10.0 * spec.share) as tick, locks[stage.key]:
            result = run_stage(stage, parent, source, place, tick, context.stopping)
        results.append(result)
        if result.status != "done":
            context.progress.say(f"{label} ended early: {result.status}: {result.why}")
            break
        parent, spent = result.checkpoint, spent + result.cost.spent(total.unit)
    return TrainedRun(strategy_run, tuple(results))


def judged_on_dev(context: RunContext, trained: TrainedRun) -> TrainedRun:
    """The strategy_run, with the checkpoints of all its stages judged on dev; those of the last may be chosen."""
    key = sha256_of([[part.items_hash, part.sampling, grader_version(part.task)] for part in context.items.dev])
    before = Cost()
    points = [_point(trained, before, context.base_dev)]
    found: list[Candidate] = []
    with context.progress.step(f"evaluate {trained.strategy_run.label} on dev", 1.0) as tick:
        for stage in trained.stages:
            judge = lambda checkpoint: dev_score(context, checkpoint, tick)  # noqa: E731
            found = candidates(stage, before, key, judge, context.plan.keep_checkpoints)
            points += [_point(trained, candidate.cost, candidate.dev) for candidate in found]
            before = before.plus(stage.cost)
    return replace(trained, candidates=tuple(found), points=tuple(points))


def _point(trained: TrainedRun, cost: Cost, dev: float | None) -> curves.Point:
    costs = {unit: cost.spent(unit) for unit in ("flops", "tokens", "generated", "device_s")}
    return curves.Point(trained.strategy.name, trained.seed, dev or 0.0, costs)


def dev_score(context: RunContext, checkpoint: Checkpoint, tick: Callable[[float, str], None]) -> float:
    """Share of the dev items answered right by the strict reading; one that could not be judged counts as wrong."""
    values: list[float] = []
    for number, part in enumerate(context.items.dev):
        share = ticker(tick, number, len(context.items.dev), part.task.name)
        found = evaluate(part, context.engine, checkpoint, context.graders, context.plan.folder / "dev", share)
        values += [record.scores["strict"].value or 0.0 for record in found.records()]
    return fmean(values)
