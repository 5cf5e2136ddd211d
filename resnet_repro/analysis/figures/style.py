"""The look of every figure: its sizes, font and colours, the words in it, and how it is saved.

Lengths are in ems, the size of the text, so that a figure for a slide is drawn by the same rules as one for a column.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import words
from resnet_repro.analysis.frames import Measured
from resnet_repro.errors import UserError
from resnet_repro.experiment import FIGURE_SIZES
from resnet_repro.experiment import Figure as Drawing
from resnet_repro.metrics import ERRORS, QUANTITIES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Size:
    """A figure as one medium needs it, to be used as it is: scaled, its text would have another size.

    suffix: what its files are called after the figure's name. width: inches. text: points. columns: so many panels
    side by side at most. panel: the height of a panel, height: that of the whole, in ems; one of them is given.
    """

    suffix: str
    width: float
    text: float
    columns: int
    formats: tuple[str, ...]
    panel: float = 0.0
    height: float = 0.0

    @property
    def em(self) -> float:
        """The size of the text in inches."""
        return self.text / 72


SIZES = (
    Size(FIGURE_SIZES[0], 5.5, 8, 3, ("pdf", "svg", "png"), panel=15),  # the width of the text of a paper in one column
    Size(FIGURE_SIZES[1], 3.3, 8, 1, ("pdf",), panel=13),  # a column of a paper in two
    Size(FIGURE_SIZES[2], 12, 17, 3, ("pdf", "png"), height=24),  # below the title of a slide, 13.3 x 7.5 inches
)

FONTS = ["STIXGeneral", "DejaVu Sans"]
"""The first has the shapes of Times and is near enough to Computer Modern to stand beside it; the second has what it
lacks. Both come with matplotlib, so they are the same everywhere."""

RC: dict[Any, Any] = {
    "font.family": FONTS,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.handlelength": 2.0,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.5,
    "legend.labelspacing": 0.25,
    "legend.borderpad": 0.0,
    "legend.borderaxespad": 0.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "pdf.fonttype": 42,  # TrueType: text stays text, and no publisher refuses it
    "svg.fonttype": "path",  # who looks at it need not have the font
    "text.parse_math": False,  # a dollar sign in a name is one
    "svg.hashsalt": "resnet-repro",
}
IN_EMS: dict[str, float] = {
    "font.size": 1.0,
    "axes.titlesize": 1.0,
    "axes.labelsize": 1.0,
    "xtick.labelsize": 0.94,
    "ytick.labelsize": 0.94,
    "legend.fontsize": 0.94,
    "axes.titlepad": 0.5,
    "axes.labelpad": 0.3,
    "axes.linewidth": 0.07,
    "grid.linewidth": 0.06,
    "xtick.major.width": 0.07,
    "ytick.major.width": 0.07,
    "xtick.major.size": 0.35,
    "ytick.major.size": 0.35,
    "xtick.major.pad": 0.3,
    "ytick.major.pad": 0.3,
    "lines.linewidth": 0.14,
    "lines.markersize": 0.36,
    "lines.markeredgewidth": 0.09,
    "errorbar.capsize": 0.2,
}
FORMATS: dict[str, dict[str, Any]] = {
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
    "png": {"Software": None},
}
"""The files of a figure, with the metadata that would tell the time or the version left out."""

SCREEN = 1920  # pixels across, for a slide
MODELS = {"plain": "#e07b28", "resnet": "#0b5394", "densenet": "#4f8f4f"}  # also told apart in gray
OTHERS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito 2008
GRAY = "#555555"


@contextmanager
def style(size: Size) -> Iterator[None]:
    """Within it matplotlib draws in our style, whatever the reader's own settings are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC | {key: ems * size.text for key, ems in IN_EMS.items()})
        yield


def save(figure: "Figure", folder: Path, name: str, size: Size) -> None:
    """Writes <name><suffix>.<format> for each format of the size, the same bytes each time."""
    for kind in size.formats:
        file = folder / f"{name}{size.suffix}.{kind}"
        figure.savefig(file, metadata=FORMATS[kind], dpi=min(200, SCREEN / size.width))
        if kind == "png":
            _in_few_colours(file)


def _in_few_colours(file: Path) -> None:
    """Writes a PNG file with a palette of 256 colours: what is drawn looks the same in a third of the bytes."""
    from PIL import Image

    with Image.open(file) as image:
        drawn = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    drawn.save(file, optimize=True)


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
        return {v: light_to_dark(0.85 * (1 - i / max(len(values) - 1, 1))) for i, v in enumerate(values)}
    return {v: OTHERS[i % len(OTHERS)] for i, v in enumerate(values)}


def _depth_colour(depth: int) -> Any:
    import numpy as np

    place = np.interp(math.log(depth), np.log([8, 20, 32, 44, 56, 110, 1202]), [0.85, 0.72, 0.55, 0.43, 0.3, 0.1, 0.0])
    return light_to_dark(float(place))


def light_to_dark(place: float) -> Any:
    """A colour between the darkest, 0, and the lightest, 1, which stay in this order in gray."""
    import matplotlib as mpl

    return mpl.colormaps["viridis"](place)


# Words ---------------------------------------------------------------------------------------------------------

ALONE = ("model", "norm")
"""Columns whose values say what they are."""
LONGEST_HEADING = 14
"""Characters: a longer one would take its room from the panels."""


def label(column: str, value: Any) -> str:
    """A value as the end of its line says it, under the `heading` of its column: `plain net`, `56`, `0.5`."""
    return words.named(column, value) if column in ALONE else words.value(column, value)


def heading(column: str) -> str:
    """What stands above the labels of a column whose values do not say what they are: `λ`, `ghost batch`."""
    head = words.setting(column)
    return "" if column in ALONE else head if len(head) <= LONGEST_HEADING else column.replace("_", " ")


def short(metrics: Sequence[str]) -> dict[str, str]:
    """A few words for each metric, `training error`; where two would be called alike `training error, clean`."""
    heads = [QUANTITIES[metric].head for metric in metrics]
    return {
        m: ", ".join(filter(None, (head, QUANTITIES[m].subhead if heads.count(head) > 1 else "")))
        for m, head in zip(metrics, heads, strict=True)
    }


def title(figure: Drawing, measured: Measured | None, titles: Mapping[str, str]) -> str:
    """The figure's title, for a page and the start of the caption; with the data set's name, where that is given.

    titles: of drawings.
    """
    return (figure.title or titles[figure.draw]) + (f" ({measured.data})" if measured else "")


def check_one_axis(figure: Drawing) -> None:
    """Raises UserError for a figure whose metrics have different axes."""
    if len(figure.y) > 1 and not all(metric in ERRORS for metric in figure.y):
        raise UserError(
            f"figure {figure.name!r}: only errors share an axis; make {', '.join(figure.y)} several figures"
        )


DIGITS = 4
"""Decimals that are kept of what is drawn: the last bit of a sum, which differs between processors, is none of them."""


def what(figure: Drawing, measured: Measured, titles: Mapping[str, str], metrics: str) -> str:
    """How a caption begins: the title, the data set, the metrics, what the lines and panels are."""
    names = [f"{heading(c) or c}" for c in (figure.hue, figure.panel) if c]
    panels = f" and a panel for each {names[1]}" if len(names) > 1 else ""
    return f"{title(figure, measured, titles)}: {metrics}, a line for each {names[0]}{panels}"


def seeds_in_words(n: "pd.Series") -> str:
    """`5 seeds`, or `3 to 5 seeds`."""
    few, many = int(n.min()), int(n.max())
    return f"{many} seed{'s' * (many != 1)}" if few == many else f"{few} to {many} seeds"
