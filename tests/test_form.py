"""A board says how many replies are in the form asked for, and says loudly where its ranking is mostly about that."""

from __future__ import annotations

from factories import record

from harness.board import build, render
from harness.board.entries import Board, Entry, Ranking, Run
from harness.board.facts import BoardFacts, TaskFacts
from harness.board.form import warning
from harness.records.columns import Columns
from harness.types import Score


def entry(name: str, in_form: int, of: int = 20, role: str = "model") -> Entry:
    """A row of right replies, so many of which strict can read."""
    read, unread = (Score(1.0, "7"), Score(0.0, None, "no box"))
    records = [
        record(f"t/test/{i:03d}", scores={"strict": read if i < in_form else unread, "lenient": read}, checkpoint=name)
        for i in range(of)
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
    said = warning(made.rows, made.reading)
    assert said.startswith(
        "This ranking is mostly about form. Fewer than 90 % of the replies are in the form that the "
    )
    assert "(c: t 85.0 %; a: t 75.0 %)" in said
    lines = [line for line in render.board_markdown(made).splitlines() if line]
    assert lines[2] == f"> **This ranking is mostly about form.** {said.partition('. ')[2]}"
    assert render.summary_markdown(made).count("mostly about form") == 1


def test_a_single_row_has_a_score_and_no_ranking() -> None:
    made = board(entry("a", 3))
    assert warning(made.rows, made.reading).startswith("This score is mostly about form. ")


def test_nothing_is_said_where_replies_are_in_form_where_the_row_is_only_a_reference_or_form_does_not_rank() -> None:
    for made in (
        board(entry("a", 18), entry("b", 20)),
        board(entry("base", 0, role="base"), entry("sft", 20, role="strategy")),
        board(entry("a", 0), entry("b", 20), reading="lenient"),
    ):
        assert warning(made.rows, made.reading) == ""
        assert "mostly about form" not in render.board_markdown(made)


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
    assert "| Strategy | Task | Score % | n | Scored | Errors | Score % by level |" in text
    assert not any(word in text for word in ("Strict", "Lenient", "In form", "Cut off", "Unread"))
