"""The JSON of boards, read back. `board.schema.json` beside this file says what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.board.entries import SCHEMA
from harness.errors import DataError

_AGAIN = {
    "reported": "harness leaderboard reported SCORES.toml",
    "reproduced": "ci/published",
    "gpu": "ci/gpu",
    "collection": "harness leaderboard build RUN [RUN]... --out BOARD.md",
    "comparison": "harness compare RUN RUN --out BOARD.md",
}
_OF_RUNS = "harness leaderboard build RUN --out BOARD.md, or the command that made the run: nothing is trained again"


def read_board_json(path: Path) -> dict[str, Any]:
    """The facts in the .json of a board. Raises `DataError` if it is not one, or one of another schema."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); give the .json beside a board") from None
    refuse_other_schema(facts, str(path))
    found: dict[str, Any] = facts
    return found


def refuse_other_schema(facts: Any, source: str) -> None:
    """Raise `DataError` unless these are the facts of a board in the schema of this version.

    A result of `harness eval` holds a board, and no schema of its own.
    """
    whole = facts if isinstance(facts, Mapping) else {}
    held = whole.get("board", whole)
    schema = whole.get("schema", held.get("schema") if isinstance(held, Mapping) else None)
    if schema is None:
        raise DataError(
            f"{source} is not the .json of a board: it has no schema; give the file that `harness compare`, `eval` or "
            "`leaderboard build` wrote"
        )
    if schema != SCHEMA:
        again = _AGAIN.get(str(whole.get("kind")), _OF_RUNS)
        raise DataError(
            f"{source} has schema {schema}, and this version reads {SCHEMA}; make it again from its run: {again}"
        )
