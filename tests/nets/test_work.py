"""The closed form of a network's work against what its layers do, and against the paper's numbers."""

import pytest
import torch
from torch import nn

from resnet_repro.families import Work, work
from resnet_repro.nets import NETWORKS


def counted(net, side):
    """Multiply-adds and outputs of every convolution and linear layer, from the shapes that go through them."""
    found = []

    def note(layer, _, output):
        weights = layer.weight[0].numel()  # those of one output channel, each used once for each of its numbers
        found.append(Work(weights * output.numel(), output.numel()))

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, side, side))
    return Work(*map(sum, zip(*found, strict=True)))


@pytest.mark.parametrize(
    ("family", "depth", "block", "stride_on", "residual", "shortcut", "side"),
    [
        ("cifar", 20, "basic", "3x3", True, "A", 32),
        ("cifar", 20, "basic", "3x3", True, "B", 9),
        ("cifar", 11, "bottleneck", "1x1", True, "C", 32),
        ("cifar", 20, "bottleneck", "3x3", False, "B", 8),
        ("cifar", 11, "one_layer", "3x3", True, "B", 9),
        ("cifar", 20, "three_layer", "3x3", False, "A", 8),
        ("imagenet", 18, "basic", "3x3", True, "B", 64),
        ("imagenet", 50, "bottleneck", "3x3", True, "B", 65),
        ("imagenet", 50, "bottleneck", "1x1", True, "C", 63),
    ],
)
def test_the_work_is_that_of_the_layers(family, depth, block, stride_on, residual, shortcut, side):
    settings = {"block": block, "stride_on": stride_on, "residual": residual, "shortcut": shortcut, "width": 4}
    net = NETWORKS[family](depth, classes=10, **settings)
    assert work(family, depth, **settings, side=side) == counted(net, side)


@pytest.mark.parametrize(("depth", "side"), [(13, 8), (22, 9)])
def test_the_work_of_a_densenet_is_that_of_its_layers(depth, side):
    net = NETWORKS["dense"](depth, width=5, growth=3)
    settings = {"block": "basic", "stride_on": "3x3", "residual": True, "shortcut": "A"}
    assert work("dense", depth, **settings, width=5, growth=3, side=side) == counted(net, side)


@pytest.mark.parametrize(
    ("depth", "billions"), [(18, "1.8"), (34, "3.6"), (50, "3.9"), (101, "7.6"), (152, "11.3")]
)  # the paper's table 1 has 3.8 for 50 layers
def test_imagenets_networks_have_the_multiply_adds_of_the_papers_table(depth, billions):
    basic = depth < 50
    settings = {"block": "basic" if basic else "bottleneck", "shortcut": "A" if basic else "B", "residual": True}
    found = work("imagenet", depth, **settings, stride_on="1x1", width=64, side=224, classes=1000)
    assert f"{found.multiply_adds / 1e9:.1f}" == billions
