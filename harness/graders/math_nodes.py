"""Builds nodes of the tree from their parts: products, brackets, mixed numbers, sums over a letter."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from harness.graders.math_cursor import NotMaths
from harness.graders.math_tokens import Token
from harness.graders.math_tree import (
    Apply,
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
from harness.graders.math_words import number_of_words


def with_term(terms: list[Node], term: Node) -> list[Node]:
    """The terms with one more; a set from which one is taken is a difference of sets."""
    taken = term.args[0] if isinstance(term, Apply) and term.head == "neg" else None
    whole = terms[0]
    is_set = (
        isinstance(whole, Relation) or whole == Symbol("reals") or (isinstance(whole, Bracket) and whole.kind == "{}")
    )
    if len(terms) == 1 and is_set and isinstance(taken, Bracket) and taken.kind == "{}":
        return [Apply("minus", (whole, taken))]
    return [*terms, term]


def bound_operator(name: str, body: Node, lower: Node | None, upper: Node | None) -> Node:
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
        body = product_of(body.args[:-2]) if len(body.args) > 2 else Number(Fraction(1))
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
    items = parts_of(inside)
    if len(items) == 1 and kind == "()":
        return items[0]
    if len(items) == 1 and isinstance(items[0], Matrix):
        return items[0]
    if kind == "[]" and len(items) > 1 and all(isinstance(i, Bracket) and i.kind == "[]" for i in items):
        rows = tuple(i.items for i in items if isinstance(i, Bracket))
        if len({len(r) for r in rows}) == 1:
            return Matrix(rows)
    return Bracket(kind, items)


def parts_of(node: Node) -> tuple[Node, ...]:
    return node.items if isinstance(node, Items) and node.joint in (",", "row", "and") else (node,)


def product_of(factors: Sequence[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Apply("mul", tuple(factors))


def hoisted_product(factors: Sequence[Node]) -> Node:
    """The product; degrees or percent of its last factor are of the whole: "2x°"."""
    last = factors[-1]
    if len(factors) > 1 and isinstance(last, Apply) and last.head in ("percent", "degrees"):
        return Apply(last.head, (product_of([*factors[:-1], last.args[0]]),))
    return product_of(factors)


def mixed_number(whole: Node, fraction: Node) -> Node:
    """2\\frac{1}{2} as a sum; percent and degrees behind it are of the whole."""
    if isinstance(fraction, Apply) and fraction.head in ("percent", "degrees"):
        return Apply(fraction.head, (Apply("add", (whole, fraction.args[0])),))
    return Apply("add", (whole, fraction))


def hoisted(head: str, node: Node) -> Node:
    if isinstance(node, Apply) and node.head in ("percent", "degrees"):
        return Apply(node.head, (Apply(head, node.args),))
    return Apply(head, (node,))


def cut_off_decimal(text: str) -> Number:
    """A decimal behind which dots follow: 0.333... is 1/3, 3.1415... begins with these digits."""
    digits = text.partition(".")[2]
    for length in range(1, len(digits) // 2 + 1):
        period = digits[-length:]
        times = 3 if length == 1 else 2
        if digits.endswith(period * times):
            fixed = Fraction(text) - Fraction(int(period), 10 ** len(digits))
            return Number(fixed + Fraction(int(period), 10 ** len(digits)) * Fraction(10**length, 10**length - 1))
    return Number(Fraction(text), decimal=True, cut=len(digits))


def base_of(tokens: Sequence[Token]) -> int:
    value = tokens[0].text if len(tokens) == 1 and tokens[0].kind == "number" else None
    if value is None:
        words = number_of_words([t.text for t in tokens])
        value = str(words) if words is not None else None
    if value is None or not value.isdigit() or not 2 <= int(value) <= 36:
        raise NotMaths("base")
    return int(value)
