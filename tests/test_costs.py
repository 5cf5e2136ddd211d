"""How long runs take, predicted from what they or their like took; and what is announced before the first."""

import csv
import json
from pathlib import Path

import pytest

from resnet_repro import costs, experiment, machine, planning, records
from resnet_repro.config import cost
from resnet_repro.costs import Costs, Source, Timing, makespan

TITLES = ("run_id", "data", "depth", "width", "batch", "steps", "seconds", "device", "diverged_step")


@pytest.fixture
def planned(tmp_path: Path) -> list[planning.Planned]:
    return planning.plan(experiment.load("tiny"), [f"env.runs_dir={tmp_path / 'runs'}"])


def write(path: Path, rows: list[tuple]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([TITLES, *rows])
    return path


def row(
    plan: planning.Planned, seconds: float, device: str = "CPU A", data: str = "digits", diverged: str = ""
) -> tuple:
    return (plan.id, data, plan.run.model.depth, 4, 128, plan.run.optim.steps, seconds, device, diverged)


def known(tmp_path: Path) -> Costs:
    return costs.known(tmp_path / "runs", [tmp_path / "results" / "local", tmp_path / "results"])


def test_a_run_that_was_measured_takes_what_it_took(planned, tmp_path: Path):
    write(tmp_path / "results/tiny/data/runs.csv", [row(plan, 7.0 + k) for k, plan in enumerate(planned)])
    predicted = [known(tmp_path).predict(plan) for plan in planned]
    assert [p.seconds for p in predicted] == [7.0 + k for k in range(8)]
    assert all(p.exact and p.device == "CPU A" for p in predicted)


def test_another_run_is_scaled_by_cost_from_the_nearest_on_the_same_data(planned, tmp_path: Path):
    shallow, deep = planned[0], planned[2]
    assert (shallow.run.model.depth, deep.run.model.depth) == (8, 14)
    rows = [row(shallow, 8.0), row(planned[4], 999.0, data="CIFAR-10"), row(planned[3], 1.0, diverged="3")]
    write(tmp_path / "results/other/data/runs.csv", rows)
    predicted = known(tmp_path).predict(deep)
    assert predicted.seconds == pytest.approx(8.0 * cost(deep.run) / cost(shallow.run))
    assert predicted.seconds == pytest.approx(8.0 * 14 / 8, rel=0.1)
    assert not predicted.exact
    assert known(tmp_path).predict(planned[3]).seconds == 1.0  # what ended early ends early again


def test_what_was_measured_here_counts_before_what_was_collected_and_that_before_what_is_committed(planned, tmp_path):
    plan = planned[0]
    write(tmp_path / "results/tiny/data/runs.csv", [row(plan, 1.0)])
    assert known(tmp_path).predict(plan).seconds == 1.0
    write(tmp_path / "results/local/tiny/data/runs.csv", [row(plan, 2.0)])
    assert known(tmp_path).predict(plan).seconds == 2.0
    other = planned[1]
    record = {
        "run_id": other.id, "config": {"model": {"depth": 8, "width": 4}, "data": {"title": "digits"},
        "optim": {"batch": 128, "steps": 40}}, "diverged_step": None, "provenance": {"seconds": 3.0, "device": "here"},
    }  # fmt: skip
    place = records.folder(other.run, other.id)
    place.mkdir(parents=True)
    (place / "record.json").write_text(json.dumps(record))
    assert known(tmp_path).predict(plan).seconds == 3.0
    assert known(tmp_path).predict(plan).device == "here"


def test_without_a_run_on_the_same_data_nothing_is_predicted_and_costs_weigh(planned, tmp_path: Path):
    write(tmp_path / "results/other/data/runs.csv", [row(planned[0], 5.0, data="CIFAR-10")][:0])
    empty = known(tmp_path)
    assert empty.predict(planned[0]) is None
    assert empty.weights(planned) == ([cost(plan.run) for plan in planned], False)
    assert "not known" in costs.estimate(planned, empty, 2)


def test_a_run_of_far_other_cost_is_not_predicted(planned):
    far = Timing("other", "digits", 11 * cost(planned[0].run), 60.0, "CPU")
    near = Timing("other", "digits", 9 * cost(planned[0].run), 60.0, "CPU")
    assert Costs([Source([far])]).predict(planned[0]) is None
    assert Costs([Source([near])]).predict(planned[0]).seconds == pytest.approx(60 / 9)


def test_runs_without_steps_predict_nothing_and_are_not_predicted(planned, tmp_path: Path):
    still, trained = planned[0], planned[1]
    still.run.optim.steps = 0
    write(tmp_path / "results/tiny/data/runs.csv", [row(still, 0.0)])
    assert known(tmp_path).predict(trained) is None
    write(tmp_path / "results/tiny/data/runs.csv", [row(trained, 5.0)])
    assert known(tmp_path).predict(still) is None
    assert known(tmp_path).predict(trained).seconds == 5.0


def test_runs_are_packed_onto_the_slots():
    assert makespan([5, 3, 2, 2], 2) == 7
    assert makespan([5, 3, 2, 2], 1) == 12
    assert makespan([], 3) == 0


def test_an_estimate_says_how_it_is_known(planned, monkeypatch):
    monkeypatch.setattr(costs, "device", lambda: "CPU A")
    timings = [Timing(plan.id, "digits", cost(plan.run), 30.0, "CPU A") for plan in planned]
    assert costs.estimate(planned, Costs([Source(timings)]), 2) == "about 2 min 0 s (measured on CPU A)"
    assert costs.estimate(planned, Costs([Source(timings)]), None).startswith("about 4 min 0 s of one device (")
    scaled = costs.estimate(planned[4:5], Costs([Source(timings[:4])]), 2)
    assert scaled == "about 30 s (estimated from runs measured on CPU A)"
    monkeypatch.setattr(costs, "device", lambda: "GPU B")
    assert "measured on CPU A; here it is GPU B" in costs.estimate(planned, Costs([Source(timings)]), 2)
    assert costs.estimate([], Costs([Source(timings)]), 2) == "nothing to do"


def test_what_others_measured_is_scaled_to_this_machine_and_what_was_measured_here_is_not(
    planned, tmp_path, monkeypatch
):
    monkeypatch.setattr(costs, "slowness", lambda: 2.5)
    monkeypatch.setattr(costs, "visible_gpus", lambda: [])
    write(tmp_path / "results/tiny/data/runs.csv", [row(plan, 4.0) for plan in planned])
    write(tmp_path / "results/local/tiny/data/runs.csv", [row(planned[0], 3.0, data="CIFAR-10")])
    folders = [tmp_path / "results" / "local", tmp_path / "results"]
    here, elsewhere = (costs.known(tmp_path / "runs", folders, here=here) for here in (True, False))
    assert [here.predict(plan).seconds for plan in planned] == [3.0] + [10.0] * 7
    assert [elsewhere.predict(plan).seconds for plan in planned] == [3.0] + [4.0] * 7
    assert "times 2.5 for this machine as a trial found it now" in costs.estimate(planned, here, 1)
    assert "times" not in costs.estimate(planned, elsewhere, 1)


def test_what_is_announced_names_runs_time_places_and_how_to_stop(planned, tmp_path: Path, monkeypatch):
    spec = experiment.load("tiny")
    write(tmp_path / "results/tiny/data/runs.csv", [row(plan, 30.0) for plan in planned])
    place = records.folder(planned[0].run, planned[0].id)
    place.mkdir(parents=True)
    (place / "record.json").write_text("{}")
    said = "\n".join(costs.announcement(spec, planned, known(tmp_path), 2, tmp_path / "results"))
    assert said.startswith("tiny: Is everything in place?")
    assert "8 runs, 1 finished already, 7 to train, 2 at once: about 2 min 0 s (measured on CPU A" in said
    assert str(tmp_path / "runs") in said
    assert str(tmp_path / "results" / "tiny") in said
    assert "Ctrl-C" in said
    assert f"its file expects {spec.expected}" in "\n".join(
        costs.announcement(spec, planned, Costs([]), 2, tmp_path / "results")
    )


def test_how_many_run_at_once_follows_from_the_overrides_and_the_machine(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert costs.at_once("local", []) == machine.cores()
    assert costs.at_once("local", ["hydra.launcher.slots=3", "seed=0,1"]) == 3
    assert costs.at_once("slurm", []) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert costs.at_once("local", ["env.devices=2"]) == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (41.6, "42 s"),
        (59.6, "1 min 0 s"),
        (190, "3 min 10 s"),
        (3599.7, "1 h 0 min"),
        (19200, "5 h 20 min"),
    ],
)
def test_durations_are_told_in_two_units(seconds, words):
    assert costs.duration(seconds) == words
