"""Several vLLM engines as on a machine with several GPUs: real worker processes, which load no model."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.checkpoints import open_checkpoint
from harness.engines import machine, vllm, vllm_worker
from harness.engines.requests import StartError
from harness.engines.vllm import VLLMConfig, VLLMEngine, engine_shares
from harness.errors import BadConfig
from harness_tasks import pico

# Notes its process under the name of its GPUs, waits for all others to be there, and fails as `fault` says.
WORKER = """
import os, sys, time
from pathlib import Path

from harness.engines.vllm_worker import VLLMWorker, main

class Worker(VLLMWorker):
    def start(self, path, options):
        gpus = os.environ["CUDA_VISIBLE_DEVICES"]
        begun = folder / f"{gpus} begun"
        begun.write_text(str(os.getpid()))
        begun.rename(folder / f"gpus {gpus}")  # a reader never sees an empty file
        end = time.monotonic() + 60
        while len(list(folder.glob("gpus *"))) < 3:
            assert time.monotonic() < end, "the others have not begun to load"
            time.sleep(0.01)
        fault = (folder / "fault").read_text()
        if fault == "all hang" or (fault == "one fails" and gpus != "5"):
            time.sleep(600)
        if fault == "one fails":
            raise RuntimeError("out of memory")
        return 1024

    def probe(self):
        return 0.0, 1.0

folder = Path(sys.argv.pop(1))
main(Worker())
"""


@pytest.fixture(autouse=True)
def gpus(monkeypatch):
    """This process takes the machine for one with GPUs 4, 5 and 7, and the engine for the build for them."""
    monkeypatch.setattr(machine, "cuda_build", lambda: "13.0")
    monkeypatch.setattr(vllm, "_cpu_build", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")


@pytest.fixture
def fleet(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)

    class Engine(VLLMEngine):
        def command(self):
            return [sys.executable, str(tmp_path / "worker.py"), str(tmp_path)]

    with Engine.open(VLLMConfig(), print) as opened:
        yield opened


def workers(folder):
    """Process ids of the workers by their GPUs."""
    return {path.name.removeprefix("gpus "): int(path.read_text()) for path in folder.glob("gpus *")}


def alive(folder):
    """The GPUs whose workers run."""
    state = lambda pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]  # noqa: E731
    return {gpus for gpus, pid in workers(folder).items() if Path(f"/proc/{pid}").exists() and state(pid) != "Z"}


def test_all_gpus_are_used_unless_the_user_says_otherwise():
    assert engine_shares(VLLMConfig()) == [("4",), ("5",), ("7",)]
    assert engine_shares(VLLMConfig(data_parallel_size=1)) == [("4",)]
    assert engine_shares(VLLMConfig(tensor_parallel_size=2)) == [("4", "5")]
    asked = "engine 'vllm' with data_parallel_size=2 and tensor_parallel_size=2 needs 4 GPUs, and 3 can be seen"
    with pytest.raises(BadConfig, match=asked):
        engine_shares(VLLMConfig(data_parallel_size=2, tensor_parallel_size=2))
    for wrong in ({"data_parallel_size": 0}, {"tensor_parallel_size": 0}, {"gpu_memory_utilization": 1.5}):
        with pytest.raises(BadConfig, match=f"{next(iter(wrong))} must be"):
            VLLMConfig(**wrong)


def test_the_number_of_gpus_found_changes_no_record():
    """So that replies made on one GPU go on on eight; a number that was asked for is recorded."""
    assert VLLMEngine.open(VLLMConfig(), print).describe() == VLLMEngine().describe()
    asked = VLLMEngine.open(VLLMConfig(data_parallel_size=2), print).describe()
    assert asked.settings == {**VLLMEngine().describe().settings, "data_parallel_size": 2}


def test_an_engine_takes_most_of_what_is_free_on_the_fullest_of_its_gpus(monkeypatch):
    free = {0: (60, 80), 1: (40, 80)}
    monkeypatch.setattr("torch.cuda.mem_get_info", free.__getitem__)
    options = vllm_worker.Options("bfloat16", "cuda", None, 256, None, 2)
    assert vllm_worker._memory_share(options) == pytest.approx(0.85 * 0.5)


def test_all_engines_load_at_the_same_time_each_on_its_own_gpus(fleet, tmp_path):
    (tmp_path / "fault").write_text("")
    fleet.load(open_checkpoint(pico.BASE))
    time.sleep(0.2)  # Linux ends a process with the thread that started it
    assert alive(tmp_path) == {"4", "5", "7"}
    fleet.close()
    assert not alive(tmp_path)


def test_an_error_names_the_rank_and_leaves_no_engine_behind(fleet, tmp_path):
    (tmp_path / "fault").write_text("one fails")
    with pytest.raises(StartError, match=r"^rank 1 of 3 engines: engine 'vllm' did not start: .*out of memory"):
        fleet.load(open_checkpoint(pico.BASE))
    assert len(workers(tmp_path)) == 3
    assert not alive(tmp_path)


def test_an_interrupt_leaves_no_engine_behind(fleet, tmp_path):
    (tmp_path / "fault").write_text("all hang")

    def interrupt():
        while len(workers(tmp_path)) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            fleet.load(open_checkpoint(pico.BASE))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(workers(tmp_path)) == 3
    assert not alive(tmp_path)
