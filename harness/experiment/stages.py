"""The stages of each strategy and seed: what a stage is trained with, and which stages are left to train."""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.experiment.plan import Experiment
from harness.experiment.training_data import Traces, TrainingItems, teacher_params
from harness.protocols import Task, Trainer
from harness.training import strategies
from harness.training.run_stage import (
    Material,
    StageResult,
    StageSettings,
    TraceCost,
    plan_stage,
    recorded_result,
    resolve_config,
)
from harness.types import Budget, Checkpoint, Stage, Strategy, TrainRow


@dataclass(frozen=True)
class StrategyRun:
    """A strategy to be trained with one seed. settings: those of each trainer that differ from its defaults."""

    strategy: Strategy
    seed: int
    settings: Mapping[str, Mapping[str, Any]]
    trial: str = ""  # distinguishes it from other trials of the same strategy and seed

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.strategy.name, self.trial, f"seed {self.seed}")))


def strategy_runs(plan: Experiment) -> list[StrategyRun]:
    """Every strategy of a comparison with every seed, by the settings of the recipe."""
    return [StrategyRun(each, seed, plan.recipe.trainers) for seed in plan.seeds for each in plan.strategies]


@dataclass(frozen=True)
class Materials:
    """The training data: rows without and with completions, and the teacher's traces (None: no trainer needs them).

    n_teacher_params: matmul weights of the teacher, 0 without one.
    """

    prompts: tuple[TrainRow, ...]
    completed: tuple[TrainRow, ...]
    traces: Traces | None
    teacher: Checkpoint | None
    n_teacher_params: int

    def of(self, trainer: Trainer) -> Material:
        """The training data for this trainer, by its `needs`."""
        needs = trainer.needs
        teacher = self.teacher if "teacher" in needs else None
        n_params = self.n_teacher_params if needs & {"teacher", "traces"} else 0
        if "traces" in needs:
            assert self.traces is not None
            return Material(self.traces.rows, self.traces.teaching, teacher, n_params)
        rows = self.completed if "completions" in needs else self.prompts
        return Material(rows, teacher=teacher, n_teacher_params=n_params)


def without_traces(items: TrainingItems, teacher: Checkpoint | None) -> Materials:
    """The training data that is there before the teacher writes."""
    return Materials(
        prompts=tuple(replace(row, completion=None) for row in items.rows),
        completed=tuple(row for row in items.rows if row.completion is not None),
        traces=None,
        teacher=teacher,
        n_teacher_params=teacher_params(teacher),
    )


def next_settings(
    plan: Experiment, tasks: Mapping[str, Task], run: StrategyRun, earlier: Sequence[StageResult]
) -> StageSettings:
    """The settings of the stage that follows the `earlier` ones of a run.

    If those spent more or less than their shares, it gets less or more.
    """
    total, spec = plan.recipe.budget, run.strategy.stages[len(earlier)]
    shares = (strategies.share_of(each, total) for each in run.strategy.stages[: len(earlier) + 1])
    # not `sum`, which rounds otherwise: the budget is part of a stage's key
    *_, planned = itertools.accumulate(shares, initial=0.0)
    *_, spent = itertools.accumulate((result.cost.spent(total.unit) for result in earlier), initial=0.0)
    return StageSettings(
        trainer=spec.trainer,
        config=resolve_config(spec.trainer, run.settings.get(spec.trainer, {})),
        tasks=tuple(f"{name}@{task.version}" for name, task in tasks.items()),
        seed=run.seed,
        budget=Budget(planned - spent, total.unit),
        devices=plan.recipe.devices,
        deterministic=plan.recipe.deterministic,
    )


@dataclass(frozen=True)
class StageLeft:
    """A stage that is to be trained. config: of its trainer, every field set. amount: in the unit of the budget."""

    trainer: str
    config: Mapping[str, Any]
    amount: float


def stages_left(
    plan: Experiment, runs: Sequence[StrategyRun], base: Checkpoint, teacher: Checkpoint | None, items: TrainingItems
) -> Iterator[StageLeft]:
    """Each stage that is not finished in the plan's folder; one that several runs share is given once.

    The rows of a stage that learns from traces are not known before the teacher has written them: one that is finished
    with any rows is not left.
    """
    material = replace(without_traces(items, teacher), traces=Traces((), TraceCost(), 0, 0, ()))
    finished = [path.parent for path in sorted(plan.folder.glob("stages/*/result.json"))]
    given: set[Hashable] = set()
    for run in runs:
        parent, earlier = base, list[StageResult]()
        for number, spec in enumerate(run.strategy.stages):
            settings = next_settings(plan, items.tasks, run, earlier)
            trainer = registry.load("trainer", spec.trainer)
            stage = plan_stage(settings, parent, material.of(trainer)) if finished else None
            home = _folder_of(stage, finished, "traces" in trainer.needs) if stage else None
            if home is None:
                for last in range(number, len(run.strategy.stages)):
                    key = (run.seed, run.trial, run.strategy.stages[: last + 1])
                    if key not in given:
                        given.add(key)
                        yield _left(plan, run, last, settings if last == number else None)
                break
            result = recorded_result(home)
            if result.status != "done":
                break
            earlier.append(result)
            parent = result.checkpoint


def _left(plan: Experiment, run: StrategyRun, number: int, settings: StageSettings | None) -> StageLeft:
    """The stage of this number. settings: known if the stages before it are finished."""
    spec = run.strategy.stages[number]
    if settings is not None:
        return StageLeft(spec.trainer, settings.config, settings.budget.amount)
    config = resolve_config(spec.trainer, run.settings.get(spec.trainer, {}))
    return StageLeft(spec.trainer, config, strategies.share_of(spec, plan.recipe.budget))


def _folder_of(stage: Stage, finished: Sequence[Path], any_rows: bool) -> Path | None:
    """Which of the finished stages' folders has the result of this one; any_rows: whatever rows it was trained on."""
    for home in finished:
        data = (
            json.loads((home / "stage.json").read_text(encoding="utf-8"))["stage"]["data"] if any_rows else stage.data
        )
        if home.name == replace(stage, data=data).folder_name:
            return home
    return None
