"""What `harness tasks` tells about tasks and suites, as JSON data. Listing reads YAML files, never the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness import registry
from harness.errors import DataError, UnknownName
from harness.evaluation import task_lookup
from harness.protocols import Task
from harness.types import Split


def all_cards() -> dict[str, list[dict[str, Any]]]:
    """All installed tasks and suites: {"tasks": [...], "suites": [...]}."""
    return {
        "tasks": [task_card(registry.make_task(name)) for name in registry.names("task")],
        "suites": [suite_card(registry.load("suite", name)()) for name in registry.names("suite")],
    }


def task_card(task: Task) -> dict[str, Any]:
    """A task in short. items: by split, as published. here: whether the test items are on this machine."""
    info = task.describe()
    return {
        "name": task.name,
        "version": task.version,
        "grader": task.grader,
        "needs_sandbox": task.needs_sandbox,
        "max_tokens": task.max_tokens,
        "about": info.about,
        "items": dict(info.sizes),
        "here": info.has_data,
        "licence": info.licence,
        "source": info.source,
        "known_defects": info.n_defects,
    }


def suite_card(suite: Any) -> dict[str, Any]:
    """A suite in short."""
    return {
        "name": suite.name,
        "test": list(suite.test),
        "dev": list(suite.dev),
        "limit": suite.limit,
        "why": suite.why,
    }


def shown(name: str, split: Split) -> dict[str, Any]:
    """One task or suite in full; a task has "prompt", a suite "tasks". Raises `UnknownName` (did you mean)."""
    tasks, suites = registry.names("task"), registry.names("suite")
    if name in tasks:
        return _task(registry.make_task(name), split)
    if name in suites:
        suite = registry.load("suite", name)()
        cards = [task_card(registry.make_task(member)) for member in suite.test]
        return {**suite_card(suite), "tasks": [_limited(card, suite.limit) for card in cards]}
    if name.startswith(task_lookup.STOCK):
        return _task(task_lookup.open_task(name), split)
    raise UnknownName("task or suite", name, [*tasks, *suites])


def _limited(card: dict[str, Any], limit: int | None) -> dict[str, Any]:
    size = card["items"].get("test")
    n = size if limit is None or size is None else min(limit, size)
    return {**card, "n": n, "detectable": detectable_points(n) if n else None}


def _task(task: Task, split: Split) -> dict[str, Any]:
    """A task in full; without its data what its YAML states, and under "missing" the reason.

    clusters: of related items. detectable: if they are independent; detectable_alike: if models differ on all items of
    a cluster or on none.
    """
    card: dict[str, Any] = {**task_card(task), "split": split, "missing": ""}
    try:
        samples = task.samples(split)
    except DataError as why:
        n = card["items"].get(split)
        return {**card, "n": n, "missing": str(why), "levels": [], "defects": [], "prompt": [], "target": None,
                "clusters": None, "detectable": detectable_points(n) if n else None,
                "detectable_alike": None}  # fmt: skip
    first, n, sizes = samples[0], len(samples), Counter(sample.cluster_hash for sample in samples).values()
    return {
        **card,
        "n": n,
        "clusters": len(sizes),
        "levels": sorted({str(s.metadata.get("level", "")) for s in samples} - {""}),
        "detectable": detectable_points(n),
        "detectable_alike": detectable_points(round(n * n / sum(size * size for size in sizes))),
        "defects": _by_reason(task.defects()) if split == "test" else [],
        "prompt": [{"role": message.role, "content": message.content} for message in first.messages],
        "target": first.target,
    }


def detectable_points(n: int) -> float:
    """The smallest difference found with 80 % power, in points, if `intervals.DISCORDANCE` of n items differ."""
    from harness.statistics import intervals

    return round(100 * intervals.detectable(intervals.DISCORDANCE, n), 1)


def _by_reason(defects: Mapping[str, str]) -> list[dict[str, Any]]:
    reasons = dict.fromkeys(defects.values())
    return [{"why": why, "items": [item for item, reason in defects.items() if reason == why]} for why in reasons]
