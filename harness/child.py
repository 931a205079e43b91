"""Python processes of ours: started with one end of a socket for pickled messages, ended with whoever started them."""

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
    """A running process, our end of its socket, and the file that takes its output."""

    popen: subprocess.Popen[bytes]
    connection: Connection
    log: Path

    def kill(self) -> None:
        """End it at once: it holds nothing worth saving."""
        self.connection.close()
        self.popen.kill()
        self.popen.wait()
        self.log.unlink(missing_ok=True)

    def last_words(self) -> str:
        """How the process ended, and the last lines it wrote; waits for its end."""
        code = self.popen.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        if not self.log.exists():  # it lies in the temporary folder, which others may clean
            return how + hint
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return "\n".join([f"{how}{hint}. Its last output:", *tail])


def python_module(name: str) -> list[str]:
    """The command that runs an installed module as a child."""
    return [sys.executable, "-P", "-m", name]


def spawn(command: Sequence[str], name: str, env: Mapping[str, str]) -> Child:
    """Start `command` in a session of its own, so that Ctrl-C reaches us alone; `attach` is its other half.

    name: of its log in the temporary folder. Linux ends it with the thread that called this: call from a thread that
    lives as long as it should.
    """
    ours, theirs = Pipe()
    handle, log = tempfile.mkstemp(prefix=f"harness-{name}-", suffix=".log")
    try:
        popen = subprocess.Popen(
            [*command, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env=dict(env),
        )
    finally:
        os.close(handle)
        theirs.close()
    return Child(popen, ours, Path(log))


def attach() -> Connection:
    """The child's end of the socket. From now on this process ends when its parent does, however that ends."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(descriptor, False)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return Connection(descriptor)
