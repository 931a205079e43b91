"""Learning curves and training series: what the SVG shows, that it is the same every time, what is refused."""

import itertools
import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from factories import ROOT, outputs_under_two_hash_seeds

from harness.rendering.curves import LOGGED, UNITS, Point, learning_curves, training_series

SVG = "{http://www.w3.org/2000/svg}"


def run(strategy, seed, scores, flops=None):
    """Points of one run; its k-th checkpoint cost k * 1e15 FLOPs and a thousandth of that many tokens."""
    costs = flops or [1e15 * k for k in range(1, len(scores) + 1)]
    return [Point(strategy, seed, s, {"flops": c, "tokens": c / 1e9}) for s, c in zip(scores, costs, strict=True)]


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def ids(svg, kind):
    """Names of what is drawn: panel-<unit>, line-, band- and hollow-<unit>-<place of the strategy>, base-<unit>."""
    return [e.get("id") for e in ElementTree.fromstring(svg).iter() if e.get("id", "").startswith(kind + "-")]


def group(svg, name):
    return next(e for e in ElementTree.fromstring(svg).iter(f"{SVG}g") if e.get("id") == name)


def marks(svg, name):
    """Places of the markers of one line, as they stand in the picture: y grows downwards."""
    return [(float(e.get("x")), float(e.get("y"))) for e in group(svg, name).iter(f"{SVG}use")]


def corners(svg, name):
    """Corners of the first path in a group; a band's path is moved to its place by the <use> of it."""
    path = next(group(svg, name).iter(f"{SVG}path")).get("d")
    moved = float(next(group(svg, name).iter(f"{SVG}use")).get("y")) if name.startswith("band") and "z" in path else 0.0
    return [(float(x), float(y) + moved) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]


def logged(n=5, **values):
    return [{"fraction": k / n, "used": k, "steps": k, "loss": 1 / k, **values} for k in range(1, n + 1)]


def test_each_unit_in_which_anything_was_spent_has_a_panel():
    points = [
        Point("sft", 1, 0.3, {"flops": 1e15, "tokens": 2e6, "generated": 0, "device_s": 30.0}),
        Point("rl", 1, 0.4, {"flops": 2e15, "tokens": 3e6, "generated": 0, "device_s": 60.0}),
    ]
    svg = learning_curves(points, "Curves of pico")
    assert ids(svg, "panel") == ["panel-flops", "panel-tokens", "panel-device_s"]
    assert {"FLOPs", "tokens processed", "device-seconds", "Curves of pico", "sft", "rl"} <= set(texts(svg))
    assert UNITS["generated"] not in texts(svg)
    assert texts(svg).count("dev score (%)") == 3
    assert ids(svg, "line") == [f"line-{unit}-{i}" for unit in ("flops", "tokens", "device_s") for i in (0, 1)]


def test_one_unit_can_be_asked_for():
    svg = learning_curves(run("kd", 1, [0.2, 0.4]), "t", unit="tokens")
    assert ids(svg, "panel") == ["panel-tokens"]


def test_a_point_without_a_cost_in_a_unit_is_left_out_of_its_panel_alone():
    points = [*run("kd", 1, [0.2, 0.4]), Point("rl", 1, 0.5, {"flops": 3e15})]
    assert ids(learning_curves(points, "t"), "line") == ["line-flops-0", "line-flops-1", "line-tokens-0"]


def test_the_line_is_the_mean_over_seeds_and_of_their_costs():
    apart = run("a", 1, [0.2, 0.6], [1e15, 3e15]) + run("a", 2, [0.4, 0.6], [3e15, 5e15])
    single = run("mean of a", 1, [0.3, 0.6], [2e15, 4e15])
    svg = learning_curves(apart + single, "t", unit="flops")
    assert marks(svg, "line-flops-0") == marks(svg, "line-flops-1")


def test_the_band_goes_from_the_lowest_seed_to_the_highest():
    scores = {1: [0.2, 0.5], 2: [0.3, 0.7], 3: [0.4, 0.6]}
    points = [p for seed, column in scores.items() for p in run("a", seed, column)]
    low, high = run("low", 1, [0.2, 0.5]), run("high", 1, [0.4, 0.7])
    svg = learning_curves(points + low + high, "t", unit="flops")
    edges = {(x, round(y, 3)) for line in ("line-flops-1", "line-flops-2") for x, y in marks(svg, line)}
    assert {(x, round(y, 3)) for x, y in corners(svg, "band-flops-0")} == edges
    assert "Line: mean over seeds. Band: lowest to highest seed." in texts(svg)


def test_one_seed_has_no_band():
    svg = learning_curves(run("a", 1, [0.2, 0.5]) + run("b", 1, [0.3, 0.4]) + run("b", 2, [0.2, 0.5]), "t")
    assert ids(svg, "band") == ["band-flops-1", "band-tokens-1"]
    alone = learning_curves(run("a", 1, [0.2, 0.5]), "t")
    assert ids(alone, "band") == []
    assert not [text for text in texts(alone) if "seed" in text]


def test_seeds_with_one_checkpoint_each_show_their_range_as_a_bar():
    svg = learning_curves(run("a", 1, [0.2]) + run("a", 2, [0.5]), "t", unit="flops")
    (x, low), (same, high) = corners(svg, "band-flops-0")
    assert (x, x) == (same, marks(svg, "line-flops-0")[0][0])
    assert low > marks(svg, "line-flops-0")[0][1] > high


def test_a_seed_that_stopped_early_counts_as_far_as_it_went():
    svg = learning_curves(run("a", 1, [0.2, 0.4, 0.6]) + run("a", 2, [0.4, 0.6]), "t", unit="flops")
    whole = learning_curves(run("a", 1, [0.3, 0.5, 0.6]) + run("b", 1, [0.2, 0.2, 0.2]), "t", unit="flops")
    assert corners(svg, "line-flops-0") == corners(whole, "line-flops-0")
    assert len(marks(svg, "line-flops-0")) == 2
    assert marks(svg, "hollow-flops-0") == [pytest.approx(corners(svg, "line-flops-0")[2])]
    assert len({x for x, _ in corners(svg, "band-flops-0")}) == 2
    assert any("Hollow: the mean of fewer seeds" in text for text in texts(svg))
    assert ids(whole, "hollow") == []


def test_checkpoints_are_matched_by_their_cost_not_by_their_place_in_the_list():
    points = run("a", 1, [0.2, 0.4, 0.6]) + run("a", 2, [0.3, 0.5, 0.6])
    assert learning_curves(points[::-1], "t") == learning_curves(points, "t")


def test_base_is_a_dashed_line_across_every_panel():
    svg = learning_curves(run("a", 1, [0.2, 0.4]), "t", base=0.3)
    assert ids(svg, "base") == ["base-flops", "base-tokens"]
    assert texts(svg).count("base") == 2
    (left, y), (right, same) = corners(svg, "base-flops")
    assert right > left
    assert y == same == pytest.approx(sum(y for _, y in marks(svg, "line-flops-0")) / 2)
    assert "stroke-dasharray" in next(group(svg, "base-flops").iter(f"{SVG}path")).get("style")
    assert ids(learning_curves(run("a", 1, [0.2, 0.4]), "t"), "base") == []


def gaps(svg, name):
    x = [x for x, _ in corners(svg, name)]
    return [b - a for a, b in itertools.pairwise(x)]


def test_x_is_linear_from_zero_up_to_a_span_of_100_and_logarithmic_beyond():
    linear = learning_curves(run("a", 1, [0.1, 0.2, 0.3], [1e13, 5.05e14, 1e15]), "t", unit="flops")
    assert gaps(linear, "line-flops-0") == pytest.approx([gaps(linear, "line-flops-0")[0]] * 2)
    assert {"0", "2e14", "1e15"} <= set(texts(linear))
    log = learning_curves(run("a", 1, [0.1, 0.2, 0.3, 0.4], [1e12, 1e13, 1e14, 1e15]), "t", unit="flops")
    assert gaps(log, "line-flops-0") == pytest.approx([gaps(log, "line-flops-0")[0]] * 3)
    assert {"1e12", "1e15"} <= set(texts(log))
    assert "0" not in texts(log)


def test_nothing_spent_yet_has_a_place_on_a_logarithmic_axis():
    svg = learning_curves(run("a", 1, [0.1, 0.2, 0.3, 0.4], [0, 1e12, 1e13, 1e15]), "t", unit="flops")
    assert len(marks(svg, "line-flops-0")) == 4
    assert "0" in texts(svg)
    assert not [text for text in texts(svg) if re.match("[-−]", text)]


def test_counts_are_labelled_in_thousands_and_millions():
    points = [Point("a", 1, 0.3, {"tokens": 1e6 * k, "device_s": 1000.0 * k}) for k in (1, 2)]
    assert {"1M", "2M", "1k", "2k"} <= set(texts(learning_curves(points, "t")))


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_share_never_reads_below_0_or_above_100_percent(score):
    svg = learning_curves(run("a", 1, [score, score]), "t", unit="flops")
    y = [float(text) for text in texts(svg) if re.fullmatch(r"[-−]?[\d.]+", text)]
    assert 100 * score in y
    assert 0 <= min(y) <= max(y) <= 100


def test_names_stand_as_they_are_given():
    names = ["kd&rl", "<b>|x", "$a_b$", "_first", 'say "it"', "a_{b}^2", "日本"]
    points = [p for name in names for p in run(name, 1, [0.2, 0.3])]
    svg = learning_curves(points, "50 % & <i> $x$ \\frac _y_")
    assert [text for text in texts(svg) if text in names] == names
    assert "50 % & <i> $x$ \\frac _y_" in texts(svg)


def test_thirteen_strategies_differ_in_marker_and_in_colour_or_dashes():
    points = [p for i in range(13) for p in run(f"s{i}", 1, [0.2, 0.3 + i / 50])]
    svg = learning_curves(points, "t", unit="flops")
    drawn = [group(svg, f"line-flops-{i}") for i in range(13)]
    assert len({next(line.iter(f"{SVG}path")).get("style") for line in drawn}) == 13
    assert len({next(line.iter(f"{SVG}defs")).find(f"{SVG}path").get("d") for line in drawn}) == 13
    assert [text for text in texts(svg) if re.fullmatch(r"s\d+", text)] == [f"s{i}" for i in range(13)]


def test_nothing_is_cut_off_however_long_a_name():
    names = ["x" * 150, *(f"a name of the usual length, number {i}" for i in range(20))]
    svg = learning_curves([p for name in names for p in run(name, 1, [0.2, 0.3])], "word " * 60)
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    legend = list(group(svg, "legend").iter(f"{SVG}text"))
    assert len(legend) == 21
    for e in legend:
        assert float(e.get("x")) + 5 * len(e.text) < width
        assert float(e.get("y")) < height
    assert width > 150 * 5


def test_the_picture_brings_its_own_light_background_and_nothing_of_the_machine():
    svg = learning_curves(run("a", 1, [0.2, 0.4]), "t")
    assert svg.startswith("<svg")
    assert "fill: #ffffff" in svg
    assert "date" not in svg
    assert ElementTree.fromstring(svg).find(f"{SVG}title").text == "t"


SCRIPT = """
import sys
from harness.rendering.curves import Point, learning_curves, training_series
points = [
    Point(name, seed, 0.1 * k + 0.01 * seed, {"flops": 1e15 * k, "tokens": 10.0**k, "generated": 5.0 * k})
    for name in ("kd", "rl", "kd&rl") for seed in (1, 2, 3) for k in range(1, 5 if seed < 3 else 3)
]
lines = [{"fraction": k / 40, "loss": 1 / (k + 1), "lr": 1e-5, "reward": k % 7} for k in range(41)]
sys.stdout.write(learning_curves(points, "t", base=0.2) + training_series({"a": lines, "b": lines[5:]}, "t"))
"""


def test_the_same_input_gives_the_same_bytes_in_every_process():
    first, second = outputs_under_two_hash_seeds(SCRIPT)
    assert first == second
    assert first.count(b"<svg") == 2


def test_settings_of_matplotlib_are_neither_read_nor_changed():
    import matplotlib

    points, series = run("a", 1, [0.2, 0.4]), {"a": logged()}
    plain = learning_curves(points, "t"), training_series(series, "t")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        assert (learning_curves(points, "t"), training_series(series, "t")) == plain
        assert dict(matplotlib.rcParams) == before


def test_importing_the_module_loads_no_matplotlib_and_drawing_no_pyplot():
    code = (
        "import sys, harness.rendering.curves as c; assert not {'matplotlib', 'numpy'} & set(sys.modules);"
        "c.training_series({'a': [{'fraction': 0.5, 'loss': 1.0}]}, 't'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("points", "keywords", "message"),
    [
        ([], {}, "no learning curve to draw: no points were given"),
        (
            run("kd", 3, [0.2, math.nan]),
            {},
            r"strategy 'kd', seed 3: score must be a share in \[0, 1\], got nan",
        ),
        (run("kd", 3, [45.0]), {}, r"strategy 'kd', seed 3: score must be a share in \[0, 1\], got 45.0"),
        (
            [Point("rl", 4, 0.5, {"flops": 1.0, "tokens": math.nan})],
            {},
            "strategy 'rl', seed 4: cost in 'tokens' must be a finite number >= 0, got nan",
        ),
        (
            [Point("rl", 4, 0.5, {"flops": math.inf})],
            {},
            "seed 4: cost in 'flops' must be a finite number >= 0, got inf",
        ),
        ([Point("rl", 4, 0.5, {"flops": -1.0})], {}, "seed 4: cost in 'flops' must be a finite number >= 0, got -1.0"),
        (
            [Point("rl", 4, 0.5, {"wall_s": 1.0})],
            {},
            "strategy 'rl', seed 4: unknown unit of cost 'wall_s'; units: flops, tokens, generated, device_s",
        ),
        (run("kd", 3, [0.2]), {"base": math.nan}, r"base must be a share in \[0, 1\], got nan"),
        (run("kd", 3, [0.2]), {"unit": "eur"}, "unknown unit of cost 'eur'; units: flops, tokens, generated, device_s"),
        (run("kd", 3, [0.2]), {"unit": "device_s"}, "no point has a cost in 'device_s'"),
        ([Point("rl", 4, 0.5, {"flops": 0.0})], {}, "no point has a cost above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_its_value(points, keywords, message):
    with pytest.raises(ValueError, match=message):
        learning_curves(points, "t", **keywords)


def test_a_unit_asked_for_is_drawn_even_where_nothing_was_spent():
    assert len(
        marks(learning_curves([Point("a", 1, 0.5, {"generated": 0})], "t", unit="generated"), "line-generated-0")
    )


def test_each_value_that_any_line_holds_has_a_panel():
    held = {"reward": 0.5, "entropy": 0.2, "kl": 0.01, "clipped": 0.1, "completion_tokens": 30, "lr": 1e-5}
    svg = training_series({"kd, seed 1": logged(), "rl & co, seed 1": logged(**held)}, "Stages")
    assert ids(svg, "panel") == [f"panel-{key}" for key in LOGGED]
    assert {*LOGGED.values(), "kd, seed 1", "rl & co, seed 1", "Stages"} <= set(texts(svg))
    assert texts(svg).count("share of the budget (%)") == 7
    assert [name for name in ids(svg, "line") if name.endswith("-0")] == ["line-loss-0"]
    assert len([name for name in ids(svg, "line") if name.endswith("-1")]) == 7


def test_a_value_that_a_line_lacks_is_passed_over():
    lines = logged(4)
    lines[1]["loss"] = None
    lines[2] = {"steps": 3, "loss": 9.0}
    svg = training_series({"a": [*lines, {"fraction": None, "loss": 9.0}], "b": [lines[0], lines[3]]}, "t")
    assert corners(svg, "line-loss-0") == corners(svg, "line-loss-1")
    assert len(marks(svg, "line-loss-0")) == 2


def test_a_value_that_is_not_finite_breaks_the_curve():
    lines = logged(6)
    lines[2]["loss"], lines[3]["loss"] = math.nan, math.inf
    path = next(group(training_series({"a": lines}, "t"), "line-loss-0").iter(f"{SVG}path")).get("d")
    assert (path.count("M"), path.count("L")) == (2, 2)


def test_a_long_log_keeps_its_markers_apart():
    svg = training_series({"a": logged(500)}, "t")
    assert len(marks(svg, "line-loss-0")) == 8


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({}, "no training series to draw: no progress line holds any of loss, reward, entropy, kl, clipped"),
        ({"a": [], "b": [{"fraction": 0.1, "loss": None}]}, "no progress line of 'a', 'b' holds any of loss, reward"),
        ({"a": [{"fraction": 0.1, "loss": math.nan}]}, "no progress line of 'a' holds any of loss, reward"),
    ],
)
def test_nothing_logged_is_refused(series, message):
    with pytest.raises(ValueError, match=message):
        training_series(series, "t")
