r"""Grades replies whose answer is one Python literal: CRUXEval and similar.

`strict` accepts the form the task asks for: the last fenced block of Python holds the value and nothing else. `lenient`
finds the value wherever models put it, a line `#### V` included. If another value is stated behind that block, `strict`
reads none.
Nothing is evaluated: a value is what `ast.literal_eval` reads from at most `MAX_LITERAL` characters, so `"a" * 3` and
`len(x)` are not values. Equality is Python's `==`, as in the benchmark's own `assert f(x) == V`: `1` is `True`.
Patterns run in linear time, over the last `MAX_TEXT` characters at most.
"""

from __future__ import annotations

import ast
import json
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from harness.graders.fences import blocks
from harness.graders.reasoning import split_thoughts
from harness.graders.statements import MAX_TEXT
from harness.types import Score

LITERAL_VERSION = "literal-3"  # raised whenever a verdict can change
MAX_LITERAL = 2_000  # characters of one literal; longer ones cannot be read
MAX_DEPTH = 50  # brackets open at once
MAX_MARKERS = 100  # markers tried, from the last one back

_NOTHING = object()
_WARNINGS = threading.Lock()  # catch_warnings changes the state of all threads
_MARKER = re.compile(
    r"""(?P<json>["']answer["']\s{0,20}:\s{0,20})
    | (?P<tag>\[ANSWER\])
    | (?P<hash>\#\#\#\#)
    | \\boxed\s{0,9}\{
    | (?P<equals>==)
    | (?:answer|output|result|value|returns?|evaluates|assertion)\b[^\n:.!?]{0,60}? (?:\b(?:is|be|to|as|with)\b:?|:|\n)
    | \breturns\b""",
    re.VERBOSE | re.IGNORECASE,
)
_TAGGED = re.compile(r"\s*(?:assert\b[^\n]{0,2000}?==)?(.{0,2000}?)(?:\[/ANSWER\]|\Z)", re.DOTALL)
_FENCE = re.compile(r"```[a-zA-Z]{0,10}[ \t]*\n(.{0,2000}?)\n?[ \t]*```", re.DOTALL)
_QUOTED = re.compile(r"(`{1,2})([^`\n]{1,2000})\1")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class LiteralRead:
    """The answer that was read. text None: nothing found. value _NOTHING: not a literal. bare: maybe without quotes."""

    text: str | None
    where: str
    value: Any = _NOTHING
    bare: bool = False


def score_literal(text: str, target: str) -> dict[str, Score]:
    """{"strict": ..., "lenient": ...} for a reply whose answer should be the literal `target`.

    answer None: no readable answer (scored 0.0). value None: the target itself is not a literal.
    If `strict` can read a reply, `lenient` reads the same answer.
    """
    gold = read_literal(target)
    if gold is _NOTHING:
        unknown = Score(None, None, f"the target {target[:80]!r} is not a Python literal")
        return {"strict": unknown, "lenient": unknown}
    reply, is_unfinished = split_thoughts(text[-MAX_TEXT:])
    if is_unfinished:
        none = Score(0.0, None, "nothing but thoughts that never end")
        return {"strict": none, "lenient": none}
    strict = _read_strict(reply)
    lenient = strict if strict.value is not _NOTHING else _read_lenient(reply, isinstance(gold, str))
    return {"strict": _judge(strict, gold, target), "lenient": _judge(lenient, gold, target)}


def read_literal(text: str) -> Any:
    """The value of a literal; `_NOTHING` if the text is not a literal, or is too long or too deeply nested."""
    text = text.strip()
    if not text or len(text) > MAX_LITERAL or _deep(text):
        return _NOTHING
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "invalid escape sequence": a fault of the model, not ours
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _NOTHING


def _deep(text: str) -> bool:
    """Whether brackets or signs nest deeper than in any real answer; those inside strings count too."""
    depth = most = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        most = max(most, depth)
    return most > MAX_DEPTH or re.search(r"(?:[-+~]\s*|not\s+){20}", text) is not None


def _judge(reading: LiteralRead, gold: Any, target: str) -> Score:
    if reading.text is None:
        return Score(0.0, None, reading.where)
    right = reading.value is not _NOTHING and _same(reading.value, gold)
    if reading.bare and isinstance(gold, str) and not isinstance(reading.value, str):
        right = gold in (reading.text, read_literal(f"'{reading.text}'"))
    return Score(float(right), reading.text[:500], f"{reading.where}: {'equals' if right else 'is not'} {target[:80]}")


def _same(value: Any, gold: Any) -> bool:
    try:
        return bool(value == gold)
    except RecursionError:
        return False


def _read_strict(text: str) -> LiteralRead:
    """The literal in the last fenced block of Python, which must contain nothing else."""
    found = [block for block in blocks(text) if block.is_python]
    if not found or not found[-1].whole:
        return LiteralRead(None, "no fenced block with the value")
    block = found[-1]
    value = read_literal(block.code)
    if value is _NOTHING:
        return LiteralRead(None, f"the last fenced block is not one Python literal: {block.code.strip()[:80]!r}")
    for marker in list(_MARKER.finditer(text, block.end))[: -MAX_MARKERS - 1 : -1]:
        behind = _stated(text, marker, words=False)
        if behind is not None and behind.value is not _NOTHING and not _same(behind.value, value):
            return LiteralRead(
                None, f"behind the fenced block another value is stated: {behind.text!r}, {behind.where}"
            )
    return LiteralRead(block.code.strip(), "fenced block", value)


def _read_lenient(text: str, words: bool) -> LiteralRead:
    """The value in a reply: after a marker, else the whole reply, else code in it, else its last line.

    words: the target is a string, so a JSON field or an [ANSWER] tag may contain it without quotes.
    """
    markers = list(_MARKER.finditer(text))[: -MAX_MARKERS - 1 : -1]
    formal = [m for m in markers if m["json"] or m["tag"] or m["hash"]]  # have priority over prose
    for marker in [*formal, *(m for m in markers if m not in formal)]:
        reading = _stated(text, marker, words)
        if reading is not None:
            return reading
    for part, where in _parts(text):
        found = _literal(part, where)
        if found is not None:
            return found
    bare = text.strip()
    if words and bare and "\n" not in bare and len(bare) <= MAX_LITERAL:
        return LiteralRead(bare, "the whole reply", bare=True)
    return LiteralRead(None, "no Python literal in the reply")


def _stated(text: str, marker: re.Match[str], words: bool) -> LiteralRead | None:
    """The value stated after a marker; None if there is no value there."""
    after = text[marker.end() : marker.end() + MAX_LITERAL + 200]
    where = f"after {marker[0].strip()[:40]!r}"
    if marker["json"]:
        fields = _json_values(after)
        found = next(filter(None, (_literal(held, where) for held in fields)), None)
        return replace(found, bare=True) if found else LiteralRead(fields[0], where, bare=True) if words else None
    if marker["tag"]:
        tagged = _TAGGED.match(after)
        held = tagged[1].strip() if tagged else ""
        return _literal(held, where) or (LiteralRead(held, where, bare=True) if words and held else None)
    if marker["hash"]:
        return _literal(after.partition("\n")[0], where)
    return _leading(after.lstrip(" \t\r\n*:`"), where)


def _json_values(after: str) -> list[str]:
    """Possible values of a JSON field: as JSON reads it, and, if it is malformed, everything to the end of the line."""
    line = after.partition("\n")[0].rstrip(" ,}\r`").removeprefix('"').removesuffix('"').replace("\\'", "'")
    try:
        value, _ = json.JSONDecoder().raw_decode(after)
    except (ValueError, RecursionError):
        return [line]
    return [value if isinstance(value, str) else repr(value), line]


def _literal(text: str, where: str) -> LiteralRead | None:
    """The text as one literal, without quotes, backticks and punctuation around it."""
    for shown in (text.strip(), text.strip(" \t\r\n`*$"), text.strip(" \t\r\n`*$.")):
        value = read_literal(shown)
        if value is not _NOTHING:
            return LiteralRead(shown, where, value)
    return None


def _leading(text: str, where: str) -> LiteralRead | None:
    """The literal at the beginning of a text, whatever follows it: "[1, 2]. So ..." is [1, 2]."""
    end = _literal_end(text)
    return _literal(text[:end], where) if end else None


def _literal_end(text: str) -> int:
    """The end of the literal at the beginning of a text; 0 if there is none."""
    prefix = re.match(r"(?:[bB]?[rR]?)(?=['\"])", text)
    start = prefix.end() if prefix else 0
    if text[start : start + 1] in ("'", '"'):
        quote = text[start : start + 3] if text[start : start + 3] in ("'''", '"""') else text[start]
        return _string_end(text, start, quote)
    if text[:1] in _CLOSING:
        return _bracket_end(text)
    word = re.match(r"-?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|-?\.[0-9]+|True|False|None|set\(\)", text)
    return word.end() if word and not re.match(r"\w", text[word.end() :]) else 0


def _string_end(text: str, start: int, quote: str) -> int:
    i = start + len(quote)
    while i < len(text):
        if text[i] == "\\":
            i += 2
        elif text.startswith(quote, i):
            return i + len(quote)
        else:
            i += 1
    return 0


def _bracket_end(text: str) -> int:
    """The end of the bracket at the beginning of a text; brackets inside strings do not count."""
    awaited: list[str] = []
    i = 0
    while i < len(text):
        char = text[i]
        if char in ("'", '"'):
            i = _string_end(text, i, char)
            if not i:
                return 0
            continue
        if char in _CLOSING:
            awaited.append(_CLOSING[char])
        elif awaited and char == awaited[-1]:
            awaited.pop()
            if not awaited:
                return i + 1
        elif char in ")]}":
            return 0
        i += 1
    return 0


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Parts of an unmarked reply that may be the value, the most likely first."""
    yield text, "the whole reply"
    for block in reversed(_FENCE.findall(text)):
        yield block, "last code block"
    for _, inside in reversed(_QUOTED.findall(text)):
        yield inside, "last code in the text"
    lines = [line for line in text.splitlines() if line.strip()]
    if lines:
        yield lines[-1], "last line"
