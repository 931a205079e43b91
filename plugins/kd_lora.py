"""Distillation on the teacher's text into a low-rank adapter, merged at the end."""

from __future__ import annotations

from typing import ClassVar

from .kd import KD
from .sft_lora import LoRAConfig


class KDLoRA(KD):
    """`KD` that trains a LoRA adapter on all linear layers."""

    Config: ClassVar[type] = LoRAConfig
