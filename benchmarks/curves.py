"""What the curves of a run cost: its test errors, points and checkpoints, against the steps between them.

A run of the CIFAR-10 task measures its test error (10,000 images) every 2,000 steps and writes a point of the curves
every 400; on digits it is 297 images every 100 steps, and a point every 20. A checkpoint is written once in
`env.checkpoint_seconds`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.timing import CUDA, DEVICE, engine_seconds, random_images
from resnet_repro import data, settings
from resnet_repro.machine import cores
from resnet_repro.training.fit import set_up
from resnet_repro.training.train_state import TrainState

TEST_IMAGES = 10_000
REPEATS = 3


def main() -> None:
    """A row for each task, depth and engine of this device."""
    engines = ("eager", "graph") if CUDA else ("eager",)
    tasks = [("cifar10", depth) for depth in (20, 56)] + [("digits", 20)]
    rows = [_row(task, depth, engine) for task, depth in tasks for engine in engines]
    table.write("curves-cuda" if CUDA else "curves-cpu", rows, DEVICE.type)


def _row(task: str, depth: int, engine: str) -> dict[str, Any]:
    words = [f"task={task}", f"model.depth={depth}", f"env.engine={engine}", f"env.threads={cores()}"]
    run = settings.compose(words)
    step = statistics.median(engine_seconds(words))
    with tempfile.TemporaryDirectory() as folder:
        state = TrainState(run, _images(task), Path(folder))
        state.begin(set_up(run))
        tested = _median(lambda: _point(state, run.probes.eval_every))
        untested = _median(lambda: _point(state, run.probes.curve_every))
        saved = _median(state.save)
    points = run.probes.eval_every // run.probes.curve_every
    curves = (tested + (points - 1) * untested) / (run.probes.eval_every * step)
    return {
        "run": f"{task}, ResNet-{depth}", "engine": engine, "ms/step": 1e3 * step,
        "point with test error, ms": 1e3 * tested, "point without, ms": 1e3 * untested, "checkpoint, ms": 1e3 * saved,
        "test errors and points, % of the steps": 100 * curves,
        "checkpoints, % of the time": 100 * saved / run.env.checkpoint_seconds,
    }  # fmt: skip


def _images(task: str) -> data.Images:
    if task == "digits":
        return data.load("digits", Path())
    images = random_images(TEST_IMAGES)
    return replace(images, test_x=images.train_x, test_y=images.train_y)


def _point(state: TrainState, step: int) -> None:
    """Closes an interval that ends at `step`, so with a test error where one is due."""
    state.engine.tally.seen.fill_(1)
    state.step = step
    state.close_interval()


def _median(do: Callable[[], object]) -> float:
    """Seconds; what it does ends by reading from the device, so nothing is left under way."""
    do()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        do()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


if __name__ == "__main__":
    main()
