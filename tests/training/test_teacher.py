"""Labels that are a trained plain net's answers."""

from dataclasses import replace

import pytest
import torch

from resnet_repro import data
from resnet_repro.config import ConfigError, Model
from resnet_repro.data.batches import mixed
from resnet_repro.probes.errors import error
from resnet_repro.settings import compose
from resnet_repro.train import train
from resnet_repro.training.engine import Eager, optimizer
from resnet_repro.training.network import build, data_sets
from resnet_repro.training.teacher import TEACHER

STEPS = ("optim.steps=30", "optim.batch=100", "probes.curve_every=10", "optim.clip=1", "seed=3")


def teacher_of(run, images):
    """The teacher, trained as a run of its own."""
    own = replace(run, seed=mixed(run.seed, TEACHER), model=Model(8, residual=False, width=4))
    net = build(own, images).train()
    engine = Eager(own, net, optimizer(own, net), images)
    engine.advance(0, 30, warm_until=0)
    return net, engine.feed


@pytest.mark.parametrize("settings", [[], ["model=resnet", "model.norm=none", "data.split=45k", "data.images=500"]])
def test_its_teacher_is_the_one_net_without_an_error(settings, tiny, digits):
    run = tiny("data.teacher=8", *STEPS, *settings)
    (images,) = data_sets([run])
    truth = data.drawn(data.load("digits", "data", split=run.data.split), run.data.images, 0.0, 3)
    net, feed = teacher_of(run, truth)
    assert torch.equal(images.train_x, truth.train_x)
    assert not torch.equal(images.train_y, truth.train_y)
    assert error(net, feed.clean("train")) > 0
    taught = Eager(run, net, optimizer(run, net), images).feed
    for part in ("train", "test", *(["valid"] if run.data.split == "45k" else [])):
        assert error(net, taught.clean(part)) == 0


def test_runs_of_one_seed_have_one_teacher_whatever_their_network(tiny):
    runs = [tiny("data.teacher=8", *STEPS, *more) for more in ([], ["model=plain", "model.depth=14"], ["seed=4"])]
    sets = data_sets(runs)
    assert sets[0] is sets[1]  # trained once
    first, second, other = (images.train_y for images in sets)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_run_measures_its_errors_on_the_answers(tiny):
    run = tiny("data.teacher=8", *STEPS)
    (images,) = data_sets([run])
    net = build(run, images).train()
    engine = Eager(run, net, optimizer(run, net), images)
    engine.advance(0, 30, warm_until=0)
    metrics = train(run)["metrics"]
    assert metrics["train_error_clean"] == error(net, engine.feed.clean("train"))
    assert metrics["test_error"] == error(net, engine.feed.clean("test"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.teacher=21"], "data.teacher: depth must be"),
        (["data.teacher=20", "data.label_noise=0.1"], "it needs data.stream=false, data.label_noise=0"),
        (["data.teacher=20", "env.devices=2"], "and env.devices=1"),
    ],
)
def test_what_no_teacher_can_be_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose(["task=digits", *overrides])
