"""A trainer of a stranger's package, installed by pip and compared beside the built-in ones; nothing here knows it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness_tasks import pico

PACKAGE = Path(__file__).parent / "third_party_dpo"
BUDGET = 4e10
RECIPE = f"""
base = "{pico.BASE}"
tasks = ["pico_math"]
budget = {{ amount = {BUDGET} }}
dev_items = 4
[trainers.noop]
batch_size = 8
[trainers.dpo]
learning_rate = 1e-4
batch_size = 8
"""


def test_an_installed_trainer_is_listed_trained_at_the_same_budget_and_ranked(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(PACKAGE, source)  # a build writes beside its sources
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "-qq"]
    subprocess.run([*pip, "--target", site, source], check=True, capture_output=True)
    (tmp_path / "mine.toml").write_text(RECIPE)
    harness = Path(sys.executable).parent / "harness"
    done = subprocess.run(
        [harness, "compare", "--recipe", "mine.toml", "--strategies", "noop,dpo", "--engine", "transformers",
         "--limit", "4", "--run", "runs/mine", "--out", "board.md"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "board.json").read_text())["rows"]}
    assert set(rows) == {"base", "noop", "dpo"}
    (run,) = rows["dpo"]["runs"]
    assert run["digest"] != rows["base"]["runs"][0]["digest"] == rows["noop"]["runs"][0]["digest"]
    assert 0.8 * BUDGET < run["cost"]["flops"] <= 1.02 * BUDGET
    assert run["cost"]["flops_generate"] * 3 == run["cost"]["flops_train"]  # the reference model: one forward pass


def test_without_the_package_its_name_is_unknown(tmp_path):
    (tmp_path / "mine.toml").write_text(RECIPE.replace("[trainers.dpo]\nlearning_rate = 1e-4\nbatch_size = 8\n", ""))
    harness = Path(sys.executable).parent / "harness"
    done = subprocess.run(
        [harness, "compare", "--recipe", tmp_path / "mine.toml", "--strategies", "dpo", "--dry-run"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "unknown trainer 'dpo'" in done.stderr
