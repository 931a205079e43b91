"""The package of CONTRIBUTING.md, installed by pip exactly as it is printed there, and run; nothing here knows it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness_tasks import pico

ROOT = Path(__file__).parent.parent
HARNESS = Path(sys.executable).parent / "harness"
BUDGET = 4e10
RECIPE = f"""
base = "{pico.BASE}"
tasks = ["coins"]
budget = {{ amount = {BUDGET} }}
dev_items = 4
[trainers.dpo]
learning_rate = 1e-4
batch_size = 8
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the package's sources, and `site`, into which pip installed them and nothing else."""
    folder = tmp_path_factory.mktemp("package")
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:toml|python)\n# (\S+)\n(.*?)^```", text, re.M | re.S)
    assert [name for name, _ in blocks] == ["pyproject.toml", "coins.py", "dpo.py", "echo.py"]
    (folder / "source").mkdir()
    for name, program in blocks:
        (folder / "source" / name).write_text(program, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "-qq"]
    subprocess.run([*pip, "--target", folder / "site", folder / "source"], check=True, capture_output=True)
    assert {path.name for path in (folder / "site").glob("*.py")} == {"coins.py", "dpo.py", "echo.py"}
    (folder / "mine.toml").write_text(RECIPE)
    return folder


def run(package, *command):
    environment = {**os.environ, "PYTHONPATH": str(package / "site")}
    return subprocess.run([*command], cwd=package, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_trainer_is_compared_at_the_same_budget_on_the_task(package):
    done = run(package, HARNESS, "compare", "--recipe", "mine.toml", "--strategies", "dpo", "--limit", "4",
               "--engine", "transformers", "--run", "runs/mine", "--out", "board.md")  # fmt: skip
    assert done.returncode == 0, done.stderr
    board = json.loads((package / "board.json").read_text())
    assert board["tasks"] == ["coins"]
    rows = {row["name"]: row for row in board["rows"]}
    assert set(rows) == {"base", "dpo"}
    (trained,) = rows["dpo"]["runs"]
    assert trained["digest"] != rows["base"]["runs"][0]["digest"]
    assert 0.8 * BUDGET < trained["cost"]["flops"] <= 1.02 * BUDGET
    assert trained["cost"]["flops_generate"] * 3 == trained["cost"]["flops_train"]  # the reference reads once


def test_the_engine_is_evaluated_with_its_option(package):
    done = run(package, HARNESS, "eval", "--engine", "echo", "--engine-arg", "shout=true", "--task", "coins",
               "--model", pico.BASE, "--limit", "2", "--run", "runs/echo")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (records,) = (package / "runs" / "echo").glob("evals/*/records-*.jsonl")
    first = json.loads(records.read_text().splitlines()[0])
    assert (first["engine"], first["text"].split()[:2]) == ("echo 1 none", ["THAT?", "ARE"])


def contracts(package, names):
    """The shipped contract tests over the plug-ins of these names."""
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-k", names]
    return run(package, sys.executable, "-m", "pytest", "--pyargs", "harness.testing", *options)


@pytest.mark.slow
def test_all_three_keep_the_contracts_that_are_shipped(package):
    done = contracts(package, "coins or dpo or echo")
    assert done.returncode == 0, done.stdout[-3000:]
    summary = done.stdout.splitlines()[-1]
    assert int(re.search(r"(\d+) passed", summary)[1]) >= 20, summary
    assert "skipped" not in summary


def test_a_plug_in_that_breaks_its_contract_fails_the_tests_that_are_shipped(package):
    echo = package / "site" / "echo.py"
    program = echo.read_text()
    echo.write_text(program.replace("kept = words[: request.params.max_tokens]", "kept = words"))
    done = contracts(package, "echo")
    echo.write_text(program)
    assert done.returncode == 1, done.stdout[-3000:]
    assert "test_every_request_gets_one_generation_with_its_own_length" in done.stdout


def test_without_the_package_its_names_are_unknown(tmp_path):
    (tmp_path / "mine.toml").write_text(RECIPE.replace('"coins"', '"pico_math"').split("[trainers.dpo]")[0])
    command = [HARNESS, "compare", "--recipe", "mine.toml", "--strategies", "dpo", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown trainer 'dpo'" in done.stderr
