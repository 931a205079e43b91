"""Supervised fine-tuning on reference solutions, with TRL's SFTTrainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.budget import Meter
from harness.protocols import Need, TrainData
from harness.types import Checkpoint, Stage, Trained


@dataclass(frozen=True)
class SFTConfig:
    """Defaults for a model of about 0.5B weights. Peak learning rate: TRL 1.16's default."""

    learning_rate: float = 2e-5
    batch_size: int = 32  # rows a step
    micro_batch: int = 8  # rows on the device at once; must divide batch_size
    max_tokens: int = 2048  # prompt and completion; longer rows are left out, never cut
    warmup: float = 0.05  # share of the budget
    max_overlong: float = 0.02  # share of rows left out above which the stage refuses
    lora_rank: int = 0  # 0: all weights are trained
    lora_alpha: int = 32


class SFT:
    """Next-token loss on the completion only, rendered by the checkpoint's chat template, end of turn included."""

    Config: ClassVar[type] = SFTConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"completions"})
    samples: ClassVar[bool] = False

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train on `row.completion` until the budget is spent.

        Raises ValueError where rows have no completion, too many are too long, or the template trains no end of turn.
        """
        from .trl_sft import train_on_completions

        return train_on_completions(stage, self.Config(**stage.config), parent, data, meter, out)
