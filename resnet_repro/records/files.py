"""Files that are whole or absent, and those that cannot be trusted."""

import hashlib
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

log = logging.getLogger("resnet_repro.records")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that a reader sees whole or not at all, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # of a process that had this number; a link is not written through
    with open(temporary, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically; a non-finite number is refused (ValueError)."""
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def set_aside(path: Path, why: str) -> None:
    """Renames a file that cannot be trusted, and says so; what it held is computed again."""
    aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        os.replace(path, aside)
    except FileNotFoundError:  # another process has done so
        return
    log.warning("%s %s: set aside as %s, what it held is computed again", path, why, aside.name)


def digest(content: bytes) -> str:
    """The SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
