"""What the command line shows while work runs."""

import time

import numpy as np
import pytest

from harness.cli import progress
from harness.evaluation.forecast import Forecast


@pytest.fixture
def often(monkeypatch):
    """Lines and the bar are written several times a second."""
    monkeypatch.setattr(progress, "_LOG_EVERY_S", 0.3)
    monkeypatch.setattr(progress, "_REFRESH_S", 0.05)


@pytest.mark.usefixtures("often")
def test_a_log_gets_a_line_although_nothing_finishes(capsys):
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


@pytest.mark.usefixtures("often")
def test_a_step_that_an_earlier_run_made_says_nothing_of_the_time_that_is_left(capsys):
    shown = progress.ShellProgress(total=4.0)
    for name in ("gsm8k", "mbpp"):
        with shown.step(name, 1.0):
            pass
    with shown.step("math500", 1.0) as tick:
        tick(0.5, "")
        time.sleep(0.6)
    shown.close()
    assert " 25 % after 0:00, about 0:0" in capsys.readouterr().err  # half of one of two


@pytest.mark.usefixtures("often")
def test_the_time_that_is_left_is_not_told_from_other_steps_while_one_stands_at_nothing(capsys):
    shown = progress.ShellProgress(total=2.0)
    with shown.step("evaluate base", 1.0) as tick:
        tick(0.5, "")
        time.sleep(1.2)
    with shown.step("train sft", 1.0) as tick:
        time.sleep(0.6)
        tick(0.2, "")
        time.sleep(0.6)
    shown.close()
    lines = [line for line in capsys.readouterr().err.splitlines() if "%" in line]
    assert {("left" in line) for line in lines if "train sft 0 %" in line} == {False}
    assert {("left" in line) for line in lines if "train sft 20 %" in line or "evaluate base 50 %" in line} == {True}


def test_the_thread_that_shows_progress_ends_with_it():
    shown = progress.ShellProgress(total=1.0)
    shown.close()
    assert not shown._refreshing.is_alive()


def reports(lengths, most, slots, tokens_per_s, read_s=0.0, every_s=4):
    """(seconds so far, seconds left as forecast) every so many seconds; the engine runs `slots` replies at a time.

    It reads four prompts at most in a step, each in `read_s`.
    """
    waiting, running, clock, found = list(lengths), [], [0.0], []
    forecast = Forecast(len(lengths), most, lambda: clock[0])
    while waiting or running:
        begin = min(4 if read_s else slots, len(waiting), slots - len(running))
        running += [[0, waiting.pop(0)] for _ in range(begin)]
        clock[0] += len(running) / tokens_per_s(len(running)) + begin * read_s
        for reply in running:
            reply[0] += 1
        for _, length in (reply for reply in running if reply[0] >= reply[1]):
            forecast.finished(length, length >= most)
        running = [reply for reply in running if reply[0] < reply[1]]
        if clock[0] > every_s * len(found) + 1:
            found.append((clock[0], forecast.now([n for n, _ in running], 0, len(lengths)).left_s))
    return found, clock[0]


@pytest.mark.parametrize("slots", [16, 64])
@pytest.mark.parametrize(
    ("spread", "most"),
    [(0.5, 1024), (0.8, 1024), (0.5, 150)],
    ids=["lengths of one kind", "of many kinds", "half of them cut off"],
)
def test_the_time_that_an_evaluation_takes_is_known_from_its_first_quarter_on(spread, most, slots):
    drawn = np.random.default_rng(0).lognormal(5, spread, 200)
    lengths = [int(min(most, length)) for length in drawn]
    found, total = reports(lengths, most, slots, lambda n: 400 * n / (n + 10))
    late = [(spent, left) for spent, left in found if spent > total / 4]
    assert len(late) > 10
    assert all(left is not None and abs(spent + left - total) < 0.3 * total for spent, left in late), (total, late)


@pytest.mark.parametrize("slots", [64, 256])
def test_prompts_that_take_half_of_the_time_to_read_are_told_from_replies(slots):
    lengths = [int(min(1024, length)) for length in np.random.default_rng(0).lognormal(5.5, 0.5, 200)]
    found, total = reports(lengths, 1024, slots, lambda n: 100 * n / (n + 10), read_s=1.5, every_s=12)
    late = [(spent, left) for spent, left in found if spent > total / 3 and left is not None]
    assert len(late) > 0.4 * len(found), "known once some replies have ended"
    assert all(abs(spent + left - total) < 0.3 * total for spent, left in late), (total, late)


def test_the_time_of_likelihoods_is_known_from_the_start_with_that_of_loading_the_model():
    clock, n, step, load_s = [100.0], 1600, 13, 20.0  # 13 requests are read in a step, and end there
    forecast = Forecast(n, 1, lambda: clock[0])
    clock[0] += load_s
    forecast.begin()
    total, continuations = load_s + n / step * 1.3, np.random.default_rng(0).integers(1, 9, n)
    for first in range(0, n - step, step):
        clock[0] += 1.3
        for length in continuations[first : first + step]:
            forecast.finished(int(length), False)
        standing = forecast.now([], first + step, n)
        assert abs(standing.spent_s / standing.fraction - total) < 0.02 * total


def test_no_time_is_named_before_anything_can_be_known():
    forecast = Forecast(100, 512, lambda: 10.0)
    assert forecast.now([], 0, 100).left_s is None
    standing = forecast.now([5] * 64, 0, 100)
    assert (standing.left_s, standing.fraction, str(standing)) == (None, 0.0, "0/100, 320 tokens, 64 running")
