"""Shared by all steps of a comparison: resources that are opened before the first step and closed after the last."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from harness.checkpoints import all_params, template_warning
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import EvalJob
from harness.experiment.memory_forecast import memory_lines
from harness.experiment.plan import Experiment, check_plan, open_models
from harness.experiment.stages import StrategyRun
from harness.experiment.training_data import TrainingItems, write_dropped
from harness.protocols import CodeRunner, Engine, Progress
from harness.records.run_folder import enough_space
from harness.records.test_set_log import EvaluationLog
from harness.types import Checkpoint


@dataclass(frozen=True)
class RunContext:
    """The resources and data shared by all steps of one comparison."""

    plan: Experiment
    base: Checkpoint
    teacher: Checkpoint | None
    items: TrainingItems
    suite: tuple[EvalJob, ...]
    engine: Engine
    graders: Graders
    progress: Progress
    test_set_log: EvaluationLog
    stopping: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def open_experiment(plan: Experiment, runs: Sequence[StrategyRun], progress: Progress) -> Iterator[RunContext]:
    """The context of a comparison, opened and checked before the first step and closed after the last."""
    from harness.engines.opening import open_engine
    from harness.sandbox import Sandbox

    check_plan(plan)
    base, teacher = open_models(plan)
    for warning in filter(None, (template_warning(of.path) for of in (base, teacher) if of)):
        progress.say(f"warning: {warning}")
    enough_space(plan.folder, space_needed(plan, base))
    opened = plan.open_tasks()
    suite, items = opened.suite, opened.items
    list(memory_lines(plan, runs, base, teacher, items))  # refuses what would end in the middle of training
    write_dropped(plan.folder / "dropped.jsonl", items.dropped)
    if items.dropped:
        progress.say(f"train items: {len(items.dropped)} of {items.n_offered:,} hold a held-out question: left out")
    runner: CodeRunner | None = None
    with contextlib.ExitStack() as closing:
        if any(task.needs_sandbox for task in (*items.tasks.values(), *(part.task for part in suite))):
            runner = Sandbox(allow_weak=plan.allow_weak_sandbox)
            closing.callback(runner.close)
            progress.say(f"sandbox: {runner.tier}")
        engine = open_engine(plan.engine, progress.say, plan.engine_settings())
        closing.callback(engine.close)
        graders = closing.enter_context(Graders(runner))
        yield RunContext(plan, base, teacher, items, suite, engine, graders, progress, EvaluationLog(plan.folder))


def space_needed(plan: Experiment, base: Checkpoint) -> int:
    """Bytes of disk that the plan still needs at most; stages that are finished in its folder need no more.

    A stage leaves its weights in float32 and three snapshots, until all stages are trained and their checkpoints are
    scored on dev. One that runs also has two checkpoints to resume from, of weights and both moments of AdamW, while it
    writes a third.
    """
    weights = 4 * all_params(base.path)
    finished = len(list(plan.folder.glob("stages/*/result.json")))
    stages = max(0, sum(len(s.stages) for s in plan.strategies) * len(plan.seeds) - finished)
    return (stages * (1 + 3) + min(stages, plan.parallel_stages) * 3 * 3) * weights + 200_000_000
