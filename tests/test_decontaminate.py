import pytest

from harness.decontaminate import overlaps, refuse_repeats
from harness.errors import Contaminated
from harness.types import Message, Sample

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


def ask(name, text):
    return Sample(name, (Message("system", "be brief"), Message("user", text)), "1")


def kinds(train, heldout):
    found = overlaps([ask("train", train)], [ask("test", heldout)])
    return [o.kind for o in found]


def test_each_kind_of_overlap_is_found_and_only_that():
    assert kinds("How many?", "How many?") == ["exact"]
    assert kinds("How  MANY", "how many?") == ["normalised"]
    assert kinds(f"A. {LONG} B", f"C {LONG}! D") == ["13-gram"]
    assert kinds(LONG.replace("seven", "7"), LONG) == []
    assert kinds("How many?", "How much?") == []


def test_repeats_are_refused_by_name_and_shared_grams_are_not():
    with pytest.raises(Contaminated, match=r"mine\.jsonl holds 1 items of the held-out suite: train = test \(exact\)"):
        refuse_repeats(overlaps([ask("train", "q")], [ask("test", "q")]), "mine.jsonl")
    refuse_repeats(overlaps([ask("train", f"A {LONG}")], [ask("test", f"B {LONG}")]), "mine.jsonl")
