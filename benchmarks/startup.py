"""How soon the commands answer that train nothing, for an experiment of 100 runs, and whether they import torch."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import table
from resnet_repro import experiment, planning, report

EXPERIMENT = "batchnorm-digits"  # 100 runs
REPEATS = 5
WATCH = "import sys, runpy; sys.argv = sys.argv[1:]\ntry: runpy.run_module(sys.argv[0], run_name='__main__')\n" \
    "finally: print('IMPORTED', [m for m in ('torch', 'pytorch_lightning', 'wandb') if m in sys.modules])"  # fmt: skip


def main() -> None:
    """Times each command as a whole process; the median of 5 calls after a first one."""
    runs = len(planning.plan(experiment.load(EXPERIMENT)))
    root = Path(__file__).resolve().parent.parent
    commands = {
        "status": ["resnet_repro.status", EXPERIMENT],
        "plan": ["resnet_repro.sweep", EXPERIMENT, "--plan"],
        "train --cfg job": ["resnet_repro.train", "--cfg", "job"],
    }
    if (report.RESULTS / EXPERIMENT / "data" / "runs.csv").exists():
        commands["report, up to date"] = ["resnet_repro.report", EXPERIMENT]
    rows = [_row(what, command, runs, root) for what, command in commands.items()]
    table.write("startup", [*rows, _thousand_planned()])


def _row(what: str, command: list[str], runs: int, root: Path) -> dict[str, object]:
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", *command], cwd=root, check=False, capture_output=True)
        seconds.append(time.perf_counter() - started)
    watched = subprocess.run(
        [sys.executable, "-c", WATCH, *command], cwd=root, capture_output=True, encoding="utf-8", check=False
    )
    imported = next(line for line in watched.stdout.splitlines() if line.startswith("IMPORTED"))
    return {"what": what, "runs": runs, "seconds": statistics.median(seconds[1:]), "heavy imports": imported[9:]}


def _thousand_planned() -> dict[str, object]:
    spec = experiment.load(EXPERIMENT)
    started = time.perf_counter()
    planned = planning.plan(spec, [f"seed={','.join(map(str, range(50)))}"])
    return {
        "what": "planning and validation",
        "runs": len(planned),
        "seconds": time.perf_counter() - started,
        "heavy imports": "[]",
    }


if __name__ == "__main__":
    main()
