"""The contract of every installed trainer, as it is shipped; and what the same stages of the built-in ones show."""

import json

import pytest

from harness.checkpoints import matmul_params, open_checkpoint
from harness.testing.test_trainer_contract import *  # noqa: F403
from harness.testing.training import Given, digest, run, series, settings, snapshots
from harness.types import Cost, Trained

BUILT_IN = (
    "sft",
    "kd",
    "kd.logits",
    "kd.onpolicy",
    "rl",
    "rl.dr_grpo",
    "rl.dapo",
    "kd&rl",
    "sft.lora",
    "kd.lora",
    "rl.lora",
)


@pytest.mark.parametrize("name", ["sft", "rl", "kd.logits", "kd.onpolicy", "kd&rl"])
def test_nothing_is_left_of_the_resumable_checkpoints(name, first):
    trained, _, out = first(name)
    assert trained == Trained(out / "work" / "final")
    assert not (out / "work" / "resume").exists()


@pytest.mark.parametrize("name", BUILT_IN)
def test_three_checkpoints_on_the_way_are_kept_with_what_they_had_cost(name, first):
    trained, meter, _ = first(name)
    kept = sorted((trained.path.parent / "snapshots").iterdir())
    assert [folder.name for folder in kept] == ["025", "050", "075"]
    used = [Cost(**json.loads((folder / "cost.json").read_text())).tokens for folder in kept]
    assert used == sorted(used)
    assert used[-1] < meter.used
    assert len({*snapshots(trained).values(), digest(trained)}) == 4


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_learning_rate_warms_up_and_decays_with_the_budget(name, first):
    _, _, out = first(name)
    rates = series(out, "lr")
    peak = settings(name)["learning_rate"]
    assert 0 < rates[0] < peak
    assert max(rates) > 0.9 * peak
    assert rates[-1] < 0.1 * peak


def test_sft_counts_real_tokens_and_trains_completions_with_their_end_of_turn(first):
    _, meter, _ = first("sft")
    # "<|im_start|>user\na+b<|im_end|>\n<|im_start|>assistant\n" is 22 tokens; "a+b=c", <|im_end|>, "\n" 7 or 8
    rows = meter.cost.steps * 8
    assert meter.cost.train_tokens == meter.cost.trained_tokens + 22 * rows
    assert 7 * rows <= meter.cost.trained_tokens <= 8 * rows
    assert meter.cost.unique_prompts == 60
    assert meter.cost.generated_tokens == 0


def test_doing_nothing_gives_back_the_parents_weights(first, base):
    trained, meter, _ = first("noop")
    assert digest(trained) == open_checkpoint(base).digest
    assert meter.cost.steps == 1


@pytest.mark.parametrize(("unit", "amount", "rows"), [("tokens", 130.0, 4), ("flops", 80.0, 2), ("tokens", 5.0, 1)])
def test_doing_nothing_costs_no_more_than_the_budget_if_one_row_does_not(unit, amount, rows, base, tmp_path):
    per_token = 6.0 * matmul_params(base) if unit == "flops" else 1.0
    _, meter = run("noop", base, tmp_path, Given(budget=amount * per_token, unit=unit))
    assert meter.cost.steps == 1
    assert 29 * rows <= meter.cost.train_tokens <= 30 * rows  # a row has 29 or 30, a step 8 rows, 4 at a time


def test_rl_charges_sampling_and_the_update_over_the_same_tokens(first):
    _, meter, _ = first("rl")
    cost = meter.cost
    assert cost.rollouts == cost.steps * 32
    assert cost.trained_tokens == cost.generated_tokens
    assert cost.train_tokens == cost.generated_tokens + cost.generate_prompt_tokens
    assert cost.generate_prompt_tokens == 22 * cost.rollouts
    assert cost.rollouts < cost.generated_tokens <= 12 * cost.rollouts
    assert cost.flops_train == 6.0 * meter.n_params * cost.train_tokens


def test_sft_lowers_the_loss(first):
    losses = series(first("sft")[2], "loss")
    assert losses[-1] < 0.7 * losses[0]


def test_rl_raises_an_easy_reward(first):
    rewards = series(first("rl")[2], "reward")
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.1


def test_the_teachers_scores_are_made_once_and_charged_to_each_stage(base, first, tmp_path):
    _, meter, _ = first("kd.logits")
    (kept,) = (base.parent / "shared").glob("logprobs-*/tokens.npy")
    made = kept.stat().st_mtime_ns
    _, again = run("kd.logits", base, tmp_path, Given(seed=5))
    assert kept.stat().st_mtime_ns == made
    assert again.cost.scored_tokens == meter.cost.scored_tokens > 0
    assert meter.cost.flops_teacher == 2.0 * meter.n_teacher_params * meter.cost.scored_tokens


def test_distillation_moves_the_student_to_the_teacher(first):
    for name in ("kd.logits", "kd.onpolicy"):
        losses = series(first(name)[2], "loss")
        assert losses[-1] < 0.8 * losses[0], name
    kl = series(first("kd&rl")[2], "teacher_kl")
    assert sum(kl[-3:]) < sum(kl[:3])


def test_an_adapter_costs_two_thirds_of_a_full_step(first):
    _, full, _ = first("sft")
    _, low, _ = first("sft.lora")
    assert low.cost.train_tokens == full.cost.train_tokens
    assert low.cost.flops_train == pytest.approx(full.cost.flops_train * 2 / 3)
