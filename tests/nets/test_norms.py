import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from resnet_repro.nets import NETWORKS, CifarNet
from resnet_repro.nets.convolutions import StandardizedConv2d, make_conv
from resnet_repro.nets.norms import make_norm

CHANNELS = 3


def data(n, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.arange(n).view(-1, 1, 1, 1)  # so that ghost batches differ in mean and variance
    return offsets + (1 + offsets) * torch.randn(n, CHANNELS, size, size, generator=generator)


def batch_norms_and_ghost(ghost_batch, devices):
    """One nn.BatchNorm2d per device and the ghost norm, with the same random affine parameters."""
    ghost = make_norm("batch", CHANNELS, ghost_batch)
    with torch.no_grad():
        ghost.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        ghost.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    batch = nn.BatchNorm2d(CHANNELS)
    batch.load_state_dict(ghost.state_dict())
    return [copy.deepcopy(batch) for _ in range(devices)], ghost


def average_buffers(norms):
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(norm, name) for norm in norms]).mean(0)
        for norm in norms:
            getattr(norm, name).copy_(mean)


@pytest.mark.parametrize(("n", "ghost_batch"), [(8, 4), (8, 2), (8, 1), (10, 4), (9, 4), (3, 4)])
def test_ghost_batch_norm_is_one_batch_norm_per_device_with_averaged_buffers(n, ghost_batch):
    norms, ghost = batch_norms_and_ghost(ghost_batch, devices=-(-n // ghost_batch))
    for step in range(3):
        x, y = data(n, seed=step).requires_grad_(), data(n, seed=step).requires_grad_()
        weight = torch.randn(n, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(9))
        expected = torch.cat([norm(part) for norm, part in zip(norms, x.split(ghost_batch), strict=True)])
        actual = ghost(y)
        assert torch.equal(actual, expected)
        (expected * weight).sum().backward()
        (actual * weight).sum().backward()
        assert torch.equal(y.grad, x.grad)
        average_buffers(norms)
        torch.testing.assert_close(ghost.running_mean, norms[0].running_mean)
        torch.testing.assert_close(ghost.running_var, norms[0].running_var)
    torch.testing.assert_close(ghost.weight.grad, sum(norm.weight.grad for norm in norms))
    torch.testing.assert_close(ghost.bias.grad, sum(norm.bias.grad for norm in norms))
    ghost.eval(), norms[0].eval()
    torch.testing.assert_close(ghost(data(5)), norms[0](data(5)))


@pytest.mark.parametrize("n", [4, 8])
def test_a_ghost_batch_as_large_as_the_batch_is_plain_batch_norm(n):
    (batch,), ghost = batch_norms_and_ghost(8, devices=1)
    assert torch.equal(ghost(data(n)), batch(data(n)))
    for name, value in batch.state_dict().items():
        assert torch.equal(ghost.state_dict()[name], value)


def test_running_statistics_are_the_averages_of_the_ghost_batches_statistics():
    ghost = make_norm("batch", CHANNELS, 2)
    parts = data(6).split(2)
    ghost(data(6))
    means = torch.stack([part.mean((0, 2, 3)) for part in parts])
    variances = torch.stack([part.transpose(0, 1).flatten(1).var(1, correction=1) for part in parts])
    torch.testing.assert_close(ghost.running_mean, 0.1 * means.mean(0))
    torch.testing.assert_close(ghost.running_var, 0.9 + 0.1 * variances.mean(0))


def test_update_bn_averages_the_ghost_statistics_over_all_batches():
    ghost = make_norm("batch", CHANNELS, 2)
    batches = [data(4, seed=seed) for seed in range(3)]
    update_bn(batches, ghost)
    parts = [part for batch in batches for part in batch.split(2)]
    means = torch.stack([part.mean((0, 2, 3)) for part in parts])
    torch.testing.assert_close(ghost.running_mean, means.mean(0))
    assert ghost.num_batches_tracked == 3


def test_a_last_ghost_batch_of_one_value_per_channel_is_an_error():
    norm = make_norm("batch", CHANNELS, 4)
    with pytest.raises(ValueError, match=r"more than 1 value per channel.*ghost_batch=4"):
        norm(data(5, size=1))
    assert torch.equal(norm.running_mean, torch.zeros(CHANNELS))
    assert norm(data(6, size=1)).isfinite().all()


def test_batch_norm_without_ghosts_is_pytorchs_own():
    assert type(make_norm("batch", CHANNELS)) is nn.BatchNorm2d


@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (64, 8), (8, 8), (5, 5), (1, 1)])
def test_group_norm_normalises_each_group_of_each_sample(channels, groups):
    x = 3 + 2 * torch.randn(2, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    members = x.reshape(2, groups, -1)
    expected = (members - members.mean(2, keepdim=True)) / members.std(2, correction=0, keepdim=True)
    for norm in ("group", "group_ws"):
        torch.testing.assert_close(make_norm(norm, channels)(x), expected.view_as(x), rtol=1e-4, atol=1e-4)


def test_layer_and_instance_norm_are_torchs_own_with_a_scale_and_a_shift_per_channel():
    x, scale, shift = data(4).double(), torch.tensor([0.5, 1.0, 2.0]), torch.tensor([-1.0, 0.0, 1.0])
    expected = {"layer": F.layer_norm(x, x.shape[1:]), "instance": F.instance_norm(x)}
    for norm, normalised in expected.items():
        layer = make_norm(norm, CHANNELS)
        layer.load_state_dict({"weight": scale, "bias": shift})
        found, right = layer.double()(x), normalised * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (1, 1, 0)])
def test_a_convolution_with_standardised_weights_is_torchs_own_with_weights_of_mean_0_and_deviation_1(
    kernel, stride, padding
):
    conv = make_conv("group_ws", CHANNELS, 5, kernel, stride=stride, padding=padding).double()
    assert conv.bias is None
    nn.init.normal_(conv.weight, generator=torch.Generator().manual_seed(3))
    weight = conv.weight.detach().clone().requires_grad_()
    centred = weight.flatten(1) - weight.flatten(1).mean(1, keepdim=True)
    standard = (centred / centred.square().mean(1, keepdim=True).sqrt()).view_as(weight)
    x, y = data(2).double().requires_grad_(), data(2).double().requires_grad_()
    found, expected = conv(x), F.conv2d(y, standard, stride=stride, padding=padding)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(conv.weight.grad, weight.grad, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", NETWORKS)
def test_with_group_ws_every_convolution_of_a_network_has_standardised_weights(family):
    bottlenecks, orders = {"block": "bottleneck", "shortcut": "C"}, ("original", "full_preactivation")
    # the settings of small networks, and their convolutions: one less than layers, and the projections
    small = {
        "cifar": [({"depth": 11, **bottlenecks, "order": order}, 10 + 3) for order in orders],
        "imagenet": [({"depth": 50, **bottlenecks, "order": order}, 49 + 16) for order in orders],
        "dense": [({"depth": 10, "growth": 8}, 9)],
    }
    for settings, count in small[family]:
        net = NETWORKS[family](**settings, width=8, norm="group_ws")
        convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == count
        assert {type(m) for m in convolutions} == {StandardizedConv2d}


def test_one_weight_that_standardisation_would_make_0_is_refused():
    with pytest.raises(ValueError, match="the one weight of a 1x1 convolution of one channel 0: choose width 2"):
        make_conv("group_ws", 1, 4, 1)


@pytest.mark.parametrize("ghost_batch", [None, 2])
def test_running_statistics_move_by_the_momentum_that_is_said(ghost_batch):
    net = CifarNet(8, norm_momentum=0.25, ghost_batch=ghost_batch, generator=torch.Generator().manual_seed(0))
    x, steps = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)), 3
    mean = net.conv(x).mean(dim=(0, 2, 3))
    for _ in range(steps):
        net.train()(x)
    torch.testing.assert_close(net.norm.running_mean, (1 - 0.75**steps) * mean)
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.25}


@pytest.mark.parametrize("momentum", [0, 1.5])
def test_a_momentum_that_is_no_share_is_refused(momentum):
    with pytest.raises(ValueError, match=rf"norm_momentum must be above 0 and at most 1, got {momentum}: choose"):
        CifarNet(8, norm_momentum=momentum)


def test_norm_none_changes_nothing():
    x = data(2)
    assert make_norm("none", CHANNELS)(x) is x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("pixel", 16),
            "norm must be one of batch, layer, instance, group, group_ws, none, batch_noisy, none_noisy, got 'pixel'",
        ),
        (("group", 12), "8 groups divide, got 12"),
        (("group", 16, 4), "ghost_batch is for norm 'batch', got ghost_batch=4 with norm 'group'"),
        (("batch", 16, 0), "ghost_batch must be a whole number of at least 1, got 0"),
        (("batch", 16, 2.5), "ghost_batch must be a whole number of at least 1, got 2.5"),
    ],
)
def test_a_bad_argument_is_named_with_its_rule(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_norm(*arguments)
