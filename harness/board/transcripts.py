"""The answers in the rows of a board, item by item, read back from the records: for the page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from harness.board.entries import Entry, score_table
from harness.board.html_page import Answers, PageItem
from harness.records.record_files import decoded

Texts = dict[tuple[str, str], str]  # (task, sample id) -> a text of that item

MOST_REPLIES = 700_000  # rows x items above which texts are left out: no page of them would open quickly


def answers(entries: Sequence[Entry], reading: str) -> tuple[dict[str, list[PageItem]], dict[str, dict[str, Answers]]]:
    """(items by task, answers by row and task). Texts: the first sample of a row's first run, if it was kept.

    Questions are the prompts as the model read them, if the engine saw them.
    """
    first = entries[0].runs[0].columns
    items: dict[str, list[PageItem]] = {}
    found: dict[str, dict[str, Answers]] = {entry.name: {} for entry in entries}
    with_texts = len(first.items) * len(entries) <= MOST_REPLIES
    asked: Texts = {}  # of the first entry; the others' are the same
    texts: dict[str, Texts] = {entry.name: {} for entry in entries}
    for number, entry in enumerate(entries if with_texts else ()):
        for path in entry.runs[0].records.paths:
            _read(path, texts[entry.name], asked if number == 0 else None)
    for task in first.tasks:
        part = first.of_task(task)
        ids = list(dict.fromkeys(part.places.ids))
        items[task] = [PageItem(id_, asked.get((task, id_), "")) for id_ in ids]
        for entry in entries:
            shares = _means([run.columns.of_task(task).scores(reading) for run in entry.runs])
            of = texts[entry.name]
            replies = [of.get((task, id_), "") for id_ in ids] if of else []
            found[entry.name][task] = Answers([None if np.isnan(v) else float(v) for v in shares], replies)
    return items, found


def outcomes(entry: Entry, reading: str) -> tuple[str, list[float | None]]:
    """What to call a row's first run, and its scores item by item; None: no verdict."""
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


class _Prompt(msgspec.Struct, gc=False):
    at: int
    text: str


def _read(path: Path, replies: Texts, prompts: Texts | None) -> None:
    """Add the first reply to each item of a records file; and the prompts, which lie beside it by the item's number."""
    items: dict[tuple[str, str], None] = {}
    for reply in decoded(path, _Reply):
        items[reply.task, reply.sample_id] = None
        if reply.repeat == 0:
            replies[reply.task, reply.sample_id] = reply.text
    beside = path.with_name("prompts.jsonl")
    if prompts is not None and beside.exists():
        names = list(items)
        prompts |= {names[prompt.at]: prompt.text for prompt in decoded(beside, _Prompt) if prompt.at < len(names)}
