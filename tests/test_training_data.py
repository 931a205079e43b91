"""What strategies learn from: rows that hold no held-out question, dev items apart, traces that were judged right."""

import re

import pytest
from eval_tasks import Sums

from harness.board.fact_sentences import traces_text
from harness.checkpoints import open_checkpoint
from harness.engines.scripted import ScriptedEngine
from harness.errors import DataError, UnknownSplit
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import job
from harness.experiment.recipes import TraceSettings
from harness.experiment.training_data import Teacher, gather, teach
from harness.types import Message, Sample, TrainRow
from harness_tasks import pico

STORY = "Anna has 3000 red apples in one basket and just as many green ones in another, how many in all?"


class Splits(Sums):
    """Sums whose train questions are their own, with or without a dev split."""

    FIRST = {"train": 1000, "dev": 2000, "test": 3000}  # noqa: RUF012

    def __init__(self, name, n=20, dev=False):
        super().__init__(n)
        self.name, self.dev = name, dev

    def samples(self, split):
        if split == "dev" and not self.dev:
            raise UnknownSplit(f"task {self.name} has no dev split")
        first = self.FIRST[split]
        return [
            Sample(
                f"{self.name}/{split}/{i}",
                (Message("user", STORY if i == 3000 else f"{self.name}: what is {i} + {i}?"),),
                str(2 * i),
                {"solution": f"\\boxed{{{2 * i}}}"},
            )
            for i in range(first, first + self.n)
        ]


def made(*tasks, given=None, dev_items=5, limit=None):
    suite = [job(task, "test") for task in tasks]
    return gather({task.name: task for task in tasks}, suite, given, dev_items, limit, "here")


def test_a_task_without_dev_gives_up_the_end_of_its_train_split():
    items = made(Splits("a"), Splits("b", dev=True))
    ids = [row.sample.id for row in items.rows]
    assert ids[:4] == ["a/train/1000", "b/train/1000", "a/train/1001", "b/train/1001"]  # taking turns
    assert len(ids) == items.n_offered == 15 + 20
    assert [(part.split, len(part.samples)) for part in items.dev] == [("train", 5), ("dev", 5)]
    assert not {sample.id for part in items.dev for sample in part.samples} & set(ids)


def test_a_limit_shortens_what_is_judged_and_not_what_is_learnt():
    assert made(Splits("a"), limit=2).rows == made(Splits("a")).rows
    assert [len(part.samples) for part in made(Splits("a"), limit=2).dev] == [2]


def test_given_rows_that_hold_a_test_or_dev_question_are_dropped_and_listed():
    task = Splits("a", dev=True)
    own = task.samples("train")[:3]
    given = [TrainRow("a", s, "x") for s in (*own, task.samples("test")[7], task.samples("dev")[0])]
    items = made(task, given=given)
    assert [row.sample for row in items.rows] == own
    assert [overlap.train for overlap in items.dropped] == ["a/test/3007", "a/dev/2000"]
    assert items.n_offered == 5


def test_nothing_to_learn_from_is_an_error_that_says_where_it_looked():
    with pytest.raises(DataError, match="no training items in here"):
        made(Splits("a"), given=[])
    leak = [TrainRow("a", Splits("a").samples("test")[0], "x")]
    with pytest.raises(DataError, match="all 1 training items of here repeat a held-out question"):
        made(Splits("a"), given=leak)


def answer(offset):
    """Right but for every third question, which is off by `offset`."""

    def reply(request):
        i = int(re.search(r"what is (\d+)", request.messages[-1].content).group(1))
        return f"\\boxed{{{2 * i + (offset if i % 3 == 0 else 0)}}}"

    return reply


def test_only_traces_judged_right_are_taught_and_all_are_paid_for(tmp_path):
    task, teacher = Splits("a"), open_checkpoint(pico.TEACHER)
    items, ticks = made(task), []
    with Graders(threads=2) as graders:
        engine = ScriptedEngine(answer(1))
        call = (Teacher(teacher, TraceSettings(prompts=12)), items)
        traces = teach(*call, engine, graders, tmp_path, lambda done, what: ticks.append((done, what)))
        silent = ScriptedEngine({})  # would answer with errors
        again = teach(*call, silent, graders, tmp_path, lambda *_: None)
    assert (traces.n_asked, traces.n_right) == (12, 8)
    assert [row.completion for row in traces.rows][:2] == ["\\boxed{2000}", "\\boxed{2002}"]  # 1002 is a third
    assert traces.teaching.tokens == 12  # a word each
    assert traces.teaching.seconds > 0
    assert ticks[-1][0] == 1.0
    assert again == traces
    assert traces_text(traces.facts) == "one for each of the first 12 train items, 8 graded right"


def test_a_trace_that_holds_a_held_out_question_is_dropped(tmp_path):
    task = Splits("a")
    items = made(task)

    def reply(request):
        i = int(re.search(r"what is (\d+)", request.messages[-1].content).group(1))
        return f"{STORY} {2 * i}\n\\boxed{{{2 * i}}}" if i == 1000 else f"\\boxed{{{2 * i}}}"

    with Graders(threads=2) as graders:
        call = (Teacher(open_checkpoint(pico.TEACHER), TraceSettings(prompts=3)), items)
        traces = teach(*call, ScriptedEngine(reply), graders, tmp_path, lambda *_: None)
    assert traces.n_right == 3
    assert [row.sample.id for row in traces.rows] == ["a/train/1001", "a/train/1002"]
    assert [(o.train, o.kind, o.place) for o in traces.dropped] == [("a/train/1000", "13-gram", "completion")]
    assert "3 graded right, 1 of them dropped because they contain a held-out question" in traces_text(traces.facts)


def test_a_teacher_that_is_never_right_stops_the_comparison(tmp_path):
    task = Splits("a")
    teacher = Teacher(open_checkpoint(pico.TEACHER), TraceSettings())
    call = (teacher, made(task), ScriptedEngine(lambda _: "no idea"))
    with Graders(threads=2) as graders, pytest.raises(DataError, match="answered none of 15 train items right"):
        teach(*call, graders, tmp_path, lambda *_: None)
