"""What a board's numbers allow to be said about strategies, and what not. Pure functions: scores in, sentences out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from scipy.stats import t as student

from harness import stats

LEVEL = 0.05  # of a family of claims together
POWER = 0.8


def pairs(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Every pair of strategies, items and training seeds both random, with Holm's p over all of them.

    scores: for each strategy, best first, a mapping item -> score for each seed; only those with enough seeds for a
    claim take part. A pair is an `Estimate` of `a` less `b`, their names, and `p_holm`.
    """
    enough = {name: runs for name, runs in scores.items() if len(runs) >= stats.MIN_SEEDS_FOR_CLAIM}
    found = []
    for a, b in itertools.combinations(enough, 2):
        items = sorted(set.intersection(*(set(run) for run in (*enough[a], *enough[b]))))
        if items:
            ours, theirs = ([[run[item] for item in items] for run in enough[name]] for name in (a, b))
            found.append({"a": a, "b": b, **asdict(stats.across_seeds(ours, theirs))})
    corrected = stats.holm([pair["p"] for pair in found])
    return [{**pair, "p_holm": p} for pair, p in zip(found, corrected, strict=True)]


def lines(found: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> list[str]:
    """Markdown: what can be claimed, what not, and how small a difference would have been seen; none without pairs."""
    if not found:
        return []
    names = [row["name"] for row in rows if any(row["name"] in (pair["a"], pair["b"]) for pair in found)]
    budget = facts.get("budget")
    at = f" at {budget['amount']:.3g} {budget['unit']} each" if budget else ""
    text = [
        "## What can be claimed",
        "",
        f"Every pair of the {len(names)} strategies with at least {stats.MIN_SEEDS_FOR_CLAIM} seeds: strict scores of "
        f"the same items, items and training seeds both random ({found[0]['method']}). A claim holds where p is below "
        f"{100 * LEVEL:g} % after Holm's correction for {len(found)} pairs. Points in brackets.",
        "",
        "| Strategy | Better than | Not told apart from | Worse than |",
        "| --- | --- | --- | --- |",
    ]
    for name in names:
        cells = [", ".join(part) or "–" for part in _against(name, names, found)]
        text.append(f"| **{name}** | {' | '.join(cells)} |")
    text += ["", *(f"- {line}" for line in _sentences(names, found, rows, at)), ""]
    return text


def _against(name: str, names: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[list[str], ...]:
    better, equal, worse = list[str](), list[str](), list[str]()
    for other in names:
        if other != name:
            value, p = _seen_from(name, other, found)
            into = equal if p >= LEVEL else better if value > 0 else worse
            into.append(f"{other} ({100 * value:+.1f})")
    return better, equal, worse


def _seen_from(name: str, other: str, found: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(difference of `name` less `other`, corrected p)."""
    for pair in found:
        if (pair["a"], pair["b"]) == (name, other):
            return pair["value"], pair["p_holm"]
        if (pair["b"], pair["a"]) == (name, other):
            return -pair["value"], pair["p_holm"]
    return 0.0, 1.0


def _sentences(
    names: Sequence[str], found: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], at: str
) -> Iterator[str]:
    top = [name for name in names if _seen_from(names[0], name, found)[1] >= LEVEL or name == names[0]]
    yield f"**Best{at}:** " + (
        f"{names[0]}, better than every other strategy." if len(top) == 1 else f"not settled between {', '.join(top)}."
    )
    for name in names:
        if parts := [part for part in dict.fromkeys(re.split(r"[+&]", name)) if part in names and part != name]:
            yield f"**{name} against its parts:** " + "; ".join(_one(name, part, found) for part in parts) + "."
    yield from _base(names, rows)
    smallest = 100 * median(_detectable(pair) for pair in found)
    yield (
        f"**Too small to be seen here:** true differences below about {smallest:.1f} points are missed more often than "
        "one time in five with these seeds and items, even before Holm's correction. Not told apart is not equal."
    )
    yield (
        "**Not said by these numbers:** anything of another base, another budget, other tasks, or settings that were "
        "not tried."
    )


def _one(name: str, part: str, found: Sequence[Mapping[str, Any]]) -> str:
    value, p = _seen_from(name, part, found)
    verdict = "not told apart" if p >= LEVEL else "better" if value > 0 else "worse"
    return f"{100 * value:+.1f} points on {part} ({verdict})"


def _base(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    base = next((row for row in rows if row["role"] == "base"), None)
    ours = [row for row in rows if row["name"] in names and row.get("difference", {}).get("p") is not None]
    if base is None or not ours:
        return
    corrected = stats.holm([row["difference"]["p"] for row in ours])
    better = [
        row["name"] for row, p in zip(ours, corrected, strict=True) if p < LEVEL and row["difference"]["value"] > 0
    ]
    worse = [
        row["name"] for row, p in zip(ours, corrected, strict=True) if p < LEVEL and row["difference"]["value"] < 0
    ]
    rest = [row["name"] for row in ours if row["name"] not in (*better, *worse)]
    parts = [("better", better), ("worse", worse), ("not told apart", rest)]
    yield "**Against the base:** " + "; ".join(f"{what}: {', '.join(who)}" for what, who in parts if who) + "."
    strict, lenient = base["strict"]["value"], base["lenient"]["value"]
    if strict is not None and lenient is not None and lenient - strict >= 0.01:
        yield (
            f"**Format:** the base itself has {100 * lenient:.1f} by the lenient reading and {100 * strict:.1f} by the "
            f"strict one, so {100 * (lenient - strict):.1f} points can be gained by answering in the form asked for."
        )


def _detectable(pair: Mapping[str, Any]) -> float:
    df = int(pair["method"].rpartition(" ")[2])
    error = (pair["high"] - pair["low"]) / 2 / float(student.ppf(0.5 + stats.CONFIDENCE / 2, df))
    return float(sum(student.ppf(q, df) for q in (0.5 + stats.CONFIDENCE / 2, POWER)) * error)
