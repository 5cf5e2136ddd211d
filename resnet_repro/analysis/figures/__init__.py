"""Figures of the measurements: each is computed as a frame of the numbers drawn, then drawn from that frame."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from resnet_repro.analysis.figures import seed_errors, style
from resnet_repro.analysis.frames import Measured, cells, varying
from resnet_repro.analysis.typeset import escape
from resnet_repro.errors import UserError
from resnet_repro.experiment import DRAWINGS, Figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture


def render(figure: Figure, measured: Measured, folder: Path) -> str:
    """Writes <name>.csv, the numbers drawn, the figure in each of `style.SIZES`, and <name>.caption.tex.

    Returns the caption. A figure with a metric that no run has measured yet is not drawn; the caption says so.
    Raises as `numbers` does.
    """
    drawn = numbers(figure, measured)
    if absent := sorted(set(figure.y) - set(drawn["metric"])):
        return f"Not drawn: no run has measured {', '.join(absent)}."
    drawn.to_csv(folder / f"{figure.name}.csv", index=False, lineterminator="\n")
    for size in style.SIZES:
        with style.style(size):
            style.save(drawing(figure).draw(figure, drawn, measured, size), folder, figure.name, size)
    caption = drawing(figure).caption(figure, drawn, measured)
    # The percent sign takes the line's end, which would be a space in \caption{\protect\input{<name>.caption}}.
    (folder / f"{figure.name}.caption.tex").write_text(f"{escape(caption)}%\n", encoding="utf-8")
    return str(caption)


def draw(figure: Figure, measured: Measured, suffix: str) -> "Picture":
    """The figure in the size of `style.SIZES` with that suffix, for who wants no files.

    Raises as `numbers` does, and where no run has measured what it shows.
    """
    drawn = numbers(figure, measured)
    if absent := sorted(set(figure.y) - set(drawn["metric"])):
        raise UserError(f"figure {figure.name!r} is not drawn: no run has measured {', '.join(absent)}")
    size = next(size for size in style.SIZES if size.suffix == suffix)
    with style.style(size):
        picture = drawing(figure).draw(figure, drawn, measured, size)
        picture.draw_without_rendering()  # ticks are made, and take the style, when they are drawn first
    return picture


def numbers(figure: Figure, measured: Measured) -> "pd.DataFrame":
    """The numbers drawn, one row per point or dot.

    Raises UserError for a figure that names a column there is not, or would average over anything but seeds.
    """
    kind = drawing(figure)
    runs = measured.select(figure.where)
    runs = runs[runs["measured"]]
    kind.check(figure)
    _check_columns(figure, measured, kind.keys(figure))
    if figure.draw == "norm_grid":
        runs = seed_errors.at_best_lr(figure, runs)
    _check_cells(figure, measured, runs, kind.keys(figure))
    return kind.compute(figure, measured, runs)


def drawing(figure: Figure) -> ModuleType:
    """The module of the figure's drawing."""
    return import_module(f"{__name__}.{DRAWINGS[figure.draw]}")


def title(figure: Figure, measured: Measured | None = None) -> str:
    """The figure's title, for a page; with the data set's name, where that is given."""
    return style.title(figure, measured, drawing(figure).TITLES)


def _check_columns(figure: Figure, measured: Measured, keys: list[str]) -> None:
    if unknown := [key for key in keys if key not in measured.settings]:
        raise UserError(f"figure {figure.name!r}: no column {unknown[0]!r}; columns are {', '.join(measured.settings)}")


def _check_cells(figure: Figure, measured: Measured, runs: "pd.DataFrame", keys: list[str]) -> None:
    for cell, group in cells(runs, keys):
        if mixed := varying(group, measured.settings):
            raise UserError(
                f"figure {figure.name!r} would average over {', '.join(mixed)} at {cell}; "
                "use it as panel or hue, or pick one value in `where`"
            )
