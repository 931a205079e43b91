"""Which checkpoint counts: chosen on dev, judged once, the others' weights given back to the disk."""

import json
from dataclasses import asdict

import pytest

from harness.checkpoints import open_checkpoint
from harness.experiment.checkpoint_choice import Candidate, DevScore, candidates, choose
from harness.testing.models import make_model
from harness.training.run_stage import StageResult
from harness.types import Checkpoint, Cost

BEFORE = Cost(steps=100, flops_train=1e9)


@pytest.fixture
def stage(tmp_path):
    """A stage with two snapshots and its end; half a snapshot too, as a kill leaves one."""
    home = tmp_path / "stages" / "sft-1"
    for number, name in enumerate(("snapshots/025", "snapshots/050", "final")):
        folder = make_model(home / "work" / name, number)
        (folder / "cost.json").write_text(json.dumps(asdict(Cost(steps=10 * (number + 1)))))
    (home / "work" / "snapshots" / "075").mkdir()
    return StageResult(open_checkpoint(home / "work" / "final"), Cost(steps=30), "done", "", home)


def judge_by(scores):
    """Scores by the order of asking; asking more often than there are scores fails."""
    left = iter(scores)
    return lambda _: DevScore(next(left), "scripted 1 none")


def test_the_best_on_dev_is_chosen_and_only_it_and_the_last_keep_their_weights(stage):
    found = candidates(stage, BEFORE, "dev-1", judge_by([0.2, 0.7, 0.5]), keep=False)
    assert [(c.name, c.dev, c.cost.steps) for c in found] == [("025", 0.2, 110), ("050", 0.7, 120), ("100", 0.5, 130)]
    assert choose(found).name == "050"
    snapshots = stage.folder / "work" / "snapshots"
    assert sorted(p.name for p in snapshots.iterdir()) == ["050", "075"]
    assert open_checkpoint(choose(found).checkpoint.path).digest == choose(found).checkpoint.digest


def test_a_second_call_reads_the_verdicts_and_judges_nothing(stage):
    first = candidates(stage, BEFORE, "dev-1", judge_by([0.2, 0.7, 0.5]), keep=False)
    assert candidates(stage, BEFORE, "dev-1", judge_by([]), keep=False) == first


def test_the_scores_name_their_engine_and_those_that_name_none_are_read_on(stage):
    first = candidates(stage, BEFORE, "dev-1", judge_by([0.2, 0.7, 0.5]), keep=False)
    kept = json.loads((stage.folder / "dev.json").read_text())
    assert [values.pop("engine") for values in kept["candidates"]] == ["scripted 1 none"] * 3
    (stage.folder / "dev.json").write_text(json.dumps(kept))
    assert candidates(stage, BEFORE, "dev-1", judge_by([]), keep=False) == first


def test_other_dev_items_are_judged_anew(stage):
    candidates(stage, BEFORE, "dev-1", judge_by([0.2, 0.7, 0.5]), keep=True)
    found = candidates(stage, BEFORE, "dev-2", judge_by([0.9, 0.1, 0.1]), keep=True)
    assert choose(found).name == "025"


def test_the_latest_of_equals_is_chosen():
    nowhere = Checkpoint(None, "d", "t")
    equals = [Candidate(nowhere, name, Cost(), 0.5) for name in ("025", "050", "100")]
    assert choose(equals).name == "100"
