"""Entries compared with one reference, task by task: items gained and lost, and whether it is form or ability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise as pairwise_of
from statistics import fmean
from typing import Any

import numpy as np

from harness.board import build, family, render
from harness.board.entries import SCHEMA, Board, Entry, Ranking, Run, board_from_json, runs_of_task
from harness.board.recorded_facts import recorded_facts
from harness.errors import NotComparable, UsageError
from harness.records.columns import IN_FORM, Columns
from harness.rendering import tables
from harness.statistics import k_metrics

KIND = "comparison"


def compare_to_reference(
    title: str, entries: Sequence[Entry], reference: str | None, sources: Sequence[str]
) -> dict[str, Any]:
    """The facts of a comparison of existing runs: a board, and every entry compared with the reference on every task.

    reference: the name of an entry; None: "base" if there is one, else the first. Raises `NotComparable` naming the
    field if runs differ in prompts, items, decoding, graders or engine, and `UsageError` for fewer than two entries.
    """
    names = [entry.name for entry in entries]
    if len(entries) < 2:
        raise UsageError(f"a comparison needs two entries at least, found {', '.join(names) or 'none'}")
    chosen = reference or ("base" if "base" in names else names[0])
    if chosen not in names:
        raise UsageError(f"--reference {chosen!r} is not an entry; there are: {', '.join(names)}")
    facts = recorded_facts(entries, sources)
    base = entries[names.index(chosen)]
    tasks = base.runs[0].columns.tasks
    build.refuse_mixed(entries)
    rows = [row for entry in entries if entry is not base for row in _against(entry, base, tasks)]
    # of one task the difference is the board's own
    beside = [row["strict"] for row in rows if build.can_claim(entries, base, row["name"])] if len(tasks) > 1 else []
    board = build.build_board(title, entries, facts, ranking=Ranking(chosen, beside=beside))
    _finish(rows, board)
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "reference": chosen,
        "board": asdict(board),
        "items": {task: entries[0].runs[0].columns.of_task(task).items for task in board.tasks},
        "sides": [_side(entry, base) for entry in entries],
        "outcomes": OUTCOMES,
        "against": rows,
    }


def _finish(rows: Sequence[dict[str, Any]], board: Board) -> None:
    """Set the verdict of each row that has none yet, and its detectable difference."""
    of_board = {row["name"]: row["difference"] for row in board.rows if "difference" in row}
    for row in rows:
        strict = row["strict"]
        if "verdict" not in strict:
            single = len(board.tasks) == 1
            known = of_board[row["name"]] if single else {"verdict": family.NO_CLAIM}
            strict |= {key: known[key] for key in ("verdict", "p_holm") if key in known}
        strict["found_from"] = family.found_from(strict, board.tests)


def _side(entry: Entry, base: Entry) -> dict[str, Any]:
    """What one row's replies are like, whatever their score: form, samples, reward, and the cost of the score."""
    columns = [run.columns for run in entry.runs]
    strict, lenient = (np.concatenate([c.verdicts[reading] for c in columns]) for reading in ("strict", "lenient"))
    graded = ~np.isnan(strict) & ~np.isnan(lenient)
    counts = build.counts(columns)
    chosen = [run.selection for run in entry.runs if run.selection.chosen]
    rewards = [of.reward - of.dev[of.chosen] for of in chosen if of.reward is not None]
    return {
        "name": entry.name,
        "form_only": float((lenient > strict)[graded].mean()) if graded.any() else None,
        "in_form": build.score(entry.runs, IN_FORM)["value"],
        "truncated": counts["truncated"] / counts["n"],
        **_at_k(columns),
        "reward_less_dev": fmean(rewards) if rewards else None,
        "cost_at_equal_score": _cost_at_equal_score(entry, base),
    }


def _at_k(columns: Sequence[Columns]) -> dict[str, Any]:
    """pass@1 and pass@k of strict verdicts, k the samples an item; both None for one sample."""
    ones, many = [], []
    for of in columns:
        values = of.verdicts["strict"]
        n = np.bincount(of.places.item_of, ~np.isnan(values))
        right = np.bincount(of.places.item_of, values == 1.0)
        k = int(n.min())
        if k < 2:
            return {"k": 1, "pass_at_1": None, "pass_at_k": None}
        pairs = list(zip(n.astype(int).tolist(), right.astype(int).tolist(), strict=True))
        ones.append(fmean(k_metrics.pass_at_k(*pair, 1) for pair in pairs))
        many.append(fmean(k_metrics.pass_at_k(*pair, k) for pair in pairs))
    return {"k": k, "pass_at_1": fmean(ones), "pass_at_k": fmean(many)}


def _cost_at_equal_score(entry: Entry, base: Entry) -> dict[str, float | bool] | None:
    """FLOPs at which the entry's dev score first reaches the reference's last one, and what the reference spent in all.

    By straight lines between the checkpoints that were scored, means over seeds. None if either was not trained, or
    the score is never reached.
    """
    ours, theirs = _dev_curve(entry), _dev_curve(base)
    if not ours or not theirs:
        return None
    target, of = theirs[-1][1], theirs[-1][0]
    for (cost_before, before), (cost, score) in pairwise_of(((0.0, -1.0), *ours)):
        if score >= target:
            first = before < 0  # the score before the first checkpoint is not known: at most so much
            share = 1.0 if first or score == before else (target - before) / (score - before)
            flops = cost_before + share * (cost - cost_before)
            return {"target": target, "flops": flops, "reference_flops": of, "at_most": first}
    return None


def _dev_curve(entry: Entry) -> list[tuple[float, float]]:
    """(FLOPs, dev score) of the checkpoints that were scored, means over seeds."""
    of = [run.selection for run in entry.runs if run.selection.spent]
    names = sorted(set.intersection(*(set(one.spent) for one in of)), key=float) if of else []
    return [(fmean(one.spent[name] for one in of), fmean(one.dev[name] for one in of)) for name in names]


def _against(entry: Entry, base: Entry, tasks: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for task in tasks:
        ours, theirs = (runs_of_task(e.runs, task) for e in (entry, base))
        row: dict[str, Any] = {"name": entry.name, "task": task}
        for reading in ("strict", "lenient"):
            try:
                row[reading] = asdict(build.difference(ours, theirs, reading))
            except ValueError as error:
                raise NotComparable(f"{entry.name!r} and {base.name!r} share on {task} {error}") from None
        if len(ours) == len(theirs) == 1:
            row["outcomes"] = _outcomes(ours[0], theirs[0])
        row["tokens"] = [_mean_tokens(runs) for runs in (ours, theirs)]
        found.append(row)
    return found


OUTCOMES = {"g": "gained", "l": "lost", "r": "both right", "w": "both wrong", "m": "mixed"}


def _outcomes(ours: Run, theirs: Run) -> str:
    """A letter of `OUTCOMES` an item, by how both did, strictly; mixed: shares, or no verdict."""
    a, b = ours.columns.scores("strict"), theirs.columns.scores("strict")
    letters = np.full(len(a), "m")
    for letter, (one, other) in zip("glrw", ((1, 0), (0, 1), (1, 1), (0, 0)), strict=True):
        letters[(a == one) & (b == other)] = letter
    return "".join(letters.tolist())


def _mean_tokens(runs: Sequence[Run]) -> float | None:
    """Tokens a reply; None if they were not recorded."""
    counts = np.concatenate([run.columns.n_tokens for run in runs])
    return float(counts.mean()) if counts.any() else None


def comparison_markdown(facts: Mapping[str, Any]) -> str:
    """The board, then every entry compared with the reference, then what is folded of the board."""
    board = board_from_json(facts["board"])
    return render.joined([*render.shown_part(board), *_against_lines(facts), *render.folded_part(board)])


def comparison_summary(facts: Mapping[str, Any]) -> str:
    """The same without what is folded and without pictures, for a terminal."""
    return render.summary_of([*render.shown_part(board_from_json(facts["board"])), *_against_lines(facts)])


def _against_lines(facts: Mapping[str, Any]) -> list[str]:
    reference = facts["reference"]
    name = tables.escape_markup(reference)
    head = [
        "Entry",
        "Task",
        "n",
        "Strict, points",
        "Gained / lost / both wrong",
        "Lenient, points",
        "Tokens a reply",
    ]
    return [
        f"## Compared with {name}",
        "",
        *tables.table(head, map(_cells, facts["against"])),
        "",
        f"▲ better, ▼ worse, corrected together with all {facts['board']['tests']} tests of this page; ≈ not told "
        "apart (detectable: the smallest true difference in points that would be found with 80 % power). Lenient "
        "differences are not tested here. If strict moves "
        "and lenient does not, replies changed their form, not their answers (lm-eval's files: first and last filter). "
        f"Tokens: the entry's, then {reference}'s. The facts (.json) list every item.",
        "",
        "## Form, samples, reward and cost",
        "",
        *tables.table(_SIDE_HEAD, [_side_cells(side) for side in facts["sides"]]),
        "",
        "**Other form**: right by the lenient reading alone. **In form**: replies in the form asked for. "
        "**Reward less dev**: the mean train reward of the last "
        "tenth less the dev score; far above 0 it suggests reward hacking. **Cost at equal "
        f"score**: FLOPs spent when the dev score first reached {name}'s last one, and what part "
        "of its cost that is; means over seeds, straight lines between the checkpoints that were scored.",
        "",
    ]


_SIDE_HEAD = (
    "Entry",
    "Other form %",
    "In form %",
    "Cut off %",
    "pass@1 %",
    "pass@k %",
    "Reward less dev",
    "Cost at equal score",
)


def _side_cells(side: Mapping[str, Any]) -> list[str]:
    cost = side["cost_at_equal_score"]
    many = "–" if side["pass_at_k"] is None else f"{100 * side['pass_at_k']:.1f} (k = {side['k']})"
    return [
        tables.escape_markup(side["name"]),
        *(_share(side[key]) for key in ("form_only", "in_form", "truncated", "pass_at_1")),
        many,
        "–" if side["reward_less_dev"] is None else f"{100 * side['reward_less_dev']:+.1f}",
        "–" if cost is None else _cost_text(cost),
    ]


def _cost_text(cost: Mapping[str, Any]) -> str:
    most = "at most " if cost["at_most"] else ""
    return f"{most}{cost['flops']:.2e} (x {cost['flops'] / cost['reference_flops']:.2f})"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    outcomes = row.get("outcomes")
    counts = [outcomes.count(letter) for letter in "glw"] if outcomes else []
    return [
        tables.escape_markup(row["name"]),
        row["task"],
        str(row["strict"]["n"]),
        render.difference_text(row["strict"]),
        " / ".join(map(str, counts)) or "–",
        tables.percent(row["lenient"], "+"),
        " / ".join("–" if mean is None else f"{mean:.0f}" for mean in row["tokens"]),
    ]
