"""A folder of image files that are decoded when they are needed, for sets too large for memory, or of unequal sizes."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_repro.sources.decoding import pointer, refused
from resnet_repro.sources.listing import Sample, listing, unreadable

POINTER_SIZE = 1024
"""Bytes of a file at most that may be a pointer to an image that was not fetched: only such are opened."""


@dataclass(frozen=True, eq=False)
class Files:
    """Paths, relative to a folder, as bytes [N], and classes int64 [N]; see `listing`.

    `sha256` names them: it is taken over names, classes and sizes of the files, not over what is in them.
    """

    folder: Path
    train: np.ndarray
    train_y: np.ndarray
    test: np.ndarray
    test_y: np.ndarray
    sha256: str


def files(data_dir: Path) -> Files:
    """The images of `listing(data_dir)`, none of them opened. Raises what that does, UserError for unusable files."""
    found = listing(data_dir)
    hashed, faults = hashlib.sha256(b"names, classes and sizes\n"), {}
    for part, samples in (("train", found.train), ("test", found.test)):
        for path, number in samples:
            if why := _unusable(path):
                faults[path] = why
                continue
            name = os.fsencode(os.path.relpath(path, data_dir))
            hashed.update(name + f"\0{part}\0{number}\0{os.stat(path).st_size}\n".encode())
    if faults:
        raise refused(faults, len(found.train) + len(found.test), data_dir)
    return Files(data_dir, *_columns(found.train, data_dir), *_columns(found.test, data_dir), hashed.hexdigest())


def _unusable(path: str) -> str:
    if why := unreadable(path):
        return why
    size = os.stat(path).st_size
    return "is empty" if size == 0 else pointer(path) if size < POINTER_SIZE else ""


def _columns(samples: Sequence[Sample], data_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    # One array of bytes: a list of a million paths would take seconds to hand to each process that decodes.
    names = np.array([os.fsencode(os.path.relpath(path, data_dir)) for path, _ in samples])
    return names, np.array([number for _, number in samples], dtype=np.int64)
