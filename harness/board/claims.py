"""What a board's numbers allow to claim about strategies, and what not. Pure functions: scores in, sentences out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from harness.rendering import tables
from harness.statistics import intervals
from harness.types import Budget


def compare_pairs(scores: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Every pair of strategies, items and training seeds both random, with Holm's p over all of them.

    scores: for each strategy, best first, (seeds, items), NaN if an item was not graded; only those with enough
    seeds for a claim take part. A pair is a `Contrast` of `a` less `b`, their names, and `p_holm`.
    """
    enough = {name: runs for name, runs in scores.items() if len(runs) >= intervals.MIN_SEEDS_FOR_CLAIM}
    found = []
    for a, b in itertools.combinations(enough, 2):
        shared = ~np.isnan(np.concatenate([enough[a], enough[b]])).any(axis=0)
        if shared.any():
            contrast = intervals.across_seeds(enough[a][:, shared], enough[b][:, shared])
            found.append({"a": a, "b": b, **asdict(contrast)})
    corrected = intervals.holm([pair["p"] for pair in found])
    return [{**pair, "p_holm": p} for pair, p in zip(found, corrected, strict=True)]


def rank_ranges(found: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """For each strategy of the pairs the (best, worst) rank that the claims leave possible."""
    verdicts = _Verdicts(found)
    names = list(dict.fromkeys(name for pair in found for name in (pair["a"], pair["b"])))
    words = {name: [verdicts.word(name, other) for other in names if (name, other) in verdicts] for name in names}
    return {name: (1 + of.count("worse"), len(names) - of.count("better")) for name, of in words.items()}


class _Verdicts:
    """The pairs, from either side."""

    def __init__(self, found: Sequence[Mapping[str, Any]]) -> None:
        self._gaps: dict[tuple[str, str], tuple[float, bool]] = {}
        for pair in found:
            claimed = pair["p_holm"] < intervals.LEVEL
            self._gaps[pair["a"], pair["b"]] = (pair["value"], claimed)
            self._gaps[pair["b"], pair["a"]] = (-pair["value"], claimed)

    def __contains__(self, names: tuple[str, str]) -> bool:
        return names in self._gaps

    def points(self, name: str, other: str) -> str:
        return f"{100 * self._gaps[name, other][0]:+.1f}"

    def word(self, name: str, other: str) -> str:
        """ "better", "worse" or "not told apart"."""
        value, claimed = self._gaps[name, other]
        return "not told apart" if not claimed else "better" if value > 0 else "worse"


def claims_markdown(
    found: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], budget: Budget | None
) -> list[str]:
    """Markdown: what can be claimed, what not, and the smallest detectable differences; empty without pairs.

    rows: those of the board, best first. budget: of each strategy, if it is recorded.
    """
    if not found:
        return []
    verdicts = _Verdicts(found)
    compared = {name for pair in found for name in (pair["a"], pair["b"])}
    names = [row["name"] for row in rows if row["name"] in compared]
    text = [
        "## What can be claimed",
        "",
        f"Every pair of these {len(names)} strategies: strict scores of the same items, items and training seeds both "
        f"random (crossed random effects). A claim holds if p is below {100 * intervals.LEVEL:g} % after Holm's "
        f"correction for {len(found)} pairs. Points in brackets; intervals and p of every pair are folded below.",
        "",
    ]
    rows_of = []
    for name in names:
        others = [other for other in names if (name, other) in verdicts]
        cells = [
            ", ".join(f"{o} ({verdicts.points(name, o)})" for o in others if verdicts.word(name, o) == word) or "–"
            for word in ("better", "not told apart", "worse")
        ]
        rows_of.append([f"**{name}**", *cells])
    text += tables.table(("Strategy", "Better than", "Not told apart from", "Worse than"), rows_of)
    sentences = [*_best(names, verdicts, budget), *_hybrids(names, verdicts), *_base(names, rows)]
    sentences += [*_left_out(names, rows), *_unseen(found)]
    return [*text, "", *(f"- {line}" for line in sentences), ""]


def pair_rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row a pair: names, n, difference with interval in points, standard error, p, and p after Holm's correction."""
    return [
        [
            f"{pair['a']} less {pair['b']}",
            str(pair["n"]),
            tables.percent(pair, "+"),
            f"{100 * pair['error']:.1f}",
            f"{pair['df']:.1f}",
            f"{pair['p']:.2g}",
            f"{pair['p_holm']:.2g}",
        ]
        for pair in found
    ]


TABLE_HEAD = ("Pair", "n", "Points (95 %, alone)", "Standard error", "df", "p", "p, Holm")


def _best(names: Sequence[str], verdicts: _Verdicts, budget: Budget | None) -> Iterator[str]:
    at = f" at {budget.amount:.3g} {budget.unit} each" if budget else ""
    pairs_of = {name: [other for other in names if (name, other) in verdicts] for name in names}
    unbeaten = [name for name in names if not any(verdicts.word(name, o) == "worse" for o in pairs_of[name])]
    if len(unbeaten) == 1 and all(verdicts.word(unbeaten[0], o) == "better" for o in pairs_of[unbeaten[0]]):
        n = len(pairs_of[unbeaten[0]])
        yield f"**Best{at}:** {unbeaten[0]}, better than {f'each of the {n} others' if n > 1 else 'the other'}."
    else:
        yield f"**Best{at}:** not settled; none is shown to be better than {' or '.join(unbeaten)}."


def _hybrids(names: Sequence[str], verdicts: _Verdicts) -> Iterator[str]:
    for name in names:
        parts = dict.fromkeys(part.partition(":")[0].strip() for part in re.split(r"[+&]", name))
        if len(parts) > 1 and any((name, part) in verdicts for part in parts):
            gains = [
                f"{verdicts.points(name, part)} points on {part} ({verdicts.word(name, part)})"
                if (name, part) in verdicts
                else f"nothing on {part}, which is not among these"
                for part in parts
            ]
            yield f"**{name} compared with its parts:** {'; '.join(gains)}."


def _base(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    base = next((row for row in rows if row["role"] == "base"), None)
    ours = [row for row in rows if row["name"] in names and row.get("difference", {}).get("p") is not None]
    if base is None or not ours:
        return
    corrected = intervals.holm([row["difference"]["p"] for row in ours])
    found: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for row, p in zip(ours, corrected, strict=True):
        found[
            "not told apart" if p >= intervals.LEVEL else "better" if row["difference"]["value"] > 0 else "worse"
        ].append(row["name"])
    verdicts = "; ".join(f"{word}: {', '.join(who)}" for word, who in found.items() if who)
    yield f"**Compared with the base** (corrected for these {len(ours)}): {verdicts}."
    strict, lenient = base["strict"]["value"], base["lenient"]["value"]
    if strict is not None and lenient is not None and lenient - strict >= 0.01:
        yield (
            f"**Format:** the base itself has {100 * lenient:.1f} by the lenient reading and {100 * strict:.1f} by the "
            f"strict one, so {100 * (lenient - strict):.1f} points can be gained by answering in the form asked for."
        )


def _left_out(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Who is not among the pairs, and why: to drop in silence what collapsed would favour what happened not to."""
    why = []
    for row in rows:
        if row["role"] == "strategy" and row["name"] not in names:
            ended = [run["status"] for run in row["runs"] if run["status"] != "done"]
            few = f"{len(row['runs'])} seed{'s' * (len(row['runs']) > 1)}"
            reason = f"{len(ended)} of {len(row['runs'])} runs {ended[0]}" if ended else few
            why.append(f"{row['name']} ({reason})")
    if why:
        yield f"**No claim about:** {', '.join(why)}."


def _unseen(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    alone, strictest = (
        100 * median(intervals.smallest_found(pair["error"], pair["df"], level) for pair in found)
        for level in (intervals.LEVEL, intervals.LEVEL / len(found))
    )
    yield (
        f"**Detectable difference** (80 % power, median over the pairs): {alone:.1f} points for a pair tested alone, "
        f"{strictest:.1f} points at the strictest step of Holm's correction. Not told apart is not equal."
    )
    yield (
        "**Limits of these results:** they do not extend to another base model, another budget, other tasks, another "
        "draw of the teacher's traces, or settings that were not tried."
    )
