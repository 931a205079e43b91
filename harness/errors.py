"""What can go wrong, whose fault it is, and the exit code that says so.

HarnessError                 1  anything below, shown without a traceback
├── UsageError               2  the command line, a recipe, a name
│   ├── UnknownName             unknown strategy, trainer, task, engine (did you mean)
│   ├── UnknownSplit
│   └── BadConfig               a recipe key or value
├── BadPlugin                1  a task, trainer or engine that breaks its contract; the field is named
├── BadCheckpoint            2  not a valid model folder
├── DataError                2  train or test data missing, malformed, or held-out items in the train set
├── NotComparable            5  rows that differ in prompt, decoding, grader, engine or items
├── Locked                   6  another run uses this folder
├── StorageError             7  no permission to write, disk full, or too little left to start
├── HubError                 8  the Hugging Face hub refused, or could not be reached
├── EngineError              1  the engine failed, or its weights could not be verified
├── SandboxError             1  no isolation strong enough
├── GraderError              1  a task's grader failed; the cause is kept
└── TrainerError             1  a trainer failed; the cause is kept
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HarnessError(Exception):
    """A failure the user can act on: who, what was given, what was expected, what to do next."""

    exit_code = 1


class UsageError(HarnessError):
    exit_code = 2


class UnknownName(UsageError):
    """unknown trainer 'gpro': did you mean 'grpo'? known trainers: grpo, kd, sft"""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}known {kind}s: {', '.join(names) or 'none'}")


class UnknownSplit(UsageError):
    pass


class BadConfig(UsageError):
    pass


class BadPlugin(HarnessError):
    pass


class BadCheckpoint(HarnessError):
    exit_code = 2


class DataError(HarnessError):
    exit_code = 2


class NotComparable(HarnessError):
    exit_code = 5


class Locked(HarnessError):
    exit_code = 6


class StorageError(HarnessError):
    exit_code = 7


class HubError(HarnessError):
    exit_code = 8


class EngineError(HarnessError):
    pass


class SandboxError(HarnessError):
    pass


class GraderError(HarnessError):
    pass


class TrainerError(HarnessError):
    pass


@contextmanager
def boundary(kind: type[HarnessError], who: str) -> Iterator[None]:
    """Give an exception that crosses a plugin boundary a type and an owner; the cause is kept."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as cause:
        raise kind(f"{who}: {type(cause).__name__}: {cause}") from cause


def hub_advice() -> str:
    """What to do if the Hugging Face hub cannot be reached: what was set against it, else a look at the network."""
    offline = os.environ.get("HF_HUB_OFFLINE", "")
    is_set = offline.upper() in ("1", "ON", "YES", "TRUE")  # as the hub's library reads it
    return f"unset HF_HUB_OFFLINE (it is {offline!r})" if is_set else "check the network"
