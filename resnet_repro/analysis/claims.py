"""One procedure that decides every claim: an estimate, its 95 % interval, and the region written before the sweep.

Why this one, and what it holds: docs/statistics.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import words
from resnet_repro.analysis.frames import Measured
from resnet_repro.analysis.verdicts import UNTESTED, Verdict
from resnet_repro.experiment import Claim, digest
from resnet_repro.metrics import ERRORS, QUANTITIES, SHARES, SUMMARIES
from resnet_repro.power import undecidable
from resnet_repro.stats import (
    PAIR_LEVEL,
    Estimate,
    exact_interval,
    median_interval,
    pair_interval,
    rank_test,
    share_above,
    t_interval,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Side:
    """The runs that one side of a claim uses, and what became of those that it chooses from.

    runs: measured, at the value chosen. missing: how many are not measured. learned: whether any run at any value was
    neither stuck nor diverged. end: `smallest` or `largest` where the value chosen is that of those tried.
    """

    runs: "pd.DataFrame"
    missing: int
    chosen: Any
    learned: bool
    end: str


@dataclass(frozen=True)
class Conclusion:
    """What some runs say of a claim."""

    verdict: str
    why: str
    estimate: Estimate
    sides: Sequence[Side]


def decide(claim: Claim, measured: Measured) -> Verdict:
    """The verdict on a claim.

    The interval within the region: supported; outside of it: refuted; across an end: inconclusive; a selected run
    missing: incomplete, with the estimate from those that are there. The ends belong to the region of a median or
    share, and do not to that of a difference: equal is not higher. Whether one side is higher must be said by the
    exact test, too. Not answerable: neither side learned anything, or the best value lies at an end of those tried.
    """
    measured = measured.at(claim.metric, claim.at)
    planned = [measured.select(where) for where in (claim.of, claim.minus) if where is not None]
    found = conclude(claim, planned)
    values = [list(_values(side.runs, claim.metric)) for side in found.sides]
    two = len(values) == 2
    e = found.estimate.rounded()
    counts: dict[str, Any] = {share: _count(found.sides[0], share) for share in SHARES}
    counts |= {f"{share}_minus": _count(found.sides[1], share) if two else 0 for share in SHARES}
    standing, since = _standing(claim, planned)
    return Verdict(
        claim=claim.id,
        says=claim.says,
        metric=claim.metric,
        of=_words(claim.of) + ("" if claim.at is None else f" at step {claim.at}"),
        minus=_words(claim.minus or {}),
        chosen=_chosen(claim, found.sides),
        best_by=claim.best_by if claim.best_over else "",
        estimate=e.value,
        low=e.low,
        high=e.high,
        n=e.n,
        region_low=float(claim.region[0]),
        region_high=float(claim.region[1]),
        verdict=found.verdict,
        why=found.why,
        missing=sum(side.missing for side in found.sides),
        **counts,
        failed_p=round(rank_test(*(list(side.runs["failed"]) for side in found.sides)), 6) if two else math.nan,
        above=round(share_above(*values), 6) if two else math.nan,
        p=round(rank_test(*values), 6) if two else math.nan,
        changes_without=_changes(claim, planned, found.verdict),
        standing=standing,
        since=since,
    )


def conclude(claim: Claim, planned: Sequence["pd.DataFrame"]) -> Conclusion:
    """What the planned runs of each side say of a claim."""
    sides = [_side(runs, claim) for runs in planned]
    values = [list(_values(side.runs, claim.metric)) for side in sides]
    estimate = _estimate(claim, values, sides)
    if any(side.missing for side in sides):
        return Conclusion("incomplete", "", estimate, sides)
    if why := _why_not(claim, sides):
        return Conclusion("not answerable", why, estimate, sides)
    return Conclusion(_place(claim, estimate, values), "", estimate, sides)


def _side(planned: "pd.DataFrame", claim: Claim) -> Side:
    runs = planned[_values(planned, claim.metric).notna()]
    if claim.best_over:
        runs = runs[_values(runs, claim.best_by).notna()]
    missing = len(planned) - len(runs)
    learned = bool(((runs["stuck"] == 0) & (runs["diverged"] == 0)).any())
    if not claim.best_over or not len(runs):
        return Side(runs, missing, None, learned, "")
    chosen = best(runs, claim.best_over, claim.best_by)
    return Side(runs[runs[claim.best_over] == chosen], missing, chosen, learned, _end(chosen, planned[claim.best_over]))


def best(runs: "pd.DataFrame", column: str, by: str = "valid_error") -> Any:
    """The value of the column with the lowest mean of `by` over seeds; of equal ones the first in the plan.

    The mean, unlike the median, shuns a value at which some runs fail. An error of a run that diverged counts as the
    highest, its loss as infinite.
    """
    values = runs[by].mask(runs[by].isna() & (runs["diverged"] == 1), math.inf).astype(float)
    return values.groupby(runs[column], sort=False).mean().idxmin()


def _values(runs: "pd.DataFrame", metric: str) -> "pd.Series[float]":
    """The metric of each run; infinite, which is worse than any number, where an error or loss diverged."""
    values = runs[metric].astype(float)
    worst = metric in ERRORS or metric == "train_loss"
    return values.mask(runs["diverged"] == 1, math.inf) if worst else values


def _end(chosen: Any, tried: "pd.Series[Any]") -> str:
    """Whether the value is the smallest or the largest of several numbers."""
    numbers = sorted({v for v in tried if isinstance(v, float | int)})
    if len(numbers) < 2 or chosen not in (numbers[0], numbers[-1]):
        return ""
    return "smallest" if chosen == numbers[0] else "largest"


def _why_not(claim: Claim, sides: Sequence[Side]) -> str:
    """Why the runs cannot answer; empty where they can."""
    if claim.metric in SHARES:
        return ""
    for where, side in zip((claim.of, claim.minus or {}), sides, strict=False):
        who, what = words.listed(where), words.setting(claim.best_over or "")
        if claim.best_over and not side.learned:
            return f"no run of {who} learned at any {what}"
        if side.end:
            return f"the best {what} of {who}, {words.text(side.chosen)}, is the {side.end} tried"
    if claim.metric in SUMMARIES:  # of what there is before a run has learned anything, too
        return ""
    learned = [side.learned for side in sides]
    return "no run of either side learned" if len(sides) == 2 and not any(learned) else ""


def _estimate(claim: Claim, values: Sequence[Sequence[float]], sides: Sequence[Side]) -> Estimate:
    """The estimate; an error of k of N images stands for any from k - 1/2 to k + 1/2, so no interval has no width."""
    low, high = QUANTITIES[claim.metric].low, QUANTITIES[claim.metric].high
    half = sum(_half_an_image(claim.metric, side.runs) for side in sides)
    if claim.metric in SHARES:
        return exact_interval(int(sum(values[0])), len(values[0]))
    if len(values) == 1:
        return median_interval(values[0]).wider(half).cut(low, high)
    return pair_interval(values[0], values[1]).wider(half).cut(low - high, high - low)


def _half_an_image(metric: str, runs: "pd.DataFrame") -> float:
    """In percent; 0 of what is no error over images, and where their number was not recorded (before 0.2)."""
    column = f"{metric.partition('_')[0]}_images"
    if metric not in ERRORS or metric == "train_error_running" or column not in runs or not runs[column].notna().all():
        return 0.0
    return 50 / float(runs[column].astype(float).min()) if len(runs) else 0.0


def _place(claim: Claim, estimate: Estimate, values: Sequence[Sequence[float]]) -> str:
    """Where the interval lies; an end of the region that is infinite is none, since a run that diverged is infinite."""
    ends = [float(end) for end in claim.region if math.isfinite(end)]
    above, below = claim.region[0] in ends, claim.region[1] in ends
    low, high = (float(end) for end in claim.region)
    if len(values) == 1:
        inside = (not above or low <= estimate.low) and (not below or estimate.high <= high)
        outside = (above and estimate.high < low) or (below and high < estimate.low)
    else:
        inside = (not above or low < estimate.low) and (not below or estimate.high < high)
        outside = (above and estimate.high <= low) or (below and high <= estimate.low)
        if len(ends) == 1 and rank_test([v - ends[0] for v in values[0]], values[1]) > 1 - PAIR_LEVEL:
            inside = outside = False
    return "supported" if inside else "refuted" if outside else "inconclusive"


def _changes(claim: Claim, planned: Sequence["pd.DataFrame"], verdict: str) -> str:
    """The seeds without any one of which the verdict would be another; UNTESTED where fewer seeds decide nothing."""
    seeds = [{int(seed) for seed in runs["seed"]} for runs in planned]
    if verdict == "incomplete" or undecidable(claim, *(len(side) - 1 for side in seeds)):
        return UNTESTED
    without = {s: [runs[runs["seed"] != s] for runs in planned] for s in sorted(set().union(*seeds))}
    return " ".join(str(s) for s, left in without.items() if conclude(claim, left).verdict != verdict)


def _standing(claim: Claim, planned: Sequence["pd.DataFrame"]) -> tuple[str, str]:
    """Whether each measured run was told of the claim, as it is now, when it began; and the commits of their code."""
    import pandas as pd

    mark = digest(claim, [runs["seed"] for runs in planned])
    used = pd.concat(planned)
    used = used[used["measured"]]
    known = bool(len(used)) and all(mark in str(told).split() for told in used["claims"])
    commits = " ".join(dict.fromkeys(used["commit"].dropna()))
    return ("registered", commits) if known else ("exploratory", "")


def mean_of(metric: str, values: Sequence[float]) -> Estimate:
    """The mean of a metric over seeds with its 95 % interval, cut to the values that the metric can take.

    Of a share of seeds the interval is the exact binomial one, otherwise Student's; it describes, and decides nothing.
    """
    if metric in SHARES:
        return exact_interval(int(sum(values)), len(values))
    return t_interval(values).cut(QUANTITIES[metric].low, QUANTITIES[metric].high)


def _count(side: Side, share: str) -> int:
    return int((side.runs[share] == 1).sum())


def _words(where: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in where.items())


def _chosen(claim: Claim, sides: Sequence[Side]) -> str:
    names = ("of", "minus")[: len(sides)]
    values = [f"{name}: {claim.best_over} {side.chosen}" for name, side in zip(names, sides, strict=True)]
    return "; ".join(values) if claim.best_over else ""
