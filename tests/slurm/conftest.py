"""A Slurm of its own for this folder's tests, and sweeps to run on it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback_slurm import Loopback, loopback, missing, records_of

SWEEP = [
    "task=digits", "model.depth=8", "model.width=4", "optim.steps=400", "probes.curve_every=20",
    "env.checkpoint_seconds=0", "env.wandb=disabled",
]  # fmt: skip
"""Runs of a few seconds, with a checkpoint every 20 steps."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    if missing():
        pytest.skip(
            f"Slurm is not installed ({', '.join(missing())}): apt install slurm-wlm slurm-wlm-basic-plugins munge"
        )
    with loopback(tmp_path_factory.mktemp("slurm"), cpus=4) as running:
        yield running


@dataclass
class Sweep:
    """A sweep's command, running in a folder of its own on the cluster."""

    process: subprocess.Popen
    folder: Path
    cluster: Loopback

    def place(self, seed: int = 0) -> Path:
        """The folder of the run with this seed, once it is there."""
        return until(lambda: next(self.folder.glob(f"runs/resnet8-s{seed}-*"), None))

    def job(self, seed: int = 0) -> str:
        return until(lambda: json_or_none(self.place(seed) / "slurm.json"))["job"]

    def hold(self, seed: int = 0) -> int:
        """Stops the process that trains the run once there is a checkpoint, so it cannot end too early; its id."""
        until(lambda: any(self.place(seed).glob("checkpoint-*.ckpt")))
        process = int(re.findall(r"pid (\d+)", self.log(seed))[-1])
        os.kill(process, signal.SIGSTOP)
        return process

    def log(self, seed: int = 0) -> str:
        return (self.place(seed) / "log.txt").read_text()

    def starts(self, seed: int = 0) -> int:
        """How often the run was started."""
        return self.log(seed).count("--- ")

    def was_requeued(self, *seeds: int) -> bool:
        shown = [self.cluster.command("scontrol", "show", "job", self.job(seed)) for seed in seeds]
        return all("Restarts=1" in job for job in shown)

    def end(self, seconds: float = 400) -> tuple[int, str]:
        """Waits for the command; its exit code and output."""
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, output


Start = Callable[..., Sweep]


@pytest.fixture
def start(cluster: Loopback, tmp_path: Path) -> Iterator[Start]:
    """Starts `python -m <words>` in the test's folder on the cluster."""
    yield from starter(cluster, tmp_path)


def starter(cluster: Loopback, folder: Path) -> Iterator[Start]:
    """A function that starts commands, which end with it."""
    started: list[subprocess.Popen] = []

    def run(*words: str) -> Sweep:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=cluster.env | {"OMP_NUM_THREADS": "1"}, cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(process)
        return Sweep(process, folder, cluster)

    yield run
    cluster.command("scancel", "--me")
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    until(lambda: not cluster.command("squeue", "-h"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The records of the sweep trained by the local launcher."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command = [sys.executable, "-m", "resnet_repro.train", "-m", *SWEEP, "seed=0,1,2,3"]
    subprocess.run(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    return records_of(folder)


def held_until(condition: Callable[[], Any], *processes: int) -> None:
    """Keeps processes stopped until the condition holds: Slurm sends CONT with TERM, but a held run must not end."""

    def holds() -> bool:
        for process in processes:
            try:
                os.kill(process, signal.SIGSTOP)
            except ProcessLookupError:
                pass
        return condition()

    until(holds)


def json_or_none(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Waits until the condition holds and returns what it returned. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise TimeoutError(f"not so after {seconds} s")
