"""Recorded generations: every file of other people's runs is read, and its rows go to their own items alone."""

import json
import os
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.interop.recorded_match import match
from harness.interop.recorded_read import read_generations
from harness.types import Message, Sample


def item(name, text, **metadata):
    return Sample(name, (Message("user", text),), "", metadata)


ASSERTS = ["assert square(2) == 4", "assert square((1 + 2)) == 9"]
MBPP = [
    item("mbpp/test/0000", "Remove.", task_id="11", test_list=["assert remove('a') == ''"]),
    item("mbpp/test/0001", "Square.", task_id="12", test_list=ASSERTS),
]
CRUX = [item(f"cruxeval/test/{i:04d}", f"What does f({i}) return?", id=f"sample_{i}") for i in range(3)]


def read(tmp_path, *rows, name="f.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_generations(path)


def test_a_multipl_e_row_is_matched_by_the_number_in_its_name_where_its_asserts_are_the_items(tmp_path):
    row = {
        "name": "mbpp_12_square",
        "prompt": "def square(n: int) -> int:\n",
        "entry_point": "square",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate((1+2)) == 9\n",
        "solution": "def square(n):\n    return n * n\n",
        "is_solved": True,
    }
    file = read(tmp_path, row, {**row, "test": row["test"].replace("9", "8")}, {**row, "name": "mbpp_11_remove"})
    found = match(file, MBPP)
    assert file.shape == "MultiPL-E solutions"
    assert {i: [(r.text, r.verdict) for r in rs] for i, rs in found.replies.items()} == {
        "mbpp/test/0001": [(row["solution"], True)]
    }
    assert found.unmatched == [
        "row 1: its tests are not those of mbpp/test/0001",
        "row 2: its tests are not those of mbpp/test/0000",
    ]


def test_an_evalplus_row_gives_the_whole_reply_and_is_matched_by_the_tests_in_its_prompt(tmp_path):
    row = {"task_id": 12, "prompt": "\n".join(["'''\nSquare.\n'''", *ASSERTS]), "completion": "cut out of it"}
    row |= {"full_content": "Here:\n```python\n...\n```", "derived_base_status": "fail"}
    file = read(tmp_path, row, {**row, "task_id": 11}, {k: v for k, v in row.items() if k != "derived_base_status"})
    found = match(file, MBPP)
    assert file.shape == "EvalPlus replies"
    replies = found.replies["mbpp/test/0001"]
    assert [(r.text, r.verdict) for r in replies] == [(row["full_content"], False), (row["full_content"], None)]
    assert found.unmatched == ["row 1: its tests are not those of mbpp/test/0000"]


def test_a_cruxeval_row_is_matched_by_its_id_and_never_to_an_item_of_another_benchmark(tmp_path):
    row = {"id": "sample_2", "generations": ["[1]", "[2]"], "scores": [False, True]}
    file = read(tmp_path, row)
    assert file.shape == "CRUXEval generations"
    assert [(r.text, r.verdict) for r in match(file, CRUX).replies["cruxeval/test/0002"]] == [
        ("[1]", False),
        ("[2]", True),
    ]
    other = match(file, [item("gsm8k/test/0002", "Ann?", question="Ann?")])
    assert other.unmatched == ["row 0: its id is 'sample_2', not that of item gsm8k/test/0002"]


def test_a_sample_with_an_id_alone_goes_to_the_item_of_that_id(tmp_path):
    rows = [{"task_id": name, "completion": "x"} for name in ("HumanEval/1", "Mbpp/1", 1, "other/test/0001")]
    known = [item("other/test/0001", "def f():", task_id="HumanEval/1")]
    found = match(read(tmp_path, *rows), known)
    assert len(found.replies["other/test/0001"]) == 3
    assert found.unmatched == ["row 1: its id is 'Mbpp/1', not that of item other/test/0001"]


def test_a_question_that_a_prompt_begins_with_names_its_item_unless_another_prompt_begins_so(tmp_path):
    ask = "\n\nThink step by step."
    known = [
        item("t/test/0", f"Find x.\n\nIt is  even.{ask}"),
        item("t/test/1", f"Find y.{ask}"),
        item("t/test/2", f"Find z.\n\nIt is odd.{ask}"),
        item("t/test/3", f"Find z.\n\nIt is prime.{ask}"),
    ]
    asked = ["Find x.\n\nIt is even.", "Find x.", "Find y. ", "Find z.", "Think step by step."]
    rows = [{"idx": 99, "question": q, "gt": "1", "code": [f"{i}"], "pred": ["1"]} for i, q in enumerate(asked)]
    found = match(read(tmp_path, *rows), known)
    assert {i: [r.text for r in rs] for i, rs in found.replies.items()} == {
        "t/test/0": ["0", "1"],
        "t/test/1": ["2"],
    }
    assert found.unmatched == ["row 3: no item has the number 99", "row 4: no item has the number 99"]


def test_an_lm_eval_row_of_mbpp_is_matched_by_its_place_and_its_asserts(tmp_path):
    row = {"doc_id": 1, "doc": {"text": "Square.", "task_id": 12, "test_list": ASSERTS}, "resps": [["x"]]}
    assert list(match(read(tmp_path, row), MBPP).replies) == ["mbpp/test/0001"]
    assert match(read(tmp_path, {**row, "doc_id": 0}), MBPP).unmatched == [
        "row 0: its tests are not those of mbpp/test/0000"
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"id": "sample_0", "generations": ["1"], "scores": [True, False]},
        {"id": 1, "epoch": 1, "input": "?", "output": {"choices": [{"message": "24"}]}},
        {"id": 1, "epoch": 1, "input": "?", "output": None},
        {"id": 1, "epoch": 1, "input": "?", "output": {"choices": [{"message": {"content": ["24"]}}]}},
    ],
)
def test_a_row_that_only_looks_like_its_shape_is_refused_by_name(row, tmp_path):
    with pytest.raises(
        DataError, match=r"f\.jsonl looks like (CRUXEval generations|Inspect log), but a row has another format"
    ):
        list(read(tmp_path, row).entries)


# --- the real files: shape, rows, replies, recorded right (as SOURCES.md states) -----------------------------

REAL = {
    "cruxeval_codellama-7b_t0.2_output": ("CRUXEval generations", 800, 8000, 2737),
    "gsm8k_openai_example_solutions": ("OpenAI GSM8K solutions", 662, 662, 364),
    "humaneval_codegen-16b-mono_t0.8_50samples": ("codegen samples", 164, 8200, 1856),
    "humaneval_codellama": ("solutions", 164, 164, 81),
    "humaneval_gpt-3.5-turbo-0613": ("solutions", 164, 164, 121),
    "mathcoder_gsm8k_L-7b": ("MathCoder", 1319, 1319, 849),
    "mbpp_chatgpt_t0_evalplus": ("EvalPlus replies", 399, 399, 329),
    "mbpp_codellama": ("solutions", 500, 500, 256),
    "mbpp_reflexion_gpt-4": ("MultiPL-E solutions", 397, 397, 306),
    "pot_gsm8k_codex_zs": ("Program of Thoughts", 1317, 1317, 748),
    "qwen_math_cot100_8samples": ("ToRA", 48, 384, 346),
    "tora_gsm8k_tora-code-34b-v1.0": ("ToRA", 1319, 1319, 1064),
    "zeroeval_crux_Qwen2.5-7B-Instruct": ("ZeroEval", 800, 800, 422),
    "zeroeval_gsm_Phi-3.5-mini-instruct": ("ZeroEval", 1319, 1319, 1082),
    "zeroeval_gsm_Qwen2-7B-Instruct": ("ZeroEval", 1319, 1319, 1056),
    "zeroeval_gsm_Yi-1.5-9B-Chat": ("ZeroEval", 1319, 1319, 1008),
    "zeroeval_math-l5_Phi-3.5-mini-instruct": ("ZeroEval", 721, 721, 135),
    "zeroeval_math-l5_Qwen2.5-7B-Instruct": ("ZeroEval", 721, 721, 371),
    "zeroeval_math-l5_Yi-1.5-9B-Chat": ("ZeroEval", 721, 721, 144),
}


@pytest.mark.data
def test_every_recorded_run_is_read_with_the_number_of_right_replies_that_its_makers_state():
    if "HARNESS_DATA" not in os.environ:
        pytest.skip("HARNESS_DATA is not set: no recorded runs here")
    found = {}
    for path in sorted((Path(os.environ["HARNESS_DATA"]) / "generations").iterdir()):
        file = read_generations(path, "175b_verification" if "openai" in path.name else "")
        entries = list(file.entries)
        replies = [reply for entry in entries for reply in entry.replies]
        right = sum(reply.verdict is True for reply in replies)
        found[path.name.removesuffix(".jsonl.gz")] = (file.shape, len(entries), len(replies), right)
    assert found == REAL
