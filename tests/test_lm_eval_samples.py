"""Samples that lm-eval logged, of every version that wrote some: read, or refused because they are cut off."""

import json

import pytest

from harness.board.existing_runs import read_runs
from harness.errors import DataError
from harness.interop.lm_eval_samples import sample_files

N = 6


def rows(*left_out, filters=("strict-match", "flexible-extract")):
    """A row for each filter and item, as lm-eval 0.4.13 logs it but for the fields that are left out."""
    found = [
        {
            "doc_id": i,
            "doc": {"question": f"question {i}"},
            "target": f"#### {i}",
            "arguments": {"gen_args_0": {"arg_0": f"prompt {i}", "arg_1": {"temperature": 0.0}}},
            "resps": [["text of two\u2028lines"]],  # lm-eval writes this character as it is
            "filtered_resps": ["text"],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": HASHES["doc"][i],
            "prompt_hash": HASHES["prompt"][i],
            "target_hash": HASHES["target"][i],
            "exact_match": float(i % 2 or name == "flexible-extract"),
        }
        for name in filters
        for i in range(N)
    ]
    return [{key: value for key, value in row.items() if key not in left_out} for row in found]


def _hashes():
    """By lm-eval's own function."""
    from lm_eval.utils import hash_string

    docs = [json.dumps({"question": f"question {i}"}, indent=2, ensure_ascii=False) for i in range(N)]
    return {
        "doc": list(map(hash_string, docs)),
        "prompt": [hash_string(f"prompt {i}") for i in range(N)],
        "target": [hash_string(f"#### {i}") for i in range(N)],
    }


HASHES = _hashes()


def written(folder, found, n_items=N, end="\n"):
    folder.mkdir(parents=True)
    stamp = "2024-08-01T10-00-00.000000"
    (folder / f"results_{stamp}.json").write_text(json.dumps({"n-samples": {"gsm8k": {"effective": n_items}}}))
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in found)
    (folder / f"samples_gsm8k_{stamp}.jsonl").write_text(lines + end)
    return folder


def contents(folder):
    (file,) = sample_files(folder)
    return [(r.item, r.reply.prompt_hash, {name: s.value for name, s in r.scores.items()}) for r in file.records()]


@pytest.mark.parametrize(
    "left_out",
    [
        ("filter", "metrics"),
        ("doc_hash", "prompt_hash", "target_hash"),
        ("filter", "metrics", "doc_hash", "target_hash"),
    ],
    ids=" ".join,
)
def test_what_older_versions_leave_out_is_made_so_that_they_can_be_compared_with_newer_ones(tmp_path, left_out):
    new = contents(written(tmp_path / "new" / "m", rows()))
    assert [scores for *_, scores in new] == [{"strict": float(i % 2), "lenient": 1.0} for i in range(N)]
    assert contents(written(tmp_path / "old" / "m", rows(*left_out))) == new


def test_arguments_may_be_a_list(tmp_path):
    listed = [
        {**row, "arguments": [["prompt " + str(row["doc_id"]), {"temperature": 0.0}]]} for row in rows("prompt_hash")
    ]
    assert contents(written(tmp_path / "listed" / "m", listed)) == contents(written(tmp_path / "new" / "m", rows()))


def test_half_a_character_is_text_like_any_other(tmp_path):
    halves = [{**row, "target": "\ud83d"} for row in rows("target_hash")]
    folder = written(tmp_path / "halves" / "m", rows())
    (samples,) = folder.glob("samples_*.jsonl")
    samples.write_text("".join(json.dumps(row) + "\n" for row in halves))  # as JSON escapes it
    assert len(contents(folder)) == N


def test_the_files_of_0_4_0_are_read(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"results": {"gsm8k": {}, "gsm8k_cot": {}}}))
    (folder / "pretrained=org__m_gsm8k_cot.jsonl").write_text(json.dumps(rows("filter", "metrics"), indent=2))
    (entry,) = read_runs([folder])
    assert entry.name == "pretrained=org__m"
    assert entry.runs[0].columns.tasks == ("gsm8k_cot",)
    (folder / "pretrained=org__m_gsm8k_cot.jsonl").write_text(json.dumps(rows(), indent=2)[:-40])
    with pytest.raises(DataError, match=r"ends within its array .*copy it again"):
        read_runs([folder])


@pytest.mark.parametrize(
    ("found", "n_items", "end", "said"),
    [
        (rows(), N, '\n{"doc_id": 3, "fil', r"ends within a row, in line 13; it was cut off"),
        (
            rows()[:-2],
            N,
            "\n",
            r"item 4 has 'strict-match', another item has 'strict-match' and 'flex.*; it was",
        ),
        (
            rows("filter")[:-2],
            N,
            "\n",
            r"item 4 has 'filter 1', another item has 'filter 1' and 'filter 2'; it was",
        ),
        (rows(filters=("none",)), 9, "\n", r"has 6 items, and the results beside it count 9; it was cut off"),
        ([], 0, "", "the samples of 'm' are empty"),
    ],
    ids=["a row", "a filter", "a filter without name", "items", "all"],
)
def test_a_file_that_was_cut_off_is_refused(tmp_path, found, n_items, end, said):
    folder = written(tmp_path / "m", found, n_items, end)
    with pytest.raises(DataError, match=said):
        read_runs([folder])
