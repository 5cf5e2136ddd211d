"""Pictures while a sweep goes on: drawn after each whole seed, in a process that can do no harm."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from resnet_repro import pictures, records
from resnet_repro.experiment import load
from resnet_repro.metrics import METRICS, SHARES
from resnet_repro.planning import plan


@pytest.fixture
def planned(tmp_path):
    """The plan of the tiny experiment, its runs in a folder of their own."""
    found = plan(load("tiny"))
    for one in found:
        one.run.env.runs_dir = str(tmp_path / "runs")
    return found


def finish(planned):
    for one in planned:
        place = records.folder(one.run, one.id)
        records.write_points(
            place, [(20, "train_error_running", None, None, 70.0), (40, "test_error", None, None, 60.0)]
        )
        record = {"status": "failed", "status_flags": dict.fromkeys(SHARES, False) | {"failed": True}}
        record |= {"metrics": dict.fromkeys(METRICS, 60.0), "parameters": 7, "diverged_step": None}
        origin = {"seconds": 1.0, "commit": "12345678", "device": "cpu", "torch": "2.13.0", "data_sha256": "0" * 64}
        records.write(place, record | {"provenance": origin})


def of_seed(planned, seed):
    return [one for one in planned if one.run.seed == seed]


def until(condition):
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def test_a_seed_is_whole_when_all_its_runs_are_finished(planned):
    assert pictures.whole_seeds(planned) == (0, 2)
    finish(of_seed(planned, 1)[1:])
    assert pictures.whole_seeds(planned) == (0, 2)
    finish(of_seed(planned, 1)[:1])
    assert pictures.whole_seeds(planned) == (1, 2)


def test_after_the_first_whole_seed_figure_and_table_stand_and_it_is_said_where(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    with pictures.drawn(load("tiny"), planned, tmp_path / "results", said.append):
        finish(of_seed(planned, 0))
        until(lambda: said)
    assert said == ["A first picture stands, of 1 of 2 seeds: results/tiny/curves.png"]
    made = {path.name for path in (tmp_path / "results" / "tiny").iterdir()}
    assert {"curves.png", "depth.pdf", "errors.md", "README.md", "data"} <= made
    assert len((tmp_path / "results" / "tiny" / "data" / "runs.csv").read_text().splitlines()) == 5


def test_a_picture_that_cannot_be_drawn_is_said_once_and_stops_nothing(planned, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    said = []
    with pictures.drawn(load("tiny"), planned, tmp_path / "results", said.append):
        finish(of_seed(planned, 0))
        until(lambda: said)
        time.sleep(1.5)
    (sentence,) = said
    assert sentence.startswith("No picture could be drawn meanwhile, training goes on: ")
    assert "\n" not in sentence


def test_the_end_of_a_sweep_ends_a_picture_that_is_being_drawn_and_leaves_nothing_half_written(planned, tmp_path):
    folder = tmp_path / "results" / "tiny"
    with pictures.drawn(load("tiny"), planned, tmp_path / "results", print):
        finish(of_seed(planned, 0))
        until(lambda: list(folder.glob(".rendering-*")) or (folder / "manifest.json").exists())
    assert not list(folder.glob(".rendering-*"))


SWEEP = """
import sys, time
from test_pictures import Path, load, pictures, plan
planned = plan(load("tiny"))
for one in planned:
    one.run.env.runs_dir = sys.argv[1]
with pictures.drawn(load("tiny"), planned, Path(sys.argv[2]), print):
    time.sleep(600)
"""


def children(pid):
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_picture_that_is_being_drawn_ends_with_a_sweep_that_is_killed(planned, tmp_path):
    finish(of_seed(planned, 0))
    command = [sys.executable, "-c", SWEEP, tmp_path / "runs", tmp_path / "results"]
    sweep = subprocess.Popen(command, cwd=Path(__file__).parent)
    until(lambda: children(sweep.pid))
    (child,) = children(sweep.pid)
    sweep.kill()
    sweep.wait()
    until(lambda: not Path(f"/proc/{child}").exists() or ") Z" in Path(f"/proc/{child}/stat").read_text())
    assert not (tmp_path / "results" / "tiny" / "manifest.json").exists()


def test_runs_that_the_experiment_does_not_ask_for_give_no_picture(planned):
    other = plan(load("tiny"), ["optim.steps=41"])
    assert pictures.own_plan(load("tiny"), other) == []
    assert [one.id for one in pictures.own_plan(load("tiny"), planned[:2])] == [one.id for one in planned]
