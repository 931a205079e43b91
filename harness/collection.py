"""A board of results that are shown side by side without being ranked: each was made under prompts of its own."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import leaderboard, pairwise, reported, tables
from harness.errors import DataError

KIND = "collection"


def collect(title: str, results: Sequence[Path]) -> dict[str, Any]:
    """The facts of a board of `harness eval` results, in order of task and name. Raises `DataError` for other files."""
    rows = []
    for path in results:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            board = found["board"]
            recorded = _without_texts(found.get("recorded"))
            rows += [{"facts": board["facts"], "recorded": recorded, **row} for row in board["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no result of `harness eval` ({type(error).__name__}: {error})") from None
    rows.sort(key=lambda row: (sorted(row["tasks"]), row["name"]))
    return {"kind": KIND, "schema": leaderboard.SCHEMA, "title": title, "rows": rows}


def _without_texts(recorded: dict[str, Any] | None) -> dict[str, Any] | None:
    """A board holds verdicts and short answers; programs and replies stay in the data they came from."""
    if recorded is None:
        return None
    cut = {"answer": 40, "target": 40, "why": 160}
    found = [{k: _cut(v, cut[k]) if k in cut else v for k, v in d.items()} for d in recorded["differences"]]
    return recorded | {"differences": found}


def _cut(text: str | None, limit: int) -> str | None:
    """One line, bounded; None stays None: nothing was read."""
    flat = None if text is None else " ".join(text.split())
    return f"{flat[:limit]}…" if flat is not None and len(flat) > limit else flat


def markdown(facts: dict[str, Any]) -> str:
    """The board: one table a task, then every reply that we and the file judge differently, and why."""
    lines = [f"# {facts['title']}", ""]
    lines += [
        "Replies of real models, recorded by other projects under prompts of their own and scored here by our graders. "
        "Rows are listed by name, not ranked: prompts, decoding and item sets differ. Intervals are 95 %.",
        "",
    ]
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in facts["rows"]:
        by_task[", ".join(row["tasks"])].append(row)
    for task, rows in by_task.items():
        lines += [f"## {task}", "", *tables.table(_HEAD, map(_cells, rows)), ""]
        lines += [
            f"Grader: {'; '.join(rows[0]['facts']['graders'])}. Sandbox: {', '.join(rows[0]['facts']['sandbox'])}.",
            "",
        ]
    lines += [
        "**Lenient**: the answer anywhere in the reply. **Strict**: in the format our own prompt asks for; GSM8K "
        "prompts of others ask for other formats. **Recorded**: the verdict in the file. **Differ**: replies where "
        "lenient and recorded disagree.",
        "",
        "## Why verdicts differ",
        "",
    ]
    for row in facts["rows"]:
        lines += _explained(row)
    return "\n".join(lines).rstrip() + "\n"


_HEAD = ["File", "Items", "Samples", "Lenient %", "Strict %", "Recorded %", "Differ", "Unread %"]


def _cells(row: dict[str, Any]) -> list[str]:
    recorded = row["recorded"] or {"with_verdict": 0, "repeats": 1, "differences": []}
    n = row["counts"]["n"]
    share = "–"
    if recorded["with_verdict"]:
        share = f"{100 * recorded['correct'] / recorded['with_verdict']:.2f}"
    return [
        row["name"],
        f"{n // recorded['repeats']:,}",
        str(recorded["repeats"]),
        tables.percent(row["lenient"]),
        tables.percent(row["strict"]),
        share,
        str(len(recorded["differences"])) if recorded["with_verdict"] else "–",
        f"{100 * row['counts']['unparsable'] / n:.1f}",
    ]


def _explained(row: dict[str, Any]) -> list[str]:
    found = (row["recorded"] or {}).get("differences", [])
    if not found:
        return [
            f"- **{row['name']}**: none differ" if row["recorded"] else f"- **{row['name']}**: nothing recorded",
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
    title = f"{row['name']}: {len(found)} differ: {summary}"
    return [f"<details><summary>{title}</summary>", "", *tables.table(head, rows), "", "</details>", ""]


def _code(text: str | None) -> str:
    """A table cell in which nothing is markup."""
    if text is None:
        return "nothing"
    plain = text.replace("`", "'")
    return f"`{plain}`"


def is_current(board: Path) -> bool:
    """Whether a board (.md), and its table (.csv) beside it, are what its facts (.json) give."""
    path = board.with_suffix(".json")
    if not path.is_file():
        raise DataError(f"{board} has no facts beside it: {path} is missing; build the board again")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); build the board again") from None
    kinds = {KIND: markdown, reported.KIND: reported.markdown, pairwise.KIND: pairwise.markdown}
    render = kinds.get(facts.get("kind"), leaderboard.markdown_of)
    if board.read_text(encoding="utf-8") != render(facts):
        return False
    if facts.get("kind") in (KIND, reported.KIND):
        return True
    ranked = facts.get("board", facts)
    table = board.with_suffix(".csv")
    drawn = all((board.parent / picture["file"]).is_file() for picture in ranked["pictures"])
    return drawn and table.is_file() and table.read_text(encoding="utf-8") == leaderboard.csv_text(ranked)
