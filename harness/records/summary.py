"""The records of one evaluation without their texts: taken while they are written, or read back in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.atomic import write_lines
from harness.records.columns import ColumnFields, Columns, Reader
from harness.records.record_files import RecordsDigest
from harness.records.serialization import record_to_json
from harness.types import Record, sha256_of


@dataclass(frozen=True)
class Summary:
    """digest: of the records as JSON lines, with `wall_s` 0."""

    columns: Columns
    digest: str


def write_records(path: Path, records: Iterable[Record]) -> Summary:
    """The file written, whole or not at all, each record made into text once."""
    reader, digest, fields = Reader(), RecordsDigest(), list[ColumnFields]()

    def lines() -> Iterator[str]:
        for record in records:
            line = record_to_json(record)
            digest.add(line.encode())
            fields.append(reader.fields(record))
            yield line

    write_lines(path, lines())
    return Summary(reader.columns(fields, "records"), digest.hexdigest())


def read_summary(path: Path) -> Summary:
    """The summary of a file that is there. Raises `DataError` naming a line that is not a record."""
    reader, digest = Reader(), RecordsDigest()
    return Summary(reader.files([path], "records", digest), digest.hexdigest())


def joined(summaries: Sequence[Summary]) -> tuple[Columns, str]:
    """Several evaluations of one checkpoint as one run: their columns, and the digest of all their records."""
    columns = Columns.joined([summary.columns for summary in summaries])
    return columns, sha256_of([summary.digest for summary in summaries])
