"""Final errors over depth or λ: every seed a dot, their mean with its t interval."""

import itertools
import math
import textwrap
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis.claims import best, mean_of
from resnet_repro.analysis.figures.style import canvas, colours, finish, named, seeds_in_words, title, value_axis
from resnet_repro.analysis.frames import Measured, cells
from resnet_repro.errors import UserError
from resnet_repro.experiment import Figure
from resnet_repro.metrics import QUANTITIES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture
    from matplotlib.lines import Line2D

X = {"error_by_depth": "depth", "norm_grid": "depth", "error_by_scale": "shortcut_scale"}


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
            dots = group[[*keys(figure), "lr", "seed", metric, "failed", "diverged"]].rename(columns={metric: "value"})
            parts.append(dots.assign(metric=metric, mean=e.mean, low=e.low, high=e.high, n=e.n))
    if not parts:
        return pd.DataFrame(columns=["metric"])
    drawn = pd.concat(parts, ignore_index=True).astype({"failed": int, "diverged": int})
    return drawn[["metric", *drawn.columns.drop("metric")]]


def draw(figure: Figure, drawn: "pd.DataFrame", measured: Measured) -> "Picture":
    """Panels: the metrics side by side, or with a panel column one row of panels for each metric."""
    by = [column] if (column := panel(figure)) else []
    drawn = drawn.assign(at=[_place(figure, value) for value in drawn[X[figure.draw]]])
    parts = {tuple(cell.values()): part for cell, part in cells(drawn, ["metric", *by])}
    panels = [(metric, cell) for metric in figure.y for cell, _ in cells(drawn, by)]
    picture, axes = canvas(len(panels), len(panels) // len(figure.y) if by else min(len(figure.y), 2))
    palette = {v: c for v, c in colours(figure.hue, measured.runs).items() if v in set(drawn[figure.hue])}
    for ax, (metric, cell) in zip(axes, panels, strict=True):
        inside = parts.get((metric, *cell.values()), drawn.iloc[:0])
        _panel(ax, figure, inside, _gap(drawn) / (2 * len(palette)), palette)
        _x_axis(ax, figure, drawn)
        value_axis(ax, metric, drawn.loc[drawn["n"] > 1, "high"].tolist() + drawn["value"].tolist())
        words = ", ".join(named(k, v) for k, v in cell.items())
        ax.set_title(words or textwrap.fill(QUANTITIES[metric].label, 50), loc="left")
        if by and cell == panels[0][1]:
            ax.set_ylabel(QUANTITIES[metric].label.replace(" (", "\n("))
    finish(picture, title(figure, measured), _legend(figure, drawn, palette))
    return picture


def _place(figure: Figure, value: Any) -> float:
    return math.log2(value) if X[figure.draw] == "depth" else float(value)


def _gap(drawn: "pd.DataFrame") -> float:
    """The smallest distance between two places on the x axis, which the dots of all hues share."""
    return min((b - a for a, b in itertools.pairwise(sorted(drawn["at"].unique()))), default=1.0)


def _panel(ax: "Axes", figure: Figure, drawn: "pd.DataFrame", room: float, palette: dict[Any, Any]) -> None:
    hues = list(palette)
    for cell, line in cells(drawn, [figure.hue]):
        i = hues.index(cell[figure.hue])
        dodge = 0.0 if X[figure.draw] == figure.hue else (i - (len(hues) - 1) / 2) * room
        _line(ax, line.assign(at=line["at"] + dodge).sort_values(["at", "seed"]), 0.6 * room, palette[hues[i]])


def _x_axis(ax: "Axes", figure: Figure, drawn: "pd.DataFrame") -> None:
    if X[figure.draw] == "depth":
        depths = sorted(drawn["depth"].unique())
        ax.set_xticks([_place(figure, depth) for depth in depths], [str(depth) for depth in depths])
        ax.set_xlabel("depth")
    else:
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set_xlabel("scale λ of the shortcut")


def _line(ax: "Axes", line: "pd.DataFrame", width: float, colour: Any) -> None:
    """The seeds of each place side by side over `width`, and a line through the means."""
    rank = line.groupby("at")["seed"].rank() - 1
    dots = line.assign(dot=line["at"] + width * (rank / (line["n"] - 1).clip(lower=1) - 0.5), mark=_marks(line))
    for mark, some in dots.groupby("mark"):
        # Not cut off at the frame: many errors are 0 or 100 %.
        ax.plot(some["dot"], some["value"], str(mark), color=colour, alpha=0.5, markersize=3, clip_on=False)
    means = line.drop_duplicates("at")
    half = [(means[end] - means["mean"]).abs().where(means["n"] > 1) for end in ("low", "high")]
    ax.errorbar(means["at"], means["mean"], yerr=half, color=colour, capsize=2, linewidth=1.0, elinewidth=0.9)


def _marks(line: "pd.DataFrame") -> list[str]:
    return [
        "^" if diverged else "x" if failed else "o"
        for failed, diverged in zip(line["failed"], line["diverged"], strict=True)
    ]


def _legend(figure: Figure, drawn: "pd.DataFrame", palette: dict[Any, Any]) -> list["Line2D"]:
    from matplotlib.lines import Line2D

    words = {"o": "one seed", "x": "failed (test error > 20 %)", "^": "diverged (counts as 100 %)"}
    used = set(_marks(drawn))
    grey: dict[str, Any] = {"color": "#555555", "linestyle": "", "markersize": 3}
    return [
        *(Line2D([], [], color=colour, label=named(figure.hue, value)) for value, colour in palette.items()),
        *(Line2D([], [], marker=mark, label=text, **grey) for mark, text in words.items() if mark in used),
    ]


def caption(figure: Figure, drawn: "pd.DataFrame") -> str:
    """What is drawn, in words."""
    return (
        f"Dots are seeds, side by side; lines join their means over {seeds_in_words(drawn['n'])}, bars are 95 % t "
        f"intervals cut to 0..100; a diverged seed counts as 100 %.{_rates(figure, drawn)}"
    )


def _rates(figure: Figure, drawn: "pd.DataFrame") -> str:
    """The learning rates that `at_best_lr` chose, when there is more than one."""
    if figure.draw != "norm_grid" or drawn["lr"].nunique() == 1:
        return ""
    lines = []
    for line, dots in cells(drawn, [k for k in keys(figure) if k != "depth"]):
        rates = dots.drop_duplicates("depth").sort_values("depth")
        each = [f"{lr:g} at {depth}" for lr, depth in zip(rates["lr"], rates["depth"], strict=True)]
        where = ", ".join(named(k, v) for k, v in line.items())
        lines.append(f"{where} " + (", ".join(each) if rates["lr"].nunique() > 1 else f"{rates['lr'].iloc[0]:g}"))
    return f" Learning rate, where several were tried that with the lowest mean validation error: {'; '.join(lines)}."
