"""Compares two mathematical answers by their forms, part by part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from harness.graders.math_forms import (
    CHOICE,
    CHOICE_TEXT,
    LETTER,
    LONG_UNIT,
    MANY,
    MAX_ITEMS,
    NOISE,
    TOLERANCE,
    Form,
    Leaf,
    is_name,
    plain_text,
    read_form,
    time_of_day,
)


def alike(gold: str, pred: str, leaf: Leaf) -> tuple[bool, str]:
    """Whether two answers are the same, and what decided it. Exceptions of `leaf` are not caught."""
    if plain_text(gold) == plain_text(pred) != "":
        return True, "same string"
    golds, preds = list(_readings(gold)), list(_readings(pred))
    why = ""
    for g in golds:
        for p in preds:
            equal, why = _decide(g, p, leaf)
            if equal:
                return True, why
    return False, why


def _readings(text: str) -> Iterator[Form]:
    """The ways to read an answer: "1,234" is a number before it is a list."""
    first = read_form(text)
    yield first
    second = read_form(text, thousands=False)
    if second.text != first.text:
        yield second


def _decide(gold: Form, pred: Form, leaf: Leaf) -> tuple[bool, str]:
    kinds = f"{gold.kind} against {pred.kind}" if gold.kind != pred.kind else gold.kind
    return same(gold, pred, leaf), kinds


def same(gold: Form, pred: Form, leaf: Leaf) -> bool:
    """Whether `pred` states the same answer as `gold`."""
    if gold.text == pred.text and gold.unit == pred.unit:
        return True
    choice = _choice(gold), _choice(pred)
    if choice[0] and (choice[1] or re.fullmatch("[a-j]", pred.text)):
        return choice[0] == (choice[1] or pred.text.upper())
    if not _units_agree(gold, pred):
        return False
    gold, pred = _unnamed(gold, pred)
    if "%" in (gold.unit, pred.unit) and gold.unit != pred.unit:
        gold_parts, pred_parts = (_hundredth(f) if f.unit == "%" else f for f in (gold, pred))
        return _compare(gold, pred, leaf) or _compare(gold_parts, pred_parts, leaf)
    if [f.unit for f in (gold, pred) if r"\pi" not in f.text] == ["°"]:
        gold, pred = (replace(f, kind="expression", text=rf"{f.text}\cdot\frac{{\pi}}{{180}}") if f.unit == "°" else f
                      for f in (gold, pred))  # fmt: skip
    return _compare(gold, pred, leaf)


def _hundredth(form: Form) -> Form:
    value = None if form.value is None else form.value / 100
    return replace(form, unit="", value=value, text=rf"\frac{{{form.text}}}{{100}}")


def _compare(gold: Form, pred: Form, leaf: Leaf) -> bool:
    if "union" in (gold.kind, pred.kind):
        gold, pred = _united(gold), _united(pred)
    kinds = {gold.kind, pred.kind}
    if "nothing" in kinds:
        return False
    if "text" in kinds:
        return _same_text(gold, pred)
    if kinds == {"number"}:
        return _same_number(gold, pred)
    if kinds == {"relation"}:
        return _same_relation(gold, pred, leaf)
    if "relation" in kinds:
        return _relation_against_set(gold, pred, leaf)
    if kinds <= {"list", "bracket", "matrix", "number", "expression"} and kinds & {"list", "bracket", "matrix"}:
        return _same_items(gold, pred, leaf)
    if "union" in kinds:
        return _same_union(gold, pred, leaf)
    return _same_ratio(gold, pred) or leaf(gold.text, pred.text)


def close(gold: Fraction, pred: Fraction) -> bool:
    """Whether a decimal approximates the number to six digits, counted before and after the point."""
    size = abs(gold)
    allowed = max(TOLERANCE * size if size < 1 else TOLERANCE, NOISE * size)
    return abs(gold - pred) <= allowed


def _same_number(gold: Form, pred: Form) -> bool:
    assert gold.value is not None
    assert pred.value is not None
    return gold.value == pred.value or ((gold.decimal or pred.decimal) and close(gold.value, pred.value))


def _same_text(gold: Form, pred: Form) -> bool:
    times = time_of_day(gold.text), time_of_day(pred.text)
    if times[0] and times[1]:
        noon = 12 * 3600
        return times[0] == times[1] or (times[0][1] != times[1][1] and times[0][0] % noon == times[1][0] % noon)
    words = [re.sub(r"[\W_]+", " ", re.sub(r"\\text", "", f.text)).casefold().split() for f in (gold, pred)]
    words = [[w for w in ws if w not in ("the", "a", "an", "is", "are")] or ws for ws in words]
    return bool(words[0]) and words[0] == words[1] and _signs(gold.text) == _signs(pred.text)


def _signs(text: str) -> str:
    """The operators of a text: "3 - x" is not "3 + x" though the words are the same."""
    return "".join(re.findall(r"(?<!\w)-|[-+*/^<>=|]|\\[a-z]+", re.sub(r"(?<=[a-z])-(?=[a-z])", "", text)))


def _choice(form: Form) -> str | None:
    match = CHOICE.fullmatch(form.text.replace("\x02", "").replace("\x03", "").strip())
    if match:
        return match[1]
    match = CHOICE_TEXT.fullmatch(form.text)
    return next(g for g in match.groups() if g) if match else None


def _units_agree(gold: Form, pred: Form) -> bool:
    if not gold.unit or not pred.unit:
        return True
    units = []
    for form in (gold, pred):
        words = re.findall(r"[^\W\d_]+|\d+|[%°]", form.unit)
        units.append(
            [LONG_UNIT.get(w, LONG_UNIT.get(w.removesuffix("s"), w.removesuffix("s"))).casefold() for w in words]
        )
    shorter, longer = sorted(units, key=len)
    squares = [[w for w in u if w.isdigit() or w in MANY] for u in units]
    return shorter == longer or (squares[0] == squares[1] and bool(set(shorter) & set(longer)))


def _unnamed(gold: Form, pred: Form) -> tuple[Form, Form]:
    """Both without the name on the left, if one of them has no name; chains of equals reduced to their end."""
    gold, pred = _end_of_chain(gold), _end_of_chain(pred)
    named = [_assigned(f) for f in (gold, pred)]
    if named[0] and named[1]:
        left = [_name_of(f.parts[0].text) for f in (gold, pred)]
        functions = [("(" in name or name == "y") for name in left]
        if left[0] == left[1] or all(functions):
            return named[0], named[1]
        return gold, pred
    if named[0] and pred.kind != "relation":
        return named[0], pred
    if named[1] and gold.kind != "relation":
        return gold, named[1]
    return gold, pred


def _name_of(text: str) -> str:
    return re.sub(r"[\s{}]", "", text)


def _assigned(form: Form) -> Form | None:
    r"""The assigned value: B of "A = B", "A \in B" and "A \approx B"; None if the left side is not a name."""
    if form.kind == "relation" and form.mark in ("=", r"\in", r"\approx") and is_name(form.parts[0].text):
        return form.parts[1]
    return None


def _end_of_chain(form: Form) -> Form:
    r"""The last exact value of "3 * 4 = 12" or "x = 1/3 \approx 0.33", kept with its name."""
    operators = form.mark.split(" ")
    if form.kind != "relation" or not set(operators) <= {"=", r"\approx", r"\sim"}:
        return form
    exact = next((i for i, o in enumerate(operators) if o != "="), len(operators))
    parts = form.parts[: exact + 1]
    if len(parts) == 1 and not is_name(parts[0].text):
        return parts[0]
    if len(parts) == 1:
        return replace(form, parts=(parts[0], form.parts[-1]), mark="=")
    if parts[0].kind == "text":
        return parts[-1]
    if is_name(parts[0].text):
        return replace(form, text=f"{parts[0].text}={parts[-1].text}", parts=(parts[0], parts[-1]), mark="=")
    working = re.sub(
        r"\\text\{[^{}]*\}|\\(?:times|cdot|frac|div|sqrt)|\x02[^\x03]*\x03|\([^()\d]*\)", "", parts[0].text
    )
    calculation = len(parts) > 2 or not LETTER.search(working)
    if calculation and re.search(r"\d|:", parts[0].text) and not LETTER.search(parts[-1].text):
        return parts[-1]  # "3 apples * $4 = $12", but not "7 = 11a + c"
    return form


def _same_relation(gold: Form, pred: Form, leaf: Leaf) -> bool:
    if gold.mark == pred.mark and len(gold.parts) == len(pred.parts):
        if all(same(g, p, leaf) for g, p in zip(gold.parts, pred.parts, strict=True)):
            return True
        if _assigned(gold) and _assigned(pred) and gold.mark == "=" and not _shares_names(gold, pred):
            return False
    sets = _as_set(gold), _as_set(pred)
    if sets[0] and sets[1]:
        return _names(gold) == _names(pred) and _compare(sets[0], sets[1], leaf)
    return leaf(gold.text, pred.text)


def _shares_names(gold: Form, pred: Form) -> bool:
    """Whether the name on each left side appears in the other equation, as in y = 2x and x = y/2."""
    return _name_of(gold.parts[0].text) in _name_of(pred.text) and _name_of(pred.parts[0].text) in _name_of(gold.text)


def _names(form: Form) -> frozenset[str]:
    return frozenset(_name_of(p.text) for p in form.parts if is_name(p.text))


def _as_set(form: Form) -> Form | None:
    r"""The interval of "a < x \leq b", "x > a", "a > x"; the right side of "x \in S"; None for other relations."""
    operators = form.mark.split(" ")
    if form.kind != "relation":
        return form
    if operators == [r"\in"]:
        return form.parts[1]
    if not set(operators) <= {"<", ">", r"\leq", r"\geq"}:
        return None
    parts, ops = list(form.parts), operators
    if all(o in (">", r"\geq") for o in ops):
        parts, ops = parts[::-1], [{">": "<", r"\geq": r"\leq"}[o] for o in ops[::-1]]
    if not all(o in ("<", r"\leq") for o in ops):
        return None
    infinity = Form("expression", r"\infty")
    if len(parts) == 2 and is_name(parts[0].text) and not is_name(parts[1].text):
        parts, ops = [Form("expression", r"-\infty"), *parts], ["<", *ops]
    elif len(parts) == 2 and is_name(parts[1].text) and not is_name(parts[0].text):
        parts, ops = [*parts, infinity], [*ops, "<"]
    if len(parts) != 3 or not is_name(parts[1].text):
        return None
    mark = ("(" if ops[0] == "<" else "[") + (")" if ops[1] == "<" else "]")
    return Form("bracket", f"{mark[0]}{parts[0].text},{parts[2].text}{mark[1]}", (parts[0], parts[2]), mark=mark)


def _relation_against_set(gold: Form, pred: Form, leaf: Leaf) -> bool:
    """Whether a relation equals a set: an inequality states an interval, an equation does not state a number."""
    sets = _as_set(gold), _as_set(pred)
    if sets[0] is None or sets[1] is None:
        relation, other = (gold, pred) if gold.kind == "relation" else (pred, gold)
        inequality = re.search(r"<|>|\\leq|\\geq|\\neq", relation.mark)
        return bool(inequality) and other.kind in ("bracket", "union") and leaf(gold.text, pred.text)
    other = pred if gold.kind == "relation" else gold
    if other.kind not in ("bracket", "union"):
        return False
    return _compare(sets[0], sets[1], leaf)


def _same_items(gold: Form, pred: Form, leaf: Leaf) -> bool:
    gold, pred = _one(gold), _one(pred)
    if not {gold.kind, pred.kind} & {"list", "bracket", "matrix"}:
        return same(gold, pred, leaf)
    if "expression" in (gold.kind, pred.kind):
        both = {gold.kind, pred.kind}
        return both == {"matrix", "expression"} and leaf(gold.text, pred.text)
    if "number" in (gold.kind, pred.kind):
        listed, number = (gold, pred) if pred.kind == "number" else (pred, gold)
        return _decimal_comma(listed, number)
    gold, pred = _distinct(gold), _distinct(pred)
    if len(gold.parts) != len(pred.parts):
        return False
    if gold.kind == pred.kind == "matrix" and gold.mark != pred.mark:
        return False
    if {gold.kind, pred.kind} == {"matrix", "bracket"}:
        matrix, other = (gold, pred) if gold.kind == "matrix" else (pred, gold)
        if other.mark == "{}" or (int(matrix.mark) > 1 and len(matrix.parts) != int(matrix.mark)):
            return False
    elif gold.kind == pred.kind == "bracket" and gold.mark != pred.mark:
        return False
    if _ordered(gold, pred):
        return all(same(g, p, leaf) for g, p in zip(gold.parts, pred.parts, strict=True))
    return _match(gold.parts, pred.parts, leaf)


def _ordered(gold: Form, pred: Form) -> bool:
    """Whether order counts: sets and plain lists have none; brackets, matrices and names on one side have one."""
    marks = {f.mark for f in (gold, pred)}
    if "{}" in marks:
        return False
    if gold.kind == pred.kind == "list":
        return "row" in marks or ("named" in marks and len(marks) == 2) or len(gold.parts) > MAX_ITEMS
    return True


def _one(form: Form) -> Form:
    """The content of a bracket around a single item: [73] is 73."""
    if form.kind == "bracket" and len(form.parts) == 1 and form.mark in ("[]", "{}", "()"):
        return form.parts[0]
    return form


def _distinct(form: Form) -> Form:
    """A set, or a list of points, without duplicates."""
    if form.mark == "{}" or (form.kind == "list" and all(p.kind == "bracket" for p in form.parts)):
        return replace(form, parts=tuple({re.sub(r"\s", "", p.text): p for p in form.parts}.values()))
    return form


def _match(gold: Sequence[Form], pred: Sequence[Form], leaf: Leaf) -> bool:
    """Whether the items can be paired, each with an equal one. Greedy, since equality is transitive."""
    left = list(pred)
    for g in gold:
        found = next((i for i, p in enumerate(left) if same(g, p, leaf)), None)
        if found is None:
            return False
        left.pop(found)
    return True


def _decimal_comma(listed: Form, number: Form) -> bool:
    """Whether one is 1000,99 for 1000.99: the same digits, with a comma for the point."""
    return number.decimal and len(listed.parts) == 2 and listed.text.replace(",", ".") == number.text


def _united(form: Form) -> Form:
    """The union that "x < 1 or x > 2" describes."""
    sets = [_as_set(p) if p.kind == "relation" else None for p in form.parts]
    if form.kind != "list" or not all(sets):
        return form
    parts = tuple(p for p in sets if p)
    return Form("union", r"\cup ".join(p.text for p in parts), parts)


def _same_union(gold: Form, pred: Form, leaf: Leaf) -> bool:
    if gold.kind == pred.kind and len(gold.parts) == len(pred.parts) and _match(gold.parts, pred.parts, leaf):
        return True
    if not {gold.kind, pred.kind} <= {"union", "bracket", "expression"}:
        return False
    return leaf(gold.text, pred.text)


def _same_ratio(gold: Form, pred: Form) -> bool:
    """Whether they are the same ratio: a : b is a/b."""
    values = []
    for form in (gold, pred):
        match = re.fullmatch(r"(\d{1,9}) ?: ?(\d{1,9})", form.text)
        values.append(Fraction(int(match[1]), int(match[2])) if match and int(match[2]) else form.value)
    return values[0] is not None and values[0] == values[1]
