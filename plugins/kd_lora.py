"""Distillation on the teacher's text into a low-rank adapter, merged at the end."""

from __future__ import annotations

from typing import ClassVar

from .kd import KD
from .sft_lora import LoRAConfig


class KDLoRA(KD):
    """`KD` on all linear layers' adapters."""

    Config: ClassVar[type] = LoRAConfig
