"""Boards of runs that exist: those that can be compared are ranked together, all others only listed."""

import json
import os
from pathlib import Path

import pytest
from factories import harness, record, refuse_unlike_schema, written
from test_existing_runs import samples

from harness.board import against_reference, collection, existing_runs, render
from harness.board.entries import DevSelection, Entry, Run
from harness.errors import DataError
from harness.records.columns import Columns
from harness.statistics import intervals
from harness.types import Cost

A, B, C = ([int((i * k) % 10 < 6) for i in range(120)] for k in (7, 3, 1))


@pytest.fixture
def four(tmp_path):
    """Two runs of one task, one of the same under other prompts, one of another task."""
    written(tmp_path / "a", A, "a" * 64, "a")
    written(tmp_path / "b", B, "b" * 64, "b")
    written(tmp_path / "other", C, "c" * 64, "other", sampling={"temperature": 1.0})
    written(tmp_path / "u", C, "d" * 64, "u", task="u")
    return tmp_path


def test_runs_that_can_be_compared_are_one_board(four):
    facts, groups = collection.collect_runs("t", [four / "a", four / "b"], "b", "strict")
    assert "kind" not in facts
    assert [[entry.name for entry in group] for group in groups] == [["a", "b"]]
    assert facts["reference"] == "b"
    row = next(row for row in facts["rows"] if row["name"] == "a")
    expected = intervals.paired([float(v) for v in A], [float(v) for v in B])
    assert (row["difference"]["value"], row["difference"]["p"]) == (expected.value, expected.p)


def test_others_are_listed_and_never_ranked(four):
    facts, groups = collection.collect_runs("t", [four / name for name in ("a", "b", "other", "u")], "", "strict")
    assert facts["kind"] == "collection"
    refuse_unlike_schema(facts)
    assert [[entry.name for entry in group] for group in groups] == [["a", "b"]]
    (board,) = facts["boards"]
    assert {row["name"]: row["rank"] for row in board["rows"]} == {"a": [1, 2], "b": [1, 2]}
    assert [row["name"] for row in facts["rows"]] == ["a", "b", "other", "u"]
    assert all("rank" not in row for row in facts["rows"])
    text = collection.collection_markdown(facts)
    assert "## t: 2 that can be compared, 120 items" in text
    assert text.index("| other | 120 |") > text.index("## Every run")


def test_the_lenient_reading_ranks_where_it_is_asked_for(four):
    for name, strict, lenient in (("x", 0.0, A), ("y", 0.0, B)):
        folder = written(four / name, [strict] * 120, name * 64, name)
        (file,) = folder.glob("evals/*/records-1.jsonl")
        lines = [
            record(f"t/test/{i:03d}", strict, lenient=float(v), checkpoint=name * 64) for i, v in enumerate(lenient)
        ]
        file.write_text("".join(leaderboard_line(r) for r in lines))
    facts, _ = collection.collect_runs("t", [four / "x", four / "y"], "", "lenient")
    assert facts["reading"] == "lenient"
    assert facts["rows"][0]["lenient"]["value"] == max(sum(A), sum(B)) / 120
    text = render.markdown_of_facts(facts)
    assert "| Lenient % |" in text
    assert "| In form % | Strict (cut off) % |" in text


def leaderboard_line(one):
    from harness.records.serialization import record_to_json

    return record_to_json(one) + "\n"


def test_build_add_and_check_work_together(four):
    done = harness("leaderboard", "build", "a", "--out", "board.md", cwd=four)
    assert done.returncode == 0, done.stderr
    done = harness("leaderboard", "add", "board.md", "b", cwd=four)
    assert done.returncode == 0, done.stderr
    facts = json.loads((four / "board.json").read_text())
    assert [row["name"] for row in facts["rows"]] == sorted("ab", key=lambda n: -sum(A if n == "a" else B))
    assert facts["facts"]["runs"] == ["a", "b"]
    assert (four / "board.html").exists()
    assert harness("leaderboard", "check", "board.md", cwd=four).returncode == 0
    done = harness("leaderboard", "add", "board.md", "other", "u", cwd=four)
    assert done.returncode == 0, done.stderr
    assert json.loads((four / "board.json").read_text())["kind"] == "collection"
    assert (four / "board" / "1.html").exists()
    assert harness("leaderboard", "check", "board.md", cwd=four).returncode == 0
    (four / "board" / "1-wins.svg").unlink()
    assert harness("leaderboard", "check", "board.md", cwd=four).returncode == 1


def test_a_board_whose_runs_are_gone_is_not_added_to(four):
    harness("leaderboard", "build", "a", "b", "--out", "board.md", cwd=four)
    before = (four / "board.md").read_text()
    (four / "a").rename(four / "gone")
    done = harness("leaderboard", "add", "board.md", "u", cwd=four)
    assert done.returncode == 2
    assert "was built of a, which cannot be found from here" in done.stderr
    assert (four / "board.md").read_text() == before
    (four / "none.md").write_text("x")
    with pytest.raises(DataError, match=r"none\.json cannot be read as JSON"):
        collection.made_of(four / "none.md")
    facts = json.loads((four / "board.json").read_text())
    (four / "none.json").write_text(json.dumps(facts | {"facts": {}}))
    with pytest.raises(DataError, match="does not say which runs it was built from"):
        collection.made_of(four / "none.md")


def test_samples_of_lm_eval_make_a_board(tmp_path):
    for name, values in (("m1", A), ("m2", B)):
        samples(tmp_path / name / "samples_gsm8k_2026-01-02T03-04-05.678.jsonl", values)
    done = harness("leaderboard", "build", "m1", "m2", "--out", "b.md", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gsm8k 120" in (tmp_path / "b.md").read_text()


# ------------------------------------------------------------------------------------------------ what a row is like


def sampled(rights, digest):
    """Four samples an item, so many of them right."""
    return Run(
        digest * 64,
        Columns.of(
            record(f"t/test/{i}", float(k < right), repeat=k) for i, right in enumerate(rights) for k in range(4)
        ),
    )


def test_one_sample_and_the_best_of_several_are_told_apart():
    entries = [Entry("a", "model", (sampled([4, 0, 4, 0], "a"),)), Entry("b", "model", (sampled([1, 2, 3, 2], "b"),))]
    sides = {side["name"]: side for side in against_reference.compare_to_reference("t", entries, "a", [])["sides"]}
    assert [(s["k"], s["pass_at_1"], s["pass_at_k"]) for s in sides.values()] == [(4, 0.5, 0.5), (4, 0.5, 1.0)]
    assert "| 50.0 | 100.0 (k = 4) |" in against_reference.comparison_markdown(
        against_reference.compare_to_reference("t", entries, "a", [])
    )


def trained(name, dev, flops, reward=None):
    run = Run(
        name[0] * 64,
        Columns.of(record(f"t/test/{i}", float(i % 2)) for i in range(20)),
        seed=1,
        cost=Cost(flops_train=flops),
        selection=DevSelection(
            "100", dict(zip(("050", "100"), dev, strict=True)), {"050": flops / 2, "100": flops}, reward
        ),
    )
    return Entry(name, "strategy", (run,))


def test_the_cost_of_an_equal_score_is_read_off_the_learning_curves():
    entries = [trained("rl", (0.4, 0.6), 1e12), trained("kd", (0.5, 0.7), 1e12), trained("sft", (0.65, 0.7), 8e11)]
    entries += [trained("low", (0.1, 0.2), 1e12)]
    sides = {
        side["name"]: side["cost_at_equal_score"]
        for side in against_reference.compare_to_reference("t", entries, "rl", [])["sides"]
    }
    assert sides["kd"]["flops"] == pytest.approx(0.75e12)
    assert sides["sft"] == {"target": 0.6, "flops": 4e11, "reference_flops": 1e12, "at_most": True}
    assert sides["rl"]["flops"] == pytest.approx(1e12)
    assert sides["low"] is None
    text = against_reference.comparison_markdown(against_reference.compare_to_reference("t", entries, "rl", []))
    assert "| 7.50e+11 (x 0.75) |" in text
    assert "| at most 4.00e+11 (x 0.40) |" in text


def test_a_reward_above_what_dev_says_is_shown():
    entries = [trained("rl", (0.4, 0.6), 1e12, reward=0.95), trained("kd", (0.5, 0.7), 1e12)]
    sides = {
        side["name"]: side["reward_less_dev"]
        for side in against_reference.compare_to_reference("t", entries, "kd", [])["sides"]
    }
    assert sides == {"rl": pytest.approx(0.35), "kd": None}


# ------------------------------------------------------------------------------------------------ recorded numbers


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("HARNESS_DATA"), reason="HARNESS_DATA is not set: no recorded metrics here")
def test_every_recorded_standard_error_is_that_of_its_mean():
    path = Path(os.environ["HARNESS_DATA"]) / "metrics" / "reported_mean_and_stderr_open_rs.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(found) == 67
    for row in found:
        right = round(row["extractive_match"] * row["n"])
        column = [1.0] * right + [0.0] * (row["n"] - right)
        ours = intervals.clustered(column)
        assert ours.value == pytest.approx(row["extractive_match"], abs=1e-12)
        assert ours.error == pytest.approx(row["extractive_match_stderr"], rel=1e-9), "the sample's, with n - 1"


def test_a_collection_reads_runs_in_any_order(four):
    names = ("u", "other", "b", "a")
    facts, _ = collection.collect_runs("t", [four / name for name in names], "", "strict")
    assert [row["name"] for row in facts["rows"]] == ["a", "b", "other", "u"]
    assert {entry.name for entry in existing_runs.read_runs([four / name for name in names])} == set(names)
