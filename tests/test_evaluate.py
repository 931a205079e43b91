"""The evaluation core: nothing lost, nothing done twice, the same bytes after any interruption, flat memory."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from eval_tasks import NOWHERE, Counting, Deadly, Sums, right

from harness.engines.scripted import ScriptedEngine
from harness.errors import DataError, EngineError, GraderError
from harness.evaluation.evaluate import Evaluation, evaluate, summarised
from harness.evaluation.forecast import Standing
from harness.evaluation.grading_pool import Graders
from harness.evaluation.job import EvalJob, job, known_defects
from harness.protocols import Engine, GradedItem
from harness.records.store import Lines, Store
from harness.types import Checkpoint, Generation, Request, Sampling, Score

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def graders() -> Iterator[Graders]:
    with Graders(threads=2) as found:
        yield found


def run(folder: Path, graders: Graders, engine: Engine | None = None, of: EvalJob | None = None) -> Evaluation:
    return evaluate(of or job(Sums(), "test"), engine or Counting(), NOWHERE, graders, folder)


def strict(found: Evaluation) -> list[float | None]:
    return [r.scores["strict"].value for r in found.records()]


def test_every_item_is_answered_and_judged_once_and_never_again(tmp_path: Path, graders: Graders) -> None:
    engine = Counting()
    told: list[Standing] = []
    found = evaluate(job(Sums(), "test"), engine, NOWHERE, graders, tmp_path, told.append)
    records = list(found.records())
    assert [r.item.sample_id for r in records] == [s.id for s in Sums().samples("test")]
    assert strict(found) == [float(i % 5 != 4) for i in range(20)]
    assert told[0] == Standing(0, 20, doing="loading the model")
    assert (told[-1].n_done, told[-1].n_replies, told[-1].left_s) == (20, 20, 0.0)
    again = Counting()
    assert summarised([run(tmp_path, graders, again)])[1] == summarised([found])[1]
    assert (len(engine.asked), again.asked) == (20, [])


def test_a_changed_grader_judges_again_without_generating(tmp_path: Path, graders: Graders) -> None:
    first = run(tmp_path, graders)
    engine = Counting()
    second = run(tmp_path, graders, engine, job(Sums(version="2"), "test"))
    assert engine.asked == []
    assert second.folder == first.folder
    assert {r.origin.grader_version for r in second.records()} == {"sums 2, grader number-2"}
    assert {r.origin.grader_version for r in first.records()} == {"sums 1, grader number-2"}


@pytest.mark.parametrize("changed", ["weights", "tokenizer", "seed", "temperature", "max_tokens", "items", "template"])
def test_whatever_replies_depend_on_is_in_their_key(changed: str, tmp_path: Path, graders: Graders) -> None:
    run(tmp_path, graders)
    engine, of, checkpoint = Counting(), job(Sums(), "test"), NOWHERE
    if changed in ("weights", "tokenizer"):
        checkpoint = Checkpoint(HERE, "e" * 64, "t" * 64) if changed == "weights" else Checkpoint(HERE, "d" * 64, "u")
    elif changed == "items":
        of = job(Sums(), "test", 19)
    elif changed == "template":
        of = job(Sums(), "test", sampling=Sampling(chat=False))
        engine = Counting(lambda _: "\\boxed{1}")
    else:
        how = {"seed": Sampling(temperature=1, seed=7), "temperature": Sampling(temperature=1)}
        of = job(Sums(), "test", sampling=how.get(changed, Sampling(max_tokens=31)))
    evaluate(of, engine, checkpoint, graders, tmp_path)
    assert len(engine.asked) == len(of.samples)


def test_repeats_have_seeds_of_their_own(tmp_path: Path, graders: Graders) -> None:
    seeds = []

    def reply(request: Request) -> str:
        seeds.append(request.params.seed)
        return right(request) if request.params.seed == 12 else "no"

    of = job(Sums(2), "test", sampling=Sampling(repeats=3, temperature=0.5, seed=11))
    found = run(tmp_path, graders, Counting(reply), of)
    assert seeds == [11, 12, 13, 11, 12, 13]
    assert strict(found) == [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    assert [r.origin.sampling["seed"] for r in found.records()] == seeds


def test_a_grader_that_hangs_or_dies_costs_one_reply_its_verdict(tmp_path: Path) -> None:
    said = ["\\boxed{0}", "hang", "\\boxed{4}", "die", "\\boxed{8}", "\\boxed{10}"]
    of = job(Deadly(6), "test")
    engine = ScriptedEngine({s.messages[0].content: text for s, text in zip(of.samples, said, strict=True)})
    with Graders(threads=2, wall_s=1.0) as graders:
        found = run(tmp_path, graders, engine, of)
        of = job(Deadly(2), "test", sampling=Sampling(repeats=3, temperature=1.0))
        mixed = run(tmp_path, graders, ScriptedEngine(lambda r: "die" if r.params.seed == 1 else "\\boxed{0}"), of)
    assert strict(found) == [1.0, None, 1.0, None, 1.0, 1.0]
    whys = [r.scores["strict"].why for r in found.records()]
    assert whys[1] == "grading timed out after 1 s"
    assert whys[3].startswith("the grader's process was killed by SIGKILL")
    assert strict(mixed) == [1.0, None, 1.0, 0.0, None, 0.0]


def test_an_interrupt_does_not_wait_for_a_grader_that_hangs(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        if "4 + 4" in str(request):
            time.sleep(1)  # a grader is at the reply that hangs
            raise KeyboardInterrupt
        return "hang" if "1 + 1" in str(request) else right(request)

    def hanging() -> None:
        with Graders(threads=2) as graders:
            evaluate(job(Deadly(6), "test"), ScriptedEngine(reply), NOWHERE, graders, tmp_path)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        hanging()
    assert time.monotonic() - began < 20


def test_a_grader_with_a_fault_stops_the_run_and_the_replies_are_kept(tmp_path: Path, graders: Graders) -> None:
    engine = ScriptedEngine(lambda request: "raise" if "2 + 2" in str(request) else right(request))
    why = r"grader of task 'deadly', item 'sums/test/000002': ZeroDivisionError: no such thing"
    with pytest.raises(GraderError, match=why):
        run(tmp_path, graders, engine, job(Deadly(4), "test"))
    (replies,) = tmp_path.glob("*/replies.jsonl")
    assert replies.read_bytes().count(b"\n") >= 3
    assert not list(tmp_path.glob("*/records-*"))


def test_a_task_that_no_other_process_can_have_is_refused(tmp_path: Path, graders: Graders) -> None:
    class Local(Sums):
        pass

    with pytest.raises(GraderError, match=r"task 'sums' cannot be sent to a grading process .* importable module"):
        run(tmp_path, graders, of=job(Local(), "test"))


def test_replies_that_failed_are_asked_for_again_by_the_same_command(tmp_path: Path, graders: Graders) -> None:
    of, other = job(Sums(6), "test"), job(Sums(6, version="2"), "test")
    texts = {s.messages[0].content: f"\\boxed{{{2 * i}}}" for i, s in enumerate(of.samples)}
    some = {asked: text for i, (asked, text) in enumerate(texts.items()) if i not in (2, 4)}
    failed = ["sums/test/000002#0", "sums/test/000004#0"]
    assert strict(run(tmp_path, graders, Counting(some), of)) == [1.0, 1.0, None, 1.0, None, 1.0]
    assert strict(run(tmp_path, graders, Counting(some), other)) == [1.0, 1.0, None, 1.0, None, 1.0]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    again = Counting(some)
    run(tmp_path, graders, again, of)
    assert again.asked == failed
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")} == before, "it failed as before"
    mended = Counting(texts)
    assert strict(run(tmp_path, graders, mended, of)) == [1.0] * 6
    assert mended.asked == failed
    last = Counting(texts)
    assert strict(run(tmp_path, graders, last, other)) == strict(run(tmp_path, graders, last, of)) == [1.0] * 6
    assert last.asked == []


def test_a_crash_between_a_failed_reply_and_its_successor_leaves_no_old_verdict(tmp_path: Path) -> None:
    def reply(finish: str, text: str = "") -> Generation:
        return Generation("", text, 1, 1, finish, "h", 0.0, "HTTP 500" if finish == "error" else "")  # type: ignore[arg-type]

    def opened() -> Store:
        return Store(tmp_path, [1, 1], {"a": 1}, {"b": 1})

    graded = GradedItem([{"strict": Score(None), "lenient": Score(None)}], {}, {})
    with opened() as store:
        for item, finish in enumerate(("stop", "error")):
            store.add_reply(item, 0, reply(finish))
            store.add_verdict(item, graded)
        assert (store.n_generated, store.graded(1)) == (2, True)
    with opened() as store:
        assert (store.n_generated, list(store.missing()), store.graded(1)) == (1, [(1, 0)], False)
        store.add_reply(1, 0, reply("stop", "#### 2"))
    with opened() as store:
        assert (store.n_generated, list(store.missing())) == (2, [])
        assert (store.graded(0), store.graded(1), store.replies(1)[0].text) == (True, False, "#### 2")


def test_a_reply_that_never_came_is_an_error_and_nothing_is_reported(tmp_path: Path, graders: Graders) -> None:
    class Forgetful(Counting):
        def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
            return (g for g in super().generate(requests) if "000007" not in g.key)

    with pytest.raises(EngineError, match=r"no reply for 1 of 20 requests, first 'sums/test/000007' \(repeat 0\)"):
        run(tmp_path, graders, Forgetful())
    assert not list(tmp_path.glob("*/records-*"))
    engine = Counting()
    assert len(list(run(tmp_path, graders, engine).records())) == 20
    assert engine.asked == ["sums/test/000007#0"]


def test_odd_text_is_kept_as_far_as_utf8_can_hold_it(tmp_path: Path, graders: Graders) -> None:
    odd = ["a\ud800b \\boxed{0}", "\x00\u2028\n\\boxed{2}", "", "é" * 5]
    of = job(Sums(4), "test")
    engine = ScriptedEngine({s.messages[0].content: text for s, text in zip(of.samples, odd, strict=True)})
    found = run(tmp_path, graders, engine, of)
    assert [r.reply.text for r in found.records()] == ["a\ufffd\ufffd\ufffdb \\boxed{0}", *odd[1:]]
    assert summarised([found])[1] == summarised([run(tmp_path, graders, engine, of)])[1]


def test_two_items_of_one_id_are_refused() -> None:
    class Twins(Sums):
        def samples(self, split):  # type: ignore[no-untyped-def]
            return [super().samples(split)[0]] * 2

    with pytest.raises(DataError, match="task 'sums' gives two test items the same id"):
        job(Twins(), "test")


def test_the_content_digest_follows_texts_and_verdicts_and_no_clock(tmp_path: Path, graders: Graders) -> None:
    digests = {
        "same": summarised([run(tmp_path / "a", graders)])[1],
        "again": summarised([run(tmp_path / "b", graders)])[1],
        "other": summarised([run(tmp_path / "c", graders, ScriptedEngine(lambda r: right(r) + " "))])[1],
        "regraded": summarised([run(tmp_path / "d", graders, None, job(Sums(version="2"), "test"))])[1],
    }
    assert digests["same"] == digests["again"]
    assert len(set(digests.values())) == 3


# --- the files ----------------------------------------------------------------------------------------------------


def test_a_line_cut_by_a_crash_is_dropped_and_its_place_is_free(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "x.jsonl", 5)
    for place in (3, 1):
        lines.add(place, {"text": f"line {place}\u2028"})
    with pytest.raises(ValueError, match="place 1 is taken"):
        lines.add(1, {})
    lines.close()
    whole = (tmp_path / "x.jsonl").read_bytes()
    (tmp_path / "x.jsonl").write_bytes(whole + b'{"at":4,"text":"cut o')
    again = Lines(tmp_path / "x.jsonl", 5)
    assert ([place in again for place in range(5)], again.count) == ([False, True, False, True, False], 2)
    again.add(4, {"text": "whole"})
    assert [again.read(place)["text"] for place in (1, 3, 4)] == ["line 1\u2028", "line 3\u2028", "whole"]
    again.close()
    assert (tmp_path / "x.jsonl").read_bytes().startswith(whole)


@pytest.mark.parametrize("damage", [b"garbage\n", b'{"at":9,"text":""}\n', b'{"text":"no place"}\n', b'{"at":2,"te\n'])
def test_a_damaged_line_in_the_middle_is_named(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"at":0,"text":""}\n' + damage + b'{"at":1,"text":""}\n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2: not a line of this run .* move the file away"):
        Lines(path, 5)
    assert path.read_bytes().count(b"\n") == 3


# --- killed at any moment -----------------------------------------------------------------------------------------

KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from eval_tasks import NOWHERE, Counting, Sums, right
from harness.types import Sampling
from harness.evaluation.evaluate import evaluate, summarised
from harness.evaluation.job import job
from harness.evaluation.grading_pool import Graders

def slow(request):
    time.sleep(0.002)
    return right(request)

engine = Counting(slow)
folder = Path(sys.argv[1])
with Graders(threads=2) as graders:
    of = job(Sums(60), "test", sampling=Sampling(repeats=3, temperature=1.0))
    print("ready", flush=True)
    found = evaluate(of, engine, NOWHERE, graders, folder)
print(len(engine.asked), summarised([found])[1])
"""


def test_killed_at_twenty_random_moments_the_same_command_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED.format(here=str(HERE))]

    def finish(folder: Path) -> tuple[int, str]:
        done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True)
        asked, digest = done.stdout.split()[1:]
        return int(asked), digest

    started = time.monotonic()
    asked, digest = finish(tmp_path / "whole")
    took = time.monotonic() - started
    assert asked == 180
    rng = random.Random(4)
    kills = 0
    killed = tmp_path / "killed"
    seen = 0
    while kills < 22:
        with subprocess.Popen([*command, str(killed)], stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0, took / 12))
            os.killpg(process.pid, signal.SIGKILL)
        kills += 1
        lines = [line for path in killed.glob("*/replies.jsonl") for line in path.read_bytes().split(b"\n")[:-1]]
        assert len(lines) >= seen, "a finished reply was lost"
        assert len({json.loads(line)["at"] for line in lines}) == len(lines), "a reply was made twice"
        seen = len(lines)
    left, resumed = finish(killed)
    assert (left, resumed) == (180 - seen, digest)
    assert seen > 0
    one, other = (next(folder.glob("*/records-*.jsonl")) for folder in (tmp_path / "whole", killed))
    assert _clockless(one) == _clockless(other)


def _clockless(path: Path) -> list[dict[str, object]]:
    return [{**json.loads(line), "wall_s": 0} for line in path.read_text().split("\n")[:-1]]


@pytest.mark.slow
def test_memory_is_flat_in_the_number_of_samples(tmp_path: Path) -> None:
    """20,000 replies of 2.5 kB each; bench/scale.py does a million."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(HERE)!r})
from pathlib import Path
from eval_tasks import NOWHERE, Sums, right
from harness.engines.scripted import ScriptedEngine
from harness.types import Sampling
from harness.evaluation.evaluate import evaluate, summarised
from harness.evaluation.job import job
from harness.evaluation.grading_pool import Graders

engine = ScriptedEngine(lambda request: right(request) + " " * 2500)
with Graders(threads=2) as graders:
    of = job(Sums(200), "test", sampling=Sampling(repeats=100, temperature=1.0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = evaluate(of, engine, NOWHERE, graders, Path({str(tmp_path)!r}))
    between = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records, _ = summarised([found])
print(len(records), between - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - between)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    n, evaluating, summing = map(int, done.stdout.split())
    assert n == 20_000
    assert evaluating < 30_000, "kB while 50 MB of text went through"
    assert summing < 20_000, "kB for 20,000 records"


def test_the_known_defects_of_every_task_go_to_the_board():
    class Faulty(Sums):
        def defects(self):
            return {"sums/test/000001": "two answers"}

    assert known_defects([job(Sums(3), "test")]) == {"sums": {}}
    assert known_defects([job(Faulty(3), "test")]) == {"sums": {"sums/test/000001": "two answers"}}
