"""What a board says of its strategies: worked by hand on planted scores, never more than the numbers carry."""

import random
import re
from dataclasses import replace

import numpy as np
from factories import record, trained_at

from harness.board import build, claims, render
from harness.board.entries import Entry, Run
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


def entry(name, share, seeds=4, status="done"):
    runs = [
        Run(
            "d" * 64,
            Columns.of(record(i, v) for i, v in scores.items()),
            seed=seed,
            cost=Cost(steps=1),
            status=status,
            why="NaN",
        )
        for seed, scores in enumerate(arm(name, share, seeds), 1)
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
    assert "**Best at 1e+12 flops each:** not settled; none is shown to be better than " in page
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
    assert "**Compared with the base** (corrected for these 5): better: " in page
    assert "not told apart: noop." in page
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
        {"a": a, "b": b, "value": gap, "low": -1.0, "high": 1.0, "n": 9, "p": p, "p_holm": p, "error": 0.1, "df": 6.0}
        for a, b, gap, p in (("a", "b", 0.01, 0.9), ("a", "c", 0.04, 0.2), ("b", "c", 0.03, 0.01))
    ]
    rows = [{"name": name, "role": "strategy", "runs": []} for name in "abc"]
    said = "\n".join(claims.claims_markdown(found, rows, {}))
    assert "**Best:** not settled; none is shown to be better than a or b." in said
    assert "| **c** | – | a (-4.0) | b (-3.0) |" in said


def test_one_family_of_claims_on_equal_strategies_is_false_at_most_one_time_in_twenty():
    rng = random.Random(5)
    false = 0
    for _ in range(200):
        arms = {n: table(column(rng, 0.6 + rng.gauss(0, 0.03), 150) for _ in range(4)) for n in "abcd"}
        false += any(pair["p_holm"] < intervals.LEVEL for pair in claims.compare_pairs(arms))
    assert false / 200 <= 0.08  # 5 % and two standard errors


def test_items_one_seed_has_no_verdict_for_are_left_out_of_the_pair():
    ours, theirs = table(arm("a", 0.7)), table(arm("b", 0.6))
    ours[2, 7] = np.nan
    (pair,) = claims.compare_pairs({"a": ours, "b": theirs})
    assert pair["n"] == 299
    assert pair["p_holm"] == pair["p"]
