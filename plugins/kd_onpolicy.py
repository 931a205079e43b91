"""On-policy distillation (arXiv:2306.13649): the teacher scores what the student samples, with TRL's trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from harness.budget import Meter
from harness.protocols import Need, TrainData
from harness.types import Checkpoint, Stage, Trained


@dataclass(frozen=True)
class OnPolicyConfig:
    """Defaults for a model of about 0.5B weights."""

    learning_rate: float = 1e-5
    batch_size: int = 32  # rollouts a step, one for each prompt
    micro_batch: int = 8  # rollouts on the device at once; must divide batch_size
    max_tokens: int = 512  # of a rollout
    warmup: float = 0.05  # share of the budget
    divergence: float = 1.0  # 1: reverse KL, 0: forward KL, between: generalised Jensen-Shannon
    lora_rank: int = 0  # 0: all weights are trained
    lora_alpha: int = 32
    rollouts: Literal["auto", "vllm", "transformers"] = "auto"  # auto: vllm on CUDA, transformers on CPU
    vllm_memory: float = 0.3  # share of a GPU's memory for vLLM


class KDOnPolicy:
    """Samples replies at temperature 1, moves every token's distribution to the teacher's. Asks for no verdict."""

    Config: ClassVar[type] = OnPolicyConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"teacher"})
    samples: ClassVar[bool] = True

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train until the budget is spent; raises ValueError where teacher and student do not share a vocabulary."""
        from .trl_distill import train_on_own_samples

        return train_on_own_samples(stage, OnPolicyConfig(**stage.config), parent, data, meter, out)
