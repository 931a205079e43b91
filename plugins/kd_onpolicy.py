"""On-policy distillation (arXiv:2306.13649): the teacher scores what the student samples, with TRL's trainer."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harness.meter import Meter
from harness.protocols import Footprint, Need, TrainData
from harness.types import Checkpoint, Stage, Trained

from .configs import OnPolicyConfig, Training


class KDOnPolicy:
    """Samples replies at temperature 1 and moves every token's distribution towards the teacher's. Grades nothing."""

    Config: ClassVar[type] = OnPolicyConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"teacher", "vocabulary"})
    samples: ClassVar[bool] = True

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train until the budget is spent. Raises ValueError if teacher and student do not share a vocabulary."""
        from .trl.distill import train_on_own_samples

        return train_on_own_samples(Training(stage, OnPolicyConfig(**stage.config), parent, data, meter, out))

    @classmethod
    def footprint(cls, config: OnPolicyConfig) -> Footprint:
        """See `harness.protocols.Trainer`."""
        return config.footprint()
