r"""Grades replies whose answer is a mathematical expression: MATH and similar. Plain numbers: `number.score_number`.

`strict` accepts the format the task asks for, the last `\boxed{}`. `lenient` finds the answer wherever models put it.
Extraction (`math_extract`) and equality (`math_equal`) are separate, and `why` reports both: where the answer was
found, and what decided. Hostile text costs at most `math_equal.WALL_S` seconds per verdict.
"""

from __future__ import annotations

import re

from harness.graders.math_equal import equal
from harness.graders.math_extract import Found, extract_lenient, extract_strict
from harness.types import Score

MATH_VERSION = "math-1"  # raised whenever a verdict can change
_STATED = re.compile(r"\\boxed|\banswer is\b|####", re.IGNORECASE)  # a target that is a whole solution
_LETTER = re.compile(r"[\s$\\(]*(?:\\?text(?:bf)?\{)?\(?([A-J])\)?[\s.$)}\\]*")


def score_math(text: str, target: str) -> dict[str, Score]:
    """{"strict": ..., "lenient": ...} for a reply whose answer should be `target` (an answer, or a text that boxes it).

    answer None: no readable answer (scored 0.0). value None: the target itself cannot be read.
    """
    gold = (extract_lenient(target).answer if _STATED.search(target) else None) or target
    strict = extract_strict(text)
    lenient = extract_lenient(text, choice=bool(_LETTER.fullmatch(gold)))
    first = _judge(strict, gold)
    return {"strict": first, "lenient": first if lenient == strict else _judge(lenient, gold)}


def _judge(found: Found, gold: str) -> Score:
    if found.answer is None:
        return Score(0.0, None, found.where)
    verdict = equal(gold, found.answer)
    says = {True: "equals", False: "is not", None: "cannot be compared with"}[verdict.equal]
    value = None if verdict.equal is None else float(verdict.equal)
    return Score(value, found.answer, f"{found.where}: {says} {gold[:80]} ({verdict.why})")
