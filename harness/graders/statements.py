r"""Finds where a reply states its answer: one walk over its marks, in order, and what each of them states.

What the graders of numbers and of mathematics have in common. Marks are `\boxed{}`, an "answer" field of JSON,
<answer>, `####`, "the answer is", "Answer:". The last statement counts, by these rules:

* What is asked ("16?") or denied ("not 16") is not stated; of "not 16 but 18" and of "18, not 16" the 18 is.
* Behind "No,", "Wait," and the like, "it is 18" corrects what was stated.
* Behind a statement, another counts only if it begins with an answer ("The answer is 12.", not "is between 1 and 9."),
  and behind a box only if it does more than talk about it ("To check the answer, ...").

Only the last `MAX_TEXT` characters are read, in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.graders.reasoning import split_thoughts
from harness.graders.sentences import (
    LAYOUT,
    MAX_CORRECTION,
    affirmed,
    begins_with_answer,
    correction,
    first_sentence,
    holds_maths,
    is_heading,
    without_lead_in,
)

MAX_TEXT = 100_000  # characters, from the end, that are read
MAX_MARKS = 100  # only so many marks are read, the last ones
MAX_STATEMENT = 2_000  # characters of a statement

_MARK = re.compile(  # begins with a set of characters, since `re` passes over all others fast
    r"""[\\"'<\#AaRrОо答정选\n.!?…,;—–)$*](?i:
    (?P<box>(?<=\\)\\?(?:boxed|fbox|framebox)\s{0,9}(?=[{\w$]))
    | (?P<json>(?<=["'])(?:final_?)?answer["']\s{0,20}:\s{0,20})
    | (?P<tag>(?<=<)(?:answer>|\|begin_of_box\|>))
    | (?P<hash>(?<=\#)\#\#\#)
    | (?P<line>(?<=\n)[ \t*]{0,20}A:)
    | (?:(?<=a)(?<![</].)nswer|(?<=r)(?:éponse|espuesta|isposta|esposta)
        |(?<=a)ntwort|(?<=о)твет|(?<=答)[案え]?|(?<=정)답)
      (?:(?!\\\\?(?:boxed|fbox))[^\n:：=.!?是】]){0,60}?
      (?: (?P<says>\b(?:(?:is|are)(?:n['’]t)?|be|equals|est|es|ist|lautet)\b[ ]{0,3}:?|[为是は][:：]?)
        | (?P<colon>[:：】]|=|(?=\n)) )
    | (?P<option>(?<=选)[择项]?[为是:：]?(?=\s?[（(]?[A-J]))
    | (?P<turn>(?<=<)(?:[|｜][\w▁｜]{1,40}[|｜]>|/s>|end_of_turn>)
        | (?<=\n)[\#*> \t]{0,9}(?:Question|Problem|Q)[* ]{0,3}:)
    | (?P<retraction>(?<=[\n.!?…,;—–)$*])[\s*_]{0,9}
        (?:\b(?:no|sorry|correction|oops|hmm|scratch[ ]that)(?=\s?[,.:;!…—–-])|\b(?:wait|actually)\b
         |that(?:['’]s|[ ]is)[ ](?:wrong|incorrect|not[ ]right)\b)))""",
    re.VERBOSE,
)
_MINERVA = re.compile(r"Final Answer: The final \Z")  # "answer is ... I hope it is correct."
_HEADER = re.compile(r"(?:\s|assistant\b|<[|｜](?!begin_of_box)\w{1,40}[|｜]>)*", re.IGNORECASE)  # of a chat template
_WORD = re.compile(r"\$?(\w{1,40})")
_BRACE = re.compile(r"\\[^\w\s]|[{}]")
_DISPLAY = re.compile(r"\\\[(.{1,2000}?)\\\]|\$\$(.{1,2000}?)\$\$", re.DOTALL)
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\]){0,2000})""", re.DOTALL)
_ASKED = re.compile(r"[\s$\\)\]*}]{0,6}\?(?!\s{0,9}(?:yes|correct|right|indeed)\b)", re.IGNORECASE)
_DOUBT = re.compile(r"\b(?:maybe|perhaps|possibly|probably|might|could|guess|suppose|try|if)\b", re.IGNORECASE)
_ABOUT = re.compile(r"\b(?:check(?:s|ed|ing)?|verif(?:y|ies|ied|ying)|confirms?|we|see)\b", re.IGNORECASE)
_BEFORE = 20  # characters in front of the word "answer" that show that an answer is talked about
_WORKING = re.compile(r"(?:step|first|let|we)\b|\d+[.)]\s", re.IGNORECASE)
_NOT_BEFORE = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\brather than|\binstead of|\bas opposed to)(?: be)? (?:equal to )?[ $\\(\[*]{0,6}\Z",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"(?:n['’]t|\b(?:not|never|cannot))(?: \w+)?(?: be)?[: ]*\Z", re.IGNORECASE)

Kind = Literal["box", "cut", "json", "tag", "hash", "minerva", "says", "colon", "option", "display", "correction"]
Standing = Literal["stated", "asked", "denied"]


@dataclass(frozen=True)
class Statement:
    r"""What a reply states at one place. text: the answer; for "says", "colon", "option", "correction" what holds it.

    kind "cut": a box that never closes; "display": maths behind a mark. where: the place, shown to the user. more: the
    reply goes on behind its line. braced: the box has braces ("\boxed5" has not).
    """

    kind: Kind
    text: str
    where: str
    start: int
    end: int
    standing: Standing = "stated"
    more: bool = False
    braced: bool = True


@dataclass(frozen=True)
class Reply:
    """A reply without thoughts and further turns. stated, asked: its statements, in order.

    unmarked: where its answer may stand if nothing is stated, without what is asked or denied.
    """

    text: str
    stated: tuple[Statement, ...]
    asked: tuple[Statement, ...]
    unmarked: str


@dataclass(frozen=True)
class _Mark:
    found: re.Match[str]
    kind: str
    end: int  # of a closed box: behind its brace


def read_reply(text: str) -> Reply:
    """What a reply states behind its thoughts, up to where it goes on with a user turn or another question."""
    reply, is_unfinished = split_thoughts(text[-MAX_TEXT:])
    header = _HEADER.match(reply)
    marks, reply = _marks("\n" + (reply[header.end() :] if header else reply))
    found: list[Statement] = []
    for mark in marks[-MAX_MARKS:]:
        if mark.kind == "retraction":
            statement = _corrected(reply, mark.end) if found else None
        elif mark.kind == "box":
            statement = _box(reply, mark)
        else:
            statement = _announced(reply, mark, found)
        if statement:
            found.append(statement)
            if statement.standing != "stated" and (better := _corrected(reply, statement.end)):
                found.append(better)
    if is_unfinished:
        return Reply(reply, tuple(s for s in found if _ends_thoughts(reply, s)), (), "")
    unmarked, begin = "", 0
    for statement in found:
        if statement.standing != "stated":
            unmarked += reply[begin : max(begin, _sentence_start(reply, statement.start))]
            begin = statement.end
    by_standing = [tuple(s for s in found if s.standing == standing) for standing in ("stated", "asked")]
    return Reply(reply, by_standing[0], by_standing[1], unmarked + reply[begin:])


def _ends_thoughts(text: str, statement: Statement) -> bool:
    """Whether unfinished thoughts end with a statement and do not doubt it: then just their end mark is missing."""
    doubted = _DOUBT.search(text, _sentence_start(text, statement.start), statement.end)
    return statement.standing == "stated" and not doubted and not re.search(r"\w", text[statement.end :])


def last_box(text: str) -> str | None:
    """The content of the last closed box of a text; None if there is none."""
    boxes = [_box(text, mark) for mark in _marks(text)[0] if mark.kind == "box"]
    return next((box.text for box in reversed(boxes) if box and box.kind == "box"), None)


def _marks(text: str) -> tuple[list[_Mark], str]:
    """The marks of a reply in order, and the reply up to its end."""
    closing = _closing_braces(text) if "box" in text else {}
    marks: list[_Mark] = []
    answered, position = False, 0
    while match := _MARK.search(text, position):
        kind, position = match.lastgroup or "", match.end()
        if kind == "turn":
            if answered or (match[0].startswith("<") and match.start()):
                return marks, text[: match.start()]
            continue
        if kind == "box":
            word, closed = _WORD.match(text, position), closing.get(position, len(text) + MAX_STATEMENT)
            position = word.end() if word else closed + 1 if closed - position <= MAX_STATEMENT else position
        answered = answered or kind in ("box", "json", "tag", "hash", "minerva", "says")
        marks.append(_Mark(match, kind, position))
    return marks, text


def _closing_braces(text: str) -> dict[int, int]:
    """Where the brace that opens at a position closes; escaped ones do not count."""
    closing: dict[int, int] = {}
    awaited: list[int] = []
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            awaited.append(brace.start())
        elif brace[0] == "}" and awaited:
            closing[awaited.pop()] = brace.start()
    return closing


def _box(text: str, mark: _Mark) -> Statement | None:
    """A box, or the rest of its line if it is cut off; None if it is empty."""
    start, inside = mark.found.start(), mark.found.end()
    word = _WORD.match(text, inside)
    if mark.end == inside:
        line = text[inside + 1 : inside + 1 + MAX_STATEMENT].partition("\n")[0]
        end = inside + 1 + len(line)
        cut = Statement("cut", line.strip(" $."), r"in a \boxed{} that is cut off", start, end)
        return cut if cut.text.strip("{") else None
    content = word[1] if word else text[inside + 1 : mark.end - 1].strip()
    denied = _NOT_BEFORE.search(text, max(0, start - 40), start)
    standing: Standing = "denied" if denied else "asked" if _ASKED.match(text, mark.end) else "stated"
    box = Statement("box", content, r"last \boxed{}", start, mark.end, standing, braced=not word)
    return box if content else None


def _announced(text: str, mark: _Mark, before: Sequence[Statement]) -> Statement | None:
    """What is stated behind a mark in words, and behind other statements; None if no answer stands there."""
    raw = text[mark.end : mark.end + MAX_STATEMENT]
    after = raw.lstrip(LAYOUT + ":")
    line, _, rest = after.partition("\n")
    more = bool(rest.strip(LAYOUT + "}"))
    kind: Kind = "colon" if mark.kind == "line" else mark.kind  # type: ignore[assignment]
    if kind == "says" and _MINERVA.search(text, max(0, mark.found.start() - 40), mark.found.start()):
        kind = "minerva"
    standing: Standing = "stated"
    held: str | None = None
    if kind == "json":
        quoted = _QUOTED.match(after)
        held = quoted[2].replace("\\\\", "\\") if quoted else line.rstrip(' }",`')
    elif kind == "tag":
        held = after.partition("</answer>")[0]
    elif kind == "minerva":
        held = after.partition("I hope it is correct")[0].partition("\n\n")[0].strip().rstrip(".")
    elif kind == "hash" and is_heading(after):
        held = None
    elif display := _DISPLAY.match(without_lead_in(after)):
        kind, held = "display", display[1] or display[2]
    elif kind in ("says", "hash") or not (more and _WORKING.match(line)):
        held = first_sentence(line.partition("</answer>")[0])
        standing = "asked" if _ASKED.match(after, len(held)) else "stated"
    begin = mark.end + len(raw) - len(after)
    end = begin + len(held or "")
    if held and kind in ("says", "colon", "option", "hash"):
        kept = None if _NEGATED.search(mark.found[0]) and begins_with_answer(held) else affirmed(held)
        standing, held = ("denied", held) if kept is None else (standing, kept)
    held = (held or "").strip(LAYOUT)
    if not re.search(r"\w", held):
        return None
    if kind in ("says", "colon", "hash"):
        if any(s.kind == "box" for s in before) and _ABOUT.search(text, max(0, mark.found.start() - _BEFORE), mark.end):
            return None
        if not begins_with_answer(held) and any(s.kind == "box" for s in before):
            return None
        if not (begins_with_answer(held) or holds_maths(held)) and any(begins_with_answer(s.text) for s in before):
            return None
    where = f"after {mark.found[0].strip()[:40]!r}"
    return Statement(kind, held, where, mark.found.start(), end, standing, more)


def _corrected(text: str, start: int) -> Statement | None:
    """The answer of a correction that begins at `start`."""
    held = correction(text[start : start + MAX_CORRECTION])
    return Statement("correction", held, "in its correction", start, start) if held else None


def _sentence_start(text: str, position: int) -> int:
    """Where the sentence or line begins that holds a position, at most 200 characters before it."""
    before = text[max(0, position - 200) : position]
    ends = [m.end() for m in re.finditer(r"[.!?。](?=\s)|\n", before)]
    return position - len(before) + (ends[-1] if ends else 0)
