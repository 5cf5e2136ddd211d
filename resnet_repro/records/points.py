"""points.csv: what a run measured on its way and at its end, one value per line."""

import os
from collections.abc import Iterable
from pathlib import Path

from resnet_repro.records.files import write_atomically

POINTS, CURVES = "points.csv", "curves.csv"

Point = tuple[int, str, float | None, float | None, float]
"""Of whatever is measured: step, metric, x, y, value. A scalar has neither x nor y (None); a value per layer has x; a
surface, or a value per pair of layers, has both."""

HEADER = "step,metric,x,y,value\n"


def write_points(place: Path, points: Iterable[Point]) -> None:
    """Starts points.csv anew with these points: at the start, and after a resume with the checkpoint's."""
    write_atomically(place / POINTS, (HEADER + _lines(points)).encode())


def append_points(place: Path, points: Iterable[Point]) -> None:
    """Appends to points.csv."""
    with open(place / POINTS, "a", encoding="utf-8") as file:
        file.write(_lines(points))


def _lines(points: Iterable[Point]) -> str:
    return "".join(f"{step},{metric},{_axis(x)},{_axis(y)},{float(value)!r}\n" for step, metric, x, y, value in points)


def _axis(place: float | None) -> str:
    return "" if place is None else repr(place)


def read_points(place: Path) -> list[Point]:
    """The points of a run; a last line that is still being written is left out."""
    name = points_file(place)
    if not (place / name).exists():
        return []
    fields = (line.split(",") for line in whole_lines((place / name).read_bytes(), name))
    return [(int(step), metric, _number(x), _number(y), float(value)) for step, metric, x, y, value in fields]


def _number(field: str) -> float | None:
    return None if field == "" else int(field) if field.isdecimal() else float(field)


def last_step(place: Path) -> int:
    """The step that training has reached, from the end of the points; 0 when it has not begun."""
    try:
        with open(place / points_file(place), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
            lines = file.read().decode().split("\n")[1:-1]
        return int(lines[-1].split(",")[0]) if lines else 0
    except (OSError, ValueError):
        return 0


# Version 0.1 wrote curves.csv, which has no x and no y.


def points_file(place: Path) -> str:
    """The name of the file that holds the run's points."""
    return CURVES if (place / CURVES).exists() and not (place / POINTS).exists() else POINTS


def whole_lines(content: bytes, name: str) -> list[str]:
    """The lines of a file of points, the header and a last half one left out, with the columns of points.csv."""
    lines = content.decode().split("\n")[1:-1]
    return lines if name == POINTS else [from_curves(line) for line in lines]


def from_curves(line: str) -> str:
    """A line `...,metric,value` of version 0.1 with x and y, which are empty."""
    before, value = line.rsplit(",", 1)
    return f"{before},,,{value}"
