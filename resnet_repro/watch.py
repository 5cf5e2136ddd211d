"""Watch a sweep that runs elsewhere (terminal, cluster): `python -m resnet_repro.watch [EXP] [overrides]`.

The same screen as the sweep's own, read from the run folders. It ends when all runs are done, or on Ctrl-C; the
sweep goes on.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from resnet_repro import experiment, planning, progress, running
from resnet_repro.errors import UserError
from resnet_repro.jobs import slurm
from resnet_repro.places import command

DEFAULT = "degradation-digits"


def watch(name: str, overrides: Sequence[str] = ()) -> None:
    """Shows the experiment's runs, those of the sweep that runs now where it has other overrides, until all finish."""
    spec = experiment.load(name)
    planned = planning.plan(spec, overrides)
    if all(text.startswith("env.") for text in overrides):
        planned = planning.plan(spec, [*running.overrides(name, Path(planned[0].run.env.runs_dir)), *overrides])
    with progress.shown(planned, spec, where=slurm.where, report_follows=False) as display:
        display.complete.wait()


def main() -> None:
    """The command line: words with `=` are overrides, the other is the experiment."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    names = [w for w in words if "=" not in w] or [DEFAULT]
    if len(names) > 1:
        raise UserError(f"watch shows one experiment, got {', '.join(names)}")
    try:
        watch(names[0], [w for w in words if "=" in w])
    except KeyboardInterrupt:
        print("Watching ended; the sweep goes on.")


def cli() -> NoReturn:
    """The command, `resnet-watch`."""
    command(main)


if __name__ == "__main__":
    cli()
