"""How long a report on 3,000 runs takes, and to open its pages: synthetic records, real tables, figures and browser."""

import csv
import gzip
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from playwright.sync_api import sync_playwright

from benchmarks import table
from resnet_repro import experiment, metrics, planning, project
from resnet_repro.config import columns

EXPERIMENT = "degradation-digits"
SEEDS, SCALES = 12, 82
MB = 1e6


def main() -> None:
    """Writes 2,988 records of 249 cells, reports on them in a process of its own, and opens the pages in Chromium."""
    document = yaml.safe_load((project.ROOT / "experiments" / f"{EXPERIMENT}.yaml").read_text(encoding="utf-8"))
    (part,) = document["grid"]
    part["seed"] = list(range(1000, 1000 + SEEDS))
    scales = [round(0.4 + k / 100, 2) for k in range(SCALES)]
    document["grid"] = [part | {"model": "plain"}, part | {"model": "resnet", "model.shortcut_scale": scales}]
    for side in (claim.get(of, {}) for claim in document["claims"] for of in ("of", "minus")):
        if side.get("model") == "resnet":
            side["shortcut_scale"] = 1.0
    for figure in document["figures"]:
        figure["where"] = {"shortcut_scale": 1.0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{EXPERIMENT}.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        planned = planning.plan(experiment.read(path))
        results = Path(folder) / "results"
        _write_records(planned, results / EXPERIMENT / "data")
        code = (
            "import sys; from pathlib import Path; from resnet_repro import project, report\n"
            "project.EXPERIMENTS = (Path(sys.argv[1]),)\n"
            f"report.render('{EXPERIMENT}', Path(sys.argv[1]) / 'results')"
        )
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, folder], check=True)
        rows = [{"what": "report, tables and figures", "seconds": time.perf_counter() - started}]
        rows += _opened(results)
    table.write("reporting", [{"runs": len(planned), **row} for row in rows])


def _opened(results: Path) -> list[dict[str, object]]:
    """Until the page of the experiment has its chart, and the page of runs its rows, from disk; and their sizes in MB.

    data_mb: of what the page loads as it needs it.
    """
    pages = {
        "page of the experiment, until its chart is drawn": (
            f"{EXPERIMENT}/report.html", ".chart path", ("runs", "points"),
        ),
        "page of all runs, until its table is there": (
            f"site/runs.html#{EXPERIMENT}", "#browser tbody tr", ("runs",),
        ),
    }  # fmt: skip
    rows = list[dict[str, object]]()
    shared = sum(path.stat().st_size for path in (results / "site").glob("*.*s"))  # scripts and style
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for what, (page, there, kinds) in pages.items():
            tab = browser.new_page()
            started = time.perf_counter()
            tab.goto(f"{results.as_uri()}/{page}")
            tab.wait_for_selector(there, state="attached")
            seconds = time.perf_counter() - started
            tab.close()
            own = (results / page.partition("#")[0]).stat().st_size
            data = sum((results / EXPERIMENT / f"report-{kind}.js").stat().st_size for kind in kinds)
            rows.append({"what": what, "seconds": seconds, "page_mb": (own + shared) / MB, "data_mb": data / MB})
        browser.close()
    return rows


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
