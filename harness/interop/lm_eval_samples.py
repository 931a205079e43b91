"""Reads the samples that lm-eval logs, of version 0.4.0 and later.

A row is an item under one filter; the first filter is the strict reading, the last the lenient one. What older
versions leave out is made from what they write: hashes of item, prompt and target as newer versions compute them, the
filter from how often the item occurred before, the metric from the fields of a row.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.interop.lm_eval_files import sha256_text
from harness.interop.lm_eval_related import clusters
from harness.types import Finish, Record, RecordItem, RecordOrigin, RecordReply, Score, cluster_of

_NEVER_METRICS = {"doc_id", "target", "filter", "metrics", "doc", "arguments", "resps", "filtered_resps"}
_STAMP = re.compile(r"_(\d{4}-\d\d-\d\dT.*)")
_CUT = "it was cut off, or is still being written: copy it again, or repeat the evaluation"


@dataclass(frozen=True)
class SamplesFile:
    """A file of samples of one task. n_items: how many the results file beside it counts; None: it does not say."""

    path: Path
    model: str
    task: str
    n_items: int | None = None

    def records(self) -> list[Record]:
        """A record for each item. Raises `DataError` for a file that is cut off or is no such file."""
        try:
            records = list(self._records())
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{self.path} is not a samples file of lm-eval ({type(error).__name__}: {error})") from None
        if not records:
            raise DataError(f"{self.path}: the samples of {self.model!r} are empty")
        if self.n_items is not None and self.n_items != len(records):
            raise DataError(
                f"{self.path}: has {len(records)} items, and the results beside it count {self.n_items}; {_CUT}"
            )
        return records

    def _records(self) -> Iterator[Record]:
        raw = self.path.read_bytes()
        digest = "recorded:" + hashlib.sha256(raw).hexdigest()
        items: dict[Any, dict[str, Mapping[str, Any]]] = defaultdict(dict)
        for row in self._rows(raw.decode()):
            seen = items[row["doc_id"]]
            name = str(row["filter"]) if "filter" in row else f"filter {len(seen) + 1}"
            if name in seen:
                raise DataError(f"{self.path}: item {row['doc_id']} is there twice under filter {name!r}")
            seen[name] = row
        filters = next(iter(items.values()), {}).keys()
        metric = ""
        docs = [next(iter(by_filter.values())).get("doc") for by_filter in items.values()]
        related = clusters([doc if isinstance(doc, dict) else {} for doc in docs])
        for (doc_id, by_filter), cluster in zip(items.items(), related, strict=True):
            if by_filter.keys() != filters:
                raise DataError(
                    f"{self.path}: item {doc_id} has {_named(by_filter)}, another item has {_named(filters)}; {_CUT}"
                )
            rows = list(by_filter.values())
            metric = metric or self._metric(rows[0])
            values = [self._verdict(row, metric) for row in (rows[0], rows[-1])]
            hashes = _hashes(rows[0])
            yield Record(
                RecordItem(
                    self.task,
                    "unrecorded",
                    str(doc_id),
                    f"{hashes['doc']} {hashes['target']}",
                    cluster=cluster_of(cluster) if cluster else "",
                ),
                RecordOrigin(
                    digest,
                    engine="lm-eval, unrecorded",
                    sampling=_decoding(rows[0]),
                    grader_version=f"lm-eval {metric} ({', '.join(by_filter)})",
                    sandbox="unrecorded",
                ),
                repeat=0,
                reply=without_text("stop", hashes["prompt"]),
                scores={"strict": Score(values[0], answer=""), "lenient": Score(values[1], answer="")},
            )

    def _rows(self, text: str) -> Iterator[Mapping[str, Any]]:
        if text.lstrip().startswith("["):  # 0.4.0 writes one array
            try:
                yield from json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(f"{self.path}: ends within its array ({error}); {_CUT}") from None
            return
        lines = text.rstrip("\n").split("\n") if text else []  # not splitlines: a reply may hold U+2028
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                if number < len(lines):
                    raise
                raise DataError(f"{self.path}: ends within a row, in line {number}; {_CUT}") from None
            yield row

    def _metric(self, row: Mapping[str, Any]) -> str:
        """The first metric of a row that is a share. Raises `DataError` if there is none."""
        names = row.get("metrics") or [n for n in row if n not in _NEVER_METRICS and not n.endswith("_hash")]
        for name in names:
            if name in row and (row[name] is None or _is_share(row[name])):
                return str(name)
        raise DataError(f"{self.path}: item {row['doc_id']} has no metric between 0 and 1, got {list(names)}")

    def _verdict(self, row: Mapping[str, Any], metric: str) -> float | None:
        """The value of the metric; None: not graded."""
        if row[metric] is None or _is_share(row[metric]):
            return None if row[metric] is None else float(row[metric])
        raise DataError(f"{self.path}: item {row['doc_id']}: {metric} must be between 0 and 1, got {row[metric]!r}")


def sample_files(path: Path) -> list[SamplesFile]:
    """The samples at `path`, a file or a folder; none if lm-eval wrote none there."""
    if path.is_file():
        return [_stamped(path)]
    found = [_stamped(file) for file in sorted(path.rglob("samples_*.jsonl"))]
    return found or [old for results in sorted(path.rglob("results.json")) for old in _of_version_0_4_0(results)]


def _stamped(file: Path) -> SamplesFile:
    """`<model>/samples_<task>_<stamp>.jsonl`, with `results_<stamp>.json` beside it."""
    name = file.stem.removeprefix("samples_")
    stamp = _STAMP.search(name)
    task = name[: stamp.start()] if stamp else name
    results = file.with_name(f"results_{stamp[1]}.json") if stamp else None
    return SamplesFile(file, file.resolve().parent.name, task, _n_items(results, task))


def _of_version_0_4_0(results: Path) -> Iterator[SamplesFile]:
    """`<model arguments>_<task>.jsonl` beside `results.json`."""
    tasks = _json(results).get("results", {})
    for file in sorted(results.parent.glob("*.jsonl")):
        task = max((task for task in tasks if file.stem.endswith(f"_{task}")), key=len, default=None)
        if task is not None:
            yield SamplesFile(file, file.stem.removesuffix(f"_{task}"), task, _n_items(results, task))


def _n_items(results: Path | None, task: str) -> int | None:
    counts = _json(results).get("n-samples", {}) if results is not None and results.is_file() else {}
    n = counts.get(task, {}).get("effective") if isinstance(counts, dict) else None
    return n if isinstance(n, int) else None


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is not a results file of lm-eval ({error}); {_CUT}") from None
    return values if isinstance(values, dict) else {}


def _hashes(row: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of item, prompt and target: those of the row, else as `lm_eval/evaluator.py` (0.4.13) computes them."""
    made = {
        "doc": json.dumps(row["doc"], indent=2, ensure_ascii=False),
        "prompt": str(_first_argument(row).get("arg_0", "")),
        "target": str(row["target"]),
    }
    return {name: row.get(f"{name}_hash") or sha256_text(text) for name, text in made.items()}


def _first_argument(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of an item's first request by name; older versions list them."""
    arguments = row.get("arguments")
    first = next(iter(arguments.values() if isinstance(arguments, Mapping) else arguments or ()), None)
    if isinstance(first, Mapping):
        return first
    return {f"arg_{i}": value for i, value in enumerate(first)} if isinstance(first, list) else {}


def _decoding(row: Mapping[str, Any]) -> dict[str, Any]:
    settings = _first_argument(row).get("arg_1")
    return dict(settings) if isinstance(settings, Mapping) else {}


def _named(filters: Any) -> str:
    return " and ".join(map(repr, filters))


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1


def without_text(finish: Finish, prompt_hash: str) -> RecordReply:
    """A reply of which only the verdict is read; its tokens were not counted."""
    return RecordReply("", 0, 0, finish, prompt_hash, wall_s=0.0)
