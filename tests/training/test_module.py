"""What one run through Lightning leaves behind: the points of its curves, and a net equal to the bare engine's."""

import pytest
import torch

from resnet_repro import records
from resnet_repro.probes.errors import error
from resnet_repro.training.engine import Eager, optimizer
from resnet_repro.training.fit import fit
from resnet_repro.training.train_state import TrainState, build


@pytest.fixture
def fitted(tiny, tmp_path, digits):
    """Trains a tiny run; returns the run and its curves as {metric: {step: value}}."""

    def train(*overrides):
        place = tmp_path / f"place{len(list(tmp_path.glob('place*')))}"
        place.mkdir()
        state = TrainState(tiny(*overrides), digits, place)
        fit([state], lambda _: None)
        curves: dict[str, dict[int, float]] = {}
        for step, metric, _, _, value in records.read_points(place):
            curves.setdefault(metric, {})[step] = value
        return state, curves

    return train


def test_curve_points_stand_at_their_steps(fitted):
    _, curves = fitted("optim.steps=45", "probes.curve_every=10", "probes.eval_every=20")
    every = [10, 20, 30, 40, 45]
    assert {metric: list(points) for metric, points in curves.items()} == {
        "lr": every, "train_error_running": every, "train_loss": every, "test_error": [20, 40, 45]
    }  # fmt: skip
    assert list(curves["lr"].values()) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.01])  # of the interval's last step


def test_without_eval_every_the_test_error_is_measured_at_the_end_only(fitted):
    _, curves = fitted("optim.steps=20", "probes.curve_every=10", "probes.eval_every=0")
    assert list(curves["test_error"]) == [20]


def test_lightning_changes_no_bit_of_what_the_engine_computes(fitted, tiny, digits):
    settings = ("optim.steps=24", "probes.curve_every=8", "probes.eval_every=8")
    state, curves = fitted(*settings)
    run = tiny(*settings)
    net = build(run, digits).train()
    engine = Eager(run, net, optimizer(run, net), digits)
    test = engine.feed.clean("test")
    for step in (8, 16, 24):
        engine.advance(step - 8, step, warm_until=0)
        seen = int(engine.tally.seen)
        assert curves["train_error_running"][step] == 100 * int(engine.tally.wrong) / seen
        assert curves["train_loss"][step] == float(engine.tally.loss) / seen
        assert curves["test_error"][step] == error(net, test)
        engine.tally.reset()
    ours = net.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in state.net.state_dict().items())


def test_a_warm_up_by_error_ends_with_the_interval_that_falls_below(fitted):
    settings = ["optim.steps=60", "probes.curve_every=5", "probes.eval_every=0", "optim.milestones=[]"]
    warmup = ["optim.warmup=error", "optim.warmup_steps=60", "optim.warmup_lr=0.05", "optim.lr=0.1"]
    _, curves = fitted(*settings, *warmup)
    first_below = next(step for step, value in curves["train_error_running"].items() if value < 80)
    assert 5 < first_below < 60
    assert curves["lr"] == {step: 0.05 if step <= first_below else 0.1 for step in range(5, 65, 5)}


def test_a_warm_up_looks_at_the_error_between_curve_points_too(fitted, tiny, digits):
    """The same looks, every 5 steps, give the same network, whether the curve has a point at each or at every third."""
    settings = ["optim.steps=60", "probes.eval_every=0", "optim.milestones=[]"]
    warmup = ["optim.warmup=error", "optim.warmup_steps=60", "optim.warmup_lr=0.05", "optim.lr=0.1"]
    often, curves = fitted("probes.curve_every=5", *settings, *warmup)
    rarely, points = fitted("probes.curve_every=15", "optim.warmup_every=5", *settings, *warmup)
    assert list(points["lr"]) == [15, 30, 45, 60]
    assert points["lr"] == {step: curves["lr"][step] for step in points["lr"]}
    assert often.warm_until == rarely.warm_until < 60
    assert often.warm_until % 15 != 0, "this would show nothing"
    ours = rarely.net.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in often.net.state_dict().items())


def test_a_diverged_run_stops_after_its_interval_and_names_the_step(fitted):
    settings = ["optim.steps=40", "probes.curve_every=10", "probes.eval_every=0"]
    state, curves = fitted(*settings, "optim.lr=1e6", "model.norm=none")
    assert 0 < state.diverged_step < 10
    assert list(curves["train_loss"]) == [10]
    assert not abs(curves["train_loss"][10]) < float("inf")
