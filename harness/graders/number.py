r"""Grades replies whose answer is one number: GSM8K and similar.

`strict` accepts the format the task asks for, a line `#### N`. `lenient` finds the answer wherever models put it.
Both read text only: nothing is evaluated, so "600 - 198" is 600 and "2 dozen" is 2. Numbers are compared exactly, as
fractions, except that a reply's number may miss the target by 1e-9 (rounding of programs: 18.000000000000004).
Cost is bounded for hostile text: patterns run in linear time, over the last 100,000 characters at most.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from harness.graders.reasoning import after_thoughts
from harness.types import Score

NUMBER_VERSION = "number-1"  # raised whenever a verdict can change
TOLERANCE = Fraction(1, 10**9)
MAX_TEXT = 100_000  # characters, from the end, in which `lenient` looks
MAX_MARKERS = 100  # markers tried, from the last one back
MAX_STATEMENT = 2_000  # characters after a marker that may hold the answer
MAX_NUMBER = 1_000  # characters of one number; longer ones cannot be read

_NUMBER = re.compile(
    r"""(?<![\w^])(?P<minus>(?<![)\]}])-)?[$€£¥₹]?(?P<minus2>-)?
    (?: (?P<whole>[0-9]{1,6})[ ](?=[0-9]{1,6}/[1-9]) )?
    (?P<value> (?: [0-9]{1,3}(?:,[0-9]{3})+(?![0-9]) | [0-9]+ ) (?:\.[0-9]+)? | \.[0-9]+ )
    (?: [eE](?P<exponent>[-+]?[0-9]{1,3})(?![\w.]) )?
    (?: [ ]?/[ ]?(?P<below>[0-9]+(?:\.[0-9]+)?) )?""",
    re.VERBOSE,
)
_STRICT = re.compile(r"[ \t]{0,99}####[ \t]{0,99}([-$0-9.,]{1,1000}?)\.?[ \t\r]{0,99}")
_MARKER = re.compile(
    r"""(?P<json>["']answer["']\s{0,20}:\s{0,20})
    | \\(?:boxed|fbox)\s{0,9}\{
    | (?P<hash>\#\#\#\#)
    | (?P<line>^[ \t]{0,20}A:)
    | answer\b[^\n:=.!?]{0,60}? (?: (?P<says>\b(?:is|be|equals)\b:?) | (?P<colon>:|=|\n) )""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_ANSWERED = re.compile(r"####|\\boxed\{|[\"']answer[\"']\s{0,20}:|\banswer is\b", re.IGNORECASE)
_NEXT_QUESTION = re.compile(r"^[#*> \t]{0,9}(?:Question|Q)[* ]{0,3}:", re.MULTILINE)
_BOLD = re.compile(r"\*\*[ ]?(?![0-9]{1,3}[.):](?![0-9]))(?=[-$€£¥₹]?[-0-9.])([^*\n]{1,80})\*\*")
_LIST_ITEM = re.compile(r"[0-9]{1,3}[.)](?:\s|\*)")  # "1. First, ..." is not an answer
_FRACTION = re.compile(r"(?P<whole>[0-9]?)\\[dt]?frac\{(?P<above>-?[0-9.]{1,99})\}\{(?P<below>[0-9.]{1,99})\}")
_LATEX = {"{,}": ",", "\\,": "", "\\!": "", "\\$": "$", "\\%": "%", "−": "-", "\u00a0": " ", "\u202f": " "}


@dataclass(frozen=True)
class NumberRead:
    """The number that was read. value None: no number, `why` gives the reason. text: as the reply writes it."""

    value: Fraction | None
    text: str | None
    why: str


def score_number(text: str, target: str) -> dict[str, Score]:
    """{"strict": ..., "lenient": ...} for a reply whose answer should be the number `target`.

    answer None: no readable answer (scored 0.0). value None: the target itself is not a number.
    If `strict` can read a reply, `lenient` reads the same answer.
    """
    gold = _first(_plain(target)).value
    if gold is None:
        unknown = Score(None, None, f"the target {target[:80]!r} is not a number")
        return {"strict": unknown, "lenient": unknown}
    reply = _before_next_question(after_thoughts(text))
    strict = _read_strict(reply)
    lenient = strict if strict.value is not None else read_number(reply)
    return {"strict": _judge(strict, gold, target), "lenient": _judge(lenient, gold, target)}


def _judge(reading: NumberRead, gold: Fraction, target: str) -> Score:
    if reading.value is None:
        return Score(0.0, None, reading.why)
    right = abs(reading.value - gold) <= TOLERANCE
    return Score(float(right), reading.text, f"{reading.why}: {'equals' if right else 'is not'} {target[:80]}")


def _before_next_question(text: str) -> str:
    """The reply up to the point at which it continues with another question, as base models do after an answer."""
    answered = _ANSWERED.search(text)
    further = _NEXT_QUESTION.search(text, answered.end()) if answered else None
    return text[: further.start()] if further else text


def _read_strict(text: str) -> NumberRead:
    """The number on the last `####` line, which must contain nothing else."""
    at = text.rfind("####")
    if at < 0:
        return NumberRead(None, None, "no line '#### N'")
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[start : len(text) if end < 0 else end]
    match = _STRICT.fullmatch(line) if len(line) <= MAX_STATEMENT else None
    number = _NUMBER.fullmatch(match[1]) if match else None
    if number is None:
        return NumberRead(None, None, f"the last '####' line is not '#### N': {line[:80]!r}")
    return _value(number, "line '#### N'")


def read_number(text: str) -> NumberRead:
    """The number that a reply gives as its answer: after the last marker, else the last in bold, else the last one.

    Markers: `#### N`, `\\boxed{}`, an "answer" field of JSON, "the answer is", "Answer:", a line "A: N".
    Reading stops at a JSON field that states something other than a number, but not at an empty one ("___").
    """
    tail = _plain(text[-MAX_TEXT:])
    for marker in list(_MARKER.finditer(tail))[: -MAX_MARKERS - 1 : -1]:
        reading = _stated(tail, marker)
        if reading.value is not None or (marker["json"] and re.search(r"[^\W_]", reading.text or "")):
            return reading
    bold = [match[1] for match in _BOLD.finditer(tail)]
    if bold:
        return _first(bold[-1], "last bold number")
    last: NumberRead | None = None
    for number in _NUMBER.finditer(tail):
        last = _value(number, "last number in the reply")
    return last or NumberRead(None, None, "no number in the reply")


def _stated(text: str, marker: re.Match[str]) -> NumberRead:
    """The number stated after a marker; value None if no number follows."""
    after = text[marker.end() : marker.end() + MAX_STATEMENT].lstrip(" \t\r\n*_`")
    where = f"after {marker[0].strip()[:40]!r}"
    if marker["json"]:
        return _after_equals(_json_value(after), where)
    if marker["hash"]:
        number = _NUMBER.match(after)
        return _value(number, where) if number else NumberRead(None, None, f"no number {where}")
    if marker["says"]:
        return _after_equals(re.split(r"\n|[.!?](?:\s|$)", after, maxsplit=1)[0], where)
    if marker["line"] or marker["colon"]:
        return _after_equals(_short_answer(after), where)
    return _after_equals(_braced(after), where)


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


def _braced(after: str) -> str:
    r"""The content of `\boxed{`, up to its closing brace."""
    depth = 1
    for i, char in enumerate(after):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return after[:i]
    return after.partition("\n")[0]


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
