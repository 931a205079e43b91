"""The dry run: what a comparison would do, its cost and its detectable difference, line by line, without running it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.checkpoints import matmul_params
from harness.engines.machine import TINY, gpu_shares_text, gpus, threads
from harness.engines.opening import engine_gpus_lines
from harness.experiment.memory_forecast import memory_lines
from harness.experiment.plan import Experiment, open_models
from harness.experiment.run_context import space_needed
from harness.experiment.stages import StageLeft, stages_left, strategy_runs
from harness.experiment.tuning import Settings, trial_runs
from harness.records.run_folder import enough_space
from harness.statistics import intervals
from harness.training import strategies
from harness.types import Checkpoint

SEED_SD = 0.02  # assumed standard deviation of a strategy's score over seeds; typical of small models on small sets
PROBE_TOKENS = 2048  # enough for a GPU to be busy


def dry_run_lines(plan: Experiment) -> Iterator[str]:
    """The steps of the plan in order, with an estimate of their time."""
    base, teacher = open_models(plan)
    yield f"base {base.path} ({matmul_params(base.path):,} matmul weights, digest {base.digest[:12]})"
    opened = plan.open_tasks()
    items, suite = opened.items, opened.suite
    yield f"train items: {len(items.rows):,} of {items.n_offered:,} from {plan.train_source}" + (
        f"; {len(items.dropped)} dropped for holding a held-out question" if items.dropped else ""
    )
    if plan.needs("traces"):
        asked = min(plan.recipe.teaching.prompts, len(items.rows))
        yield f"teacher {plan.recipe.teacher}: one trace for each of {asked:,} train items"
    yield from _stages(plan)
    yield from _gpus(plan)
    yield from memory_lines(plan, strategy_runs(plan), base, teacher, items)
    yield from _disk(plan, base)
    models = 1 + bool(plan.recipe.teacher) + len(plan.strategies) * len(plan.seeds)
    n_test = {part.task.name: len(part.samples) for part in suite}
    n_dev = {part.task.name: len(part.samples) for part in items.dev}
    yield f"choose checkpoints on {sum(n_dev.values())} dev items ({_sizes(n_dev)})"
    yield f"evaluate {models} checkpoints on {sum(n_test.values())} held-out items ({_sizes(n_test)})"
    yield from _time(plan, list(stages_left(plan, strategy_runs(plan), base, teacher, items)), base)
    yield from _power(plan, sum(n_test.values()))


def trials(plan: Experiment, grids: Mapping[str, Sequence[Settings]]) -> Iterator[str]:
    """The steps of a search for settings. grids: trainer -> the settings of each of its trials."""
    base, teacher = open_models(plan)
    budget, items = plan.recipe.budget, plan.open_tasks().items
    seeds = f" with {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else ""
    yield f"base {base.path} (digest {base.digest[:12]}); train items: {len(items.rows):,}"
    for name, some in grids.items():
        yield f"try {len(some)} settings of {name}{seeds}, {budget.amount:.3g} {budget.unit} each"
    n_dev = {part.task.name: len(part.samples) for part in items.dev}
    yield f"score them on {sum(n_dev.values())} dev items ({_sizes(n_dev)}); no test item is evaluated"
    yield from _gpus(plan)
    yield from memory_lines(plan, trial_runs(plan, grids), base, teacher, items)
    yield from _disk(plan, base)
    yield from _time(plan, list(stages_left(plan, trial_runs(plan, grids), base, teacher, items)), base)


def _stages(plan: Experiment) -> Iterator[str]:
    """Every stage that would be trained; a stage shared by several strategies is listed once."""
    total = plan.recipe.budget
    done: dict[tuple[tuple[str, float], ...], str] = {}
    for strategy in plan.strategies:
        prefix: tuple[tuple[str, float], ...] = ()
        parts = []
        for stage in strategy.stages:
            share = strategies.share_of(stage, total)
            prefix = (*prefix, (stage.trainer, share))
            shared = done.get(prefix)
            parts.append(f"{stage.trainer} for {share:.3g} {total.unit}" + (f" (as in {shared})" if shared else ""))
            done.setdefault(prefix, strategy.name)
        seeds = f"seed {plan.seeds[0]}" if len(plan.seeds) == 1 else f"{len(plan.seeds)} seeds"
        yield f"train {strategy.name}, {seeds}: " + ", then ".join(parts)
    trained = sum(share for prefix in done for _, share in prefix[-1:])
    yield f"training in all: {trained * len(plan.seeds):.3g} {total.unit}, shared stages once"


def _gpus(plan: Experiment) -> Iterator[str]:
    """What each GPU does while stages are trained, and while replies are generated; nothing without a GPU."""
    if found := gpus():
        shares = plan.stage_gpus()
        many = f"{len(shares)} stages at a time, each on its own" if len(shares) > 1 else "one stage at a time"
        yield f"{many}: {gpu_shares_text(shares, found, ' (--jobs uses more)')}"
    yield from engine_gpus_lines(plan.engine, plan.engine_settings())


def _disk(plan: Experiment, base: Checkpoint) -> Iterator[str]:
    """What the run needs of the disk. Raises `StorageError` if it is not there."""
    needed, folder = space_needed(plan, base), plan.folder.resolve()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    enough_space(there, needed)
    yield f"disk: at most {needed / 1e9:.2g} GB in {plan.folder}, mostly checkpoints until they are scored on dev"


def _time(plan: Experiment, left: Sequence[StageLeft], base: Checkpoint) -> Iterator[str]:
    """Time to train the stages left, from earlier ones in this folder's neighbours, else from a few steps made now."""
    budget, amount = plan.recipe.budget, sum(stage.amount for stage in left)
    if not left:
        yield "time for training: none, all stages are trained already"
        return
    if budget.unit == "device_s":
        yield f"time for training: {_hours(amount / plan.recipe.devices / plan.parallel_stages)}, by the budget itself"
        return
    measured = dict(_rates(plan, base))
    unknown = {stage.trainer for stage in left} - measured.keys()
    if not unknown:
        seconds = sum(stage.amount / measured[stage.trainer] for stage in left) / plan.parallel_stages
        yield f"time for training: about {_hours(seconds)}, from stages trained before"
        return
    if budget.unit == "generated":
        yield "time for training: not known before the first stage has run"
        return
    rate = _training_flops_per_s(base.path, plan.parallel_stages)
    per_unit = 1.0 if budget.unit == "flops" else 6.0 * matmul_params(base.path)
    total = amount * per_unit / rate / plan.parallel_stages
    yield (
        f"time for training: {_hours(total)} at {rate:.2g} FLOP/s, measured just now on training steps; up to three "
        f"times that if a trainer samples ({', '.join(sorted(unknown))} not yet trained here)"
    )


def _rates(plan: Experiment, base: Checkpoint) -> Iterator[tuple[str, float]]:
    """For each trainer the amount spent per second, in the budget's unit, in earlier stages of this architecture."""
    from harness.records.serialization import cost_from_json

    unit, n_params = plan.recipe.budget.unit, matmul_params(base.path)
    for result in sorted(plan.folder.parent.glob("*/stages/*/result.json")):
        order = json.loads((result.parent / "stage.json").read_text(encoding="utf-8"))
        cost = cost_from_json(json.loads(result.read_text(encoding="utf-8"))["cost"])
        if (
            order["n_params"] == n_params
            and order["stage"].get("devices", 1) == plan.recipe.devices
            and cost.wall_s > 1
        ):
            yield order["stage"]["trainer"], cost.spent(unit) / cost.wall_s


def _training_flops_per_s(model: Path, n_parallel: int) -> float:
    """FLOPs per second of forward and backward passes of this model on this machine, by the meter's formula.

    n_parallel: stages that run at a time.
    """
    import torch

    from harness.engines.transformers import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_model(model, "bfloat16" if device == "cuda" else "float32", device)
    n_tokens = PROBE_TOKENS if device == "cuda" or matmul_params(model) < TINY else PROBE_TOKENS // 8
    tokens = torch.randint(network.config.vocab_size, (n_tokens // 256, 256), device=device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads(matmul_params(model), n_parallel))  # as a stage runs
    for _ in range(2):  # the first warms up
        begun = time.monotonic()
        network(input_ids=tokens, labels=tokens).loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
    seconds = time.monotonic() - begun
    torch.set_num_threads(before)
    return 6.0 * matmul_params(model) * int(tokens.numel()) / seconds


def _power(plan: Experiment, n: int) -> Iterator[str]:
    between = 100 * intervals.detectable(intervals.DISCORDANCE, n)
    yield (
        f"smallest difference this suite finds between two checkpoints (80 % power, {intervals.DISCORDANCE:.0%} of the "
        f"items answered differently): {between:.1f} points"
    )
    if len(plan.seeds) < intervals.MIN_SEEDS_FOR_CLAIM:
        yield (
            f"between two strategies: nothing can be claimed from {len(plan.seeds)} seed{'s' * (len(plan.seeds) > 1)}; "
            f"it takes at least {intervals.MIN_SEEDS_FOR_CLAIM} (--seeds 1,2,3,4)"
        )
        return
    smallest = 100 * intervals.detectable_across_seeds(intervals.DISCORDANCE, n, SEED_SD, len(plan.seeds))
    yield (
        f"between two strategies, {len(plan.seeds)} seeds each (a spread of {100 * SEED_SD:.0f} points from seed to "
        f"seed): {smallest:.1f} points"
    )


def _hours(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _sizes(n_items: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in n_items.items())
