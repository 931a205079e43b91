"""A board from records: pure functions. `build` makes the facts (JSON), `markdown` renders them; neither reads a clock.

Every score has its n and interval; every row its cost and seeds; rows that cannot be compared are refused by field.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

import numpy as np

from harness.board import claims
from harness.errors import NotComparable
from harness.records.columns import COMPARED, Columns
from harness.rendering import tables
from harness.statistics import intervals
from harness.types import BudgetUnit, Cost

SCHEMA = 2
RANKED = ("strategy", "model")  # roles of rows that have a place; the others are references
LOOKS = "looks at the test items"  # a fact the caption shows


@dataclass(frozen=True)
class Run:
    """One checkpoint's records as columns. content: the digest of the whole ones, with texts.

    seed None: no training seed (base, teacher, recorded generations). dev: strict share on dev of each checkpoint that
    could be chosen, by the share of the last stage done; spent: FLOPs up to each; chosen: the one that was. reward:
    mean over the last tenth. files: where the whole records lie, seen from the run folder; home: that folder.
    """

    digest: str
    columns: Columns = field(compare=False)
    seed: int | None = None
    cost: Cost | None = None
    status: str = "done"
    why: str = ""
    content: str = ""
    dev: Mapping[str, float] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)
    chosen: str = ""
    reward: float | None = None
    files: tuple[str, ...] = ()
    home: str = field(default="", compare=False)


@dataclass(frozen=True)
class Entry:
    """One row: a strategy with a run for each training seed, or a reference with one run."""

    name: str
    role: str  # "strategy", "base", "teacher", "model"
    runs: tuple[Run, ...]
    tried: int | None = None  # settings that were tried on dev before these were chosen; None: not recorded


@dataclass(frozen=True)
class Board:
    """All facts of a board, JSON-able. reference: the row all others are held against; "": there is none.

    reading: the scores it ranks by: strict, or lenient where replies were made under prompts of another form.
    pictures: title, words for who cannot see it, and file, seen from the file the board is written to.
    """

    title: str
    rows: list[dict[str, Any]]
    tasks: list[str]
    n_items: dict[str, int]
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA
    pairs: list[dict[str, Any]] = field(default_factory=list)  # see `claims.pairs`
    reference: str = ""
    reading: str = "strict"
    pictures: list[dict[str, str]] = field(default_factory=list)


def build(
    title: str,
    entries: Sequence[Entry],
    facts: Mapping[str, Any],
    notes: Sequence[str] = (),
    defects: Mapping[str, Mapping[str, str]] | None = None,
    reference: str = "",
    reading: str = "strict",
) -> Board:
    """The board of these entries, best strict score first. Raises `NotComparable` naming the field that differs.

    defects: for each task, items that are known to be faulty (id -> why); a second score leaves them out. reference:
    the entry all others are held against; "": the base, where there is one. reading: see `Board`.
    """
    refuse_mixed(entries)
    base = next((e for e in entries if e.name == reference or (not reference and e.role == "base")), None)
    first = entries[0].runs[0].columns
    rows = sorted(
        (_row(e, base, first.tasks, defects or {}, reading) for e in entries),
        key=lambda r: -_or(r[reading]["value"], -1.0),
    )
    sizes = {task: len(first.of_task(task).items) for task in first.tasks}
    whole = {e.name: e for e in entries if e.role in RANKED and all(run.status == "done" for run in e.runs)}
    scores = {n: table(whole[n].runs, reading) for row in rows if (n := row["name"]) in whole}
    found = claims.pairs(scores)
    for name, place in _places(found, scores).items():
        next(row for row in rows if row["name"] == name).update(place)
    _add_verdicts(rows)
    name = base.name if base else ""
    return Board(
        title, rows, list(first.tasks), sizes, dict(facts), list(notes), pairs=found, reference=name, reading=reading
    )


def _add_verdicts(rows: Sequence[dict[str, Any]]) -> None:
    """Say of every row held against the reference "better", "worse" or "not told apart", after Holm's correction.

    Beside it the difference that would be found four times in five at the correction's strictest step, in points.
    """
    held = [row for row in rows if row["role"] in RANKED and row.get("difference", {}).get("p") is not None]
    for row, p in zip(held, intervals.holm([row["difference"]["p"] for row in held]), strict=True):
        gap = row["difference"]
        row["verdict"] = "not told apart" if p >= intervals.LEVEL else "better" if gap["value"] > 0 else "worse"
        row["p_holm"] = p
        row["found_from"] = found_from(gap, len(held))


def found_from(gap: Mapping[str, Any], tests: int) -> float | None:
    """Points a true difference must have to be found four times in five, at the strictest of so many tests."""
    # an interval of paired 0/1 scores is about so many standard errors wide
    error = gap.get("error") or (gap["high"] - gap["low"]) / 2 / 1.96
    if gap["n"] < 2 or not error:
        return None
    return 100 * intervals.smallest_found(error, gap.get("df") or gap["n"] - 1, intervals.LEVEL / tests)


def _places(found: Sequence[Mapping[str, Any]], scores: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """For each strategy the ranks that are possible, and whether it is among those none is shown to be better than.

    From the claims where there are enough seeds; for single runs from the items alone: then of these checkpoints.
    """
    if found:
        return {name: {"rank": list(rank), "among_best": rank[0] == 1} for name, rank in claims.ranks(found).items()}
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


def refuse_mixed(entries: Iterable[Entry]) -> None:
    """Raise `NotComparable` unless all runs answered the same prompts for the same items under the same rules."""
    runs = [(entry.name, run.columns.places) for entry in entries for run in entry.runs]
    name, places = runs[0]
    keys = set(zip(places.tasks, places.ids, places.repeats, strict=True))
    for other, mine in runs[1:]:
        if mine.same_as(places):
            continue
        if odd := sorted(keys ^ set(zip(mine.tasks, mine.ids, mine.repeats, strict=True))):
            raise NotComparable(f"{other!r} and {name!r} were not evaluated on the same items: {odd[0]} is in one only")
        for field_name in COMPARED:
            both = zip(mine.compared[field_name], places.compared[field_name], strict=True)
            for place, (ours, theirs) in enumerate(both):
                if ours != theirs:
                    raise NotComparable(
                        f"{other!r} and {name!r} differ in {field_name} at {mine.tasks[place]} {mine.ids[place]}: "
                        f"{ours!r} and {theirs!r}; evaluate both again under the same settings"
                    )


def _row(
    entry: Entry, base: Entry | None, tasks: Sequence[str], defects: Mapping[str, Mapping[str, str]], reading: str
) -> dict[str, Any]:
    columns = [run.columns for run in entry.runs]
    row: dict[str, Any] = {
        "name": entry.name,
        "role": entry.role,
        "seeds": [run.seed for run in entry.runs if run.seed is not None],
        "strict": _score(entry.runs, "strict"),
        "lenient": _score(entry.runs, "lenient"),
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
    only = of_task(runs, task)
    columns = [run.columns for run in only]
    found = {
        "strict": _score(only, "strict"),
        "lenient": _score(only, "lenient"),
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
            "strict": _score(sound, "strict"),
            "lenient": _score(sound, "lenient"),
        }
    return found


def _levels(columns: Sequence[Columns], reading: str) -> dict[str, float]:
    """Share right by difficulty."""
    levels = np.array(columns[0].places.levels, object)
    found = {}
    for level in sorted(set(levels.tolist())):
        values = np.concatenate([c.verdicts[reading][levels == level] for c in columns])
        if len(judged := values[~np.isnan(values)]):
            found[level] = float(judged.mean())
    return found


def of_task(runs: Sequence[Run], task: str) -> list[Run]:
    """The runs with their replies to one task alone."""
    return [replace(run, columns=run.columns.of_task(task)) for run in runs]


def counts(columns: Sequence[Columns]) -> dict[str, int]:
    """How every reply ended. n == scored + truncated + errored; unparsable is a part of scored and truncated."""
    n = sum(map(len, columns))
    errored = sum(int(np.isnan(c.verdicts["strict"]).sum()) for c in columns)
    truncated = sum(int((c.cut & ~np.isnan(c.verdicts["strict"])).sum()) for c in columns)
    return {
        "n": n,
        "scored": n - truncated - errored,
        "truncated": truncated,
        "errored": errored,
        "unparsable": sum(int(c.unread.sum()) for c in columns),
    }


def table(runs: Sequence[Run], grader: str) -> np.ndarray:
    """(runs, items) scores of runs over the same items; NaN where an item could not be judged."""
    return np.array([run.columns.scores(grader) for run in runs])


def _score(runs: Sequence[Run], grader: str) -> dict[str, Any]:
    """Mean with a 95 % interval: Wilson for one run of 0/1 verdicts, over items and seeds otherwise."""
    values = table(runs, grader)
    values = values[:, ~np.isnan(values).any(axis=0)]
    if not values.size:
        return {"value": None, "low": None, "high": None, "n": 0, "method": "nothing could be judged"}
    if len(values) == 1 and np.isin(values, (0.0, 1.0)).all():
        return asdict(intervals.wilson(int(values.sum()), values.size))
    zeros = np.zeros((1, values.shape[1]))
    estimate = intervals.paired(values[0], zeros[0]) if len(values) == 1 else intervals.across_seeds(values, zeros)
    low, high = max(estimate.low, 0.0), min(estimate.high, 1.0)  # a share, not a gap
    return asdict(intervals.Estimate(estimate.value, low, high, estimate.n, estimate.method))


def difference(ours: Sequence[Run], theirs: Sequence[Run], grader: str) -> intervals.Estimate:
    """Score of the one less the other's, on the items all runs have a verdict for. Raises ValueError where none is."""
    a, b = table(ours, grader), table(theirs, grader)
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
        return {reading: _score([one], reading) for reading in ("strict", "lenient")}

    return {
        "id": run.digest.removeprefix("recorded:")[:12],
        "digest": run.digest,
        "seed": run.seed,
        "status": run.status,
        "why": run.why,
        **scores(run),
        "tasks": {task: scores(*of_task([run], task)) for task in tasks},
        "cost": _cost(run.cost) if run.cost else None,
        "records": run.content,
        "files": list(run.files),
        "dev": dict(run.dev),
        "chosen": run.chosen,
        "reward": run.reward,
    }


def _cost(cost: Cost) -> dict[str, Any]:
    """All fields, the totals in every unit, and what they would be had the teacher been free."""
    units: tuple[BudgetUnit, ...] = get_args(BudgetUnit)
    totals = {unit: cost.spent(unit) for unit in units}
    return asdict(cost) | totals | {"without_teacher": {unit: cost.without_teacher(unit) for unit in units}}


# ------------------------------------------------------------------------------------------------ CSV


def csv_text(board: Mapping[str, Any]) -> str:
    """A line a row, for spreadsheets and data frames: shares in [0, 1], differences too, costs as means over seeds."""
    costs = sorted({key for row in board["rows"] for key in row.get("cost") or {}})
    tasks = list(dict.fromkeys(task for row in board["rows"] for task in row["tasks"]))
    lines = [_csv_row(row, tasks, costs) for row in board["rows"]]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _csv_row(row: Mapping[str, Any], tasks: Sequence[str], costs: Sequence[str]) -> dict[str, Any]:
    best, worst = row.get("rank") or (None, None)
    values = {
        "name": row["name"],
        "role": row["role"],
        "best_rank": best,
        "worst_rank": worst,
        "among_best": row.get("among_best"),
        "why_apart": why_apart(row),
        "seeds": len(row["seeds"]),
        "settings_tried": row["tried"],
        **_columns_of("strict", row["strict"]),
        **_columns_of("difference", row.get("difference")),
        "difference_p": (row.get("difference") or {}).get("p"),
        "difference_p_holm": row.get("p_holm"),
        "verdict": row.get("verdict"),
        "found_from_points": row.get("found_from"),
        **_columns_of("lenient", row["lenient"]),
        **row["counts"],
        "tokens_per_reply": row["tokens_per_item"] or None,
    }
    for task in tasks:
        for reading in ("strict", "lenient"):
            values |= _columns_of(f"{task}_{reading}", row["tasks"].get(task, {}).get(reading))
    values |= {f"cost_{key}": (row.get("cost") or {}).get(key) for key in costs}
    return values | {"weights": " ".join(run["id"] for run in row["runs"])}


def _columns_of(name: str, estimate: Mapping[str, Any] | None) -> dict[str, Any]:
    of = estimate or {}
    return {name: of.get("value")} | {f"{name}_{key}": of.get(key) for key in ("low", "high", "n")}


# ------------------------------------------------------------------------------------------------ markdown


def markdown_of(facts: Mapping[str, Any]) -> str:
    """The board of these facts as markdown."""
    return markdown(Board(**facts))


def markdown(board: Board) -> str:
    """The board as GitHub markdown: one table a reader needs, everything else folded under it."""
    lines = [f"# {tables.plain(board.title)}", "", _caption(board), "", *_tables(board)]
    lines += [*_legend(board), *[f"> {note}" for note in board.notes], ""]
    lines += _claims(board)
    for picture in board.pictures[:_SHOWN]:
        lines += [picture_text(picture), ""]
    if rest := board.pictures[_SHOWN:]:
        lines += _fold("More pictures", [line for picture in rest for line in (picture_text(picture), "")])
    runs = [run for row in board.rows for run in row["runs"]]
    if any(run["cost"] for run in runs):
        lines += _fold("Cost of every run", _cost_table(board))
    if any(run["dev"] for run in runs):
        lines += _fold("Dev scores along training, and what the reward said", _dev_table(board))
    if board.pairs:
        lines += _fold("Every pair of strategies", tables.table(claims.TABLE_HEAD, claims.table(_plain_pairs(board))))
    if len(board.rows) > 1 or _trained(board):
        lines += _fold("Every task: n, how replies ended, difficulty", _task_table(board))
    else:  # what a reader came for
        lines += [*_task_table(board), ""]
    lines += _fold("Every run: where its records are", _run_table(board))
    lines += _fold("How this was made", [f"- {key}: {_text(value)}" for key, value in board.facts.items()])
    return "\n".join(lines).rstrip() + "\n"


_SHOWN = 2  # pictures that are not folded


def picture_text(picture: Mapping[str, str]) -> str:
    """A picture as markdown."""
    return f"![{tables.plain(picture['words'])}]({picture['file']})"


def main_part(facts: Mapping[str, Any]) -> list[str]:
    """The tables, notes and claims of a board: what stands of it in a collection of boards."""
    board = Board(**facts)
    notes = [line for note in board.notes for line in (f"> {note}", "")]
    return [*_tables(board), *notes, *_claims(board)]


def legend(facts: Mapping[str, Any]) -> list[str]:
    """What the columns of a board mean."""
    return _legend(Board(**facts))


def _claims(board: Board) -> list[str]:
    rows = [{**row, "name": tables.plain(row["name"])} for row in board.rows]
    return claims.lines(_plain_pairs(board), rows, board.facts)


def _plain_pairs(board: Board) -> list[dict[str, Any]]:
    return [{**pair, "a": tables.plain(pair["a"]), "b": tables.plain(pair["b"])} for pair in board.pairs]


def _tables(board: Board) -> list[str]:
    """The rows that have a place, and apart from them those that have none."""
    whole = [row for row in board.rows if not why_apart(row)]
    apart = [row for row in board.rows if why_apart(row)]
    lines = [*tables.table(_head(board), [_cells(row, board) for row in whole]), ""] if whole else []
    if apart:
        rows = [[_name(row), why_apart(row), *_cells(row, board)[1:]] for row in apart]
        head = [_head(board)[0], "Why", *_head(board)[1:]]
        lines += ["**Collapsed or incomplete**, so without a place:", "", *tables.table(head, rows), ""]
    return lines


def why_apart(row: Mapping[str, Any]) -> str:
    """Why a row has no place among the others; "": it has one."""
    if row["role"] not in RANKED:
        return ""
    ended = [run for run in row["runs"] if run["status"] != "done"]
    if ended:
        some = f" (seed {ended[0]['seed']})" if len(row["runs"]) > 1 else ""
        return f"{ended[0]['status']}{some}: {tables.plain(ended[0]['why'])}"
    errored = row["counts"]["errored"]
    return f"{tables.count(errored, 'sample')} without verdict" if errored else ""


def _mean(estimate: Mapping[str, Any]) -> str:
    return "–" if estimate["value"] is None else f"{100 * estimate['value']:.1f}"


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _caption(board: Board) -> str:
    sizes = ", ".join(f"{task} {n}" for task, n in board.n_items.items())
    text = f"n = {sum(board.n_items.values())} held-out items ({sizes}). Intervals are 95 %."
    if settings := board.facts.get("settings"):
        text += f" Settings: {settings}."
    if looks := board.facts.get(LOOKS):
        text += f" Looks at these items so far: {_text(looks)}."
    if dropped := board.facts.get("train items dropped for holding a held-out question"):
        text += f" Train items dropped for holding a held-out question: {dropped}."
    return text


def _head(board: Board) -> list[str]:
    head = ["Strategy" if _trained(board) else "Model"]
    head += ["Rank"] if any("rank" in row for row in board.rows) else []
    head += [f"{board.reading.capitalize()} %"]
    head += [f"Δ vs {tables.plain(board.reference)}"] if any("difference" in row for row in board.rows) else []
    head += [f"{_other(board.reading).capitalize()} (cut off, unread) %", "Tokens a reply"]
    return head + (["FLOPs (teacher's)", "Seeds (tried)"] if _trained(board) else [])


def _other(reading: str) -> str:
    return "lenient" if reading == "strict" else "strict"


def _cells(row: Mapping[str, Any], board: Board) -> list[str]:
    """In the order of `_head`."""
    cells = [
        _name(row),
        *([_rank(row)] if any("rank" in r for r in board.rows) else []),
        tables.percent(row[board.reading]),
    ]
    if any("difference" in r for r in board.rows):
        cells.append(_difference_text(row))
    c = row["counts"]
    cut, unread = (100 * c[kind] / c["n"] for kind in ("truncated", "unparsable"))
    ends = f"{cut:.1f}, {unread:.1f}" if row["tokens_per_item"] else "not recorded"
    cells += [
        f"{_mean(row[_other(board.reading)])} ({ends})",
        f"{row['tokens_per_item']:.0f}" if row["tokens_per_item"] else "–",
    ]
    return [*cells, *([_flops(row.get("cost")), _seeds(row)] if _trained(board) else [])]


SIGNS = {"better": "▲", "worse": "▼", "not told apart": "≈"}


def _difference_text(row: Mapping[str, Any]) -> str:
    if "difference" not in row:
        return "–"
    text = f"{SIGNS[row['verdict']]} " if "verdict" in row else ""
    text += tables.percent(row["difference"], "+")
    if row.get("verdict") == "not told apart" and row["found_from"] is not None:
        text += f", seen from {row['found_from']:.1f}"
    return text


def _name(row: Mapping[str, Any]) -> str:
    """Bold: among the best. Italic: no strategy."""
    name = tables.plain(row["name"])
    if row["role"] not in RANKED:
        return f"*{name}*"
    return f"**{name}**" if row.get("among_best") else name


def _rank(row: Mapping[str, Any]) -> str:
    if "rank" not in row:
        return "–"
    best, worst = row["rank"]
    return str(best) if best == worst else f"{best} to {worst}"


def _trained(board: Board) -> bool:
    """Whether the board compares strategies (a board of `harness eval` shows one model)."""
    return any(row["role"] == "strategy" for row in board.rows)


def _flops(cost: Mapping[str, float] | None) -> str:
    if cost is None:
        return "–"
    total = cost["flops_train"] + cost["flops_generate"] + cost["flops_teacher"]
    return f"{total:.2e} ({cost['flops_teacher']:.1e})" if cost["flops_teacher"] else f"{total:.2e}"


def _seeds(row: Mapping[str, Any]) -> str:
    if row["role"] != "strategy":
        return "–"
    tried = "" if row.get("tried") is None else f" ({row['tried']})"
    return ("single run" if len(row["seeds"]) == 1 else str(len(row["seeds"]))) + tried


def _run_table(board: Board) -> list[str]:
    """Where the records of every run are, and their digest: what the numbers can be made from again."""
    head = ["Run", "Seed", "Weights", "Records (from the run folder)", "Their digest"]
    return tables.table(
        head,
        [
            [
                tables.plain(row["name"]),
                str(run["seed"] or "–"),
                f"`{run['id']}`",
                ", ".join(map(tables.code, run["files"])) or "unrecorded",
                f"`{run['records'][:12]}`" if run["records"] else "unrecorded",
            ]
            for row in board.rows
            for run in row["runs"]
        ],
    )


def _legend(board: Board) -> list[str]:
    lines = [
        "**Strict**: the answer in the format the task asks for. **Lenient**: the answer anywhere in the reply; the "
        "gap between the two is format, not ability. **Cut off**: reached the token limit (counts as wrong). "
        "**Unread**: no answer found.",
        "",
    ]
    if any("difference" in row for row in board.rows):
        lines += [
            f"**Δ**: {board.reading} score less that of the row it names, paired over the same items, in points. "
            f"▲ better, ▼ worse, at {100 * intervals.LEVEL:g} % after Holm's correction over the rows; ≈ not told "
            "apart: a true difference below what it is seen from would be missed more than one time in five.",
            "",
        ]
    if any("rank" in row for row in board.rows):
        lines += [
            "**Rank**: the places that the comparison of all pairs leaves possible. In bold: those that none is shown "
            "to be better than.",
            "",
        ]
    if not _trained(board):
        return lines
    if any(row.get("tried") is not None for row in board.rows):
        lines += ["**Tried**: settings that were tried on dev before these were chosen.", ""]
    seeds = max((len(r["seeds"]) for r in board.rows), default=0)
    if seeds <= 1:
        lines += [
            "**Single run**: one training seed. A difference speaks of this checkpoint, not of the strategy; "
            f"claims about a strategy need at least {intervals.MIN_SEEDS_FOR_CLAIM} seeds (`--seeds 1,2,3,4`).",
            "",
        ]
    elif seeds < intervals.MIN_SEEDS_FOR_CLAIM:
        lines += [
            f"{seeds} training seeds: the intervals hold seeds and items, and are wide for it; claims need at least "
            f"{intervals.MIN_SEEDS_FOR_CLAIM}.",
            "",
        ]
    return lines


def _cost_table(board: Board) -> list[str]:
    budget = board.facts.get("budget")
    head = ["Run", "Seed", "Strict %", "Of the budget %", "Steps", "Tokens trained / processed", "Tokens generated"]
    head += ["Teacher's tokens written / scored", "FLOPs train / generate / teacher", "FLOPs without the teacher's"]
    head += ["Device-seconds train / generate / reward / teacher", "Seconds", "Verifier CPU-seconds", "Prompts"]
    head += ["Rollouts without signal", "Peak memory MB"]
    rows = []
    for row in board.rows:
        for run in row["runs"]:
            c = run["cost"]
            start = [
                f"{tables.plain(row['name'])} `{run['id']}`",
                str(run["seed"] or "–"),
                _mean(run["strict"]),
            ]
            if c is None:
                rows.append([*start, *["–"] * 13])
                continue
            silent = f"{100 * c['zero_advantage'] / c['rollouts']:.0f} %" if c["rollouts"] else "–"
            share = f"{100 * c[budget['unit']] / budget['amount']:.1f}" if budget else "–"
            seconds = (c["train_s"], c["generate_s"], c["reward_s"], c["score_s"] + c["teacher_s"])
            rows.append(
                [
                    *start,
                    share,
                    f"{c['steps']:,}",
                    f"{c['trained_tokens']:,} / {c['tokens']:,.0f}",
                    f"{c['generated_tokens']:,}",
                    f"{c['teacher_tokens']:,} / {c['scored_tokens']:,}",
                    f"{c['flops_train']:.1e} / {c['flops_generate']:.1e} / {c['flops_teacher']:.1e}",
                    f"{c['without_teacher']['flops']:.2e}",
                    " / ".join(f"{s:.0f}" for s in seconds),
                    f"{c['wall_s']:.0f}",
                    f"{c['verifier_cpu_s']:.0f}",
                    f"{c['unique_prompts']:,}",
                    silent,
                    f"{(c['peak_device_bytes'] or c['peak_rss_bytes']) / 1e6:.0f}",
                ]
            )
    return tables.table(head, rows)


def _dev_table(board: Board) -> list[str]:
    """Dev scores of the checkpoints that could be chosen; and for RL the reward, which a policy may learn to please."""
    runs = [(row, run) for row in board.rows for run in row["runs"] if run["dev"]]
    names = sorted({name for _, run in runs for name in run["dev"]})
    head = ["Run", "Seed", *[f"Dev strict % at {int(name)} %" for name in names], "Chosen at", "Test strict %"]
    head += ["Last train reward %", "Reward less dev"]
    rows = []
    for row, run in runs:
        dev, reward = run["dev"], run["reward"]
        cells = [f"{100 * dev[name]:.1f}" if name in dev else "–" for name in names]
        gap = ["–", "–"] if reward is None else [f"{100 * reward:.1f}", f"{100 * (reward - dev[run['chosen']]):+.1f}"]
        rows.append(
            [
                tables.plain(row["name"]),
                str(run["seed"]),
                *cells,
                f"{int(run['chosen'])} %",
                _mean(run["strict"]),
                *gap,
            ]
        )
    text = (
        "The reward is the mean over the last tenth of the train rollouts, sampled at temperature 1; dev is judged on "
        "items never trained on, greedily. A reward far above dev is a policy that pleases the reward and not the task."
    )
    return [*tables.table(head, rows), "", text]


def _task_table(board: Board) -> list[str]:
    head = [
        "Strategy",
        "Task",
        "Strict %",
        "Lenient %",
        "n",
        "Scored",
        "Cut off",
        "Errors",
        "Unread",
        f"{board.reading.capitalize()} % by level",
    ]
    rows = []
    for row in board.rows:
        for task in board.tasks:
            t = row["tasks"][task]
            c = t["counts"]
            levels = ", ".join(f"{level or 'all'}: {100 * v:.0f}" for level, v in t["levels"].items())
            ends = [str(c[k]) for k in ("n", "scored", "truncated", "errored", "unparsable")]
            rows.append(
                [
                    tables.plain(row["name"]),
                    task,
                    tables.percent(t["strict"]),
                    tables.percent(t["lenient"]),
                    *ends,
                    levels,
                ]
            )
            if "without_defects" in t:
                sound = t["without_defects"]
                name = f"{task} without {sound['n_defects']} items known to be faulty"
                rest = [str(sound["n"]), *["–"] * 5]
                rows.append(
                    [
                        tables.plain(row["name"]),
                        name,
                        tables.percent(sound["strict"]),
                        tables.percent(sound["lenient"]),
                        *rest,
                    ]
                )
    return tables.table(head, rows)


def _fold(title: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>", ""]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
