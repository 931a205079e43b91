"""Facts about this machine."""

from __future__ import annotations

from pathlib import Path


def has_gpu() -> bool:
    """Whether the NVIDIA driver shows a device. Imports no torch."""
    return Path("/dev/nvidiactl").exists()
