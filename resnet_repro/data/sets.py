"""Data sets as uint8 tensors in memory, with the paper's split into training and validation set."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnet_repro.data.cifar import cifar_arrays
from resnet_repro.data.disk import Arrays
from resnet_repro.data.folder import folder_arrays
from resnet_repro.errors import UserError

NAMES = ("digits", "cifar10", "cifar100", "folder")
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
    arrays = _arrays(name, data_dir, download)
    train_x, train_y, test_x, test_y = (torch.from_numpy(arrays[key]) for key in _ORDER)
    classes = int(train_y.max()) + 1
    full = Images(train_x, train_y, test_x, test_y, None, None, classes, _digest(arrays))
    return full if split == "full" else _hold_out(full)


_ORDER = ("train_x", "train_y", "test_x", "test_y")


def _arrays(name: str, data_dir: Path, download: bool) -> Arrays:
    if name == "digits":
        return _digits()
    if name in ("cifar10", "cifar100"):
        return cifar_arrays(name, data_dir, download)
    if name == "folder":
        return folder_arrays(data_dir)
    raise ValueError(f"data set is {name!r}; it must be one of {', '.join(NAMES)}")


def _digits() -> Arrays:
    """scikit-learn's 1,797 scanned digits of 1x8x8, first 1,500 for training, last 297 for testing.

    The published grey levels 0..16 become 0..255 (times 255/16, rounded to the even neighbour).
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    return {"train_x": pixels[:1500], "train_y": labels[:1500], "test_x": pixels[1500:], "test_y": labels[1500:]}


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


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for key in _ORDER:
        digest.update(f"{key} {arrays[key].dtype} {arrays[key].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[key]).data)
    return digest.hexdigest()
