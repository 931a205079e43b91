r"""Decides by computer algebra whether two trees are equal: expressions, equations, sets. Runs in the workers.

A tree becomes an object of sympy. Polynomials and quotients are decided exactly; other expressions with letters by
their values at points where both are real, so that sqrt(1/n) is 1/sqrt(n) but sqrt(x^2) is not x; numbers to as many
digits as it takes. What the parser cannot read is left to math-verify.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from operator import add, mul
from typing import Any

import sympy
from sympy import S

from harness.graders.math_compare import TOLERANCE
from harness.graders.math_lists import around_dots
from harness.graders.math_tokens import Token
from harness.graders.math_tree import (
    DOTS,
    Apply,
    Bracket,
    Items,
    Matrix,
    Node,
    Number,
    Quantity,
    Relation,
    Symbol,
    Unread,
    has_decimal,
)

POINTS = 15  # at which expressions are compared
MIN_POINTS = 3  # at which both must be real, for a verdict
DIGITS = 30  # to which they are worked out there
MAX_FACTORIAL = 10_000
MAX_BITS = 200_000  # of a power of numbers
_REAL_SETS = {"reals": S.Reals, "integers": S.Integers, "naturals": S.Naturals, "rationals": S.Rationals,
              "complexes": S.Complexes, "empty": S.EmptySet}  # fmt: skip
_CONSTANTS = {"pi": S.Pi, "e": S.Exp1, "i": S.ImaginaryUnit, "infinity": S.Infinity, **_REAL_SETS}


_IN_RADIANS_OR_PARTS = {"angle": S.Pi / 180, "percent": sympy.Rational(1, 100)}  # of 1° and of 1 %
_INFINITE = (S.Infinity, S.NegativeInfinity, S.NaN, S.ComplexInfinity)
_OPAQUE = {
    "call", "sub", "prime", "vec", "hat", "tilde", "triangle", "angle", "Delta", "overline", "dot", "overrightarrow",
}  # fmt: skip
_RELATIONS = {"<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge, "!=": sympy.Ne, "=": sympy.Eq}


class Unsupported(Exception):
    """The tree has no counterpart in sympy."""


def equal_by_algebra(gold: Node, pred: Node) -> bool:
    """Whether two trees state the same. What cannot be decided is not equal."""
    if isinstance(gold, Unread) or isinstance(pred, Unread):
        return isinstance(gold, Unread) and isinstance(pred, Unread) and _by_math_verify(gold.tokens, pred.tokens)
    try:
        if isinstance(gold, Relation) and isinstance(pred, Relation) and gold.operators == pred.operators == ("=",):
            return _same_equation(gold, pred)
        first, second = to_sympy(gold), to_sympy(pred)
    except Unsupported:
        return False
    if isinstance(first, sympy.Set) or isinstance(second, sympy.Set):
        return isinstance(first, sympy.Set) and isinstance(second, sympy.Set) and _same_set(first, second)
    if isinstance(first, sympy.MatrixBase) or isinstance(second, sympy.MatrixBase):
        return _same_matrix(first, second)
    return _same_expression(first, second, has_decimal(gold) or has_decimal(pred))


# trees to sympy


def to_sympy(node: Node) -> Any:
    """The sympy object of a tree. Raises `Unsupported`."""
    if isinstance(node, Number):
        return _rational(node.value)
    if isinstance(node, Symbol):
        return _CONSTANTS[node.name] if node.name in _CONSTANTS else sympy.Symbol(node.name)
    if isinstance(node, Apply):
        return _applied(node)
    if isinstance(node, Matrix):
        return sympy.Matrix([[to_sympy(cell) for cell in row] for row in node.rows])
    if isinstance(node, Bracket):
        return _bracket(node)
    if isinstance(node, Relation):
        return _solved(node)
    if isinstance(node, Quantity):
        return to_sympy(node.value) * _IN_RADIANS_OR_PARTS.get(node.unit.name, 1) * _rational(node.unit.factor)
    raise Unsupported(type(node).__name__)


def _rational(value: Fraction) -> Any:
    return sympy.Rational(value.numerator, value.denominator)


def _bracket(node: Bracket) -> Any:
    if node.kind == "{}":
        return sympy.FiniteSet(*map(to_sympy, node.items))
    if len(node.items) == 2:
        low, high = map(to_sympy, node.items)
        try:
            return sympy.Interval(low, high, node.kind[0] == "(", node.kind[1] == ")")
        except (ValueError, TypeError, NotImplementedError) as e:
            raise Unsupported("interval") from e
    if len(node.items) == 1 and node.kind in ("[]", "()"):
        return to_sympy(node.items[0])
    raise Unsupported("bracket")


def _solved(node: Relation) -> Any:
    """The real numbers for which inequalities in one letter hold."""
    parts = []
    for operator, left, right in zip(node.operators, node.sides, node.sides[1:], strict=False):
        if operator == "in":
            parts.append(to_sympy(right))
            continue
        relation = _RELATIONS.get(operator)
        if relation is None:
            raise Unsupported(operator)
        sides = to_sympy(left), to_sympy(right)
        letters = set().union(*(s.free_symbols for s in sides))
        if len(letters) != 1:
            raise Unsupported("several letters")
        letter = letters.pop()
        real = sympy.Symbol("x", real=True)
        try:
            parts.append(relation(*(s.subs(letter, real) for s in sides)).as_set())
        except Exception as e:  # sympy raises what it likes where it cannot solve
            raise Unsupported("inequality") from e
    return sympy.Intersection(*parts)


def _applied(node: Apply) -> Any:
    head, args = node.head, node.args
    if head in ("add", "mul") and DOTS in args:
        return _series(head, args)
    if head in ("sum", "prod", "int"):
        return _over_letter(node)
    if head == "lim":
        return _limit(node)
    if head in _OPAQUE:
        return _opaque(node)
    if head in ("gcd", "lcm", "max", "min", "binom") and len(args) == 1 and isinstance(args[0], Items):
        args = args[0].items
    if head not in _HEADS:
        raise Unsupported(head)
    try:
        return _HEADS[head](*map(to_sympy, args))
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as e:
        raise Unsupported(head) from e


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, sympy.MatrixBase) and not exponent.is_Integer:
        raise Unsupported("matrix power")
    if base.is_Rational and exponent.is_number:
        size = (int(base.p).bit_length() + int(base.q).bit_length()) * sympy.Abs(exponent).evalf(5, maxn=50)
        if not size.is_comparable or size > MAX_BITS:
            raise Unsupported("huge power")
    return base**exponent


def _factorial(value: Any) -> Any:
    if value.is_Integer and not 0 <= value <= MAX_FACTORIAL:
        raise Unsupported("factorial")
    return sympy.factorial(value)


def _evaluated(expression: Any, low: Any, high: Any) -> Any:
    letters = expression.free_symbols
    if len(letters) != 1:
        raise Unsupported("evaluated")
    (letter,) = letters
    return expression.subs(letter, high) - expression.subs(letter, low)


def _fail(what: str) -> Any:
    raise Unsupported(what)


_HEADS: dict[str, Callable[..., Any]] = {
    "add": lambda *terms: reduce(add, terms), "mul": lambda *factors: reduce(mul, factors),
    "neg": lambda a: -a, "pow": _power, "factorial": _factorial, "evaluated": _evaluated, "binom": sympy.binomial,
    "sqrt": lambda a, n=2: sympy.root(a, n), "log": sympy.log,
    "gcd": lambda *values: sympy.gcd(values), "lcm": lambda *values: sympy.lcm(values),
    "max": sympy.Max, "min": sympy.Min,
    "div": lambda a, b: a / b if b != 0 else _fail("division by zero"),
    "percent": lambda a: a / 100,
    "degrees": lambda a: a * S.Pi / 180,
    "arcminutes": lambda a: a * S.Pi / 10_800,
    "abs": sympy.Abs, "floor": sympy.floor, "ceil": sympy.ceiling, "sgn": sympy.sign,
    "Re": sympy.re, "Im": sympy.im, "arg": sympy.arg,
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": lambda a: sympy.cos(a) / sympy.sin(a),
    "sec": lambda a: 1 / sympy.cos(a), "csc": lambda a: 1 / sympy.sin(a),
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "arccot": sympy.acot,
    "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "exp": sympy.exp,
    "ln": sympy.log, "lg": lambda a: sympy.log(a, 10),
    "cis": lambda a: sympy.cos(a) + S.ImaginaryUnit * sympy.sin(a),
    "union": sympy.Union, "intersection": sympy.Intersection,
    "minus": lambda a, b: a - b if isinstance(a, sympy.Set) else _fail("sets"),
    "transpose": lambda a: a.T if isinstance(a, sympy.MatrixBase) else _fail("transpose"),
    "det": lambda a: a.det() if isinstance(a, sympy.MatrixBase) and a.rows == a.cols else _fail("det"),
}  # fmt: skip


def _opaque(node: Apply) -> Any:
    """A letter for what is only named: a_5, f(2), y'. The same name is the same letter."""
    if node.head == "sub" and isinstance(node.args[0], Symbol) and isinstance(node.args[1], Symbol | Number):
        return sympy.Symbol(f"{node.args[0].name}_{node.args[1]!r}")
    return sympy.Symbol(repr(node))


def _series(head: str, args: tuple[Node, ...]) -> Any:
    """1 + 2 + ... + n and 1 * 2 * ... * n, whose terms are in arithmetic progression."""
    found = around_dots(args)
    if found is None or len(found[1]) != 1:
        return _fail("dots")
    known, after = found
    steps = {b - a for a, b in pairwise(known)}
    ratios = {b / a for a, b in pairwise(known) if a}
    last = to_sympy(after[0])
    first, step = _rational(known[0]), next(iter(steps))
    if len(steps) == 1 and step:
        count = (last - first) / _rational(step) + 1
        if head == "add":
            return count * (first + last) / 2
        if step == 1:
            return sympy.factorial(last) / sympy.factorial(first - 1)
    if head == "add" and len(ratios) == 1 and len(known) > 2:
        ratio = _rational(ratios.pop())
        return (last * ratio - first) / (ratio - 1)
    return _fail("dots")


def _limit(node: Apply) -> Any:
    body, *where = node.args
    if len(where) != 1 or not isinstance(where[0], Relation) or where[0].operators != ("to",):
        return _fail("lim")
    letter, end = map(to_sympy, where[0].sides)
    return sympy.limit(to_sympy(body), letter, end) if isinstance(letter, sympy.Symbol) else _fail("lim")


def _over_letter(node: Apply) -> Any:
    """A sum, product or integral between limits; any other is a letter of its own."""
    body, *rest = node.args
    if len(rest) != 3 or not isinstance(rest[0], Symbol):
        return _opaque(node)
    limits = (sympy.Symbol(rest[0].name), to_sympy(rest[1]), to_sympy(rest[2]))
    if node.head == "int":
        return sympy.Integral(to_sympy(body), limits)
    whole = {"sum": sympy.Sum, "prod": sympy.Product}[node.head](to_sympy(body), limits)
    return whole.doit() if whole.free_symbols or limits[1].is_number else whole


# comparison


def _same_expression(first: Any, second: Any, decimal: bool) -> bool:
    if first == second:
        return True
    if not isinstance(first, sympy.Expr) or not isinstance(second, sympy.Expr):
        return False
    if first.has(*_INFINITE) or second.has(*_INFINITE):
        return False
    letters = first.free_symbols | second.free_symbols
    if not letters:
        return _same_constant(first, second, decimal)
    if (
        first.is_rational_function()
        and second.is_rational_function()
        and not decimal
        and not _huge_powers(first, second)
    ):
        if not _agree_at_points(first, second, letters, decimal):
            return False
        return bool(sympy.cancel(sympy.together(first - second)) == 0)
    return _agree_at_points(first, second, letters, decimal)


def _huge_powers(*expressions: Any) -> bool:
    return any(abs(p.exp) > 50 for e in expressions for p in e.atoms(sympy.Pow) if p.exp.is_number)


def _same_constant(first: Any, second: Any, decimal: bool) -> bool:
    """Whether two numbers are equal; if one is a decimal, in six digits."""
    if first.is_Rational and second.is_Rational and not decimal:
        return bool(first == second)
    difference = (first - second).doit()
    if difference == 0:
        return True
    value = abs(difference.evalf(15, maxn=1500))
    if decimal:
        size = float(abs(first.evalf(15)))
        return bool(value.is_comparable) and float(value) <= float(TOLERANCE) * min(1.0, size)
    if value.is_Float and value > 0 and value._prec > 1:
        return False
    return bool(value.is_number) and _vanishes(difference)


def _vanishes(difference: Any) -> bool:
    """Whether a constant whose digits all cancel is zero, and not a tiny number in disguise."""
    precise = difference.evalf(50, maxn=4_000)
    if precise.is_number and precise.has(sympy.Float) and abs(precise) > sympy.Float("1e-40"):
        return False
    try:
        return bool(difference.equals(0))
    except (TypeError, ValueError, AttributeError, NotImplementedError, RecursionError):
        return False


def _agree_at_points(first: Any, second: Any, letters: set[Any], decimal: bool) -> bool:
    """Whether two expressions have the same values at fixed points spread over the reals, some of them integers."""
    ordered = sorted(letters, key=str)
    compared = 0
    for number in range(POINTS):
        point = {letter: _coordinate(number, i) for i, letter in enumerate(ordered)}
        values = [_value(e, point) for e in (first, second)]
        if values[0] is None or values[1] is None:
            continue
        compared += 1
        size = max(abs(values[0]), abs(values[1]))
        allowed = (float(TOLERANCE) if decimal else 10.0 ** (8 - DIGITS)) * max(size, sympy.Float("1e-30"))
        if abs(values[0] - values[1]) > allowed:
            return False
    return compared >= MIN_POINTS


def _coordinate(number: int, letter: int) -> Any:
    """A coordinate: integers (n! and sums are meant for these), numbers from 0 to 1 (arcsin), and others, in turns."""
    if number % 3 == 0:
        return sympy.Integer((number // 3 * 3 + letter * 5) % 11 + 2)
    spread = math.sin(1.7 * number + 2.3 * letter + 0.4)
    return sympy.Rational(round((abs(spread) if number % 3 == 1 else 4 * spread) * 997), 1009)


def _value(expression: Any, point: dict[Any, Any]) -> Any:
    """The real value at a point to `DIGITS` digits; None if there is none."""
    try:
        value = expression.subs(point)
        value = value.doit() if value.has(sympy.Sum, sympy.Product, sympy.Integral) else value
        value = value.evalf(DIGITS, maxn=300)
    except (ZeroDivisionError, ValueError, TypeError, OverflowError, NotImplementedError, AttributeError):
        return None
    if not value.is_number or value.has(*_INFINITE):
        return None
    real, imaginary = value.as_real_imag()
    if not (real.is_Float or real.is_Rational) or not (imaginary.is_Float or imaginary.is_Rational):
        return None
    if abs(imaginary) > sympy.Float("1e-20") * max(1, abs(real)):
        return None
    return real


def _same_equation(gold: Relation, pred: Relation) -> bool:
    """Whether one equation is a multiple of the other: x + y = 1 is 2x + 2y = 2."""
    first, second = (_together(to_sympy(r.sides[0]) - to_sympy(r.sides[1])) for r in (gold, pred))
    if first == 0 or second == 0:
        return bool(first == second)
    ratio = sympy.cancel(first / second) if not _huge_powers(first, second) else sympy.simplify(first / second)
    if ratio.free_symbols:
        ratio = sympy.simplify(ratio)
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)


def _together(expression: Any) -> Any:
    """The numerator over a common denominator: an equation holds where it vanishes."""
    if not isinstance(expression, sympy.Expr):
        raise Unsupported("equation")
    return sympy.fraction(sympy.together(expression.doit()))[0]


def _same_set(first: Any, second: Any) -> bool:
    if first == second:
        return True
    try:
        rest = sympy.SymmetricDifference(first, second)
        return rest == S.EmptySet or bool(rest.is_empty)
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return False


def _same_matrix(first: Any, second: Any) -> bool:
    if (
        not isinstance(first, sympy.MatrixBase)
        or not isinstance(second, sympy.MatrixBase)
        or first.shape != second.shape
    ):
        return False
    return all(_same_expression(a, b, decimal=False) for a, b in zip(first, second, strict=True))


# what the parser cannot read

_READABLE = re.compile(r"[\s\w.,+\-*/^_(){}\[\]|!=<>'\\:&]*")


def _by_math_verify(gold: Sequence[Token], pred: Sequence[Token]) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify

    found = []
    for tokens in (gold, pred):
        written = as_latex(tokens)
        if not _READABLE.fullmatch(written):
            return False
        read = parse(f"${written}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
        letters = {t.text for t in tokens if t.kind == "name" and len(t.text) == 1} - {"e", "i", "d"}
        if len(read) != 1 or not letters <= {str(s) for s in getattr(read[0], "free_symbols", set())} | set(
            re.findall(r"[a-zA-Z]", str(read[0]))
        ):
            return False
        found.append(read)
    return bool(verify(found[0], found[1], strict=True, timeout_seconds=None))


def as_latex(tokens: Sequence[Token]) -> str:
    """The tokens as LaTeX."""
    spelled = []
    for token in tokens:
        if token.kind == "command":
            spelled.append(f"\\{token.text} ")
        elif token.kind in ("begin", "end"):
            spelled.append(f"\\{token.kind}{{{token.text}}}")
        else:
            spelled.append(f" {token.text}" if token.gap else token.text)
    return "".join(spelled)
