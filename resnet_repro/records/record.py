"""What a run is measured to be, its trained network and its checkpoint: written whole, with hashes, and read back."""

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from resnet_repro import probes
from resnet_repro.config import Measure, Run
from resnet_repro.errors import UserError
from resnet_repro.records.files import digest, set_aside, write_atomically, write_json
from resnet_repro.records.locks import is_locked
from resnet_repro.records.points import CURVES, POINTS, Point, whole_lines, write_points


def folder(run: Run, name: str) -> Path:
    """Where the run called `name` lives."""
    return Path(run.env.runs_dir) / name


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


# Records ------------------------------------------------------------------------------------------------------------


def write(place: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Writes record.json, with the hash of the points and of itself; returns what was written."""
    record = {**record, "points_sha256": digest((place / POINTS).read_bytes())}
    record["sha256"] = _record_digest(record)
    write_json(place / "record.json", record)
    for checkpoint in [*place.glob("checkpoint-*"), *place.glob(".checkpoint.part")]:
        if ".corrupt-" not in checkpoint.name:
            checkpoint.unlink()
    return record


def _record_digest(record: dict[str, Any]) -> str:
    rest = {k: v for k, v in record.items() if k != "sha256"}
    return digest(json.dumps(rest, sort_keys=True).encode())


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
    return record, whole_lines(points, name)


def _content(place: Path, name: str) -> bytes:
    with open(f"{place}/{name}", "rb") as file:
        return file.read()


def _damage(record: dict[str, Any], points: bytes, name: str) -> str:
    """What is wrong with the record in the folder of this name, in words; empty when it is sound."""
    if record["sha256"] != _record_digest(record):
        return "does not match its own hash"
    if (record.get("points_sha256") or record["curves_sha256"]) != digest(points):
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
    there = [*kept(place), *(["wandb.json"] if (place / "wandb.json").exists() else [])]
    for name in there:
        shutil.copy2(place / name, aside)
    return there


def kept(place: Path) -> list[str]:
    """The files of a finished run: record, points and, where it was kept, the trained network."""
    return [name for name in ("record.json", POINTS, CURVES, *NET) if (place / name).exists()]


# The trained network --------------------------------------------------------------------------------------------------


NET = ("net.safetensors", "config.json")


def keep_network(place: Path, parameters: bytes, config: dict[str, Any]) -> str:
    """Keeps a network as its parameters (safetensors) and the arguments that make it; returns the former's hash."""
    write_json(place / NET[1], config)
    write_atomically(place / NET[0], parameters)
    return digest(parameters)


def network(place: Path) -> tuple[bytes, dict[str, Any]]:
    """A finished run's network as `keep_network` kept it. Raises UserError where none was kept, or it is damaged."""
    record = read(place)
    if record is None or "net_sha256" not in record:
        what = "is not finished" if record is None else "kept no network"
        raise UserError(f"{place} {what}: train it with measure.keep=net (in an experiment's file `keep: net`)")
    parameters = _content(place, NET[0])
    if digest(parameters) != record["net_sha256"]:
        raise UserError(f"{place / NET[0]} does not match the hash in record.json; move {place} away and train again")
    return parameters, json.loads(_content(place, NET[1]))


# Checkpoints ---------------------------------------------------------------------------------------------------


def keep_checkpoint(place: Path, step: int, part: Path) -> None:
    """Makes the file `part` the run's only checkpoint."""
    with open(part, "rb") as file:
        name = digest(file.read())[:16]
        os.fsync(file.fileno())
    path = place / f"checkpoint-{step:08d}-{name}.ckpt"
    os.replace(part, path)
    for older in place.glob("checkpoint-*.ckpt"):
        if older != path:
            older.unlink()


def checkpoint(place: Path) -> Path | None:
    """The newest sound checkpoint; one whose content does not match its name is set aside."""
    for path in sorted(place.glob("checkpoint-*.ckpt"), reverse=True):
        if path.stem.endswith(digest(path.read_bytes())[:16]):
            return path
        set_aside(path, "does not match its own hash")
    return None
