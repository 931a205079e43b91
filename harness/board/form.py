"""Whether a board is about form: what share of the replies is in the form that the task asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.board.entries import RANKED
from harness.rendering import tables

LIMIT = 0.9  # where fewer replies are in the form asked for, strict scores measure obedience more than ability


def reads_replies(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether answers are read out of replies; else choices are compared by likelihood, and there is one score."""
    return any(row["in_form"]["value"] is not None or row["strict"] != row["lenient"] for row in rows)


def warning(rows: Sequence[Mapping[str, Any]], reading: str) -> str:
    """What has to be said before the scores if a row that is ranked by strict is below LIMIT; "": none is.

    Its first sentence is the point of it.
    """
    found = list(_below(rows)) if reading == "strict" else []
    if not found:
        return ""
    what = "ranking" if sum(row.get("role") in RANKED for row in rows) > 1 else "score"
    return (
        f"This {what} is mostly about form. Fewer than {100 * LIMIT:.0f} % of the replies are in the form that the "
        f"task asks for ({'; '.join(found)}), and strict counts all others as wrong. Compare the lenient scores, or "
        "ask for a form that the models use."
    )


def _below(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """`kd: gsm8k 71.0 %` for every ranked row, with the tasks in which it is below LIMIT."""
    for row in rows:
        shares = {task: (of.get("in_form") or {}).get("value") for task, of in (row.get("tasks") or {}).items()}
        low = [f"{task} {100 * share:.1f} %" for task, share in shares.items() if share is not None and share < LIMIT]
        if row.get("role") in RANKED and low:
            yield f"{tables.escape_markup(row['name'])}: {', '.join(low)}"
