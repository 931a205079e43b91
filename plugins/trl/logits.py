"""The loop behind `kd.logits`, and the teacher's scores. Imports torch and TRL: import it inside `train` only."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint
from trl import SFTTrainer

from harness.atomic import write_json
from harness.types import Checkpoint, Trained, sha256_of

from ..configs import LogitsConfig, Training
from .metering import BudgetCallback, Metered, finished, fit
from .sft import prepare
from .weights import load_teacher

_FORMAT = 1  # version of the stored files; part of their key
_READ = 4096  # tokens the teacher reads at once, padding included, unless one row is longer
_SLICE = 256  # positions whose whole distribution is held in float32 at once


@dataclass(frozen=True)
class Scores:
    """The teacher's distribution at every trained position of every row, memory-mapped.

    tokens: (P, k) int32 ids, logprobs: (P, k) float16 in nats, offsets: (R + 1,) first position of each row.
    """

    tokens: Any
    logprobs: Any
    offsets: Any
    read: int  # tokens the teacher read to make them
    seconds: float  # and how long it took


def train_on_logprobs(training: Training[LogitsConfig]) -> Trained:
    """See `KDLogits.train`."""
    config, parent, data, meter, out = training.config, training.parent, training.data, training.meter, training.out
    if (earlier := finished(meter, out)) is not None:
        return earlier
    assert data.teacher is not None
    assert data.shared is not None
    trainer, order = prepare(_LogitsTrainer, training)
    rows = trainer.train_dataset
    scores = score_once(data.teacher, parent, rows["input_ids"], rows["labels"], config.top_k, data.shared)
    meter.charge_once(scored=scores.read, seconds=scores.seconds)
    trainer.ce_weight = config.ce_weight
    trainer.train_dataset = rows.add_column("row", list(range(len(rows))))
    trainer.args.remove_unused_columns = False
    trainer.data_collator = Collator(trainer.data_collator, scores)
    return fit(trainer, BudgetCallback(meter, order, config.warmup), parent, out)


class Collator:
    """Makes SFTTrainer's batch and adds the teacher's scores of its trained positions, row after row."""

    def __init__(self, inner: Any, scores: Scores) -> None:
        self.inner, self.scores = inner, scores

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        rows = [dict(row) for row in rows]
        spans = [slice(*self.scores.offsets[(i := row.pop("row")) : i + 2]) for row in rows]
        batch: dict[str, torch.Tensor] = self.inner(rows)
        batch["teacher_tokens"] = torch.from_numpy(np.concatenate([self.scores.tokens[s] for s in spans])).long()
        batch["teacher_logprobs"] = torch.from_numpy(np.concatenate([self.scores.logprobs[s] for s in spans])).float()
        return batch


class _Logits(SFTTrainer):  # type: ignore[misc]
    ce_weight = 0.0

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs["labels"][:, 1:]
        trained = labels != -100
        with _head_at(self.accelerator.unwrap_model(model), trained):
            logits = model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
            ).logits
        values = (logits, inputs["teacher_tokens"], inputs["teacher_logprobs"], labels[trained])
        # each slice is computed again in the backward pass, so that of all of it only the logits are kept
        slices = zip(*(value.split(_SLICE) for value in values), strict=True)
        options = {"use_reentrant": False, "preserve_rng_state": False}
        losses = torch.cat([checkpoint(self._losses, *part, **options) for part in slices])
        loss = losses.sum() / (num_items_in_batch if num_items_in_batch is not None else trained.sum())
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged, and the count is over all of them
        return (loss, None) if return_outputs else loss

    def _losses(
        self, logits: torch.Tensor, tokens: torch.Tensor, logprobs: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        losses = tail_kl(logits, tokens, logprobs)
        if self.ce_weight:
            plain = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
            losses = (1 - self.ce_weight) * losses + self.ce_weight * plain
        return losses

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["input_ids", "labels", "row"]


class _LogitsTrainer(Metered, _Logits):
    pass


@contextmanager
def _head_at(model: Any, places: torch.Tensor) -> Iterator[None]:
    """While inside, the model's logits are those after these places alone: (P, V), row after row.

    places: (B, T - 1) booleans. The logits of all T tokens of a batch would be its largest tensor by far.
    """
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _head, args: (args[0][:, :-1][places],))
    try:
        yield
    finally:
        hook.remove()


def tail_kl(logits: torch.Tensor, tokens: torch.Tensor, logprobs: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) in nats at each position, over the teacher's top-k tokens and one bucket for all others.

    logits: (P, V) of the student; tokens: (P, k) ids; logprobs: (P, k) of the teacher in nats. Without the bucket,
    probability that the student moves outside the k tokens would cost nothing.
    """
    ours = torch.log_softmax(logits.float(), dim=-1).gather(1, tokens)
    known = (logprobs.exp() * (logprobs - ours)).sum(dim=1)
    rest, our_rest = (torch.log1p(-p.exp().sum(dim=1).clamp(max=1 - 1e-6)) for p in (logprobs, ours))
    return known + rest.exp() * (rest - our_rest)


def score_once(
    teacher: Checkpoint, parent: Checkpoint, rows: Sequence[Sequence[int]], labels: Any, k: int, shared: Path
) -> Scores:
    """The teacher's top-k log-probabilities of all rows: computed by the first stage that needs them, then reused."""
    key = sha256_of([_FORMAT, teacher.digest, k, [list(row) for row in rows], [list(row) for row in labels]])[:16]
    folder = shared / f"logprobs-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done.json").exists():
            _score(load_teacher(teacher, parent), rows, labels, k, folder)
    done = json.loads((folder / "done.json").read_text())
    tokens, logprobs, offsets = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
    return Scores(tokens, logprobs, offsets, done["read"], done["seconds"])


_ARRAYS = ("tokens", "logprobs", "offsets")


def _score(teacher: Any, rows: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], k: int, folder: Path) -> None:
    begun = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    teacher = teacher.to(device)
    trained = [[i for i, label in enumerate(row) if label != -100] for row in labels]
    offsets = np.concatenate([[0], np.cumsum([len(places) for places in trained])]).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    shape = (int(offsets[-1]), k)
    tokens = _array(folder / "tokens.npy", np.int32, shape)
    logprobs = _array(folder / "logprobs.npy", np.float16, shape)
    for batch in _batches(list(map(len, rows)), _READ):
        width = max(len(rows[i]) for i in batch)
        ids = torch.tensor([[*rows[i], *[0] * (width - len(rows[i]))] for i in batch], device=device)
        real = torch.tensor([[1] * len(rows[i]) + [0] * (width - len(rows[i])) for i in batch], device=device)
        places = torch.zeros(len(batch), width - 1, dtype=torch.bool, device=device)
        for number, i in enumerate(batch):
            places[number, [place - 1 for place in trained[i]]] = True  # the position that predicts the token
        with torch.inference_mode(), _head_at(teacher, places):
            logits = teacher(input_ids=ids, attention_mask=real).logits
        top = logits.topk(k)
        scale = torch.cat([part.float().logsumexp(dim=-1, keepdim=True) for part in logits.split(_SLICE)])
        span = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in batch])
        tokens[span] = top.indices.cpu().numpy()
        logprobs[span] = (top.values.float() - scale).cpu().numpy()
    tokens.flush()
    logprobs.flush()
    write_json(folder / "done.json", {"read": sum(map(len, rows)), "seconds": time.monotonic() - begun, "k": k})


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """The rows' numbers from the shortest to the longest, in batches of at most so many tokens with padding."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[i] > most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _array(path: Path, dtype: Any, shape: tuple[int, int]) -> Any:
    return np.lib.format.open_memmap(path, "w+", dtype, shape)  # type: ignore[no-untyped-call]
