r"""Splits an answer into tokens: LaTeX, plain notation ("sqrt(2)/2") and words. Layout leaves no token.

Every later step reads tokens, never text from which something was deleted: "2^{n-1}" and "2^n-1" differ in theirs.
Linear time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.graders.math_vocabulary import (
    CHARACTERS,
    COLOURED,
    CONNECTIVES,
    DROPPED_WITH_GROUP,
    LAYOUT,
    RAISED,
    SAME_COMMAND,
    SPACES,
    SPELLED,
    TEXT,
    UPRIGHT,
)

MAX_ANSWER = 2_000  # characters of one answer; longer ones are compared as strings
MAX_NESTED = 60  # brackets
Kind = Literal["number", "based", "name", "word", "command", "sign", "begin", "end"]


@dataclass(frozen=True)
class Token:
    r"""One token. name: letters of maths ("xy"); word: letters of `\text{}` or of upright type, or Chinese ones.

    command: without its backslash, "frac"; sign: "+", "{", "\\{" (a set's brace), "\\\\" (a new row), "<=", "$".
    gap: a blank stands before it. Two tokens are equal if they are the same but for the gap.
    """

    kind: Kind
    text: str
    gap: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and (self.kind, self.text) == (other.kind, other.text)

    def __hash__(self) -> int:
        return hash((self.kind, self.text))

    def sign(self, *texts: str) -> bool:
        return self.kind == "sign" and self.text in texts

    def command(self, *names: str) -> bool:
        return self.kind == "command" and self.text in names


_LOWERED = {chr(0x2080 + digit): str(digit) for digit in range(10)} | {"ₙ": "n"}
_RUN_RAISED = re.compile(f"[{''.join(RAISED)}]+")
_RUN_LOWERED = re.compile(f"[{''.join(_LOWERED)}]+")
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u200b-\u200f\ufeff]")

_SEPARATED = r"(?:\{,\}|,\\!\s?|\\,|\\;|\\ )"  # a thousands separator that cannot separate items
_LEX = re.compile(
    rf"""(?P<space>\s+|~|\\[,;:!> \n\t])
    | (?P<based>(?<![A-Za-z\d^])(?=[A-Fa-f]*\d)[\dA-Fa-f]+(?=\s?_\s?\{{?\s?(?:[2-9]|[1-3]\d|\\text|\\mathrm)))
    | (?P<number>\d{{1,3}}(?:{_SEPARATED}\d{{3}})+(?![\d])(?:\.\d+)?
        | (?:\d+\.(?=\s?\\(?:overline|bar|dot|ldots|dots|cdots)(?![a-z]))|\d+(?:\.\d+)?|\.\d+)
          (?:[eE][-+]?\d{{1,4}}(?![\w.]))?)
    | (?P<degree>\^\s?\{{?\s?\\(?:circ|degree|textcirc|textdegree)(?![a-zA-Z])\s?\}}?)
    | (?P<prime>\^\s?\{{?\s?(?:\\prime\s?|'){{1,3}}\s?\}}?)
    | (?P<environment>\\(?P<edge>begin|end)\s?\{{(?P<env>[a-zA-Z]{{1,20}})\*?\}}(?P<columns>\{{[|clr@!. ]{{0,40}}\}})?)
    | (?P<not>\\not(?![a-zA-Z])\s?(?P<denied>=|\\in(?![a-zA-Z])))
    | \\(?P<command>[a-zA-Z]+)\*?
    | (?P<row>\\\\(?:\[[^\]]{{0,20}}\])?)
    | (?P<escaped>\\[{{}}|%$&\#_()\[\]/])
    | (?P<currency>[$£€¥₹])
    | (?P<dots>\.\.\.+)
    | (?P<relation><=|>=|=<|=>|!=|==|:=|<>)
    | (?P<power>\*\*)
    | (?P<name>(?:and|or)(?=[A-Z])|[a-zA-Z]+)
    | (?P<script>[^\W\d_a-zA-Z]+)
    | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_IN_TEXT = re.compile(
    r"(?P<space>\s+|~|\\[,;:!> ]|\\quad|\\qquad)|(?P<number>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<script>[\u3040-\u9fff]+)|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)|(?P<maths>\\[a-zA-Z]+|[{}^_$])|(?P<escaped>\\[{}%$&#_()\[\]])|(?P<sign>.)",
    re.DOTALL,
)


_DOT = re.compile(r"\s?\.")
_BAR = re.compile(r"\s?(?:\||\\vert)(?=\s?[_^])")
_QUAD = re.compile(r"\Aq?quad")
_ARGUMENT = re.compile(r"\\?[a-zA-Z]+|.?", re.DOTALL)
_LOST_BACKSLASH = re.compile(
    "(\x0c(?=rac)|\x08(?=oxed|eta|inom|ar|egin)|\t(?=extcirc|extdegree|imes|heta|frac)|\r(?=ho|ight))"
)
_ESCAPES = {"\x0c": "\\f", "\x08": "\\b", "\t": "\\t", "\r": "\\r"}
_HTML = re.compile(r"<(sup|sub)>([^<]{0,99})</\1>")


def tokens_of(text: str, thousands: bool = True) -> list[Token]:
    """The tokens of an answer. thousands: whether "1,234" and "1 234" are one number (else "1,234" is two)."""
    text = _LOST_BACKSLASH.sub(lambda m: _ESCAPES[m[0]], text[: 2 * MAX_ANSWER])  # "\\frac" read as an escape
    text = _HTML.sub(lambda m: ("^{" if m[1] == "sup" else "_{") + m[2] + "}", text)
    text = _INVISIBLE.sub(" ", text)
    text = _RUN_RAISED.sub(lambda m: "^{" + "".join(RAISED[c] for c in m[0]) + "}", text)
    text = _RUN_LOWERED.sub(lambda m: "_{" + "".join(_LOWERED[c] for c in m[0]) + "}", text)
    text = "".join(CHARACTERS.get(c) or _circled(c) for c in text)
    text = unicodedata.normalize("NFKC", text)
    if "\\begin" not in text or "\\\\begin" in text:
        text = re.sub(r"\\\\(?=[a-zA-Z\\({\[!,;%$])", r"\\", text)  # backslashes doubled by JSON
    if (text.count("$") - text.count("\\$")) % 2 == 0:
        text = re.sub(r"(?<!\\)\$", " ", text)  # delimiters of maths; a single one is a currency
    tokens = list(_lexed(text))
    if thousands:
        tokens = list(_joined_thousands(tokens))
    return _balanced(tokens)


def deep(text: str) -> bool:
    """Whether brackets are nested more deeply than in any real answer."""
    depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if depth > MAX_NESTED:
            return True
    return False


def _circled(character: str) -> str:
    """A digit in a circle as an item of a list, "②③" as "2,3,"; any other character as it is."""
    return f"{ord(character) - 0x245F}," if 0x2460 <= ord(character) <= 0x2473 else character


def _lexed(text: str) -> Iterator[Token]:
    position, gap = 0, False
    while match := _LEX.match(text, position):
        position = match.end()
        kind = match.lastgroup if match["command"] is None else "command"
        if kind == "space":
            gap = True
            continue
        produced: Sequence[Token] = ()
        if kind == "command":
            position, produced = _command(text, match["command"], position)
        elif kind == "number":
            produced = (Token("number", re.sub(_SEPARATED, "", match[0])),)
        elif kind == "based":
            produced = (Token("based", match[0].upper()),)
        elif kind == "degree":
            produced = (Token("sign", "°"),)
        elif kind == "prime":
            produced = tuple(Token("sign", "'") for _ in range(match[0].count("prime") + match[0].count("'")))
        elif match["edge"]:
            produced = (Token("begin" if match["edge"] == "begin" else "end", match["env"]),)
        elif match["denied"]:
            produced = (Token("sign", "!=") if match["denied"] == "=" else Token("command", "notin"),)
        elif kind == "row":
            produced = (Token("sign", "\\\\"),)
        elif kind == "escaped":
            produced = _escaped(match[0])
        elif kind == "currency":
            produced = (Token("sign", match[0]),)
        elif kind == "dots":
            produced = (Token("command", "ldots"),)
        elif kind == "relation":
            spelling = {"=<": "<=", "=>": "=>", "==": "=", ":=": "=", "<>": "!="}
            produced = (Token("sign", spelling.get(match[0], match[0])),)
        elif kind == "power":
            produced = (Token("sign", "^"),)
        elif kind == "name":
            word = CONNECTIVES.get(match[0]) or (match[0] if match[0] in ("choose", "mod") else "")
            produced = (Token("command", word) if word else Token("name", match[0]),)
        elif kind == "script":
            produced = tuple(_script(match[0]))
        elif match[0] not in '`"':
            produced = (Token("sign", match[0]),)
        for i, token in enumerate(produced):
            yield replace(token, gap=gap) if i == 0 else token
        gap = gap and not produced


def _script(run: str) -> Iterator[Token]:
    """Words of other scripts; the connectives in them are tokens of their own."""
    for part in re.split(r"(或者|以及|[或和且与])", run):
        if part:
            word = CONNECTIVES.get(part)
            yield Token("command", word) if word else Token("word", part)


def _escaped(text: str) -> tuple[Token, ...]:
    if text in ("\\(", "\\)", "\\[", "\\]"):
        return ()
    return (Token("sign", text if text in ("\\{", "\\}", "\\|") else text[1]),)


def _command(text: str, name: str, position: int) -> tuple[int, tuple[Token, ...]]:
    """Where the command ends that was read up to `position`, and its tokens."""
    if name in ("left", "right") and (dot := _DOT.match(text, position)):
        return dot.end(), (Token("command", f"{name}."),)
    if name == "right" and (bar := _BAR.match(text, position)):
        return bar.end(), (Token("command", "evaluated"),)
    if name in LAYOUT or name in SPACES:
        return position, ()
    if name.startswith(("quad", "qquad")):  # "\\quadx"
        return position - len(_QUAD.sub("", name)), ()
    if name in DROPPED_WITH_GROUP or name in COLOURED:
        return _behind_group(text, position), ()
    if name == "fcolorbox":
        return _behind_group(text, _behind_group(text, position)), ()
    if name in TEXT:
        end = _behind_group(text, position)
        return end, tuple(_text(_inside(text[position:end])))
    if name in UPRIGHT:
        return _upright(text, name, position)
    if name in SPELLED:
        return position, (Token("sign", SPELLED[name]),)
    return position, (Token("command", SAME_COMMAND.get(name, name)),)


def _upright(text: str, name: str, position: int) -> tuple[int, tuple[Token, ...]]:
    r"""The content of `\mathrm{}`: its letters are words, except for a known set (`\mathbb{R}`) or a lone name."""
    end = _behind_group(text, position)
    inside = _inside(text[position:end])
    if name == "mathbb" and re.fullmatch(r"\s*[NZQRC]\s*", inside):
        return end, (Token("command", f"mathbb{inside.strip()}"),)
    tokens = tuple(_lexed(inside[:MAX_ANSWER]))
    if name == "operatorname" or (len(tokens) == 1 and tokens[0].kind == "name" and len(tokens[0].text) == 1):
        return end, tuple(Token("command", t.text) if t.kind == "name" and len(t.text) > 1 else t for t in tokens)
    return end, tuple(replace(t, kind="word") if t.kind == "name" else t for t in tokens)


def _behind_group(text: str, position: int) -> int:
    """The end of the group, or of the one letter, that follows; an open group ends with the text."""
    while text[position : position + 1].isspace():
        position += 1
    if text[position : position + 1] != "{":
        word = _ARGUMENT.match(text, position)
        return word.end() if word else position
    depth = 0
    for i in range(position, len(text)):
        escaped = text[i - 1] == "\\"
        depth += 0 if escaped else (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i + 1
    return len(text)


def _inside(group: str) -> str:
    group = group.strip()
    return group[1:].removesuffix("}") if group.startswith("{") else group


def _text(text: str) -> Iterator[Token]:
    r"""The tokens of `\text{...}`: words, numbers and signs; what stands in dollars or is a command is maths."""
    position, gap = 0, False
    while match := _IN_TEXT.match(text, position):
        position = match.end()
        kind = match.lastgroup
        if kind == "space":
            gap = True
            continue
        produced: tuple[Token, ...]
        if kind == "maths":
            yield from _lexed(text[match.start() :])
            return
        if kind == "word":
            word = CONNECTIVES.get(match[0].casefold())
            produced = (Token("command", word) if word else Token("word", match[0]),)
        elif kind == "script":
            produced = tuple(_script(match[0]))
        elif kind == "number":
            produced = (Token("number", match[0].replace(",", "")),)
        elif kind == "escaped":
            produced = _escaped(match[0])
        else:
            produced = (Token("sign", match[0]),) if match[0] not in '`"' else ()
        for token in produced:
            yield replace(token, gap=gap)
            gap = False


OPENING = ("(", "[", "\\{")
CLOSING = (")", "]", "\\}")


def opens(token: Token) -> bool:
    return token.kind == "begin" or token.sign("{", *OPENING) or token.command("langle", "lfloor", "lceil")


def closes(token: Token) -> bool:
    return token.kind == "end" or token.sign("}", *CLOSING) or token.command("rangle", "rfloor", "rceil")


def _joined_thousands(tokens: Sequence[Token]) -> Iterator[Token]:
    """Groups of three digits behind commas outside brackets, or behind blanks, as one number."""
    depth, position = 0, 0
    while position < len(tokens):
        token = tokens[position]
        depth += opens(token) - closes(token)
        position += 1
        if token.kind == "number" and token.text.isdigit() and len(token.text) <= 3:
            comma, digits = None, token.text
            while True:
                ahead = tokens[position : position + 2]
                by_comma = (
                    depth == 0 and len(ahead) == 2 and ahead[0].sign(",") and not ahead[0].gap and not ahead[1].gap
                )
                group = ahead[1] if by_comma else ahead[0] if ahead else None
                by_blank = not by_comma and group is not None and group.gap
                if group is None or group.kind != "number" or not (by_comma or by_blank) or comma == (not by_comma):
                    break
                whole, _, part = group.text.partition(".")
                if len(whole) != 3 or not whole.isdigit():
                    break
                digits, comma, position = digits + group.text, by_comma, position + 1 + by_comma
                if part:
                    break
            token = replace(token, text=digits)
        yield token


def _balanced(tokens: Sequence[Token]) -> list[Token]:
    """The tokens without braces that close nothing, and with those closed that were left open."""
    depth, kept = 0, []
    for token in tokens:
        if token.sign("}"):
            if depth == 0:
                continue
            depth -= 1
        depth += token.sign("{")
        kept.append(token)
    return kept + [Token("sign", "}")] * depth
