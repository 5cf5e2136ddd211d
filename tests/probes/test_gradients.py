"""The norms of gradients and outputs per layer, against finite differences, formulas, and the run without them."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_repro import data, measure, records
from resnet_repro.config import run_id
from resnet_repro.errors import UserError
from resnet_repro.metrics import PROFILES, SURFACES
from resnet_repro.nets import CifarNet, ImageNet
from resnet_repro.probes import PROBES, gradients
from resnet_repro.probes.batch import Batch
from resnet_repro.probes.errors import error
from resnet_repro.settings import compose
from resnet_repro.train import train
from resnet_repro.training import engine
from resnet_repro.training.network import load

TINY = ("task=digits", "model.depth=8", "model.width=4", "optim.steps=40", "optim.milestones=[20]", "data.flip=true")


def random_batch(size=3, channels=1, side=8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, channels, side, side, generator=generator, dtype=dtype)
    return Batch(images, torch.arange(size) % 10, bf16=False)


def by_layer(readings, metric):
    """The values of a metric, after a look that there is one for each layer."""
    found = {x: value for name, x, y, value in readings if name == metric and y is None}
    assert list(found) == list(range(1, len(found) + 1))
    return list(found.values())


def linear_net():
    """y = w2 w1 x on one pixel: everything about it can be written down."""
    net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.Flatten(), nn.Linear(2, 2, bias=False)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 1.0]])[:, :, None, None])
        net[2].weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 3.0]]))
    return net


def test_on_a_linear_net_the_norms_are_those_of_the_formulas():
    """x = (1, 1), hidden (3, 1), logits (3, 6); cross-entropy: gradient by the logits = softmax - one-hot."""
    batch = Batch(torch.ones(1, 2, 1, 1, dtype=torch.float64), torch.tensor([0]), bf16=False)
    readings = gradients.measure(linear_net(), batch)
    p = 1 / (1 + math.exp(-3))  # of class 1
    by_logits, by_hidden = (-p, p), (0.0, 3 * p)  # the second is w2^T times the first
    assert by_layer(readings, "gradient_norm_output") == pytest.approx([math.hypot(*by_hidden), math.hypot(*by_logits)])
    # A weight's gradient is the outer product of the gradient by its output and its input: the norms multiply.
    expected = [math.hypot(*by_hidden) * math.sqrt(2), math.hypot(*by_logits) * math.hypot(3, 1)]
    assert by_layer(readings, "gradient_norm_weight") == pytest.approx(expected)
    assert by_layer(readings, "output_rms") == pytest.approx([math.sqrt(10 / 2), math.sqrt(45 / 2)])


NETS = {
    "plain": {"residual": False},
    "scaled": {"shortcut_scale": 0.5, "shortcut": "C"},
    "no norm": {"norm": "none", "activation": "tanh"},
    "group": {"norm": "group", "width": 2, "order": "full_preactivation", "shortcut": "B"},
    "bottleneck": {"depth": 11, "block": "bottleneck", "width": 2, "order": "relu_before_addition"},
    "relu first": {"order": "relu_preactivation"},
    "norm last": {"order": "bn_after_addition"},
}


@pytest.mark.parametrize("name", NETS)
def test_the_gradient_by_every_output_and_weight_is_that_of_finite_differences(name):
    """A step of size h along a random direction d at one layer changes the loss by h <gradient, d>, up to h^2."""
    settings = {"depth": 8, "width": 2, "in_channels": 1, "activation": "tanh"} | NETS[name]
    net = CifarNet(settings.pop("depth"), **settings, generator=torch.Generator().manual_seed(0)).double()
    batch = random_batch(dtype=torch.float64)
    readings = gradients.measure(net, batch)
    layers = gradients.weighted_layers(net)
    assert len(layers) == {"bottleneck": 11}.get(name, 8)

    def loss():
        return F.cross_entropy(net(batch.images), batch.labels).item()

    def slope(move, direction):
        h = 1e-5
        return (move(h * direction) - move(-h * direction)) / (2 * h)

    def shifted(layer):
        def at(by):
            handle = layer.register_forward_hook(lambda _, __, output: output + by)
            value = loss()
            handle.remove()
            return value

        return at

    def with_weight(layer):
        def at(by):
            with torch.no_grad():
                layer.weight += by
                value = loss()
                layer.weight -= by
            return value

        return at

    for k in (0, len(layers) // 2, len(layers) - 1):
        output, weight = _gradients(net, batch, layers[k])
        assert by_layer(readings, "gradient_norm_output")[k] == pytest.approx(output.norm().item())
        assert by_layer(readings, "gradient_norm_weight")[k] == pytest.approx(weight.norm().item())
        for move, gradient in ((shifted(layers[k]), output), (with_weight(layers[k]), weight)):
            unit = gradient / gradient.norm()  # along the gradient the slope is its norm
            assert slope(move, unit) == pytest.approx(gradient.norm().item(), rel=1e-4)


def _gradients(net, batch, layer):
    """By the output and the weight of one layer, computed with a zero added to the output."""
    zero = {}

    def add(_, __, output):
        zero["at"] = torch.zeros_like(output).requires_grad_()
        return output + zero["at"]

    handle = layer.register_forward_hook(add)
    loss = F.cross_entropy(net(batch.images), batch.labels)
    handle.remove()
    return torch.autograd.grad(loss, [zero["at"], layer.weight])


def test_every_kind_of_imagenet_has_a_value_for_each_of_its_weighted_layers():
    for depth, block in ((18, "basic"), (50, "bottleneck")):
        net = ImageNet(depth, block=block, shortcut="B", width=2, classes=10, in_channels=1)
        readings = gradients.measure(net, random_batch(side=32))
        assert {len(by_layer(readings, metric)) for metric in PROBES["gradients"].quantities} == {depth}


def test_the_table_of_probes_and_the_table_of_quantities_agree():
    assert sorted(metric for probe in PROBES.values() for metric in probe.quantities) == sorted(PROFILES + SURFACES)
    readings = gradients.measure(CifarNet(8, width=2, in_channels=1), random_batch())
    assert {metric for metric, *_ in readings} == set(PROBES["gradients"].quantities)


# In training ---------------------------------------------------------------------------------------------------

EVERY = ("measure.probes=[gradients]", "measure.every=20")
START_AND_END = ("measure.probes=[gradients]",)


def trained(folder, *overrides):
    """The folder and the record of a tiny run."""
    run = compose([*TINY, "env.wandb=disabled", f"env.runs_dir={folder}", *overrides])
    record = train(run)
    return records.folder(run, run_id(run)), record


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The run without a probe, its network kept."""
    return trained(tmp_path_factory.mktemp("bare"), "measure.keep=net")


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """The same run with the probe at the start and at the end."""
    return trained(tmp_path_factory.mktemp("probed"), *START_AND_END, "measure.keep=net")


def scalars(place):
    return [point for point in records.read_points(place) if point[1] not in PROFILES]


def looks(place):
    return sorted({step for step, metric, *_ in records.read_points(place) if metric in PROFILES})


def test_a_probe_changes_no_bit_of_the_run_it_looks_at(bare, probed, tmp_path):
    often, record = trained(tmp_path, *EVERY, "measure.keep=net")
    assert often.name == probed[0].name == bare[0].name
    assert scalars(often) == scalars(probed[0]) == scalars(bare[0])
    assert record["net_sha256"] == probed[1]["net_sha256"] == bare[1]["net_sha256"]
    assert record["metrics"] == bare[1]["metrics"]
    assert looks(often) == [0, 20, 40]
    assert looks(probed[0]) == [0, 40]
    assert (record["measured"], bare[1]["measured"]) == ({"gradients": 20}, {})


def test_a_run_of_no_steps_is_measured_at_its_initialisation(probed, tmp_path):
    place, record = trained(tmp_path, *START_AND_END, "optim.steps=0", "optim.milestones=[]")
    assert record["steps_done"] == 0
    assert records.read_points(place) == [p for p in records.read_points(probed[0]) if p[0] == 0]


def test_a_finished_run_is_trained_again_for_a_probe_it_lacks_and_nothing_is_lost(bare, tmp_path, capsys):
    place, record = trained(tmp_path)
    before = (place / "points.csv").read_bytes(), (place / "record.json").read_bytes()
    assert records.state(place, compose([*TINY, *EVERY]).measure) == "unmeasured"
    _, again = trained(tmp_path, *EVERY)
    assert again["metrics"] == record["metrics"]
    assert scalars(place) == scalars(bare[0])
    (aside,) = place.glob("superseded-*")
    assert ((aside / "points.csv").read_bytes(), (aside / "record.json").read_bytes()) == before
    _, third = trained(tmp_path, "measure.keep=net")  # what it had stays
    assert third["measured"] == {"gradients": 20}
    assert third["net_sha256"] == bare[1]["net_sha256"]
    assert looks(place) == [0, 20, 40]


def test_a_kept_network_is_measured_without_training_to_the_bits_of_a_run_with_the_probe(bare, probed, monkeypatch):
    place, _ = bare
    run = compose([*TINY, f"env.runs_dir={place.parent}", *START_AND_END])
    monkeypatch.setattr("resnet_repro.training.fit.fit", None)  # nothing trains
    record = train(run)
    assert (place / "points.csv").read_bytes() == (probed[0] / "points.csv").read_bytes()
    assert record["measured"] == probed[1]["measured"] == {"gradients": 0}
    often = compose([*TINY, f"env.runs_dir={place.parent}", *EVERY])
    assert measure.on_kept_network(often, place) is None  # that needs training


def test_the_kept_network_is_the_trained_one(probed):
    place, record = probed
    net = load(place)
    assert not net.training
    config = json.loads((place / "config.json").read_text())
    assert (config["family"], config["depth"], config["classes"], config["in_channels"]) == ("cifar", 8, 10, 1)
    assert sum(p.numel() for p in net.parameters()) == record["parameters"]
    images = data.load("digits", place)
    test = engine.feed(compose(TINY), images, torch.device("cpu")).clean("test")
    assert error(net, test) == pytest.approx(record["metrics"]["test_error"], abs=0.5)  # another memory layout
    with pytest.raises(UserError, match=r"is not finished: train it with measure\.keep=net"):
        load(place / "nowhere")
