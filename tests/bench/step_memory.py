"""Peak memory of each trainer's stage beside the formula of harness/training/memory.py, at two sizes of a step.

    python tests/bench/step_memory.py            # about five minutes on two cores, 6 GB of memory

A model of 60M weights and a vocabulary of 32,768, in float32 on the CPU; each stage in a process of its own. What is
measured is the largest resident set of the process less what it was when everything was imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

STAGE = """
import json, os, resource, sys
from dataclasses import asdict, replace
from pathlib import Path
import torch
from trl import import_utils
import_utils.is_vllm_available = lambda *_, **__: False
from trl import DistillationTrainer, GRPOTrainer, SFTTrainer
from harness import registry
from harness.testing.training import Given, run, settings, sums
from harness.training.memory import Step, footprint_of, longest, shape_of, step_memory
name, base, out, rows, words = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
rows_of_words = []
for row in sums():
    message = replace(row.sample.messages[0], content="x " * (words // 2))
    rows_of_words.append(replace(row, sample=replace(row.sample, messages=(message,)), completion="y " * (words // 2)))
trainer = registry.load("trainer", name)
changed = {"micro_batch": rows, "max_tokens": 64 if trainer.samples else 4096}
changed |= {"prompts_per_step": 1, "group_size": rows} if "prompts_per_step" in settings(name) else {"batch_size": rows}
if "top_k" in settings(name):
    changed["top_k"] = 16
config = trainer.Config(**(settings(name) | changed))
length = longest(base, ((row.sample, "" if trainer.samples else row.completion) for row in rows_of_words))
teacher = shape_of(base.with_name("teacher")) if "teacher" in trainer.needs else None
step = Step(shape_of(base), footprint_of(trainer, config, length), half=False, teacher=teacher)
before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
budget = 3.0 * rows * words + (60 * words if "top_k" in changed else 0)  # the teacher's scores are charged too
run(name, base, out, Given(rows=tuple(rows_of_words), budget=budget), **changed)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
print(json.dumps([peak, sum(step_memory(step, checkpointing=False).values()), step.footprint.tokens]))
"""
# what is freed goes back at once, so that the largest resident set is the most that was needed
EXACT = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "2"}
TRAINERS = ("sft", "sft.lora", "kd.logits", "kd.onpolicy", "rl", "kd&rl")
SIZES = ((2, 200), (8, 200))  # rows at a time, characters of a row, which are its tokens


def make_model(folder: Path, layers: int) -> None:
    """A random Qwen2 of hidden size 512 and a vocabulary of 32,768, with the byte tokenizer of the tests."""
    import torch
    from transformers import Qwen2ForCausalLM

    from harness.testing import models

    models.make_model(folder, 0, hidden=512, layers=layers, heads=8)
    model = Qwen2ForCausalLM.from_pretrained(folder)
    config = replace_config(model.config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen2ForCausalLM(config).save_pretrained(folder)


def replace_config(config):
    """The same with a feed-forward and a vocabulary of usual proportions, so that neither is negligible."""
    config.vocab_size, config.intermediate_size, config.max_position_embeddings = 32_768, 2_816, 4_096
    return config


def main() -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        make_model(folder / "base", 8)
        make_model(folder / "teacher", 12)
        table = []
        for name in sys.argv[1:] or TRAINERS:
            for rows, words in SIZES:
                out = folder / f"{name}-{rows}"
                command = [sys.executable, "-c", STAGE, name, folder / "base", out, str(rows), str(words)]
                done = subprocess.run(list(map(str, command)), env=EXACT, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                peak, formula, tokens = json.loads(done.stdout.splitlines()[-1])
                gb = [f"{size / 1e9:.2f}" for size in (formula, peak)]
                table.append([name, f"{rows} x {tokens}", *gb, f"{formula / peak:.2f}"])
                print(table[-1], file=sys.stderr, flush=True)
    print(
        tabulate(table, headers=["trainer", "rows x tokens", "formula, GB", "measured, GB", "ratio"], tablefmt="pipe")
    )


if __name__ == "__main__":
    main()
