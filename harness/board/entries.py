"""What a board is made of: runs of checkpoints, rows of runs, and the facts of a whole board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness.board.facts import BoardFacts, Note, facts_from_json, note_from_json
from harness.records.columns import Columns
from harness.types import Cost

SCHEMA = 3
RANKED = ("strategy", "model")  # roles of rows that have a place; the others are references


@dataclass(frozen=True)
class Run:
    """One checkpoint's records as columns. content: the digest of the whole ones, with texts.

    seed None: no training seed (base, teacher, recorded generations). dev: strict share on dev of each checkpoint that
    could be chosen, by the share of the last stage done; spent: FLOPs up to each; chosen: the one that was. reward:
    mean over the last tenth. files: where the whole records lie, seen from the run folder; home: that folder.
    """

    digest: str
    columns: Columns = field(compare=False)
    seed: int | None = None
    cost: Cost | None = None
    status: str = "done"
    why: str = ""
    content: str = ""
    dev: Mapping[str, float] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)
    chosen: str = ""
    reward: float | None = None
    files: tuple[str, ...] = ()
    home: str = field(default="", compare=False)


@dataclass(frozen=True)
class Entry:
    """One row: a strategy with a run for each training seed, or a reference with one run."""

    name: str
    role: str  # "strategy", "base", "teacher", "model"
    runs: tuple[Run, ...]
    tried: int | None = None  # settings that were tried on dev before these were chosen; None: not recorded


@dataclass(frozen=True)
class Board:
    """All of a board; `asdict` makes its JSON. reference: the row all others are compared with; "": there is none.

    reading: the scores it ranks by: strict, or lenient if replies were made under prompts of another form.
    pictures: title, words for readers who cannot see it, and file, relative to the file the board is written to.
    """

    title: str
    rows: list[dict[str, Any]]
    tasks: list[str]
    n_items: dict[str, int]
    facts: BoardFacts
    notes: list[Note] = field(default_factory=list)
    schema: int = SCHEMA
    pairs: list[dict[str, Any]] = field(default_factory=list)  # see `claims.compare_pairs`
    reference: str = ""
    reading: str = "strict"
    pictures: list[dict[str, str]] = field(default_factory=list)


def board_from_json(values: Mapping[str, Any]) -> Board:
    """The board that `dataclasses.asdict` was made of."""
    notes = list(map(note_from_json, values["notes"]))
    return Board(**{**values, "facts": facts_from_json(values["facts"]), "notes": notes})


def runs_of_task(runs: Sequence[Run], task: str) -> list[Run]:
    """The runs with their replies to one task alone."""
    return [replace(run, columns=run.columns.of_task(task)) for run in runs]


def score_table(runs: Sequence[Run], grader: str) -> np.ndarray:
    """(runs, items) scores of runs over the same items; NaN if an item could not be graded."""
    return np.array([run.columns.scores(grader) for run in runs])
