"""A campaign: several experiments in slices of time, from the command line, into a results folder of its own."""

import csv
import subprocess
import sys

import pytest


def campaign(folder, *words):
    command = [
        sys.executable,
        "-m",
        "resnet_repro.campaign",
        "--experiments",
        "tiny",
        "--results",
        str(folder / "results"),
    ]
    done = subprocess.run(
        [*command, *words, f"env.runs_dir={folder}/runs"], capture_output=True, text=True, check=False, cwd=folder
    )
    return done.returncode, done.stdout + done.stderr


def test_slices_of_a_campaign_add_up_to_the_whole(tmp_path):
    code, output = campaign(tmp_path, "--minutes", "0.2", "env.wandb=disabled")
    assert code == 75, output
    assert "Time is up: 0 of 8 runs finished" in output  # what is kept for collecting leaves a second
    assert output.endswith("The same command goes on from here.\n")
    code, output = campaign(tmp_path, "env.wandb=disabled")
    assert code == 0, output
    with open(tmp_path / "results" / "tiny" / "data" / "runs.csv") as file:
        assert len(list(csv.DictReader(file))) == 8
    assert (tmp_path / "results" / "tiny" / "curves.pdf").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--experiments", "tiny,no-such"], "no experiment 'no-such'"),
        (["model.depth=21"], "model.depth must be 6n + 2"),
    ],
)
def test_a_mistake_anywhere_in_a_campaign_is_said_before_anything_starts(tmp_path, words, message):
    code, output = campaign(tmp_path, *words)
    assert code == 1
    assert message in output
    assert not (tmp_path / "runs").exists()
