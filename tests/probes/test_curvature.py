"""The ends of the Hessian's spectrum, against a dense Hessian, ARPACK on finite differences, and by hand."""

import math

import pytest
import scipy
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, hessian

from resnet_repro.nets import CifarNet
from resnet_repro.probes import PROBES, curvature
from resnet_repro.probes.batch import Batch


def batch(seed=0):
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(8), bf16=False, seed=seed)


def ends(net, given):
    found = {x: value for _, x, _, value in curvature.measure(net, given)}
    return found[-1], found[1]


def test_of_a_small_net_they_are_those_of_the_dense_hessian():
    """Without batch norm: torch 2.13's `torch.func.hessian` is not symmetric through one in training mode."""
    torch.manual_seed(0)
    net, given = nn.Sequential(nn.Conv2d(1, 2, 3, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 8)).double(), batch()
    weights = dict(net.named_parameters())
    sizes = [weight.numel() for weight in weights.values()]

    def loss(flat):
        parts = {name: part.view_as(weights[name]) for name, part in zip(weights, flat.split(sizes), strict=True)}
        return F.cross_entropy(functional_call(net, parts, given.images), given.labels)

    flat = torch.cat([weight.detach().flatten() for weight in weights.values()])
    values = torch.linalg.eigvalsh(hessian(loss)(flat)).tolist()
    assert values[0] < 0 < values[-1]
    assert ends(net, given) == pytest.approx((values[0], values[-1]), abs=1e-4 * values[-1])
    assert {name for name, *_ in curvature.measure(net, given)} == set(PROBES["curvature"].quantities)


@pytest.mark.parametrize("settings", [{"residual": False}, {}, {"norm": "none"}])
def test_of_a_network_they_are_what_arpack_makes_of_differences_of_gradients(settings):
    given, apart = batch(), 1e-6
    net = CifarNet(8, width=4, in_channels=1, generator=torch.Generator().manual_seed(0), **settings).double()
    start = nn.utils.parameters_to_vector(net.parameters()).detach()

    def gradient(flat):
        nn.utils.vector_to_parameters(flat, net.parameters())
        net.zero_grad()
        F.cross_entropy(net(given.images), given.labels).backward()
        return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])

    def product(vector):
        step = apart * torch.from_numpy(vector).flatten()
        return ((gradient(start + step) - gradient(start - step)) / (2 * apart)).numpy()

    operator = scipy.sparse.linalg.LinearOperator((len(start), len(start)), product, dtype=float)
    values = scipy.sparse.linalg.eigsh(operator, 2, which="BE", tol=1e-5, return_eigenvectors=False, v0=start.numpy())
    nn.utils.vector_to_parameters(start, net.parameters())
    assert ends(net, given) == pytest.approx(tuple(values), abs=2e-4 * max(abs(values)))


def test_a_logistic_loss_by_hand():
    """log(1 + exp(-(a - b) x)) has the Hessian p (1 - p) x^2 [[1, -1], [-1, 1]] by a and b, with p = s((a - b) x)."""
    net = nn.Linear(1, 2, bias=False).double()
    nn.init.constant_(net.weight[0], 0.5)
    nn.init.constant_(net.weight[1], 0.0)
    images = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    chances = [1 / (1 + math.exp(-0.5 * x)) for x in (1, 3)]
    curved = sum(p * (1 - p) * x**2 for p, x in zip(chances, (1, 3), strict=True)) / 2
    assert ends(net, Batch(images, torch.tensor([0, 0]), bf16=False)) == pytest.approx((0, 2 * curved))


@pytest.mark.parametrize("spectrum", [[-3.0, 0.0, 0.5, 7.0], [2.0, 2.0, 2.0], [-1.0], [0.0, 0.0]])
def test_of_a_quadratic_they_are_its_own(spectrum):
    turned, _ = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), dtype=torch.float64))
    matrix = turned @ torch.tensor(spectrum).double().diag() @ turned.T
    found = curvature.extreme_eigenvalues(lambda vector: matrix @ vector, torch.ones(len(spectrum)).double())
    assert found == pytest.approx((min(spectrum), max(spectrum)), abs=1e-9)


def test_many_eigenvalues_are_found_with_few_products():
    """As of a trained network: some far above, and below 0 little."""
    spectrum = torch.cat([torch.linspace(-0.3, 0.3, 2000), torch.tensor([-0.5, 1.0, 2.0, 5.0])]).double()
    asked = []

    def product(vector):
        asked.append(vector)
        return spectrum * vector

    start = torch.randn(len(spectrum), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert curvature.extreme_eigenvalues(product, start) == pytest.approx((-0.5, 5), abs=5e-4)
    assert len(asked) < 60


def test_they_follow_from_the_seed_and_hardly_depend_on_it():
    net = CifarNet(8, width=4, in_channels=1, generator=torch.Generator().manual_seed(0)).double()
    state = torch.get_rng_state()
    first, again, other = (ends(net, batch(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again != other
    assert first == pytest.approx(other, abs=1e-3 * max(map(abs, first)))


def test_where_the_loss_is_no_number_there_is_none():
    net = CifarNet(8, width=4, in_channels=1)
    nn.init.constant_(net.conv.weight, math.nan)
    given = batch()
    assert all(map(math.isnan, ends(net, Batch(given.images.float(), given.labels, bf16=False))))
