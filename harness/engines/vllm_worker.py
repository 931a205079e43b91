"""The process that holds a vLLM engine: `python -m harness.engines.vllm_worker <fd> <parent pid>`, run by `vllm.py`.

Commands and replies are pickled tuples over the socket `fd`. The engine core runs inside this process
(VLLM_ENABLE_V1_MULTIPROCESSING=0), so the weights can be reached; its random state and memory stay out of the harness.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.engines.transformers import (
    Prompt,
    cannot_score,
    failed,
    leave_out_scikit_learn,
    load_model,
    load_tokenizer,
    render,
    render_pair,
    reply_text,
    scored,
    special_stops,
    stop_ids,
    too_long,
)
from harness.processes import attach
from harness.types import Finish, Generation, Request

_PROBES = (
    "12 + 30 = 42, and 7 * 8 = 56.",
    "def add(a, b):\n    return a + b\n",
    "A train leaves at 9:40 and arrives at 11:05. How long does the journey take?",
    "She sells seashells by the seashore; the shells she sells are seashells, I'm sure.",
)
_LONG_PROBE = " ".join(str(n * n) for n in range(150))  # more than one block (128 tokens on a CPU) of prefix cache


@dataclass(frozen=True)
class Options:
    """Options to build the engine with. max_model_len None: the checkpoint's own context, or what fits into memory."""

    dtype: str
    device: str  # "cpu" or "cuda"; the engine must run there
    max_model_len: int | None
    max_num_seqs: int
    gpu_memory_utilization: float
    tensor_parallel_size: int = 1


@dataclass(frozen=True)
class _Running:
    """A request at the engine. at: time at which it was sent, in monotonic seconds."""

    request: Request
    prompt: Prompt
    given: list[int] | None
    at: float


class VLLMWorker:
    """One engine and the tokenizer of the checkpoint it serves."""

    def start(self, path: Path, options: Options) -> int:
        """Build the engine; returns its context length in tokens."""
        leave_out_scikit_learn()
        from vllm import EngineArgs
        from vllm.platforms import current_platform
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        if current_platform.device_type != options.device:
            raise RuntimeError(f"vLLM would run on {current_platform.device_type!r}, expected {options.device!r}")
        on_cpu = options.device == "cpu"
        usage = UsageContext.LLM_CLASS  # sets the number of tokens of a step, as in offline use
        config = EngineArgs(
            model=str(path),
            dtype=options.dtype,
            max_model_len=options.max_model_len or -1,
            max_num_seqs=options.max_num_seqs,
            enforce_eager=on_cpu,  # compiling costs 20 s at every start there
            gpu_memory_utilization=options.gpu_memory_utilization,
            tensor_parallel_size=options.tensor_parallel_size,
            enable_sleep_mode=not on_cpu,
            generation_config="vllm",  # the checkpoint's own temperatures and penalties must not be used
            seed=0,
            enable_prefix_caching=True,
            # on a CPU, vLLM 0.32 cannot rewind a seeded request's generator after a prompt that was cut in two
            enable_chunked_prefill=not on_cpu,
        ).create_engine_config(usage)
        if on_cpu:
            _leave_out_unused_cache(config)
        self.engine = LLMEngine.from_vllm_config(config, usage, disable_log_stats=True)
        self.on_cpu = on_cpu
        self._serve(path)
        return self._limit()

    def swap(self, path: Path) -> int:
        """Put another checkpoint of the same architecture into the running engine; returns as `start` does."""
        resting = self.engine.is_sleeping()
        if resting:
            self.engine.wake_up(["weights"])
        self.reload(path)
        if resting:
            self.engine.wake_up(["kv_cache"])
        self.drop_prefixes()
        self._serve(path)
        return self._limit()

    def sleep(self) -> None:
        """Drop weights and cache; only `swap` may follow."""
        self.engine.sleep(level=2)

    def reload(self, path: Path) -> None:
        """Read the weights in place, and repack the tied output head, which vLLM 0.32 does not do on a CPU."""
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        self.engine.collective_rpc("reload_weights", kwargs={"weights_path": str(path)})
        if self.on_cpu:
            for module in self.model().modules():
                if hasattr(module, "cpu_linear") and module.weight.numel():
                    dispatch_cpu_unquantized_gemm(module, remove_weight=False)

    def drop_prefixes(self) -> None:
        """Clear the prefix cache, which the previous weights computed."""
        if not self.engine.reset_prefix_cache():
            raise RuntimeError("vLLM did not clear its prefix cache")

    def model(self) -> Any:
        """The torch module that vLLM runs."""
        return self.engine.apply_model(lambda model: model)[0]

    def verify(self) -> float:
        """Distance of the engine from a float32 transformers forward pass of the checkpoint that it should serve.

        In nats: the mean absolute difference of log-probabilities over a probe, for the worst probe. Short probes
        compare every prompt token. They bypass the prefix cache, so a long probe compares the most likely next tokens.
        """
        import torch

        reference = load_model(self.path, "float32")
        worst = 0.0
        for ids, read_cache in self._probes():
            got = self._next_tokens(ids) if read_cache else self._prompt_tokens(ids)
            with torch.inference_mode():
                expected = reference(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            gaps = [abs(logprob - expected[place, token].item()) for place, token, logprob in got]
            worst = max(worst, sum(gaps) / len(gaps))
        return worst

    def generate(self, connection: Connection) -> None:
        """Send a `Generation` for each request that comes in, as it finishes; "stop" ends it early."""
        running: dict[str, _Running] = {}
        coming, number = True, 0
        try:
            while coming or self.engine.has_unfinished_requests():
                idle = not self.engine.has_unfinished_requests()
                while connection.poll(None if idle and coming else 0):
                    kind, *content = connection.recv()
                    if kind == "stop":
                        return
                    coming = kind == "requests"
                    for request in content[0] if coming else ():
                        number += 1
                        began = self._begin(str(number), request)
                        if isinstance(began, Generation):
                            connection.send(began)
                        else:
                            running[str(number)] = began
                    idle = idle and not running
                for output in self.engine.step() if running else ():
                    if output.finished:
                        connection.send(self._generation(running.pop(output.request_id), output))
        finally:
            self.engine.abort_request(list(running))

    def _begin(self, name: str, request: Request) -> _Running | Generation:
        """Send a request to the engine; returns a `Generation` at once if the request cannot be served."""
        from jinja2 import TemplateError

        prompt, given = None, None
        try:
            if request.continuation is not None:
                context = "".join(m.content for m in request.messages)
                prompt, given = render_pair(self.tokenizer, context, request.continuation)
                why = cannot_score(prompt, given, self._limit() - 1)  # vLLM always samples one token more
            else:
                prompt = render(self.tokenizer, request.messages)
                why = too_long(len(prompt.ids), self._limit())
            if why:
                raise ValueError(why)
            ids = prompt.ids + (given or [])
            self.engine.add_request(name, {"prompt_token_ids": ids}, self._sampling(request, given))
        except (TemplateError, ValueError) as cause:
            return failed(request, str(cause), prompt)
        return _Running(request, prompt, given, time.monotonic())

    def _serve(self, path: Path) -> None:
        self.path = path
        self.tokenizer = load_tokenizer(path)
        self.stop_ids = stop_ids(path, self.tokenizer)

    def _limit(self) -> int:
        return int(self.engine.model_config.max_model_len)

    def _sampling(self, request: Request, given: list[int] | None) -> Any:
        from vllm import SamplingParams

        if given is not None:
            return SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=1, detokenize=False)
        params = request.params
        return SamplingParams(
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            seed=params.seed,
            stop=list(params.stop),
            stop_token_ids=[*self.stop_ids, *special_stops(self.tokenizer, params.stop)],
            detokenize=bool(params.stop),
        )

    def _generation(self, begun: _Running, output: Any) -> Generation:
        request, prompt = begun.request, begun.prompt
        wall_s = time.monotonic() - begun.at
        if begun.given is not None:
            entries = output.prompt_logprobs[-len(begun.given) :]
            found = [entry[token] for token, entry in zip(begun.given, entries, strict=True)]
            logprob, greedy = sum(e.logprob for e in found), all(e.rank == 1 for e in found)
            return scored(request, prompt, len(found), logprob, greedy, wall_s)
        ids = list(output.outputs[0].token_ids)
        finish: Finish = "stop" if output.outputs[0].finish_reason == "stop" else "length"
        ends = {*self.stop_ids, *special_stops(self.tokenizer, request.params.stop)}
        spoken = ids[:-1] if ids and ids[-1] in ends else ids
        text, _ = reply_text(self.tokenizer, spoken, request.params.stop)
        return Generation(request.key, text, len(prompt.ids), len(ids), finish, prompt.hash, wall_s, prompt=prompt.text)

    def _probes(self) -> list[tuple[list[int], bool]]:
        """Token ids, and whether the request may read the prefix cache."""
        limit = self._limit() - 1
        *short, long = self.tokenizer([*_PROBES, _LONG_PROBE], add_special_tokens=False)["input_ids"]
        return [(ids[:limit], False) for ids in short] + [(long[:limit], True)]

    def _prompt_tokens(self, ids: list[int]) -> list[tuple[int, int, float]]:
        """(position that predicts it, token, log-probability) of each prompt token except the first."""
        output = self._run(ids, prompt_logprobs=0)
        tokens = list(output.prompt_logprobs)[1:]
        return [(i, ids[i + 1], entry[ids[i + 1]].logprob) for i, entry in enumerate(tokens)]

    def _next_tokens(self, ids: list[int]) -> list[tuple[int, int, float]]:
        """The same for the most likely tokens after the prompt."""
        (entry,) = self._run(ids, logprobs=10).outputs[0].logprobs
        return [(len(ids) - 1, token, value.logprob) for token, value in entry.items()]

    def _run(self, ids: list[int], **options: int) -> Any:
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False, **options)
        self.engine.add_request("probe", {"prompt_token_ids": ids}, params)
        while True:
            for output in self.engine.step():
                if output.finished:
                    return output


def _leave_out_unused_cache(config: Any) -> None:
    """Limit the cache of keys and values to what `max_num_seqs` sequences of the whole context can fill.

    A CPU fills all of it with zeros at every start, 1 GiB in 3 s. Hybrid models keep other states too: left as it is.
    """
    model, cache = config.model_config, config.cache_config
    if model.is_hybrid:
        return
    per_token = model.get_num_layers(config.parallel_config) * model.get_num_kv_heads(config.parallel_config)
    per_token *= 2 * model.get_head_size() * model.dtype.itemsize
    blocks = config.scheduler_config.max_num_seqs * math.ceil(model.max_model_len / cache.block_size)
    blocks += 1  # vLLM keeps one empty
    cache.kv_cache_memory_bytes = min(cache.kv_cache_memory_bytes, blocks * cache.block_size * per_token)


def serve(worker: VLLMWorker, connection: Connection) -> None:
    """Answer commands until the other side disconnects. Replies: ("done", value) or ("failed", type and message)."""
    while True:
        try:
            command, *arguments = connection.recv()
        except EOFError:
            return
        if command in ("stop", "requests", "end"):  # came after the last reply had been sent
            continue
        try:
            extra = (connection,) if command == "generate" else ()
            connection.send(("done", getattr(worker, command)(*arguments, *extra)))
        except (BrokenPipeError, EOFError):
            return
        except Exception as cause:
            sys.excepthook(*sys.exc_info())  # the whole traceback, into the log
            connection.send(("failed", f"{type(cause).__name__}: {cause}"))


def main(worker: VLLMWorker) -> None:
    """Serve the process that started this one, and end with it."""
    serve(worker, attach())


if __name__ == "__main__":
    main(VLLMWorker())
