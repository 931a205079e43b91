"""One stage: make its training rows, run its trainer in a process of its own, verify the checkpoint, keep the cost.

A stage lives in `stages/<trainer>-<key>`: stage.json (its inputs), rows.jsonl, progress.jsonl, log.txt, work/ (the
trainer's own) and result.json (written last: a stage that has it is never trained again).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import registry
from harness.atomic import write_json, write_lines
from harness.checkpoints import matmul_params, open_checkpoint
from harness.engines.machine import threads
from harness.errors import BadConfig, TrainerError, UnknownName
from harness.records.run_folder import enough_space
from harness.records.serialization import cost_from_json, read_lines, row_to_json
from harness.types import Budget, Checkpoint, Cost, Stage, Status, TrainRow, sha256_of

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "srlm-harness",
)  # those that can change trained weights


# Read by the CUDA libraries when they start; torch refuses matrix products without the first. `stage_process` does the
# rest. Launches are left asynchronous, unlike by transformers' `full_determinism`: their order decides no bit.
DETERMINISTIC = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "FLASH_ATTENTION_DETERMINISTIC": "1"}


@dataclass(frozen=True)
class StageResult:
    """A finished stage. If the status is not "done", `checkpoint` is the last sound one and `why` the reason."""

    checkpoint: Checkpoint
    cost: Cost
    status: Status
    why: str
    folder: Path


@dataclass(frozen=True)
class TraceCost:
    """What the teacher's traces cost, kept or rejected; charged to every stage that uses them."""

    prompt_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0  # device-seconds


@dataclass(frozen=True)
class Material:
    """What a stage is trained on: its rows, their cost, and the teacher if the trainer needs it."""

    rows: Sequence[TrainRow]
    teaching: TraceCost = TraceCost()
    teacher: Checkpoint | None = None
    n_teacher_params: int = 0


@dataclass(frozen=True)
class StageSettings:
    """What is decided of a stage before its parent and its rows exist. tasks: "name@version", its graders' reward."""

    trainer: str
    config: Mapping[str, Any]  # the trainer's Config, every field resolved
    tasks: tuple[str, ...]
    seed: int
    budget: Budget
    devices: int = 1
    deterministic: bool = False


@dataclass(frozen=True)
class StageEnvironment:
    """Where and on what stages run; none of it changes what they produce, except the number of devices.

    folder: `stages/` and `shared/` are made in it. report_to: transformers' names of places to watch training.
    n_parallel: stages that run at a time, and share the processor's cores; as on another machine, sums over another
    number of threads differ in their last bits. gpus: those that the stage sees, as CUDA_VISIBLE_DEVICES names them;
    none: all that there are.
    """

    folder: Path
    devices: int = 1
    report_to: tuple[str, ...] = ()
    n_parallel: int = 1
    gpus: tuple[str, ...] = ()


def resolve_config(trainer: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's Config with overrides, every field set. Raises `BadConfig` for an unknown key or a wrong type."""
    config = registry.load("trainer", trainer).Config
    known = {field.name: field for field in fields(config)}
    for key, value in overrides.items():
        if key not in known:
            raise BadConfig(str(UnknownName(f"{trainer} setting", key, known)))
        default = getattr(config(), key)
        fits = isinstance(value, (int, float)) if isinstance(default, float) else isinstance(value, type(default))
        if not fits or (isinstance(value, bool) and not isinstance(default, bool)):
            raise BadConfig(f"{trainer}.{key} must be {type(default).__name__} like {default!r}, got {value!r}")
    try:
        return asdict(config(**overrides))
    except ValueError as error:
        raise BadConfig(f"{trainer}: {error}") from error


def plan_stage(settings: StageSettings, parent: Checkpoint, material: Material) -> Stage:
    """The identity of a stage: equal inputs, equal key."""
    return Stage(
        trainer=settings.trainer,
        config=dict(settings.config),
        parent=parent.digest,
        teacher=material.teacher.digest if material.teacher else "",
        tokenizer=parent.tokenizer_digest,
        data=sha256_of([json.loads(row_to_json(row)) for row in material.rows]),
        tasks=settings.tasks,
        seed=settings.seed,
        budget=settings.budget,
        versions={name: _version(name) for name in PACKAGES},
        devices=settings.devices,
        deterministic=settings.deterministic,
    )


def run_stage(
    stage: Stage,
    parent: Checkpoint,
    material: Material,
    place: StageEnvironment,
    progress: Callable[[float, str], None],
    stopping: threading.Event,
) -> StageResult:
    """Train a stage, or hand back what an earlier run of it made. progress(fraction of budget, what to show).

    `stopping`, once set, ends the stage's process; what it saved is kept, and the same call goes on from there.
    """
    home = place.folder / "stages" / stage.folder_name
    if (home / "result.json").exists():
        return read_result(home)
    home.mkdir(parents=True, exist_ok=True)
    write_lines(home / "rows.jsonl", map(row_to_json, material.rows))
    order = {
        "stage": asdict(stage),
        "parent_path": str(parent.path),
        "teacher_path": str(material.teacher.path) if material.teacher else "",
        "n_params": matmul_params(parent.path),
        "n_teacher_params": material.n_teacher_params,
        "teaching": asdict(material.teaching),
        "shared": str(place.folder / "shared"),
        "report_to": place.report_to,
    }
    write_json(home / "stage.json", order)
    (home / "error.json").unlink(missing_ok=True)  # of an earlier attempt
    n_threads = threads(matmul_params(parent.path), place.n_parallel * stage.devices)
    environment = {"OMP_NUM_THREADS": str(n_threads), **os.environ}
    if stage.deterministic:
        environment |= DETERMINISTIC
    if place.gpus:  # transformers trains on all that it sees, and TRL refuses more than it was started for
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(place.gpus)
    _run(home, stage.devices, environment, progress, stopping)
    if not (home / "result.json").exists():
        enough_space(home, 10_000_000)  # a full disk is the likelier story than the trainer's own
        raise TrainerError(_failure(stage, home))
    return read_result(home)


def read_result(home: Path) -> StageResult:
    """The result of a finished stage. Raises `TrainerError` if its checkpoint changed after it was written."""
    recorded = recorded_result(home)
    checkpoint = open_checkpoint(recorded.checkpoint.path)
    if checkpoint.digest != recorded.checkpoint.digest:
        raise TrainerError(
            f"stage {home.name}: its checkpoint is not the one it was finished with (digest {checkpoint.digest[:12]}, "
            f"recorded {recorded.checkpoint.digest[:12]}); delete {home} to train it again"
        )
    return replace(recorded, checkpoint=checkpoint)


def recorded_result(home: Path) -> StageResult:
    """The result of a finished stage as its files say, without a look at the checkpoint itself."""
    result, stage = (json.loads((home / name).read_text(encoding="utf-8")) for name in ("result.json", "stage.json"))
    # training never changes the tokenizer
    checkpoint = Checkpoint(home / result["checkpoint"], result["digest"], stage["stage"]["tokenizer"])
    return StageResult(checkpoint, cost_from_json(result["cost"]), result["status"], result["why"], home)


def _run(
    home: Path,
    devices: int,
    environment: Mapping[str, str],
    progress: Callable[[float, str], None],
    stopping: threading.Event,
) -> None:
    """Run the stage's process to its end, whatever that is, or until we are told to stop."""
    environment = {
        **environment,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        "TENSORBOARD_LOGGING_DIR": str(home / "tensorboard"),
    }
    with (home / "log.txt").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", *_module(devices), str(home)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches us alone; we end the child in order
        )
        try:
            while child.poll() is None and not stopping.is_set():
                progress(*latest(home))
                time.sleep(0.5)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def _module(devices: int) -> list[str]:
    several = launcher(devices)
    return [*several, *(["-m"] if several else []), "harness.training.stage_process"]


def launcher(devices: int) -> list[str]:
    """Module and options that start a process for each device; nothing for one.

    --multi_gpu is accelerate's word for several local processes; on a CPU they talk through gloo.
    """
    if devices == 1:
        return []
    settings = {"num_processes": devices, "num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}
    options = [f"--{name}={value}" for name, value in settings.items()]
    return ["accelerate.commands.launch", "--multi_gpu", *options, "--main_process_port=0"]


def latest(home: Path) -> tuple[float, str]:
    """Share of the budget used and one line of what the trainer last reported."""
    lines = read_lines(home / "progress.jsonl")
    if not lines:
        return 0.0, "starting"
    values = json.loads(lines[-1])
    shown = [f"{name} {values[name]:.3g}" for name in ("loss", "reward") if isinstance(values.get(name), (int, float))]
    return min(float(values["fraction"]), 1.0), ", ".join(shown)


def _failure(stage: Stage, home: Path) -> str:
    error = home / "error.json"
    if error.exists():
        why = json.loads(error.read_text(encoding="utf-8"))["why"]
    else:
        tail = (home / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        why = "its process ended without a result; last lines of its log:\n  " + "\n  ".join(tail)
    return f"trainer {stage.trainer!r}, seed {stage.seed}: {why}\nfull log: {home / 'log.txt'}; run again to resume"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
