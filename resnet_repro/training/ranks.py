"""The processes of a run on several devices: one per rank, on one node or several, which find each other by a file."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from resnet_repro.config import ConfigError, Run
from resnet_repro.training.parallel import rank

SETTLING = 0.5
"""Seconds between the last message of a rank and the end of its group."""


def local_device(run: Run, device: torch.device) -> torch.device:
    """The device of this rank: with `device` cuda and several ranks, the GPU of its own on this node."""
    if device.type == "cpu" or run.env.devices == 1:
        return device
    per_node = run.env.devices // _nodes()
    if torch.cuda.device_count() < per_node:
        raise ConfigError(
            f"env.devices={run.env.devices} needs {per_node} GPUs here, torch sees {torch.cuda.device_count()}; "
            "ask for more (hydra.launcher.gpus_per_node), or lower env.devices"
        )
    return torch.device("cuda", rank() % per_node)


def _nodes() -> int:
    return int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))


@contextmanager
def together(run: Run, place: Path, device: torch.device) -> Iterator[None]:
    """Starts this node's other ranks and trains with them in the body; they end with it. One device: does nothing."""
    if run.env.devices == 1 or dist.is_initialized():
        yield
        return
    if run.env.devices % _nodes():
        raise ConfigError(f"env.devices must be a multiple of the {_nodes()} nodes, got {run.env.devices}")
    per_node = run.env.devices // _nodes()
    first = per_node * int(os.environ.get("SLURM_NODEID", "0"))
    meeting = _meeting(place)
    others = [_start(run, place, device, meeting, number) for number in range(first + 1, first + per_node)]
    try:
        with group(run, device, meeting, first):
            yield
    except BaseException:
        for process in others:
            process.kill()
        raise
    finally:
        for process in others:
            process.wait()
        meeting.unlink(missing_ok=True)


def _meeting(place: Path) -> Path:
    """A file through which the ranks find each other: new at every start, of one name on all nodes of a job."""
    if _nodes() > 1:
        return place.absolute() / f".ranks-{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    for left in place.glob(".ranks-*"):  # by a start that was killed
        left.unlink()
    return place.absolute() / f".ranks-{time.time_ns()}"


@contextmanager
def group(run: Run, device: torch.device, meeting: Path, number: int) -> Iterator[None]:
    """Takes part as rank `number` while the body runs, with all that meet at the same file."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{meeting}", world_size=run.env.devices, rank=number)
    try:
        yield
    finally:
        # Gloo's thread gives back the tensors of the last reduction under Python's global lock. The group's destructor
        # joins that thread with the lock held: in torch 2.13 a deadlock, unless the thread has got that far before.
        time.sleep(SETTLING)
        dist.destroy_process_group()


def _start(run: Run, place: Path, device: torch.device, meeting: Path, number: int) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-m", "resnet_repro.training.follow"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(pickle.dumps((os.getpid(), run, place, device, meeting, number)))
    return process
