"""Whether a board is about form or the token limit: what share of the replies is in the form asked for, and ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.board.entries import RANKED
from harness.rendering import tables

LIMIT = 0.9  # where fewer replies are in the form asked for, strict scores measure obedience more than ability
CUT_LIMIT = 0.1  # where more replies are cut off, strict scores measure the token limit as well


def reads_replies(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether answers are read out of replies; else choices are compared by likelihood, and there is one score."""
    return any(
        row["in_form"]["value"] is not None or row["strict"] != row["lenient"] or row["counts"]["truncated"]
        for row in rows
    )


def warnings(rows: Sequence[Mapping[str, Any]], reading: str) -> list[str]:
    """What has to be said before the scores if a row that is ranked by strict is below LIMIT or above CUT_LIMIT.

    The first sentence of each is the point of it.
    """
    ranked = [row for row in rows if row.get("role") in RANKED] if reading == "strict" else []
    what = "ranking" if len(ranked) > 1 else "score"
    found = []
    if low := _shares(ranked, _in_form, lambda share: share < LIMIT):
        found.append(
            f"This {what} is mostly about form. Fewer than {100 * LIMIT:.0f} % of the replies are in the form that the "
            f"task asks for ({low}), and strict counts all others as wrong. Compare the lenient scores, or ask for a "
            "form that the models use."
        )
    if cut := _shares(ranked, _cut_off, lambda share: share > CUT_LIMIT):
        found.append(
            f"This {what} depends on the token limit. More than {100 * CUT_LIMIT:.0f} % of the replies were cut off at "
            f"it ({cut}), and strict counts them as wrong. Raise --max-tokens, or read the score as one at this limit."
        )
    return found


def _in_form(of: Mapping[str, Any]) -> float | None:
    return (of.get("in_form") or {}).get("value")  # boards of an earlier schema have none


def _cut_off(of: Mapping[str, Any]) -> float:
    counts: Mapping[str, int] = of["counts"]
    return counts["truncated"] / counts["n"]


def _shares(rows: Sequence[Mapping[str, Any]], share_of: Callable[..., float | None], bad: Callable[..., bool]) -> str:
    """`kd: gsm8k 71.0 %; ...` for the rows and tasks whose share is bad."""
    found = []
    for row in rows:
        shares = {task: share_of(of) for task, of in (row.get("tasks") or {}).items()}
        named = [f"{task} {100 * share:.1f} %" for task, share in shares.items() if share is not None and bad(share)]
        if named:
            found.append(f"{tables.escape_markup(row['name'])}: {', '.join(named)}")
    return "; ".join(found)
