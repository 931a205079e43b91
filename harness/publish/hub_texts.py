"""The texts that the Hugging Face hub reads: entries of its boards, the index of a model card; and a badge."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from harness import registry
from harness.errors import DataError, UsageError
from harness.publish.results import NAME, Pick, PublishedResult, TaskScore, benchmark, result, stated
from harness.types import HubDataset


def eval_results(facts: Mapping[str, Any], row: Pick, *, source: str = "", date: str | None = None) -> str:
    """The YAML of `.eval_results/<name>.yaml`: an entry for each task that the hub has a board for, in percent.

    source: url of what the numbers were made from; date: ISO-8601, of the evaluation. Raises `UsageError` if the hub
    has a board for none of the tasks.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    found = result(facts, row)
    entries = [
        EvalResultEntry(
            dataset_id=dataset.path,
            task_id=dataset.benchmark,
            value=_percent(task.score["value"]),
            date=date,
            source_url=source or None,
            notes=found.notes(task),
        )
        for task, dataset in _with_dataset(found, has_board=True)
    ]
    return _yaml(eval_result_entries_to_yaml(entries))


def _with_dataset(found: PublishedResult, has_board: bool) -> list[tuple[TaskScore, HubDataset]]:
    """The tasks whose items, and whose board if `has_board`, the hub holds. Raises `UsageError` for none."""
    datasets = [(task, _dataset(task.name)) for task in found.tasks]
    known = [(task, dataset) for task, dataset in datasets if dataset and (dataset.benchmark or not has_board)]
    if not known:
        names, what = ", ".join(task.name for task in found.tasks), "board" if has_board else "dataset"
        others = ", ".join(filter(benchmark if has_board else _dataset, registry.names("task")))
        raise UsageError(f"none of {names} has a {what} on the Hugging Face hub; tasks that have one: {others}")
    return known


def _dataset(task: str) -> HubDataset | None:
    return stated(task).dataset


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)


def score_badge(facts: Mapping[str, Any], row: Pick) -> str:
    """The endpoint JSON of a shields.io badge: the score over all tasks, with its interval.

    Without a seed it is the row's, over all its seeds: a badge is not a repository. The colour does not depend on the
    value: whether it is a good one depends on the tasks.
    """
    found = result(facts, replace(row, mean=row.seed is None))
    score = {key: f"{100 * found.whole[key]:.1f}" for key in ("value", "low", "high")}
    message = [f"{score['value']} % ({score['low']} to {score['high']})"]
    message += ["lenient"] * (found.reading == "lenient")
    message += ["single run"] * (found.row["role"] == "strategy" and len(found.seeds) == 1)
    message += ["limited"] * any(task.limit for task in found.tasks)
    label = f"{row.row} on {', '.join(task.name for task in found.tasks)}"
    values = {"schemaVersion": 1, "label": label, "message": ", ".join(message), "color": "blue"}
    return json.dumps(values, ensure_ascii=False) + "\n"


# ------------------------------------------------------------------------------------------------ the card


def model_index(facts: Mapping[str, Any], row: Pick, *, model: str, card: str = "", source: str = "") -> str:
    """The card (README.md) with the scores in the model-index of its front matter; every other byte of it stays.

    card: as it is now. model: its name in the index. Raises `DataError` if something in the card would be lost.
    """
    from huggingface_hub import EvalResult, ModelCardData

    found = result(facts, row)
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset.path,
            dataset_name=task.name,
            dataset_config=dataset.config,
            dataset_split=dataset.split,
            metric_type="accuracy",
            metric_name=f"{found.reading} accuracy, %",
            metric_value=_percent(task.score["value"]),
            metric_args={
                "confidence_interval": [_percent(task.score["low"]), _percent(task.score["high"])],
                "confidence_level": 0.95,
                "n": task.score["n"],
                "notes": found.notes(task),
            },
            source_name=NAME if source else None,
            source_url=source or None,
        )
        for task, dataset in _with_dataset(found, has_board=False)
    ]
    described: dict[str, Any] = ModelCardData(model_name=model, eval_results=results).to_dict()  # type: ignore[no-untyped-call]
    return _with_index(card, described["model-index"][0])


_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_KEY = re.compile(r"""["']?model-index["']?[ \t]*:""")


def _with_index(card: str, ours: dict[str, Any]) -> str:
    front = _FRONT.match(card)
    if front is None:
        return f"---\n{_yaml({'model-index': [ours]})}---\n{card}"
    before = _parsed(front[1])
    lines = front[1].splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if _KEY.match(line)), len(lines))
    end = next((i for i in range(start + 1, len(lines)) if re.match(r"[^\s#-]", lines[i])), len(lines))
    while end > start + 1 and re.match(r"#|\s*$", lines[end - 1]):  # belongs to what comes next
        end -= 1
    if any(re.search(r"(^|\s)#", line) for line in lines[start:end]):
        raise DataError("the model-index of the card holds comments, which would be lost; edit it by hand")
    index = _merged(before.get("model-index") or [], ours)
    newline = "\r\n" if "\r\n" in front[0] else "\n"
    block = _yaml({"model-index": index}).replace("\n", newline)
    changed = "".join([*lines[:start], block, *lines[end:]])
    if _parsed(changed) != {**before, "model-index": index}:
        raise DataError("the front matter of the card would not stay what it is; edit its model-index by hand")
    return card[: front.start(1)] + changed + card[front.end(1) :]


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        found = " ".join(str(error).split())
    if not isinstance(found, dict):
        raise DataError(f"the front matter of the card, with our scores or without, is not a mapping in YAML: {found}")
    return found


def _merged(index: Any, ours: dict[str, Any]) -> list[Any]:
    """The index with our results: in place of our own earlier ones, beside all others."""
    if not isinstance(index, list) or not all(isinstance(model, dict) for model in index):
        raise DataError("the model-index of the card is not a list of models; edit it by hand")
    models = [dict(model) for model in index] or [{**ours, "results": []}]
    target = next((model for model in models if model.get("name") == ours["name"]), models[0])
    mine = {_key(found): found for found in ours["results"]}
    kept = [mine.pop(_key(found), found) for found in target.get("results") or []]
    target["results"] = [*kept, *mine.values()]
    return models


def _key(found: Mapping[str, Any]) -> str:
    """Which score it is: of a dataset, by a metric. Those of ours have a name of their own."""
    dataset = found.get("dataset") or {}
    metrics = [metric.get("name") for metric in found.get("metrics") or ()]
    return str([dataset.get("type"), dataset.get("config"), dataset.get("split"), metrics])
