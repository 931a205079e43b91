"""Pictures of a board: what the SVG shows and where, that it is the same every time, what is refused."""

import itertools
import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from factories import ROOT, outputs_under_two_hash_seeds

from harness.rendering import forest_plot, layout, pareto_plot, wins_plot
from harness.rendering.board_plots import alt_text, dots, rank_plot
from harness.rendering.forest_plot import board_forest, forest_of
from harness.rendering.pareto_plot import pareto
from harness.rendering.wins_plot import wins

SVG = "{http://www.w3.org/2000/svg}"
ODD = ["kd&rl", "<b>|x", "$a_b$", "_first", 'say "it"', "a_{b}^2", "日本"]


def share(value, half=0.02, n=1000):
    if value is None:
        return {"value": None, "low": None, "high": None, "n": 0, "method": "nothing could be judged"}
    return {"value": value, "low": max(value - half, 0), "high": min(value + half, 1), "n": n, "method": "made up"}


def row(name, value, flops=None, role="strategy", tasks=("math", "code"), **more):
    """A row of a board. flops: a third each of the student's training, its sampling, the teacher's work."""
    cost = (
        {} if flops is None else {"cost": dict.fromkeys(("flops_train", "flops_generate", "flops_teacher"), flops / 3)}
    )
    return {
        "name": name,
        "role": role,
        "seeds": [1, 2, 3, 4] if role == "strategy" else [],
        "strict": share(value),
        "lenient": share(value),
        "tasks": {task: {"strict": share(value), "lenient": share(value)} for task in tasks},
        "tokens_per_item": 0.0,
        "runs": [{"status": "done"}],
        **cost,
        **more,
    }


def board(*rows, tasks=("math", "code"), **more):
    return {"title": "Made up", "rows": list(rows), "tasks": list(tasks), "n_items": dict.fromkeys(tasks, 500), **more}


def small():
    """Three strategies, a teacher, a base; differences and ranks as a comparison would give them."""
    return board(
        row("teacher", 0.9, role="teacher", difference=share(0.5)),
        row("kd", 0.7, 4e15, difference=share(0.3) | {"verdict": "better"}, rank=[1, 2], among_best=True),
        row("sft", 0.6, 1e15, difference=share(0.2), rank=[1, 2], among_best=True),
        row("rl", 0.5, 2e15, difference=share(0.1), rank=[3, 3], among_best=False),
        row("base", 0.4, role="base"),
    )


def many(n=50, tasks=10):
    names = [f"task_{k}" for k in range(tasks)]
    rows = [row(f"strategy {i}", 0.9 - i / 100, 10 ** (15 + i * 7 % 4), tasks=names) for i in range(n)]
    ranked = [r | {"rank": [max(1, i - 5), min(n, i + 5)], "among_best": i < 5} for i, r in enumerate(rows)]
    return board(*(r | {"difference": share(0.4 - i / 100)} for i, r in enumerate(ranked)), tasks=names)


VERDICTS = {
    "base": [1, 0, 1, 0, None, 0.5, 1, 0],
    "kd": [1, 1, 0, 0, 1, 1, 1, 0],
    "rl": [0, 1, 1, 0, 1, 0, 1, 1],
}


def root(svg):
    return ElementTree.fromstring(svg)


def texts(svg):
    return [element.text for element in root(svg).iter(f"{SVG}text") if element.text]


def ids(svg, start):
    return [e.get("id") for e in root(svg).iter() if e.get("id", "").startswith(start)]


def group(svg, name):
    return next(e for e in root(svg).iter(f"{SVG}g") if e.get("id") == name)


def marks(svg, name):
    """Places of the markers of a group; y grows downwards."""
    return [(float(e.get("x")), float(e.get("y"))) for e in group(svg, name).iter(f"{SVG}use")]


def corners(svg, name):
    path = next(group(svg, name).iter(f"{SVG}path")).get("d")
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]


def shape(svg, name):
    """What the marker of a group looks like."""
    return next(next(group(svg, name).iter(f"{SVG}defs")).iter(f"{SVG}path")).get("d")


def place(svg, text):
    """Where a text begins (or, anchored at its end, ends)."""
    found = next(e for e in root(svg).iter(f"{SVG}text") if e.text == text)
    return float(found.get("x")), float(found.get("y"))


def note(svg):
    return " ".join(texts(svg))


# ------------------------------------------------------------------------------------------------ score against cost


def test_points_lie_further_right_for_more_flops_and_higher_for_a_better_score():
    svg = pareto(small())
    (kd,), (sft,), (rl,) = (marks(svg, f"point-{i}") for i in range(3))
    assert sft[0] < rl[0] < kd[0]
    assert kd[1] < sft[1] < rl[1]
    assert rl[0] - sft[0] == pytest.approx(kd[0] - rl[0])  # 1e15, 2e15, 4e15 on a logarithmic axis


def test_an_interval_goes_through_its_point_from_low_to_high():
    svg = pareto(small())
    (x, y), ((x0, low), (x1, high)) = marks(svg, "point-0")[0], corners(svg, "interval-0")
    assert x0 == x1 == pytest.approx(x)
    assert low > y > high
    assert low - y == pytest.approx(y - high, abs=1e-4)


def test_cost_is_the_sum_of_training_sampling_and_teacher():
    unequal = {"flops_train": 1e15, "flops_generate": 1e15, "flops_teacher": 4e15}
    svg = pareto(board(row("a", 0.5, cost=unequal), row("b", 0.6, 6e15), row("c", 0.4, 60e15)))
    assert abs(marks(svg, "point-0")[0][0] - marks(svg, "point-1")[0][0]) < 12  # side by side
    assert marks(svg, "point-2")[0][0] - marks(svg, "point-0")[0][0] > 100


def test_the_front_goes_through_the_filled_points_alone():
    svg = pareto(small())
    on_front = set(marks(svg, "point-0") + marks(svg, "point-1"))
    assert on_front <= set(corners(svg, "front"))
    assert marks(svg, "point-2")[0] not in corners(svg, "front")
    fill = {i: "fill: #ffffff" in ElementTree.tostring(group(svg, f"point-{i}"), encoding="unicode") for i in range(3)}
    assert fill == {0: False, 1: False, 2: True}


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([(1, 0.5), (2, 0.4), (3, 0.6)], [True, False, True]),
        ([(1.0, 0.5), (1.04, 0.6)], [False, True]),  # equal budgets, spent to the step
        ([(1.0, 0.5), (1.06, 0.6)], [True, True]),
        ([(1.0, 0.5), (1.04, 0.5)], [True, True]),
        ([(1.0, 0.5), (2.0, 0.5)], [True, False]),
        ([(0.0, 0.5), (2.0, 0.5)], [True, False]),
    ],
)
def test_on_the_front_is_whom_no_other_beats_at_a_cost_that_is_no_higher(points, best):
    assert pareto_plot.front(points) == best


def test_base_and_teacher_are_lines_across_at_their_scores():
    svg = pareto(small())
    assert ids(svg, "reference-") == ["reference-teacher", "reference-base"]
    (left, high), (right, _) = corners(svg, "reference-teacher")
    low = corners(svg, "reference-base")[0][1]
    assert right - left > 300
    assert high < marks(svg, "point-0")[0][1] < marks(svg, "point-2")[0][1] < low
    assert {"teacher: 90.0 (88.0 to 92.0)", "base: 40.0 (38.0 to 42.0)"} <= set(texts(svg))


def test_points_with_room_have_their_names_beside_them():
    svg = pareto(small())
    for i, name in enumerate(("kd 70.0", "sft 60.0", "rl 50.0")):
        (x, y), (at, base_line) = marks(svg, f"point-{i}")[0], place(svg, name)
        assert abs(base_line - y) < 25
        assert abs(at - x) < 80


def test_names_of_points_without_room_stand_apart_in_a_column_in_the_order_of_score():
    rows = [row(f"s{i}", 0.5 + i / 1000, 1e15 * (1 + i / 1000)) for i in range(30)]
    svg = pareto(board(*rows))
    column = [place(svg, f"s{i}: {50 + i / 10:.1f} ({48 + i / 10:.1f} to {52 + i / 10:.1f})") for i in range(30)]
    assert len({x for x, _ in column}) == 1
    assert all(above[1] <= below[1] - 9 for below, above in itertools.pairwise(column))
    assert len({marks(svg, f"point-{i}")[0][0] for i in range(30)}) == 30
    x = [marks(svg, f"point-{i}")[0][0] for i in range(30)]
    assert x == sorted(x)
    assert x[-1] - x[0] < 120  # moved apart, but still one cost


def test_without_any_training_cost_tokens_per_reply_are_the_axis():
    svg = pareto(board(*(row(f"m{t}", 0.5, role="model", tokens_per_item=t) for t in (100, 200, 400))))
    x = [marks(svg, f"point-{i}")[0][0] for i in range(3)]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1])
    assert "Strict score against tokens per reply" in texts(svg)


def test_a_row_without_score_or_cost_is_named_under_the_picture():
    svg = pareto(board(row("a", 0.5, 1e15), row("unpaid", 0.6), row("unjudged", None, 1e15)))
    assert ids(svg, "point-") == ["point-0"]
    assert "Not drawn, for want of a score or a cost: unpaid, unjudged." in note(svg)


def test_nothing_spent_has_a_place_left_of_the_logarithmic_axis():
    svg = pareto(board(row("none", 0.4, 0.0), row("a", 0.5, 1e15), row("b", 0.6, 1e17)))
    left = min(x for x, _ in corners(svg, "panel-pareto"))
    none, cheap, dear = (marks(svg, f"point-{i}")[0][0] - left for i in range(3))
    assert none < 30 < 60 < cheap < dear
    assert "0" in texts(svg)


def test_a_single_seed_is_called_a_single_run():
    assert "Single run: one training seed each." in note(pareto(board(row("a", 0.5, 1e15, seeds=[1]))))
    assert "4 training seeds each." in note(pareto(small()))


@pytest.mark.parametrize(
    ("wanted", "gap"), [([0, 0, 0], 2.0), ([1, 5, 5.5, 6, 20], 3.0), ([9, 10, 10], 4.0), ([5] * 40, 3.0)]
)
def test_places_are_kept_apart_in_order_and_within_bounds(wanted, gap):
    found = layout.apart(wanted, gap, 0.0, 20.0)
    room = min(gap, 20 / (len(wanted) - 1))
    assert all(b - a >= room - 1e-9 for a, b in itertools.pairwise(found))
    assert found[0] >= -1e-9
    assert found[-1] <= 20 + 1e-9


def test_places_with_room_stay_where_they_are_wanted():
    assert layout.apart([1, 6, 12], 3.0, 0.0, 20.0) == [1, 6, 12]
    assert layout.apart([10, 10], 4.0, 0.0, 20.0) == [8, 12]


# ------------------------------------------------------------------------------------------------ dots by task


def test_there_is_a_panel_for_all_items_and_one_for_each_task():
    svg = dots(small())
    assert ids(svg, "panel-") == ["panel-0", "panel-1", "panel-2"]
    assert {"all items (1,000)", "math (500)", "code (500)"} <= set(texts(svg))
    assert ids(dots(board(row("a", 0.5), tasks=["math"])), "panel-") == ["panel-0"]


def test_rows_stand_in_the_boards_order_with_dots_further_right_for_higher_scores():
    svg = dots(small())
    names = [text for text in texts(svg) if text in ("teacher", "kd", "sft", "rl", "base")]
    assert [n for i, n in enumerate(names) if n not in names[:i]] == ["teacher", "kd", "sft", "rl", "base"]
    kd, sft, rl = marks(svg, "dots-0-strategy")
    assert kd[0] > sft[0] > rl[0]
    assert sft[1] - kd[1] == pytest.approx(rl[1] - sft[1])
    assert kd[0] - sft[0] == pytest.approx(sft[0] - rl[0], abs=1e-4)
    (teacher,), (base,) = marks(svg, "dots-0-teacher"), marks(svg, "dots-0-base")
    assert teacher[1] < kd[1] < rl[1] < base[1]
    assert len({shape(svg, f"dots-0-{role}") for role in ("strategy", "teacher", "base")}) == 3


def test_every_dot_lies_inside_its_interval():
    svg = dots(small())
    ends, places = corners(svg, "interval-1-strategy"), marks(svg, "dots-1-strategy")
    for (x, y), (left, right) in zip(places, zip(ends[::2], ends[1::2], strict=True), strict=True):
        assert left[0] < x < right[0]
        assert left[1] == right[1] == pytest.approx(y, abs=1e-4)


def test_references_are_lines_through_every_panel_at_their_own_scores():
    svg = dots(small())
    for i in range(3):
        for role in ("base", "teacher"):
            (x, _), _ = corners(svg, f"reference-{i}-{role}")
            assert x == pytest.approx(marks(svg, f"dots-{i}-{role}")[0][0], abs=1e-4)


def test_fifty_rows_and_ten_tasks_stay_legible():
    svg = dots(many())
    places = [marks(svg, f"dots-{i}-strategy") for i in range(11)]
    for panel in places:
        assert all(b[1] - a[1] >= 12 for a, b in itertools.pairwise(panel))
    assert len({min(x for x, _ in panel) for panel in places}) == 6  # panels stand in two lines
    _, _, width, height = map(float, root(svg).get("viewBox").split())
    assert width < 900
    assert height > 2 * 50 * 12
    assert len(svg) < 250_000


def test_panels_are_as_wide_as_their_titles():
    tasks = [f"a_task_with_a_name_of_some_length_{k}" for k in range(6)]
    svg = dots(board(*(row(f"s{i}", 0.5, tasks=tasks) for i in range(25)), tasks=tasks))
    starts = [place(svg, f"{task} (500)")[0] for task in tasks[:3]]
    assert all(b - a > 5 * len(tasks[0]) for a, b in itertools.pairwise(starts))


def test_no_verdict_and_no_score_are_words_and_not_a_zero():
    svg = dots(board(row("a", 0.5), row("b", None)))
    assert texts(svg).count("no verdict") == 3
    assert len(marks(svg, "dots-0-strategy")) == 1


def test_a_run_that_was_not_done_is_named_so():
    assert "rl (collapsed)" in texts(dots(board(row("rl", 0.1, runs=[{"status": "collapsed"}]))))


def test_a_collection_shows_lenient_scores_without_a_panel_of_all_items():
    found = {"strict": share(0.0), "lenient": share(0.55)}
    rows = [row("a", 0.5, role="model", tasks=["x"]), row("b", 0.6, role="model") | {"tasks": {"x": found, "y": found}}]
    svg = dots({"kind": "collection", "title": "t", "rows": rows})
    assert "Lenient score by task, in %" in texts(svg)
    assert ids(svg, "panel-") == ["panel-0", "panel-1"]
    assert texts(svg).count("no score") == 1
    (a, _), (b, _) = marks(svg, "dots-0-model")
    assert a < b
    assert alt_text("dots", {"kind": "collection", "title": "t", "rows": rows}) == (
        "Scores in % by task: x: a 50.0 (48.0 to 52.0), b 55.0 (53.0 to 57.0); y: b 55.0 (53.0 to 57.0)."
    )
    assert "Rows are not ranked" in note(svg)


def test_reported_scores_have_a_panel_for_each_task():
    rows = [{"name": "a", "why": "", "scores": {"x": share(0.5)}}, {"name": "b", "why": "lost", "scores": {}}]
    svg = dots({"kind": "reported", "title": "t", "tasks": {"x": 1319}, "rows": rows})
    assert "x (1,319)" in texts(svg)
    assert texts(svg).count("no score") == 1


# ------------------------------------------------------------------------------------------------ differences


def test_differences_lie_right_of_zero_where_better_and_in_the_rows_order():
    rows = [
        {"name": n, "value": v, "low": v - 0.01, "high": v + 0.01, "n": 500} for n, v in (("a", 0.05), ("b", -0.03))
    ]
    svg = forest_of(rows, "main", "Gate")
    (zero, _), _ = corners(svg, "zero")
    (a,), (b,) = marks(svg, "point-0"), marks(svg, "point-1")
    assert b[0] < zero < a[0]
    assert (a[0] - zero) / (zero - b[0]) == pytest.approx(5 / 3, rel=1e-4)
    assert a[1] < b[1]
    assert {"+5.0 (+4.0 to +6.0)", "-3.0 (-4.0 to -2.0)", "points less or more than main"} <= set(texts(svg))
    (low, _), (high, _) = corners(svg, "interval-0")
    assert low < a[0] < high


def test_the_margin_is_a_line_with_all_beyond_it_shaded():
    rows = [{"name": "a", "value": -0.01, "low": -0.04, "high": 0.02, "n": 500}]
    svg = forest_of(rows, "main", "Gate", margin=0.02)
    (zero, _), _ = corners(svg, "zero")
    (margin, _), _ = corners(svg, "margin")
    (low, _), _ = corners(svg, "interval-0")
    assert zero - margin == pytest.approx((zero - low) / 2, rel=1e-4)
    shaded = [x for x, _ in corners(svg, "beyond-margin")]
    assert max(shaded) == pytest.approx(margin, abs=1e-4)
    assert min(shaded) < low
    assert "Shaded: more than the margin of 2 points below." in note(svg)
    assert not ids(forest_of(rows, "main", "Gate"), "margin")


def test_a_verdict_has_a_sign_and_a_marker_of_its_own():
    said = ["better", "worse", "not told apart", "undecided"]
    rows = [{"name": v, "value": 0.0, "low": -0.1, "high": 0.1, "n": 9, "verdict": v} for v in said]
    svg = forest_of(rows, "main", "t")
    assert [text for text in texts(svg) if text in ("▲", "▼", "≈")] == ["▲", "▼", "≈"]
    assert texts(svg).count("undecided") == 2  # its name and, as it has no sign, its verdict
    assert len({shape(svg, f"point-{i}") for i in range(3)}) == 3
    assert "▲ better. ▼ worse. ≈ not told apart." in note(svg)


def test_n_stands_in_every_row_where_rows_differ_in_it_and_else_once():
    rows = [{"name": "a", "value": 0.0, "low": -0.1, "high": 0.1, "n": n} for n in (1319, 164)]
    assert {"n = 1,319", "n = 164"} <= set(texts(forest_of(rows, "main", "t")))
    assert "n = 164 items." in note(forest_of(rows[1:], "main", "t"))


def test_a_boards_differences_are_its_rows_less_the_base():
    found = forest_plot.difference_rows(small())
    assert [(r["name"], r["value"], r.get("verdict")) for r in found] == [
        ("teacher", 0.5, None),
        ("kd", 0.3, "better"),
        ("sft", 0.2, None),
        ("rl", 0.1, None),
    ]
    svg = board_forest(small(), margin=0.02)
    assert ids(svg, "point-") == [f"point-{i}" for i in range(4)]
    assert "▲" in texts(svg)
    assert shape(svg, "point-0") != shape(svg, "point-2")  # the teacher is no strategy


# ------------------------------------------------------------------------------------------------ items won and lost


def test_every_item_of_every_row_is_counted_in_one_class():
    svg = wins(["kd", "rl"], VERDICTS, "base")
    said = ["gained 1", "lost 1", "both right 2", "both wrong 2", "mixed or not graded 2"]
    other = ["gained 2", "lost 1", "both right 2", "both wrong 1", "mixed or not graded 2"]
    shown = [text for text in texts(svg) if re.match("gained|lost|both|mixed or", text)]
    assert shown == said + other
    assert "8 items, from those that most of the 3 rows solve (left) to those that none does." in note(svg)


def spans(svg, name):
    """(left, right, lowest, highest) of each piece of a band, in the strip's own units."""
    path = next(group(svg, name).iter(f"{SVG}path")).get("d")
    pieces = [re.findall(r"[ML] (\S+) (\S+)", piece) for piece in path.split("M")[1:] for piece in ["M" + piece]]
    found = []
    for piece in pieces:
        x, y = [float(a) for a, _ in piece], [float(b) for _, b in piece]
        found.append((min(x), max(x), max(y), min(y)))
    return found


def test_what_is_gained_lies_above_the_middle_and_what_is_lost_below():
    # solved by 3, 3, 2 (base and kd not), 2, 1, 0
    given = {"base": [1, 1, 0, 1, 0, 0], "kd": [1, 1, 1, 0, 1, 0], "rl": [1, 1, 1, 1, 0, 0]}
    svg = wins(["kd", "rl"], given, "base")
    (ground,) = spans(svg, "strip-0")
    middle, width = (ground[2] + ground[3]) / 2, (ground[1] - ground[0]) / 6
    columns = {
        kind: [
            (round((a - ground[0]) / width), round((b - ground[0]) / width)) for a, b, _, _ in spans(svg, f"{kind}-0")
        ]
        for kind in ("gained", "lost", "both-right")
    }
    assert columns == {"gained": [(2, 3), (4, 5)], "lost": [(3, 4)], "both-right": [(0, 2)]}
    for _, _, bottom, top in spans(svg, "gained-0"):
        assert bottom == pytest.approx(middle)
        assert top < middle
    for _, _, bottom, top in spans(svg, "lost-0"):
        assert top == pytest.approx(middle)
        assert bottom > middle
    (both,) = spans(svg, "both-right-0")
    assert both[2:] == pytest.approx(ground[2:])
    assert {"3 of 3 right", "2 of 3 right", "1 of 3 right", "0 of 3 right"} & set(texts(svg))


def test_items_are_in_the_order_of_how_many_rows_solve_them_then_as_given():
    assert wins_plot._by_difficulty([[0, 1, 1, None, 0], [1, 1, 0.5, 1, 0]]) == [1, 0, 2, 3, 4]


def mixed(n, rows):
    """Verdicts that look like chance, without a generator of numbers that could change."""
    return {f"r{k}": [float((i * i * (k + 3) + 7 * i * k) % 11 < 5) for i in range(n)] for k in range(rows + 1)}


def test_gsm8k_and_eight_rows_stay_small():
    verdicts = mixed(1319, 8)
    assert len(wins(list(verdicts), verdicts, "r0")) < 300_000


def test_twenty_thousand_items_are_pooled_and_the_picture_says_so():
    verdicts = mixed(20_000, 8)
    svg = wins(list(verdicts), verdicts, "r0")
    assert len(svg) < 300_000
    assert re.search(r"20,000 items.* Pooled: a column shows the shares of \d+ items\.", note(svg))
    assert "Pooled" not in note(wins(["kd"], VERDICTS, "base"))


def test_a_pooled_column_shows_shares():
    gained, lost = (
        next(b for b in wins_plot._bands(["gained"] * 3 + ["lost"], 4) if b.kind == k) for k in ("gained", "lost")
    )
    assert (gained.up, gained.down) == ([0.75 * wins_plot.HALF], [0.0])
    assert (lost.up, lost.down) == ([0.0], [0.25 * wins_plot.HALF])


def test_one_item_of_many_is_not_rounded_away():
    lost = next(b for b in wins_plot._bands(["both right"] * 999 + ["lost"], 1000) if b.kind == "lost")
    assert lost.down == [0.5]


# ------------------------------------------------------------------------------------------------ rank intervals


def test_a_rank_interval_has_a_mark_at_every_possible_place():
    svg = rank_plot(small())
    assert [len(marks(svg, f"places-{i}")) for i in range(3)] == [2, 2, 1]
    first, second = marks(svg, "places-0")
    (third,) = marks(svg, "places-2")
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=1e-4)
    assert {"1 to 2", "3"} <= set(texts(svg))
    assert not {"teacher", "base"} & set(texts(svg))


def test_the_best_are_bold_and_filled():
    svg = rank_plot(small())
    styles = {e.text: e.get("style") for e in root(svg).iter(f"{SVG}text")}
    assert [("bold" in styles[name] or "700" in styles[name]) for name in ("kd", "sft", "rl")] == [True, True, False]
    assert "fill: #ffffff" in ElementTree.tostring(group(svg, "places-2"), encoding="unicode")
    assert "fill: #ffffff" not in ElementTree.tostring(group(svg, "places-0"), encoding="unicode")


# ------------------------------------------------------------------------------------------------ all of them


def all_of(facts, verdicts=None, reference="base"):
    names = list(verdicts or VERDICTS)
    return {
        "pareto": pareto(facts),
        "dots": dots(facts),
        "forest": board_forest(facts, 0.02),
        "ranks": rank_plot(facts),
        "wins": wins(names, verdicts or VERDICTS, reference),
    }


def test_names_stand_as_they_are_given():
    rows = [
        row(name, 0.5 - i / 50, 10.0 ** (15 + i), difference=share(0.1), rank=[1, 7], among_best=True)
        for i, name in enumerate(ODD)
    ]
    facts = board(*rows, title="50 % & <i> $x$ \\frac _y_") | {"title": "50 % & <i> $x$ \\frac _y_"}
    verdicts = {name: [1, 0] for name in [*ODD, "$base_"]}
    for kind, svg in all_of(facts, verdicts, "$base_").items():
        shown = [re.sub(r"(:? [\d.]+( \(.*\))?)$", "", t) for t in texts(svg)] if kind == "pareto" else texts(svg)
        assert set(ODD) <= set(shown), kind
        assert kind == "wins" or facts["title"] in texts(svg)


@pytest.mark.parametrize("name", ["pico", "quick"])
def test_the_boards_that_are_published_can_be_drawn(name):
    facts = json.loads((ROOT / "leaderboards" / f"{name}.json").read_text(encoding="utf-8"))
    for svg in (pareto(facts), dots(facts), board_forest(facts), rank_plot(facts)):
        assert facts["title"] in texts(svg)
        assert len(svg) < 60_000


@pytest.mark.parametrize("name", ["recorded", "paper"])
def test_boards_that_rank_nothing_have_dots_alone(name):
    facts = json.loads((ROOT / "leaderboards" / f"{name}.json").read_text(encoding="utf-8"))
    assert ids(dots(facts), "panel-")
    for draw in (pareto, board_forest, rank_plot):
        with pytest.raises(ValueError, match=f"rows of a board of kind '{facts['kind']}' are not ranked together"):
            draw(facts)


def test_a_comparison_of_runs_is_drawn_from_the_board_in_it():
    assert dots({"kind": "comparison", "board": small(), "against": []}) == dots(small())


def test_nothing_is_cut_off_however_long_a_name():
    long = "x" * 150
    facts = board(row(long, 0.5, 1e15, difference=share(0.1), rank=[1, 1], among_best=True), row("b", 0.4, 1e15))
    for svg in all_of(facts, {long: [1, 0], "base": [0, 1]}).values():
        _, _, width, _ = map(float, root(svg).get("viewBox").split())
        for e in root(svg).iter(f"{SVG}text"):
            if e.text and long in e.text:
                x, anchor = float(e.get("x")), e.get("style")
                left = x - 4.5 * len(e.text) if "text-anchor: end" in anchor else x
                assert left > 0
                assert left + 4.5 * len(e.text) < width


def test_pictures_bring_their_own_light_background_and_nothing_of_the_machine():
    for svg in all_of(small()).values():
        assert svg.startswith("<svg")
        assert "fill: #ffffff" in svg
        assert "date" not in svg
        assert root(svg).find(f"{SVG}title").text


SCRIPT = """
import sys
sys.path.insert(0, "tests")
from test_pictures import all_of, many, mixed, small
given = mixed(400, 3)
sys.stdout.write("".join([*all_of(small()).values(), *all_of(many(12, 3), given, "r0").values()]))
"""


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes_in_every_process():
    first, second = outputs_under_two_hash_seeds(SCRIPT)
    assert first == second
    assert first.count(b"<svg") == 10


def test_settings_of_matplotlib_are_neither_read_nor_changed():
    import matplotlib

    plain = all_of(small())
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        assert all_of(small()) == plain
        assert dict(matplotlib.rcParams) == before


def test_importing_the_module_loads_no_matplotlib():
    code = "import sys, harness.rendering.board_plots; assert not {'matplotlib', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_facts_are_not_changed():
    facts = small()
    all_of(facts)
    assert facts == small()


# ------------------------------------------------------------------------------------------------ words


def test_every_picture_has_one_sentence_with_its_numbers():
    said = {kind: alt_text(kind, small()) for kind in ("pareto", "dots", "forest", "ranks")}
    said["wins"] = alt_text("wins", {"names": ["kd", "rl"], "verdicts": VERDICTS, "reference": "base"})
    assert said == {
        "pareto": "Strict score in % (95 % interval) against FLOPs of training, the teacher's included: "
        "kd: 70.0 (68.0 to 72.0) at 4e15; sft: 60.0 (58.0 to 62.0) at 1e15; rl: 50.0 (48.0 to 52.0) at 2e15; "
        "teacher: 90.0 (88.0 to 92.0); base: 40.0 (38.0 to 42.0); on the front: kd, sft.",
        "dots": "Scores in % by task: all items (1,000): 5 rows from 40.0 to 90.0; math (500): 5 rows from 40.0 to "
        "90.0; code (500): 5 rows from 40.0 to 90.0.",
        "forest": "Differences to base in points (95 % interval): teacher +50.0 (+48.0 to +52.0); "
        "kd +30.0 (+28.0 to +32.0), better; sft +20.0 (+18.0 to +22.0); rl +10.0 (+8.0 to +12.0).",
        "ranks": "Possible ranks: kd 1 to 2; sft 1 to 2; rl 3; among the best: kd, sft.",
        "wins": "Of 8 items, against base: kd 1 gained, 1 lost, 2 both right, 2 both wrong, 2 mixed or not graded; "
        "rl 2 gained, 1 lost, 2 both right, 1 both wrong, 2 mixed or not graded.",
    }


def test_words_of_fifty_rows_stop_and_say_how_many_more_there_are():
    assert alt_text("forest", many()).count("strategy ") == layout.SPELT
    assert "; and 38 more" in alt_text("forest", many())


def test_rows_of_a_gate_have_words_too():
    rows = [{"name": "gsm8k", "value": 0.01, "low": 0.0, "high": 0.02, "n": 1319}]
    assert alt_text("forest", {"rows": rows, "reference": "main"}) == (
        "Differences to main in points (95 % interval): gsm8k +1.0 (+0.0 to +2.0)."
    )


# ------------------------------------------------------------------------------------------------ refusals


def gap(**values):
    return [{"name": "a", "value": 0.1, "low": 0.0, "high": 0.2, "n": 9} | values]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: pareto(board()), "nothing to draw: the board has no rows"),
        (lambda: pareto(board(row("a", 0.5))), "no graded row has a training cost or tokens per item"),
        (lambda: pareto(board(row("a", None, 1e15))), "no graded row has a training cost or tokens per item"),
        (lambda: alt_text("pareto", board(row("a", 0.5))), "no graded row has a training cost or tokens per item"),
        (lambda: dots(board(row("a", None))), "no dots to draw: no row has a score"),
        (lambda: alt_text("dots", board(row("a", None))), "no dots to draw: no row has a score"),
        (lambda: board_forest(board(row("a", 0.5))), "the board has no base that rows are compared with"),
        (lambda: alt_text("forest", board(row("a", 0.5))), "the board has no base that rows are compared with"),
        (lambda: forest_of([], "main", "t"), "no forest plot to draw: no rows were given"),
        (lambda: forest_of(gap(value=float("nan")), "main", "t"), "difference of 'a' must be finite, got nan"),
        (lambda: forest_of(gap(low=float("-inf")), "main", "t"), "interval of 'a' must be finite, got -inf to 0.2"),
        (lambda: forest_of(gap(low=0.15), "main", "t"), r"'a' must lie in its interval, got 0.1 in \[0.15, 0.2\]"),
        (lambda: forest_of(gap(), "main", "t", margin=2.0), r"margin must be a share in \[0, 1\], got 2.0"),
        (lambda: rank_plot(board(row("a", 0.5))), "no rank intervals to draw: no row has a rank"),
        (lambda: alt_text("ranks", board(row("a", 0.5))), "no rank intervals to draw: no row has a rank"),
        (lambda: wins([], VERDICTS, "base"), "no items won to draw: no row except the reference 'base' was given"),
        (lambda: wins(["base"], VERDICTS, "base"), "no row except the reference 'base' was given"),
        (lambda: wins(["sft"], VERDICTS, "base"), "no verdicts of 'sft' were given; given: 'base', 'kd', 'rl'"),
        (lambda: wins(["kd"], VERDICTS, "main"), "no verdicts of 'main' were given; given: 'base', 'kd', 'rl'"),
        (
            lambda: wins(["a"], {"a": [1], "b": [1, 0]}, "b"),
            "'a' and 'b' must be graded on the same items, got 1 and 2",
        ),
        (lambda: wins(["a"], {"a": [], "b": []}, "b"), "no items won to draw: there are no items"),
        (
            lambda: wins(["a"], {"a": [2.0], "b": [1]}, "b"),
            r"score of 'a' on item 0 must be a share .* or None, got 2.0",
        ),
        (lambda: alt_text("pie", small()), "unknown picture 'pie'; pictures: pareto, dots, forest, wins, ranks"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_told_why(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
