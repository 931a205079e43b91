"""Records and boards as pandas data frames: `harness.load` and `harness.load_board`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from harness.board.board_json import read_board_json
from harness.board.existing_runs import records_files
from harness.board.render import csv_rows
from harness.errors import DataError
from harness.records.record_files import read_records
from harness.types import Record

CATEGORIES = (
    *("name", "task", "task_version", "item", "sample_hash", "level", "checkpoint"),
    *("engine", "grader_version", "sandbox", "finish"),
)


def load(run: str | Path) -> pd.DataFrame:
    """The records of a run, one row a reply. `run`: a run folder, or one file records-*.jsonl.

    | column | what it holds |
    |---|---|
    | name, seed | row of the board and training seed (a records file: the file's stem; no seed: NA) |
    | task, task_version, item, sample_hash, repeat, level | what was asked; repeat counts from 0 |
    | checkpoint, engine, grader_version, sandbox | what answered, graded and isolated it |
    | strict, lenient | score in [0, 1]; NaN: not graded, which is not "wrong" |
    | strict_answer, lenient_answer, why | the answers that were read, and why strict scored it so |
    | finish, error | "stop", "length" (cut off at the token limit) or "error" |
    | n_prompt_tokens, n_tokens, wall_s | tokens in and out, seconds |
    | prompt_hash, text | hash of the prompt as the model read it; the reply |

    Names are categories. Raises `DataError` for what is neither, naming the line if a record cannot be read.
    """
    path = Path(run)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a run folder of `harness compare` or `harness eval`")
    runs = [(path.stem, None, [path])] if path.is_file() else records_files(path)
    rows = (_row(name, seed, record) for name, seed, files in runs for record in _records(files))
    frame = pd.DataFrame.from_records(list(rows))
    if frame.empty:
        raise DataError(f"{path} holds no records")
    return frame.astype({**dict.fromkeys(CATEGORIES, "category"), "seed": "Int64", "strict": float, "lenient": float})


def load_board(path: str | Path) -> pd.DataFrame:
    """The rows of a board (its .json), best first: the columns of the .csv beside it.

    Scores, differences and their intervals are shares in [0, 1], costs means over seeds. Raises `DataError` for
    a file that is not a board of runs.
    """
    facts = read_board_json(Path(path))
    try:
        return pd.DataFrame(csv_rows(facts.get("board", facts)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not the .json of a board ({type(error).__name__}: {error}); give the file that "
            "`harness compare`, `eval` or `leaderboard build` wrote beside its .md"
        ) from None


def _records(files: Iterable[Path]) -> Iterator[Record]:
    for file in files:
        yield from read_records(file)


def _row(name: str, seed: int | None, record: Record) -> dict[str, Any]:
    strict, lenient = record.scores["strict"], record.scores["lenient"]
    return {
        "name": name,
        "seed": seed,
        "task": record.item.task,
        "task_version": record.item.task_version,
        "item": record.item.sample_id,
        "sample_hash": record.item.sample_hash,
        "repeat": record.repeat,
        "level": record.item.level,
        "checkpoint": record.origin.checkpoint,
        "engine": record.origin.engine,
        "grader_version": record.origin.grader_version,
        "sandbox": record.origin.sandbox,
        "strict": strict.value,
        "lenient": lenient.value,
        "strict_answer": strict.answer,
        "lenient_answer": lenient.answer,
        "why": strict.why,
        "finish": record.reply.finish,
        "error": record.reply.error,
        "n_prompt_tokens": record.reply.n_prompt_tokens,
        "n_tokens": record.reply.n_tokens,
        "wall_s": record.reply.wall_s,
        "prompt_hash": record.reply.prompt_hash,
        "text": record.reply.text,
    }
