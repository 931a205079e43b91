"""Made-up rows in the form of each benchmark: as the file below $HARNESS_DATA has them, and as the hub has them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

EGGS = [
    (f"Ann has {n} boxes of 12 eggs.  How many eggs?", f"{n} * 12 = <<{n}*12={n * 12}>>{n * 12} eggs\n#### {n * 12:,}")
    for n in range(600)
]


def _eggs(split: str) -> list[dict[str, Any]]:
    return [{"question": f"{split}: {q}", "answer": a} for q, a in EGGS]


def _sums(split: str, n: int) -> list[dict[str, Any]]:
    """MATH's columns."""
    solution = "As $\\frac{{1}}{{2}}$ twice is one, it is $\\boxed{{\\frac{{{}}}{{2}}}}$."
    return [
        {
            "problem": f"{split}: find ${k} + \\frac12$.",
            "level": f"Level {1 + k % 5}",
            "type": "Algebra",
            "solution": solution.format(2 * k + 1),
        }
        for k in range(n)
    ]


def _function(k: int) -> dict[str, Any]:
    """HumanEval's columns."""
    return {
        "task_id": f"HumanEval/{k}",
        "prompt": f'def add{k}(a, b):\n    """The sum, and {k}."""\n',
        "entry_point": f"add{k}",
        "canonical_solution": f"    return a + b + {k}\n",
        "test": f"def check(candidate):\n    assert candidate(1, 2) == {3 + k}\n",
    }


def _mbpp(k: int, text: str, extra: dict[str, Any]) -> dict[str, Any]:
    tests = [f"assert add{k}(1, 2) == {3 + k}", f'assert add{k}(4, 5) == {9 + k}, "a, {k}"']
    code = f"def add{k}(a, b):\r\n\treturn a + b + {k}"
    return {
        text: f"Write a function to add two numbers and {k}.",
        "code": code,
        "task_id": k,
        "test_list": tests,
        **extra,
    }


_MATH500 = [
    {
        "problem": row["problem"],
        "solution": row["solution"],
        "answer": f"\\frac{{{2 * k + 1}}}{{2}}",
        "subject": "Algebra",
        "level": 3,
        "unique_id": f"test/{k}",
    }
    for k, row in enumerate(_sums("held out", 6))
]
_AIME = [{"id": 60 + k, "problem": f"Find the {k}-th number.", "answer": f"{k:03d}"} for k in range(6)]
_AIME_OLD = [
    {"problem": f"In {year} find {k}.", "answer": str(k), "year": year} for year in range(2019, 2024) for k in range(2)
]
_AMC = [{"id": k, "question": f"AMC: what is {k}?", "answer": float(k), "url": "/2023_AMC_12A"} for k in range(6)]
_MINERVA = [{"question": f"How long is {k} km, in m?", "answer": f"{k}e3"} for k in range(1, 7)]
_OLYMPIAD = [
    {
        "id": 1600 + k,
        "subfield": "Algebra",
        "context": None,
        "question": f"Find all x with x^2 = {k * k}.",
        "solution": ["Two roots."],
        "final_answer": [f"${k}$,$-{k}$"],
        "is_multiple_answer": True,
        "unit": "$cm^2$" if k == 3 else None,
        "answer_type": "Numerical",
        "error": None,
    }
    for k in range(1, 5)
] + [
    {
        "id": 1605,
        "subfield": "Geometry",
        "context": None,
        "question": "How many percent?",
        "solution": ["Measured."],
        "final_answer": ["4.2"],
        "is_multiple_answer": False,
        "unit": "%",
        "answer_type": "Numerical",
        "error": "1e-1",
    }
]
_SVAMP = [
    {"ID": f"chal-{k}", "Body": f"Tim had {k} pens. ", "Question": "How many?", "Answer": float(k), "Type": "Addition"}
    for k in range(1, 7)
]
_HARD = [{"input": f"Half of {k}?", "code": "", "target": k / 2} for k in range(5)] + [
    {"input": "A third of 20?", "code": "", "target": 20 / 3},
    {"input": "A tiny part?", "code": "", "target": 2.0107e-06},
]
_CRUX = [
    {"id": f"sample_{k}", "code": f"def f(xs):\n    return xs + [{k}]", "input": "['a']", "output": f"['a', {k}]"}
    for k in range(6)
]
_IDS = [*range(1, 20), *range(505, 520), *range(595, 610)]
_FULL = [_mbpp(k, "text", {"test_setup_code": "", "challenge_test_list": ["assert False"]}) for k in _IDS]
_FULL[-1]["text"] = _FULL[12]["text"]  # id 609 asks what test id 13 asks
_SANITIZED = [_mbpp(k, "prompt", {"source_file": "made up", "test_imports": ["import math"]}) for k in _IDS]
_MBPP_PLUS = [
    _mbpp(k, "prompt", {"source_file": "made up", "test_imports": [], "test": f"assert add{k}(1, 2) == {3 + k}\n"})
    for k in (2, 3, 255, 599)
]
_HUMANEVAL_PLUS = [_function(k) for k in (0, 1, 2, 32, 116)]

LOCAL: dict[str, list[dict[str, Any]]] = {
    "math/gsm8k/train.jsonl.gz": _eggs("train"),
    "math/gsm8k/test.jsonl.gz": _eggs("test"),
    "math/math/train.jsonl.gz": [
        *_sums("train", 20),
        {"problem": "Held OUT: find $0 + \\frac12$!", "level": "Level ?", "type": "Algebra", "solution": "\\boxed{9}"},
        {"problem": "Which?", "level": "Level 1", "type": "Algebra", "solution": "It is $\\boxed{}$."},
        *_sums("dev", 500),
    ],
    "math/math/math500.jsonl": _MATH500,
    "math/math/test.jsonl.gz": _sums("held out", 6),
    "math/aime/aime24.jsonl": _AIME,
    "math/aime/aime25.jsonl": [
        {"id": f"aime25-{k}", "problem": row["problem"], "expected_answer": row["answer"]}
        for k, row in enumerate(_AIME)
    ],
    "math/aime/aime_1983_2023.jsonl.gz": _AIME_OLD,
    "math/amc/amc23.jsonl": [{**row, "problem": row["question"]} for row in _AMC],
    "math/amc/amc_2022_2023.jsonl": [
        {"problem": row["question"].replace("AMC", str(year)), "answer": 1.0, "url": f"/{year}_AMC_12B"}
        for year in (2022, 2023)
        for row in _AMC
    ],
    "nc/minerva_math/test.jsonl": [
        {"problem": row["question"], "solution": f"So $\\boxed{{{row['answer']}}}$ m.", "type": "Physics", "idx": k}
        for k, row in enumerate(_MINERVA)
    ],
    "math/olympiadbench/test.jsonl.gz": _OLYMPIAD,
    "math/svamp/SVAMP.json": _SVAMP,
    "math/gsm_hard/gsmhardv2.jsonl.gz": _HARD,
    "code/humanevalplus/HumanEvalPlus-OriginFmt.jsonl.gz": _HUMANEVAL_PLUS,
    "code/mbpp/mbpp.jsonl.gz": _FULL,
    "code/mbpp/sanitized-mbpp.json": _SANITIZED,
    "code/mbppplus/MbppPlus-OriginFmt.jsonl.gz": _MBPP_PLUS,
    "code/cruxeval/cruxeval.jsonl": _CRUX,
}
# The test rows as the hub has them, by task. humaneval comes with its package.
HUB: dict[str, list[dict[str, Any]]] = {
    "gsm8k": _eggs("test"),
    "math500": _MATH500,
    "math_test": _sums("held out", 6),
    "aime24": _AIME,
    "aime25": _AIME,
    "amc23": _AMC,
    "minerva": _MINERVA,
    "olympiadbench": _OLYMPIAD,
    "svamp": _SVAMP,
    "gsm_hard": _HARD,
    "humaneval_plus": _HUMANEVAL_PLUS,
    "mbpp": [row for row in _FULL if 11 <= row["task_id"] <= 510],
    "mbpp_sanitized": [row for row in _SANITIZED if 11 <= row["task_id"] <= 510],
    "mbpp_plus": _MBPP_PLUS,
    "cruxeval": _CRUX,
}
# What each task makes of the rows above: items by split.
SIZES = {
    "gsm8k": {"train": 100, "dev": 500, "test": 600},
    "math500": {"train": 20, "dev": 500, "test": 6},
    "math_test": {"train": 20, "dev": 500, "test": 6},
    "aime24": {"dev": 6, "test": 6},
    "aime25": {"dev": 6, "test": 6},
    "amc23": {"dev": 6, "test": 6},
    "minerva": {"test": 6},
    "olympiadbench": {"test": 5},
    "svamp": {"test": 6},
    "gsm_hard": {"test": 7},
    "humaneval": {"test": 164},
    "humaneval_plus": {"test": 5},
    "mbpp": {"train": 8, "dev": 15, "test": 15},
    "mbpp_sanitized": {"train": 9, "dev": 15, "test": 15},
    "mbpp_plus": {"test": 4},
    "cruxeval": {"test": 6},
}


def write(root: Path) -> None:
    """Lay all files of LOCAL down below `root`."""
    for name, rows in LOCAL.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(path, rows))


def encoded(path: Path, rows: list[dict[str, Any]]) -> bytes:
    """The bytes of a file of rows, by what its name says."""
    content = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    return gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode()
