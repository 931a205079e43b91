import pytest

from harness.errors import BadConfig, UnknownName
from harness.training import strategies
from harness.types import Budget, StageSpec


def test_a_sequence_shares_one_budget_equally_unless_told():
    strategy = strategies.parse_strategy("kd+rl")
    assert strategy.stages == (StageSpec("kd", 0.5), StageSpec("rl", 0.5))
    assert [strategies.share_of(stage, Budget(10.0)) for stage in strategy.stages] == [5.0, 5.0]


def test_stated_shares_are_kept_and_the_rest_is_divided():
    assert strategies.parse_strategy("kd:0.3+rl:0.7").stages == (StageSpec("kd", 0.3), StageSpec("rl", 0.7))
    assert [s.share for s in strategies.parse_strategy("sft:0.5+kd+rl").stages] == [0.5, 0.25, 0.25]


def test_variants_and_joint_losses_are_trainers_of_their_own():
    assert strategies.parse_strategy("sft.lora:0.25+kd.onpolicy").stages == (
        StageSpec("sft.lora", 0.25),
        StageSpec("kd.onpolicy", 0.75),
    )
    assert strategies.parse_strategy("kd&rl").stages == (StageSpec("kd&rl", 1.0),)
    assert strategies.parse_strategy("sft+rl&kd").stages == (StageSpec("sft", 0.5), StageSpec("kd&rl", 0.5))


@pytest.mark.parametrize("text", ["sft&rl", "sft.x", "kd&rl&sft"])
def test_a_joint_loss_or_variant_nobody_offers_is_named(text):
    with pytest.raises(UnknownName, match=f"unknown trainer {text!r}"):
        strategies.parse_strategy(text)


def test_an_unknown_trainer_is_named_with_a_suggestion():
    with pytest.raises(
        UnknownName, match=r"unknown trainer 'sftt': did you mean 'sft'\? known trainers: .*kd.*rl.*sft"
    ):
        strategies.parse_strategy("kd+sftt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kd:0.3+rl:0.3", "shares must add up to 1, got 0.6"),
        ("kd:1+rl", "shares must add up to 1"),
        ("kd:x+rl", r"a share must be a number in \(0, 1\], got 'x'"),
        ("kd:-1+rl", "got '-1'"),
        ("kd+", "a stage has no trainer"),
    ],
)
def test_bad_shares_are_refused(text, message):
    with pytest.raises(BadConfig, match=message):
        strategies.parse_strategy(text)


def test_a_list_is_read_in_order_and_repeats_are_refused():
    assert [s.name for s in strategies.parse_list("sft, kd+rl")] == ["sft", "kd+rl"]
    with pytest.raises(BadConfig, match="'sft' is named twice; use --seeds"):
        strategies.parse_list("sft,kd,sft")
    with pytest.raises(BadConfig, match="no strategy given"):
        strategies.parse_list(" , ")
