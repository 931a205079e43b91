r"""Parses one expression: numbers, letters, operators, functions, brackets. Lists and relations: `math_parser`.

Precedence climbs from sums over products and powers to what stands alone. A product may be written without a sign:
"2x(x+1)". What cannot be read raises `NotMaths`; the caller then takes the answer for words, or for maths that is not
understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from harness.graders.math_cursor import ORDINALS, Cursor, NotMaths, is_word, plain_number, split
from harness.graders.math_nodes import (
    base_of,
    bound_operator,
    bracket,
    cut_off_decimal,
    hoisted,
    hoisted_product,
    mixed_number,
    parts_of,
    product_of,
    with_term,
)
from harness.graders.math_tokens import CLOSING, OPENING, Token, closes
from harness.graders.math_tree import (
    DOTS,
    Apply,
    Based,
    Bracket,
    Matrix,
    Node,
    Number,
    Symbol,
)
from harness.graders.math_units import known
from harness.graders.math_vocabulary import BIG, CONSTANTS, FUNCTIONS, GREEK, WRAPPERS

MAX_BARS = 12  # of absolute values, whose pairs have to be tried
MAX_DEPTH = 40  # nested expressions; deeper ones are not read

_LONG_ARGUMENT = FUNCTIONS - {"sqrt", "cbrt", "floor", "ceil", "abs", "binom", "lim"}  # "\sin 2x" is sin(2x)
_CALLED = frozenset("fghFGHP")  # letters that name a function in "f(x)"


Reader = Callable[[Sequence[Token], int], Node]


class Expression(Cursor):
    """Reads an expression from the start of `tokens`; `rest` is what stands behind it."""

    def __init__(self, tokens: Sequence[Token], read: Reader, depth: int, units: bool = True) -> None:
        """`read` reads the content of brackets. units: whether a letter behind a number and a blank may be a unit."""
        if depth > MAX_DEPTH:
            raise NotMaths("too deep")
        super().__init__(tokens)
        self._read = read
        self._depth = depth
        self._units = units

    def parse(self) -> Node:
        return self._sum()

    def _inner(self, tokens: Sequence[Token]) -> Node:
        """A whole expression in a group."""
        inner = Expression(tokens, self._read, self._depth + 1, units=False)
        if not inner.tokens:
            raise NotMaths("empty")
        node = inner.parse()
        if inner.rest:
            raise NotMaths(inner.rest[0].text)
        return node

    def _sum(self) -> Node:
        terms = [self._signed_term()]
        while True:
            if self.sign("+", "-") or self.command("pm", "mp"):
                terms = with_term(terms, self._signed_term())
            elif self.command("setminus", "cup", "cap"):
                head = {"setminus": "minus", "cup": "union", "cap": "intersection"}[self.next().text]
                left = terms[0] if len(terms) == 1 else Apply("add", tuple(terms))
                right = self._signed_term()
                joined = left.args if isinstance(left, Apply) and left.head == head != "minus" else (left,)
                terms = [Apply(head, (*joined, right))]
            elif self.command("over", "choose"):
                head = "div" if self.next().text == "over" else "binom"
                left = terms[0] if len(terms) == 1 else Apply("add", tuple(terms))
                return Apply(head, (left, self._sum()))
            else:
                return terms[0] if len(terms) == 1 else Apply("add", tuple(terms))

    def _signed_term(self) -> Node:
        heads: list[str] = []
        while self.sign("+", "-") or self.command("pm", "mp"):
            heads.append({"+": "", "-": "neg"}.get(self.peek().text, self.peek().text))  # type: ignore[union-attr]
            self.at += 1
            if len(heads) > MAX_DEPTH:
                raise NotMaths("signs")
        node = self._product()
        for head in reversed([h for h in heads if h]):
            node = hoisted(head, node)
        return node

    def _product(self) -> Node:
        factors = [self._power()]
        while True:
            if self.sign("*"):
                self.at += 1
                factors.append(self._factor_behind_sign())
            elif self.sign("/"):
                if self._unit_follows(1):
                    break
                self.at += 1
                below = self._factor_behind_sign()
                factors = [Apply("div", (product_of(factors), below))]
            elif self._starts_factor():
                if len(factors) == 1 and self._is_mixed(factors[0]):
                    factors = [mixed_number(factors[0], self._power())]
                else:
                    factors.append(self._power())
            else:
                break
        return hoisted_product(factors)

    def _factor_behind_sign(self) -> Node:
        if self.sign("-"):
            self.at += 1
            return Apply("neg", (self._power(),))
        self.accept("+")
        return self._power()

    def _is_mixed(self, whole: Node) -> bool:
        """Whether a fraction of two integers follows an integer: 2\\frac{1}{2}."""
        if not (
            isinstance(whole, Number) and not whole.decimal and whole.value.denominator == 1 and self.command("frac")
        ):
            return False
        kinds = "".join(
            "9" * len(t.text) if t.kind == "number" and t.text.isdigit() else t.text[:1]
            for t in self.tokens[self.at + 1 : self.at + 7]
        )
        return re.match(r"(?:\{9+\}|9)(?:\{9+\}|9)", kinds) is not None

    def _unit_follows(self, ahead: int = 0) -> bool:
        """Whether a unit's name or a word follows, which ends the expression."""
        token = self.peek(ahead)
        if token is None:
            return False
        if token.kind == "word":
            return len(token.text) > 1 or known(token.text) is not None or not token.text.isascii()
        if token.kind != "name" or (
            len(token.text) == 1 and not (token.gap and known(token.text) and self._after_value())
        ):
            return False
        return is_word(token.text) or known(token.text) is not None or token.text in ("am", "pm")

    def _after_value(self) -> bool:
        """Whether the expression so far is made of numbers alone, so that a letter behind a blank is a unit."""
        before = self.tokens[: self.at]
        return (
            self._units
            and self.at > 0
            and all(t.kind in ("number", "sign") or t.command("frac", "sqrt", "pi") for t in before)
        )

    def _starts_factor(self) -> bool:
        token = self.peek()
        if token is None or self._unit_follows():
            return False
        if token.kind == "number":
            before = self.tokens[self.at - 1]
            raised = self.at > 1 and self.tokens[self.at - 2].sign("^") and token.gap
            return before.sign("}", "!") or raised or (closes(before) and before.kind != "end")
        if token.kind in ("name", "word", "based", "begin"):
            return True
        if token.kind == "sign":
            return token.text in ("(", "[", "{", "\\{", "\\|") or (token.text == "|" and self._closing_bar())
        if token.kind != "command":
            return False
        return self._starts_operand(token)

    def _closing_bar(self) -> bool:
        """Whether the bar here opens an absolute value: another one follows."""
        return any(t.sign("|") for t in self.tokens[self.at + 1 :])

    def _starts_operand(self, token: Token) -> bool:
        return (
            token.text in FUNCTIONS
            or token.text in GREEK
            or token.text in CONSTANTS
            or token.text in BIG
            or token.text in WRAPPERS
            or token.text in ("frac", "binom", "ldots", "lfloor", "lceil", "langle", "overset", "partial", "left.")
        )

    def _power(self) -> Node:
        node = self._postfix(self._primary())
        if self.sign("^"):
            self.at += 1
            if self.command("top") or (self.peek() == Token("name", "T") and isinstance(node, Matrix | Bracket)):
                self.at += 1
                return Apply("transpose", (node,))
            if self._ordinal():
                return node
            node = Apply("pow", (node, self._exponent()))
            if self._is_function(node.args[0]) and node.args[1] == Apply("neg", (Number(Fraction(1)),)):
                node = self._call(Apply("inverse", node.args[:1]))
            node = self._postfix(node)
        return node

    def _exponent(self) -> Node:
        if self.sign("{"):
            group = self.group()
            if len(group) == 1 and group[0].command("top"):
                raise NotMaths("top")
            return self._inner(group)
        if self.sign("-", "+"):
            negative = self.next().text == "-"
            node = self._exponent()
            return Apply("neg", (node,)) if negative else node
        if self.command("frac", "sqrt"):
            return self._primary()
        node = self._primary()
        if self.sign("^"):
            self.at += 1
            return Apply("pow", (node, self._exponent()))
        return node

    def _postfix(self, node: Node) -> Node:
        while True:
            if self.sign("!"):
                self.at += 1
                node = Apply("factorial", (node,))
            elif self.sign("'"):
                self.at += 1
                node = self._primed(node)
                if isinstance(node, Apply) and self._is_function(node.args[0]):
                    node = self._call(node)
            elif self.sign("%"):
                self.at += 1
                node = Apply("percent", (node,))
            elif self.sign("°"):
                if self.peek(1) in (Token("name", "C"), Token("name", "F"), Token("word", "C"), Token("word", "F")):
                    return node
                self.at += 1
                node = Apply("degrees", (node,))
                node = self._minutes(node)
            elif self.sign("_"):
                self.at += 1
                node = self._subscript(node)
            else:
                return node

    def _primed(self, node: Node) -> Node:
        return Apply("arcminutes" if isinstance(node, Number) else "prime", (node,))

    def _minutes(self, node: Node) -> Node:
        """Degrees with the minutes and seconds that follow: 30° 15'."""
        for parts in (60, 3600):
            number, *primes = (self.peek(i) for i in range(1 + parts // 60 if parts == 60 else 3))
            wanted = 1 if parts == 60 else 2
            if number is None or number.kind != "number" or not all(p and p.sign("'") for p in primes[:wanted]):
                return node
            self.at += 1 + wanted
            part = Number(Fraction(number.text) / parts)
            node = Apply("degrees", (Apply("add", (node.args[0], part)),)) if isinstance(node, Apply) else node
        return node

    def _subscript(self, node: Node) -> Node:
        group = self.group() if self.sign("{") else [self.next()]
        if isinstance(node, Based):
            base = base_of(group)
            return Based(node.digits, base)
        try:
            index = self._read(group, self._depth + 1)
        except NotMaths:
            index = Symbol(" ".join(t.text for t in group))
        if isinstance(node, Apply) and node.head == "pow":  # v^2_0 is v_0^2
            return Apply("pow", (Apply("sub", (node.args[0], index)), node.args[1]))
        return Apply("sub", (node, index))

    def _argument(self) -> Node:
        """An argument as TeX takes it: a group, else one digit, letter or command."""
        token = self.peek()
        if token is None:
            raise NotMaths("argument")
        if token.sign("{"):
            return self._inner(self.group())
        if token.kind == "number" and token.text.isdigit():
            self.tokens[self.at : self.at + 1] = [Token("number", token.text[1:])] if len(token.text) > 1 else []
            return Number(Fraction(token.text[0]))
        return self._primary()

    def _primary(self) -> Node:
        token = self.next()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "based":
            if not self.sign("_"):
                raise NotMaths(token.text)
            return Based(token.text, 0)
        if token.kind in ("name", "word"):
            return self._name(token)
        if token.kind == "begin":
            self.at -= 1
            return self._environment()
        if token.kind == "command":
            return self._operand(token)
        return self._bracketed(token)

    def _number(self, token: Token) -> Node:
        text = token.text
        if self.command("overline", "dot") and "." in text:
            self.at += 1
            period = self._period()
            if not period.isdigit():
                raise NotMaths("period")
            fixed = text.partition(".")[2]
            repeated = Fraction(int(period), 10 ** len(period) - 1) / 10 ** len(fixed)
            return Number(Fraction(text + "0" if text.endswith(".") else text) + repeated)
        if self.command("ldots") and "." in text:
            self.at += 1
            return cut_off_decimal(text)
        value = Number(Fraction(text), decimal="." in text or "e-" in text.lower())
        above, slash, below = (self.peek(i) for i in range(3))
        parts = plain_number(above), plain_number(below)
        if (
            not value.decimal
            and above
            and above.gap
            and parts[0] is not None
            and parts[1]
            and slash
            and slash.sign("/")
        ):
            self.at += 3  # "3 1/2"
            return Number(value.value + Fraction(parts[0], parts[1]))
        if above is not None and above.kind == "number" and not (self.at > 1 and self.tokens[self.at - 2].sign("^")):
            raise NotMaths("two numbers")
        self._ordinal()
        return value

    def _period(self) -> str:
        r"""The digits that repeat: those below a line, or from one dot to the next."""
        digits = "".join(t.text for t in (self.group() if self.sign("{") else [self.next()]))
        between = self.peek()
        dots = self.at + 1 if between is not None and between.kind == "number" and not between.gap else self.at
        if dots < len(self.tokens) and self.tokens[dots].command("dot"):
            digits += between.text if between is not None and dots > self.at else ""
            self.at = dots + 1
            digits += "".join(t.text for t in (self.group() if self.sign("{") else [self.next()]))
        return digits

    def _ordinal(self) -> bool:
        """Whether the ending of an ordinal stands here, which is skipped: 20th."""
        braced = self.sign("{")
        token = self.peek(int(braced))
        found = (
            token is not None
            and token.kind in ("name", "word")
            and token.text in ORDINALS
            and (not braced or self.peek(2) == Token("sign", "}"))
        )
        self.at += (3 if braced else 1) if found else 0
        return found

    def _name(self, token: Token) -> Node:
        name = token.text
        if name in FUNCTIONS:
            return self._function(name)
        if name in CONSTANTS:
            return Symbol(CONSTANTS[name])
        if token.kind == "word" and len(name) > 1:
            raise NotMaths(name)
        if token.kind == "name" and is_word(name):
            raise NotMaths(name)
        symbol: Node = Symbol(name)
        if self.sign("(") and not self.peek().gap and (name in _CALLED or self._is_call()):  # type: ignore[union-attr]
            return self._call(symbol)
        return symbol

    def _is_function(self, node: Node) -> bool:
        """Whether a letter that names a function has its argument behind it: the f of f'(2)."""
        return isinstance(node, Symbol) and node.name in _CALLED and self.sign("(")

    def _is_call(self) -> bool:
        """Whether the whole expression is a letter with one number or letter in brackets: "T(10)", "x(t)"."""
        tokens = self.tokens
        return self.at == 1 and len(tokens) == 4 and tokens[2].kind in ("name", "number") and tokens[3].sign(")")

    def _call(self, function: Node) -> Node:
        content = self._read(self.group(), self._depth + 1)
        return Apply("call", (function, content))

    def _operand(self, token: Token) -> Node:
        name = token.text
        if name == "frac":
            above = self._argument()
            return Apply("div", (above, self._argument()))
        if name == "binom":
            if self.sign("("):
                return self._function("binom")
            above = self._argument()
            return Apply("binom", (above, self._argument()))
        if name in FUNCTIONS:
            return self._function(name)
        if name in BIG:
            return self._big(name)
        if name in CONSTANTS:
            return Symbol(CONSTANTS[name])
        if name in GREEK:
            return Symbol(name)
        if name == "ldots":
            return DOTS
        if name in ("lfloor", "lceil", "langle"):
            self.at -= 1
            opening = name
            inside = self._read(self.group(), self._depth + 1)
            if opening == "langle":
                return inside if isinstance(inside, Bracket) else Bracket("()", parts_of(inside))
            return Apply("floor" if opening == "lfloor" else "ceil", (inside,))
        if name in WRAPPERS:
            inside = self._argument() if self.sign("{") else self._primary()
            return inside if isinstance(inside, Number) else Apply(name, (inside,))
        if name == "left.":
            return self._evaluated()
        raise NotMaths(name)

    def _evaluated(self) -> Node:
        """\\left. F(x) \\right|_a^b, which is F(b) - F(a)."""
        end = next((i for i in range(self.at, len(self.tokens)) if self.tokens[i].command("evaluated")), None)
        if end is None:
            raise NotMaths("left.")
        inside = self._inner(self.tokens[self.at : end])
        self.at = end + 1
        limits = {}
        while self.sign("_", "^"):
            where = self.next().text
            limits[where] = self._inner(self.group()) if self.sign("{") else self._argument()
        if set(limits) != {"_", "^"}:
            raise NotMaths("limits")
        return Apply("evaluated", (inside, limits["_"], limits["^"]))

    def _function(self, name: str) -> Node:
        base: Node | None = None
        power: Node | None = None
        if name == "sqrt" and self.sign("["):
            base = self._inner(self.group())
        while self.sign("_", "^"):
            if self.next().text == "_":
                group = self.group() if self.sign("{") else [self.next()]
                base = self._read(group, self._depth + 1)
            else:
                power = self._exponent()
        argument = self._function_argument(name)
        inverse = power == Apply("neg", (Number(Fraction(1)),))
        if inverse and name in ("sin", "cos", "tan", "cot"):
            name, power = f"arc{name}", None
        if name == "cbrt":
            name, base = "sqrt", Number(Fraction(3))
        node = Apply(name, (argument, base) if base is not None else (argument,))
        return Apply("pow", (node, power)) if power is not None else node

    def _function_argument(self, name: str) -> Node:
        token = self.peek()
        if token is None:
            raise NotMaths(name)
        if token.sign("{"):
            return self._inner(self.group())
        if token.sign("(", "["):
            return self._read(self.group(), self._depth + 1)
        if token.sign("|"):
            return self._primary()
        if name not in _LONG_ARGUMENT:
            return self._primary()
        factors = [self._power()]
        while self._starts_factor() and not self._starts_function():
            if self.sign("(") and not isinstance(factors[-1], Number):
                break
            factors.append(self._power())
        if (
            self.sign("/")
            and len(factors) == 1
            and isinstance(factors[0], Symbol | Number)
            and isinstance(plain_number(self.peek(1)), int)
        ):
            self.at += 1
            return Apply("div", (factors[0], self._primary()))
        return product_of(factors)

    def _starts_function(self) -> bool:
        token = self.peek()
        return token is not None and token.kind in ("command", "name") and token.text in FUNCTIONS

    def _big(self, name: str) -> Node:
        lower: Node | None = None
        upper: Node | None = None
        while self.sign("_", "^"):
            if self.next().text == "_":
                group = self.group() if self.sign("{") else [self.next()]
                lower = self._read(group, self._depth + 1)
            else:
                upper = self._inner(self.group()) if self.sign("{") else self._argument()
        return bound_operator(name, self._product(), lower, upper)

    def _bracketed(self, token: Token) -> Node:
        if token.sign("{"):
            self.at -= 1
            return self._inner(self.group())
        if token.sign("|", "\\|"):
            return self._absolute(token.text)
        if not token.sign(*OPENING):
            raise NotMaths(token.text)
        self.at -= 1
        inside = self.group()
        closing = self.tokens[self.at - 1]
        if not closing.sign(*CLOSING):
            raise NotMaths(closing.text)
        condition = self._builder(inside) if token.sign("\\{") else None
        if condition is not None:
            return self._read(condition, self._depth + 1)
        node = self._read(inside, self._depth + 1) if inside else None
        return bracket(token.text + closing.text, node)

    def _builder(self, inside: Sequence[Token]) -> Sequence[Token] | None:
        """The condition of a set such as {x : x > 1}; None if the braces hold something else."""
        pieces = split(inside, lambda t: t.sign(":", "|"))
        begins = len(pieces) > 1 and len(pieces[0]) > 0 and pieces[0][0].kind == "name"
        if not begins or not (len(pieces[0]) == 1 or pieces[0][1].command("in")):
            return None
        condition = inside[len(pieces[0]) + 1 :]
        return condition if any(t.sign("<", ">", "<=", ">=", "!=", "=") for t in condition) else None

    def _absolute(self, bar: str) -> Node:
        start = self.at
        if sum(t.sign(bar) for t in self.tokens) > MAX_BARS:
            raise NotMaths("many bars")
        for end in range(start + 1, len(self.tokens)):
            if self.tokens[end].sign(bar):
                try:
                    inside = self._inner(self.tokens[start:end])
                except NotMaths:
                    continue
                self.at = end + 1
                return Apply("abs", (inside,))
        raise NotMaths(bar)

    def _environment(self) -> Node:
        name = self.tokens[self.at].text
        body = self.group()
        if "matrix" not in name and name != "array":
            raise NotMaths(name)
        matrix = Matrix(
            tuple(
                tuple(self._read(cell, self._depth + 1) for cell in split(row, lambda t: t.sign("&")))
                for row in split(body, lambda t: t.sign("\\\\"))
                if row
            )
        )
        if len(matrix.rows) == 1 and len(matrix.rows[0]) == 1:
            return matrix.rows[0][0]
        return Apply("det", (matrix,)) if name in ("vmatrix", "Vmatrix") else matrix
