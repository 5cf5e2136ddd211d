"""What W&B is given of each step of a run, and what a file of W&B's own holds."""

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_repro import records
from resnet_repro.metrics import SURFACES


def by_step(points: Sequence[records.Point]) -> dict[int, dict[str, Any]]:
    """What W&B is given of each step: `{"step": 20, "train_loss": 1.2, ...}`; of a metric with an axis `_profile`.

    It has no chart of what has two axes, and is given none.
    """
    steps: dict[int, dict[str, Any]] = {}
    for step, metric, x, _, value in points:
        if metric in SURFACES:
            continue
        logged = steps.setdefault(step, {"step": step})
        if x is None:
            logged[metric] = value
        else:
            logged.setdefault(metric, {})[x] = value
    return {
        step: {k: _profile(v) if isinstance(v, dict) else v for k, v in logged.items()}
        for step, logged in steps.items()
    }


def _profile(values: Mapping[float, float]) -> Any:
    """A histogram whose bins begin at each x, as high as the value there: W&B then shows the profile over the steps.

    values: by x, the layer, lag, step size, ... The last bin is as wide as the one before it. What is no number is
    drawn as 0; of more places than W&B has bins, every second, third, ...
    """
    import numpy as np
    import wandb

    places = sorted(values)[:: -(-len(values) // wandb.Histogram.MAX_LENGTH)]
    heights = [values[x] if math.isfinite(values[x]) else 0.0 for x in places]
    width = places[-1] - places[-2] if len(places) > 1 else 1
    return wandb.Histogram(np_histogram=(np.array(heights), np.array([*places, places[-1] + width])))


def logged(path: Path) -> list[dict[str, Any]] | None:
    """The points in a file of W&B's, the newest last, a beginning of what was to be logged to it; None: unreadable."""
    from wandb.util import get_core_path

    # What `wandb leet inspect --json` calls, which takes a second to start.
    reader = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file"]
    done = subprocess.run(
        [*reader, str(path), str(path.parent)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        return None
    found = [json.loads(line) for line in done.stdout.splitlines()]
    items = [record["history"]["item"] for record in found if record["type"] == "history"]
    return [{k: v for k, v in item.items() if not k.startswith("_")} for item in items]
