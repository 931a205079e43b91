"""Equal tuning: what is refused, what the file of trials says, and one search that really trains."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from factories import Quiet

from harness.board.fact_sentences import tuning_text
from harness.errors import BadConfig, UnknownName
from harness.experiment import facts, recipes, trials, tuning
from harness.experiment.plan import Experiment
from harness.experiment.trials import Trial, Tuning
from harness.training.strategies import parse_list, parse_strategy
from harness.types import Budget
from harness_tasks import pico


def trial(trainer, rate, seed, dev, status="done"):
    settings = {"learning_rate": rate}
    return Trial(trainer, settings, {**settings, "batch_size": 8}, seed, dev, "100", status)


TRIALS = (
    trial("rl", 1e-4, 0, 0.50),
    trial("rl", 1e-4, 1, 0.60),
    trial("rl", 1e-3, 0, 0.90, "collapsed"),
    trial("rl", 1e-3, 1, 0.58),
    trial("kd.lora", 1e-4, 0, 0.2),
    trial("kd.lora", 1e-3, 0, 0.2),
)
FOUND = Tuning("d" * 64, "m", Budget(1e9, "flops"), {"pico_math": 10}, TRIALS)


def test_trials_of_a_choice_are_averaged_and_the_first_best_that_did_not_fail_wins():
    assert [(dict(c.settings), c.dev, c.failed) for c in FOUND.choices("rl")] == [
        ({"learning_rate": 1e-4}, pytest.approx(0.55), ""),
        ({"learning_rate": 1e-3}, pytest.approx(0.74), "collapsed"),
    ]
    assert FOUND.best("rl").settings == FOUND.best("kd.lora").settings == {"learning_rate": 1e-4}
    listed = FOUND.listed({"rl": {"learning_rate": 1e-4, "batch_size": 8}, "kd.lora": {"learning_rate": 1e-4}})
    assert [(dict(t.settings), round(t.dev, 4), t.used, t.failed) for t in listed["rl"]] == [
        ({"learning_rate": 1e-4}, 0.55, True, ""),
        ({"learning_rate": 1e-3}, 0.74, False, "collapsed"),
    ]
    assert [t.used for t in listed["kd.lora"]] == [False, False]
    assert trials.toml(FOUND) == [
        "[trainers.rl]", "learning_rate = 0.0001", "", '[trainers."kd.lora"]', "learning_rate = 0.0001",
    ]  # fmt: skip


def test_trials_are_gathered_over_calls_and_those_made_again_count_once():
    more = Tuning(
        FOUND.base, "m", FOUND.budget, FOUND.dev_items, (trial("rl", 1e-4, 0, 0.50), trial("rl", 3e-5, 0, 0.1))
    )
    both = FOUND.plus(more)
    assert [c.settings["learning_rate"] for c in both.choices("rl")] == [1e-4, 1e-3, 3e-5]
    assert trials.warnings(FOUND) == []
    assert trials.warnings(both) == ["unequal numbers of trials, so not a fair comparison yet: rl 3, kd.lora 2"]
    edge = FOUND.plus(Tuning("d", "m", FOUND.budget, {}, tuple(trial("kd.lora", r, 0, 0.3) for r in (3e-5, 2e-5))))
    assert "kd.lora: the best learning_rate, 3e-05, lies" not in " ".join(trials.warnings(edge))
    lowest = FOUND.plus(Tuning("d", "m", FOUND.budget, {}, (trial("kd.lora", 3e-5, 0, 0.3),)))
    assert "kd.lora: the best learning_rate, 3e-05, is at the edge of the values tried" in trials.warnings(lowest)
    assert FOUND.other_than("d" * 64, "m", FOUND.budget, {"pico_math": 10}) == []
    assert FOUND.other_than("e", "x", Budget(2e9, "flops"), {}) == [
        "base", "material", "budget", "dev items",
    ]  # fmt: skip


def test_a_recipe_names_its_file_of_trials(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('base = "b"\ntasks = ["pico_math"]\nbudget = { amount = 1e9 }\ntuning = "tuning.json"\n')
    with pytest.raises(BadConfig, match=r"tuning\.json is not a file of `harness tune` \(FileNotFoundError"):
        recipes.read_recipe(str(recipe))
    trials.write_trials(tmp_path / "tuning.json", FOUND)
    assert recipes.read_recipe(str(recipe)).tuning == FOUND
    assert recipes.read_recipe(str(recipe), with_tuning=False).tuning is None
    values = json.loads((tmp_path / "tuning.json").read_text())
    (tmp_path / "tuning.json").write_text(json.dumps(values | {"schema": 9}))
    with pytest.raises(BadConfig, match="schema 9, expected 1"):
        recipes.read_recipe(str(recipe))
    recipe.write_text(recipe.read_text().replace('"tuning.json"', "3"))
    with pytest.raises(BadConfig, match="tuning must be the path of a file of `harness tune`, got 3"):
        recipes.read_recipe(str(recipe))


def test_settings_are_tried_in_all_combinations():
    found = tuning.grids(["sft.learning_rate=1e-4,1e-3", "sft.batch_size=16,32"], {})
    assert found == {"sft": [{"learning_rate": rate, "batch_size": size} for rate in (1e-4, 1e-3) for size in (16, 32)]}


@pytest.mark.parametrize(
    ("tried", "error", "message"),
    [
        (["sft.learning_rate"], BadConfig, "--try must be TRAINER.KEY=VALUE,VALUE, .* got 'sft.learning_rate'"),
        (["learning_rate=1"], BadConfig, "--try must be"),
        (["sff.learning_rate=1"], UnknownName, "did you mean 'sft'"),
        (["sft.learnin_rate=1"], BadConfig, "did you mean 'learning_rate'"),
        (["sft.learning_rate=quick"], BadConfig, "sft.learning_rate must be float .* got 'quick'"),
        (["sft.learning_rate=1", "sft.learning_rate=2"], BadConfig, "--try sft.learning_rate is given twice"),
        (["sft.learning_rate=1e-3,0.001"], BadConfig, "--try sft: learning_rate=0.001 is tried twice"),
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


def world(strategies, tmp_path, **recipe):
    """As much of a comparison as `facts.tuned` asks for."""
    values = {"base": "b", "tasks": ["pico_math"], "budget": {"amount": 1e9}}
    made = replace(recipes.from_values(values, tmp_path / "x.toml"), **recipe)
    items = SimpleNamespace(rows=[], dev=[])
    plan = SimpleNamespace(recipe=made, strategies=parse_list(strategies))
    return SimpleNamespace(plan=plan, base=SimpleNamespace(digest="d" * 64), items=items, teacher=None)


@pytest.mark.parametrize(
    ("strategies", "used", "said"),
    [
        ("rl", {"rl": (1e-4, 8)}, "rl the best on dev of 2 trials each"),
        ("rl", {"rl": (1e-3, 8)}, "rl not the best that was tried"),
        ("rl", {"rl": (1e-4, 9)}, "rl not the best that was tried"),  # something else was changed since
        ("noop", {"noop": (1e-4, 8)}, "as the recipe says, without trials"),
        (
            "rl,sft+rl",
            {"rl": (1e-4, 8), "sft": (1e-4, 8)},
            "rl the best on dev of 2 trials each; sft without trials; sequences take over those of their parts",
        ),
    ],
)
def test_a_board_says_how_the_settings_of_each_trainer_were_chosen(tmp_path, strategies, used, said):
    configs = {name: {"learning_rate": rate, "batch_size": size} for name, (rate, size) in used.items()}
    there = world(strategies, tmp_path)
    same = replace(FOUND, material=facts.material_of(there), dev_items={})
    assert facts.tuned(there, configs) is None
    assert tuning_text(facts.tuned(world(strategies, tmp_path, tuning=same), configs)) == said
    other = replace(same, base="e", budget=Budget(2e9, "flops"))
    if "rl" in used:
        moved = tuning_text(facts.tuned(world(strategies, tmp_path, tuning=other), configs))
        assert moved == f"{said}; the trials were made with another base and a budget of 2e+09 flops"


@pytest.mark.slow
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
    plan = Experiment(
        recipe, (parse_strategy("sft"), parse_strategy("sft")), (0,), tmp_path / "run", engine="transformers", limit=16
    )
    found = tuning.tune_strategies(plan, tried, Quiet())
    assert found.best("sft").settings == {"learning_rate": 1e-3}
    assert found.budget == recipe.budget
    assert found.dev_items == {"pico_math": 16}
    assert not (tmp_path / "test-looks.jsonl").exists()
    assert not (tmp_path / "run" / "evals").exists()
    assert tuning.tune_strategies(plan, tried, Quiet(), found) == found
    with pytest.raises(BadConfig, match=r"has earlier ones of a budget of 1 flops; name another file with --out"):
        tuning.tune_strategies(plan, tried, Quiet(), replace(found, budget=Budget(1.0, "flops")))
