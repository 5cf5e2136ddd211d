"""Long skips: what the last layer takes, against a computation from the outputs of the stages."""

import pytest
import torch

from resnet_repro.nets import CifarNet, ImageNet


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("kind", [CifarNet, ImageNet])
def test_the_last_layer_takes_the_mean_of_each_stages_output_over_its_map(kind, residual):
    depth, lasts = (14, (1, 3, 5)) if kind is CifarNet else (18, (1, 3, 5, 7))
    net = kind(depth, width=4, residual=residual, long_skips=True, generator=generator()).eval()
    outputs = {}
    for number in lasts:
        net.blocks[number].register_forward_hook(lambda _, __, y, number=number: outputs.update({number: y}))
    x = torch.randn(3, 3, 32, 32, generator=generator())
    with torch.no_grad():
        logits = net(x)
        pooled = torch.cat([outputs[number].flatten(2).mean(2) for number in lasts], 1)
        expected = pooled @ net.linear.weight.T + net.linear.bias
    torch.testing.assert_close(logits, expected)
    assert net.linear.in_features == 4 * (2 ** len(lasts) - 1)


def test_preactivation_ends_every_stage_as_it_ends_the_last():
    net = CifarNet(14, width=4, order="full_preactivation", long_skips=True, generator=generator()).eval()
    features = []
    net.linear.register_forward_pre_hook(lambda _, x: features.append(x[0]))
    with torch.no_grad():
        net(torch.randn(2, 3, 8, 8, generator=generator()))
    assert (features[0] >= 0).all()
    assert features[0].shape == (2, 28)


def test_all_but_the_last_layer_starts_from_the_same_weights_as_without():
    with_skips, without = (CifarNet(14, width=4, long_skips=k, generator=generator()) for k in (True, False))
    ours, theirs = with_skips.state_dict(), without.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("linear"))
