"""The untrusted process of a sample: isolates itself, runs the program, answers calls until the socket closes.

The program can change everything in this process, so its messages are treated as data only and never trusted.
"""

from __future__ import annotations

import gc
import os
import sys
import types
from _thread import RLock
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from harness.sandbox import kernel
from harness.sandbox.wire import Channel, Closed, pack, unpack

_FRAMES = 16  # stack frames of this module, so that the program may recurse as deep as in a script
_SCRIPT = "solution.py"  # what a program that is run as a whole is told to be called


def be_candidate(cage: kernel.Cage, far: int, streams: list[int]) -> None:
    """Be the candidate on the socket with the descriptor `far`.

    streams: files that become the standard output and input if the whole program is run, else empty.
    """
    try:
        cage.shut([far, *streams])
    except BaseException as e:
        Channel(far).send(["broken", f"{type(e).__name__}: {e}"])
        return
    channel = Channel(3)
    channel.send(["ready"])
    gc.enable()
    sys.setrecursionlimit(sys.getrecursionlimit() + _FRAMES)
    program, entry_point, classes, stdin = channel.receive()
    name = "solution" if stdin is None else "__main__"
    module = types.ModuleType(name)
    sys.modules[name] = module
    candidate = _Candidate(channel, module, classes)
    if stdin is not None:
        _redirect(stdin)
        sys.argv[:] = [_SCRIPT]
        module.__file__ = _SCRIPT
        candidate.reply(lambda: candidate.run(program))
        return
    candidate.reply(lambda: candidate.load(program, entry_point))
    candidate.serve()


def _redirect(stdin: str) -> None:
    """Connect standard input to a file with `stdin`, and standard output to descriptor 4, which the driver reads."""
    os.dup2(4, 1)
    os.dup2(5, 0)
    os.close(5)
    rest = memoryview(stdin.encode(errors="surrogatepass"))
    while rest:
        rest = rest[os.write(0, rest) :]
    os.lseek(0, 0, os.SEEK_SET)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    _name_the_streams()


def _name_the_streams() -> None:
    """Let the names that Linux gives to open descriptors be opened, which lie in /proc, where nothing is visible."""
    import io

    names = {f"{folder}/{fd}": fd for folder in ("/dev/fd", "/proc/self/fd") for fd in range(3)}
    names |= {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

    def by_name(real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, *args: Any, **kwargs: Any) -> Any:
            path = file if isinstance(file, int | str) else os.fsdecode(file)
            fd = names.get(path) if isinstance(path, str) else None
            return real(file, *args, **kwargs) if fd is None else again(fd, *args, **kwargs)

        again = (lambda fd, *_, **__: os.dup(fd)) if real is os.open else lambda fd, *a, **k: real(os.dup(fd), *a, **k)
        return opened

    io.open = sys.modules["builtins"].open = by_name(io.open)  # type: ignore[attr-defined]
    os.open = by_name(os.open)


def _flush(*outputs: Any) -> None:
    """Write what the program left in the buffers of these outputs."""
    for output in outputs:
        if output is not None and not getattr(output, "closed", False):
            output.flush()


class _Candidate:
    """Answers the driver's requests to the program, and keeps the objects that the driver has handles for."""

    def __init__(self, channel: Channel, module: types.ModuleType, classes: list[str]) -> None:
        self._channel = channel
        self._module = module
        self._classes = frozenset(classes)  # of the prompt: their instances travel by value
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._calling = RLock()  # one thread at a time may send a request and receive calls meanwhile
        self._raised: dict[int, Exception] = {}  # by an iterator, after items that are on their way

    def load(self, program: str, entry_point: str) -> None:
        names = self._module.__dict__
        exec(_compiled(program), names)
        head = entry_point.partition(".")[0]
        if head and head not in names:
            raise NameError(f"name {head!r} is not defined")

    def run(self, program: str) -> None:
        """Run the whole program, with its output to the file that the driver reads, and end it as Python ends."""
        ours = sys.stdout
        try:
            exec(_compiled(program), self._module.__dict__)
        except SystemExit:
            pass
        finally:
            if "threading" in sys.modules:
                sys.modules["threading"]._shutdown()
            if "atexit" in sys.modules:
                sys.modules["atexit"]._run_exitfuncs()
            _flush(sys.stdout, ours)
        self._module.__dict__.clear()  # files that only the program knows are closed, and so written
        gc.collect()
        _flush(ours)  # what ended now may have printed

    def serve(self) -> None:
        """Answer requests until the driver disconnects."""
        while True:
            self._answer(self._channel.receive())

    def reply(self, act: Callable[[], Any]) -> None:
        """Send the return value or the exception of `act`."""
        try:
            message = ["ok", self.pack(act())]
        except Closed:
            raise
        except BaseException as e:
            plain = [a for a in e.args[:9] if type(a) in (str, int, float, bool, type(None))]
            message = [
                "error",
                [c.__name__ for c in type(e).__mro__],
                _text(e),
                plain if len(plain) == len(e.args) else [],
            ]
        try:
            self._channel.send(message)
        except ValueError as e:
            self._channel.send(["error", ["ValueError"], str(e), []])

    def _answer(self, request: Any) -> None:
        verb, target, *rest = request
        self.reply(lambda: getattr(self, "_" + verb)(self._find(target), *rest))

    def _find(self, target: str | int) -> Any:
        if type(target) is int:
            return self._objects[target]
        head, *path = str(target).split(".")
        if head not in self._module.__dict__:
            raise NameError(f"name {head!r} is not defined")
        value = self._module.__dict__[head]
        for name in path:  # "Solution.solve" is a method of an instance
            value = getattr(value() if isinstance(value, type) else value, name)
        return value

    def _call(self, function: Any, payload: Any, copy_back: bool) -> Any:
        args, kwargs = payload
        args = self.unpack(args)
        named = self.unpack(kwargs) if kwargs else {}
        result = function(*args, **named)
        if isinstance(function, type) and isinstance(result, function) and _has_methods(type(result)):
            result = _AsObject(result)
        return [result, args, named] if copy_back else result

    def _get(self, value: Any, name: str) -> Any:
        return getattr(value, name)

    def _set(self, value: Any, name: str, payload: Any) -> None:
        setattr(value, name, self.unpack(payload))

    def _next(self, iterator: Iterator[Any], n: int) -> list[Any]:
        """[at most n items, whether the iterator has ended]. An error is raised alone, after the items before it."""
        items: list[Any] = []
        try:
            if id(iterator) in self._raised:
                raise self._raised.pop(id(iterator))
            items.extend(islice(iterator, n))
        except Exception as e:
            if not items:
                raise
            self._raised[id(iterator)] = e
            return [items, False]
        return [items, len(items) < n]

    def _iter(self, value: Any) -> Any:
        return iter(value)

    def _len(self, value: Any) -> int:
        return len(value)

    def _str(self, value: Any) -> str:
        return str(value)

    def _repr(self, value: Any) -> str:
        return repr(value)

    def _item(self, value: Any, payload: Any) -> Any:
        return value[self.unpack(payload)]

    def _setitem(self, value: Any, payload: Any, item: Any) -> None:
        value[self.unpack(payload)] = self.unpack(item)

    def _isinstance(self, kind: Any, payload: Any) -> bool:
        return isinstance(self.unpack(payload), kind)

    def _operate(self, left: Any, name: str, payload: Any) -> Any:
        import operator

        return getattr(operator, name)(left, self.unpack(payload))

    def pack(self, value: Any) -> list[Any]:
        return pack(value, lambda v: type(v).__name__ in self._classes, self._handle)

    def _handle(self, value: Any) -> dict[str, int]:
        if type(value) is _AsObject:
            return {"o": self._number(value.value)}
        return {"n" if hasattr(type(value), "__next__") else "o": self._number(value)}

    def _number(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)  # kept, so its id stays its own
        return self._numbers[id(value)]

    def unpack(self, packed: Any) -> Any:
        return unpack(packed, self._module.__dict__, self._resolve)

    def _resolve(self, tag: str, body: Any) -> Any:
        if tag == "o":
            return self._objects[body]
        if tag == "N":
            return self._find(body)
        if tag == "l":
            return iter(self.unpack(body))
        if tag == "g":
            return self._callback(body)
        raise ValueError(f"unknown tag {tag!r}")

    def _callback(self, number: int) -> Callable[..., Any]:
        """A function of the test: a call is a request to the driver, which may call back before it answers."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._calling:
                return ask(args, kwargs)

        def ask(args: Any, kwargs: Any) -> Any:
            self._channel.send(["call", number, self.pack([list(args), kwargs])])
            while True:
                message = self._channel.receive()
                if message[0] == "returned":
                    return self.unpack(message[1])
                if message[0] == "raised":
                    raise getattr(sys.modules["builtins"], message[1], RuntimeError)(message[2])
                self._answer(message)

        return call


class _AsObject:
    """Marks a value that could be sent as plain data but is sent as an object, because the test needs its methods."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _has_methods(kind: type) -> bool:
    """Whether a subclass of a built-in class adds methods, which would be lost as plain data."""
    own = [c for c in kind.__mro__ if c.__module__ != "builtins"]
    return any(callable(v) and not name.startswith("__") for c in own for name, v in c.__dict__.items())


def _compiled(program: str) -> types.CodeType:
    try:
        return compile(program, "<solution>", "exec", dont_inherit=True)
    except MemoryError:  # raised by the parser when its stack is full
        raise SyntaxError("too large or too deeply nested for the parser") from None


def _text(e: BaseException) -> str:
    try:
        return str(e)[:1000]
    except BaseException:
        return ""
