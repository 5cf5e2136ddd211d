"""What a user hands to Lightning's Trainer: it sees what the curves show, changes no bit and no name, or is refused."""

import csv
import inspect
import struct
import sys
import types
from dataclasses import fields
from importlib.util import find_spec

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from tensorboardX.proto.event_pb2 import Event

from resnet_repro import records, rules
from resnet_repro.config import ConfigError, Trainer, run_id
from resnet_repro.errors import UserError
from resnet_repro.settings import compose
from resnet_repro.training.fit import fit
from resnet_repro.training.train_state import TrainState

SHORT = ("optim.steps=24", "probes.curve_every=8", "probes.eval_every=24")


class Watch(pl.Callback):
    """Notes what Lightning says at each hook."""

    seen: list

    def __init__(self, every: int) -> None:
        type(self).seen = []
        assert every == 3

    def on_train_start(self, trainer, pack):
        self.seen.append(("start", trainer.global_step))

    def on_train_batch_end(self, trainer, pack, outputs, batch, number):
        self.seen.append(("batch", trainer.global_step, outputs))

    def on_train_epoch_end(self, trainer, pack):
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.seen.append(("epoch", trainer.global_step, metrics))


class Stop(Checkpoint):
    """Ends the training at the first epoch's end, as callbacks that monitor a metric do."""

    def on_train_epoch_end(self, trainer, pack):
        trainer.should_stop = True


@pytest.fixture
def fitted(tiny, tmp_path, digits, monkeypatch):
    """Trains runs as one pack; returns the runs. The callbacks of this file are those of a module `mine`."""
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Watch=Watch, Stop=Stop))

    def train(*runs):
        states = []
        for overrides in runs:
            run = tiny(*SHORT, *overrides)
            place = tmp_path / f"{len(list(tmp_path.iterdir()))}" / run_id(run)
            place.mkdir(parents=True)
            states.append(TrainState(run, digits, place))
        fit(states, lambda _: None)
        return states

    return train


def points(state):
    found = {}
    for row in records.read_points(state.place):
        found.setdefault(row[0], {})[row[1]] = row[-1]
    return found


def test_a_callback_sees_the_points_of_the_curves_and_changes_no_bit(fitted):
    (watched,) = fitted(["trainer.callbacks=[{_target_: mine.Watch, every: 3}]", "trainer.profiler=simple"])
    seen = points(watched)
    assert Watch.seen[0] == ("start", 0)
    assert Watch.seen[1::2] == [("batch", step, seen[step]) for step in (8, 16, 24)]
    assert [(what, step, set(metrics)) for what, step, metrics in Watch.seen[2::2]] == [
        ("epoch", step, set(seen[step])) for step in (8, 16, 24)
    ]
    assert Watch.seen[-1][2]["test_error"] == pytest.approx(seen[24]["test_error"])
    assert "run_training_batch" in (watched.place / "fit-profile.txt").read_text()
    (alone,) = fitted([])
    ours = alone.net.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in watched.net.state_dict().items())


def of_csv(folder):
    for row in csv.DictReader((folder / "metrics.csv").read_text().splitlines()):
        for name in row.keys() - {"step"}:
            if row[name]:
                yield int(row["step"]), name, float(row[name])


def of_tensorboard(folder):
    """Each record of an event file: 8 bytes of length, 4 of a checksum, an Event, 4 of a checksum."""
    content = next(folder.glob("events.*")).read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        for value in event.summary.value:
            yield event.step, value.tag, value.simple_value
        content = content[12 + length + 4 :]


@pytest.mark.parametrize(("logger", "read"), [("trainer=csv", of_csv), ("trainer=tensorboard", of_tensorboard)])
def test_a_logger_is_handed_the_points_at_their_steps_by_run_where_there_are_several(fitted, logger, read):
    states = fitted([logger], [logger, "seed=1", "probes.curve_every=12"])
    found = {}
    for step, name, value in read(states[0].place / "lightning_logs" / "version_0"):
        found.setdefault(name, {})[step] = value
    for state in states:
        for metric in ("train_loss", "train_error_running", "lr", "test_error"):
            expected = {step: point[metric] for step, point in points(state).items() if metric in point}
            assert found[f"{state.place.name}/{metric}"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.callbacks=[{_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: lr}]", "would change what"),
        ("trainer.callbacks=[{_target_: mine.Lost}]", r"trainer\.callbacks: Hydra says: .*mine\.Lost"),
        ("trainer.logger={_target_: mine.Stop}", r"trainer\.logger: mine\.Stop is no .*Logger"),
        ("trainer.callbacks=[{_target_: mine.Stop}]", "ended the training too early: .* at step 8"),
        pytest.param(
            "trainer.logger={_target_: pytorch_lightning.loggers.CometLogger}",
            r"trainer\.logger: .*pip install.*comet",
            marks=pytest.mark.skipif(find_spec("comet_ml") is not None, reason="Comet is installed"),
        ),
    ],
)  # fmt: skip
def test_what_would_change_the_training_is_refused(fitted, override, words):
    with pytest.raises(UserError, match=words):
        fitted([override])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.gradient_clip_val=1", r"decided by optim\.clip"),
        ("trainer.callbacks=[{target: mine.Watch}]", r"trainer\.callbacks must be {_target_: package\.Class"),
        ("trainer.profiler=slow", r"must be simple, advanced, pytorch or {_target_"),
        ("trainer.num_nodes=2", "must divide env.devices"),
        ("trainer.speed=2", "unknown setting 'trainer.speed'"),
    ],
)
def test_what_is_no_setting_of_the_trainer_is_refused_while_planning(override, words):
    with pytest.raises(ConfigError, match=words):
        compose([override])


def test_the_trainer_is_no_part_of_what_a_run_is():
    assert run_id(compose(["trainer=csv", "trainer.detect_anomaly=true"])) == run_id(compose([]))


def test_every_argument_of_lightnings_trainer_is_a_setting_or_decided_by_one():
    ours = {leaf.name for leaf in fields(Trainer)} | {name for names in rules.DECIDED.values() for name in names}
    assert ours == set(inspect.signature(pl.Trainer).parameters)
