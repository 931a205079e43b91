"""The dev score of a checkpoint: a reply that could not be graded is not wrong."""

import contextlib
import dataclasses
from dataclasses import replace

import pytest
from eval_tasks import Sums

from harness.checkpoints import open_checkpoint
from harness.engines.scripted import ScriptedEngine
from harness.errors import DataError
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import job
from harness.experiment import recipes
from harness.experiment.plan import Experiment
from harness.experiment.run_context import RunContext
from harness.experiment.stages import StrategyRun
from harness.experiment.steps import TrainedRun, dev_score, judged_on_dev
from harness.experiment.training_data import TrainingItems
from harness.records.test_set_log import EvaluationLog
from harness.training import strategies
from harness.training.decontaminate import HeldOut
from harness_tasks import pico


def tick(fraction, text):
    """Nothing is shown."""


class Quiet:
    """Progress that shows nothing."""

    def say(self, text):
        """Nothing is shown."""

    @contextlib.contextmanager
    def step(self, *_):
        yield tick


@pytest.fixture
def context(tmp_path):
    """A comparison with four dev items whose engine knows no reply."""
    dev = (job(Sums(4), "test"),)
    plan = Experiment(recipes.read_recipe("pico"), (), (1,), tmp_path / "run")
    with Graders(threads=1) as graders:
        yield RunContext(
            plan=plan,
            base=open_checkpoint(pico.TEACHER),
            teacher=None,
            items=TrainingItems({}, (), dev, HeldOut([]), (), 0),
            suite=(),
            engine=ScriptedEngine({}),
            graders=graders,
            progress=Quiet(),
            test_set_log=EvaluationLog(plan.folder),
        )


def scripted(context, *replies):
    """The context with an engine that fails for every item after the last reply."""
    samples = context.items.dev[0].samples
    asked = [sample.messages[-1].content for sample in samples]
    return replace(context, engine=ScriptedEngine(dict(zip(asked, replies, strict=False))))


def test_a_dev_reply_that_failed_is_left_out_and_not_wrong(context):
    right, wrong = context.items.dev[0].samples[0].target, "-1"
    replies = scripted(context, f"\\boxed{{{right}}}", f"\\boxed{{{wrong}}}")
    found = dev_score(replies, context.base, tick)
    assert (found.value, found.engine) == (0.5, f"scripted {replies.engine.describe().version} none")


def test_a_checkpoint_without_a_graded_dev_reply_has_no_score_and_not_zero(context):
    with pytest.raises(DataError, match=r"none of the replies to 4 dev items could be graded, so checkpoint .* has no"):
        dev_score(context, context.base, tick)


def test_a_base_without_a_dev_score_is_no_point_of_a_learning_curve(context):
    strategy_run = StrategyRun(strategies.parse_strategy("sft"), 1, {})
    trained = TrainedRun(strategy_run, ())
    assert judged_on_dev(context, trained).points == ()
    assert [point.score for point in judged_on_dev(context, trained, 0.25).points] == [0.25]


def test_what_the_steps_share_cannot_be_changed_by_one_of_them(context):
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.plan = None


@pytest.mark.parametrize(("limit", "dev"), [(None, 72), (7, 7), (32_768, 72)])
def test_dev_replies_are_no_longer_than_those_that_count(limit, dev, tmp_path):
    recipe = recipes.read_recipe("pico")
    recipe = replace(recipe, tasks=("pico_math",), sampling=replace(recipe.sampling, max_tokens=limit))
    opened = Experiment(recipe, (), (1,), tmp_path, limit=2).open_tasks()
    assert [part.params.max_tokens for part in opened.items.dev] == [dev]
    assert [part.params.max_tokens for part in opened.suite] == [limit or 72]
