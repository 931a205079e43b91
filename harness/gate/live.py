"""Evaluate a checkpoint for the gate, look by look; generation stops as soon as there is a verdict."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.board.entries import RecordFiles, Run
from harness.engines.model_folder import open_model
from harness.errors import NotComparable
from harness.evaluation import task_lookup
from harness.evaluation.eval_models import sandbox_for, served_model, shown_by
from harness.evaluation.evaluate import Evaluation, evaluate, summarised
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import EvalJob, job
from harness.gate.check import Attempts, Candidate, Checked, Comparison
from harness.gate.lock import PerItem, shortened
from harness.protocols import Progress
from harness.records.run_folder import ensure_writable, exclusive_use, full_disk_is_named
from harness.statistics.sequential import seen
from harness.types import Sampling


@dataclass(frozen=True)
class CheckRequest:
    """The model to evaluate, the engine, and the folder of its replies (used by this candidate only).

    candidate: identifies its attempts; empty: its weights do. family: the run it is a checkpoint of, if known.
    """

    model: str
    name: str
    folder: Path
    engine: str = "auto"
    engine_options: tuple[tuple[str, str], ...] = ()
    allow_weak_sandbox: bool = False
    candidate: str = ""
    family: str = ""


def evaluated(asked: CheckRequest, comparison: Comparison, attempts: Attempts, progress: Progress) -> Checked:
    """The scores of a model on as many of the lock's items as the verdict needs, and that verdict; replies are kept.

    The verdict is that of its earlier attempts and this one. If this one could not change it, nothing is generated, and
    the last attempt comes back. Raises `NotComparable` if the items here differ from those of the baseline.
    """
    from harness.engines.opening import check_engine, open_engine

    check_engine(asked.engine, dict(asked.engine_options))
    lock, baseline = comparison.lock, comparison.baselines["release"]
    jobs = [_job(task, ids, baseline, lock.samples) for task, ids in lock.items.items()]
    served = served_model(asked.model, asked.engine, dict(asked.engine_options))
    checkpoint = served or open_model(asked.model, progress.say)
    weights = "" if served else checkpoint.digest
    who = Candidate(weights, asked.candidate, asked.family)
    earlier = attempts.of(who)
    if earlier and (settled := comparison.settled(earlier, weights)):
        progress.say(f"{settled.verdict} in an earlier attempt, which stands: nothing is generated")
        return Checked(who, replace(earlier[-1].scores, name=asked.name), earlier, settled)
    ensure_writable(asked.folder)
    with exclusive_use(asked.folder), full_disk_is_named(asked.folder), contextlib.ExitStack() as closing:
        runner = sandbox_for([part.task for part in jobs], asked.allow_weak_sandbox, closing)
        graders = closing.enter_context(Graders(runner))
        engine = open_engine(asked.engine, progress.say, dict(asked.engine_options))
        closing.callback(engine.close)
        found: list[Evaluation] = []
        fractions = comparison.settings.fractions
        for before, share in zip((0.0, *fractions), fractions, strict=False):
            for part in jobs:
                n = len(part.samples)
                batch = replace(part, samples=part.samples[seen(n, before) : seen(n, share)])
                if batch.samples:
                    with progress.step(f"{part.task.name}, to {100 * share:.0f} %", 1.0) as tick:
                        shown = shown_by(tick)
                        found.append(evaluate(batch, engine, checkpoint, graders, asked.folder / "evals", shown))
            columns, content = summarised(found)
            candidate = PerItem.of(asked.name, Run(checkpoint.digest, columns, records=RecordFiles(content=content)))
            made = attempts.joined(candidate, who)
            decision = comparison.decided(made, in_part=share != fractions[-1])
            progress.say(f"after {decision.n_used:,} of {decision.n:,} items: {decision.verdict}")
            if decision.over:
                break
        return Checked(who, candidate, made, decision)


def _job(name: str, ids: Sequence[str], baseline: PerItem, samples: int) -> EvalJob:
    """The lock's items of a task in its order, with the sampling of the baseline."""
    task = task_lookup.open_task(name)
    hashes = {item.id: item.item for item in baseline.items if item.task == name}
    if baseline.published:
        raise NotComparable(
            "the sampling settings of a published score are not recorded: evaluate the model with `harness eval`, then "
            "check that run: harness gate check RUN"
        )
    settings = [json.loads(text) for text in baseline.rules[name]["decoding"]]
    if any(not {"temperature", "top_p", "top_k", "max_tokens", "seed"} <= of.keys() for of in settings):
        raise NotComparable(
            f"the baseline's sampling settings for {name} are not recorded, so a model cannot be evaluated alike; "
            "accept a baseline made by `harness eval`, or check an existing run: harness gate check RUN"
        )
    first = min(settings, key=lambda of: of["seed"] or 0)
    for split in ("test", "dev"):
        for chat in (True, False):
            how = Sampling(
                samples,
                temperature=first["temperature"],
                top_p=first["top_p"],
                top_k=first["top_k"],
                max_tokens=first["max_tokens"],
                seed=first["seed"] or 0,
                chat=chat,
            )
            whole = job(task, split, sampling=how)
            here = {sample.id: sample for sample in whole.samples}
            if all(id_ in here and shortened(here[id_].hash) == hashes[id_] for id_ in ids):
                return replace(whole, samples=tuple(here[id_] for id_ in ids))
    raise NotComparable(
        f"the items of {name} here are not those of the baseline: other data, or another version of the task "
        f"({task.version}); evaluate the baseline again and accept it"
    )
