"""Plain data over a socket: what the tests and the candidate say to each other. Nothing here can carry code.

JSON with tags: scalars and lists are themselves, everything else is `{"tag": ...}`. Values of built-in types arrive as
exactly these types; instances of subclasses are flattened with the base class's own methods, so an operator the
candidate overrode never reaches the tests. Anything else travels as a number and arrives as what `resolve` makes of it.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_BYTES = 8 << 20  # of one message
MAX_ITEMS = 100_000  # taken from an iterator
MAX_INT_BITS = 1 << 20

_PLAIN = (str, float, bool, types.NoneType)
_SMALL = 1 << 63
_ITERATORS: Any = (
    *(types.GeneratorType, map, filter, zip, enumerate, reversed),
    *(type(iterator) for iterator in (iter([]), iter(()), iter(""), iter({}), reversed([]))),
)


class Closed(Exception):
    """The other end is gone."""


class Channel:
    """Length-prefixed JSON messages over a stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, message: Any) -> None:
        """Send one message. Raises ValueError if it is too long, Closed if nobody listens."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > MAX_BYTES:
            raise ValueError(f"a message may have {MAX_BYTES} bytes, this one has {len(data)}")
        try:
            self._sock.sendall(struct.pack("!I", len(data)) + data)
        except OSError as e:
            raise Closed from e

    def receive(self) -> Any:
        """The next message. Raises ValueError if it is malformed or too long, Closed at the end, TimeoutError."""
        (size,) = struct.unpack("!I", self._exactly(4))
        if size > MAX_BYTES:
            raise ValueError(f"a message may have {MAX_BYTES} bytes, this one announces {size}")
        return json.loads(self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self._sock.recv(min(size - len(data), 1 << 20))
            except TimeoutError:
                raise
            except OSError as e:
                raise Closed from e
            if not part:
                raise Closed
            data += part
        return bytes(data)


def encode(value: Any, name: Callable[[Any], int]) -> Any:
    """`value` as JSON data; `name` gives the number of an object that is no plain data."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        return value if -_SMALL <= value < _SMALL else {"i": hex(value)}
    if kind is list:
        return _items(value, name)
    for base, tag, flatten in _FLATTEN:
        if isinstance(value, base):
            flat = flatten(value)
            if tag == "":
                return encode(flat, name)
            return {tag: _items(flat, name) if tag in _CONTAINERS else flat}
    if isinstance(value, dict):
        return {"d": [[encode(k, name), encode(v, name)] for k, v in dict.items(value)]}
    if isinstance(value, _ITERATORS):
        return {"n": _items(list(itertools.islice(value, MAX_ITEMS)), name)}
    return {"o": name(value)}


def _items(values: list[Any], name: Callable[[Any], int]) -> list[Any]:
    return [v if type(v) in _PLAIN else encode(v, name) for v in values]


# In this order: base class, tag, how to reach exact built-in values whatever a subclass overrides.
_FLATTEN: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (int, "", lambda x: int.__add__(x, 0)),
    (float, "", lambda x: float.__add__(x, 0.0) if float.__ne__(x, 0.0) else float.__float__(x)),
    (str, "", lambda x: str.__str__(x)),
    (list, "", lambda x: list(list.__iter__(x))),
    (tuple, "t", lambda x: list(tuple.__iter__(x))),
    (set, "s", lambda x: list(set.__iter__(x))),
    (frozenset, "f", lambda x: list(frozenset.__iter__(x))),
    (bytes, "b", lambda x: bytes.hex(x)),
    (bytearray, "a", lambda x: bytearray.hex(x)),
    (complex, "c", lambda x: [complex.real.__get__(x), complex.imag.__get__(x)]),
    (range, "r", lambda x: [x.start, x.stop, x.step]),
    (Decimal, "D", lambda x: Decimal.__str__(x)),
    (Fraction, "F", lambda x: [hex(x.numerator), hex(x.denominator)]),
)
_CONTAINERS = ("t", "s", "f", "r")


def decode(wire: Any, resolve: Callable[[int], Any]) -> Any:
    """The value `wire` stands for. Raises ValueError or TypeError for what `encode` would not have written."""
    if type(wire) is list:
        return [decode(w, resolve) if type(w) in (list, dict) else w for w in wire]
    if type(wire) is not dict:
        return wire
    if len(wire) != 1:
        raise ValueError("a tagged value has one key")
    ((tag, body),) = wire.items()
    if tag == "d":
        return {decode(k, resolve): decode(v, resolve) for k, v in body}
    if tag == "i":
        return _integer(body)
    if tag == "o":
        return resolve(body)
    make = _MAKE.get(tag)
    if make is None:
        raise ValueError(f"unknown tag {tag[:20]!r}")
    return make(decode(body, resolve))


_MAKE: dict[str, Callable[[Any], Any]] = {
    "t": tuple,
    "s": set,
    "f": frozenset,
    "n": iter,
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
    "c": lambda parts: complex(*map(float, parts)),
    "r": lambda parts: range(*parts),
    "D": Decimal,
    "F": lambda parts: Fraction(*map(_integer, parts)),
}


def _integer(text: Any) -> int:
    if type(text) is not str or len(text) * 4 > MAX_INT_BITS:
        raise ValueError(f"an integer may have {MAX_INT_BITS} bits")
    return int(text, 16)
