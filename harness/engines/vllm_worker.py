"""The process that holds a vLLM engine: `python -m harness.engines.vllm_worker <fd> <parent pid>`, run by `vllm.py`.

Commands and replies are pickled tuples over the socket `fd`. The engine core runs inside this process
(VLLM_ENABLE_V1_MULTIPROCESSING=0), so the weights can be reached; its random state and memory stay out of the harness.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.checkpoints import architecture, matmul_params
from harness.engines.machine import user_cache
from harness.engines.transformers import (
    Prompt,
    cannot_score,
    failed,
    leave_out_scikit_learn,
    load_model,
    load_tokenizer,
    own_code_refused,
    render,
    render_pair,
    reply_text,
    scored,
    special_stops,
    stop_ids,
    too_long,
)
from harness.processes import attach
from harness.types import Finish, Generation, Request, sha256_of

_PROBES = (
    "12 + 30 = 42, and 7 * 8 = 56.",
    "def add(a, b):\n    return a + b\n",
    "A train leaves at 9:40 and arrives at 11:05. How long does the journey take?",
    "She sells seashells by the seashore; the shells she sells are seashells, I'm sure.",
)
_LONG_PROBE = " ".join(str(n * n) for n in range(150))  # more than one block (128 tokens on a CPU) of prefix cache
_LONG_PROBE_ENDS = range(160, 320, 16)  # tokens of it after which the next token is compared

_TELL_EVERY_S = 0.9
# An engine computes something else if it is this many times further from the exact numbers than transformers is in the
# same dtype. Measured on pico, SmolLM2-135M and Qwen2.5-Coder-0.5B: 0.8 to 1.2 times in 16 bit, where what is stored is
# rounded most; 1.5, 4.5 and 9.2 in float32, where vLLM computes exponentials roughly.
_LIMIT = {"float32": 16.0, "float16": 4.0, "bfloat16": 4.0}
# The rest is for what vLLM does not plan for: the log-probabilities of 1,024 prompt tokens at a time (2 GiB for 150,000
# words), the blocks of weights that are compared, and what fragmentation loses.
_OF_FREE = 0.85
# A CPU reads prompts in steps of seconds, so that progress is seen: 200 prompts of a 0.5B model at once took it five
# minutes. In weights x tokens; the prompts of a tiny model still go into one step.
_CPU_STEP, _LEAST_STEP = 2e11, 512
_LONGEST_ERROR = 800  # characters; some libraries list every architecture they know


@dataclass(frozen=True)
class Options:
    """Options to build the engine with. max_model_len None: the checkpoint's own context, or what fits into memory."""

    dtype: str
    device: str  # "cpu" or "cuda"; the engine must run there
    max_model_len: int | None
    max_num_seqs: int
    gpu_memory_utilization: float | None  # share of each GPU's memory; None: most of what is free
    tensor_parallel_size: int = 1
    trust_remote_code: bool = False
    batch_invariant: bool = False


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
        args = EngineArgs(
            model=_served_name(path, options),
            trust_remote_code=options.trust_remote_code,
            dtype=options.dtype,
            max_model_len=options.max_model_len or -1,
            max_num_seqs=options.max_num_seqs,
            enforce_eager=on_cpu,  # compiling costs 20 s at every start there
            gpu_memory_utilization=options.gpu_memory_utilization or _memory_share(options),
            tensor_parallel_size=options.tensor_parallel_size,
            enable_sleep_mode=not on_cpu,
            generation_config="vllm",  # the checkpoint's own temperatures and penalties must not be used
            seed=0,
            enable_prefix_caching=True,
            # on a CPU, vLLM 0.32 cannot rewind a seeded request's generator after a prompt that was cut in two
            enable_chunked_prefill=not on_cpu,
            worker_extension_cls="harness.engines.vllm_weights.Weights",
        )
        with own_code_refused(path):
            config = args.create_engine_config(usage)
        if on_cpu:
            _leave_out_unused_cache(config)
        self.engine = LLMEngine.from_vllm_config(config, usage, disable_log_stats=True)
        self.options = options
        if on_cpu:
            scheduler, tokens = self._scheduler(), max(_LEAST_STEP, int(_CPU_STEP / matmul_params(path)))
            scheduler.max_num_scheduled_tokens = min(scheduler.max_num_scheduled_tokens, tokens)
        self.prove(path)
        self.pack()
        self.tokenizer = load_tokenizer(path, options.trust_remote_code)
        self._serve(path)
        return self._limit()

    def swap(self, path: Path) -> int:
        """Put another checkpoint of the same architecture and tokenizer into the running engine; returns as `start`."""
        resting = self.engine.is_sleeping()
        if resting:
            self.engine.wake_up(["weights"])
        self.read(path)
        self.prove(path)
        self.pack()
        if resting:
            self.engine.wake_up(["kv_cache"])
        self.drop_prefixes()
        if n_cached := self._n_cached_blocks():
            raise RuntimeError(f"{n_cached} blocks of vLLM's prefix cache hold what the previous weights computed")
        self._serve(path)
        return self._limit()

    def sleep(self) -> None:
        """Drop weights and cache; only `swap` may follow."""
        self.engine.sleep(level=2)

    def read(self, path: Path) -> None:
        """Read a checkpoint's weights into the running engine."""
        self.engine.collective_rpc("read_weights", args=(str(path),))

    def prove(self, path: Path) -> None:
        """Compare the engine's tensors with the checkpoint's, unless it is quantized: vLLM rearranges such weights."""
        if not self.engine.model_config.quantization:
            self.engine.collective_rpc("prove_weights", args=(str(path),))

    def pack(self) -> None:
        """Make the packed copies that a CPU computes with."""
        self.engine.collective_rpc("pack_weights")

    def drop_prefixes(self) -> None:
        """Clear the prefix cache, which the previous weights computed."""
        if not self.engine.reset_prefix_cache():
            raise RuntimeError("vLLM did not clear its prefix cache")

    def probe(self) -> tuple[float, float]:
        """Compare the engine with transformers on the checkpoint it serves: is this architecture computed right?

        Returns the engine's mean absolute difference of log-probabilities (nats) from the same weights in a finer
        dtype, and its limit, from that of transformers in the engine's dtype. The weights themselves are proven at
        every load, so one look at an architecture is enough; it is remembered in the user's cache folder, for this
        machine and these versions. Short probes compare every prompt token. They bypass the prefix cache, so a long one
        compares the most likely next tokens after prefixes of it.
        """
        file = self._probe_file()
        with _one_process_at_a_time(file.with_suffix(".lock")):  # transformers holds the whole model too
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
                return found["gap"], found["limit"]
            except (OSError, ValueError, TypeError, KeyError):
                gap, rounding = self._distances()
            limit = _LIMIT[self.options.dtype] * rounding
            if gap <= limit:
                with contextlib.suppress(OSError):  # a home that cannot be written to: the next start looks again
                    write_json(file, {"model": self.path.name, "gap": gap, "limit": limit})
            return gap, limit

    def _distances(self) -> tuple[float, float]:
        """Mean distance of the engine, and of transformers in its dtype, from transformers in a finer dtype."""
        import torch

        finer = "float64" if self.options.dtype == "float32" else "float32"
        seen = [(ids, self._prompt_tokens(ids)) for ids in self._short_probes()]
        long = self._long_probe()
        ends = [end for end in _LONG_PROBE_ENDS if end <= len(long)] or [len(long)]
        seen.append((long, [token for end in ends for token in self._next_tokens(long[:end])]))

        def logprobs(dtype: str) -> list[torch.Tensor]:
            """Of the tokens in `seen`, by transformers."""
            model = load_model(self.path, dtype, trust_remote_code=self.options.trust_remote_code)
            found = []
            for ids, tokens in seen:
                with torch.inference_mode():
                    rows = model(torch.tensor([ids])).logits[0].to(torch.float64).log_softmax(-1)
                found.append(rows[[place for place, _, _ in tokens], [token for _, token, _ in tokens]])
            return found

        exact, rounded = torch.cat(logprobs(finer)), torch.cat(logprobs(self.options.dtype))
        engine = torch.tensor([logprob for _, tokens in seen for _, _, logprob in tokens], dtype=torch.float64)
        return float((engine - exact).abs().mean()), float((rounded - exact).abs().mean())

    def _probe_file(self) -> Path:
        """Where the result is remembered. Its name is a hash of what decides the result."""
        import torch

        if self.options.device == "cuda":
            machine = torch.cuda.get_device_name()
        else:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            machine = "".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))
        versions = {name: version(name) for name in ("torch", "transformers", "srlm-harness")}
        versions["vllm"] = sys.modules["vllm"].__version__
        key = sha256_of([architecture(self.path), asdict(self.options), machine, versions])
        return user_cache() / "vllm-probes" / f"{key}.json"

    def _n_cached_blocks(self) -> int:
        """Blocks of the prefix cache that a later prompt could read."""
        return len(self._scheduler().kv_cache_manager.block_pool.cached_block_hash_to_block)

    def _scheduler(self) -> Any:
        return self.engine.engine_core.engine_core.scheduler

    def generate(self, connection: Connection) -> None:
        """Send a `Generation` for each request that comes in, as it finishes; "stop" ends it early.

        Every second it sends ("running", tokens so far of each reply that the engine is at) as well.
        """
        running: dict[str, _Running] = {}
        coming, number, told = True, 0, time.monotonic()
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
                if time.monotonic() - told > _TELL_EVERY_S:
                    told = time.monotonic()
                    connection.send(("running", self._lengths()))
        finally:
            self.engine.abort_request(list(running))

    def _lengths(self) -> list[int]:
        """Tokens so far of each reply that was begun; some wait for room in the cache again."""
        scheduler = self._scheduler()
        waiting = (request.num_output_tokens for request in scheduler.waiting)
        return [*(request.num_output_tokens for request in scheduler.running), *filter(None, waiting)]

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
            self._add(name, ids, self._sampling(request, given))
        except (TemplateError, ValueError) as cause:
            return failed(request, str(cause), prompt)
        return _Running(request, prompt, given, time.monotonic())

    def _add(self, name: str, ids: list[int], params: Any) -> None:
        if self.options.device == "cpu":  # which reads a prompt in one step, however long
            scheduler = self._scheduler()
            scheduler.max_num_scheduled_tokens = max(scheduler.max_num_scheduled_tokens, len(ids))
        self.engine.add_request(name, {"prompt_token_ids": ids}, params)

    def _serve(self, path: Path) -> None:
        self.path = path
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

    def _short_probes(self) -> list[list[int]]:
        encoded = self.tokenizer(list(_PROBES), add_special_tokens=False)["input_ids"]
        return [ids[: self._limit() - 1] for ids in encoded]

    def _long_probe(self) -> list[int]:
        encoded = self.tokenizer(_LONG_PROBE, add_special_tokens=False)["input_ids"]
        return list(encoded[: min(self._limit() - 1, _LONG_PROBE_ENDS.stop)])

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
        self._add("probe", ids, params)
        while True:
            for output in self.engine.step():
                if output.finished:
                    return output


@contextlib.contextmanager
def _one_process_at_a_time(lock: Path) -> Iterator[None]:
    """Waits until no other process is inside; in a folder that cannot be written to, none waits."""
    with contextlib.ExitStack() as closing:
        with contextlib.suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(closing.enter_context(lock.open("w")), fcntl.LOCK_EX)
        yield


def _served_name(path: Path, options: Options) -> str:
    """The folder as vLLM is told of it: under one name for all, in the worker's own folder.

    The name is part of the key under which vLLM keeps what it compiled: with the path, it would compile again for each
    checkpoint. Other processes would look for it in other folders, and a model's own code is kept by the folder's name.
    """
    if options.tensor_parallel_size > 1 or options.trust_remote_code:
        return str(path)
    link = Path(tempfile.gettempdir()) / "model"
    link.symlink_to(path)
    os.chdir(link.parent)
    return link.name


def _memory_share(options: Options) -> float:
    """The share of each GPU's memory that the engine may use: most of what is free on the fullest of them.

    An engine that sleeps takes the same share again when it wakes. On a CPU the cache alone is limited.
    """
    if options.device == "cpu":
        return _OF_FREE
    import torch

    free = [torch.cuda.mem_get_info(device) for device in range(options.tensor_parallel_size)]
    share: float = min(left / total for left, total in free)
    return _OF_FREE * share


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
            said = str(cause) if len(str(cause)) < _LONGEST_ERROR else f"{str(cause)[:_LONGEST_ERROR]} ..."
            connection.send(("failed", f"{type(cause).__name__}: {said}"))


def main(worker: VLLMWorker) -> None:
    """Serve the process that started this one, and end with it."""
    serve(worker, attach())


if __name__ == "__main__":
    main(VLLMWorker())
