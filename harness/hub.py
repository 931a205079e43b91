"""A model by folder or by its Hugging Face name."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import BadCheckpoint

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_model(name: str) -> Path:
    """The local folder of a model; a name like "Qwen/Qwen2.5-0.5B" is fetched from the hub, or found in its cache.

    Raises `BadCheckpoint` where it is neither a folder nor a model the hub can give.
    """
    path = Path(name).expanduser()
    if path.exists() or not _HUB_NAME.fullmatch(name):
        return path  # open_checkpoint says what is wrong with it
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise BadCheckpoint(
            f"model {name!r} is no folder here, and the Hugging Face hub did not give it ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}); give a folder with config.json, *.safetensors and a tokenizer"
        ) from error
