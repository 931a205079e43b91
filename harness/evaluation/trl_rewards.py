"""Graders as reward functions of TRL: `GRPOTrainer(reward_funcs=[harness.code_reward()], ...)`.

The dataset holds what is right: for code a column `problem` with a row `problems.read_problem` knows (a dict, or JSON),
or its fields as columns of their own (`entry_point`, `test`, ...; `prompt` is TRL's own column and is not read); for
maths a column `target`, `answer` or `gold`. A reward is 1.0 or 0.0, and None if nothing could be graded: TRL leaves
such rows out. By the strict reading, as what is rewarded is what is learnt.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from harness.evaluation import grade_rows
from harness.graders.problems import DEFAULT_TIMEOUT_S
from harness.protocols import CodeRunner
from harness.types import Reading

Reward = Callable[..., list[float | None]]
AsyncReward = Callable[..., Awaitable[list[float | None]]]


def code_reward(
    runner: CodeRunner | None = None, reading: Reading = "strict", timeout_s: float = DEFAULT_TIMEOUT_S
) -> Reward:
    """A reward function for programs, run in `runner`, else in a sandbox of its own that is kept open.

    Make it before the trainer: a sandbox starts small if nothing heavy is loaded yet.
    """
    if runner is None:
        from harness.sandbox import Sandbox

        runner = Sandbox()
    box, settings = runner, grade_rows.GradeSettings(reading, timeout_s)

    def code_reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        problems, samples = [], []
        for i, completion in enumerate(completions):
            problem = columns["problem"][i] if "problem" in columns else _row(columns, i, len(completions))
            problem = json.loads(problem) if isinstance(problem, str) else problem
            problems.append({**problem, "task_id": str(i)})
            samples.append({"task_id": str(i), "completion": _reply(completion)})
        return _values(grade_rows.grade_rows(samples, problems=problems, settings=settings, runner=box))

    return code_reward


def math_reward(reading: Reading = "strict") -> Reward:
    """A reward function for mathematical answers. reading "strict": only what stands in a closed box counts."""

    def math_reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        n = len(completions)
        rows = [{**_row(columns, i, n), "completion": _reply(c)} for i, c in enumerate(completions)]
        return _values(grade_rows.grade_rows(rows, grader="math", settings=grade_rows.GradeSettings(reading)))

    return math_reward


def in_background(reward: Reward) -> AsyncReward:
    """The same reward as a coroutine function: TRL then runs it beside others."""

    async def background_reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return await asyncio.to_thread(reward, completions, **columns)

    background_reward.__name__ = getattr(reward, "__name__", "reward")
    return background_reward


def _row(columns: Mapping[str, Any], i: int, n: int) -> dict[str, Any]:
    """The dataset's own row i: TRL hands over a list for each column."""
    own = {k: v for k, v in columns.items() if k not in ("prompts", "completion_ids") and isinstance(v, Sequence)}
    return {k: v[i] for k, v in own.items() if not isinstance(v, str) and len(v) == n}


def _reply(completion: Any) -> str:
    """The text of a completion: itself, or the last message of a chat."""
    return str(completion if isinstance(completion, str) else completion[-1]["content"])


def _values(rows: Any) -> list[float | None]:
    return [None if row["passed"] is None else float(row["passed"]) for row in rows]
