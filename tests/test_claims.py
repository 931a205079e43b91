"""What a board says of its strategies: worked by hand on planted scores, never more than the numbers carry."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from factories import record, trained_at
from scipy import stats as scipy_stats

from harness.board import build, claims, family, render
from harness.board.entries import Board, Entry, Ranking, Run
from harness.board.facts import BoardFacts
from harness.records.columns import Columns
from harness.statistics import intervals
from harness.types import Budget, Cost


def column(rng, share, n=300):
    """Item -> 0 or 1; items differ in difficulty, equally for all."""
    return {f"t/{i}": float(rng.random() < min(1.0, max(0.0, share + (i % 5 - 2) * 0.08))) for i in range(n)}


def arm(name, share, seeds=4, sd=0.01):
    rng = random.Random(name)
    return [column(rng, share + rng.gauss(0, sd)) for _ in range(seeds)]


def table(columns):
    """(seeds, items)"""
    return np.array([list(column.values()) for column in columns])


def entry(name, share, seeds=4, status="done", sd=0.01):
    runs = [
        Run(
            "d" * 64,
            Columns.of(record(i, v) for i, v in scores.items()),
            seed=seed,
            cost=Cost(steps=1),
            status=status,
            why="NaN",
        )
        for seed, scores in enumerate(arm(name, share, seeds, sd), 1)
    ]
    return Entry(name, "strategy", tuple(runs))


def base(share=0.3):
    return Entry(
        "base", "base", (Run("b" * 64, Columns.of(record(i, v) for i, v in column(random.Random(1), share).items())),)
    )


def text(*entries):
    board = build.build_board("t", [base(), *entries], trained_at(Budget(1e12, "flops")))
    return board, render.board_markdown(board)


def test_a_large_difference_is_claimed_and_a_small_one_is_not():
    _, page = text(entry("sft", 0.8), entry("kd", 0.79), entry("rl", 0.5))
    assert "**Best at 1e+12 flops each:** not settled between " in page
    row = next(line for line in page.splitlines() if line.startswith("| **rl** |") and line.count("|") == 5)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2] == cells[3] == "–"
    assert "sft (-" in cells[4]
    assert "kd (-" in cells[4]


def test_a_hybrid_is_held_against_its_parts_and_the_base():
    _, page = text(entry("kd", 0.6), entry("rl", 0.6), entry("kd+rl", 0.85), entry("kd&rl", 0.6), entry("noop", 0.3))
    line = next(line for line in page.splitlines() if line.startswith("- **kd+rl compared with its parts:**"))
    assert line.count("(better)") == 2
    assert "- **kd&rl compared with its parts:**" in page
    assert "**Compared with the base**, strict: better: " in page
    assert re.search(r"; not told apart: noop \(.*\)\.", page)
    assert "over all 15 tests of this board (10 pairs and 5 more of differences to base, by reading or task)" in page
    assert "**Best at 1e+12 flops each:** kd+rl, better than each of the 4 others." in page
    assert "No claim about" not in page
    assert len(re.findall(r"^\| \S+ less \S+ \| 300 \| [+-]", page, re.MULTILINE)) == 10  # every pair, folded


def test_shares_and_blanks_in_a_name_hide_no_part():
    _, page = text(entry("kd", 0.6), entry("kd:0.3 + rl:0.7", 0.85))
    assert "compared with its parts:** +" in page
    assert "points on kd (better); nothing on rl, which is not among these." in page


def test_too_few_seeds_and_collapsed_runs_make_no_claim():
    board, page = text(entry("sft", 0.9, seeds=3), entry("rl", 0.5), entry("kd", 0.7, status="collapsed"))
    assert board.pairs == []
    assert "What can be claimed" not in page


def test_who_is_left_out_is_named_with_the_reason():
    best = entry("sft", 0.95)
    fallen = Entry("sft", "strategy", (*best.runs[:3], replace(best.runs[3], status="collapsed", why="NaN")))
    _, page = text(fallen, entry("kd", 0.8), entry("rl", 0.5), entry("noop", 0.3, seeds=1))
    assert "Every pair of these 2 strategies" in page
    assert "**Best at 1e+12 flops each:** kd, better than the other." in page
    assert "**No claim about:** sft (1 of 4 runs collapsed), noop (1 seed)." in page


def test_who_is_beaten_by_anyone_is_not_among_the_best():
    """a and b, a and c are not told apart; b beats c."""
    found = [
        {"a": a, "b": b, "value": gap, "low": -1.0, "high": 1.0, "n": 9, "p": p, "error": 0.01, "df": 6.0}
        for a, b, gap, p in (("a", "b", 0.01, 0.9), ("a", "c", 0.04, 0.2), ("b", "c", 0.03, 0.01))
    ]
    family.correct(found)
    rows = [{"name": name, "role": "strategy", "runs": []} for name in "abc"]
    said = "\n".join(claims.claims_markdown(Board("t", rows, ["t"], {"t": 9}, BoardFacts(), pairs=found, tests=3)))
    assert family.rank_ranges(found) == {"a": (1, 3), "b": (1, 2), "c": (2, 3)}
    assert "**Best:** not settled between a, b; the other is worse than at least one of them." in said
    assert "| **c** | – | a (-4.0) | b (-3.0) |" in said


def test_one_family_of_claims_on_equal_strategies_is_false_at_most_one_time_in_twenty():
    rng = random.Random(5)
    false = 0
    for _ in range(200):
        arms = {n: table(column(rng, 0.6 + rng.gauss(0, 0.03), 150) for _ in range(4)) for n in "abcd"}
        false += min(intervals.holm([pair["p"] for pair in family.pairs_of_strategies(arms)])) < intervals.LEVEL
    assert false / 200 <= 0.08  # 5 % and two standard errors


def test_items_one_seed_has_no_verdict_for_are_left_out_of_the_pair():
    ours, theirs = table(arm("a", 0.7)), table(arm("b", 0.6))
    ours[2, 7] = np.nan
    (pair,) = family.pairs_of_strategies({"a": ours, "b": theirs})
    assert pair["n"] == 299


def test_ranks_of_single_runs_hold_the_true_ones_nineteen_times_in_twenty():
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        p = np.array([0.7, 0.66, 0.6, 0.5])
        scores = (rng.random((4, 300)) < np.clip(p[:, None] + rng.normal(0, 0.15, 300), 0, 1)).astype(float)
        found = family.pairs_of_checkpoints({name: row[None] for name, row in zip("abcd", scores, strict=True)})
        family.correct(found)
        held += all(low <= rank <= high for rank, (low, high) in enumerate(family.rank_ranges(found).values(), 1))
    assert held / 200 >= 0.92  # 95 % less two standard errors


def test_pairs_of_checkpoints_are_those_of_the_paired_test():
    rng = np.random.default_rng(0)
    scores = {name: (rng.random((1, 90)) < 0.6).astype(float) for name in "abc"}
    found = family.pairs_of_checkpoints(scores)
    expected = [intervals.paired(scores[pair["a"]][0], scores[pair["b"]][0]) for pair in found]
    assert [(pair["value"], pair["p"]) for pair in found] == [pytest.approx((of.value, of.p)) for of in expected]
    assert found[0]["p"] != family.pairs_of_checkpoints(scores, np.repeat(np.arange(45), 2))[0]["p"]
    assert family.pairs_of_checkpoints({"a": scores["a"]}) == []


def single(name, role, share, rng):
    return Entry(name, role, (Run(name * 64, Columns.of(record(i, v) for i, v in column(rng, share).items()), seed=1),))


def test_a_strategy_of_one_seed_is_no_fixed_reference():
    one = replace(entry("sft", 0.5, seeds=1), name="sft")
    facts = trained_at(Budget(1e12, "flops"))
    board = build.build_board("t", [one, entry("kd", 0.8), entry("rl", 0.8)], facts, ranking=Ranking("sft"))
    assert {row["name"]: row["difference"]["verdict"] for row in board.rows if "difference" in row} == {
        "kd": "no claim",
        "rl": "no claim",
    }
    assert board.tests == 1
    assert "(no claim: too few seeds)" in render.board_markdown(board)
    fixed = build.build_board("t", [base(), entry("kd", 0.8), entry("noop", 0.8, seeds=3)], facts)
    verdicts = {row["name"]: row["difference"]["verdict"] for row in fixed.rows if "difference" in row}
    assert verdicts == {"kd": "better", "noop": "no claim"}


def test_all_tests_of_a_board_are_one_family():
    board, _ = text(entry("sft", 0.8), entry("kd", 0.79), entry("rl", 0.5))
    gaps = [row["difference"] for row in board.rows if "difference" in row]
    tests = [*board.pairs, *gaps]
    assert board.tests == len(tests) == 6
    assert [test["p_holm"] for test in tests] == intervals.holm([test["p"] for test in tests])
    rng = random.Random(3)
    models = [single("a", "model", 0.5, rng), single("b", "model", 0.7, rng), single("c", "model", 0.6, rng)]
    beside = {"value": 0.1, "p": 0.04}
    ranked = build.build_board("t", models, trained_at(None), ranking=Ranking("a", beside=[beside]))
    assert ranked.tests == 4  # three pairs, two of them the differences to a, and the one beside
    assert {"p_holm", "verdict"} <= beside.keys()


def test_a_claim_says_what_draw_of_the_traces_would_undo_it():
    board, page = text(entry("sft", 0.8, sd=0.001), entry("kd", 0.7, sd=0.001))
    (pair,) = board.pairs
    points = family.holds_up_to(pair)
    wider = {**pair, "error": (pair["error"] ** 2 + 2 * (points / 100) ** 2) ** 0.5}
    p = 2 * scipy_stats.t.sf(abs(pair["value"]) / wider["error"], pair["df"])
    assert p * pair["p_holm"] / pair["p"] == pytest.approx(0.05)
    assert family.false_claims_if_drawn(pair, 0.0) == pytest.approx(0.05)
    assert family.false_claims_if_drawn(pair, 5.0) > 0.3
    assert f"| {points:.1f} |" in page
    assert "**Drawn once for all seeds**" in page
