"""Benchmarks by name: installed tasks, suites of them, and every task of lm-eval as "lm_eval/<its name>"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import UnknownName, UsageError
from harness.protocols import Task
from harness.types import Split

STOCK = "lm_eval/"


def expand(names: Sequence[str], split: Split) -> dict[str, int | None]:
    """Task names in order, those of a suite in its place; each with how many items the suite takes (None: all).

    Raises `UnknownName` for what is neither a task nor a suite, `UsageError` for a suite without that split.
    """
    suites, tasks = set(registry.names("suite")), set(registry.names("task"))
    found: dict[str, int | None] = {}
    for name in names:
        if name in suites and name not in tasks:
            suite = registry.load("suite", name)()
            members: Sequence[str] = suite.dev if split == "dev" else suite.test
            if split == "train" or not members:
                raise UsageError(f"suite {name!r} has no {split} tasks")
            found.update(dict.fromkeys(members, suite.limit))
        elif name.startswith(STOCK) or name in tasks:
            found[name] = None
        else:
            raise UnknownName("task or suite", name, tasks | suites | {f"{STOCK}<a task of lm-eval>"})
    return found


def open_task(
    name: str,
    chat_from: Path | None = None,
    num_fewshot: int | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
) -> Task:
    """The task of a name. The other arguments are for lm-eval's tasks alone.

    chat_from: the model folder whose chat template their prompts go through; gen_kwargs: generation settings that
    replace their own, as lm-eval's option of this name.
    """
    if not name.startswith(STOCK):
        task: Task = registry.make_task(name)
        return task
    from harness.interop.lm_eval_task import StockTask

    stock: Task = StockTask(
        name.removeprefix(STOCK), num_fewshot=num_fewshot, gen_kwargs=gen_kwargs, chat_from=chat_from
    )
    return stock
