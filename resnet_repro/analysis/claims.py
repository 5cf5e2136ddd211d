"""One procedure that decides every claim: an estimate, its 95 % interval, and the region written before the sweep."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis.frames import Measured
from resnet_repro.analysis.stats import Estimate, exact_interval, paired_differences, t_interval
from resnet_repro.experiment import Claim
from resnet_repro.metrics import ERRORS, QUANTITIES, SHARES

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("supported", "refuted", "inconclusive", "incomplete")


@dataclass(frozen=True)
class Verdict:
    """What the measurements say of a claim; one row of verdicts.csv.

    estimate, low, high: the mean (or share, or mean seed-paired difference) and its 95 % interval, over `n` seeds.
    missing: selected runs that were not measured. diverged, stuck, failed: how many of the runs used were.
    chosen: the values taken by `best_over`. converged_*: the same estimate over the runs that did not diverge, given
    when some did; a diverged run counts as 100 % error in `estimate`.
    """

    claim: str
    says: str
    metric: str
    of: str
    minus: str
    chosen: str
    estimate: float
    low: float
    high: float
    n: int
    region_low: float
    region_high: float
    verdict: str
    missing: int
    diverged: int
    stuck: int
    failed: int
    converged_estimate: float
    converged_low: float
    converged_high: float
    converged_n: int

    @property
    def is_difference(self) -> bool:
        return bool(self.minus)


@dataclass(frozen=True)
class Side:
    """The runs that one side of a claim uses: measured, indexed by seed; how many are missing; the value chosen."""

    runs: "pd.DataFrame"
    missing: int
    chosen: Any


def decide(claim: Claim, measured: Measured) -> Verdict:
    """The verdict on a claim.

    The interval within the region: supported; outside of it: refuted; across an end: inconclusive; a selected run
    missing: incomplete, with the estimate from those that are there. The ends belong to the region of a mean or
    share, and do not to that of a difference: equal is not higher.
    """
    import pandas as pd

    sides = [_side(where, claim, measured) for where in (claim.of, claim.minus) if where is not None]
    used = pd.concat([side.runs for side in sides])
    missing = sum(side.missing for side in sides)
    low, high = (float(end) for end in claim.region)
    estimate = _estimate(claim, [side.runs for side in sides])
    some_diverged = claim.metric in ERRORS and (used["diverged"] == 1).any()
    converged = _estimate(claim, [side.runs[side.runs["diverged"] == 0] for side in sides])
    converged = converged if some_diverged else Estimate(math.nan, math.nan, math.nan, 0)
    verdict = "incomplete" if missing else _place(estimate, low, high, ends_belong=claim.minus is None)
    counts = {share: int((used[share] == 1).sum()) for share in SHARES}
    e, c = estimate.rounded(), converged.rounded()
    return Verdict(
        claim=claim.id,
        says=claim.says,
        metric=claim.metric,
        of=_words(claim.of),
        minus=_words(claim.minus or {}),
        chosen=_chosen(claim, sides),
        estimate=e.mean,
        low=e.low,
        high=e.high,
        n=e.n,
        region_low=low,
        region_high=high,
        verdict=verdict,
        missing=missing,
        **counts,
        converged_estimate=c.mean,
        converged_low=c.low,
        converged_high=c.high,
        converged_n=c.n,
    )


def _side(where: dict[str, Any], claim: Claim, measured: Measured) -> Side:
    planned = measured.select(where)
    needed = [claim.metric, "valid_error"] if claim.best_over else [claim.metric]
    runs = planned.dropna(subset=needed)
    missing = len(planned) - len(runs)
    chosen = None
    if claim.best_over and len(runs):
        chosen = best(runs, claim.best_over)
        runs = runs[runs[claim.best_over] == chosen]
    return Side(runs.set_index("seed"), missing, chosen)


def best(runs: "pd.DataFrame", column: str) -> Any:
    """The value of the column with the lowest mean validation error; of equal ones the first in the plan."""
    return runs.groupby(column, sort=False)["valid_error"].mean().idxmin()


def _estimate(claim: Claim, sides: Sequence["pd.DataFrame"]) -> Estimate:
    values: list[Any] = [runs[claim.metric].to_dict() for runs in sides]
    if claim.minus is not None:
        return t_interval(paired_differences(values[0], values[1]))
    return mean_of(claim.metric, list(values[0].values()))


def mean_of(metric: str, values: Sequence[float]) -> Estimate:
    """The mean of a metric over seeds with its 95 % interval, cut to the values that the metric can take.

    Of a share of seeds the interval is the exact binomial one, otherwise Student's.
    """
    if metric in SHARES:
        return exact_interval(int(sum(values)), len(values))
    return t_interval(values).cut(QUANTITIES[metric].low, QUANTITIES[metric].high)


def _place(estimate: Estimate, low: float, high: float, ends_belong: bool) -> str:
    if ends_belong:
        inside = low <= estimate.low and estimate.high <= high
        outside = estimate.high < low or high < estimate.low
    else:
        inside = low < estimate.low and estimate.high < high
        outside = estimate.high <= low or high <= estimate.low
    return "supported" if inside else "refuted" if outside else "inconclusive"


def _words(where: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in where.items())


def _chosen(claim: Claim, sides: Sequence[Side]) -> str:
    names = ("of", "minus")[: len(sides)]
    values = [f"{name}: {claim.best_over} {side.chosen}" for name, side in zip(names, sides, strict=True)]
    return "; ".join(values) if claim.best_over else ""


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a verdicts.csv; needs no pandas."""
    kinds: dict[str, Any] = {f.name: f.type for f in fields(Verdict)}
    with open(path, newline="", encoding="utf-8") as file:
        return [Verdict(**{k: kinds[k](v) for k, v in row.items()}) for row in csv.DictReader(file)]
