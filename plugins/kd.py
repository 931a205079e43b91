"""Knowledge distillation on text (sequence-level, arXiv:1606.07947): SFT on solutions the teacher wrote."""

from __future__ import annotations

from typing import ClassVar

from harness.protocols import Need

from .sft import SFT


class KD(SFT):
    """`SFT` on the teacher's solutions, which are sampled, filtered and charged to the budget before training."""

    needs: ClassVar[frozenset[Need]] = frozenset({"traces"})
