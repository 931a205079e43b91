"""Whether a step of each trainer fits into the memory of this machine: known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.engines.machine import device_memory, gpus
from harness.errors import BadConfig
from harness.experiment.plan import Experiment
from harness.experiment.stages import StrategyRun, stages_left
from harness.experiment.training_data import TrainingItems
from harness.protocols import Footprint, Trainer
from harness.training.memory import Step, footprint_of, longest, needs_checkpointing, shape_of, step_memory
from harness.types import Checkpoint


def memory_lines(
    plan: Experiment, runs: Sequence[StrategyRun], base: Checkpoint, teacher: Checkpoint | None, items: TrainingItems
) -> Iterator[str]:
    """For each trainer what a step holds, by parts, as far as its stages are left to train.

    Raises `BadConfig` for one that this machine has no memory for.
    """
    on_gpu, sharing = bool(gpus()), plan.parallel_stages * plan.recipe.devices
    room = device_memory() // (1 if on_gpu else sharing)
    many = f", a share for each of {sharing} stages at a time (--jobs, --devices)" if sharing > 1 and not on_gpu else ""
    place = f"{room / 1e9:.3g} GB of {'a GPU' if on_gpu else 'memory'}{many}"
    shape = shape_of(base.path)
    other = shape_of(teacher.path) if teacher else None
    left = list(stages_left(plan, runs, base, teacher, items))
    for name, trainer in plan.trainers():
        configs = [trainer.Config(**stage.config) for stage in left if stage.trainer == name]
        if not configs:
            yield f"memory of {name}: none, its stages are trained already"
            continue
        row = _longest(plan, base, trainer, items)
        for footprint in dict.fromkeys(footprint_of(trainer, config, row) for config in configs):
            if footprint is None or shape is None:
                who = "trainer" if footprint is None else "model's config.json"
                yield f"memory of {name}: not known, the {who} states nothing about it"
            else:
                yield _needed(name, Step(shape, footprint, on_gpu, other, plan.recipe.devices), room, place)


def _needed(name: str, step: Step, room: int, place: str) -> str:
    """What a step of the trainer holds; raises `BadConfig` if that is more than `room` bytes."""
    again = needs_checkpointing(step, room)
    if again is None:
        raise BadConfig(_too_much(name, step, place, room))
    needed = sum(step_memory(step, again).values())
    detail = f" ({_parts(step, again)})" if needed > room / 2 else ""
    return f"memory of {name}: about {needed / 1e9:.2g} of {place}, for {_rows(step.footprint)}{detail}" + (
        "; only because layers are computed again, which makes a step about a third slower" if again else ""
    )


def _longest(plan: Experiment, base: Checkpoint, trainer: Trainer, items: TrainingItems) -> int:
    """Tokens of the longest row to train on; of the longest question if the loop samples."""
    if trainer.samples or "traces" in trainer.needs:
        question = longest(base.path, ((row.sample, "") for row in items.rows))
        reply = plan.recipe.teaching.max_tokens or max(task.max_tokens for task in items.tasks.values())
        return question + (0 if trainer.samples else reply)
    return longest(base.path, ((row.sample, row.completion or "") for row in items.rows))


def _rows(footprint: Footprint) -> str:
    return f"{footprint.rows} rows of up to {footprint.tokens:,} tokens at a time"


def _parts(step: Step, checkpointing: bool) -> str:
    held = [f"{name} {size / 1e9:.2g}" for name, size in step_memory(step, checkpointing).items()]
    if step.half and step.footprint.engine:
        held.append(f"beside {step.footprint.engine:.0%} of the GPU for the engine that samples")
    return ", ".join(held)


def _too_much(name: str, step: Step, place: str, room: int) -> str:
    needed = sum(step_memory(step, checkpointing=True).values())
    fewer, advice = (
        step.footprint,
        "not even one row at a time fits: a shorter max_tokens, a smaller model or a larger GPU",
    )
    while fewer.rows > 1:
        fewer = replace(fewer, rows=fewer.rows // 2, generated=fewer.generated // 2)
        if needs_checkpointing(replace(step, footprint=fewer), room) is not None:
            sampled = f" and {fewer.generated} sampled at once (a smaller step)" if fewer.generated else ""
            advice = f"it fits with {fewer.rows} rows at a time ({name}.micro_batch){sampled}"
            break
    return (
        f"trainer {name!r} needs about {needed / 1e9:.3g} GB for {_rows(step.footprint)} ({_parts(step, True)}), and "
        f"there are {place}; {advice}"
    )
