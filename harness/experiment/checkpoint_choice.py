"""Chooses the checkpoint of a run: the best on dev among a few intermediate ones and the last; never by test scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.atomic import write_json
from harness.checkpoints import open_checkpoint
from harness.records.serialization import cost_from_json
from harness.training.run_stage import StageResult
from harness.types import Checkpoint, Cost


@dataclass(frozen=True)
class DevScore:
    """Strict share of the dev items, and the engine that made the replies, as records name it."""

    value: float
    engine: str


DevScorer = Callable[[Checkpoint], DevScore]


@dataclass(frozen=True)
class Candidate:
    """A checkpoint of a stage. cost: of the whole strategy up to it; dev: strict share on the dev items."""

    checkpoint: Checkpoint
    name: str  # share of the stage's budget: "025", "050", ..., "100"
    cost: Cost
    dev: float


def candidates(stage: StageResult, before: Cost, dev_key: str, judge: DevScorer, keep: bool) -> list[Candidate]:
    """All checkpoints of a stage in order, scored on dev; before: the cost of the earlier stages.

    The scores are kept in `dev.json` of the stage, each with its engine: they stay when the engine changes. Unless
    `keep`, the weights of all but the best are then removed.
    """
    memo = stage.folder / "dev.json"
    if memo.exists():
        known = json.loads(memo.read_text(encoding="utf-8"))
        if known["dev"] == dev_key:
            return [_read(values, stage, before) for values in known["candidates"]]
    found = []
    for folder in sorted(p for p in (stage.folder / "work" / "snapshots").glob("*") if (p / "cost.json").exists()):
        cost = cost_from_json(json.loads((folder / "cost.json").read_text(encoding="utf-8")))
        found.append((open_checkpoint(folder), folder.name, cost))
    found.append((stage.checkpoint, "100", stage.cost))
    scores = [judge(checkpoint) for checkpoint, _, _ in found]
    judged = [
        Candidate(c, name, before.plus(cost), score.value) for (c, name, cost), score in zip(found, scores, strict=True)
    ]
    home = stage.folder.resolve()
    values = [
        {
            "path": str(checkpoint.path.relative_to(home)),
            "digest": checkpoint.digest,
            "tokenizer": checkpoint.tokenizer_digest,
            "name": name,
            "cost": asdict(cost),
            "dev": score.value,
            "engine": score.engine,
        }
        for (checkpoint, name, cost), score in zip(found, scores, strict=True)
    ]
    write_json(memo, {"dev": dev_key, "candidates": values})
    if not keep:
        best = choose(judged)
        for candidate in judged[:-1]:  # the last is the stage's result, from which other stages may start
            if candidate is not best:
                shutil.rmtree(candidate.checkpoint.path)
    return judged


def choose(judged: Sequence[Candidate]) -> Candidate:
    """The best on dev; of equals the latest, which was trained most."""
    return max(reversed(judged), key=lambda candidate: candidate.dev)


def _read(values: dict[str, object], stage: StageResult, before: Cost) -> Candidate:
    path = (stage.folder / str(values["path"])).resolve()
    checkpoint = Checkpoint(Path(path), str(values["digest"]), str(values["tokenizer"]))
    cost = before.plus(cost_from_json(values["cost"]))  # type: ignore[arg-type]
    return Candidate(checkpoint, str(values["name"]), cost, float(values["dev"]))  # type: ignore[arg-type]
