"""vLLM whose worker has one planted fault: what the proof of its weights must catch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from harness.engines.vllm import VLLMConfig, VLLMEngine

# The shipped worker with one fault, chosen by the content of a file each time a checkpoint comes in; in another file it
# notes how many tokens its cache can hold, whether it imported scikit-learn, how many threads torch had, which were 3,
# after a proof, and whether vLLM knows the folder under the name that all have. It compares so few values at a time
# that several threads share a tensor even of a small model.
FAULTY_WORKER = """
import json, sys
from pathlib import Path

import torch

from harness.engines.vllm_worker import VLLMWorker, main

def one_bit(worker, name):
    # in every process of an engine, the last of which spoils its part
    if worker.rank == worker.parallel_config.world_size - 1:
        flat = dict(worker.model_runner.get_model().named_parameters())[name].data.view(-1)
        flat[len(flat) // 2] = torch.nextafter(flat[len(flat) // 2], torch.tensor(9.0, dtype=flat.dtype))

class FaultyWorker(VLLMWorker):
    packed_before = None  # of the output head

    def start(self, path, options):
        limit = super().start(path, options)
        cache = self.engine.vllm_config.cache_config
        noted = {"tokens": cache.num_gpu_blocks * cache.block_size, "sklearn": "sklearn" in sys.modules}
        noted["threads"] = self.threads_after_proof
        noted["same name"] = self.engine.model_config.tokenizer == "model"  # stays as the engine was started with
        faults.with_name("noted").write_text(json.dumps(noted))
        return limit

    def model(self):
        return self.engine.apply_model(lambda model: model)[0]

    def read(self, path):
        if faults.read_text() != "not read":
            super().read(path)

    def prove(self, path):
        fault, _, name = faults.read_text().partition(" in ")
        if fault == "one bit":
            self.engine.collective_rpc(one_bit, args=(name,))
        from harness.engines import vllm_weights
        vllm_weights._CHUNK, threads = 999, torch.get_num_threads()
        torch._C.set_num_threads(3)
        try:
            super().prove(path)
        finally:
            self.threads_after_proof = torch.get_num_threads()
            torch._C.set_num_threads(threads)
        if fault == "another function":
            dict(self.model().named_parameters())["model.norm.weight"].data.mul_(1.05)

    def pack(self):
        if self.options.tensor_parallel_size > 1:  # its model lies in other processes
            super().pack()
            return
        from harness.engines import vllm_weights
        packs = vllm_weights._vllm_packs
        head = self.model().lm_head

        def packs_all_but_the_head(layer, remove_weight):
            packs(layer, remove_weight)
            if layer is head:
                layer.cpu_linear = self.packed_before

        if faults.read_text() == "output head" and self.packed_before is not None:
            vllm_weights._vllm_packs = packs_all_but_the_head
        try:
            super().pack()
        finally:
            vllm_weights._vllm_packs = packs
        self.packed_before = head.cpu_linear

    def drop_prefixes(self):
        if faults.read_text() != "prefixes":
            super().drop_prefixes()

if __name__ == "__main__":  # the processes of a tensor-parallel engine import this file too
    faults = Path(sys.argv.pop(1))
    main(FaultyWorker())
"""


class FaultyEngine(VLLMEngine):
    def __init__(self, folder: Path, config: VLLMConfig | None = None) -> None:
        super().__init__(config or VLLMConfig())
        self._script = folder / "faulty_worker.py"
        self._script.write_text(FAULTY_WORKER)
        self._faults = folder / "faults"
        self.plant("")

    def plant(self, fault: str) -> None:
        self._faults.write_text(fault)

    def noted(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self._faults.with_name("noted").read_text())
        return found

    def command(self) -> list[str]:
        return [sys.executable, str(self._script), str(self._faults)]
