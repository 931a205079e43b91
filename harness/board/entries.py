"""What a board is made of: runs of checkpoints, rows of runs, and the facts of a whole board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.board.facts import BoardFacts, Note, facts_from_json, note_from_json
from harness.records.columns import Columns
from harness.types import Cost

SCHEMA = 5
RANKED = ("strategy", "model")  # roles of rows that have a place; the others are references


@dataclass(frozen=True)
class DevSelection:
    """Which checkpoint of a run was chosen on dev. Checkpoints are named by the percentage of the last stage done.

    dev: strict share on dev of each that could be chosen; spent: FLOPs up to each. reward: mean train reward over the
    last tenth; None: the run had no reward.
    """

    chosen: str = ""
    dev: Mapping[str, float] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)
    reward: float | None = None


@dataclass(frozen=True)
class RecordFiles:
    """Where the records of a run are. files: relative to the run folder; home: that folder; content: their digest."""

    files: tuple[str, ...] = ()
    content: str = ""
    home: str = field(default="", compare=False)

    @property
    def paths(self) -> list[Path]:
        """The files as paths from here."""
        return [Path(self.home) / file for file in self.files]


@dataclass(frozen=True)
class Run:
    """One checkpoint's records as columns. seed None: not trained here (base, teacher, recorded generations)."""

    digest: str
    columns: Columns = field(compare=False)
    _: KW_ONLY
    seed: int | None = None
    cost: Cost | None = None
    status: str = "done"
    why: str = ""
    selection: DevSelection = DevSelection()
    records: RecordFiles = RecordFiles()


@dataclass(frozen=True)
class Entry:
    """One row: a strategy with a run for each training seed, or a reference with one run."""

    name: str
    role: str  # "strategy", "base", "teacher", "model"
    runs: tuple[Run, ...]
    tried: tuple[int, ...] | None = None  # for each stage, settings that were tried on dev; None: not recorded


@dataclass(frozen=True)
class Ranking:
    """How the rows of a board are compared.

    reference: the entry all others are compared with; "": the base if there is one. reading: the scores to rank by.
    beside: tests that are shown beside the board, with a `value` and a `p`: they are corrected together with its own,
    and get a `p_holm` and a `verdict`.
    """

    reference: str = ""
    reading: str = "strict"
    beside: Sequence[dict[str, Any]] = ()


STRICT_RANKING = Ranking()


@dataclass(frozen=True)
class Board:
    """All of a board; `asdict` makes its JSON. reference: the row all others are compared with; "": there is none.

    reading: the scores it ranks by: strict, or lenient if replies were made under prompts of another form.
    pictures: title, words for readers who cannot see it, and file, relative to the file the board is written to. tests:
    how many tests are corrected together: all that a claim of this board rests on. clusters: how many groups of related
    items there are; None: all items are independent.
    """

    title: str
    rows: list[dict[str, Any]]
    tasks: list[str]
    n_items: dict[str, int]
    facts: BoardFacts
    notes: list[Note] = field(default_factory=list)
    schema: int = SCHEMA
    pairs: list[dict[str, Any]] = field(default_factory=list)  # of strategies; see `family.pairs_of_strategies`
    reference: str = ""
    reading: str = "strict"
    pictures: list[dict[str, str]] = field(default_factory=list)
    tests: int = 0
    clusters: int | None = None


def board_from_json(values: Mapping[str, Any]) -> Board:
    """The board that `dataclasses.asdict` was made of."""
    notes = list(map(note_from_json, values["notes"]))
    return Board(**{**values, "facts": facts_from_json(values["facts"]), "notes": notes})


def other_reading(reading: str) -> str:
    """Lenient for strict, and strict for lenient."""
    return "lenient" if reading == "strict" else "strict"


def runs_of_task(runs: Sequence[Run], task: str) -> list[Run]:
    """The runs with their replies to one task alone."""
    return [replace(run, columns=run.columns.of_task(task)) for run in runs]


def score_table(runs: Sequence[Run], grader: str) -> np.ndarray:
    """(runs, items) scores of runs over the same items; NaN if an item could not be graded."""
    return np.array([run.columns.scores(grader) for run in runs])
