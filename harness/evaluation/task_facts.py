"""What a board records of an evaluated task, from the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.board.facts import Decoding, TaskFacts, shared_decoding
from harness.evaluation.job import EvalJob, grader_version, params_json
from harness.protocols import ItemTask
from harness.records.test_set_log import EvaluationLog
from harness.types import EngineInfo


def task_facts(job: EvalJob, log: EvaluationLog, engine: EngineInfo) -> TaskFacts:
    """What was evaluated of one task, how replies were drawn and who graded them.

    engine: as it describes itself; one whose replies were drawn elsewhere says how.
    """
    n, ids = len(job.samples), [sample.id for sample in job.samples]
    whole = [sample.id for sample in job.task.samples(job.split)]
    return TaskFacts(
        split=job.split,
        n_items=n,
        n_of_split=len(whole),
        limit=n if n < len(whole) and ids == whole[:n] else None,
        items_hash=job.items_hash,
        repeats=None if isinstance(job.task, ItemTask) else job.repeats,
        decoding=_decoding(job, engine.sampling),
        grader=grader_version(job.task),
        n_evaluated=log.count(job.items_hash) or None,
    )


def _decoding(job: EvalJob, elsewhere: Mapping[str, Any] | None) -> Decoding | None:
    """What all generated replies have in common; None if log-probabilities are all that is asked for."""
    if elsewhere is not None:
        return Decoding.of_record(elsewhere)
    asks = [ask for sample in job.samples[: None if isinstance(job.task, ItemTask) else 1] for ask in job.asks(sample)]
    drawn = (params_json(ask.params) for ask in asks if ask.continuation is None)
    return shared_decoding(map(Decoding.of_record, drawn))
