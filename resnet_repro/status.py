"""How far the experiments are: `python -m resnet_repro.status [experiment ...] [overrides] [--all]`.

Read from the run folders while jobs run; where a run has a Slurm job, beside it what Slurm says.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

from rich.table import Table

from resnet_repro import experiment, listing, planning, records
from resnet_repro.jobs import slurm
from resnet_repro.listing import STATES, UNFINISHED
from resnet_repro.places import command
from resnet_repro.planning import Planned


def show(names: Sequence[str], overrides: Sequence[str], everything: bool = False) -> None:
    """Prints a line for each experiment, then a line for each run that has begun or has a job, and is not finished.

    Diverged, stuck and failed runs are finished, too.

    Where the terminal has no room for it all, states in which no run is are left out, then hashes from names of runs.
    everything: nothing is left out.
    """
    plans = {name: planning.plan(experiment.load(name), overrides) for name in names}
    states = {plan.id: listing.state(plan) for planned in plans.values() for plan in planned}
    counts = {name: Counter(states[plan.id] for plan in planned) for name, planned in plans.items()}
    for count in counts.values():
        count["finished"] = sum(count[state] for state in STATES if state not in UNFINISHED)
    full = _counts(counts, STATES)
    there = listing.occurring(state for count in counts.values() for state, runs in count.items() if runs)
    listing.show(full if everything or listing.fits(full) else _counts(counts, there))
    unique = {plan.id: plan for planned in plans.values() for plan in planned}
    _show_unfinished([plan for name, plan in unique.items() if states[name] in UNFINISHED], states, everything)


def _counts(counts: dict[str, Counter[str]], states: Sequence[str]) -> Table:
    table = listing.titled("experiment", "runs", *states)
    for name, count in counts.items():
        runs = count["finished"] + sum(count[state] for state in UNFINISHED)
        table.add_row(name, str(runs), *[str(count[state] or "-") for state in states])
    return table


def _show_unfinished(unfinished: Sequence[Planned], states: dict[str, str], everything: bool) -> None:
    jobs = {plan.id: slurm.job_of(records.folder(plan.run, plan.id)) for plan in unfinished}
    said = slurm.states(job for job in jobs.values() if job is not None)
    rows = []
    for plan in unfinished:
        job = jobs[plan.id]
        if job or states[plan.id] != "missing":
            step = f"{records.last_step(records.folder(plan.run, plan.id))}/{plan.run.optim.steps}"
            words = "" if job is None else "no answer" if said is None else said[job]
            rows.append((plan.id, states[plan.id], step, job or "", words))
    if rows:
        print()
        listing.show(_unfinished(rows, everything))


def _unfinished(rows: Sequence[tuple[str, ...]], everything: bool) -> Table:
    """Run, state, step, Slurm job where one has a job; in a narrow terminal without hashes, if that is clear."""
    width = 5 if any(job for *_, job, _ in rows) else 3
    short = [name.rsplit("-", 1)[0] for name, *_ in rows]
    full = _table(rows, width)
    if everything or listing.fits(full) or len(set(short)) < len(short):
        return full
    return _table([(name, *rest) for name, (_, *rest) in zip(short, rows, strict=True)], width)


def _table(rows: Sequence[tuple[str, ...]], width: int) -> Table:
    table = listing.titled(*("run", "state", "step", "Slurm job", "Slurm says")[:width])
    for row in rows:
        table.add_row(*row[:width])
    return table


def main() -> None:
    """The command line: words with `=` are overrides, the others experiments; without any, all of them."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    everything = "--all" in words
    names = [w for w in words if "=" not in w and w != "--all"]
    show(names or experiment.ids(), [w for w in words if "=" in w], everything)


def cli() -> NoReturn:
    """The command, `resnet-status`."""
    command(main)


if __name__ == "__main__":
    cli()
