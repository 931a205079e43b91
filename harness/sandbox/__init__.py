"""Runs and tests untrusted Python, in the strongest isolation that the machine offers without root.

`Sandbox` keeps a few workers (see `worker`), each a fork server that grades one sample at a time. Isolation by tier:

    T1 namespaces+seccomp+landlock  own user, pid, mount, IPC, UTS and network namespace; only the interpreter's files,
                                    read-only; a private 64 MB /tmp
    T2 landlock+seccomp             if user namespaces are refused (Docker's default, Ubuntu's AppArmor): the same
                                    files by Landlock, no writable path, no network
    T3 rlimits+seccomp              only with allow_weak=True: the program can read every file this user can

All tiers: one process, no fork, no network, capped memory, CPU time, descriptors and file size, empty environment.
For more isolation, the workers can be started inside another command (bubblewrap, gVisor, a container): `outer`.
The sandbox does not protect against bugs of the kernel itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.sandbox.pool import Sandbox as Sandbox

__all__ = ["Sandbox"]


def __getattr__(name: str) -> object:
    """`Sandbox`, imported on first use, because the workers import this package too and must stay small."""
    if name == "Sandbox":
        from harness.sandbox import pool

        return pool.Sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
