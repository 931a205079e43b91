"""Shared by the TRL trainers: row order, metering, learning rate by budget, intermediate checkpoints, the final folder.

Imports torch and TRL: import it inside `train` only. A step is charged to the budget when it is made, the learning rate
is a function of the share spent, and the stage ends with the step that spends the rest.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch
import transformers
from transformers import PrinterCallback, TrainerCallback

from harness import registry
from harness.atomic import write_json
from harness.meter import ADAPTER, Meter
from harness.protocols import Trainer
from harness.training.memory import Step, footprint_of, longest, needs_checkpointing, shape_of
from harness.types import Checkpoint, Status, Trained, TrainRow

from ..configs import Training
from .collapse import Collapsed, LossWatch, Refused, RolloutWatch
from .weights import newest, restored, save_weights

log = logging.getLogger(__name__)

SAVES = 10  # resumable checkpoints over a whole budget
SNAPSHOTS = 4  # points of a learning curve, the end included
_FOREVER = 2**40  # more steps and rows than any budget allows: only the meter ends a stage
_LOGGED = {  # TRL's name -> ours
    "loss": "loss",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "kl": "kl",
    "teacher_kl": "teacher_kl",
    "teacher_advantage": "teacher_advantage",
    "reward": "reward",
    "unread": "unread",
    "frac_reward_zero_std": "frac_zero_std",
    "completions/clipped_ratio": "clipped",
    "completions/mean_length": "completion_tokens",
    "sampling/sampling_logp_difference/mean": "logp_gap",
}


class Watch(Protocol):
    """State that `BudgetCallback` saves and restores beside the meter's."""

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class Adapter(Protocol):
    """The settings of a trainer's Config that choose between training all weights and a low-rank adapter."""

    @property
    def lora_rank(self) -> int: ...
    @property
    def lora_alpha(self) -> int: ...


class Order(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """An endless sequence of row indices: a new shuffle every epoch, a pure function of seed and epoch.

    A step has rows_per_step indices; each is repeated `group` times in a row, and the whole step `repeat` times (TRL
    reads it again for each micro-batch). Unlike a sampler with epochs, it continues at the same index after a resume.
    """

    def __init__(
        self, rows: Sequence[TrainRow], seed: int, rows_per_step: int, group: int = 1, repeat: int = 1
    ) -> None:
        self.n, self.seed, self.rows_per_step = len(rows), seed, rows_per_step
        self.group, self.repeat = group, repeat
        ids = [rows[i].sample.id for i in itertools.islice(self._indices(), self.n)]
        first = {sample_id: position for position, sample_id in reversed(list(enumerate(ids)))}
        new = (first[sample_id] == position for position, sample_id in enumerate(ids))
        self._unique = [0, *itertools.accumulate(map(int, new))]

    def _indices(self) -> Iterator[int]:
        for epoch in itertools.count():
            yield from random.Random(f"{self.seed}/{epoch}").sample(range(self.n), self.n)

    def __iter__(self) -> Iterator[int]:
        indices = self._indices()
        while True:
            step = list(itertools.islice(indices, self.rows_per_step))
            for _ in range(self.repeat):
                yield from (index for index in step for _ in range(self.group))

    def __len__(self) -> int:
        return _FOREVER

    def unique(self, steps: int) -> int:
        """Number of different prompts used in the first `steps` steps."""
        return self._unique[min(self.n, steps * self.rows_per_step)]


def lr_share(position: float, warmup: float) -> float:
    """Learning rate as a share of its peak at a share `position` of the budget: linear to `warmup`, cosine to 0."""
    position = min(max(position, 0.0), 1.0)
    if position < warmup:
        return position / warmup
    return 0.5 * (1 + math.cos(math.pi * (position - warmup) / max(1 - warmup, 1e-9)))


class BudgetCallback(TrainerCallback):  # type: ignore[misc]
    """Charges the meter for each step, sets the step's learning rate, saves checkpoints, stops at the budget's end.

    A step's learning rate is the schedule's value at the middle of the share of budget that the step uses, so neither
    the first step nor the last has a rate of 0. If there are several processes, all use the counts of the first.
    """

    def __init__(self, meter: Meter, order: Order, warmup: float, losses: LossWatch | None = None) -> None:
        self.meter, self.order, self.warmup = meter, order, warmup
        self.losses = losses or LossWatch()
        self.rollouts: RolloutWatch | None = None
        self.tokens = self.trained = self.unsound = 0  # of this process in this step; unsound: losses not finite
        self.lr = 0.0
        self.free = meter.budget.amount - meter.used  # a stage may begin with its teacher's traces charged
        self.begun = self.saved = 0.0  # `share` when the step began, and when a checkpoint was last saved
        self.accelerator: Any = None
        self.parent: Checkpoint | None = None
        self.out = Path()
        self._step = contextlib.ExitStack()

    @property
    def share(self) -> float:
        """Share spent of the budget that was left when the stage began; the last step may overshoot 1."""
        mine = 1 - (self.meter.budget.amount - self.meter.used) / self.free
        if self.meter.budget.unit != "device_s":
            return mine
        return float(self._agreed(mine))  # clocks differ from process to process

    def total(self, *counts: int) -> list[int]:
        """The sum of each count over all processes."""
        if self.accelerator.num_processes == 1:
            return list(counts)
        local = torch.tensor(counts, device=self.accelerator.device)
        return [int(n) for n in self.accelerator.reduce(local, reduction="sum")]

    def _agreed(self, value: float) -> float:
        """The value of the first process, in all processes."""
        if self.accelerator.num_processes == 1:
            return value
        from accelerate.utils import broadcast

        return float(broadcast(torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)))

    @property
    def _watches(self) -> dict[str, Watch]:
        watches: dict[str, Watch] = {"losses": self.losses}
        return watches | ({"rollouts": self.rollouts} if self.rollouts else {})

    def restore(self, folder: Path) -> None:
        """Continue from a checkpoint."""
        state = json.loads((folder / "meter.json").read_text())
        self.meter.restore(state["meter"])
        for name, watch in self._watches.items():
            watch.restore(state[name])
        self.begun = self.saved = self.share

    def count(self, mask: torch.Tensor, trained: torch.Tensor, loss: torch.Tensor) -> None:
        """Count a micro-batch: real tokens, tokens in the loss, and whether the loss is finite."""
        self.tokens += int(mask.sum())
        self.trained += int(trained.sum())
        self.unsound += int(not torch.isfinite(loss).all())

    def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        self._step.enter_context(self.meter.phase("train"))

    def on_pre_optimizer_step(self, args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
        """Charge the step, unless training has collapsed: what one process saw is summed, so that all raise or none."""
        optimizer, model, step = kwargs["optimizer"], kwargs["model"], state.global_step
        tokens, trained, unsound = self.total(self.tokens, self.trained, self.unsound)
        self.tokens = self.trained = self.unsound = 0
        if unsound:
            raise Collapsed(f"loss is not finite after step {step}", step - 1)
        # gradients are already means over all processes
        bad = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.sum().isfinite()]
        if bad:
            raise Collapsed(f"gradient of {bad[0]} (and {len(bad) - 1} more) not finite at step {step + 1}", step - 1)
        self.meter.train(tokens, trained)
        end = min(self.share, 1.0)
        self.lr = args.learning_rate * lr_share((self.begun + end) / 2, self.warmup)
        for group in optimizer.param_groups:
            group["lr"] = self.lr
        self.begun = end

    def on_step_end(self, _args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step.close()
        self.meter.record_unique_prompts(self.order.unique(state.global_step))
        if torch.cuda.is_available():
            self.meter.record_device_memory(torch.cuda.max_memory_allocated())
        share = self.share
        if self._agreed(float(self.meter.exhausted)):
            control.should_training_stop = True
            return
        if int(share * SAVES) > int(self.saved * SAVES):
            control.should_save = True
        if (reached := int(share * SNAPSHOTS)) > int(self.saved * SNAPSHOTS) and reached < SNAPSHOTS:
            control.should_save = True  # a resumed stage must not miss a snapshot
            if state.is_world_process_zero:
                self._snapshot(kwargs["model"], reached)
        if control.should_save:
            self.saved = share

    def _snapshot(self, model: Any, reached: int) -> None:
        assert self.parent is not None
        folder = self.out / "snapshots" / f"{100 * reached // SNAPSHOTS:03d}"
        save_weights(self.accelerator.unwrap_model(model), self.parent, folder)
        write_json(folder / "cost.json", self.meter.state()["cost"])

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            saved = {"meter": self.meter.state(), **{name: watch.state() for name, watch in self._watches.items()}}
            write_json(Path(args.output_dir) / f"checkpoint-{state.global_step}" / "meter.json", saved)

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        if "loss" not in logs:  # the summary at the end
            return
        named = {_LOGGED[key]: value for key, value in logs.items() if key in _LOGGED}
        self.meter.report(lr=self.lr, **named)
        # the loss of a policy does not measure its quality
        self.losses.see(state.global_step, None if self.rollouts else logs["loss"], logs.get("kl"))

    def close(self) -> None:
        """Clean up after the loop has ended, with or without an error."""
        self._step.close()


class Metered:
    """A mix-in for a TRL trainer that charges the meter; stands before the trainer in the base classes."""

    budget_callback: BudgetCallback

    def _get_train_sampler(self, *_: Any) -> Order:
        return self.budget_callback.order

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no model card: checkpoints serve to resume, and the final folder keeps the parent's files."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        masks = self.masks(inputs)
        loss = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        self.budget_callback.count(*masks, loss[0] if isinstance(loss, tuple) else loss)
        return loss

    def masks(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(mask of real tokens, mask of tokens in the loss) of a micro-batch."""
        return inputs["attention_mask"], inputs["labels"] != -100


class MeteredSampler(Metered):
    """`Metered` for trainers that sample replies: TRL passes prompts and completions separately."""

    def masks(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        trained = inputs["completion_mask"]
        return torch.cat([inputs["prompt_mask"], trained], dim=1), trained


def devices() -> int:
    """Number of processes that train this stage together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def micro_batch(config: Any, per_step: int) -> int:
    """Sequences on each device at once: the Config's `micro_batch`, or fewer if a step has no more."""
    return min(int(config.micro_batch), max(1, per_step // devices()))


def arguments(training: Training[Any], per_step: int) -> dict[str, Any]:
    """Arguments that every TRL config takes. per_step: sequences an optimizer step trains on, over all devices.

    The trainer's Config has a `learning_rate` and a `micro_batch`. Raises ValueError unless micro_batch times the
    number of devices divides per_step.
    """
    stage, config = training.stage, training.config
    at_once = micro_batch(config, per_step)
    if per_step % (at_once * devices()):
        many = f" on each of {devices()} devices" if devices() > 1 else ""
        raise ValueError(f"trainer {stage.trainer!r}: micro_batch must divide {per_step}, got {at_once}{many}")
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(training.out / "resume"),
        "seed": stage.seed,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant",  # `BudgetCallback` sets the rate
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": per_step // (at_once * devices()),
        "max_steps": _FOREVER,
        "save_strategy": "no",  # `BudgetCallback` asks for saves
        "save_total_limit": 2,
        "logging_nan_inf_filter": False,
        "logging_steps": 1,
        "report_to": list(training.data.report_to) or "none",
        "run_name": f"{stage.trainer}-seed{stage.seed}-{stage.key[:8]}",
        "disable_tqdm": True,
        "use_cpu": not cuda,
        "bf16": cuda,
        "gradient_checkpointing": _checkpointing(training),
        "dataloader_pin_memory": cuda,
        "ddp_find_unused_parameters": False,
    }


def _checkpointing(training: Training[Any]) -> bool:
    """Whether layers are computed again in the backward pass: about 30 % slower, so only if memory asks for it."""
    cuda, path = torch.cuda.is_available(), training.parent.path
    trainer: Trainer = registry.load("trainer", training.stage.trainer)
    rows = ((row.sample, "" if trainer.samples else row.completion or "") for row in training.data.rows)
    footprint, shape = footprint_of(trainer, training.config, longest(path, rows)), shape_of(path)
    if footprint is None or shape is None:
        return bool(cuda)
    teacher = shape_of(training.data.teacher.path) if training.data.teacher else None
    step = Step(shape, footprint, half=cuda, teacher=teacher, devices=devices())
    return needs_checkpointing(step, free_memory()) is not False


def free_memory() -> int:
    """Bytes that this process may still take: of its GPU, else of the machine, shared by the stage's processes."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available) // devices()


def adapter(config: Adapter, meter: Meter) -> Any:
    """The adapter to train on all linear layers, None if all weights are trained; sets the meter's FLOPs per step."""
    if not config.lora_rank:
        return None
    from peft import LoraConfig

    meter.step_flops = ADAPTER
    return LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def fit(trainer: Any, callback: BudgetCallback, parent: Checkpoint, out: Path) -> Trained:
    """The final folder, after training from the newest complete checkpoint under `out` until the budget is spent."""
    trainer.budget_callback = callback
    callback.accelerator, callback.parent, callback.out = trainer.accelerator, parent, out
    trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    # building a colocated vLLM engine resets the global seed; each process must sample with its own
    transformers.set_seed(trainer.args.seed + 1000003 * trainer.accelerator.process_index)
    start = newest(out / "resume") if trainer.accelerator.is_main_process else None
    if devices() > 1:
        from accelerate.utils import broadcast_object_list

        (start,) = broadcast_object_list([start])
    if start is not None:
        callback.restore(start)
        log.info("going on from %s", start)
    status: Status = "done"
    why, since = "", -1
    try:
        if not callback.meter.exhausted:
            trainer.train(resume_from_checkpoint=str(start) if start else None)
    except Collapsed as end:
        status, why, since = "collapsed", str(end), end.since
    except Refused as end:
        status, why = "refused", str(end)
    finally:
        callback.close()
    final = out / "final"
    if trainer.accelerator.is_main_process:
        if status == "done":
            model = trainer.accelerator.unwrap_model(trainer.model)
        else:
            model = restored(parent, _sound(out, since) if status == "collapsed" else None)
        save_weights(model, parent, final)
        write_json(out / "finished.json", {"meter": callback.meter.state(), "status": status, "why": why})
        shutil.rmtree(out / "resume", ignore_errors=True)
    return Trained(final, status, why)


def _sound(out: Path, since: int) -> Path | None:
    """The last checkpoint or snapshot from before a collapse began; later snapshots are removed."""
    found = newest(out / "resume", before=since)
    for snapshot in sorted((out / "snapshots").glob("*[0-9]"), reverse=True):
        if json.loads((snapshot / "cost.json").read_text())["steps"] <= since:
            return found or snapshot
        shutil.rmtree(snapshot)
    return found


def finished(meter: Meter, out: Path) -> Trained | None:
    """The result of an earlier call under `out`, with the meter restored; None if no call has finished."""
    marker = out / "finished.json"
    if not marker.exists():
        return None
    end = json.loads(marker.read_text())
    meter.restore(end["meter"])
    return Trained(out / "final", end["status"], end["why"])
