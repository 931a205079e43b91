"""The chats the two models are pretrained on: good and bad answer styles mixed, as in web text.

Which style is common depends on where a story takes place (math) or how a docstring opens (code). So the base model has
learnt the good styles everywhere but uses them by default only for some prompts. When it samples, all styles occur,
and post-training can elicit the good ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle

from . import code, math
from .code import ASK, OPENINGS, Program
from .math import PLACES, Step, Story, event

MATH_HABITS = ("told", "loose", "direct", "terse", "wrong")
CODE_HABITS = ("plain", "print", "prose", "terse", "wrong")


@dataclass(frozen=True)
class Mix:
    """How often each style occurs, in percent, for each group of prompts; page: the order of kinds."""

    math: tuple[tuple[int, ...], ...]
    code: tuple[tuple[int, ...], ...]
    page: tuple[str, ...] = ("story", "story", "worksheet", "program")


BASE_MIX = Mix(
    math=((45, 18, 15, 7, 15), (12, 58, 10, 6, 14), (18, 15, 45, 7, 15)),
    code=((45, 14, 14, 7, 20), (10, 66, 5, 4, 15), (12, 8, 60, 5, 15)),
)
TEACHER_MIX = Mix(math=((82, 3, 2, 8, 5),) * 3, code=((82, 3, 2, 8, 5),) * 3)
PLACE_GROUP: Mapping[str, int] = {place: (0, 1, 2, 0, 1, 0, 1, 2)[i] for i, place in enumerate(PLACES)}
OPENING_GROUP: Mapping[str, int] = {opening: (0, 1, 0, 1, 2, 2)[i] for i, opening in enumerate(OPENINGS)}


def told(steps: tuple[Step, ...]) -> str:
    """The work in words: "First 12+7=19. Then 19-5=14."."""
    first, *later = map(str, steps)
    return " ".join([f"First {first}.", *(f"Then {step}." for step in later)])


def misread(rng: random.Random, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same work with one wrong operation; later steps are computed from the wrong value."""
    at, now, work = rng.randrange(len(steps)), steps[0].left, []
    for i, step in enumerate(steps):
        op = {"+": "-", "-": "+", "*": "+", "/": "-"}[step.op] if i == at else step.op
        step = Step(now, op, step.right)
        work.append(Step(now, "+", step.right) if step.value < 0 else step)
        now = work[-1].value
    return tuple(work)


def math_reply(rng: random.Random, story: Story, weights: tuple[int, ...]) -> str:
    """One reply to the story, in a style drawn by weight."""
    habit = rng.choices(MATH_HABITS, weights)[0]
    steps = misread(rng, story.steps) if habit == "wrong" else story.steps
    answer = steps[-1].value
    replies = {
        "loose": f"{told(steps)} The answer is {answer}.",
        "direct": math.boxed(answer),
        "terse": story.solution,
    }
    return replies.get(habit, f"{told(steps)}\n{math.boxed(answer)}")


def code_reply(rng: random.Random, program: Program, weights: tuple[int, ...]) -> str:
    """One reply to the program, in a style drawn by weight."""
    habit = rng.choices(CODE_HABITS, weights)[0]
    if habit == "terse":
        return program.solution
    if habit == "prose":  # without a fence, so that the reply as a whole is no program
        return f"Here is the code:\n{program.head}{program.plain}"
    body = code.broken(rng, program).plain if habit == "wrong" else program.plain
    if habit == "print":
        before, result = body.split("    return ")
        body = f"{before}    print({result})"
    return code.fenced(program.head + body)


def worksheet(rng: random.Random) -> tuple[str, str]:
    """A page of sums, each like a step of a story: the densest training data for arithmetic."""
    sums = [str(event(rng, rng.randint(2, 99))[0]) for _ in range(7)]
    return "Sums.", "\n".join(sums)


def chats(mix: Mix, seed: str) -> Iterator[tuple[str, str]]:
    """Endless (message, reply) pairs, the page's kinds in turn. Equal seed, equal chats."""
    rng = random.Random(f"pico corpus 1 {seed}")
    stories, programs = math.story_pool(seed), code.program_pool(seed)
    for kind in cycle(mix.page):
        if kind == "story":
            story = next(stories)
            yield story.text, math_reply(rng, story, mix.math[PLACE_GROUP[story.place]])
        elif kind == "program":
            program = next(programs)
            yield ASK + program.prompt, code_reply(rng, program, mix.code[OPENING_GROUP[program.opening]])
        else:
            yield worksheet(rng)
