r"""Parses one expression: numbers, letters, operators, functions, brackets. Lists and relations: `math_parser`.

Precedence climbs from sums over products and powers to what stands alone. A product may be written without a sign:
"2x(x+1)". What cannot be read raises `NotMaths`; the caller then takes the answer for words, or for maths that is not
understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from harness.graders.math_tokens import CLOSING, OPENING, Token, closes, opens
from harness.graders.math_tree import (
    DOTS,
    Apply,
    Based,
    Bracket,
    Items,
    Matrix,
    Node,
    Number,
    Relation,
    Symbol,
    nodes_of,
    substituted,
)
from harness.graders.math_units import known
from harness.graders.math_vocabulary import BIG, CONSTANTS, FUNCTIONS, GREEK, SAME_WORDS, SHORT_WORDS, WRAPPERS

MAX_BARS = 12  # of absolute values, whose pairs have to be tried
MAX_DEPTH = 40  # nested expressions; deeper ones are not read

_LONG_ARGUMENT = FUNCTIONS - {"sqrt", "cbrt", "floor", "ceil", "abs", "binom", "lim"}  # "\sin 2x" is sin(2x)
_CALLED = frozenset("fghFGHP")  # letters that name a function in "f(x)"
_ORDINALS = ("st", "nd", "rd", "th")


class NotMaths(Exception):
    """The tokens are not one expression."""


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


Reader = Callable[[Sequence[Token], int], Node]


class Expression:
    """Reads an expression from the start of `tokens`; `rest` is what stands behind it."""

    def __init__(self, tokens: Sequence[Token], read: Reader, depth: int, units: bool = True) -> None:
        """`read` reads the content of brackets. units: whether a letter behind a number and a blank may be a unit."""
        if depth > MAX_DEPTH:
            raise NotMaths("too deep")
        self._tokens = list(_letters(tokens))
        self._at = 0
        self._read = read
        self._depth = depth
        self._units = units

    def parse(self) -> Node:
        return self._sum()

    @property
    def rest(self) -> list[Token]:
        return self._tokens[self._at :]

    def _peek(self, ahead: int = 0) -> Token | None:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else None

    def _sign(self, *texts: str) -> bool:
        token = self._peek()
        return token is not None and token.sign(*texts)

    def _command(self, *names: str) -> bool:
        token = self._peek()
        return token is not None and token.command(*names)

    def _accept(self, text: str) -> bool:
        found = self._sign(text)
        self._at += found
        return found

    def _inner(self, tokens: Sequence[Token]) -> Node:
        """A whole expression in a group."""
        inner = Expression(tokens, self._read, self._depth + 1, units=False)
        if not inner._tokens:
            raise NotMaths("empty")
        node = inner.parse()
        if inner.rest:
            raise NotMaths(inner.rest[0].text)
        return node

    def _sum(self) -> Node:
        terms = [self._signed_term()]
        while True:
            if self._sign("+", "-") or self._command("pm", "mp"):
                terms = _with_term(terms, self._signed_term())
            elif self._command("setminus", "cup", "cap"):
                head = {"setminus": "minus", "cup": "union", "cap": "intersection"}[self._next().text]
                left = terms[0] if len(terms) == 1 else Apply("add", tuple(terms))
                right = self._signed_term()
                joined = left.args if isinstance(left, Apply) and left.head == head != "minus" else (left,)
                terms = [Apply(head, (*joined, right))]
            elif self._command("over", "choose"):
                head = "div" if self._next().text == "over" else "binom"
                left = terms[0] if len(terms) == 1 else Apply("add", tuple(terms))
                return Apply(head, (left, self._sum()))
            else:
                return terms[0] if len(terms) == 1 else Apply("add", tuple(terms))

    def _next(self) -> Token:
        token = self._peek()
        if token is None:
            raise NotMaths("ends")
        self._at += 1
        return token

    def _signed_term(self) -> Node:
        heads: list[str] = []
        while self._sign("+", "-") or self._command("pm", "mp"):
            heads.append({"+": "", "-": "neg"}.get(self._peek().text, self._peek().text))  # type: ignore[union-attr]
            self._at += 1
            if len(heads) > MAX_DEPTH:
                raise NotMaths("signs")
        node = self._product()
        for head in reversed([h for h in heads if h]):
            node = _hoisted(head, node)
        return node

    def _product(self) -> Node:
        factors = [self._power()]
        while True:
            if self._sign("*"):
                self._at += 1
                factors.append(self._factor_behind_sign())
            elif self._sign("/"):
                if self._unit_follows(1):
                    break
                self._at += 1
                below = self._factor_behind_sign()
                factors = [Apply("div", (_product(factors), below))]
            elif self._starts_factor():
                if len(factors) == 1 and self._is_mixed(factors[0]):
                    factors = [_mixed(factors[0], self._power())]
                else:
                    factors.append(self._power())
            else:
                break
        return _hoisted_product(factors)

    def _factor_behind_sign(self) -> Node:
        if self._sign("-"):
            self._at += 1
            return Apply("neg", (self._power(),))
        self._accept("+")
        return self._power()

    def _is_mixed(self, whole: Node) -> bool:
        """Whether a fraction of two integers follows an integer: 2\\frac{1}{2}."""
        if not (
            isinstance(whole, Number) and not whole.decimal and whole.value.denominator == 1 and self._command("frac")
        ):
            return False
        kinds = "".join(
            "9" * len(t.text) if t.kind == "number" and t.text.isdigit() else t.text[:1]
            for t in self._tokens[self._at + 1 : self._at + 7]
        )
        return re.match(r"(?:\{9+\}|9)(?:\{9+\}|9)", kinds) is not None

    def _unit_follows(self, ahead: int = 0) -> bool:
        """Whether a unit's name or a word follows, which ends the expression."""
        token = self._peek(ahead)
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
        before = self._tokens[: self._at]
        return (
            self._units
            and self._at > 0
            and all(t.kind in ("number", "sign") or t.command("frac", "sqrt", "pi") for t in before)
        )

    def _starts_factor(self) -> bool:
        token = self._peek()
        if token is None or self._unit_follows():
            return False
        if token.kind == "number":
            before = self._tokens[self._at - 1]
            raised = self._at > 1 and self._tokens[self._at - 2].sign("^") and token.gap
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
        return any(t.sign("|") for t in self._tokens[self._at + 1 :])

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
        if self._sign("^"):
            self._at += 1
            if self._command("top") or (self._peek() == Token("name", "T") and isinstance(node, Matrix | Bracket)):
                self._at += 1
                return Apply("transpose", (node,))
            if self._ordinal():
                return node
            node = Apply("pow", (node, self._exponent()))
            if self._is_function(node.args[0]) and node.args[1] == Apply("neg", (Number(Fraction(1)),)):
                node = self._call(Apply("inverse", node.args[:1]))
            node = self._postfix(node)
        return node

    def _exponent(self) -> Node:
        if self._sign("{"):
            group = self._group()
            if len(group) == 1 and group[0].command("top"):
                raise NotMaths("top")
            return self._inner(group)
        if self._sign("-", "+"):
            negative = self._next().text == "-"
            node = self._exponent()
            return Apply("neg", (node,)) if negative else node
        if self._command("frac", "sqrt"):
            return self._primary()
        node = self._primary()
        if self._sign("^"):
            self._at += 1
            return Apply("pow", (node, self._exponent()))
        return node

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._sign("!"):
                self._at += 1
                node = Apply("factorial", (node,))
            elif self._sign("'"):
                self._at += 1
                node = self._primed(node)
                if isinstance(node, Apply) and self._is_function(node.args[0]):
                    node = self._call(node)
            elif self._sign("%"):
                self._at += 1
                node = Apply("percent", (node,))
            elif self._sign("°"):
                if self._peek(1) in (Token("name", "C"), Token("name", "F"), Token("word", "C"), Token("word", "F")):
                    return node
                self._at += 1
                node = Apply("degrees", (node,))
                node = self._minutes(node)
            elif self._sign("_"):
                self._at += 1
                node = self._subscript(node)
            else:
                return node

    def _primed(self, node: Node) -> Node:
        return Apply("arcminutes" if isinstance(node, Number) else "prime", (node,))

    def _minutes(self, node: Node) -> Node:
        """Degrees with the minutes and seconds that follow: 30° 15'."""
        for parts in (60, 3600):
            number, *primes = (self._peek(i) for i in range(1 + parts // 60 if parts == 60 else 3))
            wanted = 1 if parts == 60 else 2
            if number is None or number.kind != "number" or not all(p and p.sign("'") for p in primes[:wanted]):
                return node
            self._at += 1 + wanted
            part = Number(Fraction(number.text) / parts)
            node = Apply("degrees", (Apply("add", (node.args[0], part)),)) if isinstance(node, Apply) else node
        return node

    def _subscript(self, node: Node) -> Node:
        group = self._group() if self._sign("{") else [self._next()]
        if isinstance(node, Based):
            base = _base(group)
            return Based(node.digits, base)
        try:
            index = self._read(group, self._depth + 1)
        except NotMaths:
            index = Symbol(" ".join(t.text for t in group))
        if isinstance(node, Apply) and node.head == "pow":  # v^2_0 is v_0^2
            return Apply("pow", (Apply("sub", (node.args[0], index)), node.args[1]))
        return Apply("sub", (node, index))

    def _group(self) -> list[Token]:
        """The tokens between the brace or bracket here and the one that closes it; the position is behind it."""
        start = self._at
        depth = 0
        for at in range(start, len(self._tokens)):
            depth += opens(self._tokens[at]) - closes(self._tokens[at])
            if depth == 0:
                self._at = at + 1
                return self._tokens[start + 1 : at]
        raise NotMaths("open bracket")

    def _argument(self) -> Node:
        """An argument as TeX takes it: a group, else one digit, letter or command."""
        token = self._peek()
        if token is None:
            raise NotMaths("argument")
        if token.sign("{"):
            return self._inner(self._group())
        if token.kind == "number" and token.text.isdigit():
            self._tokens[self._at : self._at + 1] = [Token("number", token.text[1:])] if len(token.text) > 1 else []
            return Number(Fraction(token.text[0]))
        return self._primary()

    def _primary(self) -> Node:
        token = self._next()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "based":
            if not self._sign("_"):
                raise NotMaths(token.text)
            return Based(token.text, 0)
        if token.kind in ("name", "word"):
            return self._name(token)
        if token.kind == "begin":
            self._at -= 1
            return self._environment()
        if token.kind == "command":
            return self._operand(token)
        return self._bracketed(token)

    def _number(self, token: Token) -> Node:
        text = token.text
        if self._command("overline", "dot") and "." in text:
            self._at += 1
            group = self._group() if self._sign("{") else [self._next()]
            period = "".join(t.text for t in group)
            if not period.isdigit():
                raise NotMaths("period")
            fixed = text.partition(".")[2]
            repeated = Fraction(int(period), 10 ** len(period) - 1) / 10 ** len(fixed)
            return Number(Fraction(text + "0" if text.endswith(".") else text) + repeated)
        if self._command("ldots") and "." in text:
            self._at += 1
            return _cut_off(text)
        value = Number(Fraction(text), decimal="." in text or "e-" in text.lower())
        above, slash, below = (self._peek(i) for i in range(3))
        parts = _plain_number(above), _plain_number(below)
        if (
            not value.decimal
            and above
            and above.gap
            and parts[0] is not None
            and parts[1]
            and slash
            and slash.sign("/")
        ):
            self._at += 3  # "3 1/2"
            return Number(value.value + Fraction(parts[0], parts[1]))
        if above is not None and above.kind == "number" and not (self._at > 1 and self._tokens[self._at - 2].sign("^")):
            raise NotMaths("two numbers")
        self._ordinal()
        return value

    def _ordinal(self) -> bool:
        """Whether the ending of an ordinal stands here, which is skipped: 20th."""
        braced = self._sign("{")
        token = self._peek(int(braced))
        found = (
            token is not None
            and token.kind in ("name", "word")
            and token.text in _ORDINALS
            and (not braced or self._peek(2) == Token("sign", "}"))
        )
        self._at += (3 if braced else 1) if found else 0
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
        if self._sign("(") and not self._peek().gap and (name in _CALLED or self._is_call()):  # type: ignore[union-attr]
            return self._call(symbol)
        return symbol

    def _is_function(self, node: Node) -> bool:
        """Whether a letter that names a function has its argument behind it: the f of f'(2)."""
        return isinstance(node, Symbol) and node.name in _CALLED and self._sign("(")

    def _is_call(self) -> bool:
        """Whether the whole expression is a letter with one number or letter in brackets: "T(10)", "x(t)"."""
        tokens = self._tokens
        return self._at == 1 and len(tokens) == 4 and tokens[2].kind in ("name", "number") and tokens[3].sign(")")

    def _call(self, function: Node) -> Node:
        content = self._read(self._group(), self._depth + 1)
        return Apply("call", (function, content))

    def _operand(self, token: Token) -> Node:
        name = token.text
        if name == "frac":
            above = self._argument()
            return Apply("div", (above, self._argument()))
        if name == "binom":
            if self._sign("("):
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
            self._at -= 1
            opening = name
            inside = self._read(self._group(), self._depth + 1)
            if opening == "langle":
                return inside if isinstance(inside, Bracket) else Bracket("()", _parts(inside))
            return Apply("floor" if opening == "lfloor" else "ceil", (inside,))
        if name in WRAPPERS:
            inside = self._argument() if self._sign("{") else self._primary()
            return inside if isinstance(inside, Number) else Apply(name, (inside,))
        if name == "left.":
            return self._evaluated()
        raise NotMaths(name)

    def _evaluated(self) -> Node:
        """\\left. F(x) \\right|_a^b, which is F(b) - F(a)."""
        end = next((i for i in range(self._at, len(self._tokens)) if self._tokens[i].command("evaluated")), None)
        if end is None:
            raise NotMaths("left.")
        inside = self._inner(self._tokens[self._at : end])
        self._at = end + 1
        limits = {}
        while self._sign("_", "^"):
            where = self._next().text
            limits[where] = self._inner(self._group()) if self._sign("{") else self._argument()
        if set(limits) != {"_", "^"}:
            raise NotMaths("limits")
        return Apply("evaluated", (inside, limits["_"], limits["^"]))

    def _function(self, name: str) -> Node:
        base: Node | None = None
        power: Node | None = None
        if name == "sqrt" and self._sign("["):
            base = self._inner(self._group())
        while self._sign("_", "^"):
            if self._next().text == "_":
                group = self._group() if self._sign("{") else [self._next()]
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
        token = self._peek()
        if token is None:
            raise NotMaths(name)
        if token.sign("{"):
            return self._inner(self._group())
        if token.sign("(", "["):
            return self._read(self._group(), self._depth + 1)
        if token.sign("|"):
            return self._primary()
        if name not in _LONG_ARGUMENT:
            return self._primary()
        factors = [self._power()]
        while self._starts_factor() and not self._starts_function():
            if self._sign("(") and not isinstance(factors[-1], Number):
                break
            factors.append(self._power())
        if (
            self._sign("/")
            and len(factors) == 1
            and isinstance(factors[0], Symbol | Number)
            and isinstance(_plain_number(self._peek(1)), int)
        ):
            self._at += 1
            return Apply("div", (factors[0], self._primary()))
        return _product(factors)

    def _starts_function(self) -> bool:
        token = self._peek()
        return token is not None and token.kind in ("command", "name") and token.text in FUNCTIONS

    def _big(self, name: str) -> Node:
        lower: Node | None = None
        upper: Node | None = None
        while self._sign("_", "^"):
            if self._next().text == "_":
                group = self._group() if self._sign("{") else [self._next()]
                lower = self._read(group, self._depth + 1)
            else:
                upper = self._inner(self._group()) if self._sign("{") else self._argument()
        return _bound(name, self._product(), lower, upper)

    def _bracketed(self, token: Token) -> Node:
        if token.sign("{"):
            self._at -= 1
            return self._inner(self._group())
        if token.sign("|", "\\|"):
            return self._absolute(token.text)
        if not token.sign(*OPENING):
            raise NotMaths(token.text)
        self._at -= 1
        inside = self._group()
        closing = self._tokens[self._at - 1]
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
        start = self._at
        if sum(t.sign(bar) for t in self._tokens) > MAX_BARS:
            raise NotMaths("many bars")
        for end in range(start + 1, len(self._tokens)):
            if self._tokens[end].sign(bar):
                try:
                    inside = self._inner(self._tokens[start:end])
                except NotMaths:
                    continue
                self._at = end + 1
                return Apply("abs", (inside,))
        raise NotMaths(bar)

    def _environment(self) -> Node:
        name = self._tokens[self._at].text
        body = self._group()
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


def _with_term(terms: list[Node], term: Node) -> list[Node]:
    """The terms with one more; a set from which one is taken is a difference of sets."""
    taken = term.args[0] if isinstance(term, Apply) and term.head == "neg" else None
    whole = terms[0]
    is_set = (
        isinstance(whole, Relation) or whole == Symbol("reals") or (isinstance(whole, Bracket) and whole.kind == "{}")
    )
    if len(terms) == 1 and is_set and isinstance(taken, Bracket) and taken.kind == "{}":
        return [Apply("minus", (whole, taken))]
    return [*terms, term]


def _bound(name: str, body: Node, lower: Node | None, upper: Node | None) -> Node:
    """A sum, product or integral, whose own letter gets a name that no other letter has."""
    letter: Node | None = None
    if name in ("sum", "prod") and isinstance(lower, Relation) and isinstance(lower.sides[0], Symbol):
        letter, start = lower.sides[0], lower.sides[1]
        if lower.operators == (">=",) and upper is None:
            upper = Symbol("infinity")
        elif lower.operators != ("=",):
            letter = None
        lower = start if letter else lower
    elif name == "int" and isinstance(body, Apply) and body.head == "mul" and body.args[-2:-1] == (Symbol("d"),):
        letter = body.args[-1]
        body = _product(body.args[:-2]) if len(body.args) > 2 else Number(Fraction(1))
    if isinstance(letter, Symbol):
        inner = sum(isinstance(n, Symbol) and n.name.startswith("#") for n in nodes_of(body))
        own = Symbol(f"#{inner}")
        return Apply(name, (substituted(body, letter, own), own, *(n for n in (lower, upper) if n is not None)))
    return Apply(name, (body, *(n for n in (lower, upper) if n is not None)))


def bracket(kind: str, inside: Node | None) -> Node:
    """The content in its brackets; round ones around one value only group it."""
    kind = kind.replace("\\", "")
    if inside is None:
        if kind == "{}":
            return Symbol("empty")
        raise NotMaths("empty brackets")
    items = _parts(inside)
    if len(items) == 1 and kind == "()":
        return items[0]
    if len(items) == 1 and isinstance(items[0], Matrix):
        return items[0]
    if kind == "[]" and len(items) > 1 and all(isinstance(i, Bracket) and i.kind == "[]" for i in items):
        rows = tuple(i.items for i in items if isinstance(i, Bracket))
        if len({len(r) for r in rows}) == 1:
            return Matrix(rows)
    return Bracket(kind, items)


def _parts(node: Node) -> tuple[Node, ...]:
    return node.items if isinstance(node, Items) and node.joint in (",", "row", "and") else (node,)


def _letters(tokens: Sequence[Token]) -> list[Token]:
    """Runs of letters that are products, "xy", as one token a letter; names in capitals stay whole."""
    found: list[Token] = []
    for token in tokens:
        run = token.text
        if token.kind != "name" or len(run) == 1 or run.isupper() or is_word(run) or known(run):
            found.append(token)
            continue
        if run in FUNCTIONS or run in GREEK or run in CONSTANTS or run in (*_ORDINALS, "am", "pm"):
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


def _product(factors: Sequence[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Apply("mul", tuple(factors))


def _hoisted_product(factors: Sequence[Node]) -> Node:
    """The product; degrees or percent of its last factor are of the whole: "2x°"."""
    last = factors[-1]
    if len(factors) > 1 and isinstance(last, Apply) and last.head in ("percent", "degrees"):
        return Apply(last.head, (_product([*factors[:-1], last.args[0]]),))
    return _product(factors)


def _mixed(whole: Node, fraction: Node) -> Node:
    """2\\frac{1}{2} as a sum; percent and degrees behind it are of the whole."""
    if isinstance(fraction, Apply) and fraction.head in ("percent", "degrees"):
        return Apply(fraction.head, (Apply("add", (whole, fraction.args[0])),))
    return Apply("add", (whole, fraction))


def _hoisted(head: str, node: Node) -> Node:
    if isinstance(node, Apply) and node.head in ("percent", "degrees"):
        return Apply(node.head, (Apply(head, node.args),))
    return Apply(head, (node,))


def _cut_off(text: str) -> Number:
    """A decimal behind which dots follow: 0.333... is 1/3, 3.1415... begins with these digits."""
    digits = text.partition(".")[2]
    for length in range(1, len(digits) // 2 + 1):
        period = digits[-length:]
        times = 3 if length == 1 else 2
        if digits.endswith(period * times):
            fixed = Fraction(text) - Fraction(int(period), 10 ** len(digits))
            return Number(fixed + Fraction(int(period), 10 ** len(digits)) * Fraction(10**length, 10**length - 1))
    return Number(Fraction(text), decimal=True, cut=len(digits))


def _base(tokens: Sequence[Token]) -> int:
    from harness.graders.math_words import number_of_words

    value = tokens[0].text if len(tokens) == 1 and tokens[0].kind == "number" else None
    if value is None:
        words = number_of_words([t.text for t in tokens])
        value = str(words) if words is not None else None
    if value is None or not value.isdigit() or not 2 <= int(value) <= 36:
        raise NotMaths("base")
    return int(value)


def _plain_number(token: Token | None) -> int | None:
    return int(token.text) if token is not None and token.kind == "number" and token.text.isdigit() else None
