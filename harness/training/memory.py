"""The memory of a training step, by formula: what a stage holds on a device before one knows by an error.

Bytes a weight: 4 for it, 4 for its gradient, 8 for AdamW's two moments, and 2 for the bfloat16 copy that autocast makes
on a GPU. Bytes a token and layer that the backward pass needs, for hidden size h, feed-forward size f, rows of T
tokens: 37 h + 8 f + 2 T in bfloat16, 44 h + 16 f + 4 T in float32, or 4 h and one whole layer at a time if layers are
computed again (gradient checkpointing). The factors are counted from what autograd keeps of Qwen2 and Llama layers;
tests/bench/README.md has formula and measurement side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from harness.checkpoints import all_params, architecture
from harness.protocols import Footprint, Trainer
from harness.types import Sample

RESERVE = 0.08  # share of a device that stays free: the driver's own, and gaps between tensors
_LOSS_TILE = 4096, 32768  # tokens, vocabulary: TRL computes losses over the vocabulary in such tiles
_ADAPTER = 0.02  # an adapter of rank 16 on all linear layers has about so many of the weights
_TEMPLATE = 64  # tokens that a chat template adds to a question
_LOOKED_AT = 16  # texts with the most characters, among which the one with the most tokens is looked for


@dataclass(frozen=True)
class Shape:
    """The sizes of a dense decoder that decide its memory. key_values: keys and values of a token in one layer."""

    params: int
    hidden: int
    feed_forward: int
    layers: int
    vocabulary: int
    key_values: int


@dataclass(frozen=True)
class Step:
    """A step whose memory is asked for. footprint: its `tokens` are those of the longest row, prompt included.

    half: bfloat16 over float32, as on a GPU.
    """

    model: Shape
    footprint: Footprint
    half: bool
    teacher: Shape | None = None
    devices: int = 1


def shape_of(path: Path) -> Shape | None:
    """The shape of the model in a folder, from its config.json; None if that gives its sizes under other names."""
    whole = architecture(path)
    config = whole.get("text_config", whole)

    def size(*names: str, default: int = 0) -> int:
        return int(next((config[name] for name in names if config.get(name)), default))

    hidden, heads = size("hidden_size", "n_embd"), size("num_attention_heads", "n_head")
    layers, vocabulary = size("num_hidden_layers", "n_layer"), size("vocab_size")
    if not (hidden and heads and layers and vocabulary):
        return None
    key_values = 2 * size("head_dim", default=hidden // heads) * size("num_key_value_heads", default=heads)
    feed_forward = size("intermediate_size", "n_inner", default=4 * hidden)
    return Shape(all_params(path), hidden, feed_forward, layers, vocabulary, key_values)


def longest(path: Path, rows: Iterable[tuple[Sample, str]]) -> int:
    """Tokens of the longest row, a question and its reply, by a model folder's tokenizer; the template's guessed."""
    texts = ("\n".join([*(message.content for message in sample.messages), reply]) for sample, reply in rows)
    encoded = _tokenizer(path).encode_batch(sorted(texts, key=len)[-_LOOKED_AT:])
    return max((len(each.ids) for each in encoded), default=0) + _TEMPLATE


@cache
def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path / "tokenizer.json"))  # some take half a second, and each trainer asks


def footprint_of(trainer: Trainer, config: Any, row: int) -> Footprint | None:
    """The trainer's footprint if the longest row, or the longest question if its loop samples, has so many tokens."""
    found = trainer.footprint(config)
    if found is None:
        return None
    return replace(found, tokens=found.tokens + row if trainer.samples else min(found.tokens, row))


def step_memory(step: Step, checkpointing: bool) -> dict[str, int]:
    """Bytes on one device at the fullest moment of a step, by what holds them; without what an engine takes there."""
    model, load = step.model, step.footprint
    parts = {"weights": 4 * model.params}
    trained = _ADAPTER * model.params if load.adapter else model.params
    parts["gradients and optimizer"] = int((12 + 4 * (step.devices > 1)) * trained)  # and what is sent to the others
    if step.half:
        parts["weights in bfloat16"] = 2 * model.params
    if load.teacher and step.teacher is not None:
        parts["teacher"] = (2 if step.half else 4) * step.teacher.params
    if load.reference:
        parts["reference"] = 4 * model.params
    parts["activations"] = max(_activations(step, checkpointing) + _loss(step), _sampling(step))
    return parts


def _activations(step: Step, checkpointing: bool) -> int:
    model, n_tokens = step.model, step.footprint.rows * step.footprint.tokens
    h, f, width = model.hidden, model.feed_forward, step.footprint.tokens
    layer = 37 * h + 8 * f + 2 * width if step.half else 44 * h + 16 * f + 4 * width
    kept = model.layers * (4 * h if checkpointing else layer)
    return n_tokens * (kept + layer * (3 if checkpointing else 1) // 2)  # gradients of half a layer; before, it whole


def _loss(step: Step) -> int:
    size, n_tokens = 2 if step.half else 4, step.footprint.rows * step.footprint.tokens
    if step.footprint.logits:
        return 2 * size * n_tokens * step.model.vocabulary  # they and their gradient
    tokens, vocabulary = _LOSS_TILE
    copies = 3 if step.half else 5  # without TRL's kernels for GPUs, more of them
    return copies * size * min(n_tokens, tokens) * min(step.model.vocabulary, vocabulary)


def _sampling(step: Step) -> int:
    """Keys and values of the rows that the model itself samples, and logits and probabilities of their last token."""
    model, load = step.model, step.footprint
    rows = 0 if step.half and load.engine else load.generated // step.devices
    return rows * (step.footprint.tokens * model.layers * model.key_values * 4 + 3 * 4 * model.vocabulary)


def needs_checkpointing(step: Step, free: int) -> bool | None:
    """Whether the step fits into `free` bytes only if layers are computed again; None: not even then."""
    room = free * (1 - RESERVE - (step.footprint.engine if step.half else 0.0))
    for checkpointing in (False, True):
        if sum(step_memory(step, checkpointing).values()) <= room:
            return checkpointing
    return None
