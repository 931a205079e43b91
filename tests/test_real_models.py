"""Real pretrained weights on vLLM. Users need none of them: `.ci/run` makes them, if it can, and runs these tests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from factories import harness
from safetensors.torch import load_file, save_file
from vllm_faults import FaultyEngine

from harness.checkpoints import open_checkpoint
from harness.engines.opening import vllm_problem
from harness.engines.vllm import VLLMConfig
from harness.types import Checkpoint, Message, Request, SamplingParams

MODEL = Path(os.environ.get("HARNESS_MODELS") or Path.home() / ".cache" / "harness-models") / "smollm2-135m"

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(vllm_problem() is not None, reason=str(vllm_problem())),
    pytest.mark.skipif(not MODEL.exists(), reason="no smollm2-135m below HARNESS_MODELS"),
]


@pytest.fixture(scope="module")
def real() -> Checkpoint:
    return open_checkpoint(MODEL)


@pytest.fixture(scope="module", params=["bfloat16", "float32"])
def engine(
    request: pytest.FixtureRequest, real: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyEngine]:
    config = VLLMConfig(dtype=request.param, max_model_len=1024, max_num_seqs=16)
    with FaultyEngine(tmp_path_factory.mktemp("engine"), config) as engine, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        engine.load(real)
        yield engine


def changed(real: Checkpoint, folder: Path, change: float) -> Checkpoint:
    """The model with every weight moved by so much, as one step of an optimizer does."""
    shutil.copytree(real.path, folder)
    generator = torch.Generator().manual_seed(0)
    moved = {
        name: (w + change * torch.randn(w.shape, generator=generator).sign()).to(w.dtype)
        for name, w in load_file(folder / "model.safetensors").items()
    }
    save_file(moved, folder / "model.safetensors", {"format": "pt"})
    return open_checkpoint(folder)


RECIPE = """
base = "{base}"
tasks = ["lm_eval/arc_easy"]
train = ["pico_math"]
budget = {{ amount = 2e11 }}
dev_items = 1
trainers.sft.batch_size = 2
"""


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("HARNESS_DATA"), reason="HARNESS_DATA is not set: no real benchmarks here")
@pytest.mark.large  # two and a half minutes
def test_it_is_trained_in_a_comparison_and_checked_by_the_gate(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(RECIPE.format(base=MODEL))
    done = harness(
        "compare", "--recipe", "small.toml", "--strategies", "sft", "--limit", "12", "--engine", "vllm",
        "--run", "run", cwd=tmp_path, VLLM_CPU_KVCACHE_SPACE="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    base, sft = (next(row for row in board["rows"] if row["name"] == name) for name in ("base", "sft"))
    assert base["strict"]["value"] > 0.3, "published: 0.541"
    assert 0 < sft["runs"][0]["cost"]["flops_train"] < 2.1e11
    done = harness("gate", "accept", "run", "--entry", "base", "--reason", "first", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = harness("gate", "check", "run", "--entry", "sft", cwd=tmp_path)
    verdict = json.loads((tmp_path / "gate-report" / "verdict.json").read_text())
    assert (done.returncode, verdict["n_used"]) == (0, 12), done.stderr
    assert verdict["verdict"] in ("PASS", "INCONCLUSIVE")


def test_it_runs_and_is_as_exact_as_transformers_in_that_dtype(engine: FaultyEngine) -> None:
    assert 0 < engine.gap < engine.limit / 2
    ask = Request("q", (Message("user", "What is the capital of France?"),), SamplingParams(24))
    (reply,) = engine.generate([ask])
    assert "Paris" in reply.text


def test_many_prompts_are_read_a_few_at_a_time_so_that_progress_is_seen(engine: FaultyEngine) -> None:
    if engine.describe().dtype != "float32":
        pytest.skip("the same in any dtype, and many times slower on a processor without 16-bit instructions")
    asks = [Request(f"q{i}", (Message("user", f"{i} " * 150),), SamplingParams(1)) for i in range(8)]
    took = [reply.wall_s for reply in engine.generate(asks)]
    assert min(took) < max(took) / 1.5


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.7.self_attn.qkv_proj.weight"])
def test_one_value_off_by_one_step_of_the_dtype_is_seen(engine: FaultyEngine, real: Checkpoint, name: str) -> None:
    engine.plant(f"one bit in {name}")
    assert not engine._swapped(real)
    assert " of the checkpoint: 1 of " in engine.notices[-1]
    engine.plant("")
    assert engine._swapped(real)


def test_a_step_at_a_learning_rate_of_1e_6_is_told_from_none(
    engine: FaultyEngine, real: Checkpoint, tmp_path: Path
) -> None:
    stepped = changed(real, tmp_path / "stepped", 1e-6)
    assert engine._swapped(real)
    engine.plant("not read")
    assert not engine._swapped(stepped)
    engine.plant("")
    assert engine._swapped(stepped)
    if engine.describe().dtype == "float32":  # packed on every processor
        engine.plant("output head")
        assert not engine._swapped(real)
        engine.plant("")
