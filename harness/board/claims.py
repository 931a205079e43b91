"""What a board's numbers allow to claim about strategies, and what not. Pure functions: scores in, sentences out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from harness.board import family
from harness.board.entries import Board
from harness.rendering import tables
from harness.statistics import intervals
from harness.types import Budget


class _Verdicts:
    """The pairs, from either side."""

    def __init__(self, found: Sequence[Mapping[str, Any]]) -> None:
        self._gaps: dict[tuple[str, str], tuple[float, bool]] = {}
        for pair in found:
            claimed = pair["verdict"] != family.ALIKE
            self._gaps[pair["a"], pair["b"]] = (pair["value"], claimed)
            self._gaps[pair["b"], pair["a"]] = (-pair["value"], claimed)

    def __contains__(self, names: tuple[str, str]) -> bool:
        return names in self._gaps

    def points(self, name: str, other: str) -> str:
        return f"{100 * self._gaps[name, other][0]:+.1f}"

    def word(self, name: str, other: str) -> str:
        """ "better", "worse" or "not told apart"."""
        value, claimed = self._gaps[name, other]
        return family.ALIKE if not claimed else family.BETTER if value > 0 else family.WORSE


def claims_markdown(board: Board) -> list[str]:
    """Markdown: what can be claimed about strategies, and what not; empty if no strategy has enough seeds.

    Names of rows and pairs are written as they are: escape them before.
    """
    found, rows = board.pairs, board.rows
    if not found:
        return []
    verdicts = _Verdicts(found)
    compared = {name for pair in found for name in (pair["a"], pair["b"])}
    names = [row["name"] for row in rows if row["name"] in compared]
    text = ["## What can be claimed", "", _population(board, len(names)), ""]
    rows_of = []
    for name in names:
        others = [other for other in names if (name, other) in verdicts]
        cells = [
            ", ".join(f"{o} ({verdicts.points(name, o)})" for o in others if verdicts.word(name, o) == word) or "–"
            for word in (family.BETTER, family.ALIKE, family.WORSE)
        ]
        rows_of.append([f"**{name}**", *cells])
    text += tables.table(("Strategy", "Better than", "Not told apart from", "Worse than"), rows_of)
    budget = board.facts.training.budget if board.facts.training else None
    sentences = [*_best(names, verdicts, budget), *_hybrids(names, verdicts), *_base(board, names)]
    sentences += [*_left_out(names, rows), *_unseen(found, board.tests), *_drawn(found)]
    return [*text, "", *(f"- {line}" for line in sentences), ""]


def _population(board: Board, strategies: int) -> str:
    """What was compared on what, and the family of tests that a claim belongs to."""
    n = sum(board.n_items.values())
    shares = ", ".join(f"{100 * of / n:.0f} % {task}" for task, of in board.n_items.items())
    parts = f" ({shares})" if len(board.n_items) > 1 else ""
    return (
        f"Every pair of these {strategies} strategies: {board.reading} scores of the same {n:,} items{parts}, items "
        f"and training seeds both random (crossed random effects). {tests_sentence(board)} Points in brackets; "
        "intervals, p and the difference on each task are folded below."
    )


def tests_sentence(board: Board) -> str:
    """The family of tests of a board, and its level."""
    level = f"{100 * intervals.LEVEL:g} %"
    return (
        f"▲, ▼ and ranks hold at {level} after Holm's correction over all {tables.count(board.tests, 'test')} of this "
        f"board ({_kinds_of_tests(board)}): at most {level} of such boards show a difference that is not there."
    )


def _kinds_of_tests(board: Board) -> str:
    ranked = sum("rank" in row for row in board.rows)
    pairs = ranked * (ranked - 1) // 2
    kinds = [tables.count(pairs, "pair")] if pairs else []
    if rest := board.tests - pairs:
        to = tables.escape_markup(board.reference)
        kinds.append(f"{rest} more of differences to {to}, by reading or task" if pairs else f"differences to {to}")
    return " and ".join(kinds)


def pair_rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row a pair, in the order of `TABLE_HEAD`."""
    return [
        [
            f"{pair['a']} less {pair['b']}",
            str(pair["n"]),
            tables.percent(pair, "+"),
            " / ".join("–" if gap is None else f"{100 * gap:+.1f}" for gap in pair["by_task"].values()),
            f"{100 * pair['error']:.1f}",
            f"{pair['df']:.1f}",
            f"{pair['p']:.2g}",
            f"{pair['p_holm']:.2g}",
            "–" if pair["verdict"] == family.ALIKE else f"{family.holds_up_to(pair):.1f}",
        ]
        for pair in found
    ]


TABLE_HEAD = (
    *("Pair", "n", "Points (95 %, alone)", "By task", "Standard error", "df", "p", "p, Holm"),
    "Holds if draws differ by",
)
TABLE_LEGEND = (
    "**Points**: with the interval of this pair alone. **By task**: the difference on each task, in their order, not "
    "tested. **Holds if draws differ by**: a claim holds as long as another draw of what all seeds share (the "
    "teacher's traces, the settings that were chosen) would move each strategy by up to so many points (standard "
    "deviation)."
)


def _best(names: Sequence[str], verdicts: _Verdicts, budget: Budget | None) -> Iterator[str]:
    at = f" at {budget.amount:.3g} {budget.unit} each" if budget else ""
    pairs_of = {name: [other for other in names if (name, other) in verdicts] for name in names}
    unbeaten = [name for name in names if not any(verdicts.word(name, o) == family.WORSE for o in pairs_of[name])]
    if len(unbeaten) == 1 and all(verdicts.word(unbeaten[0], o) == family.BETTER for o in pairs_of[unbeaten[0]]):
        n = len(pairs_of[unbeaten[0]])
        yield f"**Best{at}:** {unbeaten[0]}, better than {f'each of the {n} others' if n > 1 else 'the other'}."
    elif len(unbeaten) == len(names):
        yield f"**Best{at}:** not settled; no strategy is shown to be better than another."
    else:
        rest = "each other is" if len(names) - len(unbeaten) > 1 else "the other is"
        who = ", ".join(unbeaten) if len(unbeaten) > 1 else f"{unbeaten[0]} and others"
        yield f"**Best{at}:** not settled between {who}; {rest} worse than at least one of them."


def _hybrids(names: Sequence[str], verdicts: _Verdicts) -> Iterator[str]:
    for name in names:
        parts = dict.fromkeys(part.partition(":")[0].strip() for part in re.split(r"[+&]", name))
        if len(parts) > 1 and any((name, part) in verdicts for part in parts):
            gains = [
                f"{verdicts.points(name, part)} points on {part} ({verdicts.word(name, part)})"
                if (name, part) in verdicts
                else f"nothing on {part}, which is not among these"
                for part in parts
            ]
            yield f"**{name} compared with its parts:** {'; '.join(gains)}."


def _base(board: Board, names: Sequence[str]) -> Iterator[str]:
    base = next((row for row in board.rows if row["role"] == "base"), None)
    ours = [row for row in board.rows if row["name"] in names and "verdict" in (row.get("difference") or {})]
    if base is None or not ours:
        return
    text = f"**Compared with the base**, {board.reading}: {_by_verdict(ours, 'difference')}."
    lenient = [row for row in ours if "lenient_difference" in row]
    if lenient:
        text += f" Lenient: {_by_verdict(lenient, 'lenient_difference')}."
    yield text
    in_form, any_form = base["strict"]["value"], base["lenient"]["value"]
    if in_form is not None and any_form is not None and any_form - in_form >= 0.01:
        yield (
            f"**Format:** the base itself has {100 * any_form:.1f} by the lenient reading and {100 * in_form:.1f} by "
            f"the strict one, so {100 * (any_form - in_form):.1f} points can be gained by answering in the form asked "
            "for."
        )


def _by_verdict(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    """The names of the rows by the verdict of this difference, with its points."""
    found: dict[str, list[str]] = {family.BETTER: [], family.WORSE: [], family.ALIKE: []}
    for row in rows:
        found[row[key]["verdict"]].append(f"{row['name']} ({100 * row[key]['value']:+.1f})")
    return "; ".join(f"{word}: {', '.join(who)}" for word, who in found.items() if who)


def _left_out(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Who is not among the pairs, and why: to drop in silence what collapsed would favour what happened not to."""
    why = []
    for row in rows:
        if row["role"] == "strategy" and row["name"] not in names:
            ended = [run["status"] for run in row["runs"] if run["status"] != "done"]
            few = f"{len(row['runs'])} seed{'s' * (len(row['runs']) > 1)}"
            reason = f"{len(ended)} of {len(row['runs'])} runs {ended[0]}" if ended else few
            why.append(f"{row['name']} ({reason})")
    if why:
        yield f"**No claim about:** {', '.join(why)}."


def _unseen(found: Sequence[Mapping[str, Any]], tests: int) -> Iterator[str]:
    alone, strictest = (
        detectable_text(100 * median(intervals.smallest_found(pair["error"], pair["df"], level) for pair in found))
        for level in (intervals.LEVEL, intervals.LEVEL / tests)
    )
    yield (
        f"**Detectable difference** (80 % power, median over the pairs): {alone} for a pair tested alone, {strictest} "
        "at the strictest step of Holm's correction. Not told apart is not equal."
    )


def detectable_text(points: float | None) -> str:
    """The smallest true difference found four times in five, as text."""
    return TOO_FEW if points is None or points > MOST_DETECTABLE else f"{points:.1f} points"


MOST_DETECTABLE = 30  # points; a comparison that finds nothing smaller measures nothing
TOO_FEW = "not measurable with so few items or seeds"


def _drawn(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What all seeds of a strategy share, and so is in no interval."""
    false = 100 * median(family.false_claims_if_drawn(pair, 1.0) for pair in found)
    claims = [pair for pair in found if pair["verdict"] != family.ALIKE]
    lost = [pair for pair in claims if family.holds_up_to(pair) < 1]
    names = ", ".join(f"{p['a']} and {p['b']}" for p in lost)
    which = f": that of {names}" if len(lost) == 1 else f": those of {names}" if lost else ""
    of = (
        f" and {len(lost)} of the {tables.count(len(claims), 'claim')} about pairs would be lost{which}"
        if claims
        else ""
    )
    yield (
        "**Drawn once for all seeds**, and so in no interval: the teacher's traces, and the settings chosen on dev. If "
        "another draw of them moved each strategy by 1 point (standard deviation), a pair of equal strategies tested "
        f"alone at {100 * intervals.LEVEL:g} % would be claimed to differ in {false:.0f} % of cases{of}."
    )
    yield (
        "**Limits of these results:** they do not extend to another base model, another budget, other tasks, or "
        "settings that were not tried."
    )
