"""The gradient by the length of its path, against all 2^n paths one by one, and against linear nets in closed form."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_repro.nets import CifarNet
from resnet_repro.probes import paths
from resnet_repro.probes.batch import Batch


def batch(size=3):
    images = torch.randn(size, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(size) % 10, bf16=False)


def net_of(depth=14, **settings):
    settings = {"width": 2, "in_channels": 1, "generator": torch.Generator().manual_seed(0)} | settings
    return CifarNet(depth, **settings).double()


def values(readings, metric):
    found = {x: value for name, x, y, value in readings if name == metric and y is None}
    assert list(found) == list(range(len(found)))
    return list(found.values())


def over_path(net, given, branches):
    """The gradient by the images with every other branch, and the shortcuts beside these, taken for constants."""
    hooks = [
        (block.shortcut if k in branches else block.branch_scale).register_forward_hook(lambda _, __, y: y.detach())
        for k, block in enumerate(net.blocks)
    ]
    images = given.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net.train()(images), given.labels), images)
    for hook in hooks:
        hook.remove()
    return gradient


def all_paths(net, given):
    """By length, the gradients over each of the paths."""
    n = len(net.blocks)
    return [
        [over_path(net, given, some) for some in itertools.combinations(range(n), length)] for length in range(n + 1)
    ]


SETTINGS = [
    {"shortcut_scale": 0.5, "shortcut": "B"},
    {"norm": "none", "branch_scale": "half", "order": "full_preactivation"},
    {"order": "bn_after_addition", "shortcut": "C"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_the_gradient_over_paths_of_a_length_is_the_sum_over_every_one_of_them(settings):
    given, net = batch(), net_of(**settings)
    every = all_paths(net, given)
    readings = paths.measure(net, given)
    expected = [float(torch.stack(some).sum(0).norm()) for some in every]
    assert values(readings, "gradient_norm_paths") == pytest.approx(expected, rel=1e-9)
    images = given.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net.train()(images), given.labels), images)
    assert torch.allclose(torch.stack([path for some in every for path in some]).sum(0), gradient, rtol=1e-9)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_the_gradient_over_a_path_is_the_mean_of_four_of_them(settings):
    given, net = batch(), net_of(8, **settings)
    norms = [[float(path.norm()) for path in some] for some in all_paths(net, given)]
    found = values(paths.measure(net, given), "gradient_norm_path")
    for value, some in zip(found, norms, strict=True):
        means = [sum(four) / 4 for four in itertools.product(some, repeat=4)]
        assert min(abs(value / mean - 1) for mean in means) < 1e-9


class Linear(nn.Module):
    """y = a x + x in each block, with one a for each, and the first pixel's sum as the one logit beside 0."""

    class Block(nn.Module):
        residual = True

        def __init__(self, a):
            super().__init__()
            self.a, self.branch_scale, self.shortcut = a, nn.Identity(), nn.Identity()

        def forward(self, x):
            return self.branch_scale(self.a * x) + self.shortcut(x)

    def __init__(self, factors):
        super().__init__()
        self.blocks = nn.Sequential(*(self.Block(a) for a in factors))

    def forward(self, x):
        y = self.blocks(1 * x).sum((1, 2, 3))
        return torch.stack([y, 0 * y], 1)


def test_in_a_linear_net_the_gradients_are_the_elementary_symmetric_polynomials_of_its_factors():
    """The gradient over a path is the product of the factors of its branches; all together, (1 + a) of each block."""
    factors, given = [0.5, -2.0, 3.0, 0.25, 1.0], batch()
    given = Batch(given.images / 100, torch.zeros(3, dtype=torch.int64), bf16=False)
    found = values(paths.measure(Linear(factors), given), "gradient_norm_paths")
    polynomial = torch.tensor([1.0], dtype=torch.float64)
    for a in factors:
        polynomial = F.pad(polynomial, (0, 1)) + a * F.pad(polynomial, (1, 0))
    assert found == pytest.approx([found[0] * abs(float(c)) for c in polynomial], rel=1e-9)
    same = paths.measure(Linear([0.5] * 5), given)
    single, together = values(same, "gradient_norm_path"), values(same, "gradient_norm_paths")
    assert single == pytest.approx([single[0] * 0.5**x for x in range(6)], rel=1e-9)
    assert together == pytest.approx([math.comb(5, x) * single[x] for x in range(6)], rel=1e-9)


def test_where_branches_are_silent_no_path_but_that_over_shortcuts_carries_any_gradient():
    readings = paths.measure(net_of(20, branch_scale="skipinit"), batch())
    for metric in ("gradient_norm_path", "gradient_norm_paths"):
        found = values(readings, metric)
        assert found[0] > 0 == max(found[1:])


def test_a_plain_net_has_no_readings_and_a_residual_one_is_left_as_it_was():
    assert paths.measure(net_of(residual=False), batch()) == []
    net = net_of(20)
    first = paths.measure(net, batch())
    assert paths.measure(net, batch()) == first
    assert len(first) == 2 * 10
