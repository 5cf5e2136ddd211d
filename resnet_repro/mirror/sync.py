"""Uploads the runs that W&B has not seen yet: `python -m resnet_repro.mirror.sync [env.runs_dir=...]`.

W&B's own `wandb sync` does it, which tries a server that does not answer for days; here it is ended when it makes no
progress. What was not taken stays on disk, and the same command uploads it. Exit code 1: some runs were not.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from resnet_repro import places, settings
from resnet_repro.mirror import RETICENT, say

PATIENCE = 120.0
"""Seconds in which at least one more file has to be taken."""
POLL_SECONDS = 0.5
NAMED = 5
"""Runs that are named of those that were not uploaded."""


def missing(folder: Path) -> dict[str, list[Path]]:
    """The files in W&B's folder that it has not marked as uploaded, of each run by its id; resumed, it has several."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*run-*/run-*.wandb")):
        if not file.with_suffix(".wandb.synced").exists() and not file.parent.is_symlink():
            found.setdefault(re.sub("^run-|[.]wandb$", "", file.name), []).append(file)
    return found


def upload(folder: Path, patience: float = PATIENCE) -> dict[str, list[Path]]:
    """Runs `wandb sync` on the folder until it ends or takes no file for so many seconds; returns what is missing."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb", "sync", "--include-online", str(folder)],
        env=RETICENT | os.environ,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # W&B's own process, which uploads, is ended with it
    )
    left, since = _files(folder), time.monotonic()
    try:
        while process.poll() is None and time.monotonic() - since < patience:
            time.sleep(POLL_SECONDS)
            if (now := _files(folder)) < left:
                left, since = now, time.monotonic()
    finally:
        with suppress(ProcessLookupError):  # all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return missing(folder)


def _files(folder: Path) -> int:
    return sum(map(len, missing(folder).values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m resnet_repro.mirror.sync", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds without progress until it is ended")
    parser.add_argument("overrides", nargs="*", help="settings; env.runs_dir says where the runs lie")
    options = parser.parse_args(arguments)
    own = [override for override in options.overrides if override.startswith("env.")]  # others may have many values
    folder = Path(places.settle(settings.compose(own)).env.runs_dir) / "wandb"
    before = missing(folder)
    if not before:
        nothing = any(folder.glob("*run-*")) and f"all runs in {folder} are uploaded"
        say(nothing or f"no runs in {folder} yet: train something first, or name env.runs_dir")
        return 0
    after = upload(folder, options.patience)
    say(f"{len(before.keys() - after.keys())} of {len(before)} runs uploaded")
    if after:
        rest = f", and {len(after) - NAMED} more" if len(after) > NAMED else ""
        say(
            f"not uploaded: {', '.join(list(after)[:NAMED])}{rest}. Nothing is lost. See that `wandb login` has a key "
            "and the server answers (WANDB_BASE_URL), and repeat the command"
        )
    return 1 if after else 0


def cli() -> NoReturn:
    """The command, `resnet-wandb-sync`."""
    places.command(main)


if __name__ == "__main__":
    cli()
