"""The side-by-side of gates: rules asked only where they change answer as always, and our rates stay in bounds."""

import numpy as np
import pytest
from bench import gate_rivals
from bench.gate_rivals import BLOCK, OPEN, PASS, Asked, Counts, drawn, outcome
from scipy import stats

RULES, MISSING = gate_rivals.rules()
TASKS = [Counts(400, 200, 40, 22), Counts(300, 150, 20, 21), Counts(500, 400, 0, 1)]


@pytest.mark.parametrize("guess", [-3, 0, 7, 12, 40])
def test_the_first_number_reached_is_found_from_any_guess(guess):
    for size in (1, 2, 13):
        for at in range(size + 1):
            assert gate_rivals.first(size, lambda number, at=at: number >= at, guess) == at


def test_a_rule_that_is_asked_only_where_its_verdict_changes_gives_the_same_verdicts():
    def verdict(n, lost, gained):
        """Lower and upper end of an interval of the drop, compared with the margin."""
        drop, error = (lost - gained) / n, 2 * np.sqrt(lost + gained) / n
        return PASS if drop + error < 0.03 else BLOCK if drop - error > 0.03 else OPEN

    asked, rng = Asked(verdict), np.random.default_rng(1)
    found = set()
    for n, discordant in zip(rng.integers(50, 1500, 300), rng.integers(0, 50, 300), strict=True):
        lost = int(rng.integers(0, discordant + 1))
        expected = verdict(n, lost, int(discordant) - lost)
        assert asked(Counts(int(n), 0, lost, int(discordant) - lost)) == expected
        found.add(expected)
    assert found == {PASS, OPEN, BLOCK}


def test_the_published_tests_of_several_tasks_are_those_of_scipy_and_of_simulation():
    p_values = [stats.binomtest(of.lost, of.lost + of.gained, alternative="greater").pvalue for of in TASKS]
    assert [gate_rivals.exact(of) for of in TASKS] == pytest.approx(p_values)
    assert gate_rivals.fisher(TASKS) == pytest.approx(stats.combine_pvalues(p_values).pvalue)
    sizes = np.array([of.lost + of.gained for of in TASKS])
    lost = np.random.default_rng(2).binomial(sizes, 0.5, (200_000, len(sizes)))
    largest = ((2 * lost - sizes) / np.sqrt(sizes)).max(axis=1)
    reached = (largest >= (40 - 22) / np.sqrt(62) - 1e-9).mean()
    assert gate_rivals.largest_drop(TASKS) == pytest.approx(reached, abs=0.003)


def test_every_rule_runs_on_one_task_and_on_six_and_what_is_not_installed_is_named():
    rng = np.random.default_rng(3)
    for drops in ([0], [0] * 6):
        base, _ = drawn(rng, drops, 100, 0.12)
        for rule in RULES:
            verdict, used = rule.answer(base, {task: 0 * scores for task, scores in base.items()})
            assert verdict in ((OPEN,) if rule.name == "evalsig gate" else (BLOCK,)), rule.name
            assert 0 < used <= 100 * len(drops)
    installed = {rule.source.split()[0] for rule in RULES}
    assert {adapter.__name__.replace("_", "-") for adapter in gate_rivals.OTHERS} == set(MISSING) | (
        installed - {"ours", "as"}
    )


@pytest.mark.parametrize("design", ["fixed", "group-sequential"])
def test_our_gate_stays_within_its_bounds_where_others_are_measured(design):
    rule, rng = gate_rivals.ours(design), np.random.default_rng(4)
    cells = {drop: [drawn(rng, [drop], 1319, 0.12) for _ in range(120)] for drop in (0, 3)}
    (unchanged, used), (worse, _) = (outcome(rule, cells[drop]) for drop in (0, 3))
    blocked, passed = (float(share) for share in unchanged.split(" / "))
    assert blocked <= 5.5 + 4.2  # two standard errors of 120 pairs
    assert passed >= 85
    assert float(worse.split(" / ")[1]) <= 5.5 + 4.2
    assert (used == 1319) == (design == "fixed")


def test_checkpoints_of_a_run_share_alpha_and_attempts_are_pooled():
    rng = np.random.default_rng(5)
    draws = [[({"t": base}, [{"t": each} for each in others])
              for base, others in (gate_rivals.tries(rng, 300, drop, False, 10) for _ in range(15))]
             for drop in (0.0, 3.0)]  # fmt: skip
    ours, apart = (gate_rivals.again(rule, *draws) for rule in (RULES[0], gate_rivals.documented()[0]))
    blocked = [float(cell.split(" / ")[0]) for cell in ours.split(" | ")[1:7]]
    assert max(blocked) <= 5.5 + 11.8  # two standard errors of 15 repetitions
    assert float(apart.split(" | ")[3].split(" / ")[0]) > 40  # a threshold, tried ten times
