"""A position in the tokens of an expression, and what the expression parser asks of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from harness.graders.math_tokens import Token, closes, opens
from harness.graders.math_units import known
from harness.graders.math_vocabulary import CONSTANTS, FUNCTIONS, GREEK, SAME_WORDS, SHORT_WORDS

ORDINALS = ("st", "nd", "rd", "th")


class NotMaths(Exception):
    """The tokens are not one expression."""


class Cursor:
    """Tokens, runs of letters already parted, and the position of the next one."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = letters_of(tokens)
        self.at = 0

    @property
    def rest(self) -> list[Token]:
        return self.tokens[self.at :]

    def peek(self, ahead: int = 0) -> Token | None:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else None

    def sign(self, *texts: str) -> bool:
        token = self.peek()
        return token is not None and token.sign(*texts)

    def command(self, *names: str) -> bool:
        token = self.peek()
        return token is not None and token.command(*names)

    def accept(self, text: str) -> bool:
        found = self.sign(text)
        self.at += found
        return found

    def next(self) -> Token:
        token = self.peek()
        if token is None:
            raise NotMaths("ends")
        self.at += 1
        return token

    def group(self) -> list[Token]:
        """The tokens between the brace or bracket here and the one that closes it; the position is behind it."""
        start = self.at
        depth = 0
        for at in range(start, len(self.tokens)):
            depth += opens(self.tokens[at]) - closes(self.tokens[at])
            if depth == 0:
                self.at = at + 1
                return self.tokens[start + 1 : at]
        raise NotMaths("open bracket")


def is_word(run: str) -> bool:
    """Whether a run of bare letters is a word rather than a product of letters or a known name."""
    if run in FUNCTIONS or run in GREEK or run in CONSTANTS:
        return False
    lower = run.casefold()
    if lower in SAME_WORDS:
        return True
    if run.isupper():
        return len(run) >= 5
    return len(run) >= 4 or lower in SHORT_WORDS or bool(re.fullmatch(r"[A-Z][a-z]{2,}", run))


def letters_of(tokens: Sequence[Token]) -> list[Token]:
    """Runs of letters that are products, "xy", as one token a letter; names in capitals stay whole."""
    found: list[Token] = []
    for token in tokens:
        run = token.text
        if token.kind != "name" or len(run) == 1 or run.isupper() or is_word(run) or known(run):
            found.append(token)
            continue
        if run in FUNCTIONS or run in GREEK or run in CONSTANTS or run in (*ORDINALS, "am", "pm"):
            found.append(Token("command", run, token.gap) if run in GREEK or run in ("binom",) else token)
            continue
        function = next((f for f in ("sin", "cos", "tan", "ln", "log", "sqrt") if run.startswith(f)), "")
        rest = [function, *run[len(function) :]] if function else list(run)
        found += [Token("name", part, token.gap and i == 0) for i, part in enumerate(rest)]
    return found


def split(tokens: Sequence[Token], at: Callable[[Token], bool]) -> list[list[Token]]:
    """The tokens between those, outside all brackets, at which to split."""
    pieces: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += opens(token) - closes(token)
        if depth == 0 and not closes(token) and at(token):
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def plain_number(token: Token | None) -> int | None:
    return int(token.text) if token is not None and token.kind == "number" and token.text.isdigit() else None
