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
from harness.experiment.run_context import World
from harness.experiment.training_data import teach, teacher_params, ticker
from harness.protocols import Trainer
from harness.rendering import curves
from harness.training import strategies
from harness.training.run_stage import Material, Place, StageResult, plan_stage, resolve_config, run_stage
from harness.types import Budget, Checkpoint, Cost, Strategy, sha256_of


@dataclass(frozen=True)
class Chain:
    """A strategy to be trained with one seed. settings: of each trainer, where they differ from its defaults."""

    strategy: Strategy
    seed: int
    settings: Mapping[str, Mapping[str, Any]]
    trial: str = ""  # what sets it apart from other trials of the same strategy and seed

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.strategy.name, self.trial, f"seed {self.seed}")))


@dataclass(frozen=True)
class Finished:
    """A trained chain: its stages, and the last one's checkpoints judged on dev."""

    chain: Chain
    stages: tuple[StageResult, ...]
    candidates: tuple[Candidate, ...] = ()
    points: tuple[curves.Point, ...] = ()

    @property
    def strategy(self) -> Strategy:
        return self.chain.strategy

    @property
    def seed(self) -> int:
        return self.chain.seed


def materials(world: World) -> Callable[[Trainer], Material]:
    """What each trainer learns from, by its `needs`."""
    rows = world.items.rows
    prompts = tuple(replace(row, completion=None) for row in rows)
    references = tuple(row for row in rows if row.completion is not None)
    if world.plan.needs("traces"):
        assert world.teacher is not None
        asked = world.plan.recipe.teaching
        with world.progress.step("teacher writes traces", 3.0) as tick:
            world.traces = teach(
                world.teacher, asked, world.tasks, world.items, world.engine, world.graders, world.plan.folder, tick
            )
        world.progress.say(f"teacher's traces: {world.traces}")
    traces = world.traces

    def material(trainer: Trainer) -> Material:
        needs = trainer.needs
        teacher = world.teacher if "teacher" in needs else None
        n_params = teacher_params(world.teacher) if needs & {"teacher", "traces"} else 0
        if "traces" in needs:
            assert traces is not None
            return Material(traces.rows, traces.teaching, teacher, n_params)
        return Material(references if "completions" in needs else prompts, teacher=teacher, n_teacher_params=n_params)

    return material


def train_all(world: World, chains: Sequence[Chain], material: Callable[[Trainer], Material]) -> list[Finished]:
    """All stages of all chains, in order; `jobs` chains at the same time. The first failure stops the rest."""
    locks = _Locks()
    with ThreadPoolExecutor(max_workers=world.plan.jobs, thread_name_prefix="train") as pool:
        futures = [pool.submit(_train, world, material, chain, locks) for chain in chains]
        try:
            return [future.result() for future in futures]
        except BaseException:
            world.stopping.set()
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


def _train(world: World, material: Callable[[Trainer], Material], chain: Chain, locks: _Locks) -> Finished:
    """The stages of one chain in order, each from the checkpoint of the one before.

    What a stage spent beyond or short of its share, the next one gets less or more of.
    """
    plan, parent, results = world.plan, world.base, list[StageResult]()
    names = [f"{name}@{task.version}" for name, task in world.tasks.items()]
    place = Place(plan.folder, plan.recipe.devices, plan.report_to)
    total, planned, spent = plan.recipe.budget, 0.0, 0.0
    stages = chain.strategy.stages
    for number, spec in enumerate(stages, 1):
        planned += strategies.share_of(spec, total)
        budget = Budget(planned - spent, total.unit)
        config = resolve_config(spec.trainer, chain.settings.get(spec.trainer, {}))
        source = material(registry.load("trainer", spec.trainer))
        stage = plan_stage(spec.trainer, config, parent, source, names, chain.seed, budget, place.devices)
        label = f"train {chain.label}" + (f", stage {number} ({spec.trainer})" if len(stages) > 1 else "")
        with world.progress.step(label, 10.0 * spec.share) as tick, locks[stage.key]:
            result = run_stage(stage, parent, source, place, tick, world.stopping)
        results.append(result)
        if result.status != "done":
            world.progress.say(f"{label} ended early: {result.status}: {result.why}")
            break
        parent, spent = result.checkpoint, spent + result.cost.spent(total.unit)
    return Finished(chain, tuple(results))


def judged_on_dev(world: World, trained: Finished) -> Finished:
    """The chain, with the checkpoints of all its stages judged on dev; those of the last may be chosen."""
    key = sha256_of([[part.items_hash, part.sampling, grader_version(part.task)] for part in world.items.dev])
    before = Cost()
    points = [_point(trained, before, world.base_dev)]
    found: list[Candidate] = []
    with world.progress.step(f"evaluate {trained.chain.label} on dev", 1.0) as tick:
        for stage in trained.stages:
            judge = lambda checkpoint: dev_score(world, checkpoint, tick)  # noqa: E731
            found = candidates(stage, before, key, judge, world.plan.keep_checkpoints)
            points += [_point(trained, candidate.cost, candidate.dev) for candidate in found]
            before = before.plus(stage.cost)
    return replace(trained, candidates=tuple(found), points=tuple(points))


def _point(trained: Finished, cost: Cost, dev: float | None) -> curves.Point:
    costs = {unit: cost.spent(unit) for unit in ("flops", "tokens", "generated", "device_s")}
    return curves.Point(trained.strategy.name, trained.seed, dev or 0.0, costs)


def dev_score(world: World, checkpoint: Checkpoint, tick: Callable[[float, str], None]) -> float:
    """Share of the dev items answered right by the strict reading; one that could not be judged counts as wrong."""
    values: list[float] = []
    for number, part in enumerate(world.items.dev):
        share = ticker(tick, number, len(world.items.dev), part.task.name)
        found = evaluate(part, world.engine, checkpoint, world.graders, world.plan.folder / "dev", share)
        values += [record.scores["strict"].value or 0.0 for record in found.records()]
    return fmean(values)
