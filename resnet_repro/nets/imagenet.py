"""The ImageNet networks of He et al. 2015 (arXiv:1512.03385, table 1), plain and residual."""

import re
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_repro.nets.cifar import CifarNet
from resnet_repro.nets.convolutions import make_conv


class ImageNet(CifarNet):
    """A plain or residual network of 18 or 34 weighted layers, with bottlenecks of 50, 101 or 152.

    A 7x7 convolution of stride 2, 3x3 max pooling of stride 2, four stages of blocks (224 pixels become 112, 56, 28,
    14, 7), global average pooling, a linear layer. The arguments are those of `CifarNet`; the paper has width 64 and
    1,000 classes, option A in table 2 and B for 50 layers and more.
    """

    family = "imagenet"

    def __init__(self, depth: int, *, width: int = 64, classes: int = 1000, **settings: Any) -> None:
        super().__init__(depth, width=width, classes=classes, **settings)

    @staticmethod
    def _first_convolution(norm: str, in_channels: int, width: int) -> nn.Conv2d:
        return make_conv(norm, in_channels, width, 7, stride=2, padding=3)

    def stem(self, x: Tensor) -> Tensor:
        """What comes before the blocks: [N, in_channels, H, W] -> [N, width, H / 4, W / 4], rounded up."""
        return F.max_pool2d(super().stem(x), 3, 2, padding=1)


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters and buffers of a torchvision resnet18, 34, 50, 101 or 152, under the names they have here.

    They fit an `ImageNet` of that depth with shortcut "B" (and block "bottleneck" from 50 layers on).
    """
    counts: dict[int, int] = {}
    for name in state:
        if found := re.match(r"layer(\d)\.(\d+)\.", name):
            counts[int(found[1])] = max(counts.get(int(found[1]), 0), int(found[2]) + 1)

    def renamed(name: str) -> str:
        for theirs, ours in (("downsample.0", "shortcut.conv"), ("downsample.1", "shortcut.norm"), ("fc.", "linear.")):
            name = name.replace(theirs, ours)
        name = re.sub(r"\bbn(\d)", r"norm\1", name)
        if found := re.match(r"layer(\d)\.(\d+)\.(.*)", name):
            number = sum(counts[stage] for stage in range(1, int(found[1]))) + int(found[2])
            return f"blocks.{number}.{found[3]}"
        return re.sub(r"^(conv|norm)1", r"\1", name)

    return {renamed(name): value for name, value in state.items()}
