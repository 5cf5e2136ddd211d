"""The CIFAR-10 networks of He et al. 2015 (arXiv:1512.03385, section 4.2), plain and residual."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_repro.nets.checks import check_choice, check_positive
from resnet_repro.nets.inits import initialize
from resnet_repro.nets.norms import make_norm
from resnet_repro.nets.shortcuts import make_shortcut

SCALE_ON = ("all", "identity")


class Block(nn.Module):
    """Two 3x3 convolutions, and a shortcut around them when `residual` (figure 2; norm and ReLU: section 3.4).

    `shortcut_scale` is the fixed λ on the shortcut of He et al. 2016 (arXiv:1603.05027, section 3).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        residual: bool,
        shortcut: nn.Module,
        shortcut_scale: float,
        norm: str,
        ghost_batch: int | None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=norm == "none")
        self.norm1 = make_norm(norm, channels, ghost_batch)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=norm == "none")
        self.norm2 = make_norm(norm, channels, ghost_batch)
        self.residual = residual
        if residual:
            self.shortcut = shortcut
            self.shortcut_scale = shortcut_scale

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, channels, ceil(H / stride), ceil(W / stride)]."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.residual:
            y = torch.add(y, self.shortcut(x), alpha=self.shortcut_scale)  # a product of its own would cost 2 %
        return F.relu(y)


class CifarNet(nn.Module):
    """A plain or residual network of 6n + 2 weighted layers.

    A 3x3 convolution; three stages of n blocks with `width`, 2 `width` and 4 `width` channels, the first block of
    stages 2 and 3 with stride 2; global average pooling; a linear layer. With option A the plain and the residual
    network have exactly the same parameters, and from equal generators the same initial values (`initialize`).

    depth: 6n + 2 with n >= 1.
    residual: whether the blocks have shortcuts. The arguments about shortcuts are checked but have no effect
        without.
    width, classes, in_channels: the paper has 16, 10 and 3.
    shortcut, shortcut_subsample, shortcut_pad: see `make_shortcut`.
    shortcut_scale: λ, any finite number; the paper has 1. As long as activations are finite, 0 with option A computes
        the plain network bit for bit.
    scale_on: λ scales the shortcuts of "all" blocks (He et al. 2016), or those with "identity" shape only, so that
        the two transitions keep 1.
    norm, ghost_batch: see `make_norm`. Convolutions have biases only with norm "none".
    init, fan, generator: see `initialize`. Nothing is drawn from the global generator.

    Raises ValueError for any argument outside these.
    """

    def __init__(
        self,
        depth: int,
        *,
        residual: bool = True,
        width: int = 16,
        classes: int = 10,
        in_channels: int = 3,
        shortcut: str = "A",
        shortcut_subsample: str = "slice",
        shortcut_pad: str = "append",
        shortcut_scale: float = 1.0,
        scale_on: str = "all",
        norm: str = "batch",
        ghost_batch: int | None = None,
        init: str = "he",
        fan: str = "fan_out",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = {"depth": depth, "width": width, "classes": classes, "in_channels": in_channels}
        for name, value in sizes.items():
            check_positive(name, value)
        check_choice("scale_on", scale_on, SCALE_ON)
        if not math.isfinite(shortcut_scale):
            raise ValueError(f"shortcut_scale must be finite, got {shortcut_scale}: choose e.g. 0, 0.5 or 1")
        norms: dict[str, Any] = {"norm": norm, "ghost_batch": ghost_batch}
        option_a: dict[str, Any] = {"subsample": shortcut_subsample, "pad": shortcut_pad}

        def new_block(inputs: int, channels: int, stride: int) -> Block:
            scaled = scale_on == "all" or (stride == 1 and inputs == channels)
            scale = float(shortcut_scale) if scaled else 1.0
            path = make_shortcut(shortcut, inputs, channels, stride, **option_a, **norms)
            return Block(inputs, channels, stride, residual=residual, shortcut=path, shortcut_scale=scale, **norms)

        # PyTorch's layers draw initial weights of their own; these must not move the global generator.
        with torch.random.fork_rng(devices=[]):
            self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=norm == "none")
            self.norm = make_norm(norm, width, ghost_batch)
            self.blocks = nn.Sequential(*(new_block(*shape) for shape in block_shapes(depth, width)))
            self.linear = nn.Linear(4 * width, classes)
        initialize(self, init, fan, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: [N, in_channels, H, W] -> [N, classes], for any H and W."""
        x = F.relu(self.norm(self.conv(x)))
        x = self.blocks(x)
        return self.linear(x.mean(dim=(2, 3)))


def block_shapes(depth: int, width: int) -> list[tuple[int, int, int]]:
    """Return (in_channels, channels, stride) of each of the 3n blocks of a network of `depth` = 6n + 2.

    Raises ValueError for a depth of another form.
    """
    n = (depth - 2) // 6
    if n < 1 or depth != 6 * n + 2:
        raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110, ...), got {depth}: choose one of these")
    channels = [width] * n + [2 * width] * n + [4 * width] * n
    strides = [2 if i in (n, 2 * n) else 1 for i in range(3 * n)]
    return list(zip([width, *channels[:-1]], channels, strides, strict=True))
