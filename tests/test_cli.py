"""Bad input as a stranger would give it: one paragraph that says what to do, the right exit code, nothing lost."""

import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from factories import HARNESS, harness, harness_process

from harness import registry
from harness_tasks import pico
from harness_tasks.pico.math import PicoMath

SUFFICIENT = ("--run", "r", "--out", "b.md")


def refused(run, code, *parts):
    """One paragraph on standard error, no traceback, this exit code."""
    assert run.returncode == code, (run.returncode, run.stdout, run.stderr)
    assert "Traceback" not in run.stderr
    for part in parts:
        assert part in run.stderr, run.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ("--strategies", "sft,kdd"),
            ("unknown trainer 'kdd': did you mean 'kd'?", "known trainers: kd, kd&rl, kd.logits,"),
        ),
        (("--strategies", "kd:0.9+rl:0.9"), ("shares must add up to 1, got 1.8",)),
        (("--tasks", "pico_mat"), ("unknown task or suite 'pico_mat': did you mean 'pico_math'?",)),
        (
            ("--strategies", "sft", "--budget", "1e5", "--budget-unit", "generated"),
            ("trainer 'sft' samples nothing, so a budget of generated tokens would never end it",),
        ),
        (
            ("--teacher", "", "--strategies", "kd&rl"),
            ("trainer 'kd&rl' distils from a teacher, and no teacher is given",),
        ),
        (("--engine", "vlm"), ("unknown engine 'vlm': did you mean 'vllm'?",)),
        (("--engine-arg", "dtype"), ("--engine-arg must be NAME=VALUE", "got 'dtype'")),
        (("--recipe", "pic"), ("unknown recipe 'pic': did you mean 'pico'?",)),
        (("--recipe", "none.toml"), ("none.toml: No such file",)),
        (("--set", "rl.learnin_rate=1"), ("unknown rl setting 'learnin_rate': did you mean 'learning_rate'?",)),
        (("--set", "learning_rate=1"), ("--set must be TRAINER.KEY=VALUE", "got 'learning_rate=1'")),
        (("--seeds", "1,x"), ("--seeds must be whole numbers, such as 1,2,3, got '1,x'",)),
        (("--seeds", "1,1"), ("different whole numbers",)),
        (("--budget", "-3"), ("budget.amount must be > 0, got -3.0",)),
        (("--budget-unit", "tokens"), ("--budget-unit tokens needs --budget",)),
        (("--base", "no/such/folder"), ("no/such/folder",)),
        (("--train-data", "none.jsonl"), ("none.jsonl",)),
    ],
)
def test_bad_options_are_usage_errors(arguments, parts, tmp_path):
    refused(harness("compare", *arguments, *SUFFICIENT, cwd=tmp_path), 2, *parts)
    assert not (tmp_path / "b.md").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("compare",),
        ("compare", "--dry-run"),
        ("tune", "--try", "sft.learning_rate=1e-3,1e-4"),
        ("tune", "--try", "sft.learning_rate=1e-3,1e-4", "--dry-run"),
        ("eval", "--model", "none", "--task", "pico_math"),
        ("eval", "--model", "none", "--task", "pico_math", "--dry-run"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_of_the_engine_is_refused_before_anything_is_read(command, tmp_path):
    why = "unknown vllm option 'dtyp': did you mean 'dtype'?"
    refused(harness(*command, "--engine-arg", "dtyp=float32", cwd=tmp_path), 2, why)
    refused(harness(*command, "--engine-arg", "dtype=float33", cwd=tmp_path), 2, "option dtype must be 'auto' or")
    assert not list(tmp_path.rglob("*.json*"))


def test_a_folder_that_is_no_model_is_named_with_what_is_missing(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "adapter_config.json").write_text("{}")
    refused(harness("compare", "--base", "m", *SUFFICIENT, cwd=tmp_path), 2, "m", "adapter")
    shutil.copytree(pico.BASE, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(harness("compare", "--base", "cut", *SUFFICIENT, cwd=tmp_path), 2, "model.safetensors")


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_train_data_without_completions_is_refused_before_anything_is_loaded(tmp_path, dry):
    rows = [{"prompt": f"{i} + 1 =", "target": str(i + 1)} for i in range(20)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("compare", "--tasks", "pico_math", "--train-data", "t.jsonl", "--strategies", "rl,sft", *dry)
    refused(harness(*arguments, cwd=tmp_path), 2, "trainer 'sft' learns from completions, and none of the 20 rows of")
    rows = [{**row, "compltion": "\\boxed{1}", "source": "mine"} for row in rows]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused(harness(*arguments, cwd=tmp_path), 2, "line 1: unknown field 'compltion': did you mean 'completion'?")


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_a_teacher_of_another_vocabulary_is_refused_where_tokens_are_compared(tmp_path, dry):
    other = Path(shutil.copytree(pico.TEACHER, tmp_path / "other"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    one, two = sorted(words)[40:42]
    words[one], words[two] = words[two], words[one]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    arguments = ("compare", "--teacher", str(other), "--limit", "2", *SUFFICIENT, *dry)
    run = harness(*arguments, "--strategies", "kd,kd.logits", cwd=tmp_path)
    refused(run, 2, "trainer 'kd.logits' compares tokens, and the teacher other and the student base have different")
    assert not (tmp_path / "r" / "evals").exists()
    tried = ("tune", "--teacher", str(other), "--try", "kd.logits.learning_rate=1e-3,2e-3", "--run", "r", *dry)
    refused(harness(*tried, cwd=tmp_path), 2, "trainer 'kd.logits' compares tokens, and the teacher other")


def test_held_out_items_of_a_train_set_are_left_out_and_counted(tmp_path):
    held_out = PicoMath().samples("test")[3]
    rows = [
        {"prompt": "What is 1 plus 1?", "target": "2", "completion": "\\boxed{2}"},
        {"prompt": held_out.messages[-1].content.upper(), "target": held_out.target, "completion": "\\boxed{1}"},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("compare", "--tasks", "pico_math", "--train-data", "t.jsonl", "--dry-run", "--strategies", "sft")
    run = harness(*arguments, cwd=tmp_path)
    assert "train items: 1 of 2 from t.jsonl; 1 dropped for holding a held-out question" in run.stdout, run.stderr
    (tmp_path / "t.jsonl").write_text(json.dumps(rows[1]) + "\n")
    refused(harness(*arguments, cwd=tmp_path), 2, "all 1 training items of t.jsonl repeat a held-out question")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "is empty"),
        ("[3]", "row 1: a row must be an object, got int"),
        ('{"prompt": "q"}', "needs a text field 'target', got None"),
        ('{"prompt": "q", "target": "1", "task": "x"}', "task must be one of pico_math, got 'x'"),
        ('{"prompt": "q", "target": "1", "metadata": 3}', "metadata must be an object, got 3"),
        ('{"prompt": "q \\ud800", "target": "1"}', "line 1: holds '\\ud800', half of a character"),
        ('{"messages": []}', "line 1: messages must be a list of messages"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "messages must hold objects with 'role'"),
        ('{"prompt": "q", "completion": 7}', "completion must be text, got 7"),
        (
            '{"messages": [{"role": "user", "content": "x"}]}\n{"prompt": "x", "target": "1"}',
            "line 2: needs 'messages'",
        ),
        ("", "is empty"),
    ],
)
def test_a_malformed_train_set_names_file_line_and_field(text, part, tmp_path):
    (tmp_path / "t.jsonl").write_text(text)
    arguments = ("compare", "--tasks", "pico_math", "--train-data", "t.jsonl", *SUFFICIENT)
    refused(harness(*arguments, cwd=tmp_path), 2, "t.jsonl", part)


def test_no_permission_to_write_is_said_before_any_work(tmp_path):
    refused(
        harness("compare", "--run", "/proc/r", "--out", "b.md", cwd=tmp_path), 7, "cannot write to /proc/r", "--run"
    )
    refused(harness("compare", "--run", "r", "--out", "/proc/x/b.md", cwd=tmp_path), 7, "cannot write to /proc/x")


def test_too_little_disk_is_refused_with_both_figures(tmp_path):
    script = f"mount -t tmpfs -o size=20m none {tmp_path} && cd {tmp_path} && exec {HARNESS} compare --run r --out b.md"
    run = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    refused(run, 7, "0.02 GB free, this run needs about 0.2")


def test_a_second_run_in_the_same_folder_is_told_who_is_there(tmp_path):
    (tmp_path / "r").mkdir()
    with (tmp_path / "r" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4242")
        lock.flush()
        refused(harness("compare", *SUFFICIENT, cwd=tmp_path), 6, "another run (process 4242) is using", "--run")


def test_eval_options_that_do_not_go_together_are_refused(tmp_path):
    refused(harness("eval", "--task", "gsm8k", cwd=tmp_path), 2, "give either --model, or --engine replay")
    refused(harness("eval", "--task", "gsm8k", "--engine", "replay", cwd=tmp_path), 2, "go together")


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path):
    strategies = "sft,sft:0.5+rl,sft:0.5+kd,kd:0.25+rl"
    asked = ("--strategies", strategies, "--seeds", "1,2,3,4", "--budget", "3e12")
    run = harness("compare", "--dry-run", *asked, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert "train sft, 4 seeds: sft for 3e+12 flops" in lines
    assert "train kd:0.25+rl, 4 seeds: kd for 7.5e+11 flops, then rl for 2.25e+12 flops" in lines
    shared = "train sft:0.5+kd, 4 seeds: sft for 1.5e+12 flops (as in sft:0.5+rl), then kd for 1.5e+12 flops"
    assert shared in lines  # but not the sft alone: another budget is another schedule
    assert "training in all: 4.2e+13 flops, shared stages once" in lines
    assert "choose checkpoints on 200 dev items (pico_math 100, pico_code 100)" in lines
    assert "evaluate 18 checkpoints" in run.stdout
    assert any(line.startswith("time for training: ") and "measured just now" in line for line in lines)
    assert any(line.startswith("between two strategies, 4 seeds each") and line.endswith("points") for line in lines)
    assert list(tmp_path.iterdir()) == []
    one = harness("compare", "--dry-run", "--strategies", "sft", "--report-to", "none", cwd=tmp_path)
    assert "between two strategies: nothing can be claimed from 1 seed; it takes at least 4" in one.stdout


def test_a_tracker_that_cannot_be_used_is_refused_before_any_work(tmp_path):
    unknown = harness("compare", "--report-to", "tensorbord", cwd=tmp_path)
    refused(unknown, 2, "unknown tracker 'tensorbord': did you mean 'tensorboard'?")
    missing = harness("compare", "--report-to", "tensorboard,swanlab", cwd=tmp_path)
    refused(missing, 2, "--report-to swanlab needs a package that is not installed: pip install swanlab")


def test_a_search_says_what_it_would_take_and_refuses_unequal_trials(tmp_path):
    tried = ("--try", "sft.learning_rate=1e-4,1e-3", "--try", "rl.learning_rate=1e-4,1e-3")
    run = harness("tune", *tried, "--budget", "1e10", "--dry-run", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "try 2 settings of rl, 1e+10 flops each" in run.stdout
    assert "score them on 200 dev items (pico_math 100, pico_code 100); no test item is evaluated" in run.stdout
    assert list(tmp_path.iterdir()) == []
    refused(harness("tune", *tried[:2], "--try", "kd.warmup=0.1", cwd=tmp_path), 2, "got sft 2, kd 1; add or drop")


def test_doctor_tells_engine_sandbox_and_what_is_missing(tmp_path):
    run = harness_process("doctor", "--json", cwd=tmp_path, HARNESS_DATA=str(tmp_path / "none"))
    findings = {f["what"]: f for f in json.loads(run.stdout)}
    assert run.returncode == 1
    assert findings["data"]["state"] == "fail"
    assert "is not a folder" in findings["data"]["text"]
    assert findings["engine"]["text"].startswith("vllm will be used")
    assert findings["sandbox"]["text"].startswith("T1")
    promises = ("same seed", "resume", "noop", "swap", "16 bits")
    assert [findings[name]["state"] for name in promises] == ["ok"] * 5  # on a CPU
    assert harness("doctor", cwd=tmp_path, HARNESS_DATA=str(tmp_path)).returncode == 0


def test_lists_name_what_is_installed(tmp_path):
    table = harness("tasks", "list", cwd=tmp_path).stdout.split("\n\n")[0].splitlines()[2:]
    assert [line.split()[0] for line in table] == registry.names("task")
    shown = harness("tasks", "show", "pico_math", cwd=tmp_path).stdout
    assert "items" in shown
    assert "[user]" in shown
    elsewhere = harness("tasks", "show", "gsm8k", cwd=tmp_path, HARNESS_DATA=str(tmp_path))
    refused(elsewhere, 2, "no file", "math/gsm8k/test.jsonl.gz")
    assert "gsm8k 2.0, test: 1319 items" in elsewhere.stdout
    assert "licence: MIT" in elsewhere.stdout
    assert "rl.learning_rate = " in harness("trainers", cwd=tmp_path).stdout


def test_every_committed_board_is_what_its_facts_give():
    root = Path(__file__).parent.parent
    boards = [b for b in sorted(root.glob("leaderboards/*.md")) if b.name != "README.md"]
    assert boards
    assert harness("leaderboard", "check", *boards, cwd=root).returncode == 0


def test_a_board_edited_by_hand_is_stale(tmp_path):
    source = Path(__file__).parent.parent / "leaderboards"
    for suffix in (".md", ".json"):
        shutil.copy(source / f"pico{suffix}", tmp_path)
    board = tmp_path / "pico.md"
    board.write_text(board.read_text().replace("base", "Base", 1))
    refused(harness("leaderboard", "check", board, cwd=tmp_path), 1, "is stale or was edited by hand")
    board.with_suffix(".json").unlink()
    refused(harness("leaderboard", "check", board, cwd=tmp_path), 2, "has no facts beside it")


def test_the_readme_opens_with_the_board_as_it_was_committed():
    root = Path(__file__).parent.parent
    shown = (root / "README.md").read_text().split("<!-- board -->")[1].split("<!-- /board -->")[0].strip()
    committed = subprocess.run(["git", "show", "HEAD:leaderboards/quick.md"], cwd=root, capture_output=True, text=True)
    if committed.returncode != 0:
        pytest.skip("no git history here")
    lines = [line for line in committed.stdout.split("<details>")[0].splitlines() if line.startswith(("|", "n ="))]
    assert [line for line in shown.splitlines() if line] == lines


def test_doctor_tries_every_tier_of_the_sandbox_and_names_what_it_is_made_of(tmp_path):
    result = harness("doctor", "--sandbox", "--json", cwd=tmp_path)
    found = {finding["what"]: finding for finding in json.loads(result.stdout)}
    assert list(found) == ["in use", "T1", "T2", "T3", "landlock", "user", "outer shell"]
    assert found["in use"]["text"] in (found["T1"]["text"].split(":")[0], found["T2"]["text"].split(":")[0])
    assert "programs can read this user's files" in found["T3"]["text"]
    assert result.returncode == 0


def test_an_outer_shell_is_used_and_named_and_one_that_fails_is_an_error(tmp_path):
    command = ("doctor", "--sandbox", "--json")
    inside = harness(*command, cwd=tmp_path, HARNESS_SANDBOX_OUTER="unshare -r -n")
    assert json.loads(inside.stdout)[0]["text"].endswith("inside unshare")
    failed = harness(*command, cwd=tmp_path, HARNESS_SANDBOX_OUTER="no-such-shell --x")
    assert failed.returncode == 1
    assert "the worker cannot be started by 'no-such-shell'" in json.loads(failed.stdout)[0]["text"]
