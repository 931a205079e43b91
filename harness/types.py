"""One page of values: read this first.

Everything here is frozen, holds plain data and does no I/O. A missing value is `None`, and the comment beside it
says what missing means. JSON in and out lives in `records/serialization.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "dev", "test"]
Finish = Literal["stop", "length", "error"]
BudgetUnit = Literal["flops", "tokens", "generated", "device_s"]
Status = Literal["done", "collapsed", "refused"]
Reading = Literal["strict", "lenient"]
READINGS: tuple[Reading, ...] = ("strict", "lenient")
"""How a reply is read: in the form that the task asks for alone; in any form."""


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN. The base of every hash in this project."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_of(value: Any) -> str:
    """Hex SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def cluster_of(problem: str) -> str:
    """The cluster of items that share a problem: 16 hex digits of the hash of its text, or of a name that tells it.

    Case and white space do not count.
    """
    words = " ".join(problem.lower().split())
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16]


RAW = "raw"  # the role of plain text: it goes to the model as it is, without a chat template


@dataclass(frozen=True)
class Message:
    """One turn of a chat. role: "system", "user" or "assistant"; or RAW, which stands alone."""

    role: str
    content: str


@dataclass(frozen=True)
class Sample:
    """One item of a task: what is asked and what the grader compares with.

    metadata holds JSON data only: `level`, and for code `entry_point`, `test`, `prompt`. cluster: what it shares with
    items that are not independent of it, as one text: a problem, passage or template, or its id and the collection that
    it is from ("MBPP/11"), so that it is the same in every task. A level or a subject is not a cluster.
    """

    id: str  # stable for ever: "pico_math/test/0007"
    messages: tuple[Message, ...]
    target: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""  # "": its question alone

    @property
    def hash(self) -> str:
        """Hex SHA-256 of the item but for its cluster: two runs share an item only if this is equal."""
        return sha256_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """What is asked and what the grader compares with, as JSON data."""
        values = asdict(self)
        del values["cluster"]  # it decides how sure a result is, not the result
        return values

    @property
    def question(self) -> str:
        """The last user turn, so no earlier shots, or the whole of a RAW prompt; "" if there is neither."""
        return next((m.content for m in reversed(self.messages) if m.role in ("user", RAW)), "")

    @property
    def cluster_hash(self) -> str:
        """The cluster as records hold it: equal for items that are not independent, in any task; "": not known."""
        problem = self.cluster or self.question
        return cluster_of(problem) if problem.strip() else ""


@dataclass(frozen=True)
class HubDataset:
    """Where the test items of a task lie on the Hugging Face hub.

    benchmark: the hub's name for its own board of this dataset, as in the dataset's eval.yaml; "": it has none.
    """

    path: str  # "openai/gsm8k"
    config: str | None = None
    split: str = "test"
    benchmark: str = ""


@dataclass(frozen=True)
class TaskInfo:
    """What a task states about itself beside its items. Made without reading any data, so that tasks can be listed."""

    about: str = ""  # what is asked, in a few words
    licence: str = ""  # of the items, with a note if it is for non-commercial use only; "": not stated
    source: str = ""  # the paper or the home of the benchmark
    sizes: Mapping[Split, int] = field(default_factory=dict)  # items by split, as published; empty: not stated
    n_defects: int = 0  # test items that are known to be faulty
    has_data: bool = True  # whether the test items are on this machine; says nothing about the hub
    dataset: HubDataset | None = None  # None: generated, or published elsewhere


@dataclass(frozen=True)
class EngineInfo:
    """What decides the numbers of an engine; kept in every record, so that other settings make other records."""

    engine: str  # its name: "vllm"
    version: str  # of the software that makes the replies
    dtype: str  # "float32", "bfloat16"; "none" if no weights take part
    device: str = ""  # "cpu", "cuda", the address of a server; "": not known
    settings: Mapping[str, Any] = field(default_factory=dict)  # whatever else changes replies, as JSON data
    sampling: Mapping[str, Any] | None = None  # how replies were drawn; None: as each request asks

    @property
    def label(self) -> str:
        """As records name it: "vllm 0.32.0 float32"."""
        return f"{self.engine} {self.version} {self.dtype}"

    def as_json(self) -> dict[str, Any]:
        """One flat mapping: the part of the replies' key, and of results files, that names the engine."""
        known = {"engine": self.engine, "version": self.version, "dtype": self.dtype}
        drawn = {} if self.sampling is None else {"sampling": dict(self.sampling)}
        return {**known, **({"device": self.device} if self.device else {}), **self.settings, **drawn}


@dataclass(frozen=True)
class SamplingParams:
    """How a reply is drawn. temperature 0 is greedy; seed may be None only if temperature is 0."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn. None: the task's own value. chat: whether prompts go through the model's chat template."""

    repeats: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = None
    seed: int = 0
    chat: bool = True


@dataclass(frozen=True)
class Request:
    """One reply to be generated. key names it among the requests of one call: "<sample id>#<repeat>".

    continuation: score the log-probability of this text instead of generating; needs a RAW prompt.
    """

    key: str
    messages: tuple[Message, ...]
    params: SamplingParams
    continuation: str | None = None


@dataclass(frozen=True)
class Generation:
    """One reply. finish "length": cut off at max_tokens; "error": no reply, `error` says why."""

    key: str
    text: str
    n_prompt_tokens: int
    n_tokens: int
    finish: Finish
    prompt_hash: str  # hex SHA-256 of the prompt text after the chat template; "" if the engine had no prompt (replay)
    wall_s: float
    error: str = ""
    prompt: str = ""  # the text that prompt_hash is of
    logprob: float | None = None  # in nats, of the continuation; None: a reply was generated
    is_greedy: bool | None = None  # whether every token of the continuation was the likeliest one


@dataclass(frozen=True)
class Score:
    """One grader's verdict on one reply. value in [0, 1]; None: could not be graded (which is not "wrong").

    answer: what was read from the reply; None: nothing, so of "strict" that the reply is not in the form asked for;
    "": not known what was read, as of a choice by likelihood, or of a verdict that another tool recorded alone.
    """

    value: float | None
    answer: str | None = None
    why: str = ""  # for the user: "no closed \\boxed{}"


@dataclass(frozen=True)
class Checkpoint:
    """A Hugging Face model folder and the digest of its weights.

    Two checkpoints with equal digests hold equal tensors (name, dtype, shape, bytes), whatever their file layout.
    """

    path: Path
    digest: str  # hex SHA-256 over the tensors
    tokenizer_digest: str  # hex SHA-256 over vocabulary and chat template
    quantization: str = ""  # "gptq", ...: no engine can show that it computes with just these weights; "": none


@dataclass(frozen=True)
class Budget:
    """What one strategy, or one stage of it, may spend. amount is in `unit`."""

    amount: float
    unit: BudgetUnit = "flops"


@dataclass(frozen=True)
class Cost:
    """What a stage spent. Token counts are exact; FLOPs are by the formulas in `meter.py`.

    Seconds of a phase are device-seconds: the clock's, times the devices the stage holds, busy or not.
    """

    steps: int = 0
    train_tokens: int = 0  # tokens that went through a training forward and backward pass, padding left out
    trained_tokens: int = 0  # of these, the tokens the loss counts
    generated_tokens: int = 0  # sampled by the student
    generate_prompt_tokens: int = 0  # read by the student before it sampled, or to score what it had sampled
    teacher_tokens: int = 0  # sampled by the teacher
    teacher_prompt_tokens: int = 0  # read by the teacher before it sampled
    scored_tokens: int = 0  # read by the teacher to score what is trained on
    flops_train: float = 0.0
    flops_generate: float = 0.0
    flops_teacher: float = 0.0
    unique_prompts: int = 0
    zero_advantage: int = 0  # rollouts of groups without reward variance: no gradient
    rollouts: int = 0
    train_s: float = 0.0
    generate_s: float = 0.0
    reward_s: float = 0.0
    score_s: float = 0.0  # the teacher scores, in the loop or once before it
    teacher_s: float = 0.0  # the teacher writes traces
    wall_s: float = 0.0  # of the stage's process, start-up and saving included
    verifier_cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    peak_device_bytes: int = 0  # 0: no accelerator

    @property
    def flops(self) -> float:
        """All FLOPs: student training, student sampling, teacher."""
        return self.flops_train + self.flops_generate + self.flops_teacher

    @property
    def tokens(self) -> int:
        """All tokens processed: trained on, sampled and read by the student, sampled and read by the teacher."""
        return (
            self.train_tokens
            + self.generated_tokens
            + self.generate_prompt_tokens
            + self.teacher_tokens
            + self.teacher_prompt_tokens
            + self.scored_tokens
        )

    @property
    def generated(self) -> int:
        """Tokens sampled, by the student or the teacher."""
        return self.generated_tokens + self.teacher_tokens

    @property
    def device_s(self) -> float:
        """Device-seconds of all phases; loading models and saving checkpoints left out."""
        return self.train_s + self.generate_s + self.reward_s + self.score_s + self.teacher_s

    def spent(self, unit: BudgetUnit) -> float:
        """The total in a budget's unit."""
        return float(getattr(self, unit))

    def without_teacher(self, unit: BudgetUnit) -> float:
        """The total in a budget's unit, without the teacher's share."""
        own = replace(
            self,
            teacher_tokens=0,
            teacher_prompt_tokens=0,
            scored_tokens=0,
            flops_teacher=0.0,
            score_s=0.0,
            teacher_s=0.0,
        )
        return own.spent(unit)

    def plus(self, other: Cost) -> Cost:
        """Both together: sums, except peak memory, which is the larger."""
        total = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        peaks = {name: max(getattr(self, name), getattr(other, name)) for name in total if name.startswith("peak_")}
        return Cost(**{**total, **peaks})


@dataclass(frozen=True)
class StageSpec:
    """One stage of a strategy as the user wrote it: "kd:0.3" is trainer "kd", share 0.3."""

    trainer: str  # "sft", a variant "sft.lora", or a joint loss "kd&rl"
    share: float


@dataclass(frozen=True)
class Strategy:
    """A way of training: stages in order that share one budget. name is what the user wrote: "kd+rl"."""

    name: str
    stages: tuple[StageSpec, ...]


@dataclass(frozen=True)
class Stage:
    """Everything that decides what a stage produces. Equal key, equal result: it is never trained twice."""

    trainer: str
    config: Mapping[str, Any]  # the trainer's Config, every field resolved
    parent: str  # weights digest of the checkpoint it starts from
    teacher: str  # weights digest; "" if the trainer needs no teacher in the loop
    tokenizer: str  # tokenizer digest
    data: str  # hash of the training rows, in order
    tasks: tuple[str, ...]  # "name@version" of the tasks whose graders are the reward
    seed: int
    budget: Budget
    versions: Mapping[str, str]  # packages that can change the result
    devices: int = 1
    deterministic: bool = False  # whether torch was kept to algorithms that repeat bit for bit

    @property
    def key(self) -> str:
        """Hex SHA-256 of all fields; `deterministic` only if it is asked for: all else has the key it always had."""
        fields_of = asdict(self)
        if not self.deterministic:
            del fields_of["deterministic"]
        return sha256_of(fields_of)

    @property
    def folder_name(self) -> str:
        """Its folder among those of all stages of a run."""
        return f"{self.trainer.replace('&', '-and-')}-{self.key[:16]}"


@dataclass(frozen=True)
class TrainRow:
    """One training item. completion None: the trainer samples its own completions (RL)."""

    task: str
    sample: Sample
    completion: str | None = None


@dataclass(frozen=True)
class Trained:
    """What a trainer returns. If it ended early, `path` is the last sound checkpoint and `why` gives the reason.

    "collapsed": training diverged. "refused": training could not have changed anything, so it was not started.
    """

    path: Path  # folder of a full, merged checkpoint
    status: Status = "done"
    why: str = ""


@dataclass(frozen=True, slots=True)
class RecordItem:
    """The item that a recorded reply answers."""

    task: str
    task_version: str
    sample_id: str
    sample_hash: str
    level: str = ""  # difficulty, as stated by the task
    cluster: str = ""  # the same for items that are not independent, in any task; "": not recorded


@dataclass(frozen=True, slots=True)
class RecordOrigin:
    """What made and graded a recorded reply; rows are comparable only if they differ in the checkpoint alone."""

    checkpoint: str  # weights digest; "recorded:<sha256 of the file>" for replayed generations
    engine: str  # "vllm 0.32.0 float32"
    sampling: Mapping[str, Any]
    grader_version: str
    sandbox: str  # isolation tier of the code grader; "none needed" if no code was run
    unproven: str = (
        ""  # why the weights were not compared with the checkpoint's: "gptq"; "": they were, or none are ours
    )


@dataclass(frozen=True, slots=True)
class RecordReply:
    """A recorded reply, and what it took; see `Generation`."""

    text: str
    n_prompt_tokens: int
    n_tokens: int
    finish: Finish
    prompt_hash: str
    wall_s: float
    error: str = ""

    @classmethod
    def of(cls, reply: Generation) -> RecordReply:
        """What of a reply is recorded."""
        return cls(**{f.name: getattr(reply, f.name) for f in fields(cls)})


@dataclass(frozen=True, slots=True)
class Record:
    """One graded reply: the product. Every number on a board is a pure function of records.

    In a file the fields of its parts stand beside each other: `records/record_files.py`.
    """

    item: RecordItem
    origin: RecordOrigin
    repeat: int
    reply: RecordReply
    scores: Mapping[str, Score]  # grader name -> verdict; always has "strict" and "lenient"
