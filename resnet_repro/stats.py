"""Medians, differences and shares with their intervals, and exact tests: nothing here assumes a shape of the errors.

Why these: docs/statistics.md, from the simulation in benchmarks/decisions.py. An infinite value is a run that diverged,
which is worse than any number.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist

LEVEL = 0.95
PAIR_LEVEL = 0.975
"""Of the rank-sum test and its interval, where both sides spread alike. Where one spreads and the other does not, the
variance of the rank sum is half as large again, and 97.5 % become 93 %; 95 % would become 89 %.
"""


@dataclass(frozen=True)
class Estimate:
    """A median, difference or share from n values and the interval that holds the true one with the stated level."""

    value: float
    low: float
    high: float
    n: int

    def rounded(self) -> "Estimate":
        """The same to 6 decimals: finer than any measurement, coarser than the noise between processors; no -0.0."""
        return Estimate(round(self.value, 6) + 0.0, round(self.low, 6) + 0.0, round(self.high, 6) + 0.0, self.n)

    def wider(self, by: float) -> "Estimate":
        """The same with each end of the interval moved outwards."""
        return Estimate(self.value, self.low - by, self.high + by, self.n)

    def cut(self, low: float, high: float) -> "Estimate":
        """The same with its interval cut to the values that are possible; an error is never below 0 %.

        An infinite end is kept where the other one is known: there lie runs that diverged.
        """
        unknown = self.low == -math.inf and self.high == math.inf
        bottom = self.low if self.low == -math.inf and not unknown else max(self.low, low)
        top = self.high if self.high == math.inf and not unknown else min(self.high, high)
        return Estimate(self.value, bottom, top, self.n)


# One side ------------------------------------------------------------------------------------------------------

FEWEST = 5
"""Values of which the smallest and the largest hold the median with 93.75 %; those of six with 96.9 %."""


def median_interval(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """The median with the interval between two order statistics that holds it with at least the level.

    For any distribution (Thompson 1936; Conover 1999, sec. 3.2): the k-th smallest and the k-th largest value, with the
    largest k for which both tails of a fair coin have room. Of fewer than FEWEST values the interval is (-inf, inf).
    """
    n = _checked(values)
    if n < FEWEST:
        return Estimate(median(values), -math.inf, math.inf, n)
    ordered, k = sorted(values), max(order_statistic(n, level), 1)
    return Estimate(median(values), ordered[k - 1], ordered[-k], n)


def order_statistic(n: int, level: float = LEVEL) -> int:
    """The largest k for which the k-th smallest and k-th largest of n values hold the median with the level; or 0."""
    heads = accumulate(math.comb(n, k) for k in range(n // 2 + 1))
    return sum(2 * count <= (1 - level) * 2**n for count in heads)


def median(values: Sequence[float]) -> float:
    """The median, nan of no value; of an even number the mean of the two in the middle, which may both be infinite."""
    ordered, n = sorted(values), len(values)
    if not n:
        return math.nan
    low, high = ordered[(n - 1) // 2], ordered[n // 2]
    return low if low == high else (low + high) / 2


def exact_interval(successes: int, n: int, level: float = LEVEL) -> Estimate:
    """The share successes / n with its exact binomial interval (Clopper and Pearson 1934).

    Of no trial the share is nan and the interval [0, 1].
    """
    from scipy.special import betaincinv

    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n = {n}, got {successes}")
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return Estimate(successes / n if n else math.nan, low, high, n)


def t_interval(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """The mean of the values with its Student t interval, mean ± t(n - 1, (1 + level) / 2) s / √n; decides nothing.

    One value tells nothing about the spread: its interval is (-inf, inf), as is that of no value, whose mean is nan.
    Equal values give an interval of no width. Raises ValueError for a value that is not finite.
    """
    from statistics import fmean, stdev

    from scipy.special import stdtrit

    if not all(math.isfinite(v) for v in values):
        raise ValueError(f"values must be finite, got {list(values)}: count a run without a number as missing")
    n = len(values)
    if n < 2:
        return Estimate(values[0] if n else math.nan, -math.inf, math.inf, n)
    if min(values) == max(values):
        return Estimate(values[0], values[0], values[0], n)
    mean = fmean(values)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def _checked(values: Sequence[float]) -> int:
    """How many there are. Raises ValueError for one that is no number."""
    if any(math.isnan(v) for v in values):
        raise ValueError(f"values must be numbers, got {list(values)}: count a run without a number as missing")
    return len(values)


# Differences ---------------------------------------------------------------------------------------------------


def pair_interval(of: Sequence[float], minus: Sequence[float], level: float = PAIR_LEVEL) -> Estimate:
    """The median of all differences of a value of one side and one of the other, with its interval.

    The estimate is that of Hodges and Lehmann (1963); the interval holds the differences that the rank-sum test does
    not reject (Moses; Hollander, Wolfe and Chicken 2014, sec. 4.3): the k-th smallest to the k-th largest. Where there
    are too few values for the level it is (-inf, inf). n: of the smaller side. Two infinite values differ by 0.
    """
    n = min(_checked(of), _checked(minus))
    pairs = sorted(0.0 if a == b else a - b for a in of for b in minus)
    k = pair_statistic(len(of), len(minus), level)
    return Estimate(median(pairs), pairs[k - 1] if k else -math.inf, pairs[-k] if k else math.inf, n)


def pair_statistic(n: int, m: int, level: float = PAIR_LEVEL) -> int:
    """The largest k for which the k-th smallest and k-th largest of the n m differences hold their median; or 0.

    Exact where the ways can be counted (`_countable`); beyond by the normal distribution of the rank sum.
    """
    if not n or not m:
        return 0
    if not _countable(n, m):
        spread = math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, math.floor(n * m / 2 - 0.5 + spread * NormalDist().inv_cdf((1 - level) / 2)) + 1)
    ways = _rank_sums(tuple(range(1, n + m + 1)), n)
    heads = accumulate(ways[n * (n + 1) // 2 :])
    return sum(2 * count <= (1 - level) * math.comb(n + m, n) for count in heads)


def share_above(of: Sequence[float], minus: Sequence[float]) -> float:
    """The share of pairs in which the value of the first side is the higher; equal values count half; nan of none."""
    if not of or not minus:
        return math.nan
    return sum(1.0 if a > b else 0.5 * (a == b) for a in of for b in minus) / (len(of) * len(minus))


def rank_test(of: Sequence[float], minus: Sequence[float]) -> float:
    """The exact two-sided p of the rank sum over all ways to exchange the values of the two sides; ties share ranks.

    The permutation test on ranks (Wilcoxon 1945; Mann and Whitney 1947); of yes and no (1 and 0) Fisher's exact test.
    Where there are more ways than can be counted (`_countable`) the rank sum is taken as normal, with its mean and
    variance over them and half a rank of continuity.
    """
    every = [*of, *minus]
    if not of or not minus:
        return math.nan
    ordered = sorted(every)
    ranks = [bisect_left(ordered, a) + bisect_right(ordered, a) + 1 for a in every]  # twice the mean rank
    if not _countable(len(of), len(minus)):
        mean, n, m = len(every) + 1, len(of), len(minus)
        variance = n * m / (n + m) * sum((rank - mean) ** 2 for rank in ranks) / (n + m - 1)
        away = max(abs(sum(ranks[:n]) - n * mean) - 1, 0)
        return math.erfc(away / math.sqrt(2 * variance)) if variance else 1.0
    ways = _rank_sums(tuple(sorted(ranks)), len(of))
    total, place = math.comb(len(every), len(of)), sum(ranks[: len(of)])
    return min(1.0, 2 * min(sum(ways[: place + 1]), sum(ways[place:])) / total)


def _countable(n: int, m: int) -> bool:
    """Whether the ways to choose n of n + m fit 64 bits: 33 of 66. Counting more took minutes for 50 of 100."""
    return math.comb(n + m, n) < 2**63


@lru_cache(maxsize=256)
def _rank_sums(ranks: tuple[int, ...], n: int) -> list[int]:
    """In how many ways n of the ranks have the sum s, for each s from 0 to the sum of all; fewer ways than 2^63."""
    import numpy as np

    ways = np.zeros((n + 1, sum(ranks) + 1), np.int64)
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank]  # the right side is computed before it is added
    found: list[int] = ways[n].tolist()
    return found
