import pytest

from harness import atomic
from harness.records import serialization
from harness.types import Message, Sample, TrainRow


def test_lines_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r.jsonl"
    atomic.write_lines(path, ["old"])

    def breaking():
        yield "new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic.write_lines(path, breaking())
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]
    assert path.read_text() == "old\n"


def test_a_training_row_comes_back_equal():
    row = TrainRow("t", Sample("t/train/1", (Message("user", "q"),), "1", {"level": 2, "solution": "s"}), "a\nb")
    assert serialization.row_from_json(serialization.row_to_json(row)) == row
