"""The processes that train one run on several devices, one each: what their starter tells them in the environment.

torchrun and Slurm's srun start them; where neither has, training/launch.py does it as torchrun would. Told without
torch, so that a process knows at once whether it is the one that writes and prints.
"""

import os
from dataclasses import dataclass

from resnet_repro.config import ConfigError, Run


@dataclass(frozen=True)
class Launched:
    """The place of this process among those that were started together."""

    by: str
    rank: int
    world_size: int
    nodes: int


def launched() -> Launched | None:
    """Who started this process as one of several, and which it is; None where nobody did."""
    said = os.environ
    if "TORCHELASTIC_RUN_ID" in said:
        return Launched("torchrun", int(said["RANK"]), int(said["WORLD_SIZE"]), int(said["GROUP_WORLD_SIZE"]))
    if int(said.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        tasks, nodes = int(said["SLURM_STEP_NUM_TASKS"]), int(said["SLURM_STEP_NUM_NODES"])
        return Launched("srun", int(said["SLURM_PROCID"]), tasks, nodes)
    return None


def rank() -> int:
    """Which of the processes this is; the first one, 0, writes and prints."""
    place = launched()
    return 0 if place is None else place.rank


def check(run: Run) -> None:
    """Raises ConfigError where more or fewer processes were started than the run has devices."""
    place = launched()
    if place is not None and place.world_size != run.env.devices:
        raise ConfigError(
            f"{place.by} has started {place.world_size} processes, and env.devices is {run.env.devices}: "
            f"set env.devices={place.world_size}, or start as many processes as devices"
        )
