"""Statistics against published numbers, exact enumeration and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness import stats


def test_wilson_gives_the_published_interval():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3: 81/263 -> 0.2553 to 0.3662; 0/20 -> 0 to 0.1611
    estimate = stats.wilson(81, 263)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.2553, 0.3662)
    assert (stats.wilson(0, 20).low, round(stats.wilson(0, 20).high, 4)) == (0.0, 0.1611)


def test_tango_gives_the_published_interval():
    # airway hyper-responsiveness, n = 21, 1 against 7: Fagerland, Lydersen & Laake 2014, Stat Med 33:2850
    estimate = stats.tango(1, 7, 21)
    assert round(estimate.value, 3) == -0.286
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 0, 21), (21, 0, 21), (0, 5, 5), (3, 3, 400), (0, 1, 1)])
def test_tango_holds_the_observed_difference_and_stays_in_range(gained, lost, n):
    estimate = stats.tango(gained, lost, n)
    assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
    mirrored = stats.tango(lost, gained, n)
    assert (mirrored.low, mirrored.high) == pytest.approx((-estimate.high, -estimate.low), abs=1e-8)


def test_tango_covers_the_true_difference_by_exact_enumeration():
    n, p_gain, p_loss = 30, 0.15, 0.05
    covered = 0.0
    for gained, lost in itertools.product(range(n + 1), repeat=2):
        if gained + lost <= n:
            weight = scipy_stats.multinomial.pmf([gained, lost, n - gained - lost], n, [p_gain, p_loss, 0.8])
            if weight > 1e-9:
                estimate = stats.tango(gained, lost, n)
                covered += weight * (estimate.low <= p_gain - p_loss <= estimate.high)
    assert 0.94 < covered < 0.965


def test_paired_uses_the_t_interval_for_scores_between_0_and_1():
    a, b = [0.2, 0.9, 0.5, 1.0], [0.1, 0.4, 0.5, 0.7]
    expected = scipy_stats.ttest_rel(a, b).confidence_interval()
    estimate = stats.paired(a, b)
    assert estimate.method == "paired t"
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="equal length, got 2 and 3"):
        stats.paired([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="same items, got 2 and 3"):
        stats.across_seeds([[0, 1], [1, 1]], [[0, 1, 1]])


def test_no_samples_means_no_mean():
    with pytest.raises(ValueError, match="no samples"):
        stats.wilson(0, 0)


def test_one_seed_on_each_side_makes_no_claim_across_seeds():
    with pytest.raises(ValueError, match="one training seed"):
        stats.across_seeds([[0, 1, 1]], [[1, 0, 1]])


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
        ours += significant(stats.across_seeds(a, b))
        naive += significant(stats.paired(list(a.mean(0)), list(b.mean(0))))
    assert ours / 1000 <= 0.06
    assert naive / 1000 > 0.15  # the mistake this function exists to avoid


def test_a_difference_across_seeds_has_the_p_of_its_own_interval():
    rng = np.random.default_rng(3)
    a, b = (_seeded_arm(rng, 4, 300, 0.02, rng.normal(shift, 1, 300)) for shift in (0.3, 0.0))
    found = stats.across_seeds(a, b)
    half = (found.high - found.low) / 2
    assert half == pytest.approx(scipy_stats.t.ppf(0.975, found.df) * found.error)
    assert found.p == pytest.approx(2 * scipy_stats.t.sf(abs(found.value) / found.error, found.df))
    assert (found.p < 0.05) == significant(found)
    assert 3 <= found.df <= 6
    same = stats.across_seeds([[1, 0], [1, 0]], [[1, 0], [1, 0]])
    assert (same.value, same.p) == (0.0, 1.0)


def test_a_few_items_never_make_a_claim_however_alike_the_seeds_are():
    right, wrong = [[1.0] * 2] * 4, [[0.0] * 2] * 4
    assert stats.across_seeds(right, wrong).p == 0.5
    assert stats.across_seeds([[1.0]] * 4, [[0.0]] * 4).p == 1.0
    assert stats.across_seeds([[1.0] * 30] * 4, [[0.0] * 30] * 4).p < 1e-6


def test_one_arm_whose_seeds_scatter_against_one_whose_seeds_do_not_keeps_the_error_rate():
    rng = np.random.default_rng(8)
    rejected = 0
    for _ in range(600):
        logit = rng.normal(0.5, 1.5, 2000)
        a, b = (_seeded_arm(rng, 4, 2000, sd, logit) for sd in (0.05, 0.0))
        rejected += stats.across_seeds(a, b).p < 0.05
    assert rejected / 600 <= 0.065  # 5 % and 1.7 standard errors; 7.7 % with df = 6


def test_holm_gives_the_published_correction():
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm"), and its order does not matter
    assert stats.holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert stats.holm([0.04, 0.01, 0.6]) == pytest.approx([0.08, 0.03, 0.6])
    assert stats.holm([]) == []


def test_the_smallest_difference_found_is_found_four_times_in_five():
    rng = np.random.default_rng(2)
    smallest = stats.smallest_found(0.02, 6)
    z, spread = rng.normal(smallest, 0.02, 20000), 0.02 * np.sqrt(rng.chisquare(6, 20000) / 6)
    assert np.mean(np.abs(z / spread) > scipy_stats.t.ppf(0.975, 6)) == pytest.approx(0.8, abs=0.02)


def test_detectable_difference_matches_the_planning_table():
    # 80 % power at 5 %, one fifth discordant: GSM8K (1319) 3.5 points, HumanEval (164) 9.8
    assert 100 * stats.detectable(0.2, 1319) == pytest.approx(3.45, abs=0.01)
    assert round(100 * stats.detectable(0.2, 164), 1) == 9.8
