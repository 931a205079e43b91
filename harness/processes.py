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
    """A running process, our end of its socket, its temporary folder, and in that the file that takes its output."""

    popen: subprocess.Popen[bytes]
    connection: Connection
    folder: tempfile.TemporaryDirectory[str]

    @property
    def log(self) -> Path:
        return Path(self.folder.name) / "log"

    def kill(self) -> None:
        """End it at once: it holds nothing worth saving."""
        self.connection.close()
        self.popen.kill()
        self.popen.wait()
        self.folder.cleanup()

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

    name: of its folder for temporary files, which goes with it: killed, it cannot clear away its own. Linux ends it
    with the thread that called this: call from a thread that lives as long as it should.
    """
    folder = tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
    # what is compiled for good must not go with it
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
    """The child's end of the socket. From now on this process ends when its parent does, however that ends."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(descriptor, False)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return Connection(descriptor)
