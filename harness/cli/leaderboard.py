"""`harness leaderboard`: the commands."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import READING, board_file, split_commas, write_board

if TYPE_CHECKING:
    from harness.publish.every_eval_ever import Replies
    from harness.publish.results import Pick, Relationship


@click.group()
def leaderboard() -> None:
    """Build, check and publish boards from the results of earlier runs."""


_OUT = click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    callback=board_file,
    help="The .md file to write; the other formats go into the same folder.",
)


@leaderboard.command("build")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@_OUT
@click.option("--title", help="[default: the names of the runs]")
@click.option("--reference", default="", help="The row to compare the others with [default: base, else the first].")
@click.option(
    "--reading",
    type=READING,
    default="strict",
    show_default=True,
    help="Scores to rank by; use lenient if the prompts asked for another answer format.",
)
def leaderboard_build(runs: tuple[Path, ...], out: Path, title: str | None, reference: str, reading: str) -> None:
    """Build a board from RUNS: run folders, lm-eval samples files, recorded generations with verdicts.

    \b
    Examples:
      harness leaderboard build runs/a runs/b --out board.md --reference a
      harness leaderboard build lm_eval_output/* --out board.md
      harness leaderboard build runs/recorded --out leaderboards/recorded.md --reading lenient

    Runs over the same items, prompts and settings are ranked together; the others are listed separately. The board is
    written with its facts (.json), a table (.csv), plots, and a page for reading replies (.html).
    """
    _build_board(out, title or f"Board of {', '.join(path.name for path in runs)}", runs, reference, reading)


@leaderboard.command("add")
@click.argument("board", type=click.Path(exists=True, dir_okay=False, path_type=Path), callback=board_file)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def leaderboard_add(board: Path, runs: tuple[Path, ...]) -> None:
    """Rebuild BOARD (.md) from its own runs and RUNS.

    \b
    Example:
      harness leaderboard add board.md runs/c
    """
    from harness.board import collection

    title, before, reference, reading = collection.made_of(board)
    new = [path for path in runs if path not in before]
    _build_board(board, title, (*before, *new), reference, reading)


def _targets(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[str, str, int | None]]:
    """(repository, row, seed) of each ROW[@SEED]=OWNER/MODEL."""
    found = [re.fullmatch(r"(.+?)(?:@(\d+))?=([^=]+)", text) for text in texts]
    if odd := [text for text, match in zip(texts, found, strict=True) if match is None]:
        raise click.BadParameter(f"must be ROW[@SEED]=OWNER/MODEL, such as kd@2=me/small-kd, got {odd[0]!r}")
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
    help="A row, or one seed of it, and the model repository with its checkpoint; repeatable.",
)
@click.option(
    "--format",
    "formats",
    default="eval-results",
    show_default=True,
    help="Comma-separated: eval-results, model-index, every-eval-ever, badge.",
)
@click.option("--mean", is_flag=True, help="Publish the mean over the seeds of a row, labelled as such.")
@click.option("--limited", is_flag=True, help="Publish scores of fewer items than the benchmark has, labelled as such.")
@click.option("--source", default="", metavar="URL", help="Link to the data behind the numbers.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="Date of the evaluation.")
@click.option("--evaluator", metavar="NAME", help="Who evaluated: an organisation or person (every-eval-ever).")
@click.option(
    "--relationship",
    type=click.Choice(["first_party", "third_party", "collaborative", "other"]),
    default="other",
    show_default=True,
    help="Relationship of the evaluator to the model's maker (every-eval-ever).",
)
@click.option(
    "--datastore",
    default="",
    metavar="OWNER/DATASET",
    help="Dataset repository for every-eval-ever [default: the model].",
)
@click.option(
    "--replies",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    help="Run folder of the board: publish each graded reply too, with its question (every-eval-ever).",
)
@click.option("--direct", is_flag=True, help="Commit to the main branch instead of opening a pull request.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show every file and its difference to the repository; send nothing. Needs no token.",
)
def leaderboard_publish(
    board: Path,
    targets: list[tuple[str, str, int | None]],
    formats: str,
    mean: bool,
    limited: bool,
    source: str,
    date: datetime | None,
    evaluator: str | None,
    relationship: Relationship,
    datastore: str,
    replies: Path | None,
    direct: bool,
    dry_run: bool,
) -> None:
    """Propose scores of BOARD (.json) to the model repositories that hold the checkpoints, as pull requests.

    \b
    Examples:
      harness leaderboard publish board.json --to kd@2=me/small-kd --dry-run
      harness leaderboard publish board.json --to kd@2=me/small-kd --to rl@1=me/small-rl --source https://...
      harness leaderboard publish board.json --to kd=me/small-kd --mean --format every-eval-ever --evaluator me

    The token is that of `hf auth login`, or HF_TOKEN. Repeating the command sends only what is missing.
    """
    from huggingface_hub import get_token

    from harness.board.board_json import read_board_json
    from harness.publish.hub import Question, planned, publish, read_file
    from harness.publish.results import Evaluator, Pick, without_benchmark

    facts = read_board_json(board)
    found = [(repository, Pick(row, seed, mean, limited)) for repository, row, seed in targets]
    recorded = _replies(facts, [pick for _, pick in found], replies) if replies else None
    ask = Question(
        targets=tuple(found),
        formats=tuple(split_commas(formats)),
        source=source,
        date=f"{date:%Y-%m-%d}" if date else None,
        evaluator=Evaluator(evaluator, relationship) if evaluator else None,
        datastore=datastore,
        created=int(board.stat().st_mtime),  # not the current time, so that the same board gives the same files
        replies=recorded,
    )
    token = get_token()
    uploads = planned(facts, ask, lambda repository: read_file(repository, "README.md", token))
    if "eval-results" in ask.formats and (others := without_benchmark(facts)):
        click.echo(f"the hub has no benchmark for {', '.join(others)}: left out of eval-results")
    for outcome in publish(uploads, token, pull_request=not direct, dry_run=dry_run):
        click.echo("\n".join(outcome.lines))


def _replies(facts: dict[str, Any], picks: list[Pick], run: Path) -> Replies:
    """The records of the published rows, and their items."""
    from harness.evaluation.task_lookup import open_task
    from harness.publish.every_eval_ever import Replies, recorded

    records = tuple(record for pick in picks for record in recorded(facts, pick, run))
    tasks = dict.fromkeys(record.item.task for record in records)
    return Replies(records, {s.id: s for task in tasks for s in open_task(task).samples("test")})


def _build_board(out: Path, title: str, runs: tuple[Path, ...], reference: str, reading: str) -> None:
    from harness.board import collection, files
    from harness.board.render import markdown_of_facts
    from harness.records.run_folder import ensure_writable

    ensure_writable(out.resolve().parent)
    facts, groups = collection.collect_runs(title, runs, reference, reading)
    markdown = collection.collection_markdown if facts.get("kind") else markdown_of_facts
    drawings = files.draw_pictures(facts, groups, {})
    written = files.write_board_files(out, facts, groups, drawings, markdown, with_page=True)
    click.echo(f"leaderboard: {', '.join(map(str, written))}")


@leaderboard.command("reported")
@click.argument("scores", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=board_file,
    help="The .md file to write [default: beside SCORES].",
)
def leaderboard_reported(scores: Path, out: Path | None) -> None:
    """Test the claims of a publication on its own printed scores (SCORES, toml): which are larger than noise?

    \b
    Example:
      harness leaderboard reported leaderboards/paper.toml
    """
    from harness.board import published_scores

    facts = published_scores.published_facts(published_scores.read_published(scores))
    out = out or scores.with_suffix(".md")
    write_board(facts, published_scores.published_markdown(facts), out)
    click.echo(f"leaderboard: {out} (facts: {out.with_suffix('.json')})")


@leaderboard.command("check")
@click.argument("boards", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def leaderboard_check(boards: tuple[Path, ...]) -> None:
    """Fail if a board (.md) differs from what its facts (.json beside it) render to.

    \b
    Example:
      harness leaderboard check leaderboards/*.md
    """
    from harness.board import collection

    boards = tuple(board for board in boards if board.name != "README.md")  # not a board
    stale = [board for board in boards if not collection.is_current(board)]
    for board in stale:
        click.echo(f"{board} is stale or was edited by hand; build it again", err=True)
    if stale:
        sys.exit(1)
    click.echo(f"{len(boards)} boards match their facts")
