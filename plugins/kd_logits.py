"""Distillation on the teacher's log-probabilities over its own text (arXiv:1503.02531), scored once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harness.meter import Meter
from harness.protocols import Footprint, Need, TrainData
from harness.types import Checkpoint, Stage, Trained

from .configs import LogitsConfig, Training


class KDLogits:
    """Forward KL(teacher || student) over the teacher's top-k tokens and a bucket for all others."""

    Config: ClassVar[type] = LogitsConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"traces", "teacher", "vocabulary"})
    samples: ClassVar[bool] = False

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train on `row.completion` until the budget is spent; every stage is charged for scoring all rows once.

        Raises ValueError like `SFT.train`, and if teacher and student do not share a vocabulary.
        """
        from .trl.logits import train_on_logprobs

        return train_on_logprobs(Training(stage, LogitsConfig(**stage.config), parent, data, meter, out))

    @classmethod
    def footprint(cls, config: LogitsConfig) -> Footprint:
        """See `harness.protocols.Trainer`."""
        return config.footprint()
