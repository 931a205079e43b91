"""Does the train set hold held-out items? Exact, normalised and 13-gram overlap of questions, before the first step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import Contaminated
from harness.types import Sample

GRAM = 13  # words; the size GPT-3 and the Pile used
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Overlap:
    """A train item and the held-out item it repeats. kind: "exact", "normalised" or "13-gram"."""

    train: str
    heldout: str
    kind: str


def question(sample: Sample) -> str:
    """What the user asks: the last user turn."""
    return next((m.content for m in reversed(sample.messages) if m.role == "user"), "")


def words(text: str) -> tuple[str, ...]:
    """Lower-case runs of letters and digits, in order."""
    return tuple(_WORD.findall(text.lower()))


def overlaps(train: Iterable[Sample], heldout: Iterable[Sample]) -> list[Overlap]:
    """Each train item that overlaps the held-out set, once, with the strongest kind found."""
    exact: dict[str, str] = {}
    normalised: dict[tuple[str, ...], str] = {}
    grams: dict[tuple[str, ...], str] = {}
    for sample in heldout:
        text = question(sample)
        tokens = words(text)
        exact.setdefault(text, sample.id)
        normalised.setdefault(tokens, sample.id)
        for gram in _grams(tokens):
            grams.setdefault(gram, sample.id)
    found = []
    for sample in train:
        text = question(sample)
        tokens = words(text)
        if text in exact:
            found.append(Overlap(sample.id, exact[text], "exact"))
        elif tokens in normalised:
            found.append(Overlap(sample.id, normalised[tokens], "normalised"))
        elif (hit := next((grams[g] for g in _grams(tokens) if g in grams), None)) is not None:
            found.append(Overlap(sample.id, hit, f"{GRAM}-gram"))
    return found


def refuse_repeats(found: Sequence[Overlap], source: str) -> None:
    """Raise `Contaminated` where a train item is a held-out question again, exactly or but for case and punctuation.

    Items that only share a 13-gram are left to the reader of the board: templated and formulaic texts do so by nature.
    """
    repeats = [o for o in found if o.kind in ("exact", "normalised")]
    if repeats:
        listed = "; ".join(f"{o.train} = {o.heldout} ({o.kind})" for o in repeats[:5])
        more = f" and {len(repeats) - 5} more" if len(repeats) > 5 else ""
        raise Contaminated(
            f"the train set {source} holds {len(repeats)} items of the held-out suite: {listed}{more}. "
            f"A score on items trained on means nothing: take them out, or evaluate on another suite"
        )


def _grams(tokens: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    return (tokens[i : i + GRAM] for i in range(len(tokens) - GRAM + 1))
