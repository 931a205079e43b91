"""A finished evaluation as the files of other tools: lm-eval's results and samples, and a log for Inspect's viewer.

Made from the records alone, and named by the time the evaluation began: the same command writes the same files again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.checkpoints import chat_template
from harness.evaluation.evaluate import Evaluation
from harness.interop.inspect_write import InspectLog, InspectRun, inspect_log
from harness.interop.lm_eval_files import results_file, sample_rows, task_scores, write_lm_eval
from harness.protocols import GradedItem, ItemTask
from harness.types import RAW, Generation, Sample

OpenLog = Callable[[], AbstractContextManager[InspectLog]]
MAX_LOGGED = 100_000  # replies in one Inspect log: its viewer lists them all at once


def export(home: Path, model: str, found: Sequence[Evaluation]) -> list[Path]:
    """The files written under `home`: `lm_eval/<model>/...` for all tasks, `logs/...eval` for each.

    A log of more than `MAX_LOGGED` replies is left out.
    """
    began = min(_began(evaluation) for evaluation in found)
    stamp = began.strftime("%Y-%m-%dT%H-%M-%S.%f")
    samples, logs = {}, []
    for evaluation in found:
        run = _inspect_run(model, evaluation, began)
        path = home / "logs" / run.file_name
        is_logged = len(evaluation.job.samples) * run.repeats <= MAX_LOGGED
        logs += [path] * is_logged
        samples[_name(evaluation)] = _rows(evaluation, partial(inspect_log, path, run) if is_logged else None)
    return write_lm_eval(home / "lm_eval", model, stamp, _results(model, found), samples) + logs


def _began(evaluation: Evaluation) -> datetime:
    return datetime.fromtimestamp((evaluation.folder / "key.json").stat().st_mtime, UTC)


def _name(evaluation: Evaluation) -> str:
    """The task's name in lm-eval's files; lm-eval's own tasks have no prefix there."""
    task = evaluation.job.task
    return task.stock_name if isinstance(task, ItemTask) else task.name


def _rows(evaluation: Evaluation, log: OpenLog | None) -> Iterator[Mapping[str, Any]]:
    """The lines of lm-eval's file of samples; on the way every record goes into Inspect's log, if there is one."""
    task = evaluation.job.task
    with log() if log else nullcontext() as opened:
        for sample, records, prompt in evaluation.items():
            if opened:
                for record in records:
                    opened.add(sample, record)
            if not isinstance(task, ItemTask):
                yield from sample_rows(sample, records, prompt)
    if isinstance(task, ItemTask):
        filters = list(dict.fromkeys(name for *_, graded in _graded(evaluation) for name in graded.filtered))
        for name in filters:  # all lines of one filter, then those of the next, as lm-eval has it
            for sample, replies, graded in _graded(evaluation):
                yield from (row for row in task.sample_rows(sample, replies, graded) if row["filter"] == name)


def _graded(evaluation: Evaluation) -> Iterator[tuple[Sample, list[Generation], GradedItem]]:
    with evaluation.open() as store:
        for item, sample in enumerate(evaluation.job.samples):
            yield sample, store.replies(item), store.verdict(item)


def _results(model: str, found: Sequence[Evaluation]) -> dict[str, Any]:
    """The content of lm-eval's results file."""
    ours = [evaluation for evaluation in found if not isinstance(evaluation.job.task, ItemTask)]
    scores = {
        e.job.task.name: task_scores(
            e.job.task.name, e.job.task.version, e.summary.columns, len(e.job.task.samples(e.job.split))
        )
        for e in ours
    }
    configs = {
        e.job.task.name: {
            "task": e.job.task.name,
            "output_type": "generate_until",
            "repeats": e.job.repeats,
            "generation_kwargs": e.job.sampling,
            "metadata": {"version": e.job.task.version, "grader": e.verdicts_key["grader"], "split": e.job.split},
        }
        for e in ours
    }
    first = found[0]
    config = {
        "model": first.engine.engine,
        "model_args": {"pretrained": model, **{k: v for k, v in first.engine.as_json().items() if k != "engine"}},
        "weights_digest": first.checkpoint.digest,
    }
    chats = any(sample.messages[0].role != RAW for evaluation in ours for sample in evaluation.job.samples[:1])
    folder = first.checkpoint.path
    results = results_file(
        scores,
        configs,
        config,
        date=min(_began(evaluation) for evaluation in found).timestamp(),
        lm_eval_version=version("lm_eval"),
        chat_template=chat_template(folder) if chats and folder.is_dir() else None,
    )
    for evaluation in found:
        task = evaluation.job.task
        if isinstance(task, ItemTask):
            metrics = [graded.metrics for *_, graded in _graded(evaluation)]
            results["results"][task.stock_name] = dict(task.aggregate(metrics))
            about = task.sections(evaluation.job.samples, metrics)
            for section, value in about.items():
                if section != "task_hashes":  # computed from the rows, as they are written
                    results[section][task.stock_name] = value
    return results


def _inspect_run(model: str, evaluation: Evaluation, began: datetime) -> InspectRun:
    job = evaluation.job
    repeats = max(len(job.asks(sample)) for sample in job.samples)
    return InspectRun(
        task=job.task.name,
        task_version=job.task.version,
        model=model,
        created=began.isoformat(timespec="seconds"),
        n_items=len(job.samples),
        repeats=repeats,
        split=job.split,
        sampling=job.sampling,
        checkpoint=evaluation.checkpoint.digest,
        metadata={"engine": evaluation.engine.as_json(), "grader": evaluation.verdicts_key["grader"]},
        packages={"srlm-harness": version("srlm-harness")},
    )
