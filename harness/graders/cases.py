"""Reads problems that consist of inputs and outputs, in the forms of APPS and LiveCodeBench, and compares with these.

* `input_output`, `test_cases` or `tests`: {"inputs", "outputs", "fn_name"?} or a list of {"input", "output"}, or JSON.
* LiveCodeBench as on the hub: `public_test_cases` and `private_test_cases`, lists of {"input", "output", "testtype"} as
  JSON, the private ones also compressed; `metadata` names the function.

With a function, an input is a list of arguments, or a text with one JSON value a line, and then its output is JSON too.
APPS writes many outputs as a list of one: if all of a problem's outputs are, the list or its item will do, as there.

Outputs are compared line by line, without blanks at the ends of lines, and lines token by token. Integers must be
written as expected, leading zeros included, as checkers of contests read them. Only if some expected output of the
problem has a decimal point are numbers with a point compared as numbers: within the error that the statement allows,
absolute or relative, or 1e-9.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import collections
import functools
import heapq
import itertools
import json
import math
import pickletools
import re
import typing
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 256 << 20  # of tests that were compressed
DEFAULT_ERROR = 1e-9

_FLOAT = r"[+-]?(?:[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-][0-9]+)"
_WRITTEN_FLOAT = re.compile(rf"(?<!\S){_FLOAT}(?!\S)")
_COMPARE_OUTPUT = rf"""
import re
_FLOAT = re.compile(r"{_FLOAT}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
def _same_token(got, want):
    if got == want: return True
    if not FLOATS or not (_FLOAT.fullmatch(got) or _FLOAT.fullmatch(want)): return False
    return bool(_NUMBER.fullmatch(got) and _NUMBER.fullmatch(want)) and _near(float(got), float(want))
def check(output):
    got, want = ([line.rstrip() for line in text.strip().split("\n")] for text in (output, EXPECTED))
    assert len(got) == len(want)
    for a, b in zip(got, want):
        if a != b:
            a, b = a.split(), b.split()
            assert len(a) == len(b) and all(map(_same_token, a, b))
"""
_COMPARE_VALUES = """
def _same(got, want):
    if isinstance(got, (list, tuple)) and isinstance(want, (list, tuple)):
        return len(got) == len(want) and all(map(_same, got, want))
    if isinstance(got, dict) and isinstance(want, dict):
        named = {str(k) if type(k) is int else k: v for k, v in got.items()}  # as JSON names them
        return named.keys() == want.keys() and len(named) == len(got) and all(_same(named[k], want[k]) for k in want)
    if FLOATS and (isinstance(got, float) or isinstance(want, float)):
        number = (int, float)
        return isinstance(got, number) and isinstance(want, number) and (got == want or _near(got, want))
    return got == want
def check(candidate):
    for arguments, want in CASES:
        got = candidate(*arguments)
        assert _same(got, want) or WRAPPED and _same(got, want[0])
"""
_NEAR = """
def _near(got, want):
    return abs(want) != float("inf") and abs(got - want) <= ERROR * max(1.0, abs(want))
"""

# What LeetCode, where such problems come from, imports for every program; `pow` stays the built-in one.
_MODULES = (
    "bisect",
    "collections",
    "copy",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "random",
    "re",
    "sys",
)
_NAMES = {
    name: module
    for module in (math, bisect, heapq, functools, itertools, collections, typing)
    for name in getattr(module, "__all__", None) or dir(module)
    if not name.startswith("_") and name != "pow"
}


def leetcode_imports(source: str) -> str:
    """The imports of what a program may use at LeetCode without importing it: of the names that it has."""
    words = dict.fromkeys(re.findall(r"[a-zA-Z]\w*", source))
    lines = [f"import {word}\n" for word in words if word in _MODULES]
    return "".join(lines + [f"from {_NAMES[word].__name__} import {word}\n" for word in words if word in _NAMES])


class BadCases(ValueError):
    """Inputs and outputs that are not there, or in no form that is known."""


@dataclass(frozen=True)
class Cases:
    """What a problem gives and expects. function: the one that is called; "": the whole program is run."""

    given: Sequence[Any]
    expected: Sequence[Any]
    function: str

    def stdio(self) -> tuple[tuple[str, str], ...]:
        """Standard input and expected output of each run."""
        return tuple((_lines(a), _lines(b)) for a, b in zip(self.given, self.expected, strict=True))

    def test_of_calls(self, statement: str) -> str:
        """The test program that calls the function."""
        pairs = [_call(a, b) for a, b in zip(self.given, self.expected, strict=True)]
        as_values = not any(isinstance(a, str) for a in self.given)
        wrapped = as_values and all(isinstance(want, list) and len(want) == 1 for _, want in pairs)
        floats = any(_has_float(want) for _, want in pairs)
        known = f"CASES = {pairs!r}\nFLOATS, WRAPPED, ERROR = {floats}, {wrapped}, {allowed_error(statement)!r}\n"
        return f"inf, nan = float('inf'), float('nan')\n{known}{_NEAR}{_COMPARE_VALUES}"


def read_cases(row: Mapping[str, Any], function: str) -> Cases | None:
    """The inputs and outputs in a row; None if it has none. Raises `BadCases`."""
    found = next((row[name] for name in ("input_output", "test_cases", "tests") if row.get(name)), None)
    cases = json.loads(found) if isinstance(found, str) else found
    if cases is None and ("public_test_cases" in row or "private_test_cases" in row):
        cases = [*_listed(row.get("public_test_cases")), *_listed(row.get("private_test_cases"))]
    if not cases:
        return None
    if isinstance(cases, Mapping):
        given, expected = cases.get("inputs") or (), cases.get("outputs") or ()
        function = str(cases.get("fn_name") or function)
    else:
        given, expected = [case["input"] for case in cases], [case["output"] for case in cases]
        kinds = {case.get("testtype", "") for case in cases}
        metadata = row.get("metadata") or {}
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
        function = str(metadata.get("func_name") or function)
        if "functional" in kinds and not function:
            raise BadCases("its tests call a function, and its metadata has no func_name")
        function = "" if kinds == {"stdin"} else function
    if not given or len(given) != len(expected):
        raise BadCases(f"it has {len(given)} inputs and {len(expected)} outputs")
    return Cases(given, expected, function)


def output_test(cases: Sequence[tuple[str, str]], statement: str) -> str:
    """The test program of what a program printed, which needs `EXPECTED` in front."""
    floats = any(_WRITTEN_FLOAT.search(expected) for _, expected in cases)
    return f"FLOATS, ERROR = {floats}, {allowed_error(statement)!r}\n{_NEAR}{_COMPARE_OUTPUT}"


# 10^-6, 10^{ - 6}, 10**-6, 10-6; 1e-6; 0.000001
_POWER = (
    r"(?:\b10\s?(?:\^|\*\*)?\s?[{(]?\s?[-\u2212\u2013]\s?([0-9]{1,2})(?![0-9])"
    r"|\b1[eE]-([0-9]{1,2})(?![0-9])|(?<![0-9.])0\.(0{0,14}1)(?![0-9]))"
)
_ERROR_WORD = r"(?:\berrors?\b|\bprecision\b|\baccura|\btoleran|\bwithin\b|\bdiffer)"
_ALLOWED = re.compile(
    rf"{_ERROR_WORD}[^\n]{{0,120}}?{_POWER}|{_POWER}[^\n]{{0,60}}?{_ERROR_WORD}",
    re.IGNORECASE,
)
_MOST_DIGITS = 12  # of the error that a statement may name: floats have few more
_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def allowed_error(statement: str) -> float:
    """The error that a statement allows in a number, the smallest if it names several; 1e-9 if it names none."""
    found = _ALLOWED.finditer(statement.translate(_SUPERSCRIPTS))
    powers = [
        len(text) if i % 3 == 2 else int(text) for match in found for i, text in enumerate(match.groups()) if text
    ]
    powers = [power for power in powers if 0 < power <= _MOST_DIGITS]
    return float(f"1e-{max(powers)}") if powers else DEFAULT_ERROR


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    return isinstance(value, float) or (isinstance(value, list | tuple) and any(map(_has_float, value)))


def _lines(text: Any) -> str:
    return "\n".join(map(str, text)) + "\n" if isinstance(text, list) else str(text)


def _call(given: Any, expected: Any) -> tuple[list[Any], Any]:
    """The arguments of a call and the value that it returns."""
    if isinstance(given, str):
        arguments = [json.loads(line) for line in given.splitlines() if line.strip()]
        return arguments, json.loads(expected) if isinstance(expected, str) else expected
    return list(map(_with_numbers, given)), expected


def _with_numbers(argument: Any) -> Any:
    """A dictionary whose keys are all numbers has them as numbers, which JSON cannot write."""
    if isinstance(argument, dict) and argument and all(re.fullmatch(r"-?[0-9]{1,18}", key) for key in argument):
        return {int(key): value for key, value in argument.items()}
    return argument


def _listed(tests: Any) -> list[Any]:
    """LiveCodeBench's tests: a list, JSON, or JSON that was pickled, compressed and written as base64."""
    if not isinstance(tests, str):
        return list(tests or ())
    if not tests.strip():
        return []
    try:
        found = json.loads(tests if tests.lstrip()[:1] in "[{" else _uncompressed(tests))
    except (ValueError, RecursionError) as e:
        raise BadCases(f"its tests are neither JSON nor compressed JSON ({e})") from e
    if not isinstance(found, list):
        raise BadCases(f"its tests are no list but a {type(found).__name__}")
    return found


def _uncompressed(text: str) -> str:
    """The one text in base64 of zlib of a pickle. The pickle is not loaded, since loading one can run code."""
    unzip = zlib.decompressobj()
    try:
        pickled = unzip.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    except (binascii.Error, zlib.error) as e:
        raise BadCases(str(e)) from e
    if not unzip.eof:
        raise BadCases(f"they are cut off, or have more than {MOST_BYTES} bytes")
    texts = []
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"):
            texts.append(argument)
        elif opcode.name not in ("PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"):
            raise BadCases(f"a pickle with {opcode.name} holds more than a text")
    if len(texts) != 1:
        raise BadCases(f"a pickle with {len(texts)} texts, expected one")
    return str(texts[0])
