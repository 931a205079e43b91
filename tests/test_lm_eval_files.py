"""Files in lm-eval's form: byte for byte what its own writer makes, and read by its readers, pandas and ourselves."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pandas
import pytest
from factories import record
from lm_eval import utils as lm_utils
from lm_eval.api.metrics import mean_stderr as lm_mean_stderr
from lm_eval.loggers import EvaluationTracker

from harness.errors import DataError
from harness.interop.lm_eval_files import (
    gen_kwargs,
    mean_stderr,
    results_file,
    sample_rows,
    sanitised,
    task_scores,
    write_lm_eval,
)
from harness.interop.recorded_match import match
from harness.interop.recorded_read import read_generations
from harness.records.columns import Columns
from harness.types import RAW, Message, Sample, Score

STAMP = "2026-11-20T09:30:00.123456"
SAMPLING = {"max_tokens": 16, "temperature": 0.6, "top_p": 0.95, "top_k": 0, "stop": ["\n\n"], "seed": 1}


def stock_rows(n):
    """Rows as lm-eval's evaluator hands them to its tracker: numpy values, tuples, None in replies."""
    for i in range(n):
        doc = {"question": f"Ünï {i}?", "when": {3}, "n": np.int64(i)}
        hashes = {f"{name}_hash": lm_utils.hash_string(f"{name}{i}") for name in ("doc", "prompt", "target")}
        yield {
            "doc_id": i,
            "doc": doc,
            "target": i,
            "arguments": [(f"Q{i}", {"until": ["\n"], "do_sample": False}), ("again", np.float32(0.5))],
            "resps": [["one", ("-1.5", True)], [None]],
            "filtered_resps": [("1", 2.5), "[invalid]"],
            "filter": "none",
            "metrics": ["exact_match", "acc"],
            **hashes,
            "exact_match": np.float64(0.5),
            "acc": np.bool_(True),
        }


RESULTS = {
    "results": {"gsm8k": {"name": "gsm8k", "alias": "gsm8k", "sample_len": 3, "exact_match,none": np.float64(0.5)}},
    "configs": {"gsm8k": {"doc_to_text": "{{question}}", "filter_list": [print]}},
    "config": {"model": "hf", "model_args": {"pretrained": "a/b"}, "limit": None},
    "git_hash": "abc",
    "date": 1.5,
}


def test_the_files_are_byte_for_byte_those_of_lm_evals_own_writer(tmp_path):
    tracker = EvaluationTracker(output_path=str(tmp_path / "theirs"))
    tracker.general_config_tracker.log_experiment_args(
        "hf", {"pretrained": "org/na:me*[1]"}, "Be brief.", "{{x}}", True
    )
    tracker.save_results_aggregated(copy.deepcopy(RESULTS), {"gsm8k": list(stock_rows(3))})
    tracker.save_results_samples("gsm8k", list(stock_rows(3)))
    theirs = sorted((tmp_path / "theirs").rglob("*.json*"))
    about = {
        "model_source": "hf",
        "system_instruction": "Be brief.",
        "chat_template": "{{x}}",
        "fewshot_as_multiturn": True,
        "total_evaluation_time_seconds": json.loads(theirs[0].read_text())["total_evaluation_time_seconds"],
    }
    results, name = {**about, **RESULTS, "samples": {}}, "org/na:me*[1]"
    written = write_lm_eval(tmp_path / "ours", name, tracker.date_id, results, {"gsm8k": stock_rows(3)})
    ours = sorted((tmp_path / "ours").rglob("*.json*"))
    assert sorted(written) == ours
    assert [p.relative_to(tmp_path / "ours") for p in ours] == [p.relative_to(tmp_path / "theirs") for p in theirs]
    assert [p.read_bytes() for p in ours] == [p.read_bytes() for p in theirs]


@pytest.mark.parametrize("name", ["org/name", 'a"<>:/|\\?*[]b', "plain-1.5B_x", "C:\\models\\x"])
def test_names_and_errors_are_lm_evals(name):
    assert sanitised(name) == lm_utils.sanitize_model_name(name)
    values = [0.0, 1.0, 1.0, 0.25]
    assert mean_stderr(values) == pytest.approx(lm_mean_stderr(values))


# --- our own tasks ---------------------------------------------------------------------------------------------------

ITEM = Sample("sums/test/0007", (Message("user", "3 + 4?\nThink."),), "7", {"level": "1"})
TWO = [
    record(
        ITEM.id, task="sums", repeat=0, text="#### 7", scores={"strict": Score(1.0, "7"), "lenient": Score(1.0, "7")}
    ),
    record(
        ITEM.id, task="sums", repeat=1, text="eight", scores={"strict": Score(0.0, None), "lenient": Score(None, "8")}
    ),
]


def test_an_item_becomes_one_row_for_each_grader():
    strict, lenient = sample_rows(ITEM, TWO, "<user>3 + 4?")
    assert [strict["filter"], lenient["filter"]] == ["strict", "lenient"]
    assert (strict["doc_id"], strict["target"], strict["metrics"]) == (7, "7", ["exact_match"])
    assert strict["resps"] == [["#### 7", "eight"]]
    assert strict["filtered_resps"] == [["7", "[invalid]"]]
    assert lenient["filtered_resps"] == [["7", "8"]]
    assert (strict["exact_match"], lenient["exact_match"]) == (0.5, 1.0)  # what was not judged is left out
    assert strict["doc"] == {"id": ITEM.id, "question": "3 + 4?\nThink.", "level": "1", "target": "7"}
    assert strict["prompt_hash"] == lm_utils.hash_string("<user>3 + 4?")
    assert strict["target_hash"] == lm_utils.hash_string("7")
    assert strict["doc_hash"] == lm_utils.hash_string(json.dumps(strict["doc"], indent=2, ensure_ascii=False))
    (alone, _) = sample_rows(ITEM, TWO[:1], "")
    assert (alone["resps"], alone["filtered_resps"], alone["exact_match"]) == ([["#### 7"]], ["7"], 1.0)


def test_the_keys_of_a_row_are_those_lm_eval_writes_in_its_order():
    logged = next(stock_rows(1))
    ours = list(sample_rows(ITEM, TWO, "")[0])
    assert ours == [name for name in logged if name != "acc"]


def test_of_a_program_the_reply_is_what_was_filtered():
    code = Sample(
        "c/1", (Message("user", "Write f."),), "", {"prompt": "def f():", "test": "assert f()", "entry_point": "f"}
    )
    row = sample_rows(code, [record(code.id, text="def f(): ...", scores=TWO[1].scores)], "")[0]
    assert row["filtered_resps"] == ["def f(): ..."]
    assert "question" not in row["doc"]


def test_a_row_needs_its_own_records_and_a_number():
    with pytest.raises(ValueError, match="item 'sums/test/0007' needs its own records, got \\['other'\\]"):
        sample_rows(ITEM, [record("other")], "")
    with pytest.raises(ValueError, match="needs its own records"):
        sample_rows(ITEM, [], "")
    unnumbered = Sample("item-a", ITEM.messages, "7")
    with pytest.raises(ValueError, match="'item-a' has no number at its end: give doc_id"):
        sample_rows(unnumbered, [record("item-a")], "")
    assert sample_rows(unnumbered, [record("item-a")], "", doc_id=0)[0]["doc_id"] == 0


def test_sampling_is_stated_in_lm_evals_words():
    assert gen_kwargs(SAMPLING) == {
        "until": ["\n\n"],
        "max_gen_toks": 16,
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.95,
        "seed": 1,
    }
    assert gen_kwargs({"max_tokens": 8}) == {"until": [], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}
    assert gen_kwargs({"as recorded": "ToRA"}) == {"as recorded": "ToRA"}


def scored(item, *values):
    return [
        record(item, task="sums", repeat=i, scores={"strict": Score(v), "lenient": Score(1.0)})
        for i, v in enumerate(values)
    ]


def test_scores_are_means_over_items_of_means_over_repeats_with_lm_evals_error():
    records = [*scored("a", 1.0, 0.0), *scored("b", 1.0, 1.0), *scored("c", None, 0.0), *scored("d", None, None)]
    found = task_scores("sums", "1", Columns.of(records), n_items=10)
    assert found.row == {
        "name": "sums",
        "alias": "sums",
        "sample_len": 4,
        "exact_match,strict": pytest.approx(0.5),
        "exact_match_stderr,strict": pytest.approx(lm_mean_stderr([0.5, 1.0, 0.0])),
        "exact_match,lenient": 1.0,
        "exact_match_stderr,lenient": 0.0,
    }
    one = task_scores("sums", "1", Columns.of(scored("a", None)), n_items=1).row
    assert (one["exact_match,strict"], one["exact_match_stderr,lenient"]) == ("N/A", "N/A")
    with pytest.raises(ValueError, match="task 'sums' needs its own records, got those of no task"):
        task_scores("sums", "1", Columns.of([]), n_items=1)
    with pytest.raises(ValueError, match=r"task 'sums' needs its own records, got those of t$"):
        task_scores("sums", "1", Columns.of([record()]), n_items=1)


def items(n):
    for i in range(n):
        sample = Sample(f"sums/test/{i:04d}", (Message(RAW if i % 2 else "user", f"{i} + {i}?\u2028"),), str(2 * i))
        yield (
            sample,
            [
                record(
                    sample.id,
                    task="sums",
                    text=f"#### {2 * i}\nünd \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
                    sampling=SAMPLING,
                    scores={"strict": Score(float(i % 3 == 0), str(i)), "lenient": Score(1.0, str(i))},
                )
            ],
        )


@pytest.fixture
def written(tmp_path):
    scores = task_scores("sums", "1", Columns.of(r for _, records in items(6) for r in records), n_items=9)
    results = results_file(
        {"sums": scores}, {"sums": {"task": "sums"}}, {"model": "org/tiny"}, git_hash="abc", date=0.0
    )
    rows = (row for sample, records in items(6) for row in sample_rows(sample, records, sample.messages[0].content))
    return write_lm_eval(tmp_path, "org/tiny", STAMP, results, {"sums": rows})


def test_the_file_names_are_understood_by_lm_eval(written):
    names = [str(path) for path in written]
    stamp = "2026-11-20T09-30-00.123456"
    assert [p.name for p in written] == [f"samples_sums_{stamp}.jsonl", f"results_{stamp}.json"]
    assert {p.parent.name for p in written} == {"org__tiny"}
    assert lm_utils.get_results_filenames(names) == [names[1]]
    assert lm_utils.get_sample_results_filenames(names) == [names[0]]
    assert lm_utils.get_file_task_name(written[0].name) == "sums"
    assert lm_utils.get_file_datetime(written[0].name) == stamp


def test_the_results_make_lm_evals_own_table(written):
    results = json.loads(written[1].read_text())
    table = lm_utils.make_table(results)
    assert "|strict |     0|exact_match|↑  |0.3333|±  |0.2108|" in table
    assert results["n-samples"] == {"sums": {"original": 9, "effective": 6}}
    lines = [json.loads(line) for line in written[0].read_text().split("\n") if line]
    joined = "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in lines)
    assert results["task_hashes"] == {"sums": lm_utils.hash_string(joined)}
    assert results["model_name_sanitized"] == "org__tiny"


def test_pandas_and_our_own_reader_read_the_samples(written):
    frame = pandas.read_json(written[0], lines=True)
    strict = frame[frame["filter"] == "strict"]
    assert (len(frame), len(strict), math.fsum(strict["exact_match"])) == (12, 6, 2.0)
    file = read_generations(written[0])
    found = match(file, [sample for sample, _ in items(6)])
    assert (file.shape, found.unmatched) == ("lm-eval samples", [])
    assert list(found.verdicts.values()) == [True, False, False, True, False, False]
    assert found.replies["sums/test/0003"][0].text == next(r for s, r in list(items(6))[3:])[0].reply.text


def test_rows_are_written_as_they_come_and_a_failure_leaves_the_old_file(tmp_path, written):
    before = written[0].read_bytes()
    place = written[0].parent

    def broken():
        yield next(iter(sample_rows(ITEM, TWO, "")))
        part = next(path for path in place.iterdir() if path.name.startswith("."))
        assert part.suffix != ".jsonl"
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        write_lm_eval(tmp_path, "org/tiny", STAMP, {}, {"sums": broken()})
    assert written[0].read_bytes() == before
    assert sorted(path.name for path in place.iterdir()) == sorted(path.name for path in written)


@pytest.mark.parametrize("task", ["lm_eval/gsm8k", "", "../x"])
def test_a_task_name_that_no_file_can_have_is_refused(task, tmp_path):
    with pytest.raises(DataError, match="cannot be part of a file name"):
        write_lm_eval(tmp_path, "m", STAMP, {}, {task: []})


# --- reading other people's lm-eval files -----------------------------------------------------------------------------


def read(tmp_path, *rows):
    path = Path(tmp_path) / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_generations(path)


def test_several_replies_in_a_row_are_repeats_and_have_no_verdict_of_their_own(tmp_path):
    """exact_match of a vote, or of the first reply, says nothing of the others."""
    row = {
        "doc_id": 7,
        "doc": {"question": "3 + 4? Think."},
        "resps": [["#### 7", "#### 8", "#### 7"]],
        "filtered_resps": ["7"],
        "filter": "maj@3",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    }
    found = match(read(tmp_path, row), [ITEM])
    assert [r.text for r in found.replies[ITEM.id]] == ["#### 7", "#### 8", "#### 7"]
    assert [(r.verdict, r.answer) for r in found.replies[ITEM.id]] == [(None, None)] * 3
    each = match(read(tmp_path, {**row, "filtered_resps": [["7", "8", "7"]]}), [ITEM])
    assert [r.answer for r in each.replies[ITEM.id]] == ["7", "8", "7"]


def test_our_own_repeats_are_read_back_as_repeats(tmp_path):
    found = match(read(tmp_path, *sample_rows(ITEM, TWO, "")), [ITEM])
    assert [(r.text, r.answer) for r in found.replies[ITEM.id]] == [("#### 7", "7"), ("eight", "[invalid]")]


def test_a_row_is_matched_by_its_doc_id_only_where_its_function_and_tests_are_the_items(tmp_path):
    meta = {"prompt": "def f():", "test": "assert f()", "entry_point": "f"}
    code = Sample("c/test/0002", (Message("user", "Write f."),), "", meta)
    row = {"doc_id": 2, "doc": {**meta, "prompt": "def f(): # reworded"}, "resps": [["x"]]}
    assert list(match(read(tmp_path, row), [code]).replies) == [code.id]
    other = match(read(tmp_path, {**row, "doc": {**row["doc"], "test": "assert not f()"}}), [code])
    assert other.unmatched == ["row 0: its tests are not those of c/test/0002"]
    moved = match(read(tmp_path, {**row, "doc_id": 3}), [code])
    assert moved.unmatched == ["row 0: no item has the number 3"]
