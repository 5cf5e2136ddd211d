"""Runs side by side in one process, against the same runs alone."""

import json
import multiprocessing
import time

import pytest

from resnet_repro import records
from resnet_repro.config import run_id
from resnet_repro.settings import compose
from resnet_repro.train import train, train_pack
from resnet_repro.training import train_state
from resnet_repro.training.engine import TURN

TINY = ("task=digits", "model.depth=8", "model.width=4", "optim.milestones=[13,26]", "env.checkpoint_seconds=0")
MIXED = [
    ["model=plain", "optim.steps=40", "probes.curve_every=8", "probes.eval_every=16"],
    ["model=resnet", "seed=1", "optim.steps=40", "probes.curve_every=8", "probes.eval_every=16"],
    ["model.shortcut_scale=0.5", "model.depth=14", "optim.steps=33", "probes.curve_every=5", "probes.eval_every=0"],
    ["model.norm=group_ws", "optim.batch=400", "data.last_batch=keep", "optim.steps=24", "probes.curve_every=24",
     "probes.eval_every=24"],
    ["model.norm=batch_noisy", "seed=2", "optim.steps=40", "probes.curve_every=8", "probes.eval_every=16"],
    ["optim.lr=1e6", "model.norm=none_noisy", "optim.steps=40", "probes.curve_every=8", "probes.eval_every=0"],
]  # fmt: skip
"""Another network, seed, λ, depth, norm, batch, length and interval each; the last one diverges."""


def runs(folder, overrides):
    return [compose([*TINY, *own, f"env.runs_dir={folder}"]) for own in overrides]


def measured(run):
    place = records.folder(run, run_id(run))
    record = json.loads((place / "record.json").read_text())
    science = {k: record[k] for k in ("config", "status", "metrics", "steps_done", "diverged_step", "parameters")}
    return science, (place / "points.csv").read_bytes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What each of the MIXED runs measures by itself."""
    single = runs(tmp_path_factory.mktemp("alone"), MIXED)
    for run in single:
        train(run)
    return [measured(run) for run in single]


def test_a_pack_gives_each_run_the_bits_that_it_has_alone(tmp_path, alone):
    packed = runs(tmp_path, MIXED)
    made = train_pack([(run, []) for run in packed])
    assert [measured(run) for run in packed] == alone
    assert {record["run_id"] for record in made} == {run_id(run) for run in packed}
    assert {record["provenance"]["pack"] for record in made} == {6}
    assert [record["status"] for record in made].count("diverged") == 1


def test_runs_of_a_pack_take_turns(tmp_path, monkeypatch):
    packed = runs(tmp_path, [["seed=0", "optim.steps=25"], ["seed=1", "optim.steps=25"]])
    order = []
    step = train_state.Eager._step
    monkeypatch.setattr(
        train_state.Eager, "_step", lambda engine, *batch: (order.append(engine.run.seed), step(engine, *batch))
    )
    train_pack([(run, []) for run in packed])
    # An epoch has 11 steps, a milestone is at 13: turns of 10, 1, 2, 9, 3 steps.
    assert TURN == 10
    assert order[:26] == [0] * 10 + [1] * 10 + [0] + [1] + [0] * 2 + [1] * 2
    assert order.count(0) == order.count(1) == 25


def test_a_run_is_recorded_when_it_is_done_and_not_when_its_pack_is(tmp_path, monkeypatch):
    short, long = runs(tmp_path, [["optim.steps=8", "probes.curve_every=8", "probes.eval_every=0"], MIXED[0]])
    seen = []
    write = records.write

    def noted(place, record):
        seen.append((place.name, records.last_step(records.folder(long, run_id(long)))))
        return write(place, record)

    monkeypatch.setattr(records, "write", noted)
    train_pack([(short, []), (long, [])])
    assert seen == [(run_id(short), 8), (run_id(long), 40)]


def _train_pack(overrides, folder):
    train_pack([(run, []) for run in runs(folder, overrides)])


def test_a_killed_pack_goes_on_in_other_packs_to_the_same_bits(tmp_path, alone):
    packed = runs(tmp_path, MIXED)
    longest = records.folder(packed[0], run_id(packed[0]))
    process = multiprocessing.get_context("spawn").Process(target=_train_pack, args=(MIXED, tmp_path))
    process.start()
    while process.is_alive() and records.last_step(longest) < 16:
        time.sleep(0.0005)
    process.kill()
    process.join()
    assert not (longest / "record.json").exists()
    assert list(longest.glob("checkpoint-*.ckpt"))
    train_pack([(run, []) for run in packed[2:]])
    for left in packed[:2]:
        train(left)
    assert [measured(run) for run in packed] == alone


def test_finished_and_busy_runs_are_left_out_of_a_pack(tmp_path):
    finished, busy, free = runs(
        tmp_path, [["seed=0", "optim.steps=4"], ["seed=1", "optim.steps=4"], ["seed=2", "optim.steps=4"]]
    )
    train(finished)
    before = measured(finished)
    with records.lock(records.folder(busy, run_id(busy))):
        made = train_pack([(finished, []), (busy, []), (free, [])])
        with pytest.raises(records.Busy):
            train(busy)
    assert {record["run_id"] for record in made} == {run_id(finished), run_id(free)}
    assert measured(finished) == before
    assert not (records.folder(busy, run_id(busy)) / "record.json").exists()


def test_what_goes_wrong_stands_in_the_log_of_every_run_of_the_pack(tmp_path):
    one, two = runs(tmp_path, [["task=digits"], ["task=folder", f"env.data_dir={tmp_path}/none", "seed=1"]])
    with pytest.raises(ValueError, match="none"):
        train_pack([(one, []), (two, [])], log=True)
    for run in (one, two):
        assert "MissingData" in (records.folder(run, run_id(run)) / "log.txt").read_text()
