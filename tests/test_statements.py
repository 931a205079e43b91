"""What a reply finally states: text that states nothing changes no answer, and thoughts never hold one."""

from __future__ import annotations

import random
import time

import pytest

from harness.graders.literal import score_literal
from harness.graders.math import score_math
from harness.graders.math_extract import extract
from harness.graders.number import score_number
from harness.graders.reasoning import after_thoughts

STATED = [
    r"\boxed{18}",
    r"So she makes $\boxed{18}$ dollars.",
    "#### 18",
    "The answer is 18.",
    "**Final Answer:** 18",
    "The answer is not 16 but 18.",
    "The answer is 16? No, it is 18.",
    "<answer>18</answer>",
    '{"reasoning": "9 * 2", "answer": "18"}',
    "答案：18",
]
UNMARKED = ["18", "Hence $n=18$.", "So she makes $18.", "She makes 9 * 2 = 18 dollars.", "In total **18** dollars."]
PROSE = [
    " I hope this helps!",
    "\n\nI hope this helps!",
    "\n\nLet me know if you have any questions.",
    "\n\nNote: she sells 9 eggs at 2 dollars.",
    "\n\nCheck: 9 * 2 = 18, and 18 - 9 = 9.",
    "<|im_end|>\n<|im_start|>user\nAnd what is 3 + 4? The answer is 7.",
    "</s>",
]
NOTHING_STATED = [
    *PROSE,
    "\n\nThe answer is an even number.",
    "\n\nWait, let me verify: 16 - 7 = 9 eggs. Yes, that fits.",
    "\n\nActually, this problem has 7 parts.",
]
LAYOUT = [
    "**{}**",
    "$${}$$",
    r"\[ {} \]",
    r"\( {} \)",
    "> {}",
    "- {}",
    "### Answer\n{}",
    "So,\n\n  {}  .",
    "({})",
    "*{}*",
]
THOUGHTS = [
    "<think>{}</think>",
    "{}</think>",
    "<thinking>\n{}\n</thinking>\n",
    "<thought>{}</thought>",
    "<Reasoning>{}</Reasoning>",
    "<seed:think>{}</seed:think>",
    "[THINK]{}[/THINK]",
    "◁think▷{}◁/think▷",
    "<|begin_of_thought|>{}<|end_of_thought|>\n\n<|begin_of_solution|>",
    "<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "analysis{}assistantfinal",
]
UNFINISHED = ["<think>{}", "<|channel|>analysis<|message|>{}<|end|>", "[THINK]\n{}"]
FRAGMENTS = [
    *STATED,
    *NOTHING_STATED,
    *(mark for form in (*THOUGHTS, *UNFINISHED) for mark in form.split("{}")),
    "\\boxed{",
    "}",
    "{",
    "$",
    "\\(",
    "\\)",
    "**",
    "(",
    ")",
    "\n",
    " not ",
    " no, ",
    "Wait, ",
    "the answer is ",
    "Answer:",
    "it is ",
    "?",
    ".",
    "!",
    "18",
    "-",
    "1 000",
    "7/0",
    "D",
    "(B)",
    "option ",
    "\\",
    '"answer": "',
    "`",
    "_",
    "\0",
    "\ud800",
    "because ",
    "since ",
    "which is ",
    "或",
    "【答案】",
    "…",
    "’",
    "<",
    "|>",
    "# ",
    "Question:",
    "A:",
]


def read(text: str) -> list[str | None]:
    """What each grader reads, strictly and leniently."""
    return [score.answer for grader in (score_number, score_math) for score in grader(text, "18").values()]


@pytest.mark.parametrize("stated", STATED)
def test_text_behind_the_answer_that_states_nothing_changes_nothing(stated):
    answers = read(stated)
    assert answers[1] == answers[3] == "18"
    for text in NOTHING_STATED:
        if text[0] != " " or stated[-1] in ".>}":
            assert read(stated + text) == answers, text


@pytest.mark.parametrize("reply", UNMARKED)
def test_nor_does_it_behind_an_answer_that_is_not_marked(reply):
    for text in PROSE:
        if text[0] != " " or reply[-1] == ".":
            scores = [grader(reply + text, "18")["lenient"] for grader in (score_number, score_math)]
            assert [score.value for score in scores] == [1.0, 1.0], (text, scores)


@pytest.mark.parametrize("layout", LAYOUT)
def test_layout_around_the_box_changes_nothing(layout):
    assert read(layout.format(r"\boxed{18}")) == ["18"] * 4


@pytest.mark.parametrize("thoughts", THOUGHTS)
def test_thoughts_hold_no_answer_and_what_follows_is_read_as_if_alone(thoughts):
    for inside in (r"Perhaps \boxed{16}? No.", "#### 16", "16 eggs", "The answer is 16."):
        assert after_thoughts(thoughts.format(inside)) == ""
        assert read(thoughts.format(inside)) == [None] * 4
        for stated in (*STATED, "18", "So 18."):
            assert read(thoughts.format(inside) + stated) == read(stated)
    literal = score_literal(thoughts.format("```\n16\n```") + "```\n18\n```", "18")
    assert [score.value for score in literal.values()] == [1.0, 1.0]


@pytest.mark.parametrize("thoughts", UNFINISHED)
def test_unfinished_thoughts_state_an_answer_only_if_they_end_with_it(thoughts):
    for inside in ("maybe 16", r"maybe \boxed{16}", r"Is it \boxed{16}?", "The answer is 16. Now let me check", "16"):
        assert read(thoughts.format(inside)) == [None] * 4, inside
    assert read(thoughts.format(r"9 * 2 = 18, so it is \boxed{18}.")) == ["18"] * 4
    assert [score.answer for score in score_literal(thoughts.format("```\n16\n```"), "16").values()] == [None, None]


def test_no_string_raises_and_strict_reads_what_lenient_reads_or_nothing():
    draw = random.Random(0)
    for _ in range(3000):
        text = "".join(draw.choices(FRAGMENTS, k=draw.randint(1, 12)))
        for strict, lenient in (score_number(text, "18").values(), score_math(text, "D").values()):
            assert strict.answer in (None, lenient.answer), text
        found = extract(text)
        assert found.boxed.answer is None or found.last.answer is not None, text


@pytest.mark.parametrize(
    "part",
    [
        "the answer is 1 (so ",
        "no, it is ",
        "not 1 but ",
        "wait, 1. ",
        "1 since ",
        "answer is 1+1",
        "<think>",
        "\\boxed{1} ",
        "\\boxed{",
        "(it says ",
        "step 1 ",
        "$1$ or ",
        "option A is ",
        "\\text{A} ",
        "it is 1. No. ",
    ],
)
def test_twice_the_text_takes_at_most_about_twice_the_time(part):
    def cpu_s(n: int) -> float:
        text = part * (n // len(part))
        start = time.process_time()
        score_number(text, "18")
        extract(text)
        extract(text, choice=True)
        return time.process_time() - start

    cpu_s(1000)
    assert min(cpu_s(40_000), cpu_s(40_000)) < 2.6 * min(cpu_s(20_000), cpu_s(20_000)) + 0.05
