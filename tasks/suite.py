"""Named lists of tasks: `suite.paper()` is the suite of suites/paper.yaml, which stock lm-eval reads as a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import BadConfig

from .config import check_keys, read_yaml

FOLDER = Path(__file__).parent / "suites"
GROUP_KEYS = frozenset({"group", "group_alias", "task", "aggregate_metric_list", "metadata"})
METADATA_KEYS = frozenset({"version", "why", "dev", "limit"})


@dataclass(frozen=True)
class Suite:
    """Two lists of task names: `test` tasks evaluate a model, settings are chosen on the dev splits of the `dev` tasks.

    The two have no question in common.
    """

    name: str
    test: tuple[str, ...]
    dev: tuple[str, ...]
    why: str  # for the user: what the suite is for
    limit: int | None = None  # number of items per task, from the first; None: all


def __getattr__(name: str) -> Callable[[], Suite]:
    """The zero-argument constructor of the suite `suites/<name>.yaml`: what the entry points name."""
    path = FOLDER / f"{name}.yaml"
    if name.startswith("_") or not path.is_file():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r} (no file {path})")
    return partial(read_suite, path)


def read_suite(path: Path) -> Suite:
    """The suite of a YAML file. Raises `BadConfig` naming the file and the key."""
    top = read_yaml(path)
    check_keys(path, "", top, GROUP_KEYS)
    ours = top.get("metadata")
    check_keys(path, "metadata.", ours, METADATA_KEYS)
    assert isinstance(ours, dict)
    test, dev, limit = top.get("task"), ours.get("dev"), ours.get("limit")
    for key, listed in (("task", test), ("metadata.dev", dev)):
        if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
            raise BadConfig(f"{path}: {key} must be a list of task names, got {listed!r}")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise BadConfig(f"{path}: metadata.limit must be a number of items, at least 1, got {limit!r}")
    return Suite(str(top.get("group", "")), tuple(test or ()), tuple(dev or ()), str(ours.get("why", "")), limit)
