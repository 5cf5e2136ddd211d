"""A folder of image files, `train/<class>/*` and `test/<class>/*`, decoded once and kept as one array file."""

import hashlib
import logging
import os
import warnings
from pathlib import Path

import numpy as np

from resnet_repro.sources.decoding import decode
from resnet_repro.sources.disk import ORDER, Arrays, digest, locked, save_whole
from resnet_repro.sources.listing import Listing, listing, some

log = logging.getLogger(__name__)

DECODING = 2
"""Raised when the same files give other arrays, so that what was kept of them is made anew (2: orientation)."""


def folder_arrays(data_dir: Path) -> Arrays:
    """All images of `listing(data_dir)`, in its order, held in memory.

    Images are RGB, 3 channels, always: grey ones are repeated, transparency is dropped. They are turned upright as
    their EXIF orientation says. All have one size; nothing is resized. The decoded arrays and their digest are kept in
    `data_dir/.decoded-<fingerprint>.npz`, whose fingerprint covers names, sizes and modification times of the files;
    a folder that cannot be written is decoded every time.
    Raises MissingData for absent files; UserError for unequal classes, unequal sizes and unreadable images.
    """
    found = listing(data_dir)
    cache = _cache(found, data_dir)
    with locked(data_dir) as writable:
        arrays = _cached(cache)
        if arrays is None:
            arrays = _decoded(found, data_dir)
            _keep(cache, arrays, writable)
    return arrays


def folder_sha256(data_dir: Path) -> str:
    """`digest(folder_arrays(data_dir))`, as it was noted beside the arrays when they were decoded."""
    cache = _cache(listing(data_dir), data_dir)
    try:
        with cache.open("rb") as file, np.load(file) as stored:
            return str(stored["sha256"])
    except Exception:  # absent or damaged: then decoded, and what is damaged is told there
        return digest(folder_arrays(data_dir))


def _cache(found: Listing, data_dir: Path) -> Path:
    """Its name changes when a file is added, removed, renamed, replaced or written to."""
    name = hashlib.sha256(f"{DECODING}\n".encode())
    for path, number in found.train + found.test:
        try:
            stat = os.stat(path)
            written = f"{number}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n"
        except OSError:  # decoding tells it, together with every other bad file
            written = "unreadable\n"
        name.update(os.fsencode(os.path.relpath(path, data_dir)) + f"\0{written}".encode())
    return data_dir / f".decoded-{name.hexdigest()[:16]}.npz"


def _cached(cache: Path) -> Arrays | None:
    if not cache.exists():
        return None
    try:
        with cache.open("rb") as file, np.load(file) as stored:
            arrays, noted = {name: stored[name] for name in ORDER}, str(stored["sha256"])
        if digest(arrays) != noted:
            raise ValueError("the arrays do not match their digest")
        return arrays
    except Exception as error:  # zip, zlib, numpy and the file system each raise their own for damaged bytes
        warnings.warn(f"{cache} is damaged ({error!r}); the images are decoded again", stacklevel=2)
        return None


def _keep(cache: Path, arrays: Arrays, writable: bool) -> None:
    try:
        if not writable:
            raise PermissionError("the folder is not writable")
        for stale in cache.parent.glob(".decoded-*"):  # of the folder as it was before
            stale.unlink()
        save_whole(cache, {**arrays, "sha256": np.array(digest(arrays))})
    except OSError as error:
        log.warning("decoded images are not kept in %s and will be decoded at every start: %s", cache.parent, error)


def _decoded(found: Listing, data_dir: Path) -> Arrays:
    if found.skipped:
        names = some(found.skipped, data_dir)
        log.warning("%s: %d files or folders are no images and are skipped: %s", data_dir, len(found.skipped), names)
    log.info("decoding %d images", len(found.train) + len(found.test))
    pixels = decode([path for path, _ in found.train + found.test], data_dir)
    labels = np.array([number for _, number in found.train + found.test], dtype=np.int64)
    count = len(found.train)
    return {
        "train_x": pixels[:count],
        "train_y": labels[:count],
        "test_x": pixels[count:],
        "test_y": labels[count:],
    }
