"""Problems that ask for an argument to be changed need no reference; no program is compared with what it changed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from harness.graders.code import run_program
from harness.graders.in_place import with_changed_arguments
from harness.graders.problems import read_problem
from harness.sandbox import Sandbox

SORT = "def arrange(xs):\n    xs.sort()\n"
CLEAR = "def arrange(xs):\n    xs.clear()\n"
# Programs that change what they can reach so that a careless comparison holds.
FOOLING = {
    "clear": CLEAR,
    "clear and say so": "def arrange(xs):\n    xs.clear()\n    return xs\n",
    "clear all": "def arrange(*a, **k):\n    for x in (*a, *k.values()):\n        getattr(x, 'clear', int)()\n",
    "be equal": """
class Always(list):
    __eq__ = lambda *a: True
    __ne__ = lambda *a: False
    __len__ = lambda *a: 3
def arrange(xs, *more):
    xs[:] = [Always()] * len(xs)
    return Always()
""",
    "do nothing": "def arrange(xs, *more): pass\n",
    "another type": "def arrange(xs, *more): xs.__class__\n",
    "objects": "class A:\n    __eq__ = lambda *a: True\ndef arrange(xs, *more):\n    xs[:] = [A() for _ in xs]\n",
    "forge": """
import json, os, struct
def arrange(xs, *more):
    m = json.dumps(['ok', [[None, [[], []], {'d': []}], []]]).encode()
    os.write(3, struct.pack('!I', len(m)) + m)
    os._exit(0)
""",
    "too much": "def arrange(xs, *more): xs.extend([10**9] * 5)\n",
}

ASKING: dict[str, str] = {  # tests that only mean the argument
    "after a call": "def check(candidate):\n    xs = [3, 1, 2]\n    candidate(xs)\n    assert xs == [1, 2, 3]\n",
    "and nothing is returned": """
def check(candidate):
    xs = [3, 1, 2]
    assert candidate(xs) is None
    assert [1, 2, 3] == xs and len(xs) == 3
""",
    "cases": """
CASES = [([3, 1, 2], [1, 2, 3]), ([2, 1], [1, 2])]
def check(candidate):
    for xs, want in CASES:
        candidate(xs)
        assert xs == want, f"got {xs}"
""",
    "a copy of the case": """
def check(candidate):
    for given in ([3, 1, 2], [2, 1]):
        xs = list(given)
        want = sorted(xs)
        candidate(xs)
        if xs != want:
            raise AssertionError(f"{given}")
""",
    "a helper of the test": """
def check(candidate):
    def changed(xs):
        candidate(xs)
        return xs
    data = [3, 1, 2]
    assert changed(data) == sorted(data)
""",
    "by name, in one line": "def check(candidate):\n    xs = [2, 1]; candidate(xs=xs); assert (xs, 1) == ([1, 2], 1)\n",
    "its own name": "def check(f):\n    ys = [2, 1]\n    arrange(ys)\n    assert ys == [1, 2]\ncheck(arrange)\n",
    "another name keeps the first value": """
def check(candidate):
    xs = [3, 1, 2]
    first = xs
    candidate(xs)
    assert xs == sorted(first) == [1, 2, 3]
    assert first == [3, 1, 2]
""",
}

NOT_ASKING: dict[str, str] = {  # where changes would let a program decide what it is compared with
    "the result is used": """
def check(candidate):
    xs = [3, 1]
    candidate(xs)
    assert candidate(xs) == sorted(xs)
""",
    "compared with what it returns": """
def check(candidate):
    xs = [3, 1]
    candidate(xs)
    assert xs == candidate([3, 1])
""",
    "the expected value follows from an earlier round, and the argument is new": """
def check(candidate):
    xs = [3, 1]
    for first in (True, False):
        want = sorted(xs)
        xs = [3, 1] if first else xs
        candidate(xs)
    assert xs == want
""",
    "compared with itself": "def check(candidate):\n    xs = [3, 1]\n    candidate(xs)\n    assert xs == sorted(xs)\n",
    "compared with itself, later": """
def check(candidate):
    xs = [3, 1]
    candidate(xs)
    want = sorted(xs)
    assert xs == want
""",
    "the expected value is handed over": """
def check(candidate):
    xs, want = [3, 1], [1, 3]
    candidate(xs, want)
    assert xs == want
""",
    "the same, hidden": """
def check(candidate):
    xs, want = [3, 1], [1, 3]
    candidate(xs, want)
    assert all(a == b for a, b in zip(xs, want)) and len(xs) in (0, 2)
""",
    "the expected value follows from an earlier round": """
def check(candidate):
    xs = [3, 1]
    for _ in range(2):
        want = sorted(xs)
        candidate(xs)
    assert xs == want
""",
    "a function looks later": """
def check(candidate):
    xs = [3, 1]
    def want(): return sorted(xs)
    candidate(xs)
    assert xs == want()
""",
    "a generator looks later": """
def check(candidate):
    xs = [3, 1]
    want = (y for y in [1, 3] if y in xs)
    candidate(xs)
    assert xs == list(want)
""",
    "a name within an expression": """
def check(candidate):
    xs = [3, 1]
    candidate(xs)
    assert (ys := xs) != [3, 1]
    assert xs == ys
""",
    "the way on is chosen by it": """
def check(candidate):
    xs = [3, 1]
    candidate(xs)
    if xs:
        assert xs == [1, 3]
""",
    "handed to something else": """
def check(candidate):
    def run(f, xs): f(xs)
    xs = [3, 1]
    run(candidate, xs)
    assert xs == sorted(xs)
""",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1) as runner:
        yield runner


def verdict(test: str, program: str, sandbox: Sandbox) -> bool | None:
    problem = read_problem({"prompt": "def arrange(xs):\n", "entry_point": "arrange", "test": test})
    return run_program(problem, program, sandbox, 0.5).passed


@pytest.mark.parametrize("name", ASKING)
def test_a_changed_argument_is_the_answer_if_the_test_asks_for_nothing_else(sandbox: Sandbox, name: str) -> None:
    assert verdict(ASKING[name], SORT, sandbox) is True
    assert [how for how, program in FOOLING.items() if verdict(ASKING[name], program, sandbox)] == []


@pytest.mark.parametrize("name", NOT_ASKING)
def test_no_program_changes_what_it_is_compared_with(sandbox: Sandbox, name: str) -> None:
    test = NOT_ASKING[name]
    assert with_changed_arguments(test, ("arrange",), ast.parse) == test
    assert [how for how, program in FOOLING.items() if verdict(test, program, sandbox)] == []


def test_the_fooling_programs_are_real_where_the_tests_own_values_are_handed_over() -> None:
    fooled = {
        name
        for name, test in NOT_ASKING.items()
        for program in FOOLING.values()
        if "os._exit" not in program and passes_beside(test, program)
    }
    assert fooled == NOT_ASKING.keys()


def passes_beside(test: str, program: str) -> bool:
    """Whether a test passes that runs in one process with the program."""
    names: dict[str, object] = {}
    try:
        exec(f"{program}\n{test}\ncheck(arrange)", names)
    except Exception:
        return False
    return True


def test_asserts_alone_may_ask_for_it_too(sandbox: Sandbox) -> None:
    problem = read_problem({"test_list": ["xs = [3, 1]", "arrange(xs)", "assert xs == [1, 3]"], "task_id": "a"})
    assert run_program(problem, SORT, sandbox).passed
    assert not run_program(problem, CLEAR, sandbox).passed
