"""Boards of runs that exist: those that can be compared are ranked together, the others listed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.board import (
    against_reference,
    build,
    existing_runs,
    fact_sentences,
    gpu_page,
    published_scores,
    render,
    reproduced_scores,
)
from harness.board.board_json import read_board_json
from harness.board.entries import SCHEMA, Board, Entry, Ranking, board_from_json
from harness.board.facts import BoardFacts, Note, facts_from_json
from harness.board.recorded_facts import recorded_facts
from harness.errors import DataError, NotComparable
from harness.rendering import tables

KIND = "collection"


def collect_runs(
    title: str, paths: Sequence[Path], reference: str, reading: str
) -> tuple[dict[str, Any], list[list[Entry]]]:
    """The facts of a board of these runs, and the groups of entries that it ranks.

    Entries over the same items, prompts and settings are a group. One group is a board; several are a collection: a
    board for each group of two or more, and every entry listed. reference: the entry others are compared with, if it
    is in a group; "": the base, else the first of a group.
    """
    entries = existing_runs.read_runs(paths)
    groups = _groups(entries)
    sources = list(map(str, paths))
    if len(groups) == 1:
        return asdict(_board(title, entries, reference, reading, sources)), groups
    ranked = [group for group in groups if len(group) > 1]
    boards = [asdict(_board(_title(group), group, reference, reading)) for group in ranked]
    recorded = _recorded(paths)
    single = [
        asdict(build.build_board(entry.name, [entry], recorded_facts([entry]), ranking=Ranking(reading=reading)))
        for entry in entries
    ]
    rows = [
        {"facts": board["facts"], "recorded": recorded.get(board["rows"][0]["name"]), **board["rows"][0]}
        for board in single
    ]
    rows.sort(key=lambda row: (sorted(row["tasks"]), row["name"]))
    facts = {"kind": KIND, "schema": SCHEMA, "title": title, "reading": reading}
    return {
        **facts,
        "facts": asdict(BoardFacts(runs=tuple(sources))),
        "boards": boards,
        "rows": rows,
        "pictures": [],
    }, ranked


def _groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries that can be compared, together."""
    found: list[list[Entry]] = []
    for entry in entries:
        group = next((g for g in found if _comparable(g[0], entry)), None)
        if group is None:
            found.append([entry])
        else:
            group.append(entry)
    return found


def _comparable(entry: Entry, other: Entry) -> bool:
    try:
        build.refuse_mixed([entry, other])
    except NotComparable:
        return False
    return True


def _board(title: str, entries: Sequence[Entry], reference: str, reading: str, sources: Sequence[str] = ()) -> Board:
    names = [entry.name for entry in entries]
    chosen = reference if reference in names else "base" if "base" in names else names[0]
    notes = [Note("prompts not recorded")] if "" in entries[0].runs[0].columns.places.compared["prompt"] else []
    return build.build_board(title, entries, recorded_facts(entries, sources), notes, ranking=Ranking(chosen, reading))


def _title(group: Sequence[Entry]) -> str:
    columns = group[0].runs[0].columns
    return f"{', '.join(columns.tasks)}: {len(group)} that can be compared, {len(columns.items):,} items"


def _recorded(paths: Sequence[Path]) -> dict[str, Any]:
    """Row -> how its verdicts agree with those in the file it was recorded in."""
    found = {}
    for path in paths:
        for result in sorted((path / "results").glob("*.json")):
            values = json.loads(result.read_text(encoding="utf-8"))
            if "recorded" in values:
                found[values["board"]["rows"][0]["name"]] = _without_texts(values["recorded"])
    return found


def _without_texts(recorded: dict[str, Any] | None) -> dict[str, Any] | None:
    """A board holds verdicts and short answers; programs and replies stay in the data they came from."""
    if recorded is None:
        return None
    cut = {"answer": 40, "target": 40, "why": 160}
    found = [{k: _cut(v, cut[k]) if k in cut else v for k, v in d.items()} for d in recorded["differences"]]
    return recorded | {"differences": found}


def _cut(text: str | None, limit: int) -> str | None:
    """One line, bounded; None stays None: nothing was read."""
    flat = None if text is None else tables.line(text)
    return f"{flat[:limit]}…" if flat is not None and len(flat) > limit else flat


def collection_markdown(facts: Mapping[str, Any]) -> str:
    """The board: one table a task, then every reply whose verdict differs from the file's, and why."""
    lines = [f"# {tables.escape_markup(facts['title'])}", ""]
    lines += [
        "Intervals are 95 %, each of one number alone. Runs over the same items, prompts and settings are ranked "
        "together; no others are.",
        "",
    ]
    for picture in facts["pictures"]:
        lines += [render.picture_text(picture), ""]
    boards = list(map(board_from_json, facts["boards"]))
    for board in boards:
        lines += [f"## {tables.escape_markup(board.title)}", "", *render.main_part(board)]
        for picture in board.pictures:
            lines += [render.picture_text(picture), ""]
    if boards:
        lines += render.legend(boards[0])
    lines += [
        "## Every run",
        "",
        "Listed by name, not ranked: prompts, decoding and item sets differ from row to row.",
        "",
    ]
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in facts["rows"]:
        by_task[", ".join(row["tasks"])].append(row)
    for task, rows in by_task.items():
        lines += [f"### {task}", "", *tables.table(_HEAD, map(_cells, rows)), ""]
        texts = fact_sentences.sentences(facts_from_json(rows[0]["facts"]))
        lines += [f"Grader: {texts['graders']}. Sandbox: {texts['sandbox']}.", ""]
    lines += [
        "**Lenient**: the answer in any form. **Strict**: in the form our own prompt asks for; prompts of others ask "
        "for other forms. **In form**: replies in which strict could read an answer, of those that ended. "
        "**Recorded**: the verdict in the file. **Differ**: replies whose "
        "lenient verdict is not the recorded one.",
        "",
        "## Why verdicts differ",
        "",
    ]
    for row in facts["rows"]:
        lines += _explained(row)
    return "\n".join(lines).rstrip() + "\n"


_HEAD = ["File", "Items", "Samples", "Lenient %", "Strict %", "Recorded %", "Differ", "In form %"]


def _cells(row: dict[str, Any]) -> list[str]:
    recorded = row["recorded"] or {"with_verdict": 0, "repeats": 1, "differences": []}
    n = row["counts"]["n"]
    share = "–"
    if recorded["with_verdict"]:
        share = f"{100 * recorded['correct'] / recorded['with_verdict']:.2f}"
    return [
        tables.escape_markup(row["name"]),
        f"{n // recorded['repeats']:,}",
        str(recorded["repeats"]),
        tables.percent(row["lenient"]),
        tables.percent(row["strict"]),
        share,
        str(len(recorded["differences"])) if recorded["with_verdict"] else "–",
        tables.percent(row["in_form"]),
    ]


def _explained(row: dict[str, Any]) -> list[str]:
    found = (row["recorded"] or {}).get("differences", [])
    if not found:
        return [
            f"- **{tables.escape_markup(row['name'])}**: {'none differ' if row['recorded'] else 'nothing recorded'}",
            "",
        ]
    kinds = Counter(d["kind"] for d in found)
    summary = "; ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    head = ["Item", "Sample", "Recorded", "Ours", "We read", "Target", "Why"]
    rows = [
        [
            d["sample_id"].split("/", 1)[-1],
            str(d["repeat"]),
            "right" if d["recorded"] else "wrong",
            {1.0: "right", 0.0: "wrong"}.get(d["ours"], "no verdict"),
            _code(d["answer"]),
            _code(d["target"]),
            _code(d["why"]),
        ]
        for d in found
    ]
    title = f"{tables.escape_markup(row['name'])}: {len(found)} differ: {summary}"
    return render.fold(title, tables.table(head, rows))


def _code(text: str | None) -> str:
    return "nothing" if text is None else tables.code(text)


def made_of(board: Path) -> tuple[str, list[Path], str, str]:
    """(title, runs, reference, reading) that a board was built with. Raises `DataError` if it does not say so."""
    path = board.with_suffix(".json")
    facts = read_board_json(path)
    held = facts.get("board", facts)
    sources = [Path(text) for text in held.get("facts", {}).get("runs", [])]
    if not sources:
        raise DataError(f"{path} does not say which runs it was built from; use: harness leaderboard build RUN ...")
    if lost := [str(source) for source in sources if not source.exists()]:
        raise DataError(f"{board} was built of {', '.join(lost)}, which cannot be found from here; bring them back")
    return held["title"], sources, held.get("reference", ""), held["reading"]


def is_current(board: Path) -> bool:
    """Whether a board (.md), and its table (.csv) beside it, are what its facts (.json) give."""
    path = board.with_suffix(".json")
    if not path.is_file():
        raise DataError(f"{board} has no facts beside it: {path} is missing; build the board again")
    facts = read_board_json(path)
    kinds = {
        KIND: collection_markdown,
        published_scores.KIND: published_scores.published_markdown,
        reproduced_scores.KIND: reproduced_scores.reproduced_markdown,
        against_reference.KIND: against_reference.comparison_markdown,
        gpu_page.KIND: gpu_page.gpu_markdown,
    }
    render_text = kinds.get(str(facts.get("kind")), render.markdown_of_facts)
    if board.read_text(encoding="utf-8") != render_text(facts):
        return False
    ranked = facts.get("board", facts)
    drawn = [picture for of in (ranked, *ranked.get("boards", [])) for picture in of.get("pictures", [])]
    if any(not (board.parent / picture["file"]).is_file() for picture in drawn):
        return False
    table = board.with_suffix(".csv")
    if facts.get("kind") in (published_scores.KIND, reproduced_scores.KIND, gpu_page.KIND):
        return True
    return table.is_file() and table.read_text(encoding="utf-8") == render.csv_text(ranked)
