"""How generated items are split into train, dev and test without overlap.

An item's `key` is the template instance it was made from. A hash of the key decides its split, so no key can be in two
splits. In addition, a train item that shares 13 words in a row with a dev or test item is left out, so that the usual
contamination test finds nothing.

The key is the item's cluster too: items that differ in numbers or words alone are not independent evidence. Levels, and
kinds of events or operations, are not clusters: a handful of them is all that a task is about.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from harness.training.decontaminate import words_of
from harness.types import Split

SHARES: tuple[tuple[Split, int], ...] = (("test", 15), ("dev", 8), ("train", 77))  # percent of all keys
NGRAM = 13  # words; the length GPT-3 and lm-eval use for contamination


class Generated(Protocol):
    """An item to assign to a split: `key` is its template instance, `text` is what a model reads."""

    @property
    def key(self) -> str: ...
    @property
    def text(self) -> str: ...


T = TypeVar("T", bound=Generated)
Draw = Callable[[random.Random, int], T]  # (random generator, level) -> item


def split_of(key: str) -> Split:
    """The only split in which items of this key may appear."""
    slot = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    for split, share in SHARES:
        if slot < share:
            return split
        slot -= share
    raise AssertionError("shares add up to 100")


def ngrams(text: str) -> set[tuple[str, ...]]:
    """All runs of 13 words in the text; the whole text if it is shorter."""
    all_words = words_of(text)
    return {tuple(all_words[i : i + NGRAM]) for i in range(max(1, len(all_words) - NGRAM + 1))}


def stream(draw: Draw[T], seed: str, split: Split, levels: tuple[int, ...]) -> Iterator[T]:
    """Endless items of one split, levels in turn, each text once. Equal seed, equal stream, on any machine."""
    rng = random.Random(seed)
    seen: set[str] = set()
    for level in itertools.cycle(levels):
        while True:
            item = draw(rng, level)
            text = " ".join(words_of(item.text))
            if split_of(item.key) == split and text not in seen:
                break
        seen.add(text)
        yield item


def without_held_out(items: Iterator[T], held_out: set[tuple[str, ...]]) -> Iterator[T]:
    """The items that share no 13-gram with the held-out ones."""
    return (item for item in items if held_out.isdisjoint(ngrams(item.text)))
