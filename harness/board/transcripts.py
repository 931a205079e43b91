"""What rows of a board answered, item by item, read back from the records: for the page that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from harness.board.entries import Entry, Run, score_table
from harness.board.html_page import Answers, PageItem
from harness.errors import DataError

T = TypeVar("T")

MOST_REPLIES = 700_000  # rows x items above which texts are left out: no page of them would open quickly


def answers(entries: Sequence[Entry], reading: str) -> tuple[dict[str, list[PageItem]], dict[str, dict[str, Answers]]]:
    """(items by task, answers by row and task). Texts: the first sample of a row's first run, where it was kept.

    Questions are the prompts as the model read them, where the engine saw them.
    """
    first = entries[0].runs[0].columns
    items: dict[str, list[PageItem]] = {}
    found: dict[str, dict[str, Answers]] = {entry.name: {} for entry in entries}
    with_texts = len(first.items) * len(entries) <= MOST_REPLIES
    texts = {entry.name: _texts(entry.runs[0]) if with_texts else {} for entry in entries}
    asked = _prompts(entries[0].runs[0]) if with_texts else {}
    for task in first.tasks:
        part = first.of_task(task)
        ids = list(dict.fromkeys(part.places.ids))
        items[task] = [PageItem(id_, asked.get((task, id_), "")) for id_ in ids]
        for entry in entries:
            shares = _means([run.columns.of_task(task).scores(reading) for run in entry.runs])
            said = texts[entry.name]
            replies = [said.get((task, id_), "") for id_ in ids] if said else []
            found[entry.name][task] = Answers([None if np.isnan(v) else float(v) for v in shares], replies)
    return items, found


def outcomes(entry: Entry, reading: str) -> tuple[str, list[float | None]]:
    """What to call a row's first run, and its scores item by item; None where there is no verdict."""
    name = entry.name if len(entry.runs) == 1 else f"{entry.name}, seed {entry.runs[0].seed}"
    return name, [None if np.isnan(v) else float(v) for v in score_table(entry.runs[:1], reading)[0]]


def _means(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over runs; NaN where one of them has no verdict."""
    return np.asarray(np.mean(columns, axis=0))


class _Reply(msgspec.Struct, gc=False):
    task: str
    sample_id: str
    repeat: int
    text: str


def _texts(run: Run) -> dict[tuple[str, str], str]:
    """(task, sample id) -> its first reply; none where the run does not say where its records are."""
    found = {}
    for file in run.files:
        for reply in _rows(Path(run.home) / file, _Reply):
            if reply.repeat == 0:
                found[reply.task, reply.sample_id] = reply.text
    return found


class _Prompt(msgspec.Struct, gc=False):
    at: int
    text: str


def _prompts(run: Run) -> dict[tuple[str, str], str]:
    """(task, sample id) -> its prompt. Prompts lie beside the records, by the number of the item."""
    found: dict[tuple[str, str], str] = {}
    for file in run.files:
        path = (Path(run.home) / file).with_name("prompts.jsonl")
        if path.exists():
            places = list(
                dict.fromkeys((reply.task, reply.sample_id) for reply in _rows(Path(run.home) / file, _Reply))
            )
            found |= {places[prompt.at]: prompt.text for prompt in _rows(path, _Prompt) if prompt.at < len(places)}
    return found


def _rows(path: Path, kind: type[T]) -> Iterable[T]:
    try:
        return msgspec.json.Decoder(kind).decode_lines(path.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
