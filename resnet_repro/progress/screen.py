"""How a sweep is drawn: a screen of so many columns and rows, and one line in words."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from resnet_repro.analysis.frames import text
from resnet_repro.costs import clock, duration
from resnet_repro.metrics import QUANTITIES
from resnet_repro.progress import braille
from resnet_repro.progress.grid import Grid, mean
from resnet_repro.progress.leaning import Leaning
from resnet_repro.progress.state import Seen, Snapshot

MARKS = {"done": "●", "diverged": "×", "running": "◐", "waiting": "○"}
STYLES = {"done": "green", "diverged": "red", "running": "yellow", "waiting": "dim"}
VERDICTS = {"supported": "green", "refuted": "red", "inconclusive": "yellow", "open": "dim"}
COLOURS = ("cyan", "magenta", "yellow")
"""Of the curves drawn at once."""

WIDE = 100
"""From so many columns on, the curve stands beside the table."""

MANY = 6
"""Above so many seeds a cell counts them, instead of a mark for each."""


@dataclass
class View:
    """What is drawn. curves: of some that run, their points (step, error in percent)."""

    title: str
    grid: Grid
    metric: str
    snapshot: Snapshot
    curves: list[tuple[Seen, list[tuple[float, float]]]] = field(default_factory=list)
    curve_metric: str = "train_error_running"
    leanings: list[Leaning] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hint: str = ""
    waiting: str = ""  # what to say while nothing runs


# In words ------------------------------------------------------------------------------------------------------


def line(snapshot: Snapshot, name_runs: bool = True) -> str:
    """One line: `12/40 runs done, 46 % of the work, 1 running (resnet110-s0 45 %), 3 min left, ends about 14:32`."""
    seen = snapshot.running
    named = [f"{short(one.plan.id)} {100 * one.fraction:.0f} %" for one in seen[:4]] if name_runs else []
    parts = [
        f"{snapshot.done}/{len(snapshot.runs)} runs done",
        f"{100 * snapshot.work:.0f} % of the work",
        f"{len(seen)} running" + (f" ({', '.join(named)})" if named else ""),
    ]
    return ", ".join([*parts, *([_end(snapshot)] if _end(snapshot) else [])])


def _end(snapshot: Snapshot) -> str:
    if snapshot.left is None or snapshot.done == len(snapshot.runs):
        return ""
    return f"{duration(snapshot.left)} left, ends about {clock(snapshot.left)}"


def short(name: str) -> str:
    """`resnet110-s0` of `resnet110-s0-0123456789`."""
    return name.rsplit("-", 1)[0]


# The screen ----------------------------------------------------------------------------------------------------


def lines(view: View, console: Console, width: int, height: int) -> list[str]:
    """The screen as at most `height` lines of at most `width` characters, with the console's colours.

    Where not all has room, the curve is the first to go, then the claims, then the running runs.
    """
    low, high = _low(view), _high(view, width)
    beside = width >= WIDE
    table_width = console.measure(_table(view, width), options=console.options.update(width=width)).maximum
    head = [header(view.snapshot, view.title, width), *high]
    room = height - sum(_height(console, part, width) for part in (*head, _table(view, width), *low)) - 1
    middle: RenderableType = _table(view, width)
    if view.curves and beside and width - table_width > 34:
        tall = max(min(room, 8), len(view.grid.rows) + 1 - 2)
        both = Table.grid(padding=(0, 3))
        both.add_row(middle, _curve(view, width - table_width - 4, max(tall, 5), console))
        middle = both
    elif view.curves and room >= 7:
        middle = Group(middle, "", _curve(view, width, min(room - 3, 10), console))
    parts = [*head, middle, *low]
    with console.capture() as captured:
        for part in parts:
            console.print(part, width=width)
    drawn = captured.get().rstrip("\n").split("\n")
    return drawn if len(drawn) <= height else [*drawn[: height - 1], drawn[-1]]


def _height(console: Console, part: RenderableType, width: int) -> int:
    return len(console.render_lines(part, console.options.update(width=width)))


def header(snapshot: Snapshot, title: str, width: int) -> Text:
    """Two lines: what it is, how far, the clock; a bar, the time left."""
    done, running = snapshot.done, len(snapshot.running)
    counts = f"{done} of {len(snapshot.runs)} runs done, {running} running, {len(snapshot.runs) - done - running} to go"
    now = time.strftime("%H:%M:%S")
    room = width - len(counts) - len(now) - 4
    first = Text(title[:room], style="bold").append("  " + counts, style="not bold")
    first.append(now.rjust(max(width - len(first), len(now) + 1)), style="dim")
    after = f" {100 * snapshot.work:3.0f} %  {_end(snapshot)}"
    size = max(min(40, width - len(after)), 10)
    full = round(size * snapshot.work)
    bar = Text("█" * full, style="green").append("░" * (size - full), style="dim").append(after, style="none")
    for one in (first, bar):
        one.truncate(width)
    return Text("\n").join([first, bar])


def _high(view: View, width: int) -> list[RenderableType]:
    """What runs where, with how far it is."""
    running = sorted(view.snapshot.running, key=lambda seen: -(seen.left or 0))
    if not running:
        waits = [Text(""), Text(view.waiting)] if view.waiting and view.snapshot.done < len(view.snapshot.runs) else []
        return [*waits, Text("")]
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, overflow="ellipsis")
    for _ in range(4):
        table.add_column(no_wrap=True)
    for seen in running[:4]:
        full = round(16 * seen.fraction)
        bar = Text("█" * full, style="yellow").append("░" * (16 - full), style="dim")
        left = "" if seen.left is None else f"{duration(seen.left)} left"
        table.add_row(name(view.grid, seen), bar, f"{100 * seen.fraction:3.0f} %", left, seen.where)
    more = [Text(f"and {len(running) - 4} more", style="dim")] if len(running) > 4 else []
    return [Text(""), table, *more, Text("")]


def name(grid: Grid, seen: Seen) -> str:
    """The run in short, with the settings that its name does not hold: `resnet56-s0 norm none, lr 0.1`."""
    row, column = grid.place[seen.plan.id]
    settings = dict(zip((*grid.by, *([grid.across] if grid.across else [])), (*row, column), strict=False))
    others = ", ".join(f"{k} {text(v)}" for k, v in settings.items() if k not in ("model", "depth"))
    return f"{short(seen.plan.id)} {others}".strip()


def _table(view: View, width: int) -> RenderableType:
    """The errors by cell, in the first form that fits: with a mark for each seed, with their count, alone."""
    title = Text(QUANTITIES[view.metric].label, style="bold", no_wrap=True)
    title.truncate(width, overflow="ellipsis")
    cells = _cells(view)
    seeds = max(len(cell) for cell in cells.values())
    console = Console(width=1000, color_system=None)
    for form in (["marks"] if seeds <= MANY else []) + ["count", "alone"]:
        table = _filled(view, cells, form)
        if console.measure(table).maximum <= width:
            break
    marks = "  ".join(f"{mark} {word}" for word, mark in MARKS.items()) if form == "marks" else "finished/planned"
    legend = Text(f"mean ± standard deviation over seeds  {marks}", style="dim", no_wrap=True)
    legend.truncate(width, overflow="ellipsis")
    return Group(title, table, legend)


def _cells(view: View) -> dict[tuple[Any, Any], list[Seen]]:
    cells: dict[tuple[Any, Any], list[Seen]] = {}
    for seen in view.snapshot.runs:
        cells.setdefault(view.grid.place[seen.plan.id], []).append(seen)
    return cells


def _filled(view: View, cells: dict[tuple[Any, Any], list[Seen]], form: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for setting in view.grid.by:
        table.add_column(setting, no_wrap=True)
    for head in view.grid.heads:
        table.add_column(f"{view.grid.across} {text(head)}" if view.grid.across else "", no_wrap=True)
    for row in view.grid.rows:
        found = [cells.get((row, head), []) for head in view.grid.heads]
        table.add_row(*[text(value) for value in row], *[_cell(seen, view.metric, form) for seen in found])
    return table


def _cell(runs: Sequence[Seen], metric: str, form: str) -> Text:
    if not runs:
        return Text("")
    marks = [seen.mark for seen in runs]
    cell = Text(mean(runs, metric) or "–")
    if form == "marks":
        cell.append(" ")
        for mark in marks:
            cell.append(MARKS[mark], style=STYLES[mark])
    elif form == "count":
        cell.append(f" {sum(seen.record is not None for seen in runs)}/{len(runs)}", style="dim")
    return cell


def _curve(view: View, width: int, height: int, console: Console) -> RenderableType:
    """The learning curves of what runs; without colours the first alone, since they could not be told apart."""
    coloured = console.color_system is not None and not console.no_color
    curves = view.curves[: len(COLOURS) if coloured else 1]
    steps = max(seen.plan.run.optim.steps for seen, _ in curves)
    highest = max((y for _, points in curves for _, y in points), default=100.0)
    top = next(limit for limit in (5, 10, 20, 50, 100, 1e9) if highest <= limit)
    axis = width - 5
    rows = [Text(" " * axis) for _ in range(height)]
    for (_, points), colour in zip(curves, COLOURS, strict=False):
        for row, drawn in zip(rows, braille.plot(points, axis, height, steps, top), strict=True):
            _lay_over(row, drawn, colour)
    title = Text(f"{QUANTITIES[view.curve_metric].head}, %: ", style="bold")
    for (seen, _), colour in zip(curves, COLOURS, strict=False):
        title.append(f"{short(seen.plan.id)} ", style=colour)
    title.truncate(width, overflow="ellipsis")
    labels = [f"{top:3.0f} ┤", *["    │"] * (height - 2), "  0 ┤"]
    body = [Text(label, style="dim").append_text(row) for label, row in zip(labels, rows, strict=True)]
    foot = Text("    └" + f"{steps} steps".rjust(axis, "─"), style="dim")
    return Group(title, *body, foot)


def _lay_over(row: Text, drawn: str, colour: str) -> None:
    """Puts the characters that are not blank onto the row, in their colour."""
    letters = [new if new != " " else old for new, old in zip(drawn, row.plain, strict=True)]
    row.plain = "".join(letters)
    for k, letter in enumerate(drawn):
        if letter != " ":
            row.stylize(colour, k, k + 1)


def _low(view: View) -> list[RenderableType]:
    """The claims, then what was said and the hint."""
    parts: list[RenderableType] = []
    if view.leanings:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, overflow="ellipsis")
        for _ in range(3):
            table.add_column(no_wrap=True)
        for one in view.leanings:
            colour = VERDICTS.get(one.verdict if one.final or "leaning" in one.words else "open", "dim")
            verdict = Text(one.words, style=colour)
            table.add_row(one.claim, f"n = {one.n} of {one.planned}", verdict, one.estimate)
        parts += [Text(""), Text("claims", style="bold"), table]
    said = [Text(note, style="cyan", no_wrap=True, overflow="ellipsis") for note in view.notes[-2:]]
    hint = [Text(view.hint, style="dim", no_wrap=True, overflow="ellipsis")] if view.hint else []
    return [*parts, *([Text("")] if said or hint else []), *said, *hint]
