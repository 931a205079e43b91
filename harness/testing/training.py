"""One stage of any trainer on a tiny random model, with a reward made here: about a second each."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.checkpoints import matmul_params, open_checkpoint
from harness.engines.transformers import leave_out_scikit_learn
from harness.meter import Meter
from harness.protocols import TrainData
from harness.testing.models import make_model
from harness.types import Budget, BudgetUnit, Cost, Message, Sample, Score, Stage, Trained, TrainRow

Judge = Callable[[TrainRow, str], Score]

TEXT = {"learning_rate": 3e-3, "batch_size": 8, "micro_batch": 4, "max_tokens": 64}
ROLLOUTS: dict[str, float] = {"learning_rate": 2e-3, "prompts_per_step": 4, "group_size": 8, "micro_batch": 32}
ROLLOUTS |= {"max_tokens": 12, "max_clipped": 1.0}  # a random model ends few replies
LORA = {"learning_rate": 2e-2, "lora_rank": 4}
_SETTINGS: dict[str, dict[str, Any]] = {
    "kd": TEXT | {"micro_batch": 8},
    "sft.lora": TEXT | LORA,
    "kd.lora": TEXT | LORA,
    "kd.logits": TEXT | {"top_k": 16},
    "kd.onpolicy": TEXT | {"max_tokens": 12},
    "rl": ROLLOUTS,
    "rl.lora": ROLLOUTS | LORA,
    "rl.dr_grpo": ROLLOUTS,
    "rl.dapo": ROLLOUTS | {"max_tokens": 24},
    "kd&rl": ROLLOUTS,
}
_BUDGETS = {"kd.onpolicy": 12_000.0, "kd.logits": 7_000.0, "kd&rl": 40_000.0}


def settings(name: str) -> dict[str, Any]:
    """Settings that make a step cheap; of a trainer of another package those fields that have a usual name."""
    if name in _SETTINGS:
        return _SETTINGS[name]
    known = {field.name for field in fields(registry.load("trainer", name).Config)}
    usual = ROLLOUTS if "group_size" in known else TEXT
    return {key: value for key, value in usual.items() if key in known}


def budget_of(name: str) -> float:
    """Tokens for about 20 steps."""
    return _BUDGETS.get(name, 25_000.0 if "group_size" in settings(name) else 5_000.0)


def sums() -> tuple[TrainRow, ...]:
    """Sixty ASCII additions with their solutions."""
    draw = random.Random(0)
    pairs = [(draw.randrange(10), draw.randrange(10)) for _ in range(60)]
    return tuple(
        TrainRow("add", Sample(f"add/train/{i}", (Message("user", f"{a}+{b}"),), str(a + b)), f"{a}+{b}={a + b}")
        for i, (a, b) in enumerate(pairs)
    )


def digits(_row: TrainRow, text: str) -> float:
    """Share of the reply that is digits: easy to raise."""
    return sum(c in "0123456789" for c in text) / max(len(text), 1)


def graded(reward: Callable[[TrainRow, str], float | None]) -> Judge:
    """The verdict a task would give: an answer can always be read."""
    return lambda row, text: Score(reward(row, text), text)


def make_models(folder: Path) -> Path:
    """A base checkpoint, and beside it a larger teacher; the base's path."""
    make_model(folder / "teacher", 1, hidden=96, heads=3)
    return make_model(folder / "base", 0)


class Fatal(Meter):
    """Kills this process, as power loss would, at a random moment: in a step, or while a checkpoint is written."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        draw = random.Random()
        self.saving = draw.random() < 0.4
        self.share = draw.uniform(0.3, 0.8 if self.saving else 0.95)
        self.begun: float | None = None

    def train(self, tokens: int, trained: int) -> None:
        if self.begun is None:
            self.begun = self.fraction  # the teacher's scores are charged before the first step
        super().train(tokens, trained)
        self._die_after(0.93 if self.saving else self.share, "a step")

    def state(self) -> dict[str, Any]:
        if self.saving:
            self._die_after(self.share, "a save")
        return super().state()

    def _die_after(self, share: float, where: str) -> None:
        if self.begun is not None and self.fraction - self.begun > share * (1 - self.begun):
            print(f"{where} at {self.fraction:.3f} of the budget", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Given:
    """What a stage is given beside its settings. budget None: about 20 steps of tokens; rows None: `sums()`."""

    seed: int = 0
    judge: Judge | None = None  # None: the share of digits
    rows: Sequence[TrainRow] | None = None
    meter: type[Meter] = Meter
    budget: float | None = None
    unit: BudgetUnit = "tokens"


def run(name: str, base: Path, out: Path, given: Given = Given(), **config: Any) -> tuple[Trained, Meter]:
    """What a trainer hands back after one stage from `make_models`' base, and the meter. config: changed settings."""
    leave_out_scikit_learn()
    trainer = registry.load("trainer", name)()
    resolved = asdict(trainer.Config(**(settings(name) | config)))
    parent = open_checkpoint(base)
    teacher = open_checkpoint(base.with_name("teacher")) if "teacher" in trainer.needs else None
    spend = Budget(budget_of(name) if given.budget is None else given.budget, given.unit)
    stage = Stage(
        trainer=name,
        config=resolved,
        parent=parent.digest,
        teacher=teacher.digest if teacher else "",
        tokenizer=parent.tokenizer_digest,
        data="rows",
        tasks=("add@1",),
        seed=given.seed,
        budget=spend,
        versions={},
    )
    out.mkdir(parents=True, exist_ok=True)
    n_teacher = matmul_params(teacher.path) if teacher else 0
    meter = given.meter(spend, matmul_params(base), n_teacher, out / "progress.jsonl")
    rows, judge = sums() if given.rows is None else given.rows, given.judge or graded(digits)
    data = TrainData(rows, judge, teacher, base.parent / "shared")
    return trainer.train(stage, parent, data, meter, out / "work"), meter


def digest(trained: Trained) -> str:
    """Weights digest of the end of a stage."""
    return open_checkpoint(trained.path).digest


def snapshots(trained: Trained) -> dict[str, str]:
    """Weights digest of each checkpoint on the way, by its name."""
    folder = trained.path.parent / "snapshots"
    return {path.name: open_checkpoint(path).digest for path in folder.iterdir()} if folder.is_dir() else {}


def series(out: Path, key: str) -> list[float]:
    """The values that a stage reported under a name (`Meter.report`), in order."""
    path = out / "progress.jsonl"
    lines = [json.loads(line) for line in (path.read_text().splitlines() if path.exists() else ())]
    return [line[key] for line in lines if line.get(key) is not None]


def comparable(cost: Cost) -> Cost:
    """A cost without what the clock and the machine decide."""
    clocks: dict[str, Any] = {name: 0.0 for name in asdict(cost) if name.endswith("_s")}
    return replace(cost, peak_rss_bytes=0, **clocks)
