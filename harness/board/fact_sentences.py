"""The facts of a board as text: a heading and a sentence for each. Pure functions of typed values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.board.facts import (
    BoardFacts,
    Decoding,
    EngineFacts,
    ModelFacts,
    Note,
    TaskFacts,
    TraceFacts,
    TrainingFacts,
    TrialFacts,
    TuningDifference,
    TuningFacts,
)
from harness.types import Budget

# Under "How this was made", in this order.
HEADINGS = {
    "base": "base",
    "teacher": "teacher",
    "budget": "budget of each strategy",
    "train_items": "train items",
    "dropped": "train items dropped because they contain a held-out question",
    "traces": "teacher's traces",
    "dev_items": "dev items",
    "checkpoint": "checkpoint of a run",
    "evaluations": "test-set evaluations so far",
    "tuning": "settings",
    "settings": "training settings",
    "trials": "trials on dev, strict %",
    "items": "items",
    "decoding": "decoding",
    "engine": "engine",
    "graders": "graders",
    "sandbox": "sandbox",
    "devices": "devices that train a stage",
    "deterministic": "deterministic algorithms",
    "versions": "versions",
    "runs": "built from",
}


def sentences(facts: BoardFacts) -> dict[str, str]:
    """For each name of `HEADINGS` what there is to say; a fact that is not recorded is left out."""
    found = {}
    for name in HEADINGS:
        if name in _OF_BOARD:
            text = _OF_BOARD[name](facts)
        else:
            text = _OF_TRAINING[name](facts.training) if facts.training else ""
        if text:
            found[name] = text
    return found


def how_it_was_made(facts: BoardFacts) -> list[tuple[str, str]]:
    """(heading, sentence) of every fact that is recorded."""
    return [(HEADINGS[name], text) for name, text in sentences(facts).items()]


def caption(n_items: Mapping[str, int], facts: BoardFacts, clusters: int | None = None) -> str:
    """The line below the title: how many items, and what decides how far the scores can be trusted."""
    sizes = ", ".join(f"{task} {n}" for task, n in n_items.items())
    in_groups = "" if clusters is None else f", {clusters} clusters of related ones"
    text = f"n = {sum(n_items.values())} held-out items ({sizes}){in_groups}. " if n_items else ""
    texts = sentences(facts)
    names = [name for name in ("tuning", "evaluations", "dropped") if name in texts]
    first = {name: HEADINGS[name][0].upper() + HEADINGS[name][1:] for name in names}
    return " ".join(
        [
            f"{text}Intervals are 95 %, each of one number alone.",
            *(f"{first[name]}: {texts[name]}." for name in names),
        ]
    )


def note_text(note: Note) -> str:
    """A note as a board prints it."""
    if note.kind == "limited":
        return f"Only the first {note.limit} items of each task were used (--limit): not a result to quote."
    if note.kind == "engine fallback":
        return f"vLLM could not be used on this machine; replies come from {note.engine}."
    if note.kind == "weights not proven":
        return (
            f"{note.model} is quantized ({note.quantization}): that the engine computes with just these weights is not "
            "proven."
        )
    if note.kind == "replies do not repeat":
        return (
            f"`noop`, which trains nothing, differs from the base in {note.differing:,} of {note.of:,} replies: the "
            "same weights do not give the same replies on this engine. Differences of this size between other rows can "
            "be that too."
        )
    if note.kind == "prompts differ":
        return "Every row answered the same messages, rendered by its own chat template: prompts differ between rows."
    return "The prompts are not recorded: that they were the same rests on the files being of one experiment."


def items_text(task: TaskFacts) -> str:
    """`250 test items, set 4d9091ce1cd6`; the items alone, without the name of the task."""
    if task.n_items is None:
        return ""
    n = f"{task.n_items:,}"
    if task.n_of_split is not None and task.n_of_split != task.n_items:
        n = f"{'the first ' if task.limit else ''}{n} of {task.n_of_split:,}"
    split = f" {task.split}" if task.split else ""
    return f"{n}{split} items" + (f", set {task.items_hash[:12]}" if task.items_hash else "")


def decoding_text(task: TaskFacts) -> str:
    """`temperature 0.6, at most 1024 tokens, 4 replies an item`."""
    how = task.decoding or Decoding()
    parts = [
        "" if how.temperature is None else f"temperature {how.temperature:g}",
        "" if how.max_tokens is None else f"at most {how.max_tokens} tokens",
        "" if how.top_p in (None, 1.0) else f"top-p {how.top_p:g}",
        f"top-k {how.top_k}" if how.top_k else "",
        f"stop at {', '.join(map(repr, how.stop))}" if how.stop else "",
        "" if how.seed is None else f"seed {how.seed}",
        *(f"{name}: {plain_text(value)}" for name, value in how.other.items()),
        f"{task.repeats} replies an item" if task.repeats and task.repeats > 1 else "",
    ]
    return ", ".join(filter(None, parts))


def engine_text(engine: EngineFacts) -> str:
    """`vllm 0.32.0, dtype float32, device cpu`, or the label if nothing else is known."""
    if engine.name is None:
        return engine.label or ""
    settings = {"dtype": engine.dtype, "device": engine.device, **engine.settings}
    parts = [f"{name} {plain_text(value)}" for name, value in settings.items() if value is not None]
    return ", ".join([f"{engine.name} {engine.version or ''}".strip(), *parts])


def difference_text(kind: TuningDifference, budget: Budget | None) -> str:
    """In what trials are not of a comparison. budget: the one of the trials."""
    if kind == "budget" and budget is not None:
        return f"a budget of {budget.amount:g} {budget.unit}"
    return {"base": "another base", "material": "other train items or another teacher"}.get(kind, f"other {kind}")


def settings_text(settings: Mapping[str, Any]) -> str:
    """`learning_rate=0.001 warmup=0.1`."""
    return " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items())


def plain_text(value: Any) -> str:
    """A value of unknown type without quotes and braces."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {plain_text(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------------------------------------ one fact each


def _each(parts: Mapping[str, str], between: str = ": ") -> str:
    """`name: text; name: text`; names without a text are left out."""
    return "; ".join(f"{name}{between}{text}" for name, text in parts.items() if text)


def _model(model: ModelFacts | None) -> str:
    return f"{model.name} {model.digest[:16]}" if model else "none"


def _train_items(training: TrainingFacts) -> str:
    source = training.items.source or "the tasks' train split"
    return f"{training.items.n:,} from {source}, the same for every strategy"


def _dropped(training: TrainingFacts) -> str:
    kinds = ", ".join(f"{n} {kind}" for kind, n in training.items.dropped.items() if n)
    n = sum(training.items.dropped.values())
    return f"{n:,} of {training.items.n_offered:,}" + (f" ({kinds}; dropped.jsonl lists them)" if kinds else "")


def _traces(training: TrainingFacts) -> str:
    return "" if training.traces is None else traces_text(training.traces)


def traces_text(traces: TraceFacts) -> str:
    """How many traces of the teacher there are, of how many it was asked for."""
    text = f"one for each of the first {traces.n_asked:,} train items, {traces.n_right:,} graded right"
    left_out = f", {traces.n_dropped} of them dropped because they contain a held-out question"
    return text + (left_out if traces.n_dropped else "")


def _dev_items(training: TrainingFacts) -> str:
    end = {"train": " taken from the end of the train split"}
    return ", ".join(f"{task} {dev.n:,}{end.get(dev.split, '')}" for task, dev in training.dev_items.items())


def _tuning(training: TrainingFacts) -> str:
    return "" if training.tuning is None else tuning_text(training.tuning)


def tuning_text(tuning: TuningFacts) -> str:
    """How the settings of the trainers were chosen."""
    if not tuning.best and not tuning.not_best:
        return "as the recipe says, without trials"
    counts = " or ".join(map(str, tuning.n_trials))
    differs = [difference_text(kind, tuning.budget) for kind in tuning.differs]
    parts = [
        f"{', '.join(tuning.best)} the best on dev of {counts} trials each" if tuning.best else "",
        f"{', '.join(tuning.not_best)} not the best that was tried" if tuning.not_best else "",
        f"{', '.join(tuning.untried)} without trials" if tuning.untried else "",
        "sequences take over those of their parts" if tuning.of_parts else "",
        f"the trials were made with {' and '.join(differs)}" if differs else "",
    ]
    return "; ".join(filter(None, parts))


def _settings(training: TrainingFacts) -> str:
    return _each({name: settings_text(values) or "defaults" for name, values in training.settings.items()})


def _trials(training: TrainingFacts) -> str:
    trials = training.tuning.trials if training.tuning else {}
    return _each({name: ", ".join(map(_trial, tried)) for name, tried in trials.items()})


def _trial(trial: TrialFacts) -> str:
    failed, used = f" ({trial.failed})" if trial.failed else "", " (used)" if trial.used else ""
    return f"{settings_text(trial.settings)}{failed} {100 * trial.dev:.1f}{used}"


def _evaluations(facts: BoardFacts) -> str:
    counts = {name: task.n_evaluated for name, task in facts.tasks.items() if task.n_evaluated}
    return ", ".join(f"{name} {n} checkpoint{'s' * (n > 1)}" for name, n in counts.items())


def _of_tasks(facts: BoardFacts, text: Callable[[TaskFacts], str]) -> str:
    return _each({name: text(task) for name, task in facts.tasks.items()})


def _distinct(texts: Iterable[str | None]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


_OF_TRAINING: dict[str, Callable[[TrainingFacts], str]] = {
    "base": lambda training: _model(training.base),
    "teacher": lambda training: _model(training.teacher),
    "budget": lambda training: f"{training.budget.amount:.4g} {training.budget.unit}",
    "train_items": _train_items,
    "dropped": _dropped,
    "traces": _traces,
    "dev_items": _dev_items,
    "checkpoint": lambda training: (
        f"the best on dev of {training.n_checkpoints} over its last stage, the latest of equals"
    ),
    "tuning": _tuning,
    "settings": _settings,
    "trials": _trials,
    "devices": lambda training: str(training.devices),
    "deterministic": lambda training: "in every stage" if training.deterministic else "",
}
_OF_BOARD: dict[str, Callable[[BoardFacts], str]] = {
    "evaluations": _evaluations,
    "items": lambda facts: _of_tasks(facts, items_text),
    "decoding": lambda facts: _of_tasks(facts, decoding_text),
    "engine": lambda facts: engine_text(facts.engine) if facts.engine else "",
    "graders": lambda facts: _distinct(task.grader for task in facts.tasks.values()),
    "sandbox": lambda facts: ", ".join(facts.sandbox),
    "versions": lambda facts: ", ".join(f"{name} {version}" for name, version in facts.versions.items()),
    "runs": lambda facts: ", ".join(facts.runs),
}
