"""A recipe: what is compared, from which base, on which suite, with which budget and settings. One small TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from harness import registry
from harness.errors import BadConfig, UnknownName
from harness.train import resolve_config
from harness.types import Budget, BudgetUnit


@dataclass(frozen=True)
class Teaching:
    """How the teacher writes traces: one reply for each of the first `prompts` train items, kept where graded right."""

    prompts: int = 1000
    temperature: float = 0.7


@dataclass(frozen=True)
class Recipe:
    """base, teacher: model folders (relative to the recipe file) or Hugging Face model names; teacher may be ""."""

    name: str
    base: str
    tasks: tuple[str, ...]
    budget: Budget
    teacher: str = ""
    teaching: Teaching = field(default_factory=Teaching)
    trainers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # trainer -> settings that differ


def read(name_or_path: str) -> Recipe:
    """The installed recipe of that name, or the file at that path. Raises `UnknownName` or `BadConfig`."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = Path(registry.load("recipe", name_or_path))
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"recipe {path} is not TOML: {error}") from None
    return from_values(values, path)


def from_values(values: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe in parsed TOML. Every key is checked: an unknown one is an error with a suggestion."""
    where = f"recipe {path.name}"
    _known(where, values, ("base", "teacher", "tasks", "budget", "teaching", "trainers"))
    for key, kind in (("base", str), ("tasks", list), ("budget", dict)):
        if not isinstance(values.get(key), kind):
            raise BadConfig(f"{where}: {key} is missing or no {kind.__name__}, got {values.get(key)!r}")
    for task in values["tasks"]:
        registry.check("task", str(task))
    trainers = values.get("trainers", {})
    for trainer, settings in trainers.items():
        resolve_config(trainer, settings)
    return Recipe(
        name=path.stem if path.stem != "recipe" else path.parent.name,
        base=_beside(path, values["base"]),
        teacher=_beside(path, values.get("teacher", "")),
        tasks=tuple(values["tasks"]),
        budget=budget(where, values["budget"]),
        teaching=_teaching(where, values.get("teaching", {})),
        trainers=trainers,
    )


def budget(where: str, values: Mapping[str, Any]) -> Budget:
    """A budget of a known unit and positive amount."""
    _known(f"{where}, budget", values, ("amount", "unit"))
    unit, amount = values.get("unit", "flops"), values.get("amount", 0)
    if unit not in get_args(BudgetUnit):
        raise BadConfig(f"{where}: budget.unit must be one of {', '.join(get_args(BudgetUnit))}, got {unit!r}")
    if not isinstance(amount, (int, float)) or not amount > 0:
        raise BadConfig(f"{where}: budget.amount must be > 0, got {amount!r}")
    return Budget(float(amount), unit)


def override(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """The recipe with `--set trainer.key=value` applied; values are read as TOML. Raises `BadConfig`."""
    trainers = {name: dict(values) for name, values in recipe.trainers.items()}
    for dotted, text in settings.items():
        trainer, _, key = dotted.partition(".")
        registry.check("trainer", trainer)
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text
        trainers.setdefault(trainer, {})[key] = value
        resolve_config(trainer, trainers[trainer])
    return replace(recipe, trainers=trainers)


def _teaching(where: str, values: Mapping[str, Any]) -> Teaching:
    _known(f"{where}, teaching", values, [f.name for f in fields(Teaching)])
    teaching = Teaching(**values)
    if teaching.prompts < 1 or teaching.temperature < 0:
        raise BadConfig(f"{where}: teaching needs prompts >= 1 and temperature >= 0, got {dict(values)!r}")
    return teaching


def _beside(path: Path, model: str) -> str:
    """A model folder beside the recipe file, else the name as it stands (a path, or a model on the hub)."""
    return str(path.parent / model) if model and (path.parent / model).is_dir() else model


def _known(where: str, values: Mapping[str, Any], known: Any) -> None:
    for key in values:
        if key not in known:
            raise BadConfig(f"{where}: {UnknownName('setting', key, known)}")
