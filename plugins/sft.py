"""Supervised fine-tuning on reference solutions, with TRL's SFTTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harness.meter import Meter
from harness.protocols import Footprint, Need, TrainData
from harness.types import Checkpoint, Stage, Trained

from .configs import SFTConfig, Training


class SFT:
    """Next-token loss on the completion only, rendered by the checkpoint's chat template, end of turn included."""

    Config: ClassVar[type] = SFTConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"completions"})
    samples: ClassVar[bool] = False

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train on `row.completion` until the budget is spent.

        Raises ValueError if a row has no completion, too many are too long, or the template has no end-of-turn token.
        """
        from .trl.sft import train_on_completions

        return train_on_completions(Training(stage, self.Config(**stage.config), parent, data, meter, out))

    @classmethod
    def footprint(cls, config: SFTConfig) -> Footprint:
        """See `harness.protocols.Trainer`."""
        return config.footprint()
