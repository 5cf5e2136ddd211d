"""The parts of the live screen, each as lines of text no longer than they may be: runs, table, curves, claims."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rich.text import Text

from resnet_repro.analysis.frames import text
from resnet_repro.costs import duration
from resnet_repro.metrics import QUANTITIES
from resnet_repro.progress import braille
from resnet_repro.progress.grid import Grid, mean
from resnet_repro.progress.leaning import Leaning
from resnet_repro.progress.state import Seen, Snapshot

Curve = tuple[Seen, list[tuple[float, float]]]
"""A run that trains, and the points (step, error in percent) of its curve."""

MARKS = {"done": "●", "diverged": "×", "running": "◐", "waiting": "○"}
STYLES = {"done": "green", "diverged": "red", "running": "yellow", "waiting": "dim"}
VERDICTS = {
    "supported": "green",
    "refuted": "red",
    "inconclusive": "yellow",
    "incomplete": "dim",
    "not answerable": "magenta",
}
COLOURS = ("cyan", "magenta", "yellow")
"""Of the curves drawn at once."""

MANY = 6
"""Above so many seeds a cell counts them, instead of a mark for each."""

RUNS = 4
"""So many of the running runs are named."""


@dataclass
class View:
    """What is drawn. curves: of some that run. hint: stands at the foot; waiting: is said while nothing runs."""

    title: str
    grid: Grid
    metric: str
    snapshot: Snapshot
    curves: list[Curve] = field(default_factory=list)
    curve_metric: str = "train_error_running"
    leanings: list[Leaning] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hint: str = ""
    waiting: str = ""


def short(name: str) -> str:
    """`resnet110-s0` of `resnet110-s0-0123456789`."""
    return name.rsplit("-", 1)[0]


def cut(line: Text, width: int) -> Text:
    """The line, shortened to the width."""
    line.truncate(width, overflow="ellipsis")
    return line


def bar(fraction: float, size: int, style: str) -> Text:
    """A bar of `size` characters, filled to the fraction."""
    full = round(size * fraction)
    return Text("█" * full, style=style).append("░" * (size - full), style="dim")


def aligned(rows: Sequence[Sequence[Text]], gap: int = 2) -> list[Text]:
    """Rows of cells as lines, each column as wide as its widest cell."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append_text(cell).append(" " * (width - len(cell) + gap))
        line.rstrip()
        lines.append(line)
    return lines


# What runs -----------------------------------------------------------------------------------------------------


def runs(view: View, width: int, sparks: bool) -> list[Text]:
    """A line for each run that trains: how far it is, the time left, where; with `sparks` its curve in small."""
    running = sorted(view.snapshot.running, key=lambda seen: -(seen.left or 0))
    if not running:
        return [Text(view.waiting)] if view.waiting and view.snapshot.done < len(view.snapshot.runs) else []
    points = {seen.plan.id: curve for seen, curve in view.curves}
    rows = [_run(view, seen, points.get(seen.plan.id, []) if sparks else []) for seen in running[:RUNS]]
    others = aligned([row[1:] for row in rows])
    room = max(width - max(map(len, others)) - 2, 12)
    lines = aligned([(cut(row[0], room), rest) for row, rest in zip(rows, others, strict=True)])
    more = [Text(f"and {len(running) - RUNS} more", style="dim")] if len(running) > RUNS else []
    return [cut(line, width) for line in lines] + more


def _run(view: View, seen: Seen, points: list[tuple[float, float]]) -> list[Text]:
    left = "" if seen.left is None else f"{duration(seen.left)} left"
    row = [Text(name(view.grid, seen)), bar(seen.fraction, 12, "yellow"), Text(f"{100 * seen.fraction:3.0f} %")]
    spark, error = Text(" " * 12), Text("")
    if points:
        spark = Text(braille.plot(points, 12, 1, max(seen.plan.run.optim.steps, 1), 100)[0], style=COLOURS[0])
        error = Text(f"error {points[-1][1]:.0f} %")
    return [*row, Text(left), error, Text(seen.where), spark]


def name(grid: Grid, seen: Seen) -> str:
    """The run in short, with the settings that its name does not hold: `resnet56-s0 norm none, lr 0.1`."""
    row, column = grid.place[seen.plan.id]
    settings = dict(zip((*grid.by, *([grid.across] if grid.across else [])), (*row, column), strict=False))
    others = ", ".join(f"{k} {text(v)}" for k, v in settings.items() if k not in ("model", "depth"))
    return f"{short(seen.plan.id)} {others}".strip()


# The table -----------------------------------------------------------------------------------------------------


def table(view: View, width: int) -> list[Text]:
    """The errors by cell, in the first form that fits: with a mark for each seed, with their count, alone."""
    cells: dict[tuple[Any, Any], list[Seen]] = {}
    for seen in view.snapshot.runs:
        cells.setdefault(view.grid.place[seen.plan.id], []).append(seen)
    seeds = max(len(cell) for cell in cells.values())
    for form in (["marks"] if seeds <= MANY else []) + ["count", "alone"]:
        lines = _filled(view, cells, form)
        if max(map(len, lines)) <= width:
            break
    marks = "  ".join(f"{mark} {word}" for word, mark in MARKS.items())
    legend = {"marks": marks, "count": "finished/planned", "alone": ""}[form]
    title = Text(QUANTITIES[view.metric].label, style="bold")
    foot = Text(f"mean ± standard deviation over seeds  {legend}", style="dim")
    return [cut(line, width) for line in (title, *lines, foot)]


def _filled(view: View, cells: dict[tuple[Any, Any], list[Seen]], form: str) -> list[Text]:
    grid = view.grid
    heads = [f"{grid.across} {text(head)}" if grid.across else "" for head in grid.heads]
    rows = [[Text(word, style="bold") for word in (*grid.by, *heads)]]
    for row in grid.rows:
        found = [cells.get((row, head), []) for head in grid.heads]
        rows.append([*(Text(text(value)) for value in row), *(_cell(seen, view.metric, form) for seen in found)])
    return aligned(rows)


def _cell(seen: Sequence[Seen], metric: str, form: str) -> Text:
    if not seen:
        return Text("")
    cell = Text(mean(seen, metric) or "–")
    if form == "marks":
        cell.append(" ")
        for one in seen:
            cell.append(MARKS[one.mark], style=STYLES[one.mark])
    elif form == "count":
        cell.append(f" {sum(one.record is not None for one in seen)}/{len(seen)}", style="dim")
    return cell


# Curves --------------------------------------------------------------------------------------------------------


def curve(view: View, width: int, height: int, coloured: bool) -> list[Text]:
    """The learning curves of what runs; without colours the first alone, since they could not be told apart."""
    curves = view.curves[: len(COLOURS) if coloured else 1]
    steps = max(1, *(seen.plan.run.optim.steps for seen, _ in curves))
    highest = max(y for _, points in curves for _, y in points)
    top = next(limit for limit in (5, 10, 20, 50, 100) if highest <= limit or limit == 100)
    quantity = QUANTITIES[view.curve_metric]
    title = Text(f"{quantity.head}, {quantity.subhead}, {quantity.unit}", style="bold")
    for (seen, _), colour in zip(curves, COLOURS, strict=False):
        title.append(f"  {short(seen.plan.id)}", style=colour)
    tall = max(height - 2, 2)
    drawn = [braille.plot(points, width - 5, tall, steps, top) for _, points in curves]
    labels = [f"{top:3.0f} ┤", *["    │"] * (tall - 2), "  0 ┤"]
    body = [_overlaid(label, [plot[k] for plot in drawn]) for k, label in enumerate(labels)]
    return [cut(title, width), *body, Text("    └" + f" {steps} steps".rjust(width - 5, "─"), style="dim")]


def _overlaid(label: str, layers: Sequence[str]) -> Text:
    """The axis' label, then the layers, each in its colour; the first lies on top."""
    line = Text(label, style="dim")
    tops = [next((k for k, letter in enumerate(column) if letter != " "), 0) for column in zip(*layers, strict=True)]
    for top, places in groupby(range(len(tops)), key=tops.__getitem__):
        line.append("".join(layers[top][k] for k in places), style=f"not dim {COLOURS[top]}")
    return line


# Claims and foot -----------------------------------------------------------------------------------------------


def claims(leanings: Sequence[Leaning], width: int) -> list[Text]:
    """A line for each claim: its seeds, what they say so far, the estimate with its interval."""
    if not leanings:
        return []
    told = aligned(
        [
            (
                Text(f"n = {one.n} of {one.planned}"),
                Text(one.words, style=VERDICTS[one.verdict] if one.words != "open" else "dim"),
                Text(one.estimate),
            )
            for one in leanings
        ]
    )
    room = max(width - max(map(len, told)) - 2, 12)
    lines = aligned([(cut(Text(one.claim), room), rest) for one, rest in zip(leanings, told, strict=True)])
    return [Text("claims", style="bold"), *(cut(line, width) for line in lines)]


def foot(view: View, width: int) -> list[Text]:
    """What was said last, and what to do to stop."""
    notes = [cut(Text(note, style="cyan"), width) for note in view.notes[-2:]]
    return [*notes, *([cut(Text(view.hint, style="dim"), width)] if view.hint else [])]
