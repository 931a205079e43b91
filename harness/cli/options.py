"""What several commands share: checks of options, and how boards are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.errors import BadConfig

F = TypeVar("F", bound=Callable[..., Any])


def board_file(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """The facts lie beside a board under the same name."""
    if path is not None and path.suffix != ".md":
        raise click.BadParameter(f"a board is a .md file, its facts lie beside it as .json; got {path}")
    return path


def with_options(options: tuple[Any, ...]) -> Callable[[F], F]:
    """A command with these options."""

    def decorated(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


def engine_name(name: str) -> str:
    from harness import registry

    if name != "auto":
        registry.check_installed("engine", name)
    return name


def split_commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def write_board(facts: dict[str, Any], text: str, out: Path) -> None:
    """The board, and its facts beside it under the same name."""
    from harness.records.serialization import write_json, write_text

    write_json(out.with_suffix(".json"), facts)
    write_text(out, text)


def engine_option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadConfig(f"--engine-arg wants KEY=VALUE like base_url=http://localhost:8000/v1, got {text!r}")
    return name.strip(), value.strip()
