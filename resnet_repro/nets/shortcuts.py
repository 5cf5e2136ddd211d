"""The shortcut options A, B and C of He et al. 2015 (arXiv:1512.03385, section 3.3 and table 3)."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_repro.nets.checks import check_choice
from resnet_repro.nets.convolutions import make_conv
from resnet_repro.nets.norms import make_norm

SHORTCUTS = ("A", "B", "C")
SUBSAMPLES = ("slice", "avgpool")
PADS = ("append", "split")


class Subsample(nn.Module):
    """Every `stride`-th pixel of each row and column: [N, C, H, W] -> [N, C, ceil(H / stride), ceil(W / stride)]."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the subsampled x, a view."""
        return x[:, :, :: self.stride, :: self.stride]


class PaddedShortcut(nn.Module):
    """Option A at a transition: subsample the map, fill the new channels with zeros; no parameters.

    [N, C, H, W] -> [N, C + `new_channels`, ceil(H / `stride`), ceil(W / `stride`)], the shape of a 3x3
    convolution with padding 1 and the same stride.
    """

    def __init__(self, new_channels: int, stride: int, subsample: str, pad: str) -> None:
        super().__init__()
        front = new_channels // 2 if pad == "split" else 0
        self.channel_pad = (front, new_channels - front)
        self.stride = stride
        self.subsample = subsample

    def forward(self, x: Tensor) -> Tensor:
        """Return the subsampled and zero-padded x."""
        if self.subsample == "slice":
            x = x[:, :, :: self.stride, :: self.stride]
        else:
            # ceil_mode: an odd map ends in windows that overhang its edge; they average the pixels they cover.
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        return F.pad(x, (0, 0, 0, 0, *self.channel_pad))


def make_shortcut(
    shortcut: str,
    in_channels: int,
    channels: int,
    stride: int,
    *,
    subsample: str = "slice",
    pad: str = "append",
    norm: str = "batch",
    ghost_batch: int | None = None,
) -> nn.Module:
    """Return the shortcut of one block, from [N, `in_channels`, H, W] to the shape of the block's output.

    A network has two transitions, the first blocks of stages 2 and 3, where the channels double and the map
    halves. Hence the options differ twice per network, or 3n times for C:

    A: identity; at the two transitions the map is subsampled and the new channels are zeros. No parameters.
        `subsample` "slice" takes every second pixel, those that a stride-2 3x3 convolution is centred on
        (as facebookarchive/fb.resnet.torch); "avgpool" averages 2x2 pixels.
        `pad` "append" puts all new channels behind the old ones (as there); "split" half in front, half behind.
    B: identity; at the two transitions a projection, that is a 1x1 convolution with that stride and a norm.
    C: a projection in every block.

    `subsample` and `pad` matter to option A only, `norm` and `ghost_batch` (see `make_norm`) to B and C only.
    Raises ValueError for an unknown option, or an odd number of new channels to split.
    """
    check_choice("shortcut", shortcut, SHORTCUTS)
    check_choice("shortcut_subsample", subsample, SUBSAMPLES)
    check_choice("shortcut_pad", pad, PADS)
    if shortcut != "C" and stride == 1 and in_channels == channels:
        return nn.Identity()
    if shortcut != "A":
        return _projection(in_channels, channels, stride, norm, ghost_batch)
    if pad == "split" and (channels - in_channels) % 2:
        raise ValueError(
            f"shortcut_pad 'split' needs an even number of new channels, got {channels - in_channels} "
            f"(from {in_channels} to {channels}): choose an even width or shortcut_pad 'append'"
        )
    return PaddedShortcut(channels - in_channels, stride, subsample, pad)


def _projection(in_channels: int, channels: int, stride: int, norm: str, ghost_batch: int | None) -> nn.Module:
    """A 1x1 convolution of stride 1 on every `stride`-th pixel, which is the 1x1 convolution with that stride.

    With the stride in the convolution, oneDNN (to 3.x, in torch 2.11 to 2.13 on a CPU, channels_last) writes past a
    buffer where there are fewer channels than its vectors hold, 8 with AVX2 and 16 with AVX-512: weight gradients were
    wrong by 10 to 60 %, or the process ended (github.com/uxlfoundation/oneDNN/issues/6035).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        layers["subsample"] = Subsample(stride)
    layers["conv"] = make_conv(norm, in_channels, channels, 1)
    layers["norm"] = make_norm(norm, channels, ghost_batch)
    return nn.Sequential(layers)
