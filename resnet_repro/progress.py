"""What runs, how many are left, how long it takes: read from the run folders, so it works for every launcher."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resnet_repro import records
from resnet_repro.config import cost
from resnet_repro.experiment import Experiment
from resnet_repro.planning import Planned

PLAIN_SECONDS = 15.0
"""Where the output is no terminal, a line is printed this often."""


@dataclass
class Snapshot:
    """A sweep at one moment. `work` is the fraction of the whole cost that is done."""

    done: int
    total: int
    running: list[tuple[str, float]]  # run, fraction of its steps
    work: float
    left: float | None  # seconds, None while there is nothing to judge by


@dataclass
class Watch:
    """Looks at the folders of a plan; remembers when it began, to tell how long the rest takes."""

    planned: Sequence[Planned]
    began: float = field(default_factory=time.monotonic)
    first_work: float | None = None
    finished: set[str] = field(default_factory=set)

    def look(self) -> Snapshot:
        """The state of the plan now."""
        running = []
        work = 0.0
        for plan in self.planned:
            fraction, active = self._fraction(plan)
            work += fraction * cost(plan.run)
            if active:
                running.append((plan.id, fraction))
        whole = sum(cost(plan.run) for plan in self.planned) or 1.0
        if self.first_work is None:
            self.first_work = work
        return Snapshot(len(self.finished), len(self.planned), running, work / whole, self._left(work, whole))

    def _fraction(self, plan: Planned) -> tuple[float, bool]:
        place = records.folder(plan.run, plan.id)
        if plan.id in self.finished or (place / "record.json").exists():
            self.finished.add(plan.id)
            return 1.0, False
        if not (place / "lock").exists():
            return 0.0, False
        # The last interval is followed by the final measurement; 0.99 says so.
        fraction = min(records.last_step(place) / max(plan.run.optim.steps, 1), 0.99)
        return fraction, records.is_locked(place)

    def _left(self, work: float, whole: float) -> float | None:
        assert self.first_work is not None
        gained, elapsed = work - self.first_work, time.monotonic() - self.began
        return (whole - work) * elapsed / gained if gained > 0 and elapsed > 3 else None


def line(snapshot: Snapshot, name_runs: bool = True) -> str:
    """One line: `12/40 runs done, 46 % of the work, 1 running (resnet110-s0 45 %), 3 min left, ends about 14:32`."""
    named = [f"{_short(name)} {100 * fraction:.0f} %" for name, fraction in snapshot.running[:4]] if name_runs else []
    parts = [
        f"{snapshot.done}/{snapshot.total} runs done",
        f"{100 * snapshot.work:.0f} % of the work",
        f"{len(snapshot.running)} running" + (f" ({', '.join(named)})" if named else ""),
    ]
    if snapshot.left is not None and snapshot.done < snapshot.total:
        end = time.strftime("%H:%M", time.localtime(time.time() + snapshot.left))
        parts.append(f"{duration(snapshot.left)} left, ends about {end}")
    return ", ".join(parts)


def _short(name: str) -> str:
    """`resnet110-s0` of `resnet110-s0-0123456789`."""
    return name.rsplit("-", 1)[0]


def duration(seconds: float) -> str:
    """`42 s`, `3 min 10 s`, `5 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Display:
    """What is shown while a plan is trained; the body of `shown` says a line in it with `say`."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """One line that stays, above the live screen or among the lines of a log."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def shown(planned: Sequence[Planned], experiment: Experiment | None = None) -> Iterator[Display]:
    """Shows the plan's progress while the body runs: a live display on a terminal, a line now and then elsewhere.

    experiment: the one whose runs these are, so that its claims can be shown as they firm up.
    """
    # A copy of the output, since a run in this process may redirect its own.
    with open(os.dup(1), "w") as output:
        console = Console(file=output)
        stop = threading.Event()
        show = _show_live if console.is_terminal else _show_lines
        thread = threading.Thread(target=show, args=(Watch(planned), console, stop), daemon=True)
        thread.start()
        try:
            yield Display(console)
        finally:
            stop.set()
            thread.join()


def _show_lines(watch: Watch, console: Console, stop: threading.Event) -> None:
    snapshot, printed, done = watch.look(), time.monotonic(), -1
    while not stop.wait(1.0):
        snapshot = watch.look()
        if time.monotonic() - printed >= PLAIN_SECONDS and (snapshot.done != done or snapshot.running):
            console.print(line(snapshot), highlight=False, soft_wrap=True)
            printed, done = time.monotonic(), snapshot.done
    console.print(line(watch.look()), highlight=False, soft_wrap=True)


def _show_live(watch: Watch, console: Console, stop: threading.Event) -> None:
    with Live(_display(watch.look()), console=console, refresh_per_second=4) as live:
        while not stop.wait(0.5):
            live.update(_display(watch.look()))
        live.update(_display(watch.look()))


def _display(snapshot: Snapshot) -> Group:
    """A bar for each run that is training and one for all, above the line in words."""
    table = Table.grid(padding=(0, 1))
    for name, fraction in [*snapshot.running[:16], ("all", snapshot.work)]:
        bar = ProgressBar(total=1.0, completed=fraction, width=30)
        table.add_row(_short(name), bar, f"{100 * fraction:3.0f} %")
    return Group(table, Text(line(snapshot, name_runs=False)))
