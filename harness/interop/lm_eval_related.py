"""Which documents of an lm-eval task are related, by their own fields: lm-eval has no field for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.interop.recorded_read import QUESTIONS
from harness.types import canonical_json

_SHARED = (
    *("seed_question", "original_question"),  # of a problem that was changed: GSM-Plus
    *("passage", "flores_passage", "paragraph", "article", "story", "context", "premise"),  # BoolQ, DROP, RACE, CoQA
    "source_id",  # of the video or the page that several items were cut from: HellaSwag
)
"""Fields that name what several documents are about, the first one counts."""
_QUESTIONS = (*QUESTIONS, "Question", "question_stem", "goal", "query")


def clusters(docs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each document what it shares with related ones, as `Sample.cluster` states it; "": not known.

    Its passage, or the problem that it is a variant of, else its question, which is the same in other tasks.
    """
    for name in _SHARED:
        shared = [doc.get(name) for doc in docs]
        texts = [text for text in shared if isinstance(text, str) and text.strip()]
        if len(texts) == len(docs) and len(set(texts)) > 1:  # one text for all is a part of the instructions
            return texts
    return [_problem(doc) for doc in docs]


def _problem(doc: Mapping[str, Any]) -> str:
    """The question with its choices (many ask "Which of these is true?"); of a programming problem its published id."""
    number = doc.get("task_id")
    if "test_list" in doc and number is not None:
        return f"MBPP/{str(number).rpartition('/')[2]}"
    if isinstance(number, str) and "/" in number:  # "HumanEval/7"
        return number
    question = next((doc[name] for name in _QUESTIONS if isinstance(doc.get(name), str)), "")
    choices = doc.get("choices", doc.get("options"))
    return question if choices is None or not question else f"{question} {canonical_json(choices)}"
