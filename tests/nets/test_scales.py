import math

import pytest
import torch

from resnet_repro.nets import CifarNet
from resnet_repro.nets.blocks import ORDERS

X = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def net(depth=20, **options):
    settings = {"width": 4, "in_channels": 1, "norm": "none", "init": "he_border", "image_size": (8, 8)} | options
    return CifarNet(depth, **settings, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("branch_scale", "s"), [("half", 0.5), ("rsqrt_blocks", 1 / 3), ("skipinit", 0)])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_scaled_branch_is_one_whose_last_convolution_is_scaled(block, order, branch_scale, s):
    """Nine blocks; without norm, whatever follows that convolution in a branch is a ReLU at most."""
    depth = {"basic": 20, "bottleneck": 29}[block]
    scaled, by_hand = (net(depth, block=block, order=order, branch_scale=b) for b in (branch_scale, "one"))
    for one in by_hand.blocks:
        *_, last = (m for name, m in one.named_modules() if isinstance(m, torch.nn.Conv2d) and "shortcut" not in name)
        last.weight.data *= s
        last.bias.data *= s
    torch.testing.assert_close(scaled(X), by_hand(X), rtol=1e-4, atol=1e-5)


def test_skipinit_learns_one_number_for_each_block():
    one, learned = net(), net(branch_scale="skipinit")
    new = {name: p for name, p in learned.named_parameters() if name not in one.state_dict()}
    assert [(name, p.numel(), p.item()) for name, p in new.items()] == [
        (f"blocks.{i}.branch_scale.scale", 1, 0) for i in range(9)
    ]
    learned(X).square().sum().backward()
    assert all(p.grad != 0 for p in new.values())


def test_a_learned_scale_starts_as_one():
    one, learned = net(), net(branch_scale="learned")
    assert sum(p.numel() for p in learned.parameters()) == sum(p.numel() for p in one.parameters()) + 9
    torch.testing.assert_close(learned(X), one(X), rtol=0, atol=0)
    learned(X).square().sum().backward()
    assert all(block.branch_scale.scale.grad != 0 for block in learned.blocks)


def test_without_norm_the_signal_of_110_layers_explodes_unless_the_branch_is_scaled():
    def growth(branch_scale):
        model = net(110, width=16, branch_scale=branch_scale)
        with torch.no_grad():
            x = model.stem(X)
            return (model.blocks(x).square().mean() / x.square().mean()).item()

    assert growth("one") > 2**40
    assert growth("skipinit") <= 1
    assert 1 / math.e < growth("rsqrt_blocks") < math.e
