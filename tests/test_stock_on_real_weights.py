"""Stock lm-eval and ours on a real pretrained model and real items, to the last digit. Users need neither."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_eval import Quiet
from test_real_models import MODEL
from test_stock_tasks import Run, Stock, begin_stock, compare, drawn_replies, read_stock, task_of, write_data

from harness.engines.opening import vllm_problem
from harness.evaluation import eval_models
from harness.interop.lm_eval_data import local_rows
from harness.protocols import CodeRunner
from harness.sandbox import Sandbox

_DATA = os.environ.get("HARNESS_DATA")
pytestmark = [
    pytest.mark.models,
    pytest.mark.data,
    pytest.mark.skipif(not MODEL.exists(), reason="no smollm2-135m below HARNESS_MODELS"),
    pytest.mark.skipif(not _DATA, reason="HARNESS_DATA is not set: no real benchmarks here"),
    pytest.mark.timeout(900, method="thread"),  # lm-eval's own graders take the alarm signal
]

SHORT = {"max_gen_toks": 48}
RUNS = [
    Run("gsm8k", "gsm8k", gen_kwargs=SHORT, limit=2),
    Run("arc_easy", "arc_easy", limit=12),
    Run("arc_challenge", "arc_challenge", limit=12),
    Run("piqa", "piqa", limit=12),
    Run("humaneval_instruct", "humaneval_instruct", gen_kwargs=SHORT, limit=2, chat=True),
]
EVERY = ("train", "validation", "test")  # splits that stock lm-eval loads, though without examples it uses one alone
DATASETS = {  # hub dataset, configuration -> splits to write; ours are in `lm_eval_data`
    ("openai/gsm8k", "main"): ("train", "test"),
    ("allenai/ai2_arc", "ARC-Easy"): EVERY,
    ("allenai/ai2_arc", "ARC-Challenge"): EVERY,
    ("baber/piqa", "default"): EVERY[:2],
    ("openai/openai_humaneval", "default"): ("test",),
}


def hub_rows(name: str, kind: str, splits: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split; of a split that we have no file of, those of one that we have."""
    found = {split: rows for split, (_, rows) in local_rows(str(_DATA), name, kind).items()}
    return {split: found.get(split) or next(iter(found.values())) for split in splits}


@pytest.fixture(scope="module")
def stocks(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Stock]:
    """What stock lm-eval wrote of each run, by its key: on transformers, one item at a time."""
    hub = tmp_path_factory.mktemp("hub")
    write_data(hub, {f"{name}/{kind}": hub_rows(name, kind, splits) for (name, kind), splits in DATASETS.items()})
    folder = tmp_path_factory.mktemp("stock") / "runs"
    asked = [(hub, run) for run in RUNS]
    with begin_stock(folder, MODEL, asked) as process:
        assert process.wait() == 0, (folder / "log").read_text(errors="replace")[-3000:]
    return read_stock(folder, asked)


@pytest.fixture(scope="module")
def runner() -> Iterator[CodeRunner]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize("run", RUNS, ids=[run.key for run in RUNS])
def test_prompts_replies_likelihoods_and_metrics_are_stock_lm_evals(
    run: Run, stocks: Mapping[str, Stock], runner: CodeRunner
) -> None:
    task = task_of(run, MODEL)
    samples = task.samples("test")[: run.limit]
    compare(run, stocks[run.key], task, samples, drawn_replies(task, samples, MODEL), runner)


def test_on_vllm_the_metrics_are_those_of_stock_lm_eval(stocks: Mapping[str, Stock], tmp_path: Path) -> None:
    if why := vllm_problem():
        pytest.skip(why)
    chosen = [run for run in RUNS if run.limit == 12]
    eval_models.run(
        eval_models.EvalRequest(
            tuple(f"lm_eval/{run.task}" for run in chosen),
            eval_models.ModelChoice((str(MODEL),), engine="vllm", engine_options=(("dtype", "float32"),)),
            eval_models.Output(tmp_path),
            eval_models.SamplingChoice(),
            limit=12,
        ),
        Quiet(),
    )
    (results,) = tmp_path.glob("lm_eval/*/results_*.json")
    written = json.loads(results.read_text())["results"]
    assert written == {run.task: stocks[run.key].results["results"][run.task] for run in chosen}
