"""Writes what a benchmark measured, with where it was measured, to benchmarks/results/<name>.csv, and prints it."""

import time
from pathlib import Path
from typing import Any

import pandas as pd

from resnet_repro import provenance

RESULTS = Path(__file__).resolve().parent / "results"


def write(name: str, rows: list[dict[str, Any]], device: str = "cpu") -> None:
    """One row per measurement; commit, device, versions and date are added as columns."""
    machine = provenance.describe(device)
    origin = {k: machine[k] for k in ("commit", "device", "python", "torch", "pytorch-lightning")}
    frame = pd.DataFrame(rows)
    print(f"\n{name}\n{frame.to_markdown(index=False, floatfmt='.4g')}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    frame.assign(**origin, date=time.strftime("%Y-%m-%d")).to_csv(RESULTS / f"{name}.csv", index=False)
