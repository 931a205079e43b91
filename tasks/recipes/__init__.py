"""Recipes for real models, one TOML file each, by entry point."""

from pathlib import Path

_HERE = Path(__file__).parent

PAPER_BASE = _HERE / "paper-base.toml"
PAPER_BASE_80GB = _HERE / "paper-base-80gb.toml"
PAPER_BASE_8X80GB = _HERE / "paper-base-8x80gb.toml"
PAPER_INSTRUCT = _HERE / "paper-instruct.toml"
PAPER_INSTRUCT_80GB = _HERE / "paper-instruct-80gb.toml"
PAPER_INSTRUCT_8X80GB = _HERE / "paper-instruct-8x80gb.toml"
