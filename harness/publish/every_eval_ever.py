"""A row in the schema of Every Eval Ever: intervals, engine and settings, and each graded reply beside it.

Source: https://github.com/evaleval/every_eval_ever, eval.schema.json and instance_level_eval.schema.json, 0.3.0.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from harness.publish.results import NAME, Evaluator, Pick, PublishedResult, TaskScore, result, stated
from harness.records.record_files import read_records
from harness.types import Record, Sample, canonical_json, sha256_of

SCHEMA = "0.3.0"
_PLACE = {"strict": "in the format the task asks for", "lenient": "anywhere in the reply"}


@dataclass(frozen=True)
class Origin:
    """Where a file comes from. created: seconds since 1970, of the file; source: url of the data behind the numbers."""

    evaluator: Evaluator
    created: int
    source: str = ""


@dataclass(frozen=True)
class Replies:
    """Graded replies to publish; those of other rows may be among them. samples: id -> item, for every record."""

    records: Sequence[Record] = ()
    samples: Mapping[str, Sample] = field(default_factory=dict)


def recorded(facts: Mapping[str, Any], row: Pick, run: Path) -> Iterator[Record]:
    """The records of what is picked, from the run folder that the board was made of."""
    files = [file for one in result(facts, row).runs for file in one.get("files") or facts.get("records", ())]
    if not files:
        raise DataError(f"the board does not say where the records of row {row.row!r} are; build it again")
    for file in dict.fromkeys(files):
        yield from read_records(run / file)


def every_eval_ever(
    facts: Mapping[str, Any],
    row: Pick,
    *,
    model: str,
    origin: Origin,
    replies: Replies | None = None,
) -> dict[str, str]:
    """Path -> text: the JSON of the row, and with replies one line for each graded one beside it.

    model: "owner/name" on the hub. Raises `DataError` if the replies do not give the row's score.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise UsageError(f"a model is named like owner/name, got {model!r}")
    found = result(facts, row)
    title = found.board["title"]
    graded = _graded(found, replies or Replies())
    same = [model, title, row.row, found.digests, [[task.name, dict(task.score)] for task in found.tasks]]
    ids = {"schema_version": SCHEMA, "evaluation_id": f"{NAME}/{model.replace('/', '_')}/{sha256_of(same)[:16]}"}
    path = f"data/{NAME}/{model}/{uuid.UUID(bytes=bytes.fromhex(sha256_of(same))[:16], version=4)}"
    whole: dict[str, Any] = {
        **ids,
        "retrieved_timestamp": str(origin.created),
        "source_metadata": {
            "source_name": title,
            "source_type": "evaluation_run",
            "source_organization_name": origin.evaluator.organisation,
            **({"source_organization_url": origin.source} if origin.source else {}),
            "evaluator_relationship": origin.evaluator.relationship,
        },
        "eval_library": {"name": NAME, "version": found.facts.versions.get(NAME, "unknown")},
        "model_info": _model_info(found, model),
        "evaluation_results": [_evaluation(found, task) for task in found.tasks],
    }
    files = {}
    if graded:
        lines = [canonical_json({**ids, "model_id": model, **_instance(found, *pair)}) for pair in graded]
        files[f"{path}_samples.jsonl"] = text = "".join(f"{line}\n" for line in lines)
        whole["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": f"{path}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode()).hexdigest(),
            "total_rows": len(lines),
        }
    return {f"{path}.json": json.dumps(whole, indent=2, ensure_ascii=False) + "\n", **files}


def _model_info(found: PublishedResult, model: str) -> dict[str, Any]:
    engine, version = found.engine
    known = found.facts.engine is not None and engine != "openai"  # behind an address anything may answer
    tried = found.row.get("tried")
    return {
        "name": f"{model.split('/')[1]} ({found.pick.row})",
        "id": model,
        "developer": model.split("/")[0],
        "inference_engine": {"name": engine, "version": version},
        "additional_details": {
            "deployment_type": "self_deployed" if known else "unknown",
            "model_availability": "open_weights",  # they are in the repository
            "engine_settings": found.fact("engine"),
            "role": found.row["role"],
            "settings_tried_on_dev": "unrecorded" if tried is None else " + ".join(map(str, tried)),
            "training_seeds": ", ".join(map(str, found.seeds)) or "none",
            "weights_sha256": ", ".join(found.digests),
            **{key: found.fact(key) for key in ("base", "teacher", "budget", "sandbox")},
        },
    }


def _evaluation(found: PublishedResult, task: TaskScore) -> dict[str, Any]:
    dataset, score, reading = stated(task.name).dataset, task.score, found.reading
    source: dict[str, Any] = {"dataset_name": task.name, "source_type": "other"}
    details = {"items": task.items, "items_of_benchmark": str(task.n_items)}
    if dataset:
        source |= {"source_type": "hf_dataset", "hf_repo": dataset.path, "hf_split": "test"}
        source |= {"samples_number": score["n"]}
        details |= {"config": dataset.config or "default", "split": dataset.split}
    more = {"repeats_an_item": str(task.repeats), "notes": found.notes(task)}
    if (other := task.scores.get(found.other)) and other["value"] is not None:
        more |= {f"{found.other}_{key}": f"{other[key]:.6f}" for key in ("value", "low", "high")}
    more |= {key: str(value) for key, value in task.scores.get("counts", {}).items()}
    interval = {"lower": score["low"], "upper": score["high"], "confidence_level": 0.95, "method": score["method"]}
    return {
        "evaluation_result_id": f"{task.name}/{reading}",
        "evaluation_name": task.name,
        "source_data": source | {"additional_details": details},
        "metric_config": {
            "evaluation_description": f"Share of items answered right, {_PLACE[reading]}",
            "metric_id": f"{NAME}.{reading}_accuracy",
            "metric_name": f"{reading.capitalize()} accuracy",
            "metric_kind": "accuracy",
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
            "additional_details": {"grader": task.grader},
        },
        "score_details": {
            "score": score["value"],
            "details": more,
            "uncertainty": {"confidence_interval": interval, "num_samples": score["n"]},
        },
        "generation_config": {"additional_details": {"decoding": task.decoding}},
    }


def _graded(found: PublishedResult, replies: Replies) -> list[tuple[Record, Sample]]:
    """Those that are of the row and have a verdict, with their items. Raises `DataError` unless they give its score."""
    graded = []
    values: dict[str, dict[tuple[str, str], list[float]]] = {task.name: defaultdict(list) for task in found.tasks}
    for record in replies.records:
        value = record.scores[found.reading].value
        if record.origin.checkpoint not in found.digests or record.item.task not in values or value is None:
            continue
        sample = replies.samples.get(record.item.sample_id)
        if sample is None or sample.hash != record.item.sample_hash:
            raise DataError(
                f"what was asked as item {record.item.sample_id!r} is not known: it is not among the items given, or "
                "the task was changed since"
            )
        values[record.item.task][record.origin.checkpoint, record.item.sample_id].append(value)
        graded.append((record, sample))
    for task in found.tasks if replies.records else ():
        n, mean = _mean(values[task.name], found.digests)
        if n != task.score["n"] or abs(mean - task.score["value"]) > 1e-9:
            raise DataError(
                f"the records of {task.name} do not give the score of row {found.pick.row!r}: "
                f"{task.score['value']:.6f} over {task.score['n']} items, the records {mean:.6f} over {n}; give all "
                "record files of the row"
            )
    return graded


def _mean(values: Mapping[tuple[str, str], Sequence[float]], digests: Sequence[str]) -> tuple[int, float]:
    """How many items all checkpoints have verdicts on, and the mean over them, as a board has it; (0, 0.0) for none."""
    shared = set.intersection(*({item for digest, item in values if digest == one} for one in digests))
    means = [sum(v) / len(v) for digest in digests for item in shared if (v := values[digest, item])]
    return len(shared), sum(means) / len(means) if means else 0.0


def _instance(found: PublishedResult, record: Record, sample: Sample) -> dict[str, Any]:
    asked = "\n\n".join(message.content for message in sample.messages)
    score, beside = record.scores[found.reading], record.scores[found.other].value
    read = {"turn_idx": 0, "source": "output.raw", "extracted_value": score.answer, "is_terminal": True}
    used = {"input_tokens": record.reply.n_prompt_tokens, "output_tokens": record.reply.n_tokens}
    is_counted = record.reply.n_tokens > 0  # else nobody counted its tokens
    return {
        "evaluation_name": record.item.task,
        "evaluation_result_id": f"{record.item.task}/{found.reading}",
        "sample_id": record.item.sample_id,
        "sample_hash": hashlib.sha256((asked + sample.target).encode()).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": asked, "reference": [sample.target]},
        "output": {"raw": [record.reply.text]},
        "answer_attribution": []
        if score.answer is None
        else [read | {"extraction_method": record.origin.grader_version}],
        "evaluation": {"score": score.value, "is_correct": score.value == 1.0},
        "token_usage": used | {"total_tokens": sum(used.values())} if is_counted else None,
        "performance": {"latency_ms": 1000 * record.reply.wall_s} if is_counted else None,
        "metadata": {
            "repeat": str(record.repeat),
            "finish": record.reply.finish,
            "level": record.item.level,
            found.other: "no verdict" if beside is None else f"{beside:g}",
            "item_sha256": record.item.sample_hash,
            "prompt_sha256": record.reply.prompt_hash,
            "weights_sha256": record.origin.checkpoint,
        },
    }
