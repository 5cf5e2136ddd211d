"""A local sweep whose processes are killed at random; its records, curves and W&B steps must be as if nothing was.

    python -m benchmarks.chaos --kills 200 --seed 0

Workers, driver, mirror, fork server and the child that draws pictures get SIGKILL, SIGTERM, the driver's group also
Ctrl-C. The same command is given again after every end, until all runs are finished; then the next round begins in a
new folder, until all kills are done. Writes benchmarks/results/chaos.csv.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks import table
from benchmarks.chaos_checks import MARK, measured, processes, wandb_steps
from resnet_repro import records

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENT = {
    "question": "Does it matter who is killed?",
    "source": "none",
    "smoke": True,
    "grid": [{
        "task": "digits", "model": ["plain", "resnet"], "model.depth": 8, "model.width": 4, "optim.steps": 500,
        "optim.milestones": [[250]], "probes.curve_every": 10, "seed": list(range(8)),
    }],
    "claims": [],
    "figures": [{"name": "curves", "draw": "learning_curves", "y": ["train_error_running"], "hue": "model"}],
}  # fmt: skip
RUNS = 16
WEIGHTS = {"worker": 40, "driver": 20, "mirror": 15, "fork server": 10, "picture": 15}
FURTHER = 80
"""Steps of all runs together that pass before the next kill, at the most."""
WRONG = (
    "runs lost", "runs differing", "runs doubled", "W&B steps lost", "W&B steps doubled", "processes left behind",
)  # fmt: skip
ENDING = 60.0
"""Seconds after which a process whose sweep is over counts as left behind."""


@dataclass
class Sweep:
    """The sweep of one round, started again and again, and what was done to it."""

    checkout: Path
    folder: Path
    dice: random.Random
    starts: int = 0
    driver: subprocess.Popen | None = None
    killed: Counter = field(default_factory=Counter)

    def start(self) -> None:
        self.starts += 1
        settings = [f"env.runs_dir={self.folder}/runs", "env.wandb=offline", "env.checkpoint_seconds=0.3"]
        command = [
            sys.executable,
            "-m",
            "resnet_repro.sweep",
            "chaos",
            *settings,
            "--results",
            f"{self.folder}/results",
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", MARK: str(self.folder)}
        with open(self.folder / "printed.txt", "ab") as printed:
            self.driver = subprocess.Popen(
                command, cwd=self.checkout, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=printed, stderr=printed,
            )  # fmt: skip

    def kills(self) -> int:
        return sum(self.killed[kind] for kind in WEIGHTS)

    def running(self) -> bool:
        return self.driver is not None and self.driver.poll() is None

    def places(self) -> list[Path]:
        return sorted(path for path in (self.folder / "runs").glob("*-s*") if path.is_dir())

    def finished(self) -> int:
        return len(list(self.folder.glob("runs/*/record.json")))

    def alive(self) -> dict[str, list[int]]:
        return processes(str(self.folder), self.driver.pid if self.driver else 0)

    def kill(self) -> bool:
        """Waits for a moment and kills somebody; False if the sweep has ended before."""
        if not self._waited(self._moment()):
            return False
        (kind,) = self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
        goal = self._steps() + FURTHER
        self._waited(lambda: bool(self.alive().get(kind)) or self._steps() >= goal)
        there = {k: pids for k, pids in self.alive().items() if k in WEIGHTS}
        if not self.running() or not there:
            return False
        kind = kind if kind in there else self.dice.choice(sorted(there))
        return self._signal(kind, self.dice.choice(there[kind]))

    def _moment(self) -> Callable[[], bool]:
        if self.dice.random() < 0.2:  # while it starts
            processes = self.dice.randrange(1, 7)
            return lambda: sum(map(len, self.alive().values())) >= processes
        goal = self._steps() + self.dice.randrange(FURTHER)
        return lambda: self._steps() >= goal

    def _steps(self) -> int:
        return sum(records.last_step(place) for place in self.places())

    def _waited(self, condition: Callable[[], bool]) -> bool:
        while self.running():
            if condition():
                return True
            time.sleep(0.05)
        return False

    def _signal(self, kind: str, pid: int) -> bool:
        chosen = self.dice.choice([signal.SIGKILL, signal.SIGTERM, *([signal.SIGINT] if kind == "driver" else [])])
        try:
            (os.killpg if chosen is signal.SIGINT else os.kill)(pid, chosen)
        except ProcessLookupError:
            return False
        self.killed[kind] += 1
        name = "Ctrl-C" if chosen is signal.SIGINT else chosen.name
        self.killed[name] += 1
        print(f"{self.kills()}. {name} to {kind} at step {self._steps()}", flush=True)
        if kind == "driver" and self.driver is not None:
            self.driver.wait()
        return True

    def left_behind(self) -> dict[str, list[int]]:
        """Those of its processes that live although the sweep is over, after a time to end in."""
        deadline = time.monotonic() + ENDING
        while (alive := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return alive


def main() -> None:
    """Prints and writes what was done and what it changed; exits with 1 where it changed anything."""
    options = _options()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs this in the background
    dice, total, rounds = random.Random(options.seed), Counter(), 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        checkout = _checkout(Path(name))
        calm = Sweep(checkout, options.against or Path(name) / "undisturbed", dice)
        if not options.against:
            _to_its_end(calm, 0, 0.0)
        expected = measured(calm.places())
        assert len(expected) == RUNS, (calm.folder / "printed.txt").read_text(encoding="utf-8")
        deadline = time.monotonic() + 60 * options.minutes
        while (done := sum(total[kind] for kind in WEIGHTS)) < options.kills and time.monotonic() < deadline:
            rounds += 1
            sweep = Sweep(checkout, Path(name) / f"round-{rounds}", dice)
            _to_its_end(sweep, options.kills - done, deadline)
            total += sweep.killed + _found(sweep, expected) + Counter(starts=sweep.starts)
            print(f"round {rounds}: {dict(total)}", flush=True)
            if options.keep:
                shutil.copytree(sweep.folder, options.keep / sweep.folder.name, symlinks=True)
    columns = [*WEIGHTS, "SIGKILL", "SIGTERM", "Ctrl-C"]
    row = {"runs": RUNS * rounds, "kills": done, "starts": total["starts"], **{k: total[k] for k in columns}}
    table.write("chaos", [row | {what: total[what] for what in WRONG}])
    sys.exit(1 if any(total[what] for what in WRONG) else 0)


def _checkout(folder: Path) -> Path:
    """A copy of the source with an experiment of its own, since pictures are drawn only of what a file asks for."""
    copy = folder / "checkout"
    for part in ("resnet_repro", "hydra_plugins", "conf", "experiments"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "experiments" / "chaos.yaml").write_text(yaml.safe_dump(EXPERIMENT), encoding="utf-8")
    return copy


def _to_its_end(sweep: Sweep, kills: int, deadline: float) -> None:
    """Starts the sweep until all is finished, and kills meanwhile so many of its processes, or as many as it lives."""
    sweep.folder.mkdir()
    while sweep.driver is None or sweep.finished() < RUNS or sweep.driver.returncode:
        sweep.start()
        while sweep.running():
            if sweep.kills() < kills and time.monotonic() < deadline:
                sweep.kill()
            else:
                sweep.driver.wait()


def _found(sweep: Sweep, expected: dict[str, object]) -> Counter:
    """What is wrong after a round, counted: runs, W&B steps, processes."""
    left = sweep.left_behind()
    for kind, pids in left.items():
        print(f"left behind: {kind} {pids}", flush=True)
    places = sweep.places()
    found = measured(places)
    wrong = Counter(dict.fromkeys(WRONG, 0))
    wrong["runs lost"] = len(expected.keys() - found.keys())
    wrong["runs differing"] = sum(found[name] != expected[name] for name in found.keys() & expected.keys())
    wrong["runs doubled"] = len(places) - len({place.name for place in places} & expected.keys())
    for place in places:
        lost, doubled = wandb_steps(place)
        wrong["W&B steps lost"] += lost
        wrong["W&B steps doubled"] += doubled
        if lost or doubled:
            print(f"{place.name}: {lost} W&B steps lost, {doubled} doubled", flush=True)
    wrong["processes left behind"] = sum(map(len, left.values()))
    return wrong


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="the time in which processes are killed, at the most")
    parser.add_argument("--against", type=Path, help="the folder of an undisturbed sweep that was kept")
    parser.add_argument("--keep", type=Path, help="a folder to which the rounds' folders are copied")
    return parser.parse_args()


if __name__ == "__main__":
    main()
