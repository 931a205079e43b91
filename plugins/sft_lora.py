"""Supervised fine-tuning of a low-rank adapter (arXiv:2106.09685), merged at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .configs import SFTConfig
from .sft import SFT


@dataclass(frozen=True)
class LoRAConfig(SFTConfig):
    """As `sft`; ten times its learning rate, as adapters want (Thinking Machines, "LoRA Without Regret", 2025)."""

    learning_rate: float = 2e-4
    lora_rank: int = 16


class SFTLoRA(SFT):
    """`SFT` on all linear layers' adapters."""

    Config: ClassVar[type] = LoRAConfig
