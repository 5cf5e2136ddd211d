"""One run through train(), also when it is killed again and again."""

import json
import math
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from resnet_repro import data, records
from resnet_repro.config import run_id, science
from resnet_repro.probes.errors import final_errors
from resnet_repro.settings import compose
from resnet_repro.train import train
from resnet_repro.training.engine import Eager, optimizer
from resnet_repro.training.network import data_sets
from resnet_repro.training.train_state import TrainState, build

TINY = ("task=digits", "model.depth=8", "model.width=4", "optim.milestones=[20]", "probes.eval_every=0")
LONG = (
    "optim.steps=80",
    "probes.curve_every=4",
    "optim.warmup=error",
    "optim.warmup_error=85",
    "optim.warmup_steps=80",
    "optim.warmup_every=2",
    "env.checkpoint_seconds=0",
    "measure.probes=[gradients]",
    "measure.every=40",
    "measure.keep=net",
)


def tiny(runs_dir, *overrides):
    return compose([*TINY, f"env.runs_dir={runs_dir}", *overrides])


def place(run):
    return records.folder(run, run_id(run))


def measured(run):
    """What must not depend on how a run came to its end: the record without its circumstances, and the curves."""
    record = json.loads((place(run) / "record.json").read_text())
    for circumstance in ("provenance", "overrides", "command", "sha256"):
        del record[circumstance]
    return record, (place(run) / "points.csv").read_bytes()


# The record ----------------------------------------------------------------------------------------------------


def test_the_record_holds_the_measurements_the_config_and_where_they_come_from(tmp_path):
    run = tiny(tmp_path, "optim.steps=24", "probes.curve_every=8", "seed=3")
    record = train(run, ["seed=3"])
    assert record == json.loads((place(run) / "record.json").read_text()) == records.read(place(run))
    assert record["config"] == science(run)
    assert record["overrides"] == ["seed=3"]
    assert record["command"] == "python -m resnet_repro.train seed=3"
    assert record["steps_done"] == 24
    assert record["diverged_step"] is None
    assert set(record["metrics"]) == {
        "train_error_running", "train_error_augmented", "train_error_clean", "train_error_exact_bn",
        "test_error", "test_error_exact_bn", "train_loss",
    }  # fmt: skip
    assert all(0 <= value <= 100 for value in record["metrics"].values())
    assert record["provenance"]["device"]
    assert record["provenance"]["seconds"] > 0
    ways = {"threads": 1, "layout": "channels_last", "devices": 1, "compile": False}
    assert {name: record["provenance"][name] for name in ways} == ways
    assert not list(place(run).glob("checkpoint-*"))


def test_the_metrics_are_those_of_the_trained_network(tmp_path):
    run = tiny(tmp_path, "optim.steps=24", "probes.curve_every=24", "seed=3", "data.flip=true", "optim.batch=100")
    metrics = train(run)["metrics"]
    images = data.load("digits", tmp_path)
    net = build(run, images).train()
    engine = Eager(run, net, optimizer(run, net), images)
    engine.advance(0, 24, warm_until=0)
    assert metrics.pop("train_error_running") == 100 * int(engine.tally.wrong) / 2400
    assert metrics.pop("train_loss") == float(engine.tally.loss) / 2400
    assert metrics == final_errors(net, engine.feed, batch=100, valid=False, bf16=False)


def test_a_held_out_set_is_measured_too(tmp_path):
    record = train(tiny(tmp_path, "optim.steps=8", "data.split=45k"))
    assert 0 < record["metrics"]["valid_error"] <= 100


def test_a_part_of_the_images_with_false_labels_is_trained_and_measured_on_also_after_an_interruption(
    tmp_path, monkeypatch
):
    drawn = ["data.images=300", "data.label_noise=0.2", "optim.steps=8", "probes.curve_every=4", "optim.batch=100"]
    run, again = (tiny(tmp_path / name, "seed=3", *drawn) for name in ("whole", "again"))
    record = train(run)
    (images,) = data_sets([run])
    net = build(run, images).train()
    engine = Eager(run, net, optimizer(run, net), data.drawn(data.load("digits", tmp_path), 300, 0.2, 3))
    engine.advance(0, 8, warm_until=0)
    error = final_errors(net, engine.feed, batch=100, valid=False, bf16=False)["train_error_clean"]
    assert record["metrics"]["train_error_clean"] == error
    assert [record["provenance"][f"{part}_images"] for part in ("train", "test")] == [300, 297]

    def stopped(state, save=TrainState.save):
        save(state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainState, "save", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(replace(again, env=replace(again.env, checkpoint_seconds=0)))
    train(again)
    assert measured(again) == measured(run)


def test_runs_side_by_side_each_have_the_images_of_their_seed(tmp_path):
    runs = [tiny(tmp_path, f"seed={seed}", "data.images=150", "data.label_noise=0.5") for seed in (3, 4)]
    full = data.load("digits", tmp_path)
    for run, images in zip(runs, data_sets(runs), strict=True):
        own = data.drawn(full, 150, 0.5, run.seed)
        assert torch.equal(images.train_x, own.train_x)
        assert torch.equal(images.train_y, own.train_y)


def test_a_finished_run_is_not_trained_again_and_needs_no_torch(tmp_path):
    run = tiny(tmp_path, "optim.steps=8")
    train(run)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in place(run).iterdir()}
    overrides = [*TINY, f"env.runs_dir={tmp_path}", "optim.steps=8"]
    again = (
        "import sys; from resnet_repro.settings import compose; from resnet_repro.train import train;"
        f"print(train(compose({overrides}))['status'], 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True).stdout
    assert out == "failed False\n"
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in place(run).iterdir()} == before


def test_a_run_that_another_process_trains_is_left_alone(tmp_path):
    run = tiny(tmp_path, "optim.steps=8")
    with records.lock(place(run)), pytest.raises(records.Busy, match="another process"):
        train(run)
    assert [path.name for path in place(run).iterdir()] == ["lock"]


def test_a_checkpoint_of_another_run_is_set_aside_and_not_continued(tmp_path):
    run, other = (tiny(tmp_path / "here", "optim.steps=8", f"seed={seed}") for seed in (0, 1))
    state = TrainState(other, data.load("digits", tmp_path), place(run))
    place(run).mkdir(parents=True)
    state.begin(torch.device("cpu"))
    state.save()
    alone = tiny(tmp_path / "alone", "optim.steps=8")
    train(run)
    train(alone)
    assert measured(run) == measured(alone)
    assert len(list(place(run).glob("checkpoint-*.corrupt-*"))) == 1
    assert json.loads((place(run) / "run.json").read_text())["run_id"] == run_id(run)


def test_zero_steps_measure_the_network_at_its_initialisation(tmp_path):
    run = tiny(tmp_path, "optim.steps=0")
    record = train(run)
    assert record["steps_done"] == 0
    assert (record["status"], set(record["status_flags"].values())) == ("finished", {False})  # it has not failed
    assert record["metrics"]["train_loss"] is None
    assert record["metrics"]["train_error_clean"] > 80
    assert records.read_points(place(run)) == []


def test_what_a_run_prints_and_its_traceback_are_in_its_log(tmp_path):
    run = compose(["task=folder", f"env.data_dir={tmp_path}/none", f"env.runs_dir={tmp_path}"])
    with pytest.raises(ValueError, match="none"):
        train(run, log=True)
    log = (place(run) / "log.txt").read_text()
    assert "Traceback" in log
    assert f"{tmp_path}/none" in log


# Its status ----------------------------------------------------------------------------------------------------


def test_a_net_that_learns_has_finished(tmp_path):
    record = train(
        tiny(tmp_path, "model.width=8", "optim.steps=120", "optim.milestones=[100]", "probes.curve_every=40")
    )
    assert record["status"] == "finished"
    assert not any(record["status_flags"].values())
    assert record["metrics"]["test_error"] < 20


def test_a_net_with_a_test_error_above_20_percent_has_failed(tmp_path):
    record = train(tiny(tmp_path, "optim.steps=40"))
    assert record["status"] == "failed"
    assert record["metrics"]["test_error"] > 20
    assert record["metrics"]["train_error_clean"] < 85


def test_a_net_with_learning_rate_0_is_stuck_at_chance(tmp_path):
    record = train(tiny(tmp_path, "optim.steps=8", "optim.lr=0"))
    assert record["status"] == "stuck"


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_net_whose_loss_is_no_number_has_diverged_with_errors_of_100_percent(tmp_path, norm):
    settings = ["optim.steps=40", "probes.curve_every=10", f"model.norm={norm}", "model.shortcut_scale=1000"]
    run = tiny(tmp_path, *settings, "optim.lr=1e9", "optim.weight_decay=1e9")
    record = train(run)
    assert record["status"] == "diverged"
    assert 0 < record["diverged_step"] < record["steps_done"] <= 40
    metrics = record["metrics"]
    assert metrics.pop("train_loss") is None
    assert set(metrics.values()) == {100.0}
    losses = [value for _, metric, *_, value in records.read_points(place(run)) if metric == "train_loss"]
    assert [math.isfinite(value) for value in losses] == [True] * (len(losses) - 1) + [False]


# Interruption --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = tiny(tmp_path_factory.mktemp("undisturbed"), *LONG)
    train(run)
    return measured(run)


def killed(run, moment):
    """Trains the run in another process, kills that at `moment()`; returns whether it came to that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resnet_repro.training.preload"])
    process = context.Process(target=train, args=(run,))
    process.start()
    while process.is_alive() and not moment():
        time.sleep(0.0005)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def checkpoints(run):
    return sorted(place(run).glob("checkpoint-*.ckpt"))


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path, undisturbed):
    run, dice, kills = tiny(tmp_path, *LONG), random.Random(), 0
    while not (place(run) / "record.json").exists():
        further = records.last_step(place(run)) + dice.randrange(0, 24)

        def moment(further=further):
            time.sleep(dice.uniform(0, 0.01))
            return records.last_step(place(run)) > further

        kills += killed(run, moment)
    assert kills >= 2
    assert measured(run) == undisturbed


def test_a_run_killed_while_it_writes_checkpoints_ends_with_the_same_bits(tmp_path, undisturbed):
    run = tiny(tmp_path, *LONG)
    part = place(run) / ".checkpoint.part"
    halves = 0
    for _ in range(6):
        part.unlink(missing_ok=True)
        killed(run, part.exists)
        halves += part.exists()
    assert halves >= 1
    train(run)
    assert measured(run) == undisturbed
    assert not part.exists()


def test_a_run_killed_during_its_final_measurement_goes_on_from_its_newest_checkpoint(
    tmp_path, undisturbed, monkeypatch
):
    run = tiny(tmp_path, *LONG)
    assert killed(run, lambda: records.last_step(place(run)) == 80)
    starts = []
    turns = Eager.turns

    def noted(engine, start, *rest):
        starts.append(start)
        return turns(engine, start, *rest)

    monkeypatch.setattr(Eager, "turns", noted)
    train(run)
    assert starts == [76]
    assert measured(run) == undisturbed


def test_a_damaged_checkpoint_is_set_aside_and_the_run_done_again(tmp_path, undisturbed, caplog):
    run = tiny(tmp_path, *LONG)
    assert killed(run, lambda: records.last_step(place(run)) >= 40)
    (checkpoint,) = checkpoints(run)
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    train(run)
    assert "set aside" in caplog.text
    assert list(place(run).glob("checkpoint-*.corrupt-*"))
    assert measured(run) == undisturbed


def test_ctrl_c_ends_a_single_run_with_a_sentence_and_it_goes_on(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    run = tiny(tmp_path, *LONG, "optim.steps=400")
    overrides = [*TINY, *LONG, "optim.steps=400", f"env.runs_dir={tmp_path}", "env.wandb=disabled"]
    command = [sys.executable, "-m", "resnet_repro.train", *overrides]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not checkpoints(run):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors == "\nStopped. The same command goes on from here.\n"
    assert checkpoints(run)
    assert not records.is_locked(place(run))
