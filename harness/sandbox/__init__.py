"""Runs and tests untrusted Python, in the strongest isolation the machine offers without root.

`Sandbox` keeps a few workers (see `worker`), each a fork server that judges one sample at a time. Walls, by tier:

    T1 namespaces+seccomp+landlock  own user, pid, mount, IPC, UTS and network namespace; only the interpreter's files,
                                    read-only; a private 64 MB /tmp
    T2 landlock+seccomp             where user namespaces are refused (Docker's default, Ubuntu's AppArmor): the same
                                    files by Landlock, no writable path, no network
    T3 rlimits+seccomp              only with allow_weak=True: the program can read every file this user can

All tiers: one process, no fork, no network, capped memory, CPU time, descriptors and file size, empty environment.
Where that is not enough, the workers can be started inside another shell (bubblewrap, gVisor, a container): `outer`.
Bugs of the kernel itself are outside the promise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.sandbox.pool import Sandbox as Sandbox

__all__ = ["Sandbox"]


def __getattr__(name: str) -> object:
    """`Sandbox`, imported when asked for: the workers import this package too, and must stay small."""
    if name == "Sandbox":
        from harness.sandbox import pool

        return pool.Sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
