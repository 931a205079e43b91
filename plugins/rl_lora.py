"""GRPO on a low-rank adapter (arXiv:2106.09685), merged at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .configs import GRPOConfig
from .rl import GRPO


@dataclass(frozen=True)
class GRPOLoRAConfig(GRPOConfig):
    """As `rl`, with ten times its learning rate for the adapter (Thinking Machines, "LoRA Without Regret", 2025)."""

    learning_rate: float = 1e-5
    lora_rank: int = 16


class GRPOLoRA(GRPO):
    """`GRPO` that trains a LoRA adapter on all linear layers."""

    Config: ClassVar[type] = GRPOLoRAConfig
