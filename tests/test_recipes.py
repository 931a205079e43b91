import pytest

from harness import recipes, registry
from harness.errors import BadConfig, UnknownName
from harness.types import Budget

GOOD = 'base = "b"\ntasks = ["pico_math"]\nbudget = { amount = 1e9 }\n'


def write(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", registry.names("recipe"))
def test_every_installed_recipe_reads(name):
    recipe = recipes.read(name)
    assert recipe.name == name
    assert recipe.budget.amount > 0


def test_defaults_are_filled_and_models_beside_the_file_are_found(tmp_path):
    (tmp_path / "b").mkdir()
    recipe = recipes.read(write(tmp_path, GOOD))
    assert (recipe.name, recipe.base, recipe.teacher) == ("mine", str(tmp_path / "b"), "")
    assert recipe.budget == Budget(1e9, "flops")
    assert recipe.teaching == recipes.Teaching()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("= 3", r"recipe .*mine\.toml is not TOML"),
        (GOOD + "bugdet = 3\n", "unknown setting 'bugdet': did you mean 'budget'"),
        (GOOD.replace("1e9", "0"), "budget.amount must be > 0, got 0"),
        (
            GOOD.replace("amount = 1e9", "amount = 1e9, unit = 'steps'"),
            "budget.unit must be one of flops, tokens, generated, device_s, got 'steps'",
        ),
        (GOOD.replace('base = "b"\n', ""), "base is missing or no str, got None"),
        (
            GOOD + "[trainers.rl]\nlearnig_rate = 1.0\n",
            "unknown rl setting 'learnig_rate': did you mean 'learning_rate'",
        ),
        (GOOD + "[trainers.rl]\nlearning_rate = 'x'\n", "rl.learning_rate must be float like .*, got 'x'"),
        (GOOD + "teaching = { prompts = 0 }\n", "teaching needs prompts >= 1"),
    ],
)
def test_a_bad_recipe_names_the_key_and_what_was_expected(tmp_path, text, message):
    with pytest.raises(BadConfig, match=message):
        recipes.read(write(tmp_path, text))


def test_unknown_names_are_suggested(tmp_path):
    with pytest.raises(UnknownName, match="unknown task or suite 'pico_meth': did you mean 'pico_math'"):
        recipes.read(write(tmp_path, GOOD.replace("pico_math", "pico_meth")))
    with pytest.raises(UnknownName, match="unknown recipe 'pcio': did you mean 'pico'"):
        recipes.read("pcio")
    with pytest.raises(BadConfig, match="No such file"):
        recipes.read(str(tmp_path / "none.toml"))


def test_settings_of_the_command_line_win_and_are_checked(tmp_path):
    recipe = recipes.read(write(tmp_path, GOOD + "[trainers.rl]\nlearning_rate = 1e-5\n"))
    assert recipes.override(recipe, {"rl.learning_rate": "2e-4"}).trainers["rl"]["learning_rate"] == 2e-4
    with pytest.raises(BadConfig, match="unknown sft setting 'x'"):
        recipes.override(recipe, {"sft.x": "1"})
    with pytest.raises(UnknownName, match="unknown trainer 'sff'"):
        recipes.override(recipe, {"sff.learning_rate": "1"})
