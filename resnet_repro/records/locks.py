"""The lock of a run: held by the process that trains it, and freed by the kernel when that ends."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from resnet_repro.errors import UserError


class Busy(UserError):  # noqa: N818
    """Another process trains this run now."""

    def __init__(self, place: Path) -> None:
        super().__init__(f"{place} is being trained by another process; wait for it, or end that process")


@contextmanager
def lock(place: Path) -> Iterator[None]:
    """Holds the run's lock; the kernel frees it when the process ends, however it ends. Raises Busy."""
    # For a second, since is_locked of another process holds the lock for an instant, on a busy machine a longer one.
    file = open_locked(place / "lock", attempts=50)
    if file is None:
        raise Busy(place)
    with file:
        yield


def open_locked(path: Path, attempts: int = 1) -> IO[str] | None:
    """The file, made if need be, exclusively locked until it is closed; None where another process has it locked."""
    if path.is_symlink():
        raise UserError(f"{path} is a link, where a lock of this run's own must be; remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - the lock lasts as long as the file is open
    for _ in range(attempts):
        if _try_lock(file, fcntl.LOCK_EX):
            return file
        time.sleep(0.02)
    file.close()
    return None


def is_locked(place: Path) -> bool:
    """Whether a process trains this run now. Asks for a shared lock, so that two who ask do not see each other."""
    if not (place / "lock").exists():
        return False
    with open(place / "lock", encoding="utf-8") as file:
        return not _try_lock(file, fcntl.LOCK_SH)


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
