r"""A second opinion on whether two answers are equal, by other means than the first: numbers put in for letters.

Nothing here is shared with `math_equal`, and there is no computer algebra: a small parser evaluates both sides in
complex floating point at fixed points. It is no grader (two expressions that agree at three points may differ, and
much it cannot read), but a disagreement with the grader is a reason to look. Cost: linear in at most 500 characters.
"""

from __future__ import annotations

import cmath
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from itertools import permutations

MAX_TEXT = 500  # characters of one answer
MAX_NESTING = 40
MAX_SET = 5  # items tried in every order; longer sets are sorted
POINTS = 3  # values tried for each letter
EXACT, ROUNDED = 1e-9, 1e-6  # relative error allowed without and with a decimal point

_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "arcsin": cmath.asin, "arccos": cmath.acos,
    "arctan": cmath.atan, "sinh": cmath.sinh, "cosh": cmath.cosh, "ln": cmath.log, "log": cmath.log10,
    "exp": cmath.exp, "cot": lambda z: 1 / cmath.tan(z), "sec": lambda z: 1 / cmath.cos(z),
    "csc": lambda z: 1 / cmath.sin(z),
}  # fmt: skip
_CONSTANTS: dict[str, complex] = {"pi": math.pi, "e": math.e, "i": 1j, "infty": complex("inf")}
_GREEK = ("alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "rho", "sigma", "phi", "omega", "hbar")
_WORDS = re.compile(r"(?=.*[A-Za-z]{3}|.?[A-J].?$)[(]?[^\W\d_][^\d\\=+*/^<>]*", re.DOTALL)
_TOKEN = re.compile(r"\\[a-zA-Z]+|\d+(?:\.\d*)?|\.\d+|[a-zA-Z]|[-+*/^_(){}|!\[\]]")


_SPELLINGS = (
    (r"\left", ""), (r"\right", ""), (r",\!", ","), (r"\!", ""), (r"\,", " "), (r"\;", " "), (r"\ ", " "), ("$", " "),
    ("−", "-"), ("×", "*"), (r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"), ("{,}", ","), ("**", "^"),
    (r"^{\circ}", r"^\circ"), (r"\%", "%"), ("√", r"\sqrt "), ("π", r"\pi "),
)  # fmt: skip


class _Unreadable(Exception):
    pass


def second_opinion(gold: str, pred: str) -> bool | None:
    """Whether the two answers are equal; None where this cannot tell. Raises nothing about the strings."""
    if len(gold) > MAX_TEXT or len(pred) > MAX_TEXT:
        return None
    try:
        return _equal(_tidy(gold), _tidy(pred))
    except (_Unreadable, ArithmeticError, ValueError, RecursionError):
        return None


def _tidy(text: str) -> str:
    """The answer without layout, currency, unit words and the name it is given to."""
    for old, new in _SPELLINGS:
        text = text.replace(old, new)
    text = re.sub(r"\\(?:[dtc]frac)", r"\\frac", text)
    boxed = re.fullmatch(r"\s*\\boxed\{(.{0,500})\}\s*", text, re.DOTALL)
    text = boxed[1] if boxed else text
    text = re.sub(r"\\(?:text|mbox|mathrm|textbf|mathbf)\s*\{([^{}]{0,200})\}", r" \1 ", text)
    text = re.sub(r"(?<![\d,])(\d{1,3}(?:,\d{3})+)(?![\d,])", lambda m: m[1].replace(",", ""), text)
    if not re.search("sin|cos|tan", text):
        text = text.replace(r"^\circ", "")  # with a sine it is no unit, and \circ stays unreadable
    text = re.sub(r"\s(?:and|or)\s", ",", text)
    text = re.sub(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi ", text)
    text = re.sub(r"(?<![\d.])(\d+)\s+(\d+/\d+)(?![\d.])", r"(\1+\2)", text)
    if re.search(r"\\boxed|\d\s+-?\d|hundred|thousand|million|billion", text) and len(text.split()) > 1:
        raise _Unreadable
    return text.strip().rstrip(".").strip()


def _equal(gold: str, pred: str) -> bool | None:
    if not gold or not pred:
        return None
    if re.sub(r"\s", "", gold) == re.sub(r"\s", "", pred):
        return True
    words = [bool(_WORDS.fullmatch(s)) for s in (gold, pred)]
    if all(words):
        texts = [re.sub(r"\W+", " ", s).strip().lower() for s in (gold, pred)]
        return texts[0] == texts[1] if max(len(t.split()) for t in texts) <= 4 and min(map(len, texts)) > 1 else None
    gold, pred = _without_name(gold, pred), _without_name(pred, gold)
    if any(words):
        return (
            False
            if re.search(r"\d", gold + pred) and not any(re.search(r"[A-Za-z]{3}.*\d", s) for s in (gold, pred))
            else None
        )
    if re.search(r"[<>=]|\\(?:leq?|geq?|in|cup|pm|begin|neq?|ne)(?![a-z])|:", gold + pred):
        return None
    if ("%" in gold) != ("%" in pred):
        return None
    return _equal_items(_items(gold.replace("%", "")), _items(pred.replace("%", "")))


def _without_name(text: str, other: str) -> str:
    """What "x =" states, and what a calculation comes to, where the other side is no equation."""
    if "=" in other or "=" not in text or "," in text.rsplit("=", 1)[0]:
        return text
    left, right = text.split("=", 1)[0], text.rsplit("=", 1)[1]
    return right if re.fullmatch(r"\s*(?:[a-zA-Z](?:_\w|\([a-z]\))?|[\d\s.+*/()-]+)\s*", left) else text


def _items(text: str) -> tuple[str, list[str]]:
    """The brackets around a list, "" for none, and its items without unit words."""
    text = text.replace(r"\{", "⦃").replace(r"\}", "⦄").strip()
    around = ""
    if text and text[0] in "([⦃" and text[-1] in ")]⦄" and _ends_with_its_bracket(text):
        around, text = text[0] + text[-1], text[1:-1]
    items, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([{⦃") - (char in ")]}⦄")
        if char == "," and depth == 0:
            items.append(text[start:i])
            start = i + 1
    items.append(text[start:])
    if len(items) == 1 and around == "()":
        around = ""
    last = items[-1].strip()
    items[-1] = re.sub(r"^(and|or)\s+", "", last)
    return around, [
        re.sub(
            r"(?<=[\d)}])\s*(?:[a-zA-Z]{3,}|[ck]?m|mm|k?g|ft|ml)(?:/[a-z]+)?(?:\s+[a-zA-Z ]*)?(?:\^\{?\d\}?)?\s*$",
            "",
            item.strip(),
        )
        for item in items
    ]


def _ends_with_its_bracket(text: str) -> bool:
    depth = 0
    for i, char in enumerate(text):
        depth += (char in "([{⦃") - (char in ")]}⦄")
        if depth == 0:
            return i == len(text) - 1
    return False


def _equal_items(gold: tuple[str, list[str]], pred: tuple[str, list[str]]) -> bool | None:
    if gold[0] and pred[0] and gold[0] != pred[0]:
        return False
    if len(gold[1]) != len(pred[1]):
        return None if any("[" in side[0] or "⦃" in side[0] for side in (gold, pred)) else False
    golds, preds = ([_values(item) for item in side[1]] for side in (gold, pred))
    rounded = any("." in item for item in gold[1] + pred[1])

    def agree(order: Sequence[int]) -> bool:
        return all(_close(golds[i], preds[j], rounded) for i, j in enumerate(order))

    count = len(golds)
    if gold[0] + pred[0] not in ("", "⦃⦄", "⦃⦄⦃⦄") or count == 1:
        return agree(range(count))
    if count <= MAX_SET:
        return any(agree(order) for order in permutations(range(count)))
    return None if not agree(range(count)) else True


def _close(gold: list[complex], pred: list[complex], rounded: bool) -> bool:
    limit = ROUNDED if rounded else EXACT
    return all(
        g == p or abs(g - p) <= limit * min(max(abs(g), 1e-12), 1 if rounded else abs(g))
        for g, p in zip(gold, pred, strict=True)
    )


def _values(text: str) -> list[complex]:
    """What the expression is worth at each point. Raises _Unreadable, ArithmeticError, ValueError."""
    tokens = _TOKEN.findall(text)
    if (
        not tokens
        or sum(map(len, tokens)) != len(re.sub(r"\s", "", text))
        or re.search(r"(?<![\\a-zA-Z])[a-zA-Z]{3}", text)
    ):
        raise _Unreadable
    values = []
    for point in range(POINTS):
        parser = _Parser(tokens, point)
        values.append(parser.sum())
        if parser.position != len(parser.tokens) or cmath.isnan(values[-1]):
            raise _Unreadable
    return values


class _Parser:
    """Recursive descent over one expression: sum, product, power, atom. Each method returns a value."""

    def __init__(self, tokens: list[str], point: int) -> None:
        self.tokens, self.point, self.position, self.nesting = tokens, point, 0, 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise _Unreadable
        self.position += 1
        return token

    def sum(self) -> complex:
        value = self.product()
        while self.peek() in ("+", "-"):
            value += self.product() if self.take() == "+" else -self.product()
        return value

    def product(self) -> complex:
        value = self.signed()
        while self.peek() not in ("", "+", "-", ")", "}", "]", "|"):
            if self.peek() == "/":
                self.take()
                value /= self.signed()
                continue
            mixed = self.peek() == r"\frac" and self.tokens[self.position - 1].isdigit()
            if self.peek() == "*":
                self.take()
            factor = self.signed()
            value = value + factor if mixed and value.imag == 0 and value.real > 0 else value * factor
        return value

    def signed(self) -> complex:
        sign = 1
        while self.peek() in ("+", "-"):
            sign *= 1 if self.take() == "+" else -1
        return sign * self.power()

    def power(self) -> complex:
        base = self.atom()
        while self.peek() == "!":
            self.take()
            if base.imag or base.real != int(base.real) or not 0 <= base.real <= 170:
                raise _Unreadable
            base = complex(math.factorial(int(base.real)))
        if self.peek() != "^":
            return base
        self.take()
        exponent = self.group() if self.peek() == "{" else self.signed_atom()
        if abs(exponent) > 1e4:
            raise _Unreadable
        return complex(base**exponent)

    def signed_atom(self) -> complex:
        return -self.signed_atom() if self.peek() == "-" and self.take() else self.atom()

    def group(self) -> complex:
        """A braced value, or the single token TeX takes without braces: \\frac12."""
        if self.peek() != "{":
            token = self.take()
            if token.isdigit() and len(token) > 1:  # \frac12 is 1/2
                self.position -= 1
                self.tokens = [*self.tokens[: self.position], token[0], token[1:], *self.tokens[self.position + 1 :]]
                token = self.take()
            return self.value(token)
        return self.enclosed("{", "}")

    def enclosed(self, opening: str, closing: str) -> complex:
        self.take(opening)
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise _Unreadable
        value = self.sum()
        self.take(closing)
        self.nesting -= 1
        return value

    def atom(self) -> complex:
        token = self.peek()
        for opening, closing in (("(", ")"), ("{", "}"), ("[", "]")):
            if token == opening:
                return self.enclosed(opening, closing)
        if token == "|":
            return complex(abs(self.enclosed("|", "|")))
        return self.value(self.take())

    def value(self, token: str) -> complex:
        if token[0].isdigit() or token[0] == ".":
            return complex(float(token))
        name = token.removeprefix("\\")
        if token == r"\frac":
            above = self.group()
            return above / self.group()
        if token == r"\binom":
            above, below = self.group().real, self.group().real
            if not 0 <= below <= above <= 200 or above != int(above) or below != int(below):
                raise _Unreadable
            return complex(math.comb(int(above), int(below)))
        if token == r"\sqrt":
            degree = self.enclosed("[", "]") if self.peek() == "[" else complex(2)
            return complex(self.group() ** (1 / degree))
        if token.startswith("\\") and name in _FUNCTIONS:
            return self.applied(name)
        if name in _CONSTANTS and (len(name) == 1) != token.startswith("\\"):
            return _CONSTANTS[name]
        if (len(token) == 1 and token.isalpha()) or name in _GREEK:
            return self.letter(name)
        raise _Unreadable

    def applied(self, name: str) -> complex:
        """A function of what follows: a bracket, else the product up to the next function or sign."""
        power = complex(1)
        if self.peek() == "_":
            self.take()
            base = self.group()
            return cmath.log(self.argument()) / cmath.log(base)
        if self.peek() == "^":
            self.take()
            power = self.group()
        return complex(_FUNCTIONS[name](self.argument()) ** power)

    def argument(self) -> complex:
        if self.peek() in ("(", "{"):
            return self.power()
        value = self.power()
        while re.fullmatch(r"\d.*|[a-zA-Z]|\\pi", self.peek()):
            value *= self.power()
        return value

    def letter(self, name: str) -> complex:
        """A fixed value for a letter and its subscript, real and between 0.5 and 2.5."""
        if self.peek() == "_":
            self.take()
            start = self.position
            if self.peek() == "{":
                while self.take() != "}":
                    pass
            else:
                self.take()
            name += "".join(self.tokens[start : self.position]).strip("{}")
        digest = hashlib.sha256(f"{name} {self.point}".encode()).digest()
        return complex(0.5 + int.from_bytes(digest[:4], "big") / 2**31)
