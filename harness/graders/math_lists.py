"""Lists, points and vectors of answers: what plus-minus and dots stand for, and where order counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product

from harness.graders.math_tree import (
    DOTS,
    Apply,
    Bracket,
    Items,
    Matrix,
    Node,
    Number,
    exact,
    nodes_of,
    with_children,
)

MAX_SIGNS = 4  # plus-minus signs of a point that are taken independently
_VECTOR = "vector"


def with_signs(node: Node) -> Node:
    """The node with each plus-minus as two answers, and lists in lists as one."""
    if isinstance(node, Items) or (isinstance(node, Bracket) and node.kind == "{}"):
        items: list[Node] = []
        for item in map(with_signs, node.items):
            items += item.items if isinstance(item, Items) and item.joint == "pm" else (item,)
        return replace(node, items=tuple(items))
    signs = [n.head for n in nodes_of(node) if isinstance(n, Apply) and n.head in ("pm", "mp")]
    each_its_own = isinstance(node, Bracket) and len(signs) == len(node.items) - _unsigned(node)
    if isinstance(node, Bracket) and each_its_own and 1 < len(signs) <= MAX_SIGNS and "mp" not in signs:
        return Items("pm", tuple(Bracket(node.kind, items) for items in product(*map(_both_signs, node.items))))
    if signs:
        upper, lower = _signed(node, upper=True), _signed(node, upper=False)
        return upper if upper == lower else Items("pm", (upper, lower))
    return node


def _unsigned(node: Bracket) -> int:
    return sum(not any(isinstance(n, Apply) and n.head == "pm" for n in nodes_of(i)) for i in node.items)


def _both_signs(node: Node) -> tuple[Node, ...]:
    spread = with_signs(node)
    return spread.items if isinstance(spread, Items) and spread.joint == "pm" else (node,)


def _signed(node: Node, upper: bool) -> Node:
    children = with_children(node, lambda n: _signed(n, upper))
    if isinstance(children, Apply) and children.head in ("pm", "mp"):
        return children.args[0] if (children.head == "pm") == upper else Apply("neg", children.args)
    return children


def as_point(node: Node) -> Node:
    """A matrix of one row or column, or a transposed point, as a point."""
    if isinstance(node, Apply) and node.head == "transpose":
        inner = as_point(node.args[0])
        return (
            replace(inner, kind=_VECTOR) if isinstance(inner, Bracket) and inner.kind in ("()", "[]", _VECTOR) else node
        )
    if isinstance(node, Matrix) and (len(node.rows) == 1 or all(len(r) == 1 for r in node.rows)):
        return Bracket(_VECTOR, tuple(cell for row in node.rows for cell in row))
    return node


def unwrapped(node: Node) -> Node:
    """The content of a bracket around a single item: [73] is 73."""
    if isinstance(node, Bracket) and len(node.items) == 1 and node.kind in ("[]", "{}"):
        return node.items[0]
    return node


def items_of(node: Items | Bracket) -> list[Node]:
    """The items; those of a set, or of a list of points, without duplicates, a progression written out."""
    items = [as_point(i) for i in _written_out(node.items)]
    if (isinstance(node, Bracket) and node.kind == "{}") or all(isinstance(i, Bracket) for i in items):
        return list(dict.fromkeys(items))
    return items


def _written_out(items: Sequence[Node]) -> list[Node]:
    """The items with those that dots stand for: 2, 4, ..., 10 as five; with an unknown end only what is needed."""
    found = around_dots(items)
    if found is None or len({b - a for a, b in pairwise(found[0])}) != 1:
        return list(items)
    known, after = found
    step, end = known[1] - known[0], exact(after[0]) if len(after) == 1 else None
    if end is None or not step:
        return [Number(known[0]), Number(known[1]), DOTS, *after]
    count = (end - known[0]) / step
    if count.denominator != 1 or not 0 < count <= 1000:
        return list(items)
    return [Number(known[0] + step * i) for i in range(int(count) + 1)]


def around_dots(items: Sequence[Node]) -> tuple[list[Fraction], Sequence[Node]] | None:
    """The numbers before the only dots, two or more, and what is behind these; None for anything else."""
    if items.count(DOTS) != 1:
        return None
    at = items.index(DOTS)
    before = [exact(i) for i in items[:at]]
    known = [v for v in before if v is not None]
    return (known, items[at + 1 :]) if len(known) == len(before) > 1 else None


def order_counts(gold: Items | Bracket, pred: Items | Bracket) -> bool:
    """Whether order counts: sets and plain lists have none; points, rows and values with names have one."""
    if any(isinstance(n, Bracket) and n.kind == "{}" for n in (gold, pred)):
        return False
    if isinstance(gold, Items) and isinstance(pred, Items):
        return "row" in (gold.joint, pred.joint) or DOTS in (*gold.items, *pred.items)
    return True


def same_brackets(gold: str, pred: str) -> bool:
    """Whether two kinds of brackets mean the same; a vector has either of round and square ones."""
    return gold == pred or (_VECTOR in (gold, pred) and {gold, pred} <= {_VECTOR, "()", "[]"})
