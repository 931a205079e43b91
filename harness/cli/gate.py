"""`harness gate`: the commands."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.options import engine_name, engine_option, with_options
from harness.errors import BadConfig, DataError, HarnessError


@click.group()
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
        return locks.read_lock(lock)
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
    from harness.board import existing_runs
    from harness.gate.lock import PerItem

    return PerItem.of(*existing_runs.choose_entries(existing_runs.read_runs([run]), options["entry"], options["seed"]))


@gate.command("plan")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@with_options(_OF_A_LOCK)
def gate_plan(run: Path, **options: Any) -> None:
    """What a gate with RUN as baseline would find, and what a check would cost. No model is loaded.

    \b
    Examples:
      harness gate plan runs/release
      harness gate plan runs/release --margin 2 --design group-sequential
      harness gate plan runs/pico --entry kd --seed 1 --task-margin pico_math=6
    """
    from harness.gate import plan

    click.echo("\n".join(plan.plan_lines(_gate_plan(_per_item(run, options), options, None))))


@gate.command("accept")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@_LOCK
@click.option("--reason", required=True, help="Why; kept in the lock.")
@click.option("--release", is_flag=True, help="Move the release baseline too, and draw up the items anew.")
@with_options(_OF_A_LOCK)
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
    from harness.records.run_folder import ensure_writable

    ensure_writable(lock.resolve().parent)
    before = _lock_before(lock, release)
    baseline = _per_item(run, options)
    if before is not None and not release:
        baseline = baseline.only(before.items)
    planned = _gate_plan(baseline, options, before.settings if before else None)
    text = plan.plan_lines(planned, 1 if before is None or release else 2)
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
@with_options(_ONE_OF_A_RUN)
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
    from harness.records.run_folder import ensure_writable, full_disk_is_named
    from harness.records.serialization import write_text

    ensure_writable(out)
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
    click.echo("\n".join(report.report_lines(facts)))
    click.echo(f"report: {out}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo((out / "annotations.txt").read_text(encoding="utf-8"), nl=False)
    sys.exit(facts["exit_code"])


def _gate_facts(run: Path | None, lock: Path, options: dict[str, Any]) -> dict[str, Any]:
    """All that a report says of this attempt and those before it."""
    from harness.gate.check import Attempts, Comparison
    from harness.records.run_folder import ensure_writable

    if run is not None and not run.exists():
        raise DataError(f"there is no run {run}")
    comparison = Comparison(lock, frozenset(name.replace("-", " ") for name in options["allowed"]))
    candidate = _per_item(run, options) if run else _gate_evaluated(comparison, options)
    comparison.decided([candidate])  # what cannot be compared is no attempt
    folder = options["attempts"] or lock.with_name(f"{lock.name}.attempts")
    ensure_writable(folder)
    attempts = Attempts(folder, comparison)
    all_of_it = attempts.add(candidate, options["candidate"])
    return comparison.report(candidate, all_of_it, attempts.candidates())


def _gate_evaluated(comparison: Any, options: dict[str, Any]) -> Any:
    from harness.cli.progress import ShellProgress
    from harness.gate import live

    folder = options["folder"] or Path("runs") / "gate"
    if options["engine"] == "openai":
        if not options["candidate"]:
            raise BadConfig(
                "which weights a server holds is not known; name them, by a commit for instance: --candidate ID"
            )
        folder = folder / re.sub(r"[^\w.-]+", "_", options["candidate"])  # another name is asked anew
    asked = live.CheckRequest(
        model=options["model"],
        name=Path(options["model"]).name,
        folder=folder,
        engine=engine_name(options["engine"]),
        engine_options=tuple(engine_option(text) for text in options["engine_args"]),
        allow_weak_sandbox=options["allow_weak_sandbox"],
    )
    progress = ShellProgress(float(len(comparison.settings.fractions) * len(comparison.lock.items)))
    try:
        return live.evaluated(asked, comparison, progress)
    finally:
        progress.close()
