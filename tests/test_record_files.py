"""Records on their way to a board: made into text once, read in one pass, under a digest that outlives both."""

import hashlib
import json
from collections import Counter

import msgspec
import numpy as np
import pytest
from eval_tasks import Sums
from factories import changed, record

from harness.engines.scripted import ScriptedEngine
from harness.errors import DataError
from harness.evaluation.evaluate import evaluate, summarised
from harness.evaluation.export import export
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import job
from harness.records import summary
from harness.records.columns import Columns
from harness.records.record_files import RecordsDigest, read_records
from harness.records.serialization import record_to_json
from harness.records.summary import joined, read_summary, write_records
from harness.types import Checkpoint, Sampling, Score, sha256_of

RECORDS = [
    record("t/test/1", 1.0, text='"wall_s":9.5}\n ü\u2028', wall_s=1e-05, prompt_hash="prompt of t/test/1"),
    record("t/test/0", None, finish="error", error="gone", wall_s=0.0, prompt_hash="prompt of t/test/0"),
    record(
        "t/test/0",
        0.5,
        repeat=1,
        scores={"strict": Score(0.5, None, "half"), "lenient": Score(1.0, "1")},
        prompt_hash="prompt of t/test/0",
    ),
]
DIGEST = "809a7c95e832a0eb24a5635a7a9f88a47bb04fe505595f47bd0997ded686f823"


def test_a_record_comes_back_equal_whatever_is_in_its_text(tmp_path):
    write_records(tmp_path / "r.jsonl", RECORDS)
    assert list(read_records(tmp_path / "r.jsonl")) == RECORDS


def test_a_line_that_is_not_a_record_is_named(tmp_path):
    (tmp_path / "r.jsonl").write_text(record_to_json(record()) + '\n{"task": 1}\n')
    with pytest.raises(DataError, match=r"r\.jsonl, line 2: not a record"):
        list(read_records(tmp_path / "r.jsonl"))


def test_the_digest_is_that_of_the_lines_with_no_time_in_them(tmp_path):
    lines = [record_to_json(changed(r, wall_s=0.0)) + "\n" for r in RECORDS]
    written = write_records(tmp_path / "r.jsonl", RECORDS)
    assert written.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert written.digest == DIGEST, "boards that were made earlier would not be of the same records"
    later = write_records(tmp_path / "later.jsonl", [changed(r, wall_s=r.reply.wall_s + 1) for r in RECORDS])
    assert later.digest == written.digest
    other = write_records(tmp_path / "other.jsonl", [changed(RECORDS[0], n_tokens=9), *RECORDS[1:]])
    assert other.digest != written.digest
    more = write_records(tmp_path / "more.jsonl", [record(task="u")])
    assert joined([written, more])[1] == sha256_of([written.digest, more.digest])


def test_what_is_read_back_is_what_was_noted_while_writing(tmp_path):
    written = write_records(tmp_path / "r.jsonl", RECORDS)
    back = read_summary(tmp_path / "r.jsonl")
    assert back.digest == written.digest
    for columns in (back.columns, Columns.of(read_records(tmp_path / "r.jsonl"))):
        assert same(columns, written.columns)


def test_several_evaluations_are_one_run_in_the_order_of_items(tmp_path):
    parts = [[record(f"{task}/test/{i}", i % 2, task=task, n_tokens=i) for i in (2, 0, 1)] for task in ("u", "t")]
    columns, _ = joined([write_records(tmp_path / f"{n}.jsonl", part) for n, part in enumerate(parts)])
    assert same(columns, Columns.of([*parts[0], *parts[1]]))
    assert columns.tasks == ("u", "t")
    with pytest.raises(DataError, match="t was evaluated twice"):
        Columns.joined([Columns.of(parts[1]), Columns.of(parts[1])])


def same(one, other):
    """Whether two columns say the same."""
    arrays = [(one.verdicts[g], other.verdicts[g]) for g in one.verdicts]
    arrays += [(getattr(one, name), getattr(other, name)) for name in ("unread", "cut", "failed", "n_tokens")]
    alike = all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in arrays)
    return alike and one.places.same_as(other.places) and (one.tasks, one.items) == (other.tasks, other.items)


@pytest.mark.parametrize("changes", [{"later": 1}, {"wall_s": "1"}])
def test_a_line_that_was_not_written_here_has_no_digest(changes):
    line = json.dumps({**json.loads(record_to_json(record())), **changes})
    with pytest.raises(ValueError, match="its last field is not `wall_s`"):
        RecordsDigest().add(line.encode())


def test_a_file_with_a_field_nobody_knows_is_refused_by_line(tmp_path):
    (tmp_path / "r.jsonl").write_text(record_to_json(record()).replace('{"check', '{"a":1,"check') + "\n")
    with pytest.raises(DataError, match=r"r\.jsonl, line 1: not a record \(.*unknown field `a`"):
        list(read_records(tmp_path / "r.jsonl"))


def test_a_record_is_made_into_text_once_and_parsed_once_on_its_way_to_a_board(tmp_path, monkeypatch):
    counts = Counter()

    class Counting:
        """msgspec's own decoder, and how often it was asked."""

        def __init__(self, kind):
            self._own = msgspec.json.decode
            self._kind = kind

        def decode(self, line):
            counts["parsed"] += 1
            return self._own(line, type=self._kind)

    def counted(one):
        counts["serialised"] += 1
        return record_to_json(one)

    monkeypatch.setattr(msgspec.json, "Decoder", Counting)
    monkeypatch.setattr(summary, "record_to_json", counted)
    of, model = (
        job(Sums(6), "test", sampling=Sampling(repeats=2, temperature=1.0)),
        Checkpoint(tmp_path / "model", "d" * 64, ""),
    )
    with Graders(threads=1) as graders:
        found = evaluate(of, ScriptedEngine(lambda _: "\\boxed{1}"), model, graders, tmp_path / "evals")
        columns, content = summarised([found])
        assert len(columns) == 12
        assert counts == {"serialised": 12}
        export(tmp_path, "model", [found])
        assert counts == {"serialised": 12, "parsed": 12}, "lm-eval's files and Inspect's log share one pass"
        again = evaluate(of, ScriptedEngine({}), model, graders, tmp_path / "evals")
        assert summarised([again])[1] == content
        assert counts == {"serialised": 12, "parsed": 24}, "what was written earlier is read once"
