"""Covariate shift, against steps of torch's SGD on the layers before, and by hand on two linear layers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_repro.nets import CifarNet
from resnet_repro.probes import PROBES, covariate_shift
from resnet_repro.probes.batch import Batch


def batch(lr=0.1, clip=None):
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(8), False, lr, clip)


def net_of(**settings):
    return CifarNet(8, width=4, in_channels=1, generator=torch.Generator().manual_seed(0), **settings).double()


def gradient(net, given, name):
    net.zero_grad()
    F.cross_entropy(net(given.images), given.labels).backward()
    return net.get_parameter(name).grad.flatten().clone()


def input_of(net, given, layer):
    seen = []
    handle = net.get_submodule(layer).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    net(given.images)
    handle.remove()
    return seen[0].transpose(0, 1).flatten(1)


@pytest.mark.parametrize("settings", [{"residual": False}, {}, {"norm": "none"}, {"shortcut": "C"}])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_it_is_the_change_after_a_step_of_sgd_on_all_before(settings, clip):
    given, net = batch(clip=clip), net_of(**settings)
    found = {(name, x): value for name, x, _, value in covariate_shift.measure(net_of(**settings), given)}
    layers = [
        name
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert {x for _, x in found} == set(range(2, len(layers) + 1))
    for x, layer in enumerate(layers[1:], start=2):
        still, moved = net_of(**settings), net_of(**settings)
        names = [name for name, _ in moved.named_parameters()]
        before = [moved.get_parameter(name) for name in names[: names.index(f"{layer}.weight")]]
        gradient(moved, given, f"{layer}.weight")
        if clip is not None:
            nn.utils.clip_grad_norm_(moved.parameters(), clip, error_if_nonfinite=True)
        torch.optim.SGD(before, lr=given.lr).step()
        first, then = (gradient(one, given, f"{layer}.weight") for one in (still, moved))
        assert found["covariate_shift", x] == pytest.approx((first - then).norm().item(), rel=1e-4)
        assert found["covariate_shift_cosine", x] == pytest.approx(F.cosine_similarity(first, then, dim=0).item())
        was, now = input_of(still, given, layer), input_of(moved, given, layer)
        spread, shift = was.std(1, correction=0), now.mean(1) - was.mean(1)
        shifts = (shift / spread)[spread > 0]
        assert found["mean_shift", x] == pytest.approx(shifts.square().mean().sqrt().item(), rel=1e-4)
    assert {name for name, _ in found} == set(PROBES["covariate_shift"].quantities)


def test_two_linear_layers_by_hand():
    first, last = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        first.weight.fill_(1.0)
        last.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    images, rate = torch.tensor([[1.0], [2.0]], dtype=torch.float64), 0.5
    given = Batch(images, torch.tensor([0, 0]), False, rate)
    # The loss of an image x is log(1 + exp(-2 w x)) at logits (w x, -w x): its derivative by w is -2 x s(-2 w x).
    slope = sum(-2 * x / (1 + math.exp(2 * x)) for x in (1, 2)) / 2
    w = 1 - rate * slope

    def by_last(w):  # by each of the two weights of the last layer, of opposite sign
        return sum(w * x / (1 + math.exp(2 * w * x)) for x in (1, 2)) / 2

    found = {name: value for name, _, _, value in covariate_shift.measure(nn.Sequential(first, last), given)}
    assert found["covariate_shift"] == pytest.approx(math.sqrt(2) * abs(by_last(w) - by_last(1)))
    assert found["covariate_shift_cosine"] == pytest.approx(1)
    assert found["mean_shift"] == pytest.approx((w - 1) * 1.5 / 0.5)


def test_nothing_shifts_at_a_rate_of_zero():
    for name, _, _, value in covariate_shift.measure(net_of(), batch(lr=0.0)):
        assert value == pytest.approx(1 if name.endswith("cosine") else 0)
