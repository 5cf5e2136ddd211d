"""What a look of each probe costs, in steps of the run and as a part of the whole run at the default spacing.

A digits run of 400 steps of 128 images, depth 20 and 56, plain and residual; by default a probe looks before the first
step and after the last one, or only after the last. CPU seconds of one thread: other work changes them little.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import table
from resnet_repro import data, settings
from resnet_repro.probes import PROBES
from resnet_repro.training.fit import set_up
from resnet_repro.training.train_state import TrainState

REPEATS = 3
LONG = 10.0
"""Seconds after which nothing is repeated."""
AIM = 5.0
"""Per cent of a run that its probes may cost at their default spacing."""


def main() -> None:
    """A row for each probe and kind of network."""
    rows = [row for depth in (20, 56) for model in ("plain", "resnet") for row in _rows(model, depth)]
    table.write("probes", rows)


def _rows(model: str, depth: int) -> list[dict[str, Any]]:
    run = settings.compose([f"model={model}", f"model.depth={depth}", "env.device=cpu", "measure.probes=[gradients]"])
    with tempfile.TemporaryDirectory() as folder:
        state = TrainState(run, data.load("digits", Path()), Path(folder))
        state.begin(set_up(run))
        step = _seconds(lambda: state.engine.advance(0, 20, 0)) / 20
        rows = []
        for name, probe in PROBES.items():
            seconds = _seconds(lambda name=name: state.looks.take([name], state.net, 0))  # type: ignore[misc, union-attr]
            looks = sum(probe.due(at, 0, at == run.optim.steps) for at in (0, run.optim.steps))
            percent = 100 * looks * seconds / (run.optim.steps * step)
            rows.append(
                {"run": f"{model}, {depth} layers", "probe": name, "ms/step": 1e3 * step, "s/look": seconds,
                 "steps/look": seconds / step, "looks": looks, "% of the run": percent,
                 f"within {AIM:g} %": percent <= AIM}
            )  # fmt: skip
    return rows


def _seconds(do: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < LONG:
        begin = time.process_time()
        do()
        times.append(time.process_time() - begin)
    return statistics.median(times)


if __name__ == "__main__":
    main()
