"""The gate evaluates a checkpoint: real weights, real replies, and no generation after the verdict."""

import json
import shutil
from pathlib import Path

import pytest
from factories import harness

PICO = Path(__file__).parents[1] / "tasks" / "pico"
ITEMS = 60


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A lock whose baseline is the teacher, decided at up to ten looks."""
    folder = tmp_path_factory.mktemp("live")
    done = harness(
        "eval", "--model", PICO / "teacher", "--task", "pico_math", "--limit", ITEMS, "--engine", "transformers",
        "--run", "release", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = harness("gate", "accept", "release", "--design", "group-sequential", "--reason", "first", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def checked(home, model, *more):
    done = harness(
        "gate", "check", "--model", model, "--engine", "transformers", "--run-folder", "replies", *more, cwd=home
    )
    return done, json.loads((home / "gate-report" / "verdict.json").read_text())


def replies(home):
    return sum(len(path.read_text().splitlines()) for path in (home / "replies").rglob("replies.jsonl"))


def test_a_bad_checkpoint_is_blocked_before_all_of_it_is_generated(home):
    done, facts = checked(home, PICO / "base")
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert facts["verdict"] == "BLOCK"
    assert facts["n_used"] < ITEMS
    assert replies(home) == facts["n_used"], "nothing is generated after the verdict"
    assert any("not a score to report" in warning for warning in facts["warnings"])
    shutil.rmtree(home / "replies")
    again, repeated = checked(home, PICO / "base")
    assert again.returncode == 3
    assert not (home / "replies").exists(), "a verdict that stands is repeated: nothing is generated"
    assert "BLOCK in an earlier attempt, which stands: nothing is generated" in again.stdout + again.stderr
    assert repeated["checks"] == facts["checks"]
    assert repeated["attempts"] == 1, "the same replies are the same attempt"


def test_the_baseline_itself_passes_with_equal_scores(home):
    done, facts = checked(home, PICO / "teacher")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert facts["verdict"] == "PASS"
    assert facts["checks"][0]["value"] == 0.0
    assert facts["flipped"]["release"]["pico_math"] == {"gained": [], "lost": []}


def test_a_wrong_option_of_the_engine_is_no_verdict(home):
    done, facts = checked(home, PICO / "teacher", "--engine-arg", "batchsize=4")
    assert (done.returncode, facts["verdict"]) == (2, "NOT COMPARABLE")
    assert "unknown transformers option 'batchsize': did you mean 'batch_size'?" in done.stderr


def test_a_model_that_is_none_is_no_verdict(home):
    done = harness("gate", "check", "--model", "none", "--out", "other", cwd=home)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert json.loads((home / "other" / "verdict.json").read_text())["verdict"] == "NOT COMPARABLE"
