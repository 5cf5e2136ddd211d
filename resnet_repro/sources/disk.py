"""Files that several processes want at once: one lock per folder, whole files only, an error for absent ones."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np

from resnet_repro.errors import UserError

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
"""A decoded data set: train_x, test_x uint8 [N, C, H, W]; train_y, test_y int64 [N]."""

ORDER = ("train_x", "train_y", "test_x", "test_y")


class MissingData(UserError):  # noqa: N818 (says what is wrong; it is an error by type)
    """The files of a data set are not on this machine and could not be fetched."""


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold `folder`'s lock, one process at a time; yields False, without a lock, if `folder` is not writable."""
    try:
        handle = open(folder / ".resnet-repro.lock", "a", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError:
        handle = None
    if handle is None:
        yield False
        return
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            # Some network file systems have no locks. Files are moved into place whole, so work is only doubled.
            log.warning("no file locks in %s (%s): several processes may decode or download at once", folder, error)
        yield True


def save_whole(path: Path, arrays: Arrays) -> None:
    """Write `arrays` as npz to `path` so that no reader ever sees a part of it; raises OSError."""
    write_whole(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have `write` fill a new file that takes the place of `path` once it is whole; raises OSError."""
    # Opened by name, not by tempfile: a cache in a shared folder follows the umask instead of being private.
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def digest(arrays: Arrays) -> str:
    """The SHA-256 of images and classes of the full set, which names the data of a run."""
    found = hashlib.sha256()
    for key in ORDER:
        found.update(f"{key} {arrays[key].dtype} {arrays[key].shape}\n".encode())
        found.update(np.ascontiguousarray(arrays[key]).data)
    return found.hexdigest()
