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
    asked = (run.env.devices, run.trainer.num_nodes)
    if place is not None and (place.world_size, place.nodes) != asked:
        raise ConfigError(
            f"{place.by} has started {place.world_size} processes on {place.nodes} nodes, and env.devices is "
            f"{asked[0]}, trainer.num_nodes {asked[1]}: set env.devices={place.world_size} "
            f"trainer.num_nodes={place.nodes}, or start one process for each device"
        )
    if place is None and asked[1] > 1:
        raise ConfigError(
            f"trainer.num_nodes={asked[1]}: start the run on every node by torchrun, or by the launcher slurm with -m; "
            "or leave it out"
        )
