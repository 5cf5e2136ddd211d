"""One run on several devices (`env.devices`): the global batch is split over ranks, and the science stays that of one.

Every rank draws the same batches, crops and flips and takes its share of each; gradients are averaged. Batch norm sees
the whole batch (synchronised) where `model.ghost_batch` is null. Where it is the images of one rank, each rank
normalises its own, as the two GPUs of He et al. 2016 did, and as GhostBatchNorm2d does on one device: the same run.
Rank 0 alone evaluates, on whole data sets, and writes. One process per rank, on one node or several.
"""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from resnet_repro.config import ConfigError, Run
from resnet_repro.training.step import Tally


def rank() -> int:
    """Which of the run's processes this is; the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """How many processes train the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


# What differs in training --------------------------------------------------------------------------------------


def share(batch: slice) -> slice:
    """This rank's part of a global batch whose size the number of ranks divides."""
    size = (batch.stop - batch.start) // ranks()
    start = batch.start + rank() * size
    return slice(start, start + size)


def spread(net: nn.Module) -> nn.Module:
    """`net` for training: with averaged gradients and, except over ghost batches, synchronised batch norm."""
    if ranks() == 1:
        return net
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d  # the same parameters and buffers, another forward
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its new name is not in all the versions we allow
        return nn.parallel.DistributedDataParallel(net, broadcast_buffers=False)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all ranks together, on CPU and GPU alike; without ranks, plain batch norm.

    Training mode: this rank's [N, C, H, W] -> [N, C, H, W], every rank with the same N.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or ranks() == 1:
            return super().forward(x)
        assert self.momentum is not None
        values = x.float()
        mean = _mean_over_ranks(values.mean((0, 2, 3)))
        centred = values - mean[:, None, None]
        variance = _mean_over_ranks(centred.square().mean((0, 2, 3)))
        count = ranks() * x.numel() // x.shape[1]
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _MeanOverRanks(torch.autograd.Function):
    """The mean of every rank's value; its gradient is the mean of every rank's gradient, as the sum of losses asks."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total / ranks()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _MeanOverRanks.forward(ctx, gradients[0])


def _mean_over_ranks(value: Tensor) -> Tensor:
    return _MeanOverRanks.apply(value)


def combine(tally: Tally, net: nn.Module) -> None:
    """Sums the ranks' tallies, and averages the running statistics that each rank's batch norm has kept."""
    if ranks() == 1:
        return
    for total in (tally.wrong, tally.seen, tally.loss):
        dist.all_reduce(total)
    dist.all_reduce(tally.first_bad, dist.ReduceOp.MIN)
    for buffer in net.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer.div_(ranks())


def check_same_step(step: int, device: torch.device) -> None:
    """Raises RuntimeError where a rank goes on from another checkpoint than the others."""
    if ranks() > 1:
        steps = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(ranks())]
        dist.all_gather(steps, torch.tensor(step, device=device))
        if any(int(other) != step for other in steps):
            raise RuntimeError(f"the ranks see checkpoints of steps {[int(s) for s in steps]}: is env.runs_dir shared?")


# The processes -------------------------------------------------------------------------------------------------


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
        with _group(run, device, meeting, first):
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
def _group(run: Run, device: torch.device, meeting: Path, number: int) -> Iterator[None]:
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{meeting}", world_size=run.env.devices, rank=number)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _start(run: Run, place: Path, device: torch.device, meeting: Path, number: int) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-m", "resnet_repro.training.parallel"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(pickle.dumps((run, place, device, meeting, number)))
    return process


def follow(run: Run, place: Path) -> None:
    """Takes part in the training of a run that another process leads; returns at once where there is a record."""
    if (place / "record.json").exists():
        return
    from resnet_repro import data
    from resnet_repro.training.fit import fit
    from resnet_repro.training.member import Member

    images = data.load(run.data.name, Path(run.env.data_dir), split=run.data.split, download=run.env.download)
    fit([Member(run, images, place)], lambda _: None)


def main() -> None:
    """A rank that `together` has started."""
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)  # the first process decides
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends with the first process
    run, place, device, meeting, number = pickle.load(sys.stdin.buffer)
    with _group(run, device, meeting, number):
        follow(run, place)


if __name__ == "__main__":
    main()
