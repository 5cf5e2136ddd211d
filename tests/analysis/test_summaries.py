"""From points to a number for each run, to a claim on it, and to a profile over the layers."""

import math
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from resnet_repro import experiment
from resnet_repro.analysis import figures, frames
from resnet_repro.analysis.claims import decide
from resnet_repro.analysis.figures import profile as profiles
from resnet_repro.analysis.summaries import (
    OF_ERRORS,
    SUMMARIES,
    factor,
    gradient_slope,
    gradient_slope_end,
    median_at_end,
    median_at_start,
    median_of_largest,
    median_on_the_way,
    summarised,
)
from resnet_repro.collect import collect_runs
from resnet_repro.config import ConfigError
from resnet_repro.experiment import DRAWINGS, Claim, Experiment, Figure
from resnet_repro.metrics import SUMMARIES as NAMES
from resnet_repro.planning import plan
from resnet_repro.train import train


def profile(values, step=0):
    return pd.DataFrame({"step": step, "x": range(1, len(values) + 1), "value": values})


def test_the_slope_is_that_of_least_squares_in_decades_per_100_layers():
    values = np.random.default_rng(0).lognormal(sigma=3, size=20)
    expected = 100 * np.polyfit(np.arange(1, 21), np.log10(values), 1)[0]
    later = profile([1.0] * 20, step=40)
    assert gradient_slope(pd.concat([profile(values), later])) == pytest.approx(expected)
    assert gradient_slope(profile([10**-x for x in range(1, 9)])) == pytest.approx(-100)
    end = profile([10**x for x in range(1, 9)], step=80)
    assert gradient_slope_end(pd.concat([profile(values), end, later])) == pytest.approx(100)


def test_a_layer_without_a_gradient_is_left_out_of_the_slope():
    assert gradient_slope(profile([1e-1, 0.0, 1e-3, math.nan, 1e-5, math.inf])) == pytest.approx(-100)
    assert math.isnan(gradient_slope(profile([1.0])))


def test_a_factor_per_block_is_that_of_a_geometric_row():
    values = [8.0, 4.0, 2.0, 1.0]
    assert factor(pd.concat([profile(values), profile([1.0] * 4, step=40)])) == pytest.approx(2)
    assert factor(profile([0.0, 0.0, 1.0])) == 0  # nothing came back to the first block
    assert all(math.isnan(factor(profile(few))) for few in ([1.0], [1.0, 0.0], [1.0, math.nan]))


def test_the_medians_at_the_start_and_at_the_end_are_those_of_the_first_and_of_the_last_look():
    looks = pd.concat([profile([9.0, 8.0, 7.0]), profile([4.0, 1.0, 2.0], step=40)])
    assert (median_at_start(looks), median_at_end(looks)) == (8, 2)


def test_effective_smoothness_is_the_median_over_looks_of_the_largest_value():
    looks = [profile([1.0, 9.0]), profile([5.0, 2.0], step=20), profile([3.0, 4.0], step=40)]
    assert median_of_largest(pd.concat(looks)) == 5


def test_a_median_on_the_way_leaves_the_start_out():
    looks = [profile([9.0, 9.0, 9.0]), profile([1.0, math.nan, 3.0], step=20), profile([2.0, 7.0, 8.0], step=40)]
    assert median_on_the_way(pd.concat(looks)) == 3


def test_sharpness_and_nonconvexity_are_those_of_the_hessian_after_the_last_step():
    looks = [pd.DataFrame({"step": step, "x": [1, -1], "value": [8.0, -2.0 - step]}) for step in (0, 40)]
    points = pd.concat(looks)
    assert (SUMMARIES["sharpness"](points), SUMMARIES["nonconvexity"](points)) == (8, 42 / 8)
    assert SUMMARIES["nonconvexity"](points.assign(value=points["value"].abs())) < 0  # convex
    assert math.isnan(SUMMARIES["nonconvexity"](-points[points["x"] == 1]))
    assert SUMMARIES["sharpness_start"](points.assign(value=points["step"])) == 0


def plane(f):
    axis = np.linspace(-1, 1, 21)
    x, y = (values.ravel() for values in np.meshgrid(axis, axis))
    return pd.DataFrame({"step": 40, "x": x, "y": y, "value": f(x, y)}).sample(frac=1, random_state=0)


def test_a_surface_is_not_convex_where_its_hessian_has_a_negative_eigenvalue():
    share = SUMMARIES["nonconvex_share"]
    assert SUMMARIES["nonconvex_share_recomputed"] is share
    assert share(plane(lambda x, y: x**2 + y**2 + 1.9 * x * y)) == 0
    assert share(plane(lambda x, y: x**2 + y**2 + 2.1 * x * y)) == 1  # a saddle, which the axes do not show
    assert share(plane(lambda x, y: x**3 + y**2)) == 9 / 19  # x = -0.9, ..., -0.1 of 19; at 0 it is flat
    assert share(plane(lambda x, y: np.where(x > 0.95, math.inf, y**2 - x**2))) == 1
    assert math.isnan(share(plane(lambda x, y: x + math.inf)))


def test_the_rise_on_a_line_is_the_mean_of_both_sides_half_the_way():
    line = pd.DataFrame({"step": 40, "x": [0.5, 0.0, 1.0, -0.5], "value": [3.0, 1.0, 9.0, 7.0]})
    assert SUMMARIES["line_rise"](line) == SUMMARIES["line_rise_recomputed"](line) == 4


def from_0(values, y=math.nan):
    """A profile from x = 0 on, at the last of two looks."""
    end = pd.DataFrame({"step": 40, "x": range(len(values)), "y": y, "value": values})
    return pd.concat([end.assign(step=0, value=7.0), end.sample(frac=1, random_state=0)])


def test_what_a_deleted_block_costs_is_a_median_over_blocks_less_the_error_with_all():
    without = from_0([2.0, 50.0, 6.0, 30.0, 4.0, 40.0], [0, 0, 0, 1, 0, 1])
    assert SUMMARIES["deletion_rise"](without) == SUMMARIES["deletion_rise_recomputed"](without) == 6 - 2
    assert SUMMARIES["transition_excess"](without) == 35 - 6


def test_what_deleted_and_swapped_blocks_cost_is_read_at_0_at_1_at_half_and_at_the_end():
    errors = from_0([1.0, 3.0, 10.0, 50.0, 60.0, 64.0])
    found = {name: SUMMARIES[name](errors) for name in ("deletion_jump", "half_deleted_rise", "swap_rise")}
    assert found == {"deletion_jump": 40, "half_deleted_rise": 9, "swap_rise": 2}
    assert SUMMARIES["shuffling_rise"](errors) == 63
    assert SUMMARIES["half_deleted_rise_recomputed"](errors) == 9


@pytest.mark.parametrize("n", [9, 54])
def test_paths_are_weighted_by_their_gradient_and_their_number(n):
    """Where each branch carries r times what a shortcut does, lengths are binomial with r / (1 + r)."""
    r, x = 0.25, np.arange(n + 1)
    share = binom(n, r / (1 + r))
    assert SUMMARIES["path_length"](from_0(r**x)) == pytest.approx(r / (1 + r))
    assert SUMMARIES["short_path_share"](from_0(r**x)) == pytest.approx(share.cdf(n // 2))
    assert SUMMARIES["paths_length"](from_0(share.pmf(x))) == pytest.approx(r / (1 + r))
    assert SUMMARIES["path_length"](from_0([1.0] * (n + 1))) == pytest.approx(0.5)


def test_what_running_statistics_cost_is_a_difference_within_each_run_and_shown_where_it_is_asked_for():
    errors = {"train_error_clean": [3.5, 1.0, None], "train_error_exact_bn": [1.5, 2.0, None]}
    runs, none = pd.DataFrame(errors, index=["a", "b", "diverged"]), pd.DataFrame(columns=frames.POINTS)
    asked = summarised(runs, none, {"running_statistics_excess"})["running_statistics_excess"]
    assert asked.to_dict() == pytest.approx({"a": 2.0, "b": -1.0, "diverged": math.nan}, nan_ok=True)
    assert summarised(runs, none, {"test_error"})["running_statistics_excess"].isna().all()


def test_every_summary_is_a_quantity_and_every_drawing_has_a_module():
    assert {*SUMMARIES, *OF_ERRORS} == set(NAMES)
    modules = {module: import_module(f"resnet_repro.analysis.figures.{module}") for module in DRAWINGS.values()}
    assert all(drawing in modules[module].TITLES for drawing, module in DRAWINGS.items())


def test_a_profile_over_fractions_is_drawn_at_them_and_one_over_layers_at_whole_numbers():
    runs = pd.DataFrame({"model": ["plain"]}, index=pd.Index(["r"], name="run_id"))
    for axis in ([0.0, 0.05, 0.4], [1, 2, 3]):
        points = pd.DataFrame({"run_id": "r", "metric": "m", "step": 0, "x": [float(x) for x in axis], "value": 1.0})
        drawn = profiles.compute(Figure("f", "profile", ["m"]), SimpleNamespace(points=points), runs)
        assert [repr(x) for x in drawn["x"].tolist()] == [repr(x) for x in axis]


def test_the_gradients_of_small_nets_are_measured_collected_summarised_decided_and_drawn(tmp_path):
    e = experiment.load("gradients-digits")
    small = {**e.grid[0], "model.depth": [8, 14], "model.width": 4, "seed": [5, 6, 7, 8, 9]}
    small["env.runs_dir"] = str(tmp_path)
    claim = replace(e.claims[1], of={"model": "resnet", "depth": 14}, minus={"model": "plain", "depth": 14})
    figure = Figure("gradients", "profile", ["gradient_norm_output"], panel="model", hue="depth")
    e = replace(e, grid=[small], claims=[claim], figures=[figure])
    planned = plan(e)
    for p in planned:
        train(p.run)
    collect_runs(planned, tmp_path / "out" / "data")
    measured = frames.load(e, tmp_path / "out")
    verdict = decide(claim, measured)
    assert (verdict.verdict, verdict.n) == ("supported", 5)
    assert verdict.estimate > 1
    drawn = figures.numbers(figure, measured)
    assert {(m, d): len(line) for (m, d), line in drawn.groupby(["model", "depth"])} == {
        (m, d): d for m in ("plain", "resnet") for d in (8, 14)
    }
    own = measured.points.merge(measured.select({"model": "plain", "depth": 8})[["seed"]], on="run_id")
    first = own[(own["metric"] == "gradient_norm_output") & (own["x"] == 1)]["value"]
    row = drawn.query("model == 'plain' and depth == 8 and x == 1").iloc[0]
    assert tuple(row[["median", "low", "high", "n"]]) == pytest.approx(
        (first.median(), first.min(), first.max(), 5), rel=1e-5
    )
    assert "before the first step" in figures.render(figure, measured, tmp_path / "out")
    assert "<!-- 10⁻¹ -->" in (tmp_path / "out" / f"{figure.name}.svg").read_text()
    plain = {"model": "plain", "depth": 14}
    slopes = figures.draw(Figure("slopes", "error_by_depth", ["gradient_slope"], where=plain), measured, "").axes[0]
    assert measured.select(plain)["gradient_slope"].max() < 0 == slopes.get_ylim()[1]
    with pytest.raises(ValueError, match="a profile has one metric"):
        figures.numbers(replace(figure, y=["gradient_norm_output", "output_rms"]), measured)
    assert "Not drawn" in figures.render(replace(figure, at=40), measured, tmp_path / "out")


# At a step -----------------------------------------------------------------------------------------------------

GRID = {"model": ["plain", "resnet"], "optim.steps": 80, "optim.milestones": [[40]], "seed": [0, 1, 2, 3, 4]}
EARLY = Claim(
    "early", "?", "train_error_running", {"model": "plain"}, [0, math.inf], minus={"model": "resnet"}, at=40
)  # fmt: skip


def test_a_claim_at_a_step_is_decided_on_the_curve_there(write_data, tmp_path):
    """What is made up falls by 25 % from the middle of a curve to its end; a run that diverged by then is the worst."""

    def outcome(settings):
        if settings["model"] == "plain" and settings["seed"] == 4:
            return {"diverged_step": 30}
        if settings["model"] == "resnet" and settings["seed"] == 4:
            return {"diverged_step": 70}
        return {"errors": 20.0 if settings["model"] == "plain" else 10.0}

    e = Experiment("made-up", "?", "none", [GRID], [EARLY], [])
    write_data(e, tmp_path, outcome)
    measured = frames.load(e, tmp_path)
    at = measured.at("train_error_running", 40)
    plain, resnet = (at.select({"model": model}) for model in ("plain", "resnet"))
    assert list(plain["train_error_running"])[:4] == [45.0] * 4  # 20 + 50 (1 - 40 / 80)
    assert list(plain["diverged"]) == [0, 0, 0, 0, 1]
    assert list(resnet["diverged"]) == [0] * 5
    verdict = decide(EARLY, measured)
    assert verdict.of.endswith("at step 40")
    assert (verdict.estimate, verdict.missing) == (10, 0)  # 45 - 35
    assert measured.at("train_error_running", None) is measured


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at": 30}, r"no point of train_error_running falls at step 30; it is measured every 20 of 80 steps"),
        ({"at": 100}, "falls at step 100"),
        ({"at": 60, "metric": "test_error"}, r"every 100 of 80 steps \(eval_every\), and at the end"),
    ],
)
def test_a_step_without_a_point_is_refused_in_the_plan(changes, message):
    with pytest.raises(ConfigError, match=message):
        plan(Experiment("made-up", "?", "none", [GRID], [replace(EARLY, **changes)], []))


def test_the_end_of_a_run_is_a_step_of_its_curves():
    for metric in ("test_error", "train_loss"):
        assert plan(Experiment("made-up", "?", "none", [GRID], [replace(EARLY, at=80, metric=metric)], []))


FILE = """question: "?"
source: none
{more}grid: [{{seed: [0, 1, 2, 3, 4], optim.steps: 0}}]
claims: [{{id: slope, says: s, metric: {metric}, of: {{model: resnet}}, region: [0, 1], {rest}}}]
figures: [{{name: f, draw: profile, y: [{y}]}}]
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"more": ""}, "gradient_slope is measured by a probe; add `probes: \\[gradients\\]` to the file"),
        ({"metric": "output_rms"}, "metric must be one of .*gradient_slope, .*diverged.* got 'output_rms'"),
        (
            {"rest": "at: 20"},
            "metric at a step \\(at: 20\\) must be one of train_error_running, test_error, train_loss",
        ),
        ({"y": "test_error"}, "y must be a list of gradient_norm_output, gradient_norm_weight, output_rms"),
    ],
)
def test_a_file_asks_for_the_probe_that_its_claims_and_figures_need(change, message, tmp_path):
    parts = {"more": "probes: [gradients]\n", "metric": "gradient_slope", "rest": "", "y": "output_rms"} | change
    (tmp_path / "slope.yaml").write_text(FILE.format(**parts))
    if message is None:
        assert experiment.read(tmp_path / "slope.yaml").probes == ["gradients"]
        assert Figure("f", "profile", ["output_rms"]).at == 0
    else:
        with pytest.raises(ConfigError, match=message):
            experiment.read(tmp_path / "slope.yaml")
