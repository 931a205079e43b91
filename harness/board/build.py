"""The facts of a board from records: pure functions.

Every score has its n and interval; every row its cost and seeds; rows that cannot be compared are refused by field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np

from harness.board import claims
from harness.board.entries import RANKED, STRICT_RANKING, Board, Entry, Ranking, Run, runs_of_task, score_table
from harness.board.facts import BoardFacts, Note
from harness.errors import NotComparable
from harness.records.columns import COMPARED, IN_FORM, Columns
from harness.statistics import intervals
from harness.types import BudgetUnit, Cost

_OF_ONE_BASE = {"base", "strategy"}  # roles whose checkpoints share a tokenizer and a chat template


def build_board(
    title: str,
    entries: Sequence[Entry],
    facts: BoardFacts,
    notes: Sequence[Note] = (),
    defects: Mapping[str, Mapping[str, str]] | None = None,
    ranking: Ranking = STRICT_RANKING,
) -> Board:
    """The board of these entries, best strict score first. Raises `NotComparable` naming the field that differs.

    defects: for each task, items that are known to be faulty (id -> why); a second score leaves them out.
    """
    reference, reading = ranking.reference, ranking.reading
    notes = [*notes, *([Note("prompts differ")] if refuse_mixed(entries) else [])]
    base = next((e for e in entries if e.name == reference or (not reference and e.role == "base")), None)
    first = entries[0].runs[0].columns
    rows = sorted(
        (_row(e, base, first.tasks, defects or {}, reading) for e in entries),
        key=lambda r: -_or(r[reading]["value"], -1.0),
    )
    sizes = {task: len(first.of_task(task).items) for task in first.tasks}
    whole = {e.name: e for e in entries if e.role in RANKED and all(run.status == "done" for run in e.runs)}
    scores = {n: score_table(whole[n].runs, reading) for row in rows if (n := row["name"]) in whole}
    found = claims.compare_pairs(scores)
    for name, place in _places(found, scores).items():
        next(row for row in rows if row["name"] == name).update(place)
    _add_verdicts(rows)
    name = base.name if base else ""
    return Board(title, rows, list(first.tasks), sizes, facts, notes, pairs=found, reference=name, reading=reading)


def _add_verdicts(rows: Sequence[dict[str, Any]]) -> None:
    """Set the verdict of every row compared with the reference: "better", "worse" or "not told apart" (Holm-corrected).

    With it the detectable difference (80 % power) at the correction's strictest step, in points.
    """
    compared = [row for row in rows if row["role"] in RANKED and row.get("difference", {}).get("p") is not None]
    for row, p in zip(compared, intervals.holm([row["difference"]["p"] for row in compared]), strict=True):
        gap = row["difference"]
        row["verdict"] = "not told apart" if p >= intervals.LEVEL else "better" if gap["value"] > 0 else "worse"
        row["p_holm"] = p
        row["found_from"] = found_from(gap, len(compared))


def found_from(gap: Mapping[str, Any], tests: int) -> float | None:
    """The detectable difference (80 % power) in points, at the strictest of so many tests."""
    # an interval of paired 0/1 scores is about so many standard errors wide
    error = gap.get("error") or (gap["high"] - gap["low"]) / 2 / 1.96
    if gap["n"] < 2 or not error:
        return None
    return 100 * intervals.smallest_found(error, gap.get("df") or gap["n"] - 1, intervals.LEVEL / tests)


def _places(found: Sequence[Mapping[str, Any]], scores: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """For each strategy the ranks that are possible, and whether it is among those none is shown to be better than.

    From the claims if there are enough seeds; for single runs from the items alone: then of these checkpoints.
    """
    if found:
        return {
            name: {"rank": list(rank), "among_best": rank[0] == 1} for name, rank in claims.rank_ranges(found).items()
        }
    if len(scores) < 2 or any(len(runs) > 1 for runs in scores.values()):
        return {}
    columns = np.array([runs[0] for runs in scores.values()])
    shared = ~np.isnan(columns).any(axis=0)
    if not shared.any():
        return {}
    drawn = intervals.resampled(dict(zip(scores, columns[:, shared], strict=True)))
    best = intervals.confidence_set(drawn)
    ranks = intervals.rank_intervals(drawn)
    return {name: {"rank": list(ranks[name]), "among_best": p >= intervals.LEVEL} for name, p in best.items()}


def refuse_mixed(entries: Iterable[Entry]) -> bool:
    """Whether prompts differ by chat template. Raise `NotComparable` if runs differ in an item or a rule.

    Models of several families render equal messages by templates of their own. The base and what was trained from it
    share one, so among them a prompt that differs is a fault; so it is among recorded replies, whose messages are not
    known to be equal.
    """
    runs = [(e, run) for e in entries for run in e.runs]
    runs.sort(key=lambda pair: pair[0].role not in _OF_ONE_BASE)  # stable: all others are compared with these
    (first, first_run), *others = runs
    places, differ = first_run.columns.places, False
    for entry, run in others:
        mine = run.columns.places
        if mine.same_as(places):
            continue
        keys = [set(zip(of.tasks, of.ids, of.repeats, strict=True)) for of in (mine, places)]
        if odd := sorted(keys[0] ^ keys[1]):
            raise NotComparable(
                f"{entry.name!r} and {first.name!r} were not evaluated on the same items: {odd[0]} is in one only"
            )
        for field_name in COMPARED:
            ours, theirs = mine.compared[field_name], places.compared[field_name]
            place = next((at for at, both in enumerate(zip(ours, theirs, strict=True)) if both[0] != both[1]), None)
            if place is None:
                continue
            related = {entry.role, first.role} <= _OF_ONE_BASE
            recorded = any(digest.startswith("recorded:") for digest in (run.digest, first_run.digest))
            if field_name != "prompt" or related or recorded:
                raise NotComparable(
                    f"{entry.name!r} and {first.name!r} differ in {field_name} at {mine.tasks[place]} "
                    f"{mine.ids[place]}: {ours[place]!r} and {theirs[place]!r}; evaluate both again under the same "
                    "settings"
                )
            differ = True
    return differ


def _row(
    entry: Entry, base: Entry | None, tasks: Sequence[str], defects: Mapping[str, Mapping[str, str]], reading: str
) -> dict[str, Any]:
    columns = [run.columns for run in entry.runs]
    row: dict[str, Any] = {
        "name": entry.name,
        "role": entry.role,
        "seeds": [run.seed for run in entry.runs if run.seed is not None],
        "strict": score(entry.runs, "strict"),
        "lenient": score(entry.runs, "lenient"),
        "in_form": share_in_form(entry.runs),
        "counts": counts(columns),
        "tasks": {t: _task(entry.runs, t, defects.get(t, {}), reading) for t in tasks},
        "tokens_per_item": sum(int(c.n_tokens.sum()) for c in columns) / sum(map(len, columns)),
        "runs": [_run(run, tasks) for run in entry.runs],
        "tried": entry.tried,
    }
    if base is not None and entry is not base:
        row["difference"] = asdict(_difference(entry, base, reading))
    if entry.runs[0].cost is not None:
        costs = [asdict(run.cost) for run in entry.runs if run.cost is not None]
        row["cost"] = {key: sum(c[key] for c in costs) / len(costs) for key in costs[0]}
    return row


def _task(runs: Sequence[Run], task: str, defects: Mapping[str, str], reading: str) -> dict[str, Any]:
    only = runs_of_task(runs, task)
    columns = [run.columns for run in only]
    found = {
        "strict": score(only, "strict"),
        "lenient": score(only, "lenient"),
        "in_form": share_in_form(only),
        "counts": counts(columns),
        "levels": _levels(columns, reading),
    }
    ids = np.array(columns[0].places.ids, object)
    faulty = set(ids.tolist()) & defects.keys()
    if faulty:
        keep = ~np.isin(ids, list(faulty))
        sound = [replace(run, columns=run.columns.only(keep)) for run in only]
        found["without_defects"] = {
            "n_defects": len(faulty),
            "n": sum(len(run.columns) for run in sound),
            "strict": score(sound, "strict"),
            "lenient": score(sound, "lenient"),
        }
    return found


def _levels(columns: Sequence[Columns], reading: str) -> dict[str, float]:
    """Share right by difficulty."""
    levels = np.array(columns[0].places.levels, object)
    found = {}
    for level in sorted(set(levels.tolist())):
        values = np.concatenate([c.verdicts[reading][levels == level] for c in columns])
        if len(graded := values[~np.isnan(values)]):
            found[level] = float(graded.mean())
    return found


def counts(columns: Sequence[Columns]) -> dict[str, int]:
    """How every reply ended. n == scored + truncated + errored."""
    n = sum(map(len, columns))
    errored = sum(int(np.isnan(c.verdicts["strict"]).sum()) for c in columns)
    truncated = sum(int((c.cut & ~np.isnan(c.verdicts["strict"])).sum()) for c in columns)
    return {
        "n": n,
        "scored": n - truncated - errored,
        "truncated": truncated,
        "errored": errored,
    }


def score(runs: Sequence[Run], grader: str) -> dict[str, Any]:
    """Mean with a 95 % interval: Wilson for one run of 0/1 verdicts, over items and seeds otherwise."""
    values = score_table(runs, grader)
    return _estimate(values[:, ~np.isnan(values).any(axis=0)])


def share_in_form(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean over items of the share of their replies, of all runs, that are in form; of replies that ended."""
    values = score_table(runs, IN_FORM)
    ended = values[:, ~np.isnan(values).all(axis=0)]
    return _estimate(np.nanmean(ended, axis=0, keepdims=True))


def _estimate(values: np.ndarray) -> dict[str, Any]:
    """The mean of (runs, items) and its interval."""
    if not values.size:
        return {"value": None, "low": None, "high": None, "n": 0, "method": "nothing could be graded"}
    if len(values) == 1 and np.isin(values, (0.0, 1.0)).all():
        return asdict(intervals.wilson(int(values.sum()), values.size))
    zeros = np.zeros((1, values.shape[1]))
    estimate = intervals.paired(values[0], zeros[0]) if len(values) == 1 else intervals.across_seeds(values, zeros)
    low, high = max(estimate.low, 0.0), min(estimate.high, 1.0)  # a share, not a gap
    return asdict(intervals.Estimate(estimate.value, low, high, estimate.n, estimate.method))


def difference(ours: Sequence[Run], theirs: Sequence[Run], grader: str) -> intervals.Estimate:
    """Score of the one less the other's, on the items all runs have a verdict for. Raises ValueError for none."""
    a, b = score_table(ours, grader), score_table(theirs, grader)
    shared = ~np.isnan(np.concatenate([a, b])).any(axis=0)
    if not shared.any():
        raise ValueError("no item that both have a verdict for")
    a, b = a[:, shared], b[:, shared]
    return intervals.paired(a[0], b[0]) if len(a) == len(b) == 1 else intervals.across_seeds(a, b)


def _difference(entry: Entry, base: Entry, reading: str) -> intervals.Estimate:
    """Score of the entry less the reference's."""
    try:
        return difference(entry.runs, base.runs if base.role in RANKED else base.runs[:1], reading)
    except ValueError as error:
        raise NotComparable(f"{entry.name!r} and {base.name!r} share {error}") from None


def _run(run: Run, tasks: Sequence[str]) -> dict[str, Any]:
    def scores(one: Run) -> dict[str, Any]:
        return {reading: score([one], reading) for reading in ("strict", "lenient")}

    return {
        "id": run.digest.removeprefix("recorded:")[:12],
        "digest": run.digest,
        "seed": run.seed,
        "status": run.status,
        "why": run.why,
        **scores(run),
        "tasks": {task: scores(*runs_of_task([run], task)) for task in tasks},
        "cost": _cost(run.cost) if run.cost else None,
        "records": run.records.content,
        "files": list(run.records.files),
        "dev": dict(run.selection.dev),
        "chosen": run.selection.chosen,
        "reward": run.selection.reward,
    }


def _cost(cost: Cost) -> dict[str, Any]:
    """All fields, the totals in every unit, and what they would be had the teacher been free."""
    units: tuple[BudgetUnit, ...] = get_args(BudgetUnit)
    totals = {unit: cost.spent(unit) for unit in units}
    return asdict(cost) | totals | {"without_teacher": {unit: cost.without_teacher(unit) for unit in units}}


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
