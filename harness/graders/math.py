r"""Grades replies whose answer is a mathematical expression: MATH and similar. Plain numbers: `number.score_number`.

`strict` accepts the form the task asks for, a closed `\boxed{}`. `lenient` finds the answer wherever models put it. The
answer is what the reply states last (`statements`), so the two never read different answers: if another answer follows
the last box, `lenient` reads that one and `strict` none.
Extraction (`math_extract`) and equality (`math_equal`) are separate, and `why` reports both: where the answer was
found, and what decided. Hostile text costs at most `math_equal.WALL_S` seconds per verdict.
"""

from __future__ import annotations

import re

from harness.graders.math_equal import equal
from harness.graders.math_extract import Found, all_letters, extract
from harness.types import Score

MATH_VERSION = "math-3"  # raised whenever a verdict can change
_STATED = re.compile(r"\\boxed|\banswer is\b|####", re.IGNORECASE)  # a target that is a whole solution


def score_math(text: str, target: str) -> dict[str, Score]:
    """{"strict": ..., "lenient": ...} for a reply whose answer should be `target` (an answer, or a text that boxes it).

    answer None: no readable answer (scored 0.0). value None: the target itself cannot be read.
    """
    gold = (_stated(target) if _STATED.search(target) else None) or target
    found = extract(text, choice=all_letters(gold) is not None)
    strict = found.boxed if found.last == found.boxed else _repeated(found.boxed, found.last)
    lenient = found.last if strict.answer is None else strict
    first = _judge(strict, gold)
    return {"strict": first, "lenient": first if lenient == strict else _judge(lenient, gold)}


def _stated(solution: str) -> str | None:
    """The answer of a reference solution: what it boxes, else what it states last."""
    found = extract(solution)
    return found.boxed.answer or found.last.answer


def _repeated(boxed: Found, last: Found) -> Found:
    """The boxed answer if the reply only repeats it in another form behind the box; else none."""
    if boxed.answer is None or last.answer is None or equal(boxed.answer, last.answer).equal:
        return boxed
    why = f"behind \\boxed{{{boxed.answer[:80]}}} another answer is stated: {last.answer[:80]!r}, {last.where}"
    return Found(None, why)


def _judge(found: Found, gold: str) -> Score:
    if found.answer is None:
        return Score(0.0, None, found.where)
    verdict = equal(gold, found.answer)
    says = {True: "equals", False: "is not", None: "cannot be compared with"}[verdict.equal]
    value = None if verdict.equal is None else float(verdict.equal)
    return Score(value, found.answer, f"{found.where}: {says} {gold[:80]} ({verdict.why})")
