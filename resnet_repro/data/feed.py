"""Where batches come from, whether their images lie on the device or in files."""

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

from resnet_repro.data.batches import Draws
from resnet_repro.errors import UserError

Batch = tuple[Tensor, Tensor]
"""float32 images [N, C, H, W], normalised, and labels int64 [N], on the device."""

Batches = Callable[[], Iterable[Batch]]
"""Starts one pass over a set."""


class Feed(Protocol):
    """The batches of one run for its training, and passes over its data sets to measure on.

    epoch_steps, full_steps: steps in an epoch, and those of them with a whole batch.
    train_y: the labels of the training images that training errors are measured on (see `measured`).
    """

    epoch_steps: int
    full_steps: int
    train_y: Tensor

    def seek(self, step: int) -> None:
        """Makes the batch of this step the next."""

    def next(self) -> Batch:
        """This rank's share of the next batch of a step that has a whole one, cropped and flipped at random."""

    def rest(self) -> Batch:
        """The partial batch at the end of the epoch."""

    def clean(self, part: str, batch: int | None = None) -> Batches:
        """Passes over "train", "valid" or "test", not augmented; of "train" the images to measure on.

        batch: images at once, None for what suits the device.
        """

    def augmented(self, epoch: int) -> Batches:
        """Passes over the training images to measure on, in the order and with the crops and flips of an epoch."""


def measured(count: int, images: int | None) -> Tensor | None:
    """Which of `count` training images the errors are measured on: int64 indices, rising; None for all.

    The first `images` of one permutation for all runs.
    """
    if images is None or images >= count:
        return None
    return torch.randperm(count, generator=torch.Generator().manual_seed(1))[:images].sort().values


def of_measured(draws: Draws, indices: Tensor | None) -> Draws:
    """Of the draws of an epoch those of the images measured on, in their order; indices: see `measured`."""
    return draws if indices is None else Draws(*(part[torch.isin(draws.order, indices)] for part in draws))


def check_size(images: Tensor, size: int | None) -> None:
    """Raises UserError where images [N, C, H, W] have not `size` pixels on a side."""
    height, width = images.shape[2:]
    if size is not None and (height, width) != (size, size):
        raise UserError(
            f"data.size is {size}, and the images have {width}x{height} pixels; leave it out, hold them in "
            "memory (data.stream=false) to have them averaged down, or resize them"
        )
