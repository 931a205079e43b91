"""Records and boards as data frames."""

import csv
import doctest
import math
from pathlib import Path

import pandas as pd
import pytest
from factories import graded, record, written

import harness
from harness.board.entries import Entry, RecordFiles, Run
from harness.board.existing_runs import write_entries
from harness.errors import DataError
from harness.records.columns import Columns
from harness.records.serialization import record_to_json

ROOT = Path(__file__).parent.parent
BOARDS = ["quick", "pico"]


def test_a_run_is_a_frame_of_one_row_a_reply(tmp_path):
    written(tmp_path / "run", [1, 0, 1], "a" * 64, "model-a")
    frame = harness.load(tmp_path / "run")
    assert list(frame["strict"]) == [1.0, 0.0, 1.0]
    assert list(frame["item"]) == ["t/test/000", "t/test/001", "t/test/002"]
    assert set(frame["name"]) == {"model-a"}
    assert isinstance(frame["name"].dtype, pd.CategoricalDtype)
    assert frame["seed"].isna().all()
    assert frame.groupby(["name", "task"], observed=True)["strict"].mean().item() == pytest.approx(2 / 3)


def test_a_comparison_has_its_rows_and_seeds(tmp_path):
    runs = []
    for seed, values in ((1, [1, 0]), (2, [1, 1])):
        written(tmp_path / "run", values, str(seed) * 64, f"rl-{seed}")
        file = next((tmp_path / "run" / "evals").glob(f"t-{str(seed) * 4}-*/records-*.jsonl"))
        columns = Columns.of(graded(str(seed) * 64, values))
        runs.append(
            Run(str(seed) * 64, columns, seed=seed, records=RecordFiles((str(file.relative_to(tmp_path / "run")),)))
        )
    write_entries(tmp_path / "run", [Entry("rl", "strategy", tuple(runs))])
    frame = harness.load(tmp_path / "run")
    assert set(frame["name"]) == {"rl"}
    assert frame.groupby("seed")["strict"].mean().to_dict() == {1: 0.5, 2: 1.0}


def test_a_reply_that_was_not_graded_has_no_score(tmp_path):
    file = tmp_path / "records-1.jsonl"
    file.write_text(record_to_json(record(value=None)) + "\n" + record_to_json(record("t/test/1")) + "\n")
    frame = harness.load(file)
    assert math.isnan(frame["strict"][0])
    assert frame["strict"].mean() == 1.0  # not counted as wrong


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_is_a_frame_of_what_its_csv_holds(board):
    frame = harness.load_board(ROOT / "leaderboards" / f"{board}.json")
    with (ROOT / "leaderboards" / f"{board}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(frame["name"]) == [row["name"] for row in rows]
    assert list(frame.columns) == list(rows[0])
    assert frame["strict"].tolist() == [float(row["strict"]) for row in rows]


def test_what_is_neither_a_run_nor_a_board_is_an_error_that_names_it(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty is not a run folder of `harness compare` or `harness eval`"):
        harness.load(tmp_path / "empty")
    with pytest.raises(DataError, match="nowhere does not exist"):
        harness.load(tmp_path / "nowhere")
    (tmp_path / "records-1.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="line 1: not a record"):
        harness.load(tmp_path / "records-1.jsonl")
    (tmp_path / "entries.json").write_text('{"entries": [{"name": "kd"}]}')
    with pytest.raises(DataError, match=r"entries.json does not fit \(KeyError: 'runs'\); run `compare` again"):
        harness.load(tmp_path)
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(DataError, match=r"b.json is not the .json of a board"):
        harness.load_board(tmp_path / "b.json")


def test_the_example_of_the_readme_prints_what_it_shows(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted >= 3
    assert not result.failed
