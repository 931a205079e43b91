"""Whatever a user names as a model, as a checkpoint that engines and trainers read.

A full model folder is used as it is. For a LoRA adapter, weights in `pytorch_model.bin`, a tokenizer that is elsewhere
or in an old format, what is missing is made once, in a folder of the user's cache (`convert_model`).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.checkpoints import adapter_base, open_checkpoint, resolve_model
from harness.engines.machine import user_cache
from harness.errors import BadCheckpoint
from harness.processes import python_module
from harness.types import Checkpoint, sha256_of

_SAFE = ("model.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_SLOW_TOKENIZERS = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def open_model(
    name: str, say: Callable[[str], None] = lambda _message: None, tokenizer: str = "", chat: bool = True
) -> Checkpoint:
    """The checkpoint that a folder or a name on the hub stands for; say gets what had to be made for it.

    tokenizer: a folder or a name on the hub that the tokenizer is taken from; "": the model's own. Raises
    `BadCheckpoint`.
    """
    path = resolve_model(name)
    names = sorted((step.parent.name for step in path.glob("checkpoint-*/config.json")), key=_step)
    if names and not (path / "config.json").exists():
        raise BadCheckpoint(
            f"{path}: holds no model of its own but {len(names)} checkpoints: {', '.join(names)}; name one of them, or "
            f"all: '{path}/checkpoint-*'"
        )
    return open_checkpoint(_completed(path, say, resolve_model(tokenizer) if tokenizer else None), chat)


def expand_models(names: str) -> list[str]:
    """The models of a comma-separated list, with patterns like `out/checkpoint-*` replaced by folders, by number."""
    if names and Path(names).expanduser().exists():  # one folder with a comma in its name
        return [names]
    found: list[str] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        path = Path(name).expanduser()
        if not re.search(r"[*?\[]", name) or path.exists():
            found.append(name)
            continue
        anchor = Path(path.anchor or ".")
        folders = [folder for folder in anchor.glob(str(path.relative_to(path.anchor))) if folder.is_dir()]
        if not folders:
            raise BadCheckpoint(f"no folder is named like {name!r}")
        found += map(str, sorted(folders, key=lambda folder: _step(str(folder))))
    return found


def _step(name: str) -> list[tuple[int, str]]:
    """A sort key by which checkpoint-500 comes before checkpoint-1000."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _completed(path: Path, say: Callable[[str], None], tokenizer: Path | None) -> Path:
    """The folder itself if it is whole, else one with all it lacks."""
    base = _base_of(path)
    pickled = not _any(path, _SAFE) and _any(path, _PICKLED)
    slow = not (path / "tokenizer.json").exists() and _any(path, _SLOW_TOKENIZERS)
    if not path.is_dir() or not (base or pickled or slow or tokenizer):
        return path
    speaks = tokenizer or (path if (path / "tokenizer.json").exists() or slow or not base else base)
    sources = [path, *([base] if base else []), speaks]
    target = user_cache() / "models" / f"{path.resolve().name}-{sha256_of(list(map(_content, sources)))[:16]}"
    if not target.exists():
        asked = {"model": str(base or path), "adapter": str(path) if base else "", "tokenizer": str(speaks)}
        rewritten = bool(base or pickled)
        command = [*python_module("harness.engines.convert_model"), json.dumps({**asked, "weights": rewritten})]
        done = subprocess.run([*command, str(target)], capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise BadCheckpoint(f"{path}: cannot be made into a model folder: {why}")
    what = [f"a LoRA adapter, merged into {base}"] if base else []
    what += ["weights in pytorch_model.bin, converted without running any pickle"] if pickled else []
    what += [f"with the tokenizer of {tokenizer}"] if tokenizer else ["with its tokenizer converted"] if slow else []
    say(f"{path}: {', '.join(what)}; kept in {target}")
    return target


def _base_of(path: Path) -> Path | None:
    """The folder of the model that an adapter belongs to; None for anything but an adapter alone."""
    if (path / "config.json").exists() or not (path / "adapter_config.json").exists():
        return None
    named = adapter_base(path)
    beside = path / named
    base = beside if beside.is_dir() else resolve_model(named)
    if not (base / "config.json").exists():
        raise BadCheckpoint(
            f"{path}: a LoRA adapter whose base {named!r} (base_model_name_or_path in adapter_config.json) is not a "
            "model folder here; correct that entry"
        )
    return base


def _any(path: Path, names: tuple[str, ...]) -> bool:
    return any((path / name).exists() for name in names)


def _content(path: Path) -> list[tuple[str, int, int]]:
    """What identifies the present content of a folder: name, size and time of change of its files."""
    files = sorted(file for file in path.resolve().iterdir() if file.is_file())
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
