"""What every installed task promises. A task whose data is not on this machine is skipped with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest

from harness import registry
from harness.errors import DataError, UnknownSplit
from harness.protocols import Task
from harness.sandbox import Sandbox
from harness.training.decontaminate import HeldOut, sift
from harness.types import Sample, Split, TrainRow

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
WRONG = ("", "I do not know.", "#### 987654321", "\\boxed{987654321}", "    return 'wrong'\n")


@pytest.fixture(scope="module")
def runner() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module", params=registry.names("task"))
def task(request: pytest.FixtureRequest) -> Task:
    found = registry.make_task(request.param)
    assert found.name == request.param
    try:
        found.samples("test")
    except DataError as missing:
        pytest.skip(str(missing))
    return found


def splits(task: Task) -> Iterator[tuple[Split, Sequence[Sample]]]:
    for split in SPLITS:
        try:
            yield split, task.samples(split)
        except UnknownSplit:
            assert split != "test", "every task has held-out items"


def test_items_are_the_same_at_every_call_and_no_two_share_an_id(task: Task) -> None:
    for split, samples in splits(task):
        again = registry.make_task(task.name).samples(split)
        assert [s.hash for s in again] == [s.hash for s in samples]
        assert len({s.id for s in samples}) == len(samples)
        assert all(s.id.startswith(f"{task.name}/{split}/") for s in samples)


def test_splits_share_no_question(task: Task) -> None:
    for (one, first), (other, second) in combinations(dict(splits(task)).items(), 2):
        overlaps = sift([TrainRow("", sample) for sample in first], HeldOut(second))[1]
        repeats = [overlap for overlap in overlaps if overlap.kind != "13-gram"]
        assert not repeats, f"{one} and {other}: {repeats[:3]}"


def test_related_items_are_named_and_are_not_all_items(task: Task) -> None:
    samples = task.samples("test")
    named = [sample.cluster_hash for sample in samples]
    assert [sample.cluster_hash for sample in registry.make_task(task.name).samples("test")] == named
    assert len(set(named)) > 1 or len(named) == 1, "what all items share tells nothing of which are related"
    # another task may have a 7 too: an id needs its collection
    assert not [sample.id for sample in samples if sample.cluster.strip().isdecimal()]


def test_its_own_reference_is_right_and_a_wrong_reply_is_not(task: Task, runner: Sandbox) -> None:
    defects = task.defects()  # items that are known to be faulty prove nothing
    # metadata["solution"] is what sft trains on, and what a grader must accept
    for sample in task.samples("test")[: 15 if task.needs_sandbox else 40]:
        if sample.id in defects:
            continue
        right = task.score(sample, sample.metadata["solution"], runner)
        assert (right["strict"].value, right["lenient"].value) == (1.0, 1.0), sample.id
        for wrong in WRONG:
            verdicts = task.score(sample, wrong, runner)
            assert (verdicts["strict"].value, verdicts["lenient"].value) == (0.0, 0.0), (sample.id, wrong)


def test_an_unknown_split_is_an_error(task: Task) -> None:
    with pytest.raises(UnknownSplit, match="validation"):
        task.samples("validation")  # type: ignore[arg-type]
