"""Statistics against published numbers, exact enumeration and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.statistics import intervals, unpaired


def test_wilson_gives_the_published_interval():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3: 81/263 -> 0.2553 to 0.3662; 0/20 -> 0 to 0.1611
    estimate = intervals.wilson(81, 263)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.2553, 0.3662)
    assert (intervals.wilson(0, 20).low, round(intervals.wilson(0, 20).high, 4)) == (0.0, 0.1611)


def test_tango_gives_the_published_interval():
    # airway hyper-responsiveness, n = 21, 1 against 7: Fagerland, Lydersen & Laake 2014, Stat Med 33:2850
    estimate = intervals.tango(1, 7, 21)
    assert round(estimate.value, 3) == -0.286
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 0, 21), (21, 0, 21), (0, 5, 5), (3, 3, 400), (0, 1, 1)])
def test_tango_holds_the_observed_difference_and_stays_in_range(gained, lost, n):
    estimate = intervals.tango(gained, lost, n)
    assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
    mirrored = intervals.tango(lost, gained, n)
    assert (mirrored.low, mirrored.high) == pytest.approx((-estimate.high, -estimate.low), abs=1e-8)


def test_tango_covers_the_true_difference_by_exact_enumeration():
    n, p_gain, p_loss = 30, 0.15, 0.05
    covered = 0.0
    for gained, lost in itertools.product(range(n + 1), repeat=2):
        if gained + lost <= n:
            weight = scipy_stats.multinomial.pmf([gained, lost, n - gained - lost], n, [p_gain, p_loss, 0.8])
            if weight > 1e-9:
                estimate = intervals.tango(gained, lost, n)
                covered += weight * (estimate.low <= p_gain - p_loss <= estimate.high)
    assert 0.94 < covered < 0.965


def test_paired_uses_the_t_interval_for_scores_between_0_and_1():
    a, b = np.random.default_rng(7).random((2, 40))
    expected = scipy_stats.ttest_rel(a, b).confidence_interval()
    estimate = intervals.paired(a, b)
    assert estimate.method == "paired t, p by sign flips"
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
    few = intervals.paired([0.2, 0.9, 0.5, 1.0], [0.1, 0.4, 0.5, 0.7])
    assert few.p == 0.25  # sums of .1, .5, .3 with 8 signs each way: 2 of 8 reach .9


def test_mid_p_is_what_enumeration_gives():
    # airway hyper-responsiveness, 1 against 7: exact 0.0703, mid-p 0.0391 (Fagerland et al. 2013, table 5)
    assert round(intervals.mid_p(1, 7), 4) == round(intervals.mid_p(7, 1), 4) == 0.0391
    assert intervals.mid_p(0, 0) == 1.0
    assert intervals.mid_p(4, 4) == 1.0
    assert intervals.paired([1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1]).p == pytest.approx(2 * 0.5**4 - 0.5**4)


def test_the_mid_p_test_keeps_its_level_by_exact_enumeration():
    n, share = 60, 0.3
    rejected = 0.0
    for discordant in range(n + 1):
        weight = scipy_stats.binom.pmf(discordant, n, share)
        split = np.array([intervals.mid_p(k, discordant - k) < 0.05 for k in range(discordant + 1)])
        rejected += weight * split @ scipy_stats.binom.pmf(np.arange(discordant + 1), discordant, 0.5)
    assert 0.03 < rejected <= 0.05


CLUSTERED = (
    [0.04, 0.13, -0.04, -0.04, -0.2, -0.36, -0.05, 0.34, -0.12, -0.16, 0.22, 0.18, 0.1, -0.21, 0.06, 0.27, -0.34, -0.07,
     -0.77, -0.58, -0.49, -0.01, -0.32, 0.15, 0.11, 0.01, -0.43, -0.42, -0.27, -0.23, -0.72, 0.08, -0.07, -0.02, 0.39,
     -0.17],
    [0, 0, 0, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 7, 7, 7, 7, 7, 8, 9, 9, 9, 9, 10, 10, 10, 11, 11],
)  # fmt: skip


def test_clustered_errors_are_those_of_statsmodels(monkeypatch):
    # statsmodels 0.15.0: OLS(d, ones).fit(cov_type="cluster", cov_kwds={"groups": g}, use_t=True)
    found = intervals.clustered(*CLUSTERED)
    assert found.value == pytest.approx(-0.11138888888888888)
    # statsmodels' own small-sample factor is C / (C - 1) * (n - 1) / (n - 1) for one column: the same
    assert found.error == pytest.approx((0.01992814 + 0.24270592) / 2 / scipy_stats.t.ppf(0.975, 11), abs=1e-8)
    assert 7 < found.df < 11  # statsmodels has 11; clusters of unequal size count for less
    assert found.method == "cluster-robust t, 12 clusters, p by sign flips"
    monkeypatch.setattr(intervals, "_FEW_CLUSTERS", 0)
    assert intervals.clustered(*CLUSTERED).p == pytest.approx(
        2 * scipy_stats.t.sf(abs(found.value) / found.error, found.df)
    )
    assert intervals.clustered(CLUSTERED[0]).p == pytest.approx(0.02242331, abs=1e-8)  # every value alone: Student's t


def test_sign_flips_of_whole_clusters_are_enumerated():
    d, g = CLUSTERED
    sums = np.array([sum(x for x, c in zip(d, g, strict=True) if c == k) for k in range(12)])
    flips = np.array(list(itertools.product((1, -1), repeat=12))) @ sums
    expected = (np.abs(flips) >= abs(sums.sum()) - 1e-12).mean()
    assert intervals.clustered(d, g).p == pytest.approx(expected)


def test_one_cluster_has_no_spread():
    with pytest.raises(ValueError, match="two clusters of items, got 1"):
        intervals.clustered([0.1, 0.2], ["a", "a"])


def test_unpaired_gives_the_published_interval():
    # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10: 56/70 and 48/80 -> 0.0524 to 0.3339
    found = unpaired.difference(56 / 70, 70, 48 / 80, 80)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)
    assert unpaired.difference(1.0, 10, 1.0, 10).p == 1.0


@pytest.mark.parametrize(("ours", "n", "theirs", "m"), [(0, 40, 4, 40), (56, 70, 48, 80), (9, 10, 3, 10), (1, 5, 0, 5)])
def test_the_p_of_an_unpaired_difference_is_that_of_its_interval(monkeypatch, ours, n, theirs, m):
    found = unpaired.difference(ours / n, n, theirs / m, m)
    assert (found.p < 0.05) == significant(found)
    monkeypatch.setattr(intervals, "CONFIDENCE", 1 - found.p)
    again = unpaired.difference(ours / n, n, theirs / m, m)
    assert min(abs(again.low), abs(again.high)) == pytest.approx(0, abs=1e-9)
    mirrored = unpaired.difference(theirs / m, m, ours / n, n)
    assert (mirrored.value, mirrored.p) == (-found.value, pytest.approx(found.p))


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="equal length, got 2 and 3"):
        intervals.paired([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="same items, got 2 and 3"):
        intervals.across_seeds([[0, 1], [1, 1]], [[0, 1, 1]])


def test_no_samples_means_no_mean():
    with pytest.raises(ValueError, match="no samples"):
        intervals.wilson(0, 0)


def test_one_seed_on_each_side_makes_no_claim_across_seeds():
    with pytest.raises(ValueError, match="one training seed"):
        intervals.across_seeds([[0, 1, 1]], [[1, 0, 1]])


def significant(estimate):
    return estimate.low > 0 or estimate.high < 0


def _seeded_arm(rng, seeds, n, seed_sd, item_logit):
    shift = rng.normal(0, seed_sd, seeds)[:, None]
    p = np.clip(1 / (1 + np.exp(-item_logit))[None, :] + shift, 0, 1)
    return (rng.random((seeds, n)) < p).astype(float)


def test_crossed_effects_keep_the_error_rate_where_ignoring_seeds_does_not():
    rng = np.random.default_rng(1)
    ours = naive = 0
    for _ in range(1000):
        logit = rng.normal(0, 1.5, 600)
        a, b = (_seeded_arm(rng, 4, 600, 0.03, logit) for _ in range(2))
        ours += significant(intervals.across_seeds(a, b))
        naive += significant(intervals.paired(list(a.mean(0)), list(b.mean(0))))
    assert ours / 1000 <= 0.06
    assert naive / 1000 > 0.15  # the mistake this function exists to avoid


def test_a_difference_across_seeds_has_the_p_of_its_own_interval():
    rng = np.random.default_rng(3)
    a, b = (_seeded_arm(rng, 4, 300, 0.02, rng.normal(shift, 1, 300)) for shift in (0.3, 0.0))
    found = intervals.across_seeds(a, b)
    half = (found.high - found.low) / 2
    assert half == pytest.approx(scipy_stats.t.ppf(0.975, found.df) * found.error)
    assert found.p == pytest.approx(2 * scipy_stats.t.sf(abs(found.value) / found.error, found.df))
    assert (found.p < 0.05) == significant(found)
    assert 3 <= found.df <= 12
    same = intervals.across_seeds([[1, 0], [1, 0]], [[1, 0], [1, 0]])
    assert (same.value, same.p) == (0.0, 1.0)


def test_a_few_items_never_make_a_claim_however_alike_the_seeds_are():
    right, wrong = [[1.0] * 2] * 4, [[0.0] * 2] * 4
    assert intervals.across_seeds(right, wrong).p > 0.05
    assert intervals.across_seeds([[1.0]] * 4, [[0.0]] * 4).p == 1.0
    assert intervals.paired([0.5], [0.0]).p == 1.0
    assert intervals.across_seeds([[1.0] * 30] * 4, [[0.0] * 30] * 4).p < 1e-6


def test_one_arm_whose_seeds_scatter_against_one_whose_seeds_do_not_keeps_the_error_rate():
    rng = np.random.default_rng(8)
    rejected = 0
    for _ in range(600):
        logit = rng.normal(0.5, 1.5, 2000)
        a, b = (_seeded_arm(rng, 4, 2000, sd, logit) for sd in (0.05, 0.0))
        rejected += intervals.across_seeds(a, b).p < 0.05
    assert rejected / 600 <= 0.07  # 6.4 % in 200,000 repetitions of a normal model, the worst of all designs tried


def test_few_seeds_that_happen_to_agree_do_not_count_as_many():
    """How often that would make false claims among many pairs is measured in tests/bench/false_claims.py."""
    rng = np.random.default_rng(0)
    a, b = np.repeat(rng.random((2, 1, 1319)), 4, axis=1)
    assert intervals.across_seeds(a, b).df == 2 * 6
    assert intervals.across_seeds(a, b[:1]).df == 2 * 3
    assert intervals.across_seeds(a[:, :5], b[:, :5]).df == 4


def test_four_seeds_are_enough_to_find_a_difference_in_a_family():
    """With the df of the seeds alone (3 against a fixed base), 36 tests would need 17 standard errors."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        a, b = (_seeded_arm(rng, seeds, 430, 0.01, rng.normal(shift, 1.5, 430)) for shift, seeds in ((0.9, 4), (0, 1)))
        found += intervals.across_seeds(a, b).p < 0.05 / 36
    assert found >= 30


def in_clusters(rng, size, n=500):
    """-1, 0 or 1 of n items that differ alike within clusters of this size, and the clusters."""
    codes = np.repeat(np.arange(n // size), size)
    own = 2 * rng.normal(size=n // size)[codes] + rng.normal(size=n)
    return np.sign(own) * (abs(own) > 3), codes


@pytest.mark.parametrize("size", [2, 5, 20])
def test_related_items_make_no_false_claims(size):
    rng = np.random.default_rng(5)
    false, naive = [], []
    for _ in range(25 if size == 20 else 150):  # below 50 clusters signs are flipped, which takes its time
        gaps, codes = in_clusters(rng, size)
        ours, theirs = np.maximum(gaps, 0), np.maximum(-gaps, 0)
        seeds = [np.array([arm, arm]) for arm in (ours, theirs)]
        naive.append(intervals.paired(ours, theirs).p < 0.05)
        found = [intervals.paired(ours, theirs, codes).p, intervals.across_seeds(*seeds, codes).p]
        found.append(intervals.sided(ours, theirs, 0.03, clusters=codes).p_worse)
        halves = [gaps[::2], gaps[1::2]]  # two tasks that share every cluster
        found.append(intervals.mean_sided(halves, 0.03, clusters=[codes[::2], codes[1::2]]).p_worse)
        false.append(np.array(found) < 0.05)
    assert np.mean(false, axis=0).max() <= (0.13 if size == 20 else 0.09)  # 5 % and two standard errors
    assert np.mean(naive) >= 0.08


def test_one_large_cluster_counts_for_less_than_its_items():
    codes = np.array([0] * 50 + list(range(1, 51)))
    gaps = np.where(codes == 0, 1.0, 0.0)
    found = intervals.clustered(gaps, codes)
    assert found.df < 5
    assert intervals.clustered(gaps, np.arange(100)).df == 99
    assert intervals.clustered(gaps).error < found.error


def test_no_interval_has_zero_width():
    zeros = np.zeros((4, 40))
    assert intervals.of_score(zeros).low == 0
    assert intervals.of_score(zeros).high == pytest.approx(0.08, abs=0.01)
    constant = [intervals.clustered([gap] * 60) for gap in (0.0, 0.1)]
    for found in (intervals.across_seeds(zeros, zeros), *constant):
        assert found.high - found.low > 0.05
        assert found.p > 0


@pytest.mark.parametrize(("seeds", "share"), [(1, 0.95), (1, 0.03), (4, 0.007)])
def test_the_interval_of_a_score_holds_it_near_0_and_1(seeds, share):
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        chance = rng.beta(share * 2, (1 - share) * 2, 40)
        scores = rng.binomial(4, chance, (seeds, 40)) / 4
        found = intervals.of_score(scores)
        held += found.low <= share <= found.high
    assert held / 300 >= 0.925


def test_holm_gives_the_published_correction():
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm"), and its order does not matter
    assert intervals.holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert intervals.holm([0.04, 0.01, 0.6]) == pytest.approx([0.08, 0.03, 0.6])
    assert intervals.holm([]) == []


def test_the_smallest_difference_found_is_found_four_times_in_five():
    rng = np.random.default_rng(2)
    smallest = intervals.smallest_found(0.02, 6)
    z, spread = rng.normal(smallest, 0.02, 20000), 0.02 * np.sqrt(rng.chisquare(6, 20000) / 6)
    assert np.mean(np.abs(z / spread) > scipy_stats.t.ppf(0.975, 6)) == pytest.approx(0.8, abs=0.02)


def test_detectable_difference_matches_the_planning_table():
    # 80 % power at 5 %, one fifth discordant: GSM8K (1319) 3.5 points, HumanEval (164) 9.8
    assert 100 * intervals.detectable(0.2, 1319) == pytest.approx(3.45, abs=0.01)
    assert round(100 * intervals.detectable(0.2, 164), 1) == 9.8
