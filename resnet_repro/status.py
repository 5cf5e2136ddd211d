"""How far the experiments are: `python -m resnet_repro.status [experiment ...] [overrides]`.

Read from the run folders while jobs run; where a run has a Slurm job, beside it what Slurm says.
"""

import sys
from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from resnet_repro import experiment, planning, records, slurm
from resnet_repro.costs import UNFINISHED, printer
from resnet_repro.errors import command
from resnet_repro.planning import Planned

STATES = ("finished", "diverged", "stuck", "failed", *UNFINISHED)


def show(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Prints a line for each experiment, then a line for each run that has begun or has a job, and is not finished."""
    plans = {name: planning.plan(experiment.load(name), overrides) for name in names}
    states = {plan.id: _state(plan) for planned in plans.values() for plan in planned}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("experiment", "runs", *STATES):
        table.add_column(title, no_wrap=True, justify="left" if title == "experiment" else "right")
    for name, planned in plans.items():
        counts = Counter(states[plan.id] for plan in planned)
        table.add_row(name, str(len(planned)), *[str(counts[state] or "-") for state in STATES])
    printer().print(table)
    unique = {plan.id: plan for planned in plans.values() for plan in planned}
    _show_unfinished([plan for name, plan in unique.items() if states[name] in UNFINISHED], states)


def _state(plan: Planned) -> str:
    return records.state(records.folder(plan.run, plan.id))


def _show_unfinished(unfinished: Sequence[Planned], states: dict[str, str]) -> None:
    jobs = {plan.id: slurm.job_of(records.folder(plan.run, plan.id)) for plan in unfinished}
    said = slurm.states(job for job in jobs.values() if job is not None)
    begun = [plan for plan in unfinished if jobs[plan.id] or states[plan.id] != "missing"]
    if not begun:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("run", "state", "step", "Slurm job", "Slurm says"):
        table.add_column(title, no_wrap=True)
    for plan in begun:
        step = records.last_step(records.folder(plan.run, plan.id))
        job = jobs[plan.id]
        words = "" if job is None else "no answer" if said is None else said[job]
        table.add_row(plan.id, states[plan.id], f"{step}/{plan.run.optim.steps}", job or "", words)
    print()
    printer().print(table)


def main() -> None:
    """The command line: words with `=` are overrides, the others experiments; without any, all of them."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    show([w for w in words if "=" not in w] or experiment.ids(), [w for w in words if "=" in w])


if __name__ == "__main__":
    command(main)
