"""lm-eval's own task objects, loaded once per process, without the side effects of loading."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import random
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError, boundary
from harness.interop.lm_eval_code import CodeEval
from harness.interop.lm_eval_data import dataset
from harness.types import Sample

_RANDOM_SEED, OTHER_SEED = 0, 1234  # of `simple_evaluate`


@dataclass(frozen=True)
class LoadOptions:
    """All options that change what a process loads."""

    name: str
    path: str  # of the YAML
    num_fewshot: int | None
    gen_kwargs: str  # JSON
    chat_from: str
    system_instruction: str | None
    data: str = ""  # HARNESS_DATA


@dataclass
class LoadedTask:
    """lm-eval's task object, in one process."""

    task: Any
    random_state: tuple[Any, Any]  # of `random` and of numpy when it had been loaded: the prompts go on from there
    samples: tuple[Sample, ...] | None = None
    alone: bool = False  # grades only in the main thread of a process, since its code may set alarms


LOAD_LOCK = threading.RLock()  # loading changes the state of the process for a moment


@functools.lru_cache(maxsize=32)
def load_task(options: LoadOptions) -> LoadedTask:
    """lm-eval's task as `simple_evaluate` would set it up. Call it under `LOAD_LOCK`."""
    name = options.name
    refused = boundary(UsageError, f"lm-eval task {name!r} cannot be loaded")
    with refused, quietly(), preserved_random_state(), _sandboxed_code_eval() as served:
        import numpy as np
        from lm_eval.tasks._factory import TaskFactory
        from lm_eval.tasks._index import TaskIndex
        from lm_eval.tasks._yaml_loader import load_yaml

        random.seed(_RANDOM_SEED)
        np.random.seed(OTHER_SEED)
        path = Path(options.path)
        config, overrides = load_yaml(path), dict[str, Any]()
        if config.get("dataset_path") and not config.get("custom_dataset"):
            shots = _shots(options, config.get("num_fewshot"))
            overrides["custom_dataset"] = functools.partial(dataset, options.name, options.data, config, shots)
        if callable(config.get("process_docs")):
            overrides["process_docs"] = _once(config["process_docs"])
        task = TaskFactory().build(TaskIndex.entry_from_path(path), overrides=overrides, registry={})
        state = random.getstate(), np.random.get_state()
    if "custom_dataset" in overrides:
        task.set_config("custom_dataset", None)  # so that the task describes itself as lm-eval's does
    unsafe = getattr(task, "UNSAFE_CODE", False)
    if unsafe and not served:
        raise UsageError(f"lm-eval task {name!r} runs model-written code by itself, outside of any sandbox")
    if task.get_config("output_type") == "generate_until" and options.gen_kwargs != "{}":
        task.set_config("generation_kwargs", json.loads(options.gen_kwargs), update=True)
    task.set_config("num_fewshot", _shots(options, task.get_config("num_fewshot")))
    return LoadedTask(task, state, alone=not unsafe)


def _shots(options: LoadOptions, default: int | None) -> int:
    """The number of examples in a prompt. default: the YAML's, of which a 0 wins over the option."""
    if options.num_fewshot is not None and default != 0:
        return options.num_fewshot
    return default or 0


def _once(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`process_docs`, run only once per split, as if its result were in the cache on disk."""
    done: dict[int, tuple[Any, Any]] = {}

    @functools.wraps(process)
    def processed(dataset: Any) -> Any:
        if id(dataset) not in done:
            done[id(dataset)] = dataset, process(dataset)
        return done[id(dataset)][1]

    return processed


def name_aggregations(task: Any, metrics: set[str]) -> None:
    """Register the aggregation of metrics that a function names only in its result ("pass@1" of "pass_at_k").

    lm-eval registers it when it grades the first item, which happens in other processes here.
    """
    sums, better = task.aggregation(), task.higher_is_better()
    sources = [source for source in sums if source not in metrics]
    for metric in metrics - set(sums):
        if len(sources) == 1:
            sums[metric], better[metric] = sums[sources[0]], better[sources[0]]


@contextlib.contextmanager
def preserved_random_state(state: tuple[Any, Any] | None = None) -> Iterator[None]:
    """Random numbers continue from `state` inside the context; the global state is restored afterwards."""
    import numpy as np

    outside = random.getstate(), np.random.get_state()
    if state is not None:
        random.setstate(state[0])
        np.random.set_state(state[1])
    try:
        yield
    finally:
        random.setstate(outside[0])
        np.random.set_state(outside[1])


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silences warnings, logs and bars of lm-eval and datasets. Changes the process, so use it under `LOAD_LOCK`."""
    import datasets
    import lm_eval.api.task

    log, bars = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled()
    level, bar = log.level, lm_eval.api.task.tqdm
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    lm_eval.api.task.tqdm = lambda rows, **_: rows
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        lm_eval.api.task.tqdm = bar
        log.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def compiled_templates() -> Iterator[None]:
    """Inside the context lm-eval compiles a template once, not once for each text: a tenth of the time."""
    from lm_eval.utils import env

    env.from_string = functools.lru_cache(maxsize=64)(env.from_string)
    try:
        yield
    finally:
        del env.from_string  # the method shows again


@contextlib.contextmanager
def _sandboxed_code_eval() -> Iterator[list[CodeEval]]:
    """Modules of tasks that are imported inside get our `code_eval`; the list holds each that was given out.

    Those that were imported before, maybe with the hub's, are put back afterwards.
    """
    import evaluate  # type: ignore[import-untyped]

    real, served = evaluate.load, list[CodeEval]()

    def load(path: str, *args: Any, **kwargs: Any) -> Any:
        if path != "code_eval":
            return real(path, *args, **kwargs)
        served.append(CodeEval())
        return served[-1]

    before = _task_modules()
    for name in before:
        del sys.modules[name]
    evaluate.load = load
    try:
        yield served
    finally:
        evaluate.load = real
        for metric in served:
            metric.tried = True
        for name in _task_modules():
            del sys.modules[name]
        sys.modules.update(before)


def _task_modules() -> dict[str, Any]:
    return {name: module for name, module in sys.modules.items() if re.match(r"lm_eval\.tasks\.[^.]+\.", name)}
