"""Reinforcement learning on the task's own verdict: group relative policy optimisation, with TRL's GRPOTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harness.meter import Meter
from harness.protocols import Need, TrainData
from harness.types import Checkpoint, Stage, Trained

from .configs import GRPOConfig, Training


class GRPO:
    """Samples groups of replies at temperature 1 and raises the probability of those the task judges better."""

    Config: ClassVar[type] = GRPOConfig
    needs: ClassVar[frozenset[Need]] = frozenset()
    samples: ClassVar[bool] = True

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train on the value of `data.judge` until the budget is spent.

        A verdict of None takes no part in its group's baseline and teaches nothing. The first rollouts check that
        there is anything to learn ("refused"); steps without signal end the stage ("collapsed"). Raises RuntimeError
        where the sampling engine's weights drift from the trainer's.
        """
        from .trl.grpo import train_on_rewards

        return train_on_rewards(Training(stage, self.Config(**stage.config), parent, data, meter, out))
