"""Matches each recorded reply to an item of a task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from harness.graders.row_fields import row_id
from harness.interop.recorded_read import QUESTIONS, RecordedFile, RecordedItem, Reply, trailing_number
from harness.types import Sample


@dataclass(frozen=True)
class Matched:
    """Replies by item: `replies[sample id][repeat]`. unmatched: a line with the reason for each row without an item."""

    replies: Mapping[str, Sequence[Reply]]
    unmatched: Sequence[str]
    rule: str  # the rule behind the file's own verdicts

    @property
    def n_repeats(self) -> int:
        """Number of replies that every covered item has; 0 if no item is covered."""
        return min((len(replies) for replies in self.replies.values()), default=0)

    @property
    def verdicts(self) -> dict[tuple[str, int], bool | None]:
        """The file's own verdict by (sample id, repeat); None if it has none."""
        return {(item, i): reply.verdict for item, found in self.replies.items() for i, reply in enumerate(found)}


def match(file: RecordedFile, samples: Sequence[Sample], texts: bool = True) -> Matched:
    """The file's replies by sample id, in the order of `samples`. Several rows for one item are its repeats.

    texts: whether to keep the texts of the replies; without them, a million replies fit into memory.
    """
    found: dict[str, list[Reply]] = {}
    unmatched = []
    for i, (sample, replies, why) in enumerate(places(file, samples)):
        if sample is None:
            unmatched.append(f"row {i}: {why}")
        else:
            kept = replies if texts else [replace(reply, text="") for reply in replies]
            found.setdefault(sample.id, []).extend(kept)
    return Matched({s.id: found[s.id] for s in samples if s.id in found}, unmatched, file.rule)


def places(file: RecordedFile, samples: Sequence[Sample]) -> Iterator[tuple[Sample | None, tuple[Reply, ...], str]]:
    """For each entry of the file the item it belongs to and its replies, or the reason why it has no item."""
    by_text = _openings(samples) | {_normal(text): sample for sample in samples for text in _texts(sample)}
    by_own = {trailing_number(sample.metadata.get("task_id")): sample for sample in samples}
    by_place = {trailing_number(sample.id): sample for sample in samples}
    by_name = {str(name): sample for sample in samples for name in (sample.id, row_id(sample.metadata)) if name}
    for entry in file.entries:
        sample = by_text.get(_normal(entry.text)) if entry.text else None
        why = "no item has its text"
        if sample is None and entry.number is not None:
            near = [known[entry.number] for known in (by_own, by_place) if entry.number in known]
            sample = next((s for s in near if not _mismatch(entry, s)), near[-1] if near else None)
            why = _mismatch(entry, sample)
        elif sample is None and not entry.text and entry.name in by_name:
            sample, why = by_name[entry.name], ""
        elif sample is not None:
            why = _other_test(entry, sample)
        if not entry.replies:
            sample, why = None, "it holds no reply"
        yield (None if why else sample), entry.replies, why


def _mismatch(entry: RecordedItem, sample: Sample | None) -> str:
    """Why a row, which names its item only by number, does not belong to that item; "" if it does."""
    if sample is None:
        return f"no item has the number {entry.number}"
    if entry.test and "test_list" in sample.metadata:
        return _other_test(entry, sample)
    if entry.entry_point:
        known = sample.metadata.get("entry_point")
        other = "" if known == entry.entry_point else f"its function is {entry.entry_point!r}, the item's is {known!r}"
        return other or _other_test(entry, sample)
    if entry.text:
        return f"its text is not that of item {sample.id}"
    own = str(row_id(sample.metadata, sample.id))
    same_number = trailing_number(own) == entry.number and (own.isdecimal() or entry.name.isdecimal())
    known = not entry.name or entry.name in (own, sample.id) or same_number  # "Mbpp/11" and 11 are the same
    return "" if known else f"its id is {entry.name!r}, not that of item {sample.id}"


def _other_test(entry: RecordedItem, sample: Sample) -> str:
    """Why a row's tests are not the item's; "" if they are. Each assert of the item must be among the row's."""
    known = sample.metadata.get("test_list")
    if isinstance(known, list):
        tests = "".join(re.sub(r"\bcandidate\b", entry.entry_point or "candidate", entry.test).split())
        same = all("".join(str(line).split()) in tests for line in known)
    else:
        same = _normal(entry.test) == _normal(str(sample.metadata.get("test", "")))
    return f"its tests are not those of {sample.id}" if entry.test and not same else ""


def _texts(sample: Sample) -> list[str]:
    """The texts by which files of other projects may name an item."""
    named = [sample.metadata.get(name) for name in QUESTIONS]
    return [*(text for text in named if isinstance(text, str)), sample.messages[-1].content]


def _openings(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Items by the first paragraphs of their prompt: the question, before the instructions for the reply.

    Paragraphs shared by several items are left out.
    """
    found: dict[str, Sample | None] = {}
    for sample in samples:
        for opening in accumulate(sample.messages[-1].content.split("\n\n")[:-1], "{}\n\n{}".format):
            key = _normal(opening)
            found[key] = sample if found.get(key, sample) is sample else None
    return {text: sample for text, sample in found.items() if sample is not None and text}


def _normal(text: str) -> str:
    return " ".join(text.split())
