"""Blocks of one, two and three layers: the same layers, with shortcuts around more or fewer of them."""

import pytest
import torch
from torch.nn import functional as F

from resnet_repro.config import ConfigError
from resnet_repro.nets import CifarNet
from resnet_repro.settings import compose

BLOCKS = ("one_layer", "basic", "three_layer")


def net(block, **options):
    return CifarNet(20, width=4, block=block, **options, generator=torch.Generator().manual_seed(0))


def norm(x):
    """Batch norm in training mode, with weight 1 and bias 0."""
    return F.batch_norm(x, None, None, training=True)


def layers(block):
    return [layer for layer in block.modules() if isinstance(layer, torch.nn.Conv2d)]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_so_many_3x3_layers_and_a_relu_after_the_addition(block):
    one = net(block).blocks[0]
    x = torch.randn(5, 4, 8, 8)
    y = x
    for number, layer in enumerate(convs := layers(one), start=1):
        y = norm(F.conv2d(y, layer.weight, padding=1))
        y = F.relu(y) if number < len(convs) else y
    assert len(convs) == {"one_layer": 1, "basic": 2, "three_layer": 3}[block]
    torch.testing.assert_close(one(x), F.relu(y + x), rtol=1e-5, atol=1e-5)


def test_without_norm_a_block_of_one_layer_is_a_plain_layer_of_other_weights():
    """relu(W x + x) = relu((W + 1) x): He et al. 2015, section 3.2."""
    block = net("one_layer", norm="none").blocks[0]
    x = torch.randn(5, 4, 8, 8)
    identity = torch.nn.init.dirac_(torch.empty(4, 4, 3, 3))
    expected = F.relu(F.conv2d(x, block.conv1.weight + identity, padding=1))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


def test_networks_of_one_depth_have_the_same_layers_with_the_same_values_whatever_their_blocks():
    x = torch.randn(5, 3, 8, 8)
    plain = [net(block, residual=False) for block in BLOCKS]
    residual = [net(block) for block in BLOCKS]
    values = [[p.clone() for p in one.parameters()] for one in plain + residual]
    assert all(torch.equal(a, b) for one in values[1:] for a, b in zip(values[0], one, strict=True))
    outputs = [one(x) for one in plain]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    outputs = [one(x) for one in residual]
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])


@pytest.mark.parametrize("block", BLOCKS)
def test_silent_branches_start_from_any_number_of_layers(block):
    made = net(block, zero_init_residual=True)
    x = torch.rand(5, 4, 8, 8)
    torch.testing.assert_close(made.blocks[0](x), x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.block=one_layer", "model.depth=21"], r"depth must be 3n \+ 2 with blocks of one layer.*got 21"),
        (["model.block=three_layer", "model.depth=14"], r"depth must be 9n \+ 2 with blocks of three layers.*got 14"),
        (["model.family=imagenet", "model.depth=18", "model.block=one_layer"], "block must be basic or bottleneck in"),
        (["model.block=one_layer", "model.starts_as=8"], "got model.block=one_layer"),
    ],
)
def test_what_has_no_such_blocks_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        compose(settings)
