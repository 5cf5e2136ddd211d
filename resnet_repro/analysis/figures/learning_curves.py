"""Error while training, after He et al. 2015, fig. 6: training error dashed, test error solid."""

from typing import TYPE_CHECKING, Any, Literal

from resnet_repro.analysis import published
from resnet_repro.analysis.figures import layout, style
from resnet_repro.analysis.frames import Measured, cells
from resnet_repro.analysis.words import enumerated, named
from resnet_repro.errors import UserError
from resnet_repro.experiment import Figure
from resnet_repro.metrics import ERRORS, QUANTITIES, of_diverged

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture
    from matplotlib.lines import Line2D

TITLES = {"learning_curves": "Learning curves"}

check = style.check_one_axis

THIN, BAR = 0.055, 0.08  # widths of a published line, and of the bar from the lowest to the highest seed, in ems


def keys(figure: Figure) -> list[str]:
    """The columns that tell the drawn curves apart."""
    return list(dict.fromkeys(k for k in (figure.panel, figure.hue) if k))


def compute(figure: Figure, measured: Measured, runs: "pd.DataFrame") -> "pd.DataFrame":
    """The curves drawn: `source, <panel>, <hue>, metric, step, mean, low, high, n`; low and high are min and max.

    source is `measured` or the paper's figure. A diverged run counts as 100 % error from its last point on.
    """
    import pandas as pd

    parts = [
        _over_seeds(measured.points, group, metric).assign(source="measured", **cell, metric=metric)
        for cell, group in cells(runs, keys(figure))
        for metric in figure.y
    ]
    if not parts:
        return pd.DataFrame(columns=["metric"])
    if figure.paper:
        parts += [_published(figure, runs)]
    drawn = pd.concat(parts, ignore_index=True).round(style.DIGITS)
    return drawn[["source", *keys(figure), "metric", "step", "mean", "low", "high", "n"]]


def _over_seeds(points: "pd.DataFrame", runs: "pd.DataFrame", metric: str) -> "pd.DataFrame":
    curves = points[(points["metric"] == metric) & points["run_id"].isin(runs.index)]
    by_run = curves.pivot(index="step", columns="run_id", values="value").reindex(columns=runs.index)
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


def draw(figure: Figure, drawn: "pd.DataFrame", measured: Measured, size: style.Size) -> "Picture":
    """One panel for each value of `figure.panel`, one colour for each value of `figure.hue`."""
    inside = cells(drawn, [figure.panel] if figure.panel else [])
    palette = {v: c for v, c in style.colours(figure.hue, measured.runs).items() if v in set(drawn[figure.hue])}
    words = _words(figure, [panel for panel, _ in inside], list(palette))
    panels = layout.canvas(size, len(inside), words, _legend(figure, size))
    for ax, (_, lines) in zip(panels.axes, inside, strict=True):
        ax.set_xlim(0, drawn["step"].max() * (1 + 0.1 / panels.width))  # the last bar is not cut in two
        ax.locator_params(axis="x", nbins=5)
        layout.value_axis(panels, ax, figure.y[0], figure.scale, _highs(figure, drawn))
        for line, points in cells(lines, ["source", figure.hue, "metric"]):
            colour, dashes = palette[line[figure.hue]], _dashes(line["metric"])
            if line["source"] != "measured":
                ax.plot(points["step"], points["mean"], dashes, color=colour, linewidth=THIN * size.text)
                continue
            ax.plot(points["step"], points["mean"], dashes, color=colour)
            some = _some(points[points["n"] > 1], list(palette).index(line[figure.hue]), len(palette))
            ax.vlines(some["step"], some["low"], some["high"], color=colour, linewidth=BAR * size.text)
        layout.label_ends(panels, ax, _ends(figure, lines, palette), words.heading)
    return panels.figure


def _words(figure: Figure, inside: list[dict[str, Any]], hues: list[Any]) -> layout.Words:
    metric, *others = figure.y
    y = layout.y_label("error" if others else style.short([metric])[metric], metric, figure.scale)
    return layout.Words(
        titles=[", ".join(named(k, v) for k, v in panel.items()) for panel in inside],
        y=[y] * len(inside),
        x="step",
        ends=[style.label(figure.hue, value) for value in hues],
        heading=style.heading(figure.hue),
    )


def _highs(figure: Figure, drawn: "pd.DataFrame") -> list[float]:
    """What the axis must reach: everything, on a linear one the last errors (the first would leave them no room)."""
    last = drawn.groupby("source")["step"].transform("max")
    return list(drawn["high"] if figure.scale == "square-root" else drawn.loc[drawn["step"] == last, "mean"])


def _some(line: "pd.DataFrame", i: int, lines: int) -> "pd.DataFrame":
    """About six points of line `i` of so many, from the last on: bands would cover each other, bars stand apart."""
    stride = lines * max(1, round(len(line) / (6 * lines)))
    return line.sort_values("step").iloc[::-1].iloc[i * stride // lines :: stride]


def _dashes(metric: str) -> Literal["-", "--"]:
    return "--" if metric.startswith("train") else "-"


def _ends(figure: Figure, lines: "pd.DataFrame", palette: dict[Any, Any]) -> list[tuple[float, float, str, Any]]:
    """Where the solid line of each colour ends, or its only one."""
    last = lines[(lines["source"] == "measured") & (lines["metric"] == figure.y[-1])].dropna(subset=["mean"])
    ends = {cell[figure.hue]: points.sort_values("step").iloc[-1] for cell, points in cells(last, [figure.hue])}
    return [(end["step"], end["mean"], style.label(figure.hue, v), palette[v]) for v, end in ends.items()]


def _legend(figure: Figure, size: style.Size) -> list["Line2D"]:
    from matplotlib.lines import Line2D

    words = style.short(figure.y)
    handles = [Line2D([], [], color=style.GRAY, linestyle=_dashes(m), label=words[m]) for m in figure.y]
    if figure.paper:
        label = published.TITLES[figure.paper]
        handles.append(Line2D([], [], color=style.GRAY, linewidth=THIN * size.text, label=label))
    return handles


def caption(figure: Figure, drawn: "pd.DataFrame", measured: Measured) -> str:
    """What is drawn, in words that need no others."""
    n = drawn.loc[drawn["source"] == "measured", "n"]
    dashes = {"--": "dashed", "-": "solid"}
    metrics = enumerated([f"{QUANTITIES[m].words} ({dashes[_dashes(m)]})" for m in figure.y])
    means = f"Lines are means over {style.seeds_in_words(n)}, bars at some steps go from the lowest to the highest seed"
    counts = "counts as 100 %" if figure.y[0] in ERRORS else "is left out"
    sentences = [
        style.what(figure, measured, TITLES, f"{metrics} during training"),
        f"{means if n.max() > 1 else 'There is one seed for each line'}; a diverged one {counts} from then on",
        *([f"Thin lines: {published.TITLES[figure.paper]}, digitised"] if figure.paper else []),
        *(["The axis ends above the last errors; the first are higher"] if figure.scale == "linear" else []),
    ]
    return ". ".join(sentences) + "."
