import pytest
from factories import record

from harness.errors import DataError
from harness.records import serialization
from harness.types import Message, Sample, Score, TrainRow


def test_a_record_comes_back_equal_whatever_is_in_its_text(tmp_path):
    original = record(
        text='a\u2028b\n"c"\x00 \ud7ff é', scores={"strict": Score(None, None, "why"), "lenient": Score(0.0)}
    )
    path = tmp_path / "r.jsonl"
    serialization.write_lines(path, [serialization.record_to_json(original)])
    assert list(serialization.read_records(path)) == [original]


def test_lines_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r.jsonl"
    serialization.write_lines(path, ["old"])

    def breaking():
        yield "new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        serialization.write_lines(path, breaking())
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]
    assert path.read_text() == "old\n"


def test_a_line_that_is_no_record_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(serialization.record_to_json(record()) + '\n{"task": 1}\n')
    with pytest.raises(DataError, match=r"r\.jsonl, line 2: not a record"):
        list(serialization.read_records(path))


def test_a_training_row_comes_back_equal():
    row = TrainRow("t", Sample("t/train/1", (Message("user", "q"),), "1", {"level": 2, "solution": "s"}), "a\nb")
    assert serialization.row_from_json(serialization.row_to_json(row)) == row
