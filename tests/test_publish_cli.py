"""`harness leaderboard publish` in a process of its own, against a hub of our own: what it says, and its exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_stub import WRITER, Hub

HARNESS = str(Path(sys.executable).parent / "harness")
BOARD = Path(__file__).parent.parent / "leaderboards" / "quick.json"


@pytest.fixture
def hub():
    with Hub("me/model") as stub:
        yield stub


def publish(hub, home, *arguments, token=WRITER):
    """A badge, as the board's tasks have no board on the hub. home: holds no stored token."""
    tokens = {"HF_TOKEN": token, "HUGGING_FACE_HUB_TOKEN": "", "HF_HOME": str(home)}
    place = {"HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
    return subprocess.run(
        [HARNESS, "leaderboard", "publish", str(BOARD), *arguments, "--format", "badge"],
        capture_output=True,
        text=True,
        env={**os.environ, **tokens, **place},
        timeout=120,
        check=False,
    )


def refused(run, code, *parts):
    assert run.returncode == code, (run.returncode, run.stdout, run.stderr)
    assert "Traceback" not in run.stderr
    assert "secret" not in run.stdout + run.stderr
    for part in parts:
        assert part in run.stderr, run.stderr


def test_a_dry_run_needs_no_token_and_shows_the_file_that_would_be_sent(hub, tmp_path):
    run = publish(hub, tmp_path, "--to", "kd=me/model", "--dry-run", token="")
    assert run.returncode == 0, run.stderr
    assert f"would be sent to model repository 'me/model' at {hub.url} as a pull request" in run.stdout
    assert '+{"schemaVersion": 1, "label": "kd on pico_math, pico_code"' in run.stdout
    assert hub.writes == []


def test_what_is_published_is_proposed_once(hub, tmp_path):
    first, second = (publish(hub, tmp_path, "--to", "kd@1=me/model") for _ in range(2))
    assert first.stdout == (
        f"sent to model repository 'me/model': {hub.url}/me/model/discussions/1 (srlm-harness-badge.json)\n"
    )
    assert second.stdout.startswith(f"already proposed: {hub.url}/me/model/discussions/1")
    assert len(hub.writes) == 1


def test_a_direct_commit_goes_to_the_main_branch(hub, tmp_path):
    run = publish(hub, tmp_path, "--to", "kd=me/model", "--direct")
    assert run.returncode == 0, run.stderr
    assert [*hub["me/model"].files["main"]] == ["srlm-harness-badge.json"]


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("kdd=me/model", "unknown row 'kdd': did you mean 'kd'?"),
        ("kd@9=me/model", "row 'kd' has no seed 9; its seeds: 1"),
        ("kd", "must be ROW[@SEED]=OWNER/MODEL, such as kd@2=me/small-kd, got 'kd'"),
        ("kd=me/nope", "answered 404 for model repository 'me/nope'"),
    ],
)
def test_a_target_that_is_none_is_named(hub, tmp_path, target, part):
    refused(publish(hub, tmp_path, "--to", target), 2, part)
    assert hub.writes == []


def test_a_missing_token_is_asked_for(hub, tmp_path):
    refused(publish(hub, tmp_path, "--to", "kd=me/model", token=""), 2, "needs a token, and there is none; make one at")
    assert hub.asked == []


def test_a_hub_that_fails_has_an_exit_code_of_its_own(hub, tmp_path):
    hub.broken["commit"] = 500
    refused(publish(hub, tmp_path, "--to", "kd=me/model"), 8, "answered 500", "run the same command again")
