"""Distillation on the teacher's log-probabilities over its own text (arXiv:1503.02531), scored once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.budget import Meter
from harness.protocols import Need, TrainData
from harness.types import Checkpoint, Stage, Trained

from .sft import SFTConfig


@dataclass(frozen=True)
class LogitsConfig(SFTConfig):
    """As `kd`, and how much of the teacher's distribution is kept."""

    top_k: int = 32  # tokens a position; the rest of the probability is one bucket
    ce_weight: float = 0.0  # share of the plain next-token loss mixed in


class KDLogits:
    """Forward KL(teacher || student) over the teacher's top-k tokens and a bucket for all others."""

    Config: ClassVar[type] = LogitsConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"traces", "teacher"})
    samples: ClassVar[bool] = False

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train on `row.completion` until the budget is spent; scoring all rows once is charged to every stage.

        Raises ValueError as `SFT.train`, and where teacher and student do not share a vocabulary.
        """
        from .trl_logits import train_on_logprobs

        return train_on_logprobs(stage, LogitsConfig(**stage.config), parent, data, meter, out)
