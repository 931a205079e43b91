"""Publishing: what is published and how, against a hub of our own; no test reaches the network."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import traceback
from dataclasses import asdict, replace
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from factories import changed, record, refuse_unlike_schema
from hub_stub import READER, WRITER, Hub
from huggingface_hub import ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError

from harness.atomic import write_lines
from harness.board.entries import Board
from harness.board.facts import BoardFacts, Decoding, EngineFacts, TaskFacts
from harness.errors import DataError, HarnessError, HubError, UsageError
from harness.publish.every_eval_ever import Origin, Replies, every_eval_ever, recorded
from harness.publish.hub import Question, Upload, planned, publish, read_file
from harness.publish.hub_texts import eval_results, model_index, score_badge
from harness.publish.results import Evaluator, Pick, stated, without_benchmark
from harness.records.serialization import record_to_json
from harness.types import Message, Sample, TaskInfo

ROOT = Path(__file__).parent.parent
N = stated("gsm8k").sizes["test"]
UPLOAD = Upload("me/model", {".eval_results/x.yaml": "- value: 1\n", "deep/a b.json": "{}\n"}, "Results of x")
PLAN = [UPLOAD]


def score(right, n, method="Wilson"):
    value = right / n
    return {"value": value, "low": value - 0.03, "high": value + 0.03, "n": n, "method": method, "p": None}


def run(digest="a" * 64, seed=1, status="done", why="", strict=None, tasks=("gsm8k",)):
    strict = strict or score(923, N)
    scores = {"strict": strict, "lenient": strict}
    tasks = dict.fromkeys(tasks, scores)
    found = {"id": digest[:12], "digest": digest, "seed": seed, "status": status, "why": why, **scores, "tasks": tasks}
    return {**found, "cost": None, "records": "", "files": [], "dev": {}, "chosen": "", "reward": None}


def row(name="kd", runs=None, n=N, role="strategy", tasks=("gsm8k",)):
    runs = runs or [run()]
    strict = score(round(0.7 * n), n)
    counts = {"n": n * len(runs), "scored": n * len(runs), "truncated": 0, "errored": 0}
    scores = {"strict": strict, "lenient": strict, "in_form": strict}
    found = {task: {**scores, "counts": counts, "levels": {}} for task in tasks}
    seeds = [each["seed"] for each in runs if each["seed"] is not None]
    return {
        "name": name,
        "role": role,
        "seeds": seeds,
        **scores,
        "tasks": found,
        "counts": counts,
        "tokens_per_item": 20.0,
        "runs": runs,
        "tried": None,
    }


def board(*rows, n=N, tasks=("gsm8k",), facts=None, **more):
    """A board as JSON data. more: of the facts of each task."""
    drawn = Decoding(temperature=0.0, max_tokens=1024)
    made = {
        t: TaskFacts("test", n, N, items_hash="0" * 64, decoding=drawn, grader=f"{t} 1.0, grader number-1")
        for t in tasks
    }
    facts = facts or BoardFacts(
        tasks={task: replace(of, **more) for task, of in made.items()},
        engine=EngineFacts("vllm", "0.32.0", "bfloat16"),
        versions={"srlm-harness": "0.1.0"},
    )
    made_of = asdict(Board("Which training works", list(rows), list(tasks), dict.fromkeys(tasks, n), facts))
    refuse_unlike_schema(made_of)
    return made_of


@pytest.fixture
def hub(monkeypatch):
    """A hub with one model repository, reached although the tests run offline."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()
    with Hub("me/model", "me/other") as stub:
        yield stub
    huggingface_hub.close_session()


# ------------------------------------------------------------------------------------------------ the texts


def test_an_entry_is_in_percent_and_its_note_says_what_the_value_does_not():
    text = eval_results(board(row()), Pick("kd"), source="https://example.org/run", date="2026-01-02")
    (entry,) = yaml.safe_load(text)
    note = entry.pop("notes")
    assert entry == {
        "dataset": {"id": "openai/gsm8k", "task_id": "gsm8k"},
        "value": 69.98,
        "date": "2026-01-02",
        "source": {"url": "https://example.org/run"},
    }
    assert note == (
        "avg@1, 95 % CI 67.0–73.0 (Wilson), n=1319, training seed 1, decoding temperature 0, at most 1024 tokens, "
        "gsm8k 1.0, grader number-1, engine vllm 0.32.0, srlm-harness 0.1.0, weights aaaaaaaaaaaa"
    )
    (parsed,) = huggingface_hub.parse_eval_result_entries(yaml.safe_load(text))
    assert (parsed.dataset_id, parsed.task_id, parsed.value) == ("openai/gsm8k", "gsm8k", 69.98)


def test_a_board_that_records_no_decoding_or_version_says_so():
    facts = board(row(), facts=BoardFacts(engine=EngineFacts(label="vllm 0.32.0 float32"), runs=("x",)))
    (entry,) = yaml.safe_load(eval_results({"kind": "comparison", "board": facts}, Pick("kd")))
    assert (
        "decoding unrecorded, grader unrecorded, engine vllm 0.32.0 float32, srlm-harness unrecorded" in entry["notes"]
    )


def test_a_task_without_a_board_on_the_hub_is_left_out_and_refused_where_there_is_no_other():
    facts = board(row(tasks=("gsm8k", "pico_math")), tasks=("gsm8k", "pico_math"))
    assert len(yaml.safe_load(eval_results(facts, Pick("kd")))) == 1
    assert without_benchmark(facts) == ["pico_math"]
    with pytest.raises(UsageError, match="none of pico_math has a board"):
        eval_results(board(row(tasks=("pico_math",)), tasks=("pico_math",)), Pick("kd"))


def test_a_dataset_on_the_hub_is_what_the_task_file_says():
    for path in sorted((ROOT / "tasks").glob("*.yaml")):
        task = yaml.safe_load(path.read_text(encoding="utf-8"))
        name, found = task["task"], stated(task["task"])
        assert (found.dataset.path, found.dataset.config) == (task["dataset_path"], task.get("dataset_name")), name
        assert found.dataset.split == ("train+test" if name == "svamp" else task["test_split"]), name  # all 1,000 items
        assert found.sizes["test"] == task["metadata"]["sizes"]["test"], name
    assert stated("gsm8k").dataset.benchmark == "gsm8k"
    assert stated("of a package that is not installed") == TaskInfo()


def test_a_row_of_several_seeds_is_published_for_one_of_them_or_as_a_mean_that_is_said():
    runs = [run("a" * 64, 1), run("b" * 64, 2, strict=score(1000, N))]
    facts = board(row(runs=runs))
    with pytest.raises(
        UsageError, match=r"mean over 2 checkpoints, and a repository holds one: name its seed \(1, 2\)"
    ):
        eval_results(facts, Pick("kd"))
    (mean,) = yaml.safe_load(eval_results(facts, Pick("kd", mean=True)))
    assert mean["value"] == 69.98
    assert "mean over 2 checkpoints, training seeds 1, 2" in mean["notes"]
    (one,) = yaml.safe_load(eval_results(facts, Pick("kd", seed=2)))
    assert one["value"] == 75.82
    assert "training seed 2," in one["notes"]
    assert "weights bbbbbbbbbbbb" in one["notes"]
    with pytest.raises(UsageError, match="row 'kd' has no seed 7; its seeds: 1, 2"):
        eval_results(facts, Pick("kd", seed=7))
    tasks = ("gsm8k", "pico_math")
    runs = [run("a" * 64, 1, tasks=tasks), run("b" * 64, 2, strict=score(1000, N), tasks=tasks)]
    runs[1]["tasks"]["gsm8k"] = {"strict": score(900, N), "lenient": score(950, N)}
    two = board(row(runs=runs, tasks=tasks), tasks=tasks)
    (one,) = yaml.safe_load(eval_results(two, Pick("kd", seed=2)))
    assert one["value"] == 68.23, "of this task, and this seed"
    assert "75.8 %" in json.loads(score_badge(two, Pick("kd", seed=2)))["message"]


@pytest.mark.parametrize("write", [eval_results, score_badge])
@pytest.mark.parametrize(
    ("facts", "pick", "why"),
    [
        ({"kind": "reported", "title": "A paper"}, Pick("kd"), "'A paper' holds scores that others printed"),
        ({"kind": "collection", "title": "Old"}, Pick("kd"), "collects runs that cannot be ranked together"),
        ({"kind": "comparison", "board": {}}, Pick("kd"), "are not a board"),
        (["kd"], Pick("kd"), "are not a board"),
        (board(row()), Pick("kdd"), "unknown row 'kdd': did you mean 'kd'"),
        (
            board(row(runs=[run(), run("b" * 64, 2, "collapsed", "reward fell to 0")])),
            Pick("kd", mean=True),
            r"row 'kd', seed 2 ended early \(collapsed: reward fell to 0\)",
        ),
        (board(row(runs=[run("recorded:" + "a" * 64)])), Pick("kd"), "what model wrote them is not known"),
        (board(row(n=200), n=200), Pick("kd"), "verdicts on 200 of 1319 items of gsm8k: that is not the benchmark's"),
        (
            board(row(n=50, tasks=("pico_math",)), n=50, tasks=("pico_math",), limit=50),
            Pick("kd"),
            "verdicts on 50 of 250 items of pico_math: that is not the benchmark's score",
        ),
        (board(row(), split="dev"), Pick("kd"), "scored on the dev items of"),
    ],
)
def test_what_may_not_be_published_is_refused_with_the_reason(write, facts, pick, why):
    with pytest.raises(HarnessError, match=why):
        write(facts, pick)


def test_a_row_without_a_verdict_is_refused():
    facts = board(row())
    facts["rows"][0]["tasks"]["gsm8k"]["strict"] = {"value": None, "low": None, "high": None, "n": 0, "method": ""}
    with pytest.raises(DataError, match="no verdict on gsm8k"):
        score_badge(facts, Pick("kd"))


def test_a_limited_score_says_so_first():
    facts = board(row(n=200), n=200)
    (entry,) = yaml.safe_load(eval_results(facts, Pick("kd", limited=True)))
    assert entry["notes"].startswith("LIMITED, 200 of 1319 items: not the benchmark's score, avg@1")
    assert json.loads(score_badge(facts, Pick("kd", limited=True)))["message"].endswith("limited")
    cut = board(row(n=50, tasks=("t",)), n=50, tasks=("t",), limit=50)
    assert "LIMITED, the first 50 items: not the" in "".join(exported(cut, pick=Pick("kd", limited=True)).values())
    assert "LIMITED" not in eval_results(board(row()), Pick("kd", limited=True))
    assert "limited" not in score_badge(board(row()), Pick("kd", limited=True))


def test_the_reading_a_board_ranks_by_is_published_and_a_lenient_one_is_said():
    facts = {**board(row()), "reading": "lenient"}
    facts["rows"][0]["lenient"] = facts["rows"][0]["tasks"]["gsm8k"]["lenient"] = score(1100, N)
    (entry,) = yaml.safe_load(eval_results(facts, Pick("kd")))
    assert entry["value"] == 83.4
    assert entry["notes"].startswith("lenient reading: the answer anywhere in the reply, avg@1")
    assert json.loads(score_badge(facts, Pick("kd")))["message"] == "83.4 % (80.4 to 86.4), lenient, single run"
    (ours,) = ModelCard(model_index(facts, Pick("kd"), model="model")).data.eval_results
    assert (ours.metric_name, ours.metric_value) == ("lenient accuracy, %", 83.4)
    (task,) = json.loads(*exported(facts).values())["evaluation_results"]
    assert task["metric_config"]["metric_id"] == "srlm-harness.lenient_accuracy"
    assert task["score_details"]["score"] == 1100 / N
    assert task["score_details"]["details"]["strict_value"] == f"{round(0.7 * N) / N:.6f}"
    facts["rows"] = [row(runs=[run() | {"lenient": score(1000, N)}, run("b" * 64, 2)]) | {"lenient": score(1100, N)}]
    assert "75.8 %" in json.loads(score_badge(facts, Pick("kd", seed=1)))["message"]


def test_rules_that_a_board_of_runs_lists_are_said_too():
    facts = board(row(), decoding=Decoding(max_tokens=9, other={"do_sample": False}))
    (entry,) = yaml.safe_load(eval_results(facts, Pick("kd")))
    assert (
        "decoding at most 9 tokens, do_sample: False, gsm8k 1.0, grader number-1, engine vllm 0.32.0, srlm-harness"
        in entry["notes"]
    )


def test_several_replies_an_item_are_an_average_of_so_many():
    facts = board(row())
    facts["rows"][0]["tasks"]["gsm8k"]["counts"]["n"] = 4 * N
    assert "avg@4" in eval_results(facts, Pick("kd"))


def test_a_badge_shows_the_score_with_its_interval_and_a_single_run_as_such():
    found = json.loads(score_badge(board(row(role="model")), Pick("kd")))
    assert found == {"schemaVersion": 1, "label": "kd on gsm8k", "message": "70.0 % (67.0 to 73.0)", "color": "blue"}
    assert json.loads(score_badge(board(row()), Pick("kd")))["message"] == "70.0 % (67.0 to 73.0), single run"


@pytest.mark.parametrize("name", ["pico", "quick"])
def test_every_finished_row_of_the_committed_boards_has_a_badge(name):
    facts = json.loads((ROOT / "leaderboards" / f"{name}.json").read_text(encoding="utf-8"))
    for each in facts["rows"]:
        message = json.loads(score_badge(facts, Pick(each["name"])))["message"]
        assert message.startswith(f"{100 * each['strict']['value']:.1f} % (")


# ------------------------------------------------------------------------------------------------ the card

CARD = """---
# who may use it
license: apache-2.0   # as the base
tags: [a, 'b: c']
model-index:
- name: model
  results:
  - task: {type: text-generation}
    dataset: {name: GSM8K, type: openai/gsm8k, config: main, split: test}
    metrics:
    - {type: accuracy, value: 12.5, name: their own}
    source: {name: Theirs, url: https://example.org/theirs}

# after the index
base_model: me/base
---
# The model

---
Not front matter: model-index:
"""


def test_a_model_index_is_added_and_every_other_byte_of_the_card_stays():
    text = model_index(board(row()), Pick("kd"), model="model", card=CARD)
    before, after = CARD.split("model-index:\n", 1), text.split("model-index:\n", 1)
    assert after[0] == before[0]
    rest = "\n# after the index\n" + CARD.split("\n# after the index\n")[1]
    assert text.endswith(rest)
    theirs, ours = ModelCard(text).data.eval_results
    assert (theirs.metric_value, theirs.metric_name, theirs.source_name) == (12.5, "their own", "Theirs")
    assert (ours.metric_value, ours.dataset_type, ours.dataset_split) == (69.98, "openai/gsm8k", "test")
    assert ours.metric_args["confidence_interval"] == [66.98, 72.98]
    assert ours.verified is None


def test_the_same_scores_again_change_nothing_and_new_ones_take_the_place_of_ours_alone():
    once = model_index(board(row()), Pick("kd"), model="model", card=CARD)
    assert model_index(board(row()), Pick("kd"), model="model", card=once) == once
    better = board(row())
    better["rows"][0]["tasks"]["gsm8k"]["strict"] = score(1100, N)
    values = [
        r.metric_value for r in ModelCard(model_index(better, Pick("kd"), model="model", card=once)).data.eval_results
    ]
    assert values == [12.5, 83.4]


@pytest.mark.parametrize(
    "card", ["", "# Only text\n", "---\nlicense: mit\n---\ntext", "---\r\nlicense: mit\r\n---\r\nx"]
)
def test_a_card_without_an_index_gets_one(card):
    text = model_index(board(row()), Pick("kd"), model="model", card=card)
    assert text.replace(re.search(r"model-index:.*?(?=---\r?\n)", text, re.DOTALL)[0], "").endswith(
        card.lstrip("-\r\n")
    )
    (ours,) = ModelCard(text).data.eval_results
    assert ours.metric_value == 69.98
    assert text.count("\r\n") in (0, text.count("\n"))


@pytest.mark.parametrize(
    ("front", "why"),
    [
        ("license: [mit", "is not a mapping in YAML: while parsing"),
        ("- a list", "is not a mapping in YAML: \\['a list'\\]"),
        ("model-index:\n- name: model  # mine\n  results: []", "holds comments, which would be lost"),
        ("{model-index: [], license: mit}", "with our scores or without, is not a mapping in YAML"),
        ("model-index: none of it", "is not a list of models"),
        ("model-index:\n- &m {name: model}\nother: *m", "is not a mapping in YAML"),
    ],
)
def test_a_card_that_would_lose_something_is_refused(front, why):
    with pytest.raises(DataError, match=why):
        model_index(board(row()), Pick("kd"), model="model", card=f"---\n{front}\n---\ntext\n")


# ------------------------------------------------------------------------------------------------ Every Eval Ever

# What the schema of every-eval-ever 0.3.0 requires, and the keys that it knows where it allows no others.
REQUIRED = {
    "": "schema_version evaluation_id retrieved_timestamp source_metadata eval_library model_info evaluation_results",
    "source_metadata": "source_type source_organization_name evaluator_relationship",
    "eval_library": "name version",
    "model_info": "name id additional_details",
}
INSTANCE = (
    "schema_version evaluation_id model_id evaluation_name sample_id interaction_type input output answer_attribution "
    "evaluation"
)
INSTANCE_KNOWN = f"{INSTANCE} evaluation_result_id sample_hash messages token_usage performance error metadata"


def small(n=4, right=3):
    """A board of one task of n items, with its records and items."""
    samples = {f"t/{i}": Sample(f"t/{i}", (Message("user", f"{i} + 1 = ?"),), str(i + 1)) for i in range(n)}
    records = [
        record(s.id, float(i < right), task="t", sample_hash=s.hash, checkpoint="a" * 64)
        for i, s in enumerate(samples.values())
    ]
    facts = board(row(n=n, tasks=("t",)), n=n, tasks=("t",))
    facts["rows"][0]["tasks"]["t"]["strict"] = score(right, n)
    return facts, records, samples


def exported(facts, records=(), samples=None, pick=Pick("kd")):  # noqa: B008 - a frozen value
    origin = Origin(Evaluator("me", "first_party"), 1_700_000_000)
    return every_eval_ever(facts, pick, model="me/model", origin=origin, replies=Replies(records, samples or {}))


def test_every_eval_ever_has_all_its_schema_requires_with_the_uncertainty_of_each_task():
    ((path, text),) = exported(board(row())).items()
    assert re.fullmatch(
        r"data/srlm-harness/me/model/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-\w{12}.json", path
    )
    found = json.loads(text)
    for place, keys in REQUIRED.items():
        assert set(keys.split()) <= (found[place] if place else found).keys()
    assert found["model_info"]["inference_engine"] == {"name": "vllm", "version": "0.32.0"}
    assert found["eval_library"] == {"name": "srlm-harness", "version": "0.1.0"}
    (task,) = found["evaluation_results"]
    assert task["source_data"]["hf_repo"] == "openai/gsm8k"
    uncertainty = task["score_details"]["uncertainty"]
    value = round(0.7 * N) / N
    assert task["score_details"]["score"] == value
    interval = uncertainty["confidence_interval"]
    assert interval == {"lower": value - 0.03, "upper": value + 0.03, "confidence_level": 0.95, "method": "Wilson"}
    assert uncertainty["num_samples"] == N
    details = [found["model_info"]["additional_details"], task["score_details"]["details"]]
    assert all(isinstance(text, str) for values in details for text in values.values())


def test_each_judged_reply_lies_beside_it_under_a_checksum():
    facts, records, samples = small()
    unjudged = record("t/0", None, task="t", repeat=1, sample_hash=samples["t/0"].hash, checkpoint="a" * 64)
    files = exported(facts, [*records, unjudged], samples)
    (path, text), (companion, lines) = sorted(files.items())
    found = json.loads(text)
    detail = found["detailed_evaluation_results"]
    assert companion == detail["file_path"] == path.replace(".json", "_samples.jsonl")
    assert detail["checksum"] == hashlib.sha256(lines.encode()).hexdigest()
    assert detail["total_rows"] == 4
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [r["evaluation"] for r in rows] == [{"score": 1.0, "is_correct": True}] * 3 + [
        {"score": 0.0, "is_correct": False}
    ]
    assert rows[2]["input"] == {"raw": "2 + 1 = ?", "reference": ["3"]}
    for each in rows:
        assert set(INSTANCE.split()) <= each.keys() <= set(INSTANCE_KNOWN.split())
        assert each["evaluation_id"] == found["evaluation_id"]
        assert each["evaluation_result_id"] == found["evaluation_results"][0]["evaluation_result_id"]


def test_the_same_facts_and_records_give_the_same_files():
    facts, records, samples = small()
    again = copy.deepcopy(facts)
    assert exported(facts, records, samples) == exported(again, records, samples)
    facts["rows"][0]["runs"][0]["digest"] = "b" * 64
    assert exported(facts).keys() != exported(again).keys()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda r, s: (r[:-1], s),
            r"do not give the score of row 'kd': 0.750000 over 4 items, the records 1.000000 over 3",
        ),
        (lambda r, s: ([*r[1:], r[1]], s), "do not give the score"),
        (lambda r, s: ([changed(each, checkpoint="f" * 64) for each in r], s), "the records 0.000000 over 0"),
        (lambda r, _: (r, {}), "asked as item 't/0' is not known: it is not among the items given"),
        (lambda r, s: (r, {**s, "t/2": Sample("t/2", (Message("user", "?"),), "3")}), "asked as item 't/2' is not"),
    ],
)
def test_records_that_are_not_the_rows_are_refused(change, why):
    facts, records, samples = small()
    records, samples = change(records, samples)
    with pytest.raises(DataError, match=why):
        exported(facts, records, samples)


def test_records_are_found_in_the_run_folder_that_the_board_was_made_of(tmp_path):
    facts, records, _ = small()
    with pytest.raises(DataError, match="does not say where the records of row 'kd' are"):
        list(recorded(facts, Pick("kd"), tmp_path))
    facts["rows"][0]["runs"][0]["files"] = ["evals/t/records.jsonl"]
    with pytest.raises(DataError, match=r"records\.jsonl: No such file"):
        list(recorded(facts, Pick("kd"), tmp_path))
    write_lines(tmp_path / "evals" / "t" / "records.jsonl", map(record_to_json, records))
    assert list(recorded(facts, Pick("kd"), tmp_path)) == records
    of_one_evaluation = {"board": small()[0], "records": ["evals/t/records.jsonl"]}
    assert list(recorded(of_one_evaluation, Pick("kd"), tmp_path)) == records


def test_half_the_records_with_the_same_mean_are_refused():
    facts, records, samples = small(4, 2)
    with pytest.raises(DataError, match=r"0\.500000 over 4 items, the records 0\.500000 over 2"):
        exported(facts, records[1:3], samples)


def test_the_records_of_all_seeds_belong_to_a_mean():
    facts, records, samples = small()
    facts["rows"] = [row(runs=[run("a" * 64, 1), run("b" * 64, 2)], n=4, tasks=("t",))]
    facts["rows"][0]["tasks"]["t"]["strict"] = {**score(2, 4, "crossed random effects, df 1"), "n": 4}
    wrong = {name: replace(s, value=0.0) for name, s in records[0].scores.items()}
    other = [changed(r, checkpoint="b" * 64, scores=wrong) for r in records[:2]]
    other += [changed(r, checkpoint="b" * 64) for r in records[2:]]
    mean = Pick("kd", mean=True)
    files = exported(facts, [*records, *other], samples, pick=mean)
    assert sum(text.count("\n") for path, text in files.items() if path.endswith("_samples.jsonl")) == 8
    with pytest.raises(DataError, match=r"the records 0\.000000 over 0; give all record files"):
        exported(facts, records, samples, pick=mean)


# ------------------------------------------------------------------------------------------------ what goes where


def test_a_plan_puts_each_format_where_it_belongs():
    facts, records, samples = small()
    ask = Question(
        (("me/model", Pick("kd")),),
        ("badge", "every-eval-ever"),
        evaluator=Evaluator("me"),
        datastore="me/evals",
        replies=Replies(records, samples),
    )
    model, store = planned(facts, ask)
    assert (model.kind, model.repository, [*model.files]) == ("model", "me/model", ["srlm-harness-badge.json"])
    assert (store.kind, store.repository, len(store.files)) == ("dataset", "me/evals", 2)
    card = Question((("me/model", Pick("kd")),), ("eval-results", "model-index"))
    (upload,) = planned(board(row()), card, {"me/model": CARD}.get)
    assert [*upload.files] == [".eval_results/srlm-harness.yaml", "README.md"]
    assert "base_model: me/base" in upload.files["README.md"]


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (Question((("me/a", Pick("kd")),), ("yaml",)), "unknown format 'yaml'"),
        (Question((("me/a", Pick("kd")), ("me/a", Pick("kd")))), "two rows go to 'me/a'"),
        (Question((("me/a", Pick("kd")),), ("every-eval-ever",)), "needs the evaluator"),
        (Question((("a", Pick("kd")),), ("every-eval-ever",), evaluator=Evaluator("me")), "owner/name, got 'a'"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(ask, why):
    with pytest.raises(UsageError, match=why):
        planned(board(row()), ask)


# ------------------------------------------------------------------------------------------------ the hub


def test_a_dry_run_sends_nothing_and_shows_every_file_against_what_is_there(hub):
    hub["me/model"].files["main"][".eval_results/x.yaml"] = b"- value: 2\n"
    (outcome,) = publish(PLAN, None, hub.url, dry_run=True)
    assert hub.writes == []
    assert not any(method == "POST" for method, _ in hub.asked)
    assert outcome.done == "would be sent"
    text = "\n".join(outcome.lines)
    assert f"would be sent to model repository 'me/model' at {hub.url} as a pull request, 'Results of x':" in text
    assert ".eval_results/x.yaml, 11 bytes:" in text
    assert "    -- value: 2\n    +- value: 1" in text
    assert "deep/a b.json, 3 bytes:" in text
    assert "    +{}" in text


def test_no_token_but_the_one_given_is_used(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_stored-on-this-machine")  # the stub would not accept it
    (outcome,) = publish(PLAN, None, hub.url, dry_run=True)
    assert "not known" not in "".join(outcome.lines)
    failure(UsageError, PLAN, None, hub)


def test_a_dry_run_of_a_long_file_shows_how_much_it_leaves_out():
    plan = [Upload("me/model", {"a": "x\n" * 500}, "t")]
    (outcome,) = publish(plan, None, "http://127.0.0.1:9", dry_run=True)
    assert outcome.lines[-1] == "    … 301 more lines"


def test_a_dry_run_says_where_it_cannot_see_what_is_there(hub):
    hub.broken["repository"] = 503
    (outcome,) = publish(PLAN, None, hub.url, dry_run=True)
    assert outcome.done == "would be sent"
    assert "what is there is not known" in outcome.lines[1]
    assert "503" in outcome.lines[1]
    assert "x.yaml, 11 bytes:" in outcome.lines[2]


def test_what_is_published_arrives_as_one_pull_request_byte_for_byte(hub):
    (outcome,) = publish(PLAN, WRITER, hub.url)
    (commit,) = hub["me/model"].commits
    assert commit["files"] == {path: text.encode() for path, text in UPLOAD.files.items()}
    assert commit["summary"] == "Results of x"
    assert commit["revision"] == "refs/pr/1"
    assert hub["me/model"].files["main"] == {}
    assert (outcome.done, outcome.url) == ("sent", f"{hub.url}/me/model/discussions/1")
    assert outcome.lines == (
        f"sent to model repository 'me/model': {outcome.url} (.eval_results/x.yaml, deep/a b.json)",
    )


def test_a_second_run_finds_the_open_request_and_a_third_the_merged_content_and_neither_sends(hub):
    publish(PLAN, WRITER, hub.url)
    (second,) = publish(PLAN, WRITER, hub.url)
    assert (second.done, second.url) == ("already proposed", f"{hub.url}/me/model/discussions/1")
    hub["me/model"].merge(1)
    (third,) = publish(PLAN, WRITER, hub.url)
    assert (third.done, third.url) == ("unchanged", "")
    assert "the same content already; nothing is sent" in third.lines[0]
    assert len(hub.writes) == 1


def test_other_content_under_the_same_title_is_proposed_anew_and_only_what_differs_is_sent(hub):
    publish(PLAN, WRITER, hub.url)
    hub["me/model"].merge(1)
    changed = Upload("me/model", {**UPLOAD.files, "deep/a b.json": "[]\n"}, UPLOAD.title)
    (outcome,) = publish([changed], WRITER, hub.url)
    assert outcome.url.endswith("/discussions/2")
    assert hub["me/model"].commits[-1]["files"] == {"deep/a b.json": b"[]\n"}


def test_a_direct_commit_goes_to_the_main_branch_on_top_of_what_was_seen(hub):
    seen = hub["me/model"].sha()
    (outcome,) = publish(PLAN, WRITER, hub.url, pull_request=False)
    assert hub["me/model"].files["main"]["deep/a b.json"] == b"{}\n"
    assert hub["me/model"].commits[0]["parentCommit"] == seen
    assert "/commit/" in outcome.url


def test_a_repository_that_changed_meanwhile_is_a_conflict(hub):
    hub.before_commit = lambda: hub["me/model"].commits.append({})
    with pytest.raises(HubError, match=r"412 for model repository 'me/model': it changed while .* run the same"):
        publish(PLAN, WRITER, hub.url, pull_request=False)
    assert hub["me/model"].files["main"] == {}


def test_a_card_is_read_merged_and_sent(hub):
    hub["me/model"].files["main"]["README.md"] = CARD.encode()
    card = read_file("me/model", "README.md", None, hub.url)
    assert card == CARD
    assert read_file("me/other", "README.md", None, hub.url) is None
    ask = Question((("me/model", Pick("kd")),), ("model-index",))
    publish(planned(board(row()), ask, lambda _: card), WRITER, hub.url)
    sent = hub["me/model"].commits[0]["files"]["README.md"].decode()
    assert len(ModelCard(sent).data.eval_results) == 2


def test_a_dataset_repository_is_reached_as_one(hub):
    hub.repositories["datasets/me/evals"] = copy.deepcopy(hub["me/model"])
    plan = [Upload("me/evals", {"a.json": "1"}, "t", "dataset")]
    assert [publish(plan, WRITER, hub.url)[0].done for _ in range(2)] == ["sent", "already proposed"]


def failure(kind, plan, token, hub, timeout_s=5.0, **more):
    """The error of publishing; it and its traceback hold no token."""
    with pytest.raises(HarnessError) as caught:
        publish(plan, token, hub.url, timeout_s=timeout_s, **more)
    assert type(caught.value) is kind
    shown = "".join(traceback.format_exception(caught.value))
    assert "secret" not in shown
    return str(caught.value)


def test_a_missing_token_is_asked_for(hub):
    said = failure(UsageError, PLAN, None, hub)
    assert said.startswith("publishing to model repository 'me/model' needs a token, and there is none; make one at ")
    assert "set HF_TOKEN" in said
    assert hub.asked == []


def test_a_token_that_is_not_accepted_is_named_as_such_and_never_shown(hub):
    said = failure(UsageError, PLAN, "hf_unknown-secret", hub)
    assert "answered 401 for model repository 'me/model': expected a token it accepts" in said


def test_a_token_without_the_right_to_write_is_refused(hub):
    said = failure(UsageError, PLAN, READER, hub)
    assert "answered 403 for model repository 'me/model': this token has no permission to open a pull request" in said
    assert "The hub says: Forbidden token <token> has no write access" in said
    assert hub.writes == []


def test_a_direct_commit_without_the_right_to_is_pointed_to_a_pull_request(hub):
    said = failure(UsageError, PLAN, READER, hub, pull_request=False)
    assert "no permission to write to its main branch; open a pull request" in said


def test_a_repository_that_does_not_exist_is_named(hub):
    plan = [UPLOAD, Upload("me/nope", {"a": "b"}, "t")]
    said = failure(UsageError, plan, WRITER, hub)
    assert "answered 404 for model repository 'me/nope': expected a repository that exists" in said
    assert hub.writes == []  # the first is not sent to where the second cannot be


def test_a_name_that_is_none_is_refused(hub):
    assert "'not a name'" in failure(UsageError, [Upload("not a name", {"a": "b"}, "t")], WRITER, hub)


@pytest.mark.parametrize(
    ("step", "status", "kind", "said"),
    [
        ("repository", 500, HubError, "answered 500 .* the hub failed; run the same command again: it sends only what"),
        ("resolve", 500, HubError, "answered 500 .* the hub failed; run the same command again"),
        ("discussions", 429, HubError, "answered 429 .* too many requests; later, run the same command again"),
        ("preupload", 400, UsageError, "answered 400 .* nothing was changed there. The hub says: .*made to fail"),
        ("commit", 403, UsageError, "answered 403 .* no permission"),
        ("commit", 409, HubError, "answered 409 .* it changed while this was being sent; run the same command again"),
        ("commit", 500, HubError, "answered 500 .* the hub failed; run the same command again"),
        ("repository", None, HubError, r"does not answer within 0.3 s \(ReadTimeout.*; run the same command again"),
        ("commit", None, HubError, r"does not answer within 0.3 s \(ReadTimeout.*; run the same command again"),
    ],
)
def test_a_hub_that_fails_is_explained_and_nothing_is_called_done(hub, step, status, kind, said):
    hub.broken[step] = status
    found = failure(kind, PLAN, WRITER, hub, timeout_s=0.3 if status is None else 5.0)
    assert re.search(said, found, re.DOTALL), found
    assert found.endswith("sent before that: nothing") == (step in ("preupload", "commit"))
    assert hub["me/model"].commits == []


def test_a_failure_halfway_says_what_was_sent_before_it(hub):
    plan = [UPLOAD, Upload("me/other", {"a": "b"}, "t")]
    hub.before_commit = lambda: hub.broken.update(preupload=400)
    said = failure(UsageError, plan, WRITER, hub)
    assert "for model repository 'me/other'" in said
    assert said.endswith(f"sent before that: {hub.url}/me/model/discussions/1")


def test_an_address_where_nothing_answers_is_named(hub):
    hub.__exit__()
    said = failure(HubError, PLAN, WRITER, hub)
    assert f"{hub.url} cannot be reached, or does not answer within 5 s (ConnectError" in said


def test_the_session_is_left_as_it_was(hub):
    before = huggingface_hub.get_session().timeout
    publish(PLAN, WRITER, hub.url, timeout_s=5.0)
    assert huggingface_hub.get_session().timeout == before


def test_offline_nothing_is_sent_and_a_dry_run_still_shows_it(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"'me/model' cannot be reached: HF_HUB_OFFLINE .* is set; unset it"):
        publish(PLAN, WRITER, "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE"):
        read_file("me/model", "README.md", None, "http://127.0.0.1:9")
    (outcome,) = publish(PLAN, None, "http://127.0.0.1:9", dry_run=True)
    assert "HF_HUB_OFFLINE" in outcome.lines[1]
    assert "    +- value: 1" in outcome.lines


def test_the_stub_refuses_what_the_hub_refuses(hub):
    api = huggingface_hub.HfApi(endpoint=hub.url, token=READER)
    with pytest.raises(HfHubHTTPError):
        api.create_commit("me/model", [huggingface_hub.CommitOperationAdd("a", b"b")], commit_message="t")
