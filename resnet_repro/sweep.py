"""Train an experiment's missing runs, collect, report: `python -m resnet_repro.sweep degradation-digits`.

Repeating the command starts only what is missing, and continues what was interrupted. Exit code: 0 all runs are
finished, 1 some crashed, 75 time is up (--minutes), 130 stopped.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import EX_TEMPFAIL
from pathlib import Path
from typing import Any, NoReturn

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import resnet_repro
from resnet_repro import (
    costs,
    experiment,
    listing,
    memory,
    mirror,
    pictures,
    planning,
    records,
    running,
    settings,
    terminal,
    train,
)
from resnet_repro.collect import collect_runs, mixture_in
from resnet_repro.config import ConfigError
from resnet_repro.experiment import Experiment
from resnet_repro.jobs.drive import RunsCrashed
from resnet_repro.places import command
from resnet_repro.planning import Planned
from resnet_repro.project import CONF, LOCAL

LONGEST = 1_000_000
"""Minutes that a sweep can be given at most, about two years: a timer holds no more."""


class TimeIsUp(SystemExit):
    """The time given to a sweep is over. As an exit, so that Hydra lets it pass."""


@contextmanager
def limited(minutes: float | None) -> Iterator[None]:
    """Ends the body with TimeIsUp after so many minutes; without a number, never."""
    if minutes is None:
        yield
        return

    def end(*_: Any) -> None:
        raise TimeIsUp(EX_TEMPFAIL)

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_minutes(minutes: float | None) -> None:
    """Raises ConfigError for a time that is none."""
    if minutes is not None and not 0 < minutes <= LONGEST:
        raise ConfigError(
            f"--minutes must be above 0 and at most {LONGEST:,}, got {minutes:g}; leave it out for no limit"
        )


def sweep(
    spec: Experiment, launcher: str, overrides: Sequence[str], results: Path, minutes: float | None = None
) -> int:
    """Plans, trains what is missing through Hydra, collects and reports; returns the exit code."""
    planned = planning.plan(spec, overrides)
    memory.check((plan.run for plan in planned), launcher)
    slots = costs.at_once(launcher, overrides)
    known = costs.known(Path(planned[0].run.env.runs_dir), here=slots is not None)
    for line in costs.announcement(spec, planned, known, slots, results):
        terminal.say(line)
    _say_if_other_runs(spec, planned)
    sweeper = [f"hydra.sweeper.experiment={spec.id}", f"hydra.sweeper.results={planning.override_text(str(results))}"]
    code = 0
    try:
        with limited(minutes), running.told(spec.id, overrides, Path(planned[0].run.env.runs_dir)):
            _train_through_hydra([*sweeper, f"hydra/launcher={launcher}", *overrides])
    except RunsCrashed:
        code = 1
    except TimeIsUp:
        code = EX_TEMPFAIL
        done = sum(records.complete(plan.run, plan.id) is not None for plan in planned)
        print(
            f"\nTime is up: {done} of {costs.runs_in_words(len(planned))} finished; the same command goes on from here."
        )
    if code == 0 and any(records.complete(plan.run, plan.id) is None for plan in planned):
        _say_how_to_follow(spec, overrides)
        return 0
    return collect_and_report(spec, planned, results) or code


def _train_through_hydra(overrides: Sequence[str]) -> None:
    """What `train -m OVERRIDES` does: Hydra sets up the launcher, and our sweeper gives it the missing runs."""
    with initialize_config_dir(str(CONF), job_name="train", version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.multirun("config", train.main, ["hydra.mode=MULTIRUN", *overrides])


def _say_if_other_runs(spec: Experiment, planned: Sequence[Planned]) -> None:
    if not pictures.own_plan(spec, planned):
        terminal.say(
            f"The overrides make other runs than experiments/{spec.id}.yaml asks for, so they are not collected: its "
            f"claims were made for its own grid. To report on them, write an experiment of your own, in two lines: "
            f"`base: {spec.id}` and `set: {{...}}` with these settings."
        )


def _say_how_to_follow(spec: Experiment, overrides: Sequence[str]) -> None:
    own = shlex.join(o for o in overrides if not o.startswith("hydra"))
    print(f"follow:   python -m resnet_repro.status {spec.id} {own}".rstrip())
    print(f"collect:  python -m resnet_repro.sweep {spec.id} --collect {own}".rstrip())


def collect(spec: Experiment, overrides: Sequence[str], results: Path) -> int:
    """Collects and reports what is finished, trains nothing; returns 1 while some runs are not finished."""
    planned = planning.plan(spec, overrides)
    with mirror.following(planned):
        code = collect_and_report(spec, planned, results)
    missing = sum(records.complete(plan.run, plan.id) is None for plan in planned)
    if missing:
        print(f"{missing} of {costs.runs_in_words(len(planned))} not finished: python -m resnet_repro.status {spec.id}")
    return 1 if missing else code


def collect_and_report(spec: Experiment, planned: Sequence[Planned], results: Path) -> int:
    """Collects the experiment's runs into <results>/<id>/data, reports, prints the verdicts; returns the exit code."""
    from resnet_repro import report

    own = pictures.own_plan(spec, planned)
    if not own:
        _say_if_other_runs(spec, planned)
        return 0
    taken, kept = collect_runs(own, results / spec.id / "data")
    print(f"\n{costs.runs_in_words(taken)} collected" + (f", {kept} kept from before" if kept else ""))
    if mixed := mixture_in(results / spec.id / "data"):
        print(mixed)
    if not taken + kept:
        return 0
    code = report.main([spec.id, "--results", str(results)])
    if code == 0:
        terminal.say_what_next(spec, len(own) - taken - kept, results)
    return code


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m resnet_repro.sweep", description=__doc__)
    parser.add_argument("experiment", help=f"one of {', '.join(experiment.ids())}")
    parser.add_argument("--launcher", default="local", help="a Hydra launcher: local, slurm, slurm-detached, ...")
    parser.add_argument("--plan", action="store_true", help="print the runs and their cost, train nothing")
    parser.add_argument("--all", action="store_true", help="with --plan: every run, also in a narrow terminal")
    parser.add_argument("--collect", action="store_true", help="collect and report what is finished, train nothing")
    parser.add_argument("--minutes", type=float, help="train no longer than this, then collect and report")
    parser.add_argument(
        "--results", type=Path, default=LOCAL, metavar="DIR", help=f"where the data are collected ({LOCAL})"
    )
    parser.add_argument("overrides", nargs="*", help="Hydra overrides on top of the experiment's grid")
    options = parser.parse_intermixed_args()
    return _run(experiment.load(options.experiment), options)


def _run(spec: Experiment, options: argparse.Namespace) -> int:
    check_minutes(options.minutes)
    settings.check_hydra([f"hydra/launcher={options.launcher}", *options.overrides])
    if options.plan:
        planned = planning.plan(spec, options.overrides)
        memory.check((plan.run for plan in planned), options.launcher)
        slots = costs.at_once(options.launcher, options.overrides)
        known = costs.known(Path(planned[0].run.env.runs_dir), here=slots is not None)
        listing.plan(planned, known, slots, options.all)
        if not options.overrides:
            listing.claims(spec, planned)
        _say_if_other_runs(spec, planned)
        return 0
    if options.collect:
        return collect(spec, options.overrides, options.results)
    return sweep(spec, options.launcher, options.overrides, options.results, options.minutes)


def cli() -> NoReturn:
    """The command, `resnet-sweep`."""
    command(main)


sys.modules[__name__].__class__ = resnet_repro.Verb

if __name__ == "__main__":
    # Imported by name, so that the sweeper's RunsCrashed is the one that is caught here.
    from resnet_repro.sweep import cli as run_cli

    run_cli()
