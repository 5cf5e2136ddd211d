"""Watching a sweep that runs elsewhere: before it, while it runs, after it, as a command of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_repro import experiment, planning, records, running
from resnet_repro.metrics import METRICS, SHARES


def start(tmp_path: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-u", "-m", "resnet_repro.watch", *words, f"env.runs_dir={tmp_path}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(tmp_path: Path) -> None:
    for plan in planning.plan(experiment.load("tiny"), [f"env.runs_dir={tmp_path}"]):
        place = records.folder(plan.run, plan.id)
        records.write_points(place, [(40, "train_loss", None, None, 1.0)])
        measured = {"metrics": dict.fromkeys(METRICS, 50.0), "parameters": 1, "diverged_step": None, "provenance": {}}
        flags = dict.fromkeys(SHARES, False)
        records.write(place, {"status": "finished", "status_flags": flags, "config": {}, "run_id": plan.id, **measured})


def test_before_anything_has_begun_it_waits_ends_by_itself_once_all_is_done(tmp_path):
    watching = start(tmp_path, "tiny")
    assert "Nothing runs now" in watching.stdout.readline()
    finish(tmp_path)
    output, errors = watching.communicate(timeout=60)
    assert output.splitlines()[-1][9:] == "8/8 runs done, 100 % of the work, 0 running"
    assert (watching.returncode, errors) == (0, "")


def test_it_shows_the_runs_of_a_sweep_with_other_settings_that_goes_on(tmp_path):
    finish(tmp_path)
    with running.told("tiny", ["optim.steps=41", "hydra.launcher.slots=1", "seed=1"], tmp_path):
        watching = start(tmp_path, "tiny")
        assert "Nothing runs now" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert "0/4 runs done" in watching.communicate(timeout=60)[0]
    assert running.overrides("tiny", tmp_path) == []


def test_ctrl_c_ends_the_watching_and_is_no_failure(tmp_path):
    watching = start(tmp_path, "tiny")
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    output, errors = watching.communicate(timeout=60)
    assert output.endswith("Watching ended; the sweep goes on.\n")
    assert (watching.returncode, errors) == (0, "")


@pytest.mark.parametrize("words", [["tyni"], ["tiny", "degradation"], ["tiny", "model.depht=8"]])
def test_what_cannot_be_watched_is_refused_in_one_line(tmp_path, words):
    watching = start(tmp_path, *words)
    output, errors = watching.communicate(timeout=60)
    assert (watching.returncode, output) == (1, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
