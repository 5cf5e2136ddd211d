"""Which runs are trained side by side in one process: packs, for a device that one small network leaves mostly idle."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol, runtime_checkable

from hydra.core.utils import JobReturn

from resnet_repro.config import ConfigError, Run, cost, engine_of
from resnet_repro.machine import visible_gpus

SIZE = 6
"""Runs in a pack where nothing else is said and the engine is `graph`: {plain, residual} x 3 seeds of one depth."""


@runtime_checkable
class PackLauncher(Protocol):
    """A Hydra launcher that can train several runs in one process."""

    pack: int | None
    """Runs in a process at most; None: what the engine asks for."""
    at_once: int
    """Processes at once."""

    def launch_packs(self, packs: Sequence[Sequence[Sequence[str]]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Trains every pack, given by the overrides of its runs; one JobReturn for each run, in their order."""


def packs(runs: Sequence[Run], size: int | None, slots: int) -> list[list[int]]:
    """The runs, by number, in packs of at most `size`; the packs in the order of their first runs.

    A pack lasts as long as its longest run, so runs of equal cost go together, in packs of nearly equal size. There
    are at least as many packs as `slots`, if there are as many runs. What is set once for a process (`env`, `trainer`,
    and the precision) is the same within a pack. size None: SIZE with the graph engine, else 1.
    Raises ConfigError for a size below 1, and for one above 1 with a run on several devices.
    """
    if size is not None and size < 1:
        raise ConfigError(f"hydra.launcher.pack must be at least 1 or null, got {size}")
    evenly = -(-len(runs) // slots)
    groups: dict[tuple[float, str], list[int]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(_alike(run), []).append(number)
    found = []
    for alike in groups.values():
        found += _chunks(alike, max(1, min(_wanted(runs[alike[0]], size), evenly)))
    return sorted(found)


def _wanted(run: Run, size: int | None) -> int:
    if run.env.devices > 1 and (size or 1) > 1:
        raise ConfigError(f"hydra.launcher.pack={size} needs env.devices=1, got {run.env.devices}; leave one out")
    gpu = run.env.device != "cpu" and bool(visible_gpus())
    return size or (SIZE if engine_of(run, gpu) == "graph" else 1)


def _alike(run: Run) -> tuple[float, str]:
    """Equal for runs that take equally long and need one setting of the process."""
    return cost(run), f"{run.optim.precision} {asdict(run.env)} {asdict(run.trainer)}"


def _chunks(numbers: list[int], size: int) -> list[list[int]]:
    """Into as few pieces of at most `size` as there can be, which differ in length by one at most."""
    count = -(-len(numbers) // size)
    return [numbers[k * len(numbers) // count : (k + 1) * len(numbers) // count] for k in range(count)]
