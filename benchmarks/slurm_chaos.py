"""A sweep on a loopback Slurm whose jobs are killed and preempted at random; its records must be as if nothing was.

python -m benchmarks.slurm_chaos --runs 40 --kills 20 --preemptions 5 --seed 0
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.loopback_slurm import Loopback, loopback, missing, records_of
from resnet_repro import records

SETTINGS = [
    "task=digits", "model=plain,resnet", "model.depth=8,14", "model.width=4", "optim.steps=600",
    "optim.milestones=[300,450]", "probes.curve_every=20", "env.checkpoint_seconds=0", "env.wandb=disabled",
]  # fmt: skip
SLURM = ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0"]
PROCESSOR = os.environ | {"OMP_NUM_THREADS": "1"}


@dataclass
class Chaos:
    """Does harm to a sweep, in an order and at moments drawn from a seed."""

    cluster: Loopback
    folder: Path
    random: random.Random
    harm: list[tuple[int, str]]  # what is still to be done, and after how many finished runs; the next is the last
    done: list[str] = field(default_factory=list)

    def kill(self) -> bool:
        """Kills a random process with SIGKILL, mostly one that has taken steps; False if there is none."""
        places = sorted(p.parent for p in self.folder.glob("runs/*/log.txt") if records.is_locked(p.parent))
        if self.random.random() < 0.75:
            places = [place for place in places if records.last_step(place) > 0]
        if not places:
            return False
        place = self.random.choice(places)
        process = int(re.findall(r"pid (\d+)", (place / "log.txt").read_text(encoding="utf-8"))[-1])
        try:
            os.kill(process, 9)
        except ProcessLookupError:  # it has just ended by itself
            return False
        self.done.append(f"killed {place.name} at step {records.last_step(place)}")
        return True

    def preempt(self) -> bool:
        """Runs a short job of higher priority on all processors, so that every running job is requeued."""
        before = self.restarts()
        command = ["sbatch", "--wait", "-p", "high", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"]
        self.cluster.command(*command)
        preempted = self.restarts() - before
        if preempted:
            self.done.append(f"preempted {preempted} jobs")
        return preempted > 0

    def restarts(self) -> int:
        """How often Slurm has requeued a job."""
        shown = self.cluster.command("scontrol", "-o", "show", "job")
        return sum(int(n) for n in re.findall(r"Restarts=(\d+)", shown))

    def go_on_until(self, ended: Callable[[], bool]) -> None:
        """Does each harm when its moment has come, until all is done or nothing is left to harm."""
        while self.harm and not ended():
            time.sleep(self.random.uniform(0.2, 1.0))
            moment, what = self.harm[-1]
            finished = len(list(self.folder.glob("runs/*/record.json")))
            if finished >= moment and (self.kill() if what == "kill" else self.preempt()):
                self.harm.pop()
                print(self.done[-1], flush=True)


def main() -> None:
    """Prints what was done and whether every record is the same; exits with 1 if not."""
    options = _options()
    if missing():
        sys.exit(f"not installed: {', '.join(missing())}; Debian: apt install slurm-wlm slurm-wlm-basic-plugins munge")
    sweep = [sys.executable, "-m", "resnet_repro.train", "-m", *SETTINGS, f"seed=range({options.runs // 4})"]
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        undisturbed, disturbed = Path(name) / "undisturbed", Path(name) / "disturbed"
        undisturbed.mkdir()
        disturbed.mkdir()
        began = time.monotonic()
        subprocess.run(sweep, cwd=undisturbed, env=PROCESSOR, check=True)
        print(f"undisturbed: {time.monotonic() - began:.0f} s\n", flush=True)
        chaos, code = _disturbed(sweep, disturbed, Path(name) / "slurm", options)
        same = records_of(undisturbed) == records_of(disturbed)
        started = sum(path.read_text(encoding="utf-8").count("--- ") for path in disturbed.glob("runs/*/log.txt"))
        print(f"\nkills: {sum('killed' in what for what in chaos.done)} of {options.kills}")
        print(f"preemptions: {sum('preempted' in what for what in chaos.done)} of {options.preemptions}")
        print(f"runs: {len(records_of(disturbed))} of {options.runs} have a record; {started} starts; exit code {code}")
        print(f"records, curves included, are {'identical' if same else 'NOT IDENTICAL'} to the undisturbed sweep's")
    sys.exit(0 if same and code == 0 and not chaos.harm else 1)


def _disturbed(sweep: list[str], folder: Path, slurm: Path, options: argparse.Namespace) -> tuple[Chaos, int]:
    drawn = random.Random(options.seed)
    harm = ["kill"] * options.kills + ["preempt"] * options.preemptions
    drawn.shuffle(harm)
    moments = sorted((drawn.randrange(options.runs * 9 // 10) for _ in harm), reverse=True)
    with loopback(slurm, cpus=4, grace=0) as cluster:
        began = time.monotonic()
        driver = subprocess.Popen([*sweep, *SLURM], cwd=folder, env=PROCESSOR | cluster.env)
        chaos = Chaos(cluster, folder, drawn, list(zip(moments, harm, strict=True)))
        chaos.go_on_until(lambda: driver.poll() is not None)
        code = driver.wait()
        print(f"disturbed: {time.monotonic() - began:.0f} s")
    return chaos, code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40, help="a multiple of 4")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--preemptions", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
