"""Compares two answers by their trees, part by part. Pure functions, no computer algebra.

Order counts in brackets, not in sets and plain lists; the kind of bracket counts; the name in "x = 5" is dropped if the
other answer has none; units, percent and currency may be missing on one side but must not differ; words are compared as
words; a decimal equals an exact number from six digits on. What only algebra can tell is asked of `leaf`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from harness.graders.math_lists import as_point, items_of, order_counts, same_brackets, unwrapped, with_signs
from harness.graders.math_names import (
    Assignments,
    assignments,
    name_and_value,
    unnamed,
    values_of,
    with_parameters_of,
    without_names,
)
from harness.graders.math_parser import readings
from harness.graders.math_sets import INEQUALITIES, as_set, ascending, is_set, only_letter, same_ends
from harness.graders.math_tokens import Token, tokens_of
from harness.graders.math_tree import (
    NOTHING,
    Apply,
    Based,
    Bracket,
    Items,
    Matrix,
    Node,
    Number,
    Qualified,
    Quantity,
    Relation,
    Symbol,
    Text,
    Time,
    Unread,
    exact,
    has_decimal,
    nodes_of,
    substituted,
    symbols_of,
)
from harness.graders.math_units import PERCENT, Unit, agree, known

MAX_ITEMS = 200  # of a list that is matched in any order
TOLERANCE = Fraction(1, 10**6)  # absolute and relative: a decimal equals the number if it agrees in six digits
NOISE = Fraction(1, 10**12)  # relative: rounding error of large floating point numbers
Leaf = Callable[[Node, Node], bool]


def alike(gold: str, pred: str, leaf: Leaf) -> tuple[bool, str]:
    """Whether two answers are the same, and what decided it. Exceptions of `leaf` are not caught."""
    gold_tokens, pred_tokens = tokens_of(gold), tokens_of(pred)
    if gold_tokens == pred_tokens != []:
        return True, "same string"
    chosen = _same_choice(gold_tokens, pred_tokens)
    if chosen is not None:
        return chosen, "choice"
    golds, preds = list(readings(gold, gold_tokens)), list(readings(pred, pred_tokens))
    why = ""
    for g in golds:
        for p in preds:
            why = _kind(g) if _kind(g) == _kind(p) else f"{_kind(g)} against {_kind(p)}"
            if same(g, p, leaf):
                return True, why
    return False, why


def _kind(node: Node) -> str:
    if isinstance(node, Apply):
        return "number" if exact(node) is not None else "expression"
    names = {
        Items: "list",
        Unread: "unreadable",
        Symbol: "expression",
        Based: "number in a base",
        Qualified: "condition",
    }
    return "nothing" if node == NOTHING else names.get(type(node), type(node).__name__.lower())


# choices


def _same_choice(gold: Sequence[Token], pred: Sequence[Token]) -> bool | None:
    """Whether two choices of letters are the same; None if the gold is not a choice, or the reply is none."""
    letters = _letters(gold), _letters(pred)
    if letters[0] and letters[1] and max(map(len, letters)) > 1:
        listed = [any(not t.text.isalpha() or t.kind == "command" for t in tokens) for tokens in (gold, pred)]
        return sorted(letters[0]) == sorted(letters[1]) if any(listed) else letters[0] == letters[1]
    choices = [_choice(gold), _choice(pred)]
    for i, tokens in enumerate((gold, pred)):
        if choices[i] is None and choices[1 - i] is not None:
            choices[i] = _small_choice(tokens)
    return None if None in choices else choices[0] == choices[1]


def _small_choice(tokens: Sequence[Token]) -> str | None:
    """The letter of "d" or "(d)" in upper case; None for anything else."""
    kept = [t for t in tokens if not t.sign("(", ")", ".")]
    small = len(kept) == 1 and kept[0].kind in ("name", "word") and kept[0].text in tuple("abcdefghij")
    return kept[0].text.upper() if small else None


def _letters(tokens: Sequence[Token]) -> str:
    """The letters of "A, C" or "AC"; "" if there is anything else."""
    kept = [t for t in tokens if not (t.sign(",", "(", ")", ".", ";") or t.command("and"))]
    letters = "".join(t.text for t in kept)
    fine = all(t.kind in ("name", "word") for t in kept) and set(letters) <= set("ABCDEFGHIJ")
    return letters if fine and len(set(letters)) == len(letters) else ""


def _choice(tokens: Sequence[Token]) -> str | None:
    """The letter of "D", "(D)", "(D) 12", "D. 12 cm", "D: blue"; None for anything else."""
    kept = list(tokens)
    bracketed = bool(kept) and kept[0].sign("(")
    if bracketed:
        kept.pop(0)
    if not kept or kept[0].kind not in ("name", "word") or kept[0].text not in tuple("ABCDEFGHIJ"):
        return None
    letter = kept.pop(0).text
    if bracketed:
        if not (kept and kept[0].sign(")")):
            return None
        kept.pop(0)
        if kept and not kept[0].gap and kept[0].sign("^", "_", "!", "+", "-", "*", "/", "=", "(", "'"):
            return None
    elif kept and not kept[0].sign(".", ":", ")"):
        return None
    return letter


# nodes


def same(gold: Node, pred: Node, leaf: Leaf) -> bool:
    """Whether `pred` states the same answer as `gold`."""
    gold, pred = with_signs(gold), with_signs(pred)
    if gold == pred:
        return gold != NOTHING
    if isinstance(gold, Qualified) or isinstance(pred, Qualified):
        return _same_qualified(gold, pred, leaf)
    named = name_and_value(gold) is not None or name_and_value(pred) is not None
    gold, pred = unnamed(gold, pred)
    pred = with_parameters_of(gold, pred, named)
    if gold == pred:
        return True
    if isinstance(gold, Quantity) or isinstance(pred, Quantity):
        return _same_quantity(gold, pred, leaf)
    if isinstance(gold, Text) or isinstance(pred, Text):
        return _same_text(gold, pred)
    if isinstance(gold, Time) or isinstance(pred, Time):
        return _same_time(gold, pred, leaf)
    if is_set(gold) or is_set(pred):
        return _same_set(gold, pred, leaf)
    if isinstance(gold, Relation) and isinstance(pred, Relation):
        return _same_relation(gold, pred, leaf)
    if isinstance(gold, Relation) != isinstance(pred, Relation):
        return _same_as_relation(gold, pred, leaf)
    if isinstance(gold, Items | Bracket | Matrix) or isinstance(pred, Items | Bracket | Matrix):
        return _same_items(gold, pred, leaf)
    if isinstance(gold, Based) or isinstance(pred, Based):
        return _same_based(gold, pred)
    return _same_value(gold, pred, leaf)


def _same_qualified(gold: Node, pred: Node, leaf: Leaf) -> bool:
    """Conditions that only say what letters stand for may differ or be missing; others must be the same."""
    conditions = [n.condition for n in (gold, pred) if isinstance(n, Qualified) and not n.free]
    bare = [n.node if isinstance(n, Qualified) else n for n in (gold, pred)]
    if len(conditions) == 1 or (len(conditions) == 2 and conditions[0] != conditions[1]):
        return False
    bare[0], bare[1] = unnamed(bare[0], bare[1])
    letters = symbols_of(bare[0]) - symbols_of(bare[1]), symbols_of(bare[1]) - symbols_of(bare[0])
    stated = {w for n in (gold, pred) if isinstance(n, Qualified) for w in n.condition}
    if len(letters[0]) == len(letters[1]) == 1 and (letters[0] | letters[1]) & stated:  # "for some integer t"
        bare[1] = substituted(bare[1], Symbol(letters[1].pop()), Symbol(letters[0].pop()))
    return same(bare[0], bare[1], leaf)


# quantities, words, times


def _same_quantity(gold: Node, pred: Node, leaf: Leaf) -> bool:
    if isinstance(gold, Quantity) and isinstance(pred, Quantity):
        if not agree(gold.unit, pred.unit):
            return False
        factor = pred.unit.factor / gold.unit.factor
        return same(gold.value, _times(pred.value, factor), leaf)
    lettered = _lettered_quantity(gold), _lettered_quantity(pred)
    if lettered[0] or lettered[1]:
        return _same_quantity(lettered[0] or gold, lettered[1] or pred, leaf)
    quantity, other = (gold, pred) if isinstance(gold, Quantity) else (pred, gold)
    assert isinstance(quantity, Quantity)
    values: list[Node] = [quantity.value]
    if quantity.unit == PERCENT:
        values.append(_times(quantity.value, Fraction(1, 100)))
    elif quantity.unit.name == "angle" and Symbol("pi") in set(nodes_of(other)):
        values = [Apply("degrees", (_times(quantity.value, quantity.unit.factor),))]
    elif isinstance(other, Text | Relation):
        return False
    return any(same(v, other, leaf) if quantity is gold else same(other, v, leaf) for v in values)


def _lettered_quantity(node: Node) -> Quantity | None:
    """A number times a letter that names a unit, "5m^2", as a quantity; None for anything else."""
    if not isinstance(node, Apply) or node.head != "mul" or len(node.args) != 2 or exact(node.args[0]) is None:
        return None
    letter, power = node.args[1], Fraction(1)
    if isinstance(letter, Apply) and letter.head == "pow":
        base, exponent = letter.args
        letter, power = base, exact(exponent) or Fraction(0)
    found = known(letter.name) if isinstance(letter, Symbol) else None
    if found is None or power.denominator != 1 or not power:
        return None
    powers = tuple((measure, times * int(power)) for measure, times in found[0])
    return Quantity(node.args[0], Unit(powers, found[1] ** int(power)))


def _times(node: Node, factor: Fraction) -> Node:
    if factor == 1:
        return node
    if isinstance(node, Number):
        return replace(node, value=node.value * factor)
    return Apply("mul", (node, Number(factor)))


def _same_text(gold: Node, pred: Node) -> bool:
    words = _words(gold), _words(pred)
    said = [n.said for n in (gold, pred) if isinstance(n, Text) and n.said]
    return words[0] == words[1] != () or (len(said) == 1 and said[0] in words)


def _words(node: Node) -> tuple[str, ...]:
    """The words of a text, or of a list of texts."""
    if isinstance(node, Items) and all(isinstance(i, Text) for i in node.items):
        return tuple(w for i in node.items if isinstance(i, Text) for w in i.words)
    return node.words if isinstance(node, Text) else ()


def _same_time(gold: Node, pred: Node, leaf: Leaf) -> bool:
    if isinstance(gold, Time) and isinstance(pred, Time):
        noon = 12 * 3600
        return gold == pred or (gold.sure != pred.sure and gold.seconds % noon == pred.seconds % noon)
    return same(_ratio(gold), _ratio(pred), leaf)


def _ratio(node: Node) -> Node:
    """12:16, read as a time, as a ratio."""
    if not isinstance(node, Time) or node.sure or node.seconds % 60:
        return node
    return Apply("ratio", (Number(Fraction(node.seconds // 3600)), Number(Fraction(node.seconds // 60 % 60))))


# sets


def _same_set(gold: Node, pred: Node, leaf: Leaf) -> bool:
    letters = {
        only_letter(r)
        for n in (gold, pred)
        for r in (n.items if isinstance(n, Items) else (n,))
        if isinstance(r, Relation)
    }
    if len(letters) > 1 and all(isinstance(n, Relation | Items) for n in (gold, pred)):
        return False
    first, second = as_set(gold), as_set(pred)
    if first is None or second is None:
        return False
    if isinstance(first, Bracket) and isinstance(second, Bracket) and "{}" not in (first.kind, second.kind):
        if len(first.items) != len(second.items) or not same_ends(first, second):
            return False
        return all(same(a, b, leaf) for a, b in zip(first.items, second.items, strict=True))
    if isinstance(gold, Relation) and isinstance(pred, Relation) and _same_sides(gold, pred, leaf):
        return True
    return leaf(first, second)


# relations and lists


def _same_relation(gold: Relation, pred: Relation, leaf: Leaf) -> bool:
    if _same_sides(gold, pred, leaf):
        return True
    tuples = assignments(gold), assignments(pred)
    if tuples[0] and tuples[1]:
        return _same_assignments(tuples[0], tuples[1], leaf)
    if gold.operators == pred.operators == ("=",):
        return leaf(gold, pred)
    return False


def _same_sides(gold: Relation, pred: Relation, leaf: Leaf) -> bool:
    gold, pred = ascending(gold), ascending(pred)
    if gold.operators != pred.operators:
        return False
    return all(same(a, b, leaf) for a, b in zip(gold.sides, pred.sides, strict=True))


def _same_as_relation(gold: Node, pred: Node, leaf: Leaf) -> bool:
    """Whether "(a, b) = (1, 2)" has the values of a list of names, or an equation gives the letter that is missing."""
    tuples = assignments(gold), assignments(pred)
    if tuples[0] and tuples[1]:
        return _same_assignments(tuples[0], tuples[1], leaf)
    relation, other = (gold, pred) if isinstance(gold, Relation) else (pred, gold)
    assert isinstance(relation, Relation)
    if isinstance(other, Items) and len(set(relation.operators)) == 1 and relation.operators[0] in INEQUALITIES:
        return relation.sides == other.items and len(other.items) > 2  # "b < a < d" as "b, a, d"
    missing = symbols_of(relation) - symbols_of(other)
    if relation.operators != ("=",) or len(missing) != 1 or not symbols_of(other) or isinstance(other, Items | Bracket):
        return False
    return leaf(relation, Relation(("=",), (Symbol(missing.pop()), other)))


def _same_assignments(gold: Assignments, pred: Assignments, leaf: Leaf) -> bool:
    values = dict(pred)
    return len(gold) == len(pred) and all(name in values and same(value, values[name], leaf) for name, value in gold)


def _same_items(gold: Node, pred: Node, leaf: Leaf) -> bool:
    assigned = assignments(gold), assignments(pred)
    if assigned[0] and assigned[1]:
        return _same_assignments(assigned[0], assigned[1], leaf)
    bare = without_names(gold), without_names(pred)
    related = [isinstance(n, Items) and any(isinstance(i, Relation) for i in n.items) for n in bare]
    if not any(related) or any(assigned):
        gold, pred = (values_of(a) if a else n for a, n in zip(assigned, bare, strict=True))
    gold, pred = unwrapped(as_point(gold)), unwrapped(as_point(pred))
    if isinstance(gold, Matrix) and isinstance(pred, Matrix):
        return _same_matrix(gold, pred, leaf)
    if not isinstance(gold, Items | Bracket) or not isinstance(pred, Items | Bracket):
        if isinstance(gold, Items | Bracket | Matrix) or isinstance(pred, Items | Bracket | Matrix):
            return isinstance(gold, Matrix | Apply) and isinstance(pred, Matrix | Apply) and leaf(gold, pred)
        return same(gold, pred, leaf)
    golds, preds = items_of(gold), items_of(pred)
    if len(golds) != len(preds):
        return False
    if isinstance(gold, Bracket) and isinstance(pred, Bracket) and not same_brackets(gold.kind, pred.kind):
        return False
    if order_counts(gold, pred) or len(golds) > MAX_ITEMS:
        return all(same(g, p, leaf) for g, p in zip(golds, preds, strict=True))
    return _match(golds, preds, leaf)


def _same_matrix(gold: Matrix, pred: Matrix, leaf: Leaf) -> bool:
    if [len(r) for r in gold.rows] != [len(r) for r in pred.rows]:
        return False
    pairs = zip(gold.rows, pred.rows, strict=True)
    return all(same(g, p, leaf) for rows in pairs for g, p in zip(*rows, strict=True))


def _match(gold: Sequence[Node], pred: Sequence[Node], leaf: Leaf) -> bool:
    """Whether the items can be paired, each with an equal one. Greedy, since equality is transitive."""
    left = list(pred)
    for g in gold:
        found = next((i for i, p in enumerate(left) if same(g, p, leaf)), None)
        if found is None:
            return False
        left.pop(found)
    return True


# values


def _same_based(gold: Node, pred: Node) -> bool:
    """Numbers in a base have the same digits and base; the base may be missing on one side."""
    if isinstance(gold, Based) and isinstance(pred, Based):
        return gold == pred
    based, other = (gold, pred) if isinstance(gold, Based) else (pred, gold)
    assert isinstance(based, Based)
    return isinstance(other, Number) and based.digits.isdigit() and other.value == int(based.digits)


def _same_value(gold: Node, pred: Node, leaf: Leaf) -> bool:
    if _args(gold, "mod") or _args(pred, "mod"):
        return _same_residue(gold, pred, leaf)
    if isinstance(gold, Apply) and isinstance(pred, Apply) and gold.head == pred.head in ("lor", "land"):
        return len(gold.args) == len(pred.args) and _match(gold.args, pred.args, leaf)
    if _args(gold, "ratio") or _args(pred, "ratio"):
        return _same_ratio(gold, pred, leaf)
    values = exact(gold), exact(pred)
    if values[0] is not None and values[1] is not None:
        if values[0] == values[1]:
            return True
        cuts: list[int] = [n.cut for n in (gold, pred) if isinstance(n, Number) and n.cut is not None]
        if cuts:
            return abs(values[0] - values[1]) < Fraction(1, 10 ** min(cuts))
        decimals = has_decimal(gold) + has_decimal(pred)
        return decimals > 0 and close(values[0], values[1], NOISE if decimals == 2 else Fraction(0))
    return leaf(gold, pred)


def _args(node: Node, head: str) -> tuple[Node, ...]:
    """What an operation of this name is applied to; () for anything else."""
    return node.args if isinstance(node, Apply) and node.head == head else ()


def close(gold: Fraction, pred: Fraction, noise: Fraction) -> bool:
    """Whether a decimal approximates the number to six digits, counted before and after the point, or up to noise."""
    size = max(abs(gold), abs(pred))
    return abs(gold - pred) <= max(TOLERANCE * size if size < 1 else TOLERANCE, noise * size)


def _same_residue(gold: Node, pred: Node, leaf: Leaf) -> bool:
    """3 (mod 7) is 10 (mod 7), 7k + 3, and 3."""
    first, second = _args(gold, "mod"), _args(pred, "mod")
    if first and second:
        moduli = exact(first[1]), exact(second[1])
        rests = exact(first[0]), exact(second[0])
        if None in moduli + rests or not moduli[0]:
            return False
        return moduli[0] == moduli[1] and (rests[0] - rests[1]) % abs(moduli[0]) == 0  # type: ignore[operator]
    value = pred if first else gold
    residue, modulus = first or second
    return same(residue, value, leaf) or _in_class(value, exact(residue), exact(modulus))


def _in_class(value: Node, residue: Fraction | None, modulus: Fraction | None) -> bool:
    """Whether a linear expression in one letter runs through the numbers of a residue class."""
    letter = only_letter(value)
    if letter is None or residue is None or not modulus:
        return False
    at = [exact(substituted(value, Symbol(letter), Number(Fraction(i)))) for i in range(3)]
    if at[0] is None or at[1] is None or at[2] is None:
        return False
    linear = at[2] - at[1] == at[1] - at[0]
    return linear and abs(at[1] - at[0]) == abs(modulus) and (at[0] - residue) % abs(modulus) == 0


def _same_ratio(gold: Node, pred: Node, leaf: Leaf) -> bool:
    """Ratios are the same if their parts are in proportion; a : b is also the number a/b."""
    first, second = _args(gold, "ratio"), _args(pred, "ratio")
    if first and second:
        return len(first) == len(second) and all(
            same(Apply("mul", (a, second[0])), Apply("mul", (b, first[0])), leaf)
            for a, b in zip(first, second, strict=True)
        )
    parts = first or second
    quotient = Apply("div", parts)
    return len(parts) == 2 and (same(quotient, pred, leaf) if first else same(gold, quotient, leaf))
