"""Reads a task's YAML into frozen values. Every key is checked: an unknown key is an error that names it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import BadConfig
from harness.types import Split

GRADERS = ("number", "math", "literal", "code")
SPLITS = ("train", "dev", "test")

# The keys of lm-eval's TaskConfig that mean the same here. Keys that would change a prompt or a reply in stock lm-eval
# only (description, gen_prefix, process_docs, fewshot_*, repeats, ...) are left out, so that the prompts stay equal.
TASK_KEYS = frozenset(
    {
        *("task", "task_alias", "tag", "dataset_path", "dataset_name", "dataset_kwargs", "output_type"),
        *("training_split", "validation_split", "test_split", "num_fewshot", "doc_to_text", "doc_to_target"),
        *("generation_kwargs", "filter_list", "metric_list", "metadata"),
    }
)
GENERATION_KEYS = frozenset({"until", "do_sample", "temperature", "max_gen_toks"})
METADATA_KEYS = frozenset(
    {
        *("version", "grader", "licence", "source", "sizes", "data", "question", "id", "keep", "optional"),
        *("solution", "tolerance", "known_defects", "benchmark", "about", "cluster", "variants"),
    }
)
FILE_KEYS = frozenset({"file", "rows", "columns", "where", "unlike", "hub"})
HUB_KEYS = frozenset({"path", "name", "split", "columns"})
DEFECT_KEYS = frozenset({"items", "why"})


@dataclass(frozen=True)
class Hub:
    """Place of a split on the Hugging Face hub. columns: new column to Jinja expression over the hub's columns."""

    path: str
    name: str | None
    split: str
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """The file with the rows of a split, and which of its rows are used."""

    file: str  # below $HARNESS_DATA, or "package:<package>/<path>"
    hub: Hub
    rows: tuple[int, int | None] = (0, None)  # of the file, as a Python slice
    columns: Mapping[str, str] = field(default_factory=dict)  # new column to Jinja expression over the file's columns
    where: str = ""  # Jinja expression over the columns; rows for which it is false are left out
    unlike: tuple[str, ...] = ()  # rows with the same question as a row of these splits are left out


@dataclass(frozen=True)
class Defect:
    """Test items that are known to be faulty. items: positions in the split (int), or values of the id column (str)."""

    items: tuple[int | str, ...]
    why: str


@dataclass(frozen=True)
class Templates:
    """The Jinja templates over the columns of a row that make an item."""

    text: str  # the prompt
    target: str  # the right answer
    solution: str  # a reply that strict accepts; "": the target in the format that strict accepts
    tolerance: str  # how far a number may be from the target; "": it must be equal


@dataclass(frozen=True)
class ColumnNames:
    """The columns of a row that have a meaning beyond the templates."""

    question: str  # the column with the question
    id: str  # the column with the id of a row; "" if the benchmark has none
    keep: tuple[str, ...]  # columns that go into the item's metadata
    optional: tuple[str, ...]  # columns that may be null
    cluster: str  # Jinja expression for what related items have in common; "": the question


@dataclass(frozen=True)
class Published:
    """Published facts about the benchmark, apart from its items."""

    about: str  # what is asked, in a few words
    licence: str
    source: str  # paper or home page of the benchmark; "" if the file does not state it
    sizes: Mapping[Split, int]  # items by split, as published
    benchmark: str  # the hub's own board of this dataset; "": none


@dataclass(frozen=True)
class Config:
    """One task file."""

    name: str
    version: str
    grader: str  # one of GRADERS
    published: Published
    templates: Templates
    columns: ColumnNames
    max_tokens: int
    stop: tuple[str, ...]
    sources: Mapping[str, Source]
    defects: tuple[Defect, ...]
    variants: tuple[tuple[str, ...], ...]  # ids of rows that were made from one original


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises `BadConfig` naming the file and, if known, the line."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise BadConfig(f"{path}: expected a mapping of keys, got {type(found).__name__}")
    return found


def read_task_config(path: Path) -> Config:
    """The task of a YAML file. Raises `BadConfig` naming the file and the key that is unknown, missing or invalid."""
    top = read_yaml(path)
    check_keys(path, "", top, TASK_KEYS)
    ours: Mapping[str, Any] = _needs(path, top, "metadata", dict)
    check_keys(path, "metadata.", ours, METADATA_KEYS)
    settings = _needs(path, top, "generation_kwargs", dict)
    check_keys(path, "generation_kwargs.", settings, GENERATION_KEYS)
    if top.get("num_fewshot") != 0 or top.get("output_type") != "generate_until":
        raise BadConfig(f"{path}: expected num_fewshot: 0 and output_type: generate_until, a chat with one question")
    grader = _needs(path, ours, "grader", str, "metadata.")
    if grader not in GRADERS:
        raise BadConfig(f"{path}: metadata.grader must be one of {', '.join(GRADERS)}, got {grader!r}")
    data = _needs(path, ours, "data", dict, "metadata.")
    check_keys(path, "metadata.data.", data, frozenset(SPLITS))
    if "test" not in data:
        raise BadConfig(f"{path}: metadata.data names no test split; every task has held-out items")
    sizes: Any = ours.get("sizes") or {}
    check_keys(path, "metadata.sizes.", sizes, frozenset(data))
    published = Published(
        about=_needs(path, ours, "about", str, "metadata."),
        licence=_needs(path, ours, "licence", str, "metadata."),
        source=str(ours.get("source", "")),
        sizes=sizes,
        benchmark=str(ours.get("benchmark", "")),
    )
    templates = Templates(
        text=_needs(path, top, "doc_to_text", str),
        target=_needs(path, top, "doc_to_target", str),
        solution=str(ours.get("solution", "")),
        tolerance=str(ours.get("tolerance", "")),
    )
    columns = ColumnNames(
        question=_needs(path, ours, "question", str, "metadata."),
        id=str(ours.get("id", "")),
        keep=tuple(ours.get("keep") or ()),
        optional=tuple(ours.get("optional") or ()),
        cluster=str(ours.get("cluster", "")),
    )
    return Config(
        name=_needs(path, top, "task", str),
        version=str(ours.get("version", "")) or _missing(path, "metadata.version"),
        grader=grader,
        published=published,
        templates=templates,
        columns=columns,
        max_tokens=_needs(path, settings, "max_gen_toks", int, "generation_kwargs."),
        stop=tuple(_needs(path, settings, "until", list, "generation_kwargs.")),
        sources={split: _source(path, split, data[split], top) for split in SPLITS if split in data},
        defects=tuple(_defect(path, i, each) for i, each in enumerate(ours.get("known_defects") or ())),
        variants=_variants(path, str(ours.get("variants", "")), columns),
    )


def check_keys(path: Path, where: str, given: object, known: Set[str]) -> None:
    """Raise `BadConfig` with a "did you mean" unless `given` is a mapping of known keys."""
    if not isinstance(given, Mapping):
        raise BadConfig(f"{path}: {where.rstrip('.')} must be a mapping, got {given!r}")
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise BadConfig(f"{path}: unknown key {f'{where}{key}'!r}: {hint}known keys: {', '.join(sorted(known))}")


def _source(path: Path, split: str, given: Any, top: Mapping[str, Any]) -> Source:
    named = {"train": "training_split", "dev": "validation_split", "test": "test_split"}
    published = Hub(str(top.get("dataset_path", "")), top.get("dataset_name"), top.get(named[split]) or split)
    if isinstance(given, str):
        return Source(given, published)
    where = f"metadata.data.{split}."
    check_keys(path, where, given, FILE_KEYS)
    hub = given.get("hub") or {}
    check_keys(path, f"{where}hub.", hub, HUB_KEYS)
    if hub.get("path"):
        published = Hub(hub["path"], hub.get("name"), hub.get("split") or split)
    rows = given.get("rows") or [0, None]
    unlike = tuple(given.get("unlike") or ())
    if len(rows) != 2 or not isinstance(rows[0], int) or not isinstance(rows[1], int | None):
        raise BadConfig(f"{path}: {where}rows must be [from, to] as in a Python slice, got {rows!r}")
    if split in unlike or not set(unlike) <= set(SPLITS):
        raise BadConfig(f"{path}: {where}unlike must name other splits of {', '.join(SPLITS)}, got {list(unlike)!r}")
    return Source(
        _needs(path, given, "file", str, where),
        Hub(published.path, published.name, hub.get("split") or published.split, hub.get("columns") or {}),
        (rows[0], rows[1]),
        given.get("columns") or {},
        str(given.get("where", "")),
        unlike,
    )


def _defect(path: Path, i: int, given: Any) -> Defect:
    check_keys(path, f"metadata.known_defects[{i}].", given, DEFECT_KEYS)
    items = _needs(path, given, "items", list, f"metadata.known_defects[{i}].")
    return Defect(tuple(items), _needs(path, given, "why", str, f"metadata.known_defects[{i}]."))


def _variants(path: Path, name: str, columns: ColumnNames) -> tuple[tuple[str, ...], ...]:
    """The lines of the file that `metadata.variants` names, each split into ids; those with # say what they are."""
    if not name:
        return ()
    if not columns.id or columns.cluster:
        raise BadConfig(f"{path}: metadata.variants lists ids, so it needs metadata.id, and no metadata.cluster")
    try:
        lines = path.with_name(name).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadConfig(f"{path}: metadata.variants names {name!r}, which cannot be read: {error.strerror}") from error
    return tuple(tuple(line.split()) for line in lines if line.strip() and not line.startswith("#"))


def _needs(path: Path, given: Mapping[str, Any], key: str, kind: type, where: str = "") -> Any:
    if key not in given:
        _missing(path, f"{where}{key}")
    if not isinstance(given[key], kind):
        raise BadConfig(f"{path}: {where}{key} must be of type {kind.__name__}, got {given[key]!r}")
    return given[key]


def _missing(path: Path, key: str) -> Any:
    raise BadConfig(f"{path}: no key {key!r}, which every task needs")
