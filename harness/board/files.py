"""All that a board is published as, from the same facts: markdown, JSON, CSV, pictures and one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.atomic import write_json, write_text
from harness.board import html_page, transcripts
from harness.board.entries import Entry
from harness.board.render import csv_text
from harness.rendering import board_plots, forest_plot, layout, pareto_plot, tables, wins_plot

Facts = dict[str, Any]


Picture = tuple[str, str, str]  # title, SVG, words


def draw_pictures(
    facts: Facts, groups: Sequence[Sequence[Entry]], drawn: Mapping[str, str]
) -> list[dict[str, Picture]]:
    """For each board of the facts its pictures by kind. drawn: kind -> SVG of those that facts do not give."""
    more = {kind: (kind.capitalize(), svg, _WORDS.get(kind, kind)) for kind, svg in drawn.items()}
    return [_drawn(board, entries) | more for board, entries in zip(_boards(facts), groups, strict=True)]


def _boards(facts: Facts) -> list[Facts]:
    """Those of a collection; else the one that facts are, or hold."""
    boards: list[Facts] = facts["boards"] if "boards" in facts else [facts.get("board", facts)]
    return boards


def write_board_files(
    out: Path,
    facts: Facts,
    groups: Sequence[Sequence[Entry]],
    drawings: Sequence[Mapping[str, Picture]],
    markdown: Callable[[Mapping[str, Any]], str],
    with_page: bool,
) -> list[Path]:
    """Write `out` (.md), and beside it .json, .csv, a folder of pictures, and a page (.html) if asked for.

    facts: of a board, of a comparison that holds one, or of a collection of several, each with its group of entries and
    what `draw_pictures` made of it. A page contains items and replies: publish it only if those may be published.
    """
    folder, pages = out.with_suffix(""), list[Path]()
    is_one = "boards" not in facts
    holder = facts.get("board", facts)
    if not is_one:
        _keep(
            holder,
            folder,
            "",
            {"dots": (_TITLES["dots"], board_plots.dots(facts), board_plots.alt_text("dots", facts))},
        )
    for number, (board, entries, found) in enumerate(zip(_boards(facts), groups, drawings, strict=True), 1):
        prefix = "" if is_one else f"{number}-"
        shown = {kind: found[kind] for kind in (_ORDER if is_one else _OF_A_GROUP) if kind in found}
        _keep(board, folder, prefix, shown)
        if with_page:
            pages.append(out.with_suffix(".html") if is_one else folder / f"{number}.html")
            write_text(pages[-1], _page(board, entries, found))
    write_json(out.with_suffix(".json"), facts)
    write_text(out.with_suffix(".csv"), csv_text(holder))
    write_text(out, markdown(facts))  # last: a board is there when all it points to is
    return [out, out.with_suffix(".json"), out.with_suffix(".csv"), *pages]


def _keep(holder: Facts, folder: Path, prefix: str, found: Mapping[str, Picture]) -> None:
    """Write pictures and note them in the facts, in place of earlier ones."""
    holder["pictures"] = []
    for kind, (title, svg, words) in found.items():
        name = f"{prefix}{kind.replace(' ', '-')}.svg"
        write_text(folder / name, svg)
        holder["pictures"].append({"title": title, "file": f"{folder.name}/{name}", "words": words})


def _page(board: Facts, entries: Sequence[Entry], found: Mapping[str, Picture]) -> str:
    items, answers = transcripts.answers(entries, board["reading"])
    held = json.loads(json.dumps(board))  # as its own JSON has it
    shown = {found[kind][0]: found[kind][1] for kind in _ORDER if kind in found}
    return html_page.render_page(held, items, answers, shown)


CURVES = "learning curves"
MOST_ROWS = {"wins": 20}  # rows of a picture above which it shows nothing any more; else:
MOST_ROWS_OF_OTHERS = 60
_ORDER = ("pareto", CURVES, "forest", "dots", "ranks", "wins")  # the first two are not folded
_OF_A_GROUP = ("forest", "wins")
_WORDS = {CURVES: "Dev score along training, against every cost"}
_TITLES = {
    "pareto": "Accuracy against cost",
    "forest": "Differences to the reference",
    "dots": "Scores by task",
    "ranks": "Ranks that are possible",
    "wins": "Items won and lost",
}


def _drawn(board: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, Picture]:
    """kind -> (title, SVG, words) of every picture that there is something to draw for."""
    by_name = {entry.name: transcripts.outcomes(entry, board["reading"]) for entry in entries}
    columns = [by_name[row["name"]] for row in board["rows"]]
    scores = {tables.line(name): column for name, column in columns}
    first = tables.line(by_name[board["reference"]][0]) if board["reference"] else ""
    named = {"title": tables.line(board["title"]), "reference": tables.line(board["reference"])}
    board = {**board, **named, "rows": [{**row, "name": tables.line(row["name"])} for row in board["rows"]]}
    won = {"names": list(scores), "verdicts": scores, "reference": first}
    makers: dict[str, tuple[Callable[[], str], Mapping[str, Any]]] = {
        "pareto": (lambda: pareto_plot.pareto(board), board),
        "forest": (lambda: forest_plot.board_forest(board), board),
        "dots": (lambda: board_plots.dots(board), board),
        "ranks": (lambda: board_plots.rank_plot(board), board),
        "wins": (lambda: wins_plot.wins(list(scores), scores, first), won),
    }
    found = {}
    for kind, (draw, of) in makers.items():
        if len(board["rows"]) > MOST_ROWS.get(kind, MOST_ROWS_OF_OTHERS):
            continue
        try:
            found[kind] = (_TITLES[kind], draw(), board_plots.alt_text(kind, of))
        except layout.NothingToDraw:
            continue
    return found
