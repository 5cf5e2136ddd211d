"""What chance decides in an epoch - batch order, crops, flips - as a pure function of (seed, epoch)."""

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from resnet_repro.errors import UserError

LAST_BATCH = ("drop", "keep")


class Draws(NamedTuple):
    """The draws of one epoch, on the CPU; entry i belongs to the i-th image trained on.

    order: int64 [count], a permutation of the training set; dy, dx: int64 [count], upper left corner of the crop in
    the padded image, 0..2 * crop_padding; flip: bool [count], mirror left to right.
    """

    order: Tensor
    dy: Tensor
    dx: Tensor
    flip: Tensor


def epoch_draws(seed: int, epoch: int, *, count: int, crop_padding: int, flip: bool) -> Draws:
    """Draw one epoch of `count` images (He et al. 2015, Sec. 4.2: random crop of the padded image or its mirror).

    Everything comes from one generator, seeded by a hash of "seed/epoch". All quantities are always drawn, so runs
    that differ in `flip` or `crop_padding` alone see the same images in the same order.
    """
    if count < 1 or crop_padding < 0:
        raise ValueError(f"count is {count}, crop_padding {crop_padding}; they must be at least 1 and 0")
    generator = torch.Generator().manual_seed(mixed(seed, epoch))
    order = torch.randperm(count, generator=generator)
    mirrored = torch.randint(2, (count,), generator=generator).bool()
    dy, dx = torch.randint(2 * crop_padding + 1, (2, count), generator=generator)
    return Draws(order, dy, dx, mirrored if flip else torch.zeros_like(mirrored))


def mixed(*parts: int) -> int:
    """A seed of 32 bits from several numbers."""
    # 32 bits, as torch's CPU generator ignores higher ones. Sums such as seed + epoch would make
    # (seed 1, epoch 0) replay (seed 0, epoch 1); hashed, two epochs coincide with probability 2^-32.
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")


def steps_per_epoch(count: int, batch: int, last_batch: str) -> int:
    """Steps in an epoch of `count` images in batches of `batch`.

    last_batch "drop" leaves out the images of the partial batch at the end, others in every epoch; "keep" trains on
    them as a smaller batch (CIFAR, batch 128: 390 or 391 steps).
    """
    if last_batch not in LAST_BATCH:
        raise ValueError(f"last_batch is {last_batch!r}; it must be one of {', '.join(LAST_BATCH)}")
    if batch < 1 or count < 1:
        raise UserError(f"batch is {batch}, the training set has {count} images; both must be at least 1")
    if last_batch == "drop" and batch > count:
        raise UserError(
            f"batch is {batch}, the training set has {count} images: no batch is full and last_batch=drop leaves none. "
            f"Use a batch of at most {count}, or last_batch=keep."
        )
    return count // batch if last_batch == "drop" else -(-count // batch)


def batch_slice(step_in_epoch: int, batch: int) -> slice:
    """Where the draws of step `step_in_epoch` (0, 1, ...) stand; the last slice may reach over the end."""
    return slice(step_in_epoch * batch, (step_in_epoch + 1) * batch)


def local_slice(batch: int, rank: int, world_size: int) -> slice:
    """A rank's part of a global batch whose size the number of ranks divides."""
    size = batch // world_size
    return slice(rank * size, (rank + 1) * size)
