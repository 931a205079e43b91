"""Columns hold what records say, in one order, whichever way they came in."""

import math

import numpy as np
import pytest
from factories import changed, record

from harness.errors import DataError
from harness.records.columns import COMPARED, IN_FORM, Columns, Reader, related_items
from harness.records.serialization import record_to_json
from harness.types import Score

RECORDS = [
    record("t/test/1", 1.0, lenient=1.0, n_tokens=7),
    record("t/test/0", 0.0, lenient=1.0, finish="length", level="2"),
    record("u/test/0", None, task="u", finish="error"),
    record("t/test/0", 1.0, repeat=1, level="2"),
    record("t/test/2", scores={"strict": Score(0.0), "lenient": Score(0.0)}),
]


def written(path, records):
    path.write_text("".join(record_to_json(r) + "\n" for r in records))
    return path


def test_replies_are_in_order_of_item_and_repeat(tmp_path):
    for columns in (Columns.of(RECORDS), Reader().files([written(tmp_path / "r.jsonl", RECORDS)], "r")):
        assert columns.places.names == ("t/t/test/0", "t/t/test/0", "t/t/test/1", "t/t/test/2", "u/u/test/0")
        assert columns.places.repeats == (0, 1, 0, 0, 0)
        assert columns.verdicts["strict"].tolist()[:4] == [0.0, 1.0, 1.0, 0.0]
        assert math.isnan(columns.verdicts["strict"][4])
        assert columns.cut.tolist() == [True, False, False, False, False]
        assert columns.failed.tolist() == [False, False, False, False, True]
        assert columns.unread.tolist() == [False, False, False, True, False]
        assert math.isnan(columns.verdicts[IN_FORM][0])  # cut off: that says nothing of its form
        assert columns.verdicts[IN_FORM].tolist()[1:4] == [1.0, 1.0, 0.0]
        assert math.isnan(columns.verdicts[IN_FORM][4])  # there is no reply
        assert columns.n_tokens.tolist() == [3, 3, 7, 3, 3]
        assert columns.tasks == ("t", "u")


def test_an_items_score_is_the_mean_of_its_repeats_that_have_a_verdict():
    columns = Columns.of(RECORDS)
    assert columns.items == ("t/t/test/0", "t/t/test/1", "t/t/test/2", "u/u/test/0")
    assert columns.scores("strict").tolist()[:3] == [0.5, 1.0, 0.0]
    assert columns.scores("lenient").tolist()[:3] == [1.0, 1.0, 0.0]
    assert math.isnan(columns.scores("strict")[3])
    half = [record("a", 1.0), record("a", None, repeat=1)]
    assert Columns.of(half).scores("strict").tolist() == [1.0]


def test_a_reply_is_in_the_form_asked_for_if_strict_read_an_answer_right_or_wrong():
    scores = [("7", "7"), (None, "7"), (None, None), ("", "")]
    records = [
        record(f"t/test/{i}", scores={"strict": Score(0.0, strict), "lenient": Score(0.0, lenient)})
        for i, (strict, lenient) in enumerate(scores)
    ]
    columns = Columns.of(records)
    assert columns.verdicts[IN_FORM].tolist()[:3] == [1.0, 0.0, 0.0]
    assert math.isnan(columns.scores(IN_FORM)[3])  # not known what was read: a choice by likelihood


def test_a_task_and_a_selection_are_columns_too():
    columns = Columns.of(RECORDS)
    assert columns.of_task("u").items == ("u/u/test/0",)
    part = columns.only(np.array([True, False, True, False, False]))
    assert part.items == ("t/t/test/0", "t/t/test/1")
    assert part.verdicts["strict"].tolist() == [0.0, 1.0]
    assert part.places.levels == ("2", "1")


def test_runs_of_the_same_items_share_their_places(tmp_path):
    reader = Reader()
    one = reader.files([written(tmp_path / "1.jsonl", RECORDS)], "1")
    other = [changed(r, text="x", n_tokens=9) for r in RECORDS]
    two = reader.files([written(tmp_path / "2.jsonl", other)], "2")
    shuffled = reader.files([written(tmp_path / "3.jsonl", other[::-1])], "3")
    assert one.places is two.places is shuffled.places
    assert shuffled.verdicts["strict"].tolist()[:4] == two.verdicts["strict"].tolist()[:4]
    assert reader.records([changed(r, engine="x") for r in RECORDS], "4").places is not one.places


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("grader version", {"grader_version": "2"}),
        ("decoding", {"sampling": {"max_tokens": 17, "temperature": 0.0}}),
        ("engine", {"engine": "x"}),
        ("sandbox", {"sandbox": "x"}),
        ("item", {"sample_hash": "x"}),
        ("prompt", {"prompt_hash": "x"}),
    ],
)
def test_each_field_that_must_agree_is_kept(field, changes):
    one, two = Columns.of([record()]).places, Columns.of([record(**changes)]).places
    assert [name for name in COMPARED if one.compared[name] != two.compared[name]] == [field]
    assert not one.same_as(two)


def in_clusters(*clusters, **changes):
    """The places of an item for each of these names of clusters."""
    return Columns.of([record(f"t/test/{i}", cluster=name, **changes) for i, name in enumerate(clusters)]).places


def test_items_of_one_cluster_have_one_number_in_any_task_and_however_they_came_in(tmp_path):
    records = [
        record("t/test/0", cluster="a"),
        record("t/test/0", cluster="a", repeat=1),
        record("t/test/1", cluster="b"),
        record("u/test/0", cluster="a", task="u"),
    ]
    parts = [Columns.of([r for r in records if r.item.task == task]) for task in ("t", "u")]
    read = Reader().files([written(tmp_path / "r.jsonl", records)], "r")
    for columns in (Columns.of(records), read, Columns.joined(parts)):
        assert columns.places.item_clusters.tolist() == [0, 1, 0]
        assert columns.places.only(np.array([False, False, True, True])).item_clusters is None
    assert all(part.places.item_clusters is None for part in parts)  # the statistics may stay exact
    assert all(task.item_clusters is None for _, task in read.places.by_task.values())


def test_items_whose_cluster_is_not_recorded_are_related_if_their_prompts_are_equal():
    prompts = ["p", "q", "p", "", ""]  # "": the file has no prompts
    old = Columns.of([record(f"t/test/{i}", prompt_hash=prompt) for i, prompt in enumerate(prompts)])
    assert old.places.clusters == ("",) * 5
    assert old.places.item_clusters.tolist() == [0, 1, 0, 2, 3]
    assert in_clusters("", "").item_clusters is None


def test_runs_of_which_one_alone_records_clusters_are_compared_by_those():
    old, new = in_clusters("", "", "", ""), in_clusters("a", "a", "b", "c")
    assert not old.same_as(new)  # or the reader would give the one the clusters of the other
    assert related_items([old]) is None
    for runs in ([old, new], [new, old], [new, new], [new, in_clusters("x", "x", "y", "z", engine="other")]):
        assert related_items(runs).tolist() == [0, 0, 1, 2]
    chained = related_items([new, in_clusters("x", "y", "y", "z")])
    assert chained.tolist() == [0, 0, 0, 1]


def test_settings_written_in_another_order_are_the_same(tmp_path):
    line = record_to_json(record())
    turned = line.replace('{"max_tokens":16,"temperature":0.0}', '{"temperature": 0.0, "max_tokens": 16}')
    assert turned != line
    (tmp_path / "t.jsonl").write_text(turned + "\n")
    assert Reader().files([tmp_path / "t.jsonl"], "t").places.same_as(Columns.of([record()]).places)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"t.jsonl, line 2: not a record \(Input data was truncated"),
        ("{}", r"line 2: not a record \(Object missing required field `task`"),
        (
            record_to_json(record("b")).replace('"value":1.0', '"value":NaN'),
            r"line 2: not a record \(JSON is malformed",
        ),
        (record_to_json(record("b")).replace('"value":1.0', '"value":"x"'), "line 2: not a record"),
        (record_to_json(record("b")).replace('"value":1.0', '"value":1.5'), "'t/b': a verdict is in .0, 1., got 1.5"),
        (record_to_json(record("a")), r"t was evaluated twice \(item 'a', repeat 0\)"),
    ],
)
def test_what_is_no_record_is_refused_by_line(tmp_path, line, message):
    (tmp_path / "t.jsonl").write_text(record_to_json(record("a")) + "\n" + line + "\n")
    with pytest.raises(DataError, match=message):
        Reader().files([tmp_path / "t.jsonl"], "t")


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"none.jsonl: No such file or directory; is it a records file"):
        Reader().files([tmp_path / "none.jsonl"], "t")
