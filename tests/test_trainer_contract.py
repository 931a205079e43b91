"""Every installed trainer: what a stage may rely on, on a tiny random model and a reward made here."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tiny_models import make_model

from harness import registry
from harness.budget import Meter
from harness.checkpoints import matmul_params, open_checkpoint
from harness.protocols import TrainData
from harness.types import Budget, Checkpoint, Cost, Message, Sample, Stage, Trained, TrainRow

TRAINERS = registry.names("trainer")
TINY = {  # small enough for a second a run
    "sft": {"learning_rate": 3e-3, "batch_size": 8, "micro_batch": 4, "max_tokens": 64},
    "kd": {"learning_rate": 3e-3, "batch_size": 8, "micro_batch": 8, "max_tokens": 64},
    "rl": {"learning_rate": 2e-3, "prompts_per_step": 4, "group_size": 8, "micro_batch": 32, "max_tokens": 12},
}
BUDGET = {"sft": 5_000.0, "kd": 5_000.0, "rl": 25_000.0}  # tokens; about 20 steps


def sums() -> tuple[TrainRow, ...]:
    """Sixty ASCII additions with their solutions."""
    draw = random.Random(0)
    pairs = [(draw.randrange(10), draw.randrange(10)) for _ in range(60)]
    return tuple(
        TrainRow("add", Sample(f"add/train/{i}", (Message("user", f"{a}+{b}"),), str(a + b)), f"{a}+{b}={a + b}")
        for i, (a, b) in enumerate(pairs)
    )


def digits(_row: TrainRow, text: str) -> float:
    """Share of the reply that is digits: easy to raise."""
    return sum(c in "0123456789" for c in text) / max(len(text), 1)


class Fatal(Meter):
    """Kills this process, as power loss would, in the step that spends 60 % of the budget."""

    def train(self, tokens: int, trained: int, steps: int = 1) -> None:
        super().train(tokens, trained, steps)
        if self.fraction > 0.6:
            os.kill(os.getpid(), signal.SIGKILL)


def run(name, base, out, *, seed=0, reward=digits, rows=None, meter=Meter, budget=None, **config):
    """(what the trainer hands back, the meter) of one stage."""
    trainer = registry.load("trainer", name)()
    config = asdict(trainer.Config(**(TINY[name] | config)))
    parent = open_checkpoint(base)
    spend = Budget(BUDGET[name] if budget is None else budget, "tokens")
    stage = Stage(name, config, parent.digest, parent.tokenizer_digest, "rows", ("add@1",), seed, spend, {})
    out.mkdir(parents=True, exist_ok=True)
    counted = meter(spend, matmul_params(base), 0, out / "progress.jsonl")
    trained = trainer.train(stage, parent, TrainData(sums() if rows is None else rows, reward), counted, out / "work")
    return trained, counted


def digest(trained: Trained) -> str:
    return open_checkpoint(trained.path).digest


def series(out: Path, key: str) -> list[float]:
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if line.get(key) is not None]


def comparable(cost: Cost) -> Cost:
    """Without what the clock and the machine decide."""
    return replace(cost, wall_s=0.0, verifier_cpu_s=0.0, peak_rss_bytes=0)


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"), 0)


@pytest.fixture(scope="session")
def first(base, tmp_path_factory):
    """One finished stage of each trainer, seed 0: (trained, meter, folder) by name; each is trained once."""
    done: dict[str, tuple[Trained, Meter, Path]] = {}

    def get(name: str) -> tuple[Trained, Meter, Path]:
        if name not in done:
            out = tmp_path_factory.mktemp(name)
            done[name] = (*run(name, base, out), out)
        return done[name]

    return get


@pytest.mark.parametrize("name", TRAINERS)
def test_a_stage_ends_in_a_full_new_checkpoint_and_leaves_its_parent_alone(name, base, first):
    parent = open_checkpoint(base)
    trained, _, out = first(name)
    assert trained == Trained(out / "work" / "final")
    checkpoint = open_checkpoint(trained.path)
    assert checkpoint.digest != parent.digest
    assert checkpoint.tokenizer_digest == parent.tokenizer_digest
    assert {f.name for f in trained.path.iterdir()} == {f.name for f in base.iterdir()}
    assert open_checkpoint(base) == Checkpoint(base.resolve(), parent.digest, parent.tokenizer_digest)
    assert not (out / "work" / "resume").exists()


@pytest.mark.parametrize("name", TRAINERS)
def test_the_new_checkpoint_loads_with_the_parents_tensor_names_in_float32(name, base, first):
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    def names(path):
        with safe_open(path / "model.safetensors", "pt") as file:
            return {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118

    trained, _, _ = first(name)
    assert names(trained.path) == names(base)
    assert set(names(base).values()) == {"F32"}
    model = AutoModelForCausalLM.from_pretrained(trained.path)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight  # tied, as in the parent


@pytest.mark.parametrize("name", TRAINERS)
def test_the_budget_is_spent_and_passed_by_less_than_one_step(name, first):
    _, meter, out = first(name)
    used = [0.0, *series(out, "used")]
    assert meter.exhausted
    assert len(used) == 1 + meter.cost.steps
    assert used[-2] < meter.budget.amount <= used[-1] == meter.used


@pytest.mark.parametrize("name", TRAINERS)
def test_the_learning_rate_warms_up_and_decays_with_the_budget(name, first):
    _, _, out = first(name)
    rates = series(out, "lr")
    peak = TINY[name]["learning_rate"]
    assert 0 < rates[0] < peak
    assert max(rates) > 0.9 * peak
    assert rates[-1] < 0.05 * peak


def test_sft_counts_real_tokens_and_trains_completions_with_their_end_of_turn(first):
    _, meter, _ = first("sft")
    # "<|im_start|>user\na+b<|im_end|>\n<|im_start|>assistant\n" is 22 tokens; "a+b=c", <|im_end|>, "\n" 7 or 8
    rows = meter.cost.steps * 8
    assert meter.cost.train_tokens == meter.cost.trained_tokens + 22 * rows
    assert 7 * rows <= meter.cost.trained_tokens <= 8 * rows
    assert meter.cost.unique_prompts == 60
    assert meter.cost.generated_tokens == 0


def test_rl_charges_sampling_and_the_update_over_the_same_tokens(first):
    _, meter, _ = first("rl")
    cost = meter.cost
    assert cost.rollouts == cost.steps * 32
    assert cost.trained_tokens == cost.generated_tokens
    assert cost.train_tokens == cost.generated_tokens + cost.generate_prompt_tokens
    assert cost.generate_prompt_tokens == 22 * cost.rollouts
    assert cost.rollouts < cost.generated_tokens <= 12 * cost.rollouts
    assert cost.flops_train == 6.0 * meter.n_params * cost.train_tokens


@pytest.mark.parametrize("name", ["sft", "rl"])
def test_one_seed_repeats_bit_for_bit_and_another_differs(name, base, first, tmp_path):
    trained, meter, _ = first(name)
    again, counted = run(name, base, tmp_path / "again")
    other, _ = run(name, base, tmp_path / "other", seed=1)
    assert digest(again) == digest(trained)
    assert comparable(counted.cost) == comparable(meter.cost)
    assert digest(other) != digest(trained)


def test_two_rl_seeds_sample_different_rollouts_of_one_prompt(base, tmp_path):
    texts: dict[int, list[str]] = {}
    for seed in (0, 1):
        seen = texts.setdefault(seed, [])
        run("rl", base, tmp_path / str(seed), seed=seed, rows=sums()[:1], budget=1.0,
            reward=lambda row, text, seen=seen: seen.append(text) or digits(row, text))  # fmt: skip
    assert sorted(texts[0]) != sorted(texts[1])


@pytest.mark.parametrize("name", ["sft", "rl"])
def test_a_killed_stage_goes_on_to_the_same_weights(name, base, first, tmp_path):
    trained, meter, _ = first(name)
    code = (
        "import sys; from pathlib import Path; import test_trainer_contract as t;"
        "t.run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), meter=t.Fatal)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, name, base, tmp_path], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "work" / "final").exists()
    saved = sorted((tmp_path / "work" / "resume").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    assert len(saved) == 2
    (saved[-1] / "trainer_state.json").write_text('{"epoch"')  # as if the kill had come while this was written
    lines = len(series(tmp_path, "used"))
    resumed, counted = run(name, base, tmp_path)
    assert len(series(tmp_path, "used")) - lines < meter.cost.steps  # it did not begin again
    assert digest(resumed) == digest(trained)
    assert comparable(counted.cost) == comparable(meter.cost)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_finished_stage_is_handed_back_untouched_with_its_cost(name, base, first):
    trained, meter, out = first(name)
    before = digest(trained)
    again, counted = run(name, base, out)
    assert again == trained
    assert digest(again) == before
    assert comparable(counted.cost) == comparable(meter.cost)


@pytest.mark.parametrize("name", ["sft", "rl"])
def test_a_learning_rate_of_zero_gives_back_the_parents_weights(name, base, tmp_path):
    trained, meter = run(name, base, tmp_path, learning_rate=0.0, budget=1.0)
    assert digest(trained) == open_checkpoint(base).digest
    assert meter.cost.steps == 1


def test_a_budget_already_spent_trains_nothing(base, tmp_path):
    trained, meter = run("sft", base, tmp_path, budget=0.0)
    assert digest(trained) == open_checkpoint(base).digest
    assert meter.cost.steps == 0


def test_sft_lowers_the_loss(first):
    losses = series(first("sft")[2], "loss")
    assert losses[-1] < 0.7 * losses[0]


def test_rl_raises_an_easy_reward(first):
    rewards = series(first("rl")[2], "reward")
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.1


def test_rl_on_a_random_reward_raises_nothing(base, tmp_path):
    shares = []

    def noise(row, text):
        shares.append(digits(row, text))
        return random.Random(f"{row.sample.id} {text}").random()

    run("rl", base, tmp_path, reward=noise)
    assert abs(sum(shares[-128:]) - sum(shares[:128])) / 128 < 0.05


def test_rollouts_that_cannot_be_judged_are_left_out_and_groups_without_variance_are_counted(base, tmp_path):
    calls = iter(range(10**6))
    _, meter = run("rl", base, tmp_path, budget=1.0, reward_threads=1,
                   reward=lambda *_: [None, 1.0, 0.0][next(calls) // 8 % 3])  # fmt: skip
    assert meter.cost.zero_advantage == meter.cost.rollouts == 32  # every group is all None, all 1 or all 0


def test_rl_that_can_judge_nothing_ends_as_diverged_with_the_parents_weights(base, tmp_path):
    trained, _ = run("rl", base, tmp_path, reward=lambda *_: None)
    assert trained.status == "diverged"
    assert trained.why == "none of the 32 rollouts of a step could be judged"
    assert digest(trained) == open_checkpoint(base).digest


def test_rl_that_can_judge_no_more_ends_with_its_last_sound_checkpoint(base, tmp_path):
    calls = iter(range(10**6))
    trained, meter = run(
        "rl", base, tmp_path, reward=lambda row, text: digits(row, text) if next(calls) < 192 else None
    )
    assert trained.status == "diverged"
    assert meter.cost.steps == 192 // 32
    assert digest(trained) != open_checkpoint(base).digest


def test_a_loss_that_is_not_finite_ends_as_diverged_with_sound_weights(base, tmp_path):
    trained, meter = run("sft", base, tmp_path, learning_rate=1e30)
    assert trained.status == "diverged"
    assert trained.why == "loss is not finite after step 1"
    assert digest(trained) == open_checkpoint(base).digest  # no checkpoint had been saved before that step
    assert meter.cost.steps == 1


def test_a_reference_model_is_charged_for_what_it_reads(base, tmp_path):
    _, meter = run("rl", base, tmp_path, budget=1.0, kl_coef=0.1)
    assert len(series(tmp_path, "kl")) == 1
    cost = meter.cost
    assert cost.generate_prompt_tokens == 22 * cost.rollouts + cost.train_tokens


def test_rows_too_long_are_refused_above_a_small_share(base, tmp_path):
    with pytest.raises(ValueError, match=r"trainer 'sft': 100\.0% of 60 rows are longer than max_tokens=20, at most 2"):
        run("sft", base, tmp_path, max_tokens=20)


def test_a_few_rows_too_long_are_left_out_whole(base, tmp_path):
    long = replace(sums()[0], sample=replace(sums()[0].sample, id="add/train/long"), completion="1" * 100)
    _, meter = run("sft", base, tmp_path, rows=(*sums(), long))
    assert meter.cost.unique_prompts == 60


def test_a_row_without_completion_is_refused_by_name(base, tmp_path):
    with pytest.raises(ValueError, match="trainer 'kd': row 'add/train/0' has no completion to train on"):
        run("kd", base, tmp_path, rows=tuple(replace(row, completion=None) for row in sums()))


def test_a_template_that_trains_no_end_of_turn_is_refused(base, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(base, bare)
    (bare / "chat_template.jinja").write_text("{% for m in messages %}{{ m['role'] + ':' + m['content'] }}{% endfor %}")
    with pytest.raises(ValueError, match="no end-of-turn token"):
        run("sft", bare, tmp_path / "out")


def test_a_micro_batch_that_does_not_divide_the_step_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match="trainer 'rl': micro_batch must divide 32, got 5"):
        run("rl", base, tmp_path, micro_batch=5)


def test_micro_batches_change_a_step_by_rounding_only(base, tmp_path):
    import torch
    from safetensors.torch import load_file

    whole, _ = run("rl", base, tmp_path / "whole", budget=1.0)
    split, _ = run("rl", base, tmp_path / "split", budget=1.0, micro_batch=8)
    start, a, b = (load_file(path / "model.safetensors") for path in (base, whole.path, split.path))
    moved = math.sqrt(sum(float((a[k] - start[k]).square().sum()) for k in a))
    apart = math.sqrt(sum(float((a[k] - b[k]).square().sum()) for k in a))
    assert torch.is_tensor(a["model.norm.weight"])
    assert apart < 0.05 * moved


def test_vllm_rollouts_follow_the_weights_and_a_stale_engine_fails_the_stage(base, tmp_path):
    code = """
import sys
from pathlib import Path
import test_trainer_contract as t
base, out = Path(sys.argv[1]), Path(sys.argv[2])
t.run("rl", base, out / "sound", rollouts="vllm")
from trl.generation.vllm_generation import VLLMGeneration
VLLMGeneration.sync_weights = lambda self: None
try:
    t.run("rl", base, out / "stale", rollouts="vllm", max_logp_gap=0.01)
except RuntimeError as error:
    (out / "error").write_text(str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, base, tmp_path], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    gaps, rewards = series(tmp_path / "sound", "logp_gap"), series(tmp_path / "sound", "reward")
    assert len(gaps) > 5
    assert max(gaps) < 1e-4  # one dtype, one set of weights
    assert sum(rewards[-2:]) / 2 > sum(rewards[:2]) / 2 + 0.1
    assert "the engine serves other weights" in (tmp_path / "error").read_text()
    assert not (tmp_path / "stale" / "work" / "final").exists()


@pytest.mark.parametrize("name", TRAINERS)
def test_listing_and_importing_a_trainer_loads_no_torch(name):
    code = (
        f"import sys; from harness import registry; registry.load('trainer', {name!r}); 'torch' in sys.modules and 1/0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
