"""The run store: replies and verdicts of one evaluation, each written once, append-only, consistent after any crash.

A folder holds:

    key.json               what the replies depend on: weights, tokenizer, prompts, sampling, engine
    prompts.jsonl          one line an item: its prompt as the model read it
    replies.jsonl          one line a reply, as they finished; a later line replaces one that failed
    verdicts-<hash>.json   what verdicts depend on besides: items, grader version, sandbox
    verdicts-<hash>.jsonl  one line an item, as they were graded; another grader writes another file

A line {"at":I,"void":true} says that the line before it for I counts no more.

Memory holds where each line begins and ends, nothing else, so there may be millions of replies.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.errors import DataError
from harness.protocols import GradedItem
from harness.types import Generation, Score, sha256_of

_AT = re.compile(rb'\{"at":([0-9]{1,12})[,}]')
_VOID = b',"void":true}\n'
_FAILED = b'"finish":"error"'  # in no text of a line: JSON escapes the quotes there


class Lines:
    """An append-only file of JSON objects, each with its place among `n` in its first field, "at"; the last one counts.

    failed: places that held a reply that failed when the file was opened. A last line without its newline was cut by a
    crash and is dropped. Raises `DataError` for any other odd line.
    """

    def __init__(self, path: Path, n: int) -> None:
        self._path = path
        self._begin, self._end = array("q", [-1]) * n, array("q", [-1]) * n
        self.count = 0
        self.failed: set[int] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            self._size = self._index(n)
        except DataError:
            self._file.close()
            raise
        if self._size < path.stat().st_size:
            os.truncate(path, self._size)

    def __contains__(self, place: int) -> bool:
        return self._begin[place] >= 0

    def add(self, place: int, value: Mapping[str, Any]) -> None:
        """Append the object for a place that has none. Raises ValueError if it has one."""
        if place in self:
            raise ValueError(f"{self._path}: place {place} is taken")
        begin, length = self._size, self._append({"at": place, **value})
        self._note(place, begin, length)

    def clear(self, place: int) -> None:
        """Note in the file that the object of a place, if it has one, counts no more."""
        if place in self:
            self._append({"at": place, "void": True})
            self._forget(place)

    def _append(self, value: Mapping[str, Any]) -> int:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._size += len(line)
        return len(line)

    def read(self, place: int) -> dict[str, Any]:
        """The object of a place. From any thread."""
        begin, end = self._begin[place], self._end[place]
        if begin < 0:
            raise KeyError(place)
        found: dict[str, Any] = json.loads(os.pread(self._file.fileno(), end - begin, begin))
        del found["at"]
        return found

    def close(self) -> None:
        self._file.close()

    def _index(self, n: int) -> int:
        """Note where every line lies; the end of the last whole one."""
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            found = _AT.match(line)
            if found is None or not line.endswith(b"}\n") or not int(found[1]) < n:
                raise DataError(
                    f"{self._path}, line {number}: not a line of this run ({line[:60]!r}); move the file away to make "
                    f"its content anew"
                )
            place = int(found[1])
            self._forget(place)
            if not line.endswith(_VOID):
                self._note(place, end, len(line))
            if _FAILED in line:
                self.failed.add(place)
            else:
                self.failed.discard(place)
            end += len(line)
        return end

    def _note(self, place: int, begin: int, length: int) -> None:
        self._begin[place], self._end[place] = begin, begin + length
        self.count += 1

    def _forget(self, place: int) -> None:
        if place in self:
            self._begin[place] = -1
            self.count -= 1


class Store:
    """Replies by place and verdicts by item. parts: how many replies each item has, in order.

    A reply that failed counts as missing when the store is opened again, so that it is asked for again.
    replies_key, verdicts_key: all that the two depend on; equal keys find what is there already.
    """

    def __init__(
        self, folder: Path, parts: Sequence[int], replies_key: Mapping[str, Any], verdicts_key: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self._starts = [0, *accumulate(parts)]
        self._verdicts_name = name = f"verdicts-{sha256_of(verdicts_key)[:12]}"
        for path, key in ((folder / "key.json", replies_key), (folder / f"{name}.json", verdicts_key)):
            if not path.exists():
                write_json(path, key)
        self._replies = Lines(folder / "replies.jsonl", self._starts[-1])
        self._verdicts = Lines(folder / f"{name}.jsonl", len(parts))
        self._prompts = Lines(folder / "prompts.jsonl", len(parts))
        self._failed = set(self._replies.failed)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for file in (self._replies, self._verdicts, self._prompts):
            file.close()

    @property
    def n_items(self) -> int:
        return len(self._starts) - 1

    @property
    def n_replies(self) -> int:
        return self._starts[-1]

    @property
    def n_generated(self) -> int:
        return self._replies.count - len(self._failed)

    @property
    def n_graded(self) -> int:
        """Items with a verdict, also on replies that failed."""
        return self._verdicts.count

    def places(self, item: int) -> range:
        """The places of an item's replies."""
        return range(self._starts[item], self._starts[item + 1])

    def missing(self) -> Iterator[tuple[int, int]]:
        """(item, part) of every reply that is not there yet, in order."""
        for item in range(self.n_items):
            for part, place in enumerate(self.places(item)):
                if self._lacks(place):
                    yield item, part

    def add_reply(self, item: int, part: int, reply: Generation) -> None:
        """Keep a reply, and with an item's first one its prompt; what fails as it did before changes nothing."""
        if reply.prompt and item not in self._prompts:
            self._prompts.add(item, {"hash": reply.prompt_hash, "text": _speakable(reply.prompt)})
        place = self._starts[item] + part
        if place in self._failed:
            self._failed.remove(place)
            if (reply.finish, reply.error) == ("error", self._replies.read(place)["error"]):
                return
            self._replaces(item)
            self._replies.clear(place)
        values = {k: v for k, v in vars(reply).items() if k not in ("key", "prompt")}
        self._replies.add(place, {**values, "text": _speakable(reply.text)})

    def _replaces(self, item: int) -> None:
        """Void what was made of a reply to an item before another takes its place: verdicts, and all records."""
        ours = {f"{self._verdicts_name}.json", f"{self._verdicts_name}.jsonl"}
        for path in (*self.folder.glob("records-*.jsonl"), *self.folder.glob("verdicts-*")):
            if path.name not in ours:
                path.unlink()
        self._verdicts.clear(item)

    def _lacks(self, place: int) -> bool:
        return place not in self._replies or place in self._failed

    def complete(self, item: int) -> bool:
        """Whether all replies of an item are there."""
        return not any(map(self._lacks, self.places(item)))

    def graded(self, item: int) -> bool:
        """Whether an item has a verdict on all its replies."""
        return item in self._verdicts and self.complete(item)

    def replies(self, item: int) -> list[Generation]:
        """The replies of an item, in order, without the prompt. From any thread."""
        return [Generation(key="", **self._replies.read(place)) for place in self.places(item)]

    def add_verdict(self, item: int, graded: GradedItem) -> None:
        """Keep the verdict on an item."""
        scores = [{name: [s.value, s.answer, s.why] for name, s in of.items()} for of in graded.scores]
        self._verdicts.add(item, {"scores": scores, "metrics": graded.metrics, "filtered": graded.filtered})

    def verdict(self, item: int) -> GradedItem:
        """The verdict on an item."""
        found = self._verdicts.read(item)
        scores = [{name: Score(*values) for name, values in of.items()} for of in found["scores"]]
        return GradedItem(scores, found["metrics"], found["filtered"])

    def prompt(self, item: int) -> str:
        """The prompt of an item; "" if the engine saw none."""
        return str(self._prompts.read(item)["text"]) if item in self._prompts else ""


def _speakable(text: str) -> str:
    """The text without lone surrogates, which no UTF-8 file can hold."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
