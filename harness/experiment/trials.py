"""Trials of settings, scored on dev items: the settings tried for every trainer before a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.atomic import write_json
from harness.board.fact_sentences import settings_text
from harness.board.facts import TrialFacts, TuningDifference
from harness.errors import BadConfig
from harness.types import Budget

SCHEMA = 1


@dataclass(frozen=True)
class Trial:
    """One trainer with one choice of settings and one seed, trained for the whole budget."""

    trainer: str
    settings: Mapping[str, Any]  # only the varied settings
    config: Mapping[str, Any]  # all settings
    seed: int
    dev: float  # strict share on the dev items, of its best checkpoint
    chosen: str  # share of the budget that checkpoint had spent: "025", ..., "100"
    status: str = "done"
    why: str = ""


@dataclass(frozen=True)
class Tuning:
    """All trials from one base at one budget.

    base: digest. material: hash of the training data, see `facts.material_of`. dev_items: task -> number of items.
    """

    base: str
    material: str
    budget: Budget
    dev_items: Mapping[str, int]
    trials: tuple[Trial, ...]

    def other_than(
        self, base: str, material: str, budget: Budget, dev_items: Mapping[str, int]
    ) -> list[TuningDifference]:
        """In what these trials differ from a comparison; `fact_sentences.difference_text` says it."""
        differ: dict[TuningDifference, bool] = {
            "base": self.base != base,
            "material": self.material != material,
            "budget": self.budget != budget,
            "dev items": dict(self.dev_items) != dict(dev_items),
        }
        return [what for what, differs in differ.items() if differs]

    def plus(self, later: Tuning) -> Tuning:
        """These and later trials of the same comparison; a repeated trial counts once."""
        known = [(t.trainer, dict(t.config), t.seed) for t in self.trials]
        new = tuple(t for t in later.trials if (t.trainer, dict(t.config), t.seed) not in known)
        return replace(later, trials=(*self.trials, *new))

    def trainers(self) -> list[str]:
        """Names of the trainers, in the order they were tried."""
        return list(dict.fromkeys(trial.trainer for trial in self.trials))

    def choices(self, trainer: str) -> list[Choice]:
        """The choices tried for a trainer, in order."""
        mine = [trial for trial in self.trials if trial.trainer == trainer]
        configs = [trial.config for trial in mine]
        first = [i for i, config in enumerate(configs) if config not in configs[:i]]
        return [Choice(tuple(trial for trial in mine if trial.config == configs[i])) for i in first]

    def best(self, trainer: str) -> Choice:
        """The choice with the highest dev score among those without a failed trial; of equals the first."""
        return max(self.choices(trainer), key=lambda choice: (not choice.failed, choice.dev))

    def listed(self, used: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[TrialFacts, ...]]:
        """For each trainer what a board records of its choices. used: the whole config of each in the end."""
        return {
            trainer: tuple(
                TrialFacts(choice.settings, choice.dev, choice.config == used.get(trainer), choice.failed)
                for choice in self.choices(trainer)
            )
            for trainer in self.trainers()
        }


@dataclass(frozen=True)
class Choice:
    """One choice of settings of a trainer, with all its trials, one per seed."""

    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        return settings_text(self.trials[0].settings) + (f" ({self.failed})" if self.failed else "")

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.trials[0].settings

    @property
    def config(self) -> Mapping[str, Any]:
        return self.trials[0].config

    @property
    def dev(self) -> float:
        """Mean dev score over the seeds."""
        return fmean(trial.dev for trial in self.trials)

    @property
    def failed(self) -> str:
        """ "collapsed" or "refused" if a trial was, else ""."""
        return next((trial.status for trial in self.trials if trial.status != "done"), "")


def warnings(tuning: Tuning) -> list[str]:
    """Warnings about an unfair or unfinished search: unequal numbers of trials, a best value at the edge."""
    lines = []
    counts = {trainer: len(tuning.choices(trainer)) for trainer in tuning.trainers()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{trainer} {n}" for trainer, n in counts.items())
        lines.append(f"unequal numbers of trials, so not a fair comparison yet: {listed}")
    for trainer in tuning.trainers():
        best = tuning.best(trainer)
        for key, value in best.settings.items():
            tried = {choice.settings.get(key) for choice in tuning.choices(trainer)}
            numbers = [v for v in tried if isinstance(v, (int, float)) and not isinstance(v, bool)]
            if len(numbers) > 2 and value in (min(numbers), max(numbers)):
                lines.append(f"{trainer}: the best {key}, {value:g}, is at the edge of the values tried")
    return lines


def write_trials(path: Path, tuning: Tuning) -> None:
    """Write the file that a recipe names as `tuning`."""
    write_json(path, {"schema": SCHEMA, **asdict(tuning)})


def read_trials(path: Path) -> Tuning:
    """The trials in a file of `write_trials`. Raises `BadConfig` for anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise BadConfig(f"tuning file {path} has schema {values['schema']!r}, expected {SCHEMA}")
        trials = tuple(Trial(**trial) for trial in values["trials"])
        return Tuning(values["base"], values["material"], Budget(**values["budget"]), values["dev_items"], trials)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(
            f"{path} is not a file of `harness tune` ({type(error).__name__}: {error}); "
            "make it again, or remove `tuning` from the recipe"
        ) from None


def toml(tuning: Tuning) -> list[str]:
    """The best settings of every trainer as TOML for a recipe."""
    lines = []
    for trainer in tuning.trainers():
        lines.append(f"[trainers.{trainer if trainer.isalnum() else json.dumps(trainer)}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in tuning.best(trainer).settings.items()] + [""]
    return lines[:-1]
