"""The steps of a comparison: the training data, every stage, and scoring the checkpoints on dev."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from harness import registry
from harness.board.fact_sentences import traces_text
from harness.errors import DataError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.job import grader_version
from harness.experiment.checkpoint_choice import Candidate, DevScore, candidates
from harness.experiment.run_context import RunContext
from harness.experiment.stages import Materials, StrategyRun, next_settings, without_traces
from harness.experiment.training_data import Teacher, Traces, teach, ticker
from harness.rendering import curves
from harness.training.run_stage import StageEnvironment, StageResult, plan_stage, run_stage
from harness.types import Checkpoint, Cost, Strategy, sha256_of


@dataclass(frozen=True)
class TrainedRun:
    """A trained run of a strategy: its stages, and the last stage's checkpoints with their dev scores."""

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


def materials(context: RunContext) -> Materials:
    """The training data of the plan; the teacher writes traces if a trainer needs them."""
    given = without_traces(context.items, context.teacher)
    return replace(given, traces=_traces(context)) if context.plan.needs("traces") else given


def _traces(context: RunContext) -> Traces:
    assert context.teacher is not None
    with context.progress.step("teacher writes traces", 3.0) as tick:
        teacher = Teacher(context.teacher, context.plan.recipe.teaching)
        found = teach(teacher, context.items, context.engine, context.graders, context.plan.folder, tick)
    context.progress.say(f"teacher's traces: {traces_text(found.facts)}")
    return found


def train_all(context: RunContext, strategy_runs: Sequence[StrategyRun], material: Materials) -> list[TrainedRun]:
    """Train all stages of all runs, in order; `parallel_stages` runs at once. The first failure stops the rest."""
    locks = _Locks()
    free = queue.SimpleQueue[tuple[str, ...]]()  # as many as there are threads
    for share in context.plan.stage_gpus():
        free.put(share)
    with ThreadPoolExecutor(max_workers=context.plan.parallel_stages, thread_name_prefix="train") as pool:
        futures = [pool.submit(_train, context, material, strategy_run, locks, free) for strategy_run in strategy_runs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            context.stopping.set()
            pool.shutdown(cancel_futures=True)
            raise


class _Locks:
    """One lock per stage: a stage shared by two strategies is trained only once."""

    def __init__(self) -> None:
        self._own = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def __getitem__(self, key: str) -> threading.Lock:
        with self._own:
            return self._locks.setdefault(key, threading.Lock())


@contextmanager
def _taken(free: queue.SimpleQueue[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """GPUs that nobody else uses meanwhile."""
    share = free.get()
    try:
        yield share
    finally:
        free.put(share)


def _train(
    context: RunContext,
    material: Materials,
    strategy_run: StrategyRun,
    locks: _Locks,
    free: queue.SimpleQueue[tuple[str, ...]],
) -> TrainedRun:
    """Train the stages of one run in order, each from the checkpoint of the previous one."""
    plan, parent, results = context.plan, context.base, list[StageResult]()
    place = StageEnvironment(plan.folder, plan.recipe.devices, plan.report_to, plan.parallel_stages)
    stages = strategy_run.strategy.stages
    for number, spec in enumerate(stages, 1):
        source = material.of(registry.load("trainer", spec.trainer))
        settings = next_settings(plan, context.items.tasks, strategy_run, results)
        stage = plan_stage(settings, parent, source)
        label = f"train {strategy_run.label}" + (f", stage {number} ({spec.trainer})" if len(stages) > 1 else "")
        with context.progress.step(label, 10.0 * spec.share) as tick, locks[stage.key], _taken(free) as share:
            result = run_stage(stage, parent, source, replace(place, gpus=share), tick, context.stopping)
        results.append(result)
        if result.status != "done":
            context.progress.say(f"{label} ended early: {result.status}: {result.why}")
            break
        parent = result.checkpoint
    return TrainedRun(strategy_run, tuple(results))


def judged_on_dev(context: RunContext, trained: TrainedRun, base_dev: float | None = None) -> TrainedRun:
    """The run, with the checkpoints of all its stages scored on dev; one of the last stage's can be chosen.

    base_dev: the base's score on dev, the first point of a learning curve; None: that point is left out.
    """
    key = sha256_of([[part.items_hash, part.sampling, grader_version(part.task)] for part in context.items.dev])
    before = Cost()
    points = [] if base_dev is None else [_point(trained, before, base_dev)]
    found: list[Candidate] = []
    with context.progress.step(f"evaluate {trained.strategy_run.label} on dev", 1.0) as tick:
        for stage in trained.stages:
            judge = lambda checkpoint: dev_score(context, checkpoint, tick)  # noqa: E731
            found = candidates(stage, before, key, judge, context.plan.keep_checkpoints)
            points += [_point(trained, candidate.cost, candidate.dev) for candidate in found]
            before = before.plus(stage.cost)
    return replace(trained, candidates=tuple(found), points=tuple(points))


def _point(trained: TrainedRun, cost: Cost, dev: float) -> curves.Point:
    costs = {unit: cost.spent(unit) for unit in ("flops", "tokens", "generated", "device_s")}
    return curves.Point(trained.strategy.name, trained.seed, dev, costs)


def dev_score(context: RunContext, checkpoint: Checkpoint, tick: Callable[[float, str], None]) -> DevScore:
    """Strict score: the share of the graded dev items answered right.

    A reply that could not be graded is not wrong: it is left out. Raises `DataError` if no reply could be graded.
    """
    values, engines = list[float](), list[str]()
    for number, part in enumerate(context.items.dev):
        share = ticker(tick, number, len(context.items.dev), part.task.name)
        found = evaluate(part, context.engine, checkpoint, context.graders, context.plan.folder / "dev", share)
        engines.append(found.engine.label)
        strict = found.summary.columns.verdicts["strict"]
        values += strict[~np.isnan(strict)].tolist()
    if not values:
        n = sum(len(part.samples) for part in context.items.dev)
        raise DataError(
            f"none of the replies to {n} dev items could be graded, so checkpoint {checkpoint.path} has no dev score; "
            f"the errors are in the records under {context.plan.folder / 'dev'}"
        )
    return DevScore(fmean(values), ", ".join(dict.fromkeys(engines)))
