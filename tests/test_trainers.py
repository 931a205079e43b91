"""The built-in trainers, beside the contract that all keep: losses, costs, refusals, collapse."""

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from harness import registry
from harness.checkpoints import open_checkpoint
from harness.errors import TrainerError
from harness.testing import test_trainer_contract as contract
from harness.testing.training import Given, budget_of, digest, digits, graded, run, series, snapshots, sums
from harness.training.run_stage import (
    Material,
    StageEnvironment,
    StageSettings,
    launcher,
    plan_stage,
    resolve_config,
    run_stage,
)
from harness.training.stage_process import use_deterministic_algorithms
from harness.types import Budget, Score, Trained, TrainRow
from harness_tasks import pico

base = contract.base  # a fixture
FULL = ("sft", "kd", "kd.logits", "kd.onpolicy", "rl", "rl.dr_grpo", "rl.dapo", "kd&rl")


def test_two_rl_seeds_sample_different_rollouts_of_one_prompt(base, tmp_path):
    texts: dict[int, list[str]] = {}
    for seed in (0, 1):
        seen = texts.setdefault(seed, [])
        run(
            "rl",
            base,
            tmp_path / str(seed),
            Given(
                seed=seed,
                rows=sums()[:1],
                budget=1.0,
                judge=graded(lambda row, text, seen=seen: seen.append(text) or digits(row, text)),
            ),
        )
    assert sorted(texts[0]) != sorted(texts[1])


@pytest.mark.parametrize("name", FULL)
def test_a_learning_rate_of_zero_gives_back_the_parents_weights(name, base, tmp_path):
    trained, meter = run(name, base, tmp_path, Given(budget=2_000.0 if name == "kd.logits" else 1.0), learning_rate=0.0)
    assert digest(trained) == open_checkpoint(base).digest
    assert meter.cost.steps >= 1


def test_a_budget_already_spent_trains_nothing(base, tmp_path):
    trained, meter = run("sft", base, tmp_path, Given(budget=0.0))
    assert digest(trained) == open_checkpoint(base).digest
    assert meter.cost.steps == 0


def test_rl_on_a_random_reward_raises_nothing(base, tmp_path):
    shares = []

    def noise(row, text):
        shares.append(digits(row, text))
        return random.Random(f"{row.sample.id} {text}").random()

    run("rl", base, tmp_path, Given(judge=graded(noise)))
    assert abs(sum(shares[-128:]) - sum(shares[:128])) / 128 < 0.05


def test_rl_that_samples_only_cut_off_replies_is_refused_with_what_to_change(base, tmp_path):
    trained, meter = run("rl", base, tmp_path, max_clipped=0.95)
    assert trained.status == "refused"
    assert trained.why.startswith(
        "100% of 32 replies sampled from the start checkpoint reach max_tokens=12: raise rl.max"
    )
    assert digest(trained) == open_checkpoint(base).digest
    assert (meter.cost.steps, meter.cost.rollouts) == (0, 32)  # the look is paid for


def test_rl_from_a_checkpoint_whose_answers_cannot_be_read_is_refused(base, tmp_path):
    trained, _ = run("rl", base, tmp_path, Given(judge=lambda _row, _text: Score(0.0, None)))
    assert trained.status == "refused"
    assert "no answer can be read from any of 32 replies sampled from the start checkpoint" in trained.why


def test_rl_without_any_reward_variance_collapses_and_keeps_the_start(base, tmp_path):
    trained, meter = run("rl", base, tmp_path, Given(judge=graded(lambda *_: 0.0)), patience=3)
    assert trained.status == "collapsed"
    assert trained.why.startswith("no group had any reward variance (mean reward 0.00)")
    assert meter.cost.steps == 2  # seen with the third step's rollouts
    assert digest(trained) == open_checkpoint(base).digest


def test_a_policy_that_runs_away_from_its_reference_collapses(base, tmp_path):
    trained, _ = run("rl", base, tmp_path, kl_coef=1e-6, max_kl=1e-3)
    assert trained.status == "collapsed"
    assert "nats per token away from its start, the limit is max_kl=0.001" in trained.why


def test_a_budget_of_device_seconds_ends_a_stage(base, tmp_path):
    trained, meter = run("sft", base, tmp_path, Given(unit="device_s", budget=0.3))
    assert trained.status == "done"
    assert meter.exhausted
    assert 0.2 < meter.cost.device_s < 0.6


def test_a_budget_of_generated_tokens_ends_a_stage_that_samples(base, tmp_path):
    _, meter = run("kd.onpolicy", base, tmp_path, Given(unit="generated", budget=500.0))
    assert 400 < meter.cost.generated <= 510


def test_the_loss_over_top_k_and_a_tail_is_the_divergence_of_the_merged_distributions():
    import torch

    from harness_plugins.trl.logits import tail_kl

    p, q = torch.tensor([0.5, 0.3, 0.15, 0.05]), torch.tensor([0.25, 0.25, 0.2, 0.3])
    # by hand, tail {0.15 + 0.05} against {0.2 + 0.3}: .5 ln 2 + .3 ln 1.2 + .2 ln .4
    by_hand = 0.5 * math.log(2) + 0.3 * math.log(1.2) + 0.2 * math.log(0.4)
    found = tail_kl(q.log().unsqueeze(0), torch.tensor([[0, 1]]), p[:2].log().unsqueeze(0))
    assert float(found) == pytest.approx(by_hand, abs=1e-6)
    assert float(tail_kl(p.log().unsqueeze(0), torch.tensor([[0, 1]]), p[:2].log().unsqueeze(0))) == pytest.approx(
        0, abs=1e-6
    )


def test_a_teacher_with_another_vocabulary_is_refused_and_one_padded_further_is_cut(base, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    from harness_plugins.trl.weights import load_teacher

    parent, teacher = open_checkpoint(base), base.with_name("teacher")
    padded = tmp_path / "padded"
    shutil.copytree(teacher, padded)
    model = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.float32)
    model.resize_token_embeddings(272)
    model.save_pretrained(padded)
    tokens = torch.arange(1, 9).unsqueeze(0)
    cut = load_teacher(open_checkpoint(padded), parent)
    whole = load_teacher(open_checkpoint(teacher), parent)
    assert torch.equal(cut(tokens).logits, whole(tokens).logits)
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace("<|im_start|>", "<|turn|>"))
    config = (other / "tokenizer_config.json").read_text()
    (other / "tokenizer_config.json").write_text(config.replace("<|im_start|>", "<|turn|>"))
    with pytest.raises(ValueError, match=r"have different vocabularies .* Distil its text: kd"):
        load_teacher(open_checkpoint(other), parent)


def test_rollouts_that_cannot_be_judged_are_left_out_and_groups_without_variance_are_counted(base, tmp_path):
    calls = iter(range(10**6))
    _, meter = run(
        "rl",
        base,
        tmp_path,
        Given(budget=1.0, judge=graded(lambda *_: [None, 1.0, 0.0][next(calls) // 8 % 3])),
        reward_threads=1,
    )
    assert meter.cost.zero_advantage == meter.cost.rollouts == 32  # every group is all None, all 1 or all 0


def test_rl_that_can_judge_nothing_ends_as_collapsed_with_the_parents_weights(base, tmp_path):
    trained, _ = run("rl", base, tmp_path, Given(judge=graded(lambda *_: None)))
    assert trained.status == "collapsed"
    assert trained.why == "none of the 32 rollouts of a step could be graded"
    assert digest(trained) == open_checkpoint(base).digest


def test_rl_that_can_judge_no_more_ends_with_its_last_sound_checkpoint(base, tmp_path):
    calls = iter(range(10**6))
    trained, meter = run(
        "rl", base, tmp_path, Given(judge=graded(lambda row, text: digits(row, text) if next(calls) < 192 else None))
    )
    assert trained.status == "collapsed"
    assert meter.cost.steps == 192 // 32
    assert digest(trained) != open_checkpoint(base).digest


def test_a_loss_that_is_not_finite_ends_as_collapsed_with_sound_weights(base, tmp_path):
    trained, meter = run("sft", base, tmp_path, learning_rate=1e30)
    assert trained.status == "collapsed"
    assert trained.why == "loss is not finite after step 1"
    assert digest(trained) == open_checkpoint(base).digest  # no checkpoint had been saved before that step
    assert meter.cost.steps == 1


def test_a_reference_model_is_charged_for_what_it_reads(base, tmp_path):
    _, meter = run("rl", base, tmp_path, Given(budget=1.0), kl_coef=0.1)
    assert len(series(tmp_path, "kl")) == 1
    cost = meter.cost
    assert cost.generate_prompt_tokens == 22 * cost.rollouts + cost.train_tokens


def test_rows_too_long_are_refused_above_a_small_share(base, tmp_path):
    with pytest.raises(
        ValueError, match=r"trainer 'sft': 100\.0% of 60 rows are longer than max_tokens=20, the limit is 2"
    ):
        run("sft", base, tmp_path, max_tokens=20)


def test_a_few_rows_too_long_are_left_out_whole(base, tmp_path):
    long = replace(sums()[0], sample=replace(sums()[0].sample, id="add/train/long"), completion="1" * 100)
    _, meter = run("sft", base, tmp_path, Given(rows=(*sums(), long)))
    assert meter.cost.unique_prompts == 60


def test_a_row_without_completion_is_refused_by_name(base, tmp_path):
    with pytest.raises(ValueError, match="trainer 'kd': row 'add/train/0' has no completion to train on"):
        run("kd", base, tmp_path, Given(rows=tuple(replace(row, completion=None) for row in sums())))


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

    whole, _ = run("rl", base, tmp_path / "whole", Given(budget=1.0))
    split, _ = run("rl", base, tmp_path / "split", Given(budget=1.0), micro_batch=8)
    start, a, b = (load_file(path / "model.safetensors") for path in (base, whole.path, split.path))
    moved = math.sqrt(sum(float((a[k] - start[k]).square().sum()) for k in a))
    apart = math.sqrt(sum(float((a[k] - b[k]).square().sum()) for k in a))
    assert torch.is_tensor(a["model.norm.weight"])
    assert apart < 0.05 * moved


@pytest.mark.parametrize(
    "name",
    [
        "sft",
        "kd.logits",
        "rl",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("kd.onpolicy", "kd&rl", "sft.lora")),
    ],
)
def test_algorithms_that_repeat_change_no_weights_on_a_cpu(name, base, tmp_path):
    import torch

    few = Given(budget=2_000.0 if name == "kd.logits" else 1.0)  # of which scoring takes its share first
    usual, _ = run(name, base, tmp_path / "usual", few)
    use_deterministic_algorithms()
    try:
        kept, meter = run(name, base, tmp_path / "kept", few)
    finally:
        torch.use_deterministic_algorithms(False)
    assert meter.cost.steps >= 1
    assert digest(kept) == digest(usual) != open_checkpoint(base).digest


@pytest.mark.parametrize("name", ["sft", "kd.logits", "kd.onpolicy", "rl", "kd&rl", "sft.lora"])
def test_with_bf16_every_layer_of_a_training_step_computes_in_it(name, base, tmp_path, monkeypatch):
    """As on CUDA, where it is asked for: TRL or a plug-in that goes round accelerate's autocast trains in float32."""
    import torch

    from harness_plugins.trl import distill, grpo, metering, sft

    for module in (distill, grpo, sft):
        monkeypatch.setattr(module, "arguments", lambda *given: metering.arguments(*given) | {"bf16": True})
    seen = set()

    def note(module, _given, out):
        if torch.is_grad_enabled() and isinstance(module, torch.nn.Linear):
            seen.add(out.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        run(name, base, tmp_path, Given(budget=budget_of(name) if name == "kd.logits" else 1.0))  # the teacher's share
    finally:
        hook.remove()
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize("name", ["sft", "kd.logits", "sft.lora"])
def test_the_mask_of_padding_on_the_right_changes_no_bit_and_is_left_out(name, base, tmp_path, monkeypatch):
    from transformers import Qwen2Model

    from harness_plugins.trl import sft

    texts = [replace(row, completion=f"{row.completion} " * (1 + i % 7)) for i, row in enumerate(sums()[:16])]
    rows, seen = Given(rows=texts, budget=2_500.0), []
    forward = Qwen2Model.forward

    def watched(self, *args, attention_mask=None, **named):
        if self.training:
            seen.append(attention_mask is not None and not attention_mask.all())
        return forward(self, *args, attention_mask=attention_mask, **named)

    monkeypatch.setattr(Qwen2Model, "forward", watched)
    left_out, _ = run(name, base, tmp_path / "left out", rows, max_tokens=256)
    monkeypatch.setattr(sft, "without_mask", lambda _model, args, named: (args, named))
    given, _ = run(name, base, tmp_path / "given", rows, max_tokens=256)
    half = len(seen) // 2
    assert not any(seen[:half])
    assert all(seen[half:])
    assert digest(left_out) == digest(given)


def test_rollouts_on_cuda_without_vllm_are_transformers(monkeypatch):
    import torch

    from harness_plugins.trl import rollouts

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(rollouts, "find_spec", lambda _: None)
    assert rollouts.sampler("auto", 0.3)["use_vllm"] is False


@pytest.fixture(scope="module")
def two_processes(base, tmp_path_factory):
    """What two processes left that accelerate started: stages that end well, twice; stages that go wrong in one."""
    code = """
import json, os, sys
from pathlib import Path
from harness.processes import end_with_parent
end_with_parent()  # at the time limit only what started them is ended
from harness.testing.training import Given, digits, graded, run
from trl import GRPOTrainer, SFTTrainer

base, folder, rank = Path(sys.argv[1]), Path(sys.argv[2]), os.environ["RANK"]

def trained(name, out, given=Given(), **settings):
    end, meter = run(name, base, out, given, **settings)
    (out / f"told-{rank}").write_text(f"{end.status}, used {meter.used}, {end.why}")

for attempt in ("one", "two"):
    for name in ("sft", "rl"):
        trained(name, folder / attempt / name)

def infinite_in_one(compute_loss):
    def after_the_first_snapshot(self, *args, **kwargs):
        cost = self.budget_callback.out / "snapshots" / "025" / "cost.json"
        after = cost.exists() and self.state.global_step > json.loads(cost.read_text())["steps"]
        return compute_loss(self, *args, **kwargs) * (float("inf") if rank == "1" and after else 1)
    return after_the_first_snapshot

for name, trainer in (("sft", SFTTrainer), ("rl", GRPOTrainer)):
    compute_loss = trainer.compute_loss
    trainer.compute_loss = infinite_in_one(compute_loss)
    trained(name, folder / "infinite" / name)
    trainer.compute_loss = compute_loss
given = Given(judge=graded(lambda row, text: 0.0 if rank == "1" else digits(row, text)), budget=5_000.0)
trained("rl", folder / "silent" / "rl", given, patience=2)
"""
    folder = tmp_path_factory.mktemp("two_processes")
    (folder / "both.py").write_text(code)
    command = [sys.executable, "-m", *launcher(2), folder / "both.py", base, folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # the time limit is for processes that wait for each other, on a busy machine
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def _told(out):
    """Status, budget used and reason: the same in both processes."""
    one, other = ((out / f"told-{rank}").read_text() for rank in (0, 1))
    assert one == other
    return one


@pytest.mark.slow
def test_two_processes_train_together_and_repeat_bit_for_bit(base, two_processes):
    names = ("sft", "rl")
    found = []
    for attempt in ("one", "two"):
        found.append({name: digest(Trained(two_processes / attempt / name / "work" / "final")) for name in names})
        for name in names:
            assert _told(two_processes / attempt / name).startswith("done, used ")
    assert found[0] == found[1]
    assert len({*found[0].values(), open_checkpoint(base).digest}) == 3
    losses = series(two_processes / "one" / "sft", "loss")
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_one_of_two_processes_ends_both_as_collapsed_with_sound_weights(two_processes):
    for name in ("sft", "rl"):
        out = two_processes / "infinite" / name
        trained = Trained(out / "work" / "final")
        before = json.loads((out / "work" / "snapshots" / "025" / "cost.json").read_text())["steps"]
        assert re.fullmatch(rf"collapsed, used .*, loss is not finite after step {before + 1}", _told(out))
        assert snapshots(trained) == {"025": digest(trained)}


@pytest.mark.slow
def test_rollouts_without_variance_in_one_of_two_processes_are_no_collapse(two_processes):
    assert re.fullmatch("done, used .*, ", _told(two_processes / "silent" / "rl"))


@pytest.mark.slow
def test_a_grader_that_fails_in_one_of_two_processes_fails_the_stage_with_its_reason(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("""
import os

if os.environ.get("RANK") == "1":
    from harness_tasks.pico.math import PicoMath

    def score(self, sample, text, runner):
        raise OSError("the grader of one process failed")

    PicoMath.score = score
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    task = registry.make_task("pico_math")
    material = Material([TrainRow(task.name, sample) for sample in task.samples("train")[:8]])
    few = {"prompts_per_step": 2, "group_size": 4, "micro_batch": 4, "max_tokens": 8, "max_clipped": 1.0}
    names = (f"{task.name}@{task.version}",)
    settings = StageSettings("rl", resolve_config("rl", few), names, 0, Budget(1e4, "tokens"), devices=2)
    parent = open_checkpoint(pico.BASE)
    stage = plan_stage(settings, parent, material)
    place = StageEnvironment(tmp_path, devices=2)
    with pytest.raises(TrainerError, match="trainer 'rl', seed 0: OSError: the grader of one process failed\n"):
        run_stage(stage, parent, material, place, lambda *_: None, threading.Event())


@pytest.mark.slow
def test_vllm_rollouts_follow_the_weights_and_a_stale_engine_fails_the_stage(base, tmp_path):
    code = """
import sys
from pathlib import Path
from harness.testing.training import Given, run
base, out = Path(sys.argv[1]), Path(sys.argv[2])
run("rl", base, out / "sound", rollouts="vllm")
from harness_plugins.trl import grpo, metering
grpo.arguments = lambda *given: metering.arguments(*given) | {"bf16": True}
run("rl", base, out / "bf16", Given(budget=1.0), rollouts="vllm", max_logp_gap=0.0)  # the engine's float32 is exact
from trl.generation.vllm_generation import VLLMGeneration
VLLMGeneration.sync_weights = lambda self: None
try:
    run("rl", base, out / "stale", rollouts="vllm", max_logp_gap=0.01)
except RuntimeError as error:
    (out / "error").write_text(str(error))
"""
    done = subprocess.run([sys.executable, "-c", code, base, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    gaps, rewards = series(tmp_path / "sound", "logp_gap"), series(tmp_path / "sound", "reward")
    assert len(gaps) > 5
    assert max(gaps) < 1e-4  # one dtype, one set of weights
    (rounded,) = series(tmp_path / "bf16", "logp_gap")
    assert rounded > 10 * max(gaps)  # which is all rounding
    assert sum(rewards[-2:]) / 2 > sum(rewards[:2]) / 2 + 0.1
    assert "the engine serves other weights" in (tmp_path / "error").read_text()
    assert not (tmp_path / "stale" / "work" / "final").exists()
