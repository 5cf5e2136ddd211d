"""What runs, how many are left, how long it takes, what comes out: shown while a sweep runs, here or elsewhere.

state.py: what is seen in the run folders; grid.py: the table that it fills; leaning.py: the claims so far;
screen.py: how all that is drawn. Here: when it is drawn, and where.
"""

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from rich.console import Console

from resnet_repro import costs, records
from resnet_repro.experiment import Experiment
from resnet_repro.planning import Planned
from resnet_repro.progress.grid import grid, headline
from resnet_repro.progress.leaning import Claims
from resnet_repro.progress.parts import RUNS, Curve, View, short
from resnet_repro.progress.screen import Screen, line
from resnet_repro.progress.state import Watch

PLAIN_SECONDS = 15.0
"""Where the output is no terminal, a line is printed this often."""

LOOK_SECONDS = 1.0
"""So often the run folders are looked at, and the clock is drawn."""

DRAW_SECONDS = 2.0
"""So often the screen is drawn while curves grow; at once when a run begins or ends, or the window changes."""

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""The terminal's other screen, without cursor and without wrapping: what stood there before is there afterwards."""

SWEEPING = (
    "Ctrl-C stops; the same command goes on from there.",
    "Starting: PyTorch and Lightning are loaded once, which takes some seconds.",
)
WATCHING = ("Ctrl-C ends the watching, not the sweep.", "Nothing runs now; what begins will appear here.")
"""What the screen says at its foot, and while nothing runs."""


class Display:
    """What is shown while a plan is trained; the body of `shown` says a line in it with `say`."""

    def __init__(self, watch: Watch, claims: Claims, output: TextIO, *, title: str, metric: str) -> None:
        self.watch, self.claims, self.output = watch, claims, output
        self.console = Console(file=output, highlight=False)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal and _shows_unicode()
        self.screen = Screen(self.console)
        self.view = View(title, grid(watch.planned), metric, watch.look())
        self.stop, self.complete = threading.Event(), threading.Event()
        self.said: list[str] = []
        self.size = 0, 0  # of the screen drawn last
        self.where: Callable[[Path], str] = lambda _: ""
        self.look()

    def say(self, text: str) -> None:
        """One line that stays, below the live screen or among the lines of a log."""
        if self.live:
            self.said.append(text)
        else:
            print(text, file=self.output, flush=True)

    def look(self) -> None:
        """Brings the view up to date."""
        self.view.snapshot = self.watch.look()
        if not self.view.snapshot.running and self.view.hint != SWEEPING[0]:  # nothing says that any will run
            self.view.snapshot.left = None
        self.view.notes = list(self.said)
        if self.watch.began is not None and self.view.waiting == SWEEPING[1]:
            self.view.waiting = "The next runs are about to start."
        if self.view.snapshot.done == len(self.view.snapshot.runs):
            self.complete.set()


def _shows_unicode() -> bool:
    """Whether the terminal shows what is no ASCII, which Python's own output knows from the locale."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


@contextmanager
def shown(
    planned: Sequence[Planned],
    experiment: Experiment | None = None,
    at_once: int | None = None,
    where: Callable[[Path], str] = lambda _: "",
    report_follows: bool = True,
) -> Iterator[Display]:
    """Shows the plan's progress while the body runs: a live screen on a terminal, a line now and then elsewhere.

    experiment: the one whose runs these are, so that its claims can be shown as they firm up. at_once: how many runs
    go side by side, where that is known. where: says where the run in a folder is trained. report_follows: the
    claims are left out of the last screen of a sweep that is complete, since its report comes next.
    """
    known = costs.known(Path(planned[0].run.env.runs_dir), here=at_once is not None)
    claims = Claims(None if experiment and experiment.smoke else experiment, planned)
    alone = short(planned[0].id) if len(planned) == 1 else planned[0].run.env.group
    title = experiment.id if experiment is not None else alone
    # A copy of the output, since a run in this process may redirect its own.
    with open(os.dup(1), "w", encoding="utf-8", errors="replace") as output:
        watch = Watch(planned, known, at_once)
        display = Display(watch, claims, output, title=title, metric=headline(experiment))
        display.view.hint, display.view.waiting = SWEEPING if report_follows else WATCHING
        display.where = where
        run = _show_live if display.live else _show_lines
        thread = threading.Thread(target=run, args=(display,), daemon=True)
        try:
            thread.start()  # Ctrl-C may come before it returns
            with _caught(display) if display.live else ExitStack():
                yield display
        finally:
            display.stop.set()
            if thread.is_alive():
                thread.join()
            if display.live:
                _show_last(display, report_follows)


# Lines ---------------------------------------------------------------------------------------------------------


def _show_lines(display: Display) -> None:
    printed, done = time.monotonic(), -1
    if not display.view.snapshot.running and not display.complete.is_set():
        print(time.strftime("%H:%M:%S"), display.view.waiting, file=display.output, flush=True)
    while not display.stop.wait(1.0):
        display.look()
        snapshot = display.view.snapshot
        if time.monotonic() - printed >= PLAIN_SECONDS and (snapshot.done != done or snapshot.running):
            _print_line(display)
            printed, done = time.monotonic(), snapshot.done
    display.view.hint = ""
    display.look()
    _print_line(display)


def _print_line(display: Display) -> None:
    print(time.strftime("%H:%M:%S"), line(display.view.snapshot), file=display.output, flush=True)


# Screen --------------------------------------------------------------------------------------------------------


def _show_live(display: Display) -> None:
    display.output.write(ENTER)
    try:
        state, drawn, finished = None, 0.0, -1
        while not display.stop.is_set():
            display.look()
            seen, now = display.view.snapshot, time.monotonic()
            latest = [one.mark for one in seen.runs], len(display.said)
            if _size(display) != display.size or latest != state or (seen.running and now - drawn >= DRAW_SECONDS):
                state, drawn = latest, now
                _draw(display)
            else:
                _draw_clock(display)
            if seen.done != finished:  # after a screen without them: the first time pandas is imported
                display.view.leanings, finished, state = display.claims.lean(display.watch.records), seen.done, None
            else:
                _wait(display)
    finally:
        display.output.write(LEAVE)
        display.output.flush()


def _wait(display: Display) -> None:
    """Until it is time to look again, or all is over, or the window has changed."""
    for _ in range(4):
        if display.stop.wait(LOOK_SECONDS / 4) or _size(display) != display.size:
            return


def _size(display: Display) -> tuple[int, int]:
    """Columns and rows; one column less than there are, since the last one is kept free of the cursor."""
    try:
        columns, rows = os.get_terminal_size(display.output.fileno())
    except OSError:
        columns, rows = 0, 0
    return max((columns or 80) - 1, 20), max(rows or 24, 5)


def _draw(display: Display) -> None:
    view = display.view
    for seen in view.snapshot.running:
        seen.where = display.where(seen.place)
    view.curves = _curves(view)
    size = _size(display)
    drawn = display.screen.lines(view, *size)
    display.output.write("\x1b[H" + "\x1b[K\n".join(drawn) + "\x1b[K\x1b[J")
    display.output.flush()
    display.size = size


def _draw_clock(display: Display) -> None:
    """The top lines alone: they hold the clock."""
    display.output.write("\x1b[H" + "\x1b[K\n".join(display.screen.head(display.view, display.size[0])) + "\x1b[K")
    display.output.flush()


def _curves(view: View) -> list[Curve]:
    """The curves of the first runs that have one."""
    found: list[Curve] = []
    for seen in view.snapshot.running:
        points = [
            (float(step), y) for step, metric, *_, y in records.read_points(seen.place) if metric == view.curve_metric
        ]
        if points:
            found.append((seen, points))
        if len(found) == RUNS:
            break
    return found


def _show_last(display: Display, report_follows: bool) -> None:
    """What stays on the terminal: the table, the claims, what was said."""
    view = display.view
    view.curves, view.hint, view.waiting = [], "", ""
    display.look()
    view.notes, view.snapshot.left = [], None
    for seen in view.snapshot.runs:
        seen.active = False
    view.leanings = [] if display.complete.is_set() and report_follows else display.claims.lean(display.watch.records)
    last = display.screen.lines(view, _size(display)[0], 1000)
    print("\n".join([*last, *(["", *display.said] if display.said else [])]), file=display.output, flush=True)


@contextmanager
def _caught(display: Display) -> Iterator[None]:
    """Whatever this process prints or logs meanwhile is said in the display, so that it does not break it."""
    said = _Said(display)
    handlers = [
        h for h in logging.getLogger().handlers
        if isinstance(h, logging.StreamHandler) and h.stream in (sys.stdout, sys.stderr)
    ]  # fmt: skip
    before = [handler.setStream(said) for handler in handlers]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            handler.setStream(stream or sys.stderr)


class _Said(io.TextIOBase):
    """A stream whose whole lines are said in a display."""

    def __init__(self, display: Display) -> None:
        self.display, self.rest = display, ""

    def write(self, text: str) -> int:
        *whole, self.rest = (self.rest + text).split("\n")
        for one in whole:
            if one.strip():
                self.display.say(one)
        return len(text)
