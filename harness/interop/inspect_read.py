"""Reads Inspect logs: samples, their prompts and their scores."""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from harness.errors import DataError

_ZSTD = 93  # Zstandard, Inspect's compression; Python's zipfile can read it from 3.14 on
_READ = ("id", "epoch", "input", "target", "output", "scores", "metadata", "error", "attachments")


def read_inspect_samples(path: Path) -> Iterator[Mapping[str, Any]]:
    """The samples of a log without their events, by epoch, then in the order of the file; a `.eval` is read lazily.

    Raises `DataError` for a file that is damaged or is not an Inspect log.
    """
    if path.suffix == ".json":
        yield from _read_json(path)
        return
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as content:
            names = [info for info in archive.infolist() if re.match(r"samples/.*_epoch_[0-9]+\.json$", info.filename)]
            if "header.json" not in archive.namelist() and "_journal/start.json" not in archive.namelist():
                raise DataError(f"{path} is a zip, but not an Inspect log: it contains no header.json")
            for info in sorted(names, key=lambda info: int(info.filename.rpartition("_epoch_")[2][:-5])):
                sample = json.loads(_member(archive, content, info))
                yield {key: sample[key] for key in _READ if key in sample}
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, struct.error) as error:
        raise DataError(f"Inspect log {path}: {error}; expected a .eval file (a zip) or a .json log") from error


def _read_json(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        log = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"Inspect log {path}: {error}; expected one JSON object") from error
    if not isinstance(log, dict) or not isinstance(log.get("eval"), dict) or not isinstance(log.get("samples"), list):
        raise DataError(f"{path} is not an Inspect log with samples: expected an object with 'eval' and 'samples'")
    for sample in sorted(log["samples"], key=lambda sample: int(sample["epoch"])):
        yield {key: sample[key] for key in _READ if key in sample}


def _member(archive: zipfile.ZipFile, content: IO[bytes], info: zipfile.ZipInfo) -> bytes:
    """One member of a log. Raises `DataError` if Zstandard is needed and pyarrow is missing."""
    if info.compress_type != _ZSTD:
        return archive.read(info)
    try:
        import pyarrow  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError(f"{archive.filename} is compressed with Zstandard: pip install pyarrow to read it") from error
    content.seek(info.header_offset)
    header = content.read(30)
    name, extra = struct.unpack("<HH", header[26:30])  # lengths, which may differ from the zip's list of contents
    content.seek(name + extra, os.SEEK_CUR)
    packed = content.read(info.compress_size)
    with pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd") as stream:
        found = bytes(stream.read())
    if zlib.crc32(found) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename} is damaged")
    return found


def last_answer(sample: Mapping[str, Any]) -> str | None:
    """The model's last answer; None if the sample ended in an error before any reply."""
    choices = sample["output"].get("choices") or []
    if not choices:
        return sample["output"].get("completion") or (None if sample.get("error") else "")
    return content_text(choices[0]["message"]["content"], sample)


def was_cut(sample: Mapping[str, Any]) -> bool:
    """Whether the reply was truncated at a token limit."""
    choices = sample["output"].get("choices") or [{}]
    return choices[0].get("stop_reason") in ("max_tokens", "model_length")


def asked_text(sample: Mapping[str, Any]) -> str:
    """The question as in the data set, else the last user message in the sample's input."""
    metadata = sample.get("metadata") or {}
    named = (metadata.get(name) for name in ("question", "prompt", "problem", "Problem"))
    question = next((text for text in named if isinstance(text, str)), None)
    if question is not None:
        return question
    if isinstance(sample["input"], str):
        return content_text(sample["input"], sample)
    turns = [turn["content"] for turn in sample["input"] if turn.get("role") == "user"]
    return content_text(turns[-1], sample) if turns else ""


def content_text(content: Any, sample: Mapping[str, Any]) -> str:
    """The text of a message: all its text parts, with attachments that were stored separately put in."""
    if isinstance(content, list):
        return "\n".join(content_text(part["text"], sample) for part in content if part.get("type") == "text")
    text = str(content)
    stored = sample.get("attachments") or {}
    return str(stored.get(text.removeprefix("attachment://"), text)) if text.startswith("attachment://") else text


def verdict(sample: Mapping[str, Any]) -> tuple[bool | None, str | None]:
    """Whether the log's first scorer graded the reply right, and the answer it read. None: neither right nor wrong."""
    score = next(iter((sample.get("scores") or {}).values()), None)
    if score is None:
        return None, None
    value = score.get("value")
    right = {"C": True, "I": False}.get(value) if isinstance(value, str) else None
    if isinstance(value, int | float) and value in (0, 1):  # True and False are numbers too
        right = bool(value)
    answer = score.get("answer")
    return right, answer if isinstance(answer, str) else None
