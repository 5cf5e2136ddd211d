"""Networks with blocks deleted or swapped, against networks of fewer blocks and against outputs computed by hand."""

import copy
import itertools

import pytest
import torch

from resnet_repro.metrics import QUANTITIES
from resnet_repro.nets import CifarNet, ImageNet
from resnet_repro.nets.norms import NORMS
from resnet_repro.probes import PROBES, lesions
from resnet_repro.probes.batch import Batch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=64, side=8):
    return torch.randn(count, 1, side, side, generator=generator(1))


def net_of(depth=20, **settings):
    """A network that has seen images, so that its statistics are not those of new ones; its outputs are spread."""
    net = CifarNet(depth, **{"width": 4, "in_channels": 1, "generator": generator()} | settings)
    for seed in range(20):
        net.train()(torch.randn(32, 1, 8, 8, generator=generator(seed)))
    return net


def labelled(net, some, bf16=False):
    """The images with the answers of the network, so that it has no error before it is changed."""
    with torch.no_grad():
        return Batch(some, net.eval()(some).argmax(1), bf16=bf16)


def measured(net, batch):
    """What is measured on a copy, since the statistics of the network that is given change."""
    return lesions.measure(copy.deepcopy(net), batch)


def found(readings, metric):
    """The (x, y, value) of a metric."""
    return [reading[1:] for reading in readings if reading[0] == metric]


def error(logits, batch):
    return 100 * float((logits.argmax(1) != batch.labels).double().mean())


def by_hand(net, some, gone=(), order=None):
    """The outputs of a residual net of basic blocks, in evaluation mode, written as the paper writes it: x + F(x)."""
    with torch.no_grad():
        x = net.eval().stem(some)
        for k in order or range(len(net.blocks)):
            block = net.blocks[k]
            branch = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x)))))
            x = torch.relu(block.shortcut(x) + (0 if k in gone else branch))
        return net.linear(x.mean((2, 3)))


def test_a_residual_net_without_a_block_is_one_whose_branch_there_is_0():
    net = net_of()
    batch = labelled(net, images())
    readings = found(measured(net, batch), "error_without_block")
    assert [(x, y) for x, y, _ in readings] == [(x, int(x in (4, 7))) for x in range(10)]
    expected = [error(by_hand(net, batch.images, {x - 1}), batch) for x in range(10)]
    assert [value for *_, value in readings] == pytest.approx(expected)
    assert expected[0] == 0 < max(expected)


def test_a_plain_net_without_a_block_that_keeps_its_shape_is_the_net_of_its_other_blocks():
    net = net_of(residual=False)
    batch = labelled(net, images())
    readings = found(measured(net, batch), "error_without_block")
    with torch.no_grad():
        for x, y, value in readings[1:]:
            kept = [block for k, block in enumerate(net.eval().blocks, 1) if k != x]
            if y == 0:
                logits = net.linear(torch.nn.Sequential(*kept)(net.stem(images())).mean((2, 3)))
                assert value == pytest.approx(error(logits, batch))
    assert [y for _, y, _ in readings].count(1) == 2


def test_in_the_place_of_a_transition_of_a_plain_net_every_second_pixel_and_channels_of_0_go_on():
    net = net_of(8, residual=False)
    batch = labelled(net, images())
    with torch.no_grad():
        x = net.blocks[0](net.stem(batch.images))
        half = torch.cat([x[:, :, ::2, ::2], torch.zeros(len(x), 4, 4, 4)], 1)
        logits = net.linear(net.blocks[2](half).mean((2, 3)))
    assert found(measured(net, batch), "error_without_block")[2] == (2, 1, pytest.approx(error(logits, batch)))


def test_without_all_the_blocks_that_keep_their_shape_only_the_transitions_are_left():
    net = net_of()
    batch = labelled(net, images())
    readings = found(measured(net, batch), "error_without_blocks")
    assert [x for x, *_ in readings] == list(range(8))
    rest = error(by_hand(net, batch.images, {0, 1, 2, 4, 5, 7, 8}), batch)
    assert (readings[0][2], readings[-1][2]) == (0, pytest.approx(rest))


def test_with_some_blocks_deleted_the_error_is_a_mean_over_draws_of_them():
    """With four blocks that keep their shape each mean is one of four of the errors without some of them."""
    net = net_of(14)  # of 6 blocks the third and the fifth change the shape
    batch = labelled(net, images())
    for count, _, value in found(measured(net, batch), "error_without_blocks"):
        errors = {
            error(by_hand(net, batch.images, some), batch) for some in itertools.combinations((0, 1, 3, 5), count)
        }
        assert min(errors) <= value <= max(errors)
        sums = {sum(four) / 4 for four in itertools.product(errors, repeat=4)}
        assert min(abs(value - mean) for mean in sums) < 1e-9


def test_a_swap_is_of_two_blocks_of_one_shape_and_of_no_pair_twice():
    """There are one pair with two blocks a stage, and 3 + 1 + 1 with three; a transition is in none."""
    net = net_of(14)
    batch = labelled(net, images())
    once = error(by_hand(net, batch.images, order=[1, 0, 2, 3, 4, 5]), batch)
    assert once > 0
    expected = [(0, None, 0), (1, None, pytest.approx(once))]
    assert found(measured(net, batch), "error_shuffled") == expected
    assert not found(measured(net_of(8), batch), "error_shuffled")
    assert [x for x, *_ in found(measured(net_of(20), batch), "error_shuffled")] == [0, 1, 2, 4]


def test_recomputed_statistics_are_those_of_the_images_in_what_is_left():
    net = net_of()
    batch = labelled(net, images())
    assert found(measured(net, batch), "error_without_block")[0] == (0, 0, 0)
    readings = found(measured(net, batch), "error_without_block_recomputed")
    for x, _, value in readings:
        fresh = net_of()
        for norm in fresh.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.register_forward_pre_hook(set_statistics)
        assert value == pytest.approx(error(by_hand(fresh, batch.images, {x - 1}), batch), abs=1.6)  # 1 of 64 images


@torch.no_grad()
def set_statistics(norm, args):
    norm.running_mean.copy_(args[0].mean((0, 2, 3)))
    norm.running_var.copy_(args[0].var((0, 2, 3), correction=0))


@pytest.mark.parametrize("norm", ["none", "group"])
def test_without_batch_norm_there_is_nothing_to_recompute(norm):
    net = net_of(14, norm=norm)
    readings = measured(net, labelled(net, images()))
    for metric in ("error_without_block", "error_without_blocks", "error_shuffled"):
        assert found(readings, metric) == found(readings, f"{metric}_recomputed")


def test_where_branches_are_silent_nothing_can_be_deleted_or_shuffled():
    net = net_of(branch_scale="skipinit")
    readings = measured(net, labelled(net, images()))
    assert {value for metric, *_, value in readings if "recomputed" not in metric} == {0}


@pytest.mark.parametrize(
    "settings",
    [
        {"order": order, "residual": residual, "shortcut": "B"}
        for order, residual in itertools.product(["original", "full_preactivation", "bn_after_addition"], [True, False])
    ]
    + [{"norm": norm} for norm in NORMS]
    + [{"depth": 11, "block": "bottleneck", "residual": residual} for residual in (True, False)]
    + [{"depth": 20, "block": "one_layer"}],
    ids=str,
)
def test_every_kind_of_block_can_be_deleted_and_the_network_is_left_as_it_was(settings):
    net = net_of(**{"depth": 14, **settings})
    batch = labelled(net, images(8))
    before = list(net.blocks)
    readings = lesions.measure(net, batch)
    assert list(net.blocks) == before
    assert {metric for metric, *_ in readings} <= set(PROBES["lesions"].quantities)
    for metric, x, _, value in readings:
        assert 0 <= value <= QUANTITIES[metric].high
        assert x > 0 or value == 0 or metric.endswith("recomputed")


def test_an_imagenet_net_of_odd_maps_and_bf16_is_measured_too():
    net = ImageNet(18, width=8, classes=10, in_channels=1, residual=False, generator=generator())
    batch = labelled(net, images(4, 36), bf16=True)  # maps of 9, 5, 3 and 2 pixels
    assert [y for _, y, _ in found(measured(net, batch), "error_without_block")] == [0] * 3 + [1, 0] * 3


def test_two_looks_see_the_same_and_no_number_is_a_miss():
    net = net_of()
    batch = labelled(net, images())
    first = [r for r in measured(net_of(), batch) if "recomputed" not in r[0]]
    torch.manual_seed(5)
    assert [r for r in measured(net_of(), batch) if "recomputed" not in r[0]] == first
    net.blocks[1].conv1.weight.data.fill_(torch.nan)
    without = found(measured(net, batch), "error_without_block")
    assert [value for _, _, value in without if value == 100] == [100] * 9
    assert without[2][2] < 100  # what is deleted was the only part that gave none
