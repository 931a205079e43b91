"""Recorded generations: every known shape is read, matched to its items, and compared with its own verdicts."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.errors import DataError, EngineError
from harness.evaluation import evaluate, job
from harness.evaluation.grading_pool import Graders
from harness.graders.number import score_number
from harness.interop.recorded_differences import count_kinds, differences
from harness.interop.recorded_match import match
from harness.interop.recorded_read import read_generations
from harness.interop.replay_engine import ReplayEngine
from harness.protocols import CodeJob, CodeResult, Task
from harness.sandbox import Sandbox
from harness.types import RAW, Checkpoint, Message, Request, Sample, SamplingParams, Score
from harness_tasks import static

ASKED = ("Ann has 2 boxes of 12 eggs.  How many?", "Bo runs 3 miles a day.\nHow many in a week?")
HELPER = "the file ran the tests without the prompt's helper function"
DEEP = "the program recurses deeper than Python's default limit"
AROUND = "lenient left out what stands around the function"
CODE = static.humaneval().samples("test")
PARAMS = SamplingParams(64)


class TwoQuestions(Task):
    """A task with the two items that the rows below answer."""

    name = "gsm8k"
    version = "1"
    grader = "number-2"
    needs_sandbox = False
    max_tokens = 64
    stop: tuple[str, ...] = ()

    def samples(self, split: str) -> Sequence[Sample]:
        return [
            Sample(f"gsm8k/{split}/{i:04d}", (Message("user", f"{text}\n\nThink."),), target, {"question": text})
            for i, (text, target) in enumerate(zip(ASKED, ("24", "21"), strict=True))
        ]

    def score(self, sample: Sample, text: str, runner: object = None) -> dict[str, Score]:  # noqa: ARG002
        return dict(score_number(text, sample.target))


NUMBER_ROWS: dict[str, dict[str, Any]] = {
    "ZeroEval": {
        "id": "gsm8k-main-test-#1",
        "session_id": "x",
        "output": ['{"reasoning": "3 * 7", "answer": "3 * 7 = 21"}'],
        "question": "Bo runs 3 miles a day. How many in a week?",
        "extracted_answer": "3 * 7 = 21",
        "published_rule_match": False,
    },
    "lm-eval samples": {
        "doc_id": 1,
        "doc": {"question": ASKED[1]},
        "resps": [["#### 21"]],
        "filtered_resps": ["21"],
        "filter": "strict",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    },
    "OpenAI GSM8K solutions": {
        "question": ASKED[1],
        "ground_truth": "A: 21",
        "6b": {"solution": "3 * 7 = 21\nA: 21", "is_correct": True},
        "175b": {"solution": "A: 10", "is_correct": False},
    },
    "ToRA": {
        "idx": 1,
        "question": ASKED[1],
        "gt": "21",
        "code": ["```python\nprint(3 * 7)\n```\nBo runs $\\boxed{21}$ miles."],
        "pred": ["21"],
        "report": [None],
    },
    "MathCoder": {
        "id": "2",
        "completion": "21",
        "recorded_correct": True,
        "debug_result": [
            {"role": "system", "content": "Solve."},
            {"role": "user", "content": ASKED[1]},
            {"role": "code", "content": "3 * 7"},
            {"role": "execution", "content": "21"},
            {"role": "text", "content": "21"},
        ],
    },
    "Program of Thoughts": {"question": ASKED[1], "answer": 21.0, "executed": 21.0, "generated": "def solver(): ..."},
}
ADD = "HumanEval/53"
CODE_ROWS: dict[str, dict[str, Any]] = {
    "samples": {"task_id": ADD, "completion": "    return x + y\n"},
    "solutions": {
        "task_id": ADD,
        "prompt": "def add(x: int, y: int): ...",
        "entry_point": "add",
        "test": CODE[53].metadata["test"],
        "solution": "def add(x, y):\n    return x + y\n",
        "is_solved": True,
    },
    "codegen samples": {
        "task_id": ADD,
        "prompt": "def add(x: int, y: int):\n    pass\n",
        "samples": ["    return x + y\n", "    return 0\n"],
        "derived_status": ["pass", "fail"],
    },
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def replayed(engine: ReplayEngine, *keys: str) -> dict[str, tuple[str, str]]:
    requests = [Request(key, (), PARAMS) for key in keys]
    return {g.key: (g.finish, g.text or g.error) for g in engine.generate(requests)}


@pytest.mark.parametrize("shape", NUMBER_ROWS)
def test_every_shape_of_number_replies_is_read_and_matched_by_its_question(shape: str, tmp_path: Path) -> None:
    field = "6b" if shape == "OpenAI GSM8K solutions" else ""
    engine = ReplayEngine(write(tmp_path / "f.jsonl", NUMBER_ROWS[shape]), TwoQuestions(), field=field)
    assert engine.file.shape == shape
    assert [sample.id for sample in engine.covered] == ["gsm8k/test/0001"]
    assert engine.matched.verdicts == {("gsm8k/test/0001", 0): shape != "ZeroEval"}
    (finish, text) = replayed(engine, "gsm8k/test/0001#0")["gsm8k/test/0001#0"]
    assert finish == "stop"
    assert TwoQuestions().score(engine.covered[0], text)["lenient"].value == 1.0


@pytest.mark.parametrize("shape", CODE_ROWS)
def test_every_shape_of_programs_is_read_and_matched_by_number_where_function_and_tests_agree(
    shape: str, tmp_path: Path
) -> None:
    engine = ReplayEngine(write(tmp_path / "f.jsonl.gz", CODE_ROWS[shape]), static.humaneval())
    assert engine.file.shape == shape
    assert [sample.id for sample in engine.covered] == ["humaneval/test/0053"]
    assert engine.n_repeats == (2 if shape == "codegen samples" else 1)
    assert "return x + y" in replayed(engine, "humaneval/test/0053#0")["humaneval/test/0053#0"][1]


def test_a_row_with_another_function_or_other_tests_is_left_out_with_the_reason(tmp_path: Path) -> None:
    other = {**CODE_ROWS["solutions"], "task_id": "HumanEval/54"}
    harder = {**CODE_ROWS["solutions"], "test": "def check(candidate):\n    assert candidate(1, 1) == 3\n"}
    moved = {**CODE_ROWS["solutions"], "task_id": "HumanEval/999", "prompt": CODE[53].metadata["prompt"]}
    path = write(
        tmp_path / "f.jsonl", other, harder, moved, {**other, "task_id": "HumanEval/999"}, {**moved, "test": "..."}
    )
    matched = match(read_generations(path), CODE)
    assert {item: len(replies) for item, replies in matched.replies.items()} == {"humaneval/test/0053": 1}
    assert matched.unmatched == [
        "row 0: its function is 'add', the item's is 'same_chars'",
        "row 1: its tests are not those of humaneval/test/0053",
        "row 3: no item has the number 999",
        "row 4: its tests are not those of humaneval/test/0053",
    ]


def test_a_reply_that_the_file_lacks_is_an_error_with_its_reason_and_not_wrong(tmp_path: Path) -> None:
    engine = ReplayEngine(write(tmp_path / "f.jsonl", NUMBER_ROWS["ZeroEval"]), TwoQuestions())
    found = replayed(engine, "gsm8k/test/0000#0", "gsm8k/test/0001#1")
    assert found == {
        "gsm8k/test/0000#0": ("error", "f.jsonl holds 0 replies for item gsm8k/test/0000, none for repeat 0"),
        "gsm8k/test/0001#1": ("error", "f.jsonl holds 1 replies for item gsm8k/test/0001, none for repeat 1"),
    }


def test_rows_of_one_item_are_its_repeats_in_order(tmp_path: Path) -> None:
    rows = [{"task_id": "HumanEval/0", "completion": f"    return {i}\n"} for i in range(3)]
    engine = ReplayEngine(write(tmp_path / "f.jsonl", *rows), static.humaneval())
    assert engine.n_repeats == 3
    assert replayed(engine, "humaneval/test/0000#2")["humaneval/test/0000#2"] == ("stop", "    return 2\n")


@pytest.mark.parametrize(
    ("row", "item"),
    [
        ({"task_id": "HumanEval/53", "response": "x"}, "humaneval/test/0053"),
        ({"question_id": "53", "output": "x"}, "humaneval/test/0053"),
        ({"problem_id": 53, "solution": "x"}, "humaneval/test/0053"),
        ({"id": "humaneval/test/0053", "generation": [{"role": "assistant", "content": "x"}]}, "humaneval/test/0053"),
        ({"task_id": "HumanEval/53", "completion": None, "output": ["x"]}, "humaneval/test/0053"),
    ],
)
def test_eval_and_grade_take_the_same_rows(row: dict[str, Any], item: str, tmp_path: Path) -> None:
    engine = ReplayEngine(write(tmp_path / "f.jsonl", row), static.humaneval())
    assert replayed(engine, f"{item}#0") == {f"{item}#0": ("stop", "x")}
    (graded,) = harness.grade([row], task="humaneval", runner=Refusing())
    assert graded["verdict"] != "refused", graded["why"]


class Refusing:
    """A runner for which every program is wrong: only what is read counts."""

    tier = "scripted"

    def run(self, job: CodeJob) -> CodeResult:
        return CodeResult("failed", job.entry_point)

    def close(self) -> None:
        pass


def test_lm_eval_rows_of_a_second_filter_are_not_further_repeats(tmp_path: Path) -> None:
    row = NUMBER_ROWS["lm-eval samples"]
    loose = {**row, "filter": "flexible", "exact_match": 0.0}
    engine = ReplayEngine(write(tmp_path / "f.jsonl", row, loose), TwoQuestions())
    assert engine.matched.verdicts == {("gsm8k/test/0001", 0): True}


def test_several_models_in_a_file_must_be_chosen_from_and_count_as_different_checkpoints(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", NUMBER_ROWS["OpenAI GSM8K solutions"])
    with pytest.raises(DataError, match="several models: set field to one of 6b, 175b"):
        read_generations(path)
    with pytest.raises(DataError, match="no column '7b': choose one of 6b, 175b"):
        read_generations(path, "7b")
    assert read_generations(path, "6b").digest != read_generations(path, "175b").digest


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", NUMBER_ROWS["ToRA"])
    assert read_generations(path).digest == "recorded:" + hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=r"no column 'x': ToRA files have no columns to choose"):
        read_generations(path, "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"prompt": 1, "text": 2}\n',
            "keys prompt, text; known shapes are codegen samples: prompt, samples, task_id; ",
        ),
        (b"", "no rows; expected one JSON object on each line"),
        (b"[1]\n", "line 1 is not a JSON object but a list; expected JSON lines"),
        (b"{\n", "expected JSON lines, plain or gzip"),
        (b"\xff\n", "expected JSON lines, plain or gzip"),
        (
            b'{"task_id": "a", "completion": "b"}\n{"task_id": "a"}\n',
            "looks like samples, but a row has another format",
        ),
    ],
)
def test_a_file_of_no_known_shape_is_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_generations(path).entries)


def test_a_damaged_gzip_and_a_missing_file_are_refused_by_name(tmp_path: Path) -> None:
    cut, spoilt = (write(tmp_path / name, *[NUMBER_ROWS["ToRA"]] * 50) for name in ("cut.jsonl.gz", "spoilt.jsonl.gz"))
    cut.write_bytes(cut.read_bytes()[:-9])
    spoilt.write_bytes(spoilt.read_bytes()[:40] + b"\xff" * 200)
    for path in (cut, spoilt, tmp_path / "none.jsonl"):
        with pytest.raises(DataError, match=str(path)):
            list(read_generations(path).entries)


def test_a_run_of_another_task_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", {**NUMBER_ROWS["ToRA"], "question": "Something else?"})
    with pytest.raises(DataError, match=r"\(ToRA\) answers none of the 2 test items of task 'gsm8k'"):
        ReplayEngine(path, TwoQuestions())


def test_a_difference_from_the_file_is_explained_by_what_each_took(tmp_path: Path) -> None:
    row = NUMBER_ROWS["ZeroEval"]
    rows = [
        row,
        {**row, "id": "#1", "output": ['"answer": "20"\nNo. "answer": "21"'], "extracted_answer": "20"},
        {**row, "id": "#1", "output": ["So 21."], "extracted_answer": None, "published_rule_match": None},
        {**row, "id": "#1", "output": ['"answer": "21"'], "extracted_answer": "21", "published_rule_match": True},
        {
            **row,
            "id": "#1",
            "output": ['"answer": "21 = 2"'],
            "extracted_answer": "21 = 2",
            "published_rule_match": True,
        },
    ]
    engine = ReplayEngine(write(tmp_path / "f.jsonl", *rows), TwoQuestions())
    asked = job.EvalJob(TwoQuestions(), "test", engine.covered, PARAMS, engine.n_repeats)
    records = judged_job(asked, engine, None, tmp_path / "records")
    found = differences(records, engine.covered, engine.matched)
    assert [(d.repeat, d.recorded, d.ours, d.answer, d.kind) for d in found] == [
        (0, False, 1.0, "21", "the file's rule missed the number that its text states"),
        (1, False, 1.0, "21", "the reply states two answers, and the file kept the other one"),
        (2, False, 1.0, "21", "the file's rule found no number"),
        (4, True, 0.0, "2", "the file's rule accepts what does not equal the target"),
    ]
    assert "first number of the first" in found[0].why
    assert "'3 * 7 = 21'" in found[0].why
    assert sum(count_kinds(found).values()) == 4


def test_programs_that_the_file_judged_otherwise_are_explained(tmp_path: Path) -> None:
    """Three HumanEval replies of models, each judged differently in the file it comes from."""
    alone = "def decode_cyclic(s: str):\n    return ''.join(g[-1] + g[:-1] if len(g) == 3 else g for g in split(s))\n"
    split = "def split(s: str):\n    return [s[i : i + 3] for i in range(0, len(s), 3)]\n"
    deep = "    return 1 % p if n == 0 else 2 * modp(n - 1, p) % p\n"
    rows = [
        {"task_id": "HumanEval/38", "completion": alone + split, "passed": False},
        {"task_id": "HumanEval/49", "completion": deep, "passed": True},
        {"task_id": "HumanEval/53", "completion": "    return x + y\n\nassert add(1, 1) == 3\n", "passed": False},
    ]
    engine = ReplayEngine(write(tmp_path / "f.jsonl", *rows), static.humaneval())
    with Sandbox() as runner:
        records = judged(engine, static.humaneval(), runner, tmp_path / "records")
    found = {grader: differences(records, engine.covered, engine.matched, grader) for grader in ("strict", "lenient")}
    assert [(d.sample_id[-4:], d.recorded, d.ours, d.kind) for d in found["lenient"]] == [
        ("0038", False, 1.0, HELPER),
        ("0049", True, 0.0, DEEP),
        ("0053", False, 1.0, AROUND),
    ]
    assert [d.kind for d in found["strict"]] == [HELPER, DEEP]
    assert "the tests call encode_cyclic" in found["strict"][0].why


# --- the real files: n, recorded correct, ours lenient, ours strict, differing replies by kind ------------

NONE, MISSED, TWO, WIDE = (
    "the file's rule found no number",
    "the file's rule missed the number that its text states",
    "the reply states two answers, and the file kept the other one",
    "the file's rule accepts what does not equal the target",
)
REAL: list[tuple[str, str, tuple[int, int, int, int], dict[str, int]]] = [
    ("gsm8k_openai_example_solutions", "6b_finetuning", (662, 139, 139, 0), {}),
    ("gsm8k_openai_example_solutions", "6b_verification", (662, 256, 256, 0), {}),
    ("gsm8k_openai_example_solutions", "175b_finetuning", (662, 219, 219, 0), {}),
    ("gsm8k_openai_example_solutions", "175b_verification", (662, 364, 364, 0), {}),
    ("zeroeval_gsm_Phi-3.5-mini-instruct", "", (1319, 1082, 1128, 0), {NONE: 11, MISSED: 23, TWO: 15, WIDE: 1}),
    ("zeroeval_gsm_Qwen2-7B-Instruct", "", (1319, 1056, 1056, 0), {}),
    ("zeroeval_gsm_Yi-1.5-9B-Chat", "", (1319, 1008, 1059, 0), {NONE: 2, MISSED: 17, TWO: 32}),
    ("tora_gsm8k_tora-code-34b-v1.0", "", (1319, 1064, 1062, 1061), {WIDE: 2}),
    ("mathcoder_gsm8k_L-7b", "", (1319, 849, 853, 851), {NONE: 1, TWO: 5}),
    ("pot_gsm8k_codex_zs", "", (1317, 748, 749, 0), {MISSED: 1}),
]
REAL_CODE: list[tuple[str, tuple[int, int, int, int], dict[str, int]]] = [  # of 50 samples an item, the first 3
    ("humaneval_codellama", (164, 81, 81, 81), {}),
    ("humaneval_gpt-3.5-turbo-0613", (164, 121, 123, 123), {HELPER: 2}),
    ("humaneval_codegen-16b-mono_t0.8_50samples", (492, 101, 102, 101), {AROUND: 1}),
]


def real(name: str) -> Path:
    if "HARNESS_DATA" not in os.environ:
        pytest.skip(f"HARNESS_DATA is not set: no {name} here")
    return Path(os.environ["HARNESS_DATA"]) / "generations" / f"{name}.jsonl.gz"


def judged(engine: ReplayEngine, task: Task, runner: Sandbox | None, folder: Path) -> list[evaluate.Record]:
    asked = job.EvalJob(task, "test", engine.covered, PARAMS, min(engine.n_repeats, 3))
    return judged_job(asked, engine, runner, folder)


def judged_job(job: job.EvalJob, engine: ReplayEngine, runner: Sandbox | None, folder: Path) -> list[evaluate.Record]:
    with Graders(runner) as graders:
        found = evaluate.evaluate(job, engine, Checkpoint(folder, engine.digest, ""), graders, folder)
    return list(found.records())


@pytest.mark.data
@pytest.mark.parametrize(("name", "field", "counts", "kinds"), REAL)
def test_real_gsm8k_runs_score_as_recorded_or_every_difference_is_explained(
    name: str, field: str, counts: tuple[int, int, int, int], kinds: dict[str, int], tmp_path: Path
) -> None:
    task = static.gsm8k()
    engine = ReplayEngine(real(name), task, field=field)
    assert not engine.matched.unmatched
    records = judged(engine, task, None, tmp_path)
    recorded = sum(verdict is True for verdict in engine.matched.verdicts.values())
    ours = [sum(r.scores[grader].value == 1.0 for r in records) for grader in ("lenient", "strict")]
    assert (len(records), recorded, *ours) == counts
    assert count_kinds(differences(records, engine.covered, engine.matched)) == kinds


@pytest.mark.data
@pytest.mark.parametrize(("name", "counts", "kinds"), REAL_CODE)
def test_real_humaneval_runs_score_as_recorded_or_every_difference_is_explained(
    name: str, counts: tuple[int, int, int, int], kinds: dict[str, int], tmp_path: Path
) -> None:
    task = static.humaneval()
    engine = ReplayEngine(real(name), task)
    assert not engine.matched.unmatched
    with Sandbox() as runner:
        records = judged(engine, task, runner, tmp_path)
    recorded = sum(engine.matched.verdicts[r.item.sample_id, r.repeat] is True for r in records)
    ours = [sum(r.scores[grader].value == 1.0 for r in records) for grader in ("lenient", "strict")]
    assert (len(records), recorded, *ours) == counts
    assert count_kinds(differences(records, engine.covered, engine.matched)) == kinds


def test_recorded_replies_keep_the_promises_of_every_engine(tmp_path: Path) -> None:
    """What of the engines' contract does not depend on what is asked."""
    row = NUMBER_ROWS["ToRA"]
    engine = ReplayEngine(write(tmp_path / "f.jsonl", *[row] * 5), TwoQuestions())
    keys = [f"gsm8k/test/0001#{i}" for i in range(6)]
    asked = [Request(key, (Message("user", "x"),), PARAMS) for key in keys]
    replies = {g.key: g for g in engine.generate(iter(asked))}
    assert set(replies) == set(keys)
    assert [replies[key].finish for key in keys] == ["stop"] * 5 + ["error"]
    stream = engine.generate(asked)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert [g.key for g in engine.generate(asked[2:3])] == [keys[2]]
    with pytest.raises(EngineError, match="two requests have the key"):
        list(engine.generate([asked[0], asked[0]]))
    with pytest.raises(EngineError, match="'replay' cannot compute the log-probability"):
        list(engine.generate([Request("a#0", (Message(RAW, "x"),), PARAMS, " y")]))
    assert engine.describe().engine == "replay"
    engine.sleep()
    engine.close()
