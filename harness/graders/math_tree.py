"""The tree of an answer: what `math_parser` reads and `math_compare` compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

from harness.graders.math_tokens import Token
from harness.graders.math_units import Unit


@dataclass(frozen=True)
class Number:
    """An exact number. decimal: written with a point. cut: places behind the point after which dots follow."""

    value: Fraction
    decimal: bool = False
    cut: int | None = None


@dataclass(frozen=True)
class Based:
    """A number in a base, as written: "1010_2"."""

    digits: str
    base: int


@dataclass(frozen=True)
class Time:
    """A time of day in seconds. sure: whether a.m. or p.m. is known."""

    seconds: int
    sure: bool


@dataclass(frozen=True)
class Symbol:
    """A letter, a constant ("pi", "infinity") or a point's or segment's name ("AB")."""

    name: str


@dataclass(frozen=True)
class Apply:
    """An operation: "add", "mul", "div", "pow", "neg", "sub" (a subscript), "call", "sin", "union" and so on."""

    head: str
    args: tuple[Node, ...]


@dataclass(frozen=True)
class Bracket:
    """Items in brackets, such as a point, an interval or a set. kind: both brackets, "(]"; angles count as round."""

    kind: str
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Items:
    """Several answers without brackets. joint: ",", "and", "or", "row" (numbers behind blanks), "pm" (both signs)."""

    joint: str
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Relation:
    """Sides with relations between them: "a < x <= b" has two operators and three sides."""

    operators: tuple[str, ...]
    sides: tuple[Node, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of a matrix, or of a vector."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True)
class Quantity:
    """A value with its unit."""

    value: Node
    unit: Unit


@dataclass(frozen=True)
class Qualified:
    """An answer with the condition under which it holds. free: the condition says no more than what names stand for."""

    node: Node
    condition: tuple[str, ...]
    free: bool


@dataclass(frozen=True)
class Text:
    """Words, with the numbers and signs among them, in lower case. said: those behind "is", as in "it is red"."""

    words: tuple[str, ...]
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unread:
    """Maths that is not understood; equal only to the same tokens, unless algebra can read it."""

    tokens: tuple[Token, ...]


Node = (
    Number | Based | Time | Symbol | Apply | Bracket | Items | Relation | Matrix | Quantity | Qualified | Text | Unread
)
NOTHING = Text(())
DOTS = Symbol("...")


def nodes_of(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for field in fields(node):
        value = getattr(node, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            for child in part if isinstance(part, tuple) else (part,):
                if isinstance(child, Node):
                    yield from nodes_of(child)


def with_children(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node with each of its direct children changed."""
    changed: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            changed[field.name] = change(value)
        elif isinstance(value, tuple) and any(isinstance(v, Node | tuple) for v in value):
            changed[field.name] = tuple(
                change(v) if isinstance(v, Node) else tuple(map(change, v)) if isinstance(v, tuple) else v
                for v in value
            )
    return replace(node, **changed) if changed else node


def substituted(node: Node, old: Node, new: Node) -> Node:
    """The node with one of its parts replaced wherever it stands."""
    return new if node == old else with_children(node, lambda n: substituted(n, old, new))


def symbols_of(node: Node) -> set[str]:
    """The names of all letters, constants left out."""
    unread = {t.text for n in nodes_of(node) if isinstance(n, Unread) for t in n.tokens if t.kind in ("name", "word")}
    return unread | {n.name for n in nodes_of(node) if isinstance(n, Symbol)} - {"pi", "e", "i", "infinity", "..."}


def has_decimal(node: Node) -> bool:
    return any(isinstance(n, Number) and n.decimal for n in nodes_of(node))


def exact(node: Node) -> Fraction | None:
    """The value of arithmetic on numbers; None for anything else, and where it would be huge."""
    if isinstance(node, Number):
        return node.value
    if not isinstance(node, Apply) or not node.args:
        return None
    if node.head not in ("add", "mul", "neg", "div", "pow", "percent"):
        return None
    values = [exact(a) for a in node.args]
    if any(v is None or v.numerator.bit_length() + v.denominator.bit_length() > 4_000 for v in values):
        return None
    known = [v for v in values if v is not None]
    first = known[0]
    if node.head == "add":
        return sum(known, Fraction(0))
    if node.head == "neg":
        return -first
    if node.head == "percent":
        return first / 100
    if node.head == "mul":
        for value in known[1:]:
            first *= value
        return first
    if node.head == "div":
        return first / known[1] if known[1] else None
    size = first.numerator.bit_length() + first.denominator.bit_length()
    small = known[1].denominator == 1 and abs(known[1]) * size <= 4_000 and (first or known[1] > 0)
    return first ** int(known[1]) if small else None
