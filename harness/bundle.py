"""All that a board is published as, from the same facts: markdown, JSON, CSV, pictures and one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import page, pictures, transcripts
from harness.leaderboard import Entry, csv_text
from harness.records import write_json, write_text

Facts = dict[str, Any]


def write(
    out: Path,
    facts: Facts,
    entries: Sequence[Entry],
    markdown: Callable[[Mapping[str, Any]], str],
    drawn: Mapping[str, str],
    with_page: bool,
) -> list[Path]:
    """Write `out` (.md), and beside it .json, .csv, a folder of pictures, and the page (.html) where asked for.

    facts: of a board, or of a comparison that holds one. drawn: title -> SVG of pictures that facts do not give. The
    page holds items and replies: publish it where those may be published.
    """
    board = facts.get("board", facts)
    found = {
        **_drawn(board, entries),
        **{name: (name.capitalize(), svg, _WORDS.get(name, name)) for name, svg in drawn.items()},
    }
    order = [kind for kind in _ORDER if kind in found] + [kind for kind in found if kind not in _ORDER]
    folder, listed = out.with_suffix(""), []
    for kind in order:
        title, svg, words = found[kind]
        file = folder / f"{kind.replace(' ', '-')}.svg"
        write_text(file, svg)
        listed.append({"title": title, "file": f"{folder.name}/{file.name}", "words": words})
    board["pictures"] = listed
    written = [out, out.with_suffix(".json"), out.with_suffix(".csv")]
    write_json(written[1], facts)
    write_text(written[2], csv_text(board))
    if with_page:
        items, answers = transcripts.answers(entries)
        held = json.loads(json.dumps(board))  # tuples as the page's own JSON has them
        text = page.render(held, items, answers, {found[kind][0]: found[kind][1] for kind in order})
        written.append(out.with_suffix(".html"))
        write_text(written[-1], text)
    write_text(out, markdown(facts))  # last: a board is there when all it points to is
    return written


CURVES = "learning curves"
MOST_ROWS = {"wins": 20}  # rows of a picture above which it shows nothing any more; else:
MOST_ROWS_OF_OTHERS = 60
_ORDER = ("pareto", CURVES, "forest", "dots", "ranks", "wins")  # the first two are not folded
_WORDS = {CURVES: "Dev score along training, against every cost"}
_TITLES = {
    "pareto": "Accuracy against cost",
    "forest": "Differences to the reference",
    "dots": "Scores by task",
    "ranks": "Ranks that are possible",
    "wins": "Items won and lost",
}


def _drawn(board: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, tuple[str, str, str]]:
    """kind -> (title, SVG, words) of every picture that there is something to draw for."""
    by_name = {entry.name: transcripts.outcomes(entry) for entry in entries}
    columns = [by_name[row["name"]] for row in board["rows"]]
    scores = {_line(name): column for name, column in columns}
    first = _line(by_name[board["reference"]][0]) if board["reference"] else ""
    named = {"title": _line(board["title"]), "reference": _line(board["reference"])}
    board = {**board, **named, "rows": [{**row, "name": _line(row["name"])} for row in board["rows"]]}
    won = {"names": list(scores), "verdicts": scores, "reference": first}
    makers: dict[str, tuple[Callable[[], str], Mapping[str, Any]]] = {
        "pareto": (lambda: pictures.pareto(board), board),
        "forest": (lambda: pictures.forest(board), board),
        "dots": (lambda: pictures.dots(board), board),
        "ranks": (lambda: pictures.ranks(board), board),
        "wins": (lambda: pictures.wins(list(scores), scores, first), won),
    }
    found = {}
    for kind, (draw, of) in makers.items():
        if len(board["rows"]) > MOST_ROWS.get(kind, MOST_ROWS_OF_OTHERS):
            continue
        try:
            found[kind] = (_TITLES[kind], draw(), pictures.words(kind, of))
        except pictures.NothingToDraw:
            continue
    return found


def _line(text: str) -> str:
    """A name on one line."""
    return " ".join(text.split())
