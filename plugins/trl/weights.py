"""Checkpoints of a trainer on TRL: load the parent, find the newest complete one, write the final folder.

Imports torch: import it inside `train` only.
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.atomic import write_json
from harness.checkpoints import vocabulary_difference
from harness.types import Checkpoint

log = logging.getLogger(__name__)


def load_parent(parent: Checkpoint) -> tuple[Any, Any]:
    """The parent's model in float32 (on CUDA the trainer computes in bfloat16 over it) and its tokenizer."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    model = load_trainable(parent.path, torch.float32)
    unknown = tensor_names(parent.path) - model.state_dict().keys()
    if unknown:
        raise ValueError(
            f"checkpoint {parent.path} contains {len(unknown)} tensors that its model class does not have, such as "
            f"{min(unknown)!r}: give a full checkpoint (merge an adapter first)"
        )
    return model, AutoTokenizer.from_pretrained(parent.path, local_files_only=True)


def load_trainable(path: Path, dtype: Any) -> Any:
    """The causal language model in a folder."""
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True)


def load_teacher(teacher: Checkpoint, parent: Checkpoint) -> Any:
    """The teacher, frozen, its output cut to the student's vocabulary: bfloat16 on CUDA, float32 on a CPU.

    Models of one family pad the same vocabulary to different sizes; only padding rows, which no token uses, are cut
    off. Raises ValueError if the vocabularies differ in any other way.
    """
    if why := vocabulary_difference(parent.path, teacher.path):
        raise ValueError(f"{why}: their log-probabilities cannot be compared token by token. Distil its text: kd")
    model = load_trainable(teacher.path, torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    size = json.loads((parent.path / "config.json").read_text())["vocab_size"]
    if model.config.vocab_size > size:
        model.resize_token_embeddings(size)
    return model.eval().requires_grad_(False)


def eos_ids(model: Any, tokenizer: Any) -> set[int]:
    """Token ids that end a reply."""
    declared = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])}
    return {i for i in ids if i is not None}


def merged(model: Any) -> dict[str, torch.Tensor]:
    """All weights with the adapter merged, under the names of the model without an adapter; `model` is unchanged."""
    if not hasattr(model, "peft_config"):
        return dict(model.state_dict())
    base = model.get_base_model()
    state = {
        name.replace(".base_layer.", "."): tensor for name, tensor in base.state_dict().items() if ".lora_" not in name
    }
    for name, module in base.named_modules():
        if hasattr(module, "get_delta_weight"):
            state[f"{name}.weight"] = state[f"{name}.weight"] + module.get_delta_weight("default")
    return state


def save_weights(model: Any, parent: Checkpoint, folder: Path) -> Path:
    """`folder`, written with the parent's files and the model's weights in float32 under the parent's tensor names."""
    partial = folder.with_name(folder.name + ".partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in parent.path.iterdir():
        weights_or_cost = file.suffix == ".safetensors" or file.name.endswith((".index.json", "cost.json"))
        if file.is_file() and not weights_or_cost:
            shutil.copyfile(file, partial / file.name)
    config = json.loads((partial / "config.json").read_text())
    config.pop("torch_dtype", None)
    write_json(partial / "config.json", {**config, "dtype": "float32"})
    state = merged(model)
    weights = {name: state[name].detach().cpu().float().clone() for name in sorted(tensor_names(parent.path))}
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    return partial.rename(folder)


def restored(parent: Checkpoint, saved: Path | None) -> Any:
    """The model that a trainer saved in `saved` (full, or an adapter on the parent); None: the parent's model."""
    if saved is None:
        return load_trainable(parent.path, torch.float32)
    if (saved / "adapter_config.json").exists():
        from peft import PeftModel

        return PeftModel.from_pretrained(load_trainable(parent.path, torch.float32), saved)
    return load_trainable(saved, torch.float32)


def newest(folder: Path, before: int | None = None) -> Path | None:
    """The newest complete checkpoint under `folder`, of step `before` at most; newer ones are removed."""
    steps = {int(checkpoint.name.split("-")[1]): checkpoint for checkpoint in folder.glob("checkpoint-*")}
    for step in sorted(steps, reverse=True):
        if (before is None or step <= before) and _whole(steps[step]):
            return steps[step]
        log.warning("%s is incomplete or later than the collapse: removed", steps[step])
        shutil.rmtree(steps[step])
    return None


def _whole(folder: Path) -> bool:
    """Whether a checkpoint has every file that resuming needs; `meter.json` is written last."""
    try:
        for name in ("meter.json", "trainer_state.json"):
            json.loads((folder / name).read_text())
        torch_files = [folder / "optimizer.pt", *folder.glob("rng_state*.pth")]
        return bool(tensor_names(folder)) and len(torch_files) > 1 and all(map(zipfile.is_zipfile, torch_files))
    except (OSError, ValueError, SafetensorError):
        return False


def tensor_names(folder: Path) -> set[str]:
    """Names of all tensors stored in a folder."""
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            names.update(tensors.keys())
    return names
