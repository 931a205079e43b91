"""The memory of a training step: its formula beside what autograd keeps, what a trainer holds, and who is refused."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from harness.checkpoints import all_params, open_checkpoint
from harness.errors import BadConfig
from harness.experiment import dry_run, memory_forecast, recipes
from harness.experiment.plan import Experiment
from harness.experiment.run_context import space_needed
from harness.experiment.stages import stages_left, strategy_runs
from harness.experiment.tuning import trial_runs
from harness.protocols import Footprint, Trainer
from harness.testing import test_trainer_contract as contract
from harness.testing.training import Given, digest, run, sums
from harness.training.memory import Shape, Step, footprint_of, longest, needs_checkpointing, shape_of, step_memory
from harness.training.strategies import parse_list
from harness_plugins.sft import SFT

base = contract.base  # a fixture
QWEN = Shape(494_032_768, 896, 4864, 24, 151_936, 256)
GB = 10**9


def kept_by_autograd(hidden, feed_forward, half):
    """Bytes that a layer keeps for its backward pass for each token of 2 rows of 256, weights left out."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": hidden, "intermediate_size": feed_forward, "num_attention_heads": hidden // 64}
    config = Qwen2Config(**sizes, num_hidden_layers=3, num_key_value_heads=2, vocab_size=64)
    model = Qwen2ForCausalLM(config).train()
    weights = {p.numel() for p in model.parameters()}
    seen, kept = {}, []

    def keep(tensor):
        kept.append(tensor)  # alive, so that no address is used twice
        if tensor.numel() not in weights:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    tokens = torch.randint(64, (2, 256))
    mask = torch.ones_like(tokens)
    mask[0, -3:] = 0
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        model.model(input_ids=tokens, attention_mask=mask, use_cache=False)
    return sum(seen.values()) / 512 / 3


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize(("hidden", "feed_forward"), [(256, 1408), (384, 1024)])
def test_the_formula_is_what_autograd_keeps(hidden, feed_forward, half):
    shape = Shape(0, hidden, feed_forward, 1, 64, 256)
    step = Step(shape, Footprint(rows=2, tokens=256), half)
    layer = (
        step_memory(step, checkpointing=False)["activations"]
        - step_memory(replace(step, model=replace(shape, layers=0)), checkpointing=False)["activations"]
    )
    assert layer / 512 == pytest.approx(kept_by_autograd(hidden, feed_forward, half), rel=0.15)


def test_half_a_billion_weights_on_24_and_80_gb():
    sft = Footprint(rows=8, tokens=600)
    assert needs_checkpointing(Step(QWEN, sft, half=True), 80 * GB) is False
    assert needs_checkpointing(Step(QWEN, replace(sft, rows=16), half=True), 24 * GB) is True
    assert needs_checkpointing(Step(QWEN, replace(sft, rows=16, logits=True, tokens=2048), half=True), 24 * GB) is None
    beside = replace(sft, engine=0.4)  # and so much of the GPU for an engine
    assert needs_checkpointing(Step(QWEN, beside, half=True), 24 * GB) is True
    assert needs_checkpointing(Step(QWEN, beside, half=False), 24 * GB) is True  # float32, without an engine


def test_each_thing_held_counts():
    plain = Footprint(rows=4, tokens=300)
    total = lambda footprint, **more: sum(  # noqa: E731
        step_memory(Step(QWEN, footprint, half=True, **more), checkpointing=False).values()
    )
    teacher = replace(QWEN, params=1_543_714_304)
    assert total(replace(plain, teacher=True), teacher=teacher) - total(plain) == 2 * teacher.params
    assert total(replace(plain, reference=True)) - total(plain) == 4 * QWEN.params
    assert total(plain, devices=8) - total(plain) == 4 * QWEN.params
    assert total(plain) - total(replace(plain, adapter=True)) > 11 * QWEN.params
    assert total(replace(plain, logits=True)) > total(plain) + 4 * 300 * QWEN.vocabulary
    alone = replace(plain, rows=1, generated=256)
    assert total(alone) > total(replace(alone, engine=0.3))


def test_rows_are_measured_with_the_models_own_tokens(base):
    rows = [(row.sample, row.completion) for row in sums()]
    assert longest(base, rows) == len("3+4\n3+4=10") + 64
    text = footprint_of(SFT, SFT.Config(max_tokens=512, micro_batch=4), 40)
    assert (text.rows, text.tokens) == (4, 40)
    assert footprint_of(SFT, SFT.Config(max_tokens=32), 40).tokens == 32
    shape = shape_of(base)
    assert (shape.hidden, shape.layers, shape.vocabulary, shape.key_values) == (64, 2, 259, 128)


def test_a_config_that_names_its_sizes_otherwise_is_not_known(base, tmp_path):
    for name in ("model.safetensors", "config.json"):
        shutil.copy(base / name, tmp_path)
    config = json.loads((base / "config.json").read_text())
    given = {"hidden_size": "n_embd", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}
    renamed = {given.get(key, key): value for key, value in config.items()}
    (tmp_path / "config.json").write_text(json.dumps(renamed))
    assert shape_of(tmp_path) == shape_of(base)
    (tmp_path / "config.json").write_text(json.dumps(renamed | {"n_layer": None}))
    assert shape_of(tmp_path) is None


def planned(room, monkeypatch, base, *trials):
    """The lines for a plan that tries these settings of `sft`, on a machine without a GPU that has so many bytes."""
    monkeypatch.setattr(memory_forecast, "device_memory", lambda: room)
    values = {"base": str(base), "tasks": ["pico_math"], "budget": {"amount": 1e9}}
    recipe = recipes.from_values(values, base / "small.toml")
    plan = Experiment(recipe, parse_list("sft"), (1, 2), base / "run", parallel_stages=2)
    items = SimpleNamespace(rows=sums(), tasks={})
    runs = trial_runs(plan, {"sft": trials or [{}]})
    return list(memory_forecast.memory_lines(plan, runs, open_checkpoint(base), None, items))


def test_what_cannot_fit_is_refused_with_what_to_change(base, monkeypatch):
    (line,) = planned(GB, monkeypatch, base, {"micro_batch": 8})
    assert line.startswith("memory of sft: about 0.0")
    assert "of 0.5 GB of memory, a share for each of 2 stages at a time (--jobs, --devices), for 8 rows of" in line
    (line,) = planned(21_000_000, monkeypatch, base, {"micro_batch": 8})
    assert "; only because layers are computed again" in line
    with pytest.raises(BadConfig, match=r"trainer 'sft' needs about 0\.0.* it fits with 4 rows at a time \(sft\.micro"):
        planned(16_000_000, monkeypatch, base, {"micro_batch": 8})
    with pytest.raises(BadConfig, match="not even one row at a time fits"):
        planned(1_000_000, monkeypatch, base)


def test_each_trial_that_takes_other_memory_is_asked_for(base, monkeypatch):
    rates = [{"micro_batch": 2, "learning_rate": rate} for rate in (1e-4, 1e-3)]
    lines = planned(GB, monkeypatch, base, *rates, {"micro_batch": 16})
    assert [line.partition(", for ")[2].partition(" of up")[0] for line in lines] == ["2 rows", "16 rows"]
    with pytest.raises(
        BadConfig, match=r"trainer 'sft' needs about 0\.0.* for 16 rows .* it fits with 8 rows at a time"
    ):
        planned(21_000_000, monkeypatch, base, *rates, {"micro_batch": 16})


def test_a_trainer_that_states_nothing_is_named_and_not_refused(base, monkeypatch):
    monkeypatch.setattr(SFT, "footprint", Trainer.footprint)
    (line,) = planned(1, monkeypatch, base)
    assert line == "memory of sft: not known, the trainer states nothing about it"


@pytest.mark.parametrize("name", ["sft", "kd.logits"])
def test_layers_computed_again_give_the_same_weights(name, base, tmp_path, monkeypatch):
    from transformers import Trainer as Loop

    from harness_plugins.trl import metering

    used = []
    begin = Loop.train

    def watched(self, *args, **kwargs):
        used.append(self.args.gradient_checkpointing)
        return begin(self, *args, **kwargs)

    monkeypatch.setattr(Loop, "train", watched)
    plain, _ = run(name, base, tmp_path / "plain")
    monkeypatch.setattr(metering, "free_memory", lambda: 1)
    again, _ = run(name, base, tmp_path / "again")
    assert used == [False, True]
    assert digest(again) == digest(plain)


def test_kd_logits_holds_the_vocabulary_for_trained_tokens_alone(base, tmp_path):
    """Neither the teacher nor the student makes logits of a whole batch: they would be its largest tensors by far."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    vocabulary = json.loads((base / "config.json").read_text())["vocab_size"]

    class Largest(TorchDispatchMode):
        rows = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.ndim and out.shape[-1] == vocabulary:
                Largest.rows = max(Largest.rows, out.numel() // vocabulary)
            return out

    question = "one and one and one and one, what is it when all are added? " * 4
    rows = [replace(row, sample=replace(row.sample, messages=(replace(row.sample.messages[0], content=question),)))
            for row in sums()]  # fmt: skip
    with Largest():
        _, meter = run("kd.logits", base, tmp_path, Given(rows=rows, budget=60_000.0), max_tokens=400)
    assert meter.cost.steps > 0
    trained = max(len(f"{row.completion}<|im_end|>") for row in rows)  # tokens of a reply, at most
    assert 8 < Largest.rows <= 16 * trained  # of 16 rows, if all were read at once; a row has more than 240 tokens


def test_the_teachers_scores_do_not_depend_on_how_rows_are_batched(base, tmp_path, monkeypatch):
    import torch

    from harness_plugins.trl import logits
    from harness_plugins.trl.weights import load_teacher

    parent, teacher = open_checkpoint(base), open_checkpoint(base.with_name("teacher"))
    draw = np.random.default_rng(0)
    rows = [draw.integers(0, 256, n).tolist() for n in (5, 40, 12, 12, 90, 33)]
    labels = [[-100] * (n // 2) + row[n // 2 :] for row in rows if (n := len(row))]
    found = []
    for most in (64, 4096):
        monkeypatch.setattr(logits, "_READ", most)
        found.append(logits.score_once(teacher, parent, rows, labels, 8, tmp_path / str(most)))
    whole = torch.log_softmax(load_teacher(teacher, parent)(torch.tensor([rows[4]])).logits[0].float(), dim=-1)
    best = whole[44:-1].topk(8)
    for scores in found:
        mine = slice(*scores.offsets[4:6])
        assert np.array_equal(scores.tokens[mine], best.indices.numpy())
        assert scores.logprobs[mine] == pytest.approx(best.values.detach().numpy(), abs=4e-3)  # kept as float16
    assert list(map(len, logits._batches([5, 40, 12, 12, 90, 33], 64))) == [3, 1, 1, 1]


def test_the_time_of_a_plan_counts_a_shared_stage_once_and_every_trial(base, monkeypatch):
    monkeypatch.setattr(dry_run, "_training_flops_per_s", lambda *_: 1e6)
    values = {"base": str(base), "tasks": ["pico_math"], "budget": {"amount": 3.6e9}}
    plan = Experiment(
        recipes.from_values(values, base / "small.toml"), parse_list("sft,sft:0.5+rl,sft:0.5+kd"), (1, 2), base / "run"
    )
    items = SimpleNamespace(rows=sums(), tasks={})

    def amounts(runs):
        left = list(stages_left(plan, runs, open_checkpoint(base), None, items))
        return [stage.amount for stage in left], next(dry_run._time(plan, left, open_checkpoint(base)))

    compared, line = amounts(strategy_runs(plan))
    assert compared == [3.6e9, 1.8e9, 1.8e9, 1.8e9] * 2
    assert line.startswith("time for training: 5.0 h at 1e+06 FLOP/s")
    searched, _ = amounts(trial_runs(plan, {"sft": [{"warmup": 0.1}, {"warmup": 0.2}], "rl": [{}, {"warmup": 0.2}]}))
    assert searched == [3.6e9] * 8
    assert next(dry_run._time(plan, [], open_checkpoint(base))).endswith("none, all stages are trained already")


def test_the_disk_that_a_plan_needs_falls_with_each_stage_that_is_finished(base, tmp_path):
    parent = open_checkpoint(base)
    weights = 4 * all_params(base)
    plan = Experiment(recipes.read_recipe("pico"), parse_list("sft,kd+rl"), (1, 2), tmp_path, parallel_stages=2)
    assert space_needed(plan, parent) == (6 * 4 + 2 * 9) * weights + 200_000_000
    for number in range(1, 7):
        (tmp_path / "stages" / str(number)).mkdir(parents=True)
        (tmp_path / "stages" / str(number) / "result.json").write_text("{}")
        left = 6 - number
        assert space_needed(plan, parent) == (left * 4 + min(left, 2) * 9) * weights + 200_000_000
