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

MAX_TEXT = 100_000  # characters, from the end, that are read
MAX_MARKS = 100  # only so many marks are read, the last ones
MAX_STATEMENT = 2_000  # characters of a statement
MAX_CORRECTION = 400  # characters behind "No," or "Wait," in which a correction may stand
LAYOUT = " \t\r\n*_`"

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
_SENTENCE_END = re.compile(r"[.!](?=\s+[A-Z\"(*]|[\s*_]*$)|\?(?=[\s*_]|$)|[。！？]")
_ASKED = re.compile(r"[\s$\\)\]*}]{0,6}\?(?!\s{0,9}(?:yes|correct|right|indeed)\b)", re.IGNORECASE)
_DOUBT = re.compile(r"\b(?:maybe|perhaps|possibly|probably|might|could|guess|suppose|try|if)\b", re.IGNORECASE)
_ABOUT = re.compile(r"\b(?:check(?:s|ed|ing)?|verif(?:y|ies|ied|ying)|confirms?|we|see)\b", re.IGNORECASE)
_BEFORE = 20  # characters in front of the word "answer" that show that an answer is talked about
_BEGINS_WITH_ANSWER = re.compile(
    r"[^A-Za-z0-9$\\]{0,20}(?:[0-9$\\]|[A-J](?![ ]?[A-Za-z])|[A-J] (?:but|because|since|rather)\b|[A-Za-z]\s?[=<>≤≥])"
)
_HEADING = re.compile(r"[0-9]{1,3}[.)][ \t*]+\S|[* \t]*Step\b", re.IGNORECASE)
_WORKING = re.compile(r"(?:step|first|let|we)\b|\d+[.)]\s", re.IGNORECASE)
_QUOTE = re.compile(r"(?<![\d'])\\?\"|\\?\"(?=[\s.,;:)]|\Z)|[“”]")
_BOLD_MARK = re.compile(r"(?<![\w)])\*\*|\*\*(?![\w(])")
_LEAD_IN = re.compile(
    r"(?:(?:therefore|thus|hence|then|so|indeed|simply|just|exactly|precisely|actually|really|now|clearly|in fact|"
    r"equals?(?: to)?|given by|found to be|approximately|about|roughly|around)\b[,:]?\s*|[:=≈,]\s*)+",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"(?:\band |\bbut |\b\w{1,20}ly )?\b(?:not|never|neither|no longer|rather than|instead of|as opposed to)\s"
    r"(?:equal to\s)?",
    re.IGNORECASE,
)
_NOT_BEFORE = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\brather than|\binstead of|\bas opposed to)(?: be)? (?:equal to )?[ $\\(\[*]{0,6}\Z",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"(?:n['’]t|\b(?:not|never|cannot))(?: \w+)?(?: be)?[: ]*\Z", re.IGNORECASE)
_INSTEAD = re.compile(
    r"(?:\bbut\b|\brather\b|\binstead\b|\b(?=(?:it|that)(?:['’]s| is)\b))[\s,:]*"
    r"(?:(?:rather|instead|actually|it|that|is)\b\s*|['’]s\s+){0,4}",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    r"(?:[,;(—–]|\s-|\.\.\.?|…)\s*(?:(?:but|or|and)\s)?"
    r"(?:(?:no|wait|rather|actually|correction|sorry|i mean)\b[\s,:;.!—–-]*|but\s(?=(?:it|that)\b))"
    r"(?:(?:no|wait|actually|rather|it|that|is|should|must|be)\b[\s,]*|['’]s\s+){0,6}",
    re.IGNORECASE,
)
_FUNCTION = r"(?:mod|base|sin|cos|tan|log|ln|sqrt|exp)\b"
_PROSE_INSIDE = r"(?=[^()\n]{0,300}[A-Za-z]{3})(?:[^()\n\\$]|\$(?=\d)){0,300}"  # of parentheses
_RESTATED = re.compile(  # a calculation, and what it is
    r"[-\d.,\s$()]{0,40}\d\s?[-+*/×·÷][-\d.,\s$()+*/×·÷]{0,40}(?:that is|i\.e\.|which (?:is|equals|gives))\W{1,3}"
)
_AFTERTHOUGHT = re.compile(
    r"(?<=[\d$)}]),?\s+(?=(?:which|meaning|as|so|where|it|there)\b[^=$]{0,20} )"
    r"|(?<![.!?:]),?[ ]+(?=(?:because|since)\s)|,\s(?=(?:as|that is|i\.e\.)\s)"
    rf"|(?<=\S)\s\((?=(?!{_FUNCTION}){_PROSE_INSIDE}\)\W*\Z)"
    r"|\s*(?:[\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]|[:;]-?[)D])(?=\W*\Z)",
    re.IGNORECASE,
)
_CLAIM = re.compile(
    r"(?:\W|(?:so|thus|then|hence|therefore|and|but|instead|actually|no|wait)\b)*"
    r"(?P<verb>(?:it|that|this|the (?:\w{1,20} ){0,2}(?:answer|result|value|total|number|sum|one))"
    r"(?:['’]s|\s(?:is|was|equals|(?:should|must|would|has to) be|comes to))\s(?:actually\s|really\s|rather\s)?)?",
    re.IGNORECASE,
)
_CHECKS = re.compile(r"\b(?:double.?)?(?:re)?(?:check|verify|confirm)", re.IGNORECASE)
_CONCLUDES = re.compile(r"\W*(?:so|thus|hence|therefore|but)\b|[^.]{0,60}\bshould be\b", re.IGNORECASE)
_ASIDE = re.compile(
    r"(?P<reason>(?<![.!?:])(?:, | )(?:since|because|given that)\b[^\n]*?(?=[.!?]\$?(?:\s|$)|\n|$))"
    r"|(?P<check>^[^\w\n]{0,6}(?:check|verification|note)\b[^\n:：]{0,40}[:：][^\n]*)"
    rf"|(?:(?<=\s)|^)\((?!{_FUNCTION}){_PROSE_INSIDE}\)"
    r"|(?P<denied>\b(?:not|rather than|instead of)\s(?=[-$\\(0-9])\S+)"
    r"|(?P<label>\b(?:step|case|part|method|equation|figure|example)\s?\#?[0-9]{1,3}\b)",
    re.IGNORECASE | re.MULTILINE,
)

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
            if statement.standing != "stated" and (correction := _corrected(reply, statement.end)):
                found.append(correction)
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
    elif kind == "hash" and _HEADING.match(after):
        held = None
    elif display := _DISPLAY.match(after, lead.end() if (lead := _LEAD_IN.match(after)) else 0):
        kind, held = "display", display[1] or display[2]
    elif kind in ("says", "hash") or not (more and _WORKING.match(line)):
        held = line.partition("</answer>")[0]
        ending = _SENTENCE_END.search(held)
        held = held[: ending.start()] if ending else held
        if ending and ending[0] == "!" and re.search(r"[-+*/^=×·\\]", held):
            held += "!"  # a factorial
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
        prose = not re.search(r"[0-9$\\]", held) and not begins_with_answer(held)
        if prose and any(begins_with_answer(s.text) for s in before):
            return None
        if not begins_with_answer(held) and any(s.kind == "box" for s in before):
            return None
    where = f"after {mark.found[0].strip()[:40]!r}"
    return Statement(kind, held, where, mark.found.start(), end, standing, more)


def affirmed(sentence: str) -> str | None:
    """What a sentence says the answer is, without what only introduces or explains it; None if it denies an answer."""
    sentence = _QUOTE.sub("", without_bold(sentence))
    lead = _LEAD_IN.match(sentence)
    text = sentence[lead.end() :] if lead and lead.end() < len(sentence) else sentence
    changes = [m.end() for m in _CHANGED.finditer(text) if begins_with_answer(text[m.end() :])]
    text = text[changes[-1] :] if changes else text
    for denial in _NOT.finditer(text):
        if not begins_with_answer(text[denial.end() :]):
            continue
        if begins_with_answer(text[: denial.start()]) or re.search(r"[0-9$\\]", text[: denial.start()]):
            text = text[: denial.start()].rstrip(" ,;(")
            break
        others = [m.end() for m in _INSTEAD.finditer(text, denial.end()) if begins_with_answer(text[m.end() :])]
        if not others:
            return None
        text = text[others[-1] :]
        break
    restated = _RESTATED.match(text)
    text = text[restated.end() :] if restated and begins_with_answer(text[restated.end() :]) else text
    return _AFTERTHOUGHT.split(text, maxsplit=1)[0].strip(LAYOUT)


def without_bold(text: str) -> str:
    """Text without marks of bold; 2**3 stays."""
    return _BOLD_MARK.sub("", text)


def _corrected(text: str, start: int) -> Statement | None:
    """The answer that a correction states from `start` on: "18.", "it is 18", "the total should be 18"."""
    found = None
    pieces = _SENTENCE_END.split(text[start : start + MAX_CORRECTION])
    checks = _CHECKS.search(pieces[0])  # "Wait, let me verify: ...": only its conclusion may correct
    for i, piece in enumerate(pieces):
        claim = _CLAIM.match(piece)
        rest = piece[claim.end() :].strip(LAYOUT) if claim else ""
        says = claim is not None and (claim["verb"] or (i == 0 and len(re.findall("[A-Za-z]{2,}", rest)) <= 2))
        says = says and not (checks and not _CONCLUDES.match(piece))
        held = affirmed(rest.partition("\n")[0]) if says and begins_with_answer(rest) else None
        found = Statement("correction", held, "in its correction", start, start) if held else found
    return found


def _sentence_start(text: str, position: int) -> int:
    """Where the sentence or line begins that holds a position, at most 200 characters before it."""
    before = text[max(0, position - 200) : position]
    ends = [m.end() for m in re.finditer(r"[.!?。](?=\s)|\n", before)]
    return position - len(before) + (ends[-1] if ends else 0)


def begins_with_answer(statement: str) -> bool:
    """Whether a statement begins with a number, maths or a letter to choose: not with prose, not a numbered heading."""
    return _BEGINS_WITH_ANSWER.match(statement) is not None and not _HEADING.match(statement)


def without_asides(text: str) -> str:
    """A text without what only explains or checks its answer, or names a step: where an unmarked answer may stand."""
    return _ASIDE.sub(_aside, text)


def _aside(match: re.Match[str]) -> str:
    """What replaces an aside: nothing, but for an aside that has no answer in front of it."""
    if match["denied"] or match["label"]:
        return " "
    before = match.string[max(0, match.start() - 300) : match.start()]
    if match["reason"]:
        before = re.split(r"[.!?]\s|\n", before)[-1]
    if len(re.findall(r"\$(?!\d)", match[0])) % 2:
        return match[0]  # it would cut maths
    return " " if re.search(r"[0-9$\\]", before) else match[0]
