"""The contract of every engine over scripted replies, transformers and a real vLLM; and that the last two agree.

test_openai_engine.py runs the contract over a real server, and test_replay.py what does not depend on the question over
recorded replies. vLLM starts once for this file and test_vllm_swap.py, so the contract's own fixture, which opens every
installed engine, is replaced.
"""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from vllm_faults import FaultyEngine

from harness.checkpoints import open_checkpoint
from harness.engines.opening import AutoEngine, open_engine, vllm_problem
from harness.engines.scripted import ScriptedEngine
from harness.engines.transformers import (
    Prompt,
    TransformersConfig,
    TransformersEngine,
    load_model,
    load_tokenizer,
    render,
    render_pair,
)
from harness.engines.vllm import VLLMEngine
from harness.errors import BadConfig, EngineError, UnknownName
from harness.protocols import Engine
from harness.testing.test_engine_contract import *  # noqa: F403
from harness.testing.test_engine_contract import ask, by_key, content, given
from harness.types import RAW, Checkpoint, Message, Request, SamplingParams


@pytest.fixture(scope="session")
def transformers_engine(checkpoint: Checkpoint) -> Iterator[TransformersEngine]:
    with TransformersEngine(TransformersConfig(batch_size=8)) as engine:
        engine.load(checkpoint)
        yield engine


@pytest.fixture(scope="module")
def vllm_engine(vllm_engine: FaultyEngine, checkpoint: Checkpoint) -> VLLMEngine:
    vllm_engine.load(checkpoint)
    return vllm_engine


@pytest.fixture(scope="session")
def scripted_engine(checkpoint: Checkpoint) -> ScriptedEngine:
    engine = ScriptedEngine(lambda request: "the answer to " + request.messages[-1].content + " is 42")
    engine.load(checkpoint)
    return engine


@pytest.fixture(params=["scripted", "transformers", "vllm"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


@pytest.fixture(params=["transformers", "vllm"])
def model_engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


def test_log_probabilities_are_those_of_a_plain_forward_pass(model_engine: Engine, checkpoint: Checkpoint) -> None:
    import torch

    tokenizer, model = load_tokenizer(checkpoint.path), load_model(checkpoint.path, "float32")
    pairs = {f"q{i}": (f"Question {i}: how many? Answer:" + " " * (i % 3), f" {i * 7}") for i in range(20)}
    replies = by_key(model_engine.generate(given(k, *pair) for k, pair in pairs.items()))
    for key, (context, continuation) in pairs.items():
        n = len(tokenizer(context.rstrip())["input_ids"])
        ids = tokenizer(context + continuation)["input_ids"]
        with torch.inference_mode():
            scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(scores[i - 1, ids[i]].item() for i in range(n, len(ids)))
        assert replies[key].logprob == pytest.approx(expected, abs=1e-4)
        assert replies[key].is_greedy is all(scores[i - 1].argmax() == ids[i] for i in range(n, len(ids)))
        assert (replies[key].n_tokens, replies[key].finish) == (len(ids) - n, "stop")
    (free,) = model_engine.generate([Request("f", (Message(RAW, "go on"),), SamplingParams(4))])
    (same,) = model_engine.generate([given("g", "go on", free.text)])
    assert same.is_greedy is True


def test_what_cannot_be_scored_is_an_error(model_engine: Engine) -> None:
    replies = by_key(
        model_engine.generate([given("none", "x", ""), given("long", "x" * 1100, " y"), given("ok", "", "y")])
    )
    assert replies["none"].error == "the continuation has no token of its own"
    assert "prompt and continuation have 1102 tokens" in replies["long"].error
    assert replies["ok"].logprob is not None
    with pytest.raises(EngineError, match="'chat' scores a given reply: its prompt must be plain text"):
        list(model_engine.generate([Request("chat", (Message("user", "x"),), SamplingParams(1), "y")]))


def test_the_tokenizers_own_opening_is_there_once_with_and_without_a_template() -> None:
    """As for Llama: both the tokenizer and the template put the first token before everything."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<s>": 0, "what": 1, "is": 2, "it": 3, "[U]": 4}, "[U]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    template = "<s> {% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", unk_token="[U]", eos_token="[U]", chat_template=template
    )
    assert render(tokenizer, [Message("user", "what is it")]).ids == [0, 1, 2, 3]
    assert render(tokenizer, [Message(RAW, "what is it")]).ids == [0, 1, 2, 3]
    assert render(tokenizer, [Message(RAW, "<s> what is it")]).ids == [0, 1, 2, 3]
    assert render_pair(tokenizer, "what is", " it") == (Prompt([0, 1, 2], "what is"), [3])


def test_a_special_token_may_be_a_stop_string(
    vllm_engine: VLLMEngine, transformers_engine: TransformersEngine, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """The model is bent to say its start token, which the text of a reply never shows."""
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "bent"))
    weights = load_file(folder / "model.safetensors")
    start = load_tokenizer(folder).convert_tokens_to_ids("<|im_start|>")
    weights["model.embed_tokens.weight"][start] *= 4.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    bent = open_checkpoint(folder)
    asked = [ask(f"q{i}", f"say {i}", 40, stop=("<|im_start|>", "zzz")) for i in range(12)]
    found = []
    for engine in (vllm_engine, transformers_engine):
        engine.load(bent)
        found.append({key: content(g) for key, g in by_key(engine.generate(asked)).items()})
        free = by_key(engine.generate(ask(f"q{i}", f"say {i}", 40) for i in range(12)))
        engine.load(checkpoint)
    assert found[0] == found[1]
    stopped = [key for key, reply in found[0].items() if reply[4] == "stop" and reply[3] < free[key].n_tokens]
    assert stopped, "no reply met the token: the test shows nothing"


@pytest.mark.slow
def test_two_engines_share_the_requests_of_one_call(vllm_engine: VLLMEngine, checkpoint: Checkpoint) -> None:
    asked = [ask(f"q{i}", f"say {i}", 10, temperature=1.0, seed=i) for i in range(40)]
    with open_engine("vllm", print, {"data_parallel_size": "2", "max_num_seqs": "2"}) as fleet:  # type: ignore[attr-defined]
        assert fleet.describe().as_json() == {**VLLMEngine().describe().as_json(), "data_parallel_size": 2}
        assert fleet.name == "vllm"
        first, second = fleet._engines
        first._process, first._served = vllm_engine._process, vllm_engine._served  # runs already: a start takes 20 s
        try:
            fleet.load(checkpoint)
            assert (first.swaps, second.swaps) == (1, 0)
            stream = fleet.generate(asked)
            next(stream)
            stream.close()
            shared = by_key(fleet.generate(asked))
        finally:
            first._process = None
    alone = by_key(vllm_engine.generate(asked))
    assert {key: content(g) for key, g in shared.items()} == {key: content(g) for key, g in alone.items()}
    with pytest.raises(BadConfig, match="option data_parallel_size must be int, got 'two'"):
        open_engine("vllm", print, {"data_parallel_size": "two"})
    with pytest.raises(BadConfig, match="unknown transformers option 'data_parallel_size'"):
        open_engine("transformers", print, {"data_parallel_size": "2"})


@pytest.mark.parametrize("fresh", [ScriptedEngine({}), TransformersEngine(), VLLMEngine()], ids=lambda e: e.name)
def test_an_engine_without_checkpoint_says_so(fresh: Engine) -> None:
    with pytest.raises(EngineError, match=f"'{fresh.name}' has no checkpoint; call load"):
        list(fresh.generate([ask("a", "x")]))
    assert fresh.describe().engine == fresh.name


def test_loading_does_not_change_the_description(transformers_engine: Engine, vllm_engine: Engine) -> None:
    assert transformers_engine.describe() == TransformersEngine().describe()
    assert vllm_engine.describe() == VLLMEngine().describe()


def test_other_seeds_draw_other_replies(model_engine: Engine) -> None:
    drawn = [ask(f"s{seed}", "roll", 20, temperature=1.0, top_p=0.95, seed=seed) for seed in range(6)]
    assert len({reply.text for reply in model_engine.generate(drawn)}) == 6


def test_a_prompt_that_cannot_be_served_is_an_error_and_the_others_live(model_engine: Engine) -> None:
    tool = Request("tool", (Message("tool", "x"),), SamplingParams(5))
    replies = by_key(model_engine.generate([ask("long", "x" * 2000), tool, ask("fits", "x" * 990, 500), ask("q", "x")]))
    assert replies["long"].finish == replies["tool"].finish == "error"
    assert "prompt has 2019 tokens, and the model reads at most 1024" in replies["long"].error
    assert "no tools here" in replies["tool"].error
    assert (replies["long"].text, replies["long"].n_tokens) == ("", 0)
    assert replies["q"].finish in ("stop", "length")
    assert replies["fits"].n_prompt_tokens + replies["fits"].n_tokens <= 1024  # cut off where the context ends


def greedy_requests() -> list[Request]:
    plain = [ask(f"q{i}", "What is " + "1 + " * i + "é?", 10 + 7 * i) for i in range(20)]
    stopping = [ask(f"stop{i}", f"Say {i}", 80, stop=("a", "e", "}")) for i in range(8)]
    return [*plain, *stopping, ask("fits", "x" * 990, 500), ask("long", "x" * 2000)]


def test_greedy_replies_of_vllm_and_transformers_are_equal_token_for_token(
    transformers_engine: Engine, vllm_engine: Engine
) -> None:
    theirs, ours = (by_key(e.generate(greedy_requests())) for e in (transformers_engine, vllm_engine))
    assert {k: content(g) for k, g in ours.items()} == {k: content(g) for k, g in theirs.items()}
    assert {g.finish for g in ours.values()} == {"stop", "length", "error"}
    assert len({g.text for g in ours.values()}) > 20


def test_sampling_in_transformers_draws_from_the_tempered_nucleus() -> None:
    import torch

    from harness.engines.transformers import _Choose

    n, temperature = 20_000, 0.7
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -1.0])
    p = (logits / temperature).softmax(-1)  # .56 .27 .13 ...: top_p .9 keeps the first three
    assert p[:2].sum() < 0.9 < p[:3].sum()
    expected = p[:3] / p[:3].sum()
    params = [SamplingParams(1, temperature=temperature, top_p=0.9, seed=seed) for seed in range(n)]
    drawn = _Choose(params)(None, logits.expand(n, -1)).argmax(-1)
    frequencies = torch.bincount(drawn, minlength=5) / n
    assert frequencies[3:].sum() == 0
    assert torch.allclose(frequencies[:3], expected, atol=4 * 0.5 / n**0.5)


def test_scripted_replies_come_from_a_mapping_or_are_errors(checkpoint: Checkpoint) -> None:
    with ScriptedEngine({"12 + 30 =": "42"}) as engine:
        engine.load(checkpoint)
        known, unknown = engine.generate([ask("a", "12 + 30 ="), ask("b", "1 + 1 =")])
    assert (known.text, known.finish) == ("42", "stop")
    assert (unknown.finish, unknown.error) == ("error", "no reply scripted for '1 + 1 ='")


def test_engines_open_by_name_and_a_wrong_name_is_answered_with_the_nearest() -> None:
    engine = open_engine("transformers", notify=print)
    assert engine.name == "transformers"
    with pytest.raises(UnknownName, match="did you mean 'vllm'"):
        open_engine("vlm", notify=print)


def test_auto_falls_back_with_a_warning_if_vllm_cannot_start(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := vllm_problem():
        pytest.skip(why)
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise ImportError('built for another machine')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # seen by the worker alone
    said: list[str] = []
    with AutoEngine(said.append) as engine:
        assert engine.describe().engine == "vllm"
        engine.load(checkpoint)
        assert engine.describe().engine == "transformers"
        assert [g.key for g in engine.generate([ask("a", "x")])] == ["a"]
    (message,) = said
    assert "vLLM is not used" in message
    assert "built for another machine" in message


def test_a_sleeping_transformers_engine_gives_its_memory_back(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch keeps in its cache is free only if the model is gone by then."""
    engine, gone = TransformersEngine(), []
    engine.load(checkpoint)
    model = weakref.ref(engine._model)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: gone.append(model() is None))
    engine.sleep()
    assert gone == [True]
    engine.sleep()
    assert gone == [True]


def test_transformers_refuses_a_checkpoint_that_leaves_weights_unset(checkpoint: Checkpoint, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    path = Path(shutil.copytree(checkpoint.path, tmp_path / "model"))
    tensors = load_file(path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"1 weights are missing .*first model.layers.1.mlp.up_proj.weight"):
        TransformersEngine().load(open_checkpoint(path))


def test_the_checkpoints_own_sampling_defaults_do_not_leak_in(
    checkpoint: Checkpoint, transformers_engine: Engine, tmp_path: Path
) -> None:
    import shutil

    path = Path(shutil.copytree(checkpoint.path, tmp_path / "model"))
    config = json.loads((path / "generation_config.json").read_text())
    leaky = {**config, "do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0}
    (path / "generation_config.json").write_text(json.dumps(leaky))
    with TransformersEngine() as engine:
        engine.load(open_checkpoint(path))
        replies = [by_key(e.generate([ask("q", "hello", 40)]))["q"].text for e in (engine, transformers_engine)]
    assert replies[0] == replies[1]
