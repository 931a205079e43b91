"""What the printed scores of others carry: worked numbers of one paper, and files that cannot be read."""

from pathlib import Path

import pytest

from harness.board import published_scores, reproduced_scores
from harness.errors import DataError

PAPER = Path(__file__).parent.parent / "leaderboards" / "paper.toml"
GOOD = """
title = "t"
source = "s"
protocol = "p."
tasks = { gsm8k = 1319 }
rows = [{ name = "a", scores = { gsm8k = 50.0 } }, { name = "b", scores = { gsm8k = 40.0 } }]
claims = [{ text = "a beats b", where = "1", better = "a", than = "b" }]
"""


def test_the_gains_of_the_paper_have_the_z_values_worked_out_by_hand():
    # binomial, unpaired, single sample; intervals of the differences: 3.8, 5.8, 2.7, 4.4, 10.6 points
    claims = {
        claim["text"]: claim["found"]
        for claim in published_scores.published_facts(published_scores.read_published(PAPER))["claims"]
    }
    gains = {gap["task"]: gap for gap in claims["RL improves the Instruct model"]}
    z = {task: round(gap["z"], 1) for task, gap in gains.items()}
    assert z == {"gsm8k": 4.4, "math500": 0.3, "olympiadbench": 1.0, "minerva": 1.0, "amc23": 0.5}
    half = {task: 196 * gap["error"] for task, gap in gains.items()}
    expected = {"gsm8k": 3.8, "math500": 5.8, "olympiadbench": 2.7, "minerva": 4.4, "amc23": 10.6}
    assert half == pytest.approx(expected, abs=0.06)
    assert [task for task, gap in gains.items() if gap["verdict"] == "holds"] == ["gsm8k"]
    hybrid = {gap["task"]: gap for gap in claims["KD with LoRA + RL improves the Instruct model"]}
    assert round(hybrid["gsm8k"]["z"], 1) == 1.2
    assert hybrid["math500"]["verdict"] == "the other way"
    over = {gap["task"]: gap for gap in claims["RL alone beats KD with LoRA + RL"]}
    assert round(over["gsm8k"]["z"], 1) == 3.1
    assert claims["RL alone beats KD + RL"] == []


def test_the_page_says_whose_numbers_these_are_and_counts_nothing_that_was_not_printed():
    page = published_scores.published_markdown(published_scores.published_facts(published_scores.read_published(PAPER)))
    assert "> **Reported, other protocol.**" in page
    assert "| Instruct, KD + RL (training collapse) | – | – | – | – | – |" in page
    claim = next(line for line in page.splitlines() if line.startswith("| RL alone beats KD + RL |"))
    assert claim.endswith("| – | – | – | gsm8k, math500, olympiadbench, minerva, amc23 |")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("title = ", "titel = ", r"is not a file of reported scores \(TypeError"),
        ("= 50.0", "= 150.0", "row 'a', gsm8k: a score is a percentage, got 150.0"),
        ("= 50.0", "= nan", "a score is a percentage, got nan"),
        ("gsm8k = 1319", "math = 5", "row 'a' has a score on 'gsm8k', whose number of items is not given"),
        ('name = "b"', 'name = "a"', "two rows are called 'a'"),
        ('than = "b"', 'than = "c"', "claim 'a beats b' names 'c', which is not a row"),
        ("1319", '"many"', "gsm8k: a number of items is a whole number > 0, got 'many'"),
    ],
)
def test_a_file_that_does_not_fit_says_where(tmp_path, before, after, message):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert (
        published_scores.published_facts(published_scores.read_published(path))["claims"][0]["found"][0]["verdict"]
        == "holds"
    )
    path.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(DataError, match=message):
        published_scores.read_published(path)


def test_names_are_no_markup(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace('"a"', '"a|b"'))
    page = published_scores.published_markdown(published_scores.published_facts(published_scores.read_published(path)))
    assert "| a\\|b | 50.0 (" in page


def test_a_published_score_stands_beside_ours_with_both_protocols_and_the_items_that_ours_is_of():
    score = {
        "model": "m",
        "task": "lm_eval/arc_easy",
        "metric": "acc_norm,none",
        "published": 50.0,
        "protocol": "no shots",
        "source": "a card",
        "ours": "the same task",
        "why": "4 bits",
    }
    plan = {"about": "Of 4 bits.", "models": {"m": {"name": "M", "weights": "a file"}}, "scores": [score]}
    task = {"acc,none": 0.9, "acc_norm,none": 0.44, "n": {"original": 2376, "effective": 100}}
    measured = {"m": {"engine": {"vllm": "1"}, "weights": "abcdef0123456789", "tasks": {"lm_eval/arc_easy": task}}}
    page = reproduced_scores.reproduced_markdown(reproduced_scores.reproduced_facts(plan, measured))
    # Wilson, 44 of 100: 34.7 to 53.8
    assert "| M | lm_eval/arc_easy | acc_norm | 50.0 | a card: no shots | 44.0 (34.7 to 53.8) | 100 of 2,376 | " in page
    assert "| the same task | 4 bits |" in page
    assert "- M: a file (sha256 abcdef012345); vllm 1" in page
