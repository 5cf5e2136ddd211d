"""What a plan costs: its runs, and the hours they took when they were measured last."""

import csv
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from resnet_repro import records
from resnet_repro.packs import packs
from resnet_repro.planning import Planned, in_order
from resnet_repro.progress import duration

UNFINISHED = ("running", "interrupted", "crashed", "missing")
"""States (records.state) of a run that has no record yet."""

Measured = dict[str, tuple[float, str]]
"""Seconds and device, by run."""


def show(planned: Sequence[Planned], runs_csv: Path) -> None:
    """Prints every run of the plan, its pack, whether it is finished, its measured seconds; then what is left in sum.

    The seconds are of training, on the device named; of a run in a pack, its share of the pack's.
    """
    times = measured(runs_csv)
    planned = in_order(planned)
    formed = packs([plan.run for plan in planned], None, slots=1)
    pack_of = {number: str(k) for k, pack in enumerate(formed, start=1) for number in pack}
    rows = [(plan, records.state(records.folder(plan.run, plan.id))) for plan in planned]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "state", "pack", "steps", "seconds", "overrides"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("pack", "steps", "seconds") else "left")
    for number, (plan, state) in enumerate(rows):
        seconds = f"{times[plan.id][0]:.0f}" if plan.id in times else "not measured"
        words = " ".join(plan.overrides)
        table.add_row(plan.id, state, pack_of[number], str(plan.run.optim.steps), seconds, words)
    printer().print(table)
    left = [plan.id for plan, state in rows if state in UNFINISHED]
    print(f"\n{len(planned)} runs in {len(formed)} packs: {estimate([plan.id for plan in planned], times)}")
    print(f"{len(left)} to train: {estimate(left, times)}")


def printer() -> Console:
    """A console that breaks no line where the output is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=1000)


def measured(runs_csv: Path) -> Measured:
    """What the runs in a results/<experiment>/data/runs.csv took; empty where there is none."""
    if not runs_csv.exists():
        return {}
    with open(runs_csv, newline="") as file:
        return {row["run_id"]: (float(row["seconds"]), row["device"]) for row in csv.DictReader(file) if row["seconds"]}


def estimate(names: Sequence[str], times: Measured) -> str:
    """`0.3 hours of one <device>` for each device on which these runs were measured, and how many were not."""
    known: dict[str, float] = {}
    for name in names:
        if name in times:
            seconds, device = times[name]
            known[device] = known.get(device, 0.0) + seconds
    unknown = sum(name not in times for name in names)
    parts = [f"{_hours(seconds)} of one {device}" for device, seconds in known.items()]
    parts += [f"{unknown} not measured"] if unknown else []
    return " + ".join(parts) or "nothing to do"


def _hours(seconds: float) -> str:
    return duration(seconds) if seconds < 360 else f"{seconds / 3600:.1f} hours"
