"""A worker: a small, long-lived fork server that judges one sample at a time by two processes it forks.

* The **driver** is trusted: it alone reads the job, runs the tests, compares, and says the verdict.
* The **candidate** is not: it gets its program from the driver, then answers calls. It never holds a test, an expected
  value or a way to the verdict, so there is nothing to forge; its exit code and its output mean nothing.

The worker itself never reads a job, so its memory, which the candidate inherits, holds none. It starts as a fresh
interpreter: a fork of a process with torch in it would cost more than most samples do, and share its secrets.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import math
import os
import select
import signal
import socket
import sys
import time
import types
from collections.abc import Callable
from typing import Any, NoReturn

from harness.sandbox import kernel
from harness.sandbox.wire import Channel, Closed, decode, encode

# Imported once here instead of once per sample; the rest of the standard library is read from disk when asked for.
# fmt: off
_PRELOAD = (
    "array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "random", "re", "statistics", "string",
    "textwrap", "traceback", "typing",
)
# fmt: on
_CONTROL = 0  # the worker's standard input is its socket to `Sandbox`


def main(tier: str, read_only: list[str], library: list[str]) -> None:
    """Serve `Sandbox` over standard input until it hangs up. library: where the standard library may be read."""
    control = socket.socket(fileno=_CONTROL)
    os.environ.clear()
    try:
        sys.path[:] = library
        for name in _PRELOAD:
            importlib.import_module(name)
        cage = kernel.enter(tier, read_only)
    except OSError as e:
        control.send(json.dumps({"error": e.strerror or str(e)}).encode())
        return
    control.send(json.dumps({"tier": cage.tier}).encode())
    gc.collect()
    gc.disable()  # a collection would touch, and so copy, every page the children share
    gc.freeze()
    while True:
        message, fds, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        control.send(json.dumps(_judge(control, cage, fds[0], **json.loads(message))).encode())


def _judge(
    control: socket.socket, cage: kernel.Cage, job: int, cpu_s: float, wall_s: float, memory_bytes: int
) -> dict[str, Any]:
    """Run one sample to its end, or to the end of its time. The verdict itself goes from the driver to `job`."""
    near, far = socket.socketpair()
    driver = os.fork()
    if driver == 0:
        far.close()
        control.detach()
        os.dup2(cage.null, _CONTROL)
        _play(lambda: _drive(job, near, math.ceil(cpu_s) + 5))
    os.close(job)
    try:
        candidate = cage.clone()
    except OSError as e:
        near.close()
        far.close()
        os.kill(driver, signal.SIGKILL)
        os.waitpid(driver, 0)
        return {"end": "broken", "why": str(e)}
    if candidate == 0:
        _play(lambda: _be_candidate(cage, far, math.ceil(cpu_s) + 1, memory_bytes))
    near.close()
    far.close()
    end = _watch(control, driver, candidate, cpu_s, time.monotonic() + wall_s)
    for pid in (driver, candidate):  # not reaped yet, so the numbers are still theirs
        os.kill(pid, signal.SIGKILL)
    _, driver_status, _ = os.wait4(driver, 0)
    _, candidate_status, used = os.wait4(candidate, 0)
    return {
        "end": end,
        "driver": os.waitstatus_to_exitcode(driver_status),
        "candidate": os.waitstatus_to_exitcode(candidate_status),
        "cpu_s": used.ru_utime + used.ru_stime,
    }


def _watch(control: socket.socket, driver: int, candidate: int, cpu_s: float, deadline: float) -> str:
    """Wait until the driver is done ("done"), or the candidate's CPU time ("cpu") or the wall clock ("wall") is."""
    driver_fd, candidate_fd = os.pidfd_open(driver), os.pidfd_open(candidate)
    poll = select.poll()
    poll.register(driver_fd, select.POLLIN)
    poll.register(candidate_fd, select.POLLIN)
    poll.register(control, 0)  # a hang-up is always reported
    clock = (~candidate << 3) | 2  # the kernel's name for the CPU clock of a process
    alive = True
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return "wall"
            if alive:
                spare = cpu_s - time.clock_gettime(clock)
                if spare <= 0:
                    return "cpu"
                left = min(left, spare)
            ready = dict(poll.poll(left * 1000 + 1))
            if driver_fd in ready:
                return "done"
            if control.fileno() in ready:  # nobody waits for an answer any more
                os.kill(driver, signal.SIGKILL)
                os.kill(candidate, signal.SIGKILL)
                os._exit(0)
            if candidate_fd in ready:
                alive = False
                poll.unregister(candidate_fd)
    finally:
        os.close(driver_fd)
        os.close(candidate_fd)


def _play(role: Callable[[], None]) -> NoReturn:
    """Play a role in a forked child and never return into the worker's code."""
    try:
        role()
    finally:
        os._exit(0)


# --- the trusted half --------------------------------------------------------------------------------------------


class CandidateError(Exception):
    """What the candidate raised, where it is no exception the tests may meet as it is."""


class CandidateGone(Exception):
    """The candidate's process ended, or said something that is no answer."""


class Opaque:
    """An object of the candidate's that is no plain data: equal only to itself, and neither true nor false."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __eq__(self, other: object) -> bool:
        return type(other) is Opaque and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __bool__(self) -> bool:
        raise TypeError("the reply is no plain data, so it is neither true nor false")


def _drive(job_fd: int, near: socket.socket, cpu_s: int) -> None:
    """Run the tests against the candidate behind `near`; write [passed, why] to `job_fd`."""
    kernel.die_with_parent()
    job = Channel(socket.socket(fileno=job_fd))
    asked = job.receive()
    kernel.limit_driver(cpu_s, 2 << 30)
    gc.enable()
    passed, why = _verdict(asked, Channel(near))
    job.send([passed, "".join(c if c.isprintable() else " " for c in why)[:300]])


def _verdict(job: dict[str, str], candidate: Channel) -> tuple[bool | None, str]:
    try:
        greeting = candidate.receive()
        if greeting != "ready":
            return None, f"sandbox: the candidate's process could not be shut in: {greeting}"
    except (Closed, ValueError) as e:
        return None, f"sandbox: the candidate's process did not start ({type(e).__name__})"
    namespace: dict[str, Any] = {"__name__": "tests"}
    try:
        exec(compile(job["prelude"], "<prelude>", "exec"), namespace)
        tests = compile(job["test"], "<test>", "exec")
    except Exception as e:
        return None, f"sandbox: the trusted test program does not run: {type(e).__name__}: {e}"
    try:
        candidate.send([job["program"], job["entry_point"]])
        _answer(candidate)
        proxy = namespace[job["entry_point"]] = _proxy(candidate)
        exec(tests, namespace)
        if "check" not in namespace:
            return None, "sandbox: the trusted test program defines no check(candidate)"
        namespace["check"](proxy)
    except AssertionError:
        return False, "assertion failed"  # not its text: it may hold the expected value
    except (CandidateError, CandidateGone) as e:
        return False, str(e)
    except (Closed, BrokenPipeError):
        return False, "the program ended before the tests did"
    except BaseException as e:
        return False, f"{type(e).__name__}: {e}"
    return True, "passed"


def _proxy(candidate: Channel) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        candidate.send(encode([list(args), kwargs], _refuse_object))
        return decode(_answer(candidate), Opaque)

    return call


def _refuse_object(value: Any) -> int:
    if type(value) is Opaque:
        return value._number
    raise TypeError(f"the test passes a {type(value).__name__}, and only plain data can reach the candidate")


# Would end a loop or look like a failed assertion of the test's own, so they reach the tests as CandidateError.
_NOT_REBUILT = (AssertionError, StopIteration, StopAsyncIteration)


def _answer(candidate: Channel) -> Any:
    """The candidate's next answer; raises what it raised."""
    try:
        kind, *rest = candidate.receive()
        if kind == "ok":
            return rest[0]
        name, text = str(rest[0])[:100], str(rest[1])[:1000]
    except (ValueError, TypeError, IndexError, RecursionError, MemoryError) as e:
        raise CandidateGone(f"the program gave no proper answer ({type(e).__name__})") from None
    known = getattr(sys.modules["builtins"], name, None)
    if isinstance(known, type) and issubclass(known, Exception) and not issubclass(known, _NOT_REBUILT):
        with contextlib.suppress(TypeError):  # UnicodeDecodeError and its like want more than a text
            raise known(text)
    raise CandidateError(f"{name}: {text}")


# --- the untrusted half ------------------------------------------------------------------------------------------


def _be_candidate(cage: kernel.Cage, far: socket.socket, cpu_s: int, memory_bytes: int) -> None:
    """Shut this process in, then run the program and answer calls until the driver hangs up."""
    try:
        channel = Channel(socket.socket(fileno=cage.shut(far.fileno(), cpu_s, memory_bytes)))
    except BaseException as e:
        Channel(far).send(f"{type(e).__name__}: {e}")
        return
    far.detach()
    channel.send("ready")
    gc.enable()
    for name in [n for n in sys.modules if n.startswith("harness")]:
        del sys.modules[name]
    program, entry_point = channel.receive()
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    objects: list[Any] = []

    def name_of(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    def load() -> Any:
        exec(compile(program, "<solution>", "exec"), module.__dict__)
        if entry_point not in module.__dict__:
            raise NameError(f"name {entry_point!r} is not defined")

    def call() -> Any:
        args, kwargs = decode(request, objects.__getitem__)
        return encode(module.__dict__[entry_point](*args, **kwargs), name_of)

    _reply(channel, load)
    while True:
        request = channel.receive()
        _reply(channel, call)


def _reply(channel: Channel, act: Callable[[], Any]) -> None:
    try:
        channel.send(["ok", act()])
    except Closed:
        raise
    except BaseException as e:
        channel.send(["error", type(e).__name__, str(e)[:1000]])
