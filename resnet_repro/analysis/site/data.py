"""The measurements as scripts that a page loads: `site.runs(id, {...})`, and so `points` and `surfaces`."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import words
from resnet_repro.analysis.frames import Measured
from resnet_repro.analysis.tables import distinguishing
from resnet_repro.collect import PROVENANCE
from resnet_repro.metrics import ERRORS, METRICS, QUANTITIES, SUMMARIES, SURFACES
from resnet_repro.planning import plan

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 4
"""Significant ones: more than a chart of a few hundred pixels shows. The CSV files have them all."""


def runs(measured: Measured) -> str:
    """The measured runs: columns of words by setting, of numbers by metric, and how each is made again.

    A column is {"of": its different values, "at": which of them each run has}; without "at" all have the first.
    by: the settings that tell cells apart. words: what settings and metrics are called.
    """
    e, done = measured.experiment, measured.runs[measured.runs["measured"]]
    overrides = {planned.id: " ".join(planned.overrides) for planned in plan(e)}
    metrics = [name for name in (*METRICS, *SUMMARIES) if done[name].notna().any()]
    told = [name for name in measured.told if name != "seed"]
    return _call("runs", e.id, {
        "question": e.question,
        "ids": list(done.index),
        "by": distinguishing(measured) if len(done) else [],
        "settings": {k: _column(words.value(k, v) for v in done[k]) for k in [*told, "seed"]},
        "numbers": {k: _column(_rounded(v, 6) for v in done[k]) for k in ["parameters", *metrics]},
        "status": _column(done["status"]),
        "provenance": {k: _column(_known(done[k])) for k in PROVENANCE if done[k].notna().any()},
        "overrides": _column(overrides[run_id] for run_id in done.index),
        "words": {k: words.setting(k) for k in [*told, "seed"]} | {k: _label(k) for k in metrics},
    })  # fmt: skip


def points(measured: Measured) -> str:
    """What was measured on the way, by metric: over steps, or over an axis of its own at a step.

    grids: the places that are shared by lines. lines: [run, grid, step, values], where the run is its place among the
    measured ones, and step is null where the grid is of steps. What has two axes are `surfaces`.
    """
    runs = _places(measured)
    found = {}
    shown = measured.points["run_id"].isin(runs) & ~measured.points["metric"].isin(SURFACES)
    for metric, rows in measured.points[shown].groupby("metric", sort=True):
        q = QUANTITIES.get(str(metric))
        axis = q.x if q else ""
        grids: dict[tuple[Any, ...], int] = {}
        lines = [
            [runs[run_id], grids.setdefault(tuple(places), len(grids)), step, values]
            for run_id, step, places, values in _lines(rows, bool(axis))
        ]
        found[metric] = {
            "label": _label(str(metric)),
            "axis": axis or "step",
            "scale": "sqrt" if metric in ERRORS else "log" if q is None or q.log else "linear",
            "grids": [*grids],
            "lines": lines,
        }
    return _call("points", measured.experiment.id, found)


def surfaces(measured: Measured) -> str:
    """What was measured over two axes, by metric; nothing where no run has such.

    grids: the places along x and y, which are shared. surfaces: [run, grid, step, values], row after row of one y; null
    is what is missing there or not finite.
    """
    runs = _places(measured)
    found = {}
    shown = measured.points["run_id"].isin(runs) & measured.points["metric"].isin(SURFACES)
    for metric, rows in measured.points[shown].groupby("metric", sort=True):
        q = QUANTITIES[str(metric)]
        grids: dict[tuple[tuple[float, ...], ...], int] = {}
        drawn = []
        for (run_id, step), own in rows.groupby(["run_id", "step"], sort=False):
            surface = own.set_index(["y", "x"])["value"].unstack()
            places = tuple(_short(surface.columns.tolist())), tuple(_short(surface.index.tolist()))
            place = grids.setdefault(places, len(grids))
            drawn.append([runs[run_id], place, step, [_rounded(v, DIGITS) for v in surface.to_numpy().flat]])
        found[metric] = {
            "label": q.label,
            "x": q.x,
            "y": q.y,
            "scale": "log" if q.log else "linear",
            "grids": [{"x": x, "y": y} for x, y in grids],
            "surfaces": drawn,
        }
    return _call("surfaces", measured.experiment.id, found) if found else ""


def _places(measured: Measured) -> dict[Any, int]:
    """Of each measured run its place among them."""
    return {run_id: place for place, run_id in enumerate(measured.runs.index[measured.runs["measured"]])}


def _short(places: Iterable[Any]) -> list[float]:
    """Whole numbers without their `.0`."""
    return [int(place) if place == int(place) else float(place) for place in places]


def _lines(rows: "pd.DataFrame", profile: bool) -> Iterable[tuple[Any, Any, list[Any], list[float | None]]]:
    """Of each line the run, the step (None where the line is over steps), its places and its values."""
    keys, along = (["run_id", "step"], "x") if profile else (["run_id"], "step")
    for key, line in rows.groupby(keys, sort=False):
        places = _short(line[along].tolist())
        yield key[0], key[1] if profile else None, places, [_rounded(v, DIGITS) for v in line["value"].tolist()]


def _label(metric: str) -> str:
    return QUANTITIES[metric].label if metric in QUANTITIES else words.setting(metric)


def _column(values: Iterable[Any]) -> dict[str, Sequence[Any]]:
    every = list(values)
    of = list(dict.fromkeys(every))
    place = {value: i for i, value in enumerate(of)}
    return {"of": of} if len(of) < 2 else {"of": of, "at": [place[value] for value in every]}


def _known(values: "pd.Series") -> list[Any]:
    return values.astype(object).where(values.notna(), "not recorded").tolist()


def _rounded(value: float, digits: int) -> float | None:
    """To so many significant digits; None for what is no number."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) else short


def _call(function: str, name: str, what: Any) -> str:
    """The script. What could end it where it stands within a page is escaped, as jinja's `tojson` does."""
    text = json.dumps([name, what], separators=(",", ":"), allow_nan=False)[1:-1].replace("<", "\\u003c")
    return f"site.{function}({text})\n"
