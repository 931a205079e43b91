"""Writes result files in lm-eval's format, so that tools for lm-eval's output read ours.

`<folder>/<model>/results_<stamp>.json` and `samples_<task>_<stamp>.jsonl`: names, keys, order and bytes are those of
`lm_eval/loggers/evaluation_tracker.py` (0.4.13). Rows and scores of lm-eval's own tasks are written unchanged; those of
our tasks are made from records: one metric, `exact_match`, with one filter per grader.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.atomic import write_text
from harness.errors import DataError
from harness.records.columns import Columns
from harness.types import READINGS, Record, Sample

SampleRow = Mapping[str, Any]
METRIC = "exact_match"
INVALID = "[invalid]"  # lm-eval's mark for a reply in which a filter finds no answer


# --- files ------------------------------------------------------------------------------------------------------------


def write_lm_eval(
    folder: Path, model_name: str, stamp: str, results: Mapping[str, Any], samples: Mapping[str, Iterable[SampleRow]]
) -> list[Path]:
    """The paths of the files: one of samples for each task, then the results. Rows are read one at a time, once.

    stamp: the time of the run, ISO 8601 ("2026-11-20T09:30:00.000000"). results: the return value of
    `simple_evaluate` without its samples, or of `results_file`; the task hashes and the model's name are added here.
    A file of the same name is replaced atomically. Raises `DataError` for a task name that cannot be a file name.
    """
    place = folder / sanitised(model_name)
    stamp = stamp.replace(":", "-")
    place.mkdir(parents=True, exist_ok=True)
    written, hashes = [], {}
    for task, rows in samples.items():
        if not task or "/" in task or "\0" in task:
            raise DataError(f"task {task!r} cannot be part of a file name; give the task a name without '/'")
        written.append(place / f"samples_{task}_{stamp}.jsonl")
        hashes[task] = _write_rows(written[-1], rows)
    last = {"task_hashes": hashes, **_about_model(model_name, results)}
    first = {key: value for key, value in results.items() if key not in last and key != "samples"}
    written.append(place / f"results_{stamp}.json")
    write_text(written[-1], _dumped({**first, **last}, 2))
    return written


def _write_rows(path: Path, rows: Iterable[SampleRow]) -> str:
    """The task hash of a file of samples, written atomically. Equal hash: equal items, prompts and targets."""
    task_hash = hashlib.sha256()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", errors="replace") as out:
            for row in rows:
                task_hash.update((row["doc_hash"] + row["prompt_hash"] + row["target_hash"]).encode())
                out.write(_dumped(_as_logged(row)) + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return task_hash.hexdigest()


def _as_logged(row: SampleRow) -> dict[str, Any]:
    """A row of `simple_evaluate` in the form of the file: arguments named, replies as text. Idempotent."""
    arguments = row["arguments"]
    if not isinstance(arguments, Mapping):
        arguments = {
            f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(parts)} for i, parts in enumerate(arguments)
        }
    texts = {name: _as_text(row[name]) for name in ("resps", "filtered_resps")}
    return {**row, **texts, "arguments": arguments, "target": str(row["target"])}


def _as_text(value: Any) -> Any:
    return [_as_text(part) for part in value] if isinstance(value, list | tuple) else str(value)


def _dumped(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value that JSON cannot represent, as lm-eval writes it: numpy numbers as numbers, sets as lists, else text."""
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "ndim", 0):
        return value.item()
    return list(value) if isinstance(value, set) else str(value)


def _about_model(model_name: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that lm-eval puts last, in its order, with the values in `results`, else null."""
    system, template = results.get("system_instruction"), results.get("chat_template")
    return {
        "model_source": results.get("model_source"),
        "model_name": model_name,
        "model_name_sanitized": sanitised(model_name),
        "system_instruction": system,
        "system_instruction_sha": sha256_text(system) if system else None,
        "fewshot_as_multiturn": results.get("fewshot_as_multiturn"),
        "chat_template": template,
        "chat_template_sha": sha256_text(template) if template else None,
        "total_evaluation_time_seconds": results.get("total_evaluation_time_seconds"),
    }


def sanitised(model_name: str) -> str:
    """The folder name for a model: "org/name" becomes "org__name". Source: `lm_eval/utils.py`."""
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model_name)


def sha256_text(text: str) -> str:
    """Hex SHA-256 of a text, lm-eval's `hash_string`; half a character, which that refuses, counts as "?"."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


# --- rows and results of our own tasks --------------------------------------------------------------------------------


def sample_rows(sample: Sample, records: Sequence[Record], prompt: str, doc_id: int | None = None) -> list[SampleRow]:
    """The rows of one item: one per grader, as lm-eval writes one per filter.

    records: one for each repeat, in order. prompt: the text that the model read. doc_id: the item's position in its
    split; default: the number at the end of its id. exact_match is the mean verdict over the repeats, null if none
    could be graded. Raises ValueError for records of another item, or for an id without a number.
    """
    if not records or any(record.item.sample_id != sample.id for record in records):
        raise ValueError(f"item {sample.id!r} needs its own records, got {[r.item.sample_id for r in records]}")
    number = re.search(r"[0-9]+$", sample.id)
    if doc_id is None and number is None:
        raise ValueError(f"item {sample.id!r} has no number at its end: give doc_id")
    doc = _doc(sample)
    common = {
        "doc_id": int(number[0]) if doc_id is None and number else doc_id,
        "doc": doc,
        "target": sample.target,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": gen_kwargs(records[0].origin.sampling)}},
        "resps": [[record.reply.text for record in records]],
    }
    hashes = {
        "doc_hash": sha256_text(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": sha256_text(prompt),
        "target_hash": sha256_text(sample.target),
    }
    return [
        {
            **common,
            "filtered_resps": _filtered(sample, records, grader),
            "filter": grader,
            "metrics": [METRIC],
            **hashes,
            METRIC: _mean([r.scores[grader].value for r in records]),
        }
        for grader in READINGS
    ]


def _doc(sample: Sample) -> dict[str, Any]:
    """The item as a row of a data set: its metadata, and its question under a name that other tools read."""
    named = any(isinstance(sample.metadata.get(name), str) for name in ("question", "prompt", "problem"))
    question = {} if named else {"question": sample.messages[-1].content}
    return {"id": sample.id, **question, **sample.metadata, "target": sample.target}


def _filtered(sample: Sample, records: Sequence[Record], grader: str) -> list[Any]:
    """The answer that the grader extracted from each reply; for code, the whole reply. One reply: not nested."""
    if "test" in sample.metadata or "test_list" in sample.metadata:  # a program
        read = [record.reply.text for record in records]
    else:
        answers = [record.scores[grader].answer for record in records]
        read = [INVALID if answer is None else answer for answer in answers]
    return read if len(read) == 1 else [read]


def gen_kwargs(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """lm-eval's `generation_kwargs` for our sampling parameters; parameters of a replay are copied unchanged."""
    if "max_tokens" not in sampling:
        return dict(sampling)
    kwargs: dict[str, Any] = {
        "until": list(sampling.get("stop", ())),
        "max_gen_toks": sampling["max_tokens"],
        "do_sample": sampling.get("temperature", 0.0) > 0,
        "temperature": sampling.get("temperature", 0.0),
    }
    unusual = {"top_p": 1.0, "top_k": 0, "seed": None}
    return kwargs | {k: sampling[k] for k, usual in unusual.items() if sampling.get(k, usual) != usual}


@dataclass(frozen=True)
class TaskScores:
    """One of our tasks in a results file. row: its entry under "results"."""

    row: Mapping[str, Any]
    version: str
    n_items: int  # in the split; row["sample_len"] of them were evaluated


def task_scores(task: str, version: str, columns: Columns, n_items: int) -> TaskScores:
    """The scores of one task from the columns of its records. Raises ValueError for no records, or other tasks' ones.

    An item's value is the mean verdict over its repeats. The score is the mean over items; its standard error is the
    sample deviation over items / sqrt(n), and "N/A" for one item, as in lm-eval. Items without a verdict are left out.
    """
    if columns.tasks != (task,):
        raise ValueError(f"task {task!r} needs its own records, got those of {', '.join(columns.tasks) or 'no task'}")
    row: dict[str, Any] = {"name": task, "alias": task, "sample_len": len(columns.items)}
    for grader in READINGS:
        means = columns.scores(grader)
        values = means[~np.isnan(means)].tolist()
        row[f"{METRIC},{grader}"] = _mean(values) if values else "N/A"
        row[f"{METRIC}_stderr,{grader}"] = mean_stderr(values) if len(values) > 1 else "N/A"
    return TaskScores(row, version, n_items)


def mean_stderr(values: Sequence[float]) -> float:
    """Standard error of a mean of two values or more: sample deviation / sqrt(n)."""
    mean, n = math.fsum(values) / len(values), len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)


def results_file(
    tasks: Mapping[str, TaskScores], configs: Mapping[str, Any], config: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """The content of a results file of our own tasks, for `write_lm_eval`.

    configs: by task, its prompts and its grading. config: the model and its settings. more: further keys of lm-eval's
    `result_schema.py` ("git_hash", "date", "model_source", "total_evaluation_time_seconds", ...), given by the caller.
    """
    return {
        "results": {task: dict(scores.row) for task, scores in tasks.items()},
        "group_subtasks": {},
        "configs": {task: dict(configs.get(task, {})) for task in tasks},
        "versions": {task: scores.version for task, scores in tasks.items()},
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: {METRIC: True} for task in tasks},
        "n-samples": {t: {"original": s.n_items, "effective": s.row["sample_len"]} for t, s in tasks.items()},
        "config": dict(config),
        **more,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None
