"""Settings of a run of the contract tests alone."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_configure(config: pytest.Config) -> None:
    """The marks these files use."""
    config.addinivalue_line("markers", "slow: a variant of a trainer whose code path another test takes")
