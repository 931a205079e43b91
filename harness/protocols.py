"""The three seams strangers plug into: Task, Trainer, Engine; and the one the graders need: CodeRunner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.types import (
    Checkpoint,
    EngineInfo,
    Generation,
    Request,
    Sample,
    SamplingParams,
    Score,
    Split,
    Stage,
    TaskInfo,
    Trained,
    TrainRow,
)

if TYPE_CHECKING:
    from harness.meter import Meter


ProgramVerdict = Literal["passed", "failed", "timeout", "memory", "error", "refused"]


@dataclass(frozen=True)
class CodeJob:
    """One candidate program against one trusted test program.

    program: untrusted source. test: trusted source that reaches it in one of three ways:

    * entry_point: `test` defines `check(candidate)`, which is called with that name of the program ("add", or
      "Solution.add": a method of an instance). `prelude` is trusted source the tests may need (HumanEval's prompt with
      its helper functions and classes).
    * no entry_point: `test` is a program (MBPP's list of asserts) that must run to its end.
    * stdin: the program is run as one, with this standard input; `check` is called with what it printed.

    names: further names of the program that `test` uses.
    """

    program: str
    entry_point: str
    test: str
    prelude: str = ""
    timeout_s: float = 5.0  # CPU seconds, and seconds it may sleep; the wall-clock backstop is larger
    names: tuple[str, ...] = ()
    stdin: str | None = None
    copy_back: bool = False  # whether the tests see what the program changed in its arguments


@dataclass(frozen=True)
class CodeResult:
    """The verdict on one program.

    "failed": the tests ran and said no. "error": the program did not load, raised, ended, or gave no proper answer.
    "refused": nothing is known about the program, because the tests or the sandbox itself failed.
    """

    verdict: ProgramVerdict
    why: str = ""  # "passed", "assertion failed", "over 5 s of CPU time", "NameError: ...", "sandbox: ..."
    cpu_s: float = 0.0  # of the program
    wall_s: float = 0.0
    test: str = ""  # the line of the test program that failed; for the user, never for a model

    @property
    def passed(self) -> bool | None:
        """None: refused, which is not "failed"."""
        return None if self.verdict == "refused" else self.verdict == "passed"


class CodeRunner(Protocol):
    """Runs untrusted programs. One instance serves many threads."""

    tier: str  # "T1 namespaces", "T2 landlock", ...: goes into every record

    def run(self, job: CodeJob) -> CodeResult: ...
    def close(self) -> None: ...


@runtime_checkable
class Task(Protocol):
    """A benchmark: items and the rule that scores replies. Built without reading any data.

    Sample ids are "<task>/<split>/...". `metadata["solution"]` of a sample is a reply that `score` accepts: what `sft`
    trains on. Items that are not independent have the same `cluster`. A class that inherits from this one needs no
    `describe` and no `defects` of its own.
    """

    name: str
    version: str  # raised whenever a prompt or a verdict can change
    grader: str  # what scores replies: "number-1"; raised whenever a verdict can change, and kept in every record
    needs_sandbox: bool
    max_tokens: int  # default cap on a reply
    stop: tuple[str, ...]

    def samples(self, split: Split) -> Sequence[Sample]:
        """The items of a split, in a fixed order. Raises `UnknownSplit` for a split the task has not."""
        ...

    def score(self, sample: Sample, text: str, runner: CodeRunner | None) -> Mapping[str, Score]:
        """Verdicts by grader name: "strict" (the form the task asks for) and "lenient" (the answer in any form).

        A pure function for one sample and text, so it can run anywhere. runner: needed if `needs_sandbox`.
        """
        ...

    def describe(self) -> TaskInfo:
        """What `harness tasks` lists and what a published score names; reads no data."""
        return TaskInfo()

    def defects(self) -> Mapping[str, str]:
        """Test items that are known to be faulty, id to why: boards show a second score without them."""
        return {}


@dataclass(frozen=True)
class GradedItem:
    """The verdict on all replies to one item.

    scores: for each reply, by grader name; always "strict" and "lenient". metrics: what a task with metrics of its own
    says of the item, JSON data by "metric,filter"; filtered: by filter, what it read out of the replies.
    """

    scores: Sequence[Mapping[str, Score]]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    filtered: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplyRequest:
    """One request of an item: how its reply is drawn, or whose log-probability is wanted (see `Request`)."""

    params: SamplingParams
    continuation: str | None = None


@runtime_checkable
class ItemTask(Task, Protocol):
    """A task that asks and grades by the item, with metrics of its own: a stock task of lm-eval."""

    stock_name: str  # its name in lm-eval, which has no prefix

    def asks(self, sample: Sample) -> Sequence[ReplyRequest]:
        """The requests of an item, in order: one, or one for each repeat, or one for each choice."""
        ...

    def judge(self, sample: Sample, replies: Sequence[Generation], runner: CodeRunner | None) -> GradedItem:
        """The verdict on an item, from one generation for each of `asks(sample)`."""
        ...

    def aggregate(self, metrics: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The scores of a run, from `GradedItem.metrics` of every item in order; standard errors beside them."""
        ...

    def sections(self, samples: Sequence[Sample], metrics: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """What lm-eval's results file holds about the task beside its scores, by the names of its sections."""
        ...

    def sample_rows(self, sample: Sample, replies: Sequence[Generation], graded: GradedItem) -> list[dict[str, Any]]:
        """The item's lines in lm-eval's samples file, one for each filter; none if it has no verdict."""
        ...


Need = Literal["completions", "traces", "teacher", "vocabulary"]


@dataclass(frozen=True)
class TrainData:
    """What a trainer may see: train rows, and what it asked for in `needs`.

    judge(row, text): the task's strict verdict; its value is the reward. teacher: the teacher's checkpoint. shared: a
    folder all stages of a run have in common, for what is made once (hold a lock while making it). report_to: where the
    user watches training ("tensorboard", "wandb", ...: transformers' names).
    """

    rows: Sequence[TrainRow]
    judge: Callable[[TrainRow, str], Score]
    teacher: Checkpoint | None = None
    shared: Path | None = None
    report_to: Sequence[str] = ()


@dataclass(frozen=True)
class Footprint:
    """What a step of a trainer holds on each device at most, beside the model in training: what its memory depends on.

    rows: sequences whose gradients are computed at once. tokens: of one of them, in the reply alone if the loop
    `samples`. logits: whether the logits of all trained tokens are held, instead of a slice of them. teacher,
    reference: whether that model is on the device too. engine: share of a GPU's memory that an engine takes to sample.
    generated: rows of a step that the model in training samples itself, if no engine does. adapter: whether an adapter
    is all that is trained.
    """

    rows: int
    tokens: int
    logits: bool = False
    teacher: bool = False
    reference: bool = False
    generated: int = 0
    engine: float = 0.0
    adapter: bool = False


class Trainer(Protocol):
    """One training method. Importing the module that holds it must not import torch; `train` may.

    needs: "completions": rows hold reference solutions; "traces": rows hold the teacher's solutions that were graded
    right; "teacher": the teacher itself; "vocabulary": one that shares the student's tokens. None of the first
    two: rows are prompts. samples: whether the loop samples, so that a budget of generated tokens ends it. A class that
    inherits from this one needs no `footprint` of its own.
    """

    Config: ClassVar[type]  # frozen dataclass with a default for every field
    needs: ClassVar[frozenset[Need]]
    samples: ClassVar[bool]

    def train(self, stage: Stage, parent: Checkpoint, data: TrainData, meter: Meter, out: Path) -> Trained:
        """Train from `parent` until `meter` says the budget is spent; end in a full checkpoint under `out`.

        `out` may hold what an interrupted earlier call left: go on from there. Report progress with `meter.report`.
        Checkpoints on the way may be left in `out/snapshots/<name>` with `cost.json` beside the weights: all are scored
        on dev, and the best is the one that counts.
        """
        ...

    @classmethod
    def footprint(cls, config: Any) -> Footprint | None:  # noqa: ARG003
        """What decides the memory of a step with this Config; None: not known, so that nothing is forecast."""
        return None


class Engine(Protocol):
    """Turns chats into replies. The engine alone renders chat templates."""

    name: ClassVar[str]

    def load(self, checkpoint: Checkpoint) -> None:
        """Serve this checkpoint from now on; raises `EngineError` unless the weights in use are proven to be these."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """One generation for each request, yielded as each finishes, in any order.

        Takes no more of `requests` at a time than it needs to be busy, so there may be any number of them.
        """
        ...

    def running(self) -> Sequence[int]:
        """Tokens so far of each reply that is being generated, for who waits; 0 if that is not known.

        Called from another thread than `generate`.
        """
        ...

    def describe(self) -> EngineInfo:
        """What decides the numbers; the same before and after `load`."""
        ...

    def sleep(self) -> None:
        """Give back what memory can be given until the next `load`: training follows."""
        ...

    def close(self) -> None: ...


class InstalledEngine(Engine, Protocol):
    """An engine that is opened by its name: what an entry point in `harness.engines` names.

    Config: a frozen dataclass, the options that `--engine-arg NAME=VALUE` sets; a field without default is an option
    that must be given.
    """

    Config: ClassVar[type]

    @classmethod
    def open(cls, config: Any, notify: Callable[[str], None]) -> Engine:
        """An engine with these options, not started yet. notify gets messages for the user, as they arise."""
        ...


class Progress(Protocol):
    """What the command line shows while work runs."""

    def say(self, text: str) -> None:
        """One line that stays."""
        ...

    def step(self, name: str, weight: float) -> AbstractContextManager[Callable[[float, str], None]]:
        """A step of the plan; the callable takes (fraction done, what to show)."""
        ...
