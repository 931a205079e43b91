"""What the command line shows while work runs."""

import time

from harness.cli import progress


def test_a_log_gets_a_line_although_nothing_finishes(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LOG_EVERY_S", 0.3)
    monkeypatch.setattr(progress, "_REFRESH_S", 0.05)
    shown = progress.ShellProgress(total=2.0)
    with shown.step("gsm8k", 1.0) as tick:
        tick(0.5, "3/6")
        time.sleep(1.0)  # no reply comes in
    time.sleep(0.5)  # no step runs
    shown.close()
    lines = capsys.readouterr().err.splitlines()
    beats = [line for line in lines if "gsm8k 50 % (3/6)" in line]
    assert 2 <= len(beats) <= 6, lines
    assert beats[0].startswith(" 25 % after 0:00")
    assert lines[-1].startswith("  gsm8k: done")


def test_the_thread_that_shows_progress_ends_with_it():
    shown = progress.ShellProgress(total=1.0)
    shown.close()
    assert not shown._refreshing.is_alive()
