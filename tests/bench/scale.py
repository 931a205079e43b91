"""A million recorded replies evaluated, resumed and summarised: how long it takes and how much memory at most.

python tests/bench/scale.py [--replies 1000000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ITEMS = 1000
SCRIPT = """
import sys
sys.path[:0] = [{here!r}, {tests!r}]
import resource, time
from pathlib import Path
from eval_tasks import Sums
from harness.interop.replay_engine import ReplayEngine
from harness.evaluation.evaluate import evaluate, summarised
from harness.evaluation.job import EvalJob
from harness.evaluation.grading_pool import Graders
from harness.board.build import build_board
from harness.board.entries import Entry, RecordFiles, Run
from harness.board.facts import BoardFacts
from harness.types import Checkpoint, SamplingParams

def main():
    task = Sums({items})
    engine = ReplayEngine(Path(sys.argv[1]), task)
    of = EvalJob(task, "test", engine.covered, SamplingParams(32), engine.n_repeats)
    began = time.monotonic()
    with Graders() as graders:
        found = evaluate(of, engine, Checkpoint(Path("."), engine.digest, ""), graders, Path(sys.argv[2]))
    judged = time.monotonic() - began
    records, digest = summarised([found])
    run = Run(engine.digest, records, records=RecordFiles(content=digest))
    board = build_board("t", [Entry("t", "model", (run,))], BoardFacts())
    row = board.rows[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    summed = time.monotonic() - began - judged
    print(f"{{row['counts']['n']:,}} replies, strict {{100 * row['strict']['value']:.2f}} %: evaluated in "
          f"{{judged:.0f}} s, summarised in {{summed:.0f}} s, peak {{peak:.2f}} GB", flush=True)

main()
"""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        path, run = Path(home) / "samples.jsonl", Path(home) / "run"
        with path.open("w") as out:
            for n in range(asked.replies):
                i = n % ITEMS
                wrong = n % 7 == 0
                text = f"I add {i} to itself, step by step. " * 8 + f"\n#### {2 * i + wrong}"
                out.write(json.dumps({"task_id": f"sums/test/{i:06d}", "completion": text}) + "\n")
        print(f"{asked.replies:,} replies to {ITEMS} items, {path.stat().st_size / 1e9:.2f} GB")
        script = SCRIPT.format(here=str(HERE), tests=str(HERE.parent), items=ITEMS)
        command = [sys.executable, "-c", script, str(path), str(run)]
        with subprocess.Popen(command) as killed:
            time.sleep(max(5.0, asked.replies / 40_000))
            killed.kill()
        kept = sum(p.read_bytes().count(b"\n") for p in run.glob("*/replies.jsonl"))
        print(f"killed after {kept:,} replies; the same command again:")
        subprocess.run(command, check=True)
        print("and once more, with nothing left to do:")
        subprocess.run(command, check=True)
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        print(f"largest process of all: {children:.2f} GB  (bar: 2); cores {len(os.sched_getaffinity(0))}")


if __name__ == "__main__":
    main()
