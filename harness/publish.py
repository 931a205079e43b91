"""A row of a board where others look for it: in a model's repository on the Hugging Face hub, or as files to hand on.

The texts are pure functions of the board's facts: the same facts, the same text, so what is there already is not sent
again. `publish` alone talks to the hub. Formats:

- `.eval_results/*.yaml`: huggingface/hub-docs, docs/hub/eval-results.md; one entry a task that the hub has a board for
- `model-index` in the card's front matter: the older form, still read
- Every Eval Ever 0.3.0 (https://github.com/evaleval/every_eval_ever): intervals, engine, and each reply beside it
- a badge: the endpoint JSON of shields.io
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import yaml

from harness import collection, reported
from harness.errors import DataError, HarnessError, UnknownName, UsageError
from harness.types import Record, Sample, canonical_json, sha256_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NAME = "srlm-harness"
METRIC = "strict accuracy, %"  # names our metric in a model index
EVERY_EVAL_EVER = "0.3.0"  # the schema that is written
SHOWN_LINES = 200  # of each file, in a dry run
LIMITED = "(--limit)"  # in a note of a board whose tasks were cut short


@dataclass(frozen=True)
class Dataset:
    """Where the test items of a task lie on the hub. n: as published; benchmark: the hub's own name for its board.

    benchmark "": the hub collects no scores for it. Boards known here take percent (openai/gsm8k, as its entries do).
    """

    path: str
    config: str | None
    split: str
    n: int
    benchmark: str = ""


# As the task files say; only a dataset that is registered as a Benchmark (its eval.yaml names the task) has a board.
DATASETS = {
    "aime24": Dataset("HuggingFaceH4/aime_2024", None, "train", 30),
    "aime25": Dataset("math-ai/aime25", None, "test", 30),
    "amc23": Dataset("math-ai/amc23", None, "test", 40),
    "cruxeval": Dataset("cruxeval-org/cruxeval", None, "test", 800),
    "gsm8k": Dataset("openai/gsm8k", "main", "test", 1319, benchmark="gsm8k"),
    "gsm_hard": Dataset("reasoning-machines/gsm-hard", None, "train", 1319),
    "humaneval": Dataset("openai/openai_humaneval", None, "test", 164),
    "humaneval_plus": Dataset("evalplus/humanevalplus", None, "test", 164),
    "math500": Dataset("HuggingFaceH4/MATH-500", None, "test", 500),
    "math_test": Dataset("DigitalLearningGmbH/MATH-lighteval", "default", "test", 5000),
    "mbpp": Dataset("google-research-datasets/mbpp", "full", "test", 500),
    "mbpp_plus": Dataset("evalplus/mbppplus", None, "test", 378),
    "mbpp_sanitized": Dataset("google-research-datasets/mbpp", "sanitized", "test", 257),
    "minerva": Dataset("math-ai/minervamath", None, "test", 272),
    "olympiadbench": Dataset("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train", 675),
    "svamp": Dataset("ChilleD/SVAMP", None, "test", 1000),
}


@dataclass(frozen=True)
class Pick:
    """What of a board is published. A repository holds one checkpoint: of a row with several seeds, name one.

    mean: publish the mean over all its seeds all the same. limited: publish scores of fewer items than the benchmark
    has. Both are then said in the text.
    """

    row: str
    seed: int | None = None
    mean: bool = False
    limited: bool = False


@dataclass(frozen=True)
class Source:
    """Where a reader finds what the numbers were made from."""

    url: str
    name: str | None = None


@dataclass(frozen=True)
class Evaluator:
    """Who ran the evaluation, in the words of Every Eval Ever."""

    organisation: str
    relationship: Literal["first_party", "third_party", "collaborative", "other"] = "other"
    availability: Literal["open_weights", "closed_weights", "unknown"] = "unknown"


# ------------------------------------------------------------------------------------------------ what may be said


@dataclass(frozen=True)
class _Task:
    name: str
    strict: Mapping[str, Any]
    lenient: Mapping[str, Any] | None  # None: not recorded for one seed of several
    counts: Mapping[str, int] | None
    repeats: int
    n_items: int  # that the benchmark has; of a task not in DATASETS, that the board has
    cut: bool  # the board was made with a limit

    @property
    def limit(self) -> str:
        """What of the benchmark was left out, in words; "": nothing."""
        n = self.strict["n"]
        return f"{n} of {self.n_items} items" if n < self.n_items else f"the first {n} items" if self.cut else ""


@dataclass(frozen=True)
class _Result:
    """A row, or one seed of it, that may be published."""

    pick: Pick
    title: str
    facts: Mapping[str, Any]
    row: Mapping[str, Any]
    runs: Sequence[Mapping[str, Any]]
    whole: Mapping[str, Any]  # the score over all tasks
    tasks: Sequence[_Task]

    @property
    def seeds(self) -> list[int]:
        return [run["seed"] for run in self.runs if run["seed"] is not None]

    def fact(self, key: str, task: str = "") -> str:
        """A fact as text, of one task where it is kept by task; "unrecorded" where the board does not say."""
        value = self.facts.get(key)
        if task:
            value = value.get(task) if isinstance(value, Mapping) else None
        return "unrecorded" if value is None else value if isinstance(value, str) else canonical_json(value)

    @property
    def version(self) -> str:
        """Of the harness that made the board."""
        versions = self.facts.get("versions")
        return str(versions.get(NAME, "unrecorded")) if isinstance(versions, Mapping) else "unrecorded"

    @property
    def engine(self) -> tuple[str, str]:
        """Name and version."""
        engine = self.facts.get("engine")
        if isinstance(engine, Mapping):
            return str(engine.get("engine", "unrecorded")), str(engine.get("version", "unrecorded"))
        words = str(engine or "").split(",")[0].split()
        return (words[0], words[1]) if len(words) > 1 else ("unrecorded", "unrecorded")

    def grader(self, task: str) -> str:
        """Name and version of what judged the replies."""
        found = self.facts.get("graders") or ()
        return next((text for text in found if text.split(" ")[0] == task), "grader unrecorded")


def _result(facts: Mapping[str, Any], pick: Pick, by_task: bool = True) -> _Result:
    """What is published. Raises a `HarnessError` that says why it may not be.

    by_task: whether the scores of each task are needed, which a board may not hold for one seed of several.
    """
    kinds = {
        reported.KIND: "holds scores that others printed, and nothing was run: they are theirs to publish",
        collection.KIND: "collects replies that others recorded, and their models cannot be told from it",
    }
    if (kind := facts.get("kind")) in kinds:
        raise UsageError(f"board {facts.get('title')!r} {kinds[kind]}; give a board of `harness compare` or `eval`")
    board = facts.get("board", facts)
    if not isinstance(board, Mapping) or not {"title", "rows", "tasks", "n_items", "facts"} <= board.keys():
        raise DataError("these facts are no board: expected the .json that `harness compare` or `eval` writes")
    rows = {row["name"]: row for row in board["rows"]}
    if pick.row not in rows:
        raise UnknownName("row", pick.row, rows)
    row = rows[pick.row]
    runs = _runs(row, pick)
    for run in runs:
        if run["status"] != "done":
            who = f"row {pick.row!r}" + (f", seed {run['seed']}" if run["seed"] is not None else "")
            raise DataError(f"{who} ended early ({run['status']}: {run['why']}): such a score is not published")
        if run["digest"].startswith("recorded:"):
            raise DataError(
                f"row {pick.row!r} judges replies that were recorded elsewhere; what model wrote them is not known "
                "here, so nothing is said about one"
            )
    one = len(runs) < len(row["runs"])
    tasks = [_task(board, row, runs[0] if one and by_task else None, name, pick) for name in board["tasks"]]
    whole = runs[0]["strict"] if one else row["strict"]
    return _Result(pick, board["title"], board["facts"], row, runs, whole, tasks)


def _runs(row: Mapping[str, Any], pick: Pick) -> list[Mapping[str, Any]]:
    runs: list[Mapping[str, Any]] = row["runs"]
    if pick.seed is not None:
        found = [run for run in runs if run["seed"] == pick.seed]
        if not found:
            known = ", ".join(str(run["seed"]) for run in runs if run["seed"] is not None) or "none"
            raise UsageError(f"row {pick.row!r} has no seed {pick.seed}; its seeds: {known}")
        return found
    if len(runs) > 1 and not pick.mean:
        raise UsageError(
            f"row {pick.row!r} is the mean over {len(runs)} checkpoints, and a repository holds one: name its seed "
            f"({', '.join(str(run['seed']) for run in runs)}), or ask for the mean, which is then said"
        )
    return list(runs)


def _task(
    board: Mapping[str, Any], row: Mapping[str, Any], run: Mapping[str, Any] | None, name: str, pick: Pick
) -> _Task:
    """One task's scores. run: of this run alone; None: of the row."""
    counts = row["tasks"][name]["counts"]
    repeats = counts["n"] // (board["n_items"][name] * len(row["runs"]))
    found = row["tasks"][name]
    if run is not None:  # boards that keep no tasks for each run tell one seed's score where there is one task only
        if "tasks" in run:
            found = run["tasks"][name]
        elif len(board["tasks"]) == 1:
            found = {"strict": run["strict"]}
        else:
            raise DataError(
                f"the board does not hold the scores of seed {run['seed']} of row {row['name']!r} task by task; ask "
                "for the mean over the seeds"
            )
    strict = found["strict"]
    if strict["value"] is None:
        raise DataError(f"row {row['name']!r} has no verdict on {name}: there is no score to publish")
    split = re.match(r"\d+ (\w+) items", str((board["facts"].get("suite") or {}).get(name, "")))
    if split and split[1] != "test":
        raise DataError(f"row {row['name']!r} was scored on the {split[1]} items of {name}; only test scores are shown")
    size = DATASETS[name].n if name in DATASETS else board["n_items"][name]
    cut = any(LIMITED in note for note in board.get("notes", ()))
    if (strict["n"] < size or cut) and not pick.limited:
        of = f" of {size}" if strict["n"] < size else ""
        raise DataError(
            f"row {row['name']!r} has verdicts on {strict['n']}{of} items of {name}"
            f"{' (the board was made with --limit)' if cut else ''}: that is not the benchmark's score; evaluate all "
            "items, or mark it as limited"
        )
    return _Task(name, strict, found.get("lenient"), found.get("counts"), repeats, size, cut)


def notes(result: _Result, task: _Task) -> str:
    """What a bare value does not say, in one line."""
    strict = task.strict
    parts = [
        f"LIMITED, {task.limit}: not the benchmark's score" if task.limit else "",
        f"avg@{task.repeats}, 95 % CI {100 * strict['low']:.1f}–{100 * strict['high']:.1f} ({strict['method']})",
        f"n={strict['n']}",
        f"mean over {len(result.runs)} checkpoints" if len(result.runs) > 1 else "",
        f"training seed{'s' * (len(result.seeds) > 1)} {', '.join(map(str, result.seeds))}" if result.seeds else "",
        f"decoding {result.fact('decoding', task.name)}",
        result.grader(task.name),
        f"engine {' '.join(result.engine)}",
        f"{NAME} {result.version}",
        "weights " + ", ".join(run["digest"][:12] for run in result.runs),
    ]
    return ", ".join(filter(None, parts))


def without_benchmark(facts: Mapping[str, Any]) -> list[str]:
    """The tasks of a board that the hub collects no scores for; `eval_results` leaves them out."""
    return [name for name in facts.get("board", facts).get("tasks", ()) if not _benchmark(name)]


def _benchmark(task: str) -> str:
    return DATASETS[task].benchmark if task in DATASETS else ""


def _wanted(result: _Result, known: Iterable[str], asked: Sequence[str] | None, what: str) -> list[_Task]:
    """The tasks to write about: those asked for, or all there are. Raises `UsageError` naming what has no `what`."""
    known = list(known)
    names = [task.name for task in result.tasks]
    for name in asked or ():
        if name not in names:
            raise UnknownName("task of this board", name, names)
        if name not in known:
            raise UsageError(f"{name!r} has no {what}; tasks that have one: {', '.join(known)}")
    found = [task for task in result.tasks if task.name in (asked or known)]
    if not found:
        raise UsageError(f"none of {', '.join(names)} has a {what}; tasks that have one: {', '.join(known)}")
    return found


# ------------------------------------------------------------------------------------------------ the texts


def eval_results(
    facts: Mapping[str, Any],
    row: Pick,
    *,
    source: Source | None = None,
    date: str | None = None,
    tasks: Sequence[str] | None = None,
) -> str:
    """The YAML of `.eval_results/<name>.yaml`: an entry for each task that the hub has a board for, in percent.

    date: ISO-8601, of the evaluation. Raises `UsageError` naming a task that was asked for and has no board there.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    result = _result(facts, row)
    boards = [name for name in DATASETS if _benchmark(name)]
    entries = [
        EvalResultEntry(
            dataset_id=DATASETS[task.name].path,
            task_id=_benchmark(task.name),
            value=_percent(task.strict["value"]),
            date=date,
            source_url=source.url if source else None,
            source_name=source.name if source else None,
            notes=notes(result, task),
        )
        for task in _wanted(result, boards, tasks, "board on the Hugging Face hub")
    ]
    return _yaml(eval_result_entries_to_yaml(entries))


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)


def model_index(
    facts: Mapping[str, Any],
    row: Pick,
    *,
    model: str,
    card: str = "",
    source: Source | None = None,
    tasks: Sequence[str] | None = None,
) -> str:
    """The card (README.md) with the scores in the model-index of its front matter; every other byte of it stays.

    card: as it is now. model: its name in the index. Raises `DataError` where something in the card would be lost.
    """
    from huggingface_hub import EvalResult, ModelCardData

    result = _result(facts, row)
    found = [
        EvalResult(
            task_type="text-generation",
            dataset_type=(dataset := DATASETS[task.name]).path,
            dataset_name=task.name,
            dataset_config=dataset.config,
            dataset_split=dataset.split,
            metric_type="accuracy",
            metric_name=METRIC,
            metric_value=_percent(task.strict["value"]),
            metric_args={
                "confidence_interval": [_percent(task.strict["low"]), _percent(task.strict["high"])],
                "confidence_level": 0.95,
                "n": task.strict["n"],
                "notes": notes(result, task),
            },
            source_name=(source.name or NAME) if source else None,
            source_url=source.url if source else None,
        )
        for task in _wanted(result, DATASETS, tasks, "dataset on the Hugging Face hub")
    ]
    described: dict[str, Any] = ModelCardData(model_name=model, eval_results=found).to_dict()  # type: ignore[no-untyped-call]
    ours = described["model-index"][0]
    return _with_index(card, ours)


_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_KEY = re.compile(r"""^["']?model-index["']?[ \t]*:""")


def _with_index(card: str, ours: dict[str, Any]) -> str:
    front = _FRONT.match(card)
    if front is None:
        return f"---\n{_yaml({'model-index': [ours]})}---\n{card}"
    text = front[1]
    before = _parsed(text)
    lines = text.splitlines(keepends=True)
    starts = [i for i, line in enumerate(lines) if _KEY.match(line)]
    if len(starts) != ("model-index" in before):
        raise DataError("the card writes its model-index in a way that cannot be changed in place; edit it by hand")
    start = end = starts[0] if starts else len(lines)
    if starts:
        end = next((i for i in range(start + 1, len(lines)) if re.match(r"[^\s#-]", lines[i])), len(lines))
        while end > start + 1 and re.match(r"#|\s*$", lines[end - 1]):  # belongs to what comes next
            end -= 1
    if any(re.search(r"(^|\s)#", line) for line in lines[start:end]):
        raise DataError("the model-index of the card holds comments, which would be lost; edit it by hand")
    index = _merged(before.get("model-index") or [], ours)
    newline = "\r\n" if "\r\n" in front[0] else "\n"
    block = _yaml({"model-index": index}).replace("\n", newline)
    if start and not lines[start - 1].endswith("\n"):
        block = newline + block
    changed = "".join([*lines[:start], block, *lines[end:]])
    if _parsed(changed) != {**before, "model-index": index}:
        raise DataError("the front matter of the card would not stay what it is; edit its model-index by hand")
    return card[: front.start(1)] + changed + card[front.end(1) :]


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise DataError(f"the front matter of the card is no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict):
        raise DataError(f"the front matter of the card must be a mapping of keys, got {type(found).__name__}")
    return found


def _merged(index: Any, ours: dict[str, Any]) -> list[Any]:
    """The index with our results: in place of our own earlier ones, beside all others."""
    if not isinstance(index, list) or not all(isinstance(model, dict) for model in index):
        raise DataError("the model-index of the card is no list of models; edit it by hand")
    models = [dict(model) for model in index]
    named = [model for model in models if model.get("name") == ours["name"]]
    target = named[0] if named else models[0] if len(models) == 1 else None
    if target is None:
        return [*models, ours]
    mine = {_place(result): result for result in ours["results"]}
    kept = [mine.pop(_place(result), result) if _is_ours(result) else result for result in target.get("results") or []]
    target["results"] = [*kept, *mine.values()]
    return models


def _place(result: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple((result.get("dataset") or {}).get(key) for key in ("type", "config", "split"))


def _is_ours(result: Mapping[str, Any]) -> bool:
    """Whether we wrote it: one metric, of our name."""
    return [metric.get("name") for metric in result.get("metrics") or ()] == [METRIC]


def badge(facts: Mapping[str, Any], row: Pick, *, label: str | None = None) -> str:
    """The endpoint JSON of a shields.io badge: the strict score over all tasks, with its interval.

    Without a seed it is the row's, over all its seeds: a badge is no repository. The colour says nothing of the value:
    whether it is a good one depends on the tasks.
    """
    result = _result(facts, replace(row, mean=row.seed is None), by_task=False)
    score = {key: f"{100 * result.whole[key]:.1f}" for key in ("value", "low", "high")}
    message = f"{score['value']} % ({score['low']} to {score['high']})"
    if result.row["role"] == "strategy" and len(result.seeds) == 1:
        message += ", single run"
    if any(task.limit for task in result.tasks):
        message += ", limited"
    text = label or f"{row.row} on {', '.join(task.name for task in result.tasks)}"
    return json.dumps({"schemaVersion": 1, "label": text, "message": message, "color": "blue"}, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------ Every Eval Ever


def every_eval_ever(
    facts: Mapping[str, Any],
    row: Pick,
    *,
    model: str,
    created: int,
    evaluator: Evaluator,
    records: Iterable[Record] = (),
    samples: Mapping[str, Sample] | None = None,
    source: Source | None = None,
    folder: str = NAME,
) -> dict[str, str]:
    """Path -> text: the JSON of the row, and with records one line a judged reply beside it.

    model: "owner/name" on the hub; created: seconds since 1970, of this file, not of the evaluation. samples: id ->
    item, for the records' questions and targets. Raises `DataError` for records that are not the row's.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise UsageError(f"a model is named like owner/name, got {model!r}")
    result = _result(facts, row)
    digests = [run["digest"] for run in result.runs]
    same = [model, result.title, row.row, digests, [[task.name, dict(task.strict)] for task in result.tasks]]
    name = uuid.UUID(bytes=hashlib.sha256(canonical_json(same).encode()).digest()[:16], version=4)
    home = f"data/{folder}/{model}"
    evaluation = f"{folder}/{model.replace('/', '_')}/{sha256_of(same)[:16]}"
    found: dict[str, Any] = {
        "schema_version": EVERY_EVAL_EVER,
        "evaluation_id": evaluation,
        "retrieved_timestamp": str(created),
        "source_metadata": {
            "source_name": result.title,
            "source_type": "evaluation_run",
            "source_organization_name": evaluator.organisation,
            **({"source_organization_url": source.url} if source else {}),
            "evaluator_relationship": evaluator.relationship,
        },
        "eval_library": {"name": NAME, "version": result.version if result.version != "unrecorded" else "unknown"},
        "model_info": _model_info(result, model, evaluator),
        "evaluation_results": [_evaluation(result, task) for task in result.tasks],
    }
    rows, unjudged, sampling = _instances(result, records, samples or {}, evaluation, model)
    for task in found["evaluation_results"]:
        if drawn := sampling.get(task["evaluation_name"]):
            task["generation_config"]["generation_args"] = drawn
    files = {}
    if rows:
        path, text = f"{home}/{name}_samples.jsonl", "".join(f"{line}\n" for line in rows)
        found["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": path,
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode()).hexdigest(),
            "total_rows": len(rows),
            "additional_details": {"replies_without_verdict_left_out": str(unjudged)},
        }
        files[path] = text
    return {f"{home}/{name}.json": json.dumps(found, indent=2, ensure_ascii=False) + "\n", **files}


def _model_info(result: _Result, model: str, evaluator: Evaluator) -> dict[str, Any]:
    engine, version = result.engine
    known = engine not in ("unrecorded", "openai")  # behind an address anything may answer
    return {
        "name": f"{model.split('/')[1]} ({result.pick.row})",
        "id": model,
        "developer": model.split("/")[0],
        "inference_engine": {"name": engine, "version": version},
        "additional_details": {
            "deployment_type": "self_deployed" if known else "unknown",
            "model_availability": evaluator.availability,
            "engine_settings": result.fact("engine"),
            "role": result.row["role"],
            "training_seeds": ", ".join(map(str, result.seeds)) or "none",
            "weights_sha256": ", ".join(run["digest"] for run in result.runs),
            **{key: result.fact(key) for key in ("base", "teacher", "budget", "sandbox")},
        },
    }


def _evaluation(result: _Result, task: _Task) -> dict[str, Any]:
    dataset, strict = DATASETS.get(task.name), task.strict
    source: dict[str, Any] = {"dataset_name": task.name, "source_type": "other"}
    if dataset:
        source = {"dataset_name": task.name, "source_type": "hf_dataset", "hf_repo": dataset.path, "hf_split": "test"}
        source |= {"samples_number": strict["n"]}
    details = {"config": dataset.config or "default", "split": dataset.split} if dataset else {}
    details |= {"items": result.fact("suite", task.name), "items_of_benchmark": str(task.n_items)}
    error = _standard_error(strict)
    score = {"repeats_an_item": str(task.repeats), "notes": notes(result, task)}
    if task.lenient and task.lenient["value"] is not None:
        score |= {f"lenient_{key}": f"{task.lenient[key]:.6f}" for key in ("value", "low", "high")}
    if task.counts:
        score |= {key: str(value) for key, value in task.counts.items()}
    return {
        "evaluation_result_id": f"{task.name}/strict",
        "evaluation_name": task.name,
        "source_data": source | {"additional_details": details},
        "metric_config": {
            "evaluation_description": "Share of items answered right, in the format the task asks for",
            "metric_id": f"{NAME}.strict_accuracy",
            "metric_name": "Strict accuracy",
            "metric_kind": "accuracy",
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
            "additional_details": {"grader": result.grader(task.name)},
        },
        "score_details": {
            "score": strict["value"],
            "details": score,
            "uncertainty": {
                **({"standard_error": error} if error else {}),
                "confidence_interval": {
                    "lower": strict["low"],
                    "upper": strict["high"],
                    "confidence_level": 0.95,
                    "method": strict["method"],
                },
                "num_samples": strict["n"],
            },
        },
        "generation_config": {"additional_details": {"decoding": result.fact("decoding", task.name)}},
    }


def _standard_error(estimate: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of a mean of n verdicts of 0 or 1; of others where the board holds it. None: it does not."""
    if "error" in estimate:
        return {"value": estimate["error"], "method": estimate["method"]}
    if estimate["method"] != "Wilson" or estimate["n"] < 2:
        return None
    value, n = estimate["value"], estimate["n"]
    return {"value": (value * (1 - value) / (n - 1)) ** 0.5, "method": "analytic: sqrt(p (1 - p) / (n - 1))"}


def _instances(
    result: _Result, records: Iterable[Record], samples: Mapping[str, Sample], evaluation: str, model: str
) -> tuple[list[str], int, dict[str, dict[str, Any]]]:
    """A line for each judged reply, how many have no verdict, and how the replies of each task were drawn."""
    digests = {run["digest"] for run in result.runs}
    lines: list[str] = []
    unjudged = 0
    values: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    sampling: dict[str, dict[str, Any]] = {}
    tasks = {task.name: task for task in result.tasks}
    for record in records:
        if record.checkpoint not in digests or record.task not in tasks:
            raise DataError(
                f"a record of {record.task}, weights {record.checkpoint[:12]}, is none of row {result.pick.row!r} "
                f"(tasks {', '.join(tasks)}; weights {', '.join(digest[:12] for digest in sorted(digests))})"
            )
        if record.sample_id not in samples:
            raise DataError(
                f"the records hold no questions, and item {record.sample_id!r} is not among the items given"
            )
        if samples[record.sample_id].hash != record.sample_hash:
            raise DataError(f"item {record.sample_id!r} is not the one that was asked; was the task changed since?")
        drawn = _generation_args(record.sampling)
        if sampling.setdefault(record.task, drawn) != drawn:
            raise DataError(f"the records of {record.task} were drawn under several settings: {drawn} is one of them")
        value = record.scores["strict"].value
        if value is None:
            unjudged += 1
            continue
        values[record.task][record.checkpoint, record.sample_id].append(value)
        lines.append(canonical_json(_instance(record, value, samples[record.sample_id], evaluation, model)))
    for name, task in tasks.items() if lines else ():
        n, mean = _mean(values[name], [run["digest"] for run in result.runs])
        if n != task.strict["n"] or abs(mean - task.strict["value"]) > 1e-9:
            raise DataError(
                f"the records of {name} do not give the score of row {result.pick.row!r}: {task.strict['value']:.6f} "
                f"over {task.strict['n']} items, the records {mean:.6f} over {n}; give all record files of the row, "
                "and no others"
            )
    return lines, unjudged, sampling


def _mean(values: Mapping[tuple[str, str], Sequence[float]], digests: Sequence[str]) -> tuple[int, float]:
    """How many items all checkpoints have verdicts on, and the mean over them, as a board has it; (0, 0.0) for none."""
    shared = set.intersection(*({item for digest, item in values if digest == one} for one in digests))
    means = [sum(v) / len(v) for digest in digests for item in shared if (v := values[digest, item])]
    return len(shared), sum(means) / len(means) if means else 0.0


def _generation_args(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """In the schema's words."""
    return {key: sampling[key] for key in ("temperature", "top_p", "top_k", "max_tokens") if key in sampling}


def _instance(record: Record, value: float, sample: Sample, evaluation: str, model: str) -> dict[str, Any]:
    asked = "\n\n".join(message.content for message in sample.messages)
    strict, lenient = record.scores["strict"], record.scores["lenient"]
    read = {
        "turn_idx": 0,
        "source": "output.raw",
        "extracted_value": strict.answer,
        "extraction_method": record.grader_version,
        "is_terminal": True,
    }
    recorded = record.n_tokens > 0  # 0: replies whose tokens nobody counted
    used = {"input_tokens": record.n_prompt_tokens, "output_tokens": record.n_tokens}
    return {
        "schema_version": EVERY_EVAL_EVER,
        "evaluation_id": evaluation,
        "model_id": model,
        "evaluation_name": record.task,
        "evaluation_result_id": f"{record.task}/strict",
        "sample_id": record.sample_id,
        "sample_hash": hashlib.sha256((asked + sample.target).encode()).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": asked, "reference": [sample.target]},
        "output": {"raw": [record.text]},
        "answer_attribution": [] if strict.answer is None else [read],
        "evaluation": {"score": value, "is_correct": value == 1.0},
        "token_usage": used | {"total_tokens": sum(used.values())} if recorded else None,
        "performance": {"latency_ms": 1000 * record.wall_s} if recorded else None,
        "metadata": {
            "repeat": str(record.repeat),
            "finish": record.finish,
            "level": record.level,
            "lenient": "no verdict" if lenient.value is None else f"{lenient.value:g}",
            "item_sha256": record.sample_hash,
            "prompt_sha256": record.prompt_hash,
            "weights_sha256": record.checkpoint,
        },
    }


# ------------------------------------------------------------------------------------------------ the hub


@dataclass(frozen=True)
class Upload:
    """What one repository gets. files: path in the repository -> text. title: of the pull request or commit."""

    repository: str
    files: Mapping[str, str]
    title: str
    kind: Literal["model", "dataset"] = "model"

    @property
    def who(self) -> str:
        return f"{self.kind} repository {self.repository!r}"


@dataclass(frozen=True)
class Plan:
    """What would be sent where. pull_request: propose it, which anyone may; else write to the main branch."""

    uploads: tuple[Upload, ...]
    pull_request: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of one upload. url: of the pull request or commit; "" where nothing was sent. lines: for people."""

    upload: Upload
    done: Literal["sent", "unchanged", "already proposed", "would be sent"]
    url: str
    lines: tuple[str, ...]


FORMATS = ("eval-results", "model-index", "every-eval-ever", "badge")


@dataclass(frozen=True)
class Ask:
    """What is to be published of a board. targets: (model repository, what of the board).

    datastore: the dataset repository for Every Eval Ever; "": beside the model. created, records and samples are its
    too; records hold those of all targets.
    """

    targets: tuple[tuple[str, Pick], ...]
    formats: tuple[str, ...] = ("eval-results",)
    source: Source | None = None
    date: str | None = None
    evaluator: Evaluator | None = None
    datastore: str = ""
    created: int = 0
    records: tuple[Record, ...] = ()
    samples: Mapping[str, Sample] | None = None
    pull_request: bool = True


def planned(facts: Mapping[str, Any], ask: Ask, card: Callable[[str], str | None] = lambda _: None) -> Plan:
    """What is sent where. card: gives the README.md of a model repository as it is now, for the model index."""
    uploads: dict[tuple[Literal["model", "dataset"], str], dict[str, str]] = defaultdict(dict)
    for name in ask.formats:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
    for repository, pick in ask.targets:
        files = uploads["model", repository]
        if files:
            raise UsageError(f"two rows go to {repository!r}, and a repository holds one checkpoint")
        if "eval-results" in ask.formats:
            files[f".eval_results/{NAME}.yaml"] = eval_results(facts, pick, source=ask.source, date=ask.date)
        if "model-index" in ask.formats:
            model = repository.split("/")[-1]
            files["README.md"] = model_index(facts, pick, model=model, card=card(repository) or "", source=ask.source)
        if "badge" in ask.formats:
            files[f"{NAME}-badge.json"] = badge(facts, pick) + "\n"
        if "every-eval-ever" in ask.formats:
            if ask.evaluator is None:
                raise UsageError("Every Eval Ever wants to know who evaluated; name the organisation or person")
            own = {run["digest"] for run in _result(facts, pick).runs}
            found = every_eval_ever(
                facts,
                pick,
                model=repository,
                created=ask.created,
                evaluator=ask.evaluator,
                records=[record for record in ask.records if record.checkpoint in own],
                samples=ask.samples,
                source=ask.source,
            )
            (uploads["dataset", ask.datastore] if ask.datastore else files).update(found)
    title = f"Evaluation results by {NAME}: {facts.get('board', facts)['title']}"
    made = [Upload(name, files, title, kind) for (kind, name), files in uploads.items() if files]
    return Plan(tuple(made), ask.pull_request)


def publish(
    plan: Plan, token: str | None, endpoint: str | None = None, *, dry_run: bool = False, timeout_s: float = 30.0
) -> list[Outcome]:
    """Send a plan to the hub; what is there or proposed already is not sent again. Nothing is sent in a dry run.

    All repositories are looked at before the first is sent to. endpoint None: as huggingface_hub is set up. Raises
    `UsageError` for what the asker can mend and `HarnessError` for the hub's failures; both say what was sent before.
    """
    hub = _Hub(token, endpoint, timeout_s)
    if not dry_run:
        hub.refuse_unable(plan)
    with hub.impatient():
        if dry_run:
            return [_tried(hub, upload, plan.pull_request) for upload in plan.uploads]
        seen = [(upload, hub.look(upload, plan.pull_request)) for upload in plan.uploads]
        outcomes: list[Outcome] = []
        for upload, there in seen:
            try:
                outcomes.append(hub.send(upload, there, plan.pull_request))
            except HarnessError as error:
                sent = ", ".join(outcome.url for outcome in outcomes if outcome.done == "sent")
                raise type(error)(f"{error}; sent before that: {sent or 'nothing'}") from None
        return outcomes


def read(repository: str, path: str, token: str | None, endpoint: str | None = None) -> str | None:
    """A text file of a model's repository as it is on the main branch, for `model_index`; None: there is none."""
    hub = _Hub(token, endpoint, 30.0)
    hub.refuse_offline(repository)
    upload = Upload(repository, {path: ""}, "")
    with hub.impatient():
        return hub.look(upload, False).files[path]


@dataclass(frozen=True)
class _There:
    """A repository as it was found. files: path -> text, None where there is none. proposed: url of an open request."""

    commit: str | None
    files: Mapping[str, str | None]
    proposed: str = ""

    def changed(self, upload: Upload) -> dict[str, str]:
        return {path: text for path, text in upload.files.items() if self.files[path] != text}


def _tried(hub: _Hub, upload: Upload, pull_request: bool) -> Outcome:
    """What would be sent, against what is there; where that cannot be seen, it says so."""
    unseen = ""
    try:
        there = hub.look(upload, pull_request)
    except HarnessError as error:
        unseen, there = str(error), _There(None, dict.fromkeys(upload.files))
    if not unseen and (found := _nothing_to_do(upload, there)):
        return found
    way = "a pull request" if pull_request else "a commit to the main branch"
    lines = [f"would be sent to {upload.who} at {hub.endpoint} as {way}, {upload.title!r}:"]
    if unseen:
        lines.append(f"  what is there is not known: {unseen}")
    for path, text in upload.files.items():
        lines += _shown(path, text, there.files[path], not unseen)
    return Outcome(upload, "would be sent", "", tuple(lines))


def _shown(path: str, text: str, old: str | None, seen: bool) -> list[str]:
    size = f"{len(text.encode()):,} bytes, sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    if seen and old == text:
        return [f"  {path}: is there already, {size}"]
    state = "new" if old is None else "changed"
    compared = difflib.unified_diff((old or "").splitlines(), text.splitlines(), "there", "ours", lineterm="")
    lines = [f"    {line}" for line in list(compared)[2:]]
    more = [f"    … {len(lines) - SHOWN_LINES:,} more lines"] if len(lines) > SHOWN_LINES else []
    return [f"  {path}: {state if seen else 'to be sent'}, {size}", *lines[:SHOWN_LINES], *more]


def _nothing_to_do(upload: Upload, there: _There) -> Outcome | None:
    if not there.changed(upload):
        line = f"unchanged: {upload.who} has the same content already; nothing is sent"
        return Outcome(upload, "unchanged", "", (line,))
    if there.proposed:
        line = f"already proposed: {there.proposed} holds the same content for {upload.who}; nothing is sent"
        return Outcome(upload, "already proposed", there.proposed, (line,))
    return None


class _Hub:
    """The hub at one address, with one token, that gives up after a while."""

    def __init__(self, token: str | None, endpoint: str | None, timeout_s: float) -> None:
        from huggingface_hub import HfApi, constants

        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._api: HfApi = HfApi(endpoint=self.endpoint, token=token or False)

    def refuse_offline(self, what: str) -> None:
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            raise UsageError(
                f"{what} cannot be reached: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set, so nothing is sent or "
                "read; unset it, or use --dry-run to see what would be sent"
            )

    def refuse_unable(self, plan: Plan) -> None:
        """Raise `UsageError` where nothing could be sent."""
        targets = ", ".join(upload.who for upload in plan.uploads)
        self.refuse_offline(targets)
        if not self._token:
            raise UsageError(
                f"publishing to {targets} needs a token, and there is none; make one at "
                f"{self.endpoint}/settings/tokens and set HF_TOKEN, or use `hf auth login` (--dry-run needs none)"
            )

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """The session of huggingface_hub, which would wait for ever, with a limit."""
        from huggingface_hub import get_session

        session = get_session()
        before = session.timeout
        session.timeout = self._timeout_s
        try:
            yield
        finally:
            session.timeout = before

    def look(self, upload: Upload, pull_request: bool) -> _There:
        """What is there of these files; where it differs, whether an open pull request of this title has them all."""
        with self._explained(upload):
            commit = self._api.repo_info(upload.repository, repo_type=upload.kind, timeout=self._timeout_s).sha
            there = _There(commit, {path: self._text(upload, path, "main") for path in upload.files})
            if pull_request and there.changed(upload):
                there = replace(there, proposed=self._proposed(upload))
            return there

    def _proposed(self, upload: Upload) -> str:
        found = self._api.get_repo_discussions(
            upload.repository,
            repo_type=upload.kind,
            discussion_type="pull_request",
            discussion_status="open",
            token=self._token or False,
        )
        for request in found:
            revision = f"refs/pr/{request.num}"
            if request.title == upload.title and all(
                self._text(upload, path, revision) == text for path, text in upload.files.items()
            ):
                return str(request.url)
        return ""

    def _text(self, upload: Upload, path: str, revision: str) -> str | None:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        url = hf_hub_url(
            upload.repository,
            path,
            repo_type=upload.kind,
            revision=revision,
            endpoint=self.endpoint,
        )
        answer = get_session().get(url, headers=build_hf_headers(token=self._token or False))
        try:
            hf_raise_for_status(answer)
        except EntryNotFoundError:
            return None
        return answer.content.decode("utf-8", "replace")

    def send(self, upload: Upload, there: _There, pull_request: bool) -> Outcome:
        """One commit with what differs, on top of what was seen."""
        from huggingface_hub import CommitOperationAdd

        if found := _nothing_to_do(upload, there):
            return found
        changed = there.changed(upload)
        with self._explained(upload, pull_request):
            made = self._api.create_commit(
                upload.repository,
                [CommitOperationAdd(path, text.encode()) for path, text in changed.items()],
                repo_type=upload.kind,
                commit_message=upload.title,
                create_pr=pull_request,
                parent_commit=there.commit,
            )
        url = str((made.pr_url if pull_request else made.commit_url) or "")
        line = f"sent to {upload.who}: {url} ({', '.join(changed)})"
        return Outcome(upload, "sent", url, (line,))

    @contextlib.contextmanager
    def _explained(self, upload: Upload, pull_request: bool = True) -> Iterator[None]:
        """Failures in words that name who, what was given and what to do; never the token."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

        try:
            yield
        except OfflineModeIsEnabled:
            raise UsageError(f"{upload.who} cannot be reached: HF_HUB_OFFLINE is set; unset it") from None
        except HfHubHTTPError as error:
            raise self._refused(error, upload, pull_request) from None
        except HTTPError as error:
            late = "Timeout" in type(error).__name__
            what = f"did not answer within {self._timeout_s:g} s" if late else "cannot be reached"
            raise HarnessError(
                f"{self.endpoint} {what} ({self._words(error)}); {self._arrived(error, upload)}"
            ) from None
        except ValueError as error:  # a name or a card that huggingface_hub itself refuses
            raise UsageError(f"{upload.who}: {self._words(error)}; nothing was changed there") from None

    def _refused(self, error: Any, upload: Upload, pull_request: bool) -> HarnessError:
        status = error.response.status_code
        said = f"{self.endpoint} answered {status} for {upload.who}"
        if status == 401:
            return UsageError(
                f"{said}: expected a token it accepts, for a repository that exists; check the name, and make a new "
                f"token at {self.endpoint}/settings/tokens"
            )
        if status == 403:
            way = "open a pull request there" if pull_request else "write to its main branch; open a pull request"
            return UsageError(
                f"{said}: this token has no permission to {way}; expected one with write access (a fine-grained token "
                f"needs it for this repository): {self.endpoint}/settings/tokens. {self._detail(error)}"
            )
        if status == 404:
            return UsageError(
                f"{said}: expected a repository that exists and that this token may see; make it, or correct the name"
            )
        if status in (409, 412):
            return HarnessError(
                f"{said}: it changed while this was being sent; nothing was changed there, run the same command again. "
                f"{self._detail(error)}"
            )
        if status == 429:
            return HarnessError(f"{said}: too many requests; nothing was changed there, try again later")
        if status < 500:
            return UsageError(f"{said}: {self._detail(error)}; nothing was changed there")
        return HarnessError(f"{said}: the hub failed; {self._arrived(error, upload)}. {self._detail(error)}")

    def _arrived(self, error: Any, upload: Upload) -> str:
        """Whether a request that failed can have changed anything."""
        response = getattr(error, "response", None)
        if "/commit/" not in (response or error).request.url.path:
            return "nothing was changed there; run the same command again"
        place = f"{self.endpoint}/{'datasets/' * (upload.kind == 'dataset')}{upload.repository}"
        return (
            f"whether it arrived is not known: look at {place}/discussions; the same command again sends only what is "
            "not there"
        )

    def _detail(self, error: Any) -> str:
        return f"The hub says: {self._plain(getattr(error, 'server_message', None) or 'nothing more')}"

    def _words(self, error: Exception) -> str:
        return f"{type(error).__name__}: {self._plain(str(error))}"

    def _plain(self, text: str) -> str:
        """One line without the token, should a server have sent it back."""
        flat = " ".join(text.split())[:300]
        return flat.replace(self._token, "<token>") if self._token else flat
