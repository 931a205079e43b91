"""Facts about this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

from harness.errors import BadConfig


def has_gpu() -> bool:
    """Whether the NVIDIA driver shows a device. Imports no torch."""
    return Path("/dev/nvidiactl").exists()


def gpus() -> tuple[str, ...]:
    """The GPUs that our processes may use, as CUDA_VISIBLE_DEVICES names them; none with a torch for CPUs."""
    if cuda_build() is None:
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(map(str, range(len(list(Path("/dev").glob("nvidia[0-9]*"))))))  # CUDA numbers them anew
    return tuple(takewhile(lambda name: name not in ("", "-1"), visible.split(",")))


def gpu_shares(gpus: Sequence[str], n_jobs: int, each: int, asked: str) -> list[tuple[str, ...]]:
    """For each of so many jobs at a time its own `each` GPUs; none for all of them without a GPU.

    Raises `BadConfig` if there are not enough; asked: the options that ask for so many.
    """
    if not gpus:
        return [()] * n_jobs
    if n_jobs * each > len(gpus):
        raise BadConfig(
            f"{asked} needs {n_jobs * each} GPUs, and {len(gpus)} can be seen ({', '.join(gpus)}); give fewer of one"
        )
    return [tuple(gpus[job * each : (job + 1) * each]) for job in range(n_jobs)]


def device_memory() -> int:
    """Bytes of the smallest GPU that our processes may use, as torch sees them; without one, of the machine.

    Imports no torch: a process of its own does, in which a GPU's memory is not held afterwards either.
    """
    import psutil

    if not gpus():
        return int(psutil.virtual_memory().total)
    code = (
        "import torch.cuda as cuda; "
        "print(min(cuda.get_device_properties(i).total_memory for i in range(cuda.device_count())))"
    )
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def gpu_shares_text(shares: Sequence[Sequence[str]], gpus: Sequence[str], hint: str = "") -> str:
    """Which GPUs each has, and which nobody has: "GPU 4 | GPU 5; idle meanwhile: 6". hint: what to do about those."""
    each = " | ".join(f"GPU {', '.join(share)}" for share in shares)
    idle = [name for name in gpus if not any(name in share for share in shares)]
    return each + (f"; idle meanwhile: {', '.join(idle)}{hint}" if idle else "")


@cache
def cuda_problem() -> str | None:
    """Why a torch that is built for CUDA finds no GPU, with what to do; None: it finds one, or is a build for CPUs.

    Also None if the user hid all GPUs. torch itself only warns, and then trains on the CPU. Imports no torch.
    """
    if (built_for := cuda_build()) is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    tried = subprocess.run(
        [sys.executable, "-c", "import torch; torch.cuda.init()"], capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return None
    why = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    return (
        f"torch is built for CUDA {built_for} and finds no GPU: {why}. Update the NVIDIA driver (CUDA 13 needs R580 or "
        "newer; `nvidia-smi` shows yours), or set CUDA_VISIBLE_DEVICES= (empty) to run on the CPU"
    )


def cuda_build() -> str | None:
    """The CUDA version that the installed torch is built for; None: it is a build for CPUs, or is not installed."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    found = re.search(r"^cuda\b.*= '([\d.]+)'", Path(spec.origin).with_name("version.py").read_text(), re.MULTILINE)
    return found[1] if found else None


TINY = 20_000_000  # weights; threads make no smaller model faster, and on a busy machine they wait for each other


def threads(n_params: int, n_jobs: int = 1) -> int:
    """Processor threads for a model of that many weights, when `n_jobs` such processes run at a time."""
    return 1 if n_params < TINY else max(1, len(os.sched_getaffinity(0)) // n_jobs)


def cache_gib() -> int:
    """GiB for keys and values of an engine on the CPU: a quarter of the free memory, 1 to 8.

    200 replies of a 0.5B model need 3 in float32. With less, vLLM computes replies again that it had to drop.
    """
    import psutil

    return int(min(8, max(1, psutil.virtual_memory().available // 4 // 1024**3)))


def user_cache() -> Path:
    """The folder for what can be made again: `$XDG_CACHE_HOME/harness`, else `~/.cache/harness`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harness"
