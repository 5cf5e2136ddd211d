"""The one batch of images that every look of a run's probes is taken on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from resnet_repro.data import Feed
from resnet_repro.data.batches import mixed

EPOCH = -2
"""Its draws: an epoch that no training sees, nor the measurement of errors on augmented images (-1)."""
OWN = -5
"""What makes the draws of probes differ from those of an epoch, of images and labels (-3, -4), and of the weights: a
random direction must not be that of the initial weights, which the run's seed draws."""


@dataclass(frozen=True, eq=False)
class Batch:
    """images: float32 [B, C, H, W], normalised; labels: int64 [B]; bf16: whether products are computed in it.

    lr, clip: of a step of the run, the learning rate before any milestone, and the largest gradient norm.
    seed: for what a probe draws.
    """

    images: Tensor
    labels: Tensor
    bf16: bool
    lr: float = 0.1
    clip: float | None = None
    seed: int = 0


def fixed_batch(feed: Feed, size: int, *, bf16: bool, lr: float, clip: float | None, seed: int) -> Batch:
    """The first `size` images of an epoch drawn from the seed, cropped and flipped as in training.

    All networks of one seed see the same. With fewer images to measure on than `size`, it is all of them.
    bf16, lr, clip: see `Batch`. seed: that of the run, from which that of the batch follows.
    """
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for some, their in feed.augmented(EPOCH)():
        images.append(some)
        labels.append(their)
        if sum(map(len, labels)) >= size:
            break
    return Batch(torch.cat(images)[:size], torch.cat(labels)[:size], bf16, lr, clip, mixed(seed, OWN))


def with_statistics_of(images: Tensor, net: nn.Module) -> nn.Module:
    """The network itself, in evaluation mode, with the statistics of [B, C, H, W] images in its batch norms.

    It then computes for each image what it does in training mode with these images as the batch, but for B / (B - 1) in
    the variances, and no output depends on another image.
    """
    update_bn([images], net)
    return net.eval()
