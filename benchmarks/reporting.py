"""How long a report on 1,000 runs takes: synthetic records, real tables and figures."""

import csv
import gzip
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import table
from resnet_repro import experiment, metrics, planning, project
from resnet_repro.config import columns

EXPERIMENT = "degradation-digits"


def main() -> None:
    """Writes 1,000 records of 125 seeds and reports on them in a process of its own."""
    text = (project.ROOT / "experiments" / f"{EXPERIMENT}.yaml").read_text(encoding="utf-8")
    many = text.replace("seed: [0, 1, 2, 3, 4]", f"seed: {list(range(125))}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{EXPERIMENT}.yaml"
        path.write_text(many, encoding="utf-8")
        planned = planning.plan(experiment.read(path))
        _write_records(planned, Path(folder) / "results" / EXPERIMENT / "data")
        code = (
            "import sys; from pathlib import Path; from resnet_repro import project, report\n"
            "project.EXPERIMENTS = (Path(sys.argv[1]),)\n"
            f"report.render('{EXPERIMENT}', Path(sys.argv[1]) / 'results')"
        )
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, folder], check=True)
        seconds = time.perf_counter() - started
    table.write("reporting", [{"what": "report, tables and figures", "runs": len(planned), "seconds": seconds}])


def _write_records(planned: list[planning.Planned], data: Path) -> None:
    rng = random.Random(0)
    data.mkdir(parents=True)
    runs, points = [], []
    for plan in planned:
        row = columns(plan.run)
        final = rng.uniform(0, row["depth"] if row["model"] == "plain" else 5)
        errors = {name: final + rng.random() for name in metrics.METRICS if name != "valid_error"}
        flags = dict.fromkeys(metrics.SHARES, 0) | {"failed": int(errors["test_error"] > 20)}
        runs.append({"run_id": plan.id, **row, "status": "finished", **flags, **errors, "parameters": 1, "seconds": 1})
        for step in range(20, 401, 20):
            for metric in ("train_error_running", "train_loss", "test_error"):
                value = final + 90 * (1 - step / 400)
                points.append({"run_id": plan.id, "step": step, "metric": metric, "x": "", "y": "", "value": value})
    extra = {"valid_error": "", "diverged_step": "", "commit": "x", "device": "x", "torch": "x", "data_sha256": "x"}
    _write(data / "runs.csv", [row | extra for row in runs])
    _write(data / "points.csv.gz", points)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
