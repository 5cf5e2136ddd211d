"""DenseNets against torchvision's, which is an independent implementation, and the paper's count of parameters."""

import pytest
import torch
from torch import nn
from torchvision.models.densenet import _DenseLayer, _Transition

from resnet_repro.nets import DenseNet
from resnet_repro.nets.dense import DenseLayer, Transition

BATCH = {"norm": "batch", "ghost_batch": None, "activation": "relu"}


def generator():
    return torch.Generator().manual_seed(0)


def shaken(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator()) + 0.5)
    return module.eval()


def test_40_layers_of_growth_12_have_the_papers_million_parameters():
    """Table 2 says 1.0M; 1,019,722 is what public implementations of it have."""
    assert sum(p.numel() for p in DenseNet(40, generator=generator()).parameters()) == 1_019_722


def test_a_layer_puts_behind_its_inputs_what_torchvisions_last_convolution_gives():
    ours = shaken(DenseLayer(6, 4, **BATCH))
    theirs = shaken(_DenseLayer(6, 4, bn_size=1, drop_rate=0.0))
    theirs.conv1, theirs.norm2, theirs.relu2 = nn.Identity(), nn.Identity(), nn.Identity()  # the bottleneck
    theirs.conv2 = nn.Conv2d(6, 4, 3, padding=1, bias=False)
    theirs.conv2.load_state_dict(ours.conv.state_dict())
    x = torch.randn(2, 6, 5, 5, generator=generator())
    with torch.no_grad():
        torch.testing.assert_close(ours(x), torch.cat([x, theirs(x)], 1))


def test_a_transition_is_torchvisions_but_for_its_channels_which_do_not_become_fewer():
    ours, theirs = shaken(Transition(6, **BATCH)), shaken(_Transition(6, 6))
    theirs.conv.load_state_dict(ours.conv.state_dict())
    x = torch.randn(2, 6, 8, 8, generator=generator())
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("sides", [(8, 4, 2), (9, 5, 3)])
def test_every_layer_sees_the_outputs_of_all_layers_before_it_in_its_stage(sides):
    net = DenseNet(13, width=5, growth=2, generator=generator()).eval()
    seen = {}
    for number, block in enumerate(net.blocks):
        block.register_forward_hook(lambda _, x, y, number=number: seen.update({number: (x[0], y)}))
    with torch.no_grad():
        logits = net(torch.randn(2, 3, sides[0], sides[0], generator=generator()))
    assert logits.shape == (2, 10)
    assert [seen[k][0].shape[1] for k in seen] == [5, 7, 9, 11, 11, 13, 15, 17, 17, 19, 21]
    assert [seen[k][0].shape[2] for k in (0, 4, 8)] == list(sides)
    for number in (0, 1, 2, 4, 5, 6):
        x, y = seen[number]
        assert torch.equal(y[:, : x.shape[1]], x)


@pytest.mark.parametrize("depth", [20, 56, 1])
def test_another_depth_is_refused(depth):
    with pytest.raises(ValueError, match=r"depth must be 3n \+ 4"):
        DenseNet(depth)


def test_another_block_or_growth_is_refused():
    with pytest.raises(ValueError, match="block"):
        DenseNet(13, block="bottleneck")
    with pytest.raises(ValueError, match="growth"):
        DenseNet(13, growth=0)


@pytest.mark.parametrize("norm", ["none", "layer", "batch_noisy", "none_noisy"])
def test_other_norms_train(norm):
    net = DenseNet(13, width=4, growth=4, norm=norm, init="he_border", image_size=(8, 8), generator=generator())
    loss = nn.functional.cross_entropy(net(torch.randn(4, 3, 8, 8, generator=generator())), torch.arange(4))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
