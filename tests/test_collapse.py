"""When a stage ends early, from made-up rollouts and losses: no torch, no model."""

import pytest

from harness_plugins.trl.collapse import Collapsed, LossWatch, Refused, Rollouts, RolloutWatch

SOUND = Rollouts(n=64, reward=0.4, unread=0.1, clipped=0.1, silent=0.3)


def watch(patience=3):
    return RolloutWatch("rl", patience, 72, 0.95)


def feed(seen, *rollouts):
    for step, r in enumerate(rollouts):
        seen.see(step, r)


def but(**changes):
    return Rollouts(**(vars(SOUND) | changes))


def test_sound_rollouts_go_on_for_ever():
    feed(watch(), *[SOUND] * 50)


def test_groups_without_variance_are_success_where_all_is_solved():
    feed(watch(), *[but(reward=1.0, silent=1.0)] * 50)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (but(clipped=1.0), "more than 95% of the rollouts were cut off at max_tokens=72 in each of the last 3 steps"),
        (but(unread=1.0), "no answer could be read from 95% or more of the rollouts in each of the last 3 steps"),
        (but(silent=1.0), r"no group had any reward variance \(mean reward 0.40\), so nothing was learnt in each"),
    ],
)
def test_a_failure_in_each_of_the_last_steps_is_a_collapse_and_names_the_last_sound_step(bad, why):
    with pytest.raises(Collapsed, match=why) as failure:
        feed(watch(), SOUND, SOUND, bad, bad, bad)
    assert failure.value.since == 1
    feed(watch(), SOUND, bad, bad, SOUND, bad, bad, SOUND)  # not in a row


def test_a_reward_that_falls_to_a_quarter_of_its_best_is_a_collapse():
    with pytest.raises(Collapsed, match=r"reward fell from 0\.60 to 0\.1[0-9]* .*lower rl.learning_rate"):
        feed(watch(), *[but(reward=0.6)] * 3, *[but(reward=0.1)] * 3)
    feed(watch(), *[but(reward=0.02)] * 3, *[but(reward=0.0)] * 3)  # nothing to fall from


@pytest.mark.parametrize("bad", [but(clipped=1.0), but(unread=1.0)])
def test_the_first_rollouts_decide_whether_there_is_anything_to_learn(bad):
    with pytest.raises(Refused, match="sampled from the start checkpoint"):
        watch().see(0, bad, "a reply")
    with pytest.raises(Refused, match="one of them: 'a reply'"):
        watch().see(0, but(unread=1.0), "a reply")


def test_a_watch_goes_on_from_its_saved_state():
    bad = but(silent=1.0)
    one, two = watch(), watch()
    feed(one, SOUND, bad, bad)
    two.restore(one.state())
    with pytest.raises(Collapsed):
        two.see(3, bad)


def test_a_loss_that_doubles_is_a_collapse_and_one_that_falls_is_not():
    rising = LossWatch(2)
    for step, loss in enumerate([1.0, 1.0, 0.5, 3.0]):
        rising.see(step, loss, None)
    with pytest.raises(Collapsed, match=r"the loss rose from 1 to 3 \(means of 2 steps\): lower learning_rate"):
        rising.see(4, 3.0, None)
    falling = LossWatch(2)
    for step, loss in enumerate([2.0, 1.0, 0.5, 0.4, 0.8]):
        falling.see(step, loss, None)


@pytest.mark.parametrize("kl", [11.0, float("nan"), float("inf")])
def test_a_policy_too_far_from_its_start_is_a_collapse(kl):
    with pytest.raises(Collapsed, match="nats per token away from its start, the limit is max_kl=10"):
        LossWatch(max_kl=10.0).see(1, None, kl)
