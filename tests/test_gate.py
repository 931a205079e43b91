"""The gate blocks what got worse, passes what did not, and never passes what it cannot compare."""

import csv
import json
import os
import random
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from bench import gate_rates
from factories import Quiet, changed, graded, harness, harness_process, record, written
from scipy import stats as scipy_stats

from harness.board import existing_runs
from harness.board.entries import Entry, RecordFiles, Run
from harness.errors import DataError, NotComparable, UsageError
from harness.evaluation import eval_models, task_lookup
from harness.gate import lock as locks
from harness.gate import plan, report
from harness.gate.check import Attempt, Attempts, Candidate, Comparison, Standing, told_apart
from harness.gate.decide import LOOKS, Settings, decide
from harness.gate.family import UNTESTED, FamilyTest, attempts_alone, is_step, next_share, of_path
from harness.gate.lock import PerItem
from harness.records.columns import Columns
from harness.records.record_files import read_records
from harness.records.serialization import record_to_json
from harness.statistics import intervals, sequential, unpaired
from harness.statistics.unpaired import Published

WHEN = "2026-01-01T00:00:00Z"


def gate(*arguments, cwd, **environment):
    return harness("gate", *arguments, cwd=cwd, **environment)


def per_item(name, values, digest="c", **changes):
    """The per-item file of one sample an item."""
    return PerItem.of(name, Run(digest * 64, Columns.of(graded(digest * 64, values, **changes))))


def attempt(values, **changes):
    """One attempt of a candidate whose replies are sampled, so that each attempt tells something new."""
    return per_item("new", values, "d", sampling=SAMPLED, **changes)


SAMPLED = {"max_tokens": 16, "temperature": 0.7}


def decided(comparison, *attempts, **more):
    """The decision on the attempts of one candidate that is its own family, oldest first."""
    return comparison.decided(tried(*attempts), **more)


def tried(*attempts):
    """These attempts of one candidate, with their shares of alpha."""
    found = []
    for one in attempts:
        told = told_apart([*(of.scores for of in found), one])
        new = len(told) > len(told_apart([of.scores for of in found]))
        found.append(Attempt(one, attempts_alone(len(told))[-1] if new else UNTESTED))
    return found


def added(attempts, one, named="", family="", verdict="INCONCLUSIVE"):
    """All attempts of a candidate, after one more was kept."""
    who = Candidate(one.weights, named, family)
    found = attempts.joined(one, who)
    attempts.add(found, who, verdict)
    return found


def reported(comparison, *attempts, standing=None):
    """The facts of the report on the last of these attempts."""
    found = tried(*attempts)
    return comparison.report(attempts[-1], found, comparison.decided(found), standing or Standing())


def settings(margin=5.0, **changes):
    return Settings(margin=margin, margins={}, **changes)


def accepted(folder, baseline, agreed=None):
    """A comparison with a lock of this baseline."""
    path = folder / "gate.lock.json"
    locks.accept(path, None, baseline, agreed or settings(), locks.Acceptance("first", WHEN))
    return Comparison(path)


def dropped(values, lost, gained=0):
    """The values with so many right ones made wrong, and wrong ones made right."""
    out = list(values)
    for value, count in ((1, lost), (0, gained)):
        for i in [i for i, v in enumerate(values) if v == value][:count]:
            out[i] = 1 - value
    return out


BASE = [int((i * 7) % 10 < 6) for i in range(400)]


# ------------------------------------------------------------------------------------------------ the tests themselves


def test_the_bounds_are_those_of_the_textbook():
    found = sequential.levels(0.025, (0.2, 0.4, 0.6, 0.8, 1.0))
    z = [round(float(scipy_stats.norm.isf(p)), 3) for p in found]
    assert z == [4.877, 3.357, 2.680, 2.290, 2.031]  # O'Brien-Fleming, Lan-DeMets spending, one-sided 2.5 %
    assert sequential.levels(0.05, (1.0,)) == pytest.approx((0.05,))
    for wrong in ((), (0.5, 0.5), (0.5, 1.2), (0.0, 1.0)):
        with pytest.raises(ValueError, match="fractions must rise"):
            sequential.levels(0.05, wrong)


def test_ten_interim_analyses_keep_the_level():
    rng = np.random.default_rng(1)
    steps = np.diff(np.array(LOOKS), prepend=0.0)
    p = scipy_stats.norm.sf((rng.normal(size=(40_000, 10)) * np.sqrt(steps)).cumsum(axis=1) / np.sqrt(LOOKS))
    first = []
    for spending in (sequential.obrien_fleming, sequential.hwang_shih_decani):
        levels = sequential.levels(0.05, LOOKS, spending)
        assert (p < np.array(levels)).any(axis=1).mean() == pytest.approx(0.05, abs=0.004)
        first.append(levels[0])
    assert first[0] < 1e-10 < 1e-4 < first[1], "only a test that spends early can stop early"
    assert (p < 0.05).any(axis=1).mean() > 0.12  # without the bounds it does not


def test_a_large_drop_is_found_early_and_nothing_is_lost_if_nothing_changed():
    rates = [
        gate_rates.rates(settings(3.0, design="group-sequential"), drop, 0.2, 60, np.random.default_rng(2))
        for drop in (0, 8)
    ]
    assert rates[1][0] == 1.0
    assert rates[1][2] < 400, "items used: 534 if BLOCK is tested at five looks by O'Brien and Fleming's bounds"
    assert rates[0][1] > 0.65


def test_the_sided_tests_agree_with_enumeration_and_with_the_interval():
    ours, theirs = [1] * 40 + [0] * 60, [1] * 30 + [0] * 10 + [1] * 20 + [0] * 40
    found = intervals.sided(ours, theirs, 0.05)
    assert (found.gained, found.lost, found.value) == (10, 20, -0.1)
    binom = scipy_stats.binom(30, 0.5)
    assert found.p_worse == pytest.approx(sum(binom.pmf(range(10))) + binom.pmf(10) / 2)
    for margin in (0.02, 0.1, 0.3):  # p is below alpha exactly where the interval excludes the margin
        tested = intervals.sided(ours, theirs, margin)
        assert (tested.p_below < 0.05) == (tested.low > -margin)
    ninety = intervals.tango(10, 20, 100, 0.9)
    assert (found.low, found.high) == (ninety.low, ninety.high)


def test_shares_are_tested_by_students_t():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 5, (2, 300)) / 4
    found = intervals.sided(a, b, 0.1)
    expected = scipy_stats.ttest_rel(a, b, alternative="less")
    assert found.p_worse == pytest.approx(expected.pvalue)
    assert found.p_below == pytest.approx(scipy_stats.ttest_rel(a + 0.1, b, alternative="greater").pvalue)
    interval = scipy_stats.ttest_rel(a, b).confidence_interval(0.9)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


@pytest.mark.parametrize("values", [[1.0] * 5, [0.5] * 5, [0.0] * 5, [0.25, 0.75] * 3])
def test_few_items_that_all_agree_prove_nothing(values):
    found = intervals.sided(values, values, 0.05)
    assert found.p_below > 0.05
    assert found.p_worse > 0.05
    assert found.low < -0.05 < 0.05 < found.high


def test_one_item_proves_nothing():
    for pair in (([1], [0]), ([0], [1]), ([0.5], [0.5])):
        found = intervals.sided(*pair, 0.9)
        assert (found.p_worse, found.p_below, found.low, found.high) == (1.0, 1.0, -1.0, 1.0)


def test_many_items_that_all_agree_rule_a_margin_out():
    assert decide(settings(1.0), {"b": {"t": np.ones(1000)}}, {"t": np.ones(1000)}).verdict == "PASS"
    assert decide(settings(1.0), {"b": {"t": np.ones(100)}}, {"t": np.ones(100)}).verdict == "INCONCLUSIVE"


# ------------------------------------------------------------------------------------------------ decisions


def pair(rng, n, drop, discordant, share=0.6):
    base = rng.random(n) < share
    lost, gained = ((discordant + sign * drop / 100) / 2 for sign in (1, -1))
    flips = rng.random(n) < np.where(base, lost / share, gained / (1 - share))
    return base.astype(float), (base ^ flips).astype(float)


@pytest.mark.parametrize(
    ("design", "drop", "blocked", "passed"),
    [  # published for 1,319 items, a fifth of them discordant, margin 3 points, 20,000 repetitions
        ("fixed", 0, 0.048, 0.783),
        ("fixed", 3, 0.786, 0.050),
        ("fixed", 5, 0.992, None),
        ("group-sequential", 0, 0.049, 0.772),
        ("group-sequential", 3, 0.761, 0.049),
    ],
)
def test_rates_are_those_published(design, drop, blocked, passed):
    rng = np.random.default_rng(drop)
    n, found = 500, []
    for _ in range(n):
        base, candidate = pair(rng, 1319, drop, 0.2)
        found.append(decide(settings(3.0, design=design), {"base": {"t": base}}, {"t": candidate}).verdict)
    for word, rate in (("BLOCK", blocked), ("PASS", passed)):
        if rate is not None:
            slack = 3 * (rate * (1 - rate) / n) ** 0.5 + 0.01
            assert abs(found.count(word) / n - rate) < slack, (word, found.count(word) / n)


def test_a_drop_within_the_margin_passes_and_is_said():
    base, candidate = np.array(BASE * 10, float), np.array(dropped(BASE * 10, 60), float)
    (check,) = decide(settings(5.0), {"b": {"t": base}}, {"t": candidate}).checks
    assert (check.verdict, check.note) == ("PASS", "significantly worse, by less than the margin")


def test_one_bad_task_of_many_blocks_and_chance_alone_does_not():
    rng = np.random.default_rng(4)
    agreed = replace(settings(5.0), margins={f"t{i}": 8.0 for i in range(8)})
    wrong = 0
    for _ in range(300):
        pairs = {f"t{i}": pair(rng, 200, 0, 0.2) for i in range(8)}
        base, candidate = ({task: of[side] for task, of in pairs.items()} for side in (0, 1))
        wrong += decide(agreed, {"b": base}, candidate).verdict == "BLOCK"
    assert wrong / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
    base["t3"], candidate["t3"] = pair(rng, 200, 25, 0.3)
    found = decide(agreed, {"b": base}, candidate)
    assert found.verdict == "BLOCK"
    assert [check.task for check in found.checks if check.verdict == "BLOCK"][:1] == ["t3"]


def test_the_detectable_drop_is_blocked_four_times_in_five_among_many_checks():
    rng = np.random.default_rng(6)
    agreed = replace(settings(8.0), margins={f"t{i}": 8.0 for i in range(3)})
    drop, blocked, n = 0.0, 0, 300
    for _ in range(n):
        pairs = {f"t{i}": pair(rng, 300, drop if i == 0 else 0.0, 0.2) for i in range(3)}
        base, candidate = ({task: of[side] for task, of in pairs.items()} for side in (0, 1))
        check = next(check for check in decide(agreed, {"b": base}, candidate).checks if check.task == "t0")
        drop = drop or report.detectable_drop({"level": check.level, **asdict(check.test)})
        blocked += check.verdict == "BLOCK"
    assert check.level == pytest.approx(0.05 / 4)
    assert abs(blocked / n - 0.8) < 0.06


def test_a_supporting_task_must_not_block_and_an_advisory_one_does_not_count():
    rng = np.random.default_rng(3)
    base = {f"t{i}": (rng.random(400) < 0.6).astype(float) for i in range(3)}
    open_ = {**base, "t0": np.array(dropped(base["t0"], 20, 16))}
    bad = {**base, "t0": np.array(dropped(base["t0"], 40))}
    agreed = replace(settings(6.0), margins={"t0": 0.5, "t1": 9.0, "t2": 9.0})
    found = {
        tier: [decide(replace(agreed, tiers={"t0": tier}), {"b": base}, of).verdict for of in (base, open_, bad)]
        for tier in ("critical", "supporting", "advisory")
    }
    assert found == {
        "critical": ["INCONCLUSIVE", "INCONCLUSIVE", "BLOCK"],
        "supporting": ["PASS", "PASS", "BLOCK"],
        "advisory": ["PASS", "PASS", "PASS"],
    }
    decision = decide(replace(agreed, tiers={"t0": "advisory"}), {"b": base}, bad)
    levels = {check.task: (check.verdict, check.level) for check in decision.checks}
    assert levels["t0"] == ("BLOCK", pytest.approx(0.05)), "tested alone"
    assert levels["t1"][1] == pytest.approx(0.05 / 3), "not in the family of Holm's correction"


def test_a_supporting_task_has_all_its_items_before_the_gate_passes():
    base = {f"t{i}": np.ones(600) for i in range(2)}
    agreed = Settings(5.0, {"t0": 5.0, "t1": 0.1}, tiers={"t1": "supporting"}, design="group-sequential")
    found = decide(agreed, {"b": base}, base)
    assert (found.verdict, found.look) == ("PASS", len(LOOKS))
    assert decide(replace(agreed, tiers={"t1": "advisory"}), {"b": base}, base).look < len(LOOKS)


def test_a_published_score_is_compared_unpaired():
    ours, known = np.array([1.0] * 90 + [0.0] * 10), Published(0.95, 100)
    (check,) = decide(settings(30.0), {"b": {"t": known}}, {"t": ours}).checks
    assert (check.test.value, check.test.gained, check.test.method) == (approx_(-0.05), None, "unpaired, Newcombe")
    newcombe = unpaired.difference(0.9, 100, 0.95, 100)
    at = unpaired.sided_unpaired([ours], [known], [1.0], -newcombe.low, 0.025)
    assert (at.low, at.high) == (approx_(newcombe.low), approx_(newcombe.high))
    assert at.p_below == approx_(0.025), "the p-value at which the interval just reaches the margin"
    tasks = {"t": ours, "u": np.zeros(50)}
    two = replace(settings(30.0), margins={"t": 30.0, "u": 30.0})
    values = [
        decide(replace(two, primary=primary), {"b": {"t": known, "u": Published(0.1, 50)}}, tasks).checks[0].test.value
        for primary in ("macro", "items")
    ]
    assert values == [approx_(-0.075), approx_((-0.05 * 100 - 0.1 * 50) / 150)]
    for same in (True, False):
        rng = np.random.default_rng(2)
        passed, blocked = (gate_rates.without_records(400, 400, same, drop, 9.0, 200, rng) for drop in (9.0, 0.0))
        assert passed[0] <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5
        assert blocked[1] <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5
        assert blocked[0] > 0.8


def approx_(value):
    return pytest.approx(value, abs=1e-6)


def test_related_items_count_as_related_in_one_task_and_across_tasks():
    """Without clusters 18 % of unchanged checkpoints are blocked; 60 repetitions."""
    for sizes, codes in (([500], np.arange(500) // 5), ([250, 250], np.tile(np.arange(250), 2))):
        agreed = Settings(margin=8.0, margins={f"t{i}": 30.0 for i in range(len(sizes))} if len(sizes) > 1 else {})
        rates = [
            gate_rates.related(agreed, sizes, codes, told, 0.0, 60, np.random.default_rng(3)) for told in (False, True)
        ]
        assert rates[0][1] > rates[1][1]
        assert rates[1][1] <= 0.055 + 2 * (0.055 * 0.945 / 60) ** 0.5


def test_items_of_their_own_are_tested_exactly_whether_or_not_clusters_are_given():
    base, candidate = np.array(BASE, float), np.array(dropped(BASE, 20, 9), float)
    own = {"t": np.arange(400)}
    plain = decide(settings(), {"b": {"t": base}}, {"t": candidate})
    assert decide(settings(), {"b": {"t": base}}, {"t": candidate}, clusters=own) == plain
    (check,) = decide(settings(), {"b": {"t": base}}, {"t": candidate}, clusters={"t": np.arange(400) // 2}).checks
    assert check.test.method == "paired t, 200 clusters"
    known = {"b": {"t": Published(0.6, 400)}}
    alone, together = (
        decide(settings(), known, {"t": np.repeat(candidate[::8], 8)}, clusters=clusters).checks[0].test
        for clusters in (None, {"t": np.arange(400) // 8})
    )
    assert together.error > 2 * alone.error, "of a published score too"


def test_macro_counts_tasks_alike_and_items_counts_items_alike():
    tasks = {"big": np.ones(900), "small": np.ones(100)}
    worse = {"big": np.ones(900), "small": np.zeros(100)}
    agreed = Settings(margin=5.0, margins={"big": 50.0, "small": 50.0})
    values = {
        primary: next(
            check.test.value
            for check in decide(replace(agreed, primary=primary), {"b": tasks}, worse).checks
            if check.task == "all tasks"
        )
        for primary in ("macro", "items")
    }
    assert values == {"macro": -0.5, "items": -0.1}


def test_a_group_sequential_gate_stops_at_the_first_look_that_settles_it():
    base = np.ones(1000)
    agreed = settings(3.0, design="group-sequential")
    bad = decide(agreed, {"b": {"t": base}}, {"t": np.concatenate([np.zeros(200), np.full(800, np.nan)])})
    assert (bad.verdict, bad.n_used, bad.look, bad.over) == ("BLOCK", 25, 1, True)
    unsettled = np.concatenate([np.ones(200), np.full(800, np.nan)])
    unsettled[:3] = 0
    early = decide(agreed, {"b": {"t": base}}, {"t": unsettled})
    assert (early.verdict, early.over) == ("INCONCLUSIVE", False)
    with pytest.raises(ValueError, match="scores are missing before the first"):
        decide(agreed, {"b": {"t": base}}, {"t": np.full(1000, np.nan)})


# ------------------------------------------------------------------------------------------------ real records


DATA = os.environ.get("HARNESS_DATA")


@pytest.fixture(scope="module")
def gsm8k(tmp_path_factory):
    """Verdicts of two real models on GSM8K, item by item."""
    if not DATA:
        pytest.skip("HARNESS_DATA is not set: no recorded generations here")
    home, found = tmp_path_factory.mktemp("gsm8k"), {}
    for name in ("Qwen2-7B-Instruct", "Yi-1.5-9B-Chat"):
        path = Path(DATA) / "generations" / f"zeroeval_gsm_{name}.jsonl.gz"
        recorded = eval_models.ModelChoice(engine="replay", generations=path, name=name)
        eval_models.run(eval_models.EvalRequest(("gsm8k",), recorded, eval_models.Output(home / name)), Quiet())
        (file,) = (home / name).glob("evals/*/records-*.jsonl")
        found[name] = Columns.of(read_records(file)).scores("lenient")
    return home, found


@pytest.mark.data
@pytest.mark.parametrize(("drop", "blocked"), [(1, 0.200), (2, 0.491), (3, 0.786), (5, 0.992)])
def test_regressions_planted_in_real_records_are_blocked_at_the_published_rates(gsm8k, drop, blocked):
    base = gsm8k[1]["Qwen2-7B-Instruct"]
    share, rng, n = base.mean(), np.random.default_rng(drop), 1000  # items are drawn anew, as if from all there are
    lost, gained = ((0.2 + sign * drop / 100) / 2 for sign in (1, -1))
    found = 0
    for _ in range(n):
        drawn = rng.choice(base, len(base))
        flips = rng.random(len(base)) < np.where(drawn > 0, lost / share, gained / (1 - share))
        found += decide(settings(3.0), {"b": {"t": drawn}}, {"t": np.abs(drawn - flips)}).verdict == "BLOCK"
    assert abs(found / n - blocked) < 0.02 + 2 * (blocked * (1 - blocked) / n) ** 0.5


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("design", ["fixed", "group-sequential"])
def test_real_models_with_their_names_shuffled_are_blocked_at_most_six_times_in_a_hundred(gsm8k, design):
    one, two = gsm8k[1].values()
    rng, n, blocked = np.random.default_rng(5), 2000, 0
    for _ in range(n):
        swap, order = rng.random(len(one)) < 0.5, rng.permutation(len(one))
        base, candidate = (np.where(swap, *sides)[order] for sides in ((one, two), (two, one)))
        blocked += decide(settings(3.0, design=design), {"b": {"t": base}}, {"t": candidate}).verdict == "BLOCK"
    assert blocked / n <= 0.06


@pytest.mark.data
def test_real_records_go_through_the_commands(gsm8k, tmp_path):
    home, _ = gsm8k
    done = gate("accept", home / "Qwen2-7B-Instruct", "--reading", "lenient", "--reason", "x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gsm8k: 1,319 items, margin 4 points" in done.stdout
    done = gate("check", home / "Yi-1.5-9B-Chat", "--candidate", "yi", cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr
    assert json.loads((tmp_path / "gate-report" / "verdict.json").read_text())["n"] == 1319


# ------------------------------------------------------------------------------------------------ locks


def test_a_lock_says_what_was_agreed_and_is_read_back(tmp_path):
    comparison = accepted(tmp_path, per_item("base", BASE))
    lock = comparison.lock
    assert sorted(lock.items["t"]) == sorted(f"t/test/{i:03d}" for i in range(400))
    assert lock.items["t"] != sorted(lock.items["t"]), "items in order of difficulty would mislead a look"
    assert lock.baselines["release"].sha256 == lock.baselines["previous"].sha256
    assert list(comparison.baselines) == ["release"], "one checkpoint is tested once"
    again = locks.read_lock(tmp_path / "gate.lock.json")
    assert again == lock


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (
            lambda text: text.replace('"margin": 5.0', '"margin": 50.0'),
            "was edited after it was accepted: its seal does not",
        ),
        (lambda text: text.replace("t/test/007", "t/test/999"), "was edited after it was accepted"),
        (lambda text: text.replace('"schema": 2', '"schema": 9'), "has schema 9, this version reads 2"),
        (lambda text: text[:-40], "is not a valid lock"),
        (lambda _: "[]", "is not a valid lock"),
        (lambda text: text.replace('"alpha": 0.05', '"alpha": NaN'), "is not a valid lock"),
        (lambda text: text.replace('"max_errors"', '"most_errors"'), "is not a valid lock"),
    ],
)
def test_a_lock_that_was_changed_by_hand_is_refused(tmp_path, tamper, message):
    accepted(tmp_path, per_item("base", BASE))
    path = tmp_path / "gate.lock.json"
    before = path.read_text()
    path.write_text(tamper(before))
    assert path.read_text() != before
    with pytest.raises(NotComparable, match=message):
        Comparison(path)


def test_a_baseline_without_its_scores_or_with_others_is_refused(tmp_path):
    accepted(tmp_path, per_item("base", BASE))
    file = tmp_path / "gate.lock.release.jsonl"
    text = file.read_text()
    file.write_text(text.replace('"strict": 1.0', '"strict": 0.0', 1))
    with pytest.raises(NotComparable, match="is not the accepted file of the release baseline"):
        Comparison(tmp_path / "gate.lock.json")
    file.unlink()
    with pytest.raises(
        NotComparable, match=r"the per-item file .*gate\.lock\.release\.jsonl of the release baseline cannot be read"
    ):
        Comparison(tmp_path / "gate.lock.json")
    with pytest.raises(NotComparable, match=r"lock .* does not exist: .* harness gate accept RUN"):
        Comparison(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line | {"strict": 2.0}, "has a score outside of 0 to its 1 samples"),
        (lambda line: line | {"strict": float("nan")}, "NaN is not a score"),
        (lambda line: line | {"id": "t/test/001"}, "item t t/test/001 appears twice"),
        (lambda _: {"task": "t"}, "is not a per-item file"),
    ],
)
def test_a_per_item_file_that_does_not_fit_is_refused(change, message):
    head, first, *rest = per_item("base", BASE).text().splitlines()
    text = "\n".join([head, json.dumps(change(json.loads(first))), *rest])
    with pytest.raises(DataError, match=message):
        PerItem.from_text(text, "f")


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("prompt at t", {"prompt_hash": "other"}),
        ("item at t", {"sample_hash": "other"}),
        ("grader version of t", {"grader_version": "2"}),
        ("decoding of t", {"sampling": {"max_tokens": 17, "temperature": 0.0}}),
        ("engine of t", {"engine": "vllm 2"}),
        ("sandbox of t", {"sandbox": "none"}),
    ],
)
def test_what_cannot_be_compared_is_refused_by_field(tmp_path, field, changes):
    comparison = accepted(tmp_path, per_item("base", BASE))
    other = per_item("new", BASE, "d", **changes)
    with pytest.raises(NotComparable, match=f"'new' and 'base' differ in {field}"):
        decided(comparison, other)
    name = field.rpartition(" at")[0] or field.rpartition(" of")[0]
    assert decided(Comparison(comparison.path, frozenset([name])), other).verdict == "PASS"


def test_missing_items_are_never_skipped(tmp_path):
    comparison = accepted(tmp_path, per_item("base", BASE))
    with pytest.raises(NotComparable, match="'new' has no reply to 1 of the 400 items of t in the lock, first"):
        decided(comparison, per_item("new", BASE[:-1], "d"))
    more = decided(comparison, per_item("new", [*BASE, 1, 1], "d"))
    assert (more.verdict, more.n) == ("PASS", 400)


def test_replies_without_verdict_count_as_wrong_and_many_of_them_are_refused(tmp_path):
    comparison = accepted(tmp_path, per_item("base", [1] * 400))
    records = graded("d" * 64, [1] * 400)

    def failing(count):
        none = [replace(r, scores={k: replace(s, value=None) for k, s in r.scores.items()}) for r in records[:count]]
        return PerItem.of("new", Run("d" * 64, Columns.of([*none, *records[count:]])))

    (check,) = decided(comparison, failing(4)).checks
    assert check.test.lost == 4
    with pytest.raises(NotComparable, match="'new': 5 of 400 replies to t have no score, more than 1 %"):
        decided(comparison, failing(5))
    with pytest.raises(NotComparable, match="have no score"):
        accepted(tmp_path / "other", failing(5))


def sampled(values, repeats, digest="c", name="base"):
    """The per-item file of several samples an item, each drawn with a seed of its own."""
    records = [
        replace(changed(r, sampling={**SAMPLED, "seed": k}), repeat=k)
        for k in repeats
        for r in graded(digest * 64, values)
    ]
    return PerItem.of(name, Run(digest * 64, Columns.of(records)))


def test_a_candidate_has_as_many_samples_as_the_lock_asks_for(tmp_path):
    baseline = sampled(BASE, range(4))
    assert baseline.samples == 4
    comparison = accepted(tmp_path / "same", baseline)
    assert decided(comparison, replace(baseline, name="new")).verdict == "PASS"
    with pytest.raises(NotComparable, match="'new' has 1 samples an item, the lock asks for 4"):
        decided(comparison, sampled(BASE, [0], "d", "new"))
    many = [replace(r, repeat=k) for r in graded("c" * 64, BASE) for k in range(4)]
    with pytest.raises(NotComparable, match="items with 1 and with 4 samples"):
        PerItem.of("odd", Run("c" * 64, Columns.of([*many, record("t/test/900")])))


def test_a_baseline_may_have_more_samples_than_a_candidate(tmp_path):
    path = tmp_path / "gate.lock.json"
    lock = locks.accept(path, None, sampled(BASE, range(4)), settings(), locks.Acceptance("x", WHEN, samples=1))
    new = sampled(dropped(BASE, 4, 4), [2], "d", "new")
    found = decided(Comparison(path), new)
    assert (found.verdict, found.checks[0].test.value) == ("PASS", pytest.approx(0.0))
    other = replace(new, rules={"t": {**new.rules["t"], "decoding": ['{"max_tokens": 99}']}})
    with pytest.raises(NotComparable, match="differ in decoding of t"):
        decided(Comparison(path), other)
    lock = locks.accept(path, lock, new, settings(), locks.Acceptance("y", WHEN))
    assert lock.samples == 1
    assert {check.baseline for check in decided(Comparison(path), sampled(BASE, [2], "e", "v3")).checks} == {
        "release",
        "previous",
    }


def test_further_samples_of_the_baseline_alone_make_a_smaller_margin_testable():
    rng = np.random.default_rng(1)
    chance = rng.beta(0.63, 0.42, 600)
    records = [
        record(f"t/test/{i:03d}", float(rng.random() < chance[i]), repeat=k) for i in range(600) for k in range(4)
    ]
    many = PerItem.of("base", Run("c" * 64, Columns.of(records)))
    first = PerItem.of("base", Run("c" * 64, Columns.of([r for r in records if r.repeat == 0])))
    margins = [
        plan.plan(of, settings(0.0), plan.Wanted(discordance=0.24, samples=samples)).settings.margin
        for of, samples in ((first, 1), (many, 1), (many, 4))
    ]
    assert margins[0] > margins[1] + 0.5 > margins[2] + 1
    with pytest.raises(UsageError, match="--samples 5: the baseline has 4 per item"):
        plan.plan(many, settings(0.0), plan.Wanted(samples=5))
    rates = [gate_rates.of_samples(4, 100, drop, 150, np.random.default_rng(2)) for drop in (0.0, 10.0)]
    assert rates[0][1] <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5
    assert rates[1][0] <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5


def test_a_candidate_is_compared_with_release_and_previous(tmp_path):
    path = tmp_path / "gate.lock.json"
    accepted(tmp_path, per_item("v1", BASE))
    worse = per_item("v2", dropped(BASE, 16), "d")  # by four points: within the margin
    lock = locks.accept(path, locks.read_lock(path), worse, settings(6.0), locks.Acceptance("second", WHEN))
    assert (lock.baselines["release"].name, lock.baselines["previous"].name) == ("v1", "v2")
    comparison = Comparison(path)
    again = per_item("v3", dropped(BASE, 40), "e")
    verdicts = {check.baseline: check for check in decided(comparison, again).checks}
    assert set(verdicts) == {"release", "previous"}
    assert verdicts["release"].test.value < verdicts["previous"].test.value < 0
    assert decided(comparison, again).verdict == "BLOCK", "slow drift is caught by the release"
    with pytest.raises(NotComparable, match="differ in grader version"):
        locks.accept(
            path,
            locks.read_lock(path),
            per_item("v4", BASE, "e", grader_version="2"),
            settings(),
            locks.Acceptance("", WHEN),
        )


def test_trying_again_until_it_passes_does_not_help(tmp_path):
    comparison = accepted(tmp_path, per_item("base", BASE, sampling=SAMPLED), settings(5.0))
    attempts = Attempts(tmp_path / "attempts", comparison)
    bad, lucky = attempt(dropped(BASE, 60)), attempt(BASE)
    assert comparison.decided(added(attempts, bad)).verdict == "BLOCK"
    assert len(added(attempts, bad)) == 1, "the same replies are the same attempt"
    assert len(added(attempts, replace(bad, name="renamed", tokens_per_reply=9.0))) == 1, "whatever it is called"
    both = added(attempts, lucky, "another name for the same weights")
    assert len(both) == 2
    (check,) = comparison.decided(both).checks
    assert check.test.value == pytest.approx(-60 / 400 / 2), "pooled, not replaced"
    assert comparison.decided(both).verdict == "BLOCK"
    added(attempts, per_item("new", BASE, "e"))
    assert attempts.candidates() == 3  # two weights, and the name


def test_a_decision_and_its_report_compute_the_scores_once(tmp_path):
    comparison = accepted(tmp_path, per_item("base", BASE), settings(5.0))
    one, other = per_item("new", dropped(BASE, 5, 5), "d"), per_item("new", dropped(BASE, 9, 5), "d")
    decision = decided(comparison, one)
    scores = comparison.scores(tried(one))
    comparison.report(one, tried(one), decision, Standing())
    assert comparison.scores(tried(one)) is scores
    assert comparison.scores(tried(other))[1][0]["t"].mean() < scores[1][0]["t"].mean(), "of other attempts others"


def test_a_later_attempt_is_tested_at_a_small_part_of_alpha(tmp_path):
    parts = [0.05 * share.own for share in attempts_alone(300)]
    assert parts[:3] == [0.05, pytest.approx(0.05 / 20), pytest.approx(0.05 / 60)]
    assert sum(parts) == pytest.approx(0.055, abs=2e-5), "at most a tenth more than alpha, however often it is tried"
    comparison = accepted(tmp_path, per_item("base", BASE, sampling=SAMPLED), settings(5.0))
    one, other = attempt(dropped(BASE, 5, 5)), attempt(dropped(BASE, 6, 5))
    (alone,), (pooled,) = decided(comparison, one).checks, decided(comparison, one, other).checks
    assert (alone.level, pooled.level) == (pytest.approx(0.05), pytest.approx(0.05 / 20))
    assert pooled.test.low < alone.test.low
    facts = reported(comparison, one, other)
    assert facts["warnings"][0] == "2 attempts of this candidate: they are pooled and tested at 0.25 %"
    assert (facts["attempts"], facts["attempts_used"], facts["level"]) == (2, 2, pytest.approx(0.0025))
    assert "99.5 % intervals" in report.summary(facts)


def test_the_clusters_of_a_lock_are_those_of_its_release_in_its_order(tmp_path):
    base = per_item("base", BASE)
    items = tuple(replace(item, cluster=str(int(item.id[-3:]) // 2)) for item in base.items)
    comparison = accepted(tmp_path, replace(base, items=items))
    clusters = comparison.clusters["t"]
    pairs = {id_: int(clusters[at]) for at, id_ in enumerate(comparison.lock.items["t"])}
    assert all(pairs[f"t/test/{i:03d}"] == pairs[f"t/test/{i + 1:03d}"] for i in range(0, 400, 2))
    assert len(set(pairs.values())) == 200
    (check,) = decided(comparison, per_item("new", dropped(BASE, 5, 5), "d")).checks
    assert check.test.method == "paired t, 200 clusters"
    made = plan.plan(replace(base, items=items), settings(0.0), plan.Wanted())
    again = plan.plan(base, settings(0.0), plan.Wanted())
    assert again.parts[0].related == 1.0
    alike = tuple(replace(item, cluster=f"{item.strict} {int(item.id[-3:]) // 20}") for item in base.items)
    worst = plan.plan(replace(base, items=alike), settings(0.0), plan.Wanted())
    assert worst.settings.margin > 1.5 * made.settings.margin
    assert "400 items, related ones count as " in plan.plan_lines(worst)[4]


def test_many_attempts_hardly_raise_the_chance_of_a_wrong_verdict():
    """If each attempt is tested alone, they do: to three times alpha after ten."""
    agreed = settings(1.64, design="group-sequential")
    alone, pooled = (
        gate_rates.wrong_in_the_end(rule, agreed, False, 30, np.random.default_rng(4), 2000)
        for rule in (gate_rates.each_alone, gate_rates.together)
    )
    grown = [sum(of[verdict][-1] - of[verdict][0] for verdict in ("BLOCK", "PASS")) for of in (alone, pooled)]
    assert grown[0] > 0.1, "blocked though unchanged, and passed though worse by the margin, after ten attempts"
    assert grown[1] <= 0.02


def test_the_checkpoints_of_a_run_share_alpha_and_one_that_passes_hands_its_part_on():
    tests = []
    for candidate, verdict in (("a", "PASS"), ("b", "PASS"), ("c", "BLOCK"), ("d", "PASS"), ("d", "BLOCK")):
        tests.append(FamilyTest(candidate, next_share(2, tests, candidate), verdict))
    owns, passing = ([getattr(test.share, name) for test in tests] for name in ("own", "passing"))
    assert owns == [0.5, 0.5, pytest.approx(1 / 20), pytest.approx(1 / 60), pytest.approx(1 / 120)]
    assert passing == [0.5, 1.0, pytest.approx(1.05), pytest.approx(1 / 60), pytest.approx(1 / 60 + 1 / 120)]
    one = [FamilyTest("a", next_share(1, [], "a"), "INCONCLUSIVE")]
    assert next_share(3, one, "b").own == pytest.approx(1 / 20), "more at equal level later on do not raise the sum"
    for checkpoints in (1, 3, 10):
        tests = []
        for number in range(40):
            tests.append(FamilyTest(str(number), next_share(checkpoints, tests, str(number)), "INCONCLUSIVE"))
        assert sum(test.share.own for test in tests) == pytest.approx(1.1, abs=0.005)


def test_ten_checkpoints_of_a_run_are_hardly_ever_all_wrong_together():
    """If each is tested at alpha, one of ten that are worse by the margin passes in a quarter of the cases."""
    alone, family = (
        gate_rates.one_of_a_run(rule, settings(5.0), 5.0, 0.5, 60, np.random.default_rng(4))[1]
        for rule in (gate_rates.every_one_alone, next_share)
    )
    assert alone > 0.15
    assert family <= 0.055 + 2 * (0.055 * 0.945 / 60) ** 0.5


def test_a_family_is_found_by_the_path_of_a_checkpoint():
    assert of_path(Path("out/sft-7/checkpoint-2000")) == "sft-7"
    assert of_path(Path("runs/pico/stages/kd-0a1b/work/final")) == "kd-0a1b"
    assert of_path(Path("models/Qwen2.5-7B")) == ""
    assert [is_step(name) for name in ("step_20", "epoch3", "global_step-5", "llama-3", "final")] == [True] * 3 + [
        False
    ] * 2


def test_candidates_of_one_family_are_told_and_tested_at_their_part(three):
    for number, name in enumerate(("worse", "same"), 1):
        done = gate("check", name, "--family", "sft", cwd=three)
        facts = json.loads((three / "gate-report" / "verdict.json").read_text())
        assert (facts["family"]["name"], facts["family"]["checked"]) == ("sft", number)
    assert (facts["level"], facts["level_block"]) == (pytest.approx(0.0025), pytest.approx(0.0025))
    said = "one of 2 checkpoints checked of 'sft', beyond the 1 at equal level: tested at 0.25 %"
    assert said in facts["warnings"]
    again = gate("check", "same", cwd=three)
    assert again.stdout == done.stdout.replace(f"  note: {said}\n", ""), "the same replies are the same attempt"


def test_rows_that_are_steps_of_a_run_are_one_family_without_being_named(three):
    written(three / "mine", BASE, "d" * 64, "step-100")
    gate("check", "mine", cwd=three)
    facts = json.loads((three / "gate-report" / "verdict.json").read_text())
    assert facts["family"]["name"] == "mine"


def test_greedy_replies_of_the_same_weights_keep_the_first_verdict(tmp_path):
    comparison = accepted(tmp_path, per_item("base", BASE))
    first, rounded = per_item("new", dropped(BASE, 60), "d"), per_item("new", BASE, "d")
    found = decided(comparison, first, rounded)
    assert found == decided(comparison, first)
    facts = reported(comparison, first, rounded)
    assert facts["warnings"][0].startswith(
        "2 attempts of this candidate: their replies are greedy and of the same weights"
    )
    assert decided(comparison, first, per_item("new", BASE, "e")).attempts == 2, (
        "of other weights it is another attempt"
    )
    assert comparison.settled(tried(first), first.weights) == found
    assert comparison.settled(tried(first), "e" * 64) is None
    with pytest.raises(NotComparable, match="differ in grader version"):
        decided(comparison, first, per_item("new", BASE, "d", grader_version="2"))


def test_attempts_are_of_one_set_of_items_and_rules(tmp_path):
    first = accepted(tmp_path / "a", per_item("base", BASE))
    other = accepted(tmp_path / "b", per_item("base", BASE, grader_version="2"))
    folder = tmp_path / "attempts"
    added(Attempts(folder, first), per_item("new", BASE, "d"))
    assert len(added(Attempts(folder, other), per_item("new", BASE, "d", grader_version="2"))) == 1


def test_records_that_do_not_know_their_weights_must_be_named(tmp_path):
    comparison = accepted(tmp_path, per_item("base", BASE))
    attempts = Attempts(tmp_path / "attempts", comparison)
    for digest in ("recorded:x", "served:y"):
        with pytest.raises(UsageError, match=r"have no weights digest.* --candidate ID"):
            added(attempts, replace(per_item("new", BASE), checkpoint=digest))
    bad = replace(per_item("new", dropped(BASE, 60)), checkpoint="recorded:1")
    good = replace(per_item("new", BASE), checkpoint="recorded:2")
    added(attempts, bad, "commit 1")
    assert len(added(attempts, good, "commit 1")) == 2
    assert len(added(attempts, good, "commit 2")) == 1


@pytest.mark.parametrize("content", [b"\xff", b"", b"[]\n", b"{}\n", b'{"schema": 1}\n'])
def test_a_file_that_is_no_attempt_is_named(tmp_path, content):
    comparison = accepted(tmp_path, per_item("base", BASE))
    attempts = Attempts(tmp_path / "attempts", comparison)
    added(attempts, per_item("new", BASE, "d"))
    (path,) = (tmp_path / "attempts").iterdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        added(attempts, per_item("new", dropped(BASE, 1), "d"))


def test_an_early_stop_stands(tmp_path):
    agreed = settings(5.0, design="group-sequential")
    comparison = accepted(tmp_path, per_item("base", [1] * 400), agreed)
    order = comparison.lock.items["t"]
    first = set(order[:80])
    stopped = per_item("new", [1] * 400, "d")
    stopped = replace(stopped, items=tuple(replace(i, strict=0.0) for i in stopped.items if i.id in first))
    found = decided(comparison, stopped, per_item("new", [1] * 400, "e"))
    assert (found.verdict, found.n_used, found.attempts) == ("BLOCK", 20, 1)
    assert comparison.settled(tried(stopped), "e" * 64) == found, "so that no more is generated"


def test_an_attempt_that_stopped_early_is_pooled_once_the_lock_decides_after_all_items(tmp_path):
    early = accepted(tmp_path / "a", per_item("base", BASE, sampling=SAMPLED), settings(5.0, design="group-sequential"))
    late = accepted(tmp_path / "b", per_item("base", BASE, sampling=SAMPLED), settings(5.0))
    first, whole = set(early.lock.items["t"][:80]), attempt(dropped(BASE, 60))
    part = replace(whole, items=tuple(replace(item, strict=0.0) for item in whole.items if item.id in first))
    assert early.settled(tried(part), part.weights) == decided(early, part)
    assert late.settled(tried(part), part.weights) is None, "so that the model is evaluated on all items"
    with pytest.raises(NotComparable, match="has no reply to 320 of the 400 items"):
        decided(late, part)
    found = decided(late, part, whole)
    assert (found.verdict, found.attempts, found.n_used) == ("BLOCK", 2, 400)


def test_an_incomplete_run_is_refused_unless_it_is_decided_or_still_running(tmp_path):
    comparison = accepted(tmp_path, per_item("base", BASE), settings(5.0, design="group-sequential"))
    first = set(comparison.lock.items["t"][:80])
    whole = per_item("new", dropped(BASE, 20, 20), "d")
    part = replace(whole, items=tuple(item for item in whole.items if item.id in first))
    with pytest.raises(NotComparable, match="'new' has no reply to 320 of the 400 items of t"):
        decided(comparison, part)
    assert decided(comparison, part, in_part=True).verdict == "INCONCLUSIVE"


def test_an_attempt_is_tested_only_with_those_before_it(tmp_path):
    agreed = settings(4.6, design="group-sequential")
    comparison = accepted(tmp_path, per_item("base", BASE, sampling=SAMPLED), agreed)
    unsure, bad, good = attempt(dropped(BASE, 45, 35)), attempt(dropped(BASE, 60)), attempt(dropped(BASE, 8, 3))
    assert decided(comparison, good).verdict == "PASS"
    verdicts = [decided(comparison, unsure, *more).verdict for more in ([], [good], [bad])]
    assert verdicts == ["INCONCLUSIVE", "INCONCLUSIVE", "BLOCK"]
    found = decided(comparison, unsure, bad, good)
    assert (found.verdict, found.attempts) == ("BLOCK", 2), "what the first two decide stands"
    facts = reported(comparison, unsure, bad, good)
    assert facts["warnings"][0] == "3 attempts of this candidate: the verdict of the first 2 stands"


def test_a_later_attempt_is_pooled_over_the_items_it_has_reached(tmp_path):
    agreed = settings(5.6, design="group-sequential")
    comparison = accepted(tmp_path, per_item("base", BASE, sampling=SAMPLED), agreed)
    first, other = attempt(dropped(BASE, 45, 35)), attempt(dropped(BASE, 35, 45))
    reached = set(comparison.lock.items["t"][:160])
    part = replace(other, items=tuple(item for item in other.items if item.id in reached))
    found = decided(comparison, first, part, in_part=True)
    assert (found.n_used, found.over, found.attempts) == (160, False, 2)
    with pytest.raises(NotComparable, match="has no reply to 240 of the 400 items"):
        decided(comparison, first, part)


# ------------------------------------------------------------------------------------------------ plans


def test_a_plan_says_what_would_be_found():
    made = plan.plan(per_item("base", BASE * 3 + BASE[:119]), settings(0.0), plan.Wanted())
    assert made.settings.margin == pytest.approx(4.0)  # (1.645 + 1.6) sqrt(0.2 / 1319), 1.6: two of two with 90 %
    three = [replace(made.parts[0], margin=3.0)]
    found = plan.whole_gate(three, made.settings, 1, {"t": 3.0})
    assert found.blocked == pytest.approx(0.734, abs=0.02)  # 0.786 if a drop of 3 points were half of it fewer gains
    assert found.passed == pytest.approx(0.05, abs=0.01)
    assert found.used == 1.0
    early = replace(made.settings, design="group-sequential")
    assert plan.whole_gate(three, early, 1, {"t": 5.0}).used == pytest.approx(0.54, abs=0.03)
    assert "cost of a check: at most 1,319 replies, about 3,957 tokens" in plan.plan_lines(made)


def test_a_margin_too_small_to_test_is_refused_unless_insisted_on():
    base = per_item("base", BASE)
    with pytest.raises(
        UsageError, match=r"a margin of 1 points for t is too small .* the smallest with 80 % power is 5.6 "
    ):
        plan.plan(base, settings(0.0), plan.Wanted(1.0))
    assert plan.plan(base, settings(0.0), plan.Wanted(1.0, underpowered=True)).settings.margin == 1.0
    with pytest.raises(UsageError, match="the baseline has no such task; its tasks: t"):
        plan.plan(base, settings(0.0), plan.Wanted(margins={"u": 3.0}))


def test_a_margin_of_the_score_becomes_points(three):
    done = gate("accept", "base", "--release", "--margin", "10%", "--reason", "x", cwd=three)
    assert "t: 400 items, margin 6 points (10 % of the baseline's 60.0)" in done.stdout, done.stderr
    assert locks.read_lock(three / "gate.lock.json").settings.margin == 6.0
    for option, text in (("--margin", "5%%"), ("--margin", "x"), ("--task-margin", "t=-1%"), ("--task-margin", "5%")):
        done = gate("plan", "base", option, text, cwd=three)
        assert done.returncode == 2
        assert f"{option} must be " in done.stderr
        assert f"got {text.rpartition('=')[2]!r}" in done.stderr


def test_a_baseline_that_scores_less_than_can_be_tested_is_told_what_helps():
    weak = per_item("weak", [1] * 10 + [0] * 154)
    with pytest.raises(UsageError) as caught:
        plan.plan(weak, settings(0.0), plan.Wanted())
    assert str(caught.value) == (
        "the smallest margin that this many items can test is 9.4 points for t, which is larger than the baseline's "
        "own strict score (6.1), so losing all of it would pass; use more items, more samples per item, or leave the "
        "task out"
    )
    assert plan.plan(weak, settings(0.0), plan.Wanted(discordance=0.03)).settings.margin == 5.5
    with pytest.raises(UsageError, match=r"a margin of 9 points for t is larger .* or leave the task out$"):
        plan.plan(weak, settings(0.0), plan.Wanted(9.0))
    with pytest.raises(UsageError, match=r"strict score \(0.0\), so .* or leave the task out$"):
        plan.plan(per_item("none", [0] * 8), settings(0.0), plan.Wanted())


@pytest.mark.parametrize(("score", "margin"), [(0.95, 6.45), (0.1, 7.2)])
def test_the_margin_is_as_small_as_the_score_allows_and_an_unchanged_checkpoint_passes(score, margin):
    """Worst case: no item is wrong of both, or right of both, so that they differ on as many as such scores allow."""
    rng, passed, margins = np.random.default_rng(3), 0, []
    blank = per_item("base", [0] * 400)
    for _ in range(40):
        lot = rng.random(400)
        candidate = (lot < score).astype(float)
        base = ((lot > 1 - score) if score > 0.5 else (lot > score) & (lot < 2 * score)).astype(float)
        items = tuple(replace(item, strict=value) for item, value in zip(blank.items, base, strict=True))
        made = plan.plan(replace(blank, items=items), settings(0.0), plan.Wanted())
        margins.append(made.settings.margin)
        passed += decide(made.settings, {"base": {"t": base}}, {"t": candidate}).verdict == "PASS"
    assert np.mean(margins) == pytest.approx(margin, abs=0.2)  # 7.3 if a fifth of the items differed
    assert passed / 40 > 0.8


def test_a_plan_tells_the_share_of_items_that_differ_for_each_task_if_the_scores_allow_less():
    easy = [*graded("c" * 64, [1] * 390 + [0] * 10, task="easy"), *graded("c" * 64, BASE)]
    made = plan.plan(PerItem.of("base", Run("c" * 64, Columns.of(easy))), settings(0.0), plan.Wanted())
    assert made.discordance == {"easy": pytest.approx(2 * intervals.wilson(10, 400).high), "t": 0.2}
    said = "assumed: two equally good checkpoints answer 9.08 % of the items of easy, 20 % of t differently, "
    assert said + "a worse one loses items besides" in plan.plan_lines(made)


def test_more_samples_per_item_make_a_smaller_margin_testable():
    rng = random.Random(1)
    margins = {}
    for samples in (1, 4, 16):
        share = [rng.random() for _ in range(400)]
        records = [
            record(f"t/test/{i:03d}", float(rng.random() < share[i]), repeat=k)
            for i in range(400)
            for k in range(samples)
        ]
        baseline = PerItem.of("base", Run("c" * 64, Columns.of(records)))
        margins[samples] = plan.plan(baseline, settings(0.0), plan.Wanted(discordance=0.35)).settings.margin
    assert margins[1] > margins[4] > margins[16]


def six(values=BASE[:200], digest="c"):
    """Six tasks with the same verdicts, of other items."""
    records = [r for i in range(6) for r in graded(digest * 64, values, task=f"t{i}")]
    made = PerItem.of("six", Run(digest * 64, Columns.of(records)))
    return replace(made, items=tuple(replace(item, cluster=item.task + item.id) for item in made.items))


def test_the_whole_gate_passes_an_unchanged_checkpoint_nine_times_in_ten():
    for tier, margins in (("critical", (5.4, 13.2)), ("supporting", (4.4, 10.8))):
        made = plan.plan(six(), settings(0.0, tiers={f"t{i}": tier for i in range(6)}), plan.Wanted())
        assert (made.settings.margin, made.settings.margins["t0"]) == (approx(margins[0]), approx(margins[1]))
        assert plan.whole_gate(made.parts, made.settings, 2).passed == pytest.approx(0.905, abs=0.01)
        rng, verdicts = np.random.default_rng(1), []
        for _ in range(60):
            verdicts.append(decide(made.settings, *gate_rates.six_tasks(rng, [0.0] * 6)).verdict)
        assert verdicts.count("PASS") >= 48
        (alone,) = [line for line in plan.plan_lines(made, 2) if line.startswith("  t3, ")]
        passed = 100 * plan.whole_gate(made.parts, made.settings, 2, {"t3": made.settings.margins["t3"]}).passed
        assert f"PASS {passed:3.0f} %" in alone, "the price of a drop in one task alone"
        price = {"critical": 1.0, "supporting": 18.0}[tier]  # of 500 simulated with `decide`
        assert passed == pytest.approx(price, abs=3.0)


def approx(points):
    return pytest.approx(points, abs=0.21)


# ------------------------------------------------------------------------------------------------ reports and commands


@pytest.fixture
def three(tmp_path):
    """Run folders: a baseline, an equal one, a worse one."""
    written(tmp_path / "base", BASE, "a" * 64, "base")
    written(tmp_path / "same", dropped(BASE, 5, 5), "b" * 64, "same")
    written(tmp_path / "worse", dropped(BASE, 60), "c" * 64, "worse")
    done = gate("accept", "base", "--reason", "first", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "commit them together" in done.stdout
    return tmp_path


def test_the_exit_code_is_the_verdict(three):
    assert gate("check", "same", cwd=three).returncode == 0
    blocked = harness_process("gate", "check", "worse", cwd=three)
    assert blocked.returncode == 3
    assert blocked.stdout.startswith("BLOCK: worse compared with release (base), t -15.0 (")
    (three / "gate.lock.json").write_text("{}")
    refused = gate("check", "same", cwd=three)
    assert refused.returncode == 5
    assert "is not a valid lock" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert gate("check", cwd=three).returncode == 2
    assert gate("check", "same", "--model", "x", cwd=three).returncode == 2


def test_an_open_question_passes_or_not_as_the_policy_says(three):
    written(three / "unsure", dropped(BASE, 60, 46), "d" * 64, "unsure")
    lenient = gate("check", "unsure", cwd=three)
    assert lenient.stdout.startswith("INCONCLUSIVE"), lenient.stdout
    assert lenient.returncode == 0
    assert (
        gate("accept", "base", "--release", "--policy", "require-noninferior", "--reason", "x", cwd=three).returncode
        == 0
    )
    strict = gate("check", "unsure", cwd=three)
    assert strict.stdout.startswith("INCONCLUSIVE")
    assert strict.returncode == 4
    suite = ElementTree.parse(three / "gate-report" / "junit.xml").getroot()
    assert suite.get("failures") == "1"


def test_the_report_is_complete(three):
    gate("check", "worse", "--out", "report", cwd=three, GITHUB_ACTIONS="")
    facts = json.loads((three / "report" / "verdict.json").read_text())
    assert (facts["kind"], facts["schema"], facts["verdict"], facts["exit_code"]) == ("gate verdict", 2, "BLOCK", 3)
    assert facts["checks"][0]["lost"] == 60
    with (three / "report" / "items_flipped.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert rows[0] == {"baseline": "release", "task": "t", "item": "t/test/000", "change": "lost"}
    suite = ElementTree.parse(three / "report" / "junit.xml").getroot()
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["1", "1", "0"]
    assert "BLOCK: -15.0" in suite[0][0].get("message")
    assert json.loads((three / "report" / "badge.json").read_text()) == {
        "schemaVersion": 1, "label": "gate", "message": "BLOCK -15.0 points", "color": "red",
    }  # fmt: skip
    note = (three / "report" / "annotations.txt").read_text()
    assert note.startswith("::error title=gate BLOCK::t vs release: -15.0 (")
    text = (three / "report" / "summary.md").read_text()
    assert text.startswith("<!-- harness gate gate.lock.json -->\n## ⛔ BLOCK: worse compared with release (base)")
    assert "- lost vs release: t `t/test/000`" in text
    shown = gate("check", "worse", cwd=three, GITHUB_ACTIONS="true").stdout
    assert note in shown


def test_every_verdict_fits_the_schema(three):
    schema = json.loads((Path(locks.__file__).parent / "verdict.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, verdict in (("same", "PASS"), ("worse", "BLOCK"), ("other", "NOT COMPARABLE")):
        if name == "other":
            written(three / name, BASE, "e" * 64, name, engine="x")
        gate("check", name, cwd=three)
        facts = json.loads((three / "gate-report" / "verdict.json").read_text())
        assert facts["verdict"] == verdict
        jsonschema.validate(facts, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**facts, "exit_code": 0}, schema)


def test_a_summary_fits_a_comment_and_names_are_only_text(tmp_path):
    values = [1] * 9000
    comparison = accepted(tmp_path, per_item("a|b <img src=x onerror=alert(1)> `x`\n| evil |", values), settings(1.0))
    new = per_item("[click](http://evil) **me**", [0] * 9000, "d")
    facts = reported(comparison, new)
    text = report.summary(facts)
    assert len(text.encode()) <= 60_000
    assert "- and 7," in text
    assert "items_flipped.csv has them all" in text
    assert "<img" not in text
    assert "&lt;img" in text
    assert "\\[click\\](http://evil) \\*\\*me\\*\\*" in text
    table = [line for line in text.splitlines() if line.startswith("| release: ")]
    assert len(table) == 1
    assert table[0].replace("\\|", "").count("|") == 8
    long = {**facts["candidate"], "name": "n" * 70_000}
    many = [{**facts["checks"][0], "task": f"<i>{i}\n::error::" + "t" * 5000} for i in range(300)]
    huge = {**facts, "candidate": long, "warnings": ["x" * 70_000] * 5, "checks": many}
    text = report.summary(huge)
    assert len(text.encode()) <= 65_000
    assert "and 200 more in verdict.json" in text
    assert "<i>" not in text
    assert "\n::error" not in text
    assert not any(line.startswith("::") for line in report.report_lines(huge))
    assert len(report.workflow_commands(huge)) == 10


def test_no_name_breaks_a_report(tmp_path):
    odd = "a\x00\x1b[31m\u2028b\x85\n=c"
    comparison = accepted(tmp_path, per_item(odd, [1] * 400, task=odd))
    again = Comparison(comparison.path)
    new = per_item(odd, [0] * 400, "d", task=odd)
    files = report.files(reported(again, new))
    for name in ("junit.xml", "forest.svg"):
        ElementTree.fromstring(files[name])
    ElementTree.fromstring(report.refused("l", odd, 5)["junit.xml"])
    assert list(files)[-1] == "verdict.json", "written last: where there is a verdict there is a whole report"


def test_no_cell_of_the_flipped_items_is_a_formula(tmp_path):
    records = [record(f"={i}+cmd", 1.0, checkpoint="c" * 64) for i in range(50)]
    base = PerItem.of("base", Run("c" * 64, Columns.of(records)))
    comparison = accepted(tmp_path, base)
    new = replace(base, items=tuple(replace(item, strict=0.0) for item in base.items))
    rows = list(csv.DictReader(report.flipped(reported(comparison, new)).splitlines()))
    assert len(rows) == 50
    assert all(row["item"].startswith("'=") for row in rows)


def test_candidates_are_counted_and_wear_a_suite_out(tmp_path):
    comparison = accepted(tmp_path, per_item("base", BASE))
    new = per_item("new", BASE, "d")
    facts = reported(comparison, new, standing=Standing(20))
    assert any("20 candidates were checked on these items" in warning for warning in facts["warnings"])
    cut = replace(per_item("new", BASE, "d"), counts={"replies": 400, "errored": 0, "truncated": 80, "unparsable": 0})
    assert "20.0 % of the replies are truncated, 0.0 % of the baseline's" in reported(comparison, cut)["warnings"]


def test_candidates_can_be_named(three):
    written(three / "again", BASE, "e" * 64, "again")
    for name in ("same", "again"):
        assert gate("check", name, "--candidate", "commit-1", cwd=three).returncode == 0
    assert json.loads((three / "gate-report" / "verdict.json").read_text())["attempts"] == 2


def test_no_earlier_verdict_stays_when_a_check_fails(three):
    for wrong, code in ((("nowhere",), 2), ((), 2), (("same", "--allow", "foo"), 2), (("same", "--entry", "x"), 2)):
        assert gate("check", "same", cwd=three).returncode == 0
        done = gate("check", *wrong, cwd=three)
        assert done.returncode == code, done.stderr
        path = three / "gate-report" / "verdict.json"
        assert not path.exists() or json.loads(path.read_text())["verdict"] == "NOT COMPARABLE"
    assert "unknown field 'foo'" in gate("check", "same", "--allow", "foo", cwd=three).stderr
    done = gate("check", "same", "--out", "base", cwd=three)
    assert done.returncode == 2
    assert "is a run folder" in done.stderr


def test_tiers_are_kept_in_the_lock_and_told_in_every_report(tmp_path):
    for name, lost in (("base", 0), ("worse", 60)):
        records = [*graded(name[0] * 64, BASE, task="main"), *graded(name[0] * 64, dropped(BASE, lost), task="side")]
        (tmp_path / name).mkdir()
        run = Run(name[0] * 64, Columns.of(records), records=RecordFiles(("r.jsonl",)))
        (tmp_path / name / "r.jsonl").write_text("".join(record_to_json(r) + "\n" for r in records))
        existing_runs.write_entries(tmp_path / name, [Entry(name, "model", (run,))])
    for wrong, why in (
        (("--tier", "other=advisory"), "--tier other: the baseline has no such task; its tasks: main, side"),
        (("--tier", "side=important"), "--tier must be [TASK=]critical | supporting | advisory"),
    ):
        assert why in gate("accept", "base", *wrong, "--reason", "x", cwd=tmp_path).stderr
    gate("accept", "base", "--tier", "supporting", "--tier", "side=advisory", "--reason", "x", cwd=tmp_path)
    assert locks.read_lock(tmp_path / "gate.lock.json").settings.tiers == {"main": "supporting", "side": "advisory"}
    done = gate("check", "worse", "--out", "r", cwd=tmp_path)
    assert "BLOCK        side vs release (advisory): -15.0" in done.stdout
    facts = json.loads((tmp_path / "r" / "verdict.json").read_text())
    schema = json.loads((Path(locks.__file__).parent / "verdict.schema.json").read_text())
    jsonschema.validate(facts, schema)
    assert {check["task"]: check["tier"] for check in facts["checks"]} == {
        "all tasks": "critical",
        "main": "supporting",
        "side": "advisory",
    }
    suite = ElementTree.parse(tmp_path / "r" / "junit.xml").getroot()
    assert suite.find("testcase[@name='side']/failure") is None
    assert "side vs release (advisory)" in (tmp_path / "r" / "summary.md").read_text()
    assert "side" not in (tmp_path / "r" / "annotations.txt").read_text()


def test_a_published_score_is_a_baseline_without_records(tmp_path):
    samples = task_lookup.open_task("pico_math").samples("test")
    records = [
        record(of.id, float(i % 10 < 6), task="pico_math", sample_hash=of.hash, checkpoint="d" * 64)
        for i, of in enumerate(samples)
    ]
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "r.jsonl").write_text("".join(record_to_json(r) + "\n" for r in records))
    run = Run("d" * 64, Columns.of(records), records=RecordFiles(("r.jsonl",)))
    existing_runs.write_entries(tmp_path / "new", [Entry("new", "model", (run,))])
    for wrong, why in (
        (("new", "--score", "pico_math=60"), "give either RUN"),
        ((), "give either RUN"),
        (("--score", "pico_math=160"), "--score must be TASK=PERCENT[/ITEMS]"),
        (("--score", "no_such_task=60"), "no_such_task"),
    ):
        assert why in gate("accept", *wrong, "--reason", "x", cwd=tmp_path).stderr
    done = gate("accept", "--score", f"pico_math=60/{len(samples)}", "--reason", "paper", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "so the smallest testable margin is 1.5 times that of a paired comparison" in done.stdout
    done = gate("check", "new", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PASS: new compared with release (published pico_math 60), pico_math +0.0 (")
    facts = json.loads((tmp_path / "gate-report" / "verdict.json").read_text())
    jsonschema.validate(facts, json.loads((Path(locks.__file__).parent / "verdict.schema.json").read_text()))
    (said,) = [warning for warning in facts["warnings"] if "published" in warning]
    assert said == (
        "the release baseline is a published score without records: the comparison is unpaired, so the smallest "
        "testable margin is 1.5 times that of a paired one"
    )
    assert "unpaired, so the smallest" in (tmp_path / "gate-report" / "summary.md").read_text()
    live = gate("check", "--model", str(tmp_path / "new"), "--engine", "transformers", cwd=tmp_path)
    assert live.returncode == 5
    assert "the sampling settings of a published score are not recorded" in live.stderr
    done = gate("accept", "new", "--reason", "merged", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    gate("check", "new", cwd=tmp_path)
    facts = json.loads((tmp_path / "gate-report" / "verdict.json").read_text())
    assert [check["method"] for check in facts["checks"]] == ["unpaired, Newcombe", "Tango"]


def test_settings_stay_when_the_release_moves_and_changes_are_said(three):
    gate("accept", "base", "--release", "--policy", "require-noninferior", "--margin", "7", "--reason", "x", cwd=three)
    done = gate("accept", "same", "--release", "--alpha", "0.01", "--underpowered", "--reason", "y", cwd=three)
    assert done.returncode == 0, done.stderr
    agreed = locks.read_lock(three / "gate.lock.json").settings
    assert (agreed.policy, agreed.margin, agreed.alpha) == ("require-noninferior", 7.0, 0.01)
    assert "changed: alpha was 0.05, is 0.01" in done.stdout
    assert "policy" not in done.stdout


def test_what_cannot_be_agreed_on_changes_nothing(three):
    before = {path.name: path.read_bytes() for path in three.glob("gate.lock*")}
    wrong = [("--margin", "nan"), ("--margin", "inf"), ("--margin", "150"), ("--alpha", "1e-16"), ("--margin", "60")]
    for options in wrong:
        done = gate("accept", "base", "--release", *options, "--underpowered", "--reason", "x", cwd=three)
        assert done.returncode == 2, (options, done.stderr)
        assert "Traceback" not in done.stderr
        assert {path.name: path.read_bytes() for path in three.glob("gate.lock*")} == before
    assert "losing all of it would pass" in done.stderr


def test_a_lock_that_is_not_sound_is_made_anew_only_with_the_release(three):
    path = three / "gate.lock.json"
    path.write_text(path.read_text().replace('"t/test/001"', '"t/test/999"'))
    done = gate("accept", "same", "--reason", "x", cwd=three)
    assert done.returncode == 5
    assert "harness gate accept RUN --release" in done.stderr
    done = gate("accept", "same", "--release", "--reason", "x", cwd=three)
    assert done.returncode == 0, done.stderr
    assert "replacing the lock" in done.stderr
    assert gate("check", "base", cwd=three).returncode == 0


def test_whoever_can_seal_a_lock_cannot_make_it_ask_for_nothing(three):
    path = three / "gate.lock.json"
    sound = locks.read_lock(path)
    for odd in (
        replace(sound, items={}),
        replace(sound, items={"t": []}),
        replace(sound, items={"t": sound.items["t"][:1]}),
        replace(sound, baselines={"previous": sound.baselines["previous"]}),
        replace(sound, settings=replace(sound.settings, margin=400.0)),
        replace(sound, settings=replace(sound.settings, policy="none")),
        replace(sound, settings=replace(sound.settings, max_errors=2.0)),
    ):
        path.write_text(json.dumps({"schema": locks.SCHEMA, **asdict(odd), "seal": odd.seal}))
        done = gate("check", "same", cwd=three)
        assert done.returncode == 5, done.stderr
        assert "Traceback" not in done.stderr


def test_a_task_of_one_item_is_no_part_of_a_gate(tmp_path):
    records = [*graded("c" * 64, BASE), record("u/0", 1.0, task="u", checkpoint="c" * 64)]
    with pytest.raises(UsageError, match="task u has a single item, too few to test"):
        accepted(tmp_path, PerItem.of("base", Run("c" * 64, Columns.of(records))))


def test_a_baseline_with_a_failed_reply_leaves_that_item_out_and_says_so(tmp_path):
    path = tmp_path / "gate.lock.json"
    accepted(tmp_path, per_item("v1", BASE))
    records = graded("d" * 64, BASE)
    none = replace(records[3], scores={k: replace(s, value=None) for k, s in records[3].scores.items()})
    failed = PerItem.of("v2", Run("d" * 64, Columns.of([*records[:3], none, *records[4:]])))
    locks.accept(path, locks.read_lock(path), failed, settings(), locks.Acceptance("second", WHEN))
    comparison = Comparison(path)
    new = per_item("new", BASE, "e")
    sizes = {check.baseline: check.test.n for check in decided(comparison, new).checks}
    assert sizes == {"release": 400, "previous": 399}
    assert any("1 items without a score in the previous baseline" in w for w in reported(comparison, new)["warnings"])


def test_a_drop_that_is_a_few_items_lost_as_a_whole_is_not_passed_too_often():
    """The spread seen is too small just where too few of the lost items were drawn."""
    rng = np.random.default_rng(8)
    agreed = Settings(margin=5.0, margins={"small": 40.0, "large": 40.0})
    passed, n = 0, 1500
    for _ in range(n):
        base = {"small": np.ones(50), "large": np.ones(1000)}
        lost = {"small": base["small"] - (rng.random(50) < 0.1), "large": base["large"]}
        passed += decide(agreed, {"b": base}, lost).verdict == "PASS"
    assert passed / n <= 0.05 + 2 * (0.05 * 0.95 / n) ** 0.5
    passed = 0
    for _ in range(n):
        base = np.full(100, 0.75)
        lost = base - 0.75 * (rng.random(100) < 0.05 / 0.75)
        passed += decide(settings(5.0), {"b": {"t": base}}, {"t": lost}).verdict == "PASS"
    assert passed / n <= 0.05 + 2 * (0.05 * 0.95 / n) ** 0.5


def test_what_is_refused_leaves_no_attempt(three):
    written(three / "other", BASE, "e" * 64, "other", engine="x")
    assert gate("check", "other", cwd=three).returncode == 5
    assert not (three / "gate.lock.json.attempts").exists()
    assert gate("check", "other", "--allow", "engine", cwd=three).returncode == 0
    facts = json.loads((three / "gate-report" / "verdict.json").read_text())
    assert facts["allowed"] == ["engine"]
    assert "allowed to differ: engine" in facts["warnings"]


def test_a_lock_is_a_pure_function_of_what_was_accepted(tmp_path):
    texts = []
    for name in "ab":
        (tmp_path / name).mkdir()
        accepted(tmp_path / name, per_item("base", BASE))
        texts.append((tmp_path / name / "gate.lock.json").read_text())
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["settings"] == asdict(settings())


def test_a_run_that_collapsed_is_no_candidate(three):
    run = Run(
        "f" * 64,
        Columns.of(graded("f" * 64, BASE)),
        seed=1,
        status="collapsed",
        why="NaN",
        records=RecordFiles(("r.jsonl",)),
    )
    (three / "dead").mkdir()
    (three / "dead" / "r.jsonl").write_text("".join(record_to_json(r) + "\n" for r in graded("f" * 64, BASE)))
    existing_runs.write_entries(
        three / "dead", [Entry("rl", "strategy", (run,)), Entry("kd", "strategy", (replace(run, seed=2),))]
    )
    assert "name one with --entry: rl, kd" in gate("check", "dead", cwd=three).stderr
    assert "'rl' collapsed: NaN" in gate("check", "dead", "--entry", "rl", cwd=three).stderr
    assert "--entry 'x' is not an entry; there are: rl, kd" in gate("check", "dead", "--entry", "x", cwd=three).stderr
