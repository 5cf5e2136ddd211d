"""Bottlenecks and the orders of He et al. 2016 (arXiv:1603.05027), figure 4, against the figure written out by hand."""

import pytest
import torch
from torch.nn import functional as F

from resnet_repro.nets import CifarNet
from resnet_repro.nets.blocks import ORDERS


def net(depth, **options):
    return CifarNet(depth, **options, generator=torch.Generator().manual_seed(0))


def count(model):
    return sum(p.numel() for p in model.parameters())


def convolutions(block):
    return [
        layer for name, layer in block.named_modules() if isinstance(layer, torch.nn.Conv2d) and "short" not in name
    ]


def norm(x):
    """Batch norm in training mode, with weight 1 and bias 0."""
    return F.batch_norm(x, None, None, training=True)


def conv(layer, x):
    return F.conv2d(x, layer.weight, None, layer.stride, layer.padding)


FIGURE_4 = {
    "original": lambda x, c1, c2, s: F.relu(norm(conv(c2, F.relu(norm(conv(c1, x))))) + s),
    "bn_after_addition": lambda x, c1, c2, s: F.relu(norm(conv(c2, F.relu(norm(conv(c1, x)))) + s)),
    "relu_before_addition": lambda x, c1, c2, s: F.relu(norm(conv(c2, F.relu(norm(conv(c1, x)))))) + s,
    "relu_preactivation": lambda x, c1, c2, s: norm(conv(c2, F.relu(norm(conv(c1, F.relu(x)))))) + s,
    "full_preactivation": lambda x, c1, c2, s: conv(c2, F.relu(norm(conv(c1, F.relu(norm(x)))))) + s,
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_computes_what_figure_4_shows(order):
    block = net(14, width=4, order=order).blocks[1]  # keeps its shape, and is not the first
    x = torch.randn(5, 4, 8, 8)
    first, second = convolutions(block)
    torch.testing.assert_close(block(x), FIGURE_4[order](x, first, second, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ["relu_preactivation", "full_preactivation"])
def test_the_first_activation_follows_the_first_convolution_and_another_the_last_addition(order):
    """The paper's appendix; a network without its blocks is then stem, last activation, pooling and linear layer."""
    model = net(8, width=4, order=order)
    x = torch.randn(5, 3, 8, 8)
    stem = F.relu(norm(conv(model.conv, x)))
    torch.testing.assert_close(model.stem(x), stem, rtol=1e-5, atol=1e-5)
    first, second = convolutions(model.blocks[0])
    branch = {
        "relu_preactivation": lambda: norm(conv(second, F.relu(norm(conv(first, stem))))),
        "full_preactivation": lambda: conv(second, F.relu(norm(conv(first, stem)))),
    }[order]()
    torch.testing.assert_close(model.blocks[0](stem), branch + stem, rtol=1e-5, atol=1e-5)
    y = torch.randn(5, 16, 2, 2)
    after = F.relu(y) if order == "relu_preactivation" else F.relu(norm(y))
    torch.testing.assert_close(model.end(y), after, rtol=1e-5, atol=1e-5)


def test_where_the_shape_changes_the_activation_stands_before_both_parts():
    block = net(8, width=4, order="full_preactivation", shortcut="B").blocks[1]
    x = torch.randn(5, 4, 8, 8)
    first, second = convolutions(block)
    shared = F.relu(norm(x))
    expected = conv(second, F.relu(norm(conv(first, shared)))) + conv(block.shortcut.conv, shared[:, :, ::2, ::2])
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_a_reordered_bottleneck_may_have_its_stride_on_the_first_convolution(order):
    shapes = []
    for stride_on in ("3x3", "1x1"):
        block = net(11, width=4, block="bottleneck", order=order, stride_on=stride_on).blocks[1]
        middle = convolutions(block)[1]
        middle.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape[-1]))
        assert block(torch.randn(2, 16, 8, 8)).shape == (2, 32, 4, 4)
    assert shapes == [8, 4]


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("order", ORDERS)
def test_plain_and_residual_twins_have_the_same_parameters_and_start_from_the_same_values(order, block):
    depth = {"basic": 14, "bottleneck": 20}[block]
    plain, residual = (net(depth, residual=r, block=block, order=order, width=4) for r in (False, True))
    ours, theirs = dict(plain.named_parameters()), dict(residual.named_parameters())
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("order", ORDERS[1:])
def test_a_silent_branch_passes_the_shortcut_on(order):
    model = net(14, width=4, order=order)
    block = model.blocks[1]
    for layer in convolutions(block):
        torch.nn.init.zeros_(layer.weight)
    x = torch.rand(5, 4, 8, 8)
    expected = F.relu(norm(x)) if order == "bn_after_addition" else x
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("depth", "millions"), [(164, 1.7), (1001, 10.2)])
def test_the_bottleneck_networks_have_the_size_of_the_papers(depth, millions):
    """He et al. 2016: 1.7M and 10.2M, with projections where the shape changes."""
    with torch.device("meta"):
        model = CifarNet(depth, block="bottleneck", order="full_preactivation", shortcut="B")
    assert count(model) / 1e6 == pytest.approx(millions, rel=0.015)


def test_a_bottleneck_network_has_the_parameters_of_its_description():
    n = (29 - 2) // 9
    stages = [(16, 16), (64, 32), (128, 64)]  # channels that come in, and of the 3x3 convolution
    expected = 3 * 9 * 16 + 2 * 16 + 256 * 10 + 10
    for inputs, narrow in stages:
        for i in range(n):
            came_in = inputs if i == 0 else 4 * narrow
            expected += came_in * narrow + 9 * narrow**2 + 4 * narrow**2 + 2 * (narrow + narrow + 4 * narrow)
    assert count(net(29, block="bottleneck")) == expected


@pytest.mark.parametrize("depth", [8, 13, 18])
def test_a_depth_that_is_not_9n_plus_2_is_refused_for_bottlenecks(depth):
    with pytest.raises(ValueError, match=f"9n \\+ 2 .* got {depth}"):
        net(depth, block="bottleneck")


@pytest.mark.parametrize(("activation", "function"), [("tanh", torch.tanh), ("sigmoid", torch.sigmoid)])
def test_every_nonlinearity_of_a_network_is_the_one_asked_for(activation, function):
    model = net(8, width=4, activation=activation)
    assert not any(isinstance(layer, torch.nn.ReLU) for layer in model.modules())
    x = torch.randn(5, 4, 8, 8)
    block = model.blocks[0]
    expected = function(norm(conv(block.conv2, function(norm(conv(block.conv1, x))))) + x)
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


def test_a_network_without_a_generator_follows_pytorchs_global_one():
    torch.manual_seed(5)
    first = CifarNet(8, width=4)
    torch.manual_seed(5)
    second = CifarNet(8, width=4)
    third = CifarNet(8, width=4)
    assert torch.equal(first.conv.weight, second.conv.weight)
    assert not torch.equal(first.conv.weight, third.conv.weight)
