"""The cost of a plan, from what its runs took when they were measured."""

import csv
from pathlib import Path

import pytest

from resnet_repro import costs, experiment, planning

TITLES = ("run_id", "seconds", "device")


@pytest.fixture
def planned(tmp_path: Path) -> list[planning.Planned]:
    return planning.plan(experiment.load("tiny"), [f"env.runs_dir={tmp_path}"])


def write(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([TITLES, *rows])
    return path


def test_hours_are_summed_for_each_device(planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [(plan.id, "3600", "GPU A") for plan in planned[:5]] + [
        (plan.id, "5400.0", "GPU B") for plan in planned[5:7]
    ]
    costs.show(planned, write(tmp_path / "runs.csv", rows))
    output = capsys.readouterr().out
    assert "8 to train: 5.0 hours of one GPU A + 3.0 hours of one GPU B + 1 not measured" in output.splitlines()
    lines = [line for line in output.splitlines() if line.startswith(planned[7].id)]
    assert "not measured" in lines[0]
    assert "model.depth=14" in lines[0]


def test_without_a_measurement_the_plan_says_so(planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    costs.show(planned, tmp_path / "runs.csv")
    assert "8 to train: 8 not measured" in capsys.readouterr().out


def test_only_what_is_left_is_estimated(planned):
    times = {planned[0].id: (30.0, "CPU"), planned[1].id: (1000.0, "CPU")}
    assert costs.estimate([planned[0].id], times) == "30 s of one CPU"
    assert costs.estimate([], times) == "nothing to do"


def test_the_packs_of_a_plan_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    planned = planning.plan(experiment.load("tiny"), [f"env.runs_dir={tmp_path}", "env.engine=graph"])
    costs.show(planned, tmp_path / "runs.csv")
    output = capsys.readouterr().out
    assert "8 runs in 2 packs: 8 not measured" in output
    pack = {line.split()[0]: line.split()[2] for line in output.splitlines() if line.startswith(("plain", "resnet"))}
    assert {name.split("-")[0]: number for name, number in pack.items()} == {
        "plain14": "1", "resnet14": "1", "plain8": "2", "resnet8": "2"
    }  # fmt: skip
