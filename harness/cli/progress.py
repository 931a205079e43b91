"""Progress of a run on standard error: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_LOG_EVERY_S = 15.0
_REFRESH_S = 1.0  # so that the clock moves while nothing finishes
_AT_ONCE_S = 1.0


class ShellProgress:
    """`protocols.Progress` on standard error. total: sum of the weights of all steps to come."""

    def __init__(self, total: float) -> None:
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, file=sys.stderr, disable=not self._terminal, bar_format=_bar(""), dynamic_ncols=True
        )
        self._total, self._finished, self._start = total, 0.0, time.monotonic()
        self._active: dict[str, tuple[float, float, str]] = {}  # step -> weight, fraction, what to show
        self._lock = threading.Lock()
        self._last_log = self._start
        self._closed = threading.Event()
        self._refreshing = threading.Thread(target=self._keep_showing, name="progress", daemon=True)
        self._refreshing.start()

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        with self._lock:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def step(self, name: str, weight: float) -> Iterator[Callable[[float, str], None]]:
        """Report a step of the plan; the callable takes (fraction done, text to show)."""
        start = time.monotonic()

        def tick(fraction: float, text: str) -> None:
            with self._lock:
                self._active[name] = (weight, fraction, text)
                self._show()

        tick(0.0, "")
        try:
            yield tick
        finally:
            with self._lock:
                del self._active[name]
        took = time.monotonic() - start
        with self._lock:
            if took > _AT_ONCE_S:
                self._finished += weight
            else:  # made by an earlier run: it says nothing of how long the rest takes
                self._total -= weight
        self.say(f"  {name}: " + (f"done in {_clock(took)}" if took > _AT_ONCE_S else "done"))

    def close(self) -> None:
        self._closed.set()
        self._refreshing.join()
        self._bar.close()

    def _keep_showing(self) -> None:
        """Show the steps also while none of them reports: a first reply may take minutes."""
        while not self._closed.wait(_REFRESH_S):
            with self._lock:
                if self._active:
                    self._show()

    def _show(self) -> None:
        done = self._finished + sum(weight * fraction for weight, fraction, _ in self._active.values())
        spent = time.monotonic() - self._start
        left = f", about {_clock(spent * (self._total - done) / done)} left" if self._can_tell(done) else ""
        names = [
            f"{name} {100 * part:.0f} %" + (f" ({text})" if text else "")
            for name, (_, part, text) in self._active.items()
        ]
        if self._terminal:
            self._bar.n, self._bar.total, self._bar.bar_format = done, self._total, _bar(left)
            self._bar.set_description_str(" | ".join(names))
        elif self._start + spent - self._last_log > _LOG_EVERY_S - _REFRESH_S:
            self._last_log = self._start + spent
            print(
                f"{100 * done / self._total:3.0f} % after {_clock(spent)}{left}: {' | '.join(names)}", file=sys.stderr
            )

    def _can_tell(self, done: float) -> bool:
        """Whether the time left can be told: not from other steps alone, while one that runs has only begun."""
        return done > 0.03 * self._total and all(fraction for _, fraction, _ in self._active.values())


def _bar(left: str) -> str:
    """tqdm's format of the bar, with a text about the time left."""
    return f"{{percentage:3.0f}}%|{{bar:24}}| {{elapsed}} so far{left} | {{desc}}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
