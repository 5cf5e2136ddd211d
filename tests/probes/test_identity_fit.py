"""How near blocks come to the identity, against blocks that are it, that cannot be it, and a step by hand."""

import math

import pytest
import torch

from resnet_repro.nets import CifarNet
from resnet_repro.probes import PROBES, identity_fit
from resnet_repro.probes.batch import Batch


def batch(clip=None):
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(16) % 10, bf16=False, clip=clip)


def net(depth=20, **settings):
    return CifarNet(depth, width=4, in_channels=1, generator=torch.Generator().manual_seed(0), **settings)


def errors(network, given=None):
    return {x: value for _, x, _, value in identity_fit.measure(network, given or batch())}


def test_it_is_measured_for_as_many_blocks_as_the_first_stage_has():
    assert list(errors(net(20))) == [1, 2]  # three blocks
    assert list(errors(net(8))) == [1]
    assert {name for name, *_ in identity_fit.measure(net(8), batch())} == set(PROBES["identity_fit"].quantities)


def test_a_residual_block_whose_branch_is_silent_is_the_identity_and_stays_it():
    assert errors(net(8, zero_init_residual=True))[1] == pytest.approx(0, abs=1e-6)


def test_a_residual_block_comes_nearer_than_a_plain_one_with_the_same_weights():
    assert errors(net(8))[1] < 0.2 * errors(net(8, residual=False))[1]


def test_the_input_comes_from_the_block_before_where_the_first_one_changes_the_shape():
    network = net(20, block="bottleneck").train()
    given, blocks = identity_fit._first_that_keep_their_shape(network, batch().images)
    assert blocks == [network.blocks[1]]
    assert torch.equal(given, network.blocks[0](network.stem(batch().images)))


def test_a_step_is_that_of_plain_descent_on_the_relative_square(monkeypatch):
    """By hand, of F(x) = w x."""
    monkeypatch.setattr(identity_fit, "STEPS", 1)
    scale = torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.constant_(scale.weight, 0.5)
    x = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    # (w - 1)^2 has the slope -1 at w = 0.5, so a step of 0.2 leads to 0.7, and one that is clipped at 0.5 to 0.6.
    assert identity_fit._error([scale], x, 0.2, None) == pytest.approx(0.3, abs=1e-6)
    assert identity_fit._error([scale], x, 0.2, 0.5) == pytest.approx(0.4, abs=1e-6)
    assert scale.weight.item() == 0.5  # it was a copy that learned


def test_what_ends_as_no_number_counts_as_infinitely_far():
    scale = torch.nn.Conv2d(1, 1, 1, bias=False)
    assert identity_fit._error([scale], torch.ones(1, 1, 1, 1), 1e6, None) == math.inf
