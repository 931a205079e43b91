"""An engine with scripted replies: for tests and demos without a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.engines.requests import checked, no_likelihoods
from harness.errors import BadConfig, EngineError
from harness.types import Checkpoint, EngineInfo, Generation, Request


@dataclass(frozen=True)
class ScriptedConfig:
    """replies: a JSON file, an object from the last message of a prompt to the reply."""

    replies: str


class ScriptedEngine:
    """Replies from a mapping (content of the last message -> reply) or from a function of the request.

    A reply is cut before the first stop string and at `max_tokens` words; words count as tokens. A prompt that is not
    in the mapping gives finish "error".
    """

    name: ClassVar[str] = "scripted"
    Config: ClassVar[type] = ScriptedConfig

    def __init__(self, replies: Mapping[str, str] | Callable[[Request], str]) -> None:
        self._replies = replies
        self._loaded = False

    @classmethod
    def open(cls, config: ScriptedConfig, notify: Callable[[str], None]) -> ScriptedEngine:  # noqa: ARG003 - no news
        """Raises `BadConfig` for a file that is not there or holds something else."""
        try:
            found = json.loads(Path(config.replies).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadConfig(f"engine 'scripted': cannot read the replies in {config.replies}: {error}") from None
        if not isinstance(found, dict) or not all(isinstance(reply, str) for reply in found.values()):
            raise BadConfig(f"engine 'scripted': {config.replies} must hold an object from prompts to replies")
        return cls(found)

    def __enter__(self) -> ScriptedEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> EngineInfo:
        return EngineInfo(self.name, version="1", dtype="none", device="none")

    def load(self, checkpoint: Checkpoint) -> None:  # noqa: ARG002 - no weights take part in a scripted reply
        self._loaded = True

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        if not self._loaded:
            raise EngineError("engine 'scripted' has no checkpoint; call load(checkpoint) first")
        for request in checked(requests):
            if request.continuation is not None:
                raise no_likelihoods(self.name, request)
            yield self._reply(request)

    def running(self) -> tuple[int, ...]:
        return ()

    def sleep(self) -> None:
        """Nothing to free."""

    def close(self) -> None:
        self._loaded = False

    def _reply(self, request: Request) -> Generation:
        text = "\n".join(f"{m.role}: {m.content}" for m in request.messages)
        n_prompt, prompt_hash = len(text.split()), hashlib.sha256(text.encode()).hexdigest()
        if callable(self._replies):
            reply = self._replies(request)
        elif (asked := request.messages[-1].content) in self._replies:
            reply = self._replies[asked]
        else:
            why = f"no reply scripted for {asked!r}"
            return Generation(request.key, "", n_prompt, 0, "error", prompt_hash, 0.0, why, text)
        for stop in request.params.stop:
            reply = reply.split(stop, 1)[0]
        words = reply.split()
        limit = request.params.max_tokens
        if len(words) > limit:
            return Generation(
                request.key, " ".join(words[:limit]), n_prompt, limit, "length", prompt_hash, 0.0, "", text
            )
        return Generation(request.key, reply, n_prompt, len(words), "stop", prompt_hash, 0.0, "", text)
