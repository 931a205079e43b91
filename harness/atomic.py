"""Files that are written whole or not at all: a temporary name beside the file, then a rename."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a text file; its folder is made if it is missing."""
    _write_parts(path, [text])


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines, one at a time, so that there may be any number of them."""
    _write_parts(path, (line + "\n" for line in lines))


def _write_parts(path: Path, parts: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(parts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
