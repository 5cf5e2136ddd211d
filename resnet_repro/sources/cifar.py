"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in the published Python archives, checked by their md5."""

import hashlib
import http.client
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from resnet_repro.sources.disk import Arrays, MissingData, digest, locked, write_whole

log = logging.getLogger(__name__)

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""Where the archives unpack to."""


def cifar_arrays(name: str, data_dir: Path, download: bool) -> Arrays:
    """All images of `name` (cifar10 or cifar100): 50,000 training and 10,000 test images of 3x32x32.

    Read from `data_dir/cifar-10-batches-py` (`cifar-100-python`); made from the archive beside it, or else
    downloaded, when it is not there or fails its md5. Raises MissingData, which names the folder and what to do.
    """
    source = _source(name)
    arrays = _read(source, data_dir)
    if arrays is None:
        _obtain(source, data_dir, download)
        arrays = _read(source, data_dir)
    if arrays is None:
        raise _missing(source, data_dir, "the unpacked files fail their md5")
    _note(name, data_dir, arrays)
    return arrays


def cifar_sha256(name: str, data_dir: Path) -> str:
    """`digest(cifar_arrays(...))`, as it was noted beside the files when their md5 was last checked."""
    try:
        noted, files = (data_dir / f".sha256-{name}").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        noted, files = "", ""
    return noted if files and files == _files(name, data_dir) else digest(cifar_arrays(name, data_dir, download=False))


def _note(name: str, data_dir: Path, arrays: Arrays) -> None:
    note, words = data_dir / f".sha256-{name}", f"{digest(arrays)} {_files(name, data_dir)}\n"
    with suppress(OSError):  # where nothing can be written, the md5 is checked every time
        if not note.exists() or note.read_text(encoding="utf-8") != words:
            write_whole(note, lambda file: file.write(words.encode()))


def _files(name: str, data_dir: Path) -> str:
    """Changes when one of the unpacked files is replaced or written to."""
    found = hashlib.sha256()
    for file in sorted((data_dir / FOLDERS[name]).glob("[!.]*")):
        stat = file.stat()
        found.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return found.hexdigest()


def _source(name: str) -> Any:
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _read(source: Any, data_dir: Path) -> Arrays | None:
    """The unpacked data set, or None where a file is missing or fails its md5."""
    with warnings.catch_warnings():
        # The published pickles state a dtype's alignment as 0, not False, which numpy 2.4.0 to 2.4.4 warn about.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        try:
            train, test = (source(data_dir, train=is_train) for is_train in (True, False))
        except RuntimeError:
            return None
    return {
        "train_x": np.ascontiguousarray(train.data.transpose(0, 3, 1, 2)),
        "train_y": np.array(train.targets, dtype=np.int64),
        "test_x": np.ascontiguousarray(test.data.transpose(0, 3, 1, 2)),
        "test_y": np.array(test.targets, dtype=np.int64),
    }


def _obtain(source: Any, data_dir: Path, download: bool) -> None:
    """Unpack the archive, downloaded if need be, in a temporary folder; then move its files into place."""
    from torchvision.datasets.utils import check_integrity, extract_archive

    archive = data_dir / source.filename
    if not download and not archive.exists():
        raise _missing(source, data_dir, "downloading is switched off")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with locked(data_dir), TemporaryDirectory(prefix=".unpacking-", dir=data_dir) as temporary:
            if _read(source, data_dir) is not None:
                return  # another process was faster
            if check_integrity(archive, source.tgz_md5):
                extract_archive(archive, temporary)
            elif download:
                _download(source, temporary)
            else:
                raise _missing(source, data_dir, f"{archive.name} fails its md5 and downloading is switched off")
            _move(Path(temporary) / source.base_folder, data_dir / source.base_folder)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise _missing(source, data_dir, f"fetching it failed: {error}") from error


def _download(source: Any, folder: str) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    log.info("downloading %s", source.url)
    with _socket_timeout(30):
        download_and_extract_archive(source.url, folder, filename=source.filename, md5=source.tgz_md5)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # torchvision sets none: behind a firewall that drops packets it would wait for ever.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _move(unpacked: Path, target: Path) -> None:
    """File by file: a reader that comes in between finds an md5 wrong and waits for the lock."""
    target.mkdir(exist_ok=True)
    for file in unpacked.iterdir():
        os.replace(file, target / file.name)


def _missing(source: Any, data_dir: Path, reason: str) -> MissingData:
    folder = data_dir.absolute()
    return MissingData(
        f"{source.__name__} is not in {folder / source.base_folder}, or not as published: {reason}. Do one of these: "
        f"(1) put {source.filename} from {source.url}, or its unpacked folder {source.base_folder}, into {folder}; "
        f"(2) train on your own images in train/<class>/* and test/<class>/*: task=folder env.data_dir=<their folder>; "
        f"(3) train on the digits that come with scikit-learn: task=digits."
    )
