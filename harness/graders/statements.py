r"""Finds where a reply states its answer: `\boxed{}` and other forms, in the order of the reply.

What the graders of numbers and of mathematics have in common. The answer is what the reply states last; a statement
behind the last box counts only if it begins with an answer ("The answer is 12.", not "The answer is between 1 and 9.").
Patterns run in linear time, over the last `MAX_TEXT` characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.graders.reasoning import after_thoughts

MAX_TEXT = 100_000  # characters, from the end, that are read
MAX_MARKERS = 100  # markers tried, from the last one back
MAX_BOXES = 300  # only so many boxes are searched, the last ones
MAX_STATEMENT = 2_000  # characters after a marker that may hold the answer

_BOX = re.compile(r"\\{1,2}(?:boxed|fbox|framebox)\s{0,9}(?=[{\w$])")
_MARKER = re.compile(
    r"""(?P<json>["'](?:final_?)?answer["']\s{0,20}:\s{0,20})
    | (?P<tag><answer>)
    | (?P<hash>\#\#\#\#)
    | (?P<minerva>Final[ ]Answer:[ ]The[ ]final[ ]answer[ ]is)
    | (?P<line>^[ \t*]{0,20}A:)
    | (?<![</])(?:answer|réponse|respuesta|antwort|risposta|resposta|答案|答)[^\n:：=.!?是]{0,60}?
      (?: (?P<says>\b(?:is|are|be|equals|est|es|ist)\b[ ]{0,3}:?|[为是][:：]?) | (?P<colon>[:：]|=|\n) )""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_ABOUT = re.compile(r"\b(?:check(?:s|ed|ing)?|verif(?:y|ies|ied|ying)|confirms?|we|see)\b", re.IGNORECASE)
_BEFORE = 20  # characters in front of the word "answer" that show that an answer is talked about
_ANSWERED = re.compile(r"####|\\boxed\{|[\"']answer[\"']\s{0,20}:|\banswer is\b|I hope it is correct", re.IGNORECASE)
_NEXT_TURN = re.compile(
    r"<\|(?:im_start|im_end|eot_id|endoftext|end|user)\|>|^[#*> \t]{0,9}(?:Question|Problem|Q)[* ]{0,3}:", re.MULTILINE
)
_WORD = re.compile(r"\$?(\w{1,40})")
_BEGINS_WITH_ANSWER = re.compile(r"[^A-Za-z0-9$\\]{0,20}(?:[0-9$\\]|[A-J](?![ ]?[A-Za-z])|[A-Za-z]\s?[=<>≤≥])")
_HEADING = re.compile(r"[0-9]{1,3}[.)][ \t*]+\S|[* \t]*Step\b", re.IGNORECASE)


@dataclass(frozen=True)
class Box:
    r"""A closed `\boxed{}` that is in no other box. end: behind it. braced: it has braces ("\boxed5" has not)."""

    start: int
    end: int
    content: str
    braced: bool = True


def reply_of(text: str) -> str:
    """The end of a reply, after its last `</think>`, up to where it goes on with a user turn or another question."""
    reply = after_thoughts(text[-MAX_TEXT:])
    answered = _ANSWERED.search(reply)
    further = _NEXT_TURN.search(reply, answered.end()) if answered else None
    further = further or next((m for m in _NEXT_TURN.finditer(reply) if m[0].startswith("<|") and m.start()), None)
    return reply[: further.start()] if further else reply


def boxes(text: str) -> list[Box]:
    """The closed boxes that are not empty, in order; of very many the last ones."""
    found: list[Box] = []
    position = 0
    for match in list(_BOX.finditer(text))[-MAX_BOXES:]:
        if match.start() < position:
            continue
        has_braces = text[match.end()] == "{"
        word = None if has_braces else _WORD.match(text, match.end())
        content = braced(text, match.end()) if has_braces else word[1] if word else None
        if content is None:
            continue
        position = match.end() + len(content) + 2 if has_braces else word.end() if word else match.end()
        if content.strip():
            found.append(Box(match.start(), position, content.strip(), has_braces))
    return found


def open_box(text: str, start: int) -> str | None:
    """The rest of the line after the last box behind `start`, if that box is never closed; else None."""
    last = next(iter(list(_BOX.finditer(text, start))[::-1]), None)
    if last is None or text[last.end()] != "{" or braced(text, last.end()) is not None:
        return None
    return text[last.end() + 1 : last.end() + 1 + MAX_STATEMENT].partition("\n")[0]


def braced(text: str, start: int) -> str | None:
    """The content of the brace at `start`; None if it does not close within MAX_STATEMENT characters."""
    depth = 0
    for i in range(start, min(len(text), start + MAX_STATEMENT)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[start + 1 : i]
    return None


def markers(text: str, start: int = 0) -> list[re.Match[str]]:
    """Places behind `start` at which an answer is announced, the last first; boxes are not among them.

    Behind a box, what only talks about the answer announces none: "To check the answer, we compute 3 * 4 = 12".
    """
    found = list(_MARKER.finditer(text, start))[: -MAX_MARKERS - 1 : -1]
    return [m for m in found if not (start and _ABOUT.search(text, max(start, m.start() - _BEFORE), m.end()))]


def begins_with_answer(statement: str) -> bool:
    """Whether a statement begins with a number, maths or a letter to choose: not with prose, not a numbered heading."""
    return _BEGINS_WITH_ANSWER.match(statement) is not None and not _HEADING.match(statement)


def is_heading(statement: str) -> bool:
    """Whether what follows `####` is a heading of Markdown ("#### 2. Add them", "#### Step 1") and no answer."""
    return _HEADING.match(statement) is not None
