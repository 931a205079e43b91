"""Train data in the forms that training tools use."""

import gzip
import json

import pytest

from harness.errors import DataError
from harness.experiment.train_files import read_train_file
from harness.types import Message

ASKED, REPLY = "What is 1 + 1?", "1+1=2\n\\boxed{2}"
USER, SYSTEM = Message("user", ASKED), Message("system", "Be brief.")
TURNS = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": REPLY}]
FORMS = {
    "ours": ({"prompt": ASKED, "target": "2", "completion": REPLY}, (USER,)),
    "prompt and completion": ({"prompt": ASKED, "completion": REPLY}, (USER,)),
    "prompt and completion as messages": ({"prompt": TURNS[:1], "completion": TURNS[1:]}, (USER,)),
    "messages": ({"messages": [{"role": "system", "content": "Be brief."}, *TURNS]}, (SYSTEM, USER)),
    "ShareGPT": ({"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": REPLY}]}, (USER,)),
    "Alpaca": ({"instruction": ASKED, "input": "", "output": REPLY}, (USER,)),
    "question and answer": ({"question": ASKED, "answer": REPLY}, (USER,)),
}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_and_named(form, tmp_path):
    row, asked = FORMS[form]
    found = read_train_file(lines(tmp_path / "t.jsonl", row, row), ["gsm8k"])
    assert [r.sample.id for r in found.rows] == ["gsm8k/own/1", "gsm8k/own/2"]
    assert (found.rows[0].sample.messages, found.rows[0].completion) == (asked, REPLY)
    assert found.rows[0].sample.target == ("2" if form == "ours" else "")
    assert found.source.endswith("t.jsonl" if form == "ours" else f"(form: {form.removesuffix(' as messages')})")


def test_an_input_of_alpaca_belongs_to_what_is_asked(tmp_path):
    row = {"instruction": "Add.", "input": "1 and 1", "output": "2", "target": 2}
    (found,) = read_train_file(lines(tmp_path / "t.jsonl", row), ["t"]).rows
    assert (found.sample.messages[0].content, found.sample.target) == ("Add.\n\n1 and 1", "2")


def test_the_last_turn_is_learnt_and_earlier_ones_are_what_is_asked(tmp_path):
    turns = [*TURNS, {"role": "user", "content": "And 2 + 2?"}, {"role": "assistant", "content": "4"}]
    (found,) = read_train_file(lines(tmp_path / "t.jsonl", {"messages": turns}), ["t"]).rows
    assert [m.role for m in found.sample.messages] == ["user", "assistant", "user"]
    assert found.completion == "4"
    (prompt,) = read_train_file(lines(tmp_path / "u.jsonl", {"messages": turns[:3]}), ["t"]).rows
    assert (len(prompt.sample.messages), prompt.completion) == (3, None)


def test_a_file_may_be_an_array_or_compressed_or_begin_with_a_mark_and_have_blank_lines(tmp_path):
    row = FORMS["ours"][0]
    text = json.dumps(row) + "\n\n  \n" + json.dumps(row) + "\r\n"
    (tmp_path / "mark.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "t.json").write_text(json.dumps([row, row], indent=2))
    found = [read_train_file(tmp_path / name, ["t"]).rows for name in ("mark.jsonl", "t.jsonl.gz", "t.json")]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{}", "codec can't decode"),
        (gzip.compress(b"{}", mtime=0)[:-9], "ended before"),
        (b'[{"prompt": "x"}, 3]', "row 1: needs a text field 'target'"),
        (b'[{"prompt": "x", "target": "1"}, 3]', "row 2: a row must be an object, got int"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(content, message, tmp_path):
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message) as failure:
        read_train_file(tmp_path / "t.jsonl", ["t"])
    assert "t.jsonl" in str(failure.value)
