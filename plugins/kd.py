"""Knowledge distillation on text (sequence-level, arXiv:1606.07947): SFT on solutions the teacher wrote."""

from __future__ import annotations

from typing import ClassVar

from harness.protocols import Need

from .sft import SFT


class KD(SFT):
    """As `SFT`; the completions are the teacher's, sampled, filtered and charged before this trainer sees them."""

    needs: ClassVar[frozenset[Need]] = frozenset({"traces"})
