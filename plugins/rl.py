"""Reinforcement learning on the task's own verdict: group relative policy optimisation, with TRL's GRPOTrainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from harness.budget import Meter
from harness.protocols import Need, TrainData
from harness.types import Checkpoint, Stage, Trained


@dataclass(frozen=True)
class GRPOConfig:
    """Defaults for a model of about 0.5B weights: loss, scaling and clipping of arXiv:2402.03300, without its KL term.

    Loss and scaling are named because rows trained with different ones must not pass for equal.
    """

    learning_rate: float = 1e-6
    prompts_per_step: int = 16
    group_size: int = 16  # rollouts for each prompt; their mean is the baseline
    micro_batch: int = 16  # rollouts on the device at once; must divide prompts_per_step * group_size
    max_tokens: int = 512  # of a rollout
    warmup: float = 0.05  # share of the budget
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "grpo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    clip_low: float = 0.2
    clip_high: float = 0.2
    mask_truncated: bool = False  # whether rollouts cut off at max_tokens are left out of the loss
    kl_coef: float = 0.0  # 0: no reference model
    max_kl: float = 10.0  # nats per token to the reference; above it the stage has collapsed. Needs kl_coef > 0
    max_clipped: float = 0.95  # share of a step's rollouts cut off at max_tokens above which nothing can be learnt
    patience: int = 10  # steps in a row without signal after which the stage has collapsed
    lora_rank: int = 0  # 0: all weights are trained
    lora_alpha: int = 32
    rollouts: Literal["auto", "vllm", "transformers"] = "auto"  # auto: vllm on CUDA, transformers on CPU
    vllm_memory: float = 0.3  # share of a GPU's memory for vLLM
    max_logp_gap: float = 0.05  # nats per token between engine and trainer; above it the engine's weights are stale
    reward_threads: int = 8


class GRPO:
    """Samples groups of replies at temperature 1 and raises the probability of those the task judges better."""

    Config: ClassVar[type] = GRPOConfig
    needs: ClassVar[frozenset[Need]] = frozenset()
    samples: ClassVar[bool] = True

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train on the value of `data.judge` until the budget is spent.

        A verdict of None takes no part in its group's baseline and teaches nothing. The first rollouts check that
        there is anything to learn ("refused"); steps without signal end the stage ("collapsed"). Raises RuntimeError
        where the sampling engine's weights drift from the trainer's.
        """
        from .trl_grpo import train_on_rewards

        return train_on_rewards(stage, self.Config(**stage.config), parent, data, meter, out)
