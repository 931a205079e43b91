"""A worker: a small, long-lived fork server that runs one sample at a time in two forked processes.

* The **driver** (`driver`) is trusted: it alone reads the job, runs the tests, compares, and gives the verdict. It
  runs many samples, each in a fresh namespace, and is replaced after anything except an ordinary verdict.
* The **candidate** (`candidate`) is untrusted and lives for one sample: it gets its program from the driver, then
  answers calls. It never has a test, an expected value or access to the verdict, so it cannot forge one; its exit code
  and its output are ignored.

The worker itself never reads a job, so the memory that the candidate inherits contains none. It starts as a fresh
interpreter with few modules, since the cost of a fork grows with the memory of the process.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import json
import os
import select
import struct
import sys
import time
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair  # `socket` is large
from collections.abc import Callable
from typing import NoReturn

from harness.sandbox import kernel
from harness.sandbox.candidate import be_candidate
from harness.sandbox.driver import drive

# Imported once here instead of once per sample; the rest of the standard library is read from disk when needed.
_PRELOAD = ("bisect", "copy", "functools", "heapq", "itertools", "math", "operator", "re", "string", "typing")
ASKED = struct.Struct("dd?")  # CPU seconds, wall seconds, whether the whole program is run
ENDED = struct.Struct("8siid")  # how (see `_watch`), exit code or errno of the driver, of the candidate, CPU seconds
_CONTROL = 0  # the worker's standard input is its socket to `Sandbox`
_DRIVER_SPARE_S = 1.0  # CPU seconds a driver may use beyond the candidate's own limit
_PAUSE_S = 0.05  # between two checks of a sleeping candidate
_SLACK_S = 0.1  # possible lag of the kernel's count of waiting time


def main(tier: str, read_only: list[str], library: list[str], memory_bytes: int) -> None:
    """Serve `Sandbox` over standard input until it disconnects. library: folders to import modules from."""
    control = socket(fileno=os.dup(_CONTROL))  # moved, since 0, 1 and 2 become /dev/null
    os.environ.clear()
    os.putenv("OPENBLAS_NUM_THREADS", "1")  # otherwise numpy reserves memory for a thread per core
    try:
        sys.path[:] = library
        sys.argv[:] = [""]
        _preload()
        cage = kernel.enter(tier, read_only, memory_bytes)
        if tier == "T1":
            sys.path[:] = map(kernel.placed, library)
    except OSError as e:
        control.send(json.dumps({"error": e.strerror or str(e)}).encode())
        return
    control.send(json.dumps({"tier": cage.tier}).encode())
    for name in [n for n in sys.modules if n.startswith("harness")]:
        del sys.modules[name]  # no program needs to find them
    gc.collect()
    kernel.trim_heap()
    gc.disable()  # a collection would write to, and so copy, every page that the children share
    gc.freeze()
    worker = _Worker(control, cage)
    while True:
        message, ancillary, _, _ = control.recvmsg(4096, 64)
        if not message:
            return
        cpu_s, wall_s, stdio = ASKED.unpack(message)
        (job,) = struct.unpack("i", ancillary[0][2])
        control.send(ENDED.pack(*worker.judge(job, cpu_s, wall_s, stdio)))


def _preload() -> None:
    """Import the modules that samples use most. `random` has the same state in every sample, so results repeat."""
    register, os.register_at_fork = os.register_at_fork, lambda **_: None  # random would reseed itself in every fork
    import random

    os.register_at_fork = register
    random.seed(0)
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # what `site` would have made
    for name in _PRELOAD:
        importlib.import_module(name)
    compile("", "", "exec")  # the first makes the types of the syntax tree, which takes a millisecond


class _Worker:
    """The fork server's state: its cage and, between samples, a driver that is ready for the next."""

    def __init__(self, control: socket, cage: kernel.Cage) -> None:
        self._cage = cage
        self._driver: _Driver | None = None
        self._poll = select.poll()
        self._poll.register(control, 0)  # a disconnect is always reported

    def judge(self, job: int, cpu_s: float, wall_s: float, stdio: bool) -> tuple[bytes, int, int, float]:
        """Run one sample until it ends or its time is over; returns how it ended, as in `ENDED`.

        The driver sends the verdict itself to `job`.
        """
        near, far = socketpair()
        # standard output and input of a program that is run as such; files, so that it may ask for their size and seek
        streams = [os.memfd_create("output"), os.memfd_create("input")] if stdio else []
        try:
            driver = self._ready_driver()
            candidate = self._cage.clone()
        except OSError as e:
            _close(near, far, job, *streams)
            return b"broken", e.errno or 0, 0, 0.0
        if candidate == 0:
            _play(lambda: be_candidate(self._cage, far.fileno(), streams))
        driver.start(job, near, *streams[:1])
        _close(near, far, job, *streams)
        end = self._watch(driver, candidate, cpu_s, time.monotonic() + wall_s)
        if end != b"done":  # first, or it would grade the remains of a killed candidate
            os.kill(driver.pid, kernel.SIGKILL)
        os.kill(candidate, kernel.SIGKILL)  # not reaped yet, so the number is still its own
        _, status, used = os.wait4(candidate, 0)
        died = 0
        if end != b"done":
            self._poll.unregister(driver.link)
            died = driver.end()
            self._driver = None
        return end, died, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime

    def _ready_driver(self) -> _Driver:
        """The driver of the previous sample if it can be used again, else a new one."""
        if self._driver is not None and os.waitpid(self._driver.pid, os.WNOHANG)[0]:
            self._poll.unregister(self._driver.link)
            self._driver.link.close()
            self._driver = None
        if self._driver is None:
            self._driver = _Driver(self._cage)
            self._poll.register(self._driver.link, select.POLLIN)
        return self._driver

    def _watch(self, driver: _Driver, candidate: int, cpu_s: float, deadline: float) -> bytes:
        """Wait for the end of a sample, and return how it ended.

        "done": an ordinary verdict; "spent": a verdict, but the driver must not be used again; "died": the driver gave
        none; "over": the driver used up its own time. "cpu": the candidate used up its CPU time; "asleep": it used up
        that time working or sleeping; "wall": the wall-clock backstop, which may be due to a busy machine.
        """
        clock = kernel.cpu_clock(candidate)
        began = time.monotonic()
        look = began + cpu_s + _SLACK_S  # no candidate can have used up its time before
        left = cpu_s
        while True:
            ready = [fd for fd, _ in self._poll.poll(left * 1000 + 1)]
            if driver.link.fileno() in ready:
                said = driver.link.recv(16)
                return said or b"died"
            if ready:  # no answer is expected any more
                os.kill(driver.pid, kernel.SIGKILL)
                os.kill(candidate, kernel.SIGKILL)
                os._exit(0)
            now = time.monotonic()
            driver_s = time.clock_gettime(driver.clock) - driver.started_s
            spare = cpu_s - time.clock_gettime(clock)
            if now >= deadline:
                return b"wall"
            if driver_s > cpu_s + _DRIVER_SPARE_S:
                return b"over"
            if spare <= 0:
                return b"cpu"
            if now >= look:
                waited = self._cage.waited_s(candidate), self._cage.waited_s(driver.pid)
                asleep = 0.0 if None in waited else now - began - driver_s - sum(w for w in waited if w)
                if asleep >= cpu_s + _SLACK_S:
                    return b"asleep"
                look = deadline if None in waited else now + max(cpu_s + _SLACK_S - asleep, _PAUSE_S)
            left = min(deadline - now, cpu_s + _DRIVER_SPARE_S - driver_s, spare, look - now)


class _Driver:
    """A driver's process and the socket to it."""

    def __init__(self, cage: kernel.Cage) -> None:
        self.link, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        self.pid = cage.clone(shared_folder=False)  # the tests must not see what a candidate leaves in /tmp
        if self.pid == 0:
            _play(lambda: drive(cage, theirs.fileno()))
        theirs.close()
        self.clock = kernel.cpu_clock(self.pid)

    def start(self, job: int, near: socket, *output: int) -> None:
        """Pass on the sockets of one sample. `_Worker._watch` notices a driver that has ended."""
        self.started_s = time.clock_gettime(self.clock)
        try:
            fds = struct.pack(f"{2 + len(output)}i", job, near.fileno(), *output)
            self.link.sendmsg([b"go"], [(SOL_SOCKET, SCM_RIGHTS, fds)])
        except OSError:
            os.kill(self.pid, kernel.SIGKILL)

    def end(self) -> int:
        """Kill the driver; returns its exit code."""
        os.kill(self.pid, kernel.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.link.close()
        return os.waitstatus_to_exitcode(status)


def _close(near: socket, far: socket, *fds: int) -> None:
    near.close()
    far.close()
    for fd in fds:
        os.close(fd)


def _play(role: Callable[[], None]) -> NoReturn:
    """Run as driver or candidate in a forked child, and never return into the worker's code."""
    try:
        role()
    finally:
        os._exit(0)
