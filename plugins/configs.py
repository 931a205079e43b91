"""The settings that the loops in `trl/` read, with the reason for each default, and one stage with its settings.

Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from harness.meter import Meter
from harness.protocols import Footprint, TrainData
from harness.types import Checkpoint, Stage

C = TypeVar("C", covariant=True)


@dataclass(frozen=True)
class Training(Generic[C]):
    """One stage to be trained: the arguments of `Trainer.train`, with the stage's settings as the trainer's Config."""

    stage: Stage
    config: C
    parent: Checkpoint
    data: TrainData
    meter: Meter
    out: Path


@dataclass(frozen=True)
class SFTConfig:
    """Defaults for a model of about 0.5B weights. Peak learning rate: TRL 1.16's default."""

    learning_rate: float = 2e-5
    batch_size: int = 32  # rows a step
    micro_batch: int = 8  # rows on the device at once; must divide batch_size
    max_tokens: int = 2048  # prompt and completion; longer rows are left out, never cut
    warmup: float = 0.05  # share of the budget
    max_overlong: float = 0.02  # share of rows left out; above it the stage is refused
    lora_rank: int = 0  # 0: all weights are trained
    lora_alpha: int = 32

    def footprint(self) -> Footprint:
        """What decides the memory of a step."""
        return Footprint(self.micro_batch, self.max_tokens, adapter=bool(self.lora_rank))


@dataclass(frozen=True)
class LogitsConfig(SFTConfig):
    """The settings of `kd`, and how much of the teacher's distribution is kept."""

    top_k: int = 32  # tokens a position; the rest of the probability is one bucket
    ce_weight: float = 0.0  # share of the plain next-token loss mixed in

    def footprint(self) -> Footprint:
        """What decides the memory of a step; the teacher is not there, its scores are made before."""
        return replace(super().footprint(), logits=True)


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
    rollouts: Literal["auto", "vllm", "transformers"] = "auto"  # auto: vllm on CUDA, if installed
    vllm_memory: float = 0.3  # share of a GPU's memory for vLLM

    def footprint(self) -> Footprint:
        """What decides the memory of a step: the teacher reads along, and a slice of the logits is held at a time."""
        return Footprint(
            self.micro_batch,
            self.max_tokens,
            teacher=True,
            generated=self.batch_size,
            engine=0.0 if self.rollouts == "transformers" else self.vllm_memory,
            adapter=bool(self.lora_rank),
        )


@dataclass(frozen=True)
class GRPOConfig:
    """Defaults for a model of about 0.5B weights: loss, scaling and clipping of arXiv:2402.03300, without its KL term.

    Loss and scaling are settings so that a board shows which ones a row was trained with.
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
    mask_truncated: bool = False  # whether rollouts truncated at max_tokens are left out of the loss
    kl_coef: float = 0.0  # 0: no reference model
    max_kl: float = 10.0  # nats per token to the reference; above it the stage has collapsed. Needs kl_coef > 0
    max_clipped: float = 0.95  # share of a step's rollouts truncated at max_tokens; above it nothing can be learnt
    patience: int = 10  # steps in a row without signal after which the stage has collapsed
    lora_rank: int = 0  # 0: all weights are trained
    lora_alpha: int = 32
    rollouts: Literal["auto", "vllm", "transformers"] = "auto"  # auto: vllm on CUDA, if installed
    vllm_memory: float = 0.3  # share of a GPU's memory for vLLM
    max_logp_gap: float = 0.05  # nats per token between engine and trainer, beyond rounding; see README.md
    reward_threads: int = 8

    def footprint(self) -> Footprint:
        """What decides the memory of a step."""
        return Footprint(
            self.micro_batch,
            self.max_tokens,
            reference=self.kl_coef > 0 and not self.lora_rank,  # an adapter's reference is the model without it
            generated=self.prompts_per_step * self.group_size,
            engine=0.0 if self.rollouts == "transformers" else self.vllm_memory,
            adapter=bool(self.lora_rank),
        )
