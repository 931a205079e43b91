"""Train data of the user's own, in the forms that training tools use: `--train-data FILE`.

A file holds JSON lines, or one JSON array, plain or gzip; all rows have one form, which the first row decides:

    {"prompt": "...", "target": "42", "completion": "..."}          ours; only sft needs the completion
    {"prompt": "...", "completion": "..."}                          TRL's; both may be lists of messages
    {"messages": [{"role": "user", "content": "..."}, ...]}         the last turn of the assistant is learnt
    {"conversations": [{"from": "human", "value": "..."}, ...]}     ShareGPT
    {"instruction": "...", "input": "...", "output": "..."}         Alpaca
    {"question": "...", "answer": "..."}

Any row may have "task" (which grader it belongs to; needed if there are several), "target" (the right answer, which
trainers that grade replies need) and "metadata" (read by the task's grader).
"""

from __future__ import annotations

import difflib
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Message, Sample, TrainRow

_ROLES = {"human": "user", "gpt": "assistant", **{role: role for role in ("system", "user", "assistant")}}
_COMMON = ("task", "target", "metadata")
Parts = tuple[tuple[Message, ...], str | None]  # what is asked, and the reply to learn; None: there is none


@dataclass(frozen=True)
class TrainFile:
    """The rows of a file, in order. source: its path, with its form if that is not ours."""

    rows: tuple[TrainRow, ...]
    source: str


@dataclass(frozen=True)
class _Form:
    """fields: which a row of this form has, the first ones always."""

    name: str
    always: tuple[str, ...]
    sometimes: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Parts]


def _text(values: Mapping[str, Any], field: str) -> str:
    if not isinstance(values.get(field), str):
        raise DataError(f"needs a text field {field!r}, got {values.get(field)!r}")
    return str(values[field])


def _turns(found: object, field: str, role: str, content: str) -> tuple[Message, ...]:
    """Messages of a list of objects whose keys are `role` and `content`."""
    turns = []
    for turn in found if isinstance(found, list) else ():
        if not isinstance(turn, dict) or turn.get(role) not in _ROLES or not isinstance(turn.get(content), str):
            raise DataError(
                f"{field} must hold objects with {role!r} (one of {', '.join(_ROLES)}) and a text {content!r}, "
                f"got {str(turn)[:100]}"
            )
        turns.append(Message(_ROLES[turn[role]], turn[content]))
    if not turns:
        raise DataError(f"{field} must be a list of messages, got {str(found)[:100]}")
    return tuple(turns)


def _dialogue(turns: tuple[Message, ...]) -> Parts:
    """A conversation; without an assistant's turn at its end there is nothing to learn."""
    if turns[-1].role == "assistant":
        return turns[:-1], turns[-1].content
    return turns, None


def _own(values: Mapping[str, Any]) -> Parts:
    completion = values.get("completion")
    if completion is not None and not isinstance(completion, str):
        raise DataError(f"completion must be text, got {completion!r}")
    return (Message("user", _text(values, "prompt")),), completion


def _trl(values: Mapping[str, Any]) -> Parts:
    if not isinstance(values["prompt"], list):
        return _own(values)
    asked = _turns(values["prompt"], "prompt", "role", "content")
    return _dialogue((*asked, *_turns(values["completion"], "completion", "role", "content")))


def _alpaca(values: Mapping[str, Any]) -> Parts:
    asked = "\n\n".join(filter(None, (_text(values, "instruction"), str(values.get("input") or ""))))
    return (Message("user", asked),), _text(values, "output")


FORMS = (
    _Form("ours", ("prompt", "target"), ("completion",), _own),
    _Form("prompt and completion", ("prompt", "completion"), (), _trl),
    _Form("messages", ("messages",), (), lambda row: _dialogue(_turns(row["messages"], "messages", "role", "content"))),
    _Form(
        "ShareGPT",
        ("conversations",),
        ("system",),
        lambda row: _dialogue(_turns(row["conversations"], "conversations", "from", "value")),
    ),
    _Form("Alpaca", ("instruction", "output"), ("input",), _alpaca),
    _Form(
        "question and answer",
        ("question", "answer"),
        (),
        lambda row: ((Message("user", _text(row, "question")),), _text(row, "answer")),
    ),
)


def read_train_file(path: Path, tasks: Sequence[str]) -> TrainFile:
    """The rows of a file for these tasks. Raises `DataError` naming file, line and field."""
    rows, form = [], None
    for number, (where, values) in enumerate(_objects(path), 1):
        form = form or _form(values)
        try:
            rows.append(_row(number, values, form, tasks))
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    if form is None:
        raise DataError(f"train data {path} is empty")
    return TrainFile(tuple(rows), str(path) if form is FORMS[0] else f"{path} (form: {form.name})")


def _objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of each row. Raises `DataError` for a file that cannot be read, or a row that is not an object."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"train data {path}: {error}") from None
    for where, row in _array(path, text) or _lines(path, text):
        if not isinstance(row, dict):
            raise DataError(f"{where}: a row must be an object, got {type(row).__name__}")
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            broken = error.object[error.start]
            raise DataError(f"{where}: holds {broken!r}, half of a character, which no tokenizer reads") from None
        yield where, row


def _array(path: Path, text: str) -> Iterator[tuple[str, Any]] | None:
    """The rows of a JSON array; None if the text is not one."""
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else None
    except ValueError:
        return None
    return None if found is None else ((f"{path}, row {n}", row) for n, row in enumerate(found, 1))


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                yield where, json.loads(line)
            except ValueError as error:
                raise DataError(f"{where}: not JSON ({error})") from None


def _form(values: Mapping[str, Any]) -> _Form:
    """The first form whose fields a row has; ours if there is none, so that the error names its fields."""
    return next((form for form in FORMS if set(form.always) <= values.keys()), FORMS[0])


def _row(number: int, values: Mapping[str, Any], form: _Form, tasks: Sequence[str]) -> TrainRow:
    known = (*form.always, *form.sometimes, *_COMMON)
    for key in values:  # other fields are the user's own, but a misspelt one would be missed
        if key not in known and (close := difflib.get_close_matches(key, known, n=1, cutoff=0.8)):
            raise DataError(f"unknown field {key!r}: did you mean {close[0]!r}?")
    if form is not FORMS[0] and (missing := [name for name in form.always if name not in values]):
        raise DataError(f"needs {missing[0]!r}, as the first row of this file has it (form: {form.name})")
    messages, completion = form.read(values)
    target = values.get("target", "" if form is not FORMS[0] else None)
    if isinstance(target, (int, float)) and not isinstance(target, bool):
        target = str(target)
    if not isinstance(target, str):
        raise DataError(f"needs a text field 'target', got {target!r}")
    task = values.get("task", tasks[0] if len(tasks) == 1 else None)
    if not isinstance(task, str) or task not in tasks:
        raise DataError(f"task must be one of {', '.join(tasks)}, got {task!r}")
    metadata = values.get("metadata", {})
    if not isinstance(metadata, dict):
        raise DataError(f"metadata must be an object, got {metadata!r}")
    sample = Sample(f"{task}/own/{number}", messages, target, metadata)
    return TrainRow(task, sample, completion if completion and completion.strip() else None)
