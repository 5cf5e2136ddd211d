"""How often each procedure is right, by simulation: `python -m benchmarks.decisions`, about 5 minutes on one core.

Six shapes of errors over seeds, as they were seen on digits, and n = 5 to 20 seeds. For one side and for the difference
of two each candidate gives an interval. `coverage`: how often it holds the true value of what it estimates; `above`,
`below`: how often it lies above or below it, which at the end of a region is a verdict that is wrong; `power`: how
often a higher side is found to be higher; `equivalence`: how often two equal sides are found to be within a point.
What follows from it: docs/statistics.md. Shares are not simulated: their rates are sums over all outcomes.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from benchmarks import table
from resnet_repro import stats

SEEDS = (5, 6, 8, 10, 12, 16, 20)
SAMPLES = 20_000
FEWER = 2_000
"""Samples for what resamples each of them."""
RESAMPLES = 999
IMAGES = 1_500
LEVEL = 0.95
MARGIN = 1.0
Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]
Interval = tuple[Array, Array]


@dataclass(frozen=True)
class Shape:
    """Errors in percent of runs that differ in the seed; `higher` draws those of a network that is worse."""

    name: str
    draw: Draw
    higher: Draw


def _normal(mean: float, deviation: float) -> Draw:
    return lambda rng, size: rng.normal(mean, deviation, size)


def _lognormal(median: float, sigma: float) -> Draw:
    return lambda rng, size: median * np.exp(sigma * rng.normal(size=size))


def _images(mean: float) -> Draw:
    return lambda rng, size: 100 / IMAGES * rng.poisson(mean, size)


def _mixed(share: float, rest: Draw, other: Draw) -> Draw:
    return lambda rng, size: np.where(rng.random(size) < share, other(rng, size), rest(rng, size))


SHAPES = (
    Shape("normal", _normal(5, 0.5), _normal(6, 0.5)),
    Shape("lognormal 0.7", _lognormal(0.3, 0.7), _lognormal(1.2, 0.7)),
    Shape("lognormal 1.1", _lognormal(0.3, 1.1), _lognormal(2.0, 1.1)),
    Shape("floor", _images(0.2), _images(3)),
    Shape(
        "5 % fail", _mixed(0.05, _normal(1, 0.2), _normal(89, 0.5)), _mixed(0.05, _normal(1.4, 0.2), _normal(89, 0.5))
    ),
    Shape("two humps", _mixed(0.5, _normal(30, 3), _normal(60, 3)), _mixed(0.95, _normal(30, 3), _normal(60, 3))),
)
UNLIKE = (
    ("lognormal 0.7 and 1.1", _lognormal(0.3, 0.7), _lognormal(0.3, 1.1)),
    ("normal, 1 and 5 wide", _normal(5, 0.2), _normal(5, 1.0)),
    ("floor and lognormal 1.1", _images(0.2), _lognormal(0.3, 1.1)),
    ("normal and 5 % fail", _normal(1, 0.2), _mixed(0.05, _normal(1, 0.2), _normal(89, 0.5))),
    ("a point and normal", _normal(5, 0), _normal(5, 1.0)),
)


def main() -> None:
    """Simulates all of it, from one seed."""
    warnings.filterwarnings("ignore", category=scipy_stats.DegenerateDataWarning)
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # bootstraps of samples of equal values
    rows = [row for n in SEEDS for row in (*_one_side(n), *_differences(n), *_shares(n))]
    table.write("decisions", rows)


# One side ------------------------------------------------------------------------------------------------------


def _one_side(n: int) -> Iterator[dict[str, object]]:
    for shape in SHAPES:
        rng = np.random.default_rng(0)
        many = shape.draw(rng, (1, 4_000_000))
        truths = {"mean": float(many.mean()), "median": float(np.median(many))}
        x = shape.draw(rng, (SAMPLES, n))
        for method, (estimand, interval) in ONE_SIDE.items():
            y = x[:FEWER] if "bootstrap" in method else x
            yield {"of": "one side", "shape": shape.name, "n": n, "method": method, "estimates": estimand,
                   **_rates(interval(y), truths[estimand])}  # fmt: skip


def _rates(interval: Interval, truth: float) -> dict[str, float]:
    low, high = interval
    near = 1e-9
    above, below = float(np.mean(low > truth + near)), float(np.mean(high < truth - near))
    return {"coverage": round(1 - above - below, 4), "above": round(above, 4), "below": round(below, 4)}


def _t(x: Array) -> Interval:
    half = scipy_stats.t.ppf((1 + LEVEL) / 2, x.shape[1] - 1) * x.std(1, ddof=1) / math.sqrt(x.shape[1])
    return x.mean(1) - half, x.mean(1) + half


def _log_odds(x: Array) -> Array:
    wrong = np.clip(x, 0, 100) / 100 * IMAGES
    return np.log((wrong + 0.5) / (IMAGES - wrong + 0.5))


def _error(log_odds: Array) -> Array:
    return 100 / (1 + np.exp(-log_odds))


def _t_log_odds(x: Array) -> Interval:
    low, high = _t(_log_odds(x))
    return _error(low), _error(high)


def _bootstrap(kind: str) -> Callable[[Array], Interval]:
    def interval(x: Array) -> Interval:
        found = scipy_stats.bootstrap(
            (x,), np.mean, axis=-1, n_resamples=RESAMPLES, batch=50, method=kind, rng=np.random.default_rng(1)
        ).confidence_interval  # fmt: skip
        same = np.ptp(x, axis=1) == 0  # BCa has none for equal values
        return np.where(same, x[:, 0], found.low), np.where(same, x[:, 0], found.high)

    return interval


def _studentised_bootstrap(x: Array) -> Interval:
    rng, n = np.random.default_rng(1), x.shape[1]
    error = x.std(1, ddof=1) / math.sqrt(n)
    ts = np.empty((RESAMPLES, len(x)))
    for k in range(RESAMPLES):
        drawn = np.take_along_axis(x, rng.integers(0, n, x.shape), 1)
        ts[k] = (drawn.mean(1) - x.mean(1)) / (drawn.std(1, ddof=1) / math.sqrt(n))
    ts[~np.isfinite(ts)] = 0
    low, high = np.quantile(ts, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return x.mean(1) - high * error, x.mean(1) - low * error


def _signed_ranks(x: Array) -> Interval:
    """Wilcoxon's: of the means of all pairs, those that the signed-rank test would not reject."""
    n = x.shape[1]
    i, j = np.triu_indices(n)
    means = np.sort((x[:, i] + x[:, j]) / 2, axis=1)
    counts = np.ones(1)
    for rank in range(1, n + 1):
        counts = np.convolve(counts, np.r_[1, np.zeros(rank - 1), 1])
    k = max(int(np.sum(np.cumsum(counts) / 2**n <= (1 - LEVEL) / 2)), 1)
    return means[:, k - 1], means[:, -k]


def _order_statistics(x: Array) -> Interval:
    k = max(stats.order_statistic(x.shape[1]), 1)
    ordered = np.sort(x, axis=1)
    return ordered[:, k - 1], ordered[:, -k]


ONE_SIDE: dict[str, tuple[str, Callable[[Array], Interval]]] = {
    "Student t": ("mean", _t),
    "t of log-odds": ("median", _t_log_odds),
    "percentile bootstrap": ("mean", _bootstrap("percentile")),
    "BCa bootstrap": ("mean", _bootstrap("BCa")),
    "studentised bootstrap": ("mean", _studentised_bootstrap),
    "signed ranks": ("median", _signed_ranks),
    "order statistics": ("median", _order_statistics),
}


# Differences ---------------------------------------------------------------------------------------------------


def _differences(n: int) -> Iterator[dict[str, object]]:
    alike = [(shape.name, shape.draw, shape.draw, shape.higher) for shape in SHAPES]
    unlike = [(name, of, minus, None) for name, of, minus in UNLIKE]
    for name, of, minus, higher in [*alike, *unlike]:
        rng = np.random.default_rng(0)
        many, others = of(rng, (1, 4_000_000)), minus(rng, (1, 4_000_000))
        middle, ends = float(np.median(many - others)), float(np.median(many) - np.median(others))
        truths = {"mean": float(many.mean() - others.mean()), "median of pairs": middle, "medians": ends}
        x, y = of(rng, (SAMPLES, n)), minus(rng, (SAMPLES, n))
        z = None if higher is None else higher(rng, (SAMPLES, n))
        for method, (estimand, interval) in DIFFERENCES.items():
            if higher is None and "permutation" in method:
                continue  # a test of equality has nothing to say of the difference of unlike sides
            at_most = FEWER if "bootstrap" in method or "permutation" in method else SAMPLES
            low, high = interval(x[:at_most], y[:at_most])
            rates = _rates((low, high), truths[estimand])
            if z is not None:
                rates["power"] = round(float(np.mean(interval(z[:at_most], y[:at_most])[0] > 0)), 4)
                rates["equivalence"] = round(float(np.mean((low > -MARGIN) & (high < MARGIN))), 4)
            yield {"of": "difference", "shape": name, "n": n, "method": method, "estimates": estimand, **rates}


def _paired_t(x: Array, y: Array) -> Interval:
    return _t(x - y)


def _welch(x: Array, y: Array) -> Interval:
    n = x.shape[1]
    a, b = x.var(1, ddof=1) / n, y.var(1, ddof=1) / n
    freedom = (a + b) ** 2 / ((a**2 + b**2) / (n - 1))
    half = np.nan_to_num(scipy_stats.t.ppf((1 + LEVEL) / 2, freedom)) * np.sqrt(a + b)
    return x.mean(1) - y.mean(1) - half, x.mean(1) - y.mean(1) + half


def _pairs(level: float) -> Callable[[Array, Array], Interval]:
    """Of the differences of all pairs, those that the rank-sum test would not reject (Moses)."""

    def interval(x: Array, y: Array) -> Interval:
        k = stats.pair_statistic(x.shape[1], y.shape[1], level)
        ordered = np.sort((x[:, :, None] - y[:, None, :]).reshape(len(x), -1), axis=1)
        return ordered[:, k - 1], ordered[:, -k]

    return interval


def _two_medians(x: Array, y: Array) -> Interval:
    """Each median with an interval of (1 + level) / 2, by order statistics (Bonferroni)."""
    k = max(stats.order_statistic(x.shape[1], (1 + LEVEL) / 2), 1)
    x, y = np.sort(x, axis=1), np.sort(y, axis=1)
    return x[:, k - 1] - y[:, -k], x[:, -k] - y[:, k - 1]


def _bootstrap_of_two(x: Array, y: Array) -> Interval:
    rng, n = np.random.default_rng(1), x.shape[1]
    means = np.empty((RESAMPLES, len(x)))
    for k in range(RESAMPLES):
        drawn = (np.take_along_axis(side, rng.integers(0, n, side.shape), 1).mean(1) for side in (x, y))
        means[k] = next(drawn) - next(drawn)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _permuted_means(x: Array, y: Array) -> Interval:
    """No interval, but whether the permutation test of the means says `higher` or `lower`: then an end at the mean."""
    p = scipy_stats.permutation_test(
        (x, y), lambda a, b, axis: a.mean(axis) - b.mean(axis), axis=1, n_resamples=RESAMPLES, batch=20,
        vectorized=True, rng=np.random.default_rng(1),
    ).pvalue  # fmt: skip
    mean, decided = x.mean(1) - y.mean(1), p <= 1 - LEVEL
    return np.where(decided & (mean > 0), mean, -np.inf), np.where(decided & (mean < 0), mean, np.inf)


DIFFERENCES: dict[str, tuple[str, Callable[[Array, Array], Interval]]] = {
    "paired t": ("mean", _paired_t),
    "Welch": ("mean", _welch),
    "percentile bootstrap": ("mean", _bootstrap_of_two),
    "permutation of means": ("mean", _permuted_means),
    "ranks of pairs, 95 %": ("median of pairs", _pairs(LEVEL)),
    "ranks of pairs, 97.5 %": ("median of pairs", _pairs(stats.PAIR_LEVEL)),
    "two medians": ("medians", _two_medians),
}


# Shares --------------------------------------------------------------------------------------------------------


def _shares(n: int) -> Iterator[dict[str, object]]:
    """The least coverage over all true shares, and how often 0.9 is found to be more than a half, or more than 0.05."""
    every = np.linspace(0.001, 0.999, 999)
    chance = _chances(n, every)
    for method in ("exact", "wilson"):
        intervals = [scipy_stats.binomtest(k, n).proportion_ci(LEVEL, method) for k in range(n + 1)]
        low, high = (np.array([getattr(i, end) for i in intervals]) for end in ("low", "high"))
        above, below = (chance * (low[:, None] > every)).sum(0), (chance * (high[:, None] < every)).sum(0)
        rates = {"coverage": (1 - above - below).min(), "above": above.max(), "below": below.max()}
        rates["power"] = _chances(n, 0.9)[low > 0.5].sum()
        yield {"of": "share", "shape": "any", "n": n, "method": f"binomial, {method}", "estimates": "share"} | {
            name: round(float(rate), 4) for name, rate in rates.items()
        }
    for method, decides in TWO_SHARES.items():
        higher = np.array([[decides(a, b, n) and a > b for b in range(n + 1)] for a in range(n + 1)])
        wrong = round(float(np.einsum("as,ab,bs->s", chance, higher, chance).max()), 4)
        power = round(float(_chances(n, 0.9) @ higher @ _chances(n, 0.05)), 4)
        yield {"of": "difference", "shape": "two shares", "n": n, "method": method, "estimates": "shares",
               "above": wrong, "below": wrong, "power": power}  # fmt: skip


def _chances(n: int, share: float | Array) -> Array:
    """Of each number of successes, for each true share."""
    return scipy_stats.binom.pmf(np.arange(n + 1).reshape(-1, *[1] * np.ndim(share)), n, share)


def _fisher(a: int, b: int, n: int) -> bool:
    return bool(scipy_stats.fisher_exact([[a, n - a], [b, n - b]]).pvalue <= 1 - LEVEL)


def _newcombe(a: int, b: int, n: int) -> bool:
    """Whether his interval of the difference, from two of Wilson's, excludes zero."""
    (la, ua), (lb, ub) = (scipy_stats.binomtest(k, n).proportion_ci(LEVEL, "wilson") for k in (a, b))
    difference = (a - b) / n
    low = difference - math.hypot(a / n - la, ub - b / n)
    high = difference + math.hypot(ua - a / n, b / n - lb)
    return low > 0 or high < 0


TWO_SHARES = {"Fisher": _fisher, "Newcombe": _newcombe}


if __name__ == "__main__":
    main()
