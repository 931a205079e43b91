"""Names to tasks, suites, trainers, engines and recipes, by entry point. Listing names imports no plugin."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.errors import HarnessError, UnknownName

KINDS = ("trainer", "engine", "task", "suite", "recipe")


def _found(kind: str) -> dict[str, EntryPoint]:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"harness.{kind}s"):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise HarnessError(
                f"two packages offer the {kind} {point.name!r}: {other.value} and {point.value}; uninstall one"
            )
    return found


def names(kind: str) -> list[str]:
    """Installed names of a kind ("trainer", "engine", "task", "suite", "recipe"), sorted."""
    return sorted(_found(kind))


def check_installed(kind: str, name: str) -> None:
    """Raise `UnknownName` (did you mean) unless `name` is installed; imports nothing."""
    found = _found(kind)
    if name not in found:
        raise UnknownName(kind, name, found)


def load(kind: str, name: str) -> Any:
    """The object behind a name. Raises `UnknownName`; a plugin that fails to import raises its own error, untouched."""
    check_installed(kind, name)
    return _found(kind)[name].load()
