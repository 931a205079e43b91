"""DAPO (arXiv:2503.14476): a loss over all tokens of a step, a higher upper clip, truncated rollouts left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .configs import GRPOConfig
from .rl import GRPO


@dataclass(frozen=True)
class DAPOConfig(GRPOConfig):
    """Sections 3.1, 3.3 and 3.4 of the paper. Dynamic sampling (3.2) is left out: TRL does not have it."""

    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"
    clip_high: float = 0.28
    mask_truncated: bool = True


class DAPO(GRPO):
    """`GRPO` with DAPO's loss, clipping and masking."""

    Config: ClassVar[type] = DAPOConfig
