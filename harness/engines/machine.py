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


def user_cache() -> Path:
    """The folder for what can be made again: `$XDG_CACHE_HOME/harness`, else `~/.cache/harness`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harness"
