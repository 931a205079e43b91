"""The facts of a board of runs that exist: what their records hold, and the keys of their evaluations beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.board.entries import Entry, Run
from harness.board.facts import BoardFacts, Decoding, EngineFacts, TaskFacts, shared_decoding
from harness.records.columns import ReplyIndex

KEY_FILE = "key.json"  # of an evaluation, beside its records: what its replies depend on


def recorded_facts(entries: Sequence[Entry], sources: Sequence[str] = ()) -> BoardFacts:
    """What all of these entries have in common. sources: the paths they were read from.

    Entries of one board agree in what is compared, so the first run stands for all.
    """
    run = entries[0].runs[0]
    places = run.columns.places
    keys = _keys(run)
    tasks = {task: _task(part, keys.get(task, {})) for task, (_, part) in places.by_task.items()}
    labels = sorted(set(places.compared["engine"]))
    engine = EngineFacts(label=", ".join(labels))
    if keys and len(labels) == 1:
        described = next(iter(keys.values()))["engine"]
        engine = EngineFacts(described["engine"], described["version"], described["dtype"])
    return BoardFacts(tasks, engine, tuple(sorted(set(places.compared["sandbox"]))), runs=tuple(sources))


def _task(places: ReplyIndex, key: dict[str, Any]) -> TaskFacts:
    drawn = map(json.loads, dict.fromkeys(places.compared["decoding"]))
    return TaskFacts(
        split=key.get("split"),
        n_items=len(places.items),
        repeats=max(places.repeats) + 1,
        decoding=shared_decoding(map(Decoding.of_record, drawn)),
        grader=", ".join(sorted(set(places.compared["grader version"]))),
    )


def _keys(run: Run) -> dict[str, dict[str, Any]]:
    """For each task the key of its evaluation; none for runs of other tools."""
    paths = [path.with_name(KEY_FILE) for path in run.records.paths]
    keys = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    return {key["task"]: key for key in keys}
