"""One run on several devices (`env.devices`): the global batch is split over ranks, and the science stays that of one.

Every rank draws the same batches, crops and flips and takes its share of each; Lightning's DDP averages gradients.
Batch norm sees the whole batch (synchronised) where `model.ghost_batch` is null. Where it is the images of one rank,
each rank normalises its own, as the two GPUs of He et al. 2016 did, and as GhostBatchNorm2d does on one device: the
same run. Rank 0 alone evaluates, on whole data sets, and writes. Who starts the processes: ranks.py, launch.py.
"""

import time
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins import LayerSync
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from resnet_repro.config import ConfigError, Run
from resnet_repro.ranks import launched
from resnet_repro.training.step import Tally


def rank() -> int:
    """Which of the run's processes this is; the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def trainer_arguments(run: Run, device: torch.device) -> dict[str, Any]:
    """The arguments of Lightning's Trainer that say which processes train the run, each on which device.

    Raises ConfigError where this node has fewer GPUs than ranks.
    """
    place = launched()
    if run.env.devices == 1 or place is None:
        # On a cluster too, one process trains one pack and no handler is Lightning's.
        return {"accelerator": device.type, "devices": 1, "plugins": [LightningEnvironment()]}
    per_node = place.world_size // place.nodes
    if device.type == "cuda" and torch.cuda.device_count() < per_node:
        raise ConfigError(
            f"env.devices={run.env.devices} needs {per_node} GPUs here, torch sees {torch.cuda.device_count()}; "
            "ask for more (hydra.launcher.gpus_per_node), or lower env.devices"
        )
    whole_batch = run.model.norm == "batch" and run.model.ghost_batch is None
    own = [CPUSyncBatchNorm()] if whole_batch and device.type == "cpu" else []
    return {
        "accelerator": device.type,
        "devices": per_node,
        "num_nodes": place.nodes,
        "strategy": DDPStrategy(broadcast_buffers=False),  # `combine` averages what each rank's batch norm has kept
        "plugins": [
            TorchElasticEnvironment() if place.by == "torchrun" else SLURMEnvironment(auto_requeue=False),
            *own,
        ],
        "sync_batchnorm": whole_batch and device.type == "cuda",
    }


GLOO_DRAIN_SECONDS = 0.5
"""Seconds between the last message of a rank and the end of its group."""


def leave_group() -> None:
    """Ends this rank's part in the group, if it is in one; Lightning leaves that to the end of the program."""
    if dist.is_initialized():
        # Gloo's thread gives back the tensors of the last reduction under Python's global lock. The group's destructor
        # joins that thread with the lock held: in torch 2.13 a deadlock, unless the thread has got that far before.
        time.sleep(GLOO_DRAIN_SECONDS)
        dist.destroy_process_group()


class CPUSyncBatchNorm(LayerSync):
    """Lightning's plugin for synchronised batch norm on a CPU, where torch's SyncBatchNorm refuses to train."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Has every BatchNorm2d see the batches of all ranks: the same parameters and buffers, another forward."""
        return self._exchanged(model, nn.BatchNorm2d, SyncedBatchNorm2d)

    def revert(self, model: nn.Module) -> nn.Module:
        """Makes them plain BatchNorm2d again."""
        return self._exchanged(model, SyncedBatchNorm2d, nn.BatchNorm2d)

    @staticmethod
    def _exchanged(model: nn.Module, one: type[nn.Module], other: type[nn.Module]) -> nn.Module:
        for module in model.modules():
            if type(module) is one:
                module.__class__ = other
        return model


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all ranks together; without ranks, plain batch norm. For CPUs.

    Training mode: this rank's [N, C, H, W] -> [N, C, H, W], every rank with the same N.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        assert self.momentum is not None
        values = x.float()
        mean = _mean_over_ranks(values.mean((0, 2, 3)))
        centred = values - mean[:, None, None]
        variance = _mean_over_ranks(centred.square().mean((0, 2, 3)))
        count = world_size() * x.numel() // x.shape[1]
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
        return total / world_size()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _MeanOverRanks.forward(ctx, gradients[0])


def _mean_over_ranks(value: Tensor) -> Tensor:
    return _MeanOverRanks.apply(value)


def counted(tally: Tally) -> tuple[int, int]:
    """Wrong answers and answers over all ranks since the tally's reset; waits for the device once."""
    both = torch.stack([tally.wrong, tally.seen])
    if world_size() > 1:
        dist.all_reduce(both)
    wrong, seen = both.tolist()
    return wrong, seen


def combine(tally: Tally, net: nn.Module) -> None:
    """Sums the ranks' tallies, and averages the running statistics that each rank's batch norm has kept."""
    if world_size() == 1:
        return
    for total in (tally.wrong, tally.seen, tally.loss):
        dist.all_reduce(total)
    dist.all_reduce(tally.first_bad, dist.ReduceOp.MIN)
    for buffer in net.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer.div_(world_size())


def check_same_step(step: int, device: torch.device) -> None:
    """Raises RuntimeError where a rank goes on from another checkpoint than the others."""
    if world_size() > 1:
        steps = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(world_size())]
        dist.all_gather(steps, torch.tensor(step, device=device))
        if any(int(other) != step for other in steps):
            raise RuntimeError(f"the ranks see checkpoints of steps {[int(s) for s in steps]}: is env.runs_dir shared?")
