"""A train set from a file of the user's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.errors import DataError
from harness.types import Message, Sample, TrainRow


def read_train_data(path: Path, tasks: Sequence[str]) -> tuple[TrainRow, ...]:
    """Rows of a JSONL file, in order.

    A row: `{"task": "gsm8k", "prompt": "...", "target": "...", "completion": "...", "metadata": {...}}`. task may be
    left out where the suite has one task; completion is needed by sft alone; metadata is what the task's grader reads.
    Raises `DataError` naming file, line and field.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"train data {path}: {error}") from None
    rows = [_row(f"{path}, line {n}", n, line, tasks) for n, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError(f"train data {path} is empty")
    return tuple(rows)


def _row(where: str, number: int, line: str, tasks: Sequence[str]) -> TrainRow:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise DataError(f"{where}: a row must be an object, got {type(values).__name__}")
    for name in ("prompt", "target"):
        if not isinstance(values.get(name), str):
            raise DataError(f"{where}: needs a text field {name!r}, got {values.get(name)!r}")
    task = values.get("task", tasks[0] if len(tasks) == 1 else None)
    if not isinstance(task, str) or task not in tasks:
        raise DataError(f"{where}: task must be one of {', '.join(tasks)}, got {task!r}")
    completion = values.get("completion")
    if completion is not None and not isinstance(completion, str):
        raise DataError(f"{where}: completion must be text, got {completion!r}")
    sample = Sample(
        f"{task}/own/{number}", (Message("user", values["prompt"]),), values["target"], values.get("metadata", {})
    )
    return TrainRow(task, sample, completion)
