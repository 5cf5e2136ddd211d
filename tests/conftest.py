"""Shared fixtures: collected data of an experiment, made up but in the form that `collect_runs` writes."""

import csv
import gzip
import random

import pytest

from resnet_repro.collect import MEASURED, PROVENANCE
from resnet_repro.config import columns
from resnet_repro.metrics import METRICS, SURFACES
from resnet_repro.planning import plan
from resnet_repro.probes import PROBES


def measured_row(settings, errors=None, diverged_step=None, **other):
    """What runs.csv says of a run: every error the same number, or those given."""
    errors = dict.fromkeys(METRICS, errors) if isinstance(errors, float | int) else dict(errors or {})
    if diverged_step is not None:
        errors = dict.fromkeys(METRICS, 100.0) | {"train_loss": None}
    if settings["split"] == "full":
        errors["valid_error"] = None
    test = errors.get("test_error") or 0.0
    flags = {"diverged": int(diverged_step is not None), "stuck": int(test >= 89.0), "failed": int(test > 20.0)}
    status = next((k for k in flags if flags[k]), "finished")
    origin = dict(
        zip(PROVENANCE, (7.25, "0123abc", "cpu", "2.13.0", "ab" * 32, "1", "channels_last", "1", "False"), strict=False)
    )
    row = {"status": status, **flags, **errors, "parameters": 1000, "diverged_step": diverged_step, **origin}
    return row | other


def write_table(path, names, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)


@pytest.fixture(scope="session")
def write_data():
    """write_data(experiment, folder, outcome): writes folder/data/{runs,points}.csv for the experiment's plan.

    outcome(settings) gives the arguments of `measured_row`, or None for a run that is missing.
    Returns {run_id: (settings, row)}.
    """

    def write(experiment, folder, outcome):
        runs, points, written = [], [], {}
        for planned in plan(experiment):
            settings = columns(planned.run)
            result = outcome(settings)
            if result is None:
                continue
            row = measured_row(settings, **result)
            written[planned.id] = (settings, row)
            runs.append({"run_id": planned.id, **settings, **row})
            for step in range(settings["curve_every"], settings["steps"] + 1, settings["curve_every"]):
                if row["diverged_step"] is None or step < row["diverged_step"]:
                    for metric in ("train_error_running", "test_error"):
                        value = row[metric] + 50 * (1 - step / settings["steps"]) if row[metric] < 50 else row[metric]
                        points.append({"run_id": planned.id, "step": step, "metric": metric, "value": value})
            every = experiment.probe_every or settings["steps"] or 1
            points += [
                {"run_id": planned.id, "step": step, "metric": metric, "x": layer, "value": 10.0**-layer}
                for step in range(0, settings["steps"] + 1, every)
                for probe in experiment.probes
                for metric in PROBES[probe].quantities
                if metric not in SURFACES
                for layer in range(1, settings["depth"] + 1)
            ]
            points += [
                {
                    "run_id": planned.id,
                    "step": settings["steps"],
                    "metric": metric,
                    "x": x,
                    "y": y,
                    "value": 10.0 ** (x * y),
                }
                for probe in experiment.probes
                for metric in PROBES[probe].quantities
                if metric in SURFACES
                for x in (-1, 0, 1)
                for y in (-1, 0, 1)
            ]
        write_table(folder / "data" / "runs.csv", ["run_id", *columns(plan(experiment)[0].run), *MEASURED], runs)
        write_table(folder / "data" / "points.csv.gz", ["run_id", "step", "metric", "x", "y", "value"], points)
        return written

    return write


@pytest.fixture(scope="session")
def degradation():
    """An outcome like that of the real sweep: deep plain nets end high, the others low; seeds differ."""

    def outcome(settings):
        rng = random.Random(f"{settings['model']} {settings['depth']} {settings['seed']}")
        centre = {20: 0.5, 32: 1.5, 56: 55.0, 110: 85.0}[settings["depth"]] if settings["model"] == "plain" else 0.3
        train = max(0.0, rng.gauss(centre, 0.05 * centre))
        errors = {m: train for m in METRICS if m.startswith("train")} | {"train_loss": train / 40}
        return {"errors": errors | dict.fromkeys(("test_error", "test_error_exact_bn", "valid_error"), 0.9 * train + 3)}

    return outcome
