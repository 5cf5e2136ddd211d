"""How planning, `status` and `collect` grow with the number of runs: 104, 1,000 and 10,000 synthetic run folders.

Each is measured in a process of its own, as seconds on the clock and as CPU seconds, which other programs
on the machine disturb less. `status` and `collect` are given the plan; `status, whole command` makes it itself.
"""

import random
import subprocess
import sys
import tempfile
from unittest import mock

from benchmarks import table
from resnet_repro import config, experiment, metrics, planning, records

EXPERIMENT = "degradation-digits"
CELLS = 8  # runs of one seed
COUNTS = (104, 1000, 10_000)
POINTS = 20  # of each curve
CURVES = ("lr", "train_error_running", "train_loss")
CODE = """
import resource, sys, time
from pathlib import Path
from resnet_repro import collect, experiment, planning, status

def used():
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])

what, name, *overrides, data = sys.argv[1:]
planned = planning.plan(experiment.load(name), overrides) if what in ("status", "collect", "collect, again") else []
if what == "status":
    planning.plan = lambda spec, overrides=(): planned
act = {
    "planning": lambda: planning.plan(experiment.load(name), overrides),
    "status": lambda: status.show([name], overrides),
    "status, whole command": lambda: status.show([name], overrides),
    "collect": lambda: collect.collect_runs(planned, Path(data)),
    "collect, again": lambda: collect.collect_runs(planned, Path(data)),
}[what]
started, began = time.perf_counter(), used()
act()
print("SECONDS", time.perf_counter() - started, used() - began)
"""


def main() -> None:
    """Measures every number of runs; the folders are made through records.write, as training does."""
    table.write("scale", [row for count in COUNTS for row in _rows(count)])


def _rows(count: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"seed={','.join(map(str, range(-(-count // CELLS))))}", f"env.runs_dir={folder}/runs"]
        planned = planning.plan(experiment.load(EXPERIMENT), overrides)
        with mock.patch("os.fsync"):  # they need not outlast a crash
            _write_records(planned)
        return [
            _row(what, len(planned), [what, EXPERIMENT, *overrides, f"{folder}/data"])
            for what in ("planning", "status", "status, whole command", "collect", "collect, again")
        ]


def _row(what: str, count: int, words: list[str]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout
    seconds, cpu = map(float, done.splitlines()[-1].split()[1:])
    return {"what": what, "runs": count, "seconds": seconds, "CPU seconds": cpu}


def _write_records(planned: list[planning.Planned]) -> None:
    rng = random.Random(0)
    for plan in planned:
        place = records.folder(plan.run, plan.id)
        with records.lock(place):
            records.write_json(place / "run.json", {"run_id": plan.id, "data_sha256": "x"})
            (place / "log.txt").touch()
            steps = range(20, 20 * POINTS + 1, 20)
            values = [(step, curve, None, None, rng.uniform(0, 100)) for step in steps for curve in CURVES]
            records.write_points(place, values)
            records.write(place, _record(plan, rng))


def _record(plan: planning.Planned, rng: random.Random) -> dict[str, object]:
    return {
        "run_id": plan.id,
        "config": config.science(plan.run),
        "status": "finished",
        "status_flags": dict.fromkeys(metrics.SHARES, False),
        "metrics": {name: rng.uniform(0, 100) for name in metrics.METRICS},
        "parameters": 1,
        "diverged_step": None,
        "provenance": {"seconds": 1.0, "commit": "x", "device": "x", "torch": "x", "data_sha256": "x"},
    }


if __name__ == "__main__":
    main()
