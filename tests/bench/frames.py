"""Our columns against equal pandas data frames, over runs of the same items: seconds and memory.

    python tests/bench/frames.py [runs] [items]

Each side reads the same files with the same decoder in a process of its own, three times in turn. Both keep what the
statistics need: item, repeat, level, the six compared fields, verdicts, finish, unread, tokens; no texts.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from comparison_scale import write_run

COLUMNS = "kept = [reader.files([path], str(path)) for path in paths]"
FRAMES = """
def frame(path):
    lines = columns._lines(path)
    data = {name: [getattr(line, name) for line in lines] for name in ("repeat", "n_tokens")}
    for name in NAMES:
        values = [bytes(line.sampling) for line in lines] if name == "sampling" else [getattr(l, name) for l in lines]
        data[name] = pd.Categorical(values)
    for name in ("strict", "lenient"):
        data[name] = [getattr(line.scores, name).value for line in lines]
    data["unread"] = [line.scores.lenient.answer is None for line in lines]
    return pd.DataFrame(data).sort_values(["task", "sample_id", "repeat"])

kept = [frame(path) for path in paths]
"""
SCRIPT = """
import resource, sys, time
from pathlib import Path
import pandas as pd
from harness.records import columns
NAMES = ("task", "sample_id", "level", "grader_version", "sampling", "engine", "sandbox", "sample_hash",
         "prompt_hash", "finish")
paths = sorted(Path(sys.argv[1]).rglob("records-*.jsonl"))
reader = columns.Reader()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
began = time.process_time()
{side}
used = time.process_time() - began
now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e9
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(f"{{used:.1f}} s of CPU, {{now - before:.2f}} GB kept, {{peak - before:.2f}} GB at most")
"""


def main() -> None:
    """See the module."""
    runs, items = (int(value) for value in (*sys.argv[1:], 50, 20_000)[:2])
    with tempfile.TemporaryDirectory() as home:
        for i in range(runs):
            write_run(Path(home) / f"run{i:03d}", i, items)
        print(f"{runs} runs x {items:,} replies", flush=True)
        for _ in range(3):
            for name, side in (("columns", COLUMNS), ("data frames", FRAMES)):
                done = [sys.executable, "-c", SCRIPT.format(side=side), home]
                print(
                    f"{name}: {subprocess.run(done, check=True, capture_output=True, text=True).stdout}",
                    end="",
                    flush=True,
                )


if __name__ == "__main__":
    main()
