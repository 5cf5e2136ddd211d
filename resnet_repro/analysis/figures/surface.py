"""What is measured over two axes: contours of the surface of one run in each panel, all on one logarithmic scale."""

import math
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import words
from resnet_repro.analysis.figures import layout, style
from resnet_repro.analysis.frames import Measured, cells
from resnet_repro.errors import UserError
from resnet_repro.experiment import Figure
from resnet_repro.metrics import QUANTITIES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture
    from matplotlib.lines import Line2D

TITLES = {"surface": "Loss around the network"}
DIGITS = 6  # that are kept of a value
NUMBERS = 3.2  # ems for those of the y axis, which have a sign
LEVELS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Where contours lie, the same in every figure: half a decade apart, and past ln 10 = 2.3, the loss of a net of ten
classes that knows nothing."""


def check(figure: Figure) -> None:
    """Raises UserError for a figure of more than one metric."""
    if len(figure.y) > 1:
        raise UserError(f"figure {figure.name!r}: a surface has one metric; make {', '.join(figure.y)} several figures")


def keys(figure: Figure) -> list[str]:
    """The columns that tell the panels apart."""
    return list(dict.fromkeys(k for k in (figure.panel, figure.hue) if k))


def compute(figure: Figure, measured: Measured, runs: "pd.DataFrame") -> "pd.DataFrame":
    """The surfaces drawn: `<panel>, <hue>, metric, step, seed, x, y, value`, in each panel that of the lowest seed.

    A mean over seeds would be no network's surface.
    """
    import pandas as pd

    points = measured.points[(measured.points["metric"] == figure.y[0]) & (measured.points["step"] == figure.at)]
    parts = []
    for cell, group in cells(runs, keys(figure)):
        there = group[group.index.isin(points["run_id"])].sort_values("seed")
        for run_id, seed in there["seed"].head(1).items():
            own = points.loc[points["run_id"] == run_id, ["x", "y", "value"]]
            parts.append(own.assign(**cell, metric=figure.y[0], step=figure.at, seed=seed))
    if not parts:
        return pd.DataFrame(columns=["metric"])
    drawn = pd.concat(parts, ignore_index=True)
    drawn["value"] = [float(f"{value:.{DIGITS}g}") for value in drawn["value"]]
    return drawn[[*keys(figure), "metric", "step", "seed", "x", "y", "value"]]


def draw(figure: Figure, drawn: "pd.DataFrame", measured: Measured, size: style.Size) -> "Picture":
    """A panel for each surface, those of one value of `figure.panel` side by side."""
    import numpy as np

    inside = cells(drawn, keys(figure))
    legend = _legend(QUANTITIES[figure.y[0]].unit, size.text)
    columns, words_around = drawn[figure.hue].nunique(), _words(figure, [cell for cell, _ in inside])
    panels = layout.canvas(size, columns, words_around, legend, NUMBERS)
    for ax, (_, points) in zip(panels.axes, inside, strict=True):
        decades = points.assign(value=np.log10(points["value"].clip(LEVELS[0] / 2, 2 * LEVELS[-1])))
        surface = decades.set_index(["y", "x"])["value"].unstack()
        place, levels = (surface.columns, surface.index, surface), np.log10(LEVELS)
        ax.contourf(*place, levels=[-math.inf, *levels, math.inf], colors=_colours())
        ax.contour(*place, levels=levels, colors="black", linewidths=0.05 * size.text, linestyles="solid")
        ax.plot(0, 0, "+", color="black")
        ax.grid(visible=False)
        ax.locator_params(nbins=5)
    return panels.figure


def _colours() -> list[Any]:
    """Of the bands from the lowest on, from light to dark, which a print in gray keeps."""
    return [style.light_to_dark(1 - i / len(LEVELS)) for i in range(len(LEVELS) + 1)]


def _legend(unit: str, em: float) -> list["Line2D"]:
    """A square for each band, called by its upper end."""
    from matplotlib.lines import Line2D

    names = [*(f"< {level:g}" for level in LEVELS), f"≥ {LEVELS[-1]:g} {unit}"]
    square: dict[str, Any] = {"linestyle": "none", "marker": "s", "markeredgecolor": "black", "markersize": 0.8 * em}
    return [Line2D([], [], color=colour, label=name, **square) for colour, name in zip(_colours(), names, strict=True)]


def _words(figure: Figure, inside: list[dict[str, Any]]) -> layout.Words:
    q = QUANTITIES[figure.y[0]]
    return layout.Words(
        titles=[", ".join(words.named(k, v) for k, v in cell.items()) for cell in inside],
        y=[q.y] * len(inside),
        x=q.x,
        ends=[],
        heading="",
    )


def caption(figure: Figure, drawn: "pd.DataFrame", measured: Measured) -> str:
    """What is drawn, in words that need no others."""
    q, seeds = QUANTITIES[figure.y[0]], sorted(drawn["seed"].unique())
    levels = ", ".join(f"{level:g}" for level in LEVELS)
    return (
        f"{style.title(figure, measured, TITLES)}: {q.label}, after {figure.at} steps, over the {q.x} and {q.y}, "
        f"both in lengths of the filters. The cross is the network, of seed {' or '.join(map(str, seeds))}; contours "
        f"lie at {levels}."
    )
