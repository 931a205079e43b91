"""Reads a Hugging Face model folder without torch: completeness, digests, number of matmul weights.

safetensors: 8 bytes (little-endian header length), a JSON header {name: {dtype, shape, data_offsets}}, the tensors.
Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from harness.errors import BadCheckpoint
from harness.types import Checkpoint, sha256_of

_ITEM_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
}
# dtype -> its bits as numpy reads them, and those of the exponent: a value that has all of these is NaN or infinite
_EXPONENTS = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
_LFS_POINTER = b"version https://git-lfs"
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
_CHUNK_BYTES = 1 << 22
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "tok_embeddings.weight")
_POSITIONS = ("wpe.weight", "embed_positions.weight")
_HEADS = ("lm_head.weight", "embed_out.weight")
# config.json keys that change neither the layers nor the outputs of a served model
_NOT_ARCHITECTURE = {"_name_or_path", "transformers_version", "use_cache", "dtype", "torch_dtype", "initializer_range"}


@dataclass(frozen=True)
class _Tensor:
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int  # offset of the first byte in the file
    n_bytes: int


def open_checkpoint(path: Path, chat: bool = True) -> Checkpoint:
    """The checkpoint in the folder `path`, with its digests; reads every byte of the weights.

    Raises `BadCheckpoint` unless the folder holds a full model: config, complete safetensors, tokenizer, and with
    `chat` a chat template.
    """
    quantized = architecture(path).get("quantization_config") or {}
    if chat and not chat_template(path):
        raise BadCheckpoint(
            f"{path}: no chat template; put one in chat_template.jinja or tokenizer_config.json, or evaluate in plain "
            f"text (harness eval --no-apply-chat-template)"
        )
    method = str(quantized.get("quant_method", "unknown")) if quantized else ""
    return Checkpoint(path.resolve(), _weights_digest(_tensors(path)), _tokenizer_digest(path), method)


def matmul_params(path: Path) -> int:
    """Weights that take part in a matrix product for one token of a dense model.

    All 2-D weights except the input embedding, a look-up; an output head tied to it counts too.
    """
    shapes = {name: tensor.shape for name, tensor in _tensors(path).items() if len(tensor.shape) == 2}
    embeddings = [shape for name, shape in shapes.items() if name.endswith(_EMBEDDINGS)]
    if len(embeddings) != 1:
        raise BadCheckpoint(
            f"{path}: {len(embeddings)} input embeddings found, expected one weight named {' or '.join(_EMBEDDINGS)}"
        )
    total = sum(prod(shape) for name, shape in shapes.items() if not name.endswith(_EMBEDDINGS + _POSITIONS))
    tied = not any(name.endswith(_HEADS) for name in shapes)
    return total + (prod(embeddings[0]) if tied else 0)


def all_params(path: Path) -> int:
    """Weights of any kind that the model's files hold; an output head tied to the embedding is held once."""
    return sum(prod(tensor.shape) for tensor in _tensors(path).values())


def architecture(path: Path) -> dict[str, Any]:
    """The fields of config.json that two checkpoints must share to be swapped inside one running engine."""
    if not path.is_dir():
        raise BadCheckpoint(f"{path}: not a folder; expected a Hugging Face model folder")
    return {key: value for key, value in _json(path / "config.json").items() if key not in _NOT_ARCHITECTURE}


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadCheckpoint(f"{file.parent}: no {file.name}; expected a full Hugging Face model folder") from None
    except (OSError, ValueError) as cause:
        raise BadCheckpoint(f"{file}: cannot be read as JSON: {cause}") from cause
    if not isinstance(value, dict):
        raise BadCheckpoint(f"{file}: expected a JSON object, got {type(value).__name__}")
    return value


def _tensors(path: Path) -> dict[str, _Tensor]:
    """Every tensor by name, from one file or from the shards the index names."""
    index = path / "model.safetensors.index.json"
    single = path / "model.safetensors"
    if single.exists() and index.exists():
        raise BadCheckpoint(
            f"{path}: model.safetensors lies beside the shards of model.safetensors.index.json, and tools disagree on "
            "which of them counts; remove the ones that are out of date"
        )
    if single.exists():
        return _header(single)
    if not index.exists():
        raise BadCheckpoint(f"{path}: no weights; expected model.safetensors or model.safetensors.index.json")
    listed = _json(index).get("weight_map", {})
    found: dict[str, _Tensor] = {}
    for shard in sorted(set(listed.values())):
        found.update(_header(path / shard))
    if missing := sorted(set(listed) - set(found)):
        raise BadCheckpoint(
            f"{path}: {len(missing)} tensors of the index are in none of the shards, first {missing[0]!r}"
        )
    return found


def _header(file: Path) -> dict[str, _Tensor]:
    """The tensors of one safetensors file; raises `BadCheckpoint` unless the file is complete."""
    if not file.exists():
        raise BadCheckpoint(f"{file.parent}: shard {file.name} is missing; copy the whole folder again")
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            raise BadCheckpoint(f"{file}: a Git LFS pointer, not the weights; run `git lfs pull`")
        length = int.from_bytes(start[:8], "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise BadCheckpoint(f"{file}: not a complete safetensors file ({size} bytes); copy it again")
        stream.seek(8)
        try:
            entries = json.loads(stream.read(length))
            entries.pop("__metadata__", None)
            tensors = {name: _tensor(file, 8 + length, entry) for name, entry in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise BadCheckpoint(f"{file}: bad safetensors header: {cause!r}; save it again") from cause
    end = max((t.start + t.n_bytes for t in tensors.values()), default=8 + length)
    if end != size:
        raise BadCheckpoint(f"{file}: {size} bytes, but its header lists {end}; the file is truncated: copy it again")
    return tensors


def _tensor(file: Path, base: int, entry: dict[str, Any]) -> _Tensor:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    bits = _ITEM_BITS.get(entry["dtype"])
    if bits is not None and end - start != prod(shape) * bits // 8:
        raise ValueError(f"{entry['dtype']}{list(shape)} in {end - start} bytes")
    return _Tensor(file, entry["dtype"], shape, base + start, end - start)


def _weights_digest(tensors: dict[str, _Tensor]) -> str:
    """Raises `BadCheckpoint` naming a tensor that holds NaN or an infinity."""
    import numpy as np

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        head = json.dumps([name, tensor.dtype, tensor.shape])
        digest.update(len(head).to_bytes(8, "little") + head.encode())
        with tensor.file.open("rb") as stream:
            stream.seek(tensor.start)
            left, n_unsound = tensor.n_bytes, 0
            while chunk := stream.read(min(left, _CHUNK_BYTES)):
                digest.update(chunk)
                left -= len(chunk)
                if tensor.dtype in _EXPONENTS:
                    bits, exponent = _EXPONENTS[tensor.dtype]
                    n_unsound += int(np.count_nonzero((np.frombuffer(chunk, bits) & exponent) == exponent))
        if n_unsound:
            raise BadCheckpoint(
                f"{tensor.file}: tensor {name!r} holds {n_unsound:,} values that are NaN or infinite; its training "
                "diverged, or it was saved wrongly: take an earlier checkpoint"
            )
    return digest.hexdigest()


def _tokenizer_digest(path: Path) -> str:
    """Digest of tokenizer.json and the chat template; padding and truncation, which trainers change, are left out."""
    tokenizer = _json(path / "tokenizer.json")
    rules = {key: value for key, value in tokenizer.items() if key not in {"padding", "truncation"}}
    return sha256_of([rules, chat_template(path)])


def adapter_base(path: Path) -> str:
    """The name or folder of the model that a LoRA adapter was trained on, as its adapter_config.json states it."""
    named = _json(path / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise BadCheckpoint(f"{path / 'adapter_config.json'}: base_model_name_or_path does not name the adapter's base")
    return named


def vocabulary_difference(student: Path, teacher: Path) -> str:
    """Why the teacher's log-probabilities cannot be compared with the student's token by token; "" if they can.

    Models of one family pad the same vocabulary to different sizes; the teacher must have at least as many rows.
    """
    (mine, my_end), (theirs, their_end) = _vocabulary(student), _vocabulary(teacher)
    who = f"the teacher {teacher.name} and the student {student.name}"
    if mine != theirs or my_end != their_end:
        odd = sorted(mine.items() ^ theirs.items())
        first = str(odd[0]) if odd else f"end of turn: {my_end}, {their_end}"
        return f"{who} have different vocabularies (first difference: {first})"
    sizes = [_json(path / "config.json").get("vocab_size", len(mine)) for path in (student, teacher)]
    if sizes[1] < sizes[0]:
        return f"{who} pad their vocabulary to {sizes[1]} and {sizes[0]} rows, the teacher to fewer"
    return ""


def _vocabulary(path: Path) -> tuple[dict[str, int], str]:
    """Token -> id, added tokens included, and the token that ends a turn."""
    tokenizer = _json(path / "tokenizer.json")
    held = tokenizer.get("model", {}).get("vocab", {})
    tokens = dict(held) if isinstance(held, dict) else {piece: i for i, (piece, _) in enumerate(held)}
    tokens |= {added["content"]: added["id"] for added in tokenizer.get("added_tokens", ())}
    end = _json(path / "tokenizer_config.json").get("eos_token", "")
    return tokens, end["content"] if isinstance(end, dict) else str(end)


def chat_template(path: Path) -> str:
    """The chat template of a model folder; of several named ones "default"; "" if there is none."""
    file = path / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    template = _json(path / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # [{"name": "default", "template": ...}, ...]
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else ""


def template_warning(path: Path) -> str:
    """What the user should know about a model's chat template; "" if it is sound, or cannot be rendered here.

    A template may ignore `add_generation_prompt` if no header opens a reply ("[/INST]"). If there is a header, and the
    prompt does not end in it, the same weights score far lower.
    """
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if not path.is_dir():  # a server holds the model
        return ""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    asked = {"role": "user", "content": "question"}
    replied = {"role": "assistant", "content": "reply-text"}
    try:
        render = environment.from_string(chat_template(path)).render
        whole = render(messages=[asked, replied], add_generation_prompt=False)
        with_prompt, without = (render(messages=[asked], add_generation_prompt=wanted) for wanted in (True, False))
    except (TemplateError, TypeError, ValueError):  # it needs more than transformers' plain environment
        return ""
    header, found, _ = whole.removeprefix(without).partition(replied["content"])
    if with_prompt != without or not found or not header.strip() or not whole.startswith(without):
        return ""
    return (
        f"the chat template of {path.name} ignores add_generation_prompt: prompts do not end in {header.strip()!r}, "
        "which opens a reply, and scores may be far below those of a complete template"
    )


def resolve_model(name: str) -> Path:
    """The local folder of a model; a name like "Qwen/Qwen2.5-0.5B" is fetched from the hub, or found in its cache.

    Raises `BadCheckpoint` if it is neither a folder nor a model on the hub.
    """
    path = Path(name).expanduser()
    if path.exists() or not _HUB_NAME.fullmatch(name):
        return path  # open_checkpoint reports what is wrong with it
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "pytorch_model*.bin"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise BadCheckpoint(
            f"model {name!r} is not a folder here, and could not be fetched from the Hugging Face hub "
            f"({type(error).__name__}: {str(error).splitlines()[0]}); give a folder with config.json, "
            "*.safetensors and a tokenizer"
        ) from error
