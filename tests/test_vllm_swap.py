"""Swapping checkpoints inside vLLM: right when it works, caught when silently wrong, alive again after a crash."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from vllm_faults import FaultyEngine

from harness.checkpoints import open_checkpoint
from harness.engines.machine import has_gpu
from harness.engines.opening import vllm_problem
from harness.engines.transformers import TransformersEngine
from harness.engines.vllm import VLLMConfig, VLLMEngine
from harness.errors import BadConfig, EngineError
from harness.testing.models import make_model
from harness.types import Checkpoint, Message, Request, SamplingParams

pytestmark = pytest.mark.skipif(vllm_problem() is not None, reason=str(vllm_problem()))

PICO_BASE = Path(__file__).parents[1] / "tasks" / "pico" / "base"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    folder = tmp_path_factory.mktemp("swap")
    return [open_checkpoint(make_model(folder / f"seed{seed}", seed)) for seed in range(2)]


@pytest.fixture(scope="module")
def engine(vllm_engine: FaultyEngine, checkpoints: list[Checkpoint]) -> FaultyEngine:
    vllm_engine.load(checkpoints[0])
    return vllm_engine


@pytest.fixture(autouse=True)
def no_fault_stays(engine: FaultyEngine) -> Iterator[None]:
    yield
    engine.plant("")
    engine.notices.clear()


REQUESTS = [
    Request(f"q{i}", (Message("user", "A prompt of more than one cache block. " * 8 + str(i)),), SamplingParams(24))
    for i in range(16)
]


@pytest.fixture(scope="module")
def expected(checkpoints: list[Checkpoint]) -> list[dict[str, str]]:
    """What each checkpoint answers, by transformers."""
    found = []
    with TransformersEngine() as reference:
        for checkpoint in checkpoints:
            reference.load(checkpoint)
            found.append({g.key: g.text for g in reference.generate(REQUESTS)})
    assert all(found[0][key] != found[1][key] for key in found[0])
    return found


@pytest.fixture(scope="module")
def other_architecture(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The shipped base checkpoint where it is there, else a wider random model."""
    if (PICO_BASE / "config.json").exists():
        return open_checkpoint(PICO_BASE)
    return open_checkpoint(make_model(tmp_path_factory.mktemp("wide") / "model", seed=0, hidden=128, heads=4))


def texts(engine: VLLMEngine) -> dict[str, str]:
    return {g.key: g.text for g in engine.generate(REQUESTS)}


def pid(engine: VLLMEngine) -> int:
    assert engine._process is not None
    return engine._process.popen.pid


def test_swapped_checkpoints_answer_as_transformers_does_in_one_process(
    engine: FaultyEngine, checkpoints: list[Checkpoint], expected: list[dict[str, str]]
) -> None:
    worker, swaps = pid(engine), engine.swaps
    engine.load(checkpoints[0])  # is served already: nothing to do
    assert engine.swaps == swaps
    for which in (1, 0, 1, 0):
        began = time.monotonic()
        engine.load(checkpoints[which])
        assert time.monotonic() - began < 5
        assert texts(engine) == expected[which]
    assert (pid(engine), engine.swaps, engine.notices) == (worker, swaps + 4, [])
    assert 0 < engine.gap < engine.limit < 1e-3


def test_a_start_fills_no_memory_and_imports_no_package_that_is_never_used(engine: FaultyEngine) -> None:
    whole = 256 * 1024  # tokens: max_num_seqs sequences of the whole context, which must never wait for room
    assert whole <= engine.noted()["tokens"] <= whole + 256
    assert not engine.noted()["sklearn"]


def test_vllm_knows_every_folder_by_one_name_so_that_it_compiles_once_for_all(engine: FaultyEngine) -> None:
    assert engine.noted()["same name"]


def test_torch_has_as_many_threads_after_a_proof_as_before(engine: FaultyEngine) -> None:
    assert engine.noted()["threads"] == 3


@pytest.mark.large
def test_nothing_stays_behind_in_the_temporary_folder(
    checkpoints: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with VLLMEngine() as engine:
        engine.load(checkpoints[0])
        (folder,) = tmp_path.glob("vllm-*")
        assert len(list(folder.iterdir())) > 1  # its log, and what vLLM puts there
    left = {path.name.partition("_")[0] for path in tmp_path.iterdir()}
    assert left <= {"torchinductor"}  # kernels that were compiled are kept


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("not read", r"tensor '\S+' of the checkpoint: [\d,]+ of [\d,]+ values of '\S+' in the engine are others"),
        (
            "one bit in model.layers.1.mlp.gate_up_proj.weight",
            r"'model.layers.1.mlp.\w+.weight' .*: 1 of [\d,]+ values",
        ),
        ("one bit in model.layers.0.self_attn.qkv_proj.weight", r"layers.0.self_attn.[qkv]_proj.weight' .*: 1 of"),
        (
            "one bit in model.norm.weight",
            r"'model.norm.weight' .*: 1 of \d+ values .*the first is [\d.]+, expected [\d.]+",
        ),
        ("one bit in model.embed_tokens.weight", r"'model.embed_tokens.weight' .*: 1 of"),
        ("output head", "the packed copy of '.*' does not give its weights back"),
        ("prefixes", r"[1-9]\d* blocks of vLLM's prefix cache hold what the previous weights computed"),
    ],
)
def test_the_proof_catches_what_a_swap_left_stale(
    engine: FaultyEngine, checkpoints: list[Checkpoint], fault: str, said: str
) -> None:
    assert engine._swapped(checkpoints[0])
    texts(engine)
    engine.plant(fault)
    assert not engine._swapped(checkpoints[1])
    assert re.search(said, engine.notices[-1]), engine.notices[-1]
    engine.plant("")
    assert engine._swapped(checkpoints[1]), "a sound swap must cure it, or the fault was not what was planted"


on_a_cpu = pytest.mark.skipif(has_gpu(), reason="about the parts of a model on a CPU")


@on_a_cpu
def test_parts_of_a_model_on_a_cpu_without_cores_of_their_own_are_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    said = (
        r"tensor_parallel_size=64 on a CPU takes a NUMA node .* there are \d+; or name .*VLLM_CPU_OMP_THREADS_BIND='0-3"
    )
    with pytest.raises(BadConfig, match=said):
        VLLMConfig(tensor_parallel_size=64)
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "|".join(map(str, range(64))))
    assert VLLMConfig(tensor_parallel_size=64).tensor_parallel_size == 64


@on_a_cpu
@pytest.mark.large
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes two cores, one for each part of the model")
def test_each_part_of_a_model_that_two_processes_share_is_proven(
    checkpoints: list[Checkpoint], expected: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = sorted(os.sched_getaffinity(0))
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", f"{first}|{second}")
    with FaultyEngine(tmp_path, VLLMConfig(tensor_parallel_size=2)) as engine:
        engine.load(checkpoints[0])
        assert texts(engine) == expected[0]
        engine.plant("one bit in model.layers.0.self_attn.qkv_proj.weight")
        assert not engine._swapped(checkpoints[1])
        assert re.search(r"layers.0.self_attn.[qkv]_proj.weight' .*: 1 of 2,048 values", engine.notices[-1])
        engine.plant("")
        assert engine._swapped(checkpoints[1])
        assert texts(engine) == expected[1]


def test_an_update_too_small_to_change_a_reply_is_told_from_no_update(
    engine: FaultyEngine, checkpoints: list[Checkpoint], tmp_path: Path
) -> None:
    """One step of an optimizer at a learning rate of 1e-6."""
    folder = shutil.copytree(checkpoints[0].path, tmp_path / "stepped")
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    stepped = {name: w + 1e-6 * torch.randn(w.shape, generator=generator).sign() for name, w in weights.items()}
    save_file(stepped, folder / "model.safetensors", {"format": "pt"})
    updated = open_checkpoint(folder)
    assert engine._swapped(checkpoints[0])
    engine.plant("not read")
    assert not engine._swapped(updated)
    engine.plant("")
    assert engine._swapped(updated)


@pytest.mark.slow
def test_after_a_stale_swap_a_fresh_engine_is_started_with_a_warning_and_answers_right(
    engine: FaultyEngine, checkpoints: list[Checkpoint], expected: list[dict[str, str]]
) -> None:
    said: list[str] = []
    engine.load(checkpoints[1])
    engine._notify = said.append
    before, swaps = pid(engine), engine.swaps
    engine.load(checkpoints[0])
    engine.plant("output head")
    engine.load(checkpoints[1])
    assert texts(engine) == expected[1]
    assert pid(engine) != before
    assert engine.swaps == swaps + 1
    assert said == engine.notices
    assert "starting a fresh engine" in said[-1]


@pytest.mark.slow
def test_a_killed_worker_is_an_error_that_says_so_and_the_next_load_starts_another(
    engine: FaultyEngine, other_architecture: Checkpoint
) -> None:
    # Requests without end: however late the signal comes, the worker is still generating.
    endless = (Request(f"q{i}", (Message("user", "x"),), SamplingParams(300)) for i in itertools.count())
    stream = engine.generate(endless)
    deadline = time.monotonic() + 60
    while not any(engine.running()):  # told once a second: tokens so far of each reply that is being generated
        next(stream)
        assert time.monotonic() < deadline
    assert max(engine.running()) <= 300
    os.kill(pid(engine), signal.SIGKILL)
    with pytest.raises(
        EngineError, match=r"worker ended while generating \([1-9]\d* replies done\).* was killed by SIGKILL"
    ):
        list(stream)
    with pytest.raises(EngineError, match="has no checkpoint"):
        list(engine.generate(endless))
    swaps = engine.swaps
    engine.load(other_architecture)
    assert engine.swaps == swaps
    sums = [Request(f"q{i}", (Message("user", f"{3 * i} + {i + 4} ="),), SamplingParams(48)) for i in range(24)]
    with TransformersEngine() as reference:
        reference.load(other_architecture)
        theirs = {g.key: (g.text, g.n_tokens, g.finish) for g in reference.generate(sums)}
    assert {g.key: (g.text, g.n_tokens, g.finish) for g in engine.generate(sums)} == theirs


def test_loading_while_replies_are_pending_is_refused(engine: FaultyEngine, checkpoints: list[Checkpoint]) -> None:
    stream = engine.generate(REQUESTS)
    next(stream)
    with pytest.raises(EngineError, match="load while replies are still being generated"):
        engine.load(checkpoints[1])
    assert len(list(stream)) == 15


@pytest.mark.slow
def test_an_engine_that_computes_something_else_is_refused_at_its_first_start(
    engine: FaultyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # nobody has looked at this architecture yet
    engine.plant("another function")
    template = make_model(tmp_path / "other", seed=0) / "chat_template.jinja"
    template.write_text(template.read_text() + " ")  # another tokenizer: no swap, a fresh engine
    with pytest.raises(
        EngineError,
        match=r"the weights are right, but log-probabilities differ by .* computes this architecture wrongly",
    ):
        engine.load(open_checkpoint(template.parent))


def test_the_worker_dies_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    """The worker alone, without an engine in it: its parent is killed and cannot clean up."""
    script = (
        "import os, sys, signal, time\n"
        "from harness.processes import spawn\n"
        "from harness.engines.vllm import VLLMConfig, VLLMEngine\n"
        "process = spawn(VLLMEngine().command(), 'vllm', os.environ)\n"
        "process.connection.send(('stop',))\n"
        "while 'vllm_worker' not in open(f'/proc/{process.popen.pid}/cmdline').read(): time.sleep(0.05)\n"
        "time.sleep(1)\n"
        "assert process.popen.poll() is None, process.log.read_text()\n"
        "print(process.popen.pid, process.log, flush=True)\n"
        "os.set_inheritable(process.connection.fileno(), True)\n"
        "os.system('sleep 20 >/dev/null 2>&1 &')  # keeps the socket open: only the death signal can end the worker\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    worker, log = done.stdout.split()
    Path(log).unlink()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    state = Path(f"/proc/{worker}/stat")
    assert not state.exists() or state.read_text().rsplit(")")[-1].split()[0] == "Z"
