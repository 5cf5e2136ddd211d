import dataclasses
import itertools
import math
import re
import statistics

import pandas as pd
import pytest
from scipy import stats as reference

from resnet_repro.analysis import figures, frames
from resnet_repro.analysis.figures import layout, learning_curves, seed_errors, style
from resnet_repro.experiment import Experiment, Figure, ids, load
from resnet_repro.metrics import METRICS

SEEDS = [0, 1, 2]


@pytest.fixture
def measure(write_data, tmp_path):
    """measure(grid, outcome): the measured runs of a grid, and {run_id: (settings, row)} of what was written."""

    def run(grid, outcome):
        e = Experiment("made-up", "?", "none", [grid], [], [])
        runs = write_data(e, tmp_path, outcome)
        return frames.load(e, tmp_path), runs

    return run


def by_seed(settings):
    return {"errors": settings["depth"] / 10 + settings["seed"]}


# What is drawn -------------------------------------------------------------------------------------------------


def test_error_by_depth_draws_each_seed_and_the_t_interval(measure):
    measured, runs = measure({"model": ["plain", "resnet"], "model.depth": [20, 56], "seed": SEEDS}, by_seed)
    drawn = figures.numbers(Figure("f", "error_by_depth", ["test_error"]), measured)
    assert len(drawn) == len(runs)
    for (model, depth), dots in drawn.groupby(["model", "depth"]):
        values = [r["test_error"] for s, r in runs.values() if (s["model"], s["depth"]) == (model, depth)]
        half = reference.t.ppf(0.975, 2) * reference.sem(values)
        mean = statistics.fmean(values)
        assert sorted(dots["value"]) == sorted(values)
        expected = (mean, max(0, mean - half), mean + half, 3)
        assert tuple(dots.iloc[0][["mean", "low", "high", "n"]]) == pytest.approx(expected, abs=1e-4)


def test_learning_curves_draw_mean_lowest_and_highest_seed(measure, tmp_path):
    grid = {"model": ["plain", "resnet"], "model.depth": [20, 56], "optim.steps": 60, "seed": SEEDS}
    figure = Figure("f", "learning_curves", ["train_error_running", "test_error"], panel="model", hue="depth")
    measured, runs = measure(grid, by_seed)
    drawn = figures.numbers(figure, measured)
    points = pd.read_csv(tmp_path / "data" / "points.csv.gz")
    ids = [i for i, (s, _) in runs.items() if (s["model"], s["depth"]) == ("plain", 56)]
    at = points[points["run_id"].isin(ids) & (points["metric"] == "test_error") & (points["step"] == 40)]["value"]
    row = drawn.query("model == 'plain' and depth == 56 and metric == 'test_error' and step == 40").iloc[0]
    expected = (statistics.fmean(at), min(at), max(at), 3)
    assert tuple(row[["mean", "low", "high", "n"]]) == pytest.approx(expected, abs=1e-4)


def test_a_diverged_seed_counts_as_100_in_the_curve_from_then_on(measure):
    def outcome(settings):
        return {"diverged_step": 40} if settings["seed"] == 0 else {"errors": 10.0}

    measured, _ = measure({"optim.steps": 80, "model.depth": 20, "seed": SEEDS}, outcome)
    drawn = figures.numbers(Figure("f", "learning_curves", ["train_error_running"], hue="depth"), measured)
    drawn = drawn.set_index("step")
    assert tuple(drawn.loc[80, ["mean", "low", "high", "n"]]) == (40, 10, 100, 3)
    assert tuple(drawn.loc[40, ["low", "high", "n"]]) == (35, 100, 3)


def test_failed_and_diverged_seeds_are_told_apart(measure):
    def outcome(settings):
        return [{"errors": 5.0}, {"errors": 50.0}, {"diverged_step": 7}][settings["seed"]]

    measured, _ = measure({"model.shortcut_scale": [1.0, 2.0], "model.depth": 20, "seed": SEEDS}, outcome)
    drawn = figures.numbers(Figure("f", "error_by_scale", ["test_error"], hue="depth"), measured)
    marks = set(zip(drawn["value"], drawn["failed"], drawn["diverged"], strict=True))
    assert marks == {(5, 0, 0), (50, 1, 0), (100, 1, 1)}


def test_the_norm_grid_takes_the_rate_with_the_lowest_validation_error(measure, tmp_path):
    def outcome(settings):
        valid = abs(math.log10(settings["lr"]) + (2 if settings["model"] == "plain" else 1))
        return {"errors": dict.fromkeys(METRICS, 10.0) | {"valid_error": valid, "test_error": settings["lr"]}}

    grid = {"data.split": "45k", "model": ["plain", "resnet"], "model.norm": "none", "model.depth": 20}
    measured, _ = measure(grid | {"optim.lr": [0.1, 0.01, 0.001], "seed": SEEDS}, outcome)
    figure = Figure("f", "norm_grid", ["test_error"])
    drawn = figures.numbers(figure, measured)
    assert set(zip(drawn["model"], drawn["lr"], strict=True)) == {("plain", 0.01), ("resnet", 0.1)}
    assert "no norm, plain net 0.01; no norm, ResNet 0.1." in figures.render(figure, measured, tmp_path)


def test_the_norm_grid_does_not_choose_a_rate_on_the_test_error(measure):
    measured, _ = measure({"model.norm": "none", "model.depth": 20, "optim.lr": [0.1, 0.01], "seed": SEEDS}, by_seed)
    with pytest.raises(ValueError, match=r"needs the validation error of each run; sweep with data.split=45k"):
        figures.numbers(Figure("f", "norm_grid", ["test_error"]), measured)


def test_the_published_curve_is_drawn_beside_ours(measure, tmp_path):
    grid = {"task": "cifar10", "model": ["plain", "resnet"], "model.depth": [20, 56], "seed": SEEDS}
    measured, _ = measure(grid | {"optim.steps": 800, "optim.milestones": [[400]]}, by_seed)
    figure = Figure("f", "learning_curves", ["test_error"], panel="model", hue="depth", paper="he2015-fig6")
    paper = figures.numbers(figure, measured).query("source == 'he2015-fig6'")
    assert set(paper["depth"]) == {20, 56}
    end = paper.query("model == 'plain' and depth == 56 and step == 64000")["mean"].item()
    assert end == pytest.approx(13.27, abs=0.2)
    assert "He et al. 2015, fig. 6, digitised" in figures.render(figure, measured, tmp_path)


@pytest.mark.parametrize("name", ids())
def test_every_figure_of_every_experiment_can_be_drawn(name, write_data, tmp_path):
    e = load(name)
    write_data(e, tmp_path, by_seed)
    measured = frames.load(e, tmp_path)
    for figure in e.figures:
        assert set(figures.numbers(figure, measured)["metric"]) == set(figure.y), figure.name


def test_a_setting_without_a_value_is_a_value_like_others(measure, tmp_path):
    def outcome(settings):
        return {"errors": 5.0 if settings["ghost_batch"] is None else 9.0}

    measured, _ = measure({"model.depth": [20, 56], "model.ghost_batch": [None, 64], "seed": SEEDS}, outcome)
    figure = Figure("f", "error_by_depth", ["test_error"], hue="ghost_batch")
    means = figures.numbers(figure, measured)[["ghost_batch", "mean"]].drop_duplicates()
    assert list(means.itertuples(index=False, name=None)) == [(None, 5), (64, 9)]
    figures.render(figure, measured, tmp_path)
    drawing = (tmp_path / "f.svg").read_text()
    assert all(f"<!-- {words} -->" in drawing for words in ("ghost batch", "off", "64"))
    with pytest.raises(ValueError, match="would average over ghost_batch"):
        figures.numbers(Figure("f", "error_by_depth", ["test_error"]), measured)


def test_a_line_that_ends_early_has_no_leader_across_the_panel(measure):
    def outcome(settings):
        return None if settings["model"] == "plain" and settings["depth"] == 110 else {"errors": 5.0}

    measured, _ = measure({"model": ["plain", "resnet"], "model.depth": [8, 20, 110], "seed": SEEDS}, outcome)
    figure = Figure("f", "error_by_depth", ["test_error"], hue="model")
    with style.style(style.SIZES[0]):
        (ax,) = seed_errors.draw(figure, figures.numbers(figure, measured), measured, style.SIZES[0]).axes
        leaders = [line for line in ax.lines if line.get_linestyle() == ":"]
        assert len(leaders) == 2
        assert min(x for line in leaders for x in line.get_xdata()) > 0.9


def test_a_panel_without_a_measurement_stays_empty(measure, tmp_path):
    def outcome(settings):
        exact = None if settings["norm"] == "none" else 3.0
        return {"errors": dict.fromkeys(METRICS, 5.0) | {"test_error_exact_bn": exact}}

    measured, _ = measure({"model.depth": [20, 56], "model.norm": ["batch", "none"], "seed": SEEDS}, outcome)
    figure = Figure("f", "norm_grid", ["test_error_exact_bn", "test_error"])
    drawn = figures.numbers(figure, measured)
    assert set(zip(drawn["metric"], drawn["norm"], strict=True)) == {
        ("test_error_exact_bn", "batch"), ("test_error", "batch"), ("test_error", "none")
    }  # fmt: skip
    assert "3 seeds" in figures.render(figure, measured, tmp_path)


def test_a_surface_is_that_of_the_lowest_seed_and_every_panel_has_the_same_contours(write_data, tmp_path):
    grid = {"task": "digits", "model": ["plain", "resnet"], "model.depth": [20, 56], "seed": [4, 3]}
    e = Experiment("e", "?", "none", [grid], [], [], probes=["surface"])
    write_data(e, tmp_path, by_seed)
    measured = frames.load(e, tmp_path)
    figure = Figure("f", "surface", ["loss_on_plane"], panel="model", hue="depth", at=400)
    drawn = figures.numbers(figure, measured)
    assert set(drawn["seed"]) == {3}
    assert (drawn["value"] == 10.0 ** (drawn["x"] * drawn["y"])).all()
    picture = figures.draw(figure, measured, "")
    titles = [ax.get_title(loc="left") for ax in picture.axes]
    assert titles == [f"{net}, depth {depth}" for net in ("plain net", "ResNet") for depth in (20, 56)]
    columns = [round(ax.get_position().x0, 3) for ax in picture.axes]
    assert columns[0] == columns[2] < columns[1] == columns[3]
    for ax in picture.axes:
        filled, lines = ax.collections
        assert list(lines.levels) == pytest.approx([math.log10(level) for level in (0.03, 0.1, 0.3, 1, 3, 10)])
        assert len(filled.get_facecolors()) == 7
    assert "of seed 3; contours lie at 0.03, 0.1, 0.3, 1, 3, 10" in figures.render(figure, measured, tmp_path)
    missing = dataclasses.replace(figure, at=40)
    assert "Not drawn" in figures.render(missing, measured, tmp_path)
    with pytest.raises(ValueError, match="a surface has one metric"):
        figures.numbers(dataclasses.replace(figure, y=["loss_on_plane", "loss_on_plane_recomputed"]), measured)


# What is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (
            Figure("f", "error_by_depth", ["test_error"]),
            r"'f' would average over lr at \{'model': 'resnet', 'depth': 20\}",
        ),
        (Figure("f", "error_by_depth", ["test_error"], hue="deep"), "no column 'deep'; columns are model, depth"),
        (Figure("f", "learning_curves", ["test_error", "train_loss"], hue="lr"), "only errors share an axis"),
        (Figure("f", "error_by_depth", ["test_error", "train_loss"], hue="lr"), "only errors share an axis"),
    ],
)
def test_a_figure_that_would_mislead_is_refused(measure, figure, message):
    measured, _ = measure({"model.depth": 20, "optim.lr": [0.1, 0.01], "seed": SEEDS}, by_seed)
    with pytest.raises(ValueError, match=message):
        figures.numbers(figure, measured)


def test_what_no_run_has_measured_is_not_drawn_and_the_caption_says_so(measure, tmp_path):
    measured, _ = measure({"seed": SEEDS}, by_seed)
    caption = figures.render(Figure("f", "error_by_depth", ["valid_error"]), measured, tmp_path)
    assert caption == "Not drawn: no run has measured valid_error."
    assert not list(tmp_path.glob("f.*"))


# Files ---------------------------------------------------------------------------------------------------------


def test_a_figure_is_written_as_a_column_a_text_width_and_a_slide_need_it(measure, tmp_path):
    measured, _ = measure({"model.depth": [20, 56], "seed": 0}, by_seed)
    figure = Figure("f", "error_by_depth", ["test_error"])
    caption = figures.render(figure, measured, tmp_path)
    assert "there is one each" in caption
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "f.csv", "f.caption.tex", "f.pdf", "f.svg", "f.png", "f-column.pdf", "f-slide.pdf", "f-slide.png"
    }  # fmt: skip
    for suffix, inches in (("", 5.5), ("-column", 3.3), ("-slide", 12)):
        content = (tmp_path / f"f{suffix}.pdf").read_bytes()
        left, _, right, _ = map(float, re.search(rb"/MediaBox \[([ \d.]+)\]", content)[1].split())
        assert (right - left) / 72 == pytest.approx(inches), suffix
        assert b"/FontFile2" in content  # TrueType, as fonttype 42 embeds it
        assert b"/Type3" not in content
        assert b"CreationDate" not in content
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert list(pd.read_csv(tmp_path / "f.csv")["value"]) == [2.0, 5.6]


def written(drawing):
    """The words in a figure with their size in points and where they stand: {words: (size, x, y)}."""
    from matplotlib.text import Text

    drawing.draw_without_rendering()
    outside = {  # matplotlib keeps ticks beyond the end of an axis, and does not draw them
        tick.label1
        for ax in drawing.axes
        for tick in ax.xaxis.get_major_ticks()
        if not ax.get_xlim()[0] <= tick.get_loc() <= ax.get_xlim()[1]
    }
    texts = [t for t in drawing.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in outside]
    return {t.get_text(): (t.get_fontsize(), t.get_window_extent()) for t in texts}


KINDS = [
    Figure("f", "learning_curves", ["train_error_running", "test_error"], panel="model", hue="depth"),
    Figure("f", "error_by_depth", ["train_error_clean", "test_error"]),
    Figure("f", "error_by_depth", ["train_error_clean", "train_error_running"], hue="depth", panel="model"),
    Figure("f", "error_by_depth", ["train_error_clean"], hue="lr", where={"model": "plain"}),
]


@pytest.mark.parametrize("size", style.SIZES, ids=lambda size: size.suffix or "text")
@pytest.mark.parametrize("figure", KINDS, ids=["curves", "depth", "long words", "rates"])
def test_all_words_are_inside_the_figure_and_as_large_as_a_paper_needs(measure, figure, size):
    measured, _ = measure({"model": ["plain", "resnet"], "model.depth": [20, 56, 110], "seed": SEEDS}, by_seed)
    kind = figures.drawing(figure)
    with style.style(size):
        drawing = kind.draw(figure, figures.numbers(figure, measured), measured, size)
        words = written(drawing)
    assert {"20", "56", "110"} <= set(words)
    for text, (points, box) in words.items():
        assert 7 / 8 <= points / size.text <= 1, text
        assert min(box.x0, box.y0) >= 0, text
        assert box.x1 <= drawing.bbox.x1, text
        assert box.y1 <= drawing.bbox.y1, text
    assert not any("digits" in text for text in words)  # the caption says it


def test_labels_of_lines_that_end_together_do_not_touch(measure):
    measured, _ = measure({"model.depth": [20, 32, 44, 56, 110], "seed": SEEDS}, lambda _: {"errors": 0.0})
    figure, size = Figure("f", "learning_curves", ["test_error"], hue="depth"), style.SIZES[1]
    with style.style(size):
        words = written(learning_curves.draw(figure, figures.numbers(figure, measured), measured, size))
    boxes = sorted((words[depth][1] for depth in ("20", "32", "44", "56", "110")), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 0.5 for below, above in itertools.pairwise(boxes))


def test_the_axis_says_its_scale_and_a_linear_one_ends_above_the_last_errors(measure):
    measured, _ = measure({"model.depth": [20, 56], "seed": SEEDS}, lambda s: {"errors": 8.0 + s["seed"]})
    axes = {}
    for scale in ("square-root", "linear"):
        figure = Figure("f", "learning_curves", ["test_error"], hue="depth", scale=scale)
        with style.style(style.SIZES[0]):
            drawn = figures.numbers(figure, measured)
            axes[scale] = learning_curves.draw(figure, drawn, measured, style.SIZES[0]).axes[0]
    assert axes["square-root"].get_ylabel() == "test error, % (square-root scale)"
    assert axes["linear"].get_ylabel() == "test error, %"
    assert drawn["high"].max() > 50
    assert axes["linear"].get_ylim() == (0, 10)
    middle = axes["square-root"].transData.transform([(0, 25)])[0, 1]
    low, high = axes["square-root"].transData.transform([(0, 0), (0, 100)])[:, 1]
    assert (middle - low) / (high - low) == pytest.approx(0.5)


def test_the_loss_has_its_own_axis_and_leaves_diverged_seeds_out(measure, tmp_path):
    measured, _ = measure({"model.depth": 20, "seed": SEEDS}, by_seed)
    loss = measured.points[measured.points["metric"] == "test_error"].assign(metric="train_loss")
    measured = dataclasses.replace(measured, points=pd.concat([measured.points, loss]))
    figure = Figure("f", "learning_curves", ["train_loss"], hue="depth")
    assert "a diverged one is left out from then on" in figures.render(figure, measured, tmp_path)
    assert "<!-- training loss, nats -->" in (tmp_path / "f.svg").read_text()


def test_dots_stand_at_their_depth_and_none_hides_another(measure):
    measured, _ = measure(
        {"model": ["plain", "resnet"], "model.depth": [20, 56], "seed": SEEDS}, lambda _: {"errors": 3.0}
    )
    figure, size = Figure("f", "error_by_depth", ["test_error"]), style.SIZES[1]
    with style.style(size):
        (ax,) = seed_errors.draw(figure, figures.numbers(figure, measured), measured, size).axes
    dots = sorted(x for line in ax.lines if line.get_marker() == "o" for x in line.get_xdata())
    assert len(dots) == len(set(dots)) == 12
    assert statistics.fmean(dots[:6]) == pytest.approx(math.log2(20))
    assert statistics.fmean(dots[6:]) == pytest.approx(math.log2(56))


def test_models_and_depths_are_told_apart_in_gray(measure):
    from matplotlib.colors import to_rgb

    measured, _ = measure({"model": ["plain", "resnet"], "model.depth": [20, 32, 56, 110], "seed": 0}, by_seed)
    for column in ("model", "depth"):
        rgb = [to_rgb(colour) for colour in style.colours(column, measured.runs).values()]
        gray = sorted(0.299 * r + 0.587 * g + 0.114 * b for r, g, b in rgb)
        assert all(b - a > 0.08 for a, b in itertools.pairwise(gray)), gray
        assert gray[-1] < 0.65  # dark enough to be read on white


def test_the_label_of_an_axis_is_never_longer_than_the_axis_has_room_for():
    longest = "smallest over largest eigenvalue of the Hessian, minus"
    for room in (40.0, 14.0, 8.0):
        lines = layout._in_lines(longest, room).split("\n")
        assert " ".join(lines) == longest
        assert all(layout._ems(line) < room for line in lines)
    assert layout._in_lines("error, % (square-root scale)", 10.0) == "error, %\n(square-root scale)"
