"""The graders as rewards of a real TRL trainer, called as TRL calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.testing.models import make_model

STEP = """
import json, sys
from harness import code_reward, in_background, math_reward
code = code_reward()  # before anything heavy is loaded
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
model, out = sys.argv[1:]
called = []
def listen(reward):
    def listening(completions, **columns):
        values = reward(completions, **columns)
        called.append([reward.__name__, values])
        return values
    return listening
problem = {"prompt": "def f(x):\\n", "entry_point": "f", "test": "def check(c): assert c(1) == 1"}
rows = Dataset.from_list([{"prompt": "def f(x):", "problem": json.dumps(problem), "target": "1"}] * 2)
arguments = GRPOConfig(
    out, max_steps=1, per_device_train_batch_size=2, num_generations=2, max_completion_length=4, use_cpu=True,
    report_to=[], save_strategy="no", use_vllm=False, bf16=False,
)
trainer = GRPOTrainer(model, [listen(code), in_background(listen(math_reward()))], args=arguments, train_dataset=rows)
trainer.train()
print(json.dumps([called, trainer.state.log_history[0]["reward"]]))
"""


@pytest.mark.slow
def test_trl_takes_the_rewards_as_functions_and_as_coroutines(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", seed=0)
    command = [sys.executable, "-W", "ignore", "-c", STEP, str(model), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    called, reward = json.loads(done.stdout.splitlines()[-1])
    assert sorted(called) == [["code_reward", [0.0, 0.0]], ["math_reward", [0.0, 0.0]]]
    assert reward == 0.0
