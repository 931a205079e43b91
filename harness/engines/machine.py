"""Facts about this machine."""

from __future__ import annotations

import os
from pathlib import Path


def has_gpu() -> bool:
    """Whether the NVIDIA driver shows a device. Imports no torch."""
    return Path("/dev/nvidiactl").exists()


_TINY = 20_000_000  # weights; threads make no smaller model faster, and on a busy machine they wait for each other


def threads(n_params: int, n_jobs: int = 1) -> int:
    """Processor threads for a model of that many weights, when `n_jobs` such processes run at a time."""
    return 1 if n_params < _TINY else max(1, len(os.sched_getaffinity(0)) // n_jobs)


def cache_gib() -> int:
    """GiB for keys and values of an engine on the CPU: a quarter of the free memory, 1 to 8.

    200 replies of a 0.5B model need 3 in float32. With less, vLLM computes replies again that it had to drop.
    """
    import psutil

    return int(min(8, max(1, psutil.virtual_memory().available // 4 // 1024**3)))


def user_cache() -> Path:
    """The folder for what can be made again: `$XDG_CACHE_HOME/harness`, else `~/.cache/harness`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harness"
