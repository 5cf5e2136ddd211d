"""Whether a claim can be decided with its seeds, and how large an effect must be, beside the spread, to be found.

No data go in, only the claim, so that planning can ask before anything is trained.
"""

import math
from functools import lru_cache

from resnet_repro import stats
from resnet_repro.experiment import Claim
from resnet_repro.metrics import QUANTITIES, SHARES

FOUND = 0.8
"""The share of sweeps in which an effect should be found."""
SAMPLES = 4000
MOST_SEEDS = 200


def undecidable(claim: Claim, *seeds: int) -> str:
    """Why no outcome can support the claim, or none can refute it, these seeds on each side; empty if some can."""
    q, (low, high) = QUANTITIES[claim.metric], claim.region
    least, most = (q.low - q.high, q.high - q.low) if len(seeds) > 1 else (q.low, q.high)
    if max(low, least) >= min(high, most):
        return f"nothing can support it: {claim.metric} lies between {least:g} and {most:g}"
    if low <= least and most <= high:
        return f"nothing can refute it: {claim.metric} lies between {least:g} and {most:g}"
    if _decides(claim, *seeds):
        return ""
    enough = next((n for n in range(1, MOST_SEEDS) if _decides(claim, *[n] * len(seeds))), None)
    return (
        f"{' and '.join(map(str, seeds))} seeds cannot both support and refute it; "
        f"{f'{enough} can' if enough else 'choose another region'}"
    )


def _decides(claim: Claim, *seeds: int) -> bool:
    if claim.metric not in SHARES:
        return seeds[0] >= stats.FEWEST if len(seeds) == 1 else stats.pair_statistic(*seeds) > 0
    low, high = claim.region
    intervals = [stats.exact_interval(k, seeds[0]) for k in range(seeds[0] + 1)]
    supports = any(low <= e.low and e.high <= high for e in intervals)
    return supports and any(e.high < low or high < e.low for e in intervals)


def power(claim: Claim, *seeds: int) -> float | None:
    """How often so many seeds find the smallest effect, for a share; for the rest the largest spread at which they do.

    That spread is the standard deviation over seeds of normal errors with which FOUND of sweeps come out supported, in
    the unit of the metric. None where the claim names no smallest effect.
    """
    if claim.smallest_effect is None:
        return None
    low, high = _ends(claim)
    truth = high - claim.smallest_effect if low == -math.inf else low + claim.smallest_effect
    if claim.metric in SHARES:
        return _share_power(claim, seeds[0], truth)
    spreads = sorted(
        min((truth - low) / -least if least < 0 else math.inf, (high - truth) / most if most > 0 else math.inf)
        for least, most in _intervals(*seeds)
    )
    return spreads[int((1 - FOUND) * len(spreads))]


def _ends(claim: Claim) -> tuple[float, float]:
    """The ends of the region behind which other values lie; an end where the metric itself ends is none."""
    q, (low, high) = QUANTITIES[claim.metric], claim.region
    alone = claim.minus is None
    return -math.inf if alone and low <= q.low else low, math.inf if alone and high >= q.high else high


def _share_power(claim: Claim, n: int, truth: float) -> float:
    low, high = claim.region
    intervals = [stats.exact_interval(k, n) for k in range(n + 1)]
    chances = [math.comb(n, k) * truth**k * (1 - truth) ** (n - k) for k in range(n + 1)]
    return sum(p for p, e in zip(chances, intervals, strict=True) if low <= e.low and e.high <= high)


@lru_cache(maxsize=64)
def _intervals(*seeds: int) -> list[tuple[float, float]]:
    """The ends of the interval of many samples of normal errors around 0 with deviation 1."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, seeds[0]))
    if len(seeds) == 1:
        k, values = max(stats.order_statistic(seeds[0]), 1), x
    else:
        k, y = stats.pair_statistic(*seeds), rng.normal(size=(SAMPLES, seeds[1]))
        values = (x[:, :, None] - y[:, None, :]).reshape(SAMPLES, -1)
    ordered = np.sort(values, axis=1)
    return list(zip(ordered[:, k - 1].tolist(), ordered[:, -k].tolist(), strict=True))
