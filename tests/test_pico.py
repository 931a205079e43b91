"""The embedded world: items that prove themselves, splits that share nothing, models of the stated strength."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from factories import overlaps

from harness.errors import UnknownSplit
from harness.graders.code import score_code
from harness.protocols import Task
from harness.sandbox import Sandbox
from harness.types import sha256_of
from harness_tasks.pico import BASE, TEACHER
from harness_tasks.pico.code import PicoCode, fenced, programs
from harness_tasks.pico.math import PicoMath, stories
from harness_tasks.pico.splits import split_of

TASKS = (PicoMath(), PicoCode())
SPLITS = ("train", "dev", "test")
DIGESTS = {
    ("pico_math", "train"): "4afea88b5e6c6967c54328301122253881a1faf89a1a4e13e220818d1ca7933b",
    ("pico_math", "dev"): "150ead7578162377125f39e7569ba7975d2f5ee7c0c3da7b10fb1b42dd52decd",
    ("pico_math", "test"): "60faa9a9481610af140160037ad119b69fb309feb147f66a47164f43f913ca7e",
    ("pico_code", "train"): "ef78ed4e1f6e7232860b63852fc5d1ed4232677af510aeefebcf42f6919b74d3",
    ("pico_code", "dev"): "94aad455f9d534e833341203c4c776eb8b3a049c89de9973fb50d934fafa88c2",
    ("pico_code", "test"): "2371b28d4b2f31cbf29889f4d4a6883d45f3a8991bdb40ece728f7294551c3b9",
}


def question(sample):
    return sample.messages[0].content


def passes(program, body):
    """Whether a body of our own making passes the program's tests, run right here."""
    scope = {}
    exec(program.prompt + body, scope)
    exec(program.test, scope)
    try:
        scope["check"](scope[program.function])
    except (AssertionError, ValueError, IndexError):
        return False
    return True


@pytest.fixture(scope="module")
def runner():
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_a_pico_task_is_a_task_with_three_splits_and_no_fourth(task):
    assert isinstance(task, Task)
    assert [len(task.samples(s)) for s in SPLITS] == (
        [4000, 100, 250] if task.name == "pico_math" else [3000, 100, 180]
    )
    with pytest.raises(UnknownSplit, match=rf"task '{task.name}' has no split 'validation': choose one of train, dev"):
        task.samples("validation")


@pytest.mark.parametrize(("name", "split"), list(DIGESTS))
def test_a_split_is_the_same_on_every_machine(name, split):
    task = next(t for t in TASKS if t.name == name)
    assert sha256_of([s.hash for s in task.samples(split)]) == DIGESTS[name, split]


def test_a_split_is_the_same_in_a_process_with_another_hash_seed():
    source = "from harness_tasks.pico.math import PicoMath as M; print(M().samples('dev')[7].hash)"
    done = subprocess.run(
        [sys.executable, "-c", source], env={"PYTHONHASHSEED": "5"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == PicoMath().samples("dev")[7].hash


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_splits_share_no_item_and_no_13_words_in_a_row(task):
    train, dev, test = (task.samples(s) for s in SPLITS)
    assert overlaps(train, dev) == overlaps(train, test) == []
    assert not {question(s) for s in dev} & {question(s) for s in test}
    assert len({s.id for s in (*train, *dev, *test)}) == len({question(s) for s in (*train, *dev, *test)})


def test_the_overlap_check_would_find_a_planted_item():
    test = PicoMath().samples("test")
    assert [o.kind for o in overlaps([*PicoMath().samples("train")[:5], test[3]], test)] == ["exact"]


@pytest.mark.parametrize("items", [stories, programs], ids=["math", "code"])
def test_splits_share_no_template_instance(items):
    keys = {split: {item.key for item in items(split)} for split in SPLITS}
    assert not keys["train"] & keys["dev"]
    assert not (keys["train"] | keys["dev"]) & keys["test"]
    assert all(split_of(key) == split for split in SPLITS for key in keys[split])


def test_math_stories_of_two_splits_differ_in_more_than_their_numbers():
    masked = {split: {re.sub(r"\d+", "N", question(s)) for s in PicoMath().samples(split)} for split in SPLITS}
    assert not masked["train"] & masked["test"]


def test_every_math_solution_is_right_and_says_so_in_both_ways():
    task = PicoMath()
    for sample in (s for split in SPLITS for s in task.samples(split)):
        work = re.findall(r"(\d+)([-+*/])(\d+)=(\d+)", sample.metadata["solution"])
        assert len(work) == sample.metadata["level"]
        assert all(eval(f"{a}{op}{b}") == int(c) for a, op, b, c in work)
        assert {g: s.value for g, s in task.score(sample, sample.metadata["solution"]).items()} == {
            "strict": 1.0,
            "lenient": 1.0,
        }


def test_a_wrong_or_badly_formatted_math_reply_is_caught():
    task, sample = PicoMath(), PicoMath().samples("test")[0]
    right, wrong = sample.target, str(int(sample.target) + 1)
    for reply, strict, lenient in [
        (f"\\boxed{{{wrong}}}", 0.0, 0.0),
        (f"#### {right}", 0.0, 1.0),
        (f"The answer is {right}.", 0.0, 1.0),
        (f"The answer is {wrong}.", 0.0, 0.0),
        ("", 0.0, 0.0),
    ]:
        scores = task.score(sample, reply)
        assert (scores["strict"].value, scores["lenient"].value) == (strict, lenient), reply


@pytest.mark.slow
def test_every_code_solution_passes_its_tests_and_a_forgotten_operation_does_not():
    for program in (p for split in SPLITS for p in programs(split)):
        assert passes(program, program.short), program.prompt
        assert passes(program, program.plain), program.prompt
        for i in range(len(program.calls)):
            lines = [line for j, line in enumerate(program.lines) if j != i]
            body = "".join(f"    {program.argument} = {line}\n" for line in lines)
            end = program.plain.rpartition("\n")[2]
            assert not passes(program, body + end), f"{program.prompt} without operation {i}"


def test_code_replies_get_their_verdicts_from_the_sandbox(runner):
    task = PicoCode()
    for sample, program in list(zip(task.samples("test"), programs("test"), strict=True))[::30]:
        for right in (program.solution, fenced(program.head + program.plain), program.short):
            scores = task.score(sample, right, runner)
            assert (scores["strict"].value, scores["lenient"].value) == (1.0, 1.0), right
        printed = fenced(program.head + program.plain.replace("return ", "print(") + ")")
        assert task.score(sample, printed, runner)["strict"].value == 0.0
        no_fence = task.score(sample, f"Here is the code:\n{program.head}{program.plain}", runner)
        assert (no_fence["strict"].value, no_fence["lenient"].value) == (0.0, 1.0)
        assert score_code(sample, "", runner)["strict"].value == 0.0


def test_looking_at_the_world_loads_no_torch():
    source = "import sys, harness_tasks.pico.math, harness_tasks.pico.code; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source]).returncode == 0


def test_the_shipped_models_are_small_and_share_one_tokenizer():
    files = [path for folder in (BASE, TEACHER) for path in Path(folder).iterdir()]
    assert sum(path.stat().st_size for path in files) < 6_000_000
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (BASE / name).read_bytes() == (TEACHER / name).read_bytes()


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE)


def test_the_tokenizer_loses_no_text(tokenizer):
    texts = [
        t for task in TASKS for s in SPLITS for x in task.samples(s) for t in (question(x), x.metadata["solution"])
    ]
    texts += ["é ≤ 12.5 \t\n\n   x", "    def f():\r\n\treturn '\\boxed{1}'\n```", ""]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert tokenizer.batch_decode(ids) == texts
    assert max(len(i) for i in ids) <= 80


def test_every_digit_is_a_token_of_its_own(tokenizer):
    assert tokenizer.tokenize("1234567890=10") == list("1234567890=10")


def test_a_chat_ends_every_turn_with_the_end_token_and_opens_the_reply(tokenizer):
    chat = [{"role": "user", "content": "1+1=?"}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert asked == "<|user|>1+1=?<|end|><|assistant|>"
    answered = tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": "\\boxed{2}"}], tokenize=False)
    assert answered == asked + "\\boxed{2}<|end|>"
    ids = tokenizer(answered)["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.pad_token_id not in ids


def test_the_tokenizer_is_the_one_the_recipe_makes(tokenizer):
    from harness_tasks.pico.build import make_tokenizer

    assert make_tokenizer().get_vocab() == tokenizer.get_vocab()


def strict_share(model, task, n, runner):
    """Share of the first n test items that the model answers right and in the format, greedily."""
    from harness.checkpoints import open_checkpoint
    from harness.engines.transformers import TransformersEngine
    from harness.types import Request, SamplingParams

    samples = task.samples("test")[:n]
    engine = TransformersEngine()
    engine.load(open_checkpoint(model))
    asked = [Request(s.id, s.messages, SamplingParams(task.max_tokens)) for s in samples]
    replies = {g.key: g.text for g in engine.generate(asked)}
    return sum(task.score(s, replies[s.id], runner)["strict"].value for s in samples) / n


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_the_base_leaves_room_both_ways_and_the_teacher_is_clearly_better(task, runner):
    base, teacher = (strict_share(model, task, 100, runner) for model in (BASE, TEACHER))
    assert 0.15 <= base <= 0.5
    assert 0.85 <= teacher < 1.0


@pytest.mark.large
def test_a_reduced_rebuild_reaches_its_stated_strength(tmp_path, runner):
    """About 70 s on one core; measured 0.93 on all test items."""
    from harness_tasks.pico.build import build_world

    lines = []
    folders = build_world(tmp_path, reduced=True, log=lines.append)
    assert set(folders) == {"base"}
    assert lines[1] == "394,752 parameters, 650 steps"
    assert (tmp_path / "base" / "tokenizer.json").read_bytes() == (BASE / "tokenizer.json").read_bytes()
    assert strict_share(folders["base"], PicoCode(), 100, runner) >= 0.7
