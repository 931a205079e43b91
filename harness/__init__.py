"""Find out which way of training a small reasoning language model really works.

Importing this package loads no torch, sets no environment variable and configures no logging.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.evaluation.grade_rows import grade_rows as grade

__version__ = "0.1.0"
__all__ = ["__version__", "grade"]


def __getattr__(name: str) -> object:
    """`harness.grade`, imported when asked for."""
    if name == "grade":
        from harness.evaluation.grade_rows import grade_rows

        return grade_rows
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
