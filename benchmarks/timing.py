"""Seconds of one training step of our engines, in this process or in several at once.

As a program it measures one setting and prints the seconds, for `side_by_side`:
`python -m benchmarks.timing task=digits model.depth=56`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from resnet_repro import data, settings
from resnet_repro.config import engine_of
from resnet_repro.training.engine import optimizer, round_robin
from resnet_repro.training.fit import set_up
from resnet_repro.training.train_state import ENGINES, build

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
REPEATS = 5


def timed(take: Callable[[int], object], seconds: float = 1.0) -> list[float]:
    """Seconds of one step, REPEATS times, each over enough steps to last about `seconds`; at least one."""
    take(3)
    _sync()
    begin = time.perf_counter()
    take(3)
    _sync()
    steps = max(1, round(3 * seconds / (time.perf_counter() - begin)))
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        take(steps)
        _sync()
        times.append((time.perf_counter() - begin) / steps)
    return times


def _sync() -> None:
    if CUDA:
        torch.cuda.synchronize()


def engine_seconds(overrides: Sequence[str], runs: int = 1, seconds: float = 1.0) -> list[float]:
    """Seconds of one step of each of so many runs of these settings, taking turns; on random pixels but for digits."""
    engines = []
    for seed in range(runs):
        run = settings.compose([*overrides, f"seed={seed}"])
        device = set_up(run)
        images = random_images() if run.data.name != "digits" else data.load("digits", Path())
        net = build(run, images).to(device).train()
        engines.append(ENGINES[engine_of(run, device.type == "cuda")](run, net, optimizer(run, net), images))
    at = 0

    def take(steps: int) -> None:
        nonlocal at
        round_robin([engine.turns(at, at + steps, 0) for engine in engines])
        at += steps

    return timed(take, seconds)


def random_images(count: int = 5000) -> data.Images:
    """CIFAR-shaped images of random pixels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    y = torch.randint(10, (count,), generator=generator)
    return data.Images(x, y, x[:100], y[:100], None, None, 10, "random")


def side_by_side(overrides: Sequence[str], processes: int) -> list[float]:
    """Seconds of one step in each of so many processes that train at the same time, each REPEATS times."""
    command = [sys.executable, "-m", "benchmarks.timing", *overrides]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(processes)]
    return [seconds for process in started for seconds in json.loads(process.communicate()[0])]


if __name__ == "__main__":
    print(json.dumps(engine_seconds(sys.argv[1:])))
