"""One run on several devices (`env.devices`): the global batch is split over ranks, and the science stays that of one.

Every rank draws the same batches, crops and flips and takes its share of each; gradients are averaged. Batch norm sees
the whole batch (synchronised) where `model.ghost_batch` is null. Where it is the images of one rank, each rank
normalises its own, as the two GPUs of He et al. 2016 did, and as GhostBatchNorm2d does on one device: the same run.
Rank 0 alone evaluates, on whole data sets, and writes. The processes: ranks.py.
"""

import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from resnet_repro.training.step import Tally


def rank() -> int:
    """Which of the run's processes this is; the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """How many processes train the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


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


def counted(tally: Tally) -> tuple[int, int]:
    """Wrong answers and answers over all ranks since the tally's reset; waits for the device once."""
    both = torch.stack([tally.wrong, tally.seen])
    if ranks() > 1:
        dist.all_reduce(both)
    wrong, seen = both.tolist()
    return wrong, seen


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
