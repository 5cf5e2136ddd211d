"""Data sets as uint8 tensors in memory, with the paper's split into training and validation set."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from resnet_repro import sources
from resnet_repro.errors import UserError
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


def load(name: str, data_dir: Path, *, split: str = "full", download: bool = True) -> Images:
    """Load the data set `name`: digits, cifar10, cifar100 or folder (see `folder_arrays`).

    split "full" trains on the whole training set; "45k" holds a tenth of it out as validation set (45,000/5,000
    of CIFAR: He et al. 2015, Sec. 4.2), the same images for every seed and on every machine. The test set is never
    touched. Raises MissingData (a ValueError) where files are absent, ValueError for unknown names and damaged files.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    arrays = sources.arrays(name, data_dir, download)
    train_x, train_y, test_x, test_y = (torch.from_numpy(arrays[key]) for key in ORDER)
    classes = int(train_y.max()) + 1
    full = Images(train_x, train_y, test_x, test_y, None, None, classes, sources.digest(arrays))
    return full if split == "full" else _hold_out(full)


def _hold_out(full: Images) -> Images:
    """Move a tenth of the training images to the validation set, by one permutation for all runs."""
    count = len(full.train_y)
    if count < 10:
        raise UserError(f"split=45k holds out a tenth of {count} training images, which is none; use split=full")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    train, valid = order[count // 10 :], order[: count // 10]
    return replace(
        full,
        train_x=full.train_x[train],
        train_y=full.train_y[train],
        valid_x=full.train_x[valid],
        valid_y=full.train_y[valid],
    )
