"""The trusted process of a sample: runs the tests on a candidate, which it reaches only by messages of plain data.

The verdict is "passed" if the test program ran to its end. A result of the candidate arrives as plain data or as a
`Remote`, an object of the candidate that can be called, read and iterated, but is equal only to itself.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import gc
import os
import resource
import struct
import sys
import types
from _socket import socket  # the module above it is large
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from harness.sandbox import kernel
from harness.sandbox.wire import Channel, Closed, pack, unpack

MAX_OUTPUT = 16 << 20  # bytes of standard output that are compared
_SPENT_BYTES = 400 << 20  # a driver that ever exceeded this is not used again
_MAX_SAMPLES = 500
_CHUNK = 256  # at most this many items are fetched at once from a candidate's iterator


def drive(cage: kernel.Cage, link_fd: int) -> None:
    """Run samples that arrive over a socket, until the worker closes it or this process must not be used again."""
    cage.shut([link_fd])
    link = socket(fileno=3)
    gc.enable()
    import random

    new = _fingerprint()
    for left in reversed(range(_MAX_SAMPLES)):
        message, ancillary, _, _ = link.recvmsg(16, 64)
        if not message:
            return
        fds = [fd for (fd,) in struct.iter_unpack("i", ancillary[0][2])]
        job, candidate, *output = fds
        random.seed(0)
        usable, verdict = _verdict(Channel(job).receive(), Channel(candidate), output)
        usable = usable and left > 0 and _fingerprint() == new
        usable = usable and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 < _SPENT_BYTES
        Channel(job).send(verdict)
        for fd in fds:
            os.close(fd)
        link.send(b"done" if usable else b"spent")


def _fingerprint() -> tuple[object, ...]:
    """The state of this process that a test program could change for later ones."""
    return sys.getrecursionlimit(), tuple(map(id, builtins.__dict__.values())), tuple(sys.path), sys.stdout, sys.stdin


class CandidateError(Exception):
    """Replaces an exception of the candidate that the tests must not see itself."""


class CandidateGone(BaseException):
    """The candidate's process ended or sent an invalid answer. No test can catch it by mistake."""


class TestBroken(BaseException):
    """The trusted test program requires something that no candidate can do."""


def _verdict(job: dict[str, Any], channel: Channel, output: list[int]) -> tuple[bool, list[str]]:
    """Whether this process may run another sample, and [verdict, why, the failed line of the test]."""
    namespace: dict[str, Any] = {"__name__": "tests"}
    try:
        exec(_compiled(job["prelude"], "<prelude>"), namespace)
        tests = _compiled(job["test"], "<test>")
    except Exception as e:
        return False, ["refused", f"the trusted test program does not run: {type(e).__name__}: {e}", ""]
    classes = {
        k: v for k, v in namespace.items() if isinstance(v, type) and v.__module__ == "tests" and v.__name__ == k
    }
    link = _Link(channel, classes, bool(job["copy_back"]))
    namespace["__after__"] = link.after
    usable, verdict, why, line = True, "failed", "", ""
    try:
        link.load(job["program"], job["entry_point"], job["stdin"])
        if job["stdin"] is not None:
            candidate: Any = _output(output[0])
        else:
            for name in job["names"]:
                namespace[name] = Remote(link, name)
            candidate = Remote(link, job["entry_point"])
            if job["entry_point"]:
                namespace[job["entry_point"]] = candidate
        exec(tests, namespace)
        if job["entry_point"] or job["stdin"] is not None:
            if not callable(namespace.get("check")) or isinstance(namespace["check"], Remote):
                return False, ["refused", "the trusted test program defines no check(candidate)", ""]
            namespace["check"](candidate)
        if not link.asked and job["stdin"] is None:
            return False, ["refused", "the tests ended without asking the program anything", ""]
        verdict, why = "passed", "passed"
    except CandidateGone as e:
        usable, verdict, why = False, "error", str(e)
    except TestBroken as e:
        usable, verdict, why = False, "refused", str(e)
    except AssertionError as e:
        why = "assertion failed"  # not its text, which may contain the expected value
        line = _failing_line(e, job["test"])
    except MemoryError as e:
        usable, verdict = False, "memory" if link.raised(e) else "failed"
        why = "MemoryError" + (f": {e}" if str(e) else "")
    except BaseException as e:
        usable = not isinstance(e, RecursionError)
        verdict = "error" if link.raised(e) else "failed"
        why = str(e) if isinstance(e, CandidateError) else f"{type(e).__name__}: {e}"
        line = _failing_line(e, job["test"])
    if link.gone:  # even if the tests handled it
        usable, verdict, why = False, "error", link.gone
    return usable, [verdict, "".join(c if c.isprintable() else " " for c in why[:1000])[:300], line]


@functools.lru_cache(maxsize=4)
def _compiled(source: str, name: str) -> types.CodeType:
    return compile(source, name, "exec", dont_inherit=True)


def _failing_line(e: BaseException, source: str) -> str:
    """The innermost line of the test program in the traceback of `e`."""
    number, trace = 0, e.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<test>":
            number = trace.tb_lineno
        trace = trace.tb_next
    return source.splitlines()[number - 1].strip()[:300] if number else ""


def _output(fd: int) -> str:
    size = os.fstat(fd).st_size
    if size > MAX_OUTPUT:
        raise CandidateError(f"the program printed {size} bytes, {MAX_OUTPUT} are compared")
    return os.pread(fd, size, 0).decode(errors="replace")


# Would end a loop or look like a failed assertion of the test's own, so they reach the tests as CandidateError.
_NOT_REBUILT = (AssertionError, StopIteration, StopAsyncIteration)


class _Link:
    """Sends requests to the candidate, serves its callbacks, and rebuilds values from its answers."""

    def __init__(self, channel: Channel, classes: dict[str, type], copy_back: bool) -> None:
        self.gone = ""
        self.asked = False
        self._channel = channel
        self._classes = classes  # of the prompt: their instances travel by value, and become instances of ours
        self._copy_back = copy_back
        self._functions: list[Callable[..., Any]] = []
        self._last_raised: BaseException | None = None

    def raised(self, e: BaseException) -> bool:
        """Whether `e` is the last exception that the candidate raised."""
        return e is self._last_raised

    def load(self, program: str, entry_point: str, stdin: str | None) -> None:
        """Let the candidate run the program. If stdin is given, the program may end its process at any time."""
        try:
            ready, *why = self._channel.receive()  # sent before the program runs, so it can be trusted
            if ready != "ready":
                raise TestBroken(f"the candidate's process could not be shut in: {why}")
            self._channel.send([program, entry_point, list(self._classes), stdin])
            self._answer()
        except CandidateGone:
            if stdin is None or self.gone != _ENDED:
                raise
            self.gone = ""
        except Closed:
            raise self._lost(_ENDED) from None

    def call(self, target: str | int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._copy_back:
            return self.ask("call", target, self._packed(args, kwargs), False)
        result, changed, named = self._call_and_copy(target, args, kwargs)
        for ours, theirs in zip(args, changed, strict=False):
            _copy_into(ours, theirs)
        for name in kwargs.keys() & named.keys():
            _copy_into(kwargs[name], named[name])
        return result

    def after(self, function: Remote, /, *args: Any, **kwargs: Any) -> list[Any]:
        """What a call returns, and the arguments as the program left its copies; ours are unchanged.

        An argument that comes back as another type, or not at all, is as it was.
        """
        result, changed, named = self._call_and_copy(_target(function), args, kwargs)
        theirs = [*changed[: len(args)], *args[len(changed) :], *(named.get(name, kwargs[name]) for name in kwargs)]
        pairs = zip((*args, *kwargs.values()), theirs, strict=True)
        return [result, *(new if type(new) is type(old) else old for old, new in pairs)]

    def _packed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        return [self.pack(list(args)), self.pack(kwargs) if kwargs else None]

    def _call_and_copy(
        self, target: str | int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, list[Any], dict[str, Any]]:
        """What a call returns, and the program's copies of the arguments."""
        answer = self.ask("call", target, self._packed(args, kwargs), True)
        if type(answer) is not list or [type(part) for part in answer[1:]] != [list, dict]:
            raise self._lost("the program gave no proper answer")
        return answer[0], answer[1], answer[2]

    def ask(self, verb: str, target: str | int, *more: Any) -> Any:
        """The candidate's answer to one request; raises the exception that it raised."""
        self.asked = True
        if self.gone:
            raise CandidateGone(self.gone)
        try:
            self._channel.send([verb, target, *more])
        except Closed:
            raise self._lost(_ENDED) from None
        except ValueError as e:
            if self._channel.received > 1 << 20:  # maybe because of the program's earlier answers
                raise self._lost("the program made the test's arguments too long") from e
            raise TestBroken(f"the test's arguments are too long: {e}") from e
        return self._answer()

    def _answer(self) -> Any:
        while True:
            try:
                kind, *rest = self._channel.receive()
                if kind == "ok":
                    return self.unpack(rest[0])
                if kind == "call":
                    function, (args, kwargs) = self._functions[rest[0]], self.unpack(rest[1])
                else:
                    names, text = [str(n)[:100] for n in rest[0][:50]], str(rest[1])[:1000]
                    args = [a for a in rest[2][:9] if type(a) in (str, int, float, bool, type(None))]
                    break
            except Closed:
                raise self._lost(_ENDED) from None
            except (ValueError, TypeError, LookupError, AttributeError, ImportError, ArithmeticError) as e:
                raise self._lost(f"the program gave no proper answer ({type(e).__name__})") from None
            except (RecursionError, MemoryError) as e:
                raise self._lost(f"the program's answer is too large or too deep ({type(e).__name__})") from None
            self._serve(function, args, kwargs)
        self._last_raised = self._rebuilt(names, text, args or [text])
        raise self._last_raised

    def _serve(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
        """Call a function of the test for the candidate."""
        try:
            message = ["returned", self.pack(function(*args, **kwargs))]
        except Exception as e:
            message = ["raised", type(e).__name__, str(e)[:1000]]
        try:
            self._channel.send(message)
        except Closed:
            raise self._lost(_ENDED) from None

    def _rebuilt(self, names: list[str], text: str, args: list[Any]) -> Exception:
        """The exception for the tests: of the prompt's class, of a built-in class, else CandidateError."""
        blocked = {e.__name__ for e in _NOT_REBUILT}
        if names and not blocked.intersection(names):
            for name in names:
                known = self._classes.get(name) or getattr(builtins, name, None)
                if isinstance(known, type) and issubclass(known, Exception):
                    if known is Exception:
                        break
                    with contextlib.suppress(Exception):
                        return known(*args)
                    if name in self._classes:  # a class of the prompt with another signature of __init__
                        e = known.__new__(known, *args)
                        e.args = tuple(args)
                        return e
        return CandidateError(f"{names[0] if names else 'Exception'}: {text}")

    def _lost(self, why: str) -> CandidateGone:
        self.gone = why
        return CandidateGone(why)

    def pack(self, value: Any) -> list[Any]:
        return pack(value, lambda v: self._classes.get(type(v).__name__) is type(v), self._tag)

    def _tag(self, value: Any) -> Any:
        if isinstance(value, Remote):
            target = _target(value)
            return {"o" if isinstance(target, int) else "N": target}
        if isinstance(value, type) and self._classes.get(value.__name__) is value:
            return {"N": value.__name__}
        if hasattr(value, "__next__"):
            return {"l": self.pack(list(value))}
        if callable(value):
            self._functions.append(value)
            return {"g": len(self._functions) - 1}
        raise TestBroken(f"the test passes a {type(value).__name__}, which cannot reach the candidate")

    def unpack(self, packed: Any) -> Any:
        return unpack(packed, self._classes, self._resolve)

    def _resolve(self, tag: str, body: Any) -> Any:
        if tag == "o" and type(body) is int:
            return Remote(self, body)
        if tag == "n" and type(body) is int:
            return _remote_items(self, body)
        raise ValueError(f"unknown tag {tag[:20]!r}")


_ENDED = "the program ended before the tests did"


def _copy_into(ours: Any, theirs: Any) -> None:
    """Apply the candidate's changes of its copy to our argument."""
    if type(ours) is not type(theirs):
        return
    if isinstance(ours, list | bytearray):
        ours[:] = theirs
    elif isinstance(ours, dict | set):
        ours.clear()
        ours.update(theirs)
    elif isinstance(ours, deque):
        ours.clear()
        ours.extend(theirs)
    elif type(ours).__module__ == "numpy":
        if ours.shape == theirs.shape:
            ours[...] = theirs
    elif type(ours).__module__ == "tests":  # of the prompt
        ours.__dict__.update(theirs.__dict__)


def _remote_items(link: _Link, number: int) -> Iterator[Any]:
    """The items of the candidate's iterator, fetched when needed."""
    n = 1
    while True:
        answer = link.ask("next", number, n)
        if type(answer) is not list or len(answer) != 2 or type(answer[0]) is not list:
            raise link._lost("the program gave no proper answer")
        yield from answer[0]
        if answer[1] is not False:
            return
        n = min(2 * n, _CHUNK)


class Remote:
    """An object of the candidate, or a name in its program (target: number or name).

    Equal only to itself. Its answers are plain data, compared in this process: it can report its content, but never
    whether it equals, contains or exceeds something. Arithmetic with another `Remote` runs in the candidate; with a
    value of the test it is refused, since the candidate could use it to answer a comparison.
    """

    __slots__ = ("__name__", "_link", "_target")

    def __init__(self, link: _Link, target: str | int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "__name__", str(target))

    def __eq__(self, other: object) -> bool:
        if type(other) is not Remote:
            return False
        return bool(object.__getattribute__(self, "_target") == object.__getattribute__(other, "_target"))

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "_target"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _link(self).call(_target(self), args, kwargs)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        return _link(self).ask("get", _target(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        _link(self).ask("set", _target(self), name, _link(self).pack(value))

    def __getitem__(self, key: Any) -> Any:
        return _link(self).ask("item", _target(self), _link(self).pack(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        _link(self).ask("setitem", _target(self), _link(self).pack(key), _link(self).pack(value))

    def __iter__(self) -> Iterator[Any]:
        return iter(_link(self).ask("iter", _target(self)))

    def __len__(self) -> int:
        return len(range(_link(self).ask("len", _target(self))))

    def __bool__(self) -> bool:
        return True  # the object's own __bool__ is not called

    def __str__(self) -> str:
        return str(_link(self).ask("str", _target(self)))

    def __repr__(self) -> str:
        return str(_link(self).ask("repr", _target(self)))

    def __instancecheck__(self, value: Any) -> bool:
        return (
            isinstance(value, Remote) and _link(self).ask("isinstance", _target(self), _link(self).pack(value)) is True
        )

    def _operator(name: str) -> Callable[[Remote, Any], Any]:  # type: ignore[misc]
        def operate(self: Remote, other: Any) -> Any:
            if type(other) is not Remote:
                return NotImplemented
            return _link(self).ask("operate", _target(self), name, _link(self).pack(other))

        return operate

    __add__, __sub__, __mul__ = _operator("add"), _operator("sub"), _operator("mul")
    __truediv__, __floordiv__, __mod__ = _operator("truediv"), _operator("floordiv"), _operator("mod")
    del _operator


def _link(remote: Remote) -> _Link:
    link: _Link = object.__getattribute__(remote, "_link")
    return link


def _target(remote: Remote) -> str | int:
    target: str | int = object.__getattribute__(remote, "_target")
    return target
