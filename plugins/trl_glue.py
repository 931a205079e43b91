"""What the TRL trainers share: row order, metering, learning rate by budget, checkpoints, the final folder.

Imports torch and TRL: import it inside `train` only. One process and one device a stage. The budget rules everything:
a step is charged when it is made, the learning rate is a function of the share spent, and the stage ends with the step
that spends the last of it.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import random
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

from harness.budget import Meter
from harness.types import Checkpoint, Stage, Trained, TrainRow

log = logging.getLogger(__name__)

SAVES = 10  # resumable checkpoints over a whole budget
_FOREVER = 2**40  # steps and rows no budget reaches: only the meter ends a stage
_LOGGED = {  # TRL's name -> ours
    "loss": "loss",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "kl": "kl",
    "reward": "reward",
    "frac_reward_zero_std": "frac_zero_std",
    "completions/clipped_ratio": "clipped",
    "completions/mean_length": "completion_tokens",
    "sampling/sampling_logp_difference/mean": "logp_gap",
}


class Diverged(Exception):
    """The run can teach nothing more: the weights after the last step made are no good."""


class Order(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """Row indices without end: a fresh shuffle every epoch, a pure function of seed and epoch.

    rows_per_step indices make a step; each is given `group` times in a row, and the whole step `repeat` times (TRL asks
    again for each micro-batch). Unlike a sampler with epochs it is at the same place after a resume.
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
        """Different prompts used in the first `steps` steps."""
        return self._unique[min(self.n, steps * self.rows_per_step)]


def lr_share(position: float, warmup: float) -> float:
    """Share of the peak learning rate at a share `position` of the budget: linear up to `warmup`, then cosine to 0."""
    position = min(max(position, 0.0), 1.0)
    if position < warmup:
        return position / warmup
    return 0.5 * (1 + math.cos(math.pi * (position - warmup) / max(1 - warmup, 1e-9)))


class Ledger(TrainerCallback):  # type: ignore[misc]
    """Charges the meter for each step, sets that step's learning rate, stops at the budget's end, saves on the way.

    A step's learning rate is the schedule's value in the middle of the span of budget the step uses, so neither the
    first step nor the last is lost to a rate of 0.
    """

    def __init__(self, meter: Meter, order: Order, warmup: float) -> None:
        self.meter, self.order, self.warmup = meter, order, warmup
        self.tokens = self.trained = 0
        self.lr = 0.0
        self.free = meter.budget.amount - meter.used  # a stage may begin with its teacher's traces charged
        self.begun = self.saved = 0.0  # `share` when the step began, and when a checkpoint was last saved

    @property
    def share(self) -> float:
        """Share spent of what was left when the stage began; may pass 1 by the last step's overshoot."""
        return 1 - (self.meter.budget.amount - self.meter.used) / self.free

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        self.meter.restore(json.loads((folder / "meter.json").read_text()))
        self.begun = self.saved = self.share

    def count(self, mask: torch.Tensor, trained: torch.Tensor) -> None:
        """Note a micro-batch: real tokens, and those the loss counts."""
        self.tokens += int(mask.sum())
        self.trained += int(trained.sum())

    def on_pre_optimizer_step(self, args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
        optimizer, model = kwargs["optimizer"], kwargs["model"]
        bad = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.sum().isfinite()]
        if bad:
            raise Diverged(f"gradient of {bad[0]} (and {len(bad) - 1} more) not finite at step {state.global_step + 1}")
        self.meter.train(self.tokens, self.trained)
        self.tokens = self.trained = 0
        end = min(self.share, 1.0)
        self.lr = args.learning_rate * lr_share((self.begun + end) / 2, self.warmup)
        for group in optimizer.param_groups:
            group["lr"] = self.lr
        self.begun = end

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        self.meter.saw(self.order.unique(state.global_step))
        if self.meter.exhausted:
            control.should_training_stop = True
        elif int(self.share * SAVES) > int(self.saved * SAVES):
            control.should_save = True
            self.saved = self.share

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        _write(Path(args.output_dir) / f"checkpoint-{state.global_step}" / "meter.json", self.meter.state())

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        if "loss" in logs:  # a step, not the summary at the end
            self.meter.report(lr=self.lr, **{_LOGGED[key]: value for key, value in logs.items() if key in _LOGGED})


class Metered:
    """Mixed into a TRL trainer, before it in the base classes."""

    ledger: Ledger

    def _get_train_sampler(self, *_: Any) -> Order:
        return self.ledger.order

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No card: a checkpoint here is for going on, the final folder is the parent's with other weights."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.ledger.count(*self.masks(inputs))
        loss = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        if not torch.isfinite(loss[0] if isinstance(loss, tuple) else loss).all():
            raise Diverged(f"loss is not finite after step {self.state.global_step}")  # type: ignore[attr-defined]
        return loss

    def masks(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(real tokens, tokens the loss counts) of a micro-batch."""
        return inputs["attention_mask"], inputs["labels"] != -100


def load(parent: Checkpoint) -> tuple[Any, Any]:
    """The parent's model in float32 (on CUDA the trainer computes in bfloat16 over it) and its tokenizer."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    model = _model(parent.path)
    unknown = _tensor_names(parent.path) - model.state_dict().keys()
    if unknown:
        raise ValueError(
            f"checkpoint {parent.path} holds {len(unknown)} tensors its model class does not know, such as "
            f"{min(unknown)!r}: give a full checkpoint (merge an adapter first)"
        )
    return model, AutoTokenizer.from_pretrained(parent.path, local_files_only=True)


def _model(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True)


def eos_ids(model: Any, tokenizer: Any) -> set[int]:
    """Token ids that end a reply."""
    declared = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])}
    return {i for i in ids if i is not None}


def arguments(stage: Stage, out: Path, learning_rate: float, micro_batch: int, per_step: int) -> dict[str, Any]:
    """Settings every TRL config takes. per_step: sequences an optimizer step trains on.

    Raises ValueError unless micro_batch divides per_step.
    """
    micro_batch = min(micro_batch, per_step)
    if per_step % micro_batch:
        raise ValueError(f"trainer {stage.trainer!r}: micro_batch must divide {per_step}, got {micro_batch}")
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(out / "resume"),
        "seed": stage.seed,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant",  # the ledger sets the rate
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": per_step // micro_batch,
        "max_steps": _FOREVER,
        "save_strategy": "no",  # the ledger asks for saves
        "save_total_limit": 2,
        "logging_nan_inf_filter": False,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not cuda,
        "bf16": cuda,
        "gradient_checkpointing": cuda,
        "dataloader_pin_memory": cuda,
    }


def fit(trainer: Any, ledger: Ledger, parent: Checkpoint, out: Path) -> Trained:
    """Train until the budget is spent, going on from the newest sound checkpoint under `out`; the final folder."""
    trainer.ledger = ledger
    trainer.add_callback(ledger)
    trainer.remove_callback(PrinterCallback)
    transformers.set_seed(trainer.args.seed)  # building a colocated vLLM engine resets the global seed
    start = newest_checkpoint(out / "resume")
    if start is not None:
        ledger.restore(start)
        log.info("going on from %s", start)
    why = ""
    try:
        if not ledger.meter.exhausted:
            trainer.train(resume_from_checkpoint=str(start) if start else None)
        model = trainer.accelerator.unwrap_model(trainer.model)
    except Diverged as error:
        why = str(error)
        sound = newest_checkpoint(out / "resume", before=trainer.state.global_step)
        model = _model(sound or parent.path)
    trained = Trained(save_final(model, parent, out), "diverged" if why else "done", why)
    _write(out / "finished.json", {"meter": ledger.meter.state(), "status": trained.status, "why": why})
    shutil.rmtree(out / "resume", ignore_errors=True)
    return trained


def finished(meter: Meter, out: Path) -> Trained | None:
    """What an earlier call under `out` ended with, the meter restored; None where none ended."""
    marker = out / "finished.json"
    if not marker.exists():
        return None
    end = json.loads(marker.read_text())
    meter.restore(end["meter"])
    return Trained(out / "final", end["status"], end["why"])


def newest_checkpoint(folder: Path, before: int = _FOREVER) -> Path | None:
    """The newest whole checkpoint under `folder` from before the given step; newer ones are removed."""
    steps = {int(checkpoint.name.split("-")[1]): checkpoint for checkpoint in folder.glob("checkpoint-*")}
    for step in sorted(steps, reverse=True):
        if step < before and _whole(steps[step]):
            return steps[step]
        log.warning("%s is half written or no good: removed", steps[step])
        shutil.rmtree(steps[step])
    return None


def _whole(folder: Path) -> bool:
    """True if all a resume needs is there; `meter.json` is written last."""
    try:
        for name in ("meter.json", "trainer_state.json"):
            json.loads((folder / name).read_text())
        return bool(_tensor_names(folder)) and all(
            zipfile.is_zipfile(folder / name) for name in ("optimizer.pt", "rng_state.pth")
        )
    except (OSError, ValueError, SafetensorError):
        return False


def save_final(model: Any, parent: Checkpoint, out: Path) -> Path:
    """`out/final`: the parent's folder, file for file, with the model's weights in float32 under the parent's names."""
    partial, final = out / "final.partial", out / "final"
    for folder in (partial, final):
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in parent.path.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
            shutil.copyfile(file, partial / file.name)
    config = json.loads((partial / "config.json").read_text())
    config.pop("torch_dtype", None)
    _write(partial / "config.json", {**config, "dtype": "float32"})
    state = model.state_dict()
    weights = {name: state[name].detach().cpu().float().clone() for name in sorted(_tensor_names(parent.path))}
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    return partial.rename(final)


def _tensor_names(folder: Path) -> set[str]:
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            names.update(tensors.keys())
    return names


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1))
    partial.rename(path)
