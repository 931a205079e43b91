"""Problems of inputs and outputs: rows of APPS and LiveCodeBench, comparisons, programs that read standard input."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from harness.graders.cases import allowed_error
from harness.graders.code import run_both_readings
from harness.graders.problems import BadProblem, Problem, read_problem
from harness.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1) as runner:
        yield runner


def printing(want: str, statement: str = "") -> Problem:
    return read_problem({"question": statement, "input_output": {"inputs": ["1\n"], "outputs": [want]}})


def returning(want: Any, given: Any = 1, statement: str = "") -> Problem:
    cases = {"inputs": [[given]], "outputs": [want], "fn_name": "f"}
    return read_problem({"question": statement, "input_output": json.dumps(cases)})


def passes(problem: Problem, program: str, sandbox: Sandbox) -> tuple[bool | None, bool | None]:
    strict, lenient = run_both_readings(problem, program, sandbox, 2.0)
    return strict.result.passed, lenient.result.passed


PRINTED = [  # expected output, printed, right
    ("50000000000000000", "50000000000000001", False),
    ("12345678901234567890", "12345678901234567000", False),
    ("007", "7", False),
    ("5", "05", False),
    ("5", "5.0", False),
    ("0", "-0", False),
    ("0", "٠", False),
    ("1000000006", "1,000,000,006", False),
    ("5.0", "5", True),
    ("5.50", "5.5", True),
    ("0.333333333333", "0.3333333333", True),
    ("0.333333333333", "0.33", False),
    ("1.5", "1_0.5", False),
    ("1.5", "inf", False),
    ("inf", "1e999", False),
    ("inf", "nan", False),
    ("abc 1e5", "abc 100000", False),
    ("1e+06", "1000000.0", True),
    ("3\n0.5", "3.0\n0.5", True),  # the answers of this problem are floats
    ("50000000000000000 0.5", "50000000000000001 0.5", False),
    ("1 2\n3", "1  2 \n3\n\n", True),
    ("1 2\n3", "1 2 3", False),
    ("YES", "yes", False),
]


@pytest.mark.parametrize(("want", "printed", "right"), PRINTED)
def test_integers_are_compared_as_written_and_floats_as_numbers(
    sandbox: Sandbox, want: str, printed: str, right: bool
) -> None:
    assert passes(printing(want), f"print({printed!r})", sandbox) == (right, right)


RETURNED: list[tuple[Any, Any, str, bool]] = [  # expected value, argument, what f(x) returns, right
    (1000000006, 1, "1000000005", False),
    (1000000006, 1, "1000000006.1", False),
    (10**16, 1, "1e16 + 2", False),
    (6, 1, "6.0", True),
    ([2.5, 3.0], 1, "(2.5000000000001, 3)", True),
    ([2.5, 3.0], 1, "(2.51, 3)", False),
    ({"1": 2.5}, 1, "{1: 2.5000000000001}", True),
    ({"a": 2}, 1, "{'a': 2, 'b': 1}", False),
    ("cba", "abc", "x[::-1]", True),
    ("5", "5", "x", True),
    ("5", "5", "5", False),
    ([[3, 2]], [2, 3], "x[::-1]", True),  # each output is a list of one
    ([[3, 2]], [2, 3], "x", False),
    (3, {"1": 3}, "x[1]", True),
    ([1, 2], 1, "{1, 2}", False),
]


@pytest.mark.parametrize(("want", "given", "program", "right"), RETURNED)
def test_values_are_compared_alike(sandbox: Sandbox, want: Any, given: Any, program: str, right: bool) -> None:
    assert passes(returning(want, given), f"def f(x): return {program}", sandbox) == (right, right)


def test_a_statement_names_the_error_it_allows(sandbox: Sandbox) -> None:
    statement = "Answers within 10^-5 of the actual answer will be accepted."
    assert passes(returning(0.33333, statement=statement), "def f(x): return 1 / 3", sandbox) == (True, True)
    assert passes(returning(0.33333), "def f(x): return 1 / 3", sandbox) == (False, False)
    assert passes(printing("0.33333", "error 1e-5"), "print(0.333334)", sandbox) == (True, True)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("Print the sum modulo 10^9+7.", 1e-9),
        ("with 10^{-6} precision", 1e-6),
        ("relative error does not exceed $10^{ - 4}$", 1e-4),
        ("an error of 10⁻⁴", 1e-4),
        ("within 1e-06", 1e-6),
        ("differ by at most 0.01", 1e-2),
        ("an absolute error of 10^(-3) or a relative error of 10^-6", 1e-6),
        ("no error; 10-20 apples", 1e-9),
        ("error " + "10" * 100_000, 1e-9),
    ],
)
def test_the_allowed_error_is_read_in_the_ways_it_is_written(statement: str, error: float) -> None:
    assert allowed_error(statement) == error


STDIN = [
    {"input": "1 2\n", "output": "3\n", "testtype": "stdin"},
    {"input": "9 1\n", "output": "10", "testtype": "stdin"},
]
CALLS = [{"input": '[2, 7]\n"x"', "output": "[0, 1]", "testtype": "functional"}]
STARTER = "class Solution:\n    def pair(self, xs: List[int], s: str) -> List[int]:\n        "
PAIR = f"{STARTER.rstrip()}\n        return list(accumulate([0, 1]))\n"


def compressed(tests: object, cut: int = 0) -> str:
    data = zlib.compress(pickle.dumps(tests))
    return base64.b64encode(data[: len(data) - cut]).decode()


def live(**row: object) -> dict[str, Any]:
    empty = {"starter_code": "", "public_test_cases": "[]", "private_test_cases": "", "metadata": "{}"}
    return {"question_id": "abc301_a", "question_content": "Add.", **empty, **row}


@pytest.mark.parametrize("private", [json.dumps(STDIN[1:]), compressed(json.dumps(STDIN[1:])), STDIN[1:]])
def test_livecodebench_rows_are_read_as_published(sandbox: Sandbox, private: object) -> None:
    problem = read_problem(live(public_test_cases=json.dumps(STDIN[:1]), private_test_cases=private))
    assert problem.stdio == (("1 2\n", "3\n"), ("9 1\n", "10"))
    assert passes(problem, "print(sum(map(int, input().split())))", sandbox) == (True, True)
    assert passes(problem, "input(); print(3)", sandbox) == (False, False)


def test_a_function_may_be_a_method_of_class_solution_that_uses_what_leetcode_imports(sandbox: Sandbox) -> None:
    row = live(starter_code=STARTER, public_test_cases=json.dumps(CALLS), metadata=json.dumps({"func_name": "pair"}))
    problem = read_problem(row)
    for reply in (PAIR, f"```python\n{PAIR}```", "        return [0, 1]\n", "def pair(xs, s):\n    return [0, 1]\n"):
        assert passes(problem, reply, sandbox) == (True, True), reply
    assert passes(problem, f"```python\n{PAIR}```\n```python\nprint(Solution().pair([], ''))\n```", sandbox)[1]
    assert passes(problem, PAIR.replace("Solution", "Other"), sandbox) == (False, False)
    with pytest.raises(BadProblem, match="abc301_a: its tests call a function, and its metadata has no func_name"):
        read_problem({**row, "metadata": "{}"})


class Evil:
    """Would run code if a pickle of it was loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('this ran')",)


@pytest.mark.parametrize(
    ("private", "why"),
    [
        (compressed(Evil()), "a pickle with STACK_GLOBAL holds more than a text"),
        (compressed(["a"]), "a pickle with EMPTY_LIST holds more than a text"),
        (compressed("[]", cut=4), "cut off"),
        ("%%%", "neither JSON nor compressed JSON"),
        ("[1", "neither JSON nor compressed JSON"),
        (compressed("[" * 100_000), "recursion"),
        (compressed('{"a": 1}'), "its tests are no list but a dict"),
        (base64.b64encode(zlib.compress(bytes(300 << 20), 1)).decode(), "more than 268435456 bytes"),
    ],
)
def test_no_code_runs_while_tests_are_read_and_what_is_not_read_is_named(private: str, why: str) -> None:
    with pytest.raises(BadProblem, match=why):
        read_problem(live(private_test_cases=private))


def test_apps_rows_are_read_as_published(sandbox: Sandbox) -> None:
    cases = {"fn_name": "rev", "inputs": [[[1, 2, 3]], [[4]]], "outputs": [[[3, 2, 1]], [[4]]]}
    row = {
        "problem_id": 7,
        "question": "Turn a list.",
        "input_output": json.dumps(cases),
        "starter_code": "def rev(xs):\n\t",
    }
    problem = read_problem({**row, "solutions": json.dumps(["def rev(xs): return xs[::-1]"])})
    for reply in (problem.reference, "\treturn xs[::-1]", "class Solution:\n    def rev(self, xs): return xs[::-1]"):
        assert passes(problem, reply, sandbox)[1], reply
    assert passes(problem, "def rev(xs): return xs", sandbox) == (False, False)


SUM = {"question": "Sum.", "input_output": {"inputs": ["3\n1 2 3\n", "1\n-5\n"], "outputs": ["6\n", "-5\n"]}}
READ = "print(sum(map(int, d[1:])))"
STDIN_PROGRAMS = {
    "/dev/stdin": f"d = open('/dev/stdin').read().split()\n{READ}",
    "a path": f"from pathlib import Path\nd = Path('/dev/stdin').read_bytes().split()\n{READ}",
    "os.open": f"import os\nd = os.read(os.open('/dev/stdin', os.O_RDONLY), 99).split()\n{READ}",
    "its size": f"import os\nd = os.read(0, os.fstat(0).st_size).split()\n{READ}",
    "mapped": f"import mmap\nd = mmap.mmap(0, 0, access=mmap.ACCESS_READ)[:].split()\n{READ}",
    "read twice": f"import sys\nsys.stdin.read(); sys.stdin.seek(0)\nd = sys.stdin.read().split()\n{READ}",
    "fileinput": f"import fileinput\nd = ' '.join(fileinput.input()).split()\n{READ}",
    "the first output": f"import io, sys\nsys.stdout = io.StringIO()\nd = open(0).read().split()\n{READ}\n"
    "sys.__stdout__.write(sys.stdout.getvalue())",
    "written at exit": f"import atexit, io, sys\nsys.stdout = io.StringIO()\nd = open(0).read().split()\n"
    f"atexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))\n{READ}",
    "never flushed": "import os\nout = os.fdopen(1, 'w')\nd = open(0).read().split()\n"
    "print(sum(map(int, d[1:])), file=out)",
    "/dev/stdout": "d = open(0).read().split()\nprint(sum(map(int, d[1:])), file=open('/dev/stdout', 'w'))",
    "an output without more methods": f"""
import os, sys
class Out:
    def write(self, text): os.write(1, text.encode())
    def flush(self): pass
sys.stdout = Out()
d = open(0).read().split()
{READ}
""",
    "no output": "import os, sys\nsys.stdout = None\nd = open(0).read().split()\n"
    "os.write(1, b'%d' % sum(map(int, d[1:])))",
    "a file name": f"import os\nassert os.path.basename(__file__)\nd = open(0).read().split()\n{READ}",
    "a large stack": "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 28, resource.RLIM_INFINITY))\n"
    f"d = open(0).read().split()\n{READ}",
}


@pytest.mark.parametrize("name", STDIN_PROGRAMS)
def test_programs_read_and_write_in_any_way(sandbox: Sandbox, name: str) -> None:
    assert passes(read_problem(SUM), STDIN_PROGRAMS[name], sandbox) == (True, True)


def test_an_input_larger_than_a_pipe_is_read_at_once(sandbox: Sandbox) -> None:
    numbers = " ".join(map(str, range(200_000)))
    problem = read_problem({"input_output": {"inputs": [numbers], "outputs": [str(sum(range(200_000)))]}})
    assert passes(problem, "import os\nprint(sum(map(int, os.read(0, 10**8).split())))", sandbox) == (True, True)


RIGHT = "n=int(input())\nprint(sum(map(int,input().split())))\n"
STDIN_REPLIES: dict[str, tuple[str, bool, bool]] = {  # reply, strict, lenient
    "bare": (RIGHT, True, True),
    "a fence": (f"```python\n{RIGHT}```", True, True),
    "only the closing fence": (f"{RIGHT}```", False, True),
    "a fence behind text": (f"Program: ```python\n{RIGHT}```", False, True),
    "code on the line of the fence": (f"```python {RIGHT}```", False, True),
    "a closing fence behind code": (f"```python\n{RIGHT.rstrip()}```\nDone.", False, True),
    "a block of one line": ("```python input(); print(sum(map(int, input().split())))```", False, True),
    "a quotation": ("> ```python\n" + "".join(f"> {line}\n" for line in RIGHT.splitlines()) + "> ```", False, True),
    "a block in a block": (f"````markdown\n```python\n{RIGHT}```\n````", False, True),
    "tags": (f"<code>\n{RIGHT}</code>", False, True),
    "marks": (f"[PYTHON]\n{RIGHT}[/PYTHON]", False, True),
    "few-shot marks, and on": (f"[BEGIN]\n{RIGHT}[DONE]\n\nTask: print 1.\n[BEGIN]\nprint(1)\n[DONE]", False, True),
    "ticks": ("`input();print(sum(map(int,input().split())))`", False, True),
    "prose": (f"Here's the program:\n\n{RIGHT}\nIt prints the sum.", False, True),
    "indented in prose": ("So:\n\n" + "".join(f"    {x}\n" for x in RIGHT.splitlines()) + "\nDone.", False, True),
    "sample blocks": (f"```\n3\n1 2 3\n```\n```python\n{RIGHT}```\n```\n6\n```", False, True),
    "a sample behind it": (f"{RIGHT}\nExample:\n```\n3\n1 2 3\n```\n", False, True),
    "a helper in its own block": (
        "```python\ndef total(xs): return sum(xs)\n```\n"
        "```python\ninput()\nprint(total(map(int, input().split())))\n```",
        False,
        True,
    ),
    "a draft, then better": (f"```python\ninput(); print(0)\n```\nBetter:\n```python\n{RIGHT}```", False, True),
    "then worse": (f"```python\n{RIGHT}```\nBetter:\n```python\ninput(); print(0)\n```", False, False),
    "special tokens": (f"<|im_start|>assistant\n{RIGHT}<|im_end|>\n<|im_start|>user\nThanks", True, True),
    "other tokens": (f"<s>{RIGHT}</s></s><pad><pad>", True, True),
    "a token that is cut off": (f"{RIGHT}<|im_e", True, True),
    "another language": ("```cpp\nint main(){}\n```", False, False),
}


@pytest.mark.parametrize("name", STDIN_REPLIES)
def test_a_program_is_found_however_it_is_marked(sandbox: Sandbox, name: str) -> None:
    reply, strict, lenient = STDIN_REPLIES[name]
    assert passes(read_problem(SUM), reply, sandbox) == (strict, lenient)
