"""Whether a claim can be decided, and how large an effect must be: against counts by hand and another simulation."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from resnet_repro.experiment import Claim
from resnet_repro.power import FOUND, power, undecidable
from resnet_repro.stats import median_interval, pair_interval

INF = math.inf


def claim(region, metric="train_error_clean", minus=None, effect=None):
    return Claim("c", "A claim.", metric, {}, region, minus, smallest_effect=effect)


@pytest.mark.parametrize(
    ("asked", "seeds", "why"),
    [
        (claim([0.5, 1], "failed"), (6,), ""),  # 0 of 6 is at most 0.459, 6 of 6 at least 0.541
        (claim([0.5, 1], "failed"), (5,), "5 seeds cannot both support and refute it; 6 can"),
        (claim([0.4, 1], "failed"), (5,), "5 seeds cannot both support and refute it; 8 can"),  # 0 of 7: at most 0.410
        (claim([0, 1]), (5,), ""),
        (claim([0, 1]), (4,), "4 seeds cannot both support and refute it; 5 can"),
        (claim([0, INF], minus={}), (5, 5), ""),
        (claim([0, INF], minus={}), (4, 4), "4 and 4 seeds cannot both support and refute it; 5 can"),
        (claim([0, 100]), (9,), "nothing can refute it: train_error_clean lies between 0 and 100"),
        (claim([-INF, INF], minus={}), (9, 9), "nothing can refute it: train_error_clean lies between -100 and 100"),
        (claim([101, 110]), (9,), "nothing can support it: train_error_clean lies between 0 and 100"),
    ],
)
def test_a_claim_that_no_outcome_could_support_or_refute_is_told(asked, seeds, why):
    assert undecidable(asked, *seeds) == why


def test_the_power_of_a_share_is_that_of_the_binomial():
    # Of 8 seeds 8 must fail: 7 of 8 is at least 0.473. The truth is 0.5 + 0.4.
    assert power(claim([0.5, 1], "failed", effect=0.4), 8) == pytest.approx(reference.binom.sf(7, 8, 0.9))


@pytest.mark.parametrize(
    ("asked", "truth", "seeds"),
    [
        (claim([0, INF], minus={}, effect=3), 3, (6, 6)),
        (claim([-INF, 0], minus={}, effect=3), -3, (6, 6)),
        (claim([-1, 1], minus={}, effect=1), 0, (12, 12)),
        (claim([0, 1], effect=0.5), 0.5, (8,)),
    ],
)
def test_at_the_spread_that_is_given_so_many_sweeps_find_the_effect(asked, truth, seeds):
    spread, rng, found = power(asked, *seeds), np.random.default_rng(7), 0
    for _ in range(1000):
        sides = [rng.normal(0, spread, n).tolist() for n in seeds]
        e = median_interval(sides[0]) if len(seeds) == 1 else pair_interval(*sides)
        above = asked.minus is None or asked.region[0] < truth + e.low  # an error is never below 0
        found += above and truth + e.high < asked.region[1]
    assert found / 1000 == pytest.approx(FOUND, abs=0.04)


def test_a_claim_without_a_smallest_effect_has_no_power():
    assert power(claim([0, INF], minus={}), 6, 6) is None
