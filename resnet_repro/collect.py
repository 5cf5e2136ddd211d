"""From run folders to the measured data of an experiment: results/<experiment>/data/runs.csv and curves.csv."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_repro import records
from resnet_repro.config import columns
from resnet_repro.metrics import METRICS, SHARES
from resnet_repro.planning import Planned

PROVENANCE = ("seconds", "commit", "device", "torch", "data_sha256")


def collect_runs(planned: Sequence[Planned], data: Path) -> tuple[int, int]:
    """Copies the records of a plan into data/runs.csv and data/curves.csv.

    A planned run without a record keeps the row it has there, if any (measured earlier, or elsewhere); rows that
    belong to no planned run are dropped. The files stay as they are when no row would be left.
    Returns how many rows came from records and how many were kept.
    """
    old_runs, old_curves = _read_table(data / "runs.csv"), _read_table(data / "curves.csv")
    kept_runs = {old["run_id"]: old for old in old_runs}
    kept_curves: dict[str, list[dict[str, str]]] = {}
    for point in old_curves:
        kept_curves.setdefault(point["run_id"], []).append(point)
    runs: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    taken = 0
    for plan in planned:
        record = records.read(records.folder(plan.run, plan.id))
        if record is not None:
            taken += 1
            runs.append(row(plan, record))
            curves += [
                {"run_id": plan.id, "step": step, "metric": metric, "value": repr(value)}
                for step, metric, value in records.read_curves(records.folder(plan.run, plan.id))
            ]
        elif plan.id in kept_runs:
            runs.append(kept_runs[plan.id])
            curves += kept_curves.get(plan.id, [])
    if runs:
        names = ["run_id", *columns(planned[0].run), "status", *SHARES, *METRICS, "parameters", "diverged_step"]
        _write_table(data / "runs.csv", [*names, *PROVENANCE], runs)
        _write_table(data / "curves.csv", ["run_id", "step", "metric", "value"], curves)
    return taken, len(runs) - taken


def row(plan: Planned, record: dict[str, Any]) -> dict[str, Any]:
    """The run's row of runs.csv."""
    shares = {name: int(record["status_flags"][name]) for name in SHARES}
    provenance = {k: record["provenance"].get(k) for k in PROVENANCE}
    settings = {"run_id": plan.id, **columns(plan.run), "status": record["status"], **shares}
    return settings | record["metrics"] | {k: record[k] for k in ("parameters", "diverged_step")} | provenance


def _read_table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write_table(path: Path, names: list[str], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({k: "" if row.get(k) is None else row[k] for k in names} for row in rows)
    records.write_atomically(path, text.getvalue().encode())
