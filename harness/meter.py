"""The meter: the cost of a stage in the budget's unit, which is enforced, and in all others, which are recorded.

FLOPs by formula (2 per weight and token forward, twice that backward; attention scores and recomputation left out):
training 6·N per token (4·N with an adapter: no gradient of frozen weights), reading or sampling 2·N per token, N =
weights that take part in a matrix product (input embedding left out, output head counted also when tied). Source:
arXiv:2001.08361, section 2.1.
"""

from __future__ import annotations

import contextlib
import json
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from harness.types import Budget, Cost

OVERSHOOT = 0.02  # the last step may overshoot the budget by this share
FULL, ADAPTER = 6.0, 4.0  # FLOPs per weight and token of a training step

Phase = Literal["train", "generate", "reward", "score"]


class Meter:
    """Counts the cost of one stage. The trainer charges it; its state is saved with checkpoints, for a resumed stage.

    n_params, n_teacher_params: matmul weights of student and teacher. progress: a JSONL file to report to.
    devices: number of devices the stage holds; a second of wall time is charged once per device.
    """

    def __init__(
        self,
        budget: Budget,
        n_params: int,
        n_teacher_params: int = 0,
        progress: Path | None = None,
        devices: int = 1,
    ) -> None:
        self.budget = budget
        self.n_params = n_params
        self.n_teacher_params = n_teacher_params
        self.devices = devices
        self.cost = Cost()
        self.step_flops = FULL
        self._largest_step = 0.0  # in the budget's unit
        self._stepped = 0.0  # `used` after the last step
        self._progress = progress
        self._mark = self._phase_mark = time.monotonic()
        self._phase: Phase | None = None

    def train(self, tokens: int, trained: int) -> None:
        """Charge an optimizer step over `tokens` real tokens, `trained` of them in the loss."""
        c = self.cost
        self.cost = replace(
            c,
            steps=c.steps + 1,
            train_tokens=c.train_tokens + tokens,
            trained_tokens=c.trained_tokens + trained,
            flops_train=c.flops_train + self.step_flops * self.n_params * tokens,
        )
        self._charge_time()
        self._largest_step = max(self._largest_step, self.used - self._stepped)
        self._stepped = self.used

    def generate(self, prompt_tokens: int, tokens: int, rollouts: int = 0, zero_advantage: int = 0) -> None:
        """Charge that the student read `prompt_tokens` and sampled `tokens`."""
        c = self.cost
        self.cost = replace(
            c,
            generate_prompt_tokens=c.generate_prompt_tokens + prompt_tokens,
            generated_tokens=c.generated_tokens + tokens,
            rollouts=c.rollouts + rollouts,
            zero_advantage=c.zero_advantage + zero_advantage,
            flops_generate=c.flops_generate + 2.0 * self.n_params * (prompt_tokens + tokens),
        )

    def score(self, tokens: int) -> None:
        """Charge that the teacher scored `tokens` (log-probabilities) in the training loop."""
        c = self.cost
        self.cost = replace(
            c,
            scored_tokens=c.scored_tokens + tokens,
            flops_teacher=c.flops_teacher + 2.0 * self.n_teacher_params * tokens,
        )

    def charge_once(self, prompt_tokens: int = 0, tokens: int = 0, scored: int = 0, seconds: float = 0.0) -> None:
        """Charge teacher work done once before the loop: tokens read, sampled (rejected traces too), scored; seconds.

        Every stage that uses it is charged for all of it, so a strategy's cost does not depend on the other strategies.
        """
        c = self.cost
        writing, scoring = (0.0, seconds) if scored else (seconds, 0.0)
        self.cost = replace(
            c,
            teacher_prompt_tokens=c.teacher_prompt_tokens + prompt_tokens,
            teacher_tokens=c.teacher_tokens + tokens,
            scored_tokens=c.scored_tokens + scored,
            flops_teacher=c.flops_teacher + 2.0 * self.n_teacher_params * (prompt_tokens + tokens + scored),
            teacher_s=c.teacher_s + writing,
            score_s=c.score_s + scoring,
        )
        self._stepped = self.used

    def charge_grading(self, cpu_s: float) -> None:
        """Charge `cpu_s` CPU seconds of grading."""
        self.cost = replace(self.cost, verifier_cpu_s=self.cost.verifier_cpu_s + cpu_s)

    def record_unique_prompts(self, unique_prompts: int) -> None:
        """Record the number of different prompts used so far."""
        self.cost = replace(self.cost, unique_prompts=unique_prompts)

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Charge the time inside the `with` to a phase; time of an inner phase is not charged to the outer one."""
        self._charge_time()
        outer, self._phase = self._phase, name
        try:
            yield
        finally:
            self._charge_time()
            self._phase = outer

    def _charge_time(self) -> None:
        now = time.monotonic()
        if self._phase is not None:
            spent = self.devices * (now - self._phase_mark)
            field = f"{self._phase}_s"
            self.cost = replace(self.cost, **{field: getattr(self.cost, field) + spent})
        self._phase_mark = now

    @property
    def used(self) -> float:
        """The amount spent so far, in the budget's unit."""
        return self.cost.spent(self.budget.unit)

    @property
    def fraction(self) -> float:
        """Share of the budget spent; the last step may overshoot 1."""
        return self.used / self.budget.amount

    @property
    def exhausted(self) -> bool:
        """Whether training must stop: the budget is spent, or a step as large as the largest so far would overshoot."""
        if self.used >= self.budget.amount:
            return True
        return self.cost.steps > 0 and self.used + self._largest_step > (1 + OVERSHOOT) * self.budget.amount

    def state(self) -> dict[str, Any]:
        """JSON to save beside a checkpoint."""
        self._charge_time()
        now = time.monotonic()
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.cost = replace(
            self.cost,
            wall_s=self.cost.wall_s + now - self._mark,
            peak_rss_bytes=max(self.cost.peak_rss_bytes, rss),
        )
        self._mark = now
        return {"cost": asdict(self.cost), "largest_step": self._largest_step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.cost = Cost(**state["cost"])
        self._largest_step = state["largest_step"]
        self._stepped = self.used
        self._mark = self._phase_mark = time.monotonic()

    def record_device_memory(self, device_bytes: int) -> None:
        """Record the peak of accelerator memory in use."""
        self.cost = replace(self.cost, peak_device_bytes=max(self.cost.peak_device_bytes, device_bytes))

    def report(self, **values: float | int | str | None) -> None:
        """Append one line {"fraction", "used", "steps", ...values} to the progress file."""
        if self._progress is None:
            return
        line = {"time": time.time(), "fraction": self.fraction, "used": self.used, "steps": self.cost.steps, **values}
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
