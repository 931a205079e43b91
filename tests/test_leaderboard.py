"""The board is a pure function of records: its numbers, its refusals, its text."""

import json
from dataclasses import asdict, replace

import pytest
from factories import every_fact, record

from harness.board import build, render
from harness.board.entries import Entry, Run, board_from_json
from harness.board.facts import BoardFacts, Note
from harness.errors import NotComparable
from harness.records.columns import Columns
from harness.rendering import tables
from harness.statistics import intervals
from harness.types import Cost, Score


def run(values, *, seed=None, cost=None, status="done", why="", **changes):
    records = [record(f"t/test/{i}", value, **changes) for i, value in enumerate(values)]
    return Run("d" * 64, Columns.of(records), seed=seed, cost=cost, status=status, why=why)


BASE = Entry("base", "base", (run([1, 0, 0, 0] * 25),))
SFT = Entry(
    "sft", "strategy", (run([1, 1, 0, 0] * 25, seed=1, cost=Cost(steps=3, flops_train=2e9, flops_teacher=1e9)),)
)


def test_scores_intervals_and_differences_are_those_of_the_statistics():
    board = build.build_board("t", [BASE, SFT], BoardFacts())
    assert [row["name"] for row in board.rows] == ["sft", "base"]
    expected = asdict(intervals.wilson(50, 100))
    assert board.rows[0]["strict"] == {key: expected[key] for key in ("value", "low", "high", "n", "method")}
    gap = asdict(replace(intervals.tango(25, 0, 100), p=intervals.mid_p(25, 0)))
    assert {key: board.rows[0]["difference"][key] for key in gap} == gap
    assert "difference" not in board.rows[1]


def test_one_seed_is_called_a_single_run_and_several_get_their_own_interval():
    single = render.board_markdown(build.build_board("t", [BASE, SFT], BoardFacts()))
    assert "| single run |" in single
    assert "**Single run**: one training seed" in single
    runs = tuple(run([1, 1, i % 2, 0] * 25, seed=i) for i in range(4))
    board = build.build_board("t", [BASE, Entry("rl", "strategy", runs)], BoardFacts())
    assert board.rows[0]["difference"]["method"].startswith("crossed random effects, df ")
    assert board.rows[0]["difference"]["df"] <= 6
    assert 0 <= board.rows[0]["strict"]["low"] <= board.rows[0]["strict"]["high"] <= 1
    few = [Entry("rl", "strategy", (run([1, 1, 1, 0], seed=1), run([1, 0, 0, 0], seed=2)))]
    wide = build.build_board("t", few, BoardFacts()).rows[0]["strict"]
    assert (wide["low"], wide["high"]) == (0.0, 1.0)
    assert "Single run" not in render.board_markdown(board)


def test_ranks_are_what_the_items_leave_possible_and_the_best_are_bold():
    columns = {"a": [1, 1, 1, 0] * 25, "b": [1, 1, 0, 1] * 25, "c": [0, 0, 0, 1] * 25}
    entries = [Entry(name, "strategy", (run(values, seed=1),)) for name, values in columns.items()]
    board = build.build_board("t", [BASE, *entries], BoardFacts())
    places = {row["name"]: (row.get("rank"), row.get("among_best")) for row in board.rows}
    assert places == {"a": ([1, 2], True), "b": ([1, 2], True), "c": ([3, 3], False), "base": (None, None)}
    text = render.board_markdown(board)
    assert "| **a** | 1 to 2 |" in text
    assert "| c | 3 |" in text
    assert "| *base* | – |" in text
    head = next(line for line in text.splitlines() if line.startswith("| Strategy"))
    assert head.count("|") - 1 <= 9


def test_a_reply_that_could_not_be_judged_is_neither_right_nor_wrong():
    board = build.build_board("t", [Entry("base", "base", (run([1, 0, None, None]),))], BoardFacts())
    row = board.rows[0]
    assert row["strict"]["n"] == 2
    assert row["strict"]["value"] == 0.5
    assert row["counts"] == {"n": 4, "scored": 2, "truncated": 0, "errored": 2}


def test_every_reply_is_counted_once():
    records = (
        record("a", 1.0),
        record("b", 0.0, finish="length"),
        record("c", None, finish="error"),
        record("d", None, finish="length"),
        record("e", 0.0, scores={"strict": Score(0.0), "lenient": Score(0.0)}),
    )
    counts = build.counts([Columns.of(records)])
    assert counts["n"] == counts["scored"] + counts["truncated"] + counts["errored"] == 5
    assert counts == {"n": 5, "scored": 2, "truncated": 1, "errored": 2}


def test_nothing_judged_is_no_verdict_never_zero():
    board = build.build_board("t", [Entry("base", "base", (run([None, None]),))], BoardFacts())
    assert board.rows[0]["strict"]["value"] is None
    assert "| no verdict |" in render.board_markdown(board)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("prompt", {"prompt_hash": "other"}),
        ("decoding", {"sampling": {"max_tokens": 16, "temperature": 1.0}}),
        ("grader version", {"grader_version": "t 2"}),
        ("engine", {"engine": "vllm 1 float32"}),
        ("sandbox", {"sandbox": "T3"}),
        ("item", {"sample_hash": "other"}),
    ],
)
def test_rows_that_cannot_be_compared_are_refused_by_field(field, changes):
    other = Entry("x", "strategy", (run([1, 1], seed=1, **changes),))
    with pytest.raises(NotComparable, match=f"'x' and 'base' differ in {field} at t t/test/0"):
        build.build_board("t", [Entry("base", "base", (run([1, 0]),)), other], BoardFacts())


@pytest.mark.parametrize("role", ["teacher", "model"])
def test_a_reference_with_a_chat_template_of_its_own_is_a_row_and_a_note(role):
    """The teacher comes first, as in `harness compare`: what was trained is compared with the base all the same."""
    teacher = Entry(role, role, (run([1, 1], prompt_hash="other"),))
    base, trained = Entry("base", "base", (run([1, 0]),)), Entry("x", "strategy", (run([1, 1], seed=1),))
    board = build.build_board("t", [teacher, base, trained], BoardFacts())
    assert [note.kind for note in board.notes] == ["prompts differ"]
    assert {row["name"]: row.get("difference", {}).get("value") for row in board.rows} == {
        role: 0.5, "x": 0.5, "base": None
    }  # fmt: skip
    odd = Entry("y", "strategy", (run([1, 1], seed=1, prompt_hash="other"),))
    with pytest.raises(NotComparable, match="'y' and 'base' differ in prompt"):
        build.build_board("t", [teacher, base, odd], BoardFacts())
    recorded = Entry("m", "model", (replace(run([1, 1], prompt_hash="other"), digest="recorded:x"),))
    with pytest.raises(NotComparable, match="'m' and 'base' differ in prompt"):
        build.build_board("t", [base, recorded], BoardFacts())


def test_rows_over_different_items_are_refused():
    with pytest.raises(NotComparable, match=r"not evaluated on the same items: .*t/test/2"):
        build.build_board(
            "t", [Entry("base", "base", (run([1, 0]),)), Entry("x", "strategy", (run([1, 0, 1]),))], BoardFacts()
        )


def test_a_collapsed_run_is_shown_with_its_reason():
    dead = Entry(
        "rl", "strategy", (run([0, 0, 0, 0] * 25, seed=1, cost=Cost(), status="collapsed", why="loss is NaN"),)
    )
    assert "| rl | collapsed: loss is NaN | 0.0" in render.board_markdown(
        build.build_board("t", [BASE, dead], BoardFacts())
    )


def test_markdown_survives_a_round_trip_through_json():
    board = build.build_board("t|1", [BASE, SFT], every_fact(), [Note("limited", limit=7)])
    again = board_from_json(json.loads(json.dumps(asdict(board))))
    assert again == board
    text = render.board_markdown(board)
    assert render.board_markdown(again) == text
    assert "> Only the first 7 items of each task were used" in text


def test_tables_escape_bars_and_keep_trailing_zeros():
    assert tables.table(["a|b"], [["61.30"]]) == ["| a\\|b |", "| --- |", "| 61.30 |"]


def test_a_second_score_leaves_out_items_known_to_be_faulty():
    defects = {"t": {"t/test/0": "the gold is wrong", "t/test/999": "not evaluated here"}}
    records = tuple(record(f"t/test/{i}", float(i > 0)) for i in range(4))
    board = build.build_board(
        "x", [Entry("m", "model", (Run("d", Columns.of(records)),))], BoardFacts(), defects=defects
    )
    task = board.rows[0]["tasks"]["t"]
    assert task["strict"]["value"] == 0.75
    sound = task["without_defects"]
    assert (sound["n_defects"], sound["n"], sound["strict"]["value"]) == (1, 3, 1.0)
    assert "| m | t without 1 items known to be faulty | 100.0" in render.board_markdown(board)
    plain = build.build_board("x", [Entry("m", "model", (Run("d", Columns.of(records)),))], BoardFacts())
    assert "without_defects" not in plain.rows[0]["tasks"]["t"]


def test_a_legend_has_at_most_five_lines():
    runs = tuple(run([1, 1, i % 2, 0] * 25, seed=i, cost=Cost()) for i in range(2))
    for of in (runs, runs[:1], runs * 2):
        tuned = [replace(SFT, tried=(4,)), Entry("rl", "strategy", of, tried=(4,))]
        board = build.build_board("t", [BASE, *tuned], BoardFacts())
        lines = [line for line in render.legend(board) if line]
        assert 3 <= len(lines) <= 5, lines
