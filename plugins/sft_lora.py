"""Supervised fine-tuning of a low-rank adapter (arXiv:2106.09685), merged at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .configs import SFTConfig
from .sft import SFT


@dataclass(frozen=True)
class LoRAConfig(SFTConfig):
    """As `sft`, with ten times its learning rate for the adapter (Thinking Machines, "LoRA Without Regret", 2025)."""

    learning_rate: float = 2e-4
    lora_rank: int = 16


class SFTLoRA(SFT):
    """`SFT` that trains a LoRA adapter on all linear layers."""

    Config: ClassVar[type] = LoRAConfig
