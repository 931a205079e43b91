"""A quantized checkpoint is answered on vLLM, and its records and board say that its weights are not proven."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.checkpoints import open_checkpoint
from harness.cli.progress import ShellProgress
from harness.engines.opening import vllm_problem
from harness.engines.requests import StartError
from harness.engines.vllm import VLLMConfig, VLLMEngine
from harness.evaluation.eval_models import EvalRequest, ModelChoice, Output, SamplingChoice, run
from harness.records.record_files import read_records
from harness.testing.models import make_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(vllm_problem() is not None, reason=str(vllm_problem()))]


def quantize(full: Path, path: Path) -> Path:
    """The model with its linear layers in 8 bit, as llm-compressor writes them: a scale for each row."""
    shutil.copytree(full, path)
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in load_file(full / "model.safetensors").items():
        tensors[name] = weight
        if name.endswith("_proj.weight"):
            scale = weight.abs().amax(1, keepdim=True) / 127
            tensors[name] = (weight / scale).round().to(torch.int8)
            tensors[f"{name}_scale"] = scale
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    eight_bit = {"num_bits": 8, "type": "int", "symmetric": True}
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {**eight_bit, "strategy": "channel", "dynamic": False},
                "input_activations": {**eight_bit, "strategy": "token", "dynamic": True},
            }
        },
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_a_quantized_model_is_evaluated_and_its_records_and_board_say_what_is_not_proven(tmp_path: Path) -> None:
    model = quantize(make_model(tmp_path / "full", seed=0), tmp_path / "small")
    assert open_checkpoint(model).quantization == "compressed-tensors"
    asked = EvalRequest(
        ("pico_math",),
        ModelChoice((str(model),), engine="vllm"),
        Output(tmp_path / "run"),
        SamplingChoice(max_tokens=8),
        limit=4,
    )
    result = run(asked, ShellProgress(1.0))
    (records,) = (tmp_path / "run" / "evals").glob("*/records-*.jsonl")
    assert [record.origin.unproven for record in read_records(records)] == ["compressed-tensors"] * 4
    (note,) = result.board.notes
    assert (note.kind, note.model, note.quantization) == ("weights not proven", "small", "compressed-tensors")


def test_a_method_that_vllm_computes_in_16_bits_only_is_refused_with_what_to_give(tmp_path: Path) -> None:
    model = make_model(tmp_path / "gptq", seed=0)
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True, "lm_head": False
    }  # fmt: skip
    (model / "config.json").write_text(json.dumps(config))
    with (
        VLLMEngine(VLLMConfig(dtype="float32")) as engine,
        pytest.raises(StartError, match=r"float32 is not supported .*gptq[\s\S]*; give --engine-arg dtype=bfloat16$"),
    ):
        engine.load(open_checkpoint(model))
