"""From run folders to the measured data of an experiment: results/<experiment>/data/runs.csv and points.csv.gz.

The points are compressed, since those of some hundred runs take megabytes; pandas reads them as they are. Beside
them lies SHA256SUMS, in the form of `sha256sum`: what was measured is told from what was edited or cut.
"""

import csv
import fcntl
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from resnet_repro import records
from resnet_repro.config import columns
from resnet_repro.errors import UserError
from resnet_repro.metrics import METRICS, SHARES
from resnet_repro.planning import Planned

COLLECTED_POINTS = f"{records.POINTS}.gz"
TABLES = ("runs.csv", COLLECTED_POINTS)
WAYS = ("threads", "layout", "devices", "compile")
RECORDED_LATER = (*WAYS, "train_images", "valid_images", "test_images", "claims")
"""Since 0.2."""

PROVENANCE = ("seconds", "commit", "device", "torch", "data_sha256", *RECORDED_LATER)
"""Where a run comes from; `claims`: the digests of those that it was told, at its start, that it serves."""

MEASURED = ("status", *SHARES, *METRICS, "parameters", "diverged_step", *PROVENANCE)
"""The columns of runs.csv behind `run_id` and the settings. One that a file lacks was not measured then."""

SAME_BITS = ("device", "torch", *WAYS)
"""What must be equal, beside the config and the seed, for two runs to be equal bit for bit: the model of CPU or GPU,
torch's build, the threads, the memory layout, over how many devices a batch is split, and whether blocks are compiled.

Otherwise sums are taken in another order, and the ReLUs that rounding switches let two runs part within a few steps.
The engine, the size of a pack, interruptions and the launcher change no bit.
"""


def mixture(rows: Iterable[Mapping[str, Any]]) -> str:
    """A sentence where these rows of runs.csv were computed in different ways (SAME_BITS); else empty."""
    rows = list(rows)
    values = {name: sorted({str(row[name]) for row in rows if row.get(name)}) for name in SAME_BITS}
    mixed = [f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1]
    if not mixed:
        return ""
    return f"These runs were not all computed in one way ({'; '.join(mixed)}); equal seeds give no equal bits there."


def mixture_in(data: Path) -> str:
    """The same of data/runs.csv."""
    return mixture(_read_table(data / "runs.csv"))


def collect_runs(planned: Sequence[Planned], data: Path) -> tuple[int, int]:
    """Copies the records of a plan into data/runs.csv and data/points.csv.gz.

    A planned run without a record keeps the row it has there, if any (measured earlier, or elsewhere); rows that
    belong to no planned run are dropped. The files stay as they are when no row would be left.
    Returns how many rows came from records and how many were kept. Raises UserError, and writes nothing, where what is
    there does not match its checksums, or where runs on one title saw different data.
    """
    _convert(data)
    check_sums(data)
    taken = {plan.id: found for plan in planned if (found := _found(plan)) is not None}
    rows = {old["run_id"]: old for old in _read_table(data / "runs.csv")} | {k: new for k, (new, _) in taken.items()}
    runs = [rows[plan.id] for plan in planned if plan.id in rows]
    kept = {plan.id for plan in planned if plan.id in rows and plan.id not in taken}
    lines = _kept_points(data, kept) | {k: found for k, (_, found) in taken.items()}
    points = [f"{plan.id},{line}\n" for plan in planned for line in lines.get(plan.id, [])]
    if runs:
        _check_one_data_set(runs, data)
        table = _table(["run_id", *columns(planned[0].run), *MEASURED], runs)
        write_with_sums(data, {"runs.csv": table, COLLECTED_POINTS: _compressed(f"{HEADER}{''.join(points)}")})
    return len(taken), len(runs) - len(taken)


def _found(plan: Planned) -> tuple[dict[str, Any], list[str]] | None:
    """A finished run's row of runs.csv, and the lines of its points."""
    found = records.read_with_points(records.folder(plan.run, plan.id))
    return None if found is None else (row(plan, found[0]), found[1])


def _compressed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)  # without the time of day, so that equal points are equal bytes


def _kept_points(data: Path, names: Set[str]) -> dict[str, list[str]]:
    """The lines of data/points.csv.gz that belong to the runs named, without those names."""
    kept: dict[str, list[str]] = {}
    path = data / COLLECTED_POINTS
    with readable(path):
        text = gzip.decompress(path.read_bytes()).decode() if names and path.exists() else ""
        for line in text.splitlines()[1:]:
            name, point = line.split(",", 1)
            if name in names:
                kept.setdefault(name, []).append(point)
    return kept


def _convert(data: Path) -> None:
    """Turns the curves.csv of version 0.1, or points that are not compressed, into points.csv.gz; no value changes."""
    for name in (records.CURVES, records.POINTS):
        old = data / name
        if not old.exists() or (data / COLLECTED_POINTS).exists():
            continue
        check_sums(data, ("runs.csv", name))
        lines = old.read_text(encoding="utf-8").splitlines()[1:]
        lines = [records.from_curves(line) for line in lines] if name == records.CURVES else lines
        points = HEADER + "".join(f"{line}\n" for line in lines)
        write_with_sums(data, {"runs.csv": (data / "runs.csv").read_bytes(), COLLECTED_POINTS: _compressed(points)})
        old.unlink()


def row(plan: Planned, record: dict[str, Any]) -> dict[str, Any]:
    """The run's row of runs.csv."""
    shares = {name: int(record["status_flags"][name]) for name in SHARES}
    provenance = {k: record["provenance"].get(k) for k in PROVENANCE}
    settings = {"run_id": plan.id, **columns(plan.run), "status": record["status"], **shares}
    return settings | record["metrics"] | {k: record[k] for k in ("parameters", "diverged_step")} | provenance


def _read_table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with readable(path), open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
        if not all(row["run_id"] for row in rows):
            raise ValueError("a run has no name")
        return rows


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises UserError where the body cannot read the table at `path`: without checksums nothing else finds damage."""
    try:
        if path.suffix == ".csv" and path.exists() and not path.read_bytes().endswith(b"\n"):
            raise ValueError("its last line is cut")
        yield
    except UserError:
        raise
    except (ValueError, KeyError, csv.Error, FileNotFoundError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise UserError(
            f"{path} is damaged ({why}): restore it, or move {path.parent} away and collect again"
        ) from error


def _table(names: list[str], rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row.get(name) for name in names] for row in rows)  # None is written as nothing
    return text.getvalue().encode()


def _check_one_data_set(rows: list[dict[str, Any]], data: Path) -> None:
    seen: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["data_sha256"]:
            seen.setdefault(row["data"], {}).setdefault(row["data_sha256"], row["run_id"])
    for title, runs in seen.items():
        if len(runs) > 1:
            examples = " and ".join(f"{sha256[:10]} (such as {name})" for sha256, name in runs.items())
            raise UserError(
                f"nothing is collected into {data}: runs on {title!r} saw different data, {examples}. Name one of them "
                f"by another data.title, or move its run folders away, and {data} too if it holds them."
            )


# Checksums -----------------------------------------------------------------------------------------------------

SUMS = "SHA256SUMS"
HEADER = f"run_id,{records.HEADER}"


def write_with_sums(data: Path, files: dict[str, bytes]) -> None:
    """Writes the files and their checksums; files that would not change are left alone."""
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    data.mkdir(parents=True, exist_ok=True)
    with _alone(data):
        if _read_sums(data) == sums and not _unlike(data, sums):
            return
        (data / SUMS).unlink(missing_ok=True)  # so that a collection cut short here is one without checksums
        for name, content in files.items():
            records.write_atomically(data / name, content)
        records.write_atomically(data / SUMS, sums.encode())


def check_sums(data: Path, tables: Sequence[str] = TABLES) -> None:
    """Raises UserError where a table in `data` is not as it was collected; data of version 0.1 have no checksums."""
    sums = _read_sums(data)
    if sums is None or not (unlike := _unlike(data, sums, tables)):
        return
    with _alone(data):  # another process may be collecting
        sums = _read_sums(data)
        unlike = [] if sums is None else _unlike(data, sums, tables)
    if unlike:
        raise UserError(
            f"{data / unlike[0]} is not as it was collected: it does not match {data / SUMS}. Restore it (git "
            f"checkout, or a copy of it), or move {data} away and collect again."
        )


def _read_sums(data: Path) -> str | None:
    try:
        return (data / SUMS).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _unlike(data: Path, sums: str, tables: Sequence[str] = TABLES) -> list[str]:
    """The names of the tables that do not match their checksums, or have none."""
    lines = sums.splitlines()
    return [name for name in tables if f"{_sum(data / name)}  {name}" not in lines]


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Keeps other processes from collecting into the folder meanwhile, where its file system has locks."""
    folder = os.open(data, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
