"""Trials of settings, judged on dev items: what was tried for every trainer before a comparison, best and worst."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.errors import BadConfig
from harness.records import write_json
from harness.types import Budget

SCHEMA = 1


@dataclass(frozen=True)
class Trial:
    """One trainer with one choice of settings and one seed, trained for the whole budget."""

    trainer: str
    settings: Mapping[str, Any]  # those that were varied
    seed: int
    dev: float  # strict share on the dev items, of its best checkpoint
    chosen: str  # share of the budget that checkpoint had spent: "025", ..., "100"
    status: str = "done"
    why: str = ""


@dataclass(frozen=True)
class Tuning:
    """All trials from one base at one budget. dev_items: task -> number of dev items."""

    base: str  # digest
    budget: Budget
    dev_items: Mapping[str, int]
    trials: tuple[Trial, ...]

    def trainers(self) -> list[str]:
        """Names of the trainers, as tried."""
        return list(dict.fromkeys(trial.trainer for trial in self.trials))

    def tried(self, trainer: str) -> list[tuple[dict[str, Any], float]]:
        """The choices of settings of a trainer, each with its dev score, the mean over seeds."""
        mine = [trial for trial in self.trials if trial.trainer == trainer]
        choices = {spelled(trial.settings): dict(trial.settings) for trial in mine}
        return [
            (settings, fmean(trial.dev for trial in mine if spelled(trial.settings) == text))
            for text, settings in choices.items()
        ]

    def best(self, trainer: str) -> dict[str, Any]:
        """The choice of the highest dev score; the first of equals."""
        return max(self.tried(trainer), key=lambda choice: choice[1])[0]

    def listed(self, used: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """For each trainer all choices with their dev score in percent. used: settings of each trainer in the end."""
        return {
            trainer: "; ".join(
                f"{spelled(settings)} {100 * dev:.1f}"
                + (" (used)" if settings.items() <= used.get(trainer, {}).items() else "")
                for settings, dev in self.tried(trainer)
            )
            for trainer in self.trainers()
        }


def write(path: Path, tuning: Tuning) -> None:
    """The file a recipe names as `tuning`."""
    write_json(path, {"schema": SCHEMA, **asdict(tuning)})


def read(path: Path) -> Tuning:
    """What `write` wrote. Raises `BadConfig` for anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise BadConfig(f"tuning file {path} has schema {values['schema']!r}, expected {SCHEMA}")
        trials = tuple(Trial(**trial) for trial in values["trials"])
        return Tuning(values["base"], Budget(**values["budget"]), values["dev_items"], trials)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(
            f"{path} is no file of `harness tune` ({type(error).__name__}: {error}); "
            "make it anew, or take `tuning` out of the recipe"
        ) from None


def toml(tuning: Tuning) -> list[str]:
    """The best settings of every trainer as a recipe has them."""
    lines = []
    for trainer in tuning.trainers():
        lines.append(f"[trainers.{trainer if trainer.isalnum() else json.dumps(trainer)}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in tuning.best(trainer).items()] + [""]
    return lines[:-1]


def spelled(settings: Mapping[str, Any]) -> str:
    """`learning_rate=0.001 warmup=0.1`."""
    return " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items())
