import numpy as np
import pytest
import torch

from resnet_repro.nets.shortcuts import make_shortcut

VARIANTS = [(subsample, pad) for subsample in ("slice", "avgpool") for pad in ("append", "split")]


def option_a_by_hand(x, channels, subsample, pad):
    n, old, height, width = x.shape
    y = np.zeros((n, channels, (height + 1) // 2, (width + 1) // 2))
    first = (channels - old) // 2 if pad == "split" else 0
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            window = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            pixel = window[:, :, 0, 0] if subsample == "slice" else window.mean((2, 3))
            y[:, first : first + old, i, j] = pixel
    return y


@pytest.mark.parametrize(("subsample", "pad"), VARIANTS)
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 2)])
def test_option_a_is_the_computation_by_hand(subsample, pad, size):
    shortcut = make_shortcut("A", 4, 8, 2, subsample=subsample, pad=pad)
    x = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.testing.assert_allclose(shortcut(x), option_a_by_hand(x.numpy(), 8, subsample, pad), rtol=1e-12)


@pytest.mark.parametrize(("subsample", "pad"), VARIANTS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 32])
def test_option_a_has_the_shape_of_the_stride_2_convolution(subsample, pad, size):
    x = torch.zeros(2, 4, size, size)
    conv = torch.nn.Conv2d(4, 8, 3, 2, padding=1)
    assert make_shortcut("A", 4, 8, 2, subsample=subsample, pad=pad)(x).shape == conv(x).shape


def test_option_a_has_no_parameters_and_no_buffers():
    assert list(make_shortcut("A", 4, 8, 2).state_dict()) == []


@pytest.mark.parametrize("option", ["A", "B"])
def test_options_a_and_b_are_the_identity_where_shapes_are_equal(option):
    x = torch.randn(2, 4, 3, 3)
    assert make_shortcut(option, 4, 4, 1)(x) is x


@pytest.mark.parametrize(("option", "channels", "stride"), [("B", 8, 2), ("C", 8, 2), ("C", 4, 1)])
def test_a_projection_is_a_1x1_convolution_of_the_slice_and_a_norm(option, channels, stride):
    shortcut = make_shortcut(option, 4, channels, stride).double()
    x = torch.randn(5, 4, 6, 6, dtype=torch.float64)
    y = torch.einsum("oc,nchw->nohw", shortcut.conv.weight[:, :, 0, 0], x[:, :, ::stride, ::stride])
    y = (y - y.mean((0, 2, 3), keepdim=True)) / torch.sqrt(y.var((0, 2, 3), correction=0, keepdim=True) + 1e-5)
    torch.testing.assert_close(shortcut(x), y)
    assert set(dict(shortcut.named_parameters())) == {"conv.weight", "norm.weight", "norm.bias"}


def test_a_projection_without_norm_has_a_bias():
    shortcut = make_shortcut("B", 4, 8, 2, norm="none")
    assert set(dict(shortcut.named_parameters())) == {"conv.weight", "conv.bias"}


def test_a_projection_uses_the_ghost_batch():
    shortcut = make_shortcut("B", 4, 8, 2, ghost_batch=2)
    x = torch.randn(4, 4, 6, 6)
    halves = shortcut(x).split(2)
    torch.testing.assert_close(torch.stack([h.mean((0, 2, 3)) for h in halves]), torch.zeros(2, 8))
