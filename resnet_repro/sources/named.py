"""The data sets by their names, and the hash that tells which images they hold."""

from pathlib import Path

import numpy as np

from resnet_repro.sources.cifar import cifar_arrays, cifar_sha256
from resnet_repro.sources.disk import Arrays, digest
from resnet_repro.sources.files import files
from resnet_repro.sources.folder import folder_arrays, folder_sha256

NAMES = ("digits", "cifar10", "cifar100", "folder")


def arrays(name: str, data_dir: Path, download: bool = True) -> Arrays:
    """The images and classes of `name`. Raises MissingData where files are absent, UserError for damaged ones."""
    if name == "digits":
        return _digits()
    if name in ("cifar10", "cifar100"):
        return cifar_arrays(name, data_dir, download)
    if name == "folder":
        return folder_arrays(data_dir)
    raise ValueError(f"data set is {name!r}; it must be one of {', '.join(NAMES)}")


def sha256(name: str, data_dir: Path, stream: bool = False) -> str:
    """The hash of the data set as it is on this machine: its `digest`, streamed that of its `Files`.

    Nothing is downloaded, and nothing decoded where it was decoded before and the files' names, sizes and modification
    times are the same.
    Raises MissingData where files are absent, UserError for damaged ones.
    """
    if stream:
        return files(data_dir).sha256
    if name in ("cifar10", "cifar100"):
        return cifar_sha256(name, data_dir)
    if name == "folder":
        return folder_sha256(data_dir)
    return digest(arrays(name, data_dir))


def _digits() -> Arrays:
    """scikit-learn's 1,797 scanned digits of 1x8x8, first 1,500 for training, last 297 for testing.

    The published grey levels 0..16 become 0..255 (times 255/16, rounded to the even neighbour).
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    return {"train_x": pixels[:1500], "train_y": labels[:1500], "test_x": pixels[1500:], "test_y": labels[1500:]}
