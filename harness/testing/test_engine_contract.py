"""What every installed engine promises, over a tiny random model.

To run the same over an engine that needs options, give a module of your own a fixture `engine` and import these tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from harness import registry
from harness.checkpoints import open_checkpoint
from harness.engines.opening import check_engine, open_engine, vllm_problem
from harness.errors import BadConfig, EngineError
from harness.protocols import Engine
from harness.testing.models import make_model
from harness.types import RAW, Checkpoint, EngineInfo, Generation, Message, Request, SamplingParams

SERVERS = {"openai"}  # of which no checkpoint can be asked


def ask(key: str, content: str, max_tokens: int = 20, **params: Any) -> Request:
    """A chat of one message."""
    return Request(key, (Message("user", content),), SamplingParams(max_tokens, **params))


def given(key: str, context: str, continuation: str) -> Request:
    """A continuation whose log-probability is wanted."""
    return Request(key, (Message(RAW, context),), SamplingParams(1), continuation)


def by_key(generations: Iterable[Generation]) -> dict[str, Generation]:
    """Generations by the key of their request, of which there is one each."""
    found = list(generations)
    assert len({g.key for g in found}) == len(found)
    return {g.key: g for g in found}


def content(generation: Generation) -> tuple[object, ...]:
    """All that must repeat: everything but the time."""
    g = generation
    return g.key, g.text, g.n_prompt_tokens, g.n_tokens, g.finish, g.prompt_hash, g.error


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(make_model(tmp_path_factory.mktemp("contract") / "model", seed=0))


@pytest.fixture(scope="module", params=registry.names("engine"))
def engine(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> Iterator[Engine]:
    name = request.param
    if name in SERVERS or (name == "vllm" and (why := vllm_problem())):
        pytest.skip("it needs a server" if name in SERVERS else str(why))
    try:
        check_engine(name)
    except BadConfig as needs:
        pytest.skip(str(needs))
    opened = open_engine(name, print)
    assert opened.name == name
    before = opened.describe()
    assert not opened.running()
    with pytest.raises(EngineError, match=f"'{name}' has no checkpoint; call load"):
        list(opened.generate([ask("a", "x")]))
    opened.load(checkpoint)
    assert opened.describe() == before, "loading changed the description"
    yield opened
    opened.close()


def test_it_describes_itself(engine: Engine) -> None:
    info = engine.describe()
    assert isinstance(info, EngineInfo)
    assert info.engine == engine.name
    assert info.version
    assert info.dtype


def test_every_request_gets_one_generation_with_its_own_length(engine: Engine) -> None:
    requests = [ask(f"q{i}", f"what is {i} + {i}?", max_tokens=1 + i % 3) for i in range(20)]
    replies = by_key(engine.generate(requests))
    assert set(replies) == {r.key for r in requests}
    for request in requests:
        reply = replies[request.key]
        assert reply.finish == "stop" or (reply.finish, reply.n_tokens) == ("length", request.params.max_tokens)
        assert 0 < reply.n_tokens <= request.params.max_tokens
        assert reply.n_prompt_tokens > 0
        assert reply.wall_s >= 0
    assert "length" in {reply.finish for reply in replies.values()}
    assert not engine.running()


def test_the_text_ends_before_the_stop_string_that_comes_first(engine: Engine) -> None:
    (free,) = engine.generate([ask("free", "go on", 30)])
    cut = len(free.text) // 2
    stops = (free.text[cut : cut + 2], free.text[cut + 2 : cut + 4])
    (stopped,) = engine.generate([ask("stopped", "go on", 30, stop=stops)])
    assert stopped.text == free.text[: min(free.text.index(s) for s in stops)]
    assert stopped.finish == "stop"
    assert stopped.n_tokens < free.n_tokens


def test_a_plain_text_goes_to_the_model_without_a_template(engine: Engine) -> None:
    raw = Request("raw", (Message(RAW, "def add(a, b):"),), SamplingParams(12))
    (reply,) = engine.generate([raw])
    (chat,) = engine.generate([ask("chat", "def add(a, b):", 12)])
    assert reply.prompt.endswith("def add(a, b):")
    assert reply.prompt_hash == hashlib.sha256(reply.prompt.encode()).hexdigest() != chat.prompt_hash
    assert chat.prompt_hash == hashlib.sha256(chat.prompt.encode()).hexdigest()
    assert (reply.logprob, reply.is_greedy) == (None, None)


def test_requests_are_taken_as_they_are_needed(engine: Engine) -> None:
    taken = []

    def endless() -> Iterator[Request]:
        for i in range(1_000_000):
            taken.append(i)
            yield ask(f"q{i}", f"{i}", 1)

    stream = engine.generate(endless())
    for _ in range(10):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(taken) <= 2000


def test_a_continuation_gets_its_log_probability_or_a_refusal(engine: Engine) -> None:
    refusals = []
    try:
        (reply,) = engine.generate([given("a", "x", " y")])
    except EngineError as refusal:
        refusals.append(str(refusal))
    if refusals:
        assert f"'{engine.name}' cannot compute the log-probability" in refusals[0]
    else:
        assert reply.logprob is not None
        assert reply.logprob < 0


def test_the_prompt_hash_names_the_rendered_prompt(engine: Engine) -> None:
    one, same, other = by_key(engine.generate([ask("a", "x"), ask("b", "x"), ask("c", "y")])).values()
    hashes = {g.key: g.prompt_hash for g in (one, same, other)}
    assert hashes["a"] == hashes["b"] != hashes["c"]
    assert len(hashes["a"]) == 64


def test_a_caller_may_leave_early_and_ask_again(engine: Engine) -> None:
    stream = engine.generate([ask(f"q{i}", "long" * i, 1 + 30 * i) for i in range(12)])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert [g.key for g in engine.generate([ask("next", "x")])] == ["next"]


def test_after_a_sleep_the_next_load_serves_the_same(engine: Engine, checkpoint: Checkpoint) -> None:
    (before,) = engine.generate([ask("a", "x")])
    engine.sleep()
    engine.load(checkpoint)
    (after,) = engine.generate([ask("a", "x")])
    assert content(after) == content(before)


def test_replies_repeat_under_their_own_seed_whatever_else_is_asked(engine: Engine) -> None:
    drawn = [ask(f"s{seed}", "roll", 20, temperature=1.0, top_p=0.95, seed=seed) for seed in range(6)]
    alone = {key: g.text for request in drawn for key, g in by_key(engine.generate([request])).items()}
    crowd = by_key(engine.generate([*drawn, *(ask(f"q{i}", "noise" * i, 5) for i in range(10))]))
    assert {key: crowd[key].text for key in alone} == alone


def test_requests_that_could_not_be_told_apart_or_repeated_are_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="two requests have the key 'a'"):
        list(engine.generate([ask("a", "x"), ask("a", "y")]))
    with pytest.raises(EngineError, match=r"'a' samples at temperature 0.5 unseeded"):
        list(engine.generate([ask("a", "x", temperature=0.5)]))
    with pytest.raises(EngineError, match="max_tokens must be >= 1, got 0"):
        list(engine.generate([ask("a", "x", max_tokens=0)]))
