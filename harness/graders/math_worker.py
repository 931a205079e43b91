r"""A fork server that compares answers with math-verify, and the children that do it. Runs in processes of its own.

`main` imports math-verify once. On each request over standard input it kills its child and forks a new one, and sends
back the socket on which the child answers. The child reads {"gold", "pred", "cpu_s"} and writes {"gold": true} when it
has read the gold, then {"equal", "why"}, so the caller knows on which of the two it hangs. If a child hangs, uses all
its memory or crashes, the server kills it, and the next one is ready in milliseconds.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import resource
import signal
import socket
import sys
from typing import Any

from harness.graders.math_algebra import equal_by_algebra, to_sympy
from harness.graders.math_channel import receive, send
from harness.graders.math_compare import alike
from harness.graders.math_parser import read_tokens
from harness.graders.math_tokens import tokens_of
from harness.processes import end_with_parent

_CONTROL = 0  # standard input: the socket to the pool


def main() -> None:
    """Serve the pool until it disconnects. One byte in: the child is killed, a new one forked, its socket sent back."""
    memory_bytes = int(sys.argv[1])
    control = socket.socket(fileno=_CONTROL)
    _warm_up()
    gc.collect()
    gc.freeze()
    child, own = 0, os.getpid()
    while control.recv(1):
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        near, far = socket.socketpair()
        child = os.fork()
        if child == 0:
            control.close()
            near.close()
            _serve(far, memory_bytes, own)
        far.close()
        socket.send_fds(control, [b"."], [near.fileno()])
        near.close()


def _warm_up() -> None:
    """Import math-verify and build its grammars, so that no child has to."""
    logging.disable(logging.CRITICAL)
    alike(r"\frac{1}{2}+\sqrt{2}x", r"x\sqrt{2}+0.5", equal_by_algebra)


def _serve(channel: socket.socket, memory_bytes: int, server: int) -> None:
    """Answer requests until the pool disconnects or a limit ends the process. Never returns."""
    end_with_parent(server)
    null = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    try:
        while (request := receive(channel)) is not None:
            used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + request["cpu_s"]), hard))
            send(channel, _answer(channel, request))
    finally:
        os._exit(0)


def _answer(channel: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    """The verdict. On MemoryError and RecursionError it is "not equal": a string that costs so much equals nothing."""
    with contextlib.suppress(Exception):
        to_sympy(read_tokens(tokens_of(request["gold"])))
    send(channel, {"gold": True})
    try:
        equal, why = alike(request["gold"], request["pred"], equal_by_algebra)
    except (MemoryError, RecursionError) as e:
        return {"equal": False, "why": type(e).__name__}
    return {"equal": equal, "why": why}


if __name__ == "__main__":
    main()
