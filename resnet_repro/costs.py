"""How long runs take, from what they or their like took when they were measured: one predictor for all who ask.

Asked first is what was measured here (the run folders), then what the user collected (results/local), then what is
committed (results). Among the runs on the same data the run itself counts, else those of the nearest cost.
"""

import csv
import heapq
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from resnet_repro import records
from resnet_repro.config import Model, Run, cost, cost_of, side_of
from resnet_repro.experiment import Experiment
from resnet_repro.machine import cores, device, slowness, visible_gpus
from resnet_repro.planning import Planned, in_order
from resnet_repro.project import COMMITTED, LOCAL

ALIKE = 10.0
"""Runs whose costs differ by more than this factor say nothing of each other: what is not training weighs otherwise."""


@dataclass(frozen=True)
class Timing:
    """What one run took. Of a run in a pack, seconds are its share of the pack's."""

    run_id: str
    data: str
    cost: float
    seconds: float
    device: str
    diverged: bool = False  # it ended early, so it says nothing of its like


@dataclass(frozen=True)
class Prediction:
    """What a run should take: seconds on the device named. `exact`: this very run was measured."""

    seconds: float
    device: str
    exact: bool
    slowness: float = 1.0  # by which the seconds were scaled from that device to this machine


@dataclass(frozen=True)
class Source:
    """Timings from one place, by the data that the runs saw. slowness: of this machine beside the one they are from."""

    timings: Sequence[Timing]
    slowness: Callable[[], float] = lambda: 1.0

    @cached_property
    def by_id(self) -> dict[str, Timing]:
        return {timing.run_id: timing for timing in self.timings}

    @cached_property
    def by_data(self) -> dict[str, dict[float, list[Timing]]]:
        """For each data set, the timings of each cost, but for runs that ended early."""
        found: dict[str, dict[float, list[Timing]]] = {}
        for timing in (t for t in self.timings if not t.diverged):
            found.setdefault(timing.data, {}).setdefault(timing.cost, []).append(timing)
        return found

    def predict(self, run: Run, name: str) -> Prediction | None:
        """The run's own time, else the time of its nearest in cost, scaled by cost; None without any like it.

        None, too, of a run without steps: what it takes are its measurements, whose time is not recorded.
        """
        alike = self.by_data.get(run.data.title)
        if not run.optim.steps:
            return None
        if name in self.by_id:
            return self._here(self.by_id[name].seconds, self.by_id[name].device, exact=True)
        if not alike:
            return None
        nearest = min(alike, key=lambda other: abs(math.log(cost(run) / other)))
        if not 1 / ALIKE <= cost(run) / nearest <= ALIKE:
            return None
        seconds = fmean(timing.seconds for timing in alike[nearest]) * cost(run) / nearest
        return self._here(seconds, alike[nearest][0].device, exact=False)

    def _here(self, seconds: float, device: str, exact: bool) -> Prediction:
        slowness = self.slowness()
        return Prediction(seconds * slowness, device, exact, slowness)


@dataclass(frozen=True)
class Costs:
    """Predicts the seconds of runs from the first of its sources that can."""

    sources: Sequence[Source]

    def predict(self, plan: Planned) -> Prediction | None:
        """What the run should take; None where nothing like it was ever measured."""
        answers = (source.predict(plan.run, plan.id) for source in self.sources)
        return next((answer for answer in answers if answer is not None), None)

    def weights(self, planned: Sequence[Planned]) -> tuple[list[float], bool]:
        """Predicted seconds of each run, True; where some run cannot be predicted, relative costs, False."""
        predicted = [self.predict(plan) for plan in planned]
        if all(predicted):
            return [p.seconds for p in predicted if p is not None], True
        return [cost(plan.run) for plan in planned], False


def known(runs_dir: Path, results: Sequence[Path] = (LOCAL, COMMITTED), here: bool = False) -> Costs:
    """What was measured: in runs_dir, then in each of the results folders, by default the user's, then the authors'.

    here: the runs are for this machine; its speed is tried then, and what the authors measured is scaled by it.
    """
    own, committed = (
        [Source(list(_of_tables(sorted(folder.glob("*/data/runs.csv"))))) for folder in part]
        for part in (results[:-1], results[-1:])
    )
    if here and not visible_gpus():
        committed = [replace(source, slowness=slowness) for source in committed]
    return Costs([Source(list(_of_records(runs_dir))), *own, *committed])


def _of_records(runs_dir: Path) -> Iterator[Timing]:
    """Of the finished runs in a runs_dir."""
    for path in sorted(runs_dir.glob("*/record.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            config = record["config"]
            parts = {**config["data"], **config["model"], **config["optim"], **record["provenance"], **record}
        except (OSError, ValueError, KeyError, TypeError):  # records.read will say so
            continue
        yield from _timing(parts | {"data": config["data"]["title"]})


def _of_tables(paths: Iterable[Path]) -> Iterator[Timing]:
    for path in paths:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                yield from _timing({**row, "residual": row.get("model") != "plain"})


def _timing(row: dict[str, Any]) -> Iterator[Timing]:
    """The timing in a row of runs.csv (or the like), if there is one; who reports on a damaged one says so.

    What it does not say of a network was at its default. runs.csv knows a data set by its title only.
    """
    if row.get("seconds") in (None, "") or str(row.get("steps")) == "0":  # the seconds are those of the steps
        return
    with suppress(ValueError, KeyError, TypeError):
        model = {name: type(default)(row.get(name) or default) for name, default in vars(Model()).items() if default}
        side = side_of(row.get("name") or row["data"], row.get("size"))
        size = cost_of(model | {"residual": row.get("residual", True)}, side, float(row["batch"]), float(row["steps"]))
        where, diverged = row.get("device") or "unknown device", row.get("diverged_step") not in (None, "")
        yield Timing(row["run_id"], row["data"], size, float(row["seconds"]), where, diverged)


# Plans ---------------------------------------------------------------------------------------------------------


def makespan(seconds: Sequence[float], at_once: int) -> float:
    """When the last ends, if so many run at once, begun in the order given."""
    ends = [0.0] * at_once
    for one in seconds:
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)


def at_once(launcher: str, overrides: Sequence[str]) -> int | None:
    """How many runs (or packs) go side by side on this machine; None where a cluster decides."""
    given = dict(override.split("=", 1) for override in overrides if "=" in override)
    if launcher != "local":
        return None
    slots, devices = given.get("hydra.launcher.slots", ""), given.get("env.devices", "")
    each = int(devices) if devices.isdecimal() else 1
    gpus = 0 if given.get("env.device") == "cpu" else len(visible_gpus())
    return int(slots) if slots.isdecimal() else max(1, (gpus or cores()) // each)


def unfinished(planned: Sequence[Planned]) -> list[Planned]:
    """The runs that are to be trained, or measured, in that order."""
    return [p for p in in_order(planned) if not records.seems_complete(p.run, p.id)]


def estimate(planned: Sequence[Planned], costs: Costs, slots: int | None) -> str:
    """How long these runs take, and how that is known: `about 5 min 20 s (measured on AMD EPYC)`."""
    predicted = [p for plan in planned if (p := costs.predict(plan)) is not None]
    if not planned:
        return "nothing to do"
    if not predicted:
        return "how long is not known: nothing like it was measured yet"
    seconds = [p.seconds for p in predicted]
    what = f"about {duration(makespan(seconds, slots))}" if slots else f"about {duration(sum(seconds))} of one device"
    missing = len(planned) - len(predicted)
    return f"{what} ({_origin(predicted)})" + (f"; {missing} more of them never measured" if missing else "")


def _origin(predicted: Sequence[Prediction]) -> str:
    """Where the seconds come from, in honest words."""
    there, _ = Counter(p.device for p in predicted).most_common(1)[0]
    word = "measured" if all(p.exact for p in predicted) else "estimated from runs measured"
    told = f"{word} on {there}" + ("" if there == device() else f"; here it is {device()}, which may differ")
    scales = {p.slowness for p in predicted} - {1.0}
    return told + (f", times {max(scales):.1f} for this machine as a trial found it now" if scales else "")


def announcement(
    spec: Experiment, planned: Sequence[Planned], costs: Costs, slots: int | None, results: Path
) -> list[str]:
    """What is about to happen, in lines: how many runs, how long, where the results will be, how to stop."""
    left = unfinished(planned)
    done = len(planned) - len(left)
    runs = runs_in_words(len(planned)) + (f", {done} finished already, {len(left)} to train" if done else "")
    side = f", {slots} at once" if slots else ""
    time_words = estimate(left, costs, slots)
    if spec.expected and "not known" in time_words:
        time_words = f"nothing like it was measured here yet; its file expects {spec.expected}"
    lines = [f"{spec.id}: {spec.question}", f"{runs}{side}: {time_words}."]
    runs_dir = _short(Path(planned[0].run.env.runs_dir))
    lines.append(f"Each run is kept in {runs_dir}/, tables and figures go to {_short(results / spec.id)}/.")
    lines.append("Ctrl-C stops, and the same command goes on from there.")
    return lines


def _short(path: Path) -> str:
    """The path as seen from here, where it lies below."""
    absolute = path.resolve()
    return os.path.relpath(absolute) if absolute.is_relative_to(Path.cwd()) else str(path)


# Words ---------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """`42 s`, `3 min 10 s`, `5 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def runs_in_words(count: int) -> str:
    """`1 run`, `40 runs`."""
    return f"{count} run{'s' * (count != 1)}"


def clock(seconds: float = 0.0) -> str:
    """The local time, so many seconds from now: `14:32`."""
    return time.strftime("%H:%M", time.localtime(time.time() + seconds))
