"""Means, differences and shares with their intervals.

The Student t interval, not the percentile bootstrap: with five seeds the bootstrap covers the true mean in 83 % of
samples where it says 95 %, the t interval in 95 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Estimate:
    """A mean (or share) of n values and the interval that holds the true one with the stated level."""

    mean: float
    low: float
    high: float
    n: int

    def cut(self, low: float, high: float) -> "Estimate":
        """The same with its interval cut to the values that are possible; an error is never below 0 %."""
        return Estimate(self.mean, max(self.low, low), min(self.high, high), self.n)

    def rounded(self) -> "Estimate":
        """The same to 6 decimals: finer than any measurement, coarser than the noise between processors; no -0.0."""
        return Estimate(round(self.mean, 6) + 0.0, round(self.low, 6) + 0.0, round(self.high, 6) + 0.0, self.n)


def t_interval(values: Sequence[float], level: float = 0.95) -> Estimate:
    """The mean of the values with its Student t interval, mean ± t(n - 1, (1 + level) / 2) s / √n.

    One value tells nothing about the spread: its interval is (-inf, inf), as is that of no value, whose mean is nan.
    Equal values give an interval of no width. Raises ValueError for a value that is not finite.
    """
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


def paired_differences(of: Mapping[int, float], minus: Mapping[int, float]) -> list[float]:
    """of - minus for each seed that both have, in the order of the seeds."""
    return [of[seed] - minus[seed] for seed in sorted(set(of) & set(minus))]


def exact_interval(successes: int, n: int, level: float = 0.95) -> Estimate:
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
