"""Find out which way of training a small reasoning language model really works.

Importing this package loads no torch, sets no environment variable and configures no logging.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.board.frames import load as load
    from harness.board.frames import load_board as load_board
    from harness.evaluation.grade_rows import GradeSettings as GradeSettings
    from harness.evaluation.grade_rows import grade_rows as grade
    from harness.evaluation.trl_rewards import code_reward as code_reward
    from harness.evaluation.trl_rewards import in_background as in_background
    from harness.evaluation.trl_rewards import math_reward as math_reward

__version__ = "0.1.0"
__all__ = ["GradeSettings", "__version__", "code_reward", "grade", "in_background", "load", "load_board", "math_reward"]

_LAZY = {  # public name -> (module, name there), imported on first use
    "load": ("harness.board.frames", "load"),
    "load_board": ("harness.board.frames", "load_board"),
    "GradeSettings": ("harness.evaluation.grade_rows", "GradeSettings"),
    "grade": ("harness.evaluation.grade_rows", "grade_rows"),
    "code_reward": ("harness.evaluation.trl_rewards", "code_reward"),
    "math_reward": ("harness.evaluation.trl_rewards", "math_reward"),
    "in_background": ("harness.evaluation.trl_rewards", "in_background"),
}


def __getattr__(name: str) -> object:
    """A public name of the library, imported on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)
