"""Error while training, after He et al. 2015, fig. 6: training error dashed, test error solid."""

import re
from typing import TYPE_CHECKING, Any, Literal

from resnet_repro.analysis import published
from resnet_repro.analysis.figures.style import canvas, colours, finish, named, seeds_in_words, title, value_axis
from resnet_repro.analysis.frames import Measured, cells
from resnet_repro.errors import UserError
from resnet_repro.experiment import Figure
from resnet_repro.metrics import ERRORS, QUANTITIES, of_diverged

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture
    from matplotlib.lines import Line2D


def keys(figure: Figure) -> list[str]:
    """The columns that tell the drawn curves apart."""
    return list(dict.fromkeys(k for k in (figure.panel, figure.hue) if k))


def compute(figure: Figure, measured: Measured, runs: "pd.DataFrame") -> "pd.DataFrame":
    """The curves drawn: `source, <panel>, <hue>, metric, step, mean, low, high, n`; low and high are min and max.

    source is `measured` or the paper's figure. A diverged run counts as 100 % error from its last point on.
    """
    import pandas as pd

    parts = [
        _over_seeds(measured.curves, group, metric).assign(source="measured", **cell, metric=metric)
        for cell, group in cells(runs, keys(figure))
        for metric in figure.y
    ]
    if not parts:
        return pd.DataFrame(columns=["metric"])
    if figure.paper:
        parts += [_published(figure, runs)]
    return pd.concat(parts, ignore_index=True)[["source", *keys(figure), "metric", "step", "mean", "low", "high", "n"]]


def _over_seeds(curves: "pd.DataFrame", runs: "pd.DataFrame", metric: str) -> "pd.DataFrame":
    points = curves[(curves["metric"] == metric) & curves["run_id"].isin(runs.index)]
    by_run = points.pivot(index="step", columns="run_id", values="value").reindex(columns=runs.index)
    if metric in ERRORS:
        diverged = runs.index[runs["diverged"] == 1]
        by_run[diverged] = by_run[diverged].fillna(of_diverged(metric))
    over = by_run.agg(["mean", "min", "max", "count"], axis=1)
    return over.set_axis(["mean", "low", "high", "n"], axis=1).astype({"n": int}).reset_index()


def _published(figure: Figure, runs: "pd.DataFrame") -> "pd.DataFrame":
    curve = published.curve(figure.paper or "")
    drawn = curve[curve["metric"].isin(figure.y)].merge(runs[["model", "depth"]].drop_duplicates())
    other = sorted(set(keys(figure)) - {"model", "depth"})
    if other:
        raise UserError(f"figure {figure.name!r}: a published curve has model and depth, no {other[0]}")
    return drawn.assign(source=figure.paper, mean=drawn["value"], low=drawn["value"], high=drawn["value"], n=1)


def draw(figure: Figure, drawn: "pd.DataFrame", measured: Measured) -> "Picture":
    """One panel for each value of `figure.panel`, one colour for each value of `figure.hue`."""
    panels = cells(drawn, [figure.panel] if figure.panel else [])
    picture, axes = canvas(len(panels), min(len(panels), 3), height=2.4)
    palette = {v: c for v, c in colours(figure.hue, measured.runs).items() if v in set(drawn[figure.hue])}
    for ax, (panel, inside) in zip(axes, panels, strict=True):
        for line, points in cells(inside, ["source", figure.hue, "metric"]):
            _line(ax, points, line["source"], line["metric"], palette[line[figure.hue]])
        value_axis(ax, figure.y[0], drawn["high"].tolist())
        ax.set_xlabel("step")
        ax.set_xlim(0, drawn["step"].max())
        ax.set_title(", ".join(named(k, v) for k, v in panel.items()), loc="left")
    axes[0].set_ylabel("error, %" if figure.y[0] in ERRORS else QUANTITIES[figure.y[0]].label)
    finish(picture, title(figure, measured), _legend(figure, palette))
    return picture


def _line(ax: "Axes", line: "pd.DataFrame", source: str, metric: str, colour: Any) -> None:
    thin = source != "measured"
    ax.plot(line["step"], line["mean"], _dashes(metric), color=colour, linewidth=0.5 if thin else 1.2)
    if not thin:
        ax.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)


def _dashes(metric: str) -> Literal["-", "--"]:
    return "--" if metric.startswith("train") else "-"


def _legend(figure: Figure, palette: dict[Any, Any]) -> list["Line2D"]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, label=named(figure.hue, value)) for value, colour in palette.items()]
    for metric in figure.y:
        words = re.split(r",| \(", QUANTITIES[metric].words)[0]
        handles.append(Line2D([], [], color="#555555", linestyle=_dashes(metric), label=words))
    if figure.paper:
        handles.append(Line2D([], [], color="#555555", linewidth=0.5, label=published.TITLES[figure.paper]))
    return handles


def caption(figure: Figure, drawn: "pd.DataFrame") -> str:
    """What is drawn, in words."""
    seeds = seeds_in_words(drawn.loc[drawn["source"] == "measured", "n"])
    paper = f" Thin lines: {published.TITLES[figure.paper]}, digitised." if figure.paper else ""
    return (
        f"Dashed: training error; solid: test error. Lines are means over {seeds}, bands go from the lowest to the "
        f"highest seed; a diverged seed counts as 100 % from then on.{paper}"
    )
