"""The facts of a board from records: pure functions.

Every score has its n and interval; every row its cost and seeds; rows that cannot be compared are refused by field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np

from harness.board import family
from harness.board.entries import (
    RANKED,
    STRICT_RANKING,
    Board,
    Entry,
    Ranking,
    Run,
    runs_of_task,
    score_table,
)
from harness.board.facts import BoardFacts, Note
from harness.errors import NotComparable
from harness.records.columns import COMPARED, IN_FORM, Columns, related_items
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
    single = not any(len(entry.runs) > 1 for entry in entries)
    compare = family.pairs_of_checkpoints if single else family.pairs_of_strategies
    groups = related_items(run.columns.places for entry in entries for run in entry.runs)
    pairs = compare(scores, groups)
    claimable = {row["name"] for row in rows if row["role"] in RANKED and can_claim(entries, base, row["name"])}
    tests = _test(rows, pairs, claimable, ranking)
    for name, (best, worst) in family.rank_ranges(pairs).items():
        next(row for row in rows if row["name"] == name).update(rank=[best, worst], among_best=best == 1)
    board = Board(title, rows, list(first.tasks), sizes, facts, notes, tests=tests, reading=reading)
    board = replace(board, clusters=None if groups is None else int(groups.max()) + 1)
    return replace(board, reference=base.name if base else "", pairs=[] if single else _by_task(pairs, rows, reading))


def can_claim(entries: Sequence[Entry], reference: Entry | None, name: str) -> bool:
    """Whether a difference of this entry to the reference can be claimed.

    Of checkpoints, if every entry is one run. Else of strategies, only with enough training seeds on either side: a
    strategy with one seed is no fixed reference.
    """
    if all(len(entry.runs) == 1 for entry in entries):
        return True
    trained = [entry for entry in entries if entry.role == "strategy" and (entry.name == name or entry is reference)]
    return all(len(entry.runs) >= intervals.MIN_SEEDS_FOR_CLAIM for entry in trained)


def _test(
    rows: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]], claimable: set[str], ranking: Ranking
) -> int:
    """Set the verdict of every pair and of every difference to the reference; returns the number of tests.

    All are corrected together. A difference between two rows that are also a pair is the same test. With a verdict
    comes the detectable difference (80 % power) at the correction's strictest step, in points.
    """
    of_pairs = {frozenset((pair["a"], pair["b"])): pair for pair in pairs}
    tests, same = [*pairs, *ranking.beside], list[tuple[dict[str, Any], dict[str, Any]]]()
    gaps = {
        row["name"]: [row[key] for key in ("difference", "lenient_difference") if key in row]
        for row in rows
        if row["role"] in RANKED
    }
    for name, of in gaps.items():
        pair = of_pairs.get(frozenset((name, ranking.reference)))
        if name not in claimable:
            for gap in of:
                gap["verdict"] = family.NO_CLAIM
        elif of and pair is not None:
            same.append((of[0], pair))
            tests += of[1:]
        else:
            tests += of
    family.correct(tests)
    for gap, pair in same:
        gap |= {"p_holm": pair["p_holm"], "verdict": family.verdict(gap["value"], pair["p_holm"])}
    for gap in (gap for of in gaps.values() for gap in of):
        gap["found_from"] = family.found_from(gap, len(tests))
    return len(tests)


def _by_task(pairs: Sequence[dict[str, Any]], rows: Sequence[Mapping[str, Any]], reading: str) -> list[dict[str, Any]]:
    """The pairs, with the difference of their scores on each task."""
    tasks = {row["name"]: {task: of[reading]["value"] for task, of in row["tasks"].items()} for row in rows}
    return [
        pair
        | {
            "by_task": {
                task: None if None in (value, tasks[pair["b"]][task]) else value - tasks[pair["b"]][task]
                for task, value in tasks[pair["a"]].items()
            }
        }
        for pair in pairs
    ]


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
        lenient = asdict(_difference(entry, base, "lenient"))
        if reading == "strict" and lenient != row["difference"]:  # equal by likelihoods, or if all replies are in form
            row["lenient_difference"] = lenient
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
    return _estimate(values, ~np.isnan(values).any(axis=0), runs)


def share_in_form(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean over items of the share of their replies, of all runs, that are in form; of replies that ended."""
    values = score_table(runs, IN_FORM)
    ended = ~np.isnan(values).all(axis=0)
    means = np.full((1, len(ended)), np.nan)
    means[0, ended] = np.nanmean(values[:, ended], axis=0)
    return _estimate(means, ended, runs)


def _estimate(values: np.ndarray, keep: np.ndarray, runs: Sequence[Run]) -> dict[str, Any]:
    """The mean of (runs, items) over the items to keep, and its interval."""
    if not keep.any():
        return {"value": None, "low": None, "high": None, "n": 0, "method": "nothing could be graded"}
    found = asdict(intervals.of_score(values[:, keep], _clusters(runs, keep)))
    del found["p"]
    return found


def _clusters(runs: Iterable[Run], keep: np.ndarray) -> np.ndarray | None:
    """The number of the cluster of each item to keep; None if every item is a cluster of its own."""
    numbers = related_items(run.columns.places for run in runs)
    return None if numbers is None else np.unique(numbers[keep], return_inverse=True)[1]


def difference(ours: Sequence[Run], theirs: Sequence[Run], grader: str) -> intervals.Estimate:
    """Score of the one less the other's, on the items all runs have a verdict for. Raises ValueError for none."""
    a, b = score_table(ours, grader), score_table(theirs, grader)
    shared = ~np.isnan(np.concatenate([a, b])).any(axis=0)
    if not shared.any():
        raise ValueError("no item that both have a verdict for")
    a, b, clusters = a[:, shared], b[:, shared], _clusters([*ours, *theirs], shared)
    if len(a) == len(b) == 1:
        return intervals.paired(a[0], b[0], clusters)
    return intervals.across_seeds(a, b, clusters)


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
