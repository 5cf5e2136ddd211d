"""The noise behind a norm: its distributions, what it depends on, and what it leaves alone."""

import copy
import math

import pytest
import torch
from scipy import stats
from torch import nn

from resnet_repro.nets import NETWORKS, CifarNet
from resnet_repro.nets.identity import start_as
from resnet_repro.nets.noise import Noise, draw_keys
from resnet_repro.nets.norms import make_norm

IMAGES, CHANNELS, STEPS = 64, 32, 200


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(seed=0):
    layer = Noise()
    draw_keys(layer, seeded(seed))
    return layer


@pytest.fixture(scope="module")
def drawn():
    """m and s [STEPS, IMAGES, CHANNELS], as they act on maps of 0 and of 1."""
    layer, maps = noise(), torch.zeros(IMAGES, CHANNELS, 1, 1)
    other = copy.deepcopy(layer)
    shifts = torch.stack([layer(maps).view(IMAGES, CHANNELS) for _ in range(STEPS)]).double()
    sums = torch.stack([other(maps + 1).view(IMAGES, CHANNELS) for _ in range(STEPS)]).double()
    return shifts, sums - shifts


def test_the_distribution_of_a_channel_is_drawn_anew_in_each_step_as_its_docstring_says(drawn):
    shifts, scales = drawn
    means = shifts.mean(1)  # of 64 images, so to 0.1 / sqrt(3 * 64) = 0.007 and 0.1 / sqrt(64) = 0.013
    middles = scales.mean(1)
    assert stats.kstest(means.flatten().numpy(), stats.uniform(-0.5, 1).cdf).statistic < 0.03
    assert stats.kstest(middles.flatten().numpy(), stats.uniform(1, 0.25).cdf).statistic < 0.06
    for drawn_twice in (means, middles):
        following = torch.corrcoef(torch.stack([drawn_twice[:-1].flatten(), drawn_twice[1:].flatten()]))[0, 1]
        beside = torch.corrcoef(torch.stack([drawn_twice[:, :-1].flatten(), drawn_twice[:, 1:].flatten()]))[0, 1]
        assert abs(following) < 4 / math.sqrt(STEPS * CHANNELS)
        assert abs(beside) < 4 / math.sqrt(STEPS * CHANNELS)
    both = torch.corrcoef(torch.stack([means.flatten(), middles.flatten()]))[0, 1]
    assert abs(both) < 4 / math.sqrt(STEPS * CHANNELS)


def test_the_draws_of_an_image_spread_around_those_of_the_channel_as_its_docstring_says(drawn):
    for values, spread, kurtosis in ((drawn[0], 0.1 / math.sqrt(3), 1.8), (drawn[1], 0.1, 3.0)):
        own = (values - values.mean(1, keepdim=True)) * math.sqrt(IMAGES / (IMAGES - 1))
        assert own.square().mean().sqrt().item() == pytest.approx(spread, rel=0.01)
        # Of a mean of 64 values less in the middle: the fourth moment of a uniform number is 1.8, of a normal one 3.
        assert (own**4).mean().item() / own.square().mean().item() ** 2 == pytest.approx(kurtosis, rel=0.05)
        neighbours = torch.corrcoef(torch.stack([own[:, :-1].flatten(), own[:, 1:].flatten()]))[0, 1]
        assert neighbours.item() == pytest.approx(-1 / (IMAGES - 1), abs=4 / math.sqrt(own.numel()))


def test_evaluation_mode_has_the_expectations(drawn):
    x = torch.randn(4, 3, 5, 5, generator=seeded())
    assert torch.equal(noise().eval()(x), 1.125 * x)
    assert drawn[0].mean().item() == pytest.approx(0, abs=4 * 0.29 / math.sqrt(STEPS * CHANNELS))
    assert drawn[1].mean().item() == pytest.approx(1.125, abs=4 * 0.08 / math.sqrt(STEPS * CHANNELS))


def test_every_pixel_of_a_channel_of_an_image_has_the_same_noise_and_its_gradient_is_the_scale():
    layer, x = noise(), torch.randn(2, 3, 4, 4, generator=seeded()).requires_grad_()
    shift, scale = layer.draw(2, 3)
    y = layer(x)
    torch.testing.assert_close(y, scale.view(2, 3, 1, 1) * x + shift.view(2, 3, 1, 1))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, scale.view(2, 3, 1, 1).expand_as(x))


def test_the_noise_depends_on_key_and_step_alone_and_an_evaluation_is_no_step():
    one, other, x = noise(), noise(), torch.randn(4, 3, 2, 2, generator=seeded())
    for _ in range(3):
        one(x)
    torch.manual_seed(5)
    other.eval()(x)
    other.train().load_state_dict(one.state_dict())
    before = torch.get_rng_state()
    assert torch.equal(one(x), other(x))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.steps == other.steps == 4
    assert not torch.equal(one(x), one(x))
    assert not torch.equal(noise(0)(x), noise(1)(x))


def test_layout_and_precision_of_the_map_stay():
    x = torch.randn(4, 3, 2, 2, generator=seeded()).to(memory_format=torch.channels_last)
    assert noise()(x).is_contiguous(memory_format=torch.channels_last)
    for precision in (torch.float64, torch.bfloat16):
        y = noise()(x.to(precision))
        assert y.dtype == precision
        torch.testing.assert_close(y.float(), noise()(x), rtol=0, atol=0.05 if precision == torch.bfloat16 else 1e-6)


BOTTLENECKS = {"block": "bottleneck", "shortcut": "C"}
SMALL = {"cifar": {"depth": 11, **BOTTLENECKS}, "imagenet": {"depth": 50, **BOTTLENECKS}, "dense": {"depth": 10}}


@pytest.mark.parametrize("family", NETWORKS)
def test_noise_stands_behind_every_norm_and_adds_nothing_to_train(family):
    for norm in ("batch", "none"):
        plain = NETWORKS[family](**SMALL[family], width=4, norm=norm, generator=seeded())
        noisy = NETWORKS[family](**SMALL[family], width=4, norm=f"{norm}_noisy", generator=seeded())
        assert all(torch.equal(value, noisy.state_dict()[name]) for name, value in plain.state_dict().items())
        assert [name for name, _ in noisy.named_parameters()] == [name for name, _ in plain.named_parameters()]
        layers = [m for m in noisy.modules() if isinstance(m, Noise)]
        assert len(layers) == sum(isinstance(m, nn.Conv2d) for m in noisy.modules())
        assert len({int(layer.key) for layer in layers}) == len(layers)


def test_plain_and_residual_networks_of_a_seed_have_the_same_noise():
    nets = [CifarNet(8, residual=residual, norm="batch_noisy", generator=seeded(3)) for residual in (True, False)]
    keys = [[int(m.key) for m in net.modules() if isinstance(m, Noise)] for net in nets]
    assert keys[0] == keys[1]
    assert min(keys[0]) > 0


def test_noisy_batch_norm_is_torchs_own_with_noise_behind_it():
    noisy, x = make_norm("batch_noisy", 3), torch.randn(8, 3, 4, 4, generator=seeded())
    draw_keys(noisy, seeded())
    batch, behind = nn.BatchNorm2d(3), noise()
    assert torch.equal(noisy(x), behind(batch(x)))
    assert torch.equal(noisy.running_mean, batch.running_mean)
    assert torch.equal(noisy.eval()(x), behind.eval()(batch.eval()(x)))


def test_no_block_with_noise_is_an_identity():
    with pytest.raises(ValueError, match="norm without noise"):
        CifarNet(8, norm="batch_noisy", zero_init_residual=True)
    with pytest.raises(ValueError, match="no block is an identity with noise: use norm 'batch' or 'none'"):
        start_as(CifarNet(14, norm="none_noisy"), CifarNet(8, norm="none_noisy"), 14, 8)
