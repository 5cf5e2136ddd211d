"""What is measured at every layer, over the layer: how it grows or vanishes from the input to the output."""

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

TITLES = {"profile": "Profile over the layers"}
BAND = 0.2  # opacity of the band from the lowest to the highest seed
DIGITS = 6  # that are kept of a value, since those of one figure may lie many powers of ten apart


def check(figure: Figure) -> None:
    """Raises UserError for a figure of more than one metric."""
    if len(figure.y) > 1:
        raise UserError(f"figure {figure.name!r}: a profile has one metric; make {', '.join(figure.y)} several figures")


def keys(figure: Figure) -> list[str]:
    """The columns that tell the drawn lines apart."""
    return list(dict.fromkeys(k for k in (figure.panel, figure.hue) if k))


def compute(figure: Figure, measured: Measured, runs: "pd.DataFrame") -> "pd.DataFrame":
    """The lines drawn: `<panel>, <hue>, metric, step, x, median, low, high, n`, low and high the extreme seeds.

    Values that are no numbers are left out.
    """
    import pandas as pd

    points = measured.points[(measured.points["metric"] == figure.y[0]) & (measured.points["step"] == figure.at)]
    parts = []
    for cell, group in cells(runs, keys(figure)):
        own = points[points["run_id"].isin(group.index)].dropna(subset=["value"])
        over = own.groupby("x")["value"].agg(["median", "min", "max", "count"]).reset_index()
        over = over.set_axis(["x", "median", "low", "high", "n"], axis=1)
        parts.append(over.assign(**cell, metric=figure.y[0], step=figure.at))
    if not parts or not sum(map(len, parts)):
        return pd.DataFrame(columns=["metric"])
    drawn = pd.concat(parts, ignore_index=True).astype({"n": int})
    if (drawn["x"] % 1 == 0).all():  # a number of a layer or block; a step size is a fraction
        drawn["x"] = drawn["x"].astype(int)
    for column in ("median", "low", "high"):
        drawn[column] = [float(f"{value:.{DIGITS}g}") for value in drawn[column]]
    return drawn[[*keys(figure), "metric", "step", "x", "median", "low", "high", "n"]]


def draw(figure: Figure, drawn: "pd.DataFrame", measured: Measured, size: style.Size) -> "Picture":
    """One panel for each value of `figure.panel`, one colour for each value of `figure.hue`."""
    inside = cells(drawn, [figure.panel] if figure.panel else [])
    palette = {v: c for v, c in style.colours(figure.hue, measured.runs).items() if v in set(drawn[figure.hue])}
    values = [*drawn["low"], *drawn["high"]]
    room = layout.room_for_numbers(figure.y[0], values)
    panels = layout.canvas(size, len(inside), _words(figure, [panel for panel, _ in inside], list(palette)), [], room)
    for ax, (_, lines) in zip(panels.axes, inside, strict=True):
        ax.set_xlim(drawn["x"].min(), drawn["x"].max())
        ax.locator_params(axis="x", nbins=5)
        layout.value_axis(panels, ax, figure.y[0], figure.scale, values)
        ends = []
        for cell, line in cells(lines.sort_values("x"), [figure.hue]):
            colour = palette[cell[figure.hue]]
            ax.plot(line["x"], line["median"], color=colour)
            ax.fill_between(line["x"], line["low"], line["high"], color=colour, alpha=BAND, linewidth=0)
            last = line.iloc[-1]
            ends.append((last["x"], last["median"], style.label(figure.hue, cell[figure.hue]), colour))
        layout.label_ends(panels, ax, ends, style.heading(figure.hue))
    return panels.figure


def _words(figure: Figure, inside: list[dict[str, Any]], hues: list[Any]) -> layout.Words:
    y = layout.y_label(words.quantity(figure.y[0]), figure.y[0], figure.scale)
    return layout.Words(
        titles=[", ".join(words.named(k, v) for k, v in panel.items()) for panel in inside],
        y=[y] * len(inside),
        x=QUANTITIES[figure.y[0]].x,
        ends=[style.label(figure.hue, value) for value in hues],
        heading=style.heading(figure.hue),
    )


def caption(figure: Figure, drawn: "pd.DataFrame", measured: Measured) -> str:
    """What is drawn, in words that need no others."""
    when = "before the first step" if figure.at == 0 else f"after {figure.at} steps"
    lines = f"Lines are medians over {style.seeds_in_words(drawn['n'])}, bands go from the lowest to the highest seed"
    sentences = [
        style.what(figure, measured, TITLES, f"{QUANTITIES[figure.y[0]].words}, {when}"),
        lines if drawn["n"].max() > 1 else "There is one seed for each line",
    ]
    return ". ".join(sentences) + "."
