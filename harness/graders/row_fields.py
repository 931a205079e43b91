"""The fields in which rows of problems and of samples have their id and their reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ID_FIELDS = ("task_id", "question_id", "problem_id", "id")
TEXT_FIELDS = ("completion", "response", "output", "solution", "text", "generation")


def row_id(row: Mapping[str, Any], default: Any = None) -> Any:
    """The id of a row, under the first of `ID_FIELDS` that is set."""
    return next((row[name] for name in ID_FIELDS if row.get(name) is not None), default)


def row_replies(row: Mapping[str, Any], fields: Sequence[str] = TEXT_FIELDS) -> tuple[str, ...]:
    """The replies in a row, under the first of `fields` that holds any: a text, a chat's last message, or several."""
    for name in fields:
        value = row.get(name)
        if isinstance(value, list) and value and isinstance(value[-1], Mapping):  # a chat
            value = value[-1].get("content")
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
            return tuple(value)
    return ()
