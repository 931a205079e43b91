"""What a board records of how its comparison was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.board.entries import Entry
from harness.board.facts import (
    BoardFacts,
    DevFacts,
    EngineFacts,
    ModelFacts,
    Note,
    TrainingFacts,
    TrainItemFacts,
    TuningFacts,
)
from harness.evaluation.grading_pool import NO_SANDBOX
from harness.evaluation.task_facts import task_facts
from harness.experiment.run_context import RunContext
from harness.experiment.training_data import Traces, TrainingItems
from harness.records.columns import Columns
from harness.training.decontaminate import GRAM
from harness.training.run_stage import resolve_config
from harness.types import Budget, sha256_of

CHECKPOINTS = 4  # of a stage: the trainers keep one after each quarter of its budget


def facts_of(context: RunContext, traces: Traces | None) -> BoardFacts:
    """How the rows of this comparison were made."""
    engine = context.engine.describe()
    return BoardFacts(
        tasks={part.task.name: task_facts(part, context.test_set_log, engine) for part in context.suite},
        engine=EngineFacts.of(engine),
        sandbox=(context.graders.runner.tier if context.graders.runner else NO_SANDBOX,),
        versions={name: version(name) for name in ("torch", "transformers", "trl", "srlm-harness")},
        training=_training_facts(context, traces),
    )


def _training_facts(context: RunContext, traces: Traces | None) -> TrainingFacts:
    recipe, teacher = context.plan.recipe, context.teacher
    trainers = [name for name, _ in context.plan.trainers()]
    configs = {name: resolve_config(name, recipe.trainers.get(name, {})) for name in trainers}
    return TrainingFacts(
        base=ModelFacts(Path(recipe.base).name if Path(recipe.base).is_dir() else recipe.base, context.base.digest),
        teacher=ModelFacts(Path(recipe.teacher).name, teacher.digest) if teacher else None,
        budget=recipe.budget,
        items=_train_items(context.items, context.plan.train_source if context.plan.train_rows is not None else None),
        dev_items={part.task.name: DevFacts(len(part.samples), part.split) for part in context.items.dev},
        n_checkpoints=CHECKPOINTS,
        settings={name: dict(recipe.trainers.get(name, {})) for name in trainers},
        devices=recipe.devices,
        deterministic=recipe.deterministic,
        traces=traces.facts if traces else None,
        tuning=tuned(context, configs),
    )


def _train_items(items: TrainingItems, source: str | None) -> TrainItemFacts:
    counts: Counter[str] = Counter(overlap.kind for overlap in items.dropped)
    dropped = {kind: counts[kind] for kind in ("exact", "normalised", f"{GRAM}-gram") if counts[kind]}
    return TrainItemFacts(len(items.rows), items.n_offered, source, dropped)


def material_of(context: RunContext) -> str:
    """Hash of what strategies learn from: train items, the teacher, and how it is asked."""
    rows = [row.sample.hash for row in context.items.rows]
    return sha256_of([rows, context.teacher.digest if context.teacher else "", asdict(context.plan.recipe.teaching)])


def searched(context: RunContext) -> tuple[str, str, Budget, dict[str, int]]:
    """What trials of settings must have in common to be compared: the first fields of a `Tuning`."""
    dev_items = {part.task.name: len(part.samples) for part in context.items.dev}
    return context.base.digest, material_of(context), context.plan.recipe.budget, dev_items


def tuned(context: RunContext, configs: Mapping[str, Mapping[str, Any]]) -> TuningFacts | None:
    """How the settings of the trainers were chosen; None if no trials are recorded. configs: of those in the plan."""
    if (tuning := context.plan.recipe.tuning) is None:
        return None
    tried = {name: tuning.choices(name) for name in tuning.trainers() if name in configs}
    best = tuple(name for name in tried if tuning.best(name).config == configs[name])
    differs = tuple(tuning.other_than(*searched(context)))
    return TuningFacts(
        best=best,
        not_best=tuple(name for name in tried if name not in best),
        untried=tuple(name for name in configs if name not in tried),
        n_trials=tuple(sorted({len(tried[name]) for name in best})),
        of_parts=any(len(strategy.stages) > 1 for strategy in context.plan.strategies),
        differs=differs,
        budget=tuning.budget if "budget" in differs else None,
        trials=tuning.listed(configs),
    )


def notes_of(context: RunContext, entries: Sequence[Entry]) -> list[Note]:
    """What a reader of the board of these entries has to know first."""
    notes, engine = [], context.engine.describe().engine
    if context.plan.engine == "auto" and engine != "vllm":
        notes.append(Note("engine fallback", engine=engine))
    if context.plan.limit is not None:
        notes.append(Note("limited", limit=context.plan.limit))
    columns = {entry.name: entry.runs[0].columns for entry in entries}
    if "noop" in columns and (n := n_differing(columns["base"], columns["noop"])):
        notes.append(Note("replies do not repeat", differing=n, of=len(columns["base"])))
    return notes


def n_differing(one: Columns, other: Columns) -> int:
    """How many replies to the same prompts differ in length or in a verdict; others may differ in their words alone."""
    differ = one.n_tokens != other.n_tokens
    for name, verdicts in one.verdicts.items():
        differ |= ~np.isclose(verdicts, other.verdicts[name], rtol=0, atol=0, equal_nan=True)
    return int(differ.sum())
