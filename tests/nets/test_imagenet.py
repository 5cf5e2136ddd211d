"""The ImageNet form against torchvision's, which is an independent implementation with option B shortcuts."""

import pytest
import torch
import torchvision
from torch import nn

from resnet_repro.nets import ImageNet
from resnet_repro.nets.imagenet import from_torchvision


def block_of(depth):
    return "basic" if depth < 50 else "bottleneck"


def net(depth, **options):
    return ImageNet(depth, block=block_of(depth), **options)


def count(model):
    return sum(p.numel() for p in model.parameters())


def shaken(model):
    """Running statistics and affine parameters away from 0 and 1, so that none can be left out unseen."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                tensor.data.copy_(torch.rand_like(tensor) * 0.2 + (1 if tensor is layer.running_var else 0.5))
    return model


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_torchvisions_state_loads_and_gives_the_same_outputs(depth, tmp_path):
    theirs = shaken(getattr(torchvision.models, f"resnet{depth}")()).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = net(depth, shortcut="B").eval()
    ours.load_state_dict(from_torchvision(torch.load(tmp_path / "weights.pth", weights_only=True)))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("stride_on", "middle"), [("3x3", [56, 28, 14]), ("1x1", [28, 14, 7])])
def test_the_stride_may_lie_on_the_first_convolution_of_a_bottleneck_as_in_the_authors_models(stride_on, middle):
    model, sizes = net(50, stride_on=stride_on, width=4).eval(), []
    for first in (3, 7, 13):
        model.blocks[first].conv2.register_forward_hook(lambda _, x, __: sizes.append(x[0].shape[-1]))
    with torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    assert sizes == middle


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_with_projections_there_are_as_many_parameters_as_in_torchvisions_network(depth):
    with torch.device("meta"):
        assert count(net(depth, shortcut="B")) == count(getattr(torchvision.models, f"resnet{depth}")())


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_plain_and_option_a_have_the_same_parameters(depth):
    with torch.device("meta"):
        plain, residual = net(depth, residual=False), net(depth)
    assert count(plain) == count(residual)


def test_224_pixels_become_7_as_in_table_1():
    model = net(18, width=4).eval()
    sizes = []
    for part in (model.blocks[0], model.blocks[2], model.blocks[4], model.blocks[6]):
        part.register_forward_hook(lambda _, __, y: sizes.append(y.shape[-1]))
    with torch.no_grad():
        assert model.stem(torch.zeros(1, 3, 224, 224)).shape == (1, 4, 56, 56)
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert sizes == [56, 28, 14, 7]


@pytest.mark.parametrize(("depth", "block"), [(20, "basic"), (50, "basic"), (34, "bottleneck")])
def test_a_depth_that_table_1_does_not_have_is_refused(depth, block):
    with pytest.raises(ValueError, match=f"depth must be .* got {depth}"):
        ImageNet(depth, block=block)
