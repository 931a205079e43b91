"""Which items of the tasks are related: the table in tasks/README.md, and the lists in tasks/svamp_variants.txt.

    HARNESS_DATA=... python tests/bench/related_items.py            # the table
    HARNESS_DATA=... python tests/bench/related_items.py variants   # the lists
    HARNESS_DATA=... python tests/bench/related_items.py claims     # false claims about two equal checkpoints

SVAMP does not say from which of its 100 seeds a problem was made, but the variants of a seed have most words in
common: of all pairs of problems 1.2 % have a cosine of 0.5 or more (words weighted by rarity), 0.1 % one between 0.3
and 0.5, and all others less. Average linkage joins them to 107, 97 and 94 groups at a cosine of 0.5, 0.4 and 0.3.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from harness import registry
from harness.interop.lm_eval_task import StockTask
from harness.statistics import intervals
from harness_tasks import static

ALIKE = 0.4  # cosine of the variants of one seed
RELATED_BY = {
    "svamp": "the seed that they are variants of",
    "olympiadbench": "the problem that they are parts of",
    "minerva": "the problem that they are parts of",
    "pico_code": "the program, in other words",
    "gsm8k, gsm_hard": "the question but for its numbers",
    "math500, math_test": "the problem",
    "humaneval, humaneval_plus": "the problem",
    "mbpp, mbpp_plus, mbpp_sanitized": "the problem",
    "lm_eval/boolq": "the passage",
    "lm_eval/piqa": "the goal",
    "lm_eval/lambada_openai": "the text",
}
STOCK = tuple(f"lm_eval/{name}" for name in ("gsm8k", "minerva_math500", "humaneval", "mbpp", "arc_easy", "openbookqa"))
_ABOUT = """# SVAMP's problems are variants of 100 seeds, which its files do not name.
# Each line: the problems of one seed, grouped by their words (tests/bench/related_items.py variants).
"""


def variants(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """SVAMP's ids by the seed they were made from, in the order of the file."""
    words = [set(re.findall(r"[a-z]+", f"{row['Body']} {row['Question']}".lower())) for row in rows]
    counts = Counter(word for of in words for word in sorted(of))
    weights = np.array([[word in of for word in counts] for of in words]) * np.log(
        len(rows) / np.array([*counts.values()])
    )
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    apart = 1 - weights @ weights.T
    np.fill_diagonal(apart, 0.0)
    tree = hierarchy.linkage(squareform(apart.clip(0.0), checks=False), "average")
    groups: dict[int, list[str]] = {}
    for row, group in zip(rows, hierarchy.fcluster(tree, 1 - ALIKE, "distance").tolist(), strict=True):
        groups.setdefault(group, []).append(row["ID"])
    return list(groups.values())


def variants_file() -> str:
    """What tasks/svamp_variants.txt holds."""
    rows = [row.values for _, row in static.svamp()._numbered("test")]
    return _ABOUT + "".join(" ".join(group) + "\n" for group in variants(rows))


def table(stock: bool) -> list[str]:
    """The lines of the README about installed tasks, or about stock tasks of lm-eval."""
    groups = {names: by for names, by in RELATED_BY.items() if names.startswith("lm_eval/") == stock}
    named = [name for names in groups for name in names.split(", ")]
    others = [name for name in (STOCK if stock else registry.names("task")) if name not in named]
    counts = {name: _clusters(name) for name in (*named, *others)}
    lines = []
    for names, by in groups.items():
        found = sum((counts[name] for name in names.split(", ")), Counter[str]())
        cells = (_code(names.split(", ")), f"{found.total():,}", f"{len(found):,}", str(max(found.values())), by)
        lines.append(f"| {' | '.join(cells)} |")
    if odd := [name for name in others if max(counts[name].values()) > 1]:
        raise SystemExit(f"items of {', '.join(odd)} are related: say in RELATED_BY by what")
    return [*lines, f"No two items of one of these are related: {_code(others)}."]


def claims(codes: np.ndarray, share: float, draws: int, seed: int = 0) -> tuple[float, float]:
    """Shares of comparisons of two equal checkpoints with p < 0.05, without and with the clusters.

    codes: (items,) numbers of clusters. share: of the variance of an item's difficulty, and of what is a checkpoint's
    own about it, the part that a cluster's items have in common.
    """
    rng = np.random.default_rng(seed)

    def drawn() -> np.ndarray:
        common, own = rng.normal(size=codes.max() + 1)[codes], rng.normal(size=len(codes))
        return np.sqrt(share) * common + np.sqrt(1 - share) * own

    found = []
    for _ in range(draws):
        difficulty = drawn()
        one, other = ((difficulty + drawn() > 0).astype(float) for _ in range(2))
        found.append([intervals.paired(one, other, of).p < 0.05 for of in (None, codes)])
    alone, clustered = np.mean(found, axis=0)
    return float(alone), float(clustered)


def _claims_table() -> list[str]:
    lines = []
    for names in RELATED_BY:
        counts = sum(map(_clusters, names.split(", ")), Counter[str]())
        codes = np.repeat(np.arange(len(counts)), list(counts.values()))
        cells = [f"{100 * a:.1f}, {100 * b:.1f}" for a, b in (claims(codes, share, 1000) for share in (0.3, 0.6, 0.9))]
        lines.append(f"| {' | '.join([_code(names.split(', ')), *cells])} |")
    return lines


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _clusters(task: str) -> Counter[str]:
    """How many items of a task's test split each cluster has."""
    made = StockTask(task, num_fewshot=0) if task.startswith("lm_eval/") else registry.make_task(task)
    return Counter(sample.cluster_hash for sample in made.samples("test"))


if __name__ == "__main__":
    if sys.argv[1:] == ["variants"]:
        print(variants_file(), end="")
    elif sys.argv[1:] == ["claims"]:
        print("\n".join(_claims_table()))
    else:
        print("\n".join([*table(stock=False), *table(stock=True)]))
