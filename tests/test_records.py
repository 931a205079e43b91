import pytest
from factories import record

from harness import records
from harness.errors import DataError
from harness.types import Message, Sample, Score, TrainRow


def test_a_record_comes_back_equal_whatever_is_in_its_text(tmp_path):
    original = record(
        text='a\u2028b\n"c"\x00 \ud7ff é', scores={"strict": Score(None, None, "why"), "lenient": Score(0.0)}
    )
    path = tmp_path / "r.jsonl"
    with records.Appender(path) as out:
        out.add(records.record_to_json(original))
    assert records.read_records(path) == [original]


def test_a_line_cut_by_a_crash_is_dropped_and_the_file_goes_on_whole(tmp_path):
    path = tmp_path / "r.jsonl"
    line = records.record_to_json(record("a"))
    path.write_text(line + "\n" + line[:40])
    assert [r.sample_id for r in records.read_records(path)] == ["a"]
    with records.Appender(path) as out:
        out.add(records.record_to_json(record("b")))
    assert [r.sample_id for r in records.read_records(path)] == ["a", "b"]


def test_a_line_that_is_no_record_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(records.record_to_json(record()) + '\n{"task": 1}\n')
    with pytest.raises(DataError, match=r"r\.jsonl, line 2: not a record"):
        records.read_records(path)


def test_a_training_row_comes_back_equal():
    row = TrainRow("t", Sample("t/train/1", (Message("user", "q"),), "1", {"level": 2, "solution": "s"}), "a\nb")
    assert records.row_from_json(records.row_to_json(row)) == row
