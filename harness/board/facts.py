"""How the rows of a board were made, as typed values. `fact_sentences` makes text of them; nothing reads text back.

None stands for what is not recorded, an empty mapping or tuple too, unless a comment says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

import msgspec

from harness.errors import DataError
from harness.types import Budget, EngineInfo, SamplingParams, Split

T = TypeVar("T")

NoteKind = Literal[
    "limited",
    "engine fallback",
    "prompts not recorded",
    "prompts differ",
    "weights not proven",
    "replies do not repeat",
]
TuningDifference = Literal["base", "material", "budget", "dev items"]


@dataclass(frozen=True)
class Note:
    """What a reader of a board has to know first.

    limit: of "limited", the items of each task; engine: of "engine fallback", the one that took vLLM's place. model
    and quantization: of "weights not proven". differing, of: of "replies do not repeat", how many of so many replies.
    """

    kind: NoteKind
    limit: int | None = None
    engine: str | None = None
    model: str | None = None
    quantization: str | None = None
    differing: int | None = None
    of: int | None = None


@dataclass(frozen=True)
class Decoding:
    """How replies were drawn. seed: of an item's first reply, those of further ones follow it.

    other: settings under the names of the tool that recorded them.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_record(cls, sampling: Mapping[str, Any]) -> Decoding:
        """The settings of one record."""
        known = {f.name for f in fields(SamplingParams)}
        ours = {name: value for name, value in sampling.items() if name in known}
        other = {name: value for name, value in sampling.items() if name not in known}
        try:
            return msgspec.convert({**ours, "other": other}, cls)
        except msgspec.ValidationError:  # another tool's settings under names of ours
            return cls(other=dict(sampling))


def shared_decoding(settings: Iterable[Decoding]) -> Decoding | None:
    """What all of these have in common; None for none."""
    found = list(settings)
    if not found:
        return None
    values = {f.name: [getattr(one, f.name) for one in found] for f in fields(Decoding)}
    shared = Decoding(**{name: of[0] for name, of in values.items() if all(value == of[0] for value in of)})
    return replace(shared, seed=min((seed for seed in values["seed"] if seed is not None), default=None))


@dataclass(frozen=True)
class TaskFacts:
    """What was evaluated of one task. limit: only the first so many items were; None: the items were not cut short.

    repeats: replies an item. grader: as records name it. n_evaluated: checkpoints that were scored on these items so
    far, by any run beside this one.
    """

    split: Split | None = None
    n_items: int | None = None
    n_of_split: int | None = None
    limit: int | None = None
    items_hash: str | None = None
    repeats: int | None = None
    decoding: Decoding | None = None
    grader: str | None = None
    n_evaluated: int | None = None


@dataclass(frozen=True)
class EngineFacts:
    """What generated the replies. label: as records name it, if nothing else is known. settings: all others."""

    name: str | None = None
    version: str | None = None
    dtype: str | None = None
    device: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None

    @classmethod
    def of(cls, engine: EngineInfo) -> EngineFacts:
        """From what an engine reports about itself."""
        settings = {name: value for name, value in engine.settings.items() if value is not None}
        return cls(engine.engine, engine.version, engine.dtype, engine.device or None, settings)


@dataclass(frozen=True)
class ModelFacts:
    """A model that training starts from or is taught by. digest: of its weights."""

    name: str
    digest: str


@dataclass(frozen=True)
class TrainItemFacts:
    """What every strategy learns from. source: a file; None: the train split of the tasks.

    dropped: items left out because they contain a held-out question, by how that was found.
    """

    n: int
    n_offered: int
    source: str | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TraceFacts:
    """The teacher's replies to train items. n_dropped: right ones that contain a held-out question."""

    n_asked: int
    n_right: int
    n_dropped: int = 0


@dataclass(frozen=True)
class DevFacts:
    """The items that checkpoints are chosen by. split "train": taken from its end."""

    n: int
    split: Split


@dataclass(frozen=True)
class TrialFacts:
    """One choice of settings that was tried on dev. dev: its strict share; failed: "collapsed", "refused" or ""."""

    settings: Mapping[str, Any]
    dev: float
    used: bool
    failed: str = ""


@dataclass(frozen=True)
class TuningFacts:
    """How the settings of the trainers were chosen. best, not_best, untried: trainers whose settings were that.

    n_trials: numbers of trials of the best ones. of_parts: whether sequences take over the settings of their parts.
    differs: in what the trials are not of this comparison; budget: theirs, if it is that.
    """

    best: tuple[str, ...] = ()
    not_best: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    n_trials: tuple[int, ...] = ()
    of_parts: bool = False
    differs: tuple[TuningDifference, ...] = ()
    budget: Budget | None = None
    trials: Mapping[str, tuple[TrialFacts, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingFacts:
    """What the strategies of a comparison had in common. teacher, traces None: there are none.

    n_checkpoints: of each run, over its last stage; the best on dev was taken, the latest of equals. settings: of each
    trainer if they are not its defaults. tuning None: no trials are recorded. deterministic: whether stages were kept
    to algorithms that repeat bit for bit.
    """

    base: ModelFacts
    teacher: ModelFacts | None
    budget: Budget
    items: TrainItemFacts
    dev_items: Mapping[str, DevFacts]
    n_checkpoints: int
    settings: Mapping[str, Mapping[str, Any]]
    devices: int
    traces: TraceFacts | None = None
    tuning: TuningFacts | None = None
    deterministic: bool = False


@dataclass(frozen=True)
class BoardFacts:
    """All that is recorded of how the rows of a board were made. training None: nothing was trained.

    tasks: by name. sandbox: tiers of isolation. versions: of packages. runs: what a board of existing runs was built
    from.
    """

    tasks: Mapping[str, TaskFacts] = field(default_factory=dict)
    engine: EngineFacts | None = None
    sandbox: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    training: TrainingFacts | None = None


def facts_from_json(values: Mapping[str, Any]) -> BoardFacts:
    """The facts that `dataclasses.asdict` was made of. Raises `DataError` naming the field that does not fit."""
    return _read(values, BoardFacts, "the facts of the board")


def note_from_json(values: Mapping[str, Any]) -> Note:
    """The same of a note."""
    return _read(values, Note, "a note of the board")


def _read(values: Mapping[str, Any], kind: type[T], what: str) -> T:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise DataError(f"{what} cannot be read: {error}; build the board again") from None
