"""What a machine that is set up for a GPU is told; shown without one, by a torch that says it was built so."""

import os
import subprocess
from pathlib import Path

import pytest
from factories import HARNESS

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


def test_it_is_none_for_a_user_who_hid_the_gpus(cuda_build: Path) -> None:
    done = run(cuda_build, "doctor", CUDA_VISIBLE_DEVICES="")
    assert "finds no GPU" not in done.stdout + done.stderr
