"""Entries held against one reference, task by task: what was gained and lost, and whether it is form or ability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from harness import leaderboard, stats, tables
from harness.errors import NotComparable, UsageError
from harness.leaderboard import Entry, Run

KIND = "comparison"


def compare(title: str, entries: Sequence[Entry], reference: str | None, sources: Sequence[str]) -> dict[str, Any]:
    """The facts of a comparison of existing runs: a board, and every entry against the reference on every task.

    reference: the name of an entry; None: "base" where there is one, else the first. Raises `NotComparable` naming the
    field where runs differ in prompts, items, decoding, graders or engine, and `UsageError` for fewer than two entries.
    """
    names = [entry.name for entry in entries]
    if len(entries) < 2:
        raise UsageError(f"a comparison needs two entries at least, found {', '.join(names) or 'none'}")
    chosen = reference or ("base" if "base" in names else names[0])
    if chosen not in names:
        raise UsageError(f"--reference {chosen!r} is none of the entries: {', '.join(names)}")
    board = leaderboard.build(title, entries, {"runs": list(sources), "engine": _engines(entries)}, reference=chosen)
    base = entries[names.index(chosen)]
    rows = [row for entry in entries if entry is not base for row in _against(entry, base, board.tasks)]
    corrected = stats.holm([row["strict"]["p"] for row in rows])
    for row, p in zip(rows, corrected, strict=True):
        row["strict"]["p_holm"] = p
    return {
        "kind": KIND,
        "schema": leaderboard.SCHEMA,
        "reference": chosen,
        "board": asdict(board),
        "items": {task: entries[0].runs[0].columns.of_task(task).items for task in board.tasks},
        "outcomes": OUTCOMES,
        "against": rows,
    }


def _engines(entries: Sequence[Entry]) -> str:
    return ", ".join(sorted({run.columns.places.compared["engine"][0] for entry in entries for run in entry.runs}))


def _against(entry: Entry, base: Entry, tasks: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for task in tasks:
        ours, theirs = (leaderboard.of_task(e.runs, task) for e in (entry, base))
        row: dict[str, Any] = {"name": entry.name, "task": task}
        for reading in ("strict", "lenient"):
            try:
                row[reading] = asdict(leaderboard.difference(ours, theirs, reading))
            except ValueError as error:
                raise NotComparable(f"{entry.name!r} and {base.name!r} share on {task} {error}") from None
        if len(ours) == len(theirs) == 1:
            row["outcomes"] = _outcomes(ours[0], theirs[0])
        row["tokens"] = [_mean_tokens(runs) for runs in (ours, theirs)]
        found.append(row)
    return found


OUTCOMES = {"g": "gained", "l": "lost", "r": "both right", "w": "both wrong", "m": "mixed"}


def _outcomes(ours: Run, theirs: Run) -> str:
    """A letter of `OUTCOMES` an item, by how both did, strictly; mixed: shares, or no verdict."""
    a, b = ours.columns.scores("strict"), theirs.columns.scores("strict")
    letters = np.full(len(a), "m")
    for letter, (one, other) in zip("glrw", ((1, 0), (0, 1), (1, 1), (0, 0)), strict=True):
        letters[(a == one) & (b == other)] = letter
    return "".join(letters.tolist())


def _mean_tokens(runs: Sequence[Run]) -> float | None:
    """Tokens a reply; None where they were not recorded."""
    counts = np.concatenate([run.columns.n_tokens for run in runs])
    return float(counts.mean()) if counts.any() else None


def markdown(facts: Mapping[str, Any]) -> str:
    """The board, then every entry against the reference."""
    reference = facts["reference"]
    head = [
        "Entry",
        "Task",
        "n",
        "Strict, points",
        "",
        "Gained / lost / both wrong",
        "Lenient, points",
        "Tokens a reply",
    ]
    lines = [
        f"## Against {tables.plain(reference)}",
        "",
        *tables.table(head, [_cells(row, len(facts["against"])) for row in facts["against"]]),
        "",
        f"▲ better, ▼ worse, after Holm's correction at {100 * stats.LEVEL:g} % over these rows; ≈ not told apart, and "
        "true differences below the figure beside it may be missed more than one time in five. Where strict moves and "
        "lenient does not, it is form and not ability (in files of lm-eval: the first and the last filter). Tokens: "
        f"the entry's, then {reference}'s. The facts (.json) say it of every item.",
        "",
    ]
    before, fold, after = leaderboard.markdown(leaderboard.Board(**facts["board"])).partition("<details>")
    return before + "\n".join(lines) + "\n" + fold + after


def _cells(row: Mapping[str, Any], of: int) -> list[str]:
    outcomes = row.get("outcomes")
    counts = [outcomes.count(letter) for letter in "glw"] if outcomes else []
    return [
        tables.plain(row["name"]),
        row["task"],
        str(row["strict"]["n"]),
        tables.percent(row["strict"], "+"),
        _verdict(row, of),
        " / ".join(map(str, counts)) or "–",
        tables.percent(row["lenient"], "+"),
        " / ".join("–" if mean is None else f"{mean:.0f}" for mean in row["tokens"]),
    ]


def _verdict(row: Mapping[str, Any], of: int) -> str:
    """▲, ▼, or ≈ with the points that would be found four times in five at the strictest of `of` tests."""
    strict = row["strict"]
    if strict["p_holm"] < stats.LEVEL:
        return "▲" if strict["value"] > 0 else "▼"
    points = leaderboard.found_from(strict, of)
    return "≈" if points is None else f"≈ {points:.1f}"
