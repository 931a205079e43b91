"""Names to tasks, suites, trainers, engines and recipes, by entry point. Listing names imports no plugin.

A task, trainer or engine that breaks its contract (`harness.protocols`) is refused when it is loaded, before any work.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from harness.errors import BadPlugin, HarnessError, UnknownName
from harness.protocols import Need, Task
from harness.types import TaskInfo

KINDS = ("trainer", "engine", "task", "suite", "recipe")
CONTRACTS = {"task": "Task", "trainer": "Trainer", "engine": "InstalledEngine"}  # of harness.protocols
METHODS = {
    "task": ("samples", "score", "describe", "defects"),
    "trainer": ("train", "footprint"),
    "engine": ("open", "load", "generate", "describe", "sleep", "close"),
}
VALUES: dict[str, dict[str, tuple[type, str]]] = {  # field -> its type, and what it is
    "task": {
        "name": (str, "the name of its entry point"),
        "version": (str, "raised whenever a prompt or a verdict can change"),
        "grader": (str, "what scores replies, raised whenever a verdict can change, such as 'number-1'"),
        "needs_sandbox": (bool, "whether scoring runs model-written code"),
        "max_tokens": (int, "the longest reply"),
        "stop": (tuple, "strings that end a reply, () for none"),
    },
    "trainer": {
        "Config": (type, "a frozen dataclass with a default for every field"),
        "needs": (frozenset, "a frozenset of 'completions', 'traces', 'teacher'"),
        "samples": (bool, "whether the loop samples"),
    },
    "engine": {
        "name": (str, "the name of its entry point"),
        "Config": (type, "a frozen dataclass of its options"),
    },
}


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
    _point(kind, name)


def _point(kind: str, name: str) -> EntryPoint:
    found = _found(kind)
    if name not in found:
        raise UnknownName(kind, name, found)
    return found[name]


def load(kind: str, name: str) -> Any:
    """The object behind a name: the class of a trainer or engine, what makes a task or suite, the path of a recipe.

    Raises `UnknownName`, and `BadPlugin` for a trainer or engine that breaks its contract. A plugin that fails to
    import raises its own error, untouched.
    """
    point = _point(kind, name)
    loaded = point.load()
    if kind in ("trainer", "engine"):
        refuse_broken(kind, name, point.value, loaded)
    return loaded


def make_task(name: str) -> Task:
    """The installed task of that name, made; no data is read. Raises `UnknownName`, and `BadPlugin` as `load` does."""
    point = _point("task", name)
    task: Task = point.load()()
    refuse_broken("task", name, point.value, task)
    return task


def refuse_broken(kind: str, name: str, place: str, plugin: Any) -> None:
    """Raise `BadPlugin` naming the first field that breaks the contract. place: where the plug-in stands."""
    who = f"{kind} {name!r} ({place})"
    for field, (type_, what) in VALUES[kind].items():
        if not hasattr(plugin, field):
            raise BadPlugin(f"{who} has no {field!r}: expected a {type_.__name__}, {what}")
        value = getattr(plugin, field)
        if not isinstance(value, type_) or (type_ is int and isinstance(value, bool)):
            raise BadPlugin(f"{who}: {field!r} must be a {type_.__name__}, {what}; got {value!r}")
    for method in METHODS[kind]:
        if not callable(getattr(plugin, method, None)):
            raise BadPlugin(f"{who} has no method {method!r}; see harness.protocols.{CONTRACTS[kind]}")
    if kind == "task":
        if not isinstance(info := plugin.describe(), TaskInfo):
            raise BadPlugin(f"{who}: describe() must return a harness.types.TaskInfo, got {info!r}")
    elif not is_dataclass(plugin.Config):
        raise BadPlugin(f"{who}: 'Config' must be a frozen dataclass, got {plugin.Config!r}")
    if kind == "trainer":
        if odd := sorted(map(str, plugin.needs - set(get_args(Need)))):
            raise BadPlugin(f"{who}: 'needs' holds {odd[0]!r}; known needs: {', '.join(get_args(Need))}")
        _refuse_config(who, plugin.Config)


def _refuse_config(who: str, config: Any) -> None:
    try:
        config()
    except TypeError as error:
        raise BadPlugin(
            f"{who}: 'Config' needs a default for each of {', '.join(f.name for f in fields(config))} ({error})"
        ) from None
