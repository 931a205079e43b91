"""An engine by name. "auto" takes vLLM if it can run, else transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from harness import registry
from harness.engines.machine import cuda_problem, gpu_shares_text, gpus
from harness.engines.requests import StartError
from harness.errors import BadConfig, BadPlugin, EngineError, UnknownName, boundary
from harness.protocols import Engine, InstalledEngine
from harness.types import Checkpoint, EngineInfo, Generation, Request


def vllm_problem() -> str | None:
    """Why vLLM cannot run on this machine, for the user; None if it can. Imports no vLLM."""
    from harness.engines.vllm import problem

    return problem()


def open_engine(name: str, notify: Callable[[str], None], options: Mapping[str, str] | None = None) -> Engine:
    """The engine of that name, not started yet; notify gets messages for the user, as they arise.

    "auto": vLLM, or transformers if vLLM cannot run. options: fields of the engine's Config, as text. Raises
    `UnknownName`, `BadConfig` for an option, `BadPlugin` if it does not describe itself as its contract asks, and
    `EngineError` if it would run on the CPU although torch was installed for GPUs.
    """
    _refuse_cuda_without_gpu(name)
    if name == "auto":
        return AutoEngine(notify, options or {})
    kind, config = _configured(name, options or {})
    with boundary(EngineError, f"engine {name!r}"):
        engine = kind.open(config, notify)
        described = engine.describe()
    if not isinstance(described, EngineInfo):
        raise BadPlugin(f"engine {name!r}: describe() must return a harness.types.EngineInfo, got {described!r}")
    return engine


def check_engine(name: str, options: Mapping[str, str] | None = None) -> None:
    """Raise what `open_engine` would, without an engine, as far as that can be known before it starts."""
    _refuse_cuda_without_gpu(name)
    engine_gpus(name, options or {})


def engine_gpus(name: str, options: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The GPUs of each engine that is opened by this name; several share the requests, () needs none of ours.

    Raises `UnknownName`, and `BadConfig` for an option, or if there are not as many GPUs as the options ask for.
    """
    from harness.engines.vllm import VLLMConfig, engine_shares

    _, config = _configured("vllm" if name == "auto" else name, options)
    if _is_transformers(name):
        return [gpus()[:1]]
    return engine_shares(config) if isinstance(config, VLLMConfig) else [()]


def _is_transformers(name: str) -> bool:
    """Whether the engine of that name is `transformers`, as far as that can be known before it starts."""
    return name == "transformers" or (name == "auto" and vllm_problem() is not None)


def engine_gpus_lines(name: str, options: Mapping[str, str]) -> Iterator[str]:
    """What each GPU does while replies are generated, as one line for the user; nothing if none takes part."""
    shares = engine_gpus(name, options)
    if any(shares):
        many = f"on {len(shares)} engines that share the requests" if len(shares) > 1 else "on one engine"
        hint = " (transformers takes one GPU, vllm takes all)" if _is_transformers(name) else ""
        yield f"replies are generated {many}: {gpu_shares_text(shares, gpus(), hint)}"


def _refuse_cuda_without_gpu(name: str) -> None:
    if name in ("auto", "vllm", "transformers") and (why := cuda_problem()):
        raise EngineError(why)


def _configured(name: str, options: Mapping[str, str]) -> tuple[type[InstalledEngine], Any]:
    """The class of an engine, and its Config with these options, read by the types of its fields."""
    kind: type[InstalledEngine] = registry.load("engine", name)
    types = get_type_hints(kind.Config)
    values = {}
    for key, text in options.items():
        if key not in types:
            raise BadConfig(str(UnknownName(f"{name} option", key, types)))
        values[key] = _typed(f"engine {name!r}: option {key}", text, types[key])
    needed = [f.name for f in fields(kind.Config) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [field for field in needed if field not in values]:
        about = (kind.Config.__doc__ or "").split("\n")[0]
        raise BadConfig(
            f"engine {name!r} needs {' and '.join(f'--engine-arg {each}=...' for each in missing)}. {about}"
        )
    return kind, kind.Config(**values)


def _typed(what: str, text: str, type_: Any) -> Any:
    import msgspec

    try:
        return msgspec.convert(text, type=type_, strict=False)
    except msgspec.ValidationError:
        if get_origin(type_) is Literal:
            wanted = " or ".join(map(repr, get_args(type_)))
        else:  # None is what an option is without the user
            kinds = get_args(type_) if isinstance(type_, UnionType) else (type_,)
            wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds if kind is not NoneType)
        raise BadConfig(f"{what} must be {wanted}, got {text!r}") from None


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

    def describe(self) -> EngineInfo:
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

    def running(self) -> Sequence[int]:
        return self._engine.running()

    def sleep(self) -> None:
        self._engine.sleep()

    def close(self) -> None:
        self._engine.close()

    def _fall_back(self, why: str) -> None:
        unused = " Its options have no effect there." if self._options else ""
        self._notify(f"vLLM is not used: {why}. Replies come from the slower engine 'transformers'.{unused}")
        self._engine = open_engine("transformers", self._notify)
