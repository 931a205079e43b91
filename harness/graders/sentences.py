"""What one sentence of a reply says the answer is: without what introduces, explains, denies or checks it.

Patterns run in linear time, on sentences of bounded length; `without_asides` alone reads a whole reply.
"""

from __future__ import annotations

import re

LAYOUT = " \t\r\n*_`"
MAX_CORRECTION = 400  # characters behind "No," or "Wait," in which a correction may stand

_BEGINS_WITH_ANSWER = re.compile(
    r"[^A-Za-z0-9$\\]{0,20}(?:[0-9$\\]|[A-J](?![ ]?[A-Za-z])|[A-J] (?:but|because|since|rather)\b|[A-Za-z]\s?[=<>≤≥])"
)
_HEADING = re.compile(r"[0-9]{1,3}[.)][ \t*]+\S|[* \t]*Step\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!](?=\s+[A-Z\"(*]|[\s*_]*$)|\?(?=[\s*_]|$)|[。！？]")
_QUOTE = re.compile(r"(?<![\d'])\\?\"|\\?\"(?=[\s.,;:)]|\Z)|[“”]")
_BOLD_MARK = re.compile(r"(?<![\w)])\*\*|\*\*(?![\w(])")
_LEAD_IN = re.compile(
    r"(?:(?:therefore|thus|hence|then|so|indeed|simply|just|exactly|precisely|actually|really|now|clearly|in fact|"
    r"equals?(?: to)?|given by|found to be|approximately|about|roughly|around)\b[,:]?\s*|[:=≈,]\s*)+",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    r"(?:[,;(—–]|\s-|\.\.\.?|…)\s*(?:(?:but|or|and)\s)?"
    r"(?:(?:no|wait|rather|actually|correction|sorry|i mean)\b[\s,:;.!—–-]*|but\s(?=(?:it|that)\b))"
    r"(?:(?:no|wait|actually|rather|it|that|is|should|must|be)\b[\s,]*|['’]s\s+){0,6}",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"(?:\band |\bbut |\b\w{1,20}ly )?\b(?:not|never|neither|no longer|rather than|instead of|as opposed to)\s"
    r"(?:equal to\s)?",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    r"(?:\bbut\b|\brather\b|\binstead\b|\b(?=(?:it|that)(?:['’]s| is)\b))[\s,:]*"
    r"(?:(?:rather|instead|actually|it|that|is)\b\s*|['’]s\s+){0,4}",
    re.IGNORECASE,
)
_RESTATED = re.compile(  # a calculation, and what it is
    r"[-\d.,\s$()]{0,40}\d\s?[-+*/×·÷][-\d.,\s$()+*/×·÷]{0,40}(?:that is|i\.e\.|which (?:is|equals|gives))\W{1,3}"
)
_FUNCTION = r"(?:mod|base|sin|cos|tan|log|ln|sqrt|exp)\b"
_PROSE_INSIDE = r"(?=[^()\n]{0,300}[A-Za-z]{3})(?:[^()\n\\$]|\$(?=\d)){0,300}"  # of parentheses
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


def begins_with_answer(statement: str) -> bool:
    """Whether a statement begins with a number, maths or a letter to choose: not with prose, not a numbered heading."""
    return _BEGINS_WITH_ANSWER.match(statement) is not None and not is_heading(statement)


def holds_maths(text: str) -> bool:
    """Whether there is a digit or LaTeX in a text."""
    return re.search(r"[0-9$\\]", text) is not None


def is_heading(text: str) -> bool:
    """Whether a text begins as a heading of Markdown ("2. Add them", "Step 1") and not as an answer."""
    return _HEADING.match(text) is not None


def without_lead_in(text: str) -> str:
    """A text without "therefore", "equal to" and the like at its beginning, unless it is nothing else."""
    lead = _LEAD_IN.match(text)
    return text[lead.end() :] if lead and lead.end() < len(text) else text


def first_sentence(line: str) -> str:
    """The first sentence of a line, without the mark at its end, unless that is a factorial."""
    ending = _SENTENCE_END.search(line)
    sentence = line[: ending.start()] if ending else line
    factorial = ending and ending[0] == "!" and re.search(r"[-+*/^=×·\\]", sentence)
    return sentence + "!" if factorial else sentence


def affirmed(sentence: str) -> str | None:
    """What a sentence says the answer is, without what only introduces or explains it; None if it denies an answer."""
    text = without_lead_in(_QUOTE.sub("", without_bold(sentence)))
    text = _last_answer_behind(_CHANGED, text) or text
    denial = next((m for m in _NOT.finditer(text) if begins_with_answer(text[m.end() :])), None)
    if denial:
        before, behind = text[: denial.start()], text[denial.end() :]
        if begins_with_answer(before) or holds_maths(before):
            text = before.rstrip(" ,;(")  # "18, not 16"
        elif other := _last_answer_behind(_INSTEAD, behind):
            text = other  # "not 16 but 18"
        else:
            return None
    restated = _RESTATED.match(text)
    text = text[restated.end() :] if restated and begins_with_answer(text[restated.end() :]) else text
    return _AFTERTHOUGHT.split(text, maxsplit=1)[0].strip(LAYOUT)


def _last_answer_behind(pattern: re.Pattern[str], text: str) -> str | None:
    """What stands behind the last match that an answer follows; None if there is none."""
    answers = [m.end() for m in pattern.finditer(text) if begins_with_answer(text[m.end() :])]
    return text[answers[-1] :] if answers else None


def without_bold(text: str) -> str:
    """Text without marks of bold; 2**3 stays."""
    return _BOLD_MARK.sub("", text)


def correction(text: str) -> str | None:
    """The answer in a text behind "No," or "Wait,": "18.", "it is 18", "the total should be 18"; None if none."""
    found = None
    pieces = _SENTENCE_END.split(text[:MAX_CORRECTION])
    checks = _CHECKS.search(pieces[0])  # "Wait, let me verify: ...": only its conclusion may correct
    for i, piece in enumerate(pieces):
        claim = _CLAIM.match(piece)
        rest = piece[claim.end() :].strip(LAYOUT) if claim else ""
        says = claim is not None and (claim["verb"] or (i == 0 and len(re.findall("[A-Za-z]{2,}", rest)) <= 2))
        says = says and not (checks and not _CONCLUDES.match(piece))
        held = affirmed(rest.partition("\n")[0]) if says and begins_with_answer(rest) else None
        found = held or found
    return found


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
    return " " if holds_maths(before) else match[0]
