"""Shared by all engines: checks that requests are unique and repeatable, and typed failures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.errors import EngineError
from harness.types import RAW, Request


class StartError(EngineError):
    """The engine could not be started at all, which may have nothing to do with the checkpoint."""


def checked(requests: Iterable[Request]) -> Iterator[Request]:
    """The requests; raises `EngineError` at a request with a duplicate key or a reply that could not be repeated."""
    seen: set[str] = set()
    for request in requests:
        if request.key in seen:
            raise EngineError(f"two requests have the key {request.key!r}; keys must differ within one call")
        seen.add(request.key)
        if request.params.temperature > 0 and request.params.seed is None:
            raise EngineError(f"request {request.key!r} samples at temperature {request.params.temperature} unseeded")
        if request.params.max_tokens < 1:
            raise EngineError(f"request {request.key!r}: max_tokens must be >= 1, got {request.params.max_tokens}")
        if request.continuation is not None and request.messages[0].role != RAW:
            raise EngineError(f"request {request.key!r} scores a given reply: its prompt must be plain text")
        yield request


def no_likelihoods(engine: str, request: Request) -> EngineError:
    """The error of an engine that can only generate, for a request to score a given text."""
    return EngineError(
        f"engine {engine!r} cannot compute the log-probability of a given text (request {request.key!r}); "
        f"multiple-choice tasks need --engine vllm or transformers"
    )
