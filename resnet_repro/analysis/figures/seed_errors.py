"""Final errors over depth or λ: every seed a dot, their mean with its t interval."""

import itertools
import math
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis.claims import best, mean_of
from resnet_repro.analysis.figures import layout, style
from resnet_repro.analysis.frames import Measured, cells
from resnet_repro.analysis.words import enumerated, named
from resnet_repro.errors import UserError
from resnet_repro.experiment import Figure
from resnet_repro.metrics import ERRORS, QUANTITIES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture
    from matplotlib.lines import Line2D

TITLES = {
    "error_by_depth": "Error by depth",
    "error_by_scale": "Error by the scale of the shortcut",
    "norm_grid": "Error with and without normalisation",
}

check = style.check_one_axis

X = {"error_by_depth": "depth", "norm_grid": "depth", "error_by_scale": "shortcut_scale"}

DOT = 0.4  # ems from dot to dot
MARKS = {
    "o": ("one seed", ""),
    "x": ("failed", "Crosses: failed, that is, a test error above 20 %"),
    "^": ("diverged", "Triangles: diverged, which counts as 100 %"),
}
"""The marker of a seed, its word in the legend, and its meaning in the caption."""


def panel(figure: Figure) -> str | None:
    """The column that makes the panels; the grid's is the norm unless the figure says otherwise."""
    return figure.panel or ("norm" if figure.draw == "norm_grid" else None)


def keys(figure: Figure) -> list[str]:
    """The columns that tell the drawn means apart."""
    return list(dict.fromkeys(k for k in (panel(figure), figure.hue, X[figure.draw]) if k))


def at_best_lr(figure: Figure, runs: "pd.DataFrame") -> "pd.DataFrame":
    """Of each cell with several learning rates the runs at the one with the lowest mean validation error."""
    import pandas as pd

    kept = []
    for cell, group in cells(runs, keys(figure)):
        several = group["lr"].nunique() > 1
        if several and group["valid_error"].isna().any():
            raise UserError(
                f"figure {figure.name!r}: {cell} was trained at several lr and choosing one needs the validation "
                "error of each run; sweep with data.split=45k, or add lr to the figure's `where`"
            )
        kept.append(group[group["lr"] == best(group, "lr")] if several else group)
    return pd.concat(kept) if kept else runs


def compute(figure: Figure, measured: Measured, runs: "pd.DataFrame") -> "pd.DataFrame":
    """One row per dot: `metric, <panel>, <hue>, <x>, lr, seed, value, failed, diverged`, and its cell's
    `mean, low, high, n` with the 95 % t interval, cut to 0..100 for an error.
    """
    import pandas as pd

    parts = []
    for metric in figure.y:
        for _, group in cells(runs.dropna(subset=[metric]), keys(figure)):
            e = mean_of(metric, group[metric].tolist())
            columns = dict.fromkeys([*keys(figure), "lr", "seed", metric, "failed", "diverged"])
            dots = group[list(columns)].rename(columns={metric: "value"})
            parts.append(dots.assign(metric=metric, mean=e.value, low=e.low, high=e.high, n=e.n))
    if not parts:
        return pd.DataFrame(columns=["metric"])
    drawn = pd.concat(parts, ignore_index=True).astype({"failed": int, "diverged": int}).round(style.DIGITS)
    return drawn[["metric", *drawn.columns.drop("metric")]]


def draw(figure: Figure, drawn: "pd.DataFrame", measured: Measured, size: style.Size) -> "Picture":
    """Panels: the metrics side by side, or with a panel column one row of panels for each metric."""
    by = [column] if (column := panel(figure)) else []
    drawn = drawn.assign(at=[_place(figure, value) for value in drawn[X[figure.draw]]])
    parts = {tuple(cell.values()): part for cell, part in cells(drawn, ["metric", *by])}
    inside = [(metric, cell) for metric in figure.y for cell, _ in cells(drawn, by)]
    palette = {v: c for v, c in style.colours(figure.hue, measured.runs).items() if v in set(drawn[figure.hue])}
    columns = len(inside) // len(figure.y) if by else min(len(figure.y), 2)
    panels = layout.canvas(size, columns, _words(figure, inside, palette), _legend(drawn))
    for ax, (metric, cell) in zip(panels.axes, inside, strict=True):
        _x_axis(ax, figure, drawn)
        layout.value_axis(panels, ax, metric, figure.scale, [*drawn.loc[drawn["n"] > 1, "high"], *drawn["value"]])
        _panel(panels, ax, figure, parts.get((metric, *cell.values()), drawn.iloc[:0]), palette)
    return panels.figure


def _words(figure: Figure, inside: list[tuple[str, dict[str, Any]]], palette: dict[Any, Any]) -> layout.Words:
    words, alone = style.short(figure.y), len(figure.y) == 1
    titles = [", ".join(named(k, v) for k, v in cell.items()) for _, cell in inside]
    return layout.Words(
        titles=[title or ("" if alone else words[metric]) for title, (metric, _) in zip(titles, inside, strict=True)],
        y=[layout.y_label(words[m] if cell or alone else "error", m, figure.scale) for m, cell in inside],
        x={"depth": "depth", "shortcut_scale": "scale λ of the shortcut"}[X[figure.draw]],
        ends=[style.label(figure.hue, value) for value in palette],
        heading=style.heading(figure.hue),
    )


def _place(figure: Figure, value: Any) -> float:
    return math.log2(value) if X[figure.draw] == "depth" else float(value)


def _panel(panels: layout.Panels, ax: "Axes", figure: Figure, drawn: "pd.DataFrame", palette: dict[Any, Any]) -> None:
    hues, ends = list(palette), []
    dots = drawn.assign(rank=[hues.index(value) for value in drawn[figure.hue]], mark=_marks(drawn))
    dots = dots.sort_values(["rank", "seed"], kind="stable")
    for i, line in dots.assign(dot=_side_by_side(panels, ax, dots)).groupby("rank"):
        value = hues[int(str(i))]
        _line(ax, line, palette[value])
        last = line.sort_values("at").iloc[-1]
        ends.append((last["at"], last["mean"], style.label(figure.hue, value), palette[value]))
    layout.label_ends(panels, ax, ends, style.heading(figure.hue))


def _side_by_side(panels: layout.Panels, ax: "Axes", dots: "pd.DataFrame") -> "pd.Series":
    """Where each dot stands: at its place on the x axis, those that would hide each other side by side around it."""
    left, right = ax.get_xlim()
    heights = ax.transData.transform(dots[["at", "value"]])[:, 1] / ax.bbox.height * panels.height
    level = dots.groupby(["at", (heights / DOT).round()])["value"]
    rank, many = level.cumcount(), level.transform("size")
    width = (_room(dots["at"]) / many).clip(upper=DOT * (right - left) / panels.width)
    return dots["at"] + (rank - (many - 1) / 2) * width


def _room(at: "pd.Series") -> float:
    """How wide the dots of one place may lie: well inside the smallest distance between two."""
    return min((0.6 * (b - a) for a, b in itertools.pairwise(sorted(at.unique()))), default=0.6)


def _x_axis(ax: "Axes", figure: Figure, drawn: "pd.DataFrame") -> None:
    low, high = drawn["at"].min(), drawn["at"].max()
    margin = 0.1 * (high - low) or 0.5
    ax.set_xlim(low - margin, high + margin)
    if X[figure.draw] == "depth":
        depths = sorted(drawn["depth"].unique())
        ax.set_xticks([_place(figure, depth) for depth in depths], [str(depth) for depth in depths])
    else:
        ax.locator_params(axis="x", nbins=5)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _line(ax: "Axes", line: "pd.DataFrame", colour: Any) -> None:
    """The seeds as dots, a line through the means, the interval of each as a bar."""
    for mark, some in line.groupby("mark"):
        # Not cut off at the frame: many errors are 0 or 100 %.
        ax.plot(some["dot"], some["value"], str(mark), color=colour, alpha=0.6, clip_on=False, zorder=3)
    means = line.drop_duplicates("at").sort_values("at")
    half = [(means[end] - means["mean"]).abs().where(means["n"] > 1) for end in ("low", "high")]
    ax.errorbar(means["at"], means["mean"], yerr=half, color=colour)


def _marks(line: "pd.DataFrame") -> list[str]:
    return [
        "^" if diverged else "x" if failed else "o"
        for failed, diverged in zip(line["failed"], line["diverged"], strict=True)
    ]


def _legend(drawn: "pd.DataFrame") -> list["Line2D"]:
    from matplotlib.lines import Line2D

    used = set(_marks(drawn))
    return [
        Line2D([], [], marker=mark, label=words, color=style.GRAY, linestyle="")
        for mark, (words, _) in MARKS.items()
        if mark in used
    ]


def caption(figure: Figure, drawn: "pd.DataFrame", measured: Measured) -> str:
    """What is drawn, in words that need no others."""
    used = set(_marks(drawn))
    cut = ", cut to 0..100" if figure.y[0] in ERRORS else ""
    means = f"lines join the means over {style.seeds_in_words(drawn['n'])}, bars are their 95 % t intervals{cut}"
    sentences = [
        style.what(figure, measured, TITLES, enumerated([QUANTITIES[metric].words for metric in figure.y])),
        "Every dot is a seed; " + (means if drawn["n"].max() > 1 else "there is one each"),
        *(meaning for mark, (_, meaning) in MARKS.items() if mark in used and meaning),
        *_rates(figure, drawn),
    ]
    return ". ".join(sentences) + "."


def _rates(figure: Figure, drawn: "pd.DataFrame") -> list[str]:
    """The learning rates that `at_best_lr` chose, when there is more than one."""
    if figure.draw != "norm_grid" or drawn["lr"].nunique() == 1:
        return []
    lines = []
    for line, dots in cells(drawn, [k for k in keys(figure) if k != "depth"]):
        rates = dots.drop_duplicates("depth").sort_values("depth")
        each = [f"{lr:g} at {depth}" for lr, depth in zip(rates["lr"], rates["depth"], strict=True)]
        where = ", ".join(named(k, v) for k, v in line.items())
        lines.append(f"{where} " + (", ".join(each) if rates["lr"].nunique() > 1 else f"{rates['lr'].iloc[0]:g}"))
    return [f"Learning rate, where several were tried that with the lowest mean validation error: {'; '.join(lines)}"]
