"""Many runs compared: how long `harness compare RUN ...` takes, and how much memory at most.

    python tests/bench/comparison_scale.py [runs] [items]

The runs are made up, in this project's own files, with a text of 600 characters a reply as real ones have.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

HARNESS = Path(sys.executable).parent / "harness"


def main() -> None:
    runs, items = (int(value) for value in (*sys.argv[1:], 200, 20_000)[:2])
    with tempfile.TemporaryDirectory() as home:
        folders = [write_run(Path(home) / f"run{i:03d}", i, items) for i in range(runs)]
        size = sum(f.stat().st_size for folder in folders for f in folder.rglob("*.jsonl"))
        print(f"{runs} runs x {items:,} replies, {size / 1e9:.1f} GB of records")
        for command in (["compare"], ["leaderboard", "build"]):
            out = ["--out", str(Path(home) / f"{command[-1]}.md")]
            began = time.monotonic()
            child = os.posix_spawn(HARNESS, [str(HARNESS), *command, *map(str, folders), *out], os.environ,
                                   file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])  # fmt: skip
            _, status, used = os.wait4(child, 0)
            print(
                f"harness {' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}, "
                f"{time.monotonic() - began:.0f} s, {used.ru_maxrss / 1e6:.2f} GB at most"
            )


def write_run(folder: Path, number: int, items: int) -> Path:
    rng = random.Random(number)
    digest, share = f"{number:064x}", 0.4 + 0.2 * rng.random()
    file = folder / "evals" / "task-0" / "records-0.jsonl"
    file.parent.mkdir(parents=True)
    text = json.dumps("A derivation of some length. " * 20)
    with file.open("w") as out:
        for i in range(items):
            right = float(rng.random() < share + 0.3 * ((i % 10) / 10 - 0.5))
            verdict = f'{{"answer":"{i}","value":{right},"why":""}}'
            out.write(
                f'{{"checkpoint":"{digest}","cluster":"{i:016x}","engine":"vllm 0.32.0 float32","error":"",'
                f'"finish":"stop",'
                f'"grader_version":"task 1, grader number-1","level":"{i % 4}","n_prompt_tokens":80,'
                f'"n_tokens":{100 + i % 50},"prompt_hash":"{i:064x}","repeat":0,"sample_hash":"{i + 7:064x}",'
                f'"sample_id":"task/test/{i:05d}","sampling":{{"max_tokens":256,"seed":null,"stop":[],'
                f'"temperature":0.0,"top_k":0,"top_p":1.0}},"sandbox":"none needed","scores":{{"lenient":{verdict},'
                f'"strict":{verdict}}},"task":"task","task_version":"1","text":{text},"wall_s":0.5}}\n'
            )
    row = {"name": f"run{number:03d}", "runs": [{"digest": digest}]}
    result = folder / "results" / "task.json"
    result.parent.mkdir()
    result.write_text(json.dumps({"board": {"rows": [row]}, "records": [str(file.relative_to(folder))]}))
    return folder


if __name__ == "__main__":
    main()
