"""Distillation and reinforcement learning in one loop: GRPO with the teacher's log-ratio in every token's advantage.

advantage of a token = advantage of its reply in its group + teacher_coef * (log p_teacher - log p_student), both at
temperature 1. Groups without reward variance still learn from the teacher. Related: arXiv:2506.02208.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from harness.meter import Meter
from harness.protocols import Footprint, Need, TrainData
from harness.types import Checkpoint, Stage, Trained

from .configs import GRPOConfig, Training


@dataclass(frozen=True)
class JointConfig(GRPOConfig):
    """The settings of `rl`, and the weight of the teacher's term."""

    teacher_coef: float = 0.3

    def footprint(self) -> Footprint:
        """What decides the memory of a step: as `rl`, with the teacher beside it."""
        return replace(super().footprint(), teacher=True)


class KDRL:
    """`GRPO` with the teacher's log-ratio added to the advantage of every token."""

    Config: ClassVar[type] = JointConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "vocabulary"})
    samples: ClassVar[bool] = True

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train like `GRPO.train`. Raises ValueError if teacher and student do not share a vocabulary."""
        from .trl.grpo import train_on_rewards

        config = JointConfig(**stage.config)
        return train_on_rewards(Training(stage, config, parent, data, meter, out), config.teacher_coef)

    @classmethod
    def footprint(cls, config: JointConfig) -> Footprint:
        """See `harness.protocols.Trainer`."""
        return config.footprint()
