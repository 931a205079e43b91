"""A model of the size people mean: exactly Qwen2.5-0.5B's configuration, with random weights, all the way through.

Load, one step of each kind of training, save, swap into vLLM, evaluate. Random weights learn nothing and say nothing;
what is checked is that sizes, names, vocabulary padding and bfloat16 go through. Five minutes of CPU and 10 GB:
`ci/test -m large`.
"""

import pytest

from harness.checkpoints import matmul_params, open_checkpoint
from harness.engines.opening import vllm_problem
from harness.engines.vllm import VLLMEngine
from harness.testing.models import QWEN2_05B, make_shaped
from harness.testing.training import Given, run, sums
from harness.types import Message, Request, SamplingParams

pytestmark = [pytest.mark.large, pytest.mark.skipif(vllm_problem() is not None, reason=str(vllm_problem()))]

ROWS = 4
STEP = {  # of a single optimizer step
    "sft": {"batch_size": ROWS, "micro_batch": ROWS, "max_tokens": 128},
    "kd.logits": {"batch_size": ROWS, "micro_batch": ROWS, "max_tokens": 128},
    "kd.onpolicy": {"batch_size": ROWS, "micro_batch": ROWS, "max_tokens": 4},
    "rl": {"prompts_per_step": 1, "group_size": ROWS, "micro_batch": ROWS, "max_tokens": 4},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen")
    make_shaped(folder / "teacher", 1, QWEN2_05B)
    return make_shaped(folder / "base", 0, QWEN2_05B)


def test_the_model_has_the_published_number_of_weights(models):
    # 0.49B weights, 0.36B without the embedding: the model card; the head counts once more in a product
    assert matmul_params(models) == 357_826_560 + 151_936 * 896
    assert sum(f.stat().st_size for f in models.glob("*.safetensors")) == pytest.approx(2 * 494_032_768, rel=1e-3)


def test_one_step_of_every_kind_is_trained_saved_swapped_in_and_answers(models, tmp_path):
    trained = {}
    for name, settings in STEP.items():
        result, meter = run(name, models, tmp_path / name, Given(rows=sums()[:ROWS], budget=200.0), **settings)
        assert (result.status, meter.cost.steps) == ("done", 1), result.why
        trained[name] = open_checkpoint(result.path)
    assert len({checkpoint.digest for checkpoint in trained.values()}) == len(STEP)
    ask = Request("a", (Message("user", "2+2"),), SamplingParams(max_tokens=4, temperature=0.0))
    with VLLMEngine() as engine:
        replies = {}
        for name, checkpoint in {"base": open_checkpoint(models), **trained}.items():
            engine.load(checkpoint)  # raises where vLLM's log-probabilities are not those of these weights
            (replies[name],) = engine.generate([ask])
    assert all(reply.finish in ("stop", "length") and reply.n_tokens > 0 for reply in replies.values())
