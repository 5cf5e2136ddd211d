"""Submitting and coming back later: slurm-detached, status, plan and collect, with an experiment of its own."""

import json
from pathlib import Path

import pytest

from tests.slurm.conftest import Start, until

pytestmark = pytest.mark.slurm

RESULTS = ("--results", "results")
DETACHED = ("resnet_repro.sweep", "tiny", "--launcher", "slurm-detached", *RESULTS, "hydra.launcher.gpus_per_node=0")
QUIET = "env.wandb=disabled"


def test_submit_follow_and_collect(start: Start, tmp_path: Path):
    code, output = start(*DETACHED, QUIET).end()
    assert code == 0
    assert "8 jobs submitted" in output
    assert "follow:   python -m resnet_repro.status tiny env.wandb=disabled" in output
    jobs = {place.parent.name: json.loads(place.read_text())["job"] for place in tmp_path.glob("runs/*/slurm.json")}
    assert len(jobs) == 8
    assert not list(tmp_path.glob("runs/*/record.json"))

    code, output = start("resnet_repro.status", "tiny").end()
    assert code == 0
    for name, job in jobs.items():
        assert any(name in line and f" {job} " in line for line in output.splitlines())
    assert "PENDING" in output or "RUNNING" in output

    code, output = start(*DETACHED, QUIET).end()
    assert code == 0
    assert "jobs submitted" not in output
    assert {p.parent.name: json.loads(p.read_text())["job"] for p in tmp_path.glob("runs/*/slurm.json")} == jobs

    until(lambda: len(list(tmp_path.glob("runs/*/record.json"))) == 8)
    code, output = start("resnet_repro.sweep", "tiny", "--collect", *RESULTS, QUIET).end()
    assert code == 0
    assert "8 runs collected" in output
    assert len((tmp_path / "results/tiny/data/runs.csv").read_text().splitlines()) == 9

    code, output = start("resnet_repro.sweep", "tiny", "--plan", *RESULTS).end()
    assert code == 0
    assert "0 to train: nothing to do" in output


def test_collecting_too_early_says_what_is_missing(start: Start):
    code, output = start("resnet_repro.sweep", "tiny", "--collect", *RESULTS, QUIET).end()
    assert code == 1
    assert "8 of 8 runs not finished: python -m resnet_repro.status tiny" in output
