"""The blocks that the networks are made of, plain and residual: of 3x3 layers, bottlenecks, and reordered."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.families import BLOCKS, EXPANSION, LAYERS
from resnet_repro.nets.activations import make_activation
from resnet_repro.nets.checks import check_choice
from resnet_repro.nets.convolutions import make_conv
from resnet_repro.nets.norms import make_norm
from resnet_repro.nets.scales import make_branch_scale
from resnet_repro.nets.shortcuts import Subsample, make_shortcut

SCALE_ON = ("all", "identity")
STRIDE_ON = ("3x3", "1x1")
ORDERS = ("original", "bn_after_addition", "relu_before_addition", "relu_preactivation", "full_preactivation")

Shape = tuple[int, int, int]
"""Of a block: channels that come in, channels that go out, stride."""


class Block(nn.Module):
    """Two 3x3 convolutions, and a shortcut around them when `residual` (He et al. 2015, figure 2 and section 3.4).

    layers: convolutions, 1 to 3 (B(3), B(3,3) and B(3,3,3) of Zagoruyko & Komodakis 2016, arXiv:1605.07146). With one
    there is no nonlinearity within the block: y = relu(norm(W x) + x), which He et al. 2015, section 3.2, find no
    advantage in. Networks of one depth have the same layers, whatever the blocks; only the shortcuts differ.
    `shortcut_scale` is the fixed λ on the shortcut of He et al. 2016 (arXiv:1603.05027, section 3), `branch_scale` what
    the other branch is multiplied by (see `make_branch_scale`).
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
        branch_scale: nn.Module,
        norm: str,
        ghost_batch: int | None,
        activation: str,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.layers = layers
        for number in range(1, layers + 1):
            inputs, step = (in_channels, stride) if number == 1 else (channels, 1)
            self.add_module(f"conv{number}", make_conv(norm, inputs, channels, 3, stride=step, padding=1))
            self.add_module(f"norm{number}", make_norm(norm, channels, ghost_batch))
        self.activation = make_activation(activation)
        self.residual = residual
        if residual:
            self.shortcut = shortcut
            self.shortcut_scale = shortcut_scale
            self.branch_scale = branch_scale

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, channels, ceil(H / stride), ceil(W / stride)]."""
        y = x
        for number in range(1, self.layers + 1):
            y = getattr(self, f"norm{number}")(getattr(self, f"conv{number}")(y))
            if number < self.layers:
                y = self.activation(y)
        if self.residual:
            y = torch.add(
                self.branch_scale(y), self.shortcut(x), alpha=self.shortcut_scale
            )  # a product of its own would cost 2 %
        return self.activation(y)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1, with a quarter of the channels between them (He et al. 2015, figure 5).

    stride_on: which convolution takes the stride, the "3x3" (facebook/fb.resnet.torch, torchvision) or the first
    "1x1" (KaimingHe/deep-residual-networks), which takes its slice first, as a projection does (shortcuts.py). The
    rest as for `Block`.
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
        branch_scale: nn.Module,
        norm: str,
        ghost_batch: int | None,
        activation: str,
        stride_on: str,
    ) -> None:
        super().__init__()
        narrow = channels // EXPANSION["bottleneck"]
        first, middle = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.subsample = Subsample(first) if first > 1 else nn.Identity()
        self.conv1 = make_conv(norm, in_channels, narrow, 1)
        self.norm1 = make_norm(norm, narrow, ghost_batch)
        self.conv2 = make_conv(norm, narrow, narrow, 3, stride=middle, padding=1)
        self.norm2 = make_norm(norm, narrow, ghost_batch)
        self.conv3 = make_conv(norm, narrow, channels, 1)
        self.norm3 = make_norm(norm, channels, ghost_batch)
        self.activation = make_activation(activation)
        self.residual = residual
        if residual:
            self.shortcut = shortcut
            self.shortcut_scale = shortcut_scale
            self.branch_scale = branch_scale

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, channels, ceil(H / stride), ceil(W / stride)]."""
        y = self.activation(self.norm1(self.conv1(self.subsample(x))))
        y = self.activation(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        if self.residual:
            y = torch.add(self.branch_scale(y), self.shortcut(x), alpha=self.shortcut_scale)
        return self.activation(y)


class ReorderedBlock(nn.Module):
    """A block or bottleneck whose layers stand in another order (He et al. 2016, figure 4 b to e).

    With a pre-activation order a block begins with its nonlinearity (and norm). Where the shape changes, these stand
    before branch and shortcut part (`shared`, as in the authors' KaimingHe/resnet-1k-layers); in the first block of a
    network they are the stem's, and not repeated (`first`, appendix of the paper). With full pre-activation a
    projection is a convolution alone (the authors' code).

    block: the block whose convolutions and shortcut it has. order: all of ORDERS but "original".
    """

    def __init__(
        self, block: Block | Bottleneck, order: str, *, first: bool, shared: bool, norm: str, ghost_batch: int | None
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for conv in [layer for layer in block.children() if isinstance(layer, nn.Conv2d)]:
            strided = isinstance(block, Bottleneck) and conv is block.conv1
            sliced = [block.subsample, conv] if strided else [conv]
            if order == "full_preactivation":
                layers += [make_norm(norm, conv.in_channels, ghost_batch), block.activation, *sliced]
            elif order == "relu_preactivation":
                layers += [block.activation, *sliced, make_norm(norm, conv.out_channels, ghost_batch)]
            else:
                layers += [*sliced, make_norm(norm, conv.out_channels, ghost_batch), block.activation]
        leading = {"full_preactivation": 2, "relu_preactivation": 1}.get(order, 0) if first or shared else 0
        trailing = 2 if order == "bn_after_addition" else 0
        self.before = nn.Sequential(*([] if first else layers[:leading]))
        self.branch = nn.Sequential(*layers[leading : len(layers) - trailing])
        self.after = nn.Sequential(*layers[len(layers) - trailing :])
        self.residual = block.residual
        if self.residual:
            projects = order == "full_preactivation" and isinstance(block.shortcut, nn.Sequential)
            self.shortcut = block.shortcut[:-1] if projects else block.shortcut  # type: ignore[index]
            self.shortcut_scale = block.shortcut_scale
            self.branch_scale = block.branch_scale

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, channels, ceil(H / stride), ceil(W / stride)]."""
        x = self.before(x)
        y = self.branch(x)
        if self.residual:
            y = torch.add(self.branch_scale(y), self.shortcut(x), alpha=self.shortcut_scale)
        return self.after(y)


def block_shapes(stages: Sequence[int], width: int, block: str) -> list[Shape]:
    """Return the shape of each block of a network with so many blocks in its stages.

    The 3x3 convolutions have `width`, 2 `width`, 4 `width`, ... channels; every stage but the first halves the map.
    """
    shapes, inputs = [], width
    for k, count in enumerate(stages):
        channels = EXPANSION[block] * width * 2**k
        for i in range(count):
            shapes.append((inputs, channels, 2 if k > 0 and i == 0 else 1))
            inputs = channels
    return shapes


def make_blocks(
    shapes: Sequence[Shape],
    *,
    block: str,
    order: str,
    stride_on: str,
    residual: bool,
    shortcut: str,
    shortcut_subsample: str,
    shortcut_pad: str,
    shortcut_scale: float,
    scale_on: str,
    branch_scale: str,
    norm: str,
    ghost_batch: int | None,
    activation: str,
) -> nn.Sequential:
    """Return the blocks of a network, one after the other. Raises ValueError for an unknown name.

    shortcut, shortcut_subsample, shortcut_pad: see `make_shortcut`. norm, ghost_batch: see `make_norm`.
    scale_on: λ scales the shortcuts of "all" blocks (He et al. 2016), or those with "identity" shape only.
    branch_scale: see `make_branch_scale`.
    """
    for name, value, choices in (
        ("block", block, BLOCKS), ("order", order, ORDERS), ("stride_on", stride_on, STRIDE_ON),
        ("scale_on", scale_on, SCALE_ON),
    ):  # fmt: skip
        check_choice(name, value, choices)
    if not math.isfinite(shortcut_scale):
        raise ValueError(f"shortcut_scale must be finite, got {shortcut_scale}: choose e.g. 0, 0.5 or 1")
    norms: dict[str, Any] = {"norm": norm, "ghost_batch": ghost_batch}

    def new_block(number: int, inputs: int, channels: int, stride: int) -> nn.Module:
        keeps_shape = stride == 1 and inputs == channels
        path = make_shortcut(
            shortcut, inputs, channels, stride, subsample=shortcut_subsample, pad=shortcut_pad, **norms
        )  # fmt: skip
        scale = float(shortcut_scale) if scale_on == "all" or keeps_shape else 1.0
        common: dict[str, Any] = {"residual": residual, "shortcut": path, "shortcut_scale": scale, **norms}
        common["branch_scale"] = make_branch_scale(branch_scale, len(shapes))
        made: Block | Bottleneck = (
            Block(inputs, channels, stride, activation=activation, layers=LAYERS[block], **common)
            if block != "bottleneck"
            else Bottleneck(inputs, channels, stride, activation=activation, stride_on=stride_on, **common)
        )
        if order == "original":
            return made
        return ReorderedBlock(made, order, first=number == 0, shared=not keeps_shape, **norms)

    return nn.Sequential(*(new_block(number, *shape) for number, shape in enumerate(shapes)))


def make_end(order: str, norm: str, channels: int, ghost_batch: int | None, activation: str) -> nn.Module:
    """Return what follows the last block: with pre-activation its output still lacks (norm and) nonlinearity."""
    if order == "full_preactivation":
        return nn.Sequential(make_norm(norm, channels, ghost_batch), make_activation(activation))
    return make_activation(activation) if order == "relu_preactivation" else nn.Identity()
