"""Normalisation layers: over the batch or parts of it, or over parts of each image; or none."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_repro.nets.checks import check_choice, check_positive
from resnet_repro.nets.noise import Noise, NoisyBatchNorm2d

NORMS = ("batch", "layer", "instance", "group", "group_ws", "none", "batch_noisy", "none_noisy")
GROUPS = 8


class GhostBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over ghost batches: each `ghost_batch` consecutive samples share their statistics.

    One device then normalises as several would: 128 samples in ghost batches of 64 see the statistics of the
    "128 on 2 GPUs (64 each)" of He et al. 2016 (arXiv:1603.05027, appendix). Hoffer et al. 2017
    (arXiv:1705.08741, algorithm 1) named the method.

    Training mode: [N, C, H, W] -> [N, C, H, W]; when `ghost_batch` does not divide N, the last ghost batch is
    smaller. The running mean (variance) moves once per step, by `momentum`, towards the mean over ghost batches
    of their means (of their unbiased variances), each ghost batch counted once. That is exactly what one
    BatchNorm2d per device gives when the devices' buffers are averaged after every step; the variance *between*
    ghost batches is in neither. Evaluation mode is that of BatchNorm2d, and so is `momentum=None` (the plain
    average over steps since the reset, which `torch.optim.swa_utils.update_bn` uses).

    Raises ValueError when a ghost batch has one value per channel, whose variance is zero.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor | None

    def __init__(self, channels: int, ghost_batch: int) -> None:
        super().__init__(channels)
        check_positive("ghost_batch", ghost_batch)
        self.ghost_batch = ghost_batch

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [N, C, H, W], in training mode with each ghost batch's own statistics."""
        if not self.training:
            return super().forward(x)
        ghosts = x.split(self.ghost_batch)
        self._check_size(ghosts[-1])
        momentum = self._count_step()
        # Views along N: no copy, channels_last stays, and each is the native batch norm kernel of one device.
        means, variances = self.running_mean.repeat(len(ghosts), 1), self.running_var.repeat(len(ghosts), 1)
        y = [
            F.batch_norm(ghost, mean, variance, self.weight, self.bias, True, momentum, self.eps)
            for ghost, mean, variance in zip(ghosts, means, variances, strict=True)
        ]
        self.running_mean.copy_(means.mean(0))
        self.running_var.copy_(variances.mean(0))
        return torch.cat(y)

    def _check_size(self, ghost: Tensor) -> None:
        if ghost.numel() == ghost.shape[1]:
            raise ValueError(
                f"a ghost batch needs more than 1 value per channel, got one of shape {tuple(ghost.shape)}: "
                f"choose a batch that ghost_batch={self.ghost_batch} divides, or drop the last samples"
            )

    def _count_step(self) -> float:
        """Count this step and return the weight of its statistics in the running ones."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1.0 / float(self.num_batches_tracked)
        assert self.momentum is not None, "a plain average needs num_batches_tracked"
        return self.momentum


def make_norm(norm: str, channels: int, ghost_batch: int | None = None) -> nn.Module:
    """Return the normalisation layer for maps of [N, `channels`, H, W].

    batch: batch norm (Ioffe & Szegedy 2015, arXiv:1502.03167), over ghost batches if `ghost_batch` is given.
    group: group norm (Wu & He 2018, arXiv:1803.08494) with min(8, `channels`) groups. Their default of 32 groups
        does not divide the 16 channels of the CIFAR networks; 8 divides the usual widths and leaves at least 2
        channels to a group at width 16.
    group_ws: the same, behind convolutions with standardised weights (see `StandardizedConv2d`).
    layer: one group (Ba et al. 2016, arXiv:1607.06450): mean and variance over C, H and W of each image.
    instance: as many groups as channels (Ulyanov et al. 2016, arXiv:1607.08022): over H and W of each channel of each
        image. It leaves nothing of a map of one pixel.
    none: the identity. Every other norm has a scale and a shift per channel, so a convolution has a bias only here.
    batch_noisy, none_noisy: batch norm or none, with noise behind it (see `Noise`).

    Raises ValueError for another `norm`, a `channels` that the groups do not divide, a `ghost_batch` below 1 or
    one without batch norm.
    """
    check_choice("norm", norm, NORMS)
    if norm != "batch" and ghost_batch is not None:
        raise ValueError(
            f"ghost_batch is for norm 'batch', got ghost_batch={ghost_batch} with norm {norm!r}: "
            "leave ghost_batch out or choose norm 'batch'"
        )
    if norm == "none":
        return nn.Identity()
    if norm.endswith("_noisy"):
        return NoisyBatchNorm2d(channels) if norm == "batch_noisy" else Noise()
    if norm != "batch":
        return nn.GroupNorm({"layer": 1, "instance": channels}.get(norm) or _groups(channels), channels)
    return nn.BatchNorm2d(channels) if ghost_batch is None else GhostBatchNorm2d(channels, ghost_batch)


def set_momentum(net: nn.Module, momentum: float) -> None:
    """Let the running statistics of every batch norm of `net` move by this share of the way in each step.

    0.1 is PyTorch's default; Ioffe & Szegedy 2015 leave it open. It changes no weight, since training normalises by the
    batch; only evaluation mode reads what has run. Raises ValueError unless it is above 0 and at most 1.
    """
    if not 0 < momentum <= 1:
        raise ValueError(f"norm_momentum must be above 0 and at most 1, got {momentum}: choose e.g. 0.1")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum


def _groups(channels: int) -> int:
    groups = min(GROUPS, channels)
    if channels % groups:
        raise ValueError(
            f"group norm needs a number of channels that its {groups} groups divide, got {channels}: "
            f"choose a width that is a multiple of {GROUPS}"
        )
    return groups
