r"""Extracts the answer from a reply, as written. Text in, text out; `math_equal` decides whether it is right.

`extract_strict` reads the format the task asks for: the last `\boxed{}`. `extract_lenient` also reads other formats:
boxes (several that belong together are one answer), "Final Answer: ... I hope it is correct", `####`, a JSON field,
"the answer is", "Answer:"; if there is no such marker, the whole of a short reply, display maths, bold, the last maths,
the last number. The last statement counts. Patterns run in linear time, over the last 100,000 characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.graders.reasoning import after_thoughts

MAX_TEXT = 100_000  # characters, from the end, that are read
MAX_MARKERS = 100  # markers tried, from the last one back
MAX_BOXES = 300  # only so many boxes are searched, the last ones
MAX_STATEMENT = 2_000  # characters after a marker that may hold the answer
MAX_BARE = 300  # characters of a reply that may be an answer as a whole


@dataclass(frozen=True)
class Found:
    """The answer that was read; None: nothing found. where: its place, shown to the user: "last \\boxed{}"."""

    answer: str | None
    where: str


_BOX = re.compile(r"\\{1,2}(?:boxed|fbox|framebox)\s{0,9}(?=[{\w$])")
_TAG = re.compile(r"<answer>((?:(?!</?answer>).){1,2000}?)</answer>", re.DOTALL | re.IGNORECASE)
_ANSWERED = re.compile(r"####|\\boxed\{|[\"']answer[\"']\s{0,20}:|\banswer is\b|I hope it is correct", re.IGNORECASE)
_NEXT_TURN = re.compile(
    r"<\|(?:im_start|im_end|eot_id|endoftext|end|user)\|>|^[#*> \t]{0,9}(?:Question|Problem|Q)[* ]{0,3}:", re.MULTILINE
)
_MARKER = re.compile(
    r"""(?P<json>["'](?:final_?)?answer["']\s{0,20}:\s{0,20})
    | (?P<hash>\#\#\#\#)
    | (?P<minerva>Final[ ]Answer:[ ]The[ ]final[ ]answer[ ]is)
    | (?P<line>^[ \t*]{0,20}A:)
    | (?:answer|réponse|respuesta|antwort|risposta|resposta|答案|答)[^\n:：=.!?是]{0,60}?
      (?: (?P<says>\b(?:is|are|be|equals|est|es|ist)\b[ ]{0,3}:?|[为是][:：]?) | (?P<colon>[:：]|=|\n) )""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
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


def extract_strict(text: str) -> Found:
    r"""The content of the last `\boxed{}` of the reply, without its reasoning part."""
    boxes = list(_boxes(_reply(text)))
    if not boxes:
        return Found(None, r"no \boxed{}")
    return Found(boxes[-1][2], r"last \boxed{}")


def extract_lenient(text: str, choice: bool = False) -> Found:
    """The answer, wherever the reply states it. choice: the answer is a letter (A to J)."""
    reply = _before_next_turn(_reply(text))
    found = _concluded(reply) or _boxed_together(reply) or _tagged(reply)
    if found:
        return found
    if choice:
        return _letter(reply)
    for marker in list(_MARKER.finditer(reply))[: -MAX_MARKERS - 1 : -1]:
        stated = _stated(reply, marker)
        if stated:
            return Found(stated, f"after {marker[0].strip()[:40]!r}")
    bare = _bare(reply)
    if bare:
        return Found(bare, "the whole reply")
    return _last(reply)


def _reply(text: str) -> str:
    """The reply after its last `</think>`, or all of it if nothing follows; only the end of a long reply."""
    return after_thoughts(text[-MAX_TEXT:])


def _before_next_turn(text: str) -> str:
    """The reply up to the point at which it continues with a user turn or another question."""
    answered = _ANSWERED.search(text)
    further = _NEXT_TURN.search(text, answered.end()) if answered else None
    further = further or next((m for m in _NEXT_TURN.finditer(text) if m[0].startswith("<|") and m.start()), None)
    return text[: further.start()] if further else text


def _boxes(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and content of the closed boxes that are in no other box."""
    position = 0
    for match in list(_BOX.finditer(text))[-MAX_BOXES:]:
        if match.start() < position:
            continue
        inside = _braced(text, match.end()) if text[match.end()] == "{" else None
        if inside is None:
            word = re.compile(r"\$?(\w{1,40})").match(text, match.end()) if text[match.end()] != "{" else None
            if word is None:
                continue
            end, inside = word.end(), word[1]
        else:
            end = match.end() + len(inside) + 2
        position = end
        if inside.strip():
            yield match.start(), end, inside.strip()


def _braced(text: str, start: int) -> str | None:
    """The content of the brace at `start`; None if it does not close within MAX_STATEMENT characters."""
    depth = 0
    for i in range(start, min(len(text), start + MAX_STATEMENT)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[start + 1 : i]
    return None


def _boxed_together(text: str) -> Found | None:
    r"""The last box, joined with the boxes before it that are separated only by "and", commas or names."""
    boxes = list(_boxes(text))
    if not boxes:
        return None
    answers = [boxes[-1][2]]
    for before, after in zip(boxes[-2::-1], boxes[:0:-1], strict=True):
        gap = text[before[1] : after[0]]
        if len(gap) > 80 or not _CONNECTION.fullmatch(gap) or _NEW_THOUGHT.search(gap) or "\n\n" in gap.strip(" "):
            break
        answers.insert(0, before[2])
    distinct = list(dict.fromkeys(answers))
    if len(distinct) == 1:
        return Found(distinct[0], r"last \boxed{}")
    return Found(", ".join(distinct), rf"{len(distinct)} \boxed{{}} that belong together")


def _concluded(text: str) -> Found | None:
    """The answer in a closing line of a fixed form after the last box, which was only a step then."""
    last_box = text.rfind("\\boxed{")
    for marker in list(_MARKER.finditer(text, last_box))[::-1][:MAX_MARKERS] if last_box >= 0 else []:
        stated = _stated(text, marker) if marker["minerva"] or marker["hash"] else None
        if stated and re.search(r"\w", stated):
            return Found(stated, f"after {marker[0].strip()[:40]!r}, behind the last box")
    return None


def _tagged(text: str) -> Found | None:
    tags = _TAG.findall(text)
    return Found(tags[-1].strip(), "<answer> tag") if tags and tags[-1].strip() else None


def _letter(text: str) -> Found:
    """The chosen letter: after the last marker that has one, at the start, in bold, or the last single letter."""
    for marker in list(_MARKER.finditer(text))[: -MAX_MARKERS - 1 : -1]:
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
    after = text[marker.end() : marker.end() + MAX_STATEMENT].lstrip(_LAYOUT)
    if marker["json"]:
        quoted = re.match(r"""(["'])((?:\\.|(?!\1)[^\\]){0,2000})\1""", after, re.DOTALL)
        value = quoted[2].replace("\\\\", "\\") if quoted else after.partition("\n")[0].rstrip(' }",`')
        return (_bare(value) or _last(value).answer) if re.search(r"[^\W_]", value) else None
    if marker["hash"]:
        return after.partition("\n")[0].strip(_LAYOUT) or None
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
