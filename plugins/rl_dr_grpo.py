"""Dr. GRPO (arXiv:2503.20783): no division by the length of a reply, nor by the standard deviation of its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .configs import GRPOConfig
from .rl import GRPO


@dataclass(frozen=True)
class DrGRPOConfig(GRPOConfig):
    """Section 3.2 of the paper; all other settings as in `rl`."""

    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dr_grpo"
    scale_rewards: Literal["group", "batch", "none"] = "none"


class DrGRPO(GRPO):
    """`GRPO` without its length bias and its difficulty bias."""

    Config: ClassVar[type] = DrGRPOConfig
