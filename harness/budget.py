"""The meter: what a stage has spent, in one enforced unit, with everything else recorded beside it.

FLOPs by formula (2 per weight and token forward, twice that backward; attention scores left out):
training 6·N per token, sampling 2·N per token read or written, N = weights that take part in a matrix product
(input embedding left out, output head counted also when tied). Source: arXiv:2001.08361, section 2.1.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.types import Budget, Cost


class Meter:
    """Counts one stage. The trainer charges it; the loop reads it; a checkpoint saves it, so a resumed stage goes on.

    n_params, n_teacher_params: matmul weights of student and teacher. progress: a JSONL file that others may follow.
    """

    def __init__(self, budget: Budget, n_params: int, n_teacher_params: int = 0, progress: Path | None = None) -> None:
        self.budget = budget
        self.n_params = n_params
        self.n_teacher_params = n_teacher_params
        self.cost = Cost()
        self._progress = progress
        self._mark = time.monotonic()

    def train(self, tokens: int, trained: int, steps: int = 1) -> None:
        """One or more optimizer steps over `tokens` real tokens, of which the loss counted `trained`."""
        c = self.cost
        self.cost = replace(
            c,
            steps=c.steps + steps,
            train_tokens=c.train_tokens + tokens,
            trained_tokens=c.trained_tokens + trained,
            flops_train=c.flops_train + 6.0 * self.n_params * tokens,
        )

    def generate(self, prompt_tokens: int, tokens: int, rollouts: int = 0, zero_advantage: int = 0) -> None:
        """The student read `prompt_tokens` and sampled `tokens`."""
        c = self.cost
        self.cost = replace(
            c,
            generate_prompt_tokens=c.generate_prompt_tokens + prompt_tokens,
            generated_tokens=c.generated_tokens + tokens,
            rollouts=c.rollouts + rollouts,
            zero_advantage=c.zero_advantage + zero_advantage,
            flops_generate=c.flops_generate + 2.0 * self.n_params * (prompt_tokens + tokens),
        )

    def teach(self, prompt_tokens: int, tokens: int) -> None:
        """The teacher read `prompt_tokens` and sampled `tokens`, rejected traces included."""
        c = self.cost
        self.cost = replace(
            c,
            teacher_prompt_tokens=c.teacher_prompt_tokens + prompt_tokens,
            teacher_tokens=c.teacher_tokens + tokens,
            flops_teacher=c.flops_teacher + 2.0 * self.n_teacher_params * (prompt_tokens + tokens),
        )

    def verify(self, cpu_s: float) -> None:
        """A grader used `cpu_s` CPU seconds."""
        self.cost = replace(self.cost, verifier_cpu_s=self.cost.verifier_cpu_s + cpu_s)

    def saw(self, unique_prompts: int) -> None:
        """So many different prompts have been used up to now."""
        self.cost = replace(self.cost, unique_prompts=unique_prompts)

    @property
    def used(self) -> float:
        """Spent so far, in the budget's unit."""
        return float(self.cost.flops if self.budget.unit == "flops" else self.cost.tokens)

    @property
    def fraction(self) -> float:
        """Share of the budget spent; may pass 1 by the last step's overshoot."""
        return self.used / self.budget.amount

    @property
    def exhausted(self) -> bool:
        return self.used >= self.budget.amount

    def state(self) -> dict[str, Any]:
        """JSON to save beside a checkpoint."""
        now = time.monotonic()
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.cost = replace(
            self.cost,
            wall_s=self.cost.wall_s + now - self._mark,
            peak_rss_bytes=max(self.cost.peak_rss_bytes, rss),
        )
        self._mark = now
        return asdict(self.cost)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.cost = Cost(**state)
        self._mark = time.monotonic()

    def report(self, **values: float | int | str | None) -> None:
        """Append one line {"fraction", "used", "steps", ...values} to the progress file."""
        if self._progress is None:
            return
        line = {"time": time.time(), "fraction": self.fraction, "used": self.used, "steps": self.cost.steps, **values}
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
