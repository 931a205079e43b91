"""An engine by name. "auto" takes vLLM if it can run, else transformers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from harness import registry
from harness.engines.requests import StartError
from harness.errors import BadConfig, EngineError, boundary
from harness.protocols import Engine
from harness.types import Checkpoint, Generation, Request


def vllm_problem() -> str | None:
    """Why vLLM cannot run on this machine, for the user; None if it can. Imports no vLLM."""
    from harness.engines.vllm import problem

    return problem()


def open_engine(name: str, notify: Callable[[str], None], options: Mapping[str, str] | None = None) -> Engine:
    """The engine of that name, not started yet; notify gets messages for the user, as they arise.

    "auto": vLLM, or transformers where vLLM cannot run. options: arguments of its constructor, as text; with
    data_parallel_size=N so many of them share the requests, where the constructor takes a `rank`. An engine with a
    `notify` attribute is handed the callback through it. Raises `UnknownName`, and `BadConfig` for an option.
    """
    if name == "auto":
        return AutoEngine(notify, options or {})
    maker = _maker(name)
    wanted = dict(options or {})
    n = wanted.pop("data_parallel_size", "1")
    if n == "1" or "rank" not in inspect.signature(maker).parameters:
        return _made(name, maker, _typed(name, maker, dict(options or {}) if n != "1" else wanted), notify)
    from harness.engines.fleet import Fleet

    if not n.isdecimal() or int(n) < 1:
        raise BadConfig(f"engine {name!r}: option data_parallel_size wants a number of engines, got {n!r}")
    return Fleet([_made(name, maker, _typed(name, maker, wanted) | {"rank": rank}, notify) for rank in range(int(n))])


def check_engine(name: str) -> None:
    """Raise `BadConfig` for an engine that needs what only its caller has, `UnknownName` for one not installed."""
    if name != "auto":
        _maker(name)


def _maker(name: str) -> Callable[..., Engine]:
    """The constructor of an engine that can be opened by its name."""
    maker: Callable[..., Engine] = registry.load("engine", name)
    parameters = inspect.signature(maker).parameters
    if needed := [k for k, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]:
        instead = _INSTEAD.get(name, "Make it in Python and pass it to `harness.evaluation.evaluate.evaluate`")
        raise BadConfig(f"engine {name!r} cannot be opened by its name: it needs {' and '.join(needed)}. {instead}")
    return maker


def _made(name: str, maker: Callable[..., Engine], options: Mapping[str, Any], notify: Callable[[str], None]) -> Engine:
    with boundary(EngineError, f"engine {name!r}"):
        engine = maker(**options)
    if hasattr(engine, "notify"):
        engine.notify = notify
    return engine


def _typed(name: str, maker: Callable[..., Engine], options: Mapping[str, str]) -> dict[str, Any]:
    """Options in the types of the constructor's own defaults."""
    known = {k: p for k, p in inspect.signature(maker).parameters.items() if isinstance(p.default, str | int | float)}
    known |= {k: p for k, p in inspect.signature(maker).parameters.items() if p.default is None}
    found: dict[str, Any] = {}
    for key, text in options.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise BadConfig(
                f"engine {name!r} has no option {key!r}: {hint}options: {', '.join(sorted(known)) or 'none'}"
            )
        default = known[key].default
        kind = int if default is None else type(default)
        try:
            found[key] = text.lower() in ("1", "true", "yes") if kind is bool else kind(text)
        except ValueError:
            raise BadConfig(f"engine {name!r}: option {key} wants {kind.__name__}, got {text!r}") from None
    return found


_INSTEAD = {  # engines of ours that are nothing without what only the caller has
    "replay": "Recorded replies are scored by: harness eval --engine replay --generations FILE --task NAME",
    "scripted": "It is for tests in Python: ScriptedEngine({'12 + 30 =': '42'}). A model wants --engine vllm or "
    "transformers",
}


class AutoEngine:
    """vLLM; or transformers, with a notice, if vLLM cannot start. `describe` names the one in use."""

    name: ClassVar[str] = "auto"

    def __init__(self, notify: Callable[[str], None], options: Mapping[str, str] | None = None) -> None:
        self._notify = notify
        self._options = options or {}  # vLLM's; transformers is the fallback, with its defaults
        self._proven = False  # vLLM served a checkpoint: from then on its failures are errors
        why = vllm_problem()
        if why is None:
            self._engine = open_engine("vllm", notify, self._options)
        else:
            self._fall_back(why)

    def __enter__(self) -> AutoEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> Mapping[str, Any]:
        return self._engine.describe()

    def load(self, checkpoint: Checkpoint) -> None:
        try:
            self._engine.load(checkpoint)
        except StartError as why:
            if self._proven:
                raise
            self._engine.close()
            self._fall_back(str(why))
            self._engine.load(checkpoint)
        self._proven = True

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        return self._engine.generate(requests)

    def sleep(self) -> None:
        self._engine.sleep()

    def close(self) -> None:
        self._engine.close()

    def _fall_back(self, why: str) -> None:
        self._notify(f"vLLM is not used: {why}. Replies come from the slower engine 'transformers'.")
        self._engine = open_engine("transformers", self._notify)
