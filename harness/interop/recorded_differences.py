"""Replies whose verdict in a file differs from ours, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.graders.number import score_number
from harness.interop.recorded_match import Matched
from harness.interop.recorded_read import Reply
from harness.types import Record, Sample, Score

CODE = {"test", "test_list"}  # and by these the tests of a program


@dataclass(frozen=True)
class Difference:
    """A reply with different verdicts in the file and here. kind: the class to count it in; why: the rule's reason."""

    sample_id: str
    repeat: int
    recorded: bool
    ours: float | None
    answer: str | None
    target: str
    kind: str
    why: str


def differences(
    records: Iterable[Record], samples: Iterable[Sample], matched: Matched, grader: str = "lenient"
) -> list[Difference]:
    """Every record whose verdict by `grader` differs from the file's. Replies without one there are left out."""
    by_id = {sample.id: sample for sample in samples}
    found = []
    for record in records:
        reply = matched.replies[record.item.sample_id][record.repeat]
        score = record.scores[grader]
        if reply.verdict is None or score.value == float(reply.verdict):
            continue
        sample = by_id[record.item.sample_id]
        if not CODE.isdisjoint(sample.metadata):
            kind, why = _why_code(reply, record.reply.text, score, record.scores["strict"], sample)
        else:
            kind, why = _why_number(reply, record.reply.text, score, sample.target, matched.rule)
        item = (record.item.sample_id, record.repeat, reply.verdict, score.value, score.answer)
        found.append(Difference(*item, sample.target, kind, why))
    return found


def count_kinds(found: Iterable[Difference]) -> dict[str, int]:
    """Differences by kind, most frequent first."""
    return dict(Counter(difference.kind for difference in found).most_common())


def _why_code(reply: Reply, text: str, score: Score, strict: Score, sample: Sample) -> tuple[str, str]:
    """The results of the same tests there and here, and known reasons for a difference."""
    there = f"recorded as {reply.answer or ('passed' if reply.verdict else 'failed')}"
    why = f"{there}; here: {score.why}"
    prompt, test = (str(sample.metadata.get(name, "")) for name in ("prompt", "test"))
    helpers = set(re.findall(r"^def (\w+)\(", prompt, re.MULTILINE)) - {sample.metadata.get("entry_point")}
    absent = sorted(n for n in helpers if re.search(rf"\b{n}\b", test) and f"def {n}(" not in text)
    if absent and strict.value:
        return "the file ran the tests without the prompt's helper function", f"{why}; the tests call {absent[0]}"
    if score.value and strict.value == 0.0:
        return "lenient left out what stands around the function", f"{why}; as it stands: {strict.why}"
    if score.why.startswith("RecursionError"):
        return "the program recurses deeper than Python's default limit", why
    return f"{there}, {'not graded' if score.value is None else 'passed' if score.value else 'failed'} here", why


def _why_number(reply: Reply, text: str, score: Score, target: str, rule: str) -> tuple[str, str]:
    """The numbers that the two graders read, from the text that the file's rule kept as the answer."""
    kept = reply.answer or ""
    kept_right = score_number(kept, target)["lenient"].value == 1.0
    why = f"the file ({rule}) kept {kept[:80]!r}; we read {score.answer!r} {score.why}"
    if score.value and not re.search("[0-9]", kept):
        return "the file's rule found no number", why
    if score.value and kept_right:
        return "the file's rule missed the number that its text states", why
    if not score.value and not kept_right:
        return "the file's rule accepts what does not equal the target", why
    if kept in text and score.answer is not None:
        return "the reply states two answers, and the file kept the other one", why
    return "unexplained", why
