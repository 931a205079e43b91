"""Runs that exist already, read back as entries of a board: run folders of this project, samples files of lm-eval."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.leaderboard import Entry, Run
from harness.looks import NAME as LEDGER
from harness.records import read_lines, read_records
from harness.types import Record, Score

_SEEDED = re.compile(r"(?P<name>.+) seed (?P<seed>-?\d+)")


def read(paths: Sequence[Path]) -> list[Entry]:
    """The entries in these runs, in order; runs of one strategy with several seeds are one entry.

    A path is a run folder, a folder with lm-eval's samples_*.jsonl, or one such file. Raises `DataError` for anything
    else, and for two entries of one name.
    """
    entries: list[Entry] = []
    for path in paths:
        found = _run_folder(path) if (path / "evals").is_dir() else _lm_eval(path)
        names = {entry.name for entry in entries}
        if both := [entry.name for entry in found if entry.name in names]:
            raise DataError(f"{path}: {both[0]!r} is in an earlier run too; rename a folder, or evaluate with --name")
        entries += found
    return entries


def _run_folder(folder: Path) -> list[Entry]:
    names = _names(folder)
    records: dict[str, list[Record]] = defaultdict(list)
    for evaluation in sorted((folder / "evals").iterdir()):
        files = sorted(evaluation.glob("records-*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        if files:  # another grader writes another file; the newest counts
            for record in read_records(files[-1]):
                records[record.checkpoint].append(replace(record, text=""))
    if not records:
        raise DataError(f"{folder} holds no finished evaluation; run its command again to finish one")
    runs: dict[str, list[Run]] = defaultdict(list)
    for digest, own in records.items():
        seeded = _SEEDED.fullmatch(name := names.get(digest, digest.removeprefix("recorded:")[:12]))
        run = Run(digest, _ordered(own), int(seeded["seed"]) if seeded else None)
        runs[seeded["name"] if seeded else name].append(run)
    order = {name: place for place, name in enumerate(dict.fromkeys(_unseeded(name) for name in names.values()))}
    return [
        Entry(name, _role(name), tuple(sorted(of, key=lambda run: run.seed or 0)))
        for name, of in sorted(runs.items(), key=lambda item: order.get(item[0], len(order)))
    ]


def _unseeded(name: str) -> str:
    seeded = _SEEDED.fullmatch(name)
    return seeded["name"] if seeded else name


def _role(name: str) -> str:
    return name if name in ("base", "teacher") else "strategy"


def _names(folder: Path) -> dict[str, str]:
    """Checkpoint digest -> what the run called it: from its result files, else from the ledger beside the folder."""
    names = {}
    for path in sorted((folder / "results").glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["board"]["rows"]:
            names[row["runs"][0]["digest"]] = row["name"]
    for line in read_lines(folder.parent / LEDGER):
        look = json.loads(line)
        if look["run"] == folder.name:
            names.setdefault(look["checkpoint"], look["who"])
    return names


def _ordered(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple(sorted(records, key=lambda r: (r.task, r.sample_id, r.repeat)))


def _lm_eval(path: Path) -> list[Entry]:
    files = [path] if path.is_file() else sorted(path.rglob("samples_*.jsonl")) if path.is_dir() else []
    if not files:
        raise DataError(
            f"{path} is no run: a run folder of this project, a folder with lm-eval's samples_*.jsonl, or such a file"
        )
    runs: dict[str, list[Record]] = defaultdict(list)
    for file in files:
        runs[file.resolve().parent.name] += _samples(file)  # lm-eval names the folder after the model
    return [
        Entry(name, _role(name), (Run(records[0].checkpoint, _ordered(records)),)) for name, records in runs.items()
    ]


def _samples(file: Path) -> Iterator[Record]:
    """lm-eval writes a row for every item and filter; the first filter is the strict reading, the last the lenient."""
    digest = "recorded:" + hashlib.sha256(file.read_bytes()).hexdigest()
    task = re.sub(r"_\d{4}-\d\d-\d\dT.*", "", file.stem.removeprefix("samples_"))
    items: dict[Any, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    try:
        for row in map(json.loads, read_lines(file)):
            if row.get("filter") in items[row["doc_id"]]:
                raise DataError(f"{file}: item {row['doc_id']} is there twice under filter {row.get('filter')!r}")
            items[row["doc_id"]][row.get("filter")] = row
        for doc_id, by_filter in items.items():
            rows = list(by_filter.values())
            values = [_verdict(row, file) for row in (rows[0], rows[-1])]
            first = rows[0]
            yield Record(
                task=task,
                task_version="unrecorded",
                sample_id=str(doc_id),
                sample_hash=f"{first['doc_hash']} {first['target_hash']}",
                repeat=0,
                prompt_hash=first["prompt_hash"],
                checkpoint=digest,
                engine="lm-eval, unrecorded",
                sampling=_decoding(first),
                grader_version=f"lm-eval {values[0][0]} ({', '.join(map(str, by_filter))})",
                sandbox="unrecorded",
                text="",
                n_prompt_tokens=0,
                n_tokens=0,
                finish="stop",
                wall_s=0.0,
                scores={"strict": Score(values[0][1], answer=""), "lenient": Score(values[1][1], answer="")},
            )
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{file} is no samples file of lm-eval ({type(error).__name__}: {error})") from None


def _verdict(row: Mapping[str, Any], file: Path) -> tuple[str, float | None]:
    """(name, value in [0, 1]) of a row's first metric that is one; null: not judged. Raises `DataError` for none."""
    for name in row["metrics"]:
        value = row.get(name)
        if value is None or (isinstance(value, (int, float)) and 0 <= value <= 1):
            return name, None if value is None else float(value)
    raise DataError(f"{file}: item {row['doc_id']} has no metric between 0 and 1, got {list(row['metrics'])}")


def _decoding(row: Mapping[str, Any]) -> dict[str, Any]:
    arguments = row.get("arguments")
    first = next(iter(arguments.values()), None) if isinstance(arguments, Mapping) else None
    settings = first.get("arg_1") if isinstance(first, Mapping) else None
    return dict(settings) if isinstance(settings, Mapping) else {}
