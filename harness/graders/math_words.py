"""Numbers written in words."""

from __future__ import annotations

from collections.abc import Sequence

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = dict(
    zip(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], range(20, 100, 10), strict=True)
)
_VALUES = {word: value for value, word in enumerate(_ONES)} | _TENS
_LARGE = {"thousand": 1000, "million": 10**6, "billion": 10**9}
_DENOMINATORS = {
    "half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10,
}  # fmt: skip


def number_of_words(words: Sequence[str]) -> int | None:
    """The number that the words name, "twenty-one" or "one hundred and five"; None if they name none."""
    parts = [p for word in words for p in word.casefold().split("-")]
    total = current = 0
    before = ""
    for part in parts:
        if part in _VALUES:
            fits = before in ("", "and", "hundred", *_LARGE) or (before in _TENS and 0 < _VALUES[part] < 10)
            if not fits:
                return None
            current += _VALUES[part]
        elif part == "hundred" and 0 < current < 10:
            current *= 100
        elif part in _LARGE and current:
            total, current = total + current * _LARGE[part], 0
        elif not (part == "and" and before in ("hundred", *_LARGE)):
            return None
        before = part
    return total + current if parts and before != "and" else None


def denominator(word: str) -> int | None:
    """The number below the line that the word names behind a number: "two thirds"; None if it names none."""
    word = word.casefold()
    return 2 if word == "halves" else _DENOMINATORS.get(word.removesuffix("s"))
