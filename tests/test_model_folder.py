"""Whatever folder a user names as a model: adapters, pickled weights, checkpoints of a run, another tokenizer."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.checkpoints import open_checkpoint
from harness.engines.model_folder import expand_models, open_model
from harness.engines.opening import open_engine, vllm_problem
from harness.engines.transformers import TransformersEngine
from harness.engines.vllm import VLLMEngine
from harness.errors import BadCheckpoint, EngineError
from harness.testing.models import make_model
from harness.types import Message, Request, SamplingParams

NO_VLLM = pytest.mark.skipif(vllm_problem() is not None, reason=str(vllm_problem()))
LORA_SCALE = 2.0  # lora_alpha / r


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "full", seed=0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_adapter(path: Path, base: str, **changes: Any) -> Path:
    """A LoRA adapter of the query projections, of rank 4."""
    path.mkdir()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        **changes,
    }
    (path / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora"
        tensors[f"{name}_A.weight"] = torch.randn(4, 64, generator=generator)
        tensors[f"{name}_B.weight"] = torch.randn(64, 4, generator=generator)
    save_file(tensors, path / "adapter_model.safetensors")
    return path


def weights(checkpoint_path: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(checkpoint_path / "model.safetensors")
    return tensors


def test_a_full_folder_is_used_as_it_is(full: Path, own_cache: Path) -> None:
    said: list[str] = []
    assert open_model(str(full), said.append) == open_checkpoint(full)
    assert said == []
    assert not own_cache.exists()


@pytest.mark.slow
def test_an_adapter_is_merged_into_its_base_once_and_anew_after_more_training(full: Path, tmp_path: Path) -> None:
    said: list[str] = []
    adapter = make_adapter(tmp_path / "adapter", str(full))
    found = open_model(str(adapter), said.append)
    low_rank = load_file(adapter / "adapter_model.safetensors")
    for name, merged in weights(found.path).items():
        expected = weights(full)[name]
        if "q_proj.weight" in name:
            a, b = (low_rank[f"base_model.model.{name.removesuffix('.weight')}.lora_{x}.weight"] for x in "AB")
            expected = expected + LORA_SCALE * b @ a
        assert torch.allclose(merged, expected, atol=1e-5), name
    assert said == [f"{adapter}: a LoRA adapter, merged into {full}; kept in {found.path}"]
    assert found.digest != open_checkpoint(full).digest
    assert found.tokenizer_digest == open_checkpoint(full).tokenizer_digest
    changed = (found.path / "model.safetensors").stat().st_mtime_ns
    assert open_model(str(adapter)) == found
    assert (found.path / "model.safetensors").stat().st_mtime_ns == changed

    save_file({name: 2 * t for name, t in low_rank.items()}, adapter / "adapter_model.safetensors")
    assert open_model(str(adapter)).digest != found.digest


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("", "base_model_name_or_path does not name the adapter's base"),
        (
            "/nowhere/base",
            "a LoRA adapter whose base '/nowhere/base' .* is not a model folder here; correct that entry",
        ),
    ],
)
def test_an_adapter_without_its_base_is_refused(tmp_path: Path, base: str, said: str) -> None:
    with pytest.raises(BadCheckpoint, match=said):
        open_model(str(make_adapter(tmp_path / "adapter", base)))


@pytest.mark.slow
def test_an_adapter_of_another_shape_is_refused_with_the_reason(full: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", str(full), r=3)
    with pytest.raises(BadCheckpoint, match=r"cannot be made into a model folder: .*(size|shape) mismatch"):
        open_model(str(adapter))


def pickled(full: Path, path: Path) -> Path:
    shutil.copytree(full, path)
    torch.save(weights(full), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    return path


def test_pickled_weights_are_converted_to_the_same_tensors(full: Path, tmp_path: Path) -> None:
    said: list[str] = []
    found = open_model(str(pickled(full, tmp_path / "old")), said.append)
    assert found.digest == open_checkpoint(full).digest
    assert "weights in pytorch_model.bin, converted without running any pickle" in said[0]


class _Opens:
    """Unpickled, this creates a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (open, (str(self._path), "w"))


def test_code_in_pickled_weights_is_never_run(full: Path, tmp_path: Path) -> None:
    folder, trace = pickled(full, tmp_path / "old"), tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Opens(trace)))
    with pytest.raises(BadCheckpoint, match="cannot be made into a model folder"):
        open_model(str(folder))
    assert not trace.exists()


OWN_CODE = """
from pathlib import Path
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Model

Path({trace!r}).touch()

class OwnConfig(Qwen2Config):
    model_type = "own"

class OwnModel(Qwen2Model):
    config_class = OwnConfig

class OwnForCausalLM(Qwen2ForCausalLM):
    config_class = OwnConfig
"""


@pytest.mark.parametrize("kind", [TransformersEngine, pytest.param(VLLMEngine, marks=[pytest.mark.slow, NO_VLLM])])
def test_code_in_a_model_folder_runs_only_if_the_user_says_so_by_name_and_that_is_recorded(
    kind: type[TransformersEngine] | type[VLLMEngine], full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, trace = Path(shutil.copytree(full, tmp_path / "own")), tmp_path / "ran"
    (folder / "own.py").write_text(OWN_CODE.format(trace=str(trace)))
    names = {"AutoConfig": "OwnConfig", "AutoModel": "OwnModel", "AutoModelForCausalLM": "OwnForCausalLM"}
    own = {
        "architectures": ["OwnForCausalLM"],
        "model_type": "own",
        "auto_map": {auto: f"own.{name}" for auto, name in names.items()},
    }
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | own))
    asked = [Request("q", (Message("user", "1+1="),), SamplingParams(8))]
    with kind() as refused, pytest.raises(EngineError, match=r"needs Python code of its own.*trust_remote_code=true"):
        refused.load(open_checkpoint(folder))
    assert not trace.exists()
    with TransformersEngine() as plain:  # its greedy replies are vLLM's, token for token
        plain.load(open_checkpoint(full))
        expected = [reply.text for reply in plain.generate(asked)]
    with open_engine(kind.name, print, {"trust_remote_code": "true"}) as engine:
        engine.load(open_checkpoint(folder))
        assert trace.exists()
        assert [reply.text for reply in engine.generate(asked)] == expected
        assert engine.describe().as_json()["trust_remote_code"] is True
    assert "trust_remote_code" not in kind().describe().as_json()


def test_the_tokenizer_can_come_from_elsewhere(full: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(full, tmp_path / "bare"))
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (bare / file).unlink()
    with pytest.raises(BadCheckpoint, match="tokenizer"):
        open_model(str(bare))
    found = open_model(str(bare), tokenizer=str(full))
    assert (found.digest, found.tokenizer_digest) == (
        open_checkpoint(full).digest,
        open_checkpoint(full).tokenizer_digest,
    )


def test_a_folder_of_checkpoints_names_them_and_a_pattern_takes_them_by_number(full: Path, tmp_path: Path) -> None:
    for step in (1000, 500):
        shutil.copytree(full, tmp_path / "out" / f"checkpoint-{step}")
    with pytest.raises(
        BadCheckpoint, match=r"2 checkpoints: checkpoint-500, checkpoint-1000; name one .*out/checkpoint-\*'"
    ):
        open_model(str(tmp_path / "out"))
    found = expand_models(f"{tmp_path}/out/checkpoint-*,hub/name")
    assert [Path(name).name for name in found] == ["checkpoint-500", "checkpoint-1000", "name"]
    with pytest.raises(BadCheckpoint, match="no folder is named like"):
        expand_models(f"{tmp_path}/out/step-*")


def test_a_comma_in_the_name_of_a_folder_separates_nothing(full: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(full, tmp_path / "lr=1e-5,kl=0"))
    assert expand_models(str(odd)) == [str(odd)]
    assert expand_models(f"{odd}/no,b") == [f"{odd.parent}/lr=1e-5", "kl=0/no", "b"]
