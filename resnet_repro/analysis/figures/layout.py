"""Where things stand in a figure: panels, the legend above them, labels at the ends of lines, the axis of errors.

Laid out by hand, in ems: matplotlib's own layout takes most of the time a figure needs, and a panel then has the same
size in every figure.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis.figures.style import FONTS, GRAY, Size
from resnet_repro.metrics import ERRORS, QUANTITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

TOP, BOTTOM, BETWEEN, GAP = 1.6, 3.1, 2.3, 0.8  # ems above the panels, below, between rows, between columns
NUMBERS = 2.6  # ems for the numbers of the y axis, if they need no more
LEADER = 1.2  # ems between the axes and a label
LINE = 1.2  # ems from line to line
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
INNER = 0.9  # of the width of a panel: a line that ends before has its leader outside of it only
TICKS, FINE_TICKS = (0, 1, 5, 10, 20, 40, 60, 80, 100), (0, 0.5, 1, 2, 5, 10, 20)


@dataclass(frozen=True)
class Words:
    """What stands around the panels.

    titles, y: above and beside each panel. x: below the columns. ends: what labels the ends of the lines, and above
    them the heading.
    """

    titles: Sequence[str]
    y: Sequence[str]
    x: str
    ends: Sequence[str]
    heading: str


@dataclass(frozen=True)
class Panels:
    """A figure with its panels in reading order; width and height of one in ems."""

    figure: "Figure"
    axes: list["Axes"]
    width: float
    height: float


def canvas(size: Size, columns: int, words: Words, legend: Sequence["Line2D"], numbers: float = NUMBERS) -> Panels:
    """Panels in rows of `columns` or as many as the size has room for, with the legend above.

    numbers: ems for the numbers of the y axis.
    """
    from matplotlib.figure import Figure

    columns, full = min(columns, size.columns), size.width / size.em
    rows = math.ceil(len(words.titles) / columns)
    lines, in_line = _legend_grid(legend, full - numbers - LINE)
    above, between = LINE * lines + TOP, (rows - 1) * BETWEEN
    height = size.panel or (size.height - above - BOTTOM - between) / rows
    y = [_in_lines(w, height + 1.5) for w in words.y]
    left = numbers + LINE * (1 + max(w.count("\n") for w in y))
    right = LEADER + max(map(_ems, [*words.ends, words.heading])) + 0.2
    width = (full - left - columns * right - (columns - 1) * GAP) / columns
    tall = above + rows * height + between + BOTTOM
    figure = Figure(figsize=(size.width, tall * size.em))
    axes: list[Axes] = []
    for i, title in enumerate(words.titles):
        row, column = divmod(i, columns)
        x0, y0 = left + column * (width + right + GAP), tall - above - row * (BETWEEN + height) - height
        ax = figure.add_axes((x0 / full, y0 / tall, width / full, height / tall))
        ax.set_title(title)
        ax.tick_params(labelbottom=i + columns >= len(words.titles), labelleft=column == 0)
        ax.set_xlabel(words.x if i + columns >= len(words.titles) else "")
        ax.set_ylabel(y[i] if column == 0 else "", linespacing=1.0)
        ax.yaxis.set_label_coords((0.3 - numbers) / width, 0.5)  # at the same place whatever the numbers are
        axes.append(ax)
    if legend:
        by_row = [entry for c in range(in_line) for entry in legend[c::in_line]]  # matplotlib fills columns first
        figure.legend(handles=by_row, loc="upper left", bbox_to_anchor=(left / full, 1), ncols=in_line)
    return Panels(figure, axes, width, height)


def _in_lines(words: str, room: float) -> str:
    """The words in lines that fit into so many ems; the first break is before a parenthesis, if there is one."""
    if _ems(words) < room:
        return words
    lines: list[str] = []
    for part in words.replace(" (", "\n(").split("\n"):
        line = ""
        for word in part.split(" "):
            longer = f"{line} {word}".strip()
            if line and _ems(longer) >= room:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)


def _legend_grid(legend: Sequence["Line2D"], room: float) -> tuple[int, int]:
    """How many lines and entries in a line the legend needs."""
    entries = [2.0 + 0.5 + 1.5 + _ems(str(entry.get_label())) for entry in legend]
    for lines in range(1, len(entries) + 1):
        in_line = math.ceil(len(entries) / lines)
        if sum(max(entries[c::in_line]) for c in range(in_line)) <= room + 1.5:
            return math.ceil(len(entries) / in_line), in_line
    return len(entries), 1


@functools.cache
def _ems(words: str) -> float:
    """The width of the words in the figures' font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=FONTS, size=1)
    return float(text_to_path.get_text_width_height_descent(words, font, ismath=False)[0])


def label_ends(panels: Panels, ax: "Axes", ends: Sequence[tuple[float, float, str, Any]], heading: str) -> None:
    """Words beside the axes for each (x, y, words, colour), where a line ends, moved apart as far as needed."""
    import numpy as np
    from scipy.optimize import isotonic_regression

    if not ends:
        return
    size = float(ax.title.get_fontsize()) * 0.94
    at = (ax.transData + ax.transAxes.inverted()).transform([(x, y) for x, y, *_ in ends])
    order = np.argsort(at[:, 1], kind="stable")
    steps = np.arange(len(ends)) / panels.height  # the closest they may stand
    places = np.clip(isotonic_regression(at[order, 1] - steps).x, 0, 1 - steps[-1]) + steps
    near, far, words = (1 + ems / panels.width for ems in (0.2, LEADER - 0.2, LEADER))
    style: Any = {"transform": ax.transAxes, "fontsize": size}
    for i, place in zip(order, places, strict=True):
        (x, y), colour = at[i], ends[i][3]
        x = x if x > INNER else near  # a leader across the panel would look like data
        leader = {"color": colour, "linewidth": 0.08 * size, "linestyle": ":", "transform": ax.transAxes}
        ax.plot([x, max(x, near), far], [y, y, place], clip_on=False, **leader)
        ax.text(words, place, ends[i][2], color=colour, va="center_baseline", **style)
    ax.text(words, 1 + 0.5 / panels.height, heading, color=GRAY, **style)


def room_for_numbers(metric: str, values: Sequence[float]) -> float:
    """Ems for the numbers of a y axis: more where a power of ten has a sign and two digits."""
    above = [value for value in values if 0 < value < math.inf]
    long = QUANTITIES[metric].log and above and math.log10(min(above)) < -9.5
    return NUMBERS + 0.6 if long else NUMBERS


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def value_axis(panels: Panels, ax: "Axes", metric: str, scale: str, values: Sequence[float]) -> None:
    """Scales the y axis from 0, or from the lowest value below it, to what the values need; 0 is always on it.

    On the square-root scale 0.5 % and 90 % can be read in one panel, and, errors being counts, equal noise looks equal.
    """
    import numpy as np

    if QUANTITIES[metric].log:
        _log_axis(ax, values)
        return
    highest = max(values, default=100.0)
    if metric not in ERRORS:
        ax.set_ylim(1.05 * min(0.0, *values), 1.05 * max(0.0, highest))
        return
    top = next((t for t in FINE_TICKS[3:] + TICKS[5:] if t >= highest), 100)
    if scale == "square-root":
        ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
        ticks = _apart([t for t in (TICKS if top > 20 else FINE_TICKS) if t <= top], panels.height)
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_ylim(0, top)
    ax.minorticks_off()


def _log_axis(ax: "Axes", values: Sequence[float]) -> None:
    """A logarithmic axis around the values above 0, with at most six powers of ten as its numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    above = [value for value in values if 0 < value < math.inf] or [1.0]
    low, high = math.log10(min(above)), math.log10(max(above))
    room = max(0.05 * (high - low), 0.1)
    ax.set_yscale("log")
    ax.set_ylim(10 ** (low - room), 10 ** (high + room))
    ax.yaxis.set_major_locator(LogLocator(numticks=7))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(lambda value, _: _power(round(math.log10(value))))


def _apart(ticks: Sequence[float], height: float) -> list[float]:
    """Those of the ticks whose numbers do not touch on a square-root axis so many ems high."""
    kept = [float(ticks[-1])]
    for tick in reversed(ticks[:-1]):
        if (math.sqrt(kept[-1]) - math.sqrt(tick)) / math.sqrt(ticks[-1]) * height >= 0.9:
            kept.append(float(tick))
    return kept if kept[-1] == 0 else [*kept[:-1], 0.0]


def y_label(words: str, metric: str, scale: str) -> str:
    """The words with the unit of the metric, and the scale unless it is linear."""
    root = scale == "square-root" and metric in ERRORS
    return ", ".join(filter(None, (words, QUANTITIES[metric].unit))) + (" (square-root scale)" if root else "")
