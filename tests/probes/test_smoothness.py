"""The loss along its gradient, against a step of torch's SGD and a dense Hessian."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, hessian

from resnet_repro.nets import CifarNet
from resnet_repro.probes import PROBES, smoothness
from resnet_repro.probes.batch import Batch


def batch():
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(8), bf16=False)


def net_of(**settings):
    return CifarNet(8, width=4, in_channels=1, generator=torch.Generator().manual_seed(0), **settings).double()


def gradient(net, given):
    loss = F.cross_entropy(net(given.images), given.labels)
    net.zero_grad()
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in net.parameters()])


@pytest.mark.parametrize("settings", [{"residual": False}, {"norm": "none"}])
def test_loss_and_gradient_are_those_after_a_step_of_sgd(settings):
    given, found = batch(), {}
    for name, x, _, value in smoothness.measure(net_of(**settings), given):
        found[name, x] = value
    for size in smoothness.STEP_SIZES:
        net = net_of(**settings)
        start, before = gradient(net, given)
        torch.optim.SGD(net.parameters(), lr=size).step()
        loss, after = gradient(net, given)
        change = (after - before).norm().item()
        assert found["loss_along_gradient", 0] == pytest.approx(start)
        assert found["loss_along_gradient", size] == pytest.approx(loss)
        assert found["gradient_change", size] == pytest.approx(change)
        assert found["gradient_smoothness", size] == pytest.approx(change / (size * before.norm().item()))
    assert {name for name, _ in found} == set(PROBES["smoothness"].quantities)


def test_of_a_small_step_it_is_the_dense_hessian_along_the_gradient():
    net, given = (
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2), torch.nn.Tanh(), torch.nn.Linear(2, 8)),
        batch(),
    )
    net.double()
    weights = dict(net.named_parameters())
    sizes = [weight.numel() for weight in weights.values()]

    def loss(flat):
        parts = {name: part.view_as(weights[name]) for name, part in zip(weights, flat.split(sizes), strict=True)}
        return F.cross_entropy(functional_call(net, parts, given.images), given.labels)

    _, slope = gradient(net, given)
    curvature = hessian(loss)(torch.cat([weight.detach().flatten() for weight in weights.values()])) @ slope
    expected = (curvature.norm() / slope.norm()).item()
    assert smoothness.measure(net, given, [1e-5])[-1][3] == pytest.approx(expected, rel=1e-4)
