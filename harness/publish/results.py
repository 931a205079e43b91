"""What of a board may be published, and what has to be printed with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from harness import registry
from harness.board import collection, fact_sentences, published_scores
from harness.board.board_json import refuse_other_schema
from harness.board.facts import BoardFacts, EngineFacts, TaskFacts, facts_from_json
from harness.errors import DataError, UnknownName, UsageError
from harness.types import TaskInfo

NAME = "srlm-harness"
UNRECORDED = "unrecorded"


@dataclass(frozen=True)
class Pick:
    """What of a board is published. A repository holds one checkpoint: of a row with several seeds, name one.

    mean: publish the mean over all its seeds all the same. limited: publish scores of fewer items than the benchmark
    has. The text then says so.
    """

    row: str
    seed: int | None = None
    mean: bool = False
    limited: bool = False


Relationship = Literal["first_party", "third_party", "collaborative", "other"]  # of the evaluator to the model's maker


@dataclass(frozen=True)
class Evaluator:
    """Who ran the evaluation, in the words of Every Eval Ever."""

    organisation: str
    relationship: Relationship = "other"


@dataclass(frozen=True)
class TaskScore:
    """One task of a result. scores: as the board has them; of one seed of several only the two readings.

    score: by the reading that the board ranks by. n_items: of the benchmark, or of the board if the task does not state
    it. limit: what of it was left out; "": nothing. made: what the board records of it.
    """

    name: str
    scores: Mapping[str, Any]
    score: Mapping[str, Any]
    repeats: int
    n_items: int
    limit: str
    made: TaskFacts

    @property
    def items(self) -> str:
        """Which items were evaluated, as text."""
        return fact_sentences.items_text(self.made) or UNRECORDED

    @property
    def decoding(self) -> str:
        """How replies were drawn, as text."""
        return fact_sentences.decoding_text(self.made) or UNRECORDED

    @property
    def grader(self) -> str:
        """Name and version of what graded the replies."""
        return self.made.grader or f"grader {UNRECORDED}"


@dataclass(frozen=True)
class PublishedResult:
    """A row, or one seed of it, that may be published.

    reading: which of the two scores the board ranks by, "strict" or "lenient"; whole: that score over all tasks.
    """

    pick: Pick
    board: Mapping[str, Any]
    facts: BoardFacts
    row: Mapping[str, Any]
    runs: Sequence[Mapping[str, Any]]
    reading: str
    whole: Mapping[str, Any]
    tasks: list[TaskScore] = field(default_factory=list)

    @property
    def other(self) -> str:
        return "lenient" if self.reading == "strict" else "strict"

    @property
    def seeds(self) -> list[int]:
        return [run["seed"] for run in self.runs if run["seed"] is not None]

    @property
    def digests(self) -> list[str]:
        return [run["digest"] for run in self.runs]

    def fact(self, name: str) -> str:
        """A fact of `fact_sentences.HEADINGS` as text; "unrecorded" if the board does not record it."""
        return fact_sentences.sentences(self.facts).get(name, UNRECORDED)

    @property
    def version(self) -> str:
        """Of the harness that made the board."""
        return self.facts.versions.get(NAME, UNRECORDED)

    @property
    def engine(self) -> tuple[str, str]:
        """Name and version. Records of other tools name both in one label."""
        engine = self.facts.engine or EngineFacts()
        return engine.name or engine.label or UNRECORDED, engine.version or UNRECORDED

    def notes(self, task: TaskScore) -> str:
        """What a bare value does not say, in one line."""
        score = task.score
        parts = [
            f"LIMITED, {task.limit}: not the benchmark's score" if task.limit else "",
            "lenient reading: the answer anywhere in the reply" if self.reading == "lenient" else "",
            f"avg@{task.repeats}, 95 % CI {100 * score['low']:.1f}–{100 * score['high']:.1f} ({score['method']})",
            f"n={score['n']}",
            f"mean over {len(self.runs)} checkpoints" if len(self.runs) > 1 else "",
            f"training seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}" if self.seeds else "",
            f"decoding {task.decoding}",
            task.grader,
            f"engine {self.engine[0]}" + (f" {self.engine[1]}" if self.engine[1] != UNRECORDED else ""),
            f"{NAME} {self.version}",
            "weights " + ", ".join(digest[:12] for digest in self.digests),
        ]
        return ", ".join(filter(None, parts))


def publishable_board(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The board in these facts. Raises a `HarnessError` unless they are a board of runs of our own."""
    kinds = {
        published_scores.KIND: "holds scores that others printed, and nothing was run: they are theirs to publish",
        collection.KIND: "collects runs that cannot be ranked together, replies of others among them",
    }
    facts = facts if isinstance(facts, Mapping) else {}
    if (kind := facts.get("kind")) in kinds:
        raise UsageError(f"board {facts.get('title')!r} {kinds[kind]}; give a board of `harness compare` or `eval`")
    board = facts.get("board", facts)
    if not isinstance(board, Mapping) or not {"title", "rows", "tasks", "n_items", "facts"} <= board.keys():
        raise DataError("these facts are not a board: expected the .json that `harness compare` or `eval` writes")
    refuse_other_schema(board, f"board {board['title']!r}")
    return board


def result(facts: Mapping[str, Any], pick: Pick) -> PublishedResult:
    """What is published. Raises a `HarnessError` that gives the reason if it may not be."""
    board = publishable_board(facts)
    rows = {row["name"]: row for row in board["rows"]}
    if pick.row not in rows:
        raise UnknownName("row", pick.row, rows)
    row, reading = rows[pick.row], board.get("reading", "strict")
    runs = [run for run in row["runs"] if pick.seed in (None, run["seed"])]
    seeds = ", ".join(map(str, row["seeds"])) or "none"
    if not runs:
        raise UsageError(f"row {pick.row!r} has no seed {pick.seed}; its seeds: {seeds}")
    if len(runs) > 1 and not pick.mean:
        raise UsageError(
            f"row {pick.row!r} is the mean over {len(runs)} checkpoints, and a repository holds one: name its seed "
            f"({seeds}), or ask for the mean, which is then labelled as one"
        )
    for run in runs:
        if run["status"] != "done":
            who = f"row {pick.row!r}" + (f", seed {run['seed']}" if run["seed"] is not None else "")
            raise DataError(f"{who} ended early ({run['status']}: {run['why']}): such a score is not published")
        if run["digest"].startswith("recorded:"):
            raise DataError(
                f"row {pick.row!r} scores replies that were recorded elsewhere; what model wrote them is not known "
                "here, so nothing is published about one"
            )
    chosen = runs[0] if len(runs) < len(row["runs"]) else row
    made = facts_from_json(board["facts"])
    found = PublishedResult(pick, board, made, row, runs, reading, chosen[reading])
    found.tasks.extend(_task(found, name, scores) for name, scores in chosen["tasks"].items())
    return found


def _task(found: PublishedResult, name: str, scores: Mapping[str, Any]) -> TaskScore:
    board, who, score = found.board, f"row {found.pick.row!r}", scores[found.reading]
    if score["value"] is None:
        raise DataError(f"{who} has no verdict on {name}: there is no score to publish")
    made = found.facts.tasks.get(name, TaskFacts())
    if made.split not in (None, "test"):
        raise DataError(f"{who} was scored on the {made.split} items of {name}; only test scores are shown")
    n, size = score["n"], stated(name).sizes.get("test", board["n_items"][name])
    limit = f"{n} of {size} items" if n < size else "" if made.limit is None else f"the first {made.limit} items"
    if limit and not found.pick.limited:
        raise DataError(
            f"{who} has verdicts on {limit} of {name}: that is not the benchmark's score; evaluate all items, or mark "
            "it as limited"
        )
    repeats = found.row["tasks"][name]["counts"]["n"] // (board["n_items"][name] * len(found.row["runs"]))
    return TaskScore(name, scores, score, repeats, size, limit, made)


@cache
def stated(task: str) -> TaskInfo:
    """What the installed task of that name states about itself; nothing if it is not installed."""
    return registry.make_task(task).describe() if task in registry.names("task") else TaskInfo()


def benchmark(task: str) -> str:
    """What the hub calls its board of this task; "": it has none. Known boards take percent (openai/gsm8k)."""
    dataset = stated(task).dataset
    return dataset.benchmark if dataset else ""


def without_benchmark(facts: Mapping[str, Any]) -> list[str]:
    """The tasks of a board that the hub collects no scores for; `eval_results` leaves them out."""
    return [name for name in publishable_board(facts)["tasks"] if not benchmark(name)]
