"""`harness gate`: the commands."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from harness.cli.options import ENGINE_ARG, READING, engine_name, with_options
from harness.errors import BadConfig, DataError, HarnessError
from harness.gate.family import MOST_CHECKPOINTS

if TYPE_CHECKING:
    from harness.gate.check import Attempts, Checked, Comparison
    from harness.gate.decide import Design, Policy, Settings, Tier
    from harness.gate.lock import Lock, PerItem
    from harness.gate.plan import OfScore, SampleSizePlan
    from harness.types import Reading


@click.group()
def gate() -> None:
    """Decide if a checkpoint may replace another, by paired tests: PASS, BLOCK or INCONCLUSIVE.

    \b
      harness gate plan runs/release                        testable margins, power and cost; no model
      harness gate accept runs/release --reason "v1.2"      write the lock, or move its baseline
      harness gate check runs/candidate                     compare; exit code 0 pass, 3 block
    """


@dataclass(frozen=True)
class RowChoice:
    """Which row of a run is meant. None: its only one."""

    entry: str | None
    seed: int | None


@dataclass(frozen=True)
class LockOptions:
    """The options that set a lock's rules. None: as the lock says, else the default."""

    margin: str | None  # POINTS, or PERCENT% of the baseline's score
    margins: tuple[str, ...]  # TASK= and the same
    alpha: float | None
    policy: Policy | None
    design: Design | None
    reading: Reading | None
    primary: Literal["macro", "items"] | None
    discordance: float
    tiers: tuple[str, ...]  # TIER or TASK=TIER
    checkpoints: int | None
    samples: int | None
    underpowered: bool


_LOCK = click.option(
    "--lock",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("gate.lock.json"),
    show_default=True,
    help="The lock file; the per-item scores of the baselines are in the same folder.",
)
_SCORE = click.option(
    "--score",
    "scores",
    multiple=True,
    metavar="TASK=PERCENT[/ITEMS]",
    help="Instead of RUN: a published score of a task, without records, on so many items [default: all test items]. "
    "The comparison is unpaired, and weaker; repeatable.",
)
_ONE_OF_A_RUN = (
    click.option("--entry", help="The row to use, if the run has several."),
    click.option("--seed", type=int, help="The training seed to use, if the row has several."),
)
_OF_A_LOCK = (
    click.option(
        "--margin",
        metavar="POINTS|PERCENT%",
        help="Allowed drop in points (2), or as a part of the baseline's score (5%), turned into points now; all tasks "
        "together [default: the smallest at which the gate passes an unchanged "
        "checkpoint 90 % of the time].",
    ),
    click.option(
        "--task-margin",
        "margins",
        multiple=True,
        metavar="TASK=POINTS|PERCENT%",
        help="Allowed drop of one task, in the same way; repeatable.",
    ),
    click.option(
        "--alpha",
        type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
        help="One-sided significance level [default: 0.05].",
    ),
    click.option(
        "--policy",
        type=click.Choice(["block-on-regression", "require-noninferior"]),
        help="Whether INCONCLUSIVE exits with 0 or, under require-noninferior, with 4 [default: block-on-regression].",
    ),
    click.option(
        "--design",
        type=click.Choice(["fixed", "group-sequential"]),
        help="Decide once, or test at up to 10 interim analyses and stop early [default: fixed].",
    ),
    click.option("--reading", type=READING, help="Which scores to compare [default: strict]."),
    click.option(
        "--primary",
        type=click.Choice(["macro", "items"]),
        help="Score of all tasks together: mean of the task means, or mean over all items [default: macro].",
    ),
    click.option(
        "--discordance",
        type=click.FloatRange(0, 1, min_open=True),
        default=0.2,
        show_default=True,
        help="For power: assumed share of items that two equally good checkpoints answer differently, if the score of "
        "the baseline allows so many.",
    ),
    click.option(
        "--tier",
        "tiers",
        multiple=True,
        metavar="[TASK=]TIER",
        help="critical: must PASS; supporting: must not BLOCK; advisory: is reported, never counts. Without TASK: of "
        "all tasks; repeatable [default: critical].",
    ),
    click.option(
        "--checkpoints",
        type=click.IntRange(1, MOST_CHECKPOINTS),
        help="How many checkpoints of one run are tested at equal level, each at its part of alpha [default: 1].",
    ),
    click.option(
        "--samples",
        type=click.IntRange(1),
        help="Replies per item of a candidate, if the baseline has more: more replies of the baseline alone make "
        "smaller margins testable too [default: as many as the baseline has].",
    ),
    click.option("--underpowered", is_flag=True, help="Accept a margin that this lock has too few items to test."),
)


def _lock_before(lock: Path, release: bool) -> Lock | None:
    """The existing lock; None if there is none, or if it is not valid and `release` replaces it."""
    from harness.errors import NotComparable
    from harness.gate import lock as locks

    if not lock.exists():
        return None
    try:
        return locks.read_lock(lock)
    except NotComparable as error:
        if not release:
            raise
        click.echo(f"replacing the lock, with the settings of this command: {error}", err=True)
        return None


def _gate_plan(baseline: PerItem, options: LockOptions, agreed: Settings | None) -> SampleSizePlan:
    """The plan of a gate on this baseline. agreed: settings to keep unless an option overrides them, or None."""
    from dataclasses import replace

    from harness.gate import plan
    from harness.gate.decide import Settings

    names = ("alpha", "policy", "design", "reading", "primary", "checkpoints")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    margins = dict(_task_margin(text) for text in options.margins)
    margin = None if options.margin is None else _margin(options.margin, "--margin must be POINTS or PERCENT%")
    if agreed is not None:
        tasks = {item.task for item in baseline.items}
        kept: dict[str, float | OfScore] = {task: of for task, of in agreed.margins.items() if task in tasks}
        margin, margins = margin or agreed.margin, kept | margins
    before = agreed or Settings(margin=0.0, margins={})
    settings = replace(before, **given, tiers=_tiers(options.tiers, before, baseline))
    insists = options.underpowered or agreed is not None  # margins of an existing lock stay
    wanted = plan.Wanted(margin, margins, options.discordance, insists, options.samples)
    return plan.plan(baseline, settings, wanted)


def _tiers(texts: tuple[str, ...], before: Settings, baseline: PerItem) -> dict[str, Tier]:
    """The tier of each task as the options say, else as before. Raises `BadConfig` for an unknown tier."""
    from harness.gate.decide import Tier

    tasks = list(dict.fromkeys(item.task for item in baseline.items))
    found: dict[str, Tier] = {task: tier for task, tier in before.tiers.items() if task in tasks}
    for text in texts:
        task, _, name = text.rpartition("=")
        tier = next((tier for tier in get_args(Tier) if tier == name.strip()), None)
        if tier is None:
            raise BadConfig(f"--tier must be [TASK=]{' | '.join(get_args(Tier))}, such as gsm8k=advisory, got {text!r}")
        found |= {task.strip(): tier} if task else dict.fromkeys(tasks, tier)
    return found


def _task_margin(text: str) -> tuple[str, float | OfScore]:
    task, _, margin = text.rpartition("=")
    must = "--task-margin must be TASK=POINTS or TASK=PERCENT%"
    if not task:
        raise BadConfig(f"{must}, such as gsm8k=2.5 or gsm8k=5%, got {text!r}")
    return task.strip(), _margin(margin, must)


def _margin(text: str, must: str) -> float | OfScore:
    """A margin in points, or as a percentage of the baseline's score. must: what the option has to be."""
    from harness.gate.plan import OfScore

    try:
        if (value := float(text.removesuffix("%"))) > 0:
            return OfScore(value) if text.endswith("%") else value
    except ValueError:
        pass
    raise BadConfig(f"{must}, such as 2.5 or 5%, got {text!r}")


def _per_item(run: Path, row: RowChoice) -> PerItem:
    from harness.board import existing_runs
    from harness.gate.lock import PerItem

    return PerItem.of(*existing_runs.choose_entries(existing_runs.read_runs([run]), row.entry, row.seed))


def _baseline(run: Path | None, row: RowChoice, scores: tuple[str, ...]) -> PerItem:
    """The scores of a row of a run, or published ones. Raises `BadConfig` unless one of both is given."""
    if (run is None) == (not scores):
        raise BadConfig("give either RUN (a run folder) or --score TASK=PERCENT (a published score)")
    if run is not None:
        return _per_item(run, row)
    from harness.evaluation import task_lookup
    from harness.gate.lock import LockedItem, PerItem, shortened

    published: dict[str, tuple[float, int]] = {}
    items: list[LockedItem] = []
    for text in scores:
        match = re.fullmatch(r"(.+)=([\d.]+)%?(?:/(\d+))?", text.strip())
        if match is None or not 0 <= float(match[2]) <= 100 or match[3] == "0":
            raise BadConfig(f"--score must be TASK=PERCENT[/ITEMS], such as gsm8k=62.3/1319, got {text!r}")
        task = task_lookup.open_task(match[1])
        samples = task.samples("test")
        published[task.name] = (float(match[2]) / 100, int(match[3] or len(samples)))
        items += [
            LockedItem(task.name, of.id, shortened(of.hash), "", 0, 0.0, 0.0, shortened(of.cluster_hash))
            for of in samples
        ]
    return PerItem.of_published(published, items)


@gate.command("plan")
@click.argument("run", required=False, type=click.Path(exists=True, path_type=Path))
@_SCORE
@with_options(_ONE_OF_A_RUN, RowChoice)
@with_options(_OF_A_LOCK, LockOptions)
def gate_plan(row: RowChoice, options: LockOptions, /, run: Path | None, scores: tuple[str, ...]) -> None:
    """Show smallest testable margins, power and cost of a gate with RUN as baseline. Loads no model.

    \b
    Examples:
      harness gate plan runs/release
      harness gate plan runs/release --margin 2 --design group-sequential
      harness gate plan runs/release --margin 5% --tier supporting --tier gsm8k=critical
      harness gate plan runs/pico --entry kd --seed 1 --task-margin pico_math=6
    """
    from harness.gate import plan

    click.echo("\n".join(plan.plan_lines(_gate_plan(_baseline(run, row, scores), options, None))))


@gate.command("accept")
@click.argument("run", required=False, type=click.Path(exists=True, path_type=Path))
@_SCORE
@_LOCK
@click.option("--reason", required=True, help="Why this baseline is accepted; stored in the lock.")
@click.option(
    "--release", is_flag=True, help="Replace the release baseline too, and take its items as the lock's items."
)
@with_options(_ONE_OF_A_RUN, RowChoice)
@with_options(_OF_A_LOCK, LockOptions)
def gate_accept(
    row: RowChoice,
    options: LockOptions,
    /,
    run: Path | None,
    scores: tuple[str, ...],
    lock: Path,
    reason: str,
    release: bool,
) -> None:
    """Make RUN the baseline: write the lock and, beside it, its per-item scores. Commit both.

    \b
    Examples:
      harness gate accept runs/release --reason "release 1.2"
      harness gate accept runs/candidate --reason "merged 4711"       (moves `previous`; `release` stays)
      harness gate accept --score gsm8k=62.3 --reason "score of the paper"      (no records: unpaired, and weaker)
      harness gate accept runs/release --release --margin 2 --policy require-noninferior --reason "release 1.3"

    A candidate is compared with both baselines: `release` stops slow drift, `previous` points to the last change.
    """
    import time
    from dataclasses import replace

    from harness.gate import lock as locks
    from harness.gate import plan
    from harness.records.run_folder import ensure_writable

    ensure_writable(lock.resolve().parent)
    before = _lock_before(lock, release)
    baseline = _baseline(run, row, scores)
    if before is not None and not release:
        baseline = baseline.only(before.items)
    if before is not None and options.samples is None and before.samples <= baseline.samples:
        options = replace(options, samples=before.samples)
    planned = _gate_plan(baseline, options, before.settings if before else None)
    text = plan.plan_lines(planned, 1 if before is None or release else 2)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made = locks.accept(
        lock, before, baseline, planned.settings, locks.Acceptance(reason, when, release, planned.samples)
    )
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
@click.option(
    "--model", help="Evaluate this model (a folder or a Hugging Face name) now, on as few items as the verdict needs."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("gate-report"),
    show_default=True,
    help="Folder of the report.",
)
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    metavar="FIELD",
    help="A field that may differ, such as engine; listed in the report.",
)
@click.option(
    "--candidate",
    help="Name that identifies the candidate's attempts; needed if the records have no weights digest.",
)
@click.option(
    "--family",
    help="The training run that the candidate is a checkpoint of; the checkpoints of a run share alpha [default: the "
    "folder of a checkpoint-2000 or step_2000, the stage of a run of harness compare, else none].",
)
@click.option(
    "--attempts",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of earlier attempts, to keep between CI runs [default: <lock>.attempts].",
)
@with_options(_ONE_OF_A_RUN, RowChoice)
@click.option("--engine", default="auto", show_default=True, help="With --model: vllm, transformers, openai, or auto.")
@ENGINE_ARG
@click.option(
    "--run-folder",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --model: folder of the replies [default: runs/gate].",
)
@click.option("--allow-weak-sandbox", is_flag=True, help="With --model: grade code even without strong isolation.")
def gate_check(
    row: RowChoice,
    /,
    run: Path | None,
    lock: Path,
    model: str | None,
    out: Path,
    allowed: tuple[str, ...],
    candidate: str | None,
    family: str | None,
    attempts: Path | None,
    engine: str,
    engine_options: tuple[tuple[str, str], ...],
    folder: Path | None,
    allow_weak_sandbox: bool,
) -> None:
    """Compare a candidate with the lock's baselines: an existing RUN, or a --model that is evaluated now.

    \b
    Examples:
      harness gate check runs/candidate
      harness gate check samples_gsm8k_2026-01-02.jsonl --candidate commit-4711     (an lm-eval samples file)
      harness gate check --model checkpoints/step-2000 --out report
      harness gate check runs/step-2000 --family sft-7     (one of several checkpoints of the run sft-7)

    Exit codes: 0 pass (or inconclusive under block-on-regression), 3 regression, 4 inconclusive under
    require-noninferior, 5 not comparable (lock missing or edited, other items or settings). Checking the same candidate
    again adds an attempt; attempts are pooled, and a verdict of the group-sequential design stands. Checkpoints of one
    run, and attempts, share alpha: one of them is wrongly passed or blocked in at most 1.1 alpha of the cases.
    """
    from harness.atomic import write_text
    from harness.gate import report
    from harness.records.run_folder import ensure_writable, full_disk_is_named

    ensure_writable(out)
    if (out / "evals").exists() or (out / "entries.json").exists():
        raise BadConfig(f"--out {out} is a run folder; give the report a folder of its own")
    for name in report.NAMES:
        # whatever happens next, an earlier verdict cannot be mistaken for this one
        (out / name).unlink(missing_ok=True)
    if (run is None) == (model is None):
        raise BadConfig("give either RUN (an existing run) or --model (evaluated now)")
    evaluated = _Evaluated(model, engine, engine_options, folder, allow_weak_sandbox) if model is not None else None
    kept = attempts or lock.with_name(f"{lock.name}.attempts")
    asked = _Candidate(run, row, evaluated, candidate or "", family, kept)
    with full_disk_is_named(out):
        try:
            facts = _gate_facts(lock, frozenset(name.replace("-", " ") for name in allowed), asked)
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


@dataclass(frozen=True)
class _Evaluated:
    """A model that is evaluated now. folder None: runs/gate."""

    model: str
    engine: str
    engine_options: tuple[tuple[str, str], ...]
    folder: Path | None
    allow_weak_sandbox: bool


@dataclass(frozen=True)
class _Candidate:
    """What is compared with the lock: a row of a run, or a model that is evaluated now.

    name: identifies the candidate's attempts; empty: its weights do. family: the run it is a checkpoint of; None: as
    its path tells. attempts: the folder of earlier attempts.
    """

    run: Path | None
    row: RowChoice
    evaluated: _Evaluated | None
    name: str
    family: str | None
    attempts: Path


def _gate_facts(lock: Path, allowed: frozenset[str], asked: _Candidate) -> dict[str, Any]:
    """The facts of the report: this attempt and the earlier ones of its candidate."""
    from harness.gate.check import Attempts, Comparison, Standing
    from harness.records.run_folder import ensure_writable

    if asked.run is not None and not asked.run.exists():
        raise DataError(f"run {asked.run} does not exist")
    comparison = Comparison(lock, allowed)
    attempts = Attempts(asked.attempts, comparison)
    if asked.evaluated is not None:
        found = _gate_evaluated(comparison, attempts, asked.evaluated, asked)
    else:
        found = _gate_recorded(comparison, attempts, asked)
    ensure_writable(asked.attempts)
    attempts.add(found.attempts, found.who, found.decision.verdict)
    checked = len({test.candidate for test in attempts.tests(found.who)})
    standing = Standing(attempts.candidates(), found.who.family, checked)
    return comparison.report(found.scores, found.attempts, found.decision, standing)


def _gate_recorded(comparison: Comparison, attempts: Attempts, asked: _Candidate) -> Checked:
    from harness.gate import family
    from harness.gate.check import Candidate, Checked

    assert asked.run is not None
    scores, run = _per_item(asked.run, asked.row), asked.run.resolve()
    known = (family.of_path(run) or run.name) if run.is_dir() and family.is_step(scores.name) else ""
    who = Candidate(scores.weights, asked.name, known if asked.family is None else asked.family)
    made = attempts.joined(scores, who)
    return Checked(who, scores, made, comparison.decided(made))  # an attempt counts only if it can be compared


def _gate_evaluated(comparison: Comparison, attempts: Attempts, what: _Evaluated, asked: _Candidate) -> Checked:
    from harness.cli.progress import ShellProgress
    from harness.gate import family, live

    folder = what.folder or Path("runs") / "gate"
    if what.engine == "openai":
        if not asked.name:
            raise BadConfig(
                "the weights a server holds are unknown; name them, for instance by a commit: --candidate ID"
            )
        folder = folder / re.sub(r"[^\w.-]+", "_", asked.name)  # another name generates its own replies
    path = Path(what.model)
    known = family.of_path(path) if path.exists() else ""
    request = live.CheckRequest(
        model=what.model,
        name=Path(what.model).name,
        folder=folder,
        engine=engine_name(what.engine),
        engine_options=what.engine_options,
        allow_weak_sandbox=what.allow_weak_sandbox,
        candidate=asked.name,
        family=known if asked.family is None else asked.family,
    )
    progress = ShellProgress(float(len(comparison.settings.fractions) * len(comparison.lock.items)))
    try:
        return live.evaluated(request, comparison, attempts, progress)
    finally:
        progress.close()
