r"""Grades replies whose answer is one number: GSM8K and similar.

`strict` accepts the form the task asks for, a closed `\boxed{}`. `lenient` finds the answer wherever models put it, a
line `#### N` included. The answer is what the reply states last (`statements`), so the two never read different
answers: if another answer follows the last box, `lenient` reads that one and `strict` none.
Both read text only: nothing is evaluated, so "600 - 198" is 600 and "2 dozen" is 2. Numbers are compared exactly, as
fractions, except that a reply's number may miss the target by 1e-9 (rounding of programs: 18.000000000000004).
Cost is bounded for hostile text: patterns run in linear time, over the last 100,000 characters at most.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction

from harness.graders.sentences import without_asides
from harness.graders.statements import MAX_TEXT, Reply, Statement, read_reply
from harness.types import Score

NUMBER_VERSION = "number-3"  # raised whenever a verdict can change
TOLERANCE = Fraction(1, 10**9)
MAX_NUMBER = 1_000  # characters of one number; longer ones cannot be read

_CURRENCY = (
    r"(?:US|HK|A|C|R|NZ|S)(?=\$)|(?:USD|EUR|GBP|CNY|RMB|JPY|INR|AUD|CAD|CHF|HKD|SGD|NZD|KRW|BRL|MXN|ZAR|PHP|Rs|RM)\.?"
)
_NUMBER = re.compile(
    rf"""(?<![A-Za-zÀ-ɏ0-9_^])(?P<minus>(?<![)\]}}])-)?(?:{_CURRENCY})?[$€£¥₹]?(?P<minus2>-)?
    (?: (?P<whole>[0-9]{{1,6}})[ ](?=[0-9]{{1,6}}/[1-9]) )?
    (?P<value> (?: [0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])
            | [1-9][0-9]{{0,2}}(?:[ '’][0-9]{{3}})+(?![0-9]|[ ]?/) | [0-9]+ ) (?:\.[0-9]+)? | \.[0-9]+ )
    (?: [eE](?P<exponent>[-+]?[0-9]{{1,3}})(?![\w.]) )?
    (?: [ ]?/[ ]?(?P<below>[0-9]+(?:\.[0-9]+)?) )?""",
    re.VERBOSE,
)
_BOLD = re.compile(r"\*\*[ ]?(?![0-9]{1,3}[.):](?![0-9]))(?=[-$€£¥₹]?[-0-9.])([^*\n]{1,80})\*\*")
_LIST_ITEM = re.compile(r"[0-9]{1,3}[.)](?:\s|\*)")  # "1. First, ..." is not an answer
_FRACTION = re.compile(r"(?P<whole>[0-9]?)\\[dt]?frac\{(?P<above>-?[0-9.]{1,99})\}\{(?P<below>[0-9.]{1,99})\}")
_BLANKS = dict.fromkeys(map(ord, "\u00a0\u2009\u202f"), " ")
_LATEX = {"{,}": ",", "\\,": "", "\\!": "", "\\$": "$", "\\%": "%", "−": "-"}


@dataclass(frozen=True)
class NumberRead:
    r"""The number that was read. value None: no number, `why` gives the reason. text: as the reply writes it.

    boxed: it is the content of a closed `\boxed{}`.
    """

    value: Fraction | None
    text: str | None
    why: str
    boxed: bool = False


def score_number(text: str, target: str) -> dict[str, Score]:
    """{"strict": ..., "lenient": ...} for a reply whose answer should be the number `target`.

    answer None: no readable answer (scored 0.0). value None: the target itself is not a number.
    If `strict` can read a reply, `lenient` reads the same answer.
    """
    gold = _first(_plain(target)).value
    if gold is None:
        unknown = Score(None, None, f"the target {target[:80]!r} is not a number")
        return {"strict": unknown, "lenient": unknown}
    reply = read_reply(_plain(text[-MAX_TEXT:]))
    last = read_number(reply)
    strict = last if last.boxed else _same_in_box(reply, last)
    lenient = last if strict.value is None else strict
    return {"strict": _judge(strict, gold, target), "lenient": _judge(lenient, gold, target)}


def _judge(reading: NumberRead, gold: Fraction, target: str) -> Score:
    if reading.value is None:
        return Score(0.0, None, reading.why)
    right = abs(reading.value - gold) <= TOLERANCE
    return Score(float(right), reading.text, f"{reading.why}: {'equals' if right else 'is not'} {target[:80]}")


def _same_in_box(reply: Reply, last: NumberRead) -> NumberRead:
    """The number in the last box if the reply repeats it behind the box, in another form; else none."""
    held = [_held(statement) for statement in reply.stated if statement.kind == "box"]
    box = next((reading for reading in reversed(held) if reading.value is not None), None)
    if box is None or not box.boxed:
        return NumberRead(None, None, r"no closed \boxed{} with a number")
    if box.value == last.value:
        return box
    return NumberRead(None, None, f"behind \\boxed{{{box.text}}} another answer is stated: {last.text!r}, {last.why}")


def read_number(reply: Reply) -> NumberRead:
    r"""The number that a reply gives as its answer: the last that is stated, else the last in bold, else the last one.

    Reading stops at a JSON field that states something other than a number, but not at an empty one ("___").
    """
    for statement in reversed(reply.stated):
        reading = _held(statement)
        if reading.value is not None or (statement.kind == "json" and re.search(r"[^\W_]", reading.text or "")):
            return reading
    unmarked = without_asides(reply.unmarked)
    bold = deque(_BOLD.finditer(unmarked), maxlen=1)
    if bold:
        return _first(bold[0][1], "last bold number")
    numbers = deque(_NUMBER.finditer(unmarked), maxlen=1)
    if numbers:
        return _value(numbers[0], "last number in the reply")
    asked = [_held(statement) for statement in reply.asked]
    return next((r for r in reversed(asked) if r.value is not None), NumberRead(None, None, "no number in the reply"))


def _held(statement: Statement) -> NumberRead:
    """The number in a statement; value None if it has none."""
    text = statement.text
    if (statement.kind == "hash" and not _NUMBER.match(text)) or (
        statement.kind == "colon" and statement.more and not _is_short(text)
    ):
        text = ""
    reading = _after_equals(text, statement.where)
    return replace(reading, boxed=reading.value is not None and statement.kind == "box" and statement.braced)


def _is_short(line: str) -> bool:
    """Whether the line after "Answer:" is an answer; else it only begins a longer working ("Answer: Step 1: ...")."""
    number = _NUMBER.search(line)
    working = number is None or "=" in line or _LIST_ITEM.match(line)
    return not working and not re.search(r"[A-Za-z]{4}", line[: number.start() if number else 0])


def _after_equals(statement: str, where: str) -> NumberRead:
    """The first number after the last equals sign that has one: "3 * 4 = 12 apples" is 12."""
    for part in reversed(re.split("[=≈]", statement)):
        reading = _first(part, where)
        if reading.value is not None:
            return reading
    return NumberRead(None, statement.strip()[:80] or None, f"no number {where}: {statement.strip()[:80]!r}")


def _first(text: str, where: str = "") -> NumberRead:
    number = _NUMBER.search(text)
    return _value(number, where) if number else NumberRead(None, None, f"no number {where}")


def _value(number: re.Match[str], where: str) -> NumberRead:
    """The match as an exact fraction; value None if it has no value (too long, divided by zero)."""
    shown = number[0].strip()
    if len(shown) > MAX_NUMBER:
        return NumberRead(None, None, f"{where}: a number of {len(shown)} characters cannot be read")
    value = Fraction(re.sub(r"[^0-9.]", "", number["value"])) * Fraction(10) ** int(number["exponent"] or 0)
    if number["below"]:
        below = Fraction(number["below"])
        if not below:
            return NumberRead(None, shown, f"{where}: {shown!r} divides by zero")
        value /= below
    value += int(number["whole"] or 0)
    return NumberRead(-value if number["minus"] or number["minus2"] else value, shown, where)


def _plain(text: str) -> str:
    """Text with LaTeX number forms written plainly: \\frac{1}{2} as 1/2, 10{,}000 as 10,000, \\$ as $."""
    text = text.translate(_BLANKS)
    for written, plain in _LATEX.items():
        text = text.replace(written, plain)
    return _FRACTION.sub(_plain_fraction, text)


def _plain_fraction(match: re.Match[str]) -> str:
    gap = f"{match['whole']} " if match["whole"] else ""
    return f"{gap}{match['above']}/{match['below']}"
