"""Detects training that has collapsed or cannot learn: why a stage ends early, and what to change. Imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NEARLY_ALL = 0.95
SOLVED = 0.95  # mean reward above which groups without variance are solved, not stuck


class Collapsed(Exception):
    """Training collapsed. since: the last step before it began; later weights are not used."""

    def __init__(self, why: str, since: int) -> None:
        super().__init__(why)
        self.since = since


class Refused(Exception):
    """Nothing can be learnt from the parent checkpoint, so no step was made."""


@dataclass(frozen=True)
class Rollouts:
    """Statistics of the rollouts of one step. Shares are of all rollouts, `silent` is a share of all groups."""

    n: int
    reward: float  # mean over those that could be graded
    unread: float  # replies without a readable answer
    clipped: float  # truncated at max_tokens
    silent: float  # groups whose rewards are all equal: no gradient


class RolloutWatch:
    """Checks each step's rollouts; `patience` steps in a row with one kind of failure are a collapse.

    The first step samples the parent, so it also checks, at no extra cost, that RL can learn from it.
    """

    def __init__(self, trainer: str, patience: int, max_tokens: int, max_clipped: float) -> None:
        self.trainer, self.patience, self.max_tokens, self.max_clipped = trainer, patience, max_tokens, max_clipped
        self.recent: deque[Rollouts] = deque(maxlen=patience)
        self.best = 0.0  # the highest mean reward of `patience` steps
        self.first: Rollouts | None = None

    def see(self, step: int, rollouts: Rollouts, sample: str = "") -> None:
        """Check the rollouts of optimizer step `step` + 1. Raises `Refused` or `Collapsed`."""
        if self.first is None:
            self.first = rollouts
            self._refuse(rollouts, sample)
        self.recent.append(rollouts)
        if len(self.recent) < self.patience:
            return
        mean = sum(r.reward for r in self.recent) / self.patience
        if why := self._why(mean):
            raise Collapsed(f"{why} in each of the last {self.patience} steps", step - self.patience)
        self.best = max(self.best, mean)
        if self.best >= 0.1 and mean < 0.25 * self.best:
            raise Collapsed(
                f"reward fell from {self.best:.2f} to {mean:.2f} (means of {self.patience} steps): lower "
                f"{self.trainer}.learning_rate, or set {self.trainer}.kl_coef",
                step - self.patience,
            )

    def _refuse(self, r: Rollouts, sample: str) -> None:
        if r.clipped > self.max_clipped:
            raise Refused(
                f"{r.clipped:.0%} of {r.n} replies sampled from the start checkpoint reach max_tokens="
                f"{self.max_tokens}: raise {self.trainer}.max_tokens, or start from a checkpoint that ends its replies "
                "(sft first)"
            )
        if r.unread >= 1 - 1e-9:
            shown = f" (one of them: {sample[:120]!r})" if sample else ""
            raise Refused(
                f"no answer can be read from any of {r.n} replies sampled from the start checkpoint{shown}: every "
                "reward would be 0. Start from a checkpoint that knows the answer format (sft first)"
            )

    def _why(self, mean: float) -> str:
        if all(r.clipped > self.max_clipped for r in self.recent):
            return f"more than {self.max_clipped:.0%} of the rollouts were cut off at max_tokens={self.max_tokens}"
        assert self.first is not None
        if all(r.unread >= NEARLY_ALL for r in self.recent) and self.first.unread < NEARLY_ALL:
            return f"no answer could be read from {NEARLY_ALL:.0%} or more of the rollouts"
        if all(r.silent >= 1 - 1e-9 for r in self.recent) and mean < SOLVED:
            return f"no group had any reward variance (mean reward {mean:.2f}), so nothing was learnt"
        return ""

    def state(self) -> dict[str, Any]:
        """JSON to save beside a checkpoint."""
        return {
            "recent": [vars(r) for r in self.recent],
            "best": self.best,
            "first": vars(self.first) if self.first else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.recent = deque((Rollouts(**r) for r in state["recent"]), maxlen=self.patience)
        self.best = state["best"]
        self.first = Rollouts(**state["first"]) if state["first"] else None


class LossWatch:
    """Checks that the loss does not rise and that the divergence from the reference stays small."""

    def __init__(self, patience: int = 10, max_kl: float = float("inf")) -> None:
        self.patience, self.max_kl = patience, max_kl
        self.first: list[float] = []
        self.recent: deque[float] = deque(maxlen=patience)

    def see(self, step: int, loss: float | None, kl: float | None) -> None:
        """Check the metrics that step `step` logged. Raises `Collapsed`."""
        if kl is not None and not kl <= self.max_kl:
            raise Collapsed(
                f"the policy is {kl:.3g} nats per token away from its start, the limit is max_kl={self.max_kl:g}",
                step - 1,
            )
        if loss is None:
            return
        if len(self.first) < self.patience:
            self.first.append(loss)
        self.recent.append(loss)
        begun, now = _mean(self.first), _mean(self.recent)
        if len(self.recent) == self.patience and now > 2 * begun + 0.1:
            raise Collapsed(
                f"the loss rose from {begun:.3g} to {now:.3g} (means of {self.patience} steps): lower learning_rate",
                step - self.patience,
            )

    def state(self) -> dict[str, Any]:
        """JSON to save beside a checkpoint."""
        return {"first": self.first, "recent": list(self.recent)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.first = list(state["first"])
        self.recent = deque(state["recent"], maxlen=self.patience)


def _mean(values: Sequence[float] | deque[float]) -> float:
    return sum(values) / len(values)
