"""A rank that another process has started: takes part in the training of its run, and writes nothing."""

import pickle
import signal
import sys
from pathlib import Path

from resnet_repro import data
from resnet_repro.config import Run
from resnet_repro.machine import end_with
from resnet_repro.training.fit import fit
from resnet_repro.training.member import Member
from resnet_repro.training.ranks import group


def follow(run: Run, place: Path) -> None:
    """Takes part in the training of a run that another process leads; returns at once where there is a record."""
    if (place / "record.json").exists():
        return
    images = data.load(run.data.name, Path(run.env.data_dir), split=run.data.split, download=run.env.download)
    fit([Member(run, images, place)], lambda _: None)


def main() -> None:
    """A rank that `together` has started."""
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)  # the first process decides
    first, run, place, device, meeting, number = pickle.load(sys.stdin.buffer)
    end_with(first)
    with group(run, device, meeting, number):
        follow(run, place)


if __name__ == "__main__":
    main()
