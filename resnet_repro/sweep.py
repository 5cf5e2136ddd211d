"""Train an experiment's missing runs, collect, report: `python -m resnet_repro.sweep degradation-digits`.

Repeating the command starts only what is missing, and continues what was interrupted. Exit code: 0 all runs are
finished, 1 some crashed, 75 time is up (--minutes), 130 stopped.
"""

import argparse
import shlex
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from resnet_repro import (
    costs,
    experiment,
    inputs,
    listing,
    memory,
    mirror,
    packs,
    pictures,
    places,
    planning,
    progress,
    records,
    settings,
    slurm,
    terminal,
    train,
)
from resnet_repro.collect import collect_runs, mixture_in
from resnet_repro.config import ConfigError
from resnet_repro.errors import command, sentence
from resnet_repro.experiment import Experiment
from resnet_repro.planning import Planned
from resnet_repro.report import LOCAL

LOG_LINES = 12
TRIES = 3
"""Jobs that may end well without a record, as when the process to which they left their run has died."""
LONGEST = 1_000_000
"""Minutes that a sweep can be given at most, about two years: a timer holds no more."""
AGAIN = 75
"""The exit code when time is up and runs are left (EX_TEMPFAIL: the same command, repeated, goes on)."""


class RunsCrashed(SystemExit):
    """Some runs crashed, and have been listed; as an exit of the program its code is 1."""


class TimeIsUp(SystemExit):
    """The time given to a sweep is over. As an exit, so that Hydra lets it pass."""


@contextmanager
def limited(minutes: float | None) -> Iterator[None]:
    """Ends the body with TimeIsUp after so many minutes; without a number, never."""
    if minutes is None:
        yield
        return

    def end(*_: Any) -> None:
        raise TimeIsUp(AGAIN)

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


def train_missing(
    planned: Sequence[Planned], launcher: Launcher, spec: Experiment | None = None, results: Path | None = None
) -> list[JobReturn]:
    """Trains every run of the plan that has no record, seed by seed; lists all that crashed.

    Runs that another process trains are waited for, and taken over should it die: a job that ends well without a
    record has left its run to another process, or trained somewhere else, which is a failure.
    spec: the experiment whose runs these are; its figures and tables in `results` are kept up to date meanwhile.
    Raises RunsCrashed when some run crashed, ConfigError where the launcher's `pack` and the runs do not go together.
    """
    failures = inputs.refused(planned)
    todo = [p for p in planning.in_order(planned) if p.id not in failures and _record(p) is None]
    memory.check(plan.run for plan in todo)
    _packed(todo, launcher)  # what does not go together is refused before anything starts
    done, refused = len(planned) - len(todo) - len(failures), f", {len(failures)} refused" if failures else ""
    print(f"{len(planned)} runs: {done} finished already, {len(todo)} to train{refused}")
    returns: list[JobReturn] = []
    ended: Counter[str] = Counter()
    jobs, detached = slurm.Jobs(), getattr(launcher, "detached", False)
    with nullcontext() if detached or not todo else _shown(planned, launcher, spec, results):
        while todo:
            failures |= jobs.look(todo)
            taken = jobs.active | set(failures)
            free = [p for p in todo if p.id not in taken and not records.is_locked(_place(p))]
            if free:
                free, launched = _launch(free, launcher, spec.id if spec else None, len(returns))
                returns += launched
                failures |= _failures(free, launched) | _trained_elsewhere(free, launched, ended)
                jobs.active |= {p.id for p, r in zip(free, launched, strict=True) if r.status is JobStatus.UNKNOWN}
            elif detached:
                print(f"{len(todo)} runs wait or run. The same command, repeated, starts only what does neither.")
                break
            else:
                time.sleep(1.0)
            todo = [p for p in todo if p.id not in failures and _record(p) is None]
    if spec is None and not detached:
        kept = [p for p in planned if p.id not in failures]
        terminal.show_runs({_place(p): record for p in kept if (record := _record(p)) is not None})
    if failures:
        _list_failures([p for p in planned if p.id in failures], failures)
        raise RunsCrashed(1)
    return returns


@contextmanager
def _shown(
    planned: Sequence[Planned], launcher: Launcher, spec: Experiment | None, results: Path | None
) -> Iterator[None]:
    slots = getattr(launcher, "slots", None)  # of this machine; of a cluster they are not known
    at_once = None if slots is None else len(slots)
    with mirror.following(planned), progress.shown(planned, spec, at_once, where=slurm.where) as display:
        if spec is None or results is None or not pictures.own_plan(spec, planned):
            yield
        else:
            with pictures.drawn(spec, planned, results, display.say):
                yield


def _place(plan: Planned) -> Path:
    return records.folder(plan.run, plan.id)


def _record(plan: Planned) -> dict[str, Any] | None:
    return records.read(_place(plan))


def _launch(
    free: list[Planned], launcher: Launcher, group: str | None, first: int
) -> tuple[list[Planned], list[JobReturn]]:
    """Launches the runs, in packs if the launcher knows what that is; each run with what became of it."""
    label = [] if group is None else [f"env.group={group}"]
    formed = _packed(free, launcher)
    jobs = [[[*places.handed(plan.run, plan.overrides), *label] for plan in pack] for pack in formed]
    if isinstance(launcher, packs.PackLauncher):
        returns = launcher.launch_packs(jobs, first)
    else:
        returns = launcher.launch([job for (job,) in jobs], initial_job_idx=first)
    return list(chain(*formed)), list(returns)


def _packed(free: Sequence[Planned], launcher: Launcher) -> list[list[Planned]]:
    """The runs in the packs that this launcher is given; each alone where it knows none. Raises ConfigError."""
    if not isinstance(launcher, packs.PackLauncher):
        return [[plan] for plan in free]
    formed = packs.packs([plan.run for plan in free], launcher.pack, launcher.at_once)
    return [[free[number] for number in pack] for pack in formed]


def _failures(launched: Sequence[Planned], returns: Sequence[JobReturn]) -> dict[str, str]:
    """What went wrong, for each run whose job crashed before it had a record; but for those that others train."""
    return {
        plan.id: _reason(result._return_value)
        for plan, result in zip(launched, returns, strict=True)
        if result.status is JobStatus.FAILED and _record(plan) is None and not records.is_locked(_place(plan))
    }


def _trained_elsewhere(
    launched: Sequence[Planned], returns: Sequence[JobReturn], ended: Counter[str]
) -> dict[str, str]:
    """What to say of each run whose job ended well and left nothing where it was expected; counts such ends."""
    lost = {}
    for plan, result in zip(launched, returns, strict=True):
        if result.status is JobStatus.COMPLETED and _record(plan) is None and not records.is_locked(_place(plan)):
            ended[plan.id] += 1
            if not (_place(plan) / "lock").exists() or ended[plan.id] >= TRIES:
                lost[plan.id] = (
                    f"its job ended well and left neither a record nor a lock in {_place(plan)}; "
                    "set env.runs_dir to a folder that every job sees under the same path"
                )
    return lost


def _reason(error: BaseException) -> str:
    """The error in words; the local launcher's jobs send theirs as the words of a RuntimeError."""
    return sentence(error) or traceback.format_exception_only(error)[-1].strip().removeprefix("RuntimeError: ")


def _list_failures(crashed: Sequence[Planned], reasons: dict[str, str]) -> None:
    print(f"\n{len(crashed)} runs crashed; the others are kept, and the same command tries these again:")
    for plan in crashed:
        print(f"\n{plan.id}: {reasons[plan.id]}")
        log = _place(plan) / "log.txt"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        print("\n".join(f"    {line}" for line in [f"the end of {log}:", *lines]))
        print(f"    repeat it alone: {train.command(places.handed(plan.run, plan.overrides))}")


def sweep(
    spec: Experiment, launcher: str, overrides: Sequence[str], results: Path, minutes: float | None = None
) -> int:
    """Plans, trains what is missing through Hydra, collects and reports; returns the exit code."""
    planned = planning.plan(spec, overrides)
    memory.check(plan.run for plan in planned)
    known = costs.known(Path(planned[0].run.env.runs_dir))
    print("\n".join(costs.announcement(spec, planned, known, costs.at_once(launcher, overrides), results)), flush=True)
    sweeper = [f"hydra.sweeper.experiment={spec.id}", f"hydra.sweeper.results={planning.override_text(str(results))}"]
    sys.argv = [train.__name__, "-m", *sweeper, f"hydra/launcher={launcher}", *overrides]
    code = 0
    try:
        with limited(minutes):
            train.main()
    except RunsCrashed:
        code = 1
    except TimeIsUp:
        code = AGAIN
        done = sum(_record(plan) is not None for plan in planned)
        print(f"\nTime is up: {done} of {len(planned)} runs are finished; the same command goes on from here.")
    if code == 0 and any(_record(plan) is None for plan in planned):
        _say_how_to_follow(spec, overrides)
        return 0
    return collect_and_report(spec, planned, results) or code


def _say_how_to_follow(spec: Experiment, overrides: Sequence[str]) -> None:
    own = shlex.join(o for o in overrides if not o.startswith("hydra"))
    print(f"follow:   python -m resnet_repro.status {spec.id} {own}".rstrip())
    print(f"collect:  python -m resnet_repro.sweep {spec.id} --collect {own}".rstrip())


def collect(spec: Experiment, overrides: Sequence[str], results: Path) -> int:
    """Collects and reports what is finished, trains nothing; returns 1 while some runs are not finished."""
    planned = planning.plan(spec, overrides)
    with mirror.following(planned):
        code = collect_and_report(spec, planned, results)
    missing = sum(_record(plan) is None for plan in planned)
    if missing:
        print(f"{missing} of {len(planned)} runs are not finished: python -m resnet_repro.status {spec.id}")
    return 1 if missing else code


def collect_and_report(spec: Experiment, planned: Sequence[Planned], results: Path) -> int:
    """Collects the experiment's runs into <results>/<id>/data, reports, prints the verdicts; returns the exit code."""
    from resnet_repro import report

    own = pictures.own_plan(spec, planned)
    if not own:
        print(
            f"The overrides make other runs than experiments/{spec.id}.yaml asks for, so they are not collected into "
            f"{results}: its claims were made for its own grid. To report on them, write an experiment of your own, "
            f"in two lines: `base: {spec.id}` and `set: {{...}}` with these settings."
        )
        return 0
    taken, kept = collect_runs(own, results / spec.id / "data")
    print(f"\n{taken} runs collected" + (f", {kept} kept from before" if kept else ""))
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
    settings.check_hydra([f"hydra/launcher={options.launcher}"])
    if options.plan:
        planned = planning.plan(spec, options.overrides)
        memory.check(plan.run for plan in planned)
        slots = costs.at_once(options.launcher, options.overrides)
        known = costs.known(Path(planned[0].run.env.runs_dir))
        listing.plan(planned, known, slots, options.all)
        return 0
    if options.collect:
        return collect(spec, options.overrides, options.results)
    return sweep(spec, options.launcher, options.overrides, options.results, options.minutes)


if __name__ == "__main__":
    # Imported by name, so that the sweeper's RunsCrashed is the one that is caught here.
    from resnet_repro.sweep import main as run_main

    command(run_main)
