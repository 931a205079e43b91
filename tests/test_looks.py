"""The ledger beside the run folders."""

from harness.records.test_set_log import Ledger, Look


def test_each_checkpoint_counts_once_for_an_item_set_whatever_run_looked(tmp_path):
    one, two = Ledger(tmp_path / "one"), Ledger(tmp_path / "two")
    one.add([Look("items", "w1", "t", "sft"), Look("items", "w2", "t", "rl"), Look("others", "w1", "u", "sft")])
    two.add([Look("items", "w1", "t", "base"), Look("items", "w3", "t", "kd")])
    two.add([Look("items", "w3", "t", "kd")])
    assert one.count("items") == two.count("items") == 3
    assert one.count("others") == 1
    assert one.count("never seen") == 0
    assert one.path == two.path == tmp_path / "test-looks.jsonl"
    assert len(one.path.read_text().splitlines()) == 4


def test_a_line_cut_by_a_crash_is_no_look(tmp_path):
    ledger = Ledger(tmp_path / "run")
    ledger.add([Look("items", "w1", "t", "sft")])
    with ledger.path.open("a") as file:
        file.write('{"items":"items","check')
    assert ledger.count("items") == 1
