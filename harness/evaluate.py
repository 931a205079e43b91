"""One checkpoint, one task: prompts to the engine, replies to the graders while the engine decodes, one record each.

Records are appended as they come. The same call again reads what is there and generates only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness import code_grader, math_grader
from harness.errors import DataError, GraderError, boundary
from harness.protocols import CodeRunner, Engine, Task
from harness.records import Appender, read_records, record_to_json, write_json
from harness.types import Checkpoint, Generation, Record, Request, Sample, SamplingParams, Score, Split, sha256_of

NO_SANDBOX = "none needed"


@dataclass(frozen=True)
class Job:
    """What is evaluated and how: everything that decides the records, so also the key they are cached under."""

    task: Task
    split: Split
    samples: tuple[Sample, ...]
    params: SamplingParams
    repeats: int = 1

    @property
    def items_hash(self) -> str:
        """Hash of the item set, order left out."""
        return sha256_of(sorted(sample.hash for sample in self.samples))


def job(task: Task, split: Split, limit: int | None = None, temperature: float = 0.0, repeats: int = 1) -> Job:
    """The whole split of a task, or its first `limit` items, with the task's own cap on reply length."""
    with boundary(DataError, f"task {task.name!r}"):
        samples = tuple(task.samples(split)[:limit])
    if not samples:
        raise DataError(f"task {task.name!r} has no {split} items")
    seed = 0 if temperature > 0 else None
    return Job(task, split, samples, SamplingParams(task.max_tokens, temperature, stop=task.stop, seed=seed), repeats)


def grader_version(task: Task) -> str:
    """What judged the replies. A change here makes older verdicts incomparable."""
    grader = code_grader.VERSION if task.needs_sandbox else math_grader.VERSION
    return f"{task.name} {task.version}, grader {grader}"


def cache_key(job: Job, engine: Engine, checkpoint: Checkpoint, runner: CodeRunner | None) -> dict[str, object]:
    """Everything the records depend on."""
    return {
        "checkpoint": checkpoint.digest,
        "tokenizer": checkpoint.tokenizer_digest,
        "task": job.task.name,
        "task_version": job.task.version,
        "split": job.split,
        "items": job.items_hash,
        "sampling": asdict(job.params),
        "repeats": job.repeats,
        "engine": dict(engine.describe()),
        "grader": grader_version(job.task),
        "sandbox": tier(job.task, runner),
    }


def tier(task: Task, runner: CodeRunner | None) -> str:
    """The isolation that replies of this task are graded under."""
    if not task.needs_sandbox:
        return NO_SANDBOX
    if runner is None:
        raise DataError(f"task {task.name!r} runs model-written code, and no sandbox was given")
    return runner.tier


def evaluate(
    job: Job,
    engine: Engine,
    checkpoint: Checkpoint,
    runner: CodeRunner | None,
    folder: Path,
    done: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Record]:
    """One record for each sample and repeat, ordered by item and repeat; kept in `folder` under a key of all inputs.

    The engine loads the checkpoint only when something is missing. done(finished, total) follows the grading.
    """
    key = cache_key(job, engine, checkpoint, runner)
    path = folder / f"{job.task.name}-{sha256_of(key)[:16]}.jsonl"
    write_json(path.with_suffix(".json"), key)
    wanted = {f"{s.id}#{r}": (s, r) for s in job.samples for r in range(job.repeats)}
    records = {f"{r.sample_id}#{r.repeat}": r for r in read_records(path)}
    missing = {name: place for name, place in wanted.items() if name not in records}
    done(len(wanted) - len(missing), len(wanted))
    if missing:
        engine.load(checkpoint)
        if cache_key(job, engine, checkpoint, runner) != key:  # the engine fell back to another one as it started
            return evaluate(job, engine, checkpoint, runner, folder, done)
        requests = [Request(name, s.messages, _seeded(job.params, r)) for name, (s, r) in missing.items()]
        with Appender(path) as out:
            for name, record in _graded(requests, missing, job, engine, checkpoint, runner):
                out.add(record_to_json(record))
                records[name] = record
                done(len(records), len(wanted))
    lost = [name for name in wanted if name not in records]
    if lost:
        raise DataError(f"engine {engine.name!r} gave no reply for {len(lost)} requests, first {lost[0]!r}")
    return [records[name] for name in wanted]


def _graded(
    requests: Sequence[Request],
    places: dict[str, tuple[Sample, int]],
    job: Job,
    engine: Engine,
    checkpoint: Checkpoint,
    runner: CodeRunner | None,
) -> Iterator[tuple[str, Record]]:
    """Graded replies, as they finish. Threads only wait here: sandboxed code runs in the sandbox's own processes."""
    described = engine.describe()
    common = {
        "task": job.task.name,
        "task_version": job.task.version,
        "checkpoint": checkpoint.digest,
        "engine": f"{described['engine']} {described['version']} {described['dtype']}",
        "grader_version": grader_version(job.task),
        "sandbox": tier(job.task, runner),
    }

    def grade(generation: Generation) -> tuple[str, Record]:
        sample, repeat = places[generation.key]
        return generation.key, Record(
            **common,
            sample_id=sample.id,
            sample_hash=sample.hash,
            repeat=repeat,
            prompt_hash=generation.prompt_hash,
            # an engine whose replies were drawn elsewhere says so; ours are drawn as asked
            sampling=described.get("sampling", _plain(_seeded(job.params, repeat))),
            text=generation.text,
            n_prompt_tokens=generation.n_prompt_tokens,
            n_tokens=generation.n_tokens,
            finish=generation.finish,
            wall_s=generation.wall_s,
            scores=verdicts(job.task, sample, generation, runner),
            error=generation.error,
            level=str(sample.metadata.get("level", "")),
        )

    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="grade") as pool:
        waiting = []
        for generation in engine.generate(requests):
            waiting.append(pool.submit(grade, generation))
            while waiting and waiting[0].done():
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def verdicts(task: Task, sample: Sample, generation: Generation, runner: CodeRunner | None) -> dict[str, Score]:
    """The task's verdicts, with the two rules no task may bend: no reply is no verdict, a cut reply is not right."""
    if generation.finish == "error":
        nothing = Score(None, why=f"no reply: {generation.error}")
        return {"strict": nothing, "lenient": nothing}
    with boundary(GraderError, f"grader of task {task.name!r}, item {sample.id!r}"):
        scores = dict(task.score(sample, generation.text, runner))
    if generation.finish == "length" and scores["strict"].value:
        scores["strict"] = replace(scores["strict"], value=0.0, why="right, but cut off at max_tokens")
    return scores


def _seeded(params: SamplingParams, repeat: int) -> SamplingParams:
    return params if params.seed is None else replace(params, seed=params.seed + repeat)


def _plain(params: SamplingParams) -> dict[str, object]:
    """As JSON gives it back, so that a record read again equals the one written."""
    return asdict(params) | {"stop": list(params.stop)}
