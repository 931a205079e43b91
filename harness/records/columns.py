"""The replies of one run as columns, without their texts: what every statistic is computed from.

Runs of the same items share all that does not differ between them, so hundreds of runs fit in memory. Not data frames:
50 runs of 20,000 replies take 0.10 GB and 7 s here, 0.66 GB and 9 s as frames with categories (tests/bench/frames.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import compress, pairwise
from operator import attrgetter
from pathlib import Path
from sys import intern
from typing import Any, TypeVar

import msgspec
import numpy as np

from harness.errors import DataError
from harness.records.record_files import RecordsDigest, decoded
from harness.types import READINGS, Record, Score, canonical_json

T = TypeVar("T")

COMPARED = ("grader version", "decoding", "engine", "sandbox", "item", "prompt")
"""What must be equal, reply by reply, for runs to be compared."""
IN_FORM = "in_form"  # beside the graders in `Columns.verdicts`


@dataclass(frozen=True, eq=False)
class ReplyIndex:
    """What replies are of, in order of item and repeat; a value for each reply. Equal ones are shared between runs.

    names: "task/sample id". clusters: equal for items that are not independent of each other; "": not recorded.
    compared: for each field of `COMPARED` its value, as text.
    """

    names: tuple[str, ...]
    repeats: tuple[int, ...]
    tasks: tuple[str, ...]
    ids: tuple[str, ...]
    levels: tuple[str, ...]
    clusters: tuple[str, ...]
    compared: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.names)

    def same_as(self, other: ReplyIndex) -> bool:
        """Whether both are replies to the same items, of which the same is known, under the same rules."""
        return self is other or (
            (self.names, self.repeats, self.levels) == (other.names, other.repeats, other.levels)
            and self.clusters == other.clusters
            and self.compared == other.compared
        )

    @cached_property
    def item_of(self) -> np.ndarray:
        """(replies,) the place of each reply's item in `items`."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(name, len(numbers)) for name in self.names], np.intp)

    @cached_property
    def items(self) -> tuple[str, ...]:
        """The names of the items, in order."""
        return tuple(dict.fromkeys(self.names))

    @cached_property
    def item_clusters(self) -> np.ndarray | None:
        """(items,) a number for each item, equal within a cluster; None if every item is a cluster of its own.

        Items whose cluster is not recorded (older records, files of other tools) are related if their prompts are
        equal; without a prompt, an item is on its own.
        """
        firsts = np.unique(self.item_of, return_index=True)[1].tolist()
        prompts = self.compared["prompt"]
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(self.clusters[at] or prompts[at] or self.names[at], len(numbers)) for at in firsts]
        return None if len(numbers) == len(codes) else np.array(codes, np.intp)

    def only(self, keep: np.ndarray) -> ReplyIndex:
        """The places for which `keep` (replies,) is true."""

        def kept(column: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(compress(column, keep.tolist()))

        return ReplyIndex(
            kept(self.names),
            kept(self.repeats),
            kept(self.tasks),
            kept(self.ids),
            kept(self.levels),
            kept(self.clusters),
            {field: kept(of) for field, of in self.compared.items()},
        )

    @cached_property
    def by_task(self) -> dict[str, tuple[np.ndarray, ReplyIndex]]:
        """For each task the mask of its replies, and their places."""
        codes = np.array(self.tasks, object)
        masks = {task: codes == task for task in dict.fromkeys(self.tasks)}
        return {task: (mask, self if mask.all() else self.only(mask)) for task, mask in masks.items()}


def related_items(runs: Iterable[ReplyIndex]) -> np.ndarray | None:
    """(items,) `item_clusters` of runs of the same items: two are related if one of the runs records that they are.

    None if every item is a cluster of its own. Runs differ here only if some are older than this record, or if a task
    was changed in between.
    """
    found: list[np.ndarray] = []
    for places in dict.fromkeys(runs):
        codes = places.item_clusters
        if codes is not None and not any(np.array_equal(codes, known) for known in found):
            found.append(codes)
    if len(found) < 2:
        return found[0] if found else None
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(found[0])
    item = np.tile(np.arange(n), len(found))
    starts = n + np.cumsum([0, *(codes.max() + 1 for codes in found)])
    cluster = np.concatenate([codes + start for codes, start in zip(found, starts[:-1], strict=True)])
    links = coo_array((np.ones(len(item)), (item, cluster)), shape=(starts[-1], starts[-1]))
    numbers = connected_components(links, directed=False)[1][:n]
    return np.asarray(np.unique(numbers, return_inverse=True)[1], np.intp)


@dataclass(frozen=True, eq=False)
class Columns:
    """One value for each reply, in the order of `places`.

    verdicts: for each grader, in [0, 1]; NaN if it could not grade. Under IN_FORM: 1 if the reply is in the form asked
    for, so that strict could read it, 0 if not, NaN if there is no reply, if it was cut off at the token limit or if
    it is not known what was read.
    unread: no answer was found in a reply that did not fail. cut: it reached the token limit. failed: there is no
    reply. tasks: in the order of the records.
    """

    places: ReplyIndex
    tasks: tuple[str, ...]
    verdicts: Mapping[str, np.ndarray]
    unread: np.ndarray
    cut: np.ndarray
    failed: np.ndarray
    n_tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    @classmethod
    def of(cls, records: Iterable[Record], source: str = "records") -> Columns:
        """The columns of records in memory. Raises `DataError` for a reply that is there twice, or an odd verdict."""
        return Reader().records(records, source)

    @classmethod
    def joined(cls, parts: Sequence[Columns], source: str = "records") -> Columns:
        """The columns of several evaluations as one run. Raises `DataError` for a reply that is in two of them."""
        if len(parts) == 1:
            return parts[0]
        stated: dict[str, list[Any]] = {
            "task": [task for part in parts for task in part.places.tasks],
            "sample_id": [id_ for part in parts for id_ in part.places.ids],
            "repeat": [repeat for part in parts for repeat in part.places.repeats],
            "level": [level for part in parts for level in part.places.levels],
            "cluster": [cluster for part in parts for cluster in part.places.clusters],
        }
        for field, name in zip(COMPARED, _COMPARED_FIELDS, strict=True):
            stated[name] = [value for part in parts for value in part.places.compared[field]]
        stated["sampling"] = [text.encode() for text in stated["sampling"]]
        known = _KnownIndex(stated, source)

        def whole(columns: list[np.ndarray]) -> np.ndarray:
            return np.asarray(np.concatenate(columns)[known.order])

        return cls(
            known.places,
            tuple(dict.fromkeys(task for part in parts for task in part.tasks)),
            {grader: whole([part.verdicts[grader] for part in parts]) for grader in parts[0].verdicts},
            *(whole([getattr(part, name) for part in parts]) for name in ("unread", "cut", "failed", "n_tokens")),
        )

    @property
    def items(self) -> tuple[str, ...]:
        """The names of the items, in order: "task/sample id"."""
        return self.places.items

    @cached_property
    def _means(self) -> dict[str, np.ndarray]:
        found = {}
        for grader, values in self.verdicts.items():
            if len(self.items) == len(values):
                found[grader] = values
                continue
            graded = ~np.isnan(values)
            item = self.places.item_of
            n = np.bincount(item, graded, len(self.items))
            with np.errstate(invalid="ignore"):
                found[grader] = np.bincount(item, np.where(graded, values, 0.0), len(self.items)) / n
        return found

    def scores(self, grader: str) -> np.ndarray:
        """(items,) mean verdict over an item's repeats; NaN if none could be graded: never counted as wrong."""
        return self._means[grader]

    def only(self, keep: np.ndarray) -> Columns:
        """The replies for which `keep` (replies,) is true."""
        return self._part(keep, self.places.only(keep), self.tasks)

    def of_task(self, task: str) -> Columns:
        """The replies to one task."""
        return self._by_task[task]

    @cached_property
    def _by_task(self) -> dict[str, Columns]:
        parts = self.places.by_task
        if len(parts) == 1:
            return dict.fromkeys(parts, self)
        return {task: self._part(mask, places, (task,)) for task, (mask, places) in parts.items()}

    def _part(self, keep: np.ndarray, places: ReplyIndex, tasks: tuple[str, ...]) -> Columns:
        verdicts = {grader: values[keep] for grader, values in self.verdicts.items()}
        unread, cut, failed, n_tokens = (of[keep] for of in (self.unread, self.cut, self.failed, self.n_tokens))
        return Columns(places, tasks, verdicts, unread, cut, failed, n_tokens)


class _Verdict(msgspec.Struct, gc=False):
    value: float | None
    answer: str | None = None


class _Scores(msgspec.Struct, gc=False):
    strict: _Verdict
    lenient: _Verdict


class ColumnFields(msgspec.Struct, gc=False):
    """The fields of a `Record` that become columns."""

    task: str
    sample_id: str
    sample_hash: str
    repeat: int
    prompt_hash: str
    checkpoint: str
    engine: str
    sampling: msgspec.Raw
    grader_version: str
    sandbox: str
    n_tokens: int
    finish: str
    scores: _Scores
    level: str = ""
    cluster: str = ""


class Reader:
    """Makes columns; runs of the same items that one reader has read share their places."""

    def __init__(self) -> None:
        self._known: list[_KnownIndex] = []
        self._samplings: dict[bytes, msgspec.Raw] = {}

    def files(self, paths: Sequence[Path], source: str, digest: RecordsDigest | None = None) -> Columns:
        """The columns of records files, as one run; digest takes in their lines.

        Raises `DataError` naming a file and line that is not a record.
        """
        lines = (line for path in paths for line in decoded(path, ColumnFields, digest))
        return self.columns([self._shared(line) for line in lines], source)

    def records(self, records: Iterable[Record], source: str) -> Columns:
        """The columns of records in memory, as one run."""
        return self.columns(list(map(self.fields, records)), source)

    def fields(self, record: Record) -> ColumnFields:
        """What of a record becomes columns."""
        strict, lenient = (_verdict(record.scores[grader]) for grader in READINGS)
        line = ColumnFields(
            record.item.task,
            record.item.sample_id,
            record.item.sample_hash,
            record.repeat,
            record.reply.prompt_hash,
            record.origin.checkpoint,
            record.origin.engine,
            msgspec.Raw(canonical_json(dict(record.origin.sampling)).encode()),
            record.origin.grader_version,
            record.origin.sandbox,
            record.reply.n_tokens,
            record.reply.finish,
            _Scores(strict, lenient),
            record.item.level,
            record.item.cluster,
        )
        return self._shared(line)

    def _shared(self, line: ColumnFields) -> ColumnFields:
        """The same; texts that replies have in common are kept once, and nothing keeps the line they come from."""
        for name in _TEXTS:
            setattr(line, name, intern(getattr(line, name)))
        written = bytes(line.sampling)
        if (known := self._samplings.get(written)) is None:
            known = self._samplings[written] = msgspec.Raw(written)
        line.sampling = known
        return line

    def columns(self, lines: Sequence[ColumnFields], source: str) -> Columns:
        """The columns of these replies, as one run."""
        stated = {name: list(map(attrgetter(name), lines)) for name in _OF_PLACES}
        stated["sampling"] = list(map(bytes, stated["sampling"]))
        known = next((known for known in self._known if known.stated == stated), None)
        if known is None:
            known = _KnownIndex(stated, source)
            same = next((other.places for other in self._known if other.places.same_as(known.places)), None)
            known.places = same or known.places
            self._known.append(known)
        scores = [line.scores for line in lines]
        verdicts = {
            "strict": np.array([of.strict.value for of in scores], float)[known.order],
            "lenient": np.array([of.lenient.value for of in scores], float)[known.order],
        }
        for values in verdicts.values():
            if odd := np.flatnonzero((values < 0) | (values > 1)).tolist():
                name = known.places.names[odd[0]]
                raise DataError(f"{source}: item {name!r}: a verdict is in [0, 1], got {values[odd[0]]:g}")
        ends = np.array([line.finish for line in lines], "U6")[known.order]
        unread = np.array([of.lenient.answer is None for of in scores], bool)[known.order]
        read = np.array([math.nan if of.strict.answer == "" else float(of.strict.answer is not None) for of in scores])
        n_tokens = np.array([line.n_tokens for line in lines], np.int64)[known.order]
        failed = ends == "error"
        cut = ends == "length"
        verdicts[IN_FORM] = np.where(failed | cut, math.nan, read[known.order])
        tasks = tuple(dict.fromkeys(stated["task"]))
        return Columns(known.places, tasks, verdicts, unread & ~failed, cut, failed, n_tokens)


_TEXTS = (
    *("task", "sample_id", "sample_hash", "prompt_hash", "checkpoint", "engine", "grader_version", "sandbox"),
    *("finish", "level", "cluster"),
)
_COMPARED_FIELDS = ("grader_version", "sampling", "engine", "sandbox", "sample_hash", "prompt_hash")
"""The fields of a record behind `COMPARED`, in its order."""
_OF_PLACES = ("task", "sample_id", "repeat", "level", "cluster", *_COMPARED_FIELDS)


class _KnownIndex:
    """Places as a file states them, and in order. stated: by field, the values in the file's order."""

    def __init__(self, stated: dict[str, list[Any]], source: str) -> None:
        """Raises `DataError` for a reply that is there twice."""
        self.stated = stated
        keys = [
            (f"{task}/{sample_id}", repeat)
            for task, sample_id, repeat in zip(stated["task"], stated["sample_id"], stated["repeat"], strict=True)
        ]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self.order = np.array(order, np.intp)
        for before, place in pairwise(order):
            if keys[before] == keys[place]:
                raise DataError(
                    f"{source}: {stated['task'][place]} was evaluated twice (item {stated['sample_id'][place]!r}, "
                    f"repeat {stated['repeat'][place]}), with other settings or another --limit; give each evaluation "
                    "a run folder of its own"
                )
        self.places = ReplyIndex(
            names=tuple(keys[i][0] for i in order),
            repeats=tuple(keys[i][1] for i in order),
            tasks=tuple(stated["task"][i] for i in order),
            ids=tuple(stated["sample_id"][i] for i in order),
            levels=tuple(stated["level"][i] for i in order),
            clusters=tuple(stated["cluster"][i] for i in order),
            compared={
                field: tuple(_text(stated[name][i]) if name == "sampling" else stated[name][i] for i in order)
                for field, name in zip(COMPARED, _COMPARED_FIELDS, strict=True)
            },
        )


@cache
def _text(sampling: bytes) -> str:
    """The settings as one text for equal ones, however they were written."""
    return canonical_json(json.loads(sampling))


def _verdict(score: Score) -> _Verdict:
    return _Verdict(score.value, score.answer and "read")
