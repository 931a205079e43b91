"""The run folder: one owner at a time, and clear errors when it cannot be written."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import Locked, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def ensure_writable(folder: Path) -> None:
    """Make the folder. Raises `StorageError` if it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.write_text("ok", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"cannot write to {folder.resolve()}: {error.strerror}; choose another folder with --run and --out"
        ) from None


def enough_space(folder: Path, needed: int) -> None:
    """Raise `StorageError` unless `needed` bytes are free where `folder` lies."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder.resolve()} has {free / 1e9:.2f} GB free, this run needs about {needed / 1e9:.2f} GB; "
            f"free some space, or put the run elsewhere with --run"
        )


@contextmanager
def exclusive_use(folder: Path) -> Iterator[None]:
    """Own the folder while inside. Raises `Locked` if another live process owns it."""
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise Locked(
                f"another run (process {owner}) is using {folder.resolve()}; wait for it, or give this one its own "
                f"folder with --run"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def full_disk_is_named(folder: Path) -> Iterator[None]:
    """Turn "no space left" anywhere inside into a `StorageError`; what is finished stays on disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageError(
            f"the disk of {folder.resolve()} is full ({error.strerror}); everything finished is kept: free some space "
            f"and run the same command again"
        ) from error
