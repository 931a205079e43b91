"""The loop behind `sft` and `kd`. Imports TRL: import it inside `train` only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets import Dataset
from trl import SFTConfig as TRLConfig
from trl import SFTTrainer

from harness.meter import Meter
from harness.types import Budget, Stage, Trained, TrainRow

from ..configs import SFTConfig, Training
from .metering import BudgetCallback, Metered, Order, adapter, arguments, devices, finished, fit, micro_batch
from .weights import eos_ids, load_parent


class _SFTTrainer(Metered, SFTTrainer):  # type: ignore[misc]
    pass


def train_on_completions(training: Training[SFTConfig]) -> Trained:
    """See `SFT.train`."""
    if (earlier := finished(training.meter, training.out)) is not None:
        return earlier
    trainer, order = prepare(_SFTTrainer, training)
    callback = BudgetCallback(training.meter, order, training.config.warmup)
    return fit(trainer, callback, training.parent, training.out)


def train_one_step(training: Training[SFTConfig], budget: Budget) -> Trained:
    """The checkpoint after one step, of fewer rows than a step has if the budget does not pay for all of them.

    It has one row on each device at least. A budget in seconds is not looked at: a step's time is not known before.
    """
    meter, config = training.meter, training.config
    if (earlier := finished(meter, training.out)) is not None:
        return earlier
    trainer, order = prepare(_SFTTrainer, training)
    places = list(itertools.islice(order, config.batch_size))
    lengths = [len(row) for row in trainer.train_dataset.select(places)["input_ids"]]
    rows = _paid_rows(config, lengths, meter, budget)
    if rows < config.batch_size:
        fewer = replace(training, config=replace(config, batch_size=rows))
        trainer, order = prepare(_SFTTrainer, fewer)
    return fit(trainer, BudgetCallback(meter, order, config.warmup), training.parent, training.out)


def _paid_rows(config: SFTConfig, lengths: Sequence[int], meter: Meter, budget: Budget) -> int:
    """How many of a step's rows, with so many tokens each, the budget pays for; at least one on each device."""
    for rows in range(config.batch_size, devices(), -1):
        step = Meter(budget, meter.n_params)
        step.step_flops = meter.step_flops
        step.train(sum(lengths[:rows]), 0)
        if step.used <= budget.amount and rows % (micro_batch(config, rows) * devices()) == 0:
            return rows
    return devices()


def prepare(kind: type, training: Training[SFTConfig]) -> tuple[Any, Order]:
    """A trainer of the given SFTTrainer class over the usable rows, tokenised, and the order of the rows."""
    stage, config, data = training.stage, training.config, training.data
    model, tokenizer = load_parent(training.parent)
    args = TRLConfig(
        **arguments(training, config.batch_size),
        max_length=None,
        completion_only_loss=True,
        packing=False,
        shuffle_dataset=False,
    )
    dataset = Dataset.from_list([_conversation(stage, row) for row in data.rows])
    trainer = kind(
        model, args, train_dataset=dataset, processing_class=tokenizer, peft_config=adapter(config, training.meter)
    )
    if not trainer.aux_loss_enabled:  # a loss on the routing of experts, over all tokens that the mask shows
        model.register_forward_pre_hook(without_mask, with_kwargs=True)
    kept = _usable(stage, config, trainer.train_dataset, eos_ids(model, tokenizer))
    trainer.train_dataset = trainer.train_dataset.select(kept)
    return trainer, Order([data.rows[i] for i in kept], stage.seed, config.batch_size)


def without_mask(_model: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a model's call without the mask of padding, which keeps attention off its fastest kernels.

    SFTTrainer pads on the right, where a causal model reads no padding for any token before it, and trains none there.
    """
    return args, {name: value for name, value in named.items() if name != "attention_mask"}


def _conversation(stage: Stage, row: TrainRow) -> dict[str, Any]:
    if not row.completion:
        raise ValueError(f"trainer {stage.trainer!r}: row {row.sample.id!r} has no completion to train on")
    prompt = [{"role": m.role, "content": m.content} for m in row.sample.messages]
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": row.completion}]}


def _usable(stage: Stage, config: SFTConfig, dataset: Any, eos: set[int]) -> list[int]:
    """Indices of the rows that are short enough. Every row must train its end of turn and no token of its prompt."""
    who = f"trainer {stage.trainer!r}"
    kept = []
    for index, labels in enumerate(dataset["labels"]):
        if labels[0] != -100:
            raise ValueError(f"{who}: the loss of row {index} covers its prompt; give rows a prompt and a completion")
        if eos.isdisjoint(labels):
            raise ValueError(
                f"{who}: no end-of-turn token {sorted(eos)} among the trained tokens of row {index}: {_tail(labels)}"
            )
        if len(labels) <= config.max_tokens:
            kept.append(index)
    overlong = 1 - len(kept) / len(dataset)
    if overlong > config.max_overlong:
        raise ValueError(
            f"{who}: {overlong:.1%} of {len(dataset)} rows are longer than max_tokens={config.max_tokens}, the limit "
            f"is {config.max_overlong:.1%}: raise max_tokens or shorten the completions"
        )
    return kept


def _tail(labels: Sequence[int]) -> str:
    return f"its last tokens are {list(labels[-4:])}; check the chat template and generation_config.json"
