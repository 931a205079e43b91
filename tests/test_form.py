"""A board says how many replies are in the form asked for, and says loudly where its ranking is mostly about that."""

from __future__ import annotations

from dataclasses import replace

from factories import record

from harness.board import build, render
from harness.board.entries import Board, Entry, Ranking, Run
from harness.board.facts import BoardFacts, TaskFacts
from harness.board.form import warnings
from harness.records.columns import Columns
from harness.types import Score


def entry(name: str, in_form: int, of: int = 20, role: str = "model", cut: int = 0) -> Entry:
    """A row of right replies, so many of which strict can read, and so many more that were cut off."""
    read, unread = (Score(1.0, "7"), Score(0.0, None, "no box"))
    records = [
        record(f"t/test/{i:03d}", scores={"strict": read if i < in_form else unread, "lenient": read}, checkpoint=name)
        for i in range(of)
    ]
    lost = {"strict": unread, "lenient": Score(0.0, None, "no answer")}
    records += [
        record(f"t/test/{of + i:03d}", scores=lost, checkpoint=name, finish="length", n_tokens=16) for i in range(cut)
    ]
    return Entry(name, role, (Run(name, Columns.of(records)),))


def board(*entries: Entry, reading: str = "strict") -> Board:
    return build.build_board("b", entries, BoardFacts(), ranking=Ranking(reading=reading))


def test_the_share_of_replies_in_the_form_asked_for_stands_in_every_row_and_task_with_its_interval() -> None:
    made = board(entry("a", 15), entry("b", 20))
    shares = {row["name"]: row["in_form"] for row in made.rows}
    assert (shares["a"]["value"], shares["a"]["n"], shares["b"]["value"]) == (0.75, 20, 1.0)
    assert 0.5 < shares["a"]["low"] < 0.75 < shares["a"]["high"] < 0.9
    assert made.rows[1]["tasks"]["t"]["in_form"] == shares["a"]
    lines = render.board_markdown(made).splitlines()
    head = next(line for line in lines if line.startswith("| Model |"))
    row = next(line for line in lines if line.startswith("| a |"))
    assert dict(zip(head.split("|"), row.split("|"), strict=True))[" In form % "] == " 75.0 "
    (csv,) = [of for of in render.csv_rows({**vars(made)}) if of["name"] == "a"]
    assert (csv["in_form"], csv["in_form_n"], csv["t_in_form"]) == (0.75, 20, 0.75)


def test_below_90_percent_the_first_lines_say_that_the_ranking_is_about_form_and_name_rows_and_figures() -> None:
    made = board(entry("a", 15), entry("b", 18), entry("c", 17))
    (said,) = warnings(made.rows, made.reading)
    assert said.startswith(
        "This ranking is mostly about form. Fewer than 90 % of the replies are in the form that the "
    )
    assert "(c: t 85.0 %; a: t 75.0 %)" in said
    lines = [line for line in render.board_markdown(made).splitlines() if line]
    assert lines[2] == f"> **This ranking is mostly about form.** {said.partition('. ')[2]}"
    assert render.summary_markdown(made).count("mostly about form") == 1


def test_a_single_row_has_a_score_and_no_ranking() -> None:
    made = board(entry("a", 3))
    (said,) = warnings(made.rows, made.reading)
    assert said.startswith("This score is mostly about form. ")


def test_nothing_is_said_where_replies_are_in_form_where_the_row_is_only_a_reference_or_form_does_not_rank() -> None:
    for made in (
        board(entry("a", 18), entry("b", 20)),
        board(entry("base", 0, role="base"), entry("sft", 20, role="strategy")),
        board(entry("a", 0), entry("b", 20), reading="lenient"),
    ):
        assert warnings(made.rows, made.reading) == []
        assert "mostly about form" not in render.board_markdown(made)


def test_a_reply_that_was_cut_off_is_not_counted_as_out_of_form() -> None:
    made = board(entry("a", 20, cut=2), entry("b", 18, cut=2))
    shares = {row["name"]: row["in_form"] for row in made.rows}
    assert (shares["a"]["value"], shares["a"]["n"], shares["b"]["value"], shares["b"]["n"]) == (1.0, 20, 0.9, 20)
    assert warnings(made.rows, made.reading) == []


def test_an_item_whose_reply_was_cut_off_with_one_seed_counts_with_the_others() -> None:
    rows = [entry("kd", 18, of=18, cut=2), entry("kd", 15, of=20)]
    runs = tuple(replace(one.runs[0], seed=seed) for seed, one in enumerate(rows))
    share = board(Entry("kd", "strategy", runs)).rows[0]["in_form"]
    assert (share["n"], share["value"]) == (20, (15 * 1.0 + 3 * 0.5 + 2 * 0.0) / 20)
    assert 0 < share["low"] < share["value"] < share["high"] <= 1


def test_above_10_percent_of_replies_cut_off_the_first_lines_say_that_the_token_limit_decides() -> None:
    made = board(entry("a", 20, cut=3), entry("b", 21, of=21, cut=2), entry("base", 0, of=0, cut=23, role="base"))
    (said,) = warnings(made.rows, made.reading)
    assert said.startswith("This ranking depends on the token limit. More than 10 % of the replies were cut off at it ")
    assert "(a: t 13.0 %)" in said
    assert f"> **This ranking depends on the token limit.** {said.partition('. ')[2]}" in render.board_markdown(made)


def test_a_row_whose_replies_were_all_cut_off_still_has_a_table_of_replies() -> None:
    made = board(entry("a", 0, of=0, cut=5))
    assert made.rows[0]["in_form"]["value"] is None
    assert "| Model | Strict % | In form % |" in render.board_markdown(made)


def test_a_board_of_choices_by_likelihood_has_one_score_and_no_column_of_form() -> None:
    score = Score(1.0, "", "lm-eval: acc,none")
    records = [record(f"t/test/{i}", scores={"strict": score, "lenient": score}, n_tokens=1) for i in range(3)]
    facts = BoardFacts(tasks={"t": TaskFacts(grader="lm-eval 0.4.13, acc")})
    made = build.build_board("b", [Entry("a", "model", (Run("a", Columns.of(records)),))], facts)
    assert made.rows[0]["in_form"]["value"] is None
    text = render.board_markdown(made)
    assert "| Model | Score % |\n" in text
    assert "**Score**: by the task's own metric (lm-eval 0.4.13, acc), over the likelihoods of given texts" in text
    assert "about form" not in text
    assert "| Model | Task | Score % | n | Scored | Errors | Score % by level |" in text
    assert not any(word in text for word in ("Strict", "Lenient", "In form", "Cut off", "Unread"))
