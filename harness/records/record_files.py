"""Files of records, a line a reply: the one reader of their format, and the digest of what they say.

A line is a `Record` as `serialization.record_to_json` writes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.errors import DataError
from harness.types import Finish, Record, RecordItem, RecordOrigin, RecordReply, Score

T = TypeVar("T")

_WALL_S = b'"wall_s":'
_NUMBER_AND_END = re.compile(rb"[-+.0-9eE]+\}")


class RecordsDigest:
    """SHA-256 of records as JSON lines, with `wall_s` 0: equal replies and verdicts have equal digests."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """Take in a line, without its line break. Raises ValueError if `record_to_json` did not write it."""
        content, field, seconds = line.rpartition(_WALL_S)  # the last of the sorted keys
        if not field or not _NUMBER_AND_END.fullmatch(seconds):
            raise ValueError("its last field is not `wall_s`")
        self._whole.update(content + _WALL_S + b"0.0}\n")

    def hexdigest(self) -> str:
        return self._whole.hexdigest()


def decoded(path: Path, kind: type[T], digest: RecordsDigest | None = None) -> Iterator[T]:
    """The lines of a file, one at a time, each as a `kind`: a msgspec.Struct of the fields that are wanted.

    digest: takes in every line. Raises `DataError` naming a line that is not a record.
    """
    decode = msgspec.json.Decoder(kind).decode
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    found = decode(line)
                    if digest is not None:
                        digest.add(line.removesuffix(b"\n"))
                except (msgspec.MsgspecError, ValueError) as error:
                    raise DataError(
                        f"{path}, line {number}: not a record ({error}); remove the file to have it written anew"
                    ) from None
                yield found
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; is it a records file of `harness eval`?") from None


class _Score(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    value: float | None
    answer: str | None = None
    why: str = ""


class _Whole(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Every field of a `Record` and its parts."""

    task: str
    task_version: str
    sample_id: str
    sample_hash: str
    repeat: int
    prompt_hash: str
    checkpoint: str
    engine: str
    sampling: dict[str, Any]
    grader_version: str
    sandbox: str
    text: str
    n_prompt_tokens: int
    n_tokens: int
    finish: Finish
    wall_s: float
    scores: dict[str, _Score]
    error: str = ""
    level: str = ""
    cluster: str = ""
    unproven: str = ""


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, one at a time. Raises `DataError` naming a line that is not a record."""
    for line in decoded(path, _Whole):
        yield Record(
            RecordItem(line.task, line.task_version, line.sample_id, line.sample_hash, line.level, line.cluster),
            RecordOrigin(line.checkpoint, line.engine, line.sampling, line.grader_version, line.sandbox, line.unproven),
            line.repeat,
            RecordReply(
                line.text,
                line.n_prompt_tokens,
                line.n_tokens,
                line.finish,
                line.prompt_hash,
                line.wall_s,
                line.error,
            ),
            {name: Score(score.value, score.answer, score.why) for name, score in line.scores.items()},
        )
