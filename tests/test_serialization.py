import json
from dataclasses import asdict, replace

import pytest

from harness import atomic
from harness.records import serialization
from harness.types import Budget, Message, Sample, Stage, TrainRow


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


def test_a_stage_has_the_key_it_always_had_unless_it_is_to_repeat():
    made = Stage("sft", {"learning_rate": 1e-3}, "p", "", "t", "d", ("t@1",), 1, Budget(1e9), {"torch": "2.13.0"})
    assert made.key == "3a74d0dfbedb0db5343c7e9818a98c7e447115070810d1f3e60360cc306301a3"
    kept = replace(made, deterministic=True)
    assert kept.key != made.key
    assert serialization.stage_from_json(json.loads(json.dumps(asdict(kept)))) == kept
