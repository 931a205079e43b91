"""The built wheel works by itself, in an empty folder, far from this repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds the wheel's content alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-c", "import setuptools.build_meta as b; print(b.build_wheel('..'))"]
    made = subprocess.run(build, cwd=source, capture_output=True, text=True, check=True).stdout.split()[-1]
    site = folder / "site"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", folder / made, site], check=True)
    (folder / "empty").mkdir()
    return folder


def run(installed, code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=installed / "empty",
        env={**os.environ, "PYTHONPATH": str(installed / "site")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_three_packages_come_from_the_wheel(installed):
    code = "import harness as h, harness_plugins as p, harness_tasks as t; print(h.__file__, p.__file__, t.__file__)"
    found = run(installed, code).stdout.split()
    assert len(found) == 3
    assert all(path.startswith(str(installed / "site")) for path in found)


def test_the_command_finds_recipe_models_and_tasks_in_the_wheel(installed):
    shell = "import sys; from harness.cli.main import main; sys.argv[0] = 'harness'; main()"
    plan = run(installed, shell, "compare", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert str(installed / "site" / "harness_tasks" / "pico" / "base") in plan.stdout
    assert "evaluate 6 checkpoints" in plan.stdout
    assert "[user]" in run(installed, shell, "tasks", "show", "pico_code").stdout
    assert "humaneval" in run(installed, shell, "tasks", "show", "humaneval").stdout
    assert list((installed / "empty").iterdir()) == []
