"""Shared by several commands: checks of options, and writing of boards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from harness.errors import BadConfig

READING = click.Choice(["strict", "lenient"])
"""`types.READINGS`, spelt out: importing `types` would make every command start later."""


class TwoWays(click.Command):
    """A command with two ways to use it: a usage line for each, and options grouped by the way they belong to."""

    def __init__(self, *args: Any, ways: Mapping[str, str], groups: Mapping[str, Sequence[str]], **more: Any) -> None:
        """ways: usage line -> what it does. groups: heading -> names of its options; all others come last."""
        super().__init__(*args, **more)
        self._ways, self._groups = ways, groups

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for line in self._ways:
            formatter.write_usage(ctx.command_path, line)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Two uses"):
            formatter.write_dl([(f"{ctx.command_path} {line}", what) for line, what in self._ways.items()])
        named = {name: heading for heading, names in self._groups.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self._groups}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                sections.setdefault(named.get(parameter.name or "", "Options for training"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def board_file(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """The path of a board, which must end in .md: its facts are in the same folder under the same name."""
    if path is not None and path.suffix != ".md":
        raise click.BadParameter(f"a board is a .md file with its facts in a .json file beside it; got {path}")
    return path


def with_options(options: tuple[Any, ...], kind: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A command with these options, which it is given as one positional value: a `kind`, a dataclass of their names."""
    names = [field.name for field in fields(kind)]

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def called(*values: Any, **given: Any) -> Any:
            return command(*values, kind(**{name: given.pop(name) for name in names}), **given)

        for option in reversed(options):
            called = option(called)
        return called

    return decorated


def engine_name(name: str) -> str:
    from harness import registry

    if name != "auto":
        registry.check_installed("engine", name)
    return name


def split_commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def write_board(facts: dict[str, Any], text: str, out: Path) -> None:
    """Write the board, and its facts in the same folder under the same name."""
    from harness.atomic import write_json, write_text

    write_json(out.with_suffix(".json"), facts)
    write_text(out, text)


def _engine_options(
    _context: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Names and values of --engine-arg, in order."""
    pairs = [(text, *map(str.strip, text.partition("="))) for text in given]
    for text, name, equals, _ in pairs:
        if not equals or not name:
            raise BadConfig(f"--engine-arg must be NAME=VALUE, such as base_url=http://localhost:8000/v1, got {text!r}")
    return tuple((name, value) for _, name, _, value in pairs)


ENGINE_ARG = click.option(
    "--engine-arg",
    "engine_options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_engine_options,
    help="Option of the engine, repeatable: base_url=http://host:8000/v1, tensor_parallel_size=8, dtype=bfloat16, ...",
)
