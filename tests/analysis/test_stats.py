import math

import numpy as np
import pytest
from scipy import stats as reference

from resnet_repro.analysis.stats import Estimate, exact_interval, paired_differences, t_interval


@pytest.mark.parametrize("n", [2, 3, 5, 12])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_t_interval_is_scipys(n, level):
    values = np.random.default_rng(n).normal(5, 3, n).tolist()
    low, high = reference.t.interval(level, n - 1, loc=np.mean(values), scale=reference.sem(values))
    e = t_interval(values, level)
    assert (e.mean, e.low, e.high) == pytest.approx((np.mean(values), low, high), rel=1e-12)
    assert e.n == n


def test_the_t_interval_of_differences_excludes_zero_exactly_when_the_paired_t_test_rejects():
    rng = np.random.default_rng(0)
    decided = set()
    for shift in (0.0, 0.5, 1.0, 2.0, 3.0):
        a, b = rng.normal(shift, 1, 5), rng.normal(0, 1, 5)
        e = t_interval((a - b).tolist())
        rejected = reference.ttest_rel(a, b).pvalue < 0.05
        assert (e.low > 0 or e.high < 0) == rejected
        decided.add(bool(rejected))
    assert decided == {True, False}


def test_the_95_percent_t_interval_holds_the_mean_in_95_percent_of_samples():
    samples = np.random.default_rng(1).normal(10, 2, (4000, 5)).tolist()
    inside = sum(e.low <= 10 <= e.high for e in map(t_interval, samples)) / len(samples)
    assert abs(inside - 0.95) < 4 * math.sqrt(0.95 * 0.05 / len(samples))


def test_one_value_says_nothing_about_the_spread():
    assert t_interval([3.0]) == Estimate(3.0, -math.inf, math.inf, 1)


def test_no_value_has_no_mean():
    e = t_interval([])
    assert math.isnan(e.mean)
    assert (e.low, e.high, e.n) == (-math.inf, math.inf, 0)


def test_equal_values_give_an_interval_of_no_width():
    # 0.1 + 0.1 + 0.1 is not 0.3 in floating point; the interval must not see it.
    assert t_interval([0.1] * 3) == Estimate(0.1, 0.1, 0.1, 3)


def test_a_value_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="must be finite"):
        t_interval([1.0, math.inf])


@pytest.mark.parametrize("n", [1, 5, 20])
def test_the_exact_interval_is_scipys(n):
    for k in range(n + 1):
        low, high = reference.binomtest(k, n).proportion_ci(0.95, method="exact")
        e = exact_interval(k, n)
        assert (e.mean, e.low, e.high) == pytest.approx((k / n, low, high), abs=1e-10)


def test_the_exact_interval_of_no_trial_is_everything():
    e = exact_interval(0, 0)
    assert math.isnan(e.mean)
    assert (e.low, e.high) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="between 0 and n = 5, got 6"):
        exact_interval(6, 5)


def test_differences_are_paired_by_seed_in_whatever_order_they_come():
    of, minus = {2: 20.0, 0: 10.0, 1: 15.0}, {0: 1.0, 1: 2.0, 2: 3.0, 7: 99.0}
    assert paired_differences(of, minus) == [9.0, 13.0, 17.0]


def test_rounding_leaves_no_negative_zero():
    assert str(Estimate(-1e-9, -1e-9, 1.23456789, 3).rounded()) == "Estimate(mean=0.0, low=0.0, high=1.234568, n=3)"
