"""The loop behind `kd.onpolicy`. Imports torch and TRL: import it inside `train` only."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from harness.types import Trained

from ..configs import OnPolicyConfig, Training
from .metering import BudgetCallback, MeteredSampler, Order, adapter, arguments, finished, fit
from .rollouts import sampler
from .weights import load_parent, load_teacher


def train_on_own_samples(training: Training[OnPolicyConfig]) -> Trained:
    """See `KDOnPolicy.train`."""
    stage, config, parent, data = training.stage, training.config, training.parent, training.data
    meter, out = training.meter, training.out
    if (earlier := finished(meter, out)) is not None:
        return earlier
    assert data.teacher is not None
    sampling = sampler(config.rollouts, config.vllm_memory)
    from trl import DistillationConfig as TRLConfig

    args = TRLConfig(
        **arguments(training, config.batch_size),
        **sampling,
        max_completion_length=config.max_tokens,
        beta=config.divergence,
    )
    model, tokenizer = load_parent(parent)
    prompts = [[{"role": m.role, "content": m.content} for m in row.sample.messages] for row in data.rows]
    order = Order(data.rows, stage.seed, config.batch_size, 1, args.gradient_accumulation_steps)
    trainer = _trainer_class()(
        model,
        load_teacher(data.teacher, parent),
        args,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        peft_config=adapter(config, meter),
    )
    return fit(trainer, BudgetCallback(meter, order, config.warmup), parent, out)


def _trainer_class() -> Any:
    """The metered DistillationTrainer; in a function because `rollouts.sampler` must run before TRL is imported."""
    from trl import DistillationTrainer

    class Trainer(MeteredSampler, DistillationTrainer):  # type: ignore[misc]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            with self.accelerator.autocast():  # TRL puts a forward of its own in the place of the one under autocast
                return super().compute_loss(*args, **kwargs)

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            meter = self.budget_callback.meter
            with meter.phase("generate"):
                out: dict[str, Any] = super()._generate_and_score_completions(inputs)
            counts = (int(out["prompt_mask"].sum()), int(out["completion_mask"].sum()), len(inputs))
            read, sampled, n = self.budget_callback.total(*counts)
            meter.generate(read, sampled, n)
            meter.score(read + sampled)  # the teacher reads every micro-batch inside the loss
            return out

    return Trainer
