"""A plug-in that breaks its contract is refused when it is loaded, with the field named; before any work."""

import json
from dataclasses import dataclass, make_dataclass

import pytest
from eval_tasks import Sums
from factories import harness, harness_process

from harness import registry
from harness.engines.opening import open_engine
from harness.engines.scripted import ScriptedEngine
from harness.errors import BadConfig, BadPlugin
from harness_plugins.sft import SFT
from harness_tasks import pico
from harness_tasks.pico.math import PicoMath

SOUND = {"task": Sums(), "trainer": SFT, "engine": ScriptedEngine}
FIRST = PicoMath().samples("test")[:3]
FIELDS = [(kind, field) for kind in SOUND for field in (*registry.VALUES[kind], *registry.METHODS[kind])]


class Without:
    """Another plug-in, but for one field that it lacks or has another value of."""

    def __init__(self, plugin, **changed):
        self._plugin, self._changed = plugin, changed

    def __getattr__(self, name):
        if name not in self._changed:
            return getattr(self._plugin, name)
        if self._changed[name] is Without:
            raise AttributeError(name)
        return self._changed[name]


@pytest.mark.parametrize("kind", SOUND)
def test_a_plug_in_that_keeps_its_contract_is_loaded(kind):
    registry.refuse_broken(kind, "mine", "mine:Mine", SOUND[kind])


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_a_missing_field_is_named(kind, field):
    with pytest.raises(BadPlugin, match=rf"^{kind} 'mine' \(mine:Mine\) has no (method )?'{field}'"):
        registry.refuse_broken(kind, "mine", "mine:Mine", Without(SOUND[kind], **{field: Without}))


@pytest.mark.parametrize(("kind", "field"), [(k, f) for k, f in FIELDS if f in registry.VALUES[k]])
def test_a_field_of_another_type_is_named_with_its_value(kind, field):
    with pytest.raises(BadPlugin, match=rf"'{field}' must be a .*; got 1\.5"):
        registry.refuse_broken(kind, "mine", "mine:Mine", Without(SOUND[kind], **{field: 1.5}))


def test_a_trainers_config_is_a_dataclass_of_defaults():
    @dataclass(frozen=True)
    class Needy:
        learning_rate: float

    with pytest.raises(BadPlugin, match="'Config' needs a default for each of learning_rate"):
        registry.refuse_broken("trainer", "mine", "mine:Mine", Without(SFT, Config=Needy))
    with pytest.raises(BadPlugin, match="'Config' must be a frozen dataclass, got <class 'dict'>"):
        registry.refuse_broken("trainer", "mine", "mine:Mine", Without(SFT, Config=dict))


def test_an_unknown_need_of_a_trainer_is_named():
    with pytest.raises(BadPlugin, match="'needs' holds 'teachers'; known needs: completions, traces, teacher, vocab"):
        registry.refuse_broken("trainer", "mine", "mine:Mine", Without(SFT, needs=frozenset({"teachers"})))


def test_a_broken_trainer_of_another_package_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "mine.py").write_text("class Mine:\n    Config = dict\n")
    (tmp_path / "mine-1.dist-info").mkdir()
    (tmp_path / "mine-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (tmp_path / "mine-1.dist-info" / "entry_points.txt").write_text("[harness.trainers]\nmine = mine:Mine\n")
    done = harness_process("compare", "--strategies", "mine", "--dry-run", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: trainer 'mine' (mine:Mine) has no 'needs': expected a frozenset")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "needs"),
    [("scripted", "replies=.*a JSON file"), ("replay", "generations=.*task=.*harness eval --engine replay")],
)
def test_an_engine_that_cannot_do_without_options_is_refused_by_name(name, needs):
    with pytest.raises(BadConfig, match=rf"^engine '{name}' needs --engine-arg {needs}"):
        open_engine(name, print)


def test_an_engines_options_are_read_by_the_types_of_its_config():
    engine = open_engine("transformers", print, {"batch_size": "7", "dtype": "float32"})
    assert (engine.batch_size, engine.describe().dtype) == (7, "float32")
    with pytest.raises(BadConfig, match="unknown transformers option 'batchsize': did you mean 'batch_size'"):
        open_engine("transformers", print, {"batchsize": "7"})
    with pytest.raises(BadConfig, match="engine 'transformers': option batch_size must be int, got 'many'"):
        open_engine("transformers", print, {"batch_size": "many"})
    with pytest.raises(BadConfig, match=r"option dtype must be 'auto' or 'float32' or .*, got 'float33'"):
        open_engine("vllm", print, {"dtype": "float33"})


def test_a_description_of_another_type_is_refused_when_it_is_made(monkeypatch):
    class Vague(ScriptedEngine):
        Config = make_dataclass("Config", [])

        @classmethod
        def open(cls, config, notify):  # noqa: ARG003
            return cls({})

        def describe(self):
            return {"engine": "vague"}

    monkeypatch.setattr(registry, "load", lambda kind, name: Vague)  # noqa: ARG005
    with pytest.raises(BadPlugin, match=r"engine 'vague': describe\(\) must return a harness.types.EngineInfo, got {"):
        open_engine("vague", print)
    vague = Without(SOUND["task"], describe=lambda: {"licence": "MIT"})
    with pytest.raises(BadPlugin, match=r"describe\(\) must return a harness.types.TaskInfo, got {'licence'"):
        registry.refuse_broken("task", "mine", "mine:Mine", vague)


def test_scripted_replies_of_a_file_are_evaluated(tmp_path):
    (tmp_path / "replies.json").write_text(json.dumps({s.messages[0].content: f"\\boxed{{{s.target}}}" for s in FIRST}))
    done = harness("eval", "--task", "pico_math", "--model", pico.BASE, "--limit", "3", "--engine", "scripted",
                   "--engine-arg", "replies=replies.json", "--run", "run", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "100.0" in done.stdout
    done = harness("eval", "--task", "pico_math", "--model", pico.BASE, "--engine", "scripted",
                   "--engine-arg", "replies=none.json", "--run", "other", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2
    assert "engine 'scripted': cannot read the replies in none.json" in done.stderr


@pytest.mark.parametrize("engine", ["scripted", "replay"])
def test_a_dry_run_of_compare_refuses_such_an_engine(engine, tmp_path):
    done = harness("compare", "--strategies", "sft", "--engine", engine, "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert f"engine {engine!r} needs --engine-arg" in done.stderr
