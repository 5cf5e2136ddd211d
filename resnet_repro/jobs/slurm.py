"""Slurm: what runs inside a job, which job a run has, and what Slurm says of it.

Slurm is asked where a job is; whether a run is finished only the run's folder says. So jobs that are killed,
preempted, cancelled or lost, and clusters without accounting, cost at most the work since the last checkpoint.

    <run folder>/slurm.json     the job that was submitted last for the run
    <runs_dir>/slurm/           what submitit writes for each job: script, output, errors
"""

import json
import os
import pickle
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnet_repro import config, memory, ranks, records, settings
from resnet_repro.planning import Planned

POLL_SECONDS = 5.0
"""How often Slurm is asked at most."""

TRIES = 4
"""A run whose jobs end this often without getting any further is given up."""

GONE = "no longer known to Slurm"
ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT", GONE,
)  # fmt: skip
"""States of a job that Slurm will not run again."""

FINAL = {
    "CANCELLED": "somebody cancelled it (scancel)",
    "DEADLINE": "its deadline has passed",
    "OUT_OF_MEMORY": "it needs more memory: raise hydra.launcher.mem_gb",
}
"""States after which another job would end the same way, or is not wanted."""


# Inside a job --------------------------------------------------------------------------------------------------


def job(pack: Sequence[Sequence[str]]) -> list[str]:
    """Trains the runs of these overrides inside a Slurm job; returns the status of each.

    Before its time limit Slurm sends USR2 (or USR1): the job asks to be requeued and trains on until it is killed.
    TERM is ignored: a preempted job trains on during its grace time, after which Slurm requeues what still runs,
    whereas a job that ends by itself is taken for done. Either way it goes on from its last checkpoints.
    """
    runs = [settings.compose(overrides) for overrides in pack]
    memory.check(runs)
    places = [records.folder(run, config.run_id(run)) for run in runs]
    before = [_progress(place) for place in places]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    from resnet_repro.train import follow, train_pack

    if ranks.rank() > 0:  # the first one asks to be requeued
        for warning in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(warning, signal.SIG_IGN)
        follow(runs[0])
        return ["followed"]
    for warning in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(warning, lambda *_: _requeue(further=[_progress(place) for place in places] != before))
    return [record["status"] for record in train_pack(list(zip(runs, pack, strict=True)), log=True)]


def _requeue(further: bool) -> None:
    """Has Slurm run this job again, unless it has brought no run any further, so that it never would."""
    what = "requeued, to go on from the last checkpoint" if further else "no new checkpoint, so not requeued"
    os.write(1, f"The time limit is near: {what}.\n".encode())  # a signal handler must not print
    if further:
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)


def _progress(place: Path) -> str:
    """The name of the newest checkpoint, which holds its step; or that the run is finished."""
    finished = [path.name for path in place.glob("record.json")]
    return max((path.name for path in place.glob("checkpoint-*.ckpt")), default="".join(finished))


# Runs and their jobs -------------------------------------------------------------------------------------------


def remember(overrides: Sequence[str], job_id: str, log: Path) -> None:
    """Notes in the run's folder which job was submitted for it, and where that job prints."""
    run = settings.compose(overrides)
    place = records.folder(run, config.run_id(run))
    records.write_json(place / "slurm.json", {"job": job_id, "log": str(log)})


def job_of(place: Path) -> str | None:
    """The job submitted last for the run in this folder."""
    return _note(place).get("job")


def where(place: Path) -> str:
    """`Slurm job 12_3`; empty for a run that had no job."""
    job_id = job_of(place)
    return "" if job_id is None else f"Slurm job {job_id}"


def _note(place: Path) -> dict[str, str]:
    try:
        return json.loads((place / "slurm.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def states(jobs: Iterable[str]) -> dict[str, str] | None:
    """What Slurm says of each job: `RUNNING`, `PENDING (Resources)`, ..., or that it no longer knows it.

    One call of squeue, and one of sacct for what has left the queue, where there is an accounting database.
    None when Slurm does not answer.
    """
    jobs = list(jobs)
    if not jobs or shutil.which("squeue") is None:
        return dict.fromkeys(jobs, GONE)
    queue = _asked("squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T|%r")
    if queue is None:
        return None
    known = {name: _words(state, reason) for name, state, reason in queue}
    old = [name for name in jobs if name not in known]
    if old:
        ended = _asked("sacct", "-XnP", "--array", "--format=JobID,State,Reason", "-j", ",".join(old)) or []
        known |= {name: _words(state.split()[0], reason) for name, state, reason in ended}
    return {name: known.get(name, GONE) for name in jobs}


def _asked(*command: str) -> list[list[str]] | None:
    try:
        answer = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.split("|") for line in answer.stdout.splitlines()]


def _words(state: str, reason: str) -> str:
    return state if reason in ("", "None") else f"{state} ({reason})"


def ended(state: str) -> bool:
    """Whether a job of which Slurm says this will not run (again)."""
    return state.startswith(ENDED)


def error(place: Path) -> str | None:
    """The exception that ended the run's job, if one did."""
    log, name = Path(_note(place).get("log", "")), job_of(place)
    try:
        with open(log.parent / f"{name}_0_result.pkl", "rb") as file:
            outcome, value = pickle.load(file)  # submitit's: ("error", traceback) or ("success", what was returned)
    except (OSError, ValueError, EOFError, pickle.UnpicklingError):
        return None
    return str(value).strip().splitlines()[-1] if outcome == "error" else None


@dataclass
class Jobs:
    """The jobs of a sweep as the command that drives it sees them."""

    active: set[str] = field(default_factory=set)
    """The runs whose job waits or runs."""
    tries: dict[str, tuple[str, int]] = field(default_factory=dict)
    asked: float = float("-inf")

    def look(self, planned: Sequence[Planned]) -> dict[str, str]:
        """Asks Slurm, if it is time to, and says of each run whose job has ended for good why it is given up.

        A run whose job was killed or lost is not: it is no longer `active`, so it can be launched again.
        """
        places = {plan.id: records.folder(plan.run, plan.id) for plan in planned}
        done = {plan.id for plan in planned if records.seems_complete(plan.run, plan.id)}
        named = {name: job for name, place in places.items() if (job := job_of(place)) is not None}
        if not named or time.monotonic() - self.asked < POLL_SECONDS:
            return {}
        self.asked = time.monotonic()
        said = states(named.values())
        if said is None:
            print("Slurm does not answer; waiting until it does.", flush=True)
            self.active |= set(named)
            return {}
        was, self.active = self.active, {name for name, job in named.items() if not ended(said[job])}
        over = [name for name in named if name in was - self.active - done]
        reasons = {name: self._given_up(name, places[name], said[named[name]]) for name in over}
        return {name: reason for name, reason in reasons.items() if reason}

    def _given_up(self, name: str, place: Path, state: str) -> str | None:
        """Why no other job is started for a run whose job has ended like this; None if one is."""
        what = f"Slurm job {job_of(place)}: {state}"
        failure = error(place)
        if failure is not None:
            return f"{failure}\n    {what}"
        word = state.split(maxsplit=1)[0]
        if state == GONE and not Path(_note(place)["log"]).exists():
            return f"{what}, and never begun: {FINAL['CANCELLED']}"
        if word in FINAL:
            return f"{what}; {FINAL[word]}\n    its output: {_note(place)['log']}"
        progress, count = self.tries.get(name, ("", 0))
        count = 1 if _progress(place) != progress else count + 1
        self.tries[name] = (_progress(place), count)
        if count >= TRIES or (word == "TIMEOUT" and not _progress(place)):
            return f"{what}; no checkpoint was reached: {_remedy(word)}\n    its output: {_note(place)['log']}"
        print(f"{name}: {what}; it goes on in a new job", flush=True)
        return None


def _remedy(state: str) -> str:
    if state == "TIMEOUT":
        return "raise hydra.launcher.timeout_min, or lower env.checkpoint_seconds and probes.curve_every"
    return f"tried {TRIES} times"
