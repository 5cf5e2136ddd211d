"""The standard deviation of layer responses, against what batch norm makes of its parameters, and by hand."""

import pytest
import torch
import torch.nn.functional as F

from resnet_repro.nets import CifarNet
from resnet_repro.probes import responses
from resnet_repro.probes.batch import Batch


def measured(net, batch):
    readings = responses.measure(net, batch)
    assert [(name, x, y) for name, x, y, _ in readings] == [
        ("response_std", k, None) for k in range(1, len(readings) + 1)
    ]
    return [value for *_, value in readings]


def batch():
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(8), bf16=False)


def net_of(depth=8, **settings):
    settings = {"width": 4, "in_channels": 1, "generator": torch.Generator().manual_seed(0)} | settings
    return CifarNet(depth, **settings).double()


@pytest.mark.parametrize("settings", [{"residual": False}, {"shortcut": "C"}, {"block": "bottleneck", "depth": 11}])
def test_with_batch_norm_a_response_is_what_scale_and_shift_make_it(settings):
    """Every channel has mean β and variance γ^2 over as many values: in all the variance is mean(γ^2) + var(β)."""
    net = net_of(**settings)
    names = [name for name, _ in net.named_modules() if "norm" in name and "shortcut" not in name]
    norms = [net.get_submodule(name) for name in names]
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for norm in norms:
            norm.eps = 1e-12
            norm.weight.uniform_(0.5, 2, generator=generator)
            norm.bias.normal_(generator=generator)
    expected = [(n.weight.square().mean() + n.bias.var(correction=0)).sqrt().item() for n in norms]
    assert measured(net, batch()) == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_without_a_norm_and_with_pre_activation_it_is_the_convolution_itself():
    bare, given = net_of(norm="none"), batch()
    first = F.conv2d(given.images, bare.conv.weight, bare.conv.bias, padding=1)
    block = bare.blocks[0]
    second = block.conv2(F.relu(block.conv1(F.relu(first))))
    found = measured(bare, given)
    assert len(found) == 7
    assert (found[0], found[2]) == pytest.approx((first.numpy().std(), second.numpy().std()))
    net = net_of(order="full_preactivation")
    second = net.blocks[0].branch(net.stem(given.images))
    assert measured(net, given)[:3] == pytest.approx([1, 1, second.numpy().std()], abs=1e-3)
