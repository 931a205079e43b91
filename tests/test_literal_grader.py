"""Python values in replies: real forms, real recorded runs, and texts meant to hurt."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.graders.literal import MAX_LITERAL, score_literal

CASES = yaml.safe_load((Path(__file__).parent / "tasks" / "cruxeval_replies.yaml").read_text(encoding="utf-8"))


def verdicts(reply: str, target: str) -> tuple[float | None, float | None]:
    scores = score_literal(reply, target)
    return scores["strict"].value, scores["lenient"].value


@pytest.mark.parametrize("case", CASES["accept"], ids=lambda case: case["reply"][:30])
def test_replies_that_state_the_value_are_accepted(case: dict[str, Any]) -> None:
    assert verdicts(case["reply"], case["target"]) == (float(case["strict"]), float(case["lenient"]))


@pytest.mark.parametrize("case", CASES["reject"], ids=lambda case: case["reply"][:30])
def test_replies_that_do_not_are_rejected(case: dict[str, Any]) -> None:
    assert verdicts(case["reply"], case["target"]) == (0.0, 0.0)


@pytest.mark.parametrize("target", ["", "f(x)", "[1", "x" * 10, "[" * 60 + "]" * 60, "'" + "a" * MAX_LITERAL + "'"])
def test_a_target_that_is_no_literal_makes_nobody_right_or_wrong(target: str) -> None:
    scores = score_literal("#### 1", target)
    assert [score.value for score in scores.values()] == [None, None]
    assert "is not a Python literal" in scores["strict"].why


def test_the_verdict_says_what_was_read_and_why() -> None:
    scores = score_literal("It is `[1]`.", "[1]")
    assert scores["strict"].answer is None
    assert scores["strict"].why == "no fenced block with the value"
    assert (scores["lenient"].answer, scores["lenient"].why) == ("[1]", "last code in the text: equals [1]")
    score = score_literal("```python\n1 + 1\n```", "2")["strict"]
    assert (score.answer, score.why) == (None, "the last fenced block is not one Python literal: '1 + 1'")
    score = score_literal("```python\n[1]\n```\n#### [2]", "[1]")["strict"]
    assert score.why == "behind the fenced block another value is stated: '[2]', after '####'"


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 100_000, "#### " + "[" * 1900, "(" * 49 + "-" * 1900, "-" * 1990 + "1", "#### " + "-" * 1990 + "1"),
        *("not " * 499 + "1", "'" * 100_000, '"answer": ' * 20_000, "== '" * 25_000, "`" * 100_000, "```\n" * 30_000),
        *("9" * 100_000, "#### " + "9" * 1999, "#### 1e99999", "answer is " * 10_000, "result" + " " * 100_000),
        *("\\boxed{" * 15_000, "[ANSWER]" * 12_000, "1+" * 900 + "1j", "x[" * 49 + "]" * 49, "#### {[]: 1}", "#### \0"),
        *("#### '\\N{x}'", "#### '\ud800'", "#### '\\d'", "value " + "is " * 30_000, "lambda:" * 300, "1if 1else 2"),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_hostile_texts_cost_little_and_never_crash(text: str) -> None:
    started = time.process_time()
    for target in ("[1]", "'a'"):
        assert verdicts(text, target) == (0.0, 0.0)
    assert time.process_time() - started < 1.0


def rows(name: str) -> list[dict[str, Any]]:
    if "HARNESS_DATA" not in os.environ:
        pytest.skip("HARNESS_DATA is not set: no recorded generations here")
    path = Path(os.environ["HARNESS_DATA"]) / name
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


@pytest.mark.data
def test_all_8000_recorded_verdicts_on_codellama_are_ours_too() -> None:
    """The benchmark's own verdicts, found by running `assert f(x) == <reply>`; recorded pass@1: 34.2125."""
    targets = {row["id"]: row["output"] for row in rows("code/cruxeval/cruxeval.jsonl")}
    ours, recorded = [], []
    for row in rows("generations/cruxeval_codellama-7b_t0.2_output.jsonl.gz"):
        ours += [score_literal(reply, targets[row["id"]])["lenient"].value == 1.0 for reply in row["generations"]]
        recorded += row["scores"]
    assert ours == recorded
    assert 100 * sum(ours) / len(ours) == 34.2125


@pytest.mark.data
def test_every_reply_that_zeroeval_counts_as_right_is_right_here_and_14_more_are() -> None:
    """ZeroEval compares spellings, and cuts some answers at a quote; the 14 were read one by one."""
    found = rows("generations/zeroeval_crux_Qwen2.5-7B-Instruct.jsonl.gz")
    ours = [score_literal(row["output"][0], row["answer"])["lenient"].value == 1.0 for row in found]
    theirs = [row["published_rule_match"] is True for row in found]
    assert (sum(theirs), sum(ours)) == (422, 436)
    assert all(mine for mine, published in zip(ours, theirs, strict=True) if published)
