"""What a stage may rely on in every installed trainer, on a tiny random model and a reward made here."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import registry
from harness.checkpoints import open_checkpoint
from harness.meter import Meter
from harness.testing.training import Given, comparable, digest, make_models, run, series, snapshots
from harness.types import Checkpoint, Cost, Trained

First = Callable[[str], tuple[Trained, Meter, Path]]

TRAINERS = registry.names("trainer")
TRAINED = [name for name in TRAINERS if name != "noop"]  # noop gives back its parent's weights by design
# variants whose code after a kill, or under another seed, is that of the trainer they are made of
VARIANTS = {"kd", "sft.lora", "kd.lora", "rl.lora", "rl.dr_grpo", "rl.dapo"}
RARELY = [pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name for name in TRAINED]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def first(base: Path, tmp_path_factory: pytest.TempPathFactory) -> First:
    """One finished stage of each trainer, seed 0: (trained, meter, folder) by name; each is trained once."""
    done: dict[str, tuple[Trained, Meter, Path]] = {}

    def get(name: str) -> tuple[Trained, Meter, Path]:
        if name not in done:
            out = tmp_path_factory.mktemp(name)
            done[name] = (*run(name, base, out), out)
        return done[name]

    return get


@pytest.mark.parametrize("name", TRAINERS)
def test_a_stage_ends_in_a_full_checkpoint_and_leaves_its_parent_alone(name: str, base: Path, first: First) -> None:
    before = open_checkpoint(base)
    trained, _, out = first(name)
    assert trained.status == "done", trained.why
    assert trained.path.is_relative_to(out / "work")
    checkpoint = open_checkpoint(trained.path)
    assert checkpoint.tokenizer_digest == before.tokenizer_digest
    assert {f.name for f in trained.path.iterdir()} == {f.name for f in base.iterdir()}
    assert open_checkpoint(base) == Checkpoint(base.resolve(), before.digest, before.tokenizer_digest)


@pytest.mark.parametrize("name", TRAINED)
def test_training_changes_the_weights(name: str, base: Path, first: First) -> None:
    assert digest(first(name)[0]) != open_checkpoint(base).digest


@pytest.mark.parametrize("name", TRAINERS)
def test_the_new_checkpoint_loads_with_the_parents_tensor_names_in_float32(name: str, base: Path, first: First) -> None:
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    def types(path: Path) -> dict[str, str]:
        with safe_open(path / "model.safetensors", "pt") as file:
            return {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118

    trained, _, _ = first(name)
    assert types(trained.path) == types(base)
    assert set(types(base).values()) == {"F32"}
    model = AutoModelForCausalLM.from_pretrained(trained.path)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight  # tied, as in the parent


@pytest.mark.parametrize("name", TRAINED)
def test_the_budget_is_spent_to_the_last_step_that_fits_and_passed_by_two_percent_at_most(
    name: str, first: First
) -> None:
    _, meter, out = first(name)
    used = series(out, "used")
    steps = [after - before for before, after in itertools.pairwise(used)]
    assert len(used) == meter.cost.steps > 2
    assert used[-1] == meter.used <= 1.02 * meter.budget.amount
    assert meter.used >= meter.budget.amount or meter.used + max(steps) > 1.02 * meter.budget.amount


@pytest.mark.parametrize("name", TRAINED)
def test_checkpoints_on_the_way_are_kept_with_what_they_had_cost(name: str, first: First) -> None:
    trained, meter, _ = first(name)
    kept = sorted(snapshots(trained))
    folder = trained.path.parent / "snapshots"
    used = [Cost(**json.loads((folder / each / "cost.json").read_text())).tokens for each in kept]
    assert used == sorted(used)
    assert all(cost < meter.used for cost in used)
    assert len({*snapshots(trained).values(), digest(trained)}) == len(kept) + 1


@pytest.mark.parametrize("name", ["sft", "rl"])  # all others repeat themselves after a kill, below
def test_one_seed_repeats_bit_for_bit(name: str, base: Path, first: First, tmp_path: Path) -> None:
    trained, meter, _ = first(name)
    again, counted = run(name, base, tmp_path)
    assert digest(again) == digest(trained)
    assert comparable(counted.cost) == comparable(meter.cost)


@pytest.mark.parametrize("name", RARELY)
def test_another_seed_gives_other_weights(name: str, base: Path, first: First, tmp_path: Path) -> None:
    assert digest(run(name, base, tmp_path, Given(seed=1))[0]) != digest(first(name)[0])


@pytest.fixture(scope="session")
def killed(base: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder for each trainer asked for, holding what a process left that was killed somewhere in its stage."""
    folder = tmp_path_factory.mktemp("killed")
    asked = [item for item in request.session.items if "killed" in getattr(item, "fixturenames", ())]
    names = [item.callspec.params["name"] for item in asked]  # type: ignore[attr-defined]
    code = """
import os, sys
from pathlib import Path
from harness.engines.transformers import leave_out_scikit_learn
from harness.testing.training import Fatal, Given, run
leave_out_scikit_learn()
from trl import import_utils
import_utils.is_vllm_available = lambda *_, **__: False  # else TRL imports it
from trl import DistillationTrainer, GRPOTrainer, SFTTrainer
base, folder = map(Path, sys.argv[1:3])
for name in sys.argv[3:]:
    if not os.fork():  # what is imported once, which TRL does when it is asked for a class, serves all
        sys.stderr.write(f"{name}: killed in ")
        run(name, base, folder / name, Given(meter=Fatal))
        os._exit(0)
    print(os.wait()[1])
"""
    command = [sys.executable, "-c", code, str(base), str(folder), *names]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.stdout.split() == [str(signal.SIGKILL.value)] * len(names), done.stderr
    print("\n".join(line for line in done.stderr.splitlines() if "killed in" in line))  # shown if a test fails
    return folder


@pytest.mark.parametrize("name", RARELY)
def test_a_killed_stage_goes_on_to_the_same_weights(name: str, base: Path, first: First, killed: Path) -> None:
    trained, meter, home = first(name)
    out = killed / name
    assert not (out / trained.path.relative_to(home)).exists()
    states = out.rglob("checkpoint-*/trainer_state.json")  # of transformers' trainers
    in_order = sorted(states, key=lambda path: int(path.parent.name.split("-")[1]))
    if len(in_order) > 1:
        in_order[-1].write_text('{"epoch"')  # as if the kill had come while this was written
    lines = len(series(out, "used"))
    resumed, counted = run(name, base, out)
    assert len(series(out, "used")) - lines < meter.cost.steps, "it began again"
    assert digest(resumed) == digest(trained)
    assert comparable(counted.cost) == comparable(meter.cost)
    assert snapshots(resumed) == snapshots(trained)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_finished_stage_is_handed_back_untouched_with_its_cost(name: str, base: Path, first: First) -> None:
    trained, meter, out = first(name)
    before = digest(trained)
    again, counted = run(name, base, out)
    assert again == trained
    assert digest(again) == before
    assert comparable(counted.cost) == comparable(meter.cost)


def test_importing_trainers_loads_no_torch() -> None:
    code = (
        "import sys\nfrom harness import registry\nfor name in registry.names('trainer'):\n"
        "    registry.load('trainer', name)\n    assert 'torch' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
