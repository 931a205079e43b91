"""Equal tuning: the same number of trials for every trainer, each with the whole budget, scored on dev items only.

If one strategy is tuned more than another, the comparison measures the tuning. All trials are kept in a file that a
recipe can name, and a board lists them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from harness import registry
from harness.board.fact_sentences import difference_text, settings_text
from harness.errors import BadConfig
from harness.experiment import recipes
from harness.experiment.checkpoint_choice import choose
from harness.experiment.facts import searched
from harness.experiment.plan import Experiment
from harness.experiment.run_context import open_experiment
from harness.experiment.stages import StrategyRun
from harness.experiment.steps import judged_on_dev, materials, train_all
from harness.experiment.trials import Trial, Tuning
from harness.protocols import Progress
from harness.records.run_folder import ensure_writable, exclusive_use, full_disk_is_named
from harness.training import strategies
from harness.training.run_stage import resolve_config

Settings = Mapping[str, Any]


def grids(tried: Sequence[str], base: Mapping[str, Settings]) -> dict[str, list[Settings]]:
    """Trainer -> the settings of each of its trials, from texts like `rl.learning_rate=3e-5,1e-4`.

    Several keys of one trainer are tried in all combinations. base: the other settings of the trials. Raises
    `BadConfig` for an invalid text or value, and if the trainers' numbers of trials differ.
    """
    axes: dict[str, dict[str, list[Any]]] = {}
    for text in tried:
        name, equals, values = text.partition("=")
        trainer, dot, key = name.strip().rpartition(".")
        if not (equals and dot and values.strip()):
            raise BadConfig(f"--try must be TRAINER.KEY=VALUE,VALUE, such as rl.learning_rate=3e-5,1e-4, got {text!r}")
        registry.check_installed("trainer", trainer)
        if key in axes.get(trainer, {}):
            raise BadConfig(f"--try {trainer}.{key} is given twice; put all values into one, separated by commas")
        axes.setdefault(trainer, {})[key] = [recipes.value(part.strip()) for part in values.split(",")]
    found: dict[str, list[Settings]] = {
        trainer: [dict(zip(keys, values, strict=True)) for values in itertools.product(*keys.values())]
        for trainer, keys in axes.items()
    }
    for trainer, trials in found.items():
        configs = [resolve_config(trainer, {**base.get(trainer, {}), **trial}) for trial in trials]
        for number, (trial, config) in enumerate(zip(trials, configs, strict=True)):
            if config in configs[:number]:
                raise BadConfig(f"--try {trainer}: {settings_text(trial)} is tried twice")
    if len({len(trials) for trials in found.values()}) > 1:
        listed = ", ".join(f"{trainer} {len(trials)}" for trainer, trials in found.items())
        raise BadConfig(f"every trainer must get the same number of trials, got {listed}; add or drop values")
    return found


def trial_runs(plan: Experiment, trials: Mapping[str, Sequence[Settings]]) -> list[StrategyRun]:
    """Every trial with every seed of the plan, in the order of `trials`."""
    base = plan.recipe.trainers
    return [
        StrategyRun(
            strategies.parse_strategy(trainer),
            seed,
            {trainer: {**base.get(trainer, {}), **trial}},
            settings_text(trial),
        )
        for trainer, some in trials.items()
        for trial in some
        for seed in plan.seeds
    ]


def tune_strategies(
    plan: Experiment, trials: Mapping[str, Sequence[Settings]], progress: Progress, earlier: Tuning | None = None
) -> Tuning:
    """Train every trial with every seed of the plan and score it on the dev items; test items are not evaluated.

    The same call continues an interrupted one. earlier: trials made before, which are kept; raises `BadConfig` if they
    are of another comparison.
    """
    ensure_writable(plan.folder)
    asked = [(trainer, trial) for trainer, some in trials.items() for trial in some for _ in plan.seeds]
    runs = trial_runs(plan, trials)
    with exclusive_use(plan.folder), full_disk_is_named(plan.folder), open_experiment(plan, runs, progress) as context:
        mine = searched(context)
        if earlier and (differ := earlier.other_than(*mine)):
            said = " and ".join(difference_text(kind, earlier.budget) for kind in differ)
            raise BadConfig(f"the file of trials has earlier ones of {said}; name another file with --out")
        material = materials(context)
        context.engine.sleep()
        judged = [judged_on_dev(context, trained) for trained in train_all(context, runs, material)]
    found = []
    for (trainer, trial), trained in zip(asked, judged, strict=True):
        best, last = choose(trained.candidates), trained.stages[-1]
        config = resolve_config(trainer, trained.strategy_run.settings[trainer])
        found.append(Trial(trainer, trial, config, trained.seed, best.dev, best.name, last.status, last.why))
    made = Tuning(*mine, tuple(found))
    return earlier.plus(made) if earlier else made
