"""`harness compare` and `harness tune`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import ENGINE_ARG, TwoWays, board_file, engine_name, split_commas, with_options
from harness.errors import BadConfig

if TYPE_CHECKING:
    from harness.experiment.plan import Experiment
    from harness.experiment.recipes import Recipe
    from harness.types import BudgetUnit

_SAID = click.core.ParameterSource.COMMANDLINE


def _compare_runs(context: click.Context, runs: tuple[Path, ...], reference: str | None, out: Path | None) -> None:
    """Compare existing runs; nothing is trained or generated."""
    from harness.board import against_reference, existing_runs, files

    given = [p for p in context.command.params if context.get_parameter_source(p.name or "") is _SAID]
    if odd := [p.opts[0] for p in given if p.name not in ("runs", "reference", "out")]:
        raise BadConfig(f"{odd[0]} is an option for training; with RUNS only --reference and --out can be used")
    title = "Comparison of " + ", ".join(path.name for path in runs)
    entries = existing_runs.read_runs(runs)
    facts = against_reference.compare_to_reference(title, entries, reference, list(map(str, runs)))
    if out is None:
        click.echo(against_reference.comparison_summary(facts))
        return
    drawings = files.draw_pictures(facts, [entries], {})
    written = files.write_board_files(
        out, facts, [entries], drawings, against_reference.comparison_markdown, with_page=True
    )
    click.echo(against_reference.comparison_summary(facts))
    click.echo(f"\nleaderboard: {', '.join(map(str, written))}")


@dataclass(frozen=True)
class RecipeOptions:
    """The options that name a recipe and change it. None and "": as the recipe says."""

    recipe: str
    base: str | None
    teacher: str | None
    tasks: str | None
    train_tasks: str | None
    budget: float | None
    budget_unit: BudgetUnit | None
    settings: tuple[str, ...]  # TRAINER.KEY=VALUE
    devices: int | None
    deterministic: bool


@dataclass(frozen=True)
class RunOptions:
    """The options that say how and where a plan is carried out."""

    train_data: Path | None
    engine: str
    engine_options: tuple[tuple[str, str], ...]
    limit: int | None
    jobs: int | None
    folder: Path | None
    allow_weak_sandbox: bool
    report_to: str
    keep_checkpoints: bool


_OF_A_RECIPE = (
    click.option("--recipe", default="pico", show_default=True, help="Installed recipe, or a .toml file."),
    click.option("--base", help="Base model: a folder or a Hugging Face name (default: the recipe's)."),
    click.option("--teacher", help="Teacher model for distillation (default: the recipe's)."),
    click.option("--tasks", help="Comma-separated tasks or suites to evaluate on (default: the recipe's)."),
    click.option("--train-tasks", help="Comma-separated tasks to train on (default: the recipe's, else --tasks)."),
    click.option("--budget", type=float, help="Budget of every strategy, in --budget-unit (default: the recipe's)."),
    click.option(
        "--budget-unit",
        type=click.Choice(["flops", "tokens", "generated", "device_s"]),
        help="Unit of the budget; all units are recorded (default: the recipe's).",
    ),
    click.option("--set", "settings", multiple=True, metavar="TRAINER.KEY=VALUE", help="Change a training setting."),
    click.option(
        "--devices", type=click.IntRange(min=1), help="Devices that train one stage together (accelerate launch)."
    ),
    click.option(
        "--deterministic",
        is_flag=True,
        help="Only algorithms that repeat bit for bit, on GPUs too, at a cost in speed (not measured there yet).",
    ),
)
_OF_A_RUN = (
    click.option(
        "--train-data",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Train set instead of the tasks' own: JSON lines, also .gz, of prompt and target, prompt and completion, "
        "messages, ShareGPT's conversations, or Alpaca's fields.",
    ),
    click.option("--engine", default="auto", show_default=True, help="vllm, transformers, or auto."),
    ENGINE_ARG,
    click.option("--limit", type=click.IntRange(min=1), help="Evaluate only the first N items of each task."),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        help="Stages trained at once, each on GPUs of its own (default: all GPUs, else one per core).",
    ),
    click.option(
        "--run", "folder", type=click.Path(file_okay=False, path_type=Path), help="Run folder [default: runs/<recipe>]."
    ),
    click.option("--allow-weak-sandbox", is_flag=True, help="Grade code even without strong isolation."),
    click.option(
        "--report-to",
        default="tensorboard",
        show_default=True,
        help="Where to log training: tensorboard, wandb, mlflow, trackio, ..., comma-separated, or none.",
    ),
    click.option("--keep-checkpoints", is_flag=True, help="Keep the weights of checkpoints that were not chosen."),
)


@click.command(
    cls=TwoWays,
    ways={
        "[OPTIONS]": "Train every strategy and evaluate the results.",
        "RUN [RUN]... [--reference NAME] [--out FILE]": "Compare finished runs; nothing is trained or generated.",
    },
    groups={"Options with RUNs": ["reference"], "Options for both": ["out"]},
)
@click.argument("runs", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--strategies",
    default="sft,kd,rl,kd+rl",
    show_default=True,
    help="Comma-separated: a+b is a sequence, a:0.3+b:0.7 has shares, a&b is one loop (quote it), a.x a variant.",
)
@click.option("--seeds", default="1", show_default=True, help="Training seeds, comma-separated: 1,2,3,4.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=board_file,
    help="Write the leaderboard here too [default: only leaderboard.md in the run folder; with RUNS: printed only].",
)
@click.option(
    "--reference", help="With RUNS: the row that all others are compared with [default: base, else the first]."
)
@with_options(_OF_A_RECIPE, RecipeOptions)
@with_options(_OF_A_RUN, RunOptions)
@click.option("--dry-run", is_flag=True, help="Print stages, cost and detectable difference, then stop.")
@click.pass_context
def compare(
    context: click.Context,
    of_recipe: RecipeOptions,
    of_run: RunOptions,
    /,
    runs: tuple[Path, ...],
    strategies: str,
    seeds: str,
    out: Path | None,
    reference: str | None,
    dry_run: bool,
) -> None:
    """Train every strategy from one base and write a leaderboard, or compare finished RUNs.

    \b
    Examples:
      harness compare
      harness compare --strategies sft,rl --seeds 1,2,3,4
      harness compare --strategies kd:0.3+rl:0.7,rl --set rl.learning_rate=2e-4
      harness compare --strategies 'sft,sft.lora,kd.onpolicy,kd&rl,noop' --dry-run
      harness compare --base Qwen/Qwen2.5-0.5B --recipe my.toml --dry-run
      harness compare runs/eval-a runs/eval-b --reference model-a     (no training: any runs that exist)

    Everything is kept in the run folder: the same command continues an interrupted run and never trains a stage twice.
    """
    from dataclasses import asdict

    if runs:
        _compare_runs(context, runs, reference, out)
        return
    if reference:
        raise BadConfig("--reference is for runs that exist: harness compare RUN RUN --reference NAME")
    from harness.board import files
    from harness.board.render import markdown_of_facts, summary_markdown
    from harness.cli.progress import ShellProgress
    from harness.experiment import compare
    from harness.experiment.dry_run import dry_run_lines
    from harness.experiment.plan import check_plan, total_weight
    from harness.records.run_folder import ensure_writable

    plan = _experiment(_recipe(of_recipe), of_run, strategies, seeds)
    if dry_run:
        check_plan(plan)
        for line in dry_run_lines(plan):
            click.echo(line)
        return
    own = plan.folder / "leaderboard.md"
    out = out or own
    ensure_writable(out.parent)
    progress = ShellProgress(total_weight(plan))
    try:
        board, entries = compare.compare_strategies(plan, progress)
    finally:
        progress.close()
    drawn = {files.CURVES: (plan.folder / "curves" / "dev.svg").read_text(encoding="utf-8")}
    facts = asdict(board)
    drawings = files.draw_pictures(facts, [entries], drawn)
    files.write_board_files(own, facts, [entries], drawings, markdown_of_facts, with_page=True)
    if out.resolve() != own.resolve():
        files.write_board_files(out, facts, [entries], drawings, markdown_of_facts, with_page=False)
    click.echo("\n" + summary_markdown(board))
    click.echo(
        f"\nleaderboard: {out} (facts: {out.with_suffix('.json')}, .csv); records and checkpoints: {plan.folder}"
    )
    click.echo(f"page to sort and filter rows and to read replies: {own.with_suffix('.html')}")
    if "tensorboard" in plan.report_to:
        click.echo(f"training curves: {plan.folder / 'curves'}, or: tensorboard --logdir {plan.folder / 'stages'}")


@click.command()
@click.option(
    "--try",
    "tried",
    multiple=True,
    required=True,
    metavar="TRAINER.KEY=VALUE,VALUE",
    help="Setting with the values to try; repeatable.",
)
@click.option("--seeds", default="0", show_default=True, help="Training seeds of every trial, comma-separated.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File of trials [default: tuning.json in the run]."
)
@with_options(_OF_A_RECIPE, RecipeOptions)
@with_options(_OF_A_RUN, RunOptions)
@click.option("--dry-run", is_flag=True, help="Print the trials and an estimate of their time, then stop.")
def tune(
    of_recipe: RecipeOptions,
    of_run: RunOptions,
    /,
    tried: tuple[str, ...],
    seeds: str,
    out: Path | None,
    dry_run: bool,
) -> None:
    """Try settings, the same number for every trainer, each with the whole budget, and score them on dev items.

    \b
    Examples:
      harness tune --try sft.learning_rate=3e-4,1e-3,3e-3 --try rl.learning_rate=3e-5,1e-4,3e-4
      harness tune --try sft.learning_rate=3e-4,1e-3 --try sft.batch_size=16,32 --dry-run

    Test items are not evaluated. The same file (--out) collects the trials of several calls. Name it in the recipe
    (`tuning = "tuning.json"`, relative to the recipe), and boards list the trials.
    """
    from dataclasses import replace

    from tabulate import tabulate

    from harness.cli.progress import ShellProgress
    from harness.experiment import trials, tuning
    from harness.experiment.dry_run import trials as trial_lines
    from harness.experiment.plan import check_plan, total_weight
    from harness.records.run_folder import ensure_writable
    from harness.training import strategies

    recipe = _recipe(of_recipe, with_tuning=False)
    grids = tuning.grids(tried, recipe.trainers)
    plan = _experiment(recipe, of_run, ",".join(grids), seeds)
    number = len(next(iter(grids.values())))
    plan = replace(plan, strategies=tuple(strategies.parse_strategy(name) for name in grids for _ in range(number)))
    if dry_run:
        check_plan(plan)
        for line in trial_lines(plan, grids):
            click.echo(line)
        return
    out = out or plan.folder / "tuning.json"
    ensure_writable(out.parent)
    progress = ShellProgress(total_weight(plan, evaluated=False))
    try:
        found = tuning.tune_strategies(plan, grids, progress, trials.read_trials(out) if out.exists() else None)
    finally:
        progress.close()
    trials.write_trials(out, found)
    rows = [
        [trainer, str(choice), f"{100 * choice.dev:.1f}", "best" if choice == found.best(trainer) else ""]
        for trainer in found.trainers()
        for choice in found.choices(trainer)
    ]
    click.echo("\n" + tabulate(rows, ["trainer", "settings", "dev strict %", ""], disable_numparse=True))
    for line in trials.warnings(found):
        click.echo(line, err=True)
    click.echo("\n" + "\n".join(trials.toml(found)))
    click.echo(f"\ntrials: {out}; to list them on boards, add to the recipe: tuning = {str(out.resolve())!r}")


def _recipe(options: RecipeOptions, with_tuning: bool = True) -> Recipe:
    """The recipe that the options name, with what they change."""
    from dataclasses import replace

    from harness import registry
    from harness.evaluation import task_lookup
    from harness.experiment import recipes

    recipe = recipes.read_recipe(options.recipe, with_tuning)
    if options.base is not None:
        recipe = replace(recipe, base=options.base)
    if options.teacher is not None:
        recipe = replace(recipe, teacher=options.teacher)
    if options.tasks:
        recipe = replace(recipe, tasks=tuple(split_commas(options.tasks)))
        task_lookup.expand(recipe.tasks, "test")
    if options.train_tasks:
        recipe = replace(recipe, train=tuple(split_commas(options.train_tasks)))
        for name in recipe.train:
            registry.check_installed("task", name)
    if options.devices:
        recipe = replace(recipe, devices=options.devices)
    if options.deterministic:
        recipe = replace(recipe, deterministic=True)
    if options.budget is not None or options.budget_unit:
        if options.budget is None and options.budget_unit != recipe.budget.unit:
            raise BadConfig(f"--budget-unit {options.budget_unit} needs --budget: how many {options.budget_unit}?")
        amount = options.budget if options.budget is not None else recipe.budget.amount
        values = {"amount": amount, "unit": options.budget_unit or recipe.budget.unit}
        recipe = replace(recipe, budget=recipes.budget("command line", values))
    return recipes.override(recipe, dict(_setting(text) for text in options.settings))


def _experiment(recipe: Recipe, options: RunOptions, strategies: str, seeds: str) -> Experiment:
    """The plan to train these strategies, comma-separated, with these seeds."""
    from harness.experiment.plan import Experiment
    from harness.experiment.train_files import read_train_file
    from harness.training.strategies import parse_list

    data = options.train_data
    own = read_train_file(data, recipe.train or recipe.tasks) if data else None
    return Experiment(
        recipe=recipe,
        strategies=parse_list(strategies),
        seeds=_seeds(seeds),
        folder=options.folder or Path("runs") / recipe.name,
        engine=engine_name(options.engine),
        engine_options=options.engine_options,
        limit=options.limit,
        train_rows=own.rows if own else None,
        train_source=own.source if own else "the tasks' train split",
        parallel_stages=options.jobs or _default_jobs(recipe.devices),
        allow_weak_sandbox=options.allow_weak_sandbox,
        report_to=tuple(name for name in split_commas(options.report_to) if name != "none"),
        keep_checkpoints=options.keep_checkpoints,
    )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise BadConfig(f"--set must be TRAINER.KEY=VALUE, such as rl.learning_rate=2e-4, got {text!r}")
    return name.strip(), value.strip()


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in split_commas(text))
    except ValueError:
        raise BadConfig(f"--seeds must be whole numbers, such as 1,2,3, got {text!r}") from None
    if not seeds or len(set(seeds)) < len(seeds):
        raise BadConfig(f"--seeds must be different whole numbers, such as 1,2,3, got {text!r}")
    return seeds


def _default_jobs(devices: int) -> int:
    from harness.engines.machine import gpus

    return max(1, len(found) // devices) if (found := gpus()) else max(1, len(os.sched_getaffinity(0)))
