"""Reinforcement learning on the task's own verdict: group relative policy optimisation, with TRL's GRPOTrainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from harness.budget import Meter
from harness.protocols import TrainData
from harness.types import Checkpoint, Stage, Trained


@dataclass(frozen=True)
class GRPOConfig:
    """Defaults for a model of about 0.5B weights.

    Learning rate, group size, clip_high and no KL as in DAPO (arXiv:2503.14476, section 4.1); loss and scaling are
    named because rows trained with different ones must not pass for equal.
    """

    learning_rate: float = 1e-6
    prompts_per_step: int = 16
    group_size: int = 16  # rollouts for each prompt; their mean is the baseline
    micro_batch: int = 16  # rollouts on the device at once; must divide prompts_per_step * group_size
    max_tokens: int = 512  # of a rollout
    warmup: float = 0.05  # share of the budget
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl_coef: float = 0.0  # 0: no reference model
    rollouts: Literal["auto", "vllm", "transformers"] = "auto"  # auto: vllm on CUDA, transformers on CPU
    max_logp_gap: float = 0.05  # nats per token between engine and trainer; above it the engine's weights are stale
    reward_threads: int = 8


class GRPO:
    """Samples groups of replies at temperature 1 and raises the probability of those the task judges better."""

    Config: ClassVar[type] = GRPOConfig
    needs: ClassVar[str] = "prompts"

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train on `data.reward` until the budget is spent.

        A reward of None takes no part in its group's baseline and teaches nothing; a step without any other ends the
        stage as diverged. Raises RuntimeError where the sampling engine's weights drift from the trainer's.
        """
        from .trl_grpo import train_on_rewards

        return train_on_rewards(stage, GRPOConfig(**stage.config), parent, data, meter, out)
