"""Which training rows hold a held-out question? Exact, normalised and 13-gram overlap, before the first step."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.types import Sample, TrainRow

GRAM = 13  # words; the size GPT-3 and the Pile used
FRAME = 5  # words in a row that tell an instruction from questions; 4 and 6 drop as many rows of the real tasks
Words = tuple[str, ...]
OverlapKind = Literal["exact", "normalised", "13-gram"]
FoundIn = Literal["prompt", "target", "completion"]
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Overlap:
    """A train item that repeats a held-out one."""

    train: str  # sample id
    heldout: str  # sample id; the first one, if several fit
    kind: OverlapKind
    place: FoundIn  # which text of the train row; target: the reference solution too
    text: str  # for 13-gram the first shared run of words; else the question's first 80 characters


def words_of(text: str) -> Words:
    """Lower-case runs of ASCII letters and digits, in order."""
    return tuple(_WORD.findall(text.lower()))


class HeldOut:
    """Index of the held-out suite's questions.

    exact: equal texts. normalised: equal words; for a train prompt also the words of the question without its task's
    frame. 13-gram: 13 words in a row in common, none of them of the frame. So a question with fewer than 13 words of
    its own is found by the first two alone, one in another script than Latin by the first; a blank one equals nothing.

    The frame of a task is the text around its questions ("Think step by step. ..."): runs of 5 words
    that more than half of them hold, and three of them at least. One or two items show no frame, and then what they
    say to all can hit every row: give whole splits. The task of an item is its id up to the last "/".

    Shots in a RAW prompt that all items share belong to the frame; those drawn for each item do not, and train rows
    among them are dropped too.

    Solutions of held-out items are left out since they are formulaic: their 13-grams stand in 315 of the 3,000 train
    rows of pico_code and in 132 of math500's 6,977 that share nothing with a question.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._exact: dict[str, str] = {}
        self._normalised: dict[Words, str] = {}
        self._unframed: dict[Words, str] = {}
        self._grams: dict[Words, str] = {}
        tasks: defaultdict[str, list[tuple[str, Words]]] = defaultdict(list)
        for sample in samples:
            text = sample.question
            if text.strip():
                self._exact.setdefault(text, sample.id)
                tasks[sample.id.rpartition("/")[0]].append((sample.id, words_of(text)))
        for items in tasks.values():
            frame = _frame([tokens for _, tokens in items])
            for name, tokens in items:
                own = _without(tokens, frame)
                self._normalised.setdefault(tokens, name)
                self._unframed.setdefault(tuple(filter(None, own)), name)
                for gram in _runs(own, GRAM):
                    if all(gram):
                        self._grams.setdefault(gram, name)
        self._normalised.pop((), None)
        self._unframed.pop((), None)

    def overlaps(self, row: TrainRow) -> Overlap | None:
        """The strongest kind: exact, normalised, 13-gram; of one kind the first place: prompt, target, completion."""
        places: dict[str, FoundIn] = {row.sample.question: "prompt"}
        for text in (row.sample.target, row.sample.metadata.get("solution")):
            if isinstance(text, str):
                places.setdefault(text, "target")
        if row.completion is not None:
            places.setdefault(row.completion, "completion")
        for text, place in places.items():
            if text in self._exact:
                return Overlap(row.sample.id, self._exact[text], "exact", place, text[:80])
        read = [(place, text, words_of(text)) for text, place in places.items()]
        for place, text, tokens in read:
            name = self._normalised.get(tokens) or (self._unframed.get(tokens) if place == "prompt" else None)
            if name is not None:
                return Overlap(row.sample.id, name, "normalised", place, text[:80])
        for place, _, tokens in read:
            for gram in _runs(tokens, GRAM):
                if gram in self._grams:
                    return Overlap(row.sample.id, self._grams[gram], "13-gram", place, " ".join(gram))
        return None


def sift(rows: Sequence[TrainRow], heldout: HeldOut) -> tuple[tuple[TrainRow, ...], list[Overlap]]:
    """The rows that overlap nothing, and one Overlap for each row dropped; both in the order of the rows."""
    kept, dropped = [], []
    for row in rows:
        overlap = heldout.overlaps(row)
        if overlap is None:
            kept.append(row)
        else:
            dropped.append(overlap)
    return tuple(kept), dropped


def _frame(texts: Sequence[Words]) -> set[Words]:
    """The runs of words that belong to the task, not to a question; see `HeldOut`."""
    held = Counter(run for text in texts for run in set(_runs(text, FRAME)))
    return {run for run, n in held.items() if n >= 3 and 2 * n > len(texts)}


def _without(text: Words, frame: set[Words]) -> Words:
    """The words of a text, those in a run of the frame replaced by ""."""
    own = list(text)
    for start, run in enumerate(_runs(text, FRAME)):
        if run in frame:
            own[start : start + FRAME] = [""] * FRAME
    return tuple(own)


def _runs(text: Words, n: int) -> Iterator[Words]:
    return (text[i : i + n] for i in range(len(text) - n + 1))
