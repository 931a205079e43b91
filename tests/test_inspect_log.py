"""Inspect logs: ours opened by the real inspect_ai in an environment of its own, its own read by us."""

import fcntl
import hashlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
from factories import changed, record

from harness.errors import DataError
from harness.interop.inspect_read import read_inspect_samples
from harness.interop.inspect_write import InspectRun, inspect_log, mean_and_stderr
from harness.interop.recorded_match import match
from harness.interop.recorded_read import read_generations
from harness.interop.replay_engine import ReplayEngine
from harness.protocols import Task
from harness.types import RAW, Message, Sample, Score

VERSION = "inspect-ai==0.3.285"
ROOT = Path(__file__).parent.parent
RUN = InspectRun(
    task="sums",
    task_version="3",
    model="org/tiny",
    created="2026-11-20T09:30:00+00:00",
    n_items=4,
    repeats=2,
    sampling={"max_tokens": 16, "temperature": 0.6, "top_p": 1.0, "top_k": 20, "stop": ["\n\n"], "seed": 1},
    checkpoint="c" * 64,
    strategy="kd+rl",
    seed=7,
    tags=("pico",),
    metadata={"engine": "scripted 1 float32"},
    packages={"harness": "0.1"},
)


def item(i, *messages):
    return Sample(f"sums/test/{i:04d}", messages, str(i))


ITEMS = (
    item(0, Message("user", "Ünïcode 1 + 1? \u2028 " + "x" * 2000)),
    item(1, Message("system", "Add."), Message("user", "1 + 2?"), Message("assistant", "3"), Message("user", "3 + 1?")),
    item(2, Message(RAW, "Q: 2 + 2 =\nA:")),
    item(3, Message("user", "7 + 8?")),
)
VALUES = {  # strict, lenient of each repeat
    0: ((1.0, 1.0), (0.0, 1.0)),
    1: ((0.0, 0.0), (0.0, 0.25)),
    2: ((1.0, 1.0), (None, 1.0)),
    3: ((None, None), (None, None)),
}


def pairs():
    for sample in ITEMS:
        number = int(sample.id[-4:])
        for repeat, (strict, lenient) in enumerate(VALUES[number]):
            failed = number == 3 and repeat == 1
            yield (
                sample,
                record(
                    sample.id,
                    task="sums",
                    repeat=repeat,
                    text="" if failed else f"It is {number}.\n#### {number}",
                    finish="error" if failed else ("length" if number == 1 else "stop"),
                    error="the engine died" if failed else "",
                    n_tokens=10 + number,
                    scores={
                        "strict": Score(strict, str(number), "read after ####"),
                        "lenient": Score(lenient, None, "" if lenient else "no number"),
                    },
                ),
            )


STRICT = [0.5, 0.0, 1.0]  # by item: the mean over its judged repeats; item 3 was not judged
LENIENT = [1.0, 0.125, 1.0]


@pytest.fixture(scope="session")
def inspect_python():
    """The Python of an environment with the real Inspect, kept between runs; no test needs it in ours."""
    key = hashlib.sha256(f"{VERSION} {sys.version}".encode()).hexdigest()[:16]
    folder = Path(sys.prefix) / f"inspect-env-{key}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(folder)


def _made(folder):
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        uv = Path(sys.prefix) / "bin" / "uv"
        if not uv.exists():
            pytest.skip(f"{uv} is missing: no environment for {VERSION} can be made")
        commands = (
            [uv, "venv", "-q", "--clear", "--python", sys.executable, folder],
            [uv, "pip", "install", "-q", "--python", python, VERSION, "pandas==3.1.1", "pyarrow==26.0.1"],
        )
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                pytest.skip(f"no environment with {VERSION}: {done.stderr.strip()[-300:]}")
        (folder / "complete").touch()
    return python


@pytest.fixture(scope="session")
def ask_inspect(inspect_python, tmp_path_factory):
    """What tests/with_inspect.py answers when run by that Python."""
    place = tmp_path_factory.mktemp("inspect")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("INSPECT_", "PYTHON"))},
        "XDG_DATA_HOME": str(place),
    }

    def ask(*arguments):
        command = [inspect_python, ROOT / "tests" / "with_inspect.py", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, cwd=place, env=environment
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return ask


def written_log(path, run, samples):
    """The path of a log of these pairs of item and record."""
    with inspect_log(path, run) as log:
        for sample, record in samples:
            log.add(sample, record)
    return path


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    return written_log(folder / RUN.file_name, RUN, pairs())


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def seen(ask_inspect, log):
    return ask_inspect("read", log)


def test_the_real_inspect_lists_the_log_and_reads_its_header(seen, log):
    assert seen["listed"] == [log.name]
    assert log.name.startswith("2026-11-20T09-30-00-00-00_sums_")
    assert (seen["version"], seen["status"], seen["epochs"]) == (2, "success", 2)
    assert (seen["task"], seen["model"], seen["tags"]) == ("sums", "org/tiny", ["kd+rl", "seed 7", "pico"])
    assert seen["metadata"] == {
        "checkpoint": "c" * 64,
        "strategy": "kd+rl",
        "seed": 7,
        "engine": "scripted 1 float32",
    }
    assert seen["usage"] == {"org/tiny": {"input_tokens": 40, "output_tokens": 92, "total_tokens": 132}}


def test_the_real_inspect_has_a_place_for_every_key_we_write(seen):
    assert seen["lost"] == []


def test_the_real_inspect_computes_the_scores_that_we_wrote(seen):
    for name, values in (("strict", STRICT), ("lenient", LENIENT)):
        mean, error = mean_and_stderr(values)
        expected = {"accuracy": mean, "stderr": error, "n": 3, "unscored": 1}
        assert seen["written"][name] == pytest.approx(expected)
        assert seen["recomputed"][name] == pytest.approx(expected)


def test_the_real_inspect_reads_every_sample_as_it_was(seen):
    expected = [
        {
            "id": sample.id,
            "epoch": r.repeat + 1,
            "target": sample.target,
            "reply": r.reply.text,
            "stop": {"stop": "stop", "length": "max_tokens", "error": None}[r.reply.finish],
            "tokens": r.reply.n_tokens,
            "error": r.reply.error or None,
            "values": {} if r.reply.error else {name: score.value for name, score in r.scores.items()},
            "answers": {} if r.reply.error else {name: score.answer for name, score in r.scores.items()},
        }
        for sample, r in pairs()
    ]
    found = [{k: s[k] for k in expected[0]} for s in seen["samples"]]
    order = lambda s: (s["epoch"], s["id"])  # noqa: E731
    assert sorted(found, key=order) == sorted(expected, key=order)
    assert sorted(map(tuple, seen["summaries"])) == sorted((s["id"], s["epoch"], True) for s in expected)


def test_prompts_are_the_chat_and_a_plain_text_is_what_the_user_said(seen):
    first = {s["id"]: s for s in seen["samples"] if s["epoch"] == 1}
    reply = ["assistant", "It is 2.\n#### 2"]
    assert first["sums/test/0002"]["input"] == "Q: 2 + 2 =\nA:"
    assert first["sums/test/0002"]["messages"] == [["user", "Q: 2 + 2 =\nA:"], reply]
    chat = [["system", "Add."], ["user", "1 + 2?"], ["assistant", "3"], ["user", "3 + 1?"]]
    assert first["sums/test/0001"]["input"] == chat
    assert first["sums/test/0000"]["input"] == ITEMS[0].messages[0].content


def test_inspects_data_frames_hold_our_numbers(seen):
    frame = seen["evals_df"]
    assert frame["score_strict_accuracy"] == pytest.approx(mean_and_stderr(STRICT)[0])
    assert frame["score_lenient_stderr"] == pytest.approx(mean_and_stderr(LENIENT)[1])
    assert (frame["task_name"], frame["model"], frame["total_samples"]) == ("sums", "org/tiny", 8)
    assert seen["samples_df"] == 8


@pytest.mark.slow
def test_inspects_command_line_lists_and_dumps_the_log(inspect_python, log, tmp_path):
    def inspect(*arguments):
        command = [inspect_python.with_name("inspect"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    listed = inspect("log", "list", "--json", "--log-dir", log.parent)
    assert [(entry["task"], Path(entry["name"]).name) for entry in listed] == [("sums", log.name)]
    dumped = inspect("log", "dump", log)
    assert len(dumped["samples"]) == 8
    assert dumped["results"]["scores"][0]["metrics"]["accuracy"]["value"] == pytest.approx(mean_and_stderr(STRICT)[0])


@pytest.mark.slow
def test_inspect_view_serves_the_log(inspect_python, log, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [inspect_python.with_name("inspect"), "view", "start", "--port", str(port), "--log-dir", log.parent]
    with (tmp_path / "out").open("w+") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True)
        try:
            page = _get(server, f"http://127.0.0.1:{port}/", out)
            assert b"<title>Inspect View</title>" in page
            logs = json.loads(_get(server, f"http://127.0.0.1:{port}/api/logs", out))
            assert [Path(entry["name"]).name for entry in logs["files"]] == [log.name]
            name = urllib.request.quote(logs["files"][0]["name"], safe="")
            served = json.loads(_get(server, f"http://127.0.0.1:{port}/api/logs/{name}?header-only=0", out))
            assert served["results"]["headline"] == {"scorer": "strict", "score": "strict", "metric": "accuracy"}
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)


def _get(server, url, out, patience_s=60):
    """The page, once the server answers."""
    end = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            out.seek(0)
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"inspect view did not answer: {out.read()}")
            time.sleep(0.1)


def test_equal_input_gives_equal_bytes_and_the_samples_are_read_one_at_a_time(tmp_path):
    files = [written_log(tmp_path / f"{n}.eval", RUN, pairs()) for n in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    alive = 0

    class Counted(str):
        __slots__ = ()

        def __new__(cls, text):
            nonlocal alive
            alive += 1
            assert alive < 4, "replies are kept"
            return super().__new__(cls, text)

        def __del__(self):
            nonlocal alive
            alive -= 1

    def many():
        for i in range(300):
            sample = item(i, Message("user", f"{i}?"))
            yield sample, record(sample.id, text=Counted(f"#### {i}"))

    written_log(tmp_path / "many.eval", RUN, many())
    with zipfile.ZipFile(tmp_path / "many.eval") as archive:
        assert len(archive.namelist()) == 303
        assert len(json.loads(archive.read("summaries.json"))) == 300


def test_a_log_that_fails_halfway_leaves_nothing_behind(tmp_path):
    def broken():
        yield from list(pairs())[:2]
        raise RuntimeError("the disk is gone")

    kept = written_log(tmp_path / "kept.eval", RUN, pairs()).read_bytes()
    with pytest.raises(RuntimeError, match="the disk is gone"):
        written_log(tmp_path / "kept.eval", RUN, broken())
    assert [path.name for path in tmp_path.iterdir()] == ["kept.eval"]
    assert (tmp_path / "kept.eval").read_bytes() == kept


@pytest.mark.parametrize("name", ["../../etc/passwd", "/a", "a//b", "a\\b", "a\nb", "", "."])
def test_an_id_that_would_leave_the_folder_is_refused(name, tmp_path):
    pair = (Sample(name, (Message("user", "?"),), "1"), record(name))
    with pytest.raises(DataError, match="cannot name a file in a log"):
        written_log(tmp_path / "x.eval", RUN, [pair])


def test_the_same_reply_twice_or_another_items_record_is_refused(tmp_path):
    pair = next(pairs())
    with pytest.raises(DataError, match="'sums/test/0000', repeat 0 came twice"):
        written_log(tmp_path / "x.eval", RUN, [pair, pair])
    with pytest.raises(ValueError, match="came with a record of item 'other'"):
        written_log(tmp_path / "x.eval", RUN, [(pair[0], changed(pair[1], sample_id="other"))])


def test_no_samples_have_no_mean():
    assert all(map(math.isnan, mean_and_stderr([])))
    assert mean_and_stderr([0.5]) == (0.5, 0.0)


# --- reading ---------------------------------------------------------------------------------------------------------


class TwoQuestions(Task):
    """The task that the real Inspect's own log answers."""

    name = "two"
    version = "1"
    grader = "number-2"
    needs_sandbox = False
    max_tokens = 64
    stop = ()

    def samples(self, split):
        asked = ("Ann has 2 boxes of 12 eggs.  How many?", "Bo runs 3 miles a day.\nHow many in a week?")
        return [
            Sample(f"two/{split}/{i:04d}", (Message("user", f"{text}\n\nThink."),), target, {"question": text})
            for i, (text, target) in enumerate(zip(asked, ("24", "21"), strict=True))
        ]

    def score(self, sample, text, runner=None):  # noqa: ARG002
        return {}


@pytest.fixture(scope="session")
def theirs(ask_inspect, tmp_path_factory):
    return Path(ask_inspect("write", tmp_path_factory.mktemp("theirs")))


@pytest.mark.parametrize("form", ["eval", "json"])
def test_a_log_of_the_real_inspect_is_replayed(form, theirs, ask_inspect, tmp_path):
    """Its .eval is compressed with Zstandard; its .json holds all samples in one object."""
    path = theirs if form == "eval" else Path(ask_inspect("json", theirs, tmp_path / "log.json"))
    engine = ReplayEngine(path, TwoQuestions())
    assert (engine.file.shape, engine.n_repeats) == ("Inspect log", 2)
    assert engine.matched.unmatched == []
    found = match(engine.file, engine.covered).replies
    ann, bo = (found[s.id] for s in engine.covered)
    assert [(r.text, r.verdict, r.answer) for r in ann] == [("So there are 24", True, "24")] * 2
    assert [(r.text, r.verdict) for r in bo] == [("18 miles", False)] * 2
    assert engine.digest == "recorded:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_our_own_log_is_read_back_by_its_prompts_with_the_first_graders_verdicts(log):
    found = match(read_generations(log), ITEMS)
    assert found.unmatched == ["row 7: it holds no reply"]
    assert {i: [r.verdict for r in replies] for i, replies in found.replies.items()} == {
        "sums/test/0000": [True, False],
        "sums/test/0001": [False, False],
        "sums/test/0002": [True, None],
        "sums/test/0003": [None],
    }
    assert found.replies["sums/test/0001"][1].text == "It is 1.\n#### 1"
    assert [found.replies[f"sums/test/000{i}"][0].finish for i in range(3)] == ["stop", "length", "stop"]


def theirs_by_hand(path, *samples, header=True):
    with zipfile.ZipFile(path, "w") as archive:
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        if header:
            archive.writestr("header.json", "{}")
    return path


def one(**changes):
    choice = {"message": {"role": "assistant", "content": "24"}, "stop_reason": "stop"}
    question = "Ann has 2 boxes of 12 eggs. How many?"
    return {"id": 1, "epoch": 1, "input": question, "target": "24", "output": {"choices": [choice]}, **changes}


@pytest.mark.parametrize(
    ("value", "right"),
    [
        *[("C", True), ("I", False), (1.0, True), (0, False), (True, True), ("P", None), ("N", None), (0.5, None)],
        *[(math.nan, None), ({"a": 1}, None), ([1], None), (None, None)],
    ],
)
def test_a_verdict_is_right_or_wrong_or_none(value, right, tmp_path):
    path = theirs_by_hand(tmp_path / "x.eval", one(scores={"f1": {"value": value}, "second": {"value": "C"}}))
    assert next(read_generations(path).entries).replies[0].verdict is right


def test_epochs_are_repeats_in_order_whatever_their_order_in_the_file(tmp_path):
    def said(text, epoch):
        return one(epoch=epoch, output={"choices": [{"message": {"content": text}, "stop_reason": "stop"}]})

    path = theirs_by_hand(tmp_path / "x.eval", said("tenth", 10), said("second", 2), said("first", 1))
    found = match(read_generations(path), TwoQuestions().samples("test"))
    assert [r.text for r in found.replies["two/test/0000"]] == ["first", "second", "tenth"]


def test_content_in_parts_and_content_stored_apart_are_put_together(tmp_path):
    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "attachment://k"}]
    row = one(output={"choices": [{"message": {"content": parts}}]}, attachments={"k": "It is 24."})
    row["input"] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": row["input"]}]
    found = match(read_generations(theirs_by_hand(tmp_path / "x.eval", row)), TwoQuestions().samples("test"))
    assert found.replies["two/test/0000"][0].text == "It is 24."


def test_the_question_in_the_metadata_stands_for_a_prompt_made_from_it(tmp_path):
    row = one(input="Read and answer: ...", metadata={"question": "Ann has 2 boxes of 12 eggs. How many?"})
    found = match(read_generations(theirs_by_hand(tmp_path / "x.eval", row)), TwoQuestions().samples("test"))
    assert list(found.replies) == ["two/test/0000"]


def test_a_file_that_is_no_log_is_refused_by_name(tmp_path):
    empty, other, cut, text = (tmp_path / name for name in ("empty.eval", "other.eval", "cut.eval", "text.json"))
    theirs_by_hand(empty)
    theirs_by_hand(other, header=False)
    whole = theirs_by_hand(tmp_path / "whole.eval", one()).read_bytes()
    cut.write_bytes(whole[:-30])
    text.write_text('{"samples": 1}')
    for path, message in (
        (empty, "no rows"),
        (other, "a zip, but not an Inspect log"),
        (cut, "expected a .eval file"),
        (text, "not an Inspect log with samples"),
        (tmp_path / "none.eval", "none.eval"),
    ):
        with pytest.raises(DataError, match=message):
            read_generations(path)
    spoilt = whole.replace(b'"24"', b'"99"')
    (tmp_path / "spoilt.eval").write_bytes(spoilt)
    with pytest.raises(DataError, match="Bad CRC-32"):
        list(read_inspect_samples(tmp_path / "spoilt.eval"))


def test_a_damaged_member_of_a_zstandard_log_is_refused(theirs, tmp_path):
    with zipfile.ZipFile(theirs) as archive:
        first = next(i for i in archive.infolist() if i.filename.startswith("samples/"))
    assert first.compress_type == 93
    content = bytearray(theirs.read_bytes())
    middle = first.header_offset + 30 + first.compress_size // 2
    content[middle : middle + 40] = b"\xff" * 40
    (tmp_path / "bad.eval").write_bytes(content)
    with pytest.raises(DataError, match=r"Inspect log .*bad\.eval"):
        list(read_inspect_samples(tmp_path / "bad.eval"))
