import pytest

from harness import registry
from harness.errors import BadConfig, UnknownName
from harness.experiment import recipes
from harness.training.run_stage import resolve_config
from harness.types import Budget
from harness_tasks import pico

GOOD = 'base = "b"\ntasks = ["pico_math"]\nbudget = { amount = 1e9 }\n'


def write(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", registry.names("recipe"))
def test_every_installed_recipe_reads(name):
    recipe = recipes.read_recipe(name)
    assert recipe.name == name
    assert recipe.budget.amount > 0


def test_defaults_are_filled_and_models_beside_the_file_are_found(tmp_path):
    (tmp_path / "b").mkdir()
    recipe = recipes.read_recipe(write(tmp_path, GOOD))
    assert (recipe.name, recipe.base, recipe.teacher) == ("mine", str(tmp_path / "b"), "")
    assert recipe.budget == Budget(1e9, "flops")
    assert recipe.teaching == recipes.TraceSettings()


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
        (GOOD.replace('base = "b"\n', ""), "base must be of type str, got None"),
        (
            GOOD + "[trainers.rl]\nlearnig_rate = 1.0\n",
            "unknown rl setting 'learnig_rate': did you mean 'learning_rate'",
        ),
        (GOOD + "[trainers.rl]\nlearning_rate = 'x'\n", "rl.learning_rate must be float like .*, got 'x'"),
        (GOOD + "deterministic = 1\n", "deterministic must be true or false, got 1"),
        (GOOD + "teaching = { prompts = 0 }\n", "teaching needs prompts >= 1"),
    ],
)
def test_a_bad_recipe_names_the_key_and_what_was_expected(tmp_path, text, message):
    with pytest.raises(BadConfig, match=message):
        recipes.read_recipe(write(tmp_path, text))


def test_a_recipe_takes_over_what_it_does_not_say_itself(tmp_path):
    (tmp_path / "below.toml").write_text(
        GOOD + "devices = 2\ndeterministic = true\n[trainers.rl]\nlearning_rate = 1e-5\ngroup_size = 4\n"
    )
    child = 'extends = "below.toml"\nbase = "c"\ntasks = ["pico_code"]\n[trainers.rl]\ngroup_size = 8\n'
    recipe = recipes.read_recipe(write(tmp_path, child))
    assert (recipe.name, recipe.base, recipe.tasks, recipe.devices) == ("mine", "c", ("pico_code",), 2)
    assert recipe.deterministic
    assert recipe.trainers == {"rl": {"learning_rate": 1e-5, "group_size": 8}}
    (tmp_path / "below.toml").write_text('extends = "mine.toml"\n')
    with pytest.raises(BadConfig, match=r"recipe below\.toml extends mine\.toml, which extends it: a circle"):
        recipes.read_recipe(str(tmp_path / "mine.toml"))
    with pytest.raises(BadConfig, match=r"recipe .*none\.toml: No such file"):
        recipes.read_recipe(write(tmp_path, 'extends = "none.toml"\n'))
    with pytest.raises(BadConfig, match=r"extends must name a file in the same folder or an .*, got '\.\./a\.toml'"):
        recipes.read_recipe(write(tmp_path, 'extends = "../a.toml"\n'))


def test_a_recipe_of_ones_own_may_extend_an_installed_one(tmp_path):
    child = write(tmp_path, 'extends = "pico"\ndev_items = 7\n[trainers.sft]\nlearning_rate = 0.5\n')
    recipe, installed = recipes.read_recipe(child), recipes.read_recipe("pico")
    assert (recipe.name, recipe.dev_items, recipe.trainers["sft"]["learning_rate"]) == ("mine", 7, 0.5)
    assert (recipe.base, recipe.teacher) == (installed.base, installed.teacher) == (str(pico.BASE), str(pico.TEACHER))
    assert (recipe.budget, recipe.tuning) == (installed.budget, installed.tuning)
    assert recipe.tuning is not None
    with pytest.raises(UnknownName, match="unknown recipe 'pic': did you mean 'pico'"):
        recipes.read_recipe(write(tmp_path, 'extends = "pic"\n'))


PAPER = [name for name in registry.names("recipe") if name.startswith("paper-")]


@pytest.mark.parametrize("name", PAPER)
def test_the_recipes_of_the_paper_say_what_it_states(name):
    # arXiv:2506.13404, section 3, appendices A and C
    recipe = recipes.read_recipe(name)
    assert recipe.base == ("Qwen/Qwen2.5-0.5B-Instruct" if "instruct" in name else "Qwen/Qwen2.5-0.5B")
    assert (recipe.tasks, recipe.train) == (("paper",), ("gsm8k",))
    sampling = recipe.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.6, 0.95, 32768)
    configs = {trainer: resolve_config(trainer, settings) for trainer, settings in recipe.trainers.items()}
    assert (configs["sft"]["learning_rate"], configs["sft"]["max_tokens"]) == (4e-5, 8192)
    assert configs["sft.lora"]["learning_rate"] == 1e-4
    rl = configs["rl"]
    assert (rl["learning_rate"], rl["group_size"], rl["max_tokens"]) == (1e-6, 16, 2048)
    assert rl["kl_coef"] > 0
    assert {"kd", "kd.lora", "kd.logits", "kd.onpolicy", "rl.lora", "kd&rl"} <= configs.keys()
    for trainer, config in configs.items():
        step = config.get("batch_size") or config["prompts_per_step"] * config["group_size"]
        micro = min(config["micro_batch"], step // recipe.devices)
        assert step % (micro * recipe.devices) == 0, f"{trainer}: {recipe.devices} devices cannot share a step"
    assert recipe.devices == (8 if "8x" in name else 1)


def test_machines_differ_in_what_fits_on_a_device_and_nothing_else():
    for model in ("base", "instruct"):
        small, large, server = (recipes.read_recipe(f"paper-{model}{machine}") for machine in ("", "-80gb", "-8x80gb"))
        assert server.trainers == large.trainers
        for trainer, settings in small.trainers.items():
            mine, other = (
                {k: v for k, v in s.items() if k != "micro_batch"} for s in (settings, large.trainers[trainer])
            )
            assert mine == other
            assert settings["micro_batch"] < large.trainers[trainer]["micro_batch"]
        assert small.budget == large.budget == server.budget


def test_unknown_names_are_suggested(tmp_path):
    with pytest.raises(UnknownName, match="unknown task or suite 'pico_meth': did you mean 'pico_math'"):
        recipes.read_recipe(write(tmp_path, GOOD.replace("pico_math", "pico_meth")))
    with pytest.raises(UnknownName, match="unknown recipe 'pcio': did you mean 'pico'"):
        recipes.read_recipe("pcio")
    with pytest.raises(BadConfig, match="No such file"):
        recipes.read_recipe(str(tmp_path / "none.toml"))


def test_settings_of_the_command_line_win_and_are_checked(tmp_path):
    recipe = recipes.read_recipe(write(tmp_path, GOOD + "[trainers.rl]\nlearning_rate = 1e-5\n"))
    assert recipes.override(recipe, {"rl.learning_rate": "2e-4"}).trainers["rl"]["learning_rate"] == 2e-4
    with pytest.raises(BadConfig, match="unknown sft setting 'x'"):
        recipes.override(recipe, {"sft.x": "1"})
    with pytest.raises(UnknownName, match="unknown trainer 'sff'"):
        recipes.override(recipe, {"sff.learning_rate": "1"})
