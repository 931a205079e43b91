"""Equal tuning: what is refused, what the file of trials says, and one search that really trains."""

import json

import pytest
from factories import Quiet

from harness import recipes, trials, tuning
from harness.compare import Plan
from harness.errors import BadConfig, UnknownName
from harness.strategies import parse
from harness.trials import Trial, Tuning
from harness.types import Budget
from harness_tasks import pico

TRIALS = (
    Trial("rl", {"learning_rate": 1e-4}, 0, 0.50, "100"),
    Trial("rl", {"learning_rate": 1e-4}, 1, 0.60, "100"),
    Trial("rl", {"learning_rate": 1e-3}, 0, 0.70, "025", "collapsed", "loss is not finite"),
    Trial("rl", {"learning_rate": 1e-3}, 1, 0.38, "025"),
    Trial("kd.lora", {"learning_rate": 1e-4}, 0, 0.2, "100"),
    Trial("kd.lora", {"learning_rate": 1e-3}, 0, 0.2, "100"),
)
FOUND = Tuning("d" * 64, Budget(1e9, "flops"), {"pico_math": 10}, TRIALS)


def test_trials_of_a_choice_are_averaged_over_seeds_and_the_first_of_equals_is_best():
    assert FOUND.tried("rl") == [({"learning_rate": 1e-4}, pytest.approx(0.55)), ({"learning_rate": 1e-3}, 0.54)]
    assert FOUND.best("rl") == FOUND.best("kd.lora") == {"learning_rate": 1e-4}
    assert FOUND.listed({"rl": {"learning_rate": 1e-3, "warmup": 0.1}}) == {
        "rl": "learning_rate=0.0001 55.0; learning_rate=0.001 54.0 (used)",
        "kd.lora": "learning_rate=0.0001 20.0; learning_rate=0.001 20.0",
    }
    assert trials.toml(FOUND) == [
        "[trainers.rl]", "learning_rate = 0.0001", "", '[trainers."kd.lora"]', "learning_rate = 0.0001",
    ]  # fmt: skip


def test_a_recipe_names_its_file_of_trials(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('base = "b"\ntasks = ["pico_math"]\nbudget = { amount = 1e9 }\ntuning = "tuning.json"\n')
    with pytest.raises(BadConfig, match=r"tuning\.json is no file of `harness tune` \(FileNotFoundError"):
        recipes.read(str(recipe))
    trials.write(tmp_path / "tuning.json", FOUND)
    assert recipes.read(str(recipe)).tuning == FOUND
    values = json.loads((tmp_path / "tuning.json").read_text())
    (tmp_path / "tuning.json").write_text(json.dumps(values | {"schema": 9}))
    with pytest.raises(BadConfig, match="schema 9, expected 1"):
        recipes.read(str(recipe))


def test_settings_are_tried_in_all_combinations():
    found = tuning.grids(["sft.learning_rate=1e-4,1e-3", "sft.batch_size=16,32"], {})
    assert found == {"sft": [{"learning_rate": rate, "batch_size": size} for rate in (1e-4, 1e-3) for size in (16, 32)]}


@pytest.mark.parametrize(
    ("tried", "error", "message"),
    [
        (["sft.learning_rate"], BadConfig, "--try wants TRAINER.KEY=VALUE,VALUE .* got 'sft.learning_rate'"),
        (["learning_rate=1"], BadConfig, "--try wants"),
        (["sff.learning_rate=1"], UnknownName, "did you mean 'sft'"),
        (["sft.learnin_rate=1"], BadConfig, "did you mean 'learning_rate'"),
        (["sft.learning_rate=quick"], BadConfig, "sft.learning_rate must be float .* got 'quick'"),
        (
            ["sft.learning_rate=1,2", "rl.learning_rate=1,2,3"],
            BadConfig,
            "same number of trials, got sft 2, rl 3; add or drop values",
        ),
    ],
)
def test_what_cannot_be_tried_is_refused(tried, error, message):
    with pytest.raises(error, match=message):
        tuning.grids(tried, {})


def test_a_learning_rate_that_teaches_beats_one_that_does_not(tmp_path):
    recipe = recipes.from_values(
        {
            "base": str(pico.BASE),
            "tasks": ["pico_math"],
            "budget": {"amount": 4e10},
            "trainers": {"sft": {"micro_batch": 32}},
        },
        tmp_path / "tiny.toml",
    )
    tried = tuning.grids(["sft.learning_rate=1e-9,1e-3"], recipe.trainers)
    plan = Plan(recipe, (parse("sft"), parse("sft")), (0,), tmp_path / "run", engine="transformers", limit=40)
    found = tuning.tune(plan, tried, Quiet())
    assert found.best("sft") == {"learning_rate": 1e-3}
    assert found.budget == recipe.budget
    assert found.dev_items == {"pico_math": 40}
    assert not (tmp_path / "test-looks.jsonl").exists()
    assert not (tmp_path / "run" / "evals").exists()
    assert tuning.tune(plan, tried, Quiet()) == found
