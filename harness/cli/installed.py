"""`harness tasks`, `trainers`, `doctor`: what is installed. `harness pico`: train the two tiny models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.errors import DataError


@click.group()
def tasks() -> None:
    """Show the installed benchmarks."""


@tasks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def tasks_list(as_json: bool) -> None:
    """List all tasks and suites: items, graders, licences. Sizes are shown if the data is on this machine."""
    import json

    from tabulate import tabulate

    from harness.evaluation import task_cards

    found = task_cards.all_cards()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = []
    for task in found["tasks"]:
        sizes = [f"{n:,}" if (n := task["items"].get(split)) else "-" for split in ("train", "dev", "test")]
        if not task["here"]:
            sizes = ["-"] * 3
        rows.append([task["name"], *sizes, task["grader"], task["known_defects"] or "", task["licence"]])
    head = ["task", "train", "dev", "test", "graded by", "defects", "licence"]
    click.echo(tabulate(rows, head, disable_numparse=True, colalign=("left", *["right"] * 3, "left", "right", "left")))
    click.echo()
    suites = [
        [s["name"], ", ".join(s["test"]), ", ".join(s["dev"]), s["limit"] or "all items"] for s in found["suites"]
    ]
    click.echo(tabulate(suites, ["suite", "test sets", "dev splits of", "items of each"], disable_numparse=True))


@tasks.command("show")
@click.argument("name")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "dev", "test"]))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def tasks_show(name: str, split: Any, as_json: bool) -> None:
    """Show one task: size, detectable difference, and the first item as a model sees it. Or one suite."""
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
    click.echo(f"dev splits, for choosing settings: {', '.join(suite['dev'])}\n")
    for task in suite["tasks"]:
        finds = f"detectable difference {task['detectable']} points" if task["n"] else "generated items"
        click.echo(
            f"{task['name']} {task['version']}: {task['n'] or '?'} test items, graded by {task['grader']}, {finds}"
        )
    click.echo("\n(detectable with 80 % power, if two models differ on one fifth of the items)")


def _show_task(task: dict[str, Any]) -> None:
    levels = f", levels {', '.join(task['levels'])}" if task["levels"] else ""
    related = f" in {task['clusters']} clusters of related ones" if (task["clusters"] or task["n"]) != task["n"] else ""
    click.echo(f"{task['name']} {task['version']}, {task['split']}: {task['n']} items{related}{levels}")
    published = task["items"].get(task["split"], task["n"])
    if task["missing"]:
        click.echo("the data is not on this machine")
    elif published != task["n"]:
        click.echo(f"the data on this machine is not as published: {published} items expected")
    click.echo(
        f"replies: at most {task['max_tokens']} tokens; graded by {task['grader']}"
        f"{', in the sandbox' if task['needs_sandbox'] else ''}"
    )
    if task["licence"]:
        click.echo(f"licence: {task['licence']}" + (f"; source: {task['source']}" if task["source"] else ""))
    if task["detectable"]:
        found = f"{task['detectable']} points"
        if related:
            found += f"; {task['detectable_alike']} if models differ on all items of a cluster or on none"
        click.echo(f"detectable difference (80 % power, one fifth of items differing): {found}")
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


@click.command()
def trainers() -> None:
    """Show the installed trainers and their settings."""
    from dataclasses import asdict

    from harness import registry

    for name in registry.names("trainer"):
        trainer = registry.load("trainer", name)
        click.echo(f"{name}: {(trainer.__doc__ or '').strip().splitlines()[0]}")
        for key, value in asdict(trainer.Config()).items():
            click.echo(f"    {name}.{key} = {value!r}")


@click.group()
def pico() -> None:
    """Rebuild the two tiny models that ship with the project."""


@pico.command("build")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for base/ and teacher/."
)
@click.option("--reduced", is_flag=True, help="Train a weaker base only, in about a minute, to check the recipe.")
def pico_build(out: Path, reduced: bool) -> None:
    """Train the base and the teacher from scratch, as the shipped ones were made.

    \b
    Example:
      harness pico build --out /tmp/pico --reduced
    """
    from harness.records.run_folder import ensure_writable, full_disk_is_named
    from harness_tasks.pico.build import build_world

    ensure_writable(out)
    with full_disk_is_named(out):
        build_world(out, reduced=reduced, log=lambda text: click.echo(text, err=True))
    click.echo(f"base and teacher: {out}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option(
    "--sandbox", is_flag=True, help="Check only the sandbox: each isolation tier, whether it works here, and why not."
)
def doctor(as_json: bool, sandbox: bool) -> None:
    """Show what is installed, which engine and sandbox will be used, and what is missing."""
    import json

    from harness.cli.doctor import examine, examine_sandbox

    findings = examine_sandbox() if sandbox else examine()
    if as_json:
        click.echo(json.dumps([vars(f) for f in findings], indent=2))
    else:
        for finding in findings:
            mark = {"warn": "missing", "fail": "FAIL"}.get(finding.state, finding.state)
            click.echo(f"{mark:<8}  {finding.what:<12} {finding.text}")
    if any(f.state == "fail" for f in findings):
        sys.exit(1)
