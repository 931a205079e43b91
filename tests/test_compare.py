"""The main job, small but real: vLLM, TRL and the sandbox, interrupted once and run again."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from factories import HARNESS, harness, refuse_unlike_schema

from harness.board import render
from harness.experiment import memory_forecast
from harness.records.record_files import read_records
from harness.registry import make_task
from harness_tasks import pico

LIMIT = 16
BUDGET = 6e10
RECIPE = f"""
base = "{pico.BASE}"
teacher = "{pico.TEACHER}"
tasks = ["pico_math", "pico_code"]
budget = {{ amount = {BUDGET} }}
teaching = {{ prompts = 48, temperature = 0.7 }}
dev_items = {LIMIT}
[trainers.noop]
max_tokens = 256
[trainers.sft]
learning_rate = 1e-3
[trainers.kd]
learning_rate = 1e-3
[trainers."sft.lora"]
learning_rate = 1e30
[trainers.rl]
prompts_per_step = 4
group_size = 4
max_tokens = 72
"""


def arguments(folder, *more):
    return [
        "compare", "--recipe", str(folder / "small.toml"), "--run", str(folder / "run"), "--limit", str(LIMIT),
        "--train-data", str(folder / "train.jsonl"), "--strategies", "sft,kd,kd+rl,noop,sft.lora",
        "--engine-arg", "max_model_len=512", *more,
    ]  # fmt: skip


def train_rows():
    """The first of the tasks' own train items, as a user's file: every stage would take seconds to read them all."""
    for task in ("pico_math", "pico_code"):
        for item in make_task(task).samples("train")[:200]:
            yield {
                "task": task, "prompt": item.messages[-1].content, "completion": item.metadata["solution"],
                "target": item.target, "metadata": item.metadata,
            }  # fmt: skip


def finish(folder, *more):
    return harness(*arguments(folder, "--out", str(folder / "board.md"), *more))


def children(pid):
    """Live processes whose parent is `pid`."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run that was interrupted while it trained, then finished by the same command."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "small.toml").write_text(RECIPE)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train_rows()))
    first = subprocess.Popen(
        [HARNESS, *arguments(folder, "--out", str(folder / "board.md"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background shells hand it down ignored
    )
    deadline = time.monotonic() + 400
    while not list(folder.glob("run/stages/*/progress.jsonl")) and time.monotonic() < deadline:
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.2)
    family = children(first.pid)
    first.send_signal(signal.SIGINT)
    output = first.communicate(timeout=60)[0]
    kept = {path: path.read_bytes() for part in ("evals", "traces") for path in folder.glob(f"run/{part}/*/*.jsonl")}
    second = finish(folder)
    return {"folder": folder, "first": (first.returncode, output, family), "kept": kept, "second": second}


def test_an_interrupt_ends_everything_and_says_how_to_go_on(world):
    code, output, family = world["first"]
    assert code == 130, output
    assert "interrupted: everything finished is kept; run the same command again" in output
    assert "Traceback" not in output
    assert family
    assert not [pid for pid in family if alive(pid)]


def test_the_same_command_goes_on_and_keeps_what_was_finished(world):
    assert world["second"].returncode == 0, world["second"].stderr
    assert world["kept"]
    for path, content in world["kept"].items():
        assert path.read_bytes().startswith(content), f"{path} was made anew"


def test_the_board_has_every_row_with_interval_cost_and_seed(world):
    facts = json.loads((world["folder"] / "board.json").read_text())
    rows = {row["name"]: row for row in facts["rows"]}
    assert set(rows) == {"base", "teacher", "sft", "kd", "kd+rl", "noop", "sft.lora"}
    refuse_unlike_schema(facts)
    assert facts["facts"]["engine"]["name"] == "vllm"
    for name, row in rows.items():
        assert row["strict"]["n"] == 2 * LIMIT
        counts = row["counts"]
        assert counts["n"] == counts["scored"] + counts["truncated"] + counts["errored"] == 2 * LIMIT
        assert ("difference" in row) == (name != "base")
    for name in ("sft", "kd", "kd+rl"):
        cost = rows[name]["runs"][0]["cost"]
        assert 0.85 * BUDGET < cost["flops"] <= 1.02 * BUDGET, "a stage did not spend its budget, or more"
        assert cost["train_s"] > 0
        assert (cost["generate_s"] > 0) == (cost["reward_s"] > 0) == ("rl" in name)
        assert cost["without_teacher"]["flops"] == cost["flops_train"] + cost["flops_generate"]
        assert cost["trained_tokens"] > 0
        assert (cost["generated_tokens"] > 0) == ("rl" in name)
        assert (cost["teacher_tokens"] > 0) == ("kd" in name)
    digests = {row["runs"][0]["digest"] for row in rows.values()}
    assert len(digests) == 5, "a strategy handed back another's weights"


def test_options_of_the_engine_reach_it_and_are_recorded(world):
    facts = json.loads((world["folder"] / "board.json").read_text())
    assert facts["facts"]["engine"]["settings"] == {"max_model_len": 512}
    keys = [json.loads(path.read_text()) for part in ("dev", "evals", "traces") for path in
            world["folder"].glob(f"run/{part}/*/key.json")]  # fmt: skip
    assert {key["engine"]["max_model_len"] for key in keys} == {512}
    assert len(keys) > 10


def test_doing_nothing_equals_the_base_in_weights_scores_and_every_reply(world):
    facts = json.loads((world["folder"] / "board.json").read_text())
    base, noop = ({row["name"]: row for row in facts["rows"]}[name] for name in ("base", "noop"))
    assert noop["runs"][0]["digest"] == base["runs"][0]["digest"]
    assert noop["runs"][0]["records"] == base["runs"][0]["records"]
    assert noop["strict"] == base["strict"]
    assert noop["difference"]["value"] == 0.0


def test_training_that_diverges_is_a_row_with_its_reason_and_the_last_sound_weights(world):
    facts = json.loads((world["folder"] / "board.json").read_text())
    rows = {row["name"]: row for row in facts["rows"]}
    (run,) = rows["sft.lora"]["runs"]
    assert run["status"] == "collapsed"
    assert "not finite" in run["why"]
    assert run["digest"] == rows["base"]["runs"][0]["digest"]
    assert 0 < run["cost"]["flops"] < BUDGET
    assert "train sft.lora seed 1 ended early: collapsed: " in world["second"].stderr
    line = next(
        line for line in (world["folder"] / "board.md").read_text().splitlines() if line.startswith("| sft.lora |")
    )
    assert line.startswith(f"| sft.lora | collapsed: {run['why']} | – | ")  # it has no rank


def test_the_checkpoint_of_a_run_is_the_best_on_dev_and_the_others_are_gone(world):
    facts = json.loads((world["folder"] / "board.json").read_text())
    for row in facts["rows"]:
        run = row["runs"][0]
        if row["role"] == "strategy":
            assert run["dev"][run["chosen"]] == max(run["dev"].values())
    best = set()  # of each stage; of equals the latest
    for scored in world["folder"].glob("run/stages/*/dev.json"):
        found = json.loads(scored.read_text())["candidates"]
        best.add(scored.parent / max(reversed(found), key=lambda candidate: candidate["dev"])["path"])
    snapshots = set(world["folder"].glob("run/stages/*/work/snapshots/*"))
    assert snapshots == {path for path in best if path.parent.name == "snapshots"}


def test_every_checkpoint_scored_on_test_items_is_logged_once(world):
    logged = [json.loads(line) for line in (world["folder"] / "test-looks.jsonl").read_text().splitlines()]
    assert (
        len(logged) == len({(one["items"], one["checkpoint"]) for one in logged}) == 2 * 5
    )  # noop and what collapsed are the base
    text = (world["folder"] / "board.md").read_text()
    assert "Test-set evaluations so far: pico_math 5 checkpoints, pico_code 5 checkpoints." in text


def test_training_can_be_watched_in_tensorboard_and_as_pictures(world):
    run = world["folder"] / "run"
    events = {path.parent.parent.name.split("-")[0] for path in run.glob("stages/*/tensorboard/events.out.*")}
    assert events >= {"sft", "kd", "rl", "noop"}
    assert {path.name for path in (run / "curves").iterdir()} >= {"dev.svg", "sft.svg", "kd-then-rl.svg"}
    drawn = world["folder"] / "board" / "learning-curves.svg"
    assert drawn.read_bytes() == (run / "curves" / "dev.svg").read_bytes()
    assert "](board/learning-curves.svg)" in (world["folder"] / "board.md").read_text()


def test_the_printed_board_is_the_written_one(world):
    text = (world["folder"] / "board.md").read_text()
    facts = json.loads((world["folder"] / "board.json").read_text())
    assert render.markdown_of_facts(facts) == text
    assert "| single run |" in text
    table = [line for line in text.splitlines() if line.startswith("|")][:8]
    assert all(line in world["second"].stdout for line in table)
    assert "leaderboard: " in world["second"].stdout


def test_a_second_run_trains_and_generates_nothing(world):
    folder = world["folder"]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("run/**/*.jsonl")}
    board = (folder / "board.md").read_bytes()
    start = time.monotonic()
    again = finish(folder, "--engine", "vllm")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.glob("run/**/*.jsonl")} == before
    assert (folder / "board.md").read_bytes() == board
    assert time.monotonic() - start < 60


def test_only_what_is_left_to_train_must_fit_into_memory(world, monkeypatch):
    monkeypatch.setattr(memory_forecast, "device_memory", lambda: 1)
    done = finish(world["folder"], "--dry-run")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("memory of ")]
    assert said == [f"memory of {name}: none, its stages are trained already"
                    for name in ("sft", "kd", "rl", "noop", "sft.lora")]  # fmt: skip
    for more, name in ((("--seeds", "1,2"), "sft"), (("--set", "rl.learning_rate=1e-5"), "rl")):
        refused = finish(world["folder"], "--dry-run", *more)
        assert refused.returncode == 2
        assert f"trainer '{name}' needs about" in refused.stderr


def test_without_out_the_board_is_written_to_the_run_folder_alone(world, tmp_path):
    run = world["folder"] / "run"
    before = (run / "leaderboard.json").stat().st_mtime_ns
    done = harness(*arguments(world["folder"]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"leaderboard: {run / 'leaderboard.md'}" in done.stdout
    assert (run / "leaderboard.json").stat().st_mtime_ns > before
    assert list(tmp_path.iterdir()) == []


def test_transformers_gives_the_same_greedy_replies(world):
    folder = world["folder"]
    run = harness(
        "eval", "--engine", "transformers", "--model", pico.BASE, "--task", "pico_math,pico_code",
        "--limit", LIMIT, "--run", folder / "hf",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    ours = {r.item.sample_id: r for path in (folder / "hf/evals").glob("*/records-*.jsonl") for r in read_records(path)}
    base = next(iter(ours.values())).origin.checkpoint
    theirs = [
        r
        for path in (folder / "run/evals").glob("*/records-*.jsonl")
        for r in read_records(path)
        if r.origin.checkpoint == base
    ]
    assert len(theirs) == len(ours) == 2 * LIMIT
    for record in theirs:
        other = ours[record.item.sample_id]
        assert (record.reply.text, record.reply.n_tokens, record.reply.finish) == (
            other.reply.text,
            other.reply.n_tokens,
            other.reply.finish,
        )
        assert record.reply.prompt_hash == other.reply.prompt_hash
        assert {k: s.value for k, s in record.scores.items()} == {k: s.value for k, s in other.scores.items()}


def test_a_changed_checkpoint_is_noticed(world):
    result = next(iter(sorted(world["folder"].glob("run/stages/sft-*/result.json"))))
    whole = result.read_text()
    result.write_text(whole.replace(json.loads(whole)["digest"], "0" * 64))
    try:
        run = finish(world["folder"])
    finally:
        result.write_text(whole)
    assert run.returncode == 1
    assert "its checkpoint is not the one it was finished with" in run.stderr
    assert result.parent.name in run.stderr
