"""Tells lines of Python from prose, by their words. Reads in linear time and parses nothing."""

from __future__ import annotations

import keyword
import re

CODE_START = re.compile(
    r"^(?:(?:async[ \t]+def|def|class|import)[ \t]+\w|from[ \t]+[\w.]+[ \t]+import\b|@\w)", re.MULTILINE
)
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\f]+|\\$)
    | (?P<comment>\#.*)
    | (?P<string>(?<!\w)[rRbBuUfF]{0,2}(?:\"""|'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    | (?P<number>0[xXoObB][0-9a-fA-F_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?[jJ]?|\.[0-9]+)
    | (?P<name>[^\W\d]\w*)
    | (?P<operator>!=|[-+*/%@&|^~<>=:;,.()\[\]{}])""",
    re.VERBOSE,
)
_OPERANDS = {"name", "number", "string"}
_VALUES = {"True", "False", "None"}
_NEVER_FIRST = {"is", "in", "and", "or", "as"}
_ALONE = {"pass", "break", "continue"}
_OPENING = {"if", "for", "while", "with", "try", "def", "class", "elif", "else", "except", "finally", "match", "case"}
_MOST = 2_000  # characters of a line that are looked at


def is_code(text: str) -> bool:
    """Whether the first line of a text is a statement of Python and not prose.

    In prose two words follow each other of which neither is a keyword, or a sign stands that no code has. A statement
    has a keyword, an assignment or a call, or begins with a string.
    """
    line = text.split("\n", 1)[0][:_MOST].strip()
    kinds: list[str] = []
    words: list[str] = []
    position = 0
    while position < len(line):
        token = _TOKEN.match(line, position)
        if token is None:
            return False
        kind, word = str(token.lastgroup), token[0]
        position = token.end()
        if kind == "comment":
            break
        if kind == "string" and word[-3:] in ('"""', "'''"):
            closing = line.find(word[-3:], position)
            position = len(line) if closing < 0 else closing + 3
        if kind == "blank":
            continue
        soft = not kinds and word in ("match", "case") and line.endswith(":")
        if kind == "name" and (soft or (keyword.iskeyword(word) and word not in _VALUES)):
            kind = "keyword"
        if kind in _OPERANDS and _ends_operand(kinds, words) and not kind == kinds[-1] == "string":
            return False
        kinds.append(kind)
        words.append(word)
    return _is_statement(kinds, words)


def _ends_operand(kinds: list[str], words: list[str]) -> bool:
    return bool(kinds) and (kinds[-1] in _OPERANDS or words[-1] in (")", "]", "}"))


def _is_statement(kinds: list[str], words: list[str]) -> bool:
    if not kinds:
        return False
    first, last = words[0], words[-1]
    if kinds[0] == "string":
        return True
    if last == "." or first in _NEVER_FIRST or (kinds[0] == "operator" and first not in "([{@*"):
        return False
    if kinds[0] == "keyword":
        if first in _ALONE:
            return len(words) == 1 or words[1] == ";"
        if first in _OPENING and ":" not in words:
            return False
        return (first != "for" or "in" in words) and (first != "from" or "import" in words)
    if last == ":" or (first == "*" and "=" not in words):
        return False
    called = any(a in (")", "]") or k == "name" for a, k, b in zip(words, kinds, words[1:], strict=False) if b == "(")
    assigned = "=" in words and kinds[0] != "number"
    return assigned or called or "keyword" in kinds or first == "@"
