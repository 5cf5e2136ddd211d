"""Figures and tables while a sweep goes on: after each seed whose runs are all finished, from a child process.

The child collects and renders, as at the end of the sweep. It yields to training (a lower priority), is outside of
the group that Ctrl-C reaches, writes every file whole or not at all, and is ended with the sweep.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from resnet_repro import experiment, planning, records, terminal
from resnet_repro.collect import collect_runs
from resnet_repro.experiment import Experiment
from resnet_repro.machine import end_with
from resnet_repro.planning import Planned

NICENESS = 5
"""A quarter of a core where every core trains; at 19 the first picture would take minutes."""
SHARE = 0.02
"""Of the time of the cores at most so much goes into pictures; only the first one never waits."""


@contextmanager
def drawn(spec: Experiment, planned: Sequence[Planned], results: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keeps <results>/<id> up to date while the body trains these runs of the experiment; says where the first stands.

    What goes wrong with a picture is said once, and keeps nothing else from going on.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_keep_drawing, args=(spec, planned, results, say, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def whole_seeds(planned: Sequence[Planned]) -> tuple[int, int]:
    """Of how many seeds every run is finished, and how many seeds there are."""
    seeds = {plan.run.seed for plan in planned}
    open_ = {p.run.seed for p in planned if not records.seems_complete(p.run, p.id)}
    return len(seeds - open_), len(seeds)


def _keep_drawing(
    spec: Experiment, planned: Sequence[Planned], results: Path, say: Callable[[str], None], stop: threading.Event
) -> None:
    began, before, shown, last = time.monotonic(), _children_seconds(), 0, 0.0
    while not stop.wait(1.0):
        whole, seeds = whole_seeds(planned)
        if whole == seeds:  # the sweep itself reports on the whole
            return
        allowed = SHARE * (time.monotonic() - began) * len(os.sched_getaffinity(0))
        spent = _children_seconds() - before
        if whole == shown or (shown and spent + last > allowed):
            continue
        wrong = _draw(spec, planned, results, stop)
        if stop.is_set():
            return
        if wrong is not None:
            say(f"No picture could be drawn meanwhile, training goes on: {wrong}")
            return
        last = _children_seconds() - before - spent
        if shown == 0:
            path = terminal.files(spec, results / spec.id).get("figure", results / spec.id / "README.md")
            say(f"A first picture stands, of {whole} of {seeds} seeds: {terminal.relative(path)}")
        shown = whole


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _draw(spec: Experiment, planned: Sequence[Planned], results: Path, stop: threading.Event) -> str | None:
    """Collects and renders in a child; what went wrong with it, in one line."""
    runs_dir = planned[0].run.env.runs_dir
    command = [sys.executable, "-m", "resnet_repro.pictures", spec.id, str(results), runs_dir, str(os.getpid())]
    with TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, process_group=0)
        try:
            while child.poll() is None and not stop.wait(0.2):
                pass
        finally:
            child.terminate()
            code = child.wait()
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    return None if code == 0 else lines[-1] if lines else f"its process ended with exit code {code}"


def own_plan(spec: Experiment, planned: Sequence[Planned]) -> list[Planned]:
    """All runs of the experiment, in the folder of those that are planned; none where it does not ask for them."""
    own = planning.plan(spec)
    if not {plan.id for plan in planned} <= {plan.id for plan in own}:
        return []
    return _in_folder(own, planned[0].run.env.runs_dir)


def _in_folder(own: list[Planned], runs_dir: str) -> list[Planned]:
    for plan in own:
        plan.run.env.runs_dir = runs_dir
    return own


def main() -> None:
    """The child: collects and renders one experiment."""
    os.nice(NICENESS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is half written is removed
    name, results, runs_dir, sweep = sys.argv[1:]
    end_with(int(sweep), signal.SIGTERM)
    from resnet_repro import report

    own = _in_folder(planning.plan(experiment.load(name)), runs_dir)
    collect_runs(own, Path(results) / name / "data")
    report.render(name, Path(results))


if __name__ == "__main__":
    main()
