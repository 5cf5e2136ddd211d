"""Measure kept networks: `python -m resnet_repro.measure EXPERIMENT [overrides]`; trains nothing.

A finished run that lacks a probe that is asked for (`probes` in the experiment's file, or `measure.probes=[...]`) is
looked at where it began and where it ended, if its trained network was kept (`keep: net`). Its points are then those of
a run that was trained with the probe, bit for bit.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from resnet_repro import experiment, inputs, planning, records
from resnet_repro.config import Run
from resnet_repro.places import command
from resnet_repro.planning import Planned


def on_kept_network(run: Run, place: Path) -> dict[str, Any] | None:
    """Adds what a finished run lacks of `run.measure`, and returns its record; None where it must be trained for that.

    The caller holds the run's lock. What the run was before stays beside (records.supersede).
    """
    record = records.read(place)
    if record is None or not _possible(run, record):
        return None
    from resnet_repro.training.engine import feed
    from resnet_repro.training.fit import set_up
    from resnet_repro.training.looks import Looks, due
    from resnet_repro.training.network import build, data_sets, load

    device = set_up(run)
    (images,) = data_sets([run])
    looks = Looks(run, images, feed(run, images, device), device)
    missing = dict.fromkeys(records.lacking(record, run.measure), 0)
    last, points = record["steps_done"], records.read_points(place)
    points += looks.take(due(missing, 0, last == 0), build(run, images), 0)
    points += looks.take(due(missing, last, True), load(place), last) if last else []
    measured = {**record.get("measured", {}), **missing}
    return records.replace(place, record | {"measured": measured}, sorted(points, key=lambda point: point[0]))


def _possible(run: Run, record: dict[str, Any]) -> bool:
    """Whether what the record lacks needs the initial and the final network only, and the latter was kept."""
    return "net_sha256" in record and not 0 < run.measure.every < record["steps_done"]


def measure(planned: Sequence[Planned]) -> tuple[int, int]:
    """Measures what finished runs of a plan lack; returns how many were measured, and how many must be trained."""
    done, left, present = 0, 0, inputs.Present()
    for plan in planned:
        place = records.folder(plan.run, plan.id)
        with records.lock(place):
            if inputs.record(plan.run, place, present) is None:
                found = on_kept_network(plan.run, place)
                done, left = done + (found is not None), left + (found is None)
    return done, left


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m resnet_repro.measure", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("experiment", metavar="ID", help="the experiment")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides on top of the experiment's grid")
    options = parser.parse_args()
    planned = planning.plan(experiment.load(options.experiment), options.overrides)
    done, left = measure(planned)
    print(f"{len(planned)} runs: {done} measured on the networks that were kept, {len(planned) - done - left} complete")
    if left:
        again = " ".join([options.experiment, *options.overrides])
        print(f"{left} must be trained for it: python -m resnet_repro.sweep {again}")


def cli() -> NoReturn:
    """The command, `resnet-measure`."""
    command(main)


if __name__ == "__main__":
    cli()
