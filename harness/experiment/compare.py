"""The comparison: every strategy from one base, on the same items, at the same budget, evaluated on the same suite.

Everything is kept under keys of its inputs in one run folder, so the same command continues an interrupted run.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from harness.atomic import write_text
from harness.board import existing_runs as entries_file
from harness.board.build import build_board
from harness.board.entries import Board, DevSelection, Entry, RecordFiles, Run
from harness.evaluation.evaluate import evaluate, summarised
from harness.evaluation.job import known_defects
from harness.experiment.checkpoint_choice import choose
from harness.experiment.facts import facts_of, notes_of
from harness.experiment.plan import Experiment
from harness.experiment.run_context import RunContext, open_experiment
from harness.experiment.stages import strategy_runs
from harness.experiment.steps import TrainedRun, dev_score, judged_on_dev, materials, train_all
from harness.experiment.training_data import ticker
from harness.protocols import Progress
from harness.records.columns import Columns
from harness.records.run_folder import ensure_writable, exclusive_use, full_disk_is_named
from harness.records.serialization import read_objects
from harness.records.test_set_log import LoggedEvaluation
from harness.rendering import curves
from harness.training.run_stage import StageResult
from harness.types import Checkpoint


def compare_strategies(plan: Experiment, progress: Progress) -> tuple[Board, list[Entry]]:
    """Train, choose checkpoints, evaluate; returns the board and its entries.

    Raises a `HarnessError` for failures that the user can fix; finished work is kept.
    """
    ensure_writable(plan.folder)
    runs = strategy_runs(plan)
    with exclusive_use(plan.folder), full_disk_is_named(plan.folder), open_experiment(plan, runs, progress) as context:
        material = materials(context)
        references = _references(context)
        with context.progress.step("evaluate base on dev", 0.5) as tick:
            base_dev = dev_score(context, context.base, tick).value
        context.engine.sleep()
        finished = [judged_on_dev(context, trained, base_dev) for trained in train_all(context, runs, material)]
        entries = [*references, *_evaluate_all(context, finished)]
        entries_file.write_entries(plan.folder, entries)
        _draw(context, finished, base_dev)
        facts = facts_of(context, material.traces)
        title, defects = f"Which training works: {plan.recipe.name}", known_defects(context.suite)
        return build_board(title, entries, facts, notes_of(context, entries), defects), entries


def _references(context: RunContext) -> list[Entry]:
    """Rows for teacher and base; the teacher first, since it needs another engine than all others."""
    references = [("teacher", context.teacher), ("base", context.base)]
    entries = []
    for role, checkpoint in references:
        if checkpoint is not None:
            columns, records = _evaluate(context, role, checkpoint)
            entries.append(Entry(role, role, (Run(checkpoint.digest, columns, records=records),)))
    return entries


def _evaluate_all(context: RunContext, finished: Sequence[TrainedRun]) -> list[Entry]:
    runs: dict[str, list[Run]] = {}
    for trained in finished:
        chosen, last = choose(trained.candidates), trained.stages[-1]
        columns, records = _evaluate(context, trained.strategy_run.label, chosen.checkpoint)
        selection = DevSelection(
            chosen=chosen.name,
            dev={candidate.name: candidate.dev for candidate in trained.candidates},
            spent={candidate.name: candidate.cost.flops for candidate in trained.candidates},
            reward=_last_reward(last),
        )
        run = Run(
            chosen.checkpoint.digest,
            columns,
            seed=trained.seed,
            cost=trained.candidates[-1].cost,
            status=last.status,
            why=last.why,
            selection=selection,
            records=records,
        )
        runs.setdefault(trained.strategy.name, []).append(run)
    return [Entry(name, "strategy", tuple(of_name), _tried(context, name)) for name, of_name in runs.items()]


def _tried(context: RunContext, name: str) -> tuple[int, ...] | None:
    """For each stage of a strategy, the settings tried on dev for its trainer; None if no trials are recorded."""
    if (tuning := context.plan.recipe.tuning) is None:
        return None
    strategy = next(strategy for strategy in context.plan.strategies if strategy.name == name)
    return tuple(len(tuning.choices(spec.trainer)) for spec in strategy.stages)


def _last_reward(stage: StageResult) -> float | None:
    """Mean reward over the last tenth of a stage's steps; None if the stage has no reward."""
    lines = read_objects(stage.folder / "progress.jsonl")
    rewards = [line["reward"] for line in lines if line.get("reward") is not None and line["fraction"] > 0.9]
    return fmean(rewards) if rewards else None


def _evaluate(context: RunContext, label: str, checkpoint: Checkpoint) -> tuple[Columns, RecordFiles]:
    """The columns of the suite, and where the records are."""
    found = []
    with context.progress.step(f"evaluate {label}", 1.0) as tick:
        for number, part in enumerate(context.suite):
            share = ticker(tick, number, len(context.suite), part.task.name)
            found.append(
                evaluate(part, context.engine, checkpoint, context.graders, context.plan.folder / "evals", share)
            )
    evaluations = [
        LoggedEvaluation(part.items_hash, checkpoint.digest, part.task.name, label) for part in context.suite
    ]
    context.test_set_log.add(evaluations)
    files = tuple(str(evaluation.records_path.relative_to(context.plan.folder)) for evaluation in found)
    columns, content = summarised(found)
    return columns, RecordFiles(files, content, str(context.plan.folder))


def _draw(context: RunContext, finished: Sequence[TrainedRun], base_dev: float) -> None:
    """Draw `curves/` in the run folder: dev score by every cost, and the metrics that each strategy's stages logged."""
    folder = context.plan.folder / "curves"
    folder.mkdir(exist_ok=True)
    name = context.plan.recipe.name
    points = [point for trained in finished for point in trained.points]
    write_text(folder / "dev.svg", curves.learning_curves(points, f"{name}: dev score along training", base_dev))
    for strategy in dict.fromkeys(trained.strategy.name for trained in finished):
        series = {}
        for trained in finished:
            for number, stage in enumerate(trained.stages, 1):
                if trained.strategy.name == strategy:
                    label = f"seed {trained.seed}" + (f" stage {number}" if len(trained.stages) > 1 else "")
                    series[label] = read_objects(stage.folder / "progress.jsonl")
        if any(series.values()):
            picture = curves.training_series(series, f"{name}: training {strategy}")
            write_text(folder / f"{file_name(strategy)}.svg", picture)


def file_name(strategy: str) -> str:
    """A strategy's name as a file name: "kd:0.3+rl" becomes "kd-0.3-then-rl"."""
    return strategy.replace("+", "-then-").replace("&", "-and-").replace(":", "-")
