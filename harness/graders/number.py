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

from harness.graders.statements import MAX_STATEMENT, begins_with_answer, boxes, is_heading, markers, open_box, reply_of
from harness.types import Score

NUMBER_VERSION = "number-2"  # raised whenever a verdict can change
TOLERANCE = Fraction(1, 10**9)
MAX_NUMBER = 1_000  # characters of one number; longer ones cannot be read

_NUMBER = re.compile(
    r"""(?<![\w^])(?P<minus>(?<![)\]}])-)?[$€£¥₹]?(?P<minus2>-)?
    (?: (?P<whole>[0-9]{1,6})[ ](?=[0-9]{1,6}/[1-9]) )?
    (?P<value> (?: [0-9]{1,3}(?:,[0-9]{3})+(?![0-9]) | [0-9]+ ) (?:\.[0-9]+)? | \.[0-9]+ )
    (?: [eE](?P<exponent>[-+]?[0-9]{1,3})(?![\w.]) )?
    (?: [ ]?/[ ]?(?P<below>[0-9]+(?:\.[0-9]+)?) )?""",
    re.VERBOSE,
)
_BOLD = re.compile(r"\*\*[ ]?(?![0-9]{1,3}[.):](?![0-9]))(?=[-$€£¥₹]?[-0-9.])([^*\n]{1,80})\*\*")
_LIST_ITEM = re.compile(r"[0-9]{1,3}[.)](?:\s|\*)")  # "1. First, ..." is not an answer
_FRACTION = re.compile(r"(?P<whole>[0-9]?)\\[dt]?frac\{(?P<above>-?[0-9.]{1,99})\}\{(?P<below>[0-9.]{1,99})\}")
_LATEX = {"{,}": ",", "\\,": "", "\\!": "", "\\$": "$", "\\%": "%", "−": "-", "\u00a0": " ", "\u202f": " "}


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
    reply = _plain(reply_of(text))
    last = read_number(reply)
    strict = last if last.boxed else _same_in_box(reply, last)
    lenient = last if strict.value is None else strict
    return {"strict": _judge(strict, gold, target), "lenient": _judge(lenient, gold, target)}


def _judge(reading: NumberRead, gold: Fraction, target: str) -> Score:
    if reading.value is None:
        return Score(0.0, None, reading.why)
    right = abs(reading.value - gold) <= TOLERANCE
    return Score(float(right), reading.text, f"{reading.why}: {'equals' if right else 'is not'} {target[:80]}")


def _same_in_box(reply: str, last: NumberRead) -> NumberRead:
    """The number in the last box if the reply repeats it behind the box, in another form; else none."""
    box, _ = _last_boxed(reply)
    if not box.boxed or box.value == last.value:
        return box if box.boxed else NumberRead(None, None, r"no closed \boxed{} with a number")
    return NumberRead(None, None, f"behind \\boxed{{{box.text}}} another answer is stated: {last.text!r}, {last.why}")


def read_number(reply: str) -> NumberRead:
    r"""The number that a reply gives as its answer: the last that is stated, else the last in bold, else the last one.

    Stated: in a `\boxed{}`, after `####`, in an "answer" field of JSON, in <answer>, after "the answer is", "Answer:".
    Reading stops at a JSON field that states something other than a number, but not at an empty one ("___").
    """
    box, end = _last_boxed(reply)
    if (cut := open_box(reply, end)) is not None:
        held = _after_equals(cut, r"in a \boxed{} that is cut off")
        if held.value is not None:
            return held
    for marker in markers(reply, end):
        reading = _stated(reply, marker, behind_box=end > 0)
        if reading.value is not None or (marker["json"] and re.search(r"[^\W_]", reading.text or "")):
            return reading
    if box.value is not None:
        return box
    bold = [match[1] for match in _BOLD.finditer(reply)]
    if bold:
        return _first(bold[-1], "last bold number")
    numbers = deque(_NUMBER.finditer(reply), maxlen=1)
    return (
        _value(numbers[0], "last number in the reply") if numbers else NumberRead(None, None, "no number in the reply")
    )


def _last_boxed(reply: str) -> tuple[NumberRead, int]:
    """The number in the last box that holds one, and where that box ends; 0 if there is none."""
    for box in reversed(boxes(reply)):
        held = _after_equals(box.content, r"last \boxed{}")
        if held.value is not None:
            return replace(held, boxed=box.braced), box.end
    return NumberRead(None, None, r"no \boxed{}"), 0


def _stated(text: str, marker: re.Match[str], behind_box: bool) -> NumberRead:
    """The number stated after a marker; value None if no number follows."""
    after = text[marker.end() : marker.end() + MAX_STATEMENT].lstrip(" \t\r\n*_`")
    where = f"after {marker[0].strip()[:40]!r}"
    if marker["json"]:
        return _after_equals(_json_value(after), where)
    if behind_box and not begins_with_answer(after):
        return NumberRead(None, None, f"no number {where}")
    if marker["hash"]:
        number = None if is_heading(after) else _NUMBER.match(after)
        return _value(number, where) if number else NumberRead(None, None, f"no number {where}")
    if marker["tag"]:
        return _after_equals(after.partition("</answer>")[0], where)
    if marker["says"] or marker["minerva"]:
        return _after_equals(re.split(r"\n|[.!?](?:\s|$)|</answer>", after, maxsplit=1)[0], where)
    return _after_equals(_short_answer(after), where)


def _json_value(after: str) -> str:
    """The value of a JSON field, which may be malformed: up to the closing quote, else to the end of the line."""
    quoted = re.match(r"""(["'])((?:\\.|(?!\1)[^\\]){0,2000})""", after, re.DOTALL)
    return quoted[2] if quoted else after.partition("\n")[0].rstrip(' }",`')


def _short_answer(after: str) -> str:
    """The line after "Answer:", unless it only begins a longer working ("Answer: Step 1: ...")."""
    line, _, rest = after.partition("\n")
    if not rest.strip(" \t\r\n`}*"):
        return line
    number = _NUMBER.search(line)
    if number is None or "=" in line or _LIST_ITEM.match(line) or re.search(r"[A-Za-z]{4}", line[: number.start()]):
        return ""
    return line


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
    value = Fraction(number["value"].replace(",", "")) * Fraction(10) ** int(number["exponent"] or 0)
    if number["below"]:
        below = Fraction(number["below"])
        if not below:
            return NumberRead(None, shown, f"{where}: {shown!r} divides by zero")
        value /= below
    value += int(number["whole"] or 0)
    return NumberRead(-value if number["minus"] or number["minus2"] else value, shown, where)


def _plain(text: str) -> str:
    """Text with LaTeX number forms written plainly: \\frac{1}{2} as 1/2, 10{,}000 as 10,000, \\$ as $."""
    for written, plain in _LATEX.items():
        text = text.replace(written, plain)
    return _FRACTION.sub(_plain_fraction, text)


def _plain_fraction(match: re.Match[str]) -> str:
    gap = f"{match['whole']} " if match["whole"] else ""
    return f"{gap}{match['above']}/{match['below']}"
