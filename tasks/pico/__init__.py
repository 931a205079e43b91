"""Two generated task families and two tiny models that ship with the project. Importing this does not load torch."""

from __future__ import annotations

from pathlib import Path

BASE: Path = Path(__file__).parent / "base"  # the checkpoint every strategy starts from
TEACHER: Path = Path(__file__).parent / "teacher"  # same tokenizer, larger, stronger
RECIPE: Path = Path(__file__).parent / "recipe.toml"  # the comparison `make compare` runs
