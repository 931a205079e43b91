"""Runs that exist already, compared without training: what is read, what is refused, what is said of each pair."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from factories import Quiet, graded, harness, refuse_unlike_schema, written

from harness.atomic import write_lines
from harness.board import against_reference, collection, existing_runs
from harness.board.entries import DevSelection, Entry, RecordFiles, Run
from harness.errors import DataError, NotComparable, UsageError
from harness.evaluation import eval_models
from harness.records.columns import Columns
from harness.records.record_files import read_records
from harness.records.serialization import record_to_json
from harness.statistics import intervals
from harness.types import Cost, Score

A = [1, 1, 1, 0, 0, 1, 0, 1] * 10
B = [1, 0, 0, 0, 1, 1, 0, 0] * 10


def by_outcome(facts, row):
    """Outcome in words -> the names of its items."""
    items = list(zip(facts["items"][row["task"]], row["outcomes"], strict=True))
    return {word: [name for name, of in items if of == letter] for letter, word in facts["outcomes"].items()}


def samples(path, values, **changes):
    """lm-eval's samples file, two filters an item."""
    rows = []
    for i, value in enumerate(values):
        for name, of in (("strict-match", value), ("flexible-extract", 1)):
            row = {"doc_id": i, "doc": {}, "target": "1", "arguments": {"gen_args_0": {"arg_0": "q", "arg_1": {}}},
                   "resps": [["1"]], "filtered_resps": ["1"], "filter": name, "metrics": ["exact_match"],
                   "doc_hash": f"d{i}", "prompt_hash": f"p{i}", "target_hash": "t", "exact_match": of}  # fmt: skip
            rows.append(row | changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def two(tmp_path):
    return [written(tmp_path / "a", A, "a" * 64, "new"), written(tmp_path / "b", B, "b" * 64, "old")]


def test_each_pair_is_counted_item_by_item(two):
    facts = against_reference.compare_to_reference("t", existing_runs.read_runs(two), "old", [])
    (row,) = facts["against"]
    assert (row["name"], row["task"]) == ("new", "t")
    items = by_outcome(facts, row)
    assert {word: len(of) for word, of in items.items()} == {
        "gained": 30, "lost": 10, "both right": 20, "both wrong": 20, "mixed": 0,
    }  # fmt: skip
    assert items["lost"][:2] == ["t/t/test/004", "t/t/test/012"]
    expected = intervals.paired([float(v) for v in A], [float(v) for v in B])
    assert (row["strict"]["value"], row["strict"]["low"], row["strict"]["p"]) == (0.25, expected.low, expected.p)
    page = against_reference.comparison_markdown(facts)
    assert "## Compared with old" in page
    assert re.search(r"\| ▲ \+25.0 \(.*?\) \| 30 / 10 / 20 \|", page)
    again = against_reference.compare_to_reference("t", existing_runs.read_runs(two), "new", [])["against"][0]
    assert again["strict"]["value"] == -0.25
    assert "▼" in against_reference.comparison_markdown(
        against_reference.compare_to_reference("t", existing_runs.read_runs(two), "new", [])
    )


def test_a_difference_within_noise_names_what_could_have_been_seen(tmp_path):
    near = [*A[:-1], 0]
    both = [written(tmp_path / "a", A, "a" * 64, "a"), written(tmp_path / "b", near, "b" * 64, "b")]
    assert "| ≈ " in against_reference.comparison_markdown(
        against_reference.compare_to_reference("t", existing_runs.read_runs(both), None, [])
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grader_version": "2"}, "differ in grader version"),
        ({"sampling": {"temperature": 1.0}}, "differ in decoding"),
        ({"engine": "vllm"}, "differ in engine"),
        ({"sample_hash": "x"}, "differ in item"),
    ],
)
def test_what_is_not_comparable_is_refused_by_field(tmp_path, changes, message):
    both = [written(tmp_path / "a", A, "a" * 64, "a"), written(tmp_path / "b", B, "b" * 64, "b", **changes)]
    with pytest.raises(NotComparable, match=message):
        against_reference.compare_to_reference("t", existing_runs.read_runs(both), None, [])


def test_models_with_chat_templates_of_their_own_are_compared_by_item_and_messages(tmp_path):
    both = [written(tmp_path / "a", A, "a" * 64, "a"), written(tmp_path / "b", B, "b" * 64, "b", prompt_hash="other")]
    facts = against_reference.compare_to_reference("t", existing_runs.read_runs(both), None, [])
    assert [note["kind"] for note in facts["board"]["notes"]] == ["prompts differ"]
    assert "prompts differ between rows" in against_reference.comparison_markdown(facts)
    collected, groups = collection.collect_runs("t", both, "", "strict")
    assert len(groups) == 1
    refuse_unlike_schema(collected)


def test_other_items_are_refused(tmp_path):
    both = [written(tmp_path / "a", A, "a" * 64, "a"), written(tmp_path / "b", B[:-1], "b" * 64, "b")]
    with pytest.raises(NotComparable, match="not evaluated on the same items"):
        against_reference.compare_to_reference("t", existing_runs.read_runs(both), None, [])


def test_a_comparison_is_read_back_as_it_was_ranked(tmp_path):
    folder = tmp_path / "run"
    one, two, base = (
        Run(d * 64, Columns.of(graded(d * 64, values)), seed=seed, cost=cost,
            selection=DevSelection("100", {"100": 0.5}), records=RecordFiles((f"{d}.jsonl",)))
        for d, values, seed, cost in (("1", A, 1, Cost(steps=3)), ("2", B, 2, Cost(steps=4)), ("f", B, None, None))
    )  # fmt: skip
    fallen = replace(two, status="collapsed", why="loss is not finite")
    entries = [Entry("kd+rl", "strategy", (one, fallen)), Entry("noop", "strategy", (replace(base, seed=1),)),
               Entry("base", "base", (base,))]  # fmt: skip
    for run, values in ((one, A), (two, B), (base, B)):
        write_lines(folder / run.records.files[0], map(record_to_json, graded(run.digest, values)))
    existing_runs.write_entries(folder, entries)
    found = existing_runs.read_runs([folder])
    assert found == entries
    assert [r.columns.scores("strict").tolist() for e in found for r in e.runs] == [
        r.columns.scores("strict").tolist() for e in entries for r in e.runs
    ]
    facts = against_reference.compare_to_reference("t", found, None, [])
    assert facts["reference"] == "base"
    assert "| kd+rl | collapsed (seed 2): loss is not finite |" in against_reference.comparison_markdown(facts)
    assert facts["against"][0]["strict"]["method"].startswith("crossed random effects")
    refuse_unlike_schema(facts)


def test_comparisons_from_one_base_share_it(tmp_path):
    for name, values in (("sft", A), ("rl", [*A[1:], 1])):
        ours, base = (
            Run(d * 64, Columns.of(graded(d * 64, of)), seed=seed,
                records=RecordFiles((f"{d}.jsonl",)))
            for d, of, seed in ((name[0], values, 1), ("f", B, None))
        )  # fmt: skip
        for run, of in ((ours, values), (base, B)):
            write_lines(tmp_path / name / run.records.files[0], map(record_to_json, graded(run.digest, of)))
        existing_runs.write_entries(tmp_path / name, [Entry("base", "base", (base,)), Entry(name, "strategy", (ours,))])
    entries = existing_runs.read_runs([tmp_path / "sft", tmp_path / "rl"])
    assert [entry.name for entry in entries] == ["base", "sft", "rl"]
    assert len(against_reference.compare_to_reference("t", entries, None, [])["against"]) == 2


def test_two_evaluations_of_one_checkpoint_are_never_pooled(tmp_path):
    folder = written(tmp_path / "a", A, "a" * 64, "a")
    written(folder, A[:8], "a" * 64, "a", "two")
    with pytest.raises(DataError, match=r"t was evaluated twice \(item .*with other settings or another --limit"):
        existing_runs.read_runs([folder])
    other = written(tmp_path / "b", A, "a" * 64, "final")
    written(other, B, "b" * 64, "final", "two")
    with pytest.raises(DataError, match="two checkpoints are called 'final'; evaluate each with a --name of its own"):
        existing_runs.read_runs([other])


def test_tasks_evaluated_one_after_the_other_are_one_entry(tmp_path):
    folder = written(tmp_path / "a", A, "a" * 64, "a")
    written(folder, B, "a" * 64, "a", "two", task="u")
    (entry,) = existing_runs.read_runs([folder])
    assert entry.runs[0].columns.tasks == ("t", "u")


def test_samples_of_lm_eval_are_read_with_their_two_filters(tmp_path):
    one = samples(tmp_path / "m1" / "samples_gsm8k_2026-01-02T03-04-05.678.jsonl", A)
    two = samples(tmp_path / "m2" / "samples_gsm8k_2026-01-02T03-04-05.678.jsonl", B)
    entries = existing_runs.read_runs([one.parent, two.parent])
    assert [entry.name for entry in entries] == ["m1", "m2"]
    facts = against_reference.compare_to_reference("t", entries, "m2", [])
    (row,) = facts["against"]
    assert (row["task"], row["strict"]["value"], row["lenient"]["value"]) == ("gsm8k", 0.25, 0.0)
    assert "| – / – |" in against_reference.comparison_markdown(facts)  # tokens are not recorded there
    other = samples(tmp_path / "m3" / "samples_gsm8k_2026-01-02T03-04-05.678.jsonl", B, prompt_hash="other")
    with pytest.raises(NotComparable, match="differ in prompt"):
        against_reference.compare_to_reference("t", existing_runs.read_runs([one, other]), None, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exact_match": float("nan")}, "item 0 has no metric between 0 and 1"),
        ({"metrics": ["acc"]}, "item 0 has no metric between 0 and 1, got .'acc'."),
        ({"doc_id": 5}, "item 5 is there twice under filter 'strict-match'"),
        ({"metrics": 3}, r"is not a samples file of lm-eval \(TypeError"),
    ],
)
def test_a_samples_file_that_does_not_fit_is_refused(tmp_path, changes, message):
    path = samples(tmp_path / "samples_t_x.jsonl", A, **changes)
    with pytest.raises(DataError, match=message):
        existing_runs.read_runs([path])


def test_what_is_no_run_is_refused(tmp_path, two):
    with pytest.raises(DataError, match="is not a run: expected a run folder of this project"):
        existing_runs.read_runs([tmp_path / "results"])
    with pytest.raises(DataError, match="'new' is in an earlier run too"):
        existing_runs.read_runs([two[0], shutil.copytree(two[0], tmp_path / "copy")])
    with pytest.raises(UsageError, match="two entries at least, found new"):
        against_reference.compare_to_reference("t", existing_runs.read_runs(two[:1]), None, [])
    with pytest.raises(UsageError, match="--reference 'x' is not an entry; there are: new, old"):
        against_reference.compare_to_reference("t", existing_runs.read_runs(two), "x", [])
    (result,) = (two[0] / "results").iterdir()
    for text, message in (("", "cannot be read"), ("{}", "does not say where its records are")):
        result.write_text(text)
        with pytest.raises(DataError, match=message):
            existing_runs.read_runs(two)
    result.unlink()
    with pytest.raises(DataError, match="holds no finished evaluation"):
        existing_runs.read_runs(two)
    empty = tmp_path / "samples_t_2026.jsonl"
    empty.touch()
    with pytest.raises(DataError, match="are empty"):
        existing_runs.read_runs([empty])
    again = samples(tmp_path / "m" / "samples_t_2026-01-01T00-00-00.1.jsonl", A)
    shutil.copy(again, again.with_name("samples_t_2026-01-02T00-00-00.1.jsonl"))
    with pytest.raises(DataError, match="t was evaluated twice"):
        existing_runs.read_runs([again.parent])


def test_a_task_on_which_nothing_could_be_judged_is_not_compared(tmp_path):
    both = [written(tmp_path / n, A, n * 64, n) for n in "ab"]
    (path,) = both[0].glob("evals/*/records-1.jsonl")
    nothing = {name: Score(None) for name in ("strict", "lenient")}
    lines = [replace(r, scores=nothing) for r in read_records(path)]
    path.write_text("".join(record_to_json(r) + "\n" for r in lines))
    with pytest.raises(NotComparable, match="'a' and 'b' share on t no item that both have a verdict for"):
        against_reference.compare_to_reference("t", existing_runs.read_runs(both), "b", [])


def test_one_item_says_nothing_of_others(tmp_path):
    both = [written(tmp_path / n, [v], n * 64, n) for n, v in (("a", 1), ("b", 0))]
    page = against_reference.comparison_markdown(
        against_reference.compare_to_reference("t", existing_runs.read_runs(both), "b", [])
    )
    assert "(not measurable with so few items or seeds) |" in page
    assert "nan" not in page


def test_an_item_without_verdict_is_neither_gained_nor_lost(tmp_path):
    both = [written(tmp_path / n, A, n * 64, n) for n in "ab"]
    (path,) = both[0].glob("evals/*/records-1.jsonl")
    lines = list(read_records(path))
    lines[3] = replace(lines[3], scores={name: replace(s, value=None) for name, s in lines[3].scores.items()})
    path.write_text("".join(record_to_json(r) + "\n" for r in lines))
    facts = against_reference.compare_to_reference("t", existing_runs.read_runs(both), "b", [])
    (row,) = facts["against"]
    assert by_outcome(facts, row)["mixed"] == ["t/t/test/003"]
    assert row["strict"]["n"] == 79


def test_the_command_prints_and_writes_a_board_that_can_be_checked(two, tmp_path):
    out = tmp_path / "board.md"
    command = ("compare", *two, "--reference", "old", "--out", out)
    done = harness(*command)
    assert done.returncode == 0, done.stderr
    assert "## Compared with old" in done.stdout
    assert collection.is_current(out)
    assert len(json.loads(out.with_suffix(".json").read_text())["against"][0]["outcomes"].replace("g", "")) == 50
    wrong = harness(*command, "--seeds", "1,2")
    assert wrong.returncode == 2
    assert "--seeds is an option for training; with RUNS only --reference and --out can be used" in wrong.stderr
    wrong = harness(*command, "--out", "b.json")
    assert wrong.returncode == 2
    assert "a board is a .md file" in wrong.stderr
    alone = harness("compare", "--reference", "x")
    assert alone.returncode == 2
    assert "--reference is for runs that exist" in alone.stderr


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("HARNESS_DATA"), reason="HARNESS_DATA is not set: no recorded generations here")
def test_two_real_models_are_compared_on_all_of_gsm8k(tmp_path):
    data = Path(os.environ["HARNESS_DATA"]) / "generations"
    for name in ("Phi-3.5-mini-instruct", "Qwen2-7B-Instruct"):
        path = data / f"zeroeval_gsm_{name}.jsonl.gz"
        recorded = eval_models.ModelChoice(engine="replay", generations=path, name=name)
        asked = eval_models.EvalRequest(("gsm8k",), recorded, eval_models.Output(tmp_path / name))
        eval_models.run(asked, Quiet())
    folders = [tmp_path / "Phi-3.5-mini-instruct", tmp_path / "Qwen2-7B-Instruct"]
    facts = against_reference.compare_to_reference("t", existing_runs.read_runs(folders), "Phi-3.5-mini-instruct", [])
    (row,) = facts["against"]
    n = {word: len(items) for word, items in by_outcome(facts, row).items()}
    assert sum(n.values()) == 1319
    assert row["strict"]["value"] == pytest.approx((n["gained"] - n["lost"]) / 1319)
    lenient = row["lenient"]
    assert abs(lenient["value"]) < 0.06  # published: 86 and 83 %
    assert lenient["low"] < lenient["value"] < lenient["high"]


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("HARNESS_DATA"), reason="HARNESS_DATA is not set: no recorded generations here")
def test_recorded_verdicts_are_compared_as_they_stand():
    data = Path(os.environ["HARNESS_DATA"]) / "generations"
    names = ("Phi-3.5-mini-instruct", "Qwen2-7B-Instruct")
    entries = existing_runs.read_runs([data / f"zeroeval_gsm_{name}.jsonl.gz" for name in names])
    facts = against_reference.compare_to_reference("t", entries, "zeroeval_gsm_Phi-3.5-mini-instruct", [])
    scores = {row["name"]: round(1319 * row["strict"]["value"]) for row in facts["board"]["rows"]}
    assert scores == {"zeroeval_gsm_Phi-3.5-mini-instruct": 1082, "zeroeval_gsm_Qwen2-7B-Instruct": 1056}
    four = existing_runs.read_runs([data / "gsm8k_openai_example_solutions.jsonl.gz"])
    assert len(four) == 4
    best = max(four, key=lambda entry: entry.runs[0].columns.scores("strict").mean())
    assert best.name.endswith("175b_verification")
    samples = existing_runs.read_runs([data / "humaneval_codegen-16b-mono_t0.8_50samples.jsonl.gz"])[0].runs[0].columns
    assert (len(samples), len(samples.items)) == (8200, 164)
    mixed = [data / "zeroeval_gsm_Qwen2-7B-Instruct.jsonl.gz", data / "tora_gsm8k_tora-code-34b-v1.0.jsonl.gz"]
    with pytest.raises(NotComparable):
        against_reference.compare_to_reference("t", existing_runs.read_runs(mixed), None, [])


def test_generations_without_verdicts_are_to_be_judged_first(tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"task_id": "HumanEval/0", "completion": "x"}) + "\n")
    with pytest.raises(DataError, match="has no verdicts of its own; have its replies graded: harness eval --engine"):
        existing_runs.read_runs([path])
    path.write_text("{}")
    with pytest.raises(DataError, match="known shapes are"):
        existing_runs.read_runs([path])
