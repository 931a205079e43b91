"""What a board says of how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.board.entries import EVALUATED
from harness.evaluation.grading_pool import NO_SANDBOX
from harness.evaluation.job import EvalJob, grader_version
from harness.experiment.run_context import RunContext
from harness.experiment.training_data import Traces, TrainingItems
from harness.training.decontaminate import GRAM
from harness.training.run_stage import resolve_config
from harness.types import Budget, sha256_of


def facts_of(context: RunContext, traces: Traces | None) -> dict[str, object]:
    plan, recipe, items = context.plan, context.plan.recipe, context.items
    kinds = ", ".join(f"{n} {kind}" for kind in ("exact", "normalised", f"{GRAM}-gram") if (n := _kinds(items, kind)))
    sampling = recipe.sampling
    configs = {name: resolve_config(name, recipe.trainers.get(name, {})) for name, _ in plan.trainers()}
    return {
        "base": f"{Path(recipe.base).name if Path(recipe.base).is_dir() else recipe.base} {context.base.digest[:16]}",
        "teacher": f"{Path(recipe.teacher).name} {context.teacher.digest[:16]}" if context.teacher else "none",
        "budget": {"amount": recipe.budget.amount, "unit": recipe.budget.unit},
        "train items": f"{len(items.rows)} from {plan.train_source}, the same for every strategy",
        "train items dropped for holding a held-out question": f"{len(items.dropped)} of {items.n_offered}"
        + (f" ({kinds}; dropped.jsonl lists them)" if kinds else ""),
        "teacher's traces": str(traces) if traces else None,
        "dev items": {part.task.name: _dev_source(part) for part in items.dev},
        "checkpoint of a run": "the best on dev of four over its last stage, the latest of equals",
        EVALUATED: context.test_set_log.counted((part.task.name, part.items_hash) for part in context.suite),
        "settings": tuned(context, configs),
        "training settings": {name: dict(recipe.trainers.get(name, {})) or "defaults" for name, _ in plan.trainers()},
        "trials on dev, strict %": recipe.tuning.listed(configs) if recipe.tuning else None,
        "suite": {j.task.name: f"{len(j.samples)} test items, set {j.items_hash[:12]}" for j in context.suite},
        "decoding": {
            j.task.name: f"temperature {j.params.temperature:g}, at most {j.params.max_tokens} tokens"
            + (f", {sampling.repeats} replies an item" if sampling.repeats > 1 else "")
            for j in context.suite
        },
        "engine": context.engine.describe().as_json(),
        "graders": [grader_version(part.task) for part in context.suite],
        "sandbox": context.graders.runner.tier if context.graders.runner else NO_SANDBOX,
        "devices that train a stage": recipe.devices,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "srlm-harness")},
    }


def material_of(context: RunContext) -> str:
    """Hash of what strategies learn from: train items, the teacher, and how it is asked."""
    rows = [row.sample.hash for row in context.items.rows]
    return sha256_of([rows, context.teacher.digest if context.teacher else "", asdict(context.plan.recipe.teaching)])


def searched(context: RunContext) -> tuple[str, str, Budget, dict[str, int]]:
    """What trials of settings must have in common to stand beside each other: the first fields of a `Tuning`."""
    dev_items = {part.task.name: len(part.samples) for part in context.items.dev}
    return context.base.digest, material_of(context), context.plan.recipe.budget, dev_items


def tuned(context: RunContext, configs: Mapping[str, Mapping[str, Any]]) -> str | None:
    """How the settings of the trainers were chosen, in words; None where no trials are recorded."""
    recipe = context.plan.recipe
    if (tuning := recipe.tuning) is None:
        return None
    tried = {name: tuning.choices(name) for name in tuning.trainers() if name in configs}
    if not tried:
        return "as the recipe says, without trials"
    best = [name for name in tried if tuning.best(name).config == configs[name]]
    text = []
    if best:
        counts = sorted({len(tried[name]) for name in best})
        text.append(f"{', '.join(best)} the best on dev of {' or '.join(map(str, counts))} trials each")
    if others := [name for name in tried if name not in best]:
        text.append(f"{', '.join(others)} not the best that was tried")
    if untried := [name for name in configs if name not in tried]:
        text.append(f"{', '.join(untried)} without trials")
    if any(len(strategy.stages) > 1 for strategy in context.plan.strategies):
        text.append("sequences take over those of their parts")
    if differ := tuning.other_than(*searched(context)):
        text.append(f"the trials were made with {' and '.join(differ)}")
    return "; ".join(text)


def _kinds(items: TrainingItems, kind: str) -> int:
    return sum(overlap.kind == kind for overlap in items.dropped)


def _dev_source(part: EvalJob) -> str:
    return f"{len(part.samples)}" + (" taken from the end of the train split" if part.split == "train" else "")


def notes_of(context: RunContext) -> list[str]:
    notes = []
    described = context.engine.describe()
    if context.plan.engine == "auto" and described.engine != "vllm":
        notes.append(f"vLLM could not be used on this machine; replies come from {described.engine}.")
    if context.plan.limit is not None:
        notes.append(
            f"Only the first {context.plan.limit} items of each task were used (--limit): not a result to quote."
        )
    return notes
