"""Finds lm-eval's tasks by name in the text of their YAML files, without importing lm-eval."""

from __future__ import annotations

import difflib
import functools
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UnknownName, UsageError

_TASK = re.compile(rb"""^(["']?)task\1[ \t]*:[ \t]*(["']?)([^"'\[\n#]+?)\2[ \t]*(?:#.*)?\r?$""", re.MULTILINE)
_GROUP = re.compile(rb"""^(["']?)group\1[ \t]*:[ \t]*(["']?)([^"'\n#]+?)\2[ \t]*(?:#.*)?\r?$""", re.MULTILINE)
_CLASS = re.compile(rb"""^(["']?)class\1[ \t]*:""", re.MULTILINE)


def find(name: str) -> Path:
    """The YAML file of a task. Raises `UnknownName`, and `UsageError` for a group or tag, with its members.

    Faster than lm-eval, which parses all its 13,000 tasks for this.
    """
    root = _root()
    plain = re.sub("[^a-z0-9]", "", name.lower())
    near = [d for d in sorted(os.scandir(root), key=lambda d: d.name) if d.is_dir()]
    near = [d for d in near if re.sub("[^a-z0-9]", "", d.name.lower()) in plain]
    for folder in near:
        if path := _tasks_below(folder.path).get(name):
            return path
    known = _tasks_below(str(root))
    if name in known:
        return known[name]
    if members := _members(name):
        raise UsageError(f"{name!r} is a group of lm-eval tasks, choose among its members: {', '.join(members)}")
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    error = UnknownName("lm-eval task", name, close)
    error.args = (f"{error} and {len(known) - len(close):,} others, see `lm-eval ls tasks`",)
    raise error


def read_stock_config(path: Path) -> dict[str, Any]:
    """The YAML of a task with its includes; functions stay the text that names them."""

    class Loader(yaml.CSafeLoader):
        pass

    Loader.add_constructor("!function", lambda _, node: str(node.value))
    config: dict[str, Any] = yaml.load(path.read_bytes(), Loader)
    included = config.pop("include", [])
    merged: dict[str, Any] = {}
    for other in included if isinstance(included, list) else [included]:
        merged |= {k: v for k, v in read_stock_config(path.parent / other).items() if k != "task_list"}
    return merged | config


def _root() -> Path:
    """The folder of lm-eval's tasks, found without importing lm-eval."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("lm-eval's tasks need lm-eval: pip install 'lm-eval>=0.4.13,<0.5'")
    return Path(spec.submodule_search_locations[0]) / "tasks"


@functools.lru_cache(maxsize=64)
def _tasks_below(folder: str) -> dict[str, Path]:
    """Task name -> YAML file, by searching the texts; of two with the same name, lm-eval takes the first path."""
    found: dict[str, Path] = {}
    for path in _yaml_files(folder):
        text = Path(path).read_bytes()
        task = _TASK.search(text)
        if task and (not _GROUP.search(text) or _CLASS.search(text)):
            found.setdefault(task[3].decode(), Path(path))
    return found


def _yaml_files(folder: str) -> list[str]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f not in ("__pycache__", ".ipynb_checkpoints")]
        found += [f"{parent}/{name}" for name in names if name.endswith(".yaml")]
    return sorted(found)


def _members(name: str) -> list[str]:
    """The members of a group, or the tasks with a tag; empty if there is no such group or tag."""
    tagged, word = [], re.compile(rb"(?<![\w-])" + re.escape(name.encode()) + rb"(?![\w-])")
    for path in map(Path, _yaml_files(str(_root()))):
        text = path.read_bytes()
        group = _GROUP.search(text)
        if group and group[3].decode() == name:
            listed = read_stock_config(path).get("task") or []
            return [m if isinstance(m, str) else str(m.get("task") or m.get("group")) for m in listed]
        included = re.search(rb"^include[ \t]*:[ \t]*(\S+)", text, re.MULTILINE)
        if group or not (word.search(text) or (included and word.search(_text(path.parent / included[1].decode())))):
            continue
        config = read_stock_config(path)
        tags = config.get("tag") or []
        if isinstance(config.get("task"), str) and name in (tags if isinstance(tags, list) else [tags]):
            tagged.append(config["task"])
    return sorted(tagged)


@functools.lru_cache(maxsize=1024)
def _text(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
