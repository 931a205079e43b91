r"""Extracts the answer from a reply, as written. Text in, text out; `math_equal` decides whether it is right.

`extract` reads boxes (several that belong together are one answer) and other forms: "Final Answer: ... I hope it is
correct", `####`, <answer>, a JSON field, "the answer is", "Answer:"; if there is no such statement, the whole of a
short reply, display maths, bold, the last maths, the last number. The last statement counts. Patterns run in linear
time, over the last 100,000 characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.graders.statements import (
    MAX_STATEMENT,
    Box,
    begins_with_answer,
    boxes,
    is_heading,
    markers,
    open_box,
    reply_of,
)

MAX_BARE = 300  # characters of a reply that may be an answer as a whole


@dataclass(frozen=True)
class Found:
    r"""The answer that was read; None: nothing found. where: its place, shown to the user: "last \\boxed{}"."""

    answer: str | None
    where: str


@dataclass(frozen=True)
class Extracted:
    """What a reply states. last: its answer, in whatever form. boxed: what its closed boxes state, maybe the same."""

    last: Found
    boxed: Found


_DISPLAY = re.compile(r"\\\[(.{1,2000}?)\\\]|\$\$(.{1,2000}?)\$\$", re.DOTALL)
_INLINE = re.compile(r"\\\((.{1,1000}?)\\\)|(?<![\\\d$])\$(?![\s\d.,]{1,20}\s)((?:\\.|[^$\\\n]){1,1000})\$")
_MATHS_IN_TEXT = re.compile(r"[^\s$.,;]\s?\$[^$]{1,1000}\$|\$[^$]{1,1000}\$\s?[^\s$.,;]")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_NUMBER = re.compile(
    r"(?<![\w.^_])-?[$€£]?\s?(?:\d{1,3}(?:(?:,|\{,\}|,?\\!){1,2}\d{3})+|\d+)?(?:\.\d+|(?<=\d))"
    r"(?:\s?/\s?\d+(?:\.\d+)?)?(?:\s?\\?%)?(?![\d])"
)
_LETTER = re.compile(r"(?<![\w'])\(?([A-J])\)?(?![a-zA-Z'’]|[}\s]{0,9}[*+^=/_])")
_NO_ANSWER = re.compile(
    r"\b(?:can(?:not|'t| not)|could not|impossible|not possible|not enough|insufficient|unable|undetermined|"
    r"does not exist|doesn't exist|no (?:such|solution|answer|unique))\b",
    re.IGNORECASE,
)
_CONNECTION = re.compile(
    r"[\s$.,;:\\()\[\]*&{}]{0,40}(?:(?:\\(?:text|quad|qquad|mbox|;|,)\s{0,3}){0,4}\{?\s{0,3}[^\W\d_]{1,15}[\s}$.,;*]{0,9}){0,3}"
    r"(?:\\(?:quad|qquad|,|;)\s{0,3}){0,3}(?:[$\\(\[\s{]{0,9}[a-zA-Z]{1,3}(?:_\{?\w{1,3}\}?)?(?:\s?\([a-z]\))?\s?=\s?)?[\s$\\()\[\]]{0,20}"
)
_NEW_THOUGHT = re.compile(
    r"\b(?:so|thus|hence|therefore|then|answer|is|gives?|check|but|sum|we|total)\b", re.IGNORECASE
)
_PROSE = re.compile(r"(?<![\\a-zA-Z])[^\W\d_]{2,}(?![a-zA-Z{(])")
_AFTERTHOUGHT = re.compile(r"(?<=[\d$)}]),?\s+(?=(?:which|because|since|meaning|as|so|where|it|there)\b[^=$]{0,20} )")
_LAYOUT = " \t\r\n*_`"


def extract(text: str, choice: bool = False) -> Extracted:
    """What the reply states in boxes, and last. choice: the answer is a letter (A to J)."""
    reply = reply_of(text)
    found = boxes(reply)
    together = _boxed_together(reply, found)
    behind = _behind(reply, found[-1].end if found else 0)
    boxed = together if together and found[-1].braced else Found(None, r"no closed \boxed{}")
    return Extracted(behind or together or _unboxed(reply, choice), boxed)


def last_box(text: str) -> str | None:
    """The content of the last closed box of a text; None if there is none."""
    found = boxes(text)
    return found[-1].content if found else None


def _unboxed(reply: str, choice: bool) -> Found:
    """The answer of a reply without boxes."""
    if choice:
        return _letter(reply)
    for marker in markers(reply):
        stated = _stated(reply, marker)
        if stated:
            return Found(stated, f"after {marker[0].strip()[:40]!r}")
    bare = _bare(reply)
    return Found(bare, "the whole reply") if bare else _last(reply)


def _behind(text: str, end: int) -> Found | None:
    """The answer that is stated behind the last box, or in a box that is cut off; None if there is none."""
    cut = open_box(text, end)
    if cut is not None and cut.strip(" $.{"):
        return Found(cut.strip(" $."), r"in a \boxed{} that is cut off")
    for marker in markers(text, end) if end else []:
        after = text[marker.end() : marker.end() + MAX_STATEMENT].lstrip(_LAYOUT + ":")
        stated = _stated(text, marker) if marker["minerva"] or marker["json"] or begins_with_answer(after) else None
        if stated and re.search(r"\w", stated):
            return Found(stated, f"after {marker[0].strip()[:40]!r}")
    return None


def _boxed_together(text: str, found: Sequence[Box]) -> Found | None:
    r"""The last box, joined with the boxes before it that are separated only by "and", commas or names."""
    if not found:
        return None
    answers = [found[-1].content]
    for before, after in zip(found[-2::-1], found[:0:-1], strict=True):
        gap = text[before.end : after.start]
        if len(gap) > 80 or not _CONNECTION.fullmatch(gap) or _NEW_THOUGHT.search(gap) or "\n\n" in gap.strip(" "):
            break
        answers.insert(0, before.content)
    distinct = list(dict.fromkeys(answers))
    if len(distinct) == 1:
        return Found(distinct[0], r"last \boxed{}")
    return Found(", ".join(distinct), rf"{len(distinct)} \boxed{{}} that belong together")


def _letter(text: str) -> Found:
    """The chosen letter: after the last marker that has one, at the start, in bold, or the last single letter."""
    for marker in markers(text):
        letter = _LETTER.search(text[marker.end() : marker.end() + 200])
        if letter:
            return Found(letter[1], f"letter after {marker[0].strip()[:40]!r}")
    first = re.compile(
        r"[\s$*(\\{]{0,9}(?:\\?text(?:bf)?\{)?\(?([A-J])\)?(?![a-zA-Z'’]|[}\s]{0,9}[*+^=/_]|\s[a-z]{2})"
    ).match(text)
    if first:
        return Found(first[1], "letter at the start")
    alone = re.fullmatch(r"[\W_]{0,9}([a-j])[\W_]{0,9}", text)
    if alone:
        return Found(alone[1], "the whole reply")
    letters = _LETTER.findall(text)
    return Found(letters[-1], "last letter") if letters else Found(None, "no letter in the reply")


def _stated(text: str, marker: re.Match[str]) -> str | None:
    """The answer stated after a marker; None if there is no answer there."""
    after = text[marker.end() : marker.end() + MAX_STATEMENT].partition("</answer>")[0].lstrip(_LAYOUT)
    if marker["json"]:
        quoted = re.match(r"""(["'])((?:\\.|(?!\1)[^\\]){0,2000})\1""", after, re.DOTALL)
        value = quoted[2].replace("\\\\", "\\") if quoted else after.partition("\n")[0].rstrip(' }",`')
        return (_bare(value) or _last(value).answer) if re.search(r"[^\W_]", value) else None
    if marker["tag"]:
        return after.strip() or None
    if marker["hash"]:
        return None if is_heading(after) else after.partition("\n")[0].strip(_LAYOUT) or None
    if marker["minerva"]:
        return (
            after.partition("I hope it is correct")[0].partition("\n\n")[0].strip().rstrip(".").strip(_LAYOUT) or None
        )
    display = _DISPLAY.match(after.lstrip(": \n*"))
    if display:
        return (display[1] or display[2]).strip()
    line, _, rest = after.lstrip(": *").partition("\n")
    if (
        (marker["colon"] or marker["line"])
        and rest.strip(_LAYOUT + "}")
        and re.match(r"(?:step|first|let|we)\b|\d+[.)]\s", line, re.I)
    ):
        return None  # "Answer:" begins the working
    return _statement(line)


def _statement(line: str) -> str | None:
    """The answer in one line: its first sentence, or the maths or number in that sentence."""
    sentence = re.split(r"[.!?](?=\s+[A-Z\"]|\s*$)(?<!\d!)", line, maxsplit=1)[0].strip(_LAYOUT + ",;")
    sentence = _AFTERTHOUGHT.split(sentence, maxsplit=1)[0]
    if not re.search(r"\w", sentence):
        return None
    named = re.match(r"[^\d\\=]{1,100}\b(?:is|are|equals)\b:?\s+(?=\S*[\d\\$])", sentence)
    if named:
        sentence = sentence[named.end() :]
    if len(_PROSE.findall(re.sub(r"\\text\{[^{}]{0,200}\}", "", sentence))) <= 3 and len(sentence) <= MAX_BARE:
        return sentence
    if _NO_ANSWER.search(sentence):
        return sentence
    inline = [a or b for a, b in _INLINE.findall(sentence)]
    if inline:
        return str(inline[-1]).strip()
    bold = _BOLD.findall(sentence)
    if bold:
        return str(bold[-1]).strip()
    after_equals = sentence.rsplit("=", 1)[-1]
    number = _NUMBER.search(after_equals) or _NUMBER.search(sentence)
    return number[0].strip() if number else None


def _bare(text: str) -> str | None:
    """The whole reply, if it is an answer without prose, or the end of its calculation."""
    line = text.strip(_LAYOUT)
    if not line or len(line) > MAX_STATEMENT:
        return None
    words = _PROSE.findall(re.sub(r"\\text\{[^{}]{0,200}\}|\\begin\{\w*\}|\\end\{\w*\}", "", line))
    words = [w for w in words if w not in ("and", "or")]
    few = len(words) <= 3 and not _MATHS_IN_TEXT.search(line)
    if len(line) <= MAX_BARE and "\n" not in line and (few or not re.search(r"\d|\$|\\", line)):
        return line
    if line.startswith(("\\begin{", "$")) and not words:
        return line
    if "\n" in line or "=" not in line or any(p.search(line) for p in (_DISPLAY, _BOLD, _INLINE)):
        return None
    end = re.split(r"[.!?;](?=\s|$)", line.rsplit("=", 1)[-1].strip(), maxsplit=1)[0].strip()
    states = re.search(r"\d", end) and end.count("(") == end.count(")") and len(_PROSE.findall(end)) <= 3
    return end if states else None


def _last(text: str) -> Found:
    """The answer at the end of an unmarked reply: display maths, bold, inline maths or a number, whichever is last."""
    ending = text.strip()[-MAX_STATEMENT:]
    if _NO_ANSWER.search(ending[-300:]):
        return Found(None, "the reply says that it has no answer")
    shown = [(m.end(), m[1] or m[2], "last display maths") for m in _DISPLAY.finditer(ending)]
    shown += [(m.end(), m[1], "last bold") for m in _BOLD.finditer(ending) if re.search(r"\d|^\S{1,20}$", m[1])]
    shown += [(m.end(), m[1] or m[2], "last maths") for m in _INLINE.finditer(ending)]
    shown += [(m.end(), m[0], "last number in the reply") for m in _NUMBER.finditer(ending)]
    if not shown:
        return Found(None, "no answer in the reply")
    _, answer, where = max(shown, key=lambda item: item[0])
    return Found(answer.strip(), where)
