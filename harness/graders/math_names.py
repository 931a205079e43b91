"""Tells names from values: the "x" of "x = 5", the function of "f(2) = 3", the letters of "a = 1, b = 2"."""

from __future__ import annotations

from harness.graders.math_lists import with_signs
from harness.graders.math_sets import SETS
from harness.graders.math_tree import (
    Apply,
    Bracket,
    Items,
    Node,
    Relation,
    Symbol,
    Text,
    nodes_of,
    substituted,
    symbols_of,
)
from harness.graders.math_vocabulary import WRAPPERS

_FUNCTIONALS = WRAPPERS | {
    "max", "min", "lim", "det", "sum", "prod", "int", "abs", "gcd", "lcm", "dim", "deg", "arg", "infimum", "supremum",
    "tr", "rank", "Re", "Im", "Var", "Pr", "call", "sub", "prime", "floor", "ceil",
}  # fmt: skip
_PARAMETERS = frozenset("kmntjlpscC")
Assignments = tuple[tuple[Node, Node], ...]


def is_name(node: Node) -> bool:
    """Whether a left side only names what the right side gives: "x", "f(2)", "|S|", "Area of ABC", "(x, y)"."""
    if isinstance(node, Symbol):
        return node.name not in ("pi", "e", "infinity", *SETS)
    if isinstance(node, Text):
        return True
    if isinstance(node, Bracket):
        figure = node.kind == "[]" and isinstance(node.items[0], Symbol) and node.items[0].name.isupper()
        return (node.kind == "()" or (figure and len(node.items) == 1)) and all(map(is_name, node.items))
    if isinstance(node, Apply):
        if node.head in ("add", "mul"):
            return _names_sum_or_figure(node)
        if node.head == "ratio":
            return all(map(is_name, node.args))
        return (node.head in _FUNCTIONALS and bool(symbols_of(node))) or (
            node.head in ("call", "sub", "angle", "triangle")
        )
    return False


def _names_sum_or_figure(node: Apply) -> bool:
    """Whether a sum or product is "m + n", a figure's name "ABC" or an expectation "E[X]"."""
    if node.head == "mul" and len(node.args) == 2 and isinstance(node.args[1], Bracket) and node.args[1].kind == "[]":
        return isinstance(node.args[0], Symbol) and node.args[0].name.isupper()
    if not all(isinstance(a, Symbol) and is_name(a) for a in node.args):
        return False
    if node.head == "mul" and node.args[0] == Symbol("Delta") and len(node.args) == 2:
        return True
    return node.head == "add" or all(isinstance(a, Symbol) and a.name.isupper() for a in node.args)


def name_and_value(node: Node) -> tuple[Node, Node] | None:
    """Name and value of "x = 5", "x \\in S", "5 = x" and the point "A(1, 2)"; None for anything else."""
    if isinstance(node, Apply):
        return _labelled_point(node)
    if not isinstance(node, Relation) or node.operators not in (("=",), ("in",), ("approx",), ("equiv",), ("to",)):
        return None
    left, right = node.sides
    if is_name(left):
        return left, right
    if node.operators == ("=",) and is_name(right) and not symbols_of(left) and not isinstance(left, Text):
        return right, left
    return None


def _labelled_point(node: Apply) -> tuple[Node, Node] | None:
    if node.head not in ("mul", "call") or len(node.args) != 2:
        return None
    label, point = node.args
    if isinstance(point, Items) and node.head == "call":
        point = Bracket("()", point.items)
    fits = isinstance(label, Symbol) and label.name.isupper() and isinstance(point, Bracket) and point.kind == "()"
    return (label, point) if fits and not symbols_of(point) else None


def unnamed(gold: Node, pred: Node) -> tuple[Node, Node]:
    """Both without the name on the left, if one of them has none or both have the same."""
    gold, pred = _end_of_chain(gold), _end_of_chain(pred)
    values = name_and_value(gold), name_and_value(pred)
    if values[0] and values[1]:
        names = values[0][0], values[1][0]
        if names[0] == names[1]:
            return values[0][1], values[1][1]
        renamed = _same_function(names, values[1][1])
        return (values[0][1], renamed) if renamed is not None else (gold, pred)
    sets = [isinstance(n, Items) and assignments(n) is not None for n in (gold, pred)]
    if values[0] and not isinstance(pred, Relation) and not sets[1]:
        return _behind_name(values[0], pred), pred
    if values[1] and not isinstance(gold, Relation) and not sets[0]:
        return gold, _behind_name(values[1], gold)
    return gold, pred


def _behind_name(named: tuple[Node, Node], other: Node) -> Node:
    """The value, if the name can have a value of that kind: x + y is a number, never a set or a list."""
    name, value = named
    if isinstance(name, Apply) and name.head == "add" and (symbols_of(value) or symbols_of(other)):
        return Relation(("=",), (name, value))
    return value


def _same_function(names: tuple[Node, Node], value: Node) -> Node | None:
    """The second value in the letter of the first function: f(t) = t^2 as x^2; y is a function of x. None: others."""
    first, second = names
    calls = [n for n in names if isinstance(n, Apply) and n.head == "call" and isinstance(n.args[1], Symbol)]
    if len(calls) == 2 and isinstance(first, Apply) and isinstance(second, Apply):
        if first.args[0] != second.args[0]:
            return None
        old, new = second.args[1], first.args[1]
        return substituted(value, old, new) if new.name not in symbols_of(value) else None  # type: ignore[union-attr]
    return value if len(calls) == 1 and Symbol("y") in names else None


def with_parameters_of(gold: Node, pred: Node, named: bool) -> Node:
    r"""The second answer with its parameters named as in the first: "n\pi" as "k\pi".

    A parameter is a letter that one answer has and the other has not, in a family of values: a multiple of pi, or what
    is named.
    """
    own, others = sorted(symbols_of(pred) - symbols_of(gold)), sorted(symbols_of(gold) - symbols_of(pred))
    if len(own) != 1 or len(others) != 1 or not {*own, *others} <= _PARAMETERS:
        return pred
    family = named or all(Symbol("pi") in set(nodes_of(n)) for n in (gold, pred))
    return substituted(pred, Symbol(own[0]), Symbol(others[0])) if family else pred


def _end_of_chain(node: Node) -> Node:
    r"""The last exact value of "3 * 4 = 12" or "x = 1/3 \approx 0.33", kept with its name."""
    if not isinstance(node, Relation) or not set(node.operators) <= {"=", "approx"}:
        return node
    until = next((i for i, o in enumerate(node.operators) if o != "="), len(node.operators))
    sides = node.sides[: until + 1]
    if len(sides) == 1:
        return node if is_name(sides[0]) else sides[0]
    if is_name(sides[0]) and not isinstance(sides[0], Text):
        return Relation(("=",), (sides[0], sides[-1]))
    closed = not symbols_of(sides[0]) or isinstance(sides[0], Text)
    if closed and not isinstance(sides[0], Bracket) and not symbols_of(sides[-1]):
        return sides[-1]
    return Relation(("=",) * until, sides) if until < len(node.operators) else node


def assignments(node: Node) -> Assignments | None:
    """Names and values of "a = 1, b = 2", "(a, b) = (1, 2)" or "A(1, 2), B(3, 4)"; None if that is not what it is."""
    pairs: list[tuple[Node, Node]] = []
    for relation in node.items if isinstance(node, Items) else (node,):
        named = name_and_value(relation)
        if named is None or (isinstance(relation, Relation) and relation.operators != ("=",)):
            return None
        name, value = named
        if isinstance(name, Bracket) and isinstance(value, Bracket) and len(name.items) == len(value.items):
            pairs += zip(name.items, value.items, strict=True)
        else:
            pairs.append((name, value))
    distinct = len({name for name, _ in pairs}) == len(pairs)
    return tuple(pairs) if distinct and len(pairs) > 1 else None


def without_names(node: Node) -> Node:
    """A list whose items are values of one name, "x = 1, x = 3" or "x = 1, 3", without it."""
    if not isinstance(node, Items):
        return node
    named = [name_and_value(i) for i in node.items]
    if named[0] is None or len({n[0] for n in named if n}) > 1:
        return node
    if not all(n or not isinstance(i, Relation) for n, i in zip(named, node.items, strict=True)):
        return node
    return with_signs(Items(node.joint, tuple(n[1] if n else i for n, i in zip(named, node.items, strict=True))))


def values_of(assigned: Assignments) -> Node:
    """The values of "a = 1, b = 2", in the order of its names; those of "largest = 2, least = 1" have no order."""
    values = tuple(value for _, value in assigned)
    return Items(",", values) if any(isinstance(name, Text) for name, _ in assigned) else Bracket("()", values)
