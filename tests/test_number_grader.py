"""The grader of final numbers: what it reads, what it refuses, and what hostile replies cost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from harness.graders.number import MAX_NUMBER, score_number
from harness.graders.statements import MAX_TEXT

CASES = yaml.safe_load((Path(__file__).parent / "tasks" / "gsm8k_replies.yaml").read_text(encoding="utf-8"))
HOSTILE = {
    "digits": "9" * 10**6,
    "commas": "1," * 500_000,
    "fractions": "1/" * 500_000,
    "mixed numbers": "1 1/1 " * 160_000,
    "exponents": "1e999 " * 160_000,
    "markers": "the answer is " * 70_000,
    "words before a colon": "answer " * 140_000,
    "open boxes": "\\boxed{" * 140_000,
    "open strings": '"answer": "' * 90_000,
    "backslashes": '"answer": "' + "\\" * 10**6,
    "hashes": "#" * 10**6,
    "hashes and blanks": "#### " + " " * 10**6,
    "blank lines": "\n" * 10**6,
    "bold": "**1" * 300_000,
    "latex": "1\\frac{1}{" * 100_000,
    "control characters": "\0\x1b[3m" * 200_000,
    "lone surrogates": "\ud800" * 10**6,
    "further questions": "the answer is\nQ:" * 60_000,
    "thoughts": "</think>" * 120_000,
}


@pytest.mark.parametrize("case", CASES["accept"], ids=lambda case: case["reply"][-30:])
def test_an_answer_is_found_in_every_form_that_models_use(case: dict[str, str | bool]) -> None:
    scores = score_number(str(case["reply"]), str(case["target"]))
    assert {name: score.value == 1.0 for name, score in scores.items()} == {
        "strict": case["strict"],
        "lenient": case["lenient"],
    }


@pytest.mark.parametrize("case", CASES["reject"], ids=lambda case: case["reply"][-30:])
def test_a_reply_that_states_another_number_or_none_is_wrong(case: dict[str, str]) -> None:
    assert [score.value for score in score_number(case["reply"], case["target"]).values()] == [0.0, 0.0]


def test_a_reply_without_a_number_is_wrong_with_no_answer_and_a_reason() -> None:
    scores = score_number("I cannot tell.", "18")
    assert [score.answer for score in scores.values()] == [None, None]
    assert [score.why for score in scores.values()] == [
        r"no closed \boxed{} with a number",
        "no number in the reply",
    ]


def test_a_target_that_is_no_number_gives_no_verdict() -> None:
    score = score_number("#### 18", "many")["strict"]
    assert score.value is None
    assert "'many'" in score.why


def test_strict_reads_what_lenient_reads_or_nothing() -> None:
    scores = score_number("The answer is 4.\n\\boxed{5 apples}\nA: 5 apples", "5")
    assert scores["strict"].answer == scores["lenient"].answer == "5"
    scores = score_number("The answer is 4.\n\\boxed{5}\nA: 6", "5")
    assert (scores["strict"].answer, scores["lenient"].answer) == (None, "6")
    assert scores["strict"].why == "behind \\boxed{5} another answer is stated: '6', after 'A:'"
    for case in (*CASES["accept"], *CASES["reject"]):
        strict, lenient = score_number(str(case["reply"]), str(case["target"])).values()
        assert strict.answer in (None, lenient.answer), case


def test_float_noise_of_a_program_is_the_number_it_stands_for() -> None:
    assert score_number("18.000000000000004", "18")["lenient"].value == 1.0
    assert score_number("18.00000001", "18")["lenient"].value == 0.0


def test_long_numbers_are_compared_exactly_and_overlong_ones_are_not_read() -> None:
    long = "9" * MAX_NUMBER
    assert score_number(f"\\boxed{{{long}}}", long)["strict"].value == 1.0
    assert score_number(f"\\boxed{{{long[:-1]}8}}", long)["strict"].value == 0.0
    overlong = score_number("9" * (MAX_NUMBER + 1), "9")["lenient"]
    assert overlong.answer is None
    assert "1001 characters" in overlong.why


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_hostile_text_costs_less_than_a_second(name: str) -> None:
    start = time.process_time()
    assert score_number(HOSTILE[name], "18")["lenient"].value == 0.0
    assert score_number("\\boxed{18}\n" + HOSTILE[name], "18")["lenient"].value is not None
    assert time.process_time() - start < 1.0


def test_only_the_end_of_an_overlong_reply_is_read() -> None:
    assert score_number("\\boxed{18}" + "so " * MAX_TEXT, "18")["strict"].answer is None
    assert score_number("so " * MAX_TEXT + "\\boxed{18}", "18")["strict"].value == 1.0
