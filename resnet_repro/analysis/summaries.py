"""From points to one number for each run, when a report is made: a claim on a new number costs no training.

A summary is a function of a run's points (`step, metric, x, y, value`) and a row of `metrics.QUANTITIES` whose `of`
names the metric that it is computed from. NaN: the points are not there.
"""

import math
import statistics
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from resnet_repro.metrics import QUANTITIES

if TYPE_CHECKING:
    import pandas as pd


def gradient_slope(points: "pd.DataFrame") -> float:
    """The least-squares slope of log10 of the gradient by the layer's output over the layer, before the first step.

    In decades per 100 layers: below 0 the gradient grows towards the input, above 0 it vanishes. Layers whose gradient
    is 0 or no number are left out.
    """
    return _slope(points[points["step"] == 0])


def gradient_slope_end(points: "pd.DataFrame") -> float:
    """The same after the last step that was looked at."""
    return _slope(_at_end(points))


def _slope(points: "pd.DataFrame") -> float:
    above = points[(points["value"] > 0) & (points["value"] < math.inf)]
    if len(above) < 2:
        return math.nan
    return 100 * statistics.linear_regression(list(above["x"]), [math.log10(value) for value in above["value"]]).slope


def factor(points: "pd.DataFrame") -> float:
    """By what a block multiplies the value as it passes back, before the first step: the geometric mean over blocks.

    Of n blocks (first / last)^(1 / (n - 1)): above 1 the value grows towards the input.
    """
    values = _at_start(points)
    if len(values) < 2 or not 0 < values[-1] < math.inf:
        return math.nan
    return (values[0] / values[-1]) ** (1 / (len(values) - 1))


def _at_start(points: "pd.DataFrame") -> list[float]:
    """The values before the first step, in the order of x."""
    return list(points[points["step"] == 0].sort_values("x")["value"])


def _at_end(points: "pd.DataFrame") -> "pd.DataFrame":
    """The points after the last step that was looked at, in the order of x."""
    return points[points["step"] == points["step"].max()].sort_values("x")


def first(points: "pd.DataFrame") -> float:
    """The value at the lowest x, before the first step."""
    return next(iter(_at_start(points)), math.nan)


def last_convolution(points: "pd.DataFrame") -> float:
    """The value at the last layer but one, before the first step: the last layer is the linear one."""
    values = _at_start(points)
    return values[-2] if len(values) > 1 else math.nan


def effective_dimension(points: "pd.DataFrame") -> float:
    """(sum s^2)^2 / sum s^4 over the singular values s before the first step: how many directions are kept.

    It is n of n where all are equal, 1 where one is far above all others.
    """
    squares = [value**2 for value in _at_start(points)]
    return sum(squares) ** 2 / total if (total := sum(square**2 for square in squares)) else math.nan


def median_at_start(points: "pd.DataFrame") -> float:
    """The median of the values over x, before the first step."""
    return float(points.loc[points["step"] == 0, "value"].median())


def median_at_end(points: "pd.DataFrame") -> float:
    """The median of the values over x, after the last step that was looked at."""
    return float(_at_end(points)["value"].median())


def median_of_largest(points: "pd.DataFrame") -> float:
    """The median over the looks, at the start, on the way and at the end, of the largest value over x."""
    return float(points.groupby("step")["value"].max().median())


def median_on_the_way(points: "pd.DataFrame") -> float:
    """The median of the values over x and over the looks after the first step: before it nothing has been learned."""
    return float(points.loc[points["step"] > 0, "value"].median())


def deletion_rise(points: "pd.DataFrame") -> float:
    """The median error without a block that keeps its shape, less the error with all blocks, after the last step."""
    end = _at_end(points)
    return float(end[(end["x"] > 0) & (end["y"] == 0)]["value"].median() - _where(end, 0))


def transition_excess(points: "pd.DataFrame") -> float:
    """The median error without a block that changes the shape, less that without one that keeps it."""
    end = _at_end(points)[lambda rows: rows["x"] > 0]
    return float(end[end["y"] == 1]["value"].median() - end[end["y"] == 0]["value"].median())


def largest_step(points: "pd.DataFrame") -> float:
    """The largest rise from one x to the next, after the last step."""
    return float(_at_end(points)["value"].diff().max())


def rise_to_half(points: "pd.DataFrame") -> float:
    """The value at half of the largest x, rounded down, less that at 0, after the last step."""
    end = _at_end(points)
    return _where(end, end["x"].max() // 2) - _where(end, 0)


def first_rise(points: "pd.DataFrame") -> float:
    """The value at x = 1 less that at 0, after the last step."""
    end = _at_end(points)
    return _where(end, 1) - _where(end, 0)


def whole_rise(points: "pd.DataFrame") -> float:
    """The value at the largest x less that at 0, after the last step."""
    end = _at_end(points)
    return _where(end, end["x"].max()) - _where(end, 0)


def _where(points: "pd.DataFrame", x: float) -> float:
    return next(iter(points.loc[points["x"] == x, "value"]), math.nan)


def of_four(points: "pd.DataFrame") -> float:
    """The value at x = 4, before the first step."""
    return _where(points[points["step"] == 0], 4)


def largest_at_start(points: "pd.DataFrame") -> float:
    """The largest value over x, before the first step."""
    return float(points.loc[points["step"] == 0, "value"].max())


def largest_at_end(points: "pd.DataFrame") -> float:
    """The largest value over x, after the last step that was looked at."""
    return float(_at_end(points)["value"].max())


def nonconvexity(points: "pd.DataFrame") -> float:
    """-a / b for the smallest value a and the largest b, after the last step: |a| / b where a is below 0.

    0 or less where the loss is convex (Li et al. 2018, arXiv:1712.09913, section 6). NaN where b is not above 0.
    """
    smallest, largest = (float(end) for end in _at_end(points)["value"].agg(["min", "max"]))
    return -smallest / largest if largest > 0 else math.nan


def line_rise(points: "pd.DataFrame") -> float:
    """The mean of the values at x = -1/2 and 1/2 less that at 0, after the last step."""
    end = _at_end(points)
    return (_where(end, -0.5) + _where(end, 0.5)) / 2 - _where(end, 0)


def nonconvex_share(points: "pd.DataFrame") -> float:
    """The share of the plane's inner points at which the surface is not convex, after the last step.

    There the smaller eigenvalue of the 2 x 2 matrix of second differences by x and y, from the eight neighbours, is
    below 0. Points next to a value that is no number are left out.
    """
    import numpy as np

    f = _at_end(points).set_index(["y", "x"])["value"].unstack().replace(math.inf, math.nan).to_numpy()
    across, up = np.diff(f, 2, axis=1)[1:-1], np.diff(f, 2, axis=0)[:, 1:-1]
    mixed = (f[2:, 2:] - f[2:, :-2] - f[:-2, 2:] + f[:-2, :-2]) / 4
    smaller = (across + up) / 2 - np.hypot((across - up) / 2, mixed)
    known = smaller[np.isfinite(smaller)]
    return float((known < 0).mean()) if len(known) else math.nan


def path_length(points: "pd.DataFrame") -> float:
    """The mean of x / n, each weighted by its value times the number of paths of that length, after the last step.

    Without the values it would be 1/2 (Veit et al. 2016, section 5, figure 6).
    """
    end = _at_end(points)
    n = end["x"].max()
    return float((end["x"] / n * _carried(end)).sum() / _carried(end).sum())


def short_path_share(points: "pd.DataFrame") -> float:
    """The share of x <= n / 2 in the sum over x of the value times the number of paths of that length."""
    end = _at_end(points)
    return float(_carried(end)[end["x"] <= end["x"].max() / 2].sum() / _carried(end).sum())


def _carried(end: "pd.DataFrame") -> "pd.Series[float]":
    return end["value"] * [float(math.comb(int(end["x"].max()), int(x))) for x in end["x"]]


def paths_length(points: "pd.DataFrame") -> float:
    """The mean of x / n, each weighted by its value, after the last step."""
    end = _at_end(points)
    return float((end["x"] / end["x"].max() * end["value"]).sum() / end["value"].sum())


SUMMARIES: dict[str, Callable[["pd.DataFrame"], float]] = {
    "gradient_slope": gradient_slope,
    "gradient_slope_end": gradient_slope_end,
    "gradient_factor": factor,
    "shortcut_gradient_factor": factor,
    "identity_error_of_one": first,
    "identity_error_of_four": of_four,
    "response_std_end": median_at_end,
    "effective_smoothness": median_of_largest,
    "sharpness": largest_at_end,
    "sharpness_start": largest_at_start,
    "nonconvexity": nonconvexity,
    "line_rise": line_rise,
    "line_rise_recomputed": line_rise,
    "nonconvex_share": nonconvex_share,
    "nonconvex_share_recomputed": nonconvex_share,
    "gradient_alignment": median_on_the_way,
    "gradient_alignment_start": median_at_start,
    "median_mean_shift": median_on_the_way,
    "gradient_acf_1": first,
    "gradient_acf_images_1": first,
    "output_cosine_last": last_convolution,
    "gradient_cosine_first": first,
    "output_rank_last": last_convolution,
    "jacobian_rank": effective_dimension,
    "deletion_rise": deletion_rise,
    "deletion_rise_recomputed": deletion_rise,
    "transition_excess": transition_excess,
    "deletion_jump": largest_step,
    "half_deleted_rise": rise_to_half,
    "half_deleted_rise_recomputed": rise_to_half,
    "swap_rise": first_rise,
    "shuffling_rise": whole_rise,
    "path_length": path_length,
    "short_path_share": short_path_share,
    "paths_length": paths_length,
}


def running_statistics_excess(runs: "pd.DataFrame") -> "pd.Series[float]":
    """By how much batch norm's running statistics raise the training error above exact ones, in points of a percent.

    Both errors are of the same weights, on clean images; without batch norm the difference is 0.
    """
    return runs["train_error_clean"].astype(float) - runs["train_error_exact_bn"].astype(float)


OF_ERRORS: dict[str, Callable[["pd.DataFrame"], "pd.Series[float]"]] = {
    "running_statistics_excess": running_statistics_excess,
}
"""What is computed of the runs' errors rather than of their points."""


def summarised(runs: "pd.DataFrame", points: "pd.DataFrame", asked: Container[str]) -> "pd.DataFrame":
    """The runs (index `run_id`) with a column for each summary; points: those of the runs, with their `run_id`.

    asked: the metrics that the experiment's claims and figures name. What is computed of errors, which stand in each
    table anyhow, has values only there.
    """
    runs = runs.copy()
    for name, summary in SUMMARIES.items():
        of = points[points["metric"] == QUANTITIES[name].of]
        found = {run: summary(own) for run, own in of.groupby("run_id", sort=False)}
        runs[name] = [found.get(run, math.nan) for run in runs.index]
    for name, difference in OF_ERRORS.items():
        runs[name] = difference(runs) if name in asked else math.nan
    return runs
