"""Direct preference optimisation (arXiv:2305.18290) as a plugin: prefers an item's own solution to another item's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.meter import Meter
from harness.protocols import Need, TrainData
from harness.types import Checkpoint, Stage, Trained


@dataclass(frozen=True)
class DPOConfig:
    """Defaults for a model of about 0.5B weights."""

    learning_rate: float = 1e-6
    batch_size: int = 32  # pairs a step
    micro_batch: int = 8
    beta: float = 0.1
    warmup: float = 0.05


class DPO:
    """Prefers each item's own solution to the solution of the next item."""

    Config: ClassVar[type] = DPOConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"completions"})
    samples: ClassVar[bool] = False

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train until the budget is spent."""
        import torch
        from datasets import Dataset
        from trl import DPOConfig as TRLConfig
        from trl import DPOTrainer

        from harness_plugins.trl.metering import BudgetCallback, Metered, Order, arguments, finished, fit
        from harness_plugins.trl.weights import load_parent

        class Trainer(Metered, DPOTrainer):  # type: ignore[misc]
            def masks(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
                meter.generate(int(inputs["attention_mask"].sum()), 0)  # the reference model reads the same
                return inputs["attention_mask"], inputs["completion_mask"]

        if (earlier := finished(meter, out)) is not None:
            return earlier
        config = DPOConfig(**stage.config)
        model, tokenizer = load_parent(parent)
        args = TRLConfig(
            **arguments(stage, data, out, config.learning_rate, config.micro_batch, config.batch_size),
            beta=config.beta,
            max_length=None,
        )
        pairs = [
            {
                "prompt": [{"role": m.role, "content": m.content} for m in row.sample.messages],
                "chosen": [{"role": "assistant", "content": row.completion}],
                "rejected": [{"role": "assistant", "content": other.completion}],
            }
            for row, other in zip(data.rows, [*data.rows[1:], data.rows[0]], strict=True)
        ]
        trainer = Trainer(model, None, args, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer)
        order = Order(data.rows, stage.seed, config.batch_size)
        return fit(trainer, BudgetCallback(meter, order, config.warmup), parent, out)
