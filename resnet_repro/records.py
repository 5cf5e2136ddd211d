"""The on-disk form of a run: one folder runs/<run_id>, and what says in which state it is.

    record.json      exists = the run is finished; written last, once, atomically, with a hash of itself
    points.csv       step,metric,x,y,value rows, appended while training; record.json holds its hash
    run.json         config, command and the hash of the data; written when the run begins
    checkpoint-*     the newest checkpoint; its name holds the step and the hash of its content
    lock             held by the process that trains the run; dies with it
    log.txt          what the process printed
    net.safetensors, config.json   the trained network, where measure.keep asks for it; record.json holds its hash
    superseded-*     what the run was before it was measured again, with more

Training writes it; collect.py copies it into results/<experiment>/data. No torch here.
"""

import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from resnet_repro import probes
from resnet_repro.config import Measure, Run
from resnet_repro.errors import UserError

log = logging.getLogger(__name__)

POINTS, CURVES = "points.csv", "curves.csv"

Point = tuple[int, str, float | None, float | None, float]
"""Of whatever is measured: step, metric, x, y, value. A scalar has neither x nor y (None); a value per layer has x; a
surface, or a value per pair of layers, has both."""


class Busy(UserError):  # noqa: N818
    """Another process trains this run now."""

    def __init__(self, place: Path) -> None:
        super().__init__(f"{place} is being trained by another process; wait for it, or end that process")


def folder(run: Run, name: str) -> Path:
    """Where the run called `name` lives."""
    return Path(run.env.runs_dir) / name


# Locks ---------------------------------------------------------------------------------------------------------


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


# Files that are whole or absent --------------------------------------------------------------------------------


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


def check_writable(place: Path) -> None:
    """Raises UserError where something that is no file of the run's own stands where training will write one.

    A link in the place of a file would be written through: to another run's files, or to anything else.
    """
    if place.is_symlink():
        raise UserError(f"{place} is a link, and training would write to what it leads to; move that folder here")
    names = ("run.json", POINTS, "log.txt", ".checkpoint.part")
    for path in [*(place / name for name in names), *sorted(place.glob("checkpoint-*.ckpt"))]:
        if path.is_symlink():
            raise UserError(f"{path} is a link, and training would write to what it leads to; move it away")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file, and training would write one there; move it away")


def set_aside(path: Path, why: str) -> None:
    """Renames a file that cannot be trusted, and says so; what it held is computed again."""
    aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        os.replace(path, aside)
    except FileNotFoundError:  # another process has done so
        return
    log.warning("%s %s: set aside as %s, what it held is computed again", path, why, aside.name)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Records -------------------------------------------------------------------------------------------------------


def write(place: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Writes record.json, with the hash of the points and of itself; returns what was written."""
    record = {**record, "points_sha256": _digest((place / POINTS).read_bytes())}
    record["sha256"] = _record_digest(record)
    write_json(place / "record.json", record)
    for checkpoint in [*place.glob("checkpoint-*"), *place.glob(".checkpoint.part")]:
        if ".corrupt-" not in checkpoint.name:
            checkpoint.unlink()
    return record


def _record_digest(record: dict[str, Any]) -> str:
    rest = {k: v for k, v in record.items() if k != "sha256"}
    return _digest(json.dumps(rest, sort_keys=True).encode())


def read(place: Path) -> dict[str, Any] | None:
    """The run's record; None when it is not finished. A record that does not fit its hash or its points is set aside.

    points.csv is complete before record.json appears, so a reader needs no lock.
    """
    found = read_with_points(place)
    return None if found is None else found[0]


def read_with_points(place: Path) -> tuple[dict[str, Any], list[str]] | None:
    """The same, and the lines `step,metric,x,y,value` of its points, as they are written."""
    try:
        content = _content(place, "record.json")
    except FileNotFoundError:
        return None
    try:
        record = json.loads(content)
        name = CURVES if "curves_sha256" in record else POINTS
        points = _content(place, name)
        why = _damage(record, points, place.name)
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        why = f"is not readable ({type(error).__name__})"
    if why:
        if not place.is_symlink():  # else it is another run's, whose folder is no place of ours
            set_aside(place / "record.json", why)
        return None
    return record, _whole_lines(points, name)


def _content(place: Path, name: str) -> bytes:
    with open(f"{place}/{name}", "rb") as file:
        return file.read()


def _damage(record: dict[str, Any], points: bytes, name: str) -> str:
    """What is wrong with the record in the folder of this name, in words; empty when it is sound."""
    if record["sha256"] != _record_digest(record):
        return "does not match its own hash"
    if (record.get("points_sha256") or record["curves_sha256"]) != _digest(points):
        return "does not match its points"
    if record.get("run_id", name) != name:
        return f"is that of another run, {record['run_id']}"
    return ""


def complete(run: Run, name: str) -> dict[str, Any] | None:
    """The record of a run that is finished and has all that `run.measure` asks for; else None."""
    record = read(folder(run, name))
    return None if record is None or lacking(record, run.measure) else record


def seems_complete(run: Run, name: str) -> bool:
    """The same without a look at hashes, for many runs; a damaged record may be taken for a sound one."""
    if run.measure == Measure():
        return (folder(run, name) / "record.json").exists()
    return complete(run, name) is not None


def lacking(record: dict[str, Any], asked: Measure) -> list[str]:
    """What a record does not have of the measurements asked for: names of probes, and `the trained network`."""
    net = ["the trained network"] if asked.keep == "net" and "net_sha256" not in record else []
    return probes.lacking(record.get("measured", {}), asked.probes, asked.every) + net


def with_more(record: dict[str, Any], asked: Measure) -> Measure:
    """What to measure when a run is trained again: all that is asked for, and all that its record has."""
    had = record.get("measured", {})
    names = list(dict.fromkeys([*had, *asked.probes]))
    keep = "net" if "net_sha256" in record else asked.keep
    return Measure(names, math.gcd(asked.every, *had.values()), keep)


def state(place: Path, asked: Measure | None = None) -> str:
    """`missing`, `running`, `interrupted` (has a checkpoint), `crashed` (began), or the finished run's status.

    `unmeasured`: finished, but without some of what is asked for.
    """
    record = read(place)
    if record is None:
        return _state_without_record(place)
    return "unmeasured" if lacking(record, asked or Measure()) else record["status"]


def _state_without_record(place: Path) -> str:
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return "missing"
    # In this order, so that a run that begins or ends meanwhile is not taken for one that crashed.
    running = is_locked(place)
    record = read(place)
    if record is not None:
        return record["status"]
    if running:
        return "running"
    if any(name.startswith("checkpoint-") and name.endswith(".ckpt") for name in names):
        return "interrupted"
    return "crashed" if {"run.json", "log.txt"} & set(names) else "missing"


def supersede(place: Path) -> None:
    """Takes what the run was away, to a folder beside, so that it can be measured again from the start."""
    for name in _copied_aside(place):  # all are copied before one is removed: killed in between, nothing is lost
        (place / name).unlink()


def replace(place: Path, record: dict[str, Any], points: Iterable[Point]) -> dict[str, Any]:
    """Gives a finished run another record and other points; what it was stays in a folder beside."""
    _copied_aside(place)
    write_points(place, points)
    (place / "wandb.json").unlink(missing_ok=True)  # so that it is mirrored again, with all that it has
    return write(place, record)


def _copied_aside(place: Path) -> list[str]:
    aside = tempfile.mkdtemp(prefix=f"superseded-{time.strftime('%Y%m%d-%H%M%S')}-", dir=place)
    there = [name for name in ("record.json", POINTS, CURVES, *NET, "wandb.json") if (place / name).exists()]
    for name in there:
        shutil.copy2(place / name, aside)
    return there


# The trained network -------------------------------------------------------------------------------------------

NET = ("net.safetensors", "config.json")


def keep_network(place: Path, parameters: bytes, config: dict[str, Any]) -> str:
    """Keeps a network as its parameters (safetensors) and the arguments that make it; returns the former's hash."""
    write_json(place / NET[1], config)
    write_atomically(place / NET[0], parameters)
    return _digest(parameters)


def network(place: Path) -> tuple[bytes, dict[str, Any]]:
    """A finished run's network as `keep_network` kept it. Raises UserError where none was kept, or it is damaged."""
    record = read(place)
    if record is None or "net_sha256" not in record:
        what = "is not finished" if record is None else "kept no network"
        raise UserError(f"{place} {what}: train it with measure.keep=net (in an experiment's file `keep: net`)")
    parameters = _content(place, NET[0])
    if _digest(parameters) != record["net_sha256"]:
        raise UserError(f"{place / NET[0]} does not match the hash in record.json; move {place} away and train again")
    return parameters, json.loads(_content(place, NET[1]))


# Points --------------------------------------------------------------------------------------------------------

HEADER = "step,metric,x,y,value\n"


def write_points(place: Path, points: Iterable[Point]) -> None:
    """Starts points.csv anew with these points: at the start, and after a resume with the checkpoint's."""
    write_atomically(place / POINTS, (HEADER + _lines(points)).encode())


def append_points(place: Path, points: Iterable[Point]) -> None:
    """Appends to points.csv."""
    with open(place / POINTS, "a", encoding="utf-8") as file:
        file.write(_lines(points))


def _lines(points: Iterable[Point]) -> str:
    return "".join(f"{step},{metric},{_axis(x)},{_axis(y)},{float(value)!r}\n" for step, metric, x, y, value in points)


def _axis(place: float | None) -> str:
    return "" if place is None else repr(place)


def read_points(place: Path) -> list[Point]:
    """The points of a run; a last line that is still being written is left out."""
    name = _points_file(place)
    if not (place / name).exists():
        return []
    fields = (line.split(",") for line in _whole_lines((place / name).read_bytes(), name))
    return [(int(step), metric, _number(x), _number(y), float(value)) for step, metric, x, y, value in fields]


def _number(field: str) -> float | None:
    return None if field == "" else int(field) if field.isdecimal() else float(field)


def last_step(place: Path) -> int:
    """The step that training has reached, from the end of the points; 0 when it has not begun."""
    try:
        with open(place / _points_file(place), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
            lines = file.read().decode().split("\n")[1:-1]
        return int(lines[-1].split(",")[0]) if lines else 0
    except (OSError, ValueError):
        return 0


# Version 0.1 wrote curves.csv, which has no x and no y.


def _points_file(place: Path) -> str:
    return CURVES if (place / CURVES).exists() and not (place / POINTS).exists() else POINTS


def _whole_lines(content: bytes, name: str) -> list[str]:
    """The lines of a file of points, the header and a last half one left out, with the columns of points.csv."""
    lines = content.decode().split("\n")[1:-1]
    return lines if name == POINTS else [from_curves(line) for line in lines]


def from_curves(line: str) -> str:
    """A line `...,metric,value` of version 0.1 with x and y, which are empty."""
    before, value = line.rsplit(",", 1)
    return f"{before},,,{value}"


# Checkpoints ---------------------------------------------------------------------------------------------------


def keep_checkpoint(place: Path, step: int, part: Path) -> None:
    """Makes the file `part` the run's only checkpoint."""
    with open(part, "rb") as file:
        digest = _digest(file.read())[:16]
        os.fsync(file.fileno())
    path = place / f"checkpoint-{step:08d}-{digest}.ckpt"
    os.replace(part, path)
    for older in place.glob("checkpoint-*.ckpt"):
        if older != path:
            older.unlink()


def checkpoint(place: Path) -> Path | None:
    """The newest sound checkpoint; one whose content does not match its name is set aside."""
    for path in sorted(place.glob("checkpoint-*.ckpt"), reverse=True):
        if path.stem.endswith(_digest(path.read_bytes())[:16]):
            return path
        set_aside(path, "does not match its own hash")
    return None
