r"""Reads an answer into its tree: lists, conditions, relations, times, quantities and words around expressions.

What cannot be read as maths is `Text` if it has words, else `Unread`. The readings of an answer differ only in whether
"1,234" is one number or two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from harness.graders.math_cursor import NotMaths, is_word, split
from harness.graders.math_expression import MAX_DEPTH, Expression
from harness.graders.math_tokens import Token, closes, opens, tokens_of
from harness.graders.math_tree import (
    NOTHING,
    Apply,
    Items,
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
    nodes_of,
)
from harness.graders.math_units import CURRENCIES, DEGREE, MINUTE, PERCENT, Unit, read_unit
from harness.graders.math_vocabulary import ANONYMOUS, NAMING, RELATION_COMMANDS, ROWS, SAME_WORDS
from harness.graders.math_words import denominator, number_of_words

_RELATIONS = frozenset(["=", "<", ">", "<=", ">=", "!="])
_EDGE = (".", ",", ";", ":", "*", "/", "?", "#", "&", "\\", "\\\\", "=")
_ARROWS = ("Rightarrow", "Leftrightarrow", "therefore", "because")
_VERBS = frozenset(["is", "are", "equals", "be", "was", "were"])
_FREE_CONDITIONS = frozenset(["forall", "where", "for"])
_CONDITIONS = frozenset(["if", "when", "with", "such", "provided", "given", "whenever", "unless", "except"])
_ARTICLES = frozenset(["the", "a", "an", "is", "are"])


def readings(text: str, tokens: Sequence[Token]) -> Iterator[Node]:
    """The trees of an answer: with "1,234" as a number, then, if that differs, as two; "1000,99" as a decimal too.

    tokens: those of the text, with "1,234" as a number.
    """
    yield read_tokens(tokens)
    second = tokens_of(text, thousands=False)
    if second != tokens:
        yield read_tokens(second)
    amount = re.fullmatch(r"[^\d.,]{0,9}\d{3,9},\d\d[^\d.,]{0,9}", text)
    if amount:  # 1000,99 as 1000.99
        yield read_tokens(tokens_of(text.replace(",", ".")))


def read_tokens(tokens: Sequence[Token], depth: int = 0) -> Node:
    """The tree of the tokens. Raises `NotMaths` below the top, if they are no maths."""
    if depth > MAX_DEPTH:
        raise NotMaths("too deep")
    tokens = _trimmed(_numbers_of_words(tokens))
    if not tokens:
        return NOTHING
    try:
        return _statement(tokens, depth)
    except NotMaths:
        if depth:
            raise
    return _no_maths(tokens)


def _no_maths(tokens: Sequence[Token]) -> Node:
    """Tokens that are no maths: words, if there are any."""
    return _words(tokens) if _has_words(tokens) else Unread(tuple(tokens))


def _trimmed(tokens: Sequence[Token]) -> list[Token]:
    """The tokens without punctuation at the ends, and without braces around all of them."""
    kept = list(tokens)
    before = -1
    while kept and len(kept) != before:
        before = len(kept)
        while kept and (kept[-1].sign(*_EDGE) or kept[-1].command(*_ARROWS)):
            kept.pop()
        while kept and (kept[0].sign(*_EDGE) or kept[0].command(*_ARROWS)):
            kept.pop(0)
        if kept and kept[0].sign("{") and _closing(kept, 0) == len(kept) - 1:
            kept = kept[1:-1]
        if kept and kept[0].command("left.") and not any(t.command("evaluated") for t in kept):
            kept.pop(0)
        if kept and kept[-1].command("right."):
            kept.pop()
            opened = next((i for i, t in enumerate(kept) if opens(t) and _closing(kept, i) < 0), None)
            if opened is not None:
                kept.pop(opened)
        if len(kept) > 1 and kept[0].sign("\\{") and _closing(kept, 0) < 0:
            kept.pop(0)
        if kept and kept[-1].sign("\\}") and sum(opens(t) - closes(t) for t in kept) < 0:
            kept.pop()
        if kept and kept[-1].sign(")"):
            kept = _without_remark(kept)
        if len(kept) > 4 and kept[0].sign("*") and kept[-1].sign("*"):
            kept = kept[1:-1]
    return kept


def _without_remark(tokens: list[Token]) -> list[Token]:
    """The tokens without a remark of words in brackets at the end: "460 (exact)"."""
    start = next((i for i, t in enumerate(tokens) if t.sign("(") and _closing(tokens, i) == len(tokens) - 1), 0)
    remark = tokens[start + 1 : -1]
    said_again = len(remark) == 1 and start > 0 and remark[0] == tokens[start - 1]  # "5 (five)"
    if start and remark and (said_again or all(map(_wordlike, remark))) and _has_value(tokens[:start]):
        return tokens[:start]
    return tokens


def _closing(tokens: Sequence[Token], start: int) -> int:
    """The position of the token that closes the bracket at `start`; -1 if none does."""
    depth = 0
    for at in range(start, len(tokens)):
        depth += opens(tokens[at]) - closes(tokens[at])
        if depth == 0:
            return at
    return -1


def _numbers_of_words(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with numbers in words as numbers: "twenty-one" as 21."""
    found: list[Token] = []
    position = 0
    while position < len(tokens):
        end, value = position, None
        for stop in range(position + 1, min(len(tokens), position + 8) + 1):
            last = tokens[stop - 1]
            if not (last.kind in ("word", "name") or last.command("and") or last.sign("-")):
                break
            number = number_of_words([t.text for t in tokens[position:stop] if not t.sign("-")])
            if number is not None:
                end, value = stop, number
        if value is None:
            found.append(tokens[position])
            position += 1
        else:
            found.append(Token("number", str(value), tokens[position].gap))
            position = end
            behind = tokens[end] if end < len(tokens) and tokens[end].kind in ("word", "name") else None
            below = denominator(behind.text) if behind else None
            if below:  # "two thirds"
                found += [Token("sign", "/"), Token("number", str(below))]
                position += 1
    return found


def _statement(tokens: list[Token], depth: int) -> Node:
    tokens = _angles(tokens)
    if (time := _time(tokens)) is not None:
        return time
    if tokens[0].kind == "begin" and tokens[0].text in ROWS and _closing(tokens, 0) == len(tokens) - 1:
        return _rows(tokens, depth)
    tokens = _without_label(tokens)
    qualified = _qualified(tokens, depth)
    if qualified is not None:
        return qualified
    for separator in (lambda t: t.sign(";", "\\\\"), _joins):
        pieces = split(tokens, separator)
        if sum(map(bool, pieces)) > 1:
            return _list(tokens, separator, depth)
    row = _number_row(tokens)
    if row is not None:
        return row
    related = _relation(tokens, depth)
    if related is not None:
        return related
    ratio = split(tokens, lambda t: t.sign(":"))
    if len(ratio) > 1 and all(ratio):
        return Apply("ratio", tuple(read_tokens(p, depth + 1) for p in ratio))
    return _quantity(tokens, depth)


def _number_row(tokens: Sequence[Token]) -> Items | None:
    """Numbers behind blanks, "5 3 -2"; None for anything else."""
    numbers: list[Node] = []
    sign: Token | None = None
    for token in tokens:
        begins = token.gap or not (numbers or sign)
        if token.sign("-") and begins and sign is None:
            sign = token
        elif token.kind == "number" and (begins if sign is None else not token.gap):
            numbers.append(Number(Fraction(token.text) * (-1 if sign else 1), "." in token.text))
            sign = None
        else:
            return None
    return Items("row", tuple(numbers)) if len(numbers) > 1 and sign is None else None


def _joins(token: Token) -> bool:
    return token.sign(",") or token.command("and", "or", "lor", "land")


def _angles(tokens: list[Token]) -> list[Token]:
    """<1,2> with its signs as brackets."""
    commas = any(t.sign(",") for t in tokens)
    if len(tokens) > 4 and tokens[0].sign("<") and tokens[-1].sign(">") and commas:
        return [Token("sign", "("), *tokens[1:-1], Token("sign", ")")]
    return tokens


def _time(tokens: Sequence[Token]) -> Time | None:
    """A time of day: 3:30, 3:30:15, 3 p.m., 15:30."""
    signs = [t for t in tokens if not t.sign(".", "{", "}")]
    half = ""
    for letters in (1, 2):  # "pm" and "p.m."
        if len(signs) > letters and "".join(t.text for t in signs[-letters:]).casefold() in ("am", "pm"):
            half, signs = signs[-letters].text[0].casefold(), signs[:-letters]
    numbers = [t.text for t in signs[::2]]
    colons = signs[1::2]
    well_formed = len(signs) in (1, 3, 5) and all(c.sign(":") and not c.gap for c in colons)
    if not well_formed or not (colons or half) or not all(n.isdigit() for n in numbers):
        return None
    if any(len(n) != 2 or int(n) > 59 for n in numbers[1:]) or len(numbers[0]) > 2 or int(numbers[0]) > 24:
        return None
    hours, minutes, seconds = (int(n) for n in [*numbers, "0", "0"][:3])
    if half:
        hours = hours % 12 + (12 if half == "p" else 0)
    return Time(hours * 3600 + minutes * 60 + seconds, bool(half) or hours > 12)


def _rows(tokens: Sequence[Token], depth: int) -> Node:
    """The rows of an aligned environment, as a list; an array in brackets is a matrix."""
    name = tokens[0].text
    body = tokens[1:-1]
    if name == "array" and (any(t.sign("&") for t in body) or not any(_is_relation(t) for t in body)):
        return _quantity(list(tokens), depth)
    rows = [[t for t in row if not t.sign("&")] for row in split(body, lambda t: t.sign("\\\\"))]
    items = tuple(read_tokens(row, depth + 1) for row in rows if _trimmed(row))
    if not items:
        raise NotMaths("rows")
    return items[0] if len(items) == 1 else Items(",", items)


def _without_label(tokens: list[Token]) -> list[Token]:
    """What stands behind "Total:" or "the answer is"; hedges such as "about" left out."""
    depth = 0
    for at, token in enumerate(tokens[:-1]):
        depth += opens(token) - closes(token)
        if depth == 0 and token.sign(":") and at and all(_wordlike(t) for t in tokens[:at]):
            return _without_label(tokens[at + 1 :])
    verb = next((i for i in range(len(tokens) - 2, 0, -1) if tokens[i].text in _VERBS and _wordlike(tokens[i])), 0)
    if verb and not any(_wordlike(t) and t.text in ("not", "no") for t in tokens) and _has_value(tokens[verb + 1 :]):
        if tokens[verb - 1].kind == "name" and not is_word(tokens[verb - 1].text):
            return [*tokens[:verb], Token("sign", "="), *tokens[verb + 1 :]]
        return _without_label(tokens[verb + 1 :])
    start = 0
    while start < len(tokens) - 1 and _wordlike(tokens[start]) and tokens[start].text.casefold() in ANONYMOUS:
        start += 1
        while start < len(tokens) - 1 and tokens[start].sign(",", ":"):
            start += 1
    return tokens[start:] if start and _has_value(tokens[start:]) else tokens


def _wordlike(token: Token) -> bool:
    return (token.kind == "word" and len(token.text) > 1) or (token.kind == "name" and is_word(token.text))


def _has_value(tokens: Sequence[Token]) -> bool:
    return any(t.kind in ("number", "based", "command") for t in tokens) or any(
        t.kind == "name" and not is_word(t.text) for t in tokens
    )


def _qualified(tokens: list[Token], depth: int) -> Node | None:
    """An answer with "for all x", "where n is an integer" or "if x > 0" behind it, or "for all x" before it."""
    level = 0
    for at, token in enumerate(tokens):
        level += opens(token) - closes(token)
        if level or at == 0:
            continue
        word = token.text.casefold()
        starts = token.command("forall") or (_wordlike(token) and word in _FREE_CONDITIONS | _CONDITIONS)
        member = token.sign(",") and _is_membership(tokens[at + 1 :])
        if starts or member or (token.sign("(") and _is_membership(tokens[at + 1 : -1]) and closes(tokens[-1])):
            main, condition = tokens[:at], tokens[at:]
            if not _trimmed(main):
                return None
            if any("=" in (t.text for t in p) for p in split(condition[1:], _joins)[1:]):
                return None  # another answer follows
            free = member or token.sign("(") or _names_only(condition)
            return Qualified(read_tokens(main, depth + 1), _condition(condition), free)
    if tokens[0].command("forall") or (tokens[0].text.casefold() == "for" and _wordlike(tokens[0])):
        pieces = split(tokens, lambda t: t.sign(",", ":"))
        if len(pieces) > 1 and pieces[-1]:
            return Qualified(read_tokens(pieces[-1], depth + 1), _condition(pieces[0]), _names_only(pieces[0]))
    return None


def _is_membership(tokens: Sequence[Token]) -> bool:
    """Whether the tokens say what a letter stands for: "k \\in Z", "n is an integer"."""
    if len(tokens) < 3 or tokens[0].kind not in ("name", "word") or len(tokens[0].text) != 1:
        return False
    if tokens[1].command("in"):
        return all(_of_known_set(t) or t.text in ("Z", "N") for t in tokens[2:])
    return tokens[1].text in ("is", "are") and _names_only(tokens[1:])


def _of_known_set(token: Token) -> bool:
    """Whether a token may be a part of "\\mathbb{Z}^+" or "\\mathbb{R}_{>0}"."""
    return (
        token.command("mathbbZ", "mathbbN", "mathbbR", "mathbbQ")
        or token.sign("^", "+", "*", "{", "}", "_", "\\{", "\\}", "<", ">", "<=", ">=")
        or (token.kind == "number" and token.text in ("0", "1"))
    )


def _names_only(condition: Sequence[Token]) -> bool:
    """Whether a condition says no more than what its letters stand for: "for all real x"."""
    words = [t.text.casefold() for t in condition if _wordlike(t)]
    others = [t for t in condition if not _wordlike(t)]
    plain = all(
        _of_known_set(t)
        or t.command("forall", "in", "and")
        or t.sign(",")
        or (t.kind in ("name", "word") and len(t.text) == 1)
        for t in others
    )
    return plain and all(w in NAMING for w in words)


def _condition(tokens: Sequence[Token]) -> tuple[str, ...]:
    return tuple(t.text.casefold() for t in tokens if not t.sign(",", "{", "}", "."))


def _list(tokens: Sequence[Token], separator: Callable[[Token], bool], depth: int) -> Node:
    joints = [t for t in _top(tokens) if t.command("and", "or", "lor", "land")]
    if separator is _joins and joints:
        groups = split(tokens, lambda t: t.command("and", "or", "lor", "land"))
        groups = [g for g in map(_trimmed, groups) if g]
        named = all(len(split(g, lambda t: t.sign(","))) > 1 for g in groups)
        if len(groups) > 1 and named:  # pairs: "p = 5, q = 2 and p = 7, q = 2"
            return Items("or", tuple(read_tokens(g, depth + 1) for g in groups))
    pieces = split(tokens, separator)
    items = [
        read_tokens(piece, depth + 1) if depth else _part(piece, depth) for piece in map(_trimmed, pieces) if piece
    ]
    if not items:
        raise NotMaths("list")
    names = {t.text for t in joints}
    joint = "or" if names & {"or", "lor"} and not names & {"and", "land"} else "and" if names & {"and", "land"} else ","
    if names & {"lor", "land"} and not all(isinstance(i, Relation) for i in items):
        return Apply("lor" if joint == "or" else "land", tuple(items))
    items = [i.node if isinstance(i, Qualified) and i.free else i for i in items]
    whole = _compound(items) if joint == "and" else None
    if whole is not None:
        return whole
    first = items[0]
    if isinstance(first, Quantity) and joints and all(isinstance(i, Text) for i in items[1:]):  # "5 apples and pears"
        more = {w for i in items[1:] if isinstance(i, Text) for w in i.words}
        return replace(first, unit=replace(first.unit, labels=first.unit.labels | more))
    return first if len(items) == 1 else Items(joint, tuple(items))


def _compound(items: Sequence[Node]) -> Quantity | None:
    """The sum of "12 dollars and 50 cents", of which the second is less than one of the first; None for others."""
    if len(items) != 2:
        return None
    first, second = items
    if not isinstance(first, Quantity) or not isinstance(second, Quantity) or first.unit.powers != second.unit.powers:
        return None
    part = exact(second.value)
    ratio = second.unit.factor / first.unit.factor
    if not first.unit.powers or part is None or not 0 < part * ratio < 1 or ratio >= 1:
        return None
    return Quantity(Apply("add", (first.value, Number(part * ratio))), first.unit)


def _part(piece: Sequence[Token], depth: int) -> Node:
    """A part that need not be maths: an item of a list, or 5 \\star 1 in "5 \\star 1 = 45 + 2 = 47"."""
    try:
        return read_tokens(piece, depth + 1)
    except NotMaths:
        return _no_maths(piece)


def _top(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens outside all brackets."""
    depth = 0
    for token in tokens:
        depth += opens(token) - closes(token)
        if depth == 0:
            yield token


def _is_relation(token: Token) -> bool:
    return (token.kind == "sign" and token.text in _RELATIONS) or (
        token.kind == "command" and token.text in RELATION_COMMANDS
    )


def _relation(tokens: Sequence[Token], depth: int) -> Node | None:
    operators = [RELATION_COMMANDS.get(t.text, t.text) for t in _top(tokens) if _is_relation(t)]
    if not operators:
        return _residue(tokens, depth)
    pieces = split(tokens, _is_relation)
    if not all(map(_trimmed, pieces[1:-1])) or len(pieces) != len(operators) + 1:
        raise NotMaths("relation")
    if not _trimmed(pieces[0]) or not _trimmed(pieces[-1]):
        rest = [p for p in pieces if _trimmed(p)]
        if len(operators) == 1 and rest and operators[0] in ("=", "approx"):
            return read_tokens(rest[0], depth + 1)
        raise NotMaths("side")
    sides = [*(_part(piece, depth) for piece in pieces[:-1]), _side(pieces[-1], depth)]
    return Relation(tuple("=" if o == "equiv" and not _is_residue(sides[-1]) else o for o in operators), tuple(sides))


def _is_residue(node: Node) -> bool:
    return isinstance(node, Apply) and node.head == "mod"


def _side(piece: Sequence[Token], depth: int) -> Node:
    """One side; words on a left side are a name: "Area of ABC = 460"."""
    try:
        return read_tokens(piece, depth + 1)
    except NotMaths:
        if _has_words(piece):
            return _words(piece)
        raise


def _residue(tokens: Sequence[Token], depth: int) -> Node | None:
    """3 \\pmod 7, 3 (mod 7)."""
    at = next(
        (
            i
            for i, t in enumerate(tokens)
            if t.command("pmod", "mod") or (t.kind in ("name", "word") and t.text == "mod")
        ),
        0,
    )
    if at == 0 or at == len(tokens) - 1:
        return None
    value = [*tokens[:at]]
    if value[-1].sign("("):
        value.pop()
    modulus = [t for t in tokens[at + 1 :] if not t.sign("(", ")", "{", "}")]
    return Apply("mod", (read_tokens(value, depth + 1), read_tokens(modulus, depth + 1)))


def _quantity(tokens: list[Token], depth: int) -> Node:
    """An expression with its unit, if it has one; the sum of "2 hours 30 minutes"."""
    currency = tokens[0].text if tokens[0].sign(*CURRENCIES) else ""
    negative = len(tokens) > 1 and tokens[0].sign("-") and tokens[1].sign(*CURRENCIES)
    if negative:
        currency, tokens = tokens[1].text, [tokens[0], *tokens[2:]]
    elif currency:
        tokens = tokens[1:]
    expression = Expression(tokens, read_tokens, depth)
    value = expression.parse()
    rest = _trimmed(expression.rest)
    if currency:
        rest = [*rest, Token("sign", currency)]
    if not rest:
        return _measured(value)
    further = next(
        (i for i, t in enumerate(rest) if i and t.kind == "number" and not rest[i - 1].sign("^", "{", "-")), 0
    )
    unit = read_unit(rest[:further] if further and not currency else rest)
    if unit is None or not (isinstance(value, Number) or _is_value(value)):
        raise NotMaths("unit")
    read, many = unit
    if many != 1:
        value = Apply("mul", (value, Number(Fraction(many))))
    whole = Quantity(value, read) if read != Unit() else value
    if further and not currency:
        more = _quantity(rest[further:], depth + 1)
        if not (
            isinstance(more, Quantity)
            and isinstance(whole, Quantity)
            and more.unit.powers == read.powers
            and read.powers
        ):
            raise NotMaths("two quantities")
        in_first = Number(more.unit.factor / read.factor)
        return Quantity(Apply("add", (value, Apply("mul", (more.value, in_first)))), read)
    return whole


def _is_value(node: Node) -> bool:
    """Whether a node may have a unit: no words, sets or relations in it."""
    return not any(isinstance(n, Relation | Text | Items | Unread) for n in nodes_of(node))


def _measured(node: Node) -> Node:
    """Degrees and percent of a whole answer as a quantity."""
    if isinstance(node, Apply) and node.head in ("degrees", "percent", "arcminutes"):
        return Quantity(node.args[0], {"degrees": DEGREE, "percent": PERCENT, "arcminutes": MINUTE}[node.head])
    return node


def _has_words(tokens: Sequence[Token]) -> bool:
    return any(_wordlike(t) or t.kind == "word" for t in tokens)


def _words(tokens: Sequence[Token]) -> Node:
    """The answer as words: in lower case, without articles and punctuation; operators stay. Named sets are sets."""
    words: list[str] = []
    for token in tokens:
        if token.sign(",", ".", ";", ":", "{", "}", "!", "?", "'", "&", "*", "_", '"', "(", ")"):
            continue
        word = token.text.casefold()
        words += SAME_WORDS.get(word, tuple(word.replace("-", " ").split()) if token.kind == "word" else (word,))
    kept = [w for w in words if w not in _ARTICLES] or words
    ordinal = [w for i, w in enumerate(kept) if not (i and w in ("st", "nd", "rd", "th") and kept[i - 1].isdigit())]
    if set(ordinal) <= {"all", "real", "reals", "number", "numbers", "every", "any", "set", "of"} and {
        "real",
        "reals",
    } & set(ordinal):
        return Symbol("reals")
    if ordinal[0] in ("infinitely", "infinite") and set(ordinal[1:]) <= {"many", "solutions", "number", "of"}:
        return Symbol("infinity")
    if ordinal[0] in ("no", "none", "empty") and set(ordinal[1:]) <= {"solution", "solutions", "real", "set", "such"}:
        return Symbol("empty")
    return Text(tuple(ordinal), _said(tokens) if len(ordinal) > 1 else ())


def _said(tokens: Sequence[Token]) -> tuple[str, ...]:
    """The words behind the only "is" of a sentence without a "not"."""
    words = [t.text.casefold() for t in tokens if t.kind in ("word", "name")]
    verbs = [i for i, w in enumerate(words) if w in ("is", "are")]
    if len(verbs) != 1 or {"not", "no", "neither", "nor", "never"} & set(words):
        return ()
    return tuple(w for w in words[verbs[0] + 1 :] if w not in _ARTICLES)
