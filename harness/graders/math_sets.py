r"""Reads sets of numbers from answers: intervals, inequalities, unions. Pure functions on trees."""

from __future__ import annotations

from harness.graders.math_tree import (
    Apply,
    Bracket,
    Items,
    Node,
    Relation,
    Symbol,
    nodes_of,
    symbols_of,
)

INEQUALITIES = frozenset(["<", ">", "<=", ">=", "!="])
_FLIPPED = {">": "<", ">=": "<=", "<": "<", "<=": "<=", "=": "=", "!=": "!="}
SETS = frozenset(["reals", "integers", "naturals", "rationals", "complexes", "empty"])


def is_set(node: Node) -> bool:
    """Whether a node is a set beyond doubt: an inequality, a union, a half-open interval, the reals."""
    if isinstance(node, Relation):
        single = only_letter(node) is not None or _interval(node) is not None
        return bool(node.operators) and set(node.operators) <= INEQUALITIES | {"in"} and single
    if isinstance(node, Items):
        return node.joint in ("or", "and", ",") and all(
            isinstance(i, Relation) and is_set(i) and "in" not in i.operators for i in node.items
        )
    if isinstance(node, Apply):
        return node.head in ("union", "intersection", "minus")
    if isinstance(node, Symbol):
        return node.name in SETS
    return isinstance(node, Bracket) and (
        node.kind in ("(]", "[)")
        or (len(node.items) == 2 and any(Symbol("infinity") in set(nodes_of(i)) for i in node.items))
    )


def only_letter(node: Node) -> str | None:
    """The only letter of an inequality or expression; None if it has several or none."""
    names = symbols_of(node) - SETS
    return next(iter(names)) if len(names) == 1 else None


def same_ends(first: Bracket, second: Bracket) -> bool:
    """Whether two intervals include the same ends; at infinity the bracket says nothing."""
    infinite = [any(Symbol("infinity") in set(nodes_of(b.items[i])) for b in (first, second)) for i in (0, -1)]
    return all(infinite[i] or first.kind[i] == second.kind[i] for i in (0, 1))


def as_set(node: Node) -> Node | None:
    r"""The set that a node describes: an interval for "a < x \leq b", a union for "or"; None if it is none."""
    if isinstance(node, Items):
        parts = [as_set(i) for i in node.items]
        known = tuple(p for p in parts if p is not None)
        if len(known) != len(parts) or not all(isinstance(i, Relation) for i in node.items):
            return None
        return Apply("union" if node.joint == "or" else "intersection", known)
    if isinstance(node, Relation):
        if node.operators == ("in",):
            return node.sides[1]
        return _interval(node) or node
    if isinstance(node, Symbol):
        return node if node.name in SETS else None
    if isinstance(node, Apply):
        return node if node.head in ("union", "intersection", "minus") else None
    return node if isinstance(node, Bracket) else None


def _interval(node: Relation) -> Bracket | None:
    """The interval of an inequality whose letter stands alone; None for other relations."""
    operators, sides = list(node.operators), list(node.sides)
    if all(o in (">", ">=") for o in operators):
        operators, sides = [_FLIPPED[o] for o in reversed(operators)], sides[::-1]
    if not all(o in ("<", "<=") for o in operators):
        return None
    infinity = Symbol("infinity")
    if len(sides) == 2 and isinstance(sides[0], Symbol) and not symbols_of(sides[1]):
        sides, operators = [Apply("neg", (infinity,)), *sides], ["<", *operators]
    elif len(sides) == 2 and isinstance(sides[1], Symbol) and not symbols_of(sides[0]):
        sides, operators = [*sides, infinity], [*operators, "<"]
    alone = len(sides) == 3 and (
        isinstance(sides[1], Symbol) or (isinstance(sides[1], Apply) and sides[1].head == "call")
    )
    if not alone or symbols_of(sides[0]) | symbols_of(sides[2]):
        return None
    kind = ("(" if operators[0] == "<" else "[") + (")" if operators[1] == "<" else "]")
    return Bracket(kind, (sides[0], sides[2]))


def ascending(node: Relation) -> Relation:
    """A chain of "greater" as one of "less"."""
    if all(o in (">", ">=") for o in node.operators):
        return Relation(tuple(_FLIPPED[o] for o in reversed(node.operators)), node.sides[::-1])
    return node
