r"""pico_math: short stories about quantities, 1 to 4 steps of integer arithmetic, reply ends in "\boxed{N}".

A row:
    On the farm, Ana has 12 eggs. Ben gives Ana 7 more. Ana loses 5. How many eggs does Ana have now?
    12+7=19
    19-5=14
    \boxed{14}
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from harness.errors import UnknownSplit
from harness.graders.number import NUMBER_VERSION, score_number
from harness.protocols import CodeRunner, Task
from harness.types import Message, Sample, Score, Split, TaskInfo

from .splits import ngrams, stream, without_held_out

SIZES: Mapping[Split, int] = {"train": 4000, "dev": 100, "test": 250}
LEVELS = (1, 2, 3, 4)
PLACES = (
    "At the shop",
    "On the farm",
    "In the park",
    "At the school",
    "On the beach",
    "In the garden",
    "At the fair",
    "In the kitchen",
)
NAMES = (
    "Ana",
    "Ben",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Ivan",
    "Jo",
    "Kim",
    "Leo",
    "Mia",
    "Noah",
    "Pia",
    "Sue",
    "Tom",
    "Uma",
)
THINGS = (
    "apples",
    "bags",
    "balls",
    "books",
    "boxes",
    "cakes",
    "caps",
    "cards",
    "coins",
    "cups",
    "eggs",
    "hats",
    "jars",
    "keys",
    "pens",
    "plums",
    "shells",
    "toys",
)
GAINS = ("{a} buys {k} more.", "{b} gives {a} {k} more.", "{a} finds {k} {t}.", "Then {k} {t} come in.")
LOSSES = ("{a} gives {k} to {b}.", "{a} loses {k}.", "{a} sells {k} {t}.", "Then {k} {t} break.")
TIMES = ("Then {a} has {k} times as many.", "The pile grows to {k} times its size.")
HALVES = ("{a} sells half of them.", "Half of the {t} break.")
ASKS = ("How many {t} does {a} have now?", "How many {t} are there in the end?")


def boxed(answer: int) -> str:
    """The answer in the form asked for."""
    return f"\\boxed{{{answer}}}"


@dataclass(frozen=True)
class Step:
    """One line of work: left op right = value."""

    left: int
    op: str
    right: int

    @property
    def value(self) -> int:
        """The result; division is exact by construction."""
        results = {"+": self.left + self.right, "-": self.left - self.right, "*": self.left * self.right}
        return results[self.op] if self.op in results else self.left // self.right

    def __str__(self) -> str:
        return f"{self.left}{self.op}{self.right}={self.value}"


@dataclass(frozen=True)
class Story:
    """One story. key: the story with every number masked."""

    place: str
    text: str
    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        return re.sub(r"\d+", "N", self.text)

    @property
    def answer(self) -> int:
        return self.steps[-1].value

    @property
    def solution(self) -> str:
        """The reference reply: bare work, then the answer in a box."""
        return "\n".join(map(str, self.steps)) + f"\n{boxed(self.answer)}"


def event(rng: random.Random, now: int) -> tuple[Step, str]:
    """An event that changes the number `now`: the step and its sentence, with placeholders for names."""
    kinds = ["+", "+"] if now < 80 else []
    if now > 12:
        kinds += ["-", "-"]
    if now <= 30:
        kinds.append("*")
    if now % 2 == 0 and now > 4:
        kinds.append("/")
    op = rng.choice(kinds)
    if op == "+":
        return Step(now, "+", rng.randint(2, 12)), rng.choice(GAINS)
    if op == "-":
        return Step(now, "-", rng.randint(2, 12)), rng.choice(LOSSES)
    if op == "*":
        return Step(now, "*", rng.randint(2, 3)), rng.choice(TIMES)
    return Step(now, "/", 2), rng.choice(HALVES)


def _pair(rng: random.Random, now: int) -> tuple[list[Step], str]:
    """A comparison that ends the story in two steps: the other's share, then the sum."""
    if now <= 20 and rng.random() < 0.5:
        first, text = Step(now, "*", rng.randint(2, 3)), "{b} has {k} times as many as {a}."
    else:
        first, text = Step(now, "+", rng.randint(2, 12)), "{b} has {k} more than {a}."
    return [first, Step(now, "+", first.value)], text + " How many {t} do both have?"


def draw_story(rng: random.Random, level: int) -> Story:
    """A random story of `level` steps; one in four contains an irrelevant sentence."""
    place, (a, b) = rng.choice(PLACES), rng.sample(NAMES, 2)
    thing, other = rng.sample(THINGS, 2)
    now = rng.randint(5, 40)
    sentences = [f"{place}, {a} has {now} {thing}."]
    if rng.random() < 0.25:
        sentences.append(f"{b} has {rng.randint(2, 40)} {other}.")
    steps: list[Step] = []
    while len(steps) < level:
        if len(steps) == level - 2 and now <= 40 and rng.random() < 0.5:
            end, text = _pair(rng, now)
            sentences.append(text.format(a=a, b=b, t=thing, k=end[0].right))
            return Story(place, " ".join(sentences), (*steps, *end))
        step, text = event(rng, now)
        sentences.append(text.format(a=a, b=b, t=thing, k=step.right))
        steps.append(step)
        now = step.value
    sentences.append(rng.choice(ASKS).format(a=a, t=thing))
    return Story(place, " ".join(sentences), tuple(steps))


@cache
def stories(split: Split) -> tuple[Story, ...]:
    """The stories of a split, in order."""
    items = stream(draw_story, f"pico_math 1 {split}", split, LEVELS)
    return tuple(islice(without_held_out(items, held_out_story_grams()) if split == "train" else items, SIZES[split]))


@cache
def held_out_story_grams() -> set[tuple[str, ...]]:
    """Every 13-gram of dev and test."""
    return {gram for split in ("dev", "test") for p in stories(split) for gram in ngrams(p.text)}


def story_pool(seed: str) -> Iterator[Story]:
    """Endless stories for pretraining, with keys of the train split and decontaminated like it."""
    return without_held_out(stream(draw_story, f"pico_math 1 pool {seed}", "train", LEVELS), held_out_story_grams())


class PicoMath(Task):
    r"""The task. strict: the reply ends in "\boxed{N}" and is right; lenient: the answer it states in any form is."""

    name = "pico_math"
    version = "2"
    grader = NUMBER_VERSION
    needs_sandbox = False
    max_tokens = 72
    stop: tuple[str, ...] = ()

    def describe(self) -> TaskInfo:
        return TaskInfo("short stories with numbers, generated", licence="Apache-2.0", sizes=SIZES)

    def samples(self, split: Split) -> Sequence[Sample]:
        """4000 train, 100 dev, 250 test samples; metadata: level (steps), solution (the reference reply)."""
        if split not in SIZES:
            raise UnknownSplit(f"task 'pico_math' has no split {split!r}: choose one of {', '.join(SIZES)}")
        return [
            Sample(
                id=f"pico_math/{split}/{i:04d}",
                messages=(Message("user", p.text),),
                target=str(p.answer),
                metadata={"level": len(p.steps), "solution": p.solution},
                cluster=f"pico_math {p.key}",
            )
            for i, p in enumerate(stories(split))
        ]

    def score(self, sample: Sample, text: str, runner: CodeRunner | None = None) -> Mapping[str, Score]:  # noqa: ARG002
        """Verdicts "strict" and "lenient"; needs no runner."""
        return score_number(text, sample.target)
