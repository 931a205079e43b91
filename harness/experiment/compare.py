"""The comparison: every strategy from one base, on the same items, at the same budget, judged on the same suite.

Everything is kept under keys of its inputs in one run folder, so the same command goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean

from harness.board import existing_runs as entries_file
from harness.board.build import build
from harness.board.entries import Board, Entry, Run
from harness.evaluation.evaluate import evaluate, summarised
from harness.experiment.checkpoint_choice import choose
from harness.experiment.facts import facts_of, notes_of
from harness.experiment.plan import Plan
from harness.experiment.run_context import World, opened
from harness.experiment.steps import Chain, Finished, dev_score, judged_on_dev, materials, train_all
from harness.experiment.training_data import ticker
from harness.protocols import Progress
from harness.records.columns import Columns
from harness.records.run_folder import full_disk_is_named, owned, writable
from harness.records.serialization import read_lines, write_text
from harness.records.test_set_log import Look
from harness.rendering import curves
from harness.training.run_stage import StageResult
from harness.types import Checkpoint


def compare(plan: Plan, progress: Progress) -> tuple[Board, list[Entry]]:
    """Train, choose, evaluate and tabulate; the board and what it ranks.

    Raises a `HarnessError` for what one can mend; nothing done is lost.
    """
    writable(plan.folder)
    with owned(plan.folder), full_disk_is_named(plan.folder), opened(plan, progress) as world:
        material = materials(world)
        references = _references(world)
        world.engine.rest()
        settings = plan.recipe.trainers
        chains = [Chain(strategy, seed, settings) for seed in plan.seeds for strategy in plan.strategies]
        finished = [judged_on_dev(world, chain) for chain in train_all(world, chains, material)]
        entries = [*references, *_evaluate_all(world, finished)]
        entries_file.write(plan.folder, entries)
        _draw(world, finished)
        facts = {name: fact for name, fact in facts_of(world).items() if fact is not None}
        return build(f"Which training works: {plan.recipe.name}", entries, facts, notes_of(world)), entries


def _references(world: World) -> list[Entry]:
    """Rows for teacher and base, the teacher first: the engine it needs differs from all others'."""
    references = [("teacher", world.teacher), ("base", world.base)]
    entries, home = [], str(world.plan.folder)
    for role, checkpoint in references:
        if checkpoint is not None:
            columns, content, files = _evaluate(world, role, checkpoint)
            entries.append(
                Entry(role, role, (Run(checkpoint.digest, columns, content=content, files=files, home=home),))
            )
    with world.progress.step("evaluate base on dev", 0.5) as tick:
        world.base_dev = dev_score(world, world.base, tick)
    return entries


def _evaluate_all(world: World, finished: Sequence[Finished]) -> list[Entry]:
    runs: dict[str, list[Run]] = {}
    for trained in finished:
        chosen, last = choose(trained.candidates), trained.stages[-1]
        columns, content, files = _evaluate(world, trained.chain.label, chosen.checkpoint)
        run = Run(
            chosen.checkpoint.digest,
            columns,
            trained.seed,
            trained.candidates[-1].cost,
            last.status,
            last.why,
            content,
            dev={candidate.name: candidate.dev for candidate in trained.candidates},
            spent={candidate.name: candidate.cost.flops for candidate in trained.candidates},
            chosen=chosen.name,
            reward=_last_reward(last),
            files=files,
            home=str(world.plan.folder),
        )
        runs.setdefault(trained.strategy.name, []).append(run)
    return [Entry(name, "strategy", tuple(of_name), _tried(world, name)) for name, of_name in runs.items()]


def _tried(world: World, name: str) -> int | None:
    """Settings that were tried on dev for the trainers of a strategy; None where no trials are recorded."""
    if (tuning := world.plan.recipe.tuning) is None:
        return None
    strategy = next(strategy for strategy in world.plan.strategies if strategy.name == name)
    return sum(len(tuning.choices(spec.trainer)) for spec in strategy.stages)


def _last_reward(stage: StageResult) -> float | None:
    """Mean reward over the last tenth of a stage's steps; None where it was trained on none."""
    lines = [json.loads(line) for line in read_lines(stage.folder / "progress.jsonl")]
    rewards = [line["reward"] for line in lines if line.get("reward") is not None and line["fraction"] > 0.9]
    return fmean(rewards) if rewards else None


def _evaluate(world: World, label: str, checkpoint: Checkpoint) -> tuple[Columns, str, tuple[str, ...]]:
    """The columns of the suite, the digest of their contents, and their files, seen from the run folder."""
    found = []
    with world.progress.step(f"evaluate {label}", 1.0) as tick:
        for number, part in enumerate(world.suite):
            share = ticker(tick, number, len(world.suite), part.task.name)
            found.append(evaluate(part, world.engine, checkpoint, world.graders, world.plan.folder / "evals", share))
    looks = [Look(part.items_hash, checkpoint.digest, part.task.name, label) for part in world.suite]
    world.ledger.add(looks)
    files = tuple(str(evaluation.records_path.relative_to(world.plan.folder)) for evaluation in found)
    return *summarised(found), files


def _draw(world: World, finished: Sequence[Finished]) -> None:
    """`curves/` in the run folder: dev score against every cost, and what each strategy's stages logged."""
    folder = world.plan.folder / "curves"
    folder.mkdir(exist_ok=True)
    name = world.plan.recipe.name
    points = [point for trained in finished for point in trained.points]
    write_text(folder / "dev.svg", curves.learning_curves(points, f"{name}: dev score along training", world.base_dev))
    for strategy in dict.fromkeys(trained.strategy.name for trained in finished):
        series = {}
        for trained in finished:
            for number, stage in enumerate(trained.stages, 1):
                if trained.strategy.name == strategy:
                    label = f"seed {trained.seed}" + (f" stage {number}" if len(trained.stages) > 1 else "")
                    series[label] = [json.loads(line) for line in read_lines(stage.folder / "progress.jsonl")]
        if any(series.values()):
            picture = curves.training_series(series, f"{name}: training {strategy}")
            write_text(folder / f"{file_name(strategy)}.svg", picture)


def file_name(strategy: str) -> str:
    """A strategy's name as a file is called: "kd:0.3+rl" is "kd-0.3-then-rl"."""
    return strategy.replace("+", "-then-").replace("&", "-and-").replace(":", "-")
