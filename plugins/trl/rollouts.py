"""Sampling inside a TRL trainer: vLLM or transformers. Call `sampler` before importing TRL's trainers."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import torch
from trl import import_utils

_CPU_CACHE_BYTES = 1 << 28  # vLLM would take a share of the whole machine's memory


def sampler(rollouts: Literal["auto", "vllm", "transformers"], vllm_memory: float) -> dict[str, Any]:
    """Sampling arguments for a TRL config: temperature 1, from the whole distribution.

    Anything else would bias the importance ratio.
    """
    use_vllm = rollouts == "vllm" or (
        rollouts == "auto" and torch.cuda.is_available() and find_spec("vllm") is not None
    )
    _prepare_vllm() if use_vllm else _leave_vllm_out()
    return {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "use_vllm": use_vllm,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": vllm_memory,
        "shuffle_dataset": False,
    }


def _leave_vllm_out() -> None:
    """Keep TRL from importing vLLM, which it does whenever vLLM is installed (6 s on a laptop core)."""
    import_utils.is_vllm_available = lambda *_, **__: False


def _prepare_vllm() -> None:
    """Pass the engine arguments TRL has no option for; on CPU, keep weights in a form that can be updated."""
    import trl.generation.vllm_generation as seam

    if torch.cuda.is_available():
        seam.LLM = partial(seam.LLM, dtype="bfloat16")  # the trainer computes in bfloat16 too
        return
    import vllm.model_executor.layers.utils as layers

    seam.LLM = partial(seam.LLM, dtype="float32", enforce_eager=True, kv_cache_memory_bytes=_CPU_CACHE_BYTES)
    layers.dispatch_cpu_unquantized_gemm = _plain_linear  # vLLM's own repacks a weight once and drops the original


def _plain_linear(layer: Any, remove_weight: bool) -> None:  # noqa: ARG001  (vLLM passes it by name)
    layer.cpu_linear = torch.nn.functional.linear
