"""Which items are related: from the task over records and columns to the lock of a gate."""

import json
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import made_up_rows
import numpy as np
import pytest
from bench import related_items
from eval_tasks import NOWHERE, Counting, Sums
from factories import record

from harness import registry
from harness.board.entries import Run
from harness.errors import BadConfig, DataError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import job
from harness.gate.lock import PerItem
from harness.interop.lm_eval_related import clusters
from harness.interop.lm_eval_samples import SamplesFile
from harness.interop.recorded_read import read_generations
from harness.records.columns import Columns
from harness.records.record_files import read_records
from harness.records.serialization import row_to_json
from harness.types import RAW, Message, Sample, Sampling, TrainRow, cluster_of, sha256_of
from harness_tasks import static

TASKS = Path(static.__file__).parent
with_data = pytest.mark.skipif("HARNESS_DATA" not in os.environ, reason="needs the real benchmarks")


def numbered(names):
    """The names as numbers, equal for equal ones."""
    return [names.index(name) for name in names]


# --- tasks ------------------------------------------------------------------------------------------------------------


def asked(*contents, **more):
    return Sample("t/test/0", tuple(Message("user", content) for content in contents), "1", **more)


def test_a_cluster_changes_neither_the_hash_of_an_item_nor_what_is_trained_on():
    plain, stated = asked("What?"), asked("What?", cluster="MBPP/7")
    whole = {"id": "t/test/0", "messages": [{"role": "user", "content": "What?"}], "target": "1", "metadata": {}}
    assert plain.hash == stated.hash == sha256_of(whole)
    rows = [TrainRow("t", sample, "7") for sample in (plain, stated)]
    assert [json.loads(row_to_json(row)) for row in rows] == [{"task": "t", "sample": whole, "completion": "7"}] * 2


def test_items_are_related_by_what_their_task_states_else_by_their_question():
    assert (
        asked("What is\n1 + 1?").cluster_hash
        == asked("shot", "what is 1 + 1? ").cluster_hash
        == cluster_of("What is 1 + 1?")
    )
    assert asked("What?").cluster_hash != asked("Where?").cluster_hash
    assert asked("What?", cluster="Mbpp/7").cluster_hash == asked("Where?", cluster="MBPP/7").cluster_hash
    assert re.fullmatch("[0-9a-f]{16}", asked("half a character: \ud800").cluster_hash)
    assert asked().cluster_hash == asked(" \n").cluster_hash == ""  # nothing is known of it


@pytest.fixture
def data(tmp_path, monkeypatch):
    made_up_rows.write(tmp_path)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))


def hashes(task):
    return {sample.cluster_hash for sample in getattr(static, task)().samples("test")}


@pytest.mark.usefixtures("data")
def test_the_same_problem_in_two_tasks_is_one_cluster():
    assert (
        hashes("mbpp")
        == hashes("mbpp_sanitized")
        == {cluster_of(f"MBPP/{k}") for k in made_up_rows._IDS if 11 <= k <= 510}
    )
    assert len(hashes("mbpp_plus") & {cluster_of(f"MBPP/{k}") for k in (2, 3, 255, 599)}) == 4
    assert hashes("humaneval") > hashes("humaneval_plus")
    assert hashes("math500") == hashes("math_test")
    made_from = 'def solution():\n    """How many eggs?"""\n    return 7\n'
    task = static.gsm_hard()
    (row,) = (row for _, row in task._numbered("test")[:1])
    assert task._cluster(replace(row, values={**row.values, "code": made_from})) == "How many eggs?"
    assert task._cluster(row) == "Half of 0?"


def yaml(folder, name, *changes):
    """A copy of a task's file with lines after the one that names the question."""
    text = (TASKS / f"{name}.yaml").read_text()
    path = folder / f"{name}.yaml"
    path.write_text(re.sub(r"(?m)^(  question: .*)$", "\\n".join(["\\1", *changes]), text))
    return path


@pytest.mark.usefixtures("data")
def test_an_id_without_its_collection_is_refused_since_another_task_may_have_the_same(tmp_path):
    (tmp_path / "t").mkdir()
    for column, got in (("task_id", "11"), ("task_id | string", "'11'")):
        path = yaml(tmp_path / "t", "mbpp")
        path.write_text(re.sub(r"cluster: .*", f"cluster: {column}", path.read_text()))
        with pytest.raises(DataError, match=rf"an id with its collection \(\"'MBPP/' ~ task_id\"\), got {got}"):
            static.StaticTask(path).samples("test")
    with pytest.raises(DataError, match="field 'topic' is missing"):
        static.StaticTask(yaml(tmp_path / "t", "gsm8k", "  cluster: topic")).samples("test")


@pytest.mark.usefixtures("data")
def test_a_file_may_list_the_variants_of_each_problem(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "svamp_variants.txt").write_text("# made up\nchal-1 chal-3\n\nchal-2 chal-5\n")
    samples = static.StaticTask(yaml(tmp_path / "t", "svamp")).samples("test")
    assert numbered([sample.cluster_hash for sample in samples]) == [0, 1, 0, 3, 1, 5]
    with pytest.raises(BadConfig, match=r"metadata.variants names 'none.txt', which cannot be read: No such file"):
        static.StaticTask(yaml(tmp_path / "t", "gsm8k", "  variants: none.txt", "  id: question"))
    with pytest.raises(BadConfig, match=r"metadata.variants lists ids, so it needs metadata.id, and no metadata.clus"):
        static.StaticTask(yaml(tmp_path / "t", "gsm8k", "  variants: none.txt"))


@with_data
@pytest.mark.parametrize("stock", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_readme_counts_the_related_items_of_every_task(stock):
    text = (TASKS / "README.md").read_text(encoding="utf-8")
    for line in related_items.table(stock):
        assert line in text, "make the table anew: python tests/bench/related_items.py"


@with_data
def test_the_lists_of_svamps_variants_are_as_their_program_makes_them():
    assert (TASKS / "svamp_variants.txt").read_text() == related_items.variants_file()
    listed = Counter(name for line in static.svamp().config.variants for name in line)
    assert listed == Counter(f"chal-{k}" for k in range(1, 1001))


def test_variants_taken_as_independent_make_one_comparison_in_four_a_false_claim_and_as_clusters_one_in_twenty():
    sizes = [len(line) for line in static.svamp().config.variants]
    alone, clustered = related_items.claims(np.repeat(np.arange(len(sizes)), sizes), 0.3, 300)
    assert alone > 0.15
    assert clustered < 0.09


def test_pico_items_that_ask_the_same_in_other_words_are_related():
    for name, n in (("pico_math", 250), ("pico_code", 163)):
        found = [sample.cluster_hash for sample in registry.make_task(name).samples("test")]
        assert len(set(found)) == n


# --- lm-eval ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docs", "related"),
    [
        ([{"passage": text, "question": str(i)} for i, text in enumerate("aab")], [0, 0, 2]),
        ([{"seed_question": text, "question": str(i)} for i, text in enumerate("aba")], [0, 1, 0]),
        ([{"source_id": text, "query": str(i)} for i, text in enumerate("aab")], [0, 0, 2]),
        ([{"context": "all the same", "question": text} for text in "abb"], [0, 1, 1]),  # instructions
        ([{"context": {"no": "text"}, "question": text} for text in "abb"], [0, 1, 1]),
        ([{"passage": text, "question": str(i)} for i, text in enumerate(["a", "a", ""])], [0, 1, 2]),
        ([{"question": "Which?", "choices": [text, "x"]} for text in "aba"], [0, 1, 0]),
        ([{"task_id": text, "prompt": "same"} for text in ("HumanEval/1", "HumanEval/2")], [0, 1]),
        ([{"doc": 1}, {"doc": 2}], [0, 0]),  # unknown, not related: an empty name
    ],
)
def test_documents_are_related_by_their_passage_else_by_their_question(docs, related):
    assert numbered(clusters(docs)) == related


def test_documents_have_the_cluster_of_our_own_tasks():
    assert clusters([{"question": "How many?", "answer": "7"}]) == ["How many?"]
    assert clusters([{"task_id": 11, "text": "Write.", "test_list": []}]) == ["MBPP/11"]
    assert clusters([{"task_id": "Mbpp/11", "prompt": "Write.", "test_list": []}]) == ["MBPP/11"]
    assert clusters([{"doc": 1}]) == [""]


def test_logged_samples_and_recorded_rows_have_the_cluster_of_their_question(tmp_path):
    file = tmp_path / "samples_gsm8k_2024-08-01T10-00-00.000000.jsonl"
    row = {"target": "7", "arguments": {}, "resps": [["x"]], "filtered_resps": ["x"], "exact_match": 1.0}
    docs = [{"question": "How  many?"}, {"question": "Which?"}, {"question": "how many?"}, {"doc": 1}]
    file.write_text("".join(json.dumps({"doc_id": i, "doc": doc, **row}) + "\n" for i, doc in enumerate(docs)))
    logged = [r.item.cluster for r in SamplesFile(file, "m", "gsm8k").records()]
    assert logged == [cluster_of("How many?"), cluster_of("Which?"), cluster_of("How many?"), ""]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"id": i, "output": "x", **doc}) + "\n" for i, doc in enumerate(docs)))
    assert [entry.cluster for entry in read_generations(rows).entries] == logged


# --- records and the lock ---------------------------------------------------------------------------------------------


class Briefed(Sums):
    """Sums behind a system turn, which becomes a part of the text if the model has no chat template."""

    def samples(self, split):
        brief = Message("system", "Be brief.")
        return [replace(sample, messages=(brief, *sample.messages)) for sample in super().samples(split)]


class Pairs(Sums):
    """Sums of which two each are stated to be related."""

    def samples(self, split):
        return [replace(sample, cluster=f"pairs/{i // 2}") for i, sample in enumerate(super().samples(split))]


def test_records_hold_the_cluster_whichever_way_an_item_was_asked(tmp_path):
    found = {}
    with Graders(threads=1) as graders:
        for task, chat in ((Briefed(4), True), (Briefed(4), False), (Pairs(4), True)):
            of = job(task, "test", sampling=Sampling(chat=chat))
            assert {s.messages[-1].role for s in of.samples} == {"user" if chat else RAW}
            done = evaluate(
                of,
                Counting(lambda _request: "\\boxed{0}"),
                NOWHERE,
                graders,
                tmp_path / f"{type(task).__name__}-{chat}",
            )
            found[type(task), chat] = [r.item.cluster for r in read_records(done.records_path)]
            codes = done.summary.columns.places.item_clusters
            assert codes is None if type(task) is Briefed else codes.tolist() == [0, 0, 1, 1]
    assert found[Briefed, True] == found[Briefed, False] == [sample.cluster_hash for sample in Sums(4).samples("test")]
    assert found[Pairs, True] == [cluster_of(f"pairs/{i}") for i in (0, 0, 1, 1)]


def per_item(names, **changes):
    records = [record(f"t/test/{i}", cluster=name, **changes) for i, name in enumerate(names)]
    return PerItem.of("a run", Run("c" * 64, Columns.of(records)))


def groups(of):
    """Which items of a per-item file are related, as numbers."""
    return numbered([item.group for item in of.items])


def test_the_lock_knows_which_items_are_related():
    assert groups(per_item(["a", "b", "a"])) == [0, 1, 0]
    assert groups(per_item(["", "", ""], prompt_hash="p")) == [0, 0, 0]
    assert groups(per_item(["", "", ""], prompt_hash="")) == [0, 1, 2]


def test_a_per_item_file_older_than_clusters_is_read_and_its_replies_are_the_same():
    new = per_item(["a" * 16, "b" * 16, "a" * 16])
    head, *lines = map(json.loads, new.text().splitlines())
    older = [{name: value for name, value in line.items() if name != "cluster"} for line in lines]
    old = PerItem.from_text("".join(json.dumps(line) + "\n" for line in (head, *older)), "f")
    assert (groups(new), groups(old)) == ([0, 1, 0], [0, 1, 2])
    assert old.replies == new.replies
    assert PerItem.from_text(new.text(), "f") == new
