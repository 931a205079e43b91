"""Benchmarks described by one YAML file in this folder: `static.gsm8k()` is the task of gsm8k.yaml.

The YAML is lm-eval task YAML, so stock lm-eval loads it too; `metadata:` holds what lm-eval has no field for
(README.md lists the keys, `config.py` checks them).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, TemplateError
from jinja2.environment import TemplateExpression

from harness.errors import DataError, UnknownSplit, hub_advice
from harness.graders.code import CODE_VERSION, score_code
from harness.graders.literal import LITERAL_VERSION, score_literal
from harness.graders.math import MATH_VERSION, score_math
from harness.graders.number import NUMBER_VERSION, score_number
from harness.graders.statements import last_box
from harness.protocols import CodeRunner, Task
from harness.training.decontaminate import words_of
from harness.types import HubDataset, Message, Sample, Score, Split, TaskInfo

from .config import Config, Hub, Source, read_task_config
from .rows import PACKAGE, DataRow, check_ids, missing, package_file, read_data_rows

FOLDER = Path(__file__).parent
VERSIONS = {
    "number": NUMBER_VERSION,
    "math": MATH_VERSION,
    "literal": LITERAL_VERSION,
    "code": CODE_VERSION,
}
# How to write a target as a reply that strict accepts, if no reference reply is published.
_AS_REPLY = {
    "number": "\\boxed{{{}}}",
    "math": "\\boxed{{{}}}",
    "literal": "```python\n{}\n```",
    "code": "```python\n{}\n```",
}


def __getattr__(name: str) -> Callable[[], StaticTask]:
    """The zero-argument constructor of the task `<name>.yaml`: what the entry points name."""
    path = FOLDER / f"{name}.yaml"
    if name.startswith("_") or not path.is_file():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r} (no file {path})")
    return partial(StaticTask, path)


class StaticTask(Task):
    """A benchmark with fixed items, read from lm-eval task YAML. Building it reads the YAML only, no items."""

    def __init__(self, path: Path) -> None:
        self.config: Config = read_task_config(path)
        self.name = self.config.name
        self.version = self.config.version
        self.grader = VERSIONS[self.config.grader]
        self.needs_sandbox = self.config.grader == "code"
        self.max_tokens = self.config.max_tokens
        self.stop = self.config.stop

    def describe(self) -> TaskInfo:
        """The facts stated in the YAML; no data is read."""
        hub = self.config.sources["test"].hub
        return TaskInfo(
            about=self.config.published.about,
            licence=self.config.published.licence,
            source=self.config.published.source,
            sizes=self.config.published.sizes,
            n_defects=len({item for defect in self.config.defects for item in defect.items}),
            has_data=self._has_data(),
            dataset=HubDataset(hub.path, hub.name, hub.split, self.config.published.benchmark),
        )

    def _has_data(self) -> bool:
        place = self.config.sources["test"].file
        if place.startswith(PACKAGE):
            return package_file(place).is_file()
        root = os.environ.get("HARNESS_DATA")
        return bool(root) and (Path(root or "") / place).is_file()

    def defects(self) -> Mapping[str, str]:
        """Test items that are known to be faulty: sample id to why. Reads data only if items are named by id."""
        found: dict[str, str] = {}
        named: dict[str, str] = {}
        for defect in self.config.defects:
            for item in defect.items:
                if isinstance(item, str) and not named:
                    named = {
                        str(row.values[self.config.columns.id]): self._id("test", i)
                        for i, row in self._numbered("test")
                    }
                if isinstance(item, str) and item not in named:
                    column = self.config.columns.id
                    raise DataError(f"task {self.name!r}: known_defects names {item!r}, which is not a known {column}")
                sample_id = self._id("test", item) if isinstance(item, int) else named[item]
                found[sample_id] = f"{found[sample_id]}; {defect.why}" if sample_id in found else defect.why
        return found

    def samples(self, split: Split) -> Sequence[Sample]:
        """The items of a split, in the order of its file.

        Raises `UnknownSplit`, and `DataError` if neither $HARNESS_DATA nor the hub has the items, or if a file is
        damaged.
        """
        if split not in self.config.sources:
            known = ", ".join(self.config.sources)
            raise UnknownSplit(f"task {self.name!r} has no split {split!r}: choose one of {known}")
        return [self._sample(self._id(split, i), row) for i, row in self._numbered(split)]

    def score(self, sample: Sample, text: str, runner: CodeRunner | None) -> Mapping[str, Score]:
        """Verdicts "strict" and "lenient". Raises `DataError` if code must run and no runner is given."""
        grader = self.config.grader
        if grader == "code":
            if runner is None:
                raise DataError(f"task {self.name!r} runs model-written code: give it a sandbox, got runner=None")
            return score_code(sample, text, runner)
        if grader == "literal":
            return score_literal(text, sample.target)
        judge = score_math if grader == "math" else score_number
        scores = judge(text, sample.target)
        tolerance = sample.metadata.get("tolerance")
        if tolerance is None:
            return scores
        return {name: _within(score, sample.target, tolerance) for name, score in scores.items()}

    def _id(self, split: str, i: int) -> str:
        return f"{self.name}/{split}/{i:04d}"

    def _numbered(self, split: str) -> list[tuple[int, DataRow]]:
        return list(enumerate(self._rows(split)))

    def _sample(self, sample_id: str, row: DataRow) -> Sample:
        """One item. metadata: the kept fields of the row, `solution` (a right reply), and `tolerance` if any."""
        self._has(row, self.config.columns.keep)
        target = self._filled(self.config.templates.target, row)
        solution = self._filled(self.config.templates.solution, row) if self.config.templates.solution else ""
        tolerance = self._filled(self.config.templates.tolerance, row) if self.config.templates.tolerance else ""
        prompt = self._filled(self.config.templates.text, row)
        if not target.strip():
            raise DataError(f"{row.place}: the answer is empty; expected a {self.config.grader} answer")
        return Sample(
            id=sample_id,
            messages=(Message("user", prompt),),
            target=target,
            metadata={
                **{column: row.values[column] for column in self.config.columns.keep},
                "solution": solution or _AS_REPLY[self.config.grader].format(target),
                **({"tolerance": tolerance} if tolerance else {}),
            },
            cluster=self._cluster(row),
        )

    def _cluster(self, row: DataRow) -> str:
        """What the item shares with related ones. Raises `DataError` for an id without the collection it is from."""
        columns = self.config.columns
        if self._first_variant:
            own = str(row.values[columns.id])
            return f"{self.name} {self._first_variant.get(own, own)}"
        found = self._value(columns.cluster, row) if columns.cluster else row.values.get(columns.question)
        if not isinstance(found, str) or (columns.cluster and found.strip().isdecimal()):
            raise DataError(
                f"{row.place}: the cluster of an item is a text that is the same in every task, such as that of its "
                f"passage, or an id with its collection (\"'MBPP/' ~ task_id\"), got {found!r}"
            )
        return found

    @cached_property
    def _first_variant(self) -> dict[str, str]:
        """For the id of each row that is listed as a variant, the first id of its list."""
        return {name: line[0] for line in self.config.variants for name in line}

    def _filled(self, template: str, row: DataRow) -> str:
        """A Jinja template filled from a row. Raises `DataError` naming the row and the missing field."""
        self._has(row, _columns(template))
        try:
            return _compiled(template).render(**row.values)
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise DataError(f"{row.place}: cannot be read as an item of {self.name!r}: {error}") from error

    def _value(self, expression: str, row: DataRow) -> Any:
        """The value of a Jinja expression for a row. Raises `DataError` naming the row and the missing field."""
        self._has(row, _columns(f"{{{{{expression}}}}}"))
        try:
            return _expression(expression)(**row.values)
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise DataError(f"{row.place}: {expression!r} cannot be evaluated for this row: {error}") from error

    def _with(self, row: DataRow, columns: Mapping[str, str]) -> DataRow:
        """The row with its added columns."""
        return replace(row, values={**row.values, **{name: self._value(e, row) for name, e in columns.items()}})

    def _has(self, row: DataRow, columns: Iterable[str]) -> None:
        """Raise `DataError` unless the row has these columns; only an optional column may be null."""
        for column in sorted(columns):
            if column not in row.values or (row.values[column] is None and column not in self.config.columns.optional):
                raise missing(row.place, column, row.values)

    def _rows(self, split: str) -> list[DataRow]:
        """The rows of a split, with the columns that the templates use."""
        source = self.config.sources[split]
        rows, columns = self._published(source)
        start, end = source.rows
        rows = [self._with(row, columns) for row in rows[start:end]]
        if source.where:
            rows = [row for row in rows if self._value(source.where, row)]
        if source.unlike:
            taken = {self._words(row) for other in source.unlike for row in self._rows(other)}
            rows = [row for row in rows if self._words(row) not in taken]
        if not rows:
            raise DataError(f"task {self.name!r}: no row of {source.file} belongs to the {split} split")
        if self.config.columns.id:
            check_ids(rows, self.config.columns.id)
        return rows

    def _words(self, row: DataRow) -> tuple[str, ...]:
        question = row.values.get(self.config.columns.question)
        if not isinstance(question, str) or not question.strip():
            raise missing(row.place, self.config.columns.question, row.values)
        return words_of(question)

    def _published(self, source: Source) -> tuple[list[DataRow], Mapping[str, str]]:
        """The rows as published, from a package, from $HARNESS_DATA, else from the hub, and the columns to add."""
        if source.file.startswith(PACKAGE):
            return read_data_rows(package_file(source.file)), source.columns
        root = os.environ.get("HARNESS_DATA")
        if not root:
            return self._from_hub(source.hub, source.file), source.hub.columns
        path = Path(root) / source.file
        if not path.is_file():
            raise DataError(
                f"task {self.name!r}: no file {path}; HARNESS_DATA is {root!r}, it should hold {source.file}"
            )
        return read_data_rows(path), source.columns

    def _from_hub(self, hub: Hub, file: str) -> list[DataRow]:
        try:
            from datasets import load_dataset

            rows = list(load_dataset(hub.path, hub.name, split=hub.split))
        except Exception as error:
            raise DataError(
                f"task {self.name!r}: cannot load {hub.path!r} from the Hugging Face hub ({type(error).__name__}: "
                f"{str(error)[:200]}). Set HARNESS_DATA to a folder that holds {file}, or {hub_advice()}"
            ) from error
        return [DataRow(f"{hub.path} on the hub, {hub.split} row {i}", dict(row)) for i, row in enumerate(rows)]


def _within(score: Score, target: str, tolerance: str) -> Score:
    """The score, and right too if the answer is one number within `tolerance` of the target."""
    answer, gold = _number(score.answer or ""), _number(target)
    if score.value != 0.0 or answer is None or gold is None or abs(answer - gold) > Fraction(tolerance):
        return score
    return replace(score, value=1.0, why=f"{score.why}; within {tolerance} of it")


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(re.sub(r"[\s,$%\\]", "", text[:100]))
    except (ValueError, ZeroDivisionError):
        return None


@cache
def _environment() -> Environment:
    """Jinja with lm-eval's settings and filter, and filters of our own for the fields that lm-eval does not read."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = lambda text, pattern, new: re.sub(pattern, new, text)
    environment.filters["boxed"] = lambda text: last_box(text) or ""
    environment.filters["boxes"] = _boxes
    return environment


def _boxes(text: str) -> list[str]:
    """The different contents of the boxes in a text, without empty ones."""
    held = {last_box(f"\\boxed{part}") for part in text.replace("\\fbox", "\\boxed").split("\\boxed")[1:]}
    return sorted(filter(None, held))


@cache
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


@cache
def _expression(expression: str) -> TemplateExpression:
    return _environment().compile_expression(expression, undefined_to_none=False)


@cache
def _columns(template: str) -> frozenset[str]:
    """The columns that a template names."""
    from jinja2.meta import find_undeclared_variables

    return frozenset(find_undeclared_variables(_environment().parse(template)))
