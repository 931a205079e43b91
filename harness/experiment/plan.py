"""The plan of a comparison, from the user's options, and the checks that need nothing to be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from harness import registry
from harness.checkpoints import vocabulary_difference
from harness.engines.machine import gpu_shares, gpus
from harness.engines.model_folder import open_model
from harness.engines.opening import check_engine
from harness.errors import BadConfig, UnknownName
from harness.evaluation import task_lookup
from harness.evaluation.job import EvalJob, job
from harness.experiment.recipes import Recipe
from harness.experiment.training_data import TrainingItems, gather
from harness.protocols import Trainer
from harness.training.run_stage import resolve_config
from harness.types import Checkpoint, Strategy, TrainRow


@dataclass(frozen=True)
class Experiment:
    """The plan of a comparison. train_rows None: the tasks' own train split."""

    recipe: Recipe
    strategies: tuple[Strategy, ...]
    seeds: tuple[int, ...]
    folder: Path
    engine: str = "auto"
    engine_options: tuple[tuple[str, str], ...] = ()
    limit: int | None = None  # evaluate only the first `limit` items of each task
    train_rows: tuple[TrainRow, ...] | None = None
    train_source: str = "the tasks' train split"
    parallel_stages: int = 1  # stages trained at the same time
    allow_weak_sandbox: bool = False
    report_to: tuple[str, ...] = ()  # where training is logged too, by transformers' names
    keep_checkpoints: bool = False  # whether checkpoints that were not chosen stay on disk

    @cached_property
    def trained_on(self) -> tuple[str, ...]:
        """The tasks whose train split is used for training."""
        return self.recipe.train or tuple(task_lookup.expand(self.recipe.tasks, "test"))

    def trainers(self) -> Iterator[tuple[str, Trainer]]:
        """Every trainer of every strategy, by name."""
        for name in dict.fromkeys(stage.trainer for s in self.strategies for stage in s.stages):
            yield name, registry.load("trainer", name)

    def needs(self, what: str) -> bool:
        """Whether any trainer needs this."""
        return any(what in trainer.needs for _, trainer in self.trainers())

    def stage_gpus(self) -> list[tuple[str, ...]]:
        """For each of the stages trained at the same time its own GPUs. Raises `BadConfig` if there are not enough."""
        n_jobs, each = self.parallel_stages, self.recipe.devices
        return gpu_shares(gpus(), n_jobs, each, f"--jobs {n_jobs} with --devices {each}")

    def engine_settings(self) -> dict[str, str]:
        """The options of the engine: the user's, and the one by which replies repeat if the recipe asks for that."""
        repeats = self.recipe.deterministic and self.engine in ("auto", "vllm") and gpus()
        return {**({"batch_invariant": "true"} if repeats else {}), **dict(self.engine_options)}

    def open_tasks(self) -> OpenedTasks:
        """Open every task once, from disk or the hub. Raises `DataError` if no item is left to train on."""
        tested = task_lookup.expand(self.recipe.tasks, "test")
        tasks = {name: task_lookup.open_task(name) for name in dict.fromkeys((*self.trained_on, *tested))}
        limits = {name: min((n for n in (most, self.limit) if n), default=None) for name, most in tested.items()}
        suite = tuple(job(tasks[name], "test", n, self.recipe.sampling) for name, n in limits.items())
        trained_on = {name: tasks[name] for name in self.trained_on}
        items = gather(trained_on, suite, self.train_rows, self.recipe.dev_items, self.limit, self.train_source)
        return OpenedTasks(suite, replace(items, dev=tuple(map(self._no_longer_than_test, items.dev))))

    def _no_longer_than_test(self, dev: EvalJob) -> EvalJob:
        """The dev items, greedy as ever, with replies that are cut off at the recipe's limit if it is the lower one."""
        most = min(self.recipe.sampling.max_tokens or dev.params.max_tokens, dev.params.max_tokens)
        return replace(dev, params=replace(dev.params, max_tokens=most))


@dataclass(frozen=True)
class OpenedTasks:
    """The items of an experiment. suite: the test items, with the sampling of the recipe."""

    suite: tuple[EvalJob, ...]
    items: TrainingItems


def total_weight(plan: Experiment, evaluated: bool = True) -> float:
    """The sum of the weights of all steps of a plan, for a progress bar; not evaluated: dev items are all it asks."""
    chains = len(plan.strategies) * len(plan.seeds)
    test = 1.5 + bool(plan.recipe.teacher) + chains if evaluated else 0.0
    return 3.0 * plan.needs("traces") + 11.0 * chains + test


# transformers' names of training logs -> the package each needs
WATCHERS = {
    **{name: name for name in ("tensorboard", "wandb", "mlflow", "trackio", "clearml", "codecarbon", "dagshub")},
    **{name: name for name in ("comet_ml", "dvclive", "neptune", "swanlab", "kubeflow")},
    "azure_ml": "azureml",
}


def check_plan(plan: Experiment) -> None:
    """Raise `BadConfig` or `UnknownName` for errors that can be found before anything is loaded."""
    for name in plan.report_to:
        if name not in WATCHERS:
            raise UnknownName("tracker", name, [*WATCHERS, "none"])
        if find_spec(WATCHERS[name]) is None:
            raise BadConfig(f"--report-to {name} needs a package that is not installed: pip install {WATCHERS[name]}")
    check_engine(plan.engine, plan.engine_settings())
    plan.stage_gpus()
    unit = plan.recipe.budget.unit
    for name, trainer in plan.trainers():
        resolve_config(name, plan.recipe.trainers.get(name, {}))
        if unit == "generated" and not trainer.samples:
            raise BadConfig(
                f"trainer {name!r} samples nothing, so a budget of generated tokens would never end it; "
                "use --budget-unit flops, tokens or device_s"
            )
        if trainer.needs & {"traces", "teacher"} and not plan.recipe.teacher:
            raise BadConfig(
                f"trainer {name!r} distils from a teacher, and no teacher is given; add teacher = ... to the recipe, "
                "or --teacher"
            )
        _check_rows(plan, name, trainer)


def _check_rows(plan: Experiment, name: str, trainer: Trainer) -> None:
    """Raise `BadConfig` if the user's own rows lack what a trainer learns from."""
    rows = plan.train_rows or ()
    if rows and "completions" in trainer.needs and not any(row.completion for row in rows):
        raise BadConfig(
            f"trainer {name!r} learns from completions, and none of the {len(rows):,} rows of {plan.train_source} has "
            "one"
        )
    unanswered = sum(not row.sample.target for row in rows)
    if unanswered and "completions" not in trainer.needs:
        raise BadConfig(
            f"trainer {name!r} has replies graded, and {unanswered:,} of {len(rows):,} rows of {plan.train_source} "
            'have no "target" to grade them by; add it to each row'
        )


def open_models(plan: Experiment) -> tuple[Checkpoint, Checkpoint | None]:
    """The base and the teacher, if there is one.

    Raises `BadCheckpoint`, and `BadConfig` if a trainer compares the tokens of a teacher that has others than the base.
    """
    base = open_model(plan.recipe.base)
    teacher = open_model(plan.recipe.teacher) if plan.recipe.teacher else None
    for name, trainer in plan.trainers():
        shares = "vocabulary" in trainer.needs
        if shares and teacher is not None and (why := vocabulary_difference(base.path, teacher.path)):
            raise BadConfig(f"trainer {name!r} compares tokens, and {why}; distil the teacher's text: kd")
    return base, teacher
