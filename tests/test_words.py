"""The check of words that users stumble over finds what it is for."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def check(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "ci" / "words", *arguments], capture_output=True, text=True, check=False
    )


def test_nothing_that_users_see_holds_a_banned_word():
    done = check()
    assert done.returncode == 0, done.stdout


def test_a_planted_word_is_found_in_a_message_a_docstring_and_a_document(tmp_path):
    (tmp_path / "a.py").write_text('"""Rows held against one."""\n\nraise ValueError(f"{1} is no run")\n')
    (tmp_path / "a.md").write_text("A difference is\nseen from 12.3 points.\nThe data cannot be had.\n")
    done = check(tmp_path / "a.py", tmp_path / "a.md")
    assert done.returncode == 1
    assert [line.split(": ", 1)[1] for line in done.stdout.splitlines()] == [
        "'held against'; write: compared with",
        "'is no run'; write: is not a ...",
        "'seen from 1'; write: detectable difference (80 % power)",
        "'cannot be had'; write: cannot be loaded",
    ]
    assert f"{tmp_path / 'a.md'}:2: " in done.stdout
