"""Values as JSON lines, and such files read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.types import (
    Budget,
    Cost,
    Message,
    Record,
    RecordItem,
    RecordOrigin,
    RecordReply,
    Sample,
    Stage,
    TrainRow,
    canonical_json,
)

_PARTS = {part: tuple(f.name for f in fields(part)) for part in (RecordItem, RecordOrigin, RecordReply)}


def record_to_json(record: Record) -> str:
    """One line, keys sorted, no line break inside; the fields of the record's parts stand beside each other.

    `cluster` and `unproven` stand only in records that have something to say there.
    """
    values: dict[str, Any] = {"repeat": record.repeat}
    for part in (record.item, record.origin, record.reply):
        values |= {name: getattr(part, name) for name in _PARTS[type(part)]}  # asdict copies, and is ten times slower
    for name in ("cluster", "unproven"):
        if not values[name]:
            del values[name]
    return canonical_json({**values, "scores": {name: vars(score) for name, score in record.scores.items()}})


def sample_from_json(values: Mapping[str, Any]) -> Sample:
    messages = tuple(Message(**message) for message in values["messages"])
    return Sample(values["id"], messages, values["target"], values["metadata"])


def row_to_json(row: TrainRow) -> str:
    return canonical_json({"task": row.task, "sample": row.sample.as_json(), "completion": row.completion})


def row_from_json(line: str) -> TrainRow:
    values = json.loads(line)
    return TrainRow(values["task"], sample_from_json(values["sample"]), values["completion"])


def stage_from_json(values: Mapping[str, Any]) -> Stage:
    return Stage(**{**values, "budget": Budget(**values["budget"]), "tasks": tuple(values["tasks"])})


def cost_from_json(values: Mapping[str, Any]) -> Cost:
    return Cost(**values)


def read_lines(path: Path) -> list[str]:
    """The complete lines of an append-only file. A last line without its newline was cut by a crash and is dropped."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return text.split("\n")[:-1]  # not splitlines: a reply may hold U+2028


def read_objects(path: Path) -> list[dict[str, Any]]:
    """The objects of an append-only file of JSON lines."""
    return [json.loads(line) for line in read_lines(path)]


def read_rows(path: Path) -> Iterator[TrainRow]:
    """Training rows of a stage folder, in order."""
    return (row_from_json(line) for line in read_lines(path))
