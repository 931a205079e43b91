"""Metrics over k replies to each item: pass@k, pass^k, avg@k, maj@k. Pure functions: verdicts in, numbers out.

For one item with n graded replies, c of them right:

* pass@k: the probability that k of the n, drawn without replacement, include a right one. Source: arXiv:2107.03374.
* pass^k: the probability that k of the n, drawn in the same way, are all right. Source: arXiv:2406.12045.
* avg@k: the mean score of all n replies, which has the same expected value as the mean of any k of them.
* maj@k: whether the most common answer among k replies is right, averaged over the n // k consecutive groups of k (the
  first k replies, the next k, ...; the rest is not used). Source of the idea: arXiv:2203.11171.

A reply that could not be graded (value None) is left out. An item with fewer than k graded replies has no value, and
is counted as missing, never as 0. "Right" means a value of 1.0; partial credit counts in avg@k alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import UnknownName, UsageError
from harness.statistics.intervals import Estimate, of_score
from harness.types import Score

MetricKind = Literal["pass@", "pass^", "avg@", "maj@"]
KINDS: tuple[MetricKind, ...] = ("avg@", "maj@", "pass@", "pass^")
_ALSO_CALLED = {"cons": "maj@", "majority": "maj@", "mean": "avg@", "average": "avg@", "pass_hat_k": "pass^"}
_ALSO_CALLED |= {kind[:-1]: kind for kind in KINDS if kind != "pass^"}  # "pass_at_8", "Pass@8"


@dataclass(frozen=True)
class KMetric:
    """A metric over k replies to each item."""

    kind: MetricKind
    k: int

    @property
    def name(self) -> str:
        """The name as it is commonly written: "pass@8"."""
        return f"{self.kind}{self.k}"


@dataclass(frozen=True)
class Measured:
    """A metric over all items. values: by item, in order; None if an item has fewer than k graded replies.

    estimate: the mean of the values that are not None, with its interval across items; None if all are None.
    """

    metric: KMetric
    values: tuple[float | None, ...]
    estimate: Estimate | None

    @property
    def n_without(self) -> int:
        """Number of items without a value, which the estimate leaves out."""
        return sum(value is None for value in self.values)


# --- names and settings -----------------------------------------------------------------------------------------------


def parse_metric(text: str) -> KMetric:
    """The metric named "pass@8", "avg@8", "maj@8" or "pass^8". Raises `UsageError` with the name that was meant."""
    for kind in KINDS:
        k = text.removeprefix(kind)
        if k != text and k.isascii() and k.isdigit():
            if int(k) < 1:
                raise UsageError(f"metric {text!r}: k must be at least 1, got {int(k)}; for instance {kind}8")
            return KMetric(kind, int(k))
    digits = re.search(r"[0-9]+", text)
    k = digits[0] if digits else "8"
    word = text.lower().replace("_at_", "@").partition("@")[0]
    meant = _ALSO_CALLED.get(word)
    if meant:
        raise UsageError(f"unknown metric {text!r}: here it is called '{meant}{k}'")
    raise UnknownName("metric", text, [f"{kind}{k}" for kind in KINDS])


def check_metric(
    metrics: Iterable[KMetric], repeats: int, temperature: float | None, *, short_answers: bool, task: str = ""
) -> None:
    """Raise `UsageError` for the first metric that is impossible with these settings, and how to change them.

    temperature: None if the replies are recorded, so that nothing is sampled. short_answers: whether the task extracts
    an answer that can be compared with that of another reply; False for code.
    """
    of = f" of task {task!r}" if task else ""
    for metric in metrics:
        if metric.kind == "maj@" and not short_answers:
            raise UsageError(
                f"{metric.name} counts equal answers, and the replies{of} hold none to compare (code, or free text): "
                f"use pass@{metric.k} or avg@{metric.k}"
            )
        if metric.k > repeats:
            raise UsageError(
                f"{metric.name} needs {metric.k} replies to each item{of}, got {repeats}: "
                f"draw {metric.k} or more (--samples {metric.k}), or ask for {metric.kind}{max(repeats, 1)}"
            )
        if temperature == 0 and metric.k > 1:
            raise UsageError(
                f"{metric.name} needs {metric.k} independent replies to each item{of}, and at temperature 0 they are "
                f"all the same: set one above 0 (--temperature 0.6 is usual), or ask for {metric.kind}1"
            )


# --- one item ---------------------------------------------------------------------------------------------------------


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): the unbiased estimate that one of k replies is right, from c right ones of n.

    Exact before the last rounding, for any n. Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    _checked(n, c, k)
    every = math.comb(n, k)
    return (every - math.comb(n - c, k)) / every


def pass_hat_k(n: int, c: int, k: int) -> float:
    """C(c, k) / C(n, k): the unbiased estimate that all of k replies are right. Raises as `pass_at_k`."""
    _checked(n, c, k)
    return math.comb(c, k) / math.comb(n, k)


def _checked(n: int, c: int, k: int) -> None:
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"need 0 <= c <= n and 1 <= k <= n, got n = {n}, c = {c}, k = {k}")


def majority(scores: Sequence[Score]) -> float:
    """The value of a majority vote over the replies: 1.0 if the right answer wins, 0.0 if another does.

    A tie counts as the share of the tied answers that are right, the mean of breaking it at random. All right replies
    vote for one answer, however they write it: the grader found them equal to the target. Wrong replies vote for the
    same answer only if their answers are the same text up to case and spaces, so two spellings of one wrong answer
    split its votes. A reply without an answer does not vote; if no reply votes, the value is 0.0.
    """
    votes: Counter[tuple[bool, str]] = Counter()
    for score in scores:
        if score.answer is not None:
            right = score.value == 1.0
            votes[right, "" if right else " ".join(score.answer.split()).casefold()] += 1
    if not votes:
        return 0.0
    most = max(votes.values())
    leaders = [right for (right, _), count in votes.items() if count == most]
    return sum(leaders) / len(leaders)


def item_value(metric: KMetric, scores: Sequence[Score]) -> float | None:
    """The metric of one item, from the verdicts of one grader on its replies, in the order they were drawn.

    None: fewer than k of them could be graded.
    """
    judged = [score for score in scores if score.value is not None]
    n, k = len(judged), metric.k
    if n < k:
        return None
    if metric.kind == "avg@":
        return math.fsum(score.value for score in judged if score.value is not None) / n
    if metric.kind == "maj@":
        groups = [majority(judged[start : start + k]) for start in range(0, n - k + 1, k)]
        return math.fsum(groups) / len(groups)
    c = sum(score.value == 1.0 for score in judged)
    return pass_at_k(n, c, k) if metric.kind == "pass@" else pass_hat_k(n, c, k)


# --- all items --------------------------------------------------------------------------------------------------------


def measure(metrics: Sequence[KMetric], items: Iterable[Sequence[Score]]) -> list[Measured]:
    """Each metric over all items. items: for each, one grader's verdicts on its replies; iterated once."""
    columns: list[list[float | None]] = [[] for _ in metrics]
    for scores in items:
        for metric, column in zip(metrics, columns, strict=True):
            column.append(item_value(metric, scores))
    return [_measured(metric, tuple(column)) for metric, column in zip(metrics, columns, strict=True)]


def _measured(metric: KMetric, values: tuple[float | None, ...]) -> Measured:
    there = [value for value in values if value is not None]
    return Measured(metric, values, of_score([there]) if there else None)
