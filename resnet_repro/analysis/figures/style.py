"""The look of every figure: sizes, colours, the error axis, and how a figure is saved."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis.frames import Measured, text
from resnet_repro.experiment import Figure as Drawing
from resnet_repro.metrics import ERRORS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.8  # inches, of a two-column paper

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "figure.titlesize": 8.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a title is one
    "svg.hashsalt": "resnet-repro",
}
FORMATS: dict[str, dict[str, Any]] = {
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
    "png": {"Software": None},
}
"""The files of a figure, with the metadata that would tell the time or the version left out."""

MODELS = {"plain": "#d55e00", "resnet": "#0072b2"}
OTHERS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito 2008
TITLES = {
    "learning_curves": "Learning curves",
    "error_by_depth": "Error by depth",
    "error_by_scale": "Error by the scale of the shortcut",
    "norm_grid": "Error with and without normalisation",
}
TICKS, FINE_TICKS = (0, 1, 5, 10, 20, 40, 60, 80, 100), (0, 0.5, 1, 2, 5, 10, 20)


@contextmanager
def style() -> Iterator[None]:
    """Within it matplotlib draws in our style, whatever the reader's own settings are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def canvas(panels: int, columns: int, height: float = 2.2) -> tuple["Figure", list["Axes"]]:
    """A figure with so many panels in rows of `columns`, each `height` inches high; panels in reading order."""
    from matplotlib.figure import Figure

    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(TWO_COLUMNS if columns > 1 else ONE_COLUMN, rows * height + 0.6), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, sharey="row", squeeze=False).flat)
    for ax in axes:
        ax.tick_params(labelbottom=True)
    for unused in axes[panels:]:
        unused.remove()
    return figure, axes[:panels]


def finish(figure: "Figure", title: str, handles: Sequence["Line2D"]) -> None:
    """Puts the title above and the legend below, where they cover no data, in as many lines as they need."""
    width = figure.get_figwidth()
    figure.suptitle(textwrap.fill(title, int(14 * width)), x=0.01, ha="left")
    needed = sum(0.4 + 0.06 * len(str(handle.get_label())) for handle in handles)
    columns = math.ceil(len(handles) / math.ceil(needed / width))
    by_row = [handle for c in range(columns) for handle in handles[c::columns]]  # matplotlib fills columns first
    figure.legend(handles=by_row, loc="outside lower center", ncols=columns)


def save(figure: "Figure", folder: Path, name: str) -> None:
    """Writes <name>.pdf, .svg and .png, the same bytes each time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, alike in every format
    for kind, metadata in FORMATS.items():
        figure.savefig(folder / f"{name}.{kind}", metadata=metadata)


def colours(column: str, runs: "pd.DataFrame") -> dict[Any, Any]:
    """A colour for each value the column has in the experiment, the same in all its figures.

    Models and depths have the same colour in every experiment; numbers go from light to dark.
    """
    values = sorted(runs[column].unique(), key=lambda v: (v is not None, v))
    if column == "model":
        return {v: MODELS[v] for v in values}
    if column == "depth":
        return {v: _depth_colour(v) for v in values}
    if all(isinstance(v, int | float) for v in values):
        return {v: _light_to_dark(0.85 * (1 - i / max(len(values) - 1, 1))) for i, v in enumerate(values)}
    return {v: OTHERS[i % len(OTHERS)] for i, v in enumerate(values)}


def _depth_colour(depth: int) -> Any:
    import numpy as np

    place = np.interp(math.log(depth), np.log([8, 20, 32, 44, 56, 110, 1202]), [0.9, 0.78, 0.58, 0.45, 0.3, 0.1, 0.0])
    return _light_to_dark(float(place))


def _light_to_dark(place: float) -> Any:
    import matplotlib as mpl

    return mpl.colormaps["viridis"](place)


def value_axis(ax: "Axes", metric: str, values: Sequence[float]) -> None:
    """Labels the y axis; errors on a square-root scale from 0 to the tick above the largest value.

    The square root shows 0.5 % and 90 % in one panel and, errors being counts, makes equal noise look equal.
    """
    import numpy as np

    if metric not in ERRORS:
        return
    top = next((t for t in FINE_TICKS[3:] + TICKS[5:] if t >= max(values, default=100)), 100)
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    ax.set_ylim(0, top)
    ax.set_yticks([t for t in (TICKS if top > 20 else FINE_TICKS) if t <= top])
    ax.minorticks_off()


def named(column: str, value: Any) -> str:
    """A value with what it is a value of, as a legend or panel says it."""
    names = {"model": {"plain": "plain net", "resnet": "ResNet"}, "norm": {"batch": "batch norm", "none": "no norm"}}
    symbols = {"shortcut_scale": "λ = "}
    return names.get(column, {}).get(value) or f"{symbols.get(column, column + ' ')}{text(value)}"


def title(figure: Drawing, measured: Measured) -> str:
    """The figure's title with the data set's name."""
    return f"{figure.title or TITLES[figure.draw]} ({measured.data})"


def seeds_in_words(n: "pd.Series") -> str:
    """`5 seeds`, or `3 to 5 seeds`."""
    few, many = int(n.min()), int(n.max())
    return f"{many} seed{'s' * (many != 1)}" if few == many else f"{few} to {many} seeds"
