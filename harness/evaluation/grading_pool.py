"""Grades replies beside the engine: tasks that run code in the sandbox's processes, all others in workers of their own.

A worker that hangs or dies takes one reply with it, never the run: the reply gets no verdict, and why.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from harness.errors import DataError, GraderError, boundary
from harness.processes import Child, attach, python_module, spawn
from harness.protocols import CodeRunner, GradedItem, ItemTask, Task
from harness.types import READINGS, Generation, Sample, Score

NO_SANDBOX = "none needed"
WALL_S = 120.0  # for the verdict on one reply; graders of our own are bounded far below it


def grade_item(task: Task, sample: Sample, replies: Sequence[Generation], runner: CodeRunner | None) -> GradedItem:
    """The verdict on all replies to an item, with the two rules no task may bend.

    No reply is no verdict, and a reply that was cut off is not strictly right. Raises `GraderError` for a task's fault.
    """
    with boundary(GraderError, f"grader of task {task.name!r}, item {sample.id!r}"):
        if isinstance(task, ItemTask):
            graded = task.judge(sample, replies, runner)
            return replace(graded, scores=[_honest(g, s) for g, s in zip(replies, graded.scores, strict=True)])
        scores = [{} if reply.finish == "error" else dict(task.score(sample, reply.text, runner)) for reply in replies]
    return GradedItem([_honest(g, s) for g, s in zip(replies, scores, strict=True)])


def _honest(reply: Generation, scores: Any) -> dict[str, Score]:
    if reply.finish == "error":
        return _lost(f"no reply: {reply.error}")
    if reply.finish == "length" and scores["strict"].value:
        return {**scores, "strict": replace(scores["strict"], value=0.0, why="right, but cut off at max_tokens")}
    return dict(scores)


def tier(task: Task, runner: CodeRunner | None) -> str:
    """The isolation that replies of this task are graded under. Raises `DataError` if it needs one and has none."""
    if not task.needs_sandbox:
        return NO_SANDBOX
    if runner is None:
        raise DataError(f"task {task.name!r} runs model-written code, and no sandbox was given")
    return runner.tier


class Graders:
    """Threads that wait for verdicts, one a core, each with a process of its own. They serve task after task."""

    def __init__(self, runner: CodeRunner | None = None, threads: int | None = None, wall_s: float = WALL_S) -> None:
        self.runner = runner
        self.wall_s = wall_s
        self._n = threads or len(os.sched_getaffinity(0))
        self._todo: queue.SimpleQueue[tuple[Batch, int] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: list[_GradingProcess] = []

    def __enter__(self) -> Graders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End threads and processes, whatever they are at. A later use starts them again."""
        for _ in self._threads:
            self._todo.put(None)
        for worker in self._workers:
            worker.interrupt()
        for thread in self._threads:
            thread.join()
        self._threads, self._workers = [], []

    def start(self, task: Task, read: Callable[[int], tuple[Sample, Sequence[Generation]]]) -> Batch:
        """Begin to grade items of a task; read(item) is called from other threads when an item's turn comes."""
        while len(self._threads) < self._n:
            worker = _GradingProcess()
            name = f"grade {len(self._threads)}"
            thread = threading.Thread(target=self._serve, args=(worker,), name=name, daemon=True)
            thread.start()
            self._workers.append(worker)
            self._threads.append(thread)
        return Batch(task, read, self._todo)

    def _serve(self, worker: _GradingProcess) -> None:
        with contextlib.closing(worker):
            while (order := self._todo.get()) is not None:
                batch, item = order
                if not batch.abandoned:
                    batch.settle(item, partial(self._grade_item, worker, batch, item))

    def _grade_item(self, worker: _GradingProcess, batch: Batch, item: int) -> GradedItem:
        """`grade_item`, in a process that may die of it."""
        task, (sample, replies) = batch.task, batch.read(item)
        if task.needs_sandbox:
            return grade_item(task, sample, replies, self.runner)
        found = worker.grade(task, sample, replies, self.wall_s)
        if isinstance(found, str) and len(replies) > 1 and not isinstance(task, ItemTask):
            each = [worker.grade(task, sample, [reply], self.wall_s) for reply in replies]
            return GradedItem([_lost(e) if isinstance(e, str) else e.scores[0] for e in each])
        return GradedItem([_lost(found)] * len(replies)) if isinstance(found, str) else found


def _lost(why: str) -> dict[str, Score]:
    return dict.fromkeys(READINGS, Score(None, why=why))


class Batch:
    """Items of one task on their way to a verdict. Leaving it early drops what has not begun."""

    def __init__(
        self,
        task: Task,
        read: Callable[[int], tuple[Sample, Sequence[Generation]]],
        todo: queue.SimpleQueue[tuple[Batch, int] | None],
    ) -> None:
        self.task, self.read, self.abandoned = task, read, False
        self._todo = todo
        self._done: queue.SimpleQueue[tuple[int, GradedItem | BaseException]] = queue.SimpleQueue()
        self._open = 0

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandoned = True

    def submit(self, item: int) -> None:
        """Have an item graded. Never waits."""
        self._open += 1
        self._todo.put((self, item))

    def finished(self, wait: bool) -> Iterator[tuple[int, GradedItem]]:
        """(item, verdict) as they come: those that are there, or with `wait` all. Raises `GraderError`."""
        while self._open:
            try:
                item, found = self._done.get(block=wait)
            except queue.Empty:
                return
            self._open -= 1
            if isinstance(found, BaseException):
                raise found
            yield item, found

    def settle(self, item: int, verdict: Callable[[], GradedItem]) -> None:
        """Note what `verdict` gives or raises."""
        try:
            self._done.put((item, verdict()))
        except BaseException as cause:
            self._done.put((item, cause))


class _GradingProcess:
    """A process that grades, one request at a time; started when first asked. Belongs to one thread."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._task: Task | None = None

    def grade(self, task: Task, sample: Sample, replies: Sequence[Generation], wall_s: float) -> GradedItem | str:
        """The verdict; or why there is none: the process had to be killed, or died. Raises `GraderError`."""
        try:
            if self._child is None:
                self._child, self._task = self._start(), None
            if task is not self._task:
                self._child.connection.send(("task", sys.path, _pickled(task)))
                self._task = task
            self._child.connection.send(("grade", sample, replies))
            if not self._child.connection.poll(wall_s * len(replies)):
                self.close()
                return f"grading timed out after {wall_s * len(replies):g} s"
            kind, found = self._child.connection.recv()
        except (EOFError, OSError):
            words = self._child.last_words() if self._child else "could not be started"
            self.close()
            return f"the grader's process {words.splitlines()[0].removesuffix(' Its last output:')}"
        if kind == "failed":
            raise GraderError(found)
        assert isinstance(found, GradedItem)
        return found

    def interrupt(self) -> None:
        """End the process from another thread: what it is at gets no verdict."""
        child = self._child
        if child is not None:
            child.popen.kill()

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _start(self) -> Child:
        return spawn(python_module("harness.evaluation.grading_pool"), "grader", os.environ | {"OMP_NUM_THREADS": "1"})


def _pickled(task: Task) -> bytes:
    try:
        if type(task).__module__ == "__main__":
            raise pickle.PicklingError("it is made in the script that is run")
        return pickle.dumps(task)
    except Exception as cause:
        raise GraderError(
            f"task {task.name!r} cannot be sent to a grading process ({type(cause).__name__}: {cause}); its class must "
            f"stand at the top of an importable module"
        ) from cause


def _serve() -> None:
    """The worker process: grade what comes in until the other side disconnects."""
    connection = attach()
    os.nice(5)  # the engine goes first if both share the cores
    task: Any = None
    while True:
        try:
            kind, *content = connection.recv()
        except EOFError:
            return
        if kind == "task":
            path, pickled = content
            sys.path[:] = path
            task = pickled  # unpickled with the first item, whose answer can report a failure
            continue
        sample, replies = content
        try:
            if isinstance(task, bytes):
                task = pickle.loads(task)
            answer: tuple[str, Any] = ("graded", grade_item(task, sample, replies, None))
        except Exception as cause:
            sys.excepthook(*sys.exc_info())  # the whole traceback, into the log
            answer = ("failed", str(cause) if isinstance(cause, GraderError) else f"{type(cause).__name__}: {cause}")
        connection.send(answer)


if __name__ == "__main__":
    _serve()
