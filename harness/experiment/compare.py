"""The comparison: every strategy from one base, on the same items, at the same budget, judged on the same suite.

Everything is kept under keys of its inputs in one run folder, so the same command goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

from harness import registry
from harness.board import existing_runs as entries_file
from harness.board.build import build
from harness.board.entries import LOOKS, Board, Entry, Run
from harness.checkpoints import open_checkpoint, resolve_model
from harness.errors import BadConfig, UnknownName
from harness.evaluation import task_lookup
from harness.evaluation.evaluate import Job, evaluate, grader_version, job, summarised
from harness.evaluation.grading_pool import NO_SANDBOX, Graders
from harness.experiment.checkpoint_choice import Candidate, candidates, choose
from harness.experiment.recipes import Recipe
from harness.experiment.training_data import Items, Traces, gather, teach, teacher_params, ticker, write_dropped
from harness.protocols import CodeRunner, Engine, Progress, Task, Trainer
from harness.records.columns import Columns
from harness.records.run_folder import enough_space, full_disk_is_named, owned, writable
from harness.records.serialization import read_lines, write_text
from harness.records.test_set_log import Ledger, Look
from harness.rendering import curves
from harness.training import strategies
from harness.training.decontaminate import GRAM
from harness.training.run_stage import Material, Place, StageResult, plan_stage, resolve_config, run_stage
from harness.types import Budget, Checkpoint, Cost, Strategy, TrainRow, sha256_of


@dataclass(frozen=True)
class Plan:
    """A comparison as asked for. train_rows None: the tasks' own train split."""

    recipe: Recipe
    strategies: tuple[Strategy, ...]
    seeds: tuple[int, ...]
    folder: Path
    engine: str = "auto"
    limit: int | None = None  # evaluate the first so many items of each task only
    train_rows: tuple[TrainRow, ...] | None = None
    train_source: str = "the tasks' train split"
    jobs: int = 1  # stages trained at the same time
    allow_weak_sandbox: bool = False
    report_to: tuple[str, ...] = ()  # where else training is shown, by transformers' names
    keep_checkpoints: bool = False  # whether checkpoints that were not chosen stay on disk

    @cached_property
    def trained_on(self) -> tuple[str, ...]:
        """The tasks whose train split is learnt from."""
        return self.recipe.train or tuple(task_lookup.expand(self.recipe.tasks, "test"))

    def trainers(self) -> Iterator[tuple[str, Trainer]]:
        """Every trainer of every strategy, by name."""
        for name in dict.fromkeys(stage.trainer for s in self.strategies for stage in s.stages):
            yield name, registry.load("trainer", name)

    def needs(self, what: str) -> bool:
        """Whether any trainer asks for this."""
        return any(what in trainer.needs for _, trainer in self.trainers())

    def suite(self) -> list[Job]:
        """What is judged at the end: test items as the recipe draws the replies."""
        parts = task_lookup.expand(self.recipe.tasks, "test")
        limits = ((name, min((n for n in (most, self.limit) if n), default=None)) for name, most in parts.items())
        return [job(task_lookup.open_task(name), "test", n, self.recipe.sampling) for name, n in limits]

    def items(self) -> Items:
        """What is learnt from; read from disk or the hub each time."""
        tasks = {name: task_lookup.open_task(name) for name in self.trained_on}
        return gather(tasks, self.suite(), self.train_rows, self.recipe.dev_items, self.limit, self.train_source)


@dataclass
class World:
    """What all steps of one comparison share. base_dev: the base's score on the dev items."""

    plan: Plan
    base: Checkpoint
    teacher: Checkpoint | None
    tasks: dict[str, Task]  # trained on
    items: Items
    suite: list[Job]
    engine: Engine
    graders: Graders
    progress: Progress
    ledger: Ledger
    traces: Traces | None = None
    base_dev: float | None = None
    stopping: threading.Event = field(default_factory=threading.Event)


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
        facts = {name: fact for name, fact in _facts(world).items() if fact is not None}
        return build(f"Which training works: {plan.recipe.name}", entries, facts, _notes(world)), entries


def weight(plan: Plan, evaluated: bool = True) -> float:
    """The sum of the weights of all steps of a plan, for a progress bar; not evaluated: dev items are all it asks."""
    chains = len(plan.strategies) * len(plan.seeds)
    test = 1.5 + bool(plan.recipe.teacher) + chains if evaluated else 0.0
    return 3.0 * plan.needs("traces") + 11.0 * chains + test


# transformers' names of the places that show training -> the package each needs
WATCHERS = {
    **{name: name for name in ("tensorboard", "wandb", "mlflow", "trackio", "clearml", "codecarbon", "dagshub")},
    **{name: name for name in ("comet_ml", "dvclive", "neptune", "swanlab", "kubeflow")},
    "azure_ml": "azureml",
}


def check(plan: Plan) -> None:
    """Raise `BadConfig` or `UnknownName` for what can be known to be wrong before anything is loaded."""
    for name in plan.report_to:
        if name not in WATCHERS:
            raise UnknownName("tracker", name, [*WATCHERS, "none"])
        if find_spec(WATCHERS[name]) is None:
            raise BadConfig(f"--report-to {name} needs a package that is not here: pip install {WATCHERS[name]}")
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
                f"trainer {name!r} distils from a teacher, and none is named; add teacher = ... to the recipe, "
                "or --teacher"
            )


@contextlib.contextmanager
def opened(plan: Plan, progress: Progress) -> Iterator[World]:
    """Everything a comparison stands on, checked before the first step and closed after the last."""
    from harness.engines.opening import open_engine
    from harness.sandbox import Sandbox

    check(plan)
    base = open_checkpoint(resolve_model(plan.recipe.base))
    teacher = open_checkpoint(resolve_model(plan.recipe.teacher)) if plan.recipe.teacher else None
    stages = sum(len(s.stages) for s in plan.strategies) * len(plan.seeds)
    enough_space(plan.folder, _space_needed(base, stages))
    tasks = {name: task_lookup.open_task(name) for name in plan.trained_on}
    suite, items = plan.suite(), plan.items()
    write_dropped(plan.folder / "dropped.jsonl", items.dropped)
    if items.dropped:
        progress.say(f"train items: {len(items.dropped)} of {items.n_offered:,} hold a held-out question: left out")
    runner: CodeRunner | None = None
    with contextlib.ExitStack() as closing:
        if any(task.needs_sandbox for task in (*tasks.values(), *(part.task for part in suite))):
            runner = Sandbox(allow_weak=plan.allow_weak_sandbox)
            closing.callback(runner.close)
            progress.say(f"sandbox: {runner.tier}")
        engine = open_engine(plan.engine, progress.say)
        closing.callback(engine.close)
        graders = closing.enter_context(Graders(runner))
        yield World(plan, base, teacher, tasks, items, suite, engine, graders, progress, Ledger(plan.folder))


def _space_needed(base: Checkpoint, stages: int) -> int:
    """Bytes: each stage keeps its weights once; the one that runs also resumable checkpoints and points on the way."""
    weights = sum(f.stat().st_size for f in base.path.glob("*.safetensors"))
    return stages * weights + (2 * 3 + 3) * weights + 200_000_000


# ------------------------------------------------------------------------------------------------ steps


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
        world.base_dev = _dev_score(world, world.base, tick)
    return entries


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
            judge = lambda checkpoint: _dev_score(world, checkpoint, tick)  # noqa: E731
            found = candidates(stage, before, key, judge, world.plan.keep_checkpoints)
            points += [_point(trained, candidate.cost, candidate.dev) for candidate in found]
            before = before.plus(stage.cost)
    return replace(trained, candidates=tuple(found), points=tuple(points))


def _point(trained: Finished, cost: Cost, dev: float | None) -> curves.Point:
    costs = {unit: cost.spent(unit) for unit in ("flops", "tokens", "generated", "device_s")}
    return curves.Point(trained.strategy.name, trained.seed, dev or 0.0, costs)


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


def _dev_score(world: World, checkpoint: Checkpoint, tick: Callable[[float, str], None]) -> float:
    """Share of the dev items answered right by the strict reading; one that could not be judged counts as wrong."""
    values: list[float] = []
    for number, part in enumerate(world.items.dev):
        share = ticker(tick, number, len(world.items.dev), part.task.name)
        found = evaluate(part, world.engine, checkpoint, world.graders, world.plan.folder / "dev", share)
        values += [record.scores["strict"].value or 0.0 for record in found.records()]
    return fmean(values)


# ------------------------------------------------------------------------------------------------ what is shown


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


def _facts(world: World) -> dict[str, object]:
    plan, recipe, items = world.plan, world.plan.recipe, world.items
    kinds = ", ".join(f"{n} {kind}" for kind in ("exact", "normalised", f"{GRAM}-gram") if (n := _kinds(items, kind)))
    sampling = recipe.sampling
    configs = {name: resolve_config(name, recipe.trainers.get(name, {})) for name, _ in plan.trainers()}
    return {
        "base": f"{recipe.base if not Path(recipe.base).is_dir() else Path(recipe.base).name} {world.base.digest[:16]}",
        "teacher": f"{Path(recipe.teacher).name} {world.teacher.digest[:16]}" if world.teacher else "none",
        "budget": {"amount": recipe.budget.amount, "unit": recipe.budget.unit},
        "train items": f"{len(items.rows)} from {plan.train_source}, the same for every strategy",
        "train items dropped for holding a held-out question": f"{len(items.dropped)} of {items.n_offered}"
        + (f" ({kinds}; dropped.jsonl lists them)" if kinds else ""),
        "teacher's traces": str(world.traces) if world.traces else None,
        "dev items": {part.task.name: _dev_source(part) for part in items.dev},
        "checkpoint of a run": "the best on dev of four over its last stage, the latest of equals",
        LOOKS: world.ledger.counted((part.task.name, part.items_hash) for part in world.suite),
        "settings": tuned(world, configs),
        "training settings": {name: dict(recipe.trainers.get(name, {})) or "defaults" for name, _ in plan.trainers()},
        "trials on dev, strict %": recipe.tuning.listed(configs) if recipe.tuning else None,
        "suite": {j.task.name: f"{len(j.samples)} test items, set {j.items_hash[:12]}" for j in world.suite},
        "decoding": {
            j.task.name: f"temperature {j.params.temperature:g}, at most {j.params.max_tokens} tokens"
            + (f", {sampling.repeats} replies an item" if sampling.repeats > 1 else "")
            for j in world.suite
        },
        "engine": dict(world.engine.describe()),
        "graders": [grader_version(part.task) for part in world.suite],
        "sandbox": world.graders.runner.tier if world.graders.runner else NO_SANDBOX,
        "devices that train a stage": recipe.devices,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "srlm-harness")},
    }


def material_of(world: World) -> str:
    """Hash of what strategies learn from: train items, the teacher, and how it is asked."""
    rows = [row.sample.hash for row in world.items.rows]
    return sha256_of([rows, world.teacher.digest if world.teacher else "", asdict(world.plan.recipe.teaching)])


def searched(world: World) -> tuple[str, str, Budget, dict[str, int]]:
    """What trials of settings must have in common to stand beside each other: the first fields of a `Tuning`."""
    dev_items = {part.task.name: len(part.samples) for part in world.items.dev}
    return world.base.digest, material_of(world), world.plan.recipe.budget, dev_items


def tuned(world: World, configs: Mapping[str, Mapping[str, Any]]) -> str | None:
    """How the settings of the trainers were chosen, in words; None where no trials are recorded."""
    recipe = world.plan.recipe
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
    if any(len(strategy.stages) > 1 for strategy in world.plan.strategies):
        text.append("sequences take over those of their parts")
    if differ := tuning.other_than(*searched(world)):
        text.append(f"the trials were made with {' and '.join(differ)}")
    return "; ".join(text)


def _kinds(items: Items, kind: str) -> int:
    return sum(overlap.kind == kind for overlap in items.dropped)


def _dev_source(part: Job) -> str:
    return f"{len(part.samples)}" + (" taken from the end of the train split" if part.split == "train" else "")


def _notes(world: World) -> list[str]:
    notes = []
    described = world.engine.describe()
    if world.plan.engine == "auto" and described["engine"] != "vllm":
        notes.append(f"vLLM could not be used on this machine; replies come from {described['engine']}.")
    if world.plan.limit is not None:
        notes.append(
            f"Only the first {world.plan.limit} items of each task were used (--limit): not a result to quote."
        )
    return notes
