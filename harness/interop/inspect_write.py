"""Writes logs that Inspect (inspect_ai) and its viewer can open.

A `.eval` file is a zip: `_journal/start.json`, `samples/<id>_epoch_<n>.json` (an id may contain "/", as in Inspect),
`summaries.json` (the viewer's list) and `header.json`. Format version 2, as written by inspect_ai 0.3.285, whose
`log/_log.py` names every field; inspect_ai itself is not imported. A `.json` log is one object with all samples in it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from harness.errors import DataError
from harness.types import RAW, READINGS, Message, Record, Sample, Score, sha256_of

FORMAT = 2
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip's own times: equal input gives equal bytes
_THIN = 1000  # characters of a text in a summary, Inspect's own bound
_STOP_REASONS = {"stop": "stop", "length": "max_tokens", "error": "unknown"}


@dataclass(frozen=True)
class InspectRun:
    """The facts of a whole run in a log. created, started, completed: ISO 8601 with offset, given by the caller."""

    task: str
    task_version: str
    model: str  # "org/name", or a strategy's name
    created: str
    n_items: int
    graders: tuple[str, ...] = READINGS  # the first is shown as the main score
    repeats: int = 1
    started: str = ""
    completed: str = ""
    split: str = "test"
    sampling: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""  # weights digest
    strategy: str = ""
    seed: int | None = None  # of the training run
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)  # JSON data: engine, grader version, hardware, ...
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The run's id of 22 characters; equal runs have equal ids."""
        what = (self.task, self.task_version, self.split, self.model, self.checkpoint, self.strategy, self.seed)
        return _short_id([*what, dict(self.sampling), self.repeats, self.created])

    @property
    def file_name(self) -> str:
        """The file name that Inspect would use, so that its list shows the time and the task."""
        parts = (re.sub(r"[^\w-]+", "-", part) for part in (self.created, self.task))
        return f"{'_'.join(parts)}_{self.id}.eval"


@contextlib.contextmanager
def inspect_log(path: Path, run: InspectRun) -> Iterator[InspectLog]:
    """A log to add replies to, written atomically when the block ends; the same input gives the same bytes.

    The results are, per grader, the mean over items (of an item's mean over its repeats) and its standard error, as
    Inspect computes them; a verdict of None is unscored, not wrong.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with (
            tempfile.TemporaryFile("w+b", dir=path.parent) as summaries,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            log = InspectLog(run, archive, summaries)
            yield log
            log.end()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class InspectLog:
    """A log that is being written. Memory holds each item's sums and what a zip's list of contents needs."""

    def __init__(self, run: InspectRun, archive: zipfile.ZipFile, summaries: IO[bytes]) -> None:
        self._run, self._archive, self._summaries = run, archive, summaries
        self._totals, self._n = _Totals(run), 0
        self._spec = _spec(run)
        self._plan = {"name": "plan", "steps": [], "config": self._spec["model_generate_config"]}
        _add(archive, "_journal/start.json", _json({"version": FORMAT, "eval": self._spec, "plan": self._plan}))

    def add(self, sample: Sample, record: Record) -> None:
        """Add one reply to an item, in any order.

        Raises `DataError` for a reply given twice, or an id that no file name in a zip may have.
        """
        if record.item.sample_id != sample.id:
            raise ValueError(f"item {sample.id!r} came with a record of item {record.item.sample_id!r}")
        name = _member_name(sample.id, record.repeat + 1)
        if name in self._archive.NameToInfo:
            raise DataError(f"{sample.id!r}, repeat {record.repeat} came twice; a log holds each reply once")
        self._summaries.write(b"," if self._n else b"[")
        self._n += 1
        whole = _sample(self._run, sample, record)
        _add(self._archive, name, _json(whole))
        self._summaries.write(_json(_summary(whole)))
        self._totals.add(record)

    def end(self) -> None:
        """Add what Inspect expects after the replies: their summaries and the header."""
        run, spec = self._run, self._spec
        self._summaries.write(b"]" if self._n else b"[]")
        self._summaries.seek(0)
        with self._archive.open(_info("summaries.json"), "w") as out:
            while block := self._summaries.read(1 << 20):
                out.write(block)
        header = {
            "version": FORMAT,
            "status": "success",
            "eval": spec,
            "plan": self._plan,
            "results": self._totals.results(),
            "stats": {
                "started_at": run.started or run.created,
                "completed_at": run.completed or run.started or run.created,
                "model_usage": {run.model: self._totals.usage},
                "role_usage": {},
            },
            "invalidated": False,
            "tags": spec["tags"],
            "metadata": spec["metadata"],
        }
        _add(self._archive, "header.json", _json(header))


def _spec(run: InspectRun) -> dict[str, Any]:
    """Inspect's EvalSpec: the task, the model and their settings."""
    tags = [tag for tag in (run.strategy, f"seed {run.seed}" if run.seed is not None else "", *run.tags) if tag]
    about = {"checkpoint": run.checkpoint, "strategy": run.strategy, "seed": run.seed}
    metrics = [{"name": "inspect_ai/accuracy", "options": {}}, {"name": "inspect_ai/stderr", "options": {}}]
    return {
        "eval_id": _short_id([run.id, "eval"]),
        "run_id": _short_id([run.id, "run"]),
        "created": run.created,
        "task": run.task,
        "task_id": run.id,
        "task_version": run.task_version,
        "task_display_name": run.task,
        "task_attribs": {},
        "task_args": {},
        "task_args_passed": {},
        "tags": tags,
        "dataset": {"name": f"{run.task}/{run.split}", "samples": run.n_items, "shuffled": False},
        "model": run.model,
        "model_generate_config": _generate_config(run.sampling),
        "model_args": {},
        "config": {"epochs": run.repeats, "epochs_reducer": ["mean"], "fail_on_error": False, "log_samples": True},
        "packages": dict(run.packages),
        "metadata": {**{k: v for k, v in about.items() if v not in ("", None)}, **run.metadata},
        "scorers": [{"name": name, "options": {}, "metrics": metrics, "metadata": {}} for name in run.graders],
    }


def _generate_config(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling parameters by Inspect's names; parameters without such a name are in the samples' metadata."""
    named = {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed"}
    config = {theirs: sampling[ours] for ours, theirs in named.items() if sampling.get(ours) is not None}
    if sampling.get("top_k"):
        config["top_k"] = sampling["top_k"]
    if sampling.get("stop"):
        config["stop_seqs"] = list(sampling["stop"])
    return config


def _sample(run: InspectRun, sample: Sample, record: Record) -> dict[str, Any]:
    """Inspect's EvalSample. Its input is plain text if it is a single message, else the chat."""
    chat = [_chat_message(message, i, run, sample) for i, message in enumerate(sample.messages)]
    single = len(chat) == 1 and chat[0]["role"] == "user"
    epoch = record.repeat + 1
    uuid = _short_id([run.id, sample.id, epoch])
    usage = {
        "input_tokens": record.reply.n_prompt_tokens,
        "output_tokens": record.reply.n_tokens,
        "total_tokens": record.reply.n_prompt_tokens + record.reply.n_tokens,
    }
    reply = {"id": uuid, "content": record.reply.text, "source": "generate", "role": "assistant", "model": run.model}
    failed = record.reply.finish == "error"
    choices = [] if failed else [{"message": reply, "stop_reason": _STOP_REASONS[record.reply.finish]}]
    whole: dict[str, Any] = {
        "id": sample.id,
        "epoch": epoch,
        "input": chat[0]["content"] if single else chat,
        "target": sample.target,
        "messages": chat if failed else [*chat, reply],
        "output": {
            "model": run.model,
            "choices": choices,
            "completion": record.reply.text,
            "usage": usage,
            "time": record.reply.wall_s,
        },
        "scores": {} if failed else {name: _score(record.scores[name]) for name in run.graders},
        "metadata": {
            "level": record.item.level,
            "sample_hash": record.item.sample_hash,
            "prompt_hash": record.reply.prompt_hash,
            "checkpoint": record.origin.checkpoint,
            "engine": record.origin.engine,
            "grader": record.origin.grader_version,
            "sandbox": record.origin.sandbox,
            "sampling": dict(record.origin.sampling),
        },
        "store": {},
        "events": [],
        "model_usage": {run.model: usage},
        "role_usage": {},
        "total_time": record.reply.wall_s,
        "working_time": record.reply.wall_s,
        "uuid": uuid,
        "error_retries": [],
        "attachments": {},
        "turn_count": int(not failed),
    }
    if failed:
        message = record.reply.error or "no reply"
        whole["error"] = {"message": message, "traceback": message, "traceback_ansi": message}
        whole["output"]["error"] = message
    return whole


def _chat_message(message: Message, place: int, run: InspectRun, sample: Sample) -> dict[str, Any]:
    role = "user" if message.role == RAW else message.role
    number = _short_id([run.id, sample.id, "message", place])
    return {"id": number, "content": message.content, "source": "input", "role": role}


def _score(score: Score) -> dict[str, Any]:
    """Inspect's Score. "C" and "I" for right and wrong; None is NaN, Inspect's mark for "unscored".

    Inspect's "N" cannot be used: it counts as wrong.
    """
    value: Any = {None: math.nan, 1.0: "C", 0.0: "I"}.get(score.value, score.value)
    found = {"value": value, "answer": score.answer, "explanation": score.why or None}
    return {key: part for key, part in found.items() if part is not None}


def _summary(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Inspect's EvalSampleSummary for the list of samples, with long texts shortened."""
    same = ("id", "epoch", "model_usage", "role_usage", "total_time", "working_time", "uuid", "turn_count")
    metadata = {k: v for k, v in whole["metadata"].items() if not isinstance(v, str | dict) or len(str(v)) < _THIN}
    return {
        **{key: whole[key] for key in same},
        "input": _thin(whole["input"]),
        "target": _thin(whole["target"]),
        "metadata": metadata,
        "scores": {name: {k: _thin(v) for k, v in score.items()} for name, score in whole["scores"].items()},
        **({"error": _thin(whole["error"]["message"])} if "error" in whole else {}),
        "retries": 0,
        "completed": True,
        "message_count": len(whole["messages"]),
    }


def _thin(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _THIN else value[:_THIN] + "..."
    if isinstance(value, list):
        return [{**part, "content": _thin(part["content"])} for part in value]
    return value


class _Totals:
    """Totals over all samples for the header: per grader a sum and a count for each item, and tokens."""

    def __init__(self, run: InspectRun) -> None:
        self._run = run
        self._sums: dict[str, dict[str, tuple[float, int]]] = {name: {} for name in run.graders}
        self._n = self._failed = 0
        self.usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}

    def add(self, record: Record) -> None:
        self._n += 1
        self._failed += record.reply.finish == "error"
        self.usage["input_tokens"] += record.reply.n_prompt_tokens
        self.usage["output_tokens"] += record.reply.n_tokens
        self.usage["total_tokens"] += record.reply.n_prompt_tokens + record.reply.n_tokens
        for name, sums in self._sums.items():
            value = record.scores[name].value
            total, n = sums.get(record.item.sample_id, (0.0, 0))
            sums[record.item.sample_id] = (total, n) if value is None else (total + value, n + 1)

    def results(self) -> dict[str, Any]:
        """Inspect's EvalResults."""
        first = self._run.graders[0]
        return {
            "total_samples": self._n,
            "completed_samples": self._n - self._failed,
            "scores": [self._scored(name) for name in self._run.graders],
            "headline": {"scorer": first, "score": first, "metric": "accuracy"},
        }

    def _scored(self, name: str) -> dict[str, Any]:
        values = [total / n for total, n in self._sums[name].values() if n]
        mean, error = mean_and_stderr(values)
        metrics = {"accuracy": mean, "stderr": error}
        return {
            "name": name,
            "scorer": name,
            "reducer": "mean",
            "scored_samples": len(values),
            "unscored_samples": len(self._sums[name]) - len(values),
            "params": {},
            "metrics": {key: {"name": key, "value": value, "params": {}} for key, value in metrics.items()},
        }


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error (sample deviation / sqrt(n)); as in Inspect, NaN for no values, error 0.0 for one."""
    n = len(values)
    if n == 0:
        return math.nan, math.nan
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n) if n > 1 else 0.0


def _member_name(sample_id: str, epoch: int) -> str:
    """The file name by which Inspect finds a sample. Raises `DataError` for an id that would leave the folder."""
    parts = sample_id.split("/")
    if not sample_id or "" in parts or ".." in parts or "." in parts or re.search(r"[\\\x00-\x1f]", sample_id):
        raise DataError(f"item id {sample_id!r} cannot name a file in a log: give the item an id like 'task/test/0001'")
    return f"samples/{sample_id}_epoch_{epoch}.json"


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(_info(name), content)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info


def _json(value: Any) -> bytes:
    """The value as JSON bytes, with NaN as Inspect writes it; a lone surrogate in a reply becomes "?"."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace")


def _short_id(parts: Any) -> str:
    """22 letters and digits, the length of Inspect's own ids."""
    return sha256_of(parts)[:22]
