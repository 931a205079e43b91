"""Data parallelism: several engines, each with the whole model, load at the same time and share the requests."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import ClassVar

from harness.engines.requests import checked
from harness.errors import EngineError
from harness.protocols import Engine
from harness.types import Checkpoint, EngineInfo, Generation, Request


class Fleet:
    """Engines of one kind. Each takes requests as it has room, so none waits for another. Opened by one of them."""

    name: ClassVar[str] = "fleet"

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self.name = engines[0].name  # type: ignore[misc]  # the user knows the engine by its own
        # threads that live as long as the engines: Linux ends a worker with the thread that started it
        self._threads = ThreadPoolExecutor(len(engines), thread_name_prefix="engine")

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> EngineInfo:
        return self._engines[0].describe()

    def load(self, checkpoint: Checkpoint) -> None:
        """Load into all engines at the same time. If one fails, or the user interrupts, all are closed."""
        loading = [self._threads.submit(engine.load, checkpoint) for engine in self._engines]
        try:
            done, _ = wait(loading, return_when=FIRST_EXCEPTION)
            for rank, future in enumerate(loading):
                cause = future.exception() if future in done else None
                if isinstance(cause, EngineError):
                    raise type(cause)(f"rank {rank} of {len(loading)} engines: {cause}") from cause
                if cause is not None:
                    raise cause
        except BaseException:
            self.close()  # ends those that are still loading
            while wait(loading, timeout=0.1).not_done:
                self.close()  # one was about to start its worker, which would load, or hang, for ever
            self.close()
            raise

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        shared = _Shared(checked(requests))
        done: queue.SimpleQueue[Generation | BaseException | None] = queue.SimpleQueue()
        threads = [threading.Thread(target=_run, args=(e, shared, done), daemon=True) for e in self._engines]
        for thread in threads:
            thread.start()
        try:
            running = len(threads)
            while running:
                found = done.get()
                if isinstance(found, BaseException):
                    raise found
                if found is None:
                    running -= 1
                else:
                    yield found
        finally:
            shared.left.set()
            for thread in threads:
                thread.join()

    def running(self) -> list[int]:
        return [n_tokens for engine in self._engines for n_tokens in engine.running()]

    def sleep(self) -> None:
        for sleeping in [self._threads.submit(engine.sleep) for engine in self._engines]:
            sleeping.result()

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


class _Shared:
    """An iterator that several threads may take from."""

    def __init__(self, requests: Iterator[Request]) -> None:
        self.left = threading.Event()  # the caller needs no more
        self._requests = requests
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Request]:
        while not self.left.is_set():
            with self._lock:
                request = next(self._requests, None)
            if request is None:
                return
            yield request


def _run(engine: Engine, shared: _Shared, done: queue.SimpleQueue[Generation | BaseException | None]) -> None:
    stream = engine.generate(shared)
    try:
        for generation in stream:
            done.put(generation)
            if shared.left.is_set():
                break
        done.put(None)
    except BaseException as cause:
        done.put(cause)
    finally:
        stream.close()  # type: ignore[attr-defined]
