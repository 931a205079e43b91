"""Scores that others printed, without replies: how many of their claims are larger than the noise of their items.

Such scores come from another protocol than ours and are never ranked beside rows of ours.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import norm

from harness.board import entries, family
from harness.errors import DataError
from harness.rendering import tables
from harness.statistics import intervals, unpaired

KIND = "reported"


@dataclass(frozen=True)
class PublishedRow:
    """One printed row. scores: task -> percent; missing: not printed. why: what is printed instead of a score."""

    name: str
    scores: Mapping[str, float] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class PublishedClaim:
    """What the text says of rows: each `better` scores higher than `than` on each of the tasks (none given: all)."""

    text: str
    where: str
    better: str
    than: str
    tasks: Sequence[str] = ()


@dataclass(frozen=True)
class Publication:
    """A publication's scores. tasks: name -> items. protocol: how they were made, as far as it says."""

    title: str
    source: str
    protocol: str
    tasks: Mapping[str, int]
    rows: Sequence[PublishedRow]
    claims: Sequence[PublishedClaim]
    notes: Sequence[str] = ()


def read_published(path: Path) -> Publication:
    """A TOML file with the fields of `Publication`. Raises `DataError` naming what is missing or does not fit."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        found = Publication(
            **{
                **values,
                "rows": tuple(PublishedRow(**row) for row in values["rows"]),
                "claims": tuple(PublishedClaim(**claim) for claim in values["claims"]),
            }
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a file of reported scores ({type(error).__name__}: {error})") from None
    for task, n in found.tasks.items():
        if not isinstance(n, int) or n < 1:
            raise DataError(f"{path}: {task}: a number of items is a whole number > 0, got {n!r}")
    names = [row.name for row in found.rows]
    for row in found.rows:
        for task, score in row.scores.items():
            if task not in found.tasks:
                raise DataError(f"{path}: row {row.name!r} has a score on {task!r}, whose number of items is not given")
            if not isinstance(score, (int, float)) or not 0 <= score <= 100:
                raise DataError(f"{path}: row {row.name!r}, {task}: a score is a percentage, got {score!r}")
        if names.count(row.name) > 1:
            raise DataError(f"{path}: two rows are called {row.name!r}")
    for claim in found.claims:
        for name in (claim.better, claim.than):
            if name not in names:
                raise DataError(f"{path}: claim {claim.text!r} names {name!r}, which is not a row")
        for task in claim.tasks:
            if task not in found.tasks:
                raise DataError(f"{path}: claim {claim.text!r} names task {task!r}, which is not given")
    return found


def published_facts(reported: Publication) -> dict[str, Any]:
    """The facts of the board: every row with intervals, every claim task by task, Holm's correction within a claim."""
    shown = [
        {
            "name": row.name,
            "why": row.why,
            "scores": {
                task: asdict(intervals.wilson(round(row.scores[task] * n / 100), n)) | {"value": row.scores[task] / 100}
                for task, n in reported.tasks.items()
                if task in row.scores
            },
        }
        for row in reported.rows
    ]
    tested = _tested(reported)
    return {
        "kind": KIND,
        "schema": entries.SCHEMA,
        **{key: getattr(reported, key) for key in ("title", "source", "protocol")},
        "tasks": dict(reported.tasks),
        "rows": shown,
        "claims": tested,
        "notes": list(reported.notes),
    }


def _tested(reported: Publication) -> list[dict[str, Any]]:
    """The claims, each with its differences by task; all differences of the publication are one family of tests."""
    rows = {row.name: row for row in reported.rows}
    gaps: dict[tuple[str, str, str], dict[str, Any]] = {}
    for claim in reported.claims:
        better, than = rows[claim.better].scores, rows[claim.than].scores
        for task in claim.tasks or reported.tasks:
            if task in better and task in than:
                n = reported.tasks[task]
                gap = unpaired.difference(better[task] / 100, n, than[task] / 100, n)
                z = math.copysign(float(norm.isf((gap.p or 0.0) / 2)), gap.value)
                gaps[claim.better, claim.than, task] = {"task": task, **asdict(gap), "z": z}
    family.correct(list(gaps.values()))
    words = {family.BETTER: HOLDS, family.WORSE: OTHER_WAY, family.ALIKE: family.ALIKE}
    for of in gaps.values():
        of["verdict"] = words[of["verdict"]]
    return [
        asdict(claim)
        | {
            "found": [
                gaps[key] for task in claim.tasks or reported.tasks if (key := (claim.better, claim.than, task)) in gaps
            ]
        }
        for claim in reported.claims
    ]


HOLDS, OTHER_WAY = "holds", "the other way"


def published_markdown(facts: Mapping[str, Any]) -> str:
    """The board: which claims are larger than noise, every difference, every printed score with its interval."""
    lines = [
        f"# {facts['title']}",
        "",
        f"> **Reported, other protocol.** Scores as printed in {facts['source']}: {facts['protocol']} Nothing was run "
        "here, and these rows are not ranked with rows of ours.",
        "",
        "Intervals are 95 %, each of one score or difference alone, the items alone random. Replies were not "
        "published, so differences are unpaired, and what another training seed would give is not in them.",
        "",
        "## Which claims are larger than noise",
        "",
    ]
    words = (HOLDS, family.ALIKE, OTHER_WAY)
    head = ["Claim", "Where", "Holds on", "Not told apart on", "The other way on", "No score"]
    rows = []
    for claim in facts["claims"]:
        on = {word: [g["task"] for g in claim["found"] if g["verdict"] == word] for word in words}
        asked = claim["tasks"] or list(facts["tasks"])
        missing = [task for task in asked if task not in {g["task"] for g in claim["found"]}]
        cells = [", ".join(on[word]) or "–" for word in words]
        rows.append([claim["text"], claim["where"], *cells, ", ".join(missing) or "–"])
    lines += [*tables.table(head, rows), ""]
    tests = len({(claim["better"], claim["than"], gap["task"]) for claim in facts["claims"] for gap in claim["found"]})
    lines += [
        f"After Holm's correction at {100 * intervals.LEVEL:g} % over all {tests} differences of this page together.",
        "",
    ]
    lines += [f"- {note}" for note in facts["notes"]]
    lines += ["", "## Every difference", ""]
    head = ["Difference", "Task", "n", "Points", "z", "p", "p, Holm", "Found 4 times in 5"]
    rows = [
        [
            f"{claim['better']} less {claim['than']}",
            gap["task"],
            str(gap["n"]),
            tables.percent(gap, "+"),
            f"{gap['z']:.1f}",
            f"{gap['p']:.2g}",
            f"{gap['p_holm']:.2g}",
            f"{100 * intervals.smallest_found(gap['error'], gap['df'], intervals.LEVEL / tests):.1f}",
        ]
        for claim in facts["claims"]
        for gap in claim["found"]
    ]
    lines += [*tables.table(head, rows), ""]
    lines += ["Found 4 times in 5: true differences of so many points, at the strictest step of the correction.", ""]
    lines += ["## Every score", ""]
    head = ["Row", *[f"{task} (n = {n})" for task, n in facts["tasks"].items()]]
    rows = [
        [row["name"] + (f" ({row['why']})" if row["why"] else "")]
        + [tables.percent(row["scores"][task]) if task in row["scores"] else "–" for task in facts["tasks"]]
        for row in facts["rows"]
    ]
    return "\n".join([*lines, *tables.table(head, rows)]) + "\n"
