"""pico_code: complete a function on a list of integers from its docstring, in the form of HumanEval.

A prompt and its reference reply:
    def total(xs):
        \"\"\"Take xs, add 3 to each, keep the even ones and return the sum.\"\"\"

    ```python
    def total(xs):
        xs = [x + 3 for x in xs]
        return sum([x for x in xs if x % 2 == 0])
    ```
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

from harness.errors import SandboxError, UnknownSplit
from harness.graders.code import CODE_VERSION, score_code
from harness.protocols import CodeRunner, Task
from harness.types import Message, Sample, Score, Split, TaskInfo

from .splits import ngrams, stream, without_held_out

SIZES: Mapping[Split, int] = {"train": 3000, "dev": 100, "test": 180}
LEVELS = (1, 2, 3, 2, 3)
FUNCTIONS = ("solve", "work", "total", "run", "answer", "result", "process", "handle")
ARGUMENTS = ("xs", "nums", "items", "values", "data", "row")
ASK = "Complete this function.\n"


@dataclass(frozen=True)
class Op:
    """One operation on a list: its words, its Python ({v}: the list, {k}: a constant), its meaning."""

    words: str
    source: str
    run: Callable[[list[int], int], list[int]]
    constants: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class End:
    """What is returned: its words, its Python, its meaning (None if the list is empty)."""

    words: str
    source: str
    run: Callable[[list[int]], object]


K = tuple(range(2, 10))
OPS: Mapping[str, Op] = {
    "add": Op("add {k} to each", "[x + {k} for x in {v}]", lambda v, k: [x + k for x in v], K),
    "sub": Op("subtract {k} from each", "[x - {k} for x in {v}]", lambda v, k: [x - k for x in v], K),
    "mul": Op("multiply each by {k}", "[x * {k} for x in {v}]", lambda v, k: [x * k for x in v], K),
    "square": Op("square each", "[x * x for x in {v}]", lambda v, _: [x * x for x in v]),
    "even": Op("keep the even ones", "[x for x in {v} if x % 2 == 0]", lambda v, _: [x for x in v if x % 2 == 0]),
    "odd": Op("keep the odd ones", "[x for x in {v} if x % 2 == 1]", lambda v, _: [x for x in v if x % 2 == 1]),
    "above": Op("keep those above {k}", "[x for x in {v} if x > {k}]", lambda v, k: [x for x in v if x > k], K),
    "below": Op("keep those below {k}", "[x for x in {v} if x < {k}]", lambda v, k: [x for x in v if x < k], K),
    "multiple": Op(
        "keep the multiples of {k}", "[x for x in {v} if x % {k} == 0]", lambda v, k: [x for x in v if x % k == 0], K
    ),
    "take": Op("take the first {k}", "{v}[:{k}]", lambda v, k: v[:k], (2, 3, 4, 5)),
    "skip": Op("skip the first {k}", "{v}[{k}:]", lambda v, k: v[k:], (1, 2, 3, 4)),
    "reverse": Op("reverse the order", "{v}[::-1]", lambda v, _: v[::-1]),
    "sort": Op("sort them", "sorted({v})", lambda v, _: sorted(v)),
}
ENDS: Mapping[str, End] = {
    "list": End("the list", "{v}", lambda v: v),
    "sum": End("the sum", "sum({v})", sum),
    "max": End("the largest", "max({v})", lambda v: max(v) if v else None),
    "min": End("the smallest", "min({v})", lambda v: min(v) if v else None),
    "count": End("the count", "len({v})", len),
    "first": End("the first one", "{v}[0]", lambda v: v[0] if v else None),
    "last": End("the last one", "{v}[-1]", lambda v: v[-1] if v else None),
}
OPENINGS = (
    "Take {v}, {steps} and return {end}.",
    "With {v}, {steps} and give {end}.",
    "Return {end} of {v} after you {steps}.",
    "Compute {end} of {v} after you {steps}.",
    "Find {end} of {v} after you {steps}.",
    "Get {end} of {v} after you {steps}.",
)

Call = tuple[str, int]  # name of an op, its constant


def fenced(source: str) -> str:
    """A reply in the form asked for: the source as one fenced block."""
    return f"```python\n{source}\n```"


def apply_calls(calls: Sequence[Call], end: str, values: Sequence[int]) -> object:
    """The program's result for these values; None if it is undefined (largest of an empty list)."""
    now = list(values)
    for name, k in calls:
        now = OPS[name].run(now, k)
    return ENDS[end].run(now)


@dataclass(frozen=True)
class Program:
    """One function to be written. key: operations, constants and end, not the words and names."""

    function: str
    argument: str
    opening: str
    calls: tuple[Call, ...]
    end: str
    tests: tuple[tuple[int, ...], ...] = ()

    @property
    def key(self) -> str:
        return " ".join(f"{name}{k}" for name, k in self.calls) + " " + self.end

    @property
    def doc(self) -> str:
        words = [OPS[name].words.format(k=k) for name, k in self.calls]
        if "after" in self.opening and len(words) > 1:
            words = [", ".join(words[:-1]) + " and " + words[-1]]
        return self.opening.format(v=self.argument, steps=", ".join(words), end=ENDS[self.end].words)

    @property
    def head(self) -> str:
        return f"def {self.function}({self.argument}):\n"

    @property
    def prompt(self) -> str:
        return f'{self.head}    """{self.doc}"""\n'

    @property
    def text(self) -> str:
        return ASK + self.prompt

    @property
    def lines(self) -> list[str]:
        """The Python of every operation, in order."""
        return [OPS[name].source.format(k=k, v=self.argument) for name, k in self.calls]

    @property
    def plain(self) -> str:
        """The body with one line for every operation."""
        v = self.argument
        return "".join(f"    {v} = {line}\n" for line in self.lines) + f"    return {ENDS[self.end].source.format(v=v)}"

    @property
    def short(self) -> str:
        """The reference body: the last operation is part of the return statement."""
        *before, last = self.lines
        body = "".join(f"    {self.argument} = {line}\n" for line in before)
        return body + f"    return {ENDS[self.end].source.format(v=last)}"

    @property
    def solution(self) -> str:
        """The reference reply."""
        return fenced(self.head + self.short)

    @property
    def test(self) -> str:
        """Source of `check(candidate)`."""
        cases = [(list(values), apply_calls(self.calls, self.end, values)) for values in self.tests]
        return "def check(candidate):\n" + "".join(f"    assert candidate({v}) == {r!r}\n" for v, r in cases)


def _cases(rng: random.Random, calls: Sequence[Call], end: str) -> tuple[tuple[int, ...], ...] | None:
    """Six inputs on which the program differs from every program that leaves out one operation; None: none found."""
    cases: list[tuple[int, ...]] = []
    for _ in range(40):
        values = tuple(rng.randint(-5, 30) for _ in range(rng.randint(6, 9)))
        if apply_calls(calls, end, values) not in (None, [], 0):
            cases.append(values)
        if len(cases) == 6:
            shorter = [[c for j, c in enumerate(calls) if j != i] for i in range(len(calls))]
            if all(any(apply_calls(s, end, v) != apply_calls(calls, end, v) for v in cases) for s in shorter):
                return tuple(cases)
            return None
    return None


def draw_program(rng: random.Random, level: int) -> Program:
    """A random program of `level` operations in which every operation matters."""
    while True:
        names = rng.sample(sorted(OPS), level)
        calls = tuple((name, rng.choice(OPS[name].constants)) for name in names)
        end = rng.choice(sorted(ENDS))
        cases = _cases(rng, calls, end)
        if cases:
            opening = rng.choice(OPENINGS)
            return Program(rng.choice(FUNCTIONS), rng.choice(ARGUMENTS), opening, calls, end, cases)


def broken(rng: random.Random, program: Program) -> Program:
    """The program with one plausible mistake: an operation forgotten, another constant, or another end."""
    calls, i = list(program.calls), rng.randrange(len(program.calls))
    name, k = calls[i]
    kind = rng.randrange(3)
    if kind == 0 and len(calls) > 1:
        del calls[i]
    elif kind == 1:
        alike = [n for n in sorted(OPS) if n != name and OPS[n].constants == OPS[name].constants]
        calls[i] = (rng.choice(alike or ["sort"]), k)
    else:
        return replace(program, end=rng.choice([e for e in sorted(ENDS) if e != program.end]))
    return replace(program, calls=tuple(calls))


@cache
def programs(split: Split) -> tuple[Program, ...]:
    """The programs of a split, in order."""
    items = stream(draw_program, f"pico_code 1 {split}", split, LEVELS)
    return tuple(islice(without_held_out(items, held_out_program_grams()) if split == "train" else items, SIZES[split]))


@cache
def held_out_program_grams() -> set[tuple[str, ...]]:
    """Every 13-gram of dev and test."""
    return {gram for split in ("dev", "test") for p in programs(split) for gram in ngrams(p.text)}


def program_pool(seed: str) -> Iterator[Program]:
    """Endless programs for pretraining, with keys of the train split and decontaminated like it."""
    return without_held_out(stream(draw_program, f"pico_code 1 pool {seed}", "train", LEVELS), held_out_program_grams())


class PicoCode(Task):
    """The task. strict: one fenced block with the function, or bare code; lenient: the code found in the reply."""

    name = "pico_code"
    version = "2"
    grader = CODE_VERSION
    needs_sandbox = True
    max_tokens = 96
    stop: tuple[str, ...] = ()

    def describe(self) -> TaskInfo:
        return TaskInfo("functions on lists of integers, generated", licence="Apache-2.0", sizes=SIZES)

    def samples(self, split: Split) -> Sequence[Sample]:
        """3000 train, 100 dev, 180 test samples; metadata as HumanEval, and level (operations)."""
        if split not in SIZES:
            raise UnknownSplit(f"task 'pico_code' has no split {split!r}: choose one of {', '.join(SIZES)}")
        return [
            Sample(
                id=f"pico_code/{split}/{i:04d}",
                messages=(Message("user", ASK + p.prompt),),
                target=p.short,
                metadata={
                    "level": len(p.calls),
                    "prompt": p.prompt,
                    "entry_point": p.function,
                    "test": p.test,
                    "canonical_solution": p.short,
                    "solution": p.solution,
                },
                cluster=f"pico_code {p.key}",
            )
            for i, p in enumerate(programs(split))
        ]

    def score(self, sample: Sample, text: str, runner: CodeRunner | None) -> Mapping[str, Score]:
        """Verdicts "strict" and "lenient" of the reply run in the sandbox. Raises SandboxError without a runner."""
        if runner is None:
            raise SandboxError("task 'pico_code' runs code, got no runner: pass a harness.sandbox.Sandbox()")
        return score_code(sample, text, runner)
