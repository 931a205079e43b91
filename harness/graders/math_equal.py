r"""Equality of answers by computer algebra, in child processes with hard limits on time and memory.

`equal(gold, pred)` may be called from any number of threads, also with torch loaded: this process does not fork.
Answers that need no algebra (same string, plain numbers, text, brackets of these) are compared here; the others go to a
worker. There is one worker per core, started on first use (0.5 s); it ends with this process, even after a crash.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from harness.graders.math_channel import receive, send
from harness.graders.math_compare import alike
from harness.graders.math_tokens import MAX_ANSWER, deep, tokens_of
from harness.graders.math_tree import Node

WALL_S = 5.0  # per comparison. The slowest of 1,986 answers of MATH, each altered a little, took 0.7 s
MEMORY_BYTES = 1 << 30  # of address space; the worker itself takes 0.1 GB
START_S = 60.0  # for a worker to import math-verify
TRIES = 3  # a worker that died, without running out of time, is replaced and the comparison repeated


@dataclass(frozen=True)
class Equality:
    """Result of a comparison. equal None: the gold cannot be read, so no reply can be graded. why: what decided."""

    equal: bool | None
    why: str


class _NeedsAlgebra(Exception):
    pass


def _ask(_gold: Node, _pred: Node) -> NoReturn:
    raise _NeedsAlgebra


def equal(gold: str, pred: str) -> Equality:
    """Whether `pred` is the same answer as `gold`, within WALL_S seconds once a worker is free."""
    return default_pool().equal(gold, pred)


def default_pool() -> Pool:
    """The pool of this process. A forked child gets its own and does not close its parent's."""
    pid = os.getpid()
    return _POOLS.get(pid) or _POOLS.setdefault(pid, Pool())  # two threads may race: harmless


@atexit.register
def _close_default() -> None:
    pool = _POOLS.get(os.getpid())
    if pool:
        pool.close()


class Pool:
    """Workers that compare answers, by default one per core. Close it, or let the process end."""

    def __init__(self, workers: int | None = None, wall_s: float = WALL_S, memory_bytes: int = MEMORY_BYTES) -> None:
        self.wall_s = wall_s
        self.workers = [MathWorker(memory_bytes) for _ in range(workers or len(os.sched_getaffinity(0)))]
        self._idle: queue.LifoQueue[MathWorker] = queue.LifoQueue()  # last in, first out: few callers use few workers
        for worker in self.workers:
            self._idle.put(worker)

    def equal(self, gold: str, pred: str) -> Equality:
        """Whether `pred` is the same answer as `gold`. No string makes it raise an exception."""
        if len(gold) > MAX_ANSWER or deep(gold):
            return Equality(True, "same string") if gold == pred else Equality(None, "the gold is too long or too deep")
        if len(pred) > MAX_ANSWER:
            return Equality(False, f"{len(pred)} characters are too long for an answer, at most {MAX_ANSWER} are read")
        if deep(pred):
            return Equality(False, "too deeply nested")
        if not tokens_of(gold):
            return Equality(None, "the gold is empty")
        try:
            return Equality(*alike(gold, pred, _ask))
        except _NeedsAlgebra:
            return self._by_algebra(gold, pred)
        except RecursionError:
            return Equality(False, "too deeply nested")

    def _by_algebra(self, gold: str, pred: str) -> Equality:
        request = {"gold": gold, "pred": pred, "cpu_s": self.wall_s + 1}
        worker = self._idle.get()
        gold_read = False
        try:
            for _ in range(TRIES):
                try:
                    worker.ready()
                    deadline = time.monotonic() + self.wall_s
                    reply = worker.ask(request, deadline)
                    gold_read = gold_read or reply is not None
                    reply = worker.ask(None, deadline) if reply is not None else None
                except TimeoutError:
                    worker.drop_child()
                    return Equality(
                        False if gold_read else None,
                        f"timeout after {self.wall_s:g} s{'' if gold_read else ', on the gold'}",
                    )
                if reply is not None:
                    return Equality(bool(reply["equal"]), f"math-verify: {reply['why']}")
                worker.drop_child()
            return Equality(False if gold_read else None, f"ended {TRIES} workers (memory or a crash)")
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the workers. A later call starts them again."""
        for worker in self.workers:
            worker.close()


class MathWorker:
    """One fork server and its child. Used by one thread at a time."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._child: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; None before the first request."""
        return self._server.pid if self._server else None

    def ready(self) -> None:
        """Start the server, or a new child, if there is none. Raises OSError if that fails."""
        if self._child is not None:
            return
        for last in (False, True):
            if self._control is None:
                self._start()
            assert self._control is not None
            try:
                self._control.sendall(b"n")
                _, fds, _, _ = socket.recv_fds(self._control, 1, 1)
            except OSError:
                fds = []
            if fds:
                self._child = socket.socket(fileno=fds[0])
                return
            self.close()
            if last:
                raise OSError(f"a math worker does not start: {sys.executable} -m harness.graders.math_worker")

    def _start(self) -> None:
        near, far = socket.socketpair()
        near.settimeout(START_S)
        root = str(Path(__file__).parents[2])
        code = f"import sys; sys.path.append({root!r}); from harness.graders.math_worker import main; main()"
        self._server = subprocess.Popen(
            [sys.executable, "-c", code, str(self._memory_bytes)],
            stdin=far.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        far.close()
        self._control = near

    def ask(self, request: dict[str, Any] | None, deadline: float) -> dict[str, Any] | None:
        """The child's next message, after `request` if there is one; None: it died. Raises TimeoutError."""
        assert self._child is not None
        self._child.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            if request is not None:
                send(self._child, request)
            return receive(self._child)
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return None

    def drop_child(self) -> None:
        """Kill the child through the server, or together with the server if that does not respond."""
        if self._child is not None:
            self._child.close()
            self._child = None
        with contextlib.suppress(OSError):
            self.ready()

    def close(self) -> None:
        """End the server; the kernel ends its child with it."""
        for end in (self._child, self._control):
            if end is not None:
                end.close()
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._server = self._control = self._child = None


_POOLS: dict[int, Pool] = {}  # by process id
