"""What a machine that is set up for a GPU is told; shown without one, by a torch that says it was built so."""

import os
import subprocess
from pathlib import Path

import pytest
from factories import HARNESS

from harness.cli import doctor
from harness.engines import opening, vllm
from harness.engines.opening import open_engine
from harness.errors import BadConfig
from harness_tasks import pico

TOO_OLD = "The NVIDIA driver on your system is too old (found version 12040)."
TORCH = f"""
class cuda:
    @staticmethod
    def init():
        raise RuntimeError({TOO_OLD!r})
"""
COMMANDS = {
    "doctor": ["doctor"],
    "compare": ["compare", "--dry-run"],
    "tune": ["tune", "--dry-run", "--try", "sft.learning_rate=1e-3,1e-4"],
    "eval": ["eval", "--model", pico.BASE, "--task", "pico_math", "--limit", "2"],
    "eval on transformers": ["eval", "--model", pico.BASE, "--task", "pico_math", "--engine", "transformers"],
}


@pytest.fixture
def cuda_build(tmp_path: Path) -> Path:
    """A folder whose torch is built for CUDA, and which finds its driver too old."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(TORCH)
    (tmp_path / "torch" / "version.py").write_text("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n")
    return tmp_path


def run(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HARNESS, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_cuda_build_that_finds_no_gpu_is_an_error_before_anything_starts(name: str, cuda_build: Path) -> None:
    done = run(cuda_build, *COMMANDS[name])
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert f"torch is built for CUDA 13.0 and finds no GPU: RuntimeError: {TOO_OLD}" in said
    assert "Update the NVIDIA driver" in said
    assert not list(cuda_build.glob("runs/**/records-*"))


def test_what_nobody_showed_to_hold_on_a_gpu_is_said_to_be_unproven() -> None:
    found = {finding.what: finding for finding in doctor.promises(on_gpu=True)}
    assert [found[what].state for what in ("same seed", "resume", "noop", "swap")] == [*["unproven"] * 3, "ok"]
    assert "`--deterministic` keeps torch to algorithms that repeat" in found["same seed"].text
    assert list(found) == [finding.what for finding in doctor.promises(on_gpu=False)]


def test_kernels_that_repeat_in_any_batch_are_in_the_key_of_replies_and_for_gpus_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BadConfig, match="engine 'vllm': batch_invariant=true needs a GPU"):
        open_engine("vllm", print, {"batch_invariant": "true"})
    monkeypatch.setattr(vllm, "_cpu_build", lambda: False)
    assert open_engine("vllm", print, {"batch_invariant": "true"}).describe().as_json()["batch_invariant"] is True
    assert "batch_invariant" not in open_engine("vllm", print).describe().as_json()


def test_it_is_none_for_a_user_who_hid_the_gpus(cuda_build: Path) -> None:
    done = run(cuda_build, "doctor", CUDA_VISIBLE_DEVICES="")
    assert "finds no GPU" not in done.stdout + done.stderr


SEEN = """
import atexit, os, sys
import harness.engines.machine as machine

machine.cuda_build, machine.cuda_problem = lambda: "13.0", lambda: None
machine.device_memory = lambda: 80 * 10**9  # there is no driver to ask
if "vllm" in sys.orig_argv:
    import harness.engines.vllm

    harness.engines.vllm._cpu_build = lambda: False
if "harness.training.stage_process" in sys.orig_argv:
    def note():
        torch = sys.modules["torch"]
        kept = os.environ["CUBLAS_WORKSPACE_CONFIG"], torch.are_deterministic_algorithms_enabled()
        with open(os.path.join(os.path.dirname(__file__), "stages"), "a") as file:
            file.write(" ".join(map(str, (os.environ["CUDA_VISIBLE_DEVICES"], *kept))) + "\\n")

    atexit.register(note)
"""
RECIPE = f"""
base = "{pico.BASE}"
tasks = ["pico_math"]
budget = {{ amount = 1e9 }}
dev_items = 4
"""


@pytest.fixture
def two_gpus(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with which our processes take this machine for one set up for GPUs."""
    (tmp_path / "sitecustomize.py").write_text(SEEN)
    (tmp_path / "small.toml").write_text(RECIPE)
    return tmp_path


def compare(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    small = ("compare", "--recipe", "small.toml", "--strategies", "sft,noop,sft.lora", "--limit", "2")
    return run(folder, *small, *more, CUDA_VISIBLE_DEVICES="4,5")


def test_a_dry_run_says_what_each_gpu_does(two_gpus: Path) -> None:
    recipe = (two_gpus / "small.toml").read_text()  # whose time need not be measured: seconds are its budget
    (two_gpus / "small.toml").write_text(recipe.replace("amount = 1e9", 'amount = 60, unit = "device_s"'))
    dry = ("--dry-run", "--engine", "vllm")
    tune = ("tune", "--recipe", "small.toml", "--limit", "2", "--try", "sft.learning_rate=1e-4,1e-3", *dry)
    for done in (compare(two_gpus, *dry), run(two_gpus, *tune, CUDA_VISIBLE_DEVICES="4,5")):
        assert done.returncode == 0, done.stderr
        said = done.stdout
        assert "2 stages at a time, each on its own: GPU 4 | GPU 5\n" in said
        assert "replies are generated on 2 engines that share the requests: GPU 4 | GPU 5\n" in said
    said = compare(two_gpus, *dry, "--jobs", "1", "--engine-arg", "data_parallel_size=1").stdout
    assert "one stage at a time: GPU 4; idle meanwhile: 5 (--jobs uses more)\n" in said
    assert "replies are generated on one engine: GPU 4; idle meanwhile: 5\n" in said
    said = compare(two_gpus, *dry, "--devices", "2", "--engine-arg", "tensor_parallel_size=2").stdout
    assert "one stage at a time: GPU 4, 5\n" in said
    assert "replies are generated on one engine: GPU 4, 5\n" in said


def test_an_engine_of_one_gpu_says_what_would_use_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "gpus", lambda: ("4", "5"))
    one = "replies are generated on one engine: GPU 4; idle meanwhile: 5 (transformers takes one GPU, vllm takes all)"
    assert list(opening.engine_gpus_lines("transformers", {})) == [one]
    monkeypatch.setattr(opening, "vllm_problem", lambda: "it is not installed")
    assert list(opening.engine_gpus_lines("auto", {})) == [one]
    monkeypatch.setattr(opening, "gpus", lambda: ("4",))
    assert list(opening.engine_gpus_lines("transformers", {})) == ["replies are generated on one engine: GPU 4"]


def test_more_jobs_than_gpus_are_refused_before_anything_is_loaded(two_gpus: Path) -> None:
    done = compare(two_gpus, "--dry-run", "--jobs", "2", "--devices", "2")
    assert done.returncode == 2
    assert "--jobs 2 with --devices 2 needs 4 GPUs, and 2 can be seen (4, 5); give fewer of one" in done.stderr
    done = compare(two_gpus, "--dry-run", "--engine", "vllm", "--engine-arg", "data_parallel_size=3")
    assert done.returncode == 2
    many = "engine 'vllm' with data_parallel_size=3 and tensor_parallel_size=1 needs 3 GPUs, and 2 can be seen (4, 5)"
    assert many in done.stderr


@pytest.mark.slow
def test_every_stage_sees_a_gpu_of_its_own_alone_and_repeats_if_asked(two_gpus: Path) -> None:
    done = compare(two_gpus, "--engine", "transformers", "--deterministic")
    assert done.returncode == 0, done.stderr
    seen = (two_gpus / "stages").read_text().splitlines()
    assert len(seen) == 3
    assert set(seen) == {"4 :4096:8 True", "5 :4096:8 True"}
