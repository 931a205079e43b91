r"""Reads the form of an answer and compares two answers by their forms. Pure functions, no computer algebra.

`read_form` turns "x = (1, \frac{\pi}{2}]" into a `Form`: number, text, list, bracket, union, matrix, relation or
expression.
`same` compares two forms part by part, and calls `leaf(gold, pred)` for parts that need algebra.
The rules: order counts in brackets, not in sets and plain lists; the kind of bracket counts; the name in "x = 5" is
dropped if the other answer has none, but a left side that is not a name is kept; units, percent and currency may be
missing on one side but must not differ; text is compared as text; a decimal equals an exact number from six digits on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

MAX_ANSWER = 2_000  # characters of one answer; longer ones are compared as strings
MAX_DEPTH = 60  # of nested brackets
MAX_ITEMS = 200  # of a list that is matched in any order
TOLERANCE = Fraction(1, 10**6)  # absolute and relative: a decimal equals the number if it agrees in six digits
NOISE = Fraction(1, 10**12)  # relative: rounding error of large floating point numbers
FormKind = Literal["nothing", "text", "list", "bracket", "union", "matrix", "relation", "number", "expression"]
Leaf = Callable[[str, str], bool]


@dataclass(frozen=True)
class Form:
    """One parsed answer. text: the cleaned string, which is passed to `leaf`."""

    kind: FormKind
    text: str
    parts: tuple[Form, ...] = ()
    mark: str = ""  # bracket: "(]"; relation: its operators, blank between; matrix: columns; list: "named", "row" or ""
    unit: str = ""
    value: Fraction | None = None  # of a number
    decimal: bool = False  # written with a decimal point


_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
    "∞": r"\infty ", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "±": r"\pm ", "°": r"^\circ ", "∪": r"\cup ",
    "∈": r"\in ", "≈": r"\approx ", "√": r"\sqrt ", "∅": r"\emptyset ", "⟨": r"\langle ", "⟩": r"\rangle ",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "ω": r"\omega ",
    "，": ",", "、": ",", "（": "(", "）": ")", "：": ":", "；": ";", "．": ".", "。": ".", "％": "%",
    "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u202f": " ", "\u2009": " ",
}  # fmt: skip
_TRANSLATE = str.maketrans(_SIGNS)
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_SUPERSCRIPT_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u200b-\u200f\ufeff]")
_WRAPPER = re.compile(
    r"\\(?:text|mbox|hbox|textbf|textit|textrm|texttt|textnormal|textsf|mathrm|mathbf|mathit|mathsf|mathbb|operatorname|bf|rm)\*?"
    r"\s*\{([^{}]*)\}"
)
_SPELLINGS = (
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits|mathstrut)(?![a-zA-Z])"), " "),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\le(?:qslant)?(?![a-zA-Z])|<=|=<|\\leqq"), r"\\leq "),
    (re.compile(r"\\ge(?:qslant)?(?![a-zA-Z])|>=|\\geqq"), r"\\geq "),
    (re.compile(r"\\not\s*=|\\ne(?![a-zA-Z])|!="), r"\\neq "),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\(?:lbrace|lbrack)(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\(?:varnothing|emptyset)(?![a-zA-Z])"), r"\\{\\}"),
    (re.compile(r"\\mid(?![a-zA-Z])|\\[lr]?vert(?![a-zA-Z])"), "|"),
    (re.compile(r"\\(?:approx|simeq|thickapprox)(?![a-zA-Z])"), r"\\approx "),
    (re.compile(r"\\colon(?![a-zA-Z])"), ":"),
    (re.compile(r"\\(?:iff|implies|Rightarrow|boxed|fbox|d?dots|ldots|cdots)(?![a-zA-Z])"), " "),
    (re.compile(r"\\mp(?![a-zA-Z])"), r"\\pm "),
    (re.compile(r"\\(?:d?q?quad|hspace\{[^{}]*\}|thinspace|enspace|phantom\{[^{}]*\})(?![a-zA-Z])"), " "),
    (re.compile(r"\^\s*\{?\s*\\(?:circ|degree)(?![a-zA-Z])\s*\}?|\\degree(?![a-zA-Z])|\\circ(?![a-zA-Z])"), "°"),
    (re.compile(r",\\!\s*|\{,\}(?=\d)"), "\x01"),  # a comma that can only separate thousands
    (re.compile(r"(?<=\d)\\[,;:]\s*(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<!\\)\\[,;:!> ]|~"), " "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\?[$£€¥₹]|\\(?:pounds|euro)(?![a-zA-Z])|(?<=\d)\s*\b(?:USD|EUR)\b"), " "),
    (re.compile(r"(?<!\\)\\[()\[\]]"), " "),
    (re.compile(r"(?<=[\w)}\]])\*\*(?=[\w({\-\\])"), "^"),
    (re.compile(r"(?<![a-zA-Z\\])sqrt\s*\(([^()]{0,200})\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![a-zA-Z\\])(?:pi|infinity|inf)(?![a-zA-Z])"), lambda m: r"\pi " if m[0] == "pi" else r"\infty "),
    (re.compile(r"(?<![a-zA-Z\\])oo(?![a-zA-Z])"), r"\\infty "),
    (re.compile(r"\+\s*\\infty"), r"\\infty"),
    (
        re.compile(
            r"(?<![a-zA-Z\\])(sin|cos|tan|cot|sec|csc|log|ln|arcsin|arccos|arctan)(?=\s?[\^(_]|\s[a-zA-Z\\](?![a-z]))"
        ),
        r"\\\1",
    ),
    (re.compile(r"\\sqrt\s*(?![{\[\sa-zA-Z])([0-9]+)"), r"\\sqrt{\1}"),
    (re.compile(r"\\sqrt\s+([0-9]+|[a-zA-Z])(?![a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"\\sqrt\s*\(([^()]{0,200})\)"), r"\\sqrt{\1}"),
    (re.compile(r"\\frac\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*([0-9a-zA-Z])\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"(\\frac\s*\{[^{}]{0,200}\})\s*([0-9a-zA-Z])"), r"\1{\2}"),
    (re.compile(r"\s+"), " "),
)  # each runs in linear time except for bounded repeats, on MAX_ANSWER characters at most
_THOUSANDS = re.compile(r"(?<![\d.,\x01])\d{1,3}(?:[,\x01]\d{3})+(?![\d\x01]|,\d)")
_THOUSANDS_BLANK = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
_REALS = re.compile(r"\\mathbb\s*\{?\s*R\s*\}?(?!\s*[\^_+*])|\b[Aa]ll real numbers\b")


def clean_latex(text: str) -> str:
    """`text` in one spelling of LaTeX: no layout, no currency, no maths delimiters; words kept in \\text{}."""
    text = _CONTROL.sub(" ", text[: 2 * MAX_ANSWER])
    text = _SUPERSCRIPT.sub(lambda m: "^{" + m[0].translate(_SUPERSCRIPT_DIGITS) + "}", text).translate(_TRANSLATE)
    if "\\begin" not in text or "\\\\begin" in text:
        text = re.sub(r"\\\\(?=[a-zA-Z\\({\[!,;%$])", r"\\", text)  # backslashes doubled by JSON
    text = text.strip().strip("`").strip()
    text = re.sub(r"^(?:\*\*|__+|\"|')(.*?)(?:\*\*|__+|\"|')$", r"\1", text, flags=re.DOTALL)
    text = _REALS.sub(r" (-\\infty,\\infty) ", text)
    for _ in range(3):  # wrappers may be nested a few levels deep
        text = _WRAPPER.sub(_unwrap, text)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    return _balanced(_trimmed(text))


def _unwrap(match: re.Match[str]) -> str:
    """A name of one letter, or maths, stays as it is; words stay text."""
    inside = match[1].strip()
    if len(inside) == 1 or (inside and not re.search(r"[^\W\d_]{2}", inside)):
        return f" {inside} " if inside != "e" else "e"
    return f"\x02{inside}\x03"  # \text{...}; these two signs cannot be in the input any more


def _trimmed(text: str) -> str:
    before = None
    while before != text:
        before = text
        text = re.sub(r"^[\s,;:*`]+|(?:[\s,;:*`\"]|(?<!\\)\\|\.(?!\d))+$", "", text)
    return text


def _balanced(text: str) -> str:
    """`text` without unmatched braces, and without braces around all of it."""
    depth, kept = 0, []
    for i, char in enumerate(text):
        escaped = i > 0 and text[i - 1] == "\\"
        if char == "{" and not escaped:
            depth += 1
        elif char == "}" and not escaped:
            if depth == 0:
                continue
            depth -= 1
        kept.append(char)
    text = _trimmed("".join(kept))
    while text.startswith("{") and _closing(text, 0) == len(text) - 1:
        text = _trimmed(text[1:-1])
    return text


def plain_text(text: str) -> str:
    """`text` without blanks, text wrappers and grouping braces, words in lower case: if equal, the answers are."""
    text = clean_latex(text)
    return re.sub(r"[\s{}\x02\x03]|\\text", "", _joined_thousands(text)).replace("°", "")


def _joined_thousands(text: str) -> str:
    """Thousands joined if the comma cannot separate a list: outside brackets, or written as `{,}` or `,\\!`."""
    depths = _depths(text)

    def join(match: re.Match[str]) -> str:
        sure = "\x01" in match[0] or depths[match.start()] == 0
        return re.sub(r"[,\x01]", "", match[0]) if sure else match[0]

    return _THOUSANDS_BLANK.sub(lambda m: m[0].replace(" ", ""), _THOUSANDS.sub(join, text)).replace("\x01", ",")


def _depths(text: str) -> list[int]:
    """For each character, the number of round, square or set brackets open there."""
    depths, depth = [], 0
    for i, char in enumerate(text):
        escaped = i > 0 and text[i - 1] == "\\"
        if char in ")]" or (char == "}" and escaped):
            depth = max(0, depth - 1)
        depths.append(depth)
        if char in "([" or (char == "{" and escaped):
            depth += 1
    return depths


def deep(text: str) -> bool:
    """Whether brackets are nested more deeply than in any real answer."""
    depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if depth > MAX_DEPTH:
            return True
    return False


_FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "lg",
    "exp", "max", "min", "gcd", "lcm", "mod", "det", "sqrt", "cis", "Re", "Im", "abs", "floor", "ceil", "deg", "dim",
}  # fmt: skip
_UNITS = {
    "cm", "mm", "km", "dm", "nm", "ft", "in", "yd", "mi", "kg", "mg", "lb", "lbs", "oz", "ml", "mL", "sec", "min", "hr",
    "hrs", "mph", "kph", "rad", "pm", "am", "sq", "cu", "deg", "m", "g", "s", "h", "L",
}  # fmt: skip
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
LONG_UNIT = {"centimeter": "cm", "millimeter": "mm", "kilometer": "km", "meter": "m", "inch": "in", "foot": "ft",
              "feet": "ft", "hour": "h", "hr": "h", "minute": "min", "second": "s", "sec": "s", "gram": "g",
              "kilogram": "kg", "degree": "°",
              "pound": "lb", "ounce": "oz", "liter": "L", "litre": "L", "metre": "m", "centimetre": "cm", "mile": "mi",
              "yard": "yd", "milliliter": "ml", "mL": "ml", "square": "sq", "cubic": "cu"}  # fmt: skip
MANY = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHORT = (  # words of two or three letters; other runs that short are products: "2xy"
    "of|to|in|on|at|by|is|as|an|or|if|no|yes|the|and|per|all|any|odd|one|two|six|ten|day|are|was|for|not|km|cm|mm|ft|ml|"
    "kg|lbs?|pm|am|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Mon|Tue|Wed|Thu|Fri|Sat|Sun|red|sum|few|old|new|man|men"
)
_NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORD = re.compile(
    rf"(?<![\\a-zA-Z])(?:[^\W\d_]{{4,}}|[^\x00-\u02ff\W\d_]{{2,}}|(?:{_SHORT})(?![a-zA-Z])|[A-Z][a-z]{{1,2}}(?![a-zA-Z]))"
)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
_RELATION = re.compile(r"\\(?:leq|geq|neq|in|approx|equiv|sim)(?![a-zA-Z])|[=<>≡]")
_ENVIRONMENT = re.compile(
    r"\\begin\{([pbvBV]?matrix|smallmatrix|array|cases)\*?\}(?:\{[|clr ]*\})?(.*)\\end\{\1\*?\}", re.DOTALL
)
_SIDE_CONDITION = re.compile(r"[a-z]\s*\\in\s*\\?[ZN](?:\^?[+*])?|[a-z] is an integer")
_NAME = re.compile(
    r"(?:\\?[^\W\d_]+'*(?:_(?:\w|\{[^{}]*\}))?(?:\^\{?\\?[a-z*']+\}?)?(?:\s*\([^()]{0,40}\))?(?:\s*:\s*(?=[A-Z])|$)){1,3}"
    r"|\\Delta\s*[a-zA-Z]|\\angle\s*[A-Z]{1,3}|\([a-zA-Z][a-zA-Z_0-9{}, ]*\)|\x02[^\x03]*\x03"
)
CHOICE = re.compile(r"\(?\s*([A-J])\s*\)?\s*[.:)]?")
CHOICE_TEXT = re.compile(
    r"\(\s*([A-J])\s*\)\s*(?:[^\W\d_\x02].*|\\.*|[-+\d$].*)|([A-J])[.:)]\s+.+|([B-J])\s+[A-Z][a-z]+.*", re.DOTALL
)
LETTER = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])")
_AND = re.compile(r"\x02\s*(?:and|or)\s*\x03|(?<![\w\\])(?:and|or)(?!\w)")
_TIME = re.compile(r"(\d{1,2})(?::(\d\d)(?::(\d\d))?)?\s*(?:\x02?\s*([aApP])\.?\s*[mM]\.?\s*\x03?)?")


def read_form(text: str, thousands: bool = True) -> Form:
    """The form of an answer. thousands: whether "1,234" is one number (else it is a list)."""
    text = clean_latex(text)
    text = _joined_thousands(text) if thousands else text.replace("\x01", ",")
    return _read(text, 0)


def _read(text: str, depth: int) -> Form:
    text = _balanced(_trimmed(text))
    if not text or depth > 8:
        return Form("expression" if text else "nothing", _latex(text))
    word = text.strip("\x02\x03 ").casefold()
    if word in _NUMERALS:
        return Form("number", text, value=Fraction(_NUMERALS.index(word)))
    if time_of_day(text) or _all_words(text):
        return Form("text", text)
    for separator in (";", ","):
        items = _split(text, separator)
        if len(items) > 1:
            return _list(text, items, depth)
    numbers = text.split()
    if len(numbers) > 1 and all(_NUMBER.fullmatch(n) for n in numbers):
        return replace(_list(text, numbers, depth), mark="row")
    matrix = _ENVIRONMENT.fullmatch(text)
    if matrix and "\\begin" not in matrix[2]:
        return _matrix(text, matrix[2], depth)
    relation = _relation(text, depth)
    if relation:
        return relation
    pieces = _top_split(text, re.compile(r"\\cup(?![a-zA-Z])"))
    if len(pieces) > 1:
        return Form("union", _latex(text), tuple(_read(p, depth + 1) for p in pieces))
    if text.count(r"\pm") == 1:
        signs = (_read(text.replace(r"\pm", sign), depth + 1) for sign in ("+", "-"))
        return Form("list", _latex(text), tuple(signs))
    bracket = _bracket(text, depth)
    if bracket:
        return bracket
    bare, unit = _without_unit(text)
    if unit and bare != text:
        return _with_unit(_read(bare, depth + 1), unit)
    if _WORD.search(_without_functions(text)) or "\x02" in text:
        return Form("text", text)
    return _number(text) or Form("expression", _latex(text))


def _with_unit(form: Form, unit: str) -> Form:
    """The form with its unit, "3 million people" as 3,000,000 people."""
    many, _, rest = unit.partition(" ")
    times = MANY.get(many.removesuffix("s"))
    if times and form.value is not None:
        return replace(form, value=form.value * times, text=rf"{form.text}\cdot {times}", unit=rest)
    return replace(form, unit=unit)


def _latex(text: str) -> str:
    return text.replace("\x02", r"\text{").replace("\x03", "}").replace("\x01", ",").strip()


def _without_functions(text: str) -> str:
    text = re.sub(r"\\(?:begin|end)\{[a-zA-Z]*\}", "", text)
    return _WORD.sub(lambda m: "" if m[0] in _FUNCTIONS or (len(m[0]) <= 3 and m[0].isupper()) else m[0], text)


def _all_words(text: str) -> bool:
    """Whether the text is prose only: words, no digit and no LaTeX command."""
    bare = text.replace("\x02", " ").replace("\x03", " ")
    if "\x02" in text and re.fullmatch(r"[\s\W]*[^\W\d_]{2,3}[\s\W]*", bare):
        return True
    return bool(_WORD.search(_without_functions(bare))) and not re.search(r"[\d\\=<>^+*/|]", bare)


def _split(text: str, separator: str) -> list[str]:
    r"""Top-level items; for "," also at "and", "or", "\text{and}", "&"."""
    if separator == ";":
        return [p for p in _top_split(text, re.compile(";|\n")) if p.strip()]
    groups = [p for p in _top_split(text, _AND) if p.strip()]
    if len(groups) > 1 and all(len(_top_split(p, re.compile(","))) > 1 for p in groups):
        return groups  # pairs: "p = 5, q = 2 and p = 7, q = 2"
    parting = re.compile(
        r",\s*(?:\x02\s*(?:and|or)\s*\x03|(?:and|or)\b)|,|\x02\s*(?:and|or)\s*\x03|(?<![\w\\])(?:and|or)(?!\w)"
    )
    return [p for p in _top_split(text, parting) if p.strip()]


def _top_split(text: str, parting: re.Pattern[str]) -> list[str]:
    pieces, start = [], 0
    depths = _all_depths(text)
    for match in parting.finditer(text):
        if depths[match.start()] == 0 and match.start() >= start:
            pieces.append(text[start : match.start()])
            start = match.end()
    return [*pieces, text[start:]]


def _all_depths(text: str) -> list[int]:
    """For each character, the number of brackets of any kind, or environments, open there."""
    depths, depth = [], 0
    for i, char in enumerate(text):
        if char in ")]}" or text.startswith(r"\end{", i):
            depth = max(0, depth - 1)
        depths.append(depth)
        if char in "([{" or text.startswith(r"\begin{", i):
            depth += 1
    return depths


def _list(text: str, items: Sequence[str], depth: int) -> Form:
    r"""Items of a list. "n = 1, 2, 3" names the list; "x = 1, y = 2" names each, which gives them an order."""
    parts = tuple(_read(item, depth + 1) for item in items)
    if len(parts) == 2 and _SIDE_CONDITION.fullmatch(parts[1].text):
        return parts[0]  # "3k + 1, k \\in Z"
    if any(r"\pm" in p.text and p.kind == "list" for p in parts):
        parts = tuple(q for p in parts for q in (p.parts if p.kind == "list" else (p,)))
    if len(items) == 2 and _NUMBER.fullmatch(items[0].strip()) and _all_words(items[1]):
        return replace(parts[0], unit=items[1].strip())  # "5, approximately"
    named = [p.kind == "relation" and p.mark == "=" and is_name(p.parts[0].text) for p in parts]
    if named[0] and not any(named[1:]) and all(p.kind in ("number", "expression", "bracket") for p in parts[1:]):
        return Form("list", _latex(text), (parts[0].parts[1], *parts[1:]))
    return Form("list", _latex(text), parts, mark="named" if all(named) else "")


def _matrix(text: str, body: str, depth: int) -> Form:
    rows = [r for r in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-z])", body.replace(r"\hline", "")) if r.strip()]
    cells = [row.split("&") for row in rows]
    width = max((len(row) for row in cells), default=0)
    parts = tuple(_read(cell, depth + 1) for row in cells for cell in row)
    return Form("matrix", _latex(text), parts, mark=str(width))


def _relation(text: str, depth: int) -> Form | None:
    depths = _all_depths(text)
    found = [m for m in _RELATION.finditer(text) if depths[m.start()] == 0]
    if not found:
        return None
    pieces, start = [], 0
    for match in found:
        pieces.append(text[start : match.start()])
        start = match.end()
    pieces.append(text[start:])
    if not pieces[-1].strip():
        return _read(pieces[0], depth + 1) if len(pieces) == 2 else None
    if not pieces[0].strip():
        return _read(pieces[-1], depth + 1)
    operators = " ".join("=" if m[0] in ("≡", r"\equiv") else m[0] for m in found)
    return Form("relation", _latex(text), tuple(_read(p, depth + 1) for p in pieces), mark=operators)


_OPEN = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle"}


def _bracket(text: str, depth: int) -> Form | None:
    """A bracket around the whole text: tuple, interval, set. Round brackets around one item only group it."""
    opened = next((o for o in _OPEN if text.startswith(o)), None)
    if opened is None:
        return None
    closed = next((c for c in _OPEN.values() if text.endswith(c)), None)
    start = len(opened) - 1
    if closed is None or _closing(text, 0 if len(opened) == 1 or opened == r"\langle" else start) != len(text) - 1:
        return None
    inside = text[len(opened) : -len(closed)]
    items = _split(inside, ",")
    if len(items) == 1 and not (opened == r"\{" or (opened, closed) == ("[", "]")):
        return _read(inside, depth + 1)
    builder = (
        re.fullmatch(r"\s*[a-zA-Z]\s*(?:\\in[^|:]{0,40})?[|:](.*)", inside, re.DOTALL) if opened == r"\{" else None
    )
    if builder and _RELATION.search(builder[1]):
        return _read(builder[1], depth + 1)
    mark = {r"\{": "{", r"\langle": "("}.get(opened, opened) + {r"\}": "}", r"\rangle": ")"}.get(closed, closed)
    parts = tuple(_read(i, depth + 1) for i in items)
    if mark == "[]" and len({(p.mark, len(p.parts)) for p in parts}) == 1 and parts[0].mark == "[]" and len(parts) > 1:
        return Form("matrix", _latex(text), tuple(q for p in parts for q in p.parts), mark=str(len(parts[0].parts)))
    return Form("bracket", _latex(text), parts, mark=mark)


def _closing(text: str, start: int) -> int:
    """The end of the bracket that opens at `start`; -1 if it does not close. Any kind closes any: [0, 1) is one."""
    if text.startswith(r"\langle", start):
        return len(text) - 1
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    return -1


def _without_unit(text: str) -> tuple[str, str]:
    r"""The text before a unit, and the unit: "5 cm", "15\text{ cm}^2", "90°", "20\%", "$720/year", "858颗"."""
    if text.endswith(("%", "percent", "percentage", "pct")):
        bare = re.sub(r"\s*\x02?\s*(?:%|percent(?:age)?|pct)\s*$", "", text)
        return (bare, "%") if re.search(r"\d|[a-z]$", bare) else (text, "")
    match = re.fullmatch(r"(.*?[\d)}!.a-zπ])\s*°\s*([CF]?)", text, re.DOTALL)
    if match and "°" not in match[1]:
        return match[1], "°" + match[2]
    match = re.fullmatch(r"([\dA-F]*\d[\dA-F.]*)\s*_\s*\{?\s*(\d+|\x02?\w+\x03?)\s*\}?", text)
    if match:
        return match[1], "base " + match[2].strip("\x02\x03")
    ordinal = re.fullmatch(r"(\d+)\s*\^?\{?\x02?(st|nd|rd|th)\x03?\}?", text)
    if ordinal:
        return ordinal[1], "th"
    power = r"(?:\s*\^\s*\{?\s*-?\d\s*\}?)?"
    match = re.fullmatch(rf"(.*?)\s*/?\s*((?:\x02[^\x03]*\x03{power}[\s/.]*)+)", text, re.DOTALL)
    if match and _mathematical(match[1]):
        return match[1], re.sub(r"[\x02\x03{}]", "", match[2]).strip()
    match = re.fullmatch(
        rf"(.*?\d[\d.)}}\]]*)\s*({_UNIT})\.?({power}(?:\s*/\s*[a-zA-Z]+{power})?)",
        text,
        re.DOTALL,
    )
    if (
        match
        and _mathematical(match[1])
        and (len(match[2]) > 1 or match[1] != text[: len(match[1])] or " " in text[len(match[1]) :])
    ):
        return match[1], match[2] + re.sub(r"[\s{}]", "", match[3])
    start = re.search(
        r"(?<=[\d)}\].!])\s*/?\s*(?:[a-zA-Z]{1,2}\s+)?(?<![\\a-zA-Z])(?:(?<=[\s/])[^\W\d_]{3,}|[^\W\d_]{4,})[^\d=\\^+*]*$|[一-鿿].*$",
        text,
    )
    if start and _mathematical(text[: start.start()]):
        unit = text[start.start() :].strip(" /.")
        words = _WORD.findall(unit)
        if not words or words[0] not in _FUNCTIONS or words[0] in _UNITS:
            return text[: start.start()], unit
    return text, ""


def _mathematical(text: str) -> bool:
    """Whether the text has a value and no prose."""
    return bool(re.search(r"\d|\\[a-z]", text)) and "\x02" not in text and not _WORD.search(_without_functions(text))


_INTEGER = re.compile(r"[-+]?\s*\d{1,1000}")
_PLAIN_FRACTION = re.compile(
    r"([-+]?)\s*(?:(\d{1,15})\s*)?\\frac\s*\{\s*([-+]?\s*[\d.]{1,500})\s*\}\s*\{\s*([-+]?\s*[\d.]{1,500})\s*\}"
)
_SLASH = re.compile(r"([-+]?)\s*(?:(\d{1,15})\s+)?([-+]?[\d.]{1,500})\s*/\s*([-+]?[\d.]{1,500})")
_SCIENTIFIC = re.compile(
    r"([-+]?[\d.]{1,500})\s*(?:(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{?\s*([-+]?\s*\d{1,3})\s*\}?|[eE]([-+]?\d{1,3}))"
)
_REPEATING = re.compile(r"([-+]?)(\d{0,100})\.(\d{0,100})\\(?:overline|bar|dot)\s*\{?(\d{1,100})\}?")


def _number(text: str) -> Form | None:
    """The exact value of a plain number, fraction, mixed number or power of ten; None for anything else."""
    text = re.sub(r"\s+", " ", text)
    repeating = _REPEATING.fullmatch(text)
    if repeating:
        sign, whole, fixed, period = repeating.groups()
        value = int(whole + fixed or 0) + Fraction(int(period), 10 ** len(period) - 1)
        return Form("number", text, value=(-value if sign == "-" else value) / 10 ** len(fixed))
    decimal = "." in text
    whole, above, below, power, sign = "0", "", "1", 0, ""
    if _NUMBER.fullmatch(text.replace("- ", "-")):
        above = text.replace("- ", "-")
    elif match := (_PLAIN_FRACTION.fullmatch(text) or _SLASH.fullmatch(text)):
        sign, whole, above, below = match[1], match[2] or "0", match[3], match[4]
    elif match := _SCIENTIFIC.fullmatch(text):
        above, power = match[1], int((match[2] or match[3]).replace(" ", ""))
    else:
        return None
    try:
        value = (Fraction(above.replace(" ", "")) / Fraction(below.replace(" ", "")) + int(whole)) * Fraction(
            10
        ) ** power
    except (ValueError, ZeroDivisionError):
        return None
    return Form("number", _latex(text), value=-value if sign == "-" else value, decimal=decimal or power < 0)


def time_of_day(text: str) -> tuple[int, bool] | None:
    """Seconds since midnight, and whether a.m. or p.m. is known; None: not a time."""
    match = _TIME.fullmatch(text)
    if not match or not (match[2] or match[4]) or int(match[2] or 0) > 59:
        return None
    hours = int(match[1]) % 12 + (12 if match[4] in ("p", "P") else 0) if match[4] else int(match[1])
    return hours * 3600 + int(match[2] or 0) * 60 + int(match[3] or 0), bool(match[4]) or hours > 12


def is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text.replace(r"\text{", "\x02").replace("}", "\x03") if r"\text{" in text else text))
