"""The gradient at every block, in all and over shortcuts alone, against finite differences and the law of λ^k."""

import pytest
import torch
import torch.nn.functional as F

from resnet_repro.nets import CifarNet
from resnet_repro.probes import shortcut_gradients
from resnet_repro.probes.batch import Batch


def batch(size=3):
    images = torch.randn(size, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(size) % 10, bf16=False)


def net_of(depth=14, **settings):
    settings = {"width": 2, "in_channels": 1, "generator": torch.Generator().manual_seed(0)} | settings
    return CifarNet(depth, **settings).double()


def by_block(net, given):
    """The norms of both kinds, after a look that each is there for every block, from the first on."""
    readings = shortcut_gradients.measure(net, given)
    found = {name: [] for name, *_ in readings}
    for name, x, y, value in readings:
        found[name].append(value)
        assert (x, y) == (len(found[name]), None)
    assert {len(values) for values in found.values()} == {len(net.blocks)}
    return list(found.values())


def slope(loss, x):
    """The slope of the loss along its gradient at x, which is the gradient's norm, by a central difference."""
    with torch.enable_grad():
        at = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(at), at)
    step = 1e-5 * gradient / gradient.norm()
    return float(loss(x + step) - loss(x - step)) / 2e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"shortcut_scale": 0.5, "shortcut": "B"},
        {"norm": "none", "branch_scale": "half", "order": "full_preactivation"},
        {"order": "bn_after_addition"},
    ],
    ids=lambda settings: next(iter(settings)),
)
@torch.no_grad()
def test_both_gradients_are_those_of_finite_differences(settings):
    """For shortcuts alone every branch gives out what it gave for these images, whatever its input is."""
    given, net = batch(2), net_of(8, activation="tanh", **settings)
    with torch.enable_grad():
        total, alone = by_block(net, given)
    inputs, constants = [], []
    for block in net.blocks:
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone()))
        block.branch_scale.register_forward_hook(lambda _, __, output: constants.append(output.clone()))
    net(given.images)
    x, branches = inputs[1], constants[:3]

    def loss(x):
        return F.cross_entropy(net.linear(net.end(net.blocks[1:](x)).mean(dim=(2, 3))), given.labels)

    assert total[1] == pytest.approx(slope(loss, x), rel=1e-6)
    for block, branch in zip(net.blocks, branches, strict=True):
        block.branch_scale.register_forward_hook(lambda _, __, ___, branch=branch: branch)
    assert alone[1] == pytest.approx(slope(loss, x), rel=1e-6)
    assert alone[1] != pytest.approx(total[1], rel=0.01)


@pytest.mark.parametrize("scale", [0.5, 1, 1.25])
def test_where_branches_are_silent_all_the_gradient_comes_over_shortcuts_and_each_takes_its_part(scale):
    """What a ReLU lets pass is above 0, and stays so from block to block: nothing but λ changes the gradient."""
    total, alone = by_block(net_of(26, branch_scale="skipinit", shortcut_scale=scale), batch())
    assert total == pytest.approx(alone, rel=1e-12)
    last = len(total) - 1
    assert total == pytest.approx([total[last] * scale ** (last - k) for k in range(len(total))], rel=1e-12)


def test_a_plain_net_has_no_gradient_over_shortcuts_and_a_residual_one_is_left_as_it_was():
    plain, residual = net_of(residual=False), net_of()
    assert len(by_block(plain, batch())) == 1
    first = by_block(residual, batch())
    assert by_block(residual, batch()) == first
