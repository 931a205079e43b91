"""Reads a recipe, one small TOML file: the base, the suite, the budget and the settings of a comparison.

`extends = "other.toml"` inherits the values of another file in the same folder, and `extends = "pico"` those of an
installed recipe, except those set in this one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from harness import registry
from harness.errors import BadConfig, UnknownName
from harness.evaluation.task_lookup import expand
from harness.experiment import trials
from harness.training.run_stage import resolve_config
from harness.types import Budget, BudgetUnit, Sampling


@dataclass(frozen=True)
class TraceSettings:
    """How the teacher writes traces: one reply for each of the first `prompts` train items, kept if graded right."""

    prompts: int = 1000
    temperature: float = 0.7
    max_tokens: int | None = None  # None: the task's own


@dataclass(frozen=True)
class Recipe:
    """base, teacher: model folders (relative to the recipe file) or Hugging Face model names; teacher may be ""."""

    name: str
    base: str
    tasks: tuple[str, ...]  # evaluated on; a suite is replaced by its tasks
    budget: Budget
    train: tuple[str, ...] = ()  # trained on; none: `tasks`
    teacher: str = ""
    dev_items: int = 200  # number per task trained on; checkpoints are chosen on them
    devices: int = 1  # number that train one stage together
    deterministic: bool = False  # whether stages, and on a GPU vLLM's replies, are to repeat bit for bit; slower
    sampling: Sampling = field(default_factory=Sampling)  # of the replies that are graded
    teaching: TraceSettings = field(default_factory=TraceSettings)
    trainers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # trainer -> settings that differ
    tuning: trials.Tuning | None = None  # how they were chosen; in the TOML file, a path relative to it


def read_recipe(name_or_path: str, with_tuning: bool = True) -> Recipe:
    """The installed recipe of that name, or the file at that path. Raises `UnknownName` or `BadConfig`.

    with_tuning=False: the file of trials, which may not exist yet, is not read.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = Path(registry.load("recipe", name_or_path))
    values = _read(path)
    return from_values(values if with_tuning else {**values, "tuning": ""}, path)


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's values over those of the file that it `extends`, in the same folder, or of an installed recipe."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"recipe {path} is not TOML: {error}") from None
    if "extends" not in values:
        return values
    name = values.pop("extends")
    if not isinstance(name, str) or Path(name).name != name:
        raise BadConfig(
            f"recipe {path.name}: extends must name a file in the same folder or an installed recipe, got {name!r}"
        )
    parent = path.parent / name if name.endswith(".toml") else Path(registry.load("recipe", name))
    if parent in (path, *above):
        raise BadConfig(f"recipe {path.name} extends {parent.name}, which extends it: a circle")
    return _over(_located(parent, _read(parent, (path, *above))), values)


def _located(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the models and the file of trials that lie beside the recipe named from anywhere."""
    models = {key: _beside(path, values[key]) for key in ("base", "teacher") if isinstance(values.get(key), str)}
    tuning = values.get("tuning")
    files = {"tuning": str(path.parent / tuning)} if isinstance(tuning, str) and tuning else {}
    return {**values, **models, **files}


def _over(below: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The two merged: tables key by key, anything else is replaced."""
    merged = dict(below)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _over(below[key], value) if both else value
    return merged


def from_values(values: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe in parsed TOML. Every key is checked: an unknown one is an error with a suggestion."""
    where = f"recipe {path.name}"
    _known(where, values, [f.name for f in fields(Recipe) if f.name != "name"])
    for key, kind in (("base", str), ("tasks", list), ("budget", dict)):
        if not isinstance(values.get(key), kind):
            raise BadConfig(f"{where}: {key} must be of type {kind.__name__}, got {values.get(key)!r}")
    for key in ("dev_items", "devices"):
        if not isinstance(values.get(key, 1), int) or values.get(key, 1) < 1:
            raise BadConfig(f"{where}: {key} must be a whole number > 0, got {values[key]!r}")
    if not isinstance(values.get("deterministic", False), bool):
        raise BadConfig(f"{where}: deterministic must be true or false, got {values['deterministic']!r}")
    if not isinstance(values.get("tuning", ""), str):
        raise BadConfig(f"{where}: tuning must be the path of a file of `harness tune`, got {values['tuning']!r}")
    expand([str(task) for task in values["tasks"]], "test")
    for task in values.get("train", ()):
        registry.check_installed("task", str(task))
    trainers = values.get("trainers", {})
    for trainer, settings in trainers.items():
        resolve_config(trainer, settings)
    return Recipe(
        name=path.stem if path.stem != "recipe" else path.parent.name,
        base=_beside(path, values["base"]),
        teacher=_beside(path, values.get("teacher", "")),
        tasks=tuple(values["tasks"]),
        budget=budget(where, values["budget"]),
        train=tuple(values.get("train", ())),
        dev_items=values.get("dev_items", Recipe.dev_items),
        devices=values.get("devices", Recipe.devices),
        deterministic=values.get("deterministic", Recipe.deterministic),
        sampling=_sampling(where, values.get("sampling", {})),
        teaching=_teaching(where, values.get("teaching", {})),
        trainers=trainers,
        tuning=trials.read_trials(path.parent / values["tuning"]) if values.get("tuning") else None,
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
        trainer, _, key = dotted.rpartition(".")  # a trainer's own name may hold a dot: sft.lora.lora_rank
        registry.check_installed("trainer", trainer)
        trainers.setdefault(trainer, {})[key] = value(text)
        resolve_config(trainer, trainers[trainer])
    return replace(recipe, trainers=trainers)


def value(text: str) -> Any:
    """A value from the command line: read as TOML, else the text itself."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _teaching(where: str, values: Mapping[str, Any]) -> TraceSettings:
    _known(f"{where}, teaching", values, [f.name for f in fields(TraceSettings)])
    teaching = TraceSettings(**values)
    if teaching.prompts < 1 or teaching.temperature < 0:
        raise BadConfig(f"{where}: teaching needs prompts >= 1 and temperature >= 0, got {dict(values)!r}")
    return teaching


def _sampling(where: str, values: Mapping[str, Any]) -> Sampling:
    _known(f"{where}, sampling", values, [f.name for f in fields(Sampling)])
    sampling = Sampling(**values)
    if sampling.repeats < 1 or sampling.temperature < 0 or not 0 < sampling.top_p <= 1:
        raise BadConfig(f"{where}: sampling needs repeats >= 1, temperature >= 0 and top_p in (0, 1], got {values!r}")
    if sampling.repeats > 1 and sampling.temperature == 0:
        raise BadConfig(f"{where}: {sampling.repeats} replies to each item are all the same at temperature 0")
    return sampling


def _beside(path: Path, model: str) -> str:
    """A model folder relative to the recipe file, else the name unchanged (a path, or a model on the hub)."""
    return str(path.parent / model) if model and (path.parent / model).is_dir() else model


def _known(where: str, values: Mapping[str, Any], known: Any) -> None:
    for key in values:
        if key not in known:
            raise BadConfig(f"{where}: {UnknownName('setting', key, known)}")
