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

from harness.graders.sentences import (
    LAYOUT,
    affirmed,
    begins_with_answer,
    first_sentence,
    holds_maths,
    without_asides,
    without_bold,
)
from harness.graders.statements import MAX_STATEMENT, Statement, read_reply

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
    r"(?<![\w.^_])(?!(?<=\d,)\d{3}(?!\d))-?[$€£]?\s?(?:\d{1,3}(?:(?:,|\{,\}|,?\\!){1,2}\d{3})+|\d+)?(?:\.\d+|(?<=\d))"
    r"(?:\s?/\s?\d+(?:\.\d+)?)?(?:\s?\\?%)?(?![\d])"
)
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
_TEXT = re.compile(r"\\text\{[^{}]{0,200}\}")
_PROSE = re.compile(r"(?<![\\a-zA-Z])[^\W\d_]{2,}(?![a-zA-Z{(])")
_AND = re.compile(r"(?:\s*,)?\s*(?:\band\b|\bor\b|[和或及])\s*|\s*[,、]\s*")
_NAMED = re.compile(r"\s*[a-zA-Z](?:_\{?\w{1,3}\}?)?\s*=")
_INTRODUCED = re.compile(
    r"(?:(?:thus|so|hence|therefore|then|finally|now|yes|sure|okay|and|ergo|overall|"
    r"in (?:total|all|conclusion|summary|short))\b[,:.!]?\s+)*"
    r"(?:(?:(?:it|this|that)(?:['’]s|\s(?:is|equals|gives))|we (?:get|have|find|obtain)(?: that)?|there (?:are|is))\s+"
    r"|[^\W\d][^\W\d_]+(?: [^\W\d_]+){0,5}[:：]\s*(?!.*[^\W\d_][:：]))?",  # one name and no more of them
    re.IGNORECASE,
)
_CONCLUSION = re.compile(r"(?<=\S )(?:so|thus|hence|therefore)\b", re.IGNORECASE)
_PREDICATE = re.compile(r"\s(?:is|are) (?:the|our|my)\b.*")
_UNIT = re.compile(r"(?<=\d)(?=(?:[cdkm]?m|ft|in)[²³])")  # of an area or a volume, without a blank
_EQUALS = re.compile(r"(?<=\b[a-zA-Z]) (?:equals|is(?: equal to)?) (?=[-\d$\\(])")
_NO_BLANKS = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff0c-\uff1f]+")
_SUBJECT = re.compile(
    r"(?:he|she|they|it|we|you|there|the|this|that|these|so|great|yes|answer|option|result|total|a total)\b"
    r"[^\d\\$=<>()]{0,60}?\s(?=[(\[]?-?[\d$\\])",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"\b(?:least|most|than|over|under|above|below|between|up to|from|not|no|never)\b", re.IGNORECASE)
_DRESSING = re.compile(
    r"\\(?:text\w*|math\w*|boxed|left|right|quad|[()\[\] ,;])|[{}$_`\"“”]|\*\*|(?<![\w}])\*|\*(?![\w{\\])"
)
_LETTERS = re.compile(r"\W{0,4}[A-J](?:[^\w'’]{0,4}(?:\band\b\W{0,3}|和)?[A-J])*[^\w'’]{0,4}")  # and nothing else
_ONE_LETTER = re.compile(
    r"[\s(\[]{0,9}(?:[Oo]ption|[Cc]hoice|[Aa]nswer)?[\s:(]{0,4}([A-J])"
    r"(?=[\])】.:：,;，。]|\s*$|\s+(?![a-z]{2}|[-=<>≤≥+/^])|[\u3400-\u9fff])|[\W_]{0,9}([a-j])[\W_]{0,9}$"
)
_WRONG = r"(?!\)? (?:(?:is|are) (?:wrong|false|incorrect|not)|isn['’]t|fails?|cannot|can['’]t))"
_LETTER = re.compile(rf"(?<![\w'])(?<!\bnot )\(?((?![AI] [a-z])[A-J])\)?(?![a-zA-Z0-9'’]|\s{{0,9}}[*+^=/]){_WRONG}")
_OPTION = re.compile(
    r"\b(?:[Oo]ptions?|[Cc]hoices?|[Cc]hoose|[Ss]elect|[Pp]ick)\b(?:[^.\n]{0,40}?\b(?:is|are|be)\b)?"
    rf"[\s:(]{{0,4}}([A-J](?:\)?(?:,| and) \(?[A-J]){{0,9}})(?![\w'’]){_WRONG}"
    r"|\b([A-J])\)? is (?:the )?(?:correct|right|best|true)\b"
)
_REASON = re.compile(r"\b(?:because|since)\b[^.\n]*")


def extract(text: str, choice: bool = False) -> Extracted:
    """What the reply states in boxes, and last. choice: the answer is one letter or several (A to J)."""
    reply = read_reply(text)
    boxed = [statement for statement in reply.stated if statement.kind == "box"]
    together = _boxed_together(reply.text, boxed)
    last = None
    for statement in reversed(reply.stated):
        last = together if statement.kind == "box" else _stated(statement, choice)
        if last:
            break
    last = last or (_chosen(reply.unmarked) if choice else _unmarked(reply.unmarked))
    if last.answer is None and reply.asked:
        last = _stated(reply.asked[-1], choice) or last
    closed = together if together and boxed[-1].braced else Found(None, r"no closed \boxed{}")
    return Extracted(last, closed)


def all_letters(text: str) -> str | None:
    """The letters of which a text consists, sorted, as "A" or "A, C"; None if it has others, or one of them twice."""
    plain = _DRESSING.sub("", text)
    found = re.findall("[A-J]", plain) if _LETTERS.fullmatch(plain) else []
    return ", ".join(sorted(found)) if found and len(set(found)) == len(found) else None


def chosen_letters(text: str) -> str | None:
    """The letters that a text chooses: those of which it consists, or the one at its beginning; None if none."""
    one = _ONE_LETTER.match(_DRESSING.sub("", text))
    return all_letters(text) or ((one[1] or one[2]).upper() if one else None)


def _boxed_together(text: str, found: Sequence[Statement]) -> Found | None:
    r"""The last box, joined with the boxes before it that are separated only by "and", commas or names."""
    if not found:
        return None
    answers = [found[-1].text]
    for before, after in zip(found[-2::-1], found[:0:-1], strict=True):
        gap = text[before.end : after.start]
        if len(gap) > 80 or not _CONNECTION.fullmatch(gap) or _NEW_THOUGHT.search(gap) or "\n\n" in gap.strip(" "):
            break
        answers.insert(0, before.text)
    distinct = list(dict.fromkeys(answers))
    if len(distinct) == 1:
        return Found(distinct[0], r"last \boxed{}")
    return Found(", ".join(distinct), rf"{len(distinct)} \boxed{{}} that belong together")


def _stated(statement: Statement, choice: bool) -> Found | None:
    """The answer in a statement; None if there is none."""
    text = statement.text
    if choice:
        letter = _LETTER.search(_DRESSING.sub("", text))
        letters = chosen_letters(text) or (letter[1] if letter else None)
        return Found(letters, f"letter {statement.where}") if letters else None
    if statement.kind == "option":
        return None
    if statement.kind == "json":
        text = _bare(text) or _last(text).answer or ""
    elif statement.kind in ("says", "colon", "correction"):
        text = _in_sentence(text) or ""
    return Found(text, statement.where) if text.strip() else None


def _unmarked(text: str) -> Found:
    """The answer of a reply that states none in so many words."""
    bare = _bare(text)
    return Found(bare, "the whole reply") if bare else _last(text)


def _chosen(text: str) -> Found:
    """The letter chosen in a reply that states none: "option D is right", one at the start, or the last single one."""
    plain = _REASON.sub("", _DRESSING.sub("", without_asides(text)))
    options = _OPTION.findall(plain)
    if options:
        return Found(all_letters(options[-1][0] or options[-1][1]), "letter of an option")
    first = chosen_letters(plain)
    letters = [first] if first else _LETTER.findall(plain)
    where = "letter at the start" if first else "last letter"
    return Found(letters[-1], where) if letters else Found(None, "no letter in the reply")


def _in_sentence(sentence: str) -> str | None:
    """The answer in a sentence that states one: all of it, or the maths or number in it."""
    sentence = sentence.strip(LAYOUT + ",;")
    if not re.search(r"\w", sentence):
        return None
    named = re.match(r"[^\d\\=]{1,100}\b(?:is|are|equals)\b:?\s+(?=\S*[\d\\$])", sentence)
    if named:
        sentence = sentence[named.end() :]
    if len(_PROSE.findall(_TEXT.sub("", sentence))) <= 3 and len(sentence) <= MAX_BARE:
        return _number_among_words(sentence)
    if _NO_ANSWER.search(sentence):
        return sentence
    shown = _last_maths(sentence)
    if shown:
        return shown[1]
    bold = _BOLD.findall(sentence)
    if bold:
        return str(bold[-1]).strip()
    after_equals = sentence.rsplit("=", 1)[-1]
    number = _NUMBER.search(after_equals) or _NUMBER.search(sentence)
    return number[0].strip() if number else None


def _last_maths(text: str) -> tuple[int, str] | None:
    """Where the last inline maths ends, and its content; joined with maths before it by "and" or "or"."""
    found = list(_INLINE.finditer(text))
    if not found:
        return None
    first = len(found) - 1
    while first and _AND.fullmatch(text, found[first - 1].end(), found[first].start()):
        first -= 1
    parts = [match[1] or match[2] for match in found[first:]]
    named = all(_NAMED.match(part) for part in parts) or not any("=" in part for part in parts)
    joined = text[found[first].start() : found[-1].end()]
    together = len(parts) > 1 and named and re.search(r"\b(?:and|or)\b|[和或及]", _INLINE.sub("", joined))
    return found[-1].end(), joined if together else parts[-1].strip()


def _bare(text: str) -> str | None:
    """The whole reply, if it is an answer without prose, or the end of its calculation."""
    line = text.strip(LAYOUT)
    if not line or len(line) > MAX_STATEMENT:
        return None
    if "\n" not in line and len(line) <= MAX_BARE:
        behind = line[len(first_sentence(line)) :]
        if len(_PROSE.findall(behind)) > 1:
            if holds_maths(behind):
                return None
            line = first_sentence(line)  # "I hope this helps!" states nothing
        line = _without_introduction(without_bold(line))
    words = _PROSE.findall(re.sub(r"\\begin\{\w*\}|\\end\{\w*\}", "", _TEXT.sub("", line)))
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


def _number_among_words(text: str) -> str:
    """The only number in words of a language that puts no blanks between them, or behind a subject; else the text."""
    first = _NO_BLANKS.match(text)
    if first and begins_with_answer(text[first.end() :]):
        text = text[first.end() :].strip()
    parts = [part.strip() for part in _NO_BLANKS.split(text)]
    if len(parts) > 1 and sum(re.search(r"\w", part) is not None for part in parts) == 1:
        return max(parts, key=len).lstrip("= ")
    subject = _SUBJECT.match(text)
    return text[subject.end() :] if subject and not _LIMIT.search(subject[0]) else text


def _without_introduction(line: str) -> str:
    """A line without "Thus," or "Total:" in front of its answer, and without a reason behind it."""
    introduced = _INTRODUCED.match(line)
    rest = line[introduced.end() :] if introduced else line
    if not begins_with_answer(rest):
        rest = line
    if _CONCLUSION.search(rest):
        return line
    rest = _number_among_words((affirmed(rest) or rest).strip(LAYOUT))
    rest = _UNIT.sub(" ", _PREDICATE.sub("", rest)) if begins_with_answer(rest) else rest
    whole = re.fullmatch(r"(?:\\\(((?:(?!\\\)).)*)\\\)|\$([^$]+)\$)[.,]?", rest)
    return _EQUALS.sub("=", (whole[1] or whole[2]).strip() if whole else rest)


def _last(text: str) -> Found:
    """The answer at the end of an unmarked reply: display maths, bold, inline maths or a number, whichever is last."""
    ending = text.strip()[-MAX_STATEMENT:]
    if _NO_ANSWER.search(ending[-300:]):
        return Found(None, "the reply says that it has no answer")
    ending = without_asides(ending)
    maths = _last_maths(ending)
    shown = [(m.end(), m[1] or m[2], "last display maths") for m in _DISPLAY.finditer(ending)]
    shown += [(m.end(), m[1], "last bold") for m in _BOLD.finditer(ending) if re.search(r"\d|^\S{1,20}$", m[1])]
    shown += [(*maths, "last maths")] if maths else []
    shown += [(m.end(), m[0], "last number in the reply") for m in _NUMBER.finditer(ending)]
    if not shown:
        return Found(None, "no answer in the reply")
    _, answer, where = max(shown, key=lambda item: item[0])
    return Found(answer.strip(), where)
