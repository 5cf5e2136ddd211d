"""What a sweep left after kills: its processes, its records and curves, and the W&B steps of its offline files."""

from collections import Counter
from pathlib import Path
from typing import Any

from resnet_repro import records
from resnet_repro.mirror.points import logged

MARK = "RESNET_REPRO_CHAOS"
"""A variable that every process of a sweep inherits, whoever its parent is now."""
CIRCUMSTANCES = ("provenance", "overrides", "command", "sha256")
"""What a record says of how it was made."""
COMMANDS = {
    "mirror": "resnet_repro.mirror", "picture": "resnet_repro.pictures", "rank": "multiprocessing.spawn",
    "tracker": "multiprocessing.resource_tracker", "W&B": "wandb",
}  # fmt: skip
_forked: dict[int, str] = {}


def processes(mark: str, driver: int) -> dict[str, list[int]]:
    """The living processes that inherited this mark, by what they are."""
    found: dict[str, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() not in (place / "environ").read_bytes().split(b"\0"):
                continue
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state, parent = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in "ZX":
            found.setdefault(_kind(int(place.name), int(parent), command, driver), []).append(int(place.name))
    return found


def _kind(pid: int, parent: int, command: str, driver: int) -> str:
    if pid == driver:
        return "driver"
    if "multiprocessing.forkserver" in command:  # its children have its command; one that was orphaned is remembered
        of_driver = "resnet_repro.sweep" in _command(parent)
        return _forked.setdefault(pid, "fork server" if of_driver else "worker")
    return next((kind for kind, part in COMMANDS.items() if part in command), command)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def measured(places: list[Path]) -> dict[str, Any]:
    """The finished runs' records without their circumstances, and their curves, by run."""
    found = {}
    for place in places:
        record = records.read(place)
        if record is not None:
            kept = {key: value for key, value in record.items() if key not in CIRCUMSTANCES}
            found[place.name] = (kept, (place / "points.csv").read_bytes())
    return found


def wandb_steps(place: Path) -> tuple[int, int]:
    """How many steps of a run's curves are not in its W&B files, or not whole, and how many are there again."""
    curves: dict[int, dict[str, str]] = {}
    for step, metric, _, _, value in records.read_points(place):
        curves.setdefault(step, {})[metric] = str(value)
    written = Counter(
        (point["step"], metric, str(float(value)))
        for path in place.parent.glob(f"wandb/offline-run-*-{place.name}/*.wandb")
        for point in logged(path) or []
        for metric, value in point.items()
        if metric != "step"
    )
    expected = Counter((step, metric, value) for step, values in curves.items() for metric, value in values.items())
    return len({row[0] for row in expected - written}), len({row[0] for row in written - expected})
