import gzip
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from harness import registry
from harness.training.decontaminate import GRAM, HeldOut, Overlap, sift, words_of
from harness.types import RAW, Message, Sample, TrainRow

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"
ASK = 'Think step by step. End with a line "#### N", where N is the answer as a number without its unit.'


def ask(name, text, target="1", **metadata):
    return Sample(name, (Message("system", "be brief"), Message("user", text)), target, metadata)


def row(prompt="Why?", target="1", completion=None, **metadata):
    return TrainRow("any", ask("train", prompt, target, **metadata), completion)


def heldout(*texts):
    return HeldOut(ask(f"any/test/{i}", text) for i, text in enumerate(texts))


def found(prompt, *texts):
    """The kind of overlap between a train prompt and held-out questions."""
    overlap = heldout(*texts).overlaps(row(prompt))
    return overlap and overlap.kind


def story(seed, n=30):
    """n words that no other story has."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(n))


# --- kinds and places ------------------------------------------------------------------------------------------------


def test_each_kind_of_overlap_is_found_and_only_that():
    assert found("How many?", "How many?") == "exact"
    assert found("How  MANY", "how many?") == "normalised"
    assert found(f"A. {LONG} B", f"C {LONG}! D") == "13-gram"
    assert found(LONG.replace("seven", "7"), LONG) is None
    assert found("How many?", "How much?") is None


def test_an_overlap_says_which_items_where_and_what_they_share():
    held = heldout("Q?", f"X {LONG} Y", f"Z {LONG}")
    twice = f"So: {LONG} {LONG}"
    assert held.overlaps(row("Q?")) == Overlap("train", "any/test/0", "exact", "prompt", "Q?")
    assert held.overlaps(row(twice)) == Overlap("train", "any/test/1", "13-gram", "prompt", LONG)
    same = HeldOut([*(ask(f"a/{i}", "Q?") for i in range(2)), *(ask(f"b/{i}", f"q. {ASK}") for i in range(4))])
    assert [same.overlaps(row(text)).heldout for text in ("Q?", "q!", f"Q {ASK}")] == ["a/0", "a/0", "b/0"]
    long = "What? " * 40
    assert heldout(long).overlaps(row(long)) == Overlap("train", "any/test/0", "exact", "prompt", long[:80])
    assert heldout(long).overlaps(row(long.upper())).text == long.upper()[:80]


@pytest.mark.parametrize("text", ["How many eggs?", "how many EGGS", f"Well, {LONG}. So"])
@pytest.mark.parametrize(
    ("place", "name"),
    [("prompt", "prompt"), ("target", "target"), ("target", "solution"), ("completion", "completion")],
)
def test_all_three_texts_of_a_train_row_are_read(text, place, name):
    held = heldout("How many eggs?", f"{LONG}!")
    assert held.overlaps(row()) is None
    overlap = held.overlaps(row(**{name: text}))
    kind = {"How many eggs?": "exact", "how many EGGS": "normalised"}.get(text, "13-gram")
    assert (overlap.kind, overlap.place) == (kind, place)


def test_the_strongest_kind_is_named_and_of_one_kind_the_first_place():
    held = heldout("How many eggs?", LONG, "Why not?")
    strong = held.overlaps(row(prompt=f"A {LONG}", target="why NOT", completion="How many eggs?"))
    assert (strong.kind, strong.place) == ("exact", "completion")
    strong = held.overlaps(row(prompt=f"A {LONG}", target="why NOT", completion="x"))
    assert (strong.kind, strong.place) == ("normalised", "target")
    for texts, place in [
        ({"prompt": "Why not?", "target": "How many eggs?", "completion": "Why not?"}, "prompt"),
        ({"prompt": "Why not?", "target": "Why not?"}, "prompt"),
        ({"target": f"1 {LONG}", "completion": f"2 {LONG}"}, "target"),
        ({"solution": LONG, "completion": LONG}, "target"),
    ]:
        assert held.overlaps(row(**texts)).place == place


def test_a_metadata_solution_that_is_no_text_is_left_alone():
    assert heldout("7").overlaps(row(solution=7)) is None


def test_solutions_of_held_out_items_are_not_compared_with():
    held = HeldOut([ask("test", "How many eggs?", target=f"T {LONG}", solution=f"S {LONG}")])
    assert held.overlaps(row(prompt=LONG, target=LONG, completion=LONG)) is None


def test_sift_keeps_the_clean_rows_in_order_and_lists_each_dropped_one_once():
    rows = [row(f"question {i}", completion="How many eggs?" if i % 3 == 0 else None) for i in range(7)]
    rows[3] = row("How many eggs?", completion="How many eggs?")
    kept, dropped = sift(rows, heldout("How many eggs?", "how many eggs"))
    assert kept == (rows[1], rows[2], rows[4], rows[5])
    assert [(o.place, o.heldout) for o in dropped] == [
        ("completion", "any/test/0"),
        ("prompt", "any/test/0"),
        ("completion", "any/test/0"),
    ]
    assert sift(rows, HeldOut([])) == (tuple(rows), [])
    assert sift([], heldout("How many eggs?")) == ((), [])


# --- texts with little or nothing in them ----------------------------------------------------------------------------


def test_a_question_of_fewer_than_13_words_is_found_by_equality_alone():
    short = LONG.rpartition(" ")[0]
    assert len(words_of(short)) == GRAM - 1
    assert found(short, short) == "exact"
    assert found(short.upper(), short) == "normalised"
    assert found(f"{short} and more", short) is None
    assert found(f"{LONG} and more", LONG) == "13-gram"


@pytest.mark.parametrize("blank", ["", "  \n", "?!", "¿?", "多少?"])
def test_a_text_without_words_is_no_question_again_in_other_punctuation(blank):
    assert found("...", blank, "How many?") is None
    assert found("...", "", blank) is None


def test_a_blank_text_equals_nothing():
    held = heldout("", "  \n", "How many?")
    assert held.overlaps(row("", "", "")) is None
    assert held.overlaps(row("  \n", "  \n", "  \n")) is None


def test_a_question_in_another_script_is_found_as_it_stands():
    assert found("鸡兔同笼,多少只?", "鸡兔同笼,多少只?") == "exact"
    assert found("鸡兔同笼,多少只?", "一加一等于多少?") is None
    assert found("İÇİN Straße 3½", "İÇİN Straße 3½") == "exact"
    assert words_of("Où est 3½ KM?") == ("o", "est", "3", "km")


def test_only_the_last_user_turn_is_a_question():
    shots = (Message("user", LONG), Message("assistant", "#### 3"))
    held = HeldOut([Sample("test", (*shots, Message("user", "How many eggs?")), "1")])
    assert held.overlaps(row(LONG)) is None
    assert held.overlaps(row("How many eggs?")).kind == "exact"
    sample = Sample("train", (*shots, Message("user", "Why?"), Message("assistant", LONG)), "1")
    assert heldout(LONG).overlaps(TrainRow("any", sample)) is None


def test_a_raw_prompt_is_all_question_but_for_the_shots_its_task_repeats():
    raw = Sample("raw", (Message(RAW, LONG),), "1")
    assert raw.question == LONG
    assert HeldOut([raw]).overlaps(row(LONG)).kind == "exact"
    shot = "Q: how many legs have three spiders and two ants if none of them has lost any? A: 36 "
    few = [
        Sample(f"t/test/{i}", (Message(RAW, f"{shot}Q: {LONG if i == 0 else f'what is {i} plus {i}?'} A:"),), "1")
        for i in range(8)
    ]
    assert HeldOut(few).overlaps(row(shot)) is None
    assert HeldOut(few).overlaps(row(LONG)).heldout == "t/test/0"


# --- what all prompts of a task say ----------------------------------------------------------------------------------

FRAMES = {
    "end": "{} " + ASK,
    "short end": "{} How many dollars did they spend? Think step by step. Put it in a \\boxed{{}}.",
    "start": f"{ASK} {{}}",
    "both": "Solve this for me now: {} Show all of your work.",
    "middle": "{} Your code should pass these tests, and nothing else: {}",
    "shots": f"Q: {LONG} {LONG}\nA: 3\n\nQ: {{}}\nA:",
}


def framed(frame, i):
    return FRAMES[frame].format(story(f"{i} one"), story(f"{i} two"))


@pytest.mark.parametrize("n", [3, 4, 40])
@pytest.mark.parametrize("frame", FRAMES)
def test_an_instruction_in_every_prompt_makes_no_overlap(frame, n):
    held = heldout(*(framed(frame, i) for i in range(n)))
    rows = [row(framed(frame, f"train {i}"), completion=framed(frame, f"reply {i}")) for i in range(9)]
    assert sift(rows, held) == (tuple(rows), [])
    assert held.overlaps(row(FRAMES[frame].format("", ""))) is None


@pytest.mark.parametrize("frame", FRAMES)
def test_under_an_instruction_every_kind_is_still_found(frame):
    texts = [framed(frame, i) for i in range(9)]
    held = heldout(*texts)
    inside = " ".join(words_of(story("5 one"))[8:21])
    hits = [texts[5], texts[5].upper(), FRAMES[frame].format(inside, "of another"), f"Hm: {inside}"]
    assert [held.overlaps(row(text)).kind for text in hits] == ["exact", "normalised", "13-gram", "13-gram"]
    assert {held.overlaps(row(text)).heldout for text in hits} == {"any/test/5"}
    assert held.overlaps(row(FRAMES[frame].format(inside.rpartition(" ")[0], "of another"))) is None


def test_the_last_word_of_a_question_does_not_join_the_instruction_to_a_shared_run():
    held = heldout(*(f"{story(i)} dollars? {ASK}" if i % 3 == 0 else f"{story(i)} eggs? {ASK}" for i in range(9)))
    assert held.overlaps(row(f"{story('train')} dollars? {ASK}")) is None


def test_an_instruction_has_five_words_or_more():
    for n, kind in [(4, None), (5, "normalised")]:
        assert found(story(3, 6), *(f"{story('instruction', n)}: {story(i, 6)}" for i in (0, 1, 2, 3, 3))) == kind
    again = heldout(*(f"{'?' * i} {ASK} {story(min(i, 3), 6)}" for i in range(6)))
    assert again.overlaps(row(story(3, 6))).heldout == "any/test/3"


def test_a_train_prompt_without_the_instruction_repeats_a_short_question_under_it():
    held = heldout(*(f"What is {i} plus {i}? {ASK}" for i in range(9)))
    bare = HeldOut(ask(f"any/test/{i}", f"{story(i, 4)}? {ASK}") for i in range(9))
    assert bare.overlaps(row(story(4, 4))) == Overlap("train", "any/test/4", "normalised", "prompt", story(4, 4))
    assert bare.overlaps(row(target=story(4, 4))) is None
    assert held.overlaps(row(ASK)) is None
    assert held.overlaps(row("")) is None


def test_each_task_of_a_suite_has_its_own_instruction():
    many = [ask(f"math/test/{i}", story(f"m{i}")) for i in range(40)]
    few = [ask(f"grade/test/{i}", f"{story(f'g{i}')} {ASK}") for i in range(5)]
    assert HeldOut([*many, *few]).overlaps(row(f"{story('train')} {ASK}")) is None


def test_a_run_that_half_of_the_questions_share_is_no_instruction():
    rare = [f"{story(i)} {ASK}" if i % 2 else story(i) for i in range(8)]
    assert found(f"{story('train')} {ASK}", *rare) == "13-gram"
    assert found(f"{story('train')} {ASK}", *rare, f"{story(9)} {ASK}") is None


def test_words_that_one_question_repeats_are_no_instruction():
    assert found(f"Well, {LONG}", f"{LONG}. " * 9, *(story(i) for i in range(4))) == "13-gram"


def test_words_before_and_after_an_instruction_are_not_in_a_row():
    texts = [f"{story(f'{i} one', 7)} {ASK} {story(f'{i} two', 7)}" for i in range(5)]
    apart = f"{story('3 one', 7)} {story('3 two', 7)}"
    assert found(apart, *texts) == "normalised"
    assert found(f"Well, {apart}", *texts) is None


def test_two_items_show_no_instruction():
    twice = [f"{story(i)} {ASK}" for i in range(2)]
    assert found(f"{story('train')} {ASK}", *twice) == "13-gram"


def test_ten_thousand_rows_against_five_thousand_questions():
    vocabulary = story("words", 5000).split()
    rng = random.Random(0)

    def text(n):
        return " ".join(rng.choices(vocabulary, k=n))

    texts = [text(60) for _ in range(5000)]
    rows = [row(text(60), text(3), text(100)) for _ in range(10_000)]
    planted = " ".join(texts[4321].split()[30:50])
    rows[9876] = row(text(60), text(3), f"{text(80)} {planted}")
    kept, dropped = sift(rows, heldout(*texts))
    assert len(kept) == 9999
    assert [(o.heldout, o.place) for o in dropped] == [("any/test/4321", "completion")]
    assert planted.startswith(dropped[0].text)


# --- real items ------------------------------------------------------------------------------------------------------


def train_rows(task):
    return [TrainRow(task.name, s, s.metadata.get("solution")) for s in task.samples("train")]


@pytest.mark.parametrize("name", ["pico_math", "pico_code"])
def test_no_train_row_of_the_generated_tasks_is_dropped_and_a_planted_one_is(name):
    task = registry.make_task(name)
    rows = train_rows(task)
    for split in ("dev", "test"):
        items = task.samples(split)
        kept, dropped = sift([*rows, TrainRow(name, items[3])], HeldOut(items))
        assert kept == tuple(rows)
        assert [(o.train, o.heldout, o.kind) for o in dropped] == [(items[3].id, items[3].id, "exact")]


@pytest.fixture
def data():
    if not os.environ.get("HARNESS_DATA"):
        pytest.skip("HARNESS_DATA is not set: no real benchmarks here")
    return Path(os.environ["HARNESS_DATA"])


FILES = {
    "gsm8k train": ("math/gsm8k/train.jsonl.gz", "question"),
    "gsm8k test": ("math/gsm8k/test.jsonl.gz", "question"),
    "gsm_hard": ("math/gsm_hard/gsmhardv2.jsonl.gz", "input"),
    "math train": ("math/math/train.jsonl.gz", "problem"),
    "math train(7500)": ("math/math/train.jsonl.gz", "problem"),
    "math test": ("math/math/test.jsonl.gz", "problem"),
    "math test(5000)": ("math/math/test.jsonl.gz", "problem"),
    "math500": ("math/math/math500.jsonl", "problem"),
    "aime 1983-2023": ("math/aime/aime_1983_2023.jsonl.gz", "problem"),
    "aime24": ("math/aime/aime24.jsonl", "problem"),
    "aime25": ("math/aime/aime25.jsonl", "problem"),
}


def published(data, name):
    file, column = FILES[name]
    content = (data / file).read_bytes()
    text = (gzip.decompress(content) if file.endswith(".gz") else content).decode()
    return [ask(f"{name}/{i}", json.loads(x)[column]) for i, x in enumerate(text.split("\n")) if x.strip()]


@pytest.mark.data
@pytest.mark.parametrize(
    ("pair", "shared"),
    [
        ("gsm8k train -> gsm8k test", 3),
        ("math train(7500) -> math500", 58),
        ("math train(7500) -> math test(5000)", 589),
        ("math test(5000) -> math500", 449),
        ("aime 1983-2023 -> aime24", 9),
        ("aime 1983-2023 -> aime25", 10),
        ("aime 1983-2023 -> math test", 115),
        ("aime 1983-2023 -> math train", 506),
        ("gsm8k test -> gsm_hard", 1302),
    ],
)
def test_the_overlap_of_published_sets_is_the_one_on_record(data, pair, shared):
    """The record counts items of B that share with A, so A is indexed here and B is sifted."""
    facts = map(json.loads, (data / "facts/contamination.jsonl").read_text(encoding="utf-8").splitlines())
    fact = next(f for f in facts if f["pair"] == pair and f["n"] == GRAM)
    a, b = (published(data, name) for name in pair.split(" -> "))
    assert (len(a), len(b)) == (fact["rows_a"], fact["rows_b"])
    _, dropped = sift([TrainRow("b", sample) for sample in b], HeldOut(a))
    kinds = Counter(o.kind for o in dropped)
    assert kinds["exact"] == fact["b_exact"]
    assert kinds["exact"] + kinds["normalised"] == fact["b_normalised_exact"]
    short = {s.id for s in b if len(words_of(s.question)) < GRAM}  # equal ones share no 13-gram
    assert len(short) == fact["b_shorter_than_n"]
    assert sum(o.train not in short for o in dropped) == fact["b_sharing_a_ngram"] == shared


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n_rows", "prompts", "targets"),
    [
        ("gsm8k", 6973, 4, 0),
        ("math500", 6977, 130, 27),
        ("math_test", 6969, 635, 78),
        ("mbpp", 371, 31, 0),
        ("mbpp_sanitized", 120, 6, 0),
    ],
)
def test_the_instruction_of_a_real_task_drops_no_row(data, name, n_rows, prompts, targets):  # noqa: ARG001
    """Without regard to it, 6,973 rows of gsm8k, 1,256 of math500 and 78 of mbpp would go by their prompts."""
    task = registry.make_task(name)
    rows = train_rows(task)
    kept, dropped = sift(rows, HeldOut(task.samples("test")))
    assert len(rows) == n_rows
    assert Counter((o.kind, o.place) for o in dropped) == Counter(
        {("13-gram", "prompt"): prompts, ("13-gram", "target"): targets}
    )
    assert len(kept) == n_rows - prompts - targets


@pytest.mark.data
def test_questions_as_published_repeat_those_under_our_instruction(data):
    """51 of the 500 have fewer than 13 words."""
    held = HeldOut(registry.make_task("math500").samples("test"))
    kept, dropped = sift([TrainRow("own", s) for s in published(data, "math500")], held)
    assert not kept
    assert {o.kind for o in dropped} == {"normalised"}
