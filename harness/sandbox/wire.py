"""Plain data over a socket: the messages between the tests and the candidate. They cannot contain code.

JSON with tags: scalars and lists are themselves, everything else is `{"tag": ...}`. Values of built-in types arrive as
exactly these types; instances of subclasses are flattened with the base class's own methods, so an operator the
candidate overrode never reaches the tests. Values that are not plain data are left to each side (`other`, `resolve`).
"""

from __future__ import annotations

import os
import select
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping
from enum import Enum
from json.decoder import JSONDecoder
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from json.scanner import c_make_scanner  # type: ignore[attr-defined]
from typing import Any

MAX_BYTES = 32 << 20  # of one message
MAX_INT_BITS = 1 << 24


def _refuse(value: object) -> None:
    raise TypeError(f"{type(value).__name__} cannot be JSON")


# Only the C parts of json.dumps and json.loads: the rest writes to memory that every fork would copy.
_WRITE = c_make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)
_READ = c_make_scanner(JSONDecoder())
_PREFIX = struct.Struct("!I")
_SMALL = 1 << 4096  # larger integers are sent as hexadecimal digits: reading decimal digits takes quadratic time
ATOMS = frozenset({str, float, bool, type(None)})
NESTED = frozenset({list, dict})
_KINDS = (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, object)
TYPES: dict[str, Any] = {kind.__name__: kind for kind in _KINDS}  # types that are sent by name


class Closed(Exception):
    """The other end of the socket is closed."""


class Channel:
    """Length-prefixed JSON messages over a connected stream socket, given by its descriptor. Each waits for its answer.

    timeout_s: how long to wait for a message; None: no limit.
    """

    def __init__(self, fd: int, timeout_s: float | None = None) -> None:
        self._fd = fd
        self._timeout_s = timeout_s
        self.received = 0  # bytes

    def send(self, message: Any) -> None:
        """Send one message. Raises ValueError if it is too long, Closed if the other end is closed."""
        data = "".join(_WRITE(message, 0)).encode()
        if len(data) > MAX_BYTES:
            raise ValueError(f"a message may have {MAX_BYTES} bytes, this one has {len(data)}")
        data = _PREFIX.pack(len(data)) + data
        try:
            sent = os.write(self._fd, data)
            while sent < len(data):
                sent += os.write(self._fd, memoryview(data)[sent:])
        except OSError as e:
            raise Closed from e

    def receive(self) -> Any:
        """The next message. Raises ValueError if it is malformed or too long, Closed at the end, TimeoutError."""
        data = self._some(65536)
        while len(data) < _PREFIX.size:
            data += self._some(65536)
        (size,) = _PREFIX.unpack_from(data)
        if size > MAX_BYTES:
            raise ValueError(f"a message may have {MAX_BYTES} bytes, this one announces {size}")
        self.received += size
        missing = size + _PREFIX.size - len(data)
        if missing > 0:
            parts = [data]
            while missing > 0:
                parts.append(self._some(min(missing, 1 << 20)))
                missing -= len(parts[-1])
            data = b"".join(parts)
        if missing < 0:
            raise ValueError("more than one message at a time")
        try:
            return _READ(data[_PREFIX.size :].decode(), 0)[0]
        except StopIteration:
            raise ValueError("a message must be JSON") from None

    def _some(self, size: int) -> bytes:
        if self._timeout_s is not None and not select.select([self._fd], [], [], self._timeout_s)[0]:
            raise TimeoutError(f"no message for {self._timeout_s:g} s")
        try:
            data = os.read(self._fd, size)
        except OSError as e:
            raise Closed from e
        if not data:
            raise Closed
        return data


def encode(value: Any, other: Callable[[Any], Any]) -> Any:
    """`value` as JSON data; `other` gives the tagged form of an object that is not plain data."""
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"i": hex(value)}
    if kind is list:
        return _items(value, other)
    if kind is not tuple and isinstance(value, tuple) and hasattr(kind, "_fields"):
        return other(value)
    for base, tag, flatten in _FLATTEN:
        if isinstance(value, base):
            flat = flatten(value)
            if tag == "":
                return encode(flat, other)
            return {tag: _items(flat, other) if tag in _CONTAINERS else flat}
    for module, name, tag, flatten in _FROM_MODULES:
        if module in sys.modules and isinstance(value, getattr(sys.modules[module], name)):
            flat = flatten(value)
            return encode(flat, other) if tag == "" else {tag: encode(flat, other)}
    return other(value)


def _items(values: list[Any], other: Callable[[Any], Any]) -> list[Any]:
    kinds = set(map(type, values))
    if kinds <= ATOMS:
        return values
    if kinds == {int} and max(values) < _SMALL and min(values) > -_SMALL:
        return values
    return [v if type(v) in ATOMS else encode(v, other) for v in values]


def _pairs(value: Any) -> list[Any]:
    return [x for pair in dict.items(value) for x in pair]


# In this order: base class, tag, how to reach exact built-in values whatever a subclass overrides.
_FLATTEN: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (tuple, "t", lambda x: list(tuple.__iter__(x))),
    (Counter, "C", _pairs),
    (dict, "d", _pairs),
    (int, "", lambda x: int.__add__(x, 0)),
    (float, "", lambda x: float.__add__(x, 0.0) if float.__ne__(x, 0.0) else float.__float__(x)),
    (str, "", lambda x: str.__str__(x)),
    (list, "", lambda x: list(list.__iter__(x))),
    (set, "s", lambda x: list(set.__iter__(x))),
    (frozenset, "f", lambda x: list(frozenset.__iter__(x))),
    (bytes, "b", lambda x: bytes.hex(x)),
    (bytearray, "a", lambda x: bytearray.hex(x)),
    (complex, "c", lambda x: [complex.real.__get__(x), complex.imag.__get__(x)]),
    (range, "r", lambda x: [x.start, x.stop, x.step]),
    (deque, "q", lambda x: list(deque.__iter__(x))),
    (type({}.keys()), "k", list),
    (type({}.values()), "", list),
    (type({}.items()), "", list),
)
_CONTAINERS = ("t", "s", "f", "r", "d", "q", "C", "k")


def _clock(x: Any, offset: Any) -> list[Any]:
    return [x.hour, x.minute, x.second, x.microsecond, None if offset is None else offset.total_seconds()]

    # Such a value can exist only if its module is loaded, and only then is this check made.


_FROM_MODULES: tuple[tuple[str, str, str, Callable[[Any], Any]], ...] = (
    ("decimal", "Decimal", "D", str),
    ("fractions", "Fraction", "F", lambda x: [x.numerator, x.denominator]),
    ("datetime", "datetime", "dt", lambda x: [*_clock(x, x.utcoffset()), x.year, x.month, x.day]),
    ("datetime", "date", "dd", lambda x: [x.year, x.month, x.day]),
    ("datetime", "time", "dh", lambda x: _clock(x, x.utcoffset())),
    ("datetime", "timedelta", "di", lambda x: [x.days, x.seconds, x.microseconds]),
    ("numpy", "generic", "", lambda x: x.item()),
    ("numpy", "ndarray", "A", lambda x: x.tolist()),
)


def decode(wire: Any, resolve: Callable[[str, Any], Any]) -> Any:
    """The value that `wire` encodes; `resolve` is called for tags that are not plain data.

    Raises ValueError or TypeError for data that `encode` would not have written.
    """
    if type(wire) is list:
        if NESTED.isdisjoint(map(type, wire)):
            return wire
        return [decode(w, resolve) if type(w) in NESTED else w for w in wire]
    if type(wire) is not dict:
        return wire
    if len(wire) != 1:
        raise ValueError("a tagged value has one key")
    ((tag, body),) = wire.items()
    make = _MAKE.get(tag)
    if make is None:
        return resolve(tag, body)
    return make(decode(body, resolve))


def _rational(parts: Any) -> Any:
    from fractions import Fraction

    return Fraction(*parts)


def _decimal(text: Any) -> Any:
    from decimal import Decimal

    return Decimal(text)


def _of_datetime(name: str) -> Callable[[Any], Any]:
    def make(parts: Any) -> Any:
        import datetime

        return getattr(datetime, name)(*parts)

    return make


def _moment(parts: Any) -> Any:
    """A datetime or, without a date, a time; with the distance of its zone from UTC."""
    import datetime

    hour, minute, second, microsecond, offset, *date = parts
    zone = None if offset is None else datetime.timezone(datetime.timedelta(seconds=offset))
    if not date:
        return datetime.time(hour, minute, second, microsecond, zone)
    year, month, day = date
    return datetime.datetime(year, month, day, hour, minute, second, microsecond, zone)


def _array(values: Any) -> Any:
    import numpy

    return numpy.array(values)


def _dict(flat: Any) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _integer(text: Any) -> int:
    if type(text) is not str or len(text) * 4 > MAX_INT_BITS:
        raise ValueError(f"an integer may have {MAX_INT_BITS} bits")
    return int(text, 16)


_MAKE: dict[str, Callable[[Any], Any]] = {
    "t": tuple,
    "d": _dict,
    "i": _integer,
    "s": lambda items: set(frozenset(items)),  # as for a literal, so that iteration has the same order
    "f": frozenset,
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
    "c": lambda parts: complex(*map(float, parts)),
    "r": lambda parts: range(*parts),
    "q": deque,
    "C": lambda flat: Counter(_dict(flat)),
    "k": lambda keys: dict.fromkeys(keys).keys(),
    "D": _decimal,
    "F": _rational,
    "dt": _moment,
    "dh": _moment,
    "dd": _of_datetime("date"),
    "di": _of_datetime("timedelta"),
    "A": _array,
}


def pack(value: Any, by_value: Callable[[Any], bool], other: Callable[[Any], Any]) -> list[Any]:
    """`value` as [data, instances]: objects for which `by_value` is true become [name of the class, attributes].

    Members of an Enum become [its name, theirs], named tuples [its name, items]. Instances may refer to one another,
    also in cycles. `other` tags the rest.
    """
    if type(value) in ATOMS:
        return [value, []]
    instances: list[Any] = []
    numbers: dict[int, int] = {}

    def tagged(v: Any) -> Any:
        if isinstance(v, type) and v in TYPES.values():
            return {"T": v.__name__}
        named = isinstance(v, tuple)  # has names for its fields, else it would not be here
        if named or isinstance(v, Enum):
            if by_value(v):
                return {"y": [type(v).__name__, encode(list(tuple.__iter__(v)), tagged) if named else v.name]}
            return {"t": _items(list(tuple.__iter__(v)), tagged)} if named else other(v)
        if by_value(v):
            if id(v) not in numbers:
                numbers[id(v)] = len(instances)
                instances.append(v)
            return {"x": numbers[id(v)]}
        return other(v)

    wire = encode(value, tagged)
    table = []
    for v in instances:  # grows during the loop: an attribute may be another instance
        table.append([type(v).__name__, encode(_attributes(v), tagged)])
    return [wire, table]


def unpack(packed: Any, classes: Mapping[str, Any], resolve: Callable[[str, Any], Any]) -> Any:
    """The value that `packed` encodes, with instances of `classes`; `resolve` is called for other tags.

    Raises ValueError, TypeError, LookupError or AttributeError for data that `pack` would not have written.
    """
    wire, table = packed
    if not table and (type(wire) not in NESTED or (type(wire) is list and NESTED.isdisjoint(map(type, wire)))):
        return wire
    made: list[Any] = [object.__new__(classes[name]) for name, _ in table]

    def untagged(tag: str, body: Any) -> Any:
        if tag == "x":
            return made[body]
        if tag == "T":
            return TYPES[body]
        if tag == "y":
            name, content = body
            return (
                classes[name][content]
                if type(content) is str
                else tuple.__new__(classes[name], decode(content, untagged))
            )
        return resolve(tag, body)

    for instance, (_, attributes) in zip(made, table, strict=True):
        for name, value in decode(attributes, untagged).items():
            if type(name) is not str or name.startswith("__") or callable(getattr(type(instance), name, None)):
                raise ValueError("not the name of an attribute")
            object.__setattr__(instance, name, value)
    return decode(wire, untagged)


def _attributes(value: Any) -> dict[str, Any]:
    slots = [s for c in type(value).__mro__ for s in _listed(c.__dict__.get("__slots__", ())) if not s.startswith("__")]
    return {**getattr(value, "__dict__", {}), **{s: getattr(value, s) for s in slots if hasattr(value, s)}}


def _listed(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)
