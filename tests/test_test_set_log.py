"""The log of test-set evaluations beside the run folders."""

from harness.records.test_set_log import EvaluationLog, LoggedEvaluation


def test_each_checkpoint_counts_once_for_an_item_set_whatever_run_evaluated_it(tmp_path):
    one, two = EvaluationLog(tmp_path / "one"), EvaluationLog(tmp_path / "two")
    one.add(
        [
            LoggedEvaluation("items", "w1", "t", "sft"),
            LoggedEvaluation("items", "w2", "t", "rl"),
            LoggedEvaluation("others", "w1", "u", "sft"),
        ]
    )
    two.add([LoggedEvaluation("items", "w1", "t", "base"), LoggedEvaluation("items", "w3", "t", "kd")])
    two.add([LoggedEvaluation("items", "w3", "t", "kd")])
    assert one.count("items") == two.count("items") == 3
    assert one.count("others") == 1
    assert one.count("never seen") == 0
    assert one.path == two.path == tmp_path / "test-looks.jsonl"
    assert len(one.path.read_text().splitlines()) == 4


def test_a_line_cut_by_a_crash_does_not_count(tmp_path):
    log = EvaluationLog(tmp_path / "run")
    log.add([LoggedEvaluation("items", "w1", "t", "sft")])
    with log.path.open("a") as file:
        file.write('{"items":"items","check')
    assert log.count("items") == 1
