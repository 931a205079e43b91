"""Child Python processes: each has one end of a socket for pickled messages, and ends when its parent does."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass
class Child:
    """A running process, the parent's end of its socket, and its temporary folder, which holds its output in `log`."""

    popen: subprocess.Popen[bytes]
    connection: Connection
    folder: tempfile.TemporaryDirectory[str]

    @property
    def log(self) -> Path:
        return Path(self.folder.name) / "log"

    def kill(self) -> None:
        """Kill the process, close the socket and remove the folder; a thread that waits for a message gets an error."""
        self.popen.kill()
        self.popen.wait()
        self.connection.close()
        self.folder.cleanup()

    def last_words(self) -> str:
        """A sentence on how the process ended, with the last lines of its output; waits for the end."""
        code = self.popen.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        if not self.log.exists():  # temporary folders may be cleaned by others
            return how + hint
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return "\n".join([f"{how}{hint}. Its last output:", *tail])


def python_module(name: str) -> list[str]:
    """The command that runs an installed module in a child process."""
    return [sys.executable, "-P", "-m", name]


def spawn(command: Sequence[str], name: str, env: Mapping[str, str]) -> Child:
    """Start `command` in a session of its own, so that Ctrl-C reaches only the parent. The child calls `attach`.

    name: prefix of its temporary folder, which `Child.kill` removes. Linux kills the child when the calling thread
    ends: call from a thread that lives long enough.
    """
    folder = tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
    # compiled kernels are kept: they are not in the folder that is removed
    compiled = Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"
    ours, theirs = Pipe()
    try:
        with (Path(folder.name) / "log").open("wb") as log:
            popen = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={"TORCHINDUCTOR_CACHE_DIR": str(compiled), **env, "TMPDIR": folder.name},
            )
    except BaseException:
        folder.cleanup()
        raise
    finally:
        theirs.close()
    return Child(popen, ours, folder)


def attach() -> Connection:
    """The child's end of the socket. From now on this process is killed when its parent ends."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(descriptor, False)
    end_with_parent(parent)
    return Connection(descriptor)


def end_with_parent(parent: int | None = None) -> None:
    """Have Linux kill this process when its parent ends, and end it now if that happened already.

    parent: the parent's process id, noted before it could end; None: not known, so only init tells that it ended.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    now = os.getppid()
    if now == 1 if parent is None else now != parent:
        os._exit(1)
