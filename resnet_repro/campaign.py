"""The experiments on CIFAR-10, one after the other, in slices of time: `python -m resnet_repro.campaign --minutes 9`.

A sweep goes seed by seed, so a campaign that is cut short has whole comparisons of fewer seeds. Repeating the command
goes on where the last slice ended; what is finished is collected and reported after every slice.
Exit code: 0 all done, 75 time is up, 1 some runs crashed.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from os import EX_TEMPFAIL
from pathlib import Path
from typing import NoReturn

from resnet_repro import costs, experiment, memory, places, planning, settings
from resnet_repro.project import LOCAL
from resnet_repro.sweep import check_minutes

EXPERIMENTS = "degradation,batchnorm,shortcut-scale"
COLLECTING = 20.0
"""Seconds that a slice keeps for collecting and reporting."""


def campaign(commands: Sequence[Sequence[str]], minutes: float | None) -> int:
    """Runs the sweeps' commands until one says that time is up; returns the exit code."""
    end = None if minutes is None else time.monotonic() + 60 * minutes - COLLECTING
    code = 0
    for command in commands:
        left = [] if end is None else ["--minutes", f"{max(end - time.monotonic(), 1) / 60:.3f}"]
        print(f"\n$ python {' '.join(command[1:])} {' '.join(left)}", flush=True)
        answer = subprocess.run([*command, *left], check=False).returncode
        if answer not in (0, 1):  # time is up, or the user has stopped it
            return answer
        code = max(code, answer)
    return code


def _announce(plans: dict[str, list[planning.Planned]], options: argparse.Namespace) -> None:
    """What each experiment has left, and how long that takes, by the predictor of every other display."""
    slots = costs.at_once(options.launcher, options.overrides)
    for name, planned in plans.items():
        left = costs.unfinished(planned)
        words = costs.estimate(left, costs.known(Path(planned[0].run.env.runs_dir), here=slots is not None), slots)
        print(f"{name}: {len(left)} of {costs.runs_in_words(len(planned))} to train, {words}")


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m resnet_repro.campaign", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, help="of one slice; without, until all is done")
    parser.add_argument("--experiments", default=EXPERIMENTS, help=f"in their order ({EXPERIMENTS})")
    parser.add_argument("--launcher", default="local", help="a Hydra launcher that waits: local, slurm, ...")
    parser.add_argument("--results", type=Path, default=LOCAL, metavar="DIR", help="where the data are collected")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every run")
    options = parser.parse_intermixed_args()
    names = options.experiments.split(",")
    sweep = [sys.executable, "-m", "resnet_repro.sweep", "--launcher", options.launcher, "--results"]
    check_minutes(options.minutes)
    settings.check_hydra([f"hydra/launcher={options.launcher}", *options.overrides])
    planned = {name: planning.plan(experiment.load(name), options.overrides) for name in names}
    runs = [plan.run for plans in planned.values() for plan in plans]
    memory.check(runs, options.launcher)  # of all experiments, before the first one trains
    _announce(planned, options)
    commands = [[*sweep, str(options.results), name, *options.overrides] for name in names]
    code = campaign(commands, options.minutes)
    if code == EX_TEMPFAIL:
        print("The same command goes on from here.")
    return code


def cli() -> NoReturn:
    """The command, `resnet-campaign`."""
    places.command(main)


if __name__ == "__main__":
    cli()
