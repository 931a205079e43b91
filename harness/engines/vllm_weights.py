"""The weights inside a vLLM worker process: read in place, proven equal to the checkpoint's, packed for the CPU.

vLLM mixes `Weights` into its worker, in every process of a tensor-parallel engine (`worker_extension_cls`).

The proof runs the model's own loading code once more over the files. Where that code would write into a tensor that
the engine computes with, the bits that it would write are compared with those that are there, and nothing is written.
So fused projections, tied heads, padding, shards and conversions of dtype are those of vLLM, for any architecture.
That the loading code itself is right is another question; see `VLLMWorker.probe`.

On a CPU, vLLM computes with packed copies that nobody can read. So weights stay plain until they are proven, and are
packed from there. Each packed copy is read back in a few columns, which shows one that was made from other weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import vllm.model_executor.layers.utils as vllm_layers
from torch.utils._python_dispatch import TorchDispatchMode

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # itemsize -> integers of that size
_OVERWRITES = {"aten::copy_", "aten::fill_", "aten::zero_"}  # their result depends on no earlier value
_CHUNK = 1 << 20  # elements compared at a time, so that what is compared stays in the processor's cache
_MOST_THREADS = 16  # more wait for memory, or for the bus to the GPU
_COLUMNS = 8  # of each packed copy that are read back


@dataclass(frozen=True)
class _Waiting:
    """A layer that is packed after the proof. drops_plain: vLLM keeps only the packed copy of it."""

    shape: tuple[int, ...]
    drops_plain: bool


_waiting: WeakKeyDictionary[torch.nn.Module, _Waiting] = WeakKeyDictionary()


class WeightsDiffer(Exception):
    """The engine would compute with other weights than the checkpoint's."""


class Weights:
    """Methods that vLLM's worker gains; called by `LLMEngine.collective_rpc`."""

    model_runner: Any

    def read_weights(self, path: str) -> None:
        """Read another checkpoint of the same architecture into the running model."""
        runner = self.model_runner
        if runner.device.type != "cpu":
            runner.reload_weights(weights_path=path)
            return
        model = runner.get_model()
        for layer in filter(_waiting.__contains__, model.modules()):
            _unpack(layer)
        model.load_weights(_checkpoint_tensors(runner, path))

    def prove_weights(self, path: str) -> None:
        """Raise `WeightsDiffer` unless every tensor that the engine computes with has the bits of the checkpoint's.

        The message names a tensor that is another, or that was not compared as a whole.

        Held beside the engine's own weights: one tensor of the checkpoint at a time, mapped from its file, and of it,
        where the engine's weights are (on the GPU), 2**20 values for each thread. Nothing else is copied.
        """
        model = self.model_runner.get_model()
        with _threads() as threads, torch.no_grad(), _Comparison(model, threads) as comparison:
            model.load_weights(comparison.named(_checkpoint_tensors(self.model_runner, path)))
        comparison.check_complete()

    def pack_weights(self) -> None:
        """Make the packed copies that a CPU computes with, out of the proven weights."""
        for name, layer in self.model_runner.get_model().named_modules():
            if layer in _waiting:
                pack(name, layer)


def _checkpoint_tensors(runner: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of everything in a checkpoint that vLLM would load."""
    from vllm.model_executor.model_loader import get_model_loader

    runner.model_config.model = path
    yield from get_model_loader(runner.load_config).get_all_weights(runner.model_config, runner.get_model())


class _Comparison(TorchDispatchMode):  # type: ignore[misc]  # torch ships no types for it
    """While active: writes into the model's parameters are compared with what is there instead of written."""

    def __init__(self, model: torch.nn.Module, threads: ThreadPoolExecutor) -> None:
        super().__init__()
        self._threads = threads
        self._parameters = {
            parameter.untyped_storage().data_ptr(): (name, parameter)
            for name, parameter in model.named_parameters()
            if parameter.numel()
        }
        self._regions: dict[str, dict[tuple[Any, ...], int]] = {name: {} for name, _ in self._parameters.values()}
        self._reading = ""

    def named(self, tensors: Iterator[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
        """The same tensors; remembers which one is being read, for the message."""
        for name, tensor in tensors:
            self._reading = name
            yield name, tensor

    def check_complete(self) -> None:
        """Raise `WeightsDiffer` unless all values of every parameter were compared."""
        seen = {name: sum(regions.values()) for name, regions in self._regions.items()}
        left = [name for name, parameter in self._parameters.values() if seen[name] < parameter.numel()]
        if left:
            raise WeightsDiffer(
                f"{len(left)} parameters are in the engine and not, or not whole, in the checkpoint, first {left[0]!r}"
            )

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = func._schema.arguments[0] if func._schema.arguments else None
        if first is not None and first.alias_info is not None and first.alias_info.is_write:
            home = self._parameters.get(args[0].untyped_storage().data_ptr())
            if home is not None and args[0].numel():
                self._compare(home[0], func, args)
                return args[0]
        return func(*args, **(kwargs or {}))

    def _compare(self, name: str, func: Any, args: Any) -> None:
        there, *others = args
        if func._schema.name not in _OVERWRITES:
            raise WeightsDiffer(f"{name}: loading {self._reading!r} changes it by {func._schema.name}, expected a copy")
        value = others[0] if others else 0
        n_wrong, example = _differing(there, value, self._threads)
        if n_wrong:
            raise WeightsDiffer(
                f"tensor {self._reading!r} of the checkpoint: {n_wrong:,} of {there.numel():,} values of {name!r} in "
                f"the engine are others ({example})"
            )
        region = (there.storage_offset(), tuple(there.shape), there.stride())
        self._regions[name][region] = there.numel()


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads to compare with, one for each processor that this process may use; torch uses one for each of them.

    torch's own threads wait for each other after every operation: on a busy machine that takes most of the time.
    """
    before = torch.get_num_threads()
    torch._C.set_num_threads(1)  # vLLM replaces torch's function for a CPU by one that does nothing
    try:
        with ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0))), "compare") as threads:
            yield threads
    finally:
        torch._C.set_num_threads(before)


def _differing(there: torch.Tensor, value: Any, threads: ThreadPoolExecutor) -> tuple[int, str]:
    """How many values of `there` (any shape) have other bits than `value` once written into it; the first of them."""
    wanted: torch.Tensor = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=there.dtype)
    wanted = wanted.expand(there.shape)
    if there.numel() <= _CHUNK:
        return _differing_values(there, wanted)
    rows = max(1, _CHUNK // there[0].numel())
    found = list(threads.map(_differing_values, there.split(rows), wanted.split(rows)))
    return sum(n for n, _ in found), next((example for _, example in found if example), "")


def _differing_values(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[int, str]:
    bits = _BITS[ours.dtype.itemsize]
    ours, theirs = ours.detach(), theirs.detach().to(ours.device, ours.dtype)
    if torch.equal(ours.view(bits), theirs.view(bits)):
        return 0, ""
    wrong = ours.view(bits) != theirs.view(bits)
    return int(wrong.sum()), f"the first is {ours[wrong][0].item()!r}, expected {theirs[wrong][0].item()!r}"


def pack(name: str, layer: Any) -> None:
    """Pack one layer's weight as vLLM does on this processor, and read columns of it back."""
    plain, waiting = layer.weight, _waiting[layer]
    columns = torch.linspace(0, waiting.shape[1] - 1, _COLUMNS).long()
    wanted = plain[:, columns].T.clone()
    _vllm_packs(layer, waiting.drops_plain)
    if layer.weight is not plain:  # vLLM dropped the plain weight; its parameter is kept for the next checkpoint
        layer.weight = plain
        plain.data = plain.data.new_empty(0)
    units = torch.nn.functional.one_hot(columns, waiting.shape[1]).to(wanted.dtype)
    found = layer.cpu_linear(units, layer.weight, None)[:, : wanted.shape[1]]
    # by value: a sum of products has no negative zero, and may flush what is smaller than any normal number
    if not torch.allclose(found.float(), wanted.float(), rtol=0, atol=torch.finfo(torch.float32).tiny):
        raise WeightsDiffer(f"the packed copy of {name!r} does not give its weights back")


def _unpack(layer: Any) -> None:
    """Make room for a plain weight, in place of the packed copy."""
    layer.cpu_linear = torch.nn.functional.linear
    if not layer.weight.numel():
        layer.weight.data = layer.weight.data.new_empty(_waiting[layer].shape)
    if getattr(layer, "bias", None) is not None:
        layer.bias.data = layer.bias.data.to(layer.weight.dtype)


def _wait(layer: Any, remove_weight: bool) -> None:
    """Stands in for vLLM's packing while a checkpoint is read."""
    if layer.weight.is_meta or layer.weight.ndim != 2:
        _vllm_packs(layer, remove_weight)
        return
    layer.cpu_linear = torch.nn.functional.linear
    _waiting[layer] = _Waiting(tuple(layer.weight.shape), remove_weight)


_vllm_packs: Callable[[Any, bool], None] = vllm_layers.dispatch_cpu_unquantized_gemm
vllm_layers.dispatch_cpu_unquantized_gemm = _wait
