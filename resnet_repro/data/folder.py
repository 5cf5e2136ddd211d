"""A folder of image files, `train/<class>/*` and `test/<class>/*`, decoded once and kept as one array file."""

import hashlib
import logging
import os
import warnings
from pathlib import Path

import numpy as np

from resnet_repro.data.disk import Arrays, MissingData, locked, save_whole

log = logging.getLogger(__name__)

Sample = tuple[str, int]
"""Path of an image file, number of its class."""


def folder_arrays(data_dir: Path) -> Arrays:
    """All images below `data_dir/train` and `data_dir/test`, in the order of their sorted names, held in memory.

    Images are RGB, 3 channels, always: grey ones are repeated, transparency is dropped. All have one size; nothing
    is resized. The decoded arrays are kept in `data_dir/.decoded-<fingerprint>.npz`, whose fingerprint covers names,
    sizes and modification times of the files; a folder that cannot be written is decoded every time.
    Raises MissingData for absent files; ValueError for unequal classes, unequal sizes and unreadable images.
    """
    train, test = _listing(data_dir)
    cache = data_dir / f".decoded-{_fingerprint(data_dir, train + test)}.npz"
    with locked(data_dir) as writable:
        arrays = _cached(cache)
        if arrays is None:
            arrays = _decode(train, test)
            _keep(cache, arrays, writable)
    return arrays


def _listing(data_dir: Path) -> tuple[list[Sample], list[Sample]]:
    from torchvision.datasets import ImageFolder

    try:
        train, test = (ImageFolder(data_dir / part) for part in ("train", "test"))
    except FileNotFoundError as error:
        raise MissingData(
            f"no image folder in {data_dir.absolute()}: {error}. Expected are train/<class>/* and test/<class>/* "
            f"there, at least one image for each class; choose the folder by env.data_dir=<folder>."
        ) from error
    if train.classes != test.classes:
        only = [sorted(set(a) - set(b)) for a, b in ((train.classes, test.classes), (test.classes, train.classes))]
        raise ValueError(
            f"{data_dir.absolute()}: train/ and test/ must have the same class folders; "
            f"only in train: {only[0]}, only in test: {only[1]}. Rename, add or remove class folders."
        )
    return train.samples, test.samples


def _fingerprint(data_dir: Path, samples: list[Sample]) -> str:
    """Changes when a file is added, removed, renamed, replaced or written to."""
    digest = hashlib.sha256()
    for path, _ in samples:
        stat = os.stat(path)
        digest.update(f"{os.path.relpath(path, data_dir)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _cached(cache: Path) -> Arrays | None:
    if not cache.exists():
        return None
    try:
        with cache.open("rb") as file, np.load(file) as stored:
            return {name: stored[name] for name in ("train_x", "train_y", "test_x", "test_y")}
    except Exception as error:  # zip, zlib, numpy and the file system each raise their own for damaged bytes
        warnings.warn(f"{cache} is damaged ({error!r}); the images are decoded again", stacklevel=2)
        return None


def _keep(cache: Path, arrays: Arrays, writable: bool) -> None:
    try:
        if not writable:
            raise PermissionError("the folder is not writable")
        for stale in cache.parent.glob(".decoded-*"):  # of the folder as it was before
            stale.unlink()
        save_whole(cache, arrays)
    except OSError as error:
        log.warning("decoded images are not kept in %s and will be decoded at every start: %s", cache.parent, error)


def _decode(train: list[Sample], test: list[Sample]) -> Arrays:
    log.info("decoding %d images", len(train) + len(test))
    pixels = _decode_all([path for path, _ in train + test])
    labels = np.array([label for _, label in train + test], dtype=np.int64)
    return {
        "train_x": pixels[: len(train)],
        "train_y": labels[: len(train)],
        "test_x": pixels[len(train) :],
        "test_y": labels[len(train) :],
    }


def _decode_all(paths: list[str]) -> np.ndarray:
    """uint8 [N, 3, H, W]; raises ValueError at the first image whose size differs from the first one's."""
    size = _decode_one(paths[0]).shape
    pixels = np.empty((len(paths), size[2], *size[:2]), dtype=np.uint8)
    for i, path in enumerate(paths):
        image = _decode_one(path)
        if image.shape != size:
            raise ValueError(
                f"{path} has {image.shape[1]}x{image.shape[0]} pixels, {paths[0]} has {size[1]}x{size[0]}; "
                "all images must have one size. Crop or resize the files beforehand."
            )
        pixels[i] = image.transpose(2, 0, 1)
    return pixels


def _decode_one(path: str) -> np.ndarray:
    """uint8 [H, W, 3]."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            rgb, mode = np.asarray(image.convert("RGB")), image.mode
    except Exception as error:  # each of Pillow's decoders raises its own
        raise ValueError(f"{path} cannot be decoded ({error}); replace or remove the file") from error
    if mode.startswith(("I", "F")):
        # Pillow's conversion clips these at 255, which would turn 16-bit images white.
        raise ValueError(f"{path} has more than 8 bits per channel (mode {mode}); convert the files to 8 bits")
    return rgb
