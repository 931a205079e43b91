"""One model evaluated alone, or the recorded replies of one scored through the same path."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.board.build import build_board
from harness.board.entries import Board, Entry, RecordFiles, Run
from harness.board.facts import BoardFacts, EngineFacts, Note
from harness.checkpoints import template_warning
from harness.engines.model_folder import open_model
from harness.errors import EngineError, UsageError
from harness.evaluation import task_lookup
from harness.evaluation.evaluate import Evaluation, evaluate, summarised
from harness.evaluation.export import export
from harness.evaluation.forecast import Standing
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import EvalJob, job, known_defects
from harness.evaluation.task_facts import task_facts
from harness.interop.recorded_differences import count_kinds, differences
from harness.interop.recorded_read import model_name
from harness.protocols import CodeRunner, Engine, ItemTask, Progress, Task
from harness.records.columns import Columns
from harness.records.run_folder import ensure_writable, exclusive_use, full_disk_is_named
from harness.records.test_set_log import EvaluationLog, LoggedEvaluation
from harness.rendering import tables
from harness.statistics import intervals, k_metrics
from harness.statistics.k_metrics import KMetric
from harness.types import READINGS, Checkpoint, Sampling, Split


@dataclass(frozen=True)
class ModelChoice:
    """Whose replies are evaluated: those of models on an engine, or recorded ones. name: of the row."""

    models: tuple[str, ...] = ()
    engine: str = "auto"
    engine_options: tuple[tuple[str, str], ...] = ()  # arguments of the engine's constructor
    generations: Path | None = None  # recorded replies; None: a model answers
    field: str = ""  # which model's, if a row of the file holds several
    name: str = ""
    tokenizer: str = ""  # folder or hub name; "": the models' own

    def row(self, model: str) -> str:
        """The name of a row: as asked for, else the model's folder, else the file and column."""
        if self.generations is None:
            own = Path(model).name
            same = [other for other in self.models if Path(other).name == own]
            return self.name or (own if len(same) == 1 else model)
        stem = model_name(self.generations)
        return self.name or stem + (f" {self.field}" if self.field else "")


@dataclass(frozen=True)
class SamplingChoice:
    """How replies are drawn, as far as the user sets it. None: as the task sets it; our own tasks are greedy."""

    repeats: int = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int = 0
    chat: bool | None = None  # None: chats for our tasks, plain text for those of lm-eval
    num_fewshot: int | None = None

    def of_own_tasks(self) -> Sampling:
        """How replies to our own tasks are drawn."""
        return Sampling(
            self.repeats,
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            max_tokens=self.max_tokens,
            seed=self.seed,
            chat=self.chat is not False,
        )

    def gen_kwargs(self) -> dict[str, Any]:
        """The settings that replace a task's own, by lm-eval's names."""
        drawn = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_gen_toks": self.max_tokens,
        }
        return {key: value for key, value in drawn.items() if value is not None}


@dataclass(frozen=True)
class Output:
    """Where everything is written, and what is reported."""

    folder: Path
    metrics: tuple[KMetric, ...] = ()
    allow_errors: bool = False  # report although some replies failed; they are counted, and not part of the score


@dataclass(frozen=True)
class EvalRequest:
    """What `harness eval` was asked for."""

    tasks: tuple[str, ...]
    replies: ModelChoice
    output: Output
    sampling: SamplingChoice = SamplingChoice()
    split: Split = "test"
    limit: int | None = None
    allow_weak_sandbox: bool = False


@dataclass(frozen=True)
class EvalResult:
    """board: a row for each model. paths: their facts as JSON. more: extra lines for the terminal."""

    board: Board
    paths: list[Path]
    more: list[str]


def run(asked: EvalRequest, progress: Progress) -> EvalResult:
    """Evaluate and write the result. Raises `UsageError` for options that do not go together."""
    if (asked.replies.engine == "replay") != (asked.replies.generations is not None):
        raise UsageError("--engine replay and --generations FILE go together: the one names what the other reads")
    if (asked.replies.generations is None) != bool(asked.replies.models):
        raise UsageError("give either --model, or --engine replay with --generations")
    if asked.replies.name and len(asked.replies.models) > 1:
        raise UsageError(f"--name is for one model, got {len(asked.replies.models)}: {', '.join(asked.replies.models)}")
    _check_engine(asked.replies)
    names = task_lookup.expand(asked.tasks, asked.split)
    if asked.replies.generations is not None and len(names) != 1:
        raise UsageError(f"recorded replies belong to one task, got {', '.join(names)}")
    chats = asked.sampling.chat or (
        asked.sampling.chat is None and not all(name.startswith(task_lookup.STOCK) for name in names)
    )
    checkpoints = {model: _opened(model, asked, bool(chats), progress) for model in dict.fromkeys(asked.replies.models)}
    tasks = [_open(name, asked, next(iter(checkpoints.values()), None)) for name in names]
    _refuse_odd_sampling(tasks, asked)
    ensure_writable(asked.output.folder)
    with exclusive_use(asked.output.folder), full_disk_is_named(asked.output.folder), contextlib.ExitStack() as closing:
        graders = closing.enter_context(Graders(sandbox_for(tasks, asked.allow_weak_sandbox, closing)))
        if asked.replies.generations is not None:
            return _replay(asked, asked.replies.generations, tasks[0], graders, progress)
        from harness.engines.opening import open_engine

        for warning in filter(None, (template_warning(of.path) for of in checkpoints.values() if chats)):
            progress.say(f"warning: {warning}")
        engine = open_engine(asked.replies.engine, progress.say, dict(asked.replies.engine_options))
        closing.callback(engine.close)
        jobs = [
            job(task, asked.split, _smaller(asked.limit, names[task.name]), asked.sampling.of_own_tasks())
            for task in tasks
        ]
        if asked.split == "test":  # before the first: every row tells the same number
            models = [(asked.replies.row(model), checkpoint.digest) for model, checkpoint in checkpoints.items()]
            EvaluationLog(asked.output.folder).add(
                LoggedEvaluation(j.items_hash, digest, j.task.name, who) for who, digest in models for j in jobs
            )
        results, tools = [], _Tools(engine, graders, progress)
        for model, checkpoint in checkpoints.items():
            found = _evaluate(asked, jobs, checkpoint, model, tools)
            results.append(_write(asked, asked.replies.row(model), found, {}))
    return _together(results)


def outline(asked: EvalRequest) -> list[str]:
    """What `run` would ask, one line a task, without an engine; reads the data, not the models."""
    from harness.engines.opening import engine_gpus_lines

    _check_engine(asked.replies)
    names = task_lookup.expand(asked.tasks, asked.split)
    tasks = [_open(name, asked, None) for name in names]
    _refuse_odd_sampling(tasks, asked)
    lines, total = [], 0
    for task in tasks:
        part = job(task, asked.split, _smaller(asked.limit, names[task.name]), asked.sampling.of_own_tasks())
        asks = [ask for sample in part.samples for ask in part.asks(sample)]
        most = sum(ask.params.max_tokens for ask in asks if ask.continuation is None)
        total += most
        n, found = len(part.samples), 100 * intervals.detectable(intervals.DISCORDANCE, len(part.samples))
        drawn = f"at most {most:,} tokens" if most else "log-probabilities only"
        lines.append(
            f"{task.name}: {n:,} {asked.split} items, {len(asks):,} requests, {drawn}; tells {found:.1f} points"
        )
    models = max(1, len(asked.replies.models))
    lines.append(f"in all at most {models * total:,} generated tokens for {models} model{'s' if models > 1 else ''}")
    if asked.replies.generations is None:
        lines += engine_gpus_lines(asked.replies.engine, dict(asked.replies.engine_options))
    return [*lines, "(points: the smallest difference found with 80 % power, one fifth of items differing)"]


def _check_engine(replies: ModelChoice) -> None:
    """Raise at once what opening the engine would raise after the models were read."""
    from harness.engines.opening import check_engine

    if replies.generations is None:
        check_engine(replies.engine, dict(replies.engine_options))


def _together(results: Sequence[EvalResult]) -> EvalResult:
    """One board of all rows, in the order they were asked for; each row was made under the same rules."""
    if len(results) == 1:
        return results[0]
    rows = sorted((row for r in results for row in r.board.rows), key=lambda row: -(row["strict"]["value"] or 0.0))
    notes = list(dict.fromkeys(note for r in results for note in r.board.notes))
    board = replace(results[0].board, title=f"{len(results)} models", rows=rows, notes=notes)
    return EvalResult(board, [p for r in results for p in r.paths], [line for r in results for line in r.more])


def _opened(model: str, asked: EvalRequest, chats: bool, progress: Progress) -> Checkpoint:
    """What a model's name means to an engine: a folder or a name on the hub, or a model that a server holds."""
    replies = asked.replies
    return served_model(model, replies.engine, dict(replies.engine_options)) or open_model(
        model, progress.say, replies.tokenizer, chats
    )


def served_model(model: str, engine: str, options: Mapping[str, str]) -> Checkpoint | None:
    """The model of a server, if the engine is one."""
    if engine != "openai":
        return None
    from harness.engines.openai import served

    return served(options.get("base_url", ""), model)


def _open(name: str, asked: EvalRequest, checkpoint: Checkpoint | None) -> Task:
    if not name.startswith(task_lookup.STOCK):
        return task_lookup.open_task(name)
    return task_lookup.open_task(
        name,
        chat_from=checkpoint.path if asked.sampling.chat and checkpoint else None,
        num_fewshot=asked.sampling.num_fewshot,
        gen_kwargs=asked.sampling.gen_kwargs(),
    )


def _smaller(limit: int | None, other: int | None) -> int | None:
    return min((n for n in (limit, other) if n is not None), default=None)


def _refuse_odd_sampling(tasks: Sequence[Task], asked: EvalRequest) -> None:
    """Raise `UsageError` for settings that cannot give what was asked for."""
    sampling, metrics = asked.sampling, asked.output.metrics
    stock = [task.name for task in tasks if isinstance(task, ItemTask)]
    if sampling.num_fewshot is not None and len(stock) < len(tasks):
        raise UsageError("--num-fewshot is for the tasks of lm-eval (lm_eval/NAME); ours are zero-shot")
    if stock and (sampling.repeats > 1 or metrics):
        raise UsageError(
            f"{stock[0]} draws as many replies as lm-eval says and has metrics of its own; --samples and --metrics are "
            f"for our tasks"
        )
    if asked.replies.generations is None:
        if sampling.repeats > 1 and not sampling.temperature:
            raise UsageError(
                f"--samples {sampling.repeats} at temperature 0 would be the same reply {sampling.repeats} times; add "
                f"--temperature 0.6, or leave --samples out"
            )
        _check_metrics(tasks, metrics, sampling.repeats, sampling.temperature or 0.0)


def _check_metrics(tasks: Sequence[Task], metrics: Sequence[KMetric], repeats: int, temperature: float | None) -> None:
    for task in tasks:
        k_metrics.check_metric(metrics, repeats, temperature, short_answers=not task.needs_sandbox, task=task.name)


def sandbox_for(tasks: Sequence[Task], allow_weak: bool, closing: contextlib.ExitStack) -> CodeRunner | None:
    """The sandbox if one of the tasks needs it, closed with the rest; else None."""
    if not any(task.needs_sandbox for task in tasks):
        return None
    from harness.sandbox import Sandbox

    return closing.enter_context(Sandbox(allow_weak=allow_weak))


def _replay(asked: EvalRequest, path: Path, task: Task, graders: Graders, progress: Progress) -> EvalResult:
    from harness.interop.replay_engine import ReplayEngine

    engine = ReplayEngine(path, task, asked.split, asked.replies.field)
    covered = engine.covered[: asked.limit]
    part = replace(job(task, asked.split, 1), samples=covered, repeats=engine.n_repeats)
    _check_metrics([task], asked.output.metrics, part.repeats, None)
    (found,) = _evaluate(asked, [part], Checkpoint(path, engine.digest, ""), "", _Tools(engine, graders, progress))
    differing = list(differences(found.records(), covered, engine.matched))
    verdicts = [reply.verdict for s in covered for reply in engine.matched.replies[s.id][: part.repeats]]
    recorded: dict[str, Any] = {
        "file": path.name,
        "field": asked.replies.field,
        "unmatched_rows": len(engine.matched.unmatched),
        "repeats": part.repeats,
        "items_of_task": len(task.samples(asked.split)),
        "with_verdict": sum(v is not None for v in verdicts),
        "correct": sum(v is True for v in verdicts),
        "differences": [asdict(d) for d in differing],
    }
    result = _write(asked, asked.replies.row(""), [found], {"recorded": recorded})
    more = _agreement(recorded, result.board.rows[0], count_kinds(differing))
    return replace(result, more=result.more + more)


def _agreement(recorded: dict[str, Any], row: dict[str, Any], kinds: dict[str, int]) -> list[str]:
    n = recorded["with_verdict"]
    if not n:
        return ["\nThe file has no verdicts of its own to compare with."]
    ours, of = round(row["lenient"]["value"] * row["counts"]["n"]), row["counts"]["n"]
    lines = [f"\nThe file's own verdicts: {recorded['correct']} of {n} right; ours, lenient: {ours} of {of}."]
    lines += [f"  {count} differ: {kind}" for kind, count in kinds.items()]
    return lines


@dataclass(frozen=True)
class _Tools:
    """What evaluates, for all models of a request."""

    engine: Engine
    graders: Graders
    progress: Progress


def _evaluate(
    asked: EvalRequest, jobs: Sequence[EvalJob], checkpoint: Checkpoint, model: str, tools: _Tools
) -> list[Evaluation]:
    found, home = [], asked.output.folder / "evals"
    for part in jobs:
        label = part.task.name if len(asked.replies.models) < 2 else f"{asked.replies.row(model)} {part.task.name}"
        with tools.progress.step(label, 1.0) as tick:
            found.append(evaluate(part, tools.engine, checkpoint, tools.graders, home, shown_by(tick)))
    return found


def shown_by(tick: Callable[[float, str], None]) -> Callable[[Standing], None]:
    """What tells a progress bar how an evaluation stands."""
    return lambda standing: tick(standing.fraction, str(standing))


def _write(asked: EvalRequest, name: str, found: Sequence[Evaluation], more: dict[str, Any]) -> EvalResult:
    """The result file of one row, and beside it the lines for the terminal."""
    jobs = [evaluation.job for evaluation in found]
    columns, content = summarised(found)
    _refuse_failed(found, columns, asked)
    log, engine = EvaluationLog(asked.output.folder), found[0].engine
    facts = BoardFacts(
        tasks={j.task.name: task_facts(j, log, engine) for j in jobs},
        engine=EngineFacts.of(engine),
        sandbox=tuple(sorted({evaluation.sandbox for evaluation in found})),
    )
    run = Run(found[0].checkpoint.digest, columns, records=RecordFiles(content=content))
    quantization = found[0].checkpoint.quantization
    notes = [Note("weights not proven", model=name, quantization=quantization)] if quantization else []
    board = build_board(name, [Entry(name, "model", (run,))], facts, notes, known_defects(jobs))
    measured = {e.job.task.name: _measured(e, asked.output.metrics) for e in found} if asked.output.metrics else {}
    stock = {e.job.task.name: _stock(e.job.task, e) for e in found if isinstance(e.job.task, ItemTask)}
    safe = re.sub(r"[^\w.+-]+", "_", name)
    tasks = "-".join(name.replace("/", "-") for name in asked.tasks)
    path = asked.output.folder / "results" / f"{safe}-{tasks}.json"
    extra = {"metrics": measured, "stock": stock}
    files = [str(evaluation.records_path.relative_to(asked.output.folder)) for evaluation in found]
    write_json(path, {"board": asdict(board), "records": files, **{k: v for k, v in extra.items() if v}, **more})
    export(asked.output.folder, name, found)
    n_failed = board.rows[0]["counts"]["errored"]
    failed = [f"\n{n_failed} of {len(columns)} replies have no verdict and are not part of the scores."]
    return EvalResult(board, [path], [*(failed if n_failed else []), *_metric_lines(measured), *_stock_lines(stock)])


def _refuse_failed(found: Sequence[Evaluation], columns: Columns, asked: EvalRequest) -> None:
    """Raise `EngineError` if replies failed: a score without them is another score."""
    n = int(columns.failed.sum())
    if n and not asked.output.allow_errors:
        first = next(r for evaluation in found for r in evaluation.records() if r.reply.finish == "error")
        raise EngineError(
            f"{n} of {len(columns)} replies failed, first {first.item.sample_id!r} (repeat {first.repeat}): "
            f"{first.reply.error}. Nothing is reported, and what was made is kept in {asked.output.folder / 'evals'}; "
            f"the same command asks for these again, --allow-errors reports the score of the others"
        )


def _measured(evaluation: Evaluation, metrics: Sequence[KMetric]) -> dict[str, Any]:
    """Each metric by reading: its estimate, and how many items have too few verdicts for it."""
    found: dict[str, Any] = {}
    with evaluation.open() as store:
        for reading in READINGS:
            items = ([of[reading] for of in store.verdict(item).scores] for item in range(store.n_items))
            for measured in k_metrics.measure(metrics, items):
                estimate = asdict(measured.estimate) if measured.estimate else None
                values = {"estimate": estimate, "items_without": measured.n_without}
                found.setdefault(measured.metric.name, {})[reading] = values
    return found


def _stock(task: ItemTask, evaluation: Evaluation) -> dict[str, Any]:
    """The task's own scores, by lm-eval's own code."""
    with evaluation.open() as store:
        return dict(task.aggregate(store.verdict(item).metrics for item in range(store.n_items)))


def _metric_lines(measured: dict[str, Any]) -> list[str]:
    lines = []
    for task, metrics in measured.items():
        for name, readings in metrics.items():
            parts = [f"{r} {tables.percent(readings[r]['estimate'])}" for r in READINGS if readings[r]["estimate"]]
            without = readings["strict"]["items_without"]
            lines.append(f"{task} {name}: {', '.join(parts)}" + (f"; {without} items without" if without else ""))
    return ["", *lines] if lines else []


def _stock_lines(stock: dict[str, Any]) -> list[str]:
    """The metrics of lm-eval's tasks, as its own table names them."""
    lines = []
    for task, scores in stock.items():
        for name, value in scores.items():
            metric, _, reading = name.partition(",")
            if isinstance(value, float) and not metric.endswith("_stderr"):
                error = scores.get(f"{metric}_stderr,{reading}")
                shown = f" ± {error:.4f}" if isinstance(error, float) else ""
                lines.append(f"{task} {metric} ({reading}): {value:.4f}{shown}")
    return ["", "By lm-eval's own rules:", *lines] if lines else []
