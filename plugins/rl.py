"""Reinforcement learning on the task's strict score: group relative policy optimisation, with TRL's GRPOTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harness.meter import Meter
from harness.protocols import Footprint, Need, TrainData
from harness.types import Checkpoint, Stage, Trained

from .configs import GRPOConfig, Training


class GRPO:
    """Samples groups of replies at temperature 1 and raises the probability of replies that score above their group."""

    Config: ClassVar[type] = GRPOConfig
    needs: ClassVar[frozenset[Need]] = frozenset()
    samples: ClassVar[bool] = True

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train on the value of `data.judge` until the budget is spent.

        A verdict of None is left out of its group's baseline and has no gradient. If the first rollouts show that
        nothing can be learnt, the stage is "refused"; steps without signal end it as "collapsed". Raises RuntimeError
        if the sampling engine's weights drift from the trainer's.
        """
        from .trl.grpo import train_on_rewards

        return train_on_rewards(Training(stage, self.Config(**stage.config), parent, data, meter, out))

    @classmethod
    def footprint(cls, config: GRPOConfig) -> Footprint:
        """See `harness.protocols.Trainer`."""
        return config.footprint()
