"""A board's facts as markdown and CSV. Reads no clock, no file and no record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.board import claims, fact_sentences, family, form
from harness.board.entries import RANKED, Board, board_from_json, other_reading
from harness.rendering import tables
from harness.statistics import intervals
from harness.types import Budget


def csv_text(board: Mapping[str, Any]) -> str:
    """A line a row, for spreadsheets and data frames: shares in [0, 1], differences too, costs as means over seeds."""
    import pandas as pd

    # as objects, so that a column of whole numbers with a gap stays one of whole numbers
    return str(pd.DataFrame(csv_rows(board), dtype=object).to_csv(index=False, lineterminator="\n"))


def csv_rows(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a board with equal columns: what the CSV and `harness.load_board` hold."""
    costs = sorted({key for row in board["rows"] for key in row.get("cost") or {}})
    tasks = list(dict.fromkeys(task for row in board["rows"] for task in row["tasks"]))
    return [_csv_row(row, tasks, costs) for row in board["rows"]]


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
        "settings_tried": None if row["tried"] is None else sum(row["tried"]),
        **_columns_of("strict", row["strict"]),
        **_columns_of("difference", row.get("difference")),
        **_tested("difference", row.get("difference")),
        **_columns_of("lenient_difference", row.get("lenient_difference")),
        **_tested("lenient_difference", row.get("lenient_difference")),
        **_columns_of("lenient", row["lenient"]),
        **_columns_of("in_form", row["in_form"]),
        **row["counts"],
        "tokens_per_reply": row["tokens_per_item"] or None,
    }
    for task in tasks:
        for share in ("strict", "lenient", "in_form"):
            values |= _columns_of(f"{task}_{share}", row["tasks"].get(task, {}).get(share))
    values |= {f"cost_{key}": (row.get("cost") or {}).get(key) for key in costs}
    return values | {"weights": " ".join(run["id"] for run in row["runs"])}


def _columns_of(name: str, estimate: Mapping[str, Any] | None) -> dict[str, Any]:
    of = estimate or {}
    return {name: of.get("value")} | {f"{name}_{key}": of.get(key) for key in ("low", "high", "n")}


def _tested(name: str, gap: Mapping[str, Any] | None) -> dict[str, Any]:
    of = gap or {}
    return {f"{name}_{key}": of.get(key) for key in ("p", "p_holm", "verdict")} | {
        f"{name}_found_from_points": of.get("found_from")
    }


def markdown_of_facts(facts: Mapping[str, Any]) -> str:
    """The board of these facts as markdown."""
    return board_markdown(board_from_json(facts))


def board_markdown(board: Board) -> str:
    """The board as GitHub markdown: what most readers need, everything else folded below it."""
    return joined([*shown_part(board), *folded_part(board)])


def summary_markdown(board: Board) -> str:
    """The board without what is folded and without pictures, for a terminal."""
    return summary_of(shown_part(board))


def joined(lines: Sequence[str]) -> str:
    """Lines as the text of a file."""
    return "\n".join(lines).rstrip() + "\n"


def summary_of(lines: Sequence[str]) -> str:
    """Lines as a terminal shows them: without pictures."""
    return "\n".join(line for line in lines if not line.startswith("![")).rstrip()


def shown_part(board: Board) -> list[str]:
    """The lines of a board that are not folded."""
    lines = [
        f"# {tables.escape_markup(board.title)}",
        "",
        fact_sentences.caption(board.n_items, board.facts, board.clusters),
        "",
        *_form_warnings(board),
        *_tables(board),
        *_legend(board),
        *[f"> {fact_sentences.note_text(note)}" for note in board.notes],
        "",
        *_claims(board),
    ]
    for picture in board.pictures[:_SHOWN]:
        lines += [picture_text(picture), ""]
    return lines if _folds_tasks(board) else [*lines, *_task_table(board), ""]


def folded_part(board: Board) -> list[str]:
    """The lines of a board that are folded."""
    lines = []
    if rest := board.pictures[_SHOWN:]:
        lines += fold("More pictures", [line for picture in rest for line in (picture_text(picture), "")])
    runs = [run for row in board.rows for run in row["runs"]]
    if any(run["cost"] for run in runs):
        lines += fold("Cost of every run", _cost_table(board))
    if any(run["dev"] for run in runs):
        lines += fold("Dev scores along training, and the train reward", _dev_table(board))
    if board.pairs:
        rows = claims.pair_rows(_escaped(board).pairs)
        lines += fold("Every pair of strategies", [*tables.table(claims.TABLE_HEAD, rows), "", claims.TABLE_LEGEND])
    if _folds_tasks(board):
        lines += fold("Every task: n, how replies ended, difficulty", _task_table(board))
    lines += fold("Every run: where its records are", _run_table(board))
    made = [f"- {heading}: {text}" for heading, text in fact_sentences.how_it_was_made(board.facts)]
    return lines + fold("How this was made", made)


def _folds_tasks(board: Board) -> bool:
    """Whether the scores of each task are details; of one model alone they are what the reader asked for."""
    return len(board.rows) > 1 or _trained(board)


_SHOWN = 2  # pictures that are not folded


def picture_text(picture: Mapping[str, str]) -> str:
    """A picture as markdown."""
    return f"![{tables.escape_markup(picture['words'])}]({picture['file']})"


def main_part(board: Board) -> list[str]:
    """The tables, notes and claims of a board: what a collection of boards shows of it."""
    notes = [line for note in board.notes for line in (f"> {fact_sentences.note_text(note)}", "")]
    return [*_form_warnings(board), *_tables(board), *notes, *_claims(board)]


def _form_warnings(board: Board) -> list[str]:
    lines = []
    for warning in form.warnings(board.rows, board.reading):
        point, _, why = warning.partition(". ")
        lines += [f"> **{point}.** {why}", ""]
    return lines


def legend(board: Board) -> list[str]:
    """What the columns of a board mean."""
    return _legend(board)


def _claims(board: Board) -> list[str]:
    return claims.claims_markdown(_escaped(board))


def _budget(board: Board) -> Budget | None:
    return board.facts.training.budget if board.facts.training else None


def _escaped(board: Board) -> Board:
    """The board with names of rows as markdown text."""
    rows = [{**row, "name": tables.escape_markup(row["name"])} for row in board.rows]
    pairs = [{**pair, **{key: tables.escape_markup(pair[key]) for key in "ab"}} for pair in board.pairs]
    return replace(board, rows=rows, pairs=pairs)


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
        return f"{ended[0]['status']}{some}: {tables.escape_markup(ended[0]['why'])}"
    errored = row["counts"]["errored"]
    return f"{tables.count(errored, 'sample')} without verdict" if errored else ""


def _mean(estimate: Mapping[str, Any]) -> str:
    return "–" if estimate["value"] is None else f"{100 * estimate['value']:.1f}"


def _head(board: Board) -> list[str]:
    head = [_kind_of_row(board)]
    head += ["Rank"] if any("rank" in row for row in board.rows) else []
    reads = form.reads_replies(board.rows)
    head += [f"{board.reading.capitalize()} %" if reads else "Score %"]
    head += [f"Δ vs {tables.escape_markup(board.reference)}"] if any("difference" in row for row in board.rows) else []
    head += ["In form %", f"{other_reading(board.reading).capitalize()} (cut off) %"] if reads else []
    head += ["Δ lenient"] if any("lenient_difference" in row for row in board.rows) else []
    head += ["Tokens a reply"] if reads else []
    return head + (["FLOPs (teacher's)", "Seeds (tried)"] if _trained(board) else [])


def _cells(row: Mapping[str, Any], board: Board) -> list[str]:
    """In the order of `_head`."""
    cells = [
        _name(row),
        *([_rank(row)] if any("rank" in r for r in board.rows) else []),
        tables.percent(row[board.reading]),
    ]
    if any("difference" in r for r in board.rows):
        cells.append(difference_text(row.get("difference")))
    if form.reads_replies(board.rows):
        c, tokens = row["counts"], row["tokens_per_item"]
        cut = f"{100 * c['truncated'] / c['n']:.1f}" if tokens else "not recorded"
        cells += [
            _mean(row["in_form"]),
            f"{_mean(row[other_reading(board.reading)])} ({cut})",
            *(
                [difference_text(row.get("lenient_difference"))]
                if any("lenient_difference" in r for r in board.rows)
                else []
            ),
            f"{tokens:.0f}" if tokens else "–",
        ]
    return [*cells, *([_flops(row.get("cost")), _seeds(row)] if _trained(board) else [])]


SIGNS = {family.BETTER: "▲", family.WORSE: "▼", family.ALIKE: "≈"}


def difference_text(gap: Mapping[str, Any] | None) -> str:
    """A difference with its interval in points, and what it shows."""
    if gap is None:
        return "–"
    verdict = gap.get("verdict")
    text = f"{SIGNS[verdict]} " if verdict in SIGNS else ""
    text += tables.percent(gap, "+")
    if verdict == family.ALIKE:
        text += f" ({detectable_text(gap['found_from'])})"
    return f"{text} (no claim: too few seeds)" if verdict == family.NO_CLAIM else text


def detectable_text(points: float | None) -> str:
    """The smallest true difference found four times in five, in brackets behind ≈."""
    few = points is None or points > claims.MOST_DETECTABLE
    return claims.TOO_FEW if few else f"detectable: {points:.1f}"


def _name(row: Mapping[str, Any]) -> str:
    """Bold: among the best. Italic: no strategy."""
    name = tables.escape_markup(row["name"])
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


def _kind_of_row(board: Board) -> str:
    """What a row is, as the head of its column."""
    return "Strategy" if _trained(board) else "Model"


def _flops(cost: Mapping[str, float] | None) -> str:
    if cost is None:
        return "–"
    total = cost["flops_train"] + cost["flops_generate"] + cost["flops_teacher"]
    return f"{total:.2e} ({cost['flops_teacher']:.1e})" if cost["flops_teacher"] else f"{total:.2e}"


def _seeds(row: Mapping[str, Any]) -> str:
    if row["role"] != "strategy":
        return "–"
    return ("single run" if len(row["seeds"]) == 1 else str(len(row["seeds"]))) + _tried(row.get("tried"))


def _tried(tried: Sequence[int] | None) -> str:
    if not tried:
        return ""
    return f" ({tried[0]})" if len(tried) == 1 else f" ({' + '.join(map(str, tried))} of its parts, 0 of its own)"


def _run_table(board: Board) -> list[str]:
    """Where the records of every run are, and their digest: the numbers can be computed from them again."""
    head = ["Run", "Seed", "Weights", "Records (from the run folder)", "Their digest"]
    return tables.table(
        head,
        [
            [
                tables.escape_markup(row["name"]),
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
        "**Strict**: the answer in the form the task asks for. **In form**: replies in that form, right or wrong, "
        "of those that ended. **Lenient**: the answer in any form; the gap to strict is form, not ability. "
        "**Cut off**: reached the token limit (counts as wrong)."
        if form.reads_replies(board.rows)
        else "**Score**: by the task's own metric ("
        + "; ".join(task.grader or f"{name}: not recorded" for name, task in board.facts.tasks.items())
        + "), over the likelihoods of given texts; no reply is read.",
        "",
    ]
    if any("difference" in row for row in board.rows):
        lenient = any("lenient_difference" in row for row in board.rows)
        again = " **Δ lenient**: the same of lenient scores." if lenient else ""
        lines += [
            f"**Δ**: {board.reading} score minus that of the row it names, paired over the same items, in percentage "
            f"points, with the 95 % interval of this difference alone.{again} ▲ better, ▼ worse; ≈ not told apart "
            "(detectable: the smallest true difference that would be found with 80 % power)."
            + ("" if board.pairs or not board.tests else f" {claims.tests_sentence(board)}"),
            "",
        ]
    if any("rank" in row for row in board.rows):
        lines += [
            "**Rank**: the places that the comparison of all pairs leaves possible, with "
            f"{100 - 100 * intervals.LEVEL:g} % confidence for all rows at once. In bold: those that none "
            "is shown to be better than.",
            "",
        ]
    if not _trained(board):
        return lines
    if any(row.get("tried") is not None for row in board.rows):
        lines += [
            "**Tried**: settings that were tried on dev before these were chosen; a sequence takes over those of its "
            "parts.",
            "",
        ]
    seeds = max((len(r["seeds"]) for r in board.rows), default=0)
    if seeds <= 1:
        lines += [
            "**Single run**: one training seed. A difference compares these checkpoints, not the training methods; "
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
    budget = _budget(board)
    head = ["Run", "Seed", "Strict %", "Of the budget %", "Steps", "Tokens trained / processed", "Tokens generated"]
    head += ["Teacher's tokens written / scored", "FLOPs train / generate / teacher", "FLOPs without the teacher's"]
    head += ["Device-seconds train / generate / reward / teacher", "Seconds", "Verifier CPU-seconds", "Prompts"]
    head += ["Rollouts without signal", "Peak memory MB"]
    rows = []
    for row in board.rows:
        for run in row["runs"]:
            c = run["cost"]
            start = [
                f"{tables.escape_markup(row['name'])} `{run['id']}`",
                str(run["seed"] or "–"),
                _mean(run["strict"]),
            ]
            if c is None:
                rows.append([*start, *["–"] * 13])
                continue
            silent = f"{100 * c['zero_advantage'] / c['rollouts']:.0f} %" if c["rollouts"] else "–"
            share = f"{100 * c[budget.unit] / budget.amount:.1f}" if budget else "–"
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
                tables.escape_markup(row["name"]),
                str(run["seed"]),
                *cells,
                f"{int(run['chosen'])} %",
                _mean(run["strict"]),
                *gap,
            ]
        )
    text = (
        "The reward is the mean over the last tenth of the train rollouts, sampled at temperature 1; dev is scored on "
        "items never trained on, greedily. A reward far above dev suggests reward hacking."
    )
    return [*tables.table(head, rows), "", text]


def _task_table(board: Board) -> list[str]:
    """A line a row and task. Where no replies are read there is one score, and nothing to cut off."""
    scores = {"strict": "Strict %", "lenient": "Lenient %", "in_form": "In form %"}
    ends = {"n": "n", "scored": "Scored", "truncated": "Cut off", "errored": "Errors"}
    by_level = f"{board.reading.capitalize()} % by level"
    if not form.reads_replies(board.rows):
        scores, by_level = {"strict": "Score %"}, "Score % by level"
        del ends["truncated"]
    rows = []
    for row in board.rows:
        name = tables.escape_markup(row["name"])
        for task in board.tasks:
            t = row["tasks"][task]
            levels = ", ".join(f"{level or 'all'}: {100 * v:.0f}" for level, v in t["levels"].items())
            shares = [tables.percent(t[key]) for key in scores]
            if "in_form" in scores and t["in_form"]["value"] is None:
                shares[-1] = "–"  # no reply ended
            rows.append([name, task, *shares, *(str(t["counts"][key]) for key in ends), levels])
            if sound := t.get("without_defects"):
                faulty = f"{task} without {sound['n_defects']} items known to be faulty"
                shares = [tables.percent(sound[key]) if key in sound else "–" for key in scores]
                rows.append([name, faulty, *shares, str(sound["n"]), *["–"] * len(ends)])
    return tables.table([_kind_of_row(board), "Task", *scores.values(), *ends.values(), by_level], rows)


def fold(title: str, lines: Sequence[str]) -> list[str]:
    """Lines that GitHub shows when their title is clicked."""
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>", ""]
