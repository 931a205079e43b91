"""The process of one training stage: `python -m harness.training.stage_process FOLDER`.

Started by `run_stage.run_stage`, never by hand.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from harness import registry
from harness.atomic import write_json
from harness.checkpoints import open_checkpoint
from harness.engines.transformers import leave_out_scikit_learn
from harness.errors import HarnessError, TrainerError
from harness.meter import Meter
from harness.processes import end_with_parent
from harness.protocols import CodeRunner, Task, TrainData
from harness.records.serialization import read_rows, stage_from_json
from harness.types import Checkpoint, Score, Stage, Trained, TrainRow


def main(home: Path) -> int:
    """Train the stage described in `home`; result.json on success, error.json with the reason otherwise.

    With several devices this runs once for each; the first alone writes the result. The first to fail gives the reason:
    the launcher ends all others then, or they fail because they have lost the connection to it.
    """
    end_with_parent()  # a stage never outlives the run that started it
    leave_out_scikit_learn()
    try:
        _train(home, first=int(os.environ.get("RANK", "0")) == 0)
    except Exception as error:
        traceback.print_exc()
        why = str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
        if not (home / "error.json").exists():
            write_json(home / "error.json", {"why": why})
        return 1
    return 0


def _train(home: Path, first: bool) -> None:
    order = json.loads((home / "stage.json").read_text(encoding="utf-8"))
    stage = stage_from_json(order["stage"])
    if stage.deterministic:
        use_deterministic_algorithms()
    parent = _unchanged("parent", Path(order["parent_path"]), stage.parent)
    teacher = _unchanged("teacher", Path(order["teacher_path"]), stage.teacher) if stage.teacher else None
    progress = home / "progress.jsonl" if first else None
    meter = Meter(stage.budget, order["n_params"], order["n_teacher_params"], progress, stage.devices)
    meter.charge_once(**order["teaching"])  # a resumed stage restores a meter that holds this
    if meter.exhausted:
        raise TrainerError(
            f"the teacher's traces alone cost {meter.used:.3g} {stage.budget.unit}, the stage may spend "
            f"{stage.budget.amount:.3g}; ask for fewer traces (teaching.prompts) or raise the budget"
        )
    rows = tuple(read_rows(home / "rows.jsonl"))
    with _RewardGraders(stage) as judge:
        data = TrainData(rows, judge, teacher, Path(order["shared"]), tuple(order["report_to"]))
        trained = registry.load("trainer", stage.trainer)().train(stage, parent, data, meter, home / "work")
    if not first:
        return
    checkpoint = verify(trained, parent)
    result = {
        "checkpoint": str(trained.path.relative_to(home)),
        "digest": checkpoint.digest,
        "cost": meter.state()["cost"],
        "status": trained.status,
        "why": trained.why,
    }
    write_json(home / "result.json", result)


def use_deterministic_algorithms() -> None:
    """Keep torch to algorithms that repeat bit for bit, in this process; one that has no such algorithm raises."""
    import torch

    torch.use_deterministic_algorithms(True)


def _unchanged(role: str, path: Path, digest: str) -> Checkpoint:
    found = open_checkpoint(path)
    if found.digest != digest:
        raise TrainerError(f"the {role} checkpoint {path} changed since the stage was planned")
    return found


def verify(trained: Trained, parent: Checkpoint) -> Checkpoint:
    """The new checkpoint, reloaded from disk: same tokenizer and tensors as its parent's, and finite logits."""
    import torch
    from transformers import AutoModelForCausalLM

    from harness.checkpoints import architecture

    checkpoint = open_checkpoint(trained.path)
    if checkpoint.tokenizer_digest != parent.tokenizer_digest:
        raise TrainerError(f"{trained.path}: the trainer changed the tokenizer or chat template")
    if architecture(trained.path) != architecture(parent.path):
        raise TrainerError(f"{trained.path}: its architecture differs from its parent's {parent.path}")
    model = AutoModelForCausalLM.from_pretrained(trained.path, dtype="auto")
    with torch.inference_mode():
        logits = model(torch.arange(1, 9).unsqueeze(0)).logits
    if not torch.isfinite(logits).all():
        raise TrainerError(f"{trained.path}: the reloaded checkpoint gives logits that are not finite")
    return checkpoint


class _RewardGraders:
    """The tasks' own strict verdict, with the sandbox kept open. Many threads may ask at once."""

    def __init__(self, stage: Stage) -> None:
        named = dict(entry.split("@") for entry in stage.tasks)
        self._tasks: dict[str, Task] = {name: registry.make_task(name) for name in named}
        for name, task in self._tasks.items():
            if task.version != named[name]:
                raise TrainerError(f"task {name!r} is version {task.version}, the stage was planned for {named[name]}")
        self._runner: CodeRunner | None = None

    def __call__(self, row: TrainRow, text: str) -> Score:
        return self._tasks[row.task].score(row.sample, text, self._runner)["strict"]

    def __enter__(self) -> _RewardGraders:
        if any(task.needs_sandbox for task in self._tasks.values()):
            from harness.sandbox import Sandbox

            self._runner = Sandbox()
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is not None:
            self._runner.close()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
