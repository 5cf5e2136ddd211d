"""What a network sees of one image file, as uint8: crops and flips by torchvision's v2 transforms."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from resnet_repro.data.batches import mixed


class Draw(NamedTuple):
    """What chance decides of one image in one epoch; see `Draws`."""

    epoch: int
    image: int
    dy: int
    dx: int
    flip: bool


@dataclass(frozen=True)
class View:
    """How an image is cropped.

    crop "padded": to the image's own size, at (dy, dx) of the image with `padding` black pixels on each side.
    "resized": a part of random area (8 to 100 %) and shape (3:4 to 4:3), drawn from (seed, epoch, number of the image),
    resized to `size` (Szegedy et al. 2015, arXiv:1409.4842, section 6; torchvision's defaults).
    In evaluation "padded" is the image, "resized" its central part of `size` after its shorter side is resized to
    `resize`. Resizing is bilinear and antialiased.
    """

    crop: str
    size: int | None
    resize: int | None
    padding: int
    seed: int

    def train(self, image: Tensor, draw: Draw) -> Tensor:
        """uint8 [3, H, W] -> uint8 [3, size, size], or [3, H, W] if padded."""
        cropped = self._resized(image, draw) if self.crop == "resized" else self._padded(image, draw)
        return F.horizontal_flip(cropped) if draw.flip else cropped

    def clean(self, image: Tensor) -> Tensor:
        """As `train`, in evaluation."""
        if self.crop == "padded":
            return image
        return F.center_crop(F.resize(image, [self.resize], antialias=True), [self.size])

    def _padded(self, image: Tensor, draw: Draw) -> Tensor:
        return F.crop(F.pad(image, [self.padding] * 4), draw.dy, draw.dx, *image.shape[1:])

    def _resized(self, image: Tensor, draw: Draw) -> Tensor:
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(mixed(self.seed, draw.epoch, draw.image))
            return v2.RandomResizedCrop(self.size, antialias=True)(image)
