"""No training at all: the base goes through all steps of a stage. Its row must equal the base's in every item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from harness.meter import Meter
from harness.protocols import Footprint, Need, TrainData
from harness.types import Budget, Checkpoint, Stage, Trained

from .configs import SFTConfig, Training


class NoOp:
    """One step of `SFT` at learning rate 0: loads, steps, saves and is evaluated like any other trainer.

    The step has fewer rows if the budget does not pay for all of them.
    """

    Config: ClassVar[type] = SFTConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"completions"})
    samples: ClassVar[bool] = False

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """A checkpoint with the parent's weights, bit for bit if they are float32."""
        from .trl.sft import train_one_step

        still = replace(self.Config(**stage.config), learning_rate=0.0)
        one_step = Meter(Budget(1.0, "tokens"), meter.n_params)
        left = replace(meter.budget, amount=meter.budget.amount - meter.used)
        trained = train_one_step(Training(stage, still, parent, data, one_step, out), left)
        meter.restore(one_step.state())
        return trained

    @classmethod
    def footprint(cls, config: SFTConfig) -> Footprint:
        """See `harness.protocols.Trainer`."""
        return config.footprint()
