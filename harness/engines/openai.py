"""The engine for any server with the OpenAI API: vLLM serve, SGLang, llama.cpp, a hosted model.

The server renders the chat template and does not return the result, so the `prompt` of a chat is its messages as JSON,
marked as such, and `prompt_hash` is the hash of that text. A server's weights cannot be verified: in place of a weights
digest, records have "served:" and a hash of the address and the model's name. If the server returns the reasoning of a
model separately, it is put back in front of the reply as "<think>...</think>", so that no part of a reply is lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import math
import os
import random
import re
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import httpx

from harness.engines.requests import checked, no_likelihoods
from harness.errors import EngineError, UsageError
from harness.types import RAW, Checkpoint, EngineInfo, Finish, Generation, Request, canonical_json, sha256_of

T = TypeVar("T")
_Work = Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]]

SERVED = "served:"  # prefix of the digest of a server's checkpoint
_DEFAULT_URL = "http://localhost:8000/v1"
_NO_KEY = "EMPTY"
_REFUSED = {400, 413, 422}  # statuses for which this one request fails
_BUSY = {408, 409, 429}  # and 5xx: the request is repeated
_STOPPED = ("eos", "eos_token", "end_turn", "stop_sequence")  # other words of servers for "stop"
_MAY_LACK = ("max_tokens", "temperature", "top_p", "top_k", "stop", "seed")
_CHECK = {
    401: "check the key in OPENAI_API_KEY",
    403: "check the key in OPENAI_API_KEY",
    404: "check the model's name, and the address: most end in /v1",
}

# For parameters that a request leaves out, these servers use the checkpoint's generation_config.json or their own
# defaults (a repetition penalty, a top_k), which must not affect the replies. Their list of models has their names.
_PLAIN: dict[str, dict[str, float]] = {
    "vllm": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
}


class _BrokenOff(ValueError):
    """The server ended a reply early, as it does when it shuts down."""


class _Refused(Exception):
    """The server refuses this request, and repeating it would not help."""


class _ServerError(EngineError):
    """The server does not answer any request."""


def served(base_url: str, model: str) -> Checkpoint:
    """The checkpoint that represents a server's model; an empty address has the same default as in the engine."""
    return Checkpoint(Path(model), SERVED + sha256_of([_address(base_url), model]), tokenizer_digest="")


@dataclass(frozen=True)
class OpenAIConfig:
    """Empty texts: OPENAI_BASE_URL or localhost:8000, the checkpoint's name, OPENAI_API_KEY.

    concurrency: requests in flight at a time. A server that is busy or down is asked again `retries` times, after
    pauses that double from half a second to eight (at a limit of its rate, HTTP 429: from three to sixty), or as long
    as it says. timeout_s: for one reply. For servers that refuse fields of a request: max_tokens_field: the name under
    which the limit is sent; leave_out: fields that are not sent, separated by commas, so that the server's own value
    counts; extra_body: a JSON object of fields that are sent with every request.
    """

    base_url: str = ""
    model: str = ""
    api_key: str = ""
    concurrency: int = 32
    retries: int = 5
    timeout_s: float = 600.0
    max_tokens_field: str = "max_tokens"
    leave_out: str = ""
    extra_body: str = ""

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.retries < 0 or self.timeout_s <= 0:
            raise UsageError(
                f"engine 'openai': expected concurrency >= 1, retries >= 0 and timeout_s > 0, "
                f"got {self.concurrency}, {self.retries} and {self.timeout_s:g}"
            )
        if odd := [name for name in self.left_out() if name not in _MAY_LACK]:
            raise UsageError(f"engine 'openai': leave_out can name {', '.join(_MAY_LACK)}, got {odd[0]!r}")
        if fixed := sorted({"model", "messages", "prompt"} & {self.max_tokens_field, *self.extra()}):
            raise UsageError(f"engine 'openai': {fixed[0]!r} is of the request itself and cannot be set by an option")

    def left_out(self) -> list[str]:
        """The names in leave_out."""
        return [name.strip() for name in self.leave_out.split(",") if name.strip()]

    def extra(self) -> dict[str, Any]:
        """The object in extra_body. Raises `UsageError` if it is not one."""
        try:
            found = json.loads(self.extra_body or "{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UsageError(
                f"engine 'openai': extra_body must be a JSON object such as {{\"min_p\": 0.1}}, got {self.extra_body!r}"
            )
        return found


class OpenAIEngine:
    """See the module. `notify` may be called from another thread. Raises `UsageError` for an invalid address."""

    name: ClassVar[str] = "openai"
    Config: ClassVar[type] = OpenAIConfig

    def __init__(
        self, config: OpenAIConfig = OpenAIConfig(), notify: Callable[[str], None] = lambda _message: None
    ) -> None:
        self.base_url = _address(config.base_url)
        self.concurrency = config.concurrency
        self._notify = notify
        self._asked_model = config.model
        self._key = _key(config.api_key)
        self._config = config
        self._n_asked = 0  # requests that wait for an answer
        self._retries = config.retries
        self._timeout_s = config.timeout_s
        self._model = ""  # in the server's spelling
        self._loaded = False
        self._plain: dict[str, float] = {}
        self._version: str | None = None  # None: the server did not answer yet

    @classmethod
    def open(cls, config: OpenAIConfig, notify: Callable[[str], None]) -> OpenAIEngine:
        return cls(config, notify)

    def __enter__(self) -> OpenAIEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> EngineInfo:
        """The same before and after `load`: the server is asked for its version here.

        version "unknown": it does not answer, or has no /version as vLLM has.
        """
        if self._version is None:
            self._version = self._ask_version()
        settings: dict[str, Any] = {"model": self._asked_model}
        if left_out := self._config.left_out():
            settings["left_out"] = sorted(left_out)  # there the server's own value counts
        if extra := self._config.extra():
            settings["extra_body"] = extra
        return EngineInfo(
            self.name, self._version or "unknown", "served", device=urlsplit(self.base_url).netloc, settings=settings
        )

    def load(self, checkpoint: Checkpoint) -> None:
        """Use the model that `served` names, which the server must offer; a server cannot load other weights."""
        if not checkpoint.digest.startswith(SERVED):
            raise EngineError(
                f"engine 'openai' was given the checkpoint {checkpoint.path}, and the weights that a server uses "
                f"cannot be verified: name the model that {self.base_url} serves, or take --engine vllm or transformers"
            )
        if self._asked_model and Path(self._asked_model) != checkpoint.path:
            raise EngineError(
                f"engine 'openai' was made for the model {self._asked_model!r}, not for {str(checkpoint.path)!r}"
            )
        if checkpoint != served(self.base_url, str(checkpoint.path)):
            raise EngineError(
                f"engine 'openai': {checkpoint.digest!r} is not the model {str(checkpoint.path)!r} of {self.base_url}; "
                f"make the checkpoint by harness.engines.openai.served"
            )
        self._loaded, self._model = False, str(checkpoint.path)
        with self._client() as start:
            offered = start(partial(self._ask, "models", None, _offered)).result()
        model = next((name for name in offered if Path(name) == checkpoint.path), None)
        if model is None:
            raise EngineError(
                f"engine 'openai': {self.base_url} does not offer the model {str(checkpoint.path)!r}; "
                f"it offers {_listed(offered)}"
            )
        self._loaded, self._model, self._plain = True, model, _PLAIN.get(offered[model], {})

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """See `Engine`. Raises `EngineError` if the server stops answering, after yielding the replies so far.

        At most 2 * concurrency requests are read ahead of the replies; those in flight when the caller stops are
        cancelled. A request that the server refuses becomes a generation with finish "error".
        """
        if not self._loaded:
            raise EngineError("engine 'openai' has no checkpoint; call load(checkpoint) first")
        free = asyncio.Semaphore(self.concurrency)
        running: set[Future[Generation]] = set()
        self._n_asked = 0
        finished: SimpleQueue[Future[Generation]] = SimpleQueue()
        n_replies = 0

        def take() -> Generation:
            future = finished.get()
            running.discard(future)
            self._n_asked = len(running)
            return future.result()

        with self._client() as start:
            try:
                for request in checked(requests):
                    if request.continuation is not None:
                        raise no_likelihoods(self.name, request)
                    running.add(future := start(partial(self._reply, free, request)))
                    self._n_asked = len(running)
                    future.add_done_callback(finished.put)
                    while len(running) >= 2 * self.concurrency or not finished.empty():
                        yield take()
                        n_replies += 1
                while running:
                    yield take()
                    n_replies += 1
            except _ServerError as cause:
                while not finished.empty():
                    if (future := finished.get()).exception() is None:
                        yield future.result()
                        n_replies += 1
                raise EngineError(f"{cause} ({n_replies} replies came in before)") from cause

    def running(self) -> list[int]:
        return [0] * min(self._n_asked, self.concurrency)

    def sleep(self) -> None:
        """Nothing to free."""

    def close(self) -> None:
        """Forget the model; the server keeps running."""
        self._loaded = False

    @contextmanager
    def _client(self) -> Iterator[Callable[[_Work[T]], Future[T]]]:
        """A function that starts a coroutine in the event loop of another thread; unfinished ones are cancelled."""
        self._told, self._answered_at = False, 0.0
        client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=httpx.Timeout(self._timeout_s, connect=min(self._timeout_s, 30.0)),
            # `generate` limits connections; a server drops an idle one after 5 s, which is not a reason for an alarm
            limits=httpx.Limits(max_keepalive_connections=self.concurrency, keepalive_expiry=2.0),
        )
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        loop, ended = runner.get_loop(), asyncio.Event()
        ours: set[asyncio.Task[Any]] = set()  # the client has tasks of its own, which are not ours to cancel

        async def tracked(work: _Work[T]) -> T:
            task = asyncio.current_task()
            assert task is not None
            ours.add(task)
            try:
                return await work(client)
            finally:
                ours.remove(task)

        async def live() -> None:
            async with client:
                await ended.wait()
                for task in ours:
                    task.cancel()
                await asyncio.gather(*ours, return_exceptions=True)

        def run() -> None:
            with runner:
                runner.run(live())

        thread = Thread(target=run, name="engine openai", daemon=True)
        thread.start()
        try:
            yield lambda work: asyncio.run_coroutine_threadsafe(tracked(work), loop)
        finally:
            # A generator that nobody closed may end in any thread, or after this one was stopped at the program's end.
            if not sys.is_finalizing():
                loop.call_soon_threadsafe(ended.set)
                if thread is not current_thread():
                    thread.join()

    async def _reply(self, free: asyncio.Semaphore, request: Request, client: httpx.AsyncClient) -> Generation:
        raw = request.messages[0].role == RAW
        path, body = ("completions" if raw else "chat/completions"), self._body(request)
        async with free:
            try:
                return await self._ask(path, body, partial(_generation, request), client)
            except _Refused as cause:
                return _failed(request, str(cause))

    def _body(self, request: Request) -> dict[str, Any]:
        """The body of a request: the prompt or the chat, and all sampling parameters that are not left out."""
        params = request.params
        body: dict[str, Any] = {"max_tokens": params.max_tokens, **self._plain}
        body |= {"temperature": params.temperature, "top_p": params.top_p}
        if params.top_k > 0:
            body["top_k"] = params.top_k
        if params.stop:
            body["stop"] = list(params.stop)
        if params.seed is not None:
            body["seed"] = params.seed
        for name in self._config.left_out():
            body.pop(name, None)
        if "max_tokens" in body:
            body[self._config.max_tokens_field] = body.pop("max_tokens")
        body |= {"model": self._model, **self._config.extra()}
        if request.messages[0].role == RAW:
            return body | {"prompt": _raw_text(request)}
        return body | {"messages": [{"role": m.role, "content": m.content} for m in request.messages]}

    async def _ask(
        self, path: str, body: dict[str, Any] | None, read: Callable[[httpx.Response], T], client: httpx.AsyncClient
    ) -> T:
        """The result of `read` on the server's answer; repeated if there is none. POST if there is a body.

        read: raises ValueError for an invalid answer. Raises `_Refused` if only this request fails (the server refuses
        it, or fails at it every time while it answers others), `_ServerError` if all others would fail too.
        """
        method = "GET" if body is None else "POST"
        began = time.monotonic()
        for n_asked in itertools.count(1):
            pause, alone, status = 0.0, False, 0  # alone: whether the fault may be of this request alone
            try:
                response = await client.request(method, f"{self.base_url}/{path}", json=body)
                status = response.status_code
                if response.is_success:
                    answer = read(response)
                    self._answered_at = time.monotonic() if body is not None else self._answered_at
                    return answer
                why = f"HTTP {status}: {self._said(response)}"
                if status in _REFUSED and body is not None:
                    raise _Refused(f"the server answered {why}{_way_out(why, body)}")
                if status not in _BUSY and status < 500:
                    raise await self._unusable(client, status, why)
                pause, alone = _retry_after(response), status == 500
            except httpx.HTTPError as cause:
                why = f"{type(cause).__name__}: {cause}".removesuffix(": ")
            except ValueError as cause:
                alone = not isinstance(cause, _BrokenOff)
                why = f"it sent {self._hide(str(cause))}"
            if n_asked > self._retries and alone and body is not None and self._answered_at > began:
                raise _Refused(f"the server failed at this request, asked {n_asked} times, and answers others: {why}")
            if n_asked > self._retries or pause > self._timeout_s:
                asked = f"asked {n_asked} times in {time.monotonic() - began:.0f} s"
                wait = f", and it asks for a pause of {pause:.0f} s" if pause > self._timeout_s else ""
                raise _ServerError(
                    f"engine 'openai': no answer from {self.base_url} ({asked}{wait}; model {self._model!r}): {why}. "
                    f"Make sure the server runs, then repeat the command: replies received so far are kept"
                )
            if not self._told:
                self._told = True
                self._notify(
                    f"engine 'openai': {self.base_url} does not answer ({why}); repeating up to {self._retries} times"
                )
            limited = status == 429 and not pause  # a server that states its pause needs no guess
            await asyncio.sleep(max(pause, longest_pause(n_asked, limited) * random.uniform(0.75, 1.0)))
        raise AssertionError("unreachable")

    async def _unusable(self, client: httpx.AsyncClient, status: int, why: str) -> _ServerError:
        """The error for a wrong key, model or address; lists the models that the server offers."""
        try:
            response = await client.get(f"{self.base_url}/models")
            offers = _listed(_offered(response)) if response.is_success else "no list of models"
        except (httpx.HTTPError, ValueError):
            offers = "no list of models"
        hint = f"; {_CHECK[status]}" if status in _CHECK else ""
        return _ServerError(
            f"engine 'openai': {self.base_url} answered for the model {self._model!r}: {why}. It offers {offers}{hint}"
        )

    def _said(self, response: httpx.Response) -> str:
        """The server's own error message."""
        try:
            value = _json(response)
            error = value.get("error", value)
            said = error.get("message") or error.get("detail") or error if isinstance(error, dict) else error
        except (ValueError, AttributeError):
            said = response.content.decode(errors="replace") or response.reason_phrase
        return self._hide(_clean(str(said)))[:500]

    def _hide(self, text: str) -> str:
        """The text without the key, in case the server repeats it; a short key is hidden only if it stands alone."""
        if self._key == _NO_KEY:
            return text
        key = re.escape(self._key)
        return re.sub(key if len(self._key) >= 8 else rf"(?<!\w){key}(?!\w)", "***", text)

    def _ask_version(self) -> str | None:
        """The version from /version beside /v1; "": no usable answer; None: the server did not answer."""
        try:
            response = httpx.get(self.base_url.removesuffix("/v1") + "/version", timeout=5.0)
            version = _json(response)["version"] if response.is_success else ""
        except httpx.HTTPError:
            return None
        except (ValueError, KeyError, TypeError):
            return ""
        return version if isinstance(version, str) else ""


def _address(base_url: str) -> str:
    """The full address, without a slash at its end. Raises `UsageError` if it is not an address, or contains a key."""
    address = (base_url or os.environ.get("OPENAI_BASE_URL") or _DEFAULT_URL).strip().rstrip("/")
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx.URL(address)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if "@" in address or "?" in address:  # not shown: it may contain a password
        raise UsageError("engine 'openai': base_url must be an address only; put the key into OPENAI_API_KEY")
    if not usable:
        raise UsageError(f"engine 'openai': base_url must be an address such as {_DEFAULT_URL}, got {address!r}")
    return address


def _key(api_key: str) -> str:
    """The key, from the environment if none is given; else "EMPTY", as some servers require any key."""
    key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip() or _NO_KEY
    if not (key.isascii() and key.isprintable()):
        raise UsageError("engine 'openai': the key has invalid characters; check OPENAI_API_KEY")
    return key


def _prompt(request: Request) -> str:
    """The text that represents the prompt and is hashed to prompt_hash; the exact prompt only for RAW."""
    if request.messages[0].role == RAW:
        return _raw_text(request)
    chat = [{"role": m.role, "content": m.content} for m in request.messages]
    return canonical_json({"messages": chat, "template": "the server's"})


def _raw_text(request: Request) -> str:
    return "".join(message.content for message in request.messages)


def _failed(request: Request, why: str, n_prompt_tokens: int = 0, n_tokens: int = 0, wall_s: float = 0.0) -> Generation:
    prompt = _prompt(request)
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return Generation(request.key, "", n_prompt_tokens, n_tokens, "error", digest, wall_s, why, prompt)


def _generation(request: Request, response: httpx.Response) -> Generation:
    """The server's reply; token counts that it does not state are 0, and so unknown.

    Raises ValueError if it is not a completion, or if the server aborted it.
    """
    try:
        answer = _json(response)
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        n_prompt, n_tokens = (int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
        reason: Any = choice.get("finish_reason")
        message = choice["message"] if "message" in choice else {"content": choice["text"]}
        content = _text_of(message.get("content"))
        thinking = message.get("reasoning_content") or message.get("reasoning") or ""
        text = _clean(_joined(thinking, content, reason))
    except (LookupError, TypeError, AttributeError, OverflowError) as cause:
        excerpt = response.content[:200].decode(errors="replace")
        raise ValueError(f"no completion ({type(cause).__name__}: {cause}): {excerpt!r}") from cause
    if reason == "abort":  # vLLM, as it shuts down
        raise _BrokenOff("a reply that it broke off itself")
    wall_s = response.elapsed.total_seconds()
    if reason is None:  # not stated
        reason = "length" if n_tokens >= request.params.max_tokens else "stop"
    reason = "stop" if reason in _STOPPED else reason
    if reason not in ("stop", "length"):
        why = f"the server ended the reply for the reason {reason!r}, expected 'stop' or 'length'"
        return _failed(request, why, n_prompt, n_tokens, wall_s)
    finish: Finish = reason
    prompt = _prompt(request)
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return Generation(request.key, text, n_prompt, n_tokens, finish, digest, wall_s, prompt=prompt)


def _text_of(content: Any) -> str:
    """The text of a message, which some servers send as a list of parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type", "text") == "text")
    return content or ""


def _joined(thinking: str, content: str, reason: str) -> str:
    """The reply as one text; reasoning that was truncated has no closing tag."""
    if not thinking:
        return content + ""  # raises TypeError for anything but text
    return f"<think>{thinking}" if reason == "length" and not content else f"<think>{thinking}</think>{content}"


def _offered(response: httpx.Response) -> dict[str, str]:
    """The models that a server offers, with the owner of each: vLLM and other servers put their own name there."""
    try:
        return {str(model["id"]): str(model.get("owned_by")) for model in _json(response)["data"]}
    except (LookupError, TypeError, AttributeError) as cause:
        excerpt = response.content[:200].decode(errors="replace")
        raise ValueError(f"no list of models: {excerpt!r}") from cause


def _listed(models: Iterable[str]) -> str:
    names = sorted(models)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "none"


def _json(response: httpx.Response) -> Any:
    """The JSON in an answer, with invalid UTF-8 replaced. Raises ValueError if there is none."""
    text = response.content.decode(errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"no JSON: {text[:200]!r}") from cause


def _clean(text: str) -> str:
    """The text with lone surrogates replaced, which JSON can contain but UTF-8 cannot."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def longest_pause(n_asked: int, limited: bool) -> float:
    """Seconds to wait at most after the n-th answer, from 1; limited: by a number of requests a minute."""
    first, most = (3.0, 60.0) if limited else (0.5, 8.0)
    return min(most, first * 2.0 ** (n_asked - 1))


def _way_out(why: str, body: Mapping[str, Any]) -> str:
    """The option for a server that refuses a field of the request, if its message names one."""
    named = next((name for name in _MAY_LACK if name in body and re.search(rf"\b{name}\b", why)), None)
    if named is None:
        return ""
    if named == "max_tokens" and "max_completion_tokens" in why:
        return "; --engine-arg max_tokens_field=max_completion_tokens sends it under that name"
    return f"; --engine-arg leave_out={named} leaves it to the server"


def _retry_after(response: httpx.Response) -> float:
    """Seconds to wait according to the server; 0 if it does not state any."""
    value = response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # not a date, or a date without a zone
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
