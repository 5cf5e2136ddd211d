"""Data sets, as uint8 tensors in memory or as files, with the paper's split into training and validation set."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resnet_repro import sources
from resnet_repro.errors import UserError
from resnet_repro.sources.decoding import Unusable, decode_one, refused
from resnet_repro.sources.disk import ORDER

SPLITS = ("full", "45k")


@dataclass(frozen=True, eq=False)
class Images:
    """Images uint8 [N, C, H, W] and classes int64 [N] in 0..classes-1, on the CPU.

    `sha256` names the pixels: it is taken over images and classes of the full set, before any split.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    valid_x: Tensor | None
    valid_y: Tensor | None
    classes: int
    sha256: str

    @property
    def channels(self) -> int:
        """Of an image: 1 or 3."""
        return self.train_x.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width."""
        return self.train_x.shape[2], self.train_x.shape[3]


def shrunk(images: Images, size: int | None) -> Images:
    """The images averaged down to `size` pixels on a side, rounded to whole grey values; as they are if None.

    Of a side that `size` divides each pixel is the mean of a square of pixels. Raises UserError for images that are
    smaller, or of another shape.
    """
    height, width = images.image_size
    if size is None or (height, width) == (size, size):
        return images
    if height != width or size > height:
        raise UserError(
            f"data.size is {size}, and the images have {width}x{height} pixels: only square ones are averaged down, "
            "and none are enlarged; leave it out, or resize them"
        )
    valid_x = None if images.valid_x is None else _averaged(images.valid_x, size)
    train_x, test_x = _averaged(images.train_x, size), _averaged(images.test_x, size)
    return replace(images, train_x=train_x, test_x=test_x, valid_x=valid_x)


def _averaged(x: Tensor, size: int) -> Tensor:
    means = [functional.interpolate(part.float(), (size, size), mode="area") for part in x.split(AT_ONCE)]
    return torch.cat([part.round().to(torch.uint8) for part in means])


AT_ONCE = 5000
"""Images averaged at once: as floating-point numbers they take four times their memory."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images as files below `folder`, paths as bytes [N], and classes int64 [N]; decoded they are RGB.

    `sha256`: see `sources.Files`, also of the full set.
    """

    folder: Path
    train: np.ndarray
    train_y: Tensor
    test: np.ndarray
    test_y: Tensor
    valid: np.ndarray | None
    valid_y: Tensor | None
    classes: int
    sha256: str
    channels: int = 3

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the first training image. Raises UserError where it cannot be decoded."""
        path = os.path.join(self.folder, os.fsdecode(self.train[0]))
        try:
            height, width, _ = decode_one(path).shape
        except Unusable as error:
            raise refused({path: str(error)}, len(self.train), self.folder) from error
        return height, width


DataSet = Images | ImageFiles


def load(name: str, data_dir: Path, *, split: str = "full", download: bool = True, stream: bool = False) -> DataSet:
    """Load the data set `name`: digits, cifar10, cifar100 or folder (see `folder_arrays`; with `stream`, `files`).

    split "full" trains on the whole training set; "45k" holds a tenth of it out as validation set (45,000/5,000
    of CIFAR: He et al. 2015, Sec. 4.2), the same images for every seed and on every machine. The test set is never
    touched. Raises MissingData (a ValueError) where files are absent, ValueError for unknown names and damaged files.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    if stream:
        return _files(data_dir, split)
    arrays = sources.arrays(name, data_dir, download)
    train_x, train_y, test_x, test_y = (torch.from_numpy(arrays[key]) for key in ORDER)
    classes = int(train_y.max()) + 1
    full = Images(train_x, train_y, test_x, test_y, None, None, classes, sources.digest(arrays))
    if split == "full":
        return full
    train, valid = _held_out(len(train_y))
    return replace(
        full, train_x=train_x[train], train_y=train_y[train], valid_x=train_x[valid], valid_y=train_y[valid]
    )  # fmt: skip


def _files(data_dir: Path, split: str) -> ImageFiles:
    found = sources.files(data_dir)
    train_y, test_y = torch.from_numpy(found.train_y), torch.from_numpy(found.test_y)
    classes = int(train_y.max()) + 1
    full = ImageFiles(data_dir, found.train, train_y, found.test, test_y, None, None, classes, found.sha256)
    if split == "full":
        return full
    train, valid = _held_out(len(train_y))
    return replace(
        full, train=found.train[train.numpy()], train_y=train_y[train], valid=found.train[valid.numpy()],
        valid_y=train_y[valid],
    )  # fmt: skip


def _held_out(count: int) -> tuple[Tensor, Tensor]:
    """The training images that are trained on, and the tenth that is held out, by one permutation for all runs."""
    if count < 10:
        raise UserError(f"split=45k holds out a tenth of {count} training images, which is none; use split=full")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[count // 10 :], order[: count // 10]
