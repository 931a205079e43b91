"""How soon a reader can use the page of a large board: seconds from the start of the navigation, and the file's size.

python tests/bench/page_speed.py [--rows 50] [--tasks 10] [--items 1319] [--characters 300] [--most-bytes 50000000]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))
from browser import browser, opened

from harness.board.html_page import Answers, PageItem, render_page
from harness.statistics.intervals import wilson

SPOKEN = """so the total number of apples is then we have left after she gives half of them to her friend which makes
each box cost dollars per day week answer therefore add subtract multiply divide first second step remaining"""
WORDS = SPOKEN.split()
WATCH = """
    window.seen = new Promise(done => {
      const found = {};
      const note = (what, selector) => { if (document.querySelector(selector)) found[what] ??= performance.now(); };
      const look = () => {
        note("table", "#ranking tbody tr");
        note("items", '#items[aria-busy="false"] #list button');
        if (found.items) done(found);
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
"""
SORT = """
    const began = performance.now();
    document.querySelectorAll("#ranking thead button")[0].click();
    document.body.offsetHeight;
    performance.now() - began;
"""
ROUNDS = 5


def reply(rng: random.Random, n_characters: int) -> str:
    """Words and numbers, of about the length asked for; it deflates to about 40 %, as derivations of models do."""
    words = []
    size = 0
    while size < n_characters:
        words.append(rng.choice(WORDS) if rng.random() < 0.8 else str(rng.randrange(1000)))
        size += len(words[-1]) + 1
    return " ".join(words)


def board(
    n_rows: int, n_tasks: int, n_items: int, n_characters: int
) -> tuple[dict[str, object], dict[str, list[PageItem]], dict[str, dict[str, Answers]]]:
    """What `render_page` takes, made up."""
    rng = random.Random(0)
    tasks = [f"task{t}" for t in range(n_tasks)]
    items = {task: [PageItem(f"{task}/test/{i:04}", reply(rng, 250), "42") for i in range(n_items)] for task in tasks}
    hard = {task: [rng.random() for _ in range(n_items)] for task in tasks}
    rows, answers = [], {}
    for r in range(n_rows):
        name = "base" if r == n_rows - 1 else f"strategy {r}"
        verdicts = {task: [float(rng.random() < (1.2 - r / n_rows) * (1 - x)) for x in hard[task]] for task in tasks}
        scores = {task: wilson(int(sum(of)), n_items).__dict__ for task, of in verdicts.items()}
        whole = wilson(int(sum(map(sum, verdicts.values()))), n_items * n_tasks).__dict__
        ends = {"n": n_items * n_tasks, "scored": n_items * n_tasks, "truncated": 0, "errored": 0}
        rows.append(
            {
                "name": name,
                "role": "base" if name == "base" else "strategy",
                "seeds": [1],
                "strict": whole,
                "lenient": whole,
                "counts": ends,
                "tasks": {task: {"strict": of, "lenient": of, "counts": ends} for task, of in scores.items()},
                "tokens_per_item": 70.0,
                "runs": [{"id": f"{r:012}", "seed": 1, "status": "done", "why": "", "strict": whole, "cost": None}],
            }
        )
        answers[name] = {
            task: Answers(of, [reply(rng, n_characters) for _ in range(n_items)]) for task, of in verdicts.items()
        }
    return {"title": "A large board", "rows": rows, "tasks": tasks, "facts": {}}, items, answers


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rows", 50), ("tasks", 10), ("items", 1319), ("characters", 300), ("most-bytes", 50_000_000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    made = board(asked.rows, asked.tasks, asked.items, asked.characters)
    began = time.monotonic()
    text = render_page(*made, most_bytes=asked.most_bytes)
    print(f"rendered in {time.monotonic() - began:.1f} s, {len(text) / 1e6:.1f} MB", flush=True)
    del made
    with tempfile.TemporaryDirectory() as home, browser() as running:
        path = Path(home) / "board.html"
        path.write_text(text, encoding="utf-8")
        found: dict[str, list[float]] = {"table": [], "items": [], "sort": []}
        for _ in range(ROUNDS):
            here = opened(running, path, watch=WATCH)
            for key, value in here.page.evaluate("window.seen").items():
                found[key].append(value / 1000)
            found["sort"].append(here.page.evaluate(SORT) / 1000)
            here.page.close()
    words = {
        "table": "table shown and interactive",
        "items": "items of all tasks listed",
        "sort": "one sort of the table",
    }
    for key, of in found.items():
        print(f"{words[key]}: {median(of):.2f} s (slowest of {ROUNDS}: {max(of):.2f} s)")


if __name__ == "__main__":
    main()
