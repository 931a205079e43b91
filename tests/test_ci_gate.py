"""The GitHub action and the shell script of the gate do what they say: their own lines are run here."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from factories import HARNESS, written
from test_gate import BASE, dropped, gate

CI = Path(__file__).parents[1] / "ci" / "gate"
ACTION = yaml.safe_load((CI / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}

# Stands for GitHub's own `gh`: keeps comments in a file as the API would, and can be made to fail.
GH = """#!/usr/bin/env python3
import json, os, sys
store, arguments = os.environ["GH_STORE"], sys.argv[1:]
if os.environ.get("GH_FAILS"):
    sys.exit("HTTP 403: Resource not accessible by integration")
assert arguments[0] == "api" and os.environ["GH_TOKEN"] == "secret", arguments
comments = json.load(open(store))
path = next(a for a in arguments[1:] if a.startswith("repos/"))
if "--method" not in arguments:
    assert path == "repos/me/it/issues/7/comments" and "--paginate" in arguments
    for id, body in comments.items():
        print(json.dumps([int(id), body]))
    sys.exit()
name, _, file = arguments[arguments.index("-F") + 1].partition("=@")
assert name == "body"
method = arguments[arguments.index("--method") + 1]
id = path.rsplit("/", 1)[1] if method == "PATCH" else str(max(map(int, comments), default=0) + 1)
assert method == "POST" or id in comments
comments[id] = open(file).read()
assert len(comments[id]) < 65536
json.dump(comments, open(store, "w"))
"""


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Folders with a lock, as they are before any check, after a check of the run `same`, and after one of `worse`."""
    fresh = tmp_path_factory.mktemp("gate") / "fresh"
    written(fresh / "base", BASE, "a" * 64, "base")
    written(fresh / "same", dropped(BASE, 5, 5), "b" * 64, "same")
    written(fresh / "worse", dropped(BASE, 60), "c" * 64, "worse")
    assert gate("accept", "base", "--reason", "first", cwd=fresh).returncode == 0
    (fresh / "bin").mkdir()
    for name, text in (("gh", GH), ("harness", f'#!/bin/sh\nexec {HARNESS} "$@"\n')):
        (fresh / "bin" / name).write_text(text)
        (fresh / "bin" / name).chmod(0o755)
    (fresh / "comments.json").write_text(json.dumps({"3": "thanks!"}))
    checked = {"same": 0, "worse": 3}
    for run, code in checked.items():
        done = step(shutil.copytree(fresh, fresh.with_name(run)), "Gate", {"run": run})
        assert done.returncode == code, done.stderr
    return {name: fresh.with_name(name) for name in ("fresh", *checked)}


@pytest.fixture
def home(homes, tmp_path):
    return shutil.copytree(homes["fresh"], tmp_path, dirs_exist_ok=True)


@pytest.fixture
def after_same(homes, tmp_path):
    return shutil.copytree(homes["same"], tmp_path, dirs_exist_ok=True)


@pytest.fixture
def after_worse(homes, tmp_path):
    return shutil.copytree(homes["worse"], tmp_path, dirs_exist_ok=True)


def step(home, name, inputs=None, **environment):
    """Run a step of the action as GitHub does: its inputs, then `bash -eo pipefail` on its lines."""
    values = {f"inputs.{key}": of["default"] for key, of in ACTION["inputs"].items()}
    values |= {f"inputs.{key}": value for key, value in (inputs or {}).items()}
    values |= {"github.action_path": str(CI), "github.repository": "me/it", "github.event.pull_request.number": "7"}
    here = STEPS[name]
    env = {key: re.sub(r"\$\{\{ (.*?) \}\}", lambda m: values[m[1]], text) for key, text in here["env"].items()}
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", here["run"]],
        capture_output=True,
        text=True,
        cwd=home,
        env={**os.environ, "PATH": path, "GH_STORE": str(home / "comments.json"), **env, **environment},
        timeout=120,
        check=False,
    )


def files(home):
    return {"GITHUB_STEP_SUMMARY": str(home / "summary"), "GITHUB_OUTPUT": str(home / "output")}


@pytest.mark.parametrize(("run", "code", "verdict"), [("same", 0, "PASS"), ("worse", 3, "BLOCK")])
def test_the_action_ends_as_the_verdict_says(home, run, code, verdict):
    done = step(home, "Gate", {"run": run, "out": "a report"}, GITHUB_ACTIONS="true", **files(home))
    assert done.returncode == code, done.stderr
    assert (home / "output").read_text() == f"verdict={verdict}\n"
    assert (home / "summary").read_text() == (home / "a report" / "summary.md").read_text()
    assert ("::error title=gate BLOCK::" in done.stdout) == (verdict == "BLOCK")


def test_the_action_hands_every_argument_over_as_it_stands(home):
    done = step(home, "Gate", {"run": "same", "arguments": "--allow=engine\n\n--candidate=a b; touch evil $(id)\n"})
    assert done.returncode == 0, done.stderr
    assert json.loads((home / "gate-report" / "verdict.json").read_text())["allowed"] == ["engine"]
    assert not (home / "evil").exists()


def test_no_step_puts_an_input_into_its_lines():
    for here in STEPS.values():
        assert "${{" not in here.get("run", ""), "an input in a script is a script of whoever sends it"


def test_what_cannot_be_compared_fails_and_says_so_and_leaves_no_earlier_verdict(after_same):
    assert (after_same / "gate-report" / "items_flipped.csv").exists()
    (after_same / "gate.lock.json").write_text("{}")
    done = step(after_same, "Gate", {"run": "same"}, **files(after_same))
    assert done.returncode == 5
    assert "is not a valid lock" in done.stderr
    assert (after_same / "output").read_text() == "verdict=NOT COMPARABLE\n"
    assert ElementTree.parse(after_same / "gate-report" / "junit.xml").getroot().get("errors") == "1"
    assert not (after_same / "gate-report" / "items_flipped.csv").exists()


def test_a_crash_is_no_verdict(after_same):
    done = step(after_same, "Gate", {"run": "nowhere"}, **files(after_same))
    assert done.returncode == 2
    assert (after_same / "output").read_text() == "verdict=NOT COMPARABLE\n"
    assert "run nowhere does not exist" in (after_same / "summary").read_text()


def test_an_attempt_is_kept_whatever_the_verdict():
    """The cache action of one step saves only after a success, so just a BLOCK would be lost."""
    before, after = STEPS["Earlier attempts"], STEPS["Keep this attempt"]
    assert before["uses"].startswith("actions/cache/restore@")
    assert after["uses"].startswith("actions/cache/save@")
    assert after["if"] == "always()"
    assert before["with"]["path"] == after["with"]["path"]
    assert before["with"]["key"] == after["with"]["key"]
    assert before["with"]["key"].startswith(before["with"]["restore-keys"].strip())
    names = list(STEPS)
    assert names.index("Earlier attempts") < names.index("Gate") < names.index("Keep this attempt")


def test_no_verdict_is_no_success(after_same):
    done = step(after_same, "Gate", {"run": "same", "arguments": "--help"}, **files(after_same))
    assert done.returncode == 1
    assert "the gate gave no verdict" in done.stderr
    assert not (after_same / "output").exists()


def test_attempts_are_kept_where_the_cache_takes_them(after_worse):
    cached = STEPS["Earlier attempts"]["with"]["path"].replace("${{ inputs.lock }}", "gate.lock.json")
    assert len(list((after_worse / cached).iterdir())) == 1


def test_one_comment_is_written_again(after_worse):
    def commented():
        done = step(after_worse, "Comment", {"token": "secret"})
        assert done.returncode == 0, done.stderr
        comments = json.loads((after_worse / "comments.json").read_text())
        assert list(comments) == ["3", "4"]
        assert comments["3"] == "thanks!"
        assert comments["4"] == (after_worse / "gate-report" / "summary.md").read_text()
        return comments["4"]

    first = commented()
    step(after_worse, "Gate", {"run": "same"})
    assert commented() != first


def test_a_comment_that_cannot_be_written_changes_nothing(after_worse):
    for environment in ({"GH_FAILS": "1"}, {"PATH": "/usr/bin:/bin"}):
        done = step(after_worse, "Comment", {"token": "secret"}, **environment)
        assert done.returncode == 0
        assert "::warning::the comment could not be written" in done.stdout
    (after_worse / "gate-report" / "summary.md").unlink()
    assert "::warning::no summary" in step(after_worse, "Comment", {"token": "secret"}).stdout


def test_the_script_alone_serves_any_ci(home):
    environment = {**os.environ, "HARNESS": HARNESS}
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ACTIONS"):
        environment.pop(name, None)
    for run, code in (("same", 0), ("worse", 3)):
        done = subprocess.run(
            [CI / "gate.sh", run, "--out=r"], cwd=home, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert (home / "r" / "verdict.json").exists()
