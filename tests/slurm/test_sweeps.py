"""Sweeps on a real Slurm whose jobs are killed, cancelled, preempted, requeued and lost; it keeps no accounts."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback_slurm import records_of
from tests.slurm.conftest import SWEEP, Start, Sweep, held_until, until

pytestmark = pytest.mark.slurm

TRAIN = ("resnet_repro.train", "-m", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0", *SWEEP)


def assert_nothing_lost(sweep: Sweep, undisturbed: dict[str, Any], seeds: int = 2) -> str:
    code, output = sweep.end()
    assert code == 0, output
    assert records_of(sweep.folder) == {name: r for name, r in undisturbed.items() if r["config"]["seed"] < seeds}
    return output


def test_a_killed_a_requeued_and_a_warned_job_come_back_beside_an_undisturbed_one(
    start: Start, undisturbed: dict[str, Any]
):
    sweep = start(*TRAIN, "seed=0,1,2,3")
    killed, requeued, warned = (sweep.hold(seed) for seed in range(3))
    jobs = [sweep.job(seed) for seed in range(3)]
    os.kill(killed, signal.SIGKILL)
    sweep.cluster.command("scontrol", "requeue", jobs[1])
    sweep.cluster.command("scancel", "--signal=USR2", jobs[2])  # as Slurm does before the time limit
    os.kill(warned, signal.SIGCONT)
    until(lambda: "The time limit is near: requeued" in sweep.log(2))
    held_until(lambda: sweep.was_requeued(1, 2), requeued, warned)

    output = assert_nothing_lost(sweep, undisturbed, seeds=4)
    assert [sweep.starts(seed) for seed in range(4)] == [2, 2, 2, 1]
    assert sweep.job(0) != jobs[0]
    assert [sweep.job(1), sweep.job(2)] == jobs[1:]
    assert output.count("it goes on in a new job") == 1


def test_cancelled_jobs_are_reported_and_the_same_command_finishes_them(start: Start, undisturbed: dict[str, Any]):
    one_at_a_time = "hydra.launcher.array_parallelism=1"
    sweep = start(*TRAIN, "seed=0,1", one_at_a_time)
    held = sweep.hold(0)
    sweep.cluster.command("scancel", sweep.job(0).split("_")[0])  # one runs, one waits
    held_until(lambda: sweep.process.poll() is not None, held)
    code, output = sweep.end()
    assert code == 1
    assert "2 runs crashed" in output
    assert output.count("somebody cancelled it (scancel)") == 2
    assert "repeat it alone: python -m resnet_repro.train" in output
    assert not records_of(sweep.folder)
    assert_nothing_lost(start(*TRAIN, "seed=0,1"), undisturbed)


def test_a_preempted_job_is_not_ended_by_sigterm_and_comes_back(start: Start, undisturbed: dict[str, Any]):
    sweep = start(*TRAIN, "seed=0,1")
    held = [sweep.hold(0), sweep.hold(1)]
    sweep.cluster.command("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap", "sleep 2")
    held_until(lambda: sweep.was_requeued(0, 1), *held)
    assert_nothing_lost(sweep, undisturbed)
    assert [sweep.starts(0), sweep.starts(1)] == [2, 2]


def test_runs_survive_the_loss_of_their_node(start: Start, undisturbed: dict[str, Any]):
    sweep = start(*TRAIN, "seed=0,1")
    sweep.hold()
    sweep.cluster.stop("slurmd")
    sweep.cluster.wait_until("down", seconds=200)
    sweep.cluster.start("slurmd", "-D", "-f", str(sweep.cluster.folder / "slurm.conf"))
    assert_nothing_lost(sweep, undisturbed)


def test_jobs_that_cannot_succeed_are_given_up(start: Start):
    """Three sweeps at once: a run that reaches no checkpoint in its time, a job that never starts it, an exception."""
    limit = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=30"]
    slow = start(*TRAIN, "seed=0", *limit, "optim.steps=10000000", "env.checkpoint_seconds=1000")
    broken = start(*TRAIN, "seed=1", "hydra.launcher.setup=[exit 3]")
    wrong = start(*TRAIN, "seed=2", "task=folder", "env.data_dir=nowhere")

    code, output = wrong.end()
    assert code == 1
    assert "MissingData" in output
    assert "nowhere" in output
    assert re.search(r"the end of /.*/runs/", output)
    assert "goes on in a new job" not in output

    code, output = broken.end()
    assert code == 1
    assert "FAILED" in output
    assert "tried 4 times" in output

    code, output = slow.end(seconds=500)
    assert code == 1
    assert "TIMEOUT" in output
    assert "no checkpoint was reached: raise hydra.launcher.timeout_min" in output


def test_without_slurm_the_launcher_says_so(tmp_path: Path):
    env = os.environ | {"PATH": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-m", *TRAIN], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert "nothing was submitted" in answer.stderr
