"""`harness eval` as people use it: several checkpoints, samples and their metrics, other tools' files, bad input."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from factories import HARNESS, Quiet, harness, refuse_unlike_schema

from harness.errors import BadCheckpoint, BadConfig, EngineError, UnknownName, UsageError
from harness.evaluation import eval_models
from harness.records.record_files import read_records
from harness.statistics import k_metrics
from harness.testing.models import make_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    home = tmp_path_factory.mktemp("models")
    return [str(make_model(home / f"m{seed}", seed)) for seed in range(2)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose tokenizer has no chat template."""
    folder = make_model(tmp_path_factory.mktemp("plain") / "plain", 0)
    (folder / "chat_template.jinja").unlink()
    return str(folder)


def run(folder: Path, models: list[str], tasks: str = "pico_math", **changes: Any) -> eval_models.EvalResult:
    given: dict[str, Any] = {"engine": "transformers", "limit": 6, "max_tokens": 8, **changes}
    choice, output, sampling = (
        {name: given.pop(name) for name in vars(kind)["__dataclass_fields__"] if name in given}
        for kind in (eval_models.ModelChoice, eval_models.Output, eval_models.SamplingChoice)
    )
    asked = eval_models.EvalRequest(
        tuple(tasks.split(",")),
        eval_models.ModelChoice(tuple(models), **choice),
        eval_models.Output(folder, **output),
        eval_models.SamplingChoice(**sampling),
        **given,
    )
    return eval_models.run(asked, Quiet())


def test_several_checkpoints_share_one_engine_and_one_board(models: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, models)
    assert sorted(row["name"] for row in result.board.rows) == ["m0", "m1"]
    assert len({row["runs"][0]["digest"] for row in result.board.rows}) == 2
    assert [path.name for path in result.paths] == ["m0-pico_math.json", "m1-pico_math.json"]
    alone = run(tmp_path / "alone", models[1:])
    together = next(row for row in result.board.rows if row["name"] == "m1")
    assert alone.board.rows[0]["runs"][0]["records"] == together["runs"][0]["records"]


def test_every_look_at_test_items_is_counted_and_none_at_dev_items(models: list[str], tmp_path: Path) -> None:
    run(tmp_path / "run", models[:1], split="dev")
    assert not (tmp_path / "test-looks.jsonl").exists()
    result = run(tmp_path / "run", models)
    assert result.board.facts.tasks["pico_math"].n_evaluated == 2
    refuse_unlike_schema(asdict(result.board))
    other = run(tmp_path / "other", models[1:])
    assert other.board.facts.tasks["pico_math"].n_evaluated == 2
    lines = [json.loads(line) for line in (tmp_path / "test-looks.jsonl").read_text().splitlines()]
    assert [(line["run"], line["who"]) for line in lines] == [("run", "m0"), ("run", "m1")]


def test_the_same_command_writes_the_same_files_again(models: list[str], tmp_path: Path) -> None:
    def content() -> dict[str, bytes]:
        return {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    run(tmp_path, models)
    before = content()
    assert any(name.startswith("lm_eval/m0/results_") for name in before)
    assert any(name.startswith("lm_eval/m0/samples_pico_math_") for name in before)
    assert any(name.startswith("logs/") and name.endswith(".eval") for name in before)
    run(tmp_path, models)
    assert content() == before


def test_the_files_for_other_tools_hold_the_records(models: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, models[:1], repeats=2, temperature=1.0)
    (path,) = tmp_path.glob("evals/*/records-*.jsonl")
    records = list(read_records(path))
    (samples,) = tmp_path.glob("lm_eval/m0/samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().split("\n")[:-1]]
    strict = [row for row in rows if row["filter"] == "strict"]
    assert [text for row in strict for text in row["resps"][0]] == [r.reply.text for r in records]
    assert all(row["arguments"]["gen_args_0"]["arg_0"].endswith("<|im_start|>assistant\n") for row in rows)
    (results,) = tmp_path.glob("lm_eval/m0/results_*.json")
    written = json.loads(results.read_text())
    assert "add_generation_prompt" in written["chat_template"]
    scored = written["results"]["pico_math"]
    assert scored["exact_match,strict"] == result.board.rows[0]["strict"]["value"]
    assert scored["sample_len"] == 6
    assert written["n-samples"] == {"pico_math": {"original": 250, "effective": 6}}


def test_samples_are_drawn_under_seeds_and_measured(models: list[str], tmp_path: Path) -> None:
    metrics = tuple(map(k_metrics.parse_metric, ("pass@4", "pass^4", "maj@4", "avg@4")))
    result = run(tmp_path, models[:1], repeats=4, temperature=1.0, top_p=0.9, seed=5, metrics=metrics)
    (path,) = tmp_path.glob("evals/*/records-*.jsonl")
    records = list(read_records(path))
    assert [r.origin.sampling["seed"] for r in records[:4]] == [5, 6, 7, 8]
    assert len({r.reply.text for r in records[:4]}) > 1
    found = json.loads(result.paths[0].read_text())["metrics"]["pico_math"]
    assert set(found) == {"pass@4", "pass^4", "maj@4", "avg@4"}
    assert found["pass@4"]["strict"]["estimate"]["n"] == 6
    assert found["avg@4"]["strict"]["estimate"]["value"] == result.board.rows[0]["strict"]["value"]
    assert any(line.startswith("pico_math pass@4: strict ") for line in result.more)
    again = run(tmp_path / "again", models[:1], repeats=4, temperature=1.0, top_p=0.9, seed=5)
    assert again.board.rows[0]["runs"][0]["records"] == result.board.rows[0]["runs"][0]["records"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"repeats": 4}, "--samples 4 at temperature 0 would be the same reply 4 times"),
        ({"metrics": ("pass@8",), "repeats": 4, "temperature": 1.0}, r"pass@8 needs 8 replies to each item.*got 4"),
        ({"metrics": ("pass@2",)}, r"pass@2 needs 2 replies"),
        ({"metrics": ("maj@2",), "repeats": 2, "temperature": 1.0, "tasks": "pico_code"}, "maj@2 counts equal answers"),
        ({"num_fewshot": 3}, "--num-fewshot is for the tasks of lm-eval"),
        ({"name": "x", "models": 2}, "--name is for one model, got 2"),
    ],
)
def test_settings_that_cannot_give_what_is_asked_for_are_refused(
    changes: dict[str, Any], why: str, models: list[str], tmp_path: Path
) -> None:
    changed = dict(changes)
    changed["metrics"] = tuple(map(k_metrics.parse_metric, changed.get("metrics", ())))
    with pytest.raises(UsageError, match=why):
        run(tmp_path, models[: changed.pop("models", 1)], **changed)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_how_much_would_be_asked_and_asks_nothing(tmp_path: Path) -> None:
    arguments = ("--model", "none,other", "--task", "pico_math,pico_code", "--limit", "10", "--dry-run")
    run = harness("eval", *arguments, "--samples", "4", "--temperature", "1", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "pico_math: 10 test items, 40 requests, at most 2,880 tokens" in run.stdout
    assert "in all at most 13,440 generated tokens for 2 models" in run.stdout
    assert not list(tmp_path.iterdir())


def test_unknown_names_and_options_are_refused(models: list[str], tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown task or suite 'pico_mat': did you mean 'pico_math'\?"):
        run(tmp_path, models, "pico_mat")
    with pytest.raises(BadConfig, match=r"unknown transformers option 'batchsize': did you mean 'batch_size'\?"):
        run(tmp_path, models, engine_options=(("batchsize", "4"),))
    with pytest.raises(BadConfig, match="option batch_size must be int, got 'many'"):
        run(tmp_path, models, engine_options=(("batch_size", "many"),))


def test_a_model_without_chat_template_says_so_and_can_be_asked_in_plain_text(plain: str, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"plain: no chat template; .* --no-apply-chat-template"):
        run(tmp_path, [plain])
    assert not list(tmp_path.iterdir())
    result = run(tmp_path, [plain], chat=False)
    assert result.board.rows[0]["counts"]["errored"] == 0


def test_a_prompt_longer_than_the_model_is_named_and_nothing_is_reported(models: list[str], tmp_path: Path) -> None:
    run(tmp_path / "long", models[:1])
    (path,) = (tmp_path / "long").glob("evals/*/records-*.jsonl")
    limit = sorted(r.reply.n_prompt_tokens for r in read_records(path))[3]
    folder = Path(shutil.copytree(models[0], tmp_path / "short"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": limit}))
    with pytest.raises(EngineError, match=rf"of 6 replies failed.*tokens, and the model reads at most {limit}"):
        run(tmp_path / "run", [str(folder)])
    assert not list(tmp_path.glob("run/results/*"))
    result = run(tmp_path / "run", [str(folder)], allow_errors=True)
    counts = result.board.rows[0]["counts"]
    assert 0 < counts["errored"] < 6
    assert counts["n"] == counts["scored"] + counts["truncated"] + counts["errored"] == 6


def test_endless_text_and_silence_are_counted(models: list[str], tmp_path: Path) -> None:
    silent = Path(shutil.copytree(models[0], tmp_path / "silent"))
    config = json.loads((silent / "config.json").read_text())
    (silent / "config.json").write_text(json.dumps(config | {"eos_token_id": list(range(config["vocab_size"]))}))
    quiet = run(tmp_path / "q", [str(silent)]).board.rows[0]
    assert (quiet["counts"]["scored"], quiet["in_form"]["value"], quiet["tokens_per_item"]) == (6, 0.0, 1.0)
    endless = run(tmp_path / "e", models[:1], max_tokens=3).board.rows[0]
    assert (endless["counts"]["truncated"], endless["strict"]["value"], endless["tokens_per_item"]) == (6, 0.0, 3.0)


def test_two_commands_in_one_folder_one_wins_and_the_other_says_so(models: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with (folder / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = harness("eval", "--model", models[0], "--task", "pico_math", "--run", folder, cwd=tmp_path)
    assert other.returncode == 6
    assert "is using" in other.stderr


@pytest.mark.slow
def test_killed_while_it_generates_the_same_command_goes_on(models: list[str], tmp_path: Path) -> None:
    arguments = [HARNESS, "eval", "--model", models[0], "--task", "pico_math", "--engine", "transformers"]
    arguments += ["--engine-arg", "batch_size=2", "--limit", "24", "--max-tokens", "24", "--run"]
    replies = lambda folder: sum(p.read_bytes().count(b"\n") for p in folder.glob("evals/*/replies.jsonl"))  # noqa: E731
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen([*arguments, killed], start_new_session=True, stdout=-3, stderr=-3) as process:
        deadline = time.monotonic() + 60
        while replies(killed) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    kept = replies(killed)
    assert 4 <= kept < 24
    subprocess.run([*arguments, killed], check=True, capture_output=True)
    run(whole, models[:1], engine_options=(("batch_size", "2"),), limit=24, max_tokens=24)
    one, other = ((folder / "results/m0-pico_math.json").read_bytes() for folder in (killed, whole))
    assert one == other
    assert replies(killed) == 24


def test_a_full_disk_is_said_and_what_was_made_is_kept(models: list[str], tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=40k none {small} && cd {tmp_path} && "
        f"{HARNESS} eval --model {models[0]} --task pico_math --engine transformers --limit 120 --max-tokens 24 "
        f"--run {small}/run; code=$?; ls {small}/run/evals/*/replies.jsonl && exit $code"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 7, done.stderr
    assert "is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert "replies.jsonl" in done.stdout
