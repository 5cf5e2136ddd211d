"""The intervals and tests against scipy, published tables, and small cases counted by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as reference

from resnet_repro import stats
from resnet_repro.stats import (
    Estimate,
    exact_interval,
    median,
    median_interval,
    order_statistic,
    pair_interval,
    pair_statistic,
    rank_test,
    share_above,
    t_interval,
)

INF = math.inf


@pytest.mark.parametrize("n", [6, 7, 9, 12, 20, 25])
def test_the_interval_of_the_median_is_scipys(n):
    values = np.random.default_rng(n).lognormal(size=n).tolist()
    low, high = reference.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert median_interval(values) == Estimate(np.median(values), low, high, n)


def test_five_values_hold_the_median_between_their_ends_and_four_do_not():
    assert median_interval([5, 1, 4, 2, 3]) == Estimate(3, 1, 5, 5)  # 1 - 2 / 2^5 = 93.75 %
    assert median_interval([1, 2, 3, 4]) == Estimate(2.5, -INF, INF, 4)
    assert math.isnan(median_interval([]).value)


def test_the_ranks_of_the_sign_test_are_those_of_the_table():
    # Dixon and Mood 1946 (JASA 41), two-sided 5 %: the largest count that rejects, plus one.
    table = {6: 0, 8: 0, 9: 1, 11: 1, 12: 2, 15: 3, 17: 4, 20: 5, 25: 7}
    assert {n: order_statistic(n) - 1 for n in table} == table


def test_the_ranks_of_the_pairs_are_those_of_the_mann_whitney_table():
    # Mann and Whitney's U, two-sided 5 %, as tabulated by Siegel 1956, table K, plus one.
    table = {(4, 4): 0, (5, 5): 2, (5, 8): 6, (6, 6): 5, (8, 8): 13, (10, 10): 23, (12, 15): 49, (20, 20): 127}
    assert {pair: pair_statistic(*pair, 0.95) - 1 for pair in table} == table
    assert pair_statistic(3, 3, 0.95) == pair_statistic(4, 4, 0.975) == 0


def test_the_interval_of_a_difference_holds_what_the_rank_test_does_not_reject():
    rng = np.random.default_rng(0)
    of, minus = rng.normal(3, 1, 6).tolist(), rng.normal(0, 4, 7).tolist()
    e = pair_interval(of, minus, 0.95)
    kept = [d for d in np.linspace(-6, 12, 721) if reference.mannwhitneyu(np.subtract(of, d), minus).pvalue > 0.05]
    assert (e.low, e.high) == pytest.approx((min(kept), max(kept)), abs=0.026)
    assert e.value == np.median(np.subtract.outer(of, minus))
    assert e.n == 6


def test_too_few_pairs_say_nothing():
    e = pair_interval([9, 9, 9, 9], [1, 1, 1, 1])
    assert e == Estimate(8, -INF, INF, 4)
    assert math.isnan(pair_interval([], [1.0]).value)


def test_a_diverged_run_is_worse_than_any_number_and_two_are_alike():
    assert pair_interval([INF] * 5, [1.0] * 5) == Estimate(INF, INF, INF, 5)
    assert pair_interval([INF] * 5, [INF] * 5) == Estimate(0, 0, 0, 5)
    assert median_interval([1, 2, 3, INF, INF, INF]) == Estimate(INF, 1, INF, 6)
    assert rank_test([INF] * 5, [99.0] * 5) == 2 / 252


@pytest.mark.parametrize("digits", [1, 0])
@pytest.mark.parametrize("sizes", [(3, 3), (5, 5), (4, 6)])
def test_the_rank_test_is_the_permutation_test_also_with_ties(sizes, digits):
    rng = np.random.default_rng(sum(sizes) + digits)
    of, minus = rng.normal(1, 1, sizes[0]).round(digits), rng.normal(0, 1, sizes[1]).round(digits)
    every = reference.rankdata([*of, *minus])
    sums = [every[list(chosen)].sum() for chosen in itertools.combinations(range(sum(sizes)), sizes[0])]
    place = every[: sizes[0]].sum()
    expected = min(1, 2 * min(np.mean(np.array(sums) <= place), np.mean(np.array(sums) >= place)))
    assert rank_test(of.tolist(), minus.tolist()) == pytest.approx(expected)


def test_the_rank_test_of_yes_and_no_is_fishers():
    for a, b in itertools.product(range(7), repeat=2):
        of, minus = [1] * a + [0] * (6 - a), [1] * b + [0] * (6 - b)
        assert rank_test(of, minus) == pytest.approx(reference.fisher_exact([[a, 6 - a], [b, 6 - b]]).pvalue)


def test_the_rank_test_of_many_runs_is_exact():
    of, minus = list(range(33)), list(range(5, 38))
    p = reference.mannwhitneyu([v + 0.1 for v in of], minus, method="exact").pvalue
    assert rank_test([v + 0.1 for v in of], minus) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("digits", [3, 0])
@pytest.mark.parametrize("sizes", [(34, 34), (60, 40), (500, 400)])
def test_of_more_runs_than_can_be_counted_the_rank_sum_is_taken_as_normal(sizes, digits):
    rng = np.random.default_rng(sum(sizes))
    of, minus = rng.normal(0.4, 1, sizes[0]).round(digits).tolist(), rng.normal(0, 1, sizes[1]).round(digits).tolist()
    p = reference.mannwhitneyu(of, minus, method="asymptotic", use_continuity=True).pvalue
    assert rank_test(of, minus) == pytest.approx(p, rel=1e-9)
    assert rank_test([1.0] * sizes[0], [1.0] * sizes[1]) == 1
    k = pair_statistic(*sizes, 0.95)  # the interval holds what the test does not reject
    pairs = sorted(a - b for a in of for b in minus)
    for shift, kept in ((pairs[k - 1] - 1e-9, False), (pairs[k] + 1e-9, True)):
        found = reference.mannwhitneyu([a - shift for a in of], minus, method="asymptotic").pvalue
        assert digits == 0 or (found > 0.05) == kept


@pytest.mark.parametrize("sizes", [(33, 33), (30, 36), (20, 100)])
def test_the_normal_rank_sum_is_near_the_counted_one_where_both_are_known(sizes, monkeypatch):
    counted = [pair_statistic(*sizes, level) for level in (0.95, 0.975)]
    of, minus = list(range(sizes[0])), [v + 4.5 for v in range(sizes[1])]
    p = rank_test(of, minus)
    monkeypatch.setattr(stats, "_countable", lambda n, m: False)
    assert [pair_statistic(*sizes, level) for level in (0.95, 0.975)] == pytest.approx(counted, abs=3)
    assert rank_test(of, minus) == pytest.approx(p, abs=0.003)


def test_the_share_of_pairs_counts_equal_values_half():
    assert share_above([1, 2, 3], [2]) == 0.5
    assert share_above([5, 5], [1, 2, 3]) == 1
    assert math.isnan(share_above([], [1]))


def test_the_median_of_an_even_number_may_be_between_infinities():
    assert median([1, INF]) == INF
    assert median([INF, INF, 1, INF]) == INF
    assert median([4, 1]) == 2.5


@pytest.mark.parametrize("interval", [median_interval, t_interval, lambda v: pair_interval(v, [1.0])])
def test_a_value_that_is_no_number_is_refused(interval):
    with pytest.raises(ValueError, match="count a run without a number as missing"):
        interval([1.0, math.nan])


@pytest.mark.parametrize("n", [1, 5, 20])
def test_the_exact_interval_is_scipys(n):
    for k in range(n + 1):
        low, high = reference.binomtest(k, n).proportion_ci(0.95, method="exact")
        e = exact_interval(k, n)
        assert (e.value, e.low, e.high) == pytest.approx((k / n, low, high), abs=1e-10)


def test_the_exact_interval_of_no_trial_is_everything():
    e = exact_interval(0, 0)
    assert math.isnan(e.value)
    assert (e.low, e.high) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="between 0 and n = 5, got 6"):
        exact_interval(6, 5)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_the_t_interval_is_scipys(n):
    values = np.random.default_rng(n).normal(5, 3, n).tolist()
    low, high = reference.t.interval(0.95, n - 1, loc=np.mean(values), scale=reference.sem(values))
    e = t_interval(values)
    assert (e.value, e.low, e.high) == pytest.approx((np.mean(values), low, high), rel=1e-12)


def test_the_t_interval_of_one_or_of_equal_values():
    assert t_interval([3.0]) == Estimate(3.0, -INF, INF, 1)
    # 0.1 + 0.1 + 0.1 is not 0.3 in floating point; the interval must not see it.
    assert t_interval([0.1] * 3) == Estimate(0.1, 0.1, 0.1, 3)


def test_rounding_leaves_no_negative_zero():
    assert str(Estimate(-1e-9, -1e-9, 1.23456789, 3).rounded()) == "Estimate(value=0.0, low=0.0, high=1.234568, n=3)"
