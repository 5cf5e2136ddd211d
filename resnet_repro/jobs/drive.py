"""Train the runs of a plan that have no record, through any Hydra launcher, until each has one or has crashed."""

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
    inputs,
    mirror,
    pictures,
    places,
    planning,
    progress,
    records,
    terminal,
    train,
)
from resnet_repro.costs import runs_in_words
from resnet_repro.errors import sentence
from resnet_repro.experiment import Experiment
from resnet_repro.jobs import packs, slurm
from resnet_repro.planning import Planned

LOG_LINES = 12
TRIES = 3
"""Jobs that may end well without a record, as when the process to which they left their run has died."""


class RunsCrashed(SystemExit):
    """Some runs crashed, and have been listed; as an exit of the program its code is 1."""


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
    _packed(todo, launcher)  # what does not go together is refused before anything starts
    done, refused = len(planned) - len(todo) - len(failures), f", {len(failures)} refused" if failures else ""
    print(f"{runs_in_words(len(planned))}: {done} finished already, {len(todo)} to train{refused}")
    if said := inputs.unmeasured(todo):
        print(said)
    returns: list[JobReturn] = []
    ended: Counter[str] = Counter()
    jobs, detached = slurm.Jobs(), getattr(launcher, "detached", False)
    with nullcontext() if detached or not todo else _shown(planned, launcher, spec, results):
        while todo:
            failures |= jobs.look(todo)
            taken = jobs.active | set(failures)
            free = [p for p in todo if p.id not in taken and not records.is_locked(_folder(p))]
            if free:
                free, launched = _launch(free, launcher, spec, len(returns))
                returns += launched
                failures |= _failures(free, launched) | _trained_elsewhere(free, launched, ended)
                jobs.active |= {p.id for p, r in zip(free, launched, strict=True) if r.status is JobStatus.UNKNOWN}
            elif detached:
                print(f"{runs_in_words(len(todo))} waiting or running. The same command, repeated, starts the others.")
                break
            else:
                time.sleep(1.0)
            todo = [p for p in todo if p.id not in failures and _record(p) is None]
    if spec is None and not detached:
        kept = [p for p in planned if p.id not in failures]
        terminal.show_runs({_folder(p): record for p in kept if (record := _record(p)) is not None})
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


def _folder(plan: Planned) -> Path:
    return records.folder(plan.run, plan.id)


def _record(plan: Planned) -> dict[str, Any] | None:
    return records.complete(plan.run, plan.id)


def _launch(
    free: list[Planned], launcher: Launcher, spec: Experiment | None, first: int
) -> tuple[list[Planned], list[JobReturn]]:
    """Launches the runs, in packs if the launcher knows what that is; each run with what became of it."""
    served = {} if spec is None else planning.served(spec)
    label = [] if spec is None else [f"env.group={spec.id}"]
    formed = _packed(free, launcher)
    jobs = [
        [[*places.handed(plan.run, plan.overrides), *label, *_told(served.get(plan.id))] for plan in pack]
        for pack in formed
    ]
    if isinstance(launcher, packs.PackLauncher):
        returns = launcher.launch_packs(jobs, first)
    else:
        returns = launcher.launch([job for (job,) in jobs], initial_job_idx=first)
    return list(chain(*formed)), list(returns)


def _told(claims: Sequence[str] | None) -> list[str]:
    """What a run is told of the claims that it serves, to keep from its start on."""
    return [f"env.claims=[{','.join(claims)}]"] if claims else []


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
        if result.status is JobStatus.FAILED and _record(plan) is None and not records.is_locked(_folder(plan))
    }


def _trained_elsewhere(
    launched: Sequence[Planned], returns: Sequence[JobReturn], ended: Counter[str]
) -> dict[str, str]:
    """What to say of each run whose job ended well and left nothing where it was expected; counts such ends."""
    lost = {}
    for plan, result in zip(launched, returns, strict=True):
        if result.status is JobStatus.COMPLETED and _record(plan) is None and not records.is_locked(_folder(plan)):
            ended[plan.id] += 1
            if not (_folder(plan) / "lock").exists() or ended[plan.id] >= TRIES:
                lost[plan.id] = (
                    f"its job ended well and left neither a record nor a lock in {_folder(plan)}; "
                    "set env.runs_dir to a folder that every job sees under the same path"
                )
    return lost


def _reason(error: BaseException) -> str:
    """The error in words; the local launcher's jobs send theirs as the words of a RuntimeError."""
    return sentence(error) or traceback.format_exception_only(error)[-1].strip().removeprefix("RuntimeError: ")


def _list_failures(crashed: Sequence[Planned], reasons: dict[str, str]) -> None:
    print(f"\n{runs_in_words(len(crashed))} crashed; the others are kept, and the same command tries these again:")
    for plan in crashed:
        print(f"\n{plan.id}: {reasons[plan.id]}")
        log = _folder(plan) / "log.txt"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        print("\n".join(f"    {line}" for line in [f"the end of {log}:", *lines]))
        print(f"    repeat it alone: {train.command(places.handed(plan.run, plan.overrides))}")
