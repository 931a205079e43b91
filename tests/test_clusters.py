"""Which items are related: from the task over records and columns to the lock of a gate."""

import json

from factories import record

from harness.board.entries import Run
from harness.gate.lock import PerItem
from harness.records.columns import Columns


def per_item(clusters, **changes):
    records = [record(f"t/test/{i}", cluster=name, **changes) for i, name in enumerate(clusters)]
    return PerItem.of("a run", Run("c" * 64, Columns.of(records)))


def groups(of):
    """Which items of a per-item file are related, as numbers."""
    return [[item.group for item in of.items].index(item.group) for item in of.items]


def test_the_lock_knows_which_items_are_related():
    assert groups(per_item(["a", "b", "a"])) == [0, 1, 0]
    assert groups(per_item(["", "", ""], prompt_hash="p")) == [0, 0, 0]
    assert groups(per_item(["", "", ""], prompt_hash="")) == [0, 1, 2]


def test_a_per_item_file_older_than_clusters_is_read_and_its_replies_are_the_same():
    new = per_item(["a" * 16, "b" * 16, "a" * 16])
    head, *lines = map(json.loads, new.text().splitlines())
    older = [{name: value for name, value in line.items() if name != "cluster"} for line in lines]
    old = PerItem.from_text("".join(json.dumps(line) + "\n" for line in (head, *older)), "f")
    assert (groups(new), groups(old)) == ([0, 1, 0], [0, 1, 2])
    assert old.replies == new.replies
    assert PerItem.from_text(new.text(), "f") == new
