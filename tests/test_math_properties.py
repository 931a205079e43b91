"""Properties of the comparison of maths answers, on answers that nobody wrote: random expressions and layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import sympy
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.graders.math_algebra import equal_by_algebra
from harness.graders.math_compare import alike

CASES = yaml.safe_load((Path(__file__).parent / "tasks" / "math_answers.yaml").read_text(encoding="utf-8"))
X, Y = sympy.symbols("x y")
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
LAYOUT = (
    r"\displaystyle {}", r"\left. {} \right.", r"\mathbf{{{}}}", r"\boxed{{{}}}", r"{{{}}}", r"\color{{red}}{{{}}}",
    r"\,{}\;",
    r"\textcolor{{blue}}{{{}}}", r"\large {}", r"{}\hfill", r"\underline{{{}}}", r"$ {} $", r"\boldsymbol{{{}}}",
    r"\begin{{aligned}}{}\end{{aligned}}", r"{} \quad\checkmark", r"\hspace{{1cm}}{}",
)  # fmt: skip


def equal(gold, pred):
    return alike(gold, pred, equal_by_algebra)[0]


small = st.integers(-6, 6)


@st.composite
def polynomials(draw):
    """(sympy object, how it is written) of a polynomial of degree 2 in x and y, its terms in any order."""
    terms = draw(st.lists(st.tuples(small, st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4))
    value = sympy.Add(*(c * X**a * Y**b for c, a, b in terms))
    written = "".join(
        f"{c:+d}{draw(st.sampled_from(['', '*', ' ']))}x^{{{a}}}y^{b}" for c, a, b in draw(st.permutations(terms))
    )
    return value, written


@st.composite
def rationals(draw):
    """(sympy object, how it is written) of a quotient of two linear expressions in x."""
    a, b, c, d = (draw(small) for _ in range(4))
    if c == d == 0:
        d = 1
    style = draw(
        st.sampled_from([r"\frac{{{0}}}{{{1}}}", "({0})/({1})", r"\dfrac{{ {0} }}{{ {1} }}", r"{{{0} \over {1}}}"])
    )
    return (a * X + b) / (c * X + d), style.format(f"{a}x{b:+d}", f"{c}x{d:+d}")


@quick
@given(polynomials(), polynomials(), small)
def test_polynomials_are_equal_if_sympy_says_so(first, second, shift):
    for one, other in (
        (first, second),
        (first, (first[0] + shift, f"{first[1]}{shift:+d}")),
        (first, (first[0], sympy.latex(first[0]))),
    ):
        assert equal(one[1], other[1]) == (sympy.expand(one[0] - other[0]) == 0)


@quick
@given(rationals(), rationals())
def test_quotients_are_equal_if_sympy_says_so(first, second):
    for other in (second, (first[0], sympy.latex(sympy.cancel(first[0])))):
        assert equal(first[1], other[1]) == (sympy.cancel(first[0] - other[0]) == 0)


@quick
@given(st.integers(2, 9), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["+", "-", ""]))
def test_moving_a_brace_changes_the_verdict_unless_the_value_stays(base, first, second, operator):
    inside = f"{first}{operator}{second}"
    value = sympy.sympify(inside)
    rest = f"{operator}{second}" if operator else f"({second})"
    moved = sympy.sympify(f"{base}**{first}" + (rest if operator else f"*{second}"))
    assert equal(f"{base}^{{{inside}}}", f"{base}^{{{first}}}{rest}") == (sympy.Integer(base) ** value == moved)
    quotient = sympy.Rational(first, int(f"{second}{base}"))
    assert equal(rf"\frac{{{first}}}{{{second}{base}}}", rf"\frac{{{first}{second}}}{{{base}}}") == (
        quotient == sympy.Rational(int(f"{first}{second}"), base)
    )


@quick
@given(st.sampled_from(CASES["accept"]), st.lists(st.sampled_from(LAYOUT), min_size=1, max_size=3))
def test_layout_never_changes_a_verdict(pair, layout):
    gold, pred = pair["gold"], pair["pred"]
    wrapped = pred
    for each in layout:
        wrapped = each.format(wrapped)
    assert equal(gold, wrapped) == equal(gold, pred)


@pytest.mark.parametrize("kind", ["accept", "reject"])
def test_equality_is_symmetric_and_reflexive(kind):
    for pair in CASES[kind]:
        gold, pred = pair["gold"], pair["pred"]
        assert equal(gold, gold)
        assert equal(pred, pred)
        assert equal(gold, pred) == equal(pred, gold), pair
