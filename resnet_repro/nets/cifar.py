"""The CIFAR-10 networks of He et al. 2015 (arXiv:1512.03385, section 4.2), plain and residual."""

import torch
from torch import Tensor, nn

from resnet_repro.families import BLOCKS, stages
from resnet_repro.nets.activations import make_activation
from resnet_repro.nets.blocks import block_shapes, make_blocks, make_end
from resnet_repro.nets.checks import check_choice, check_positive
from resnet_repro.nets.convolutions import make_conv
from resnet_repro.nets.inits import initialize, zero_residual_branches
from resnet_repro.nets.noise import draw_keys
from resnet_repro.nets.norms import make_norm, set_momentum


class CifarNet(nn.Module):
    """A plain or residual network of 6n + 2 weighted layers; with bottlenecks (He et al. 2016) of 9n + 2.

    A 3x3 convolution; three stages of n blocks, whose 3x3 convolutions have `width`, 2 `width` and 4 `width` channels,
    the first block of stages 2 and 3 with stride 2; global average pooling; a linear layer. With option A and without
    bottlenecks the plain and the residual network have exactly the same parameters, and from equal generators the same
    initial values (`initialize`).

    depth: one that the family has with this `block` (families.py).
    residual: whether the blocks have shortcuts. The arguments about shortcuts are checked but have no effect
        without.
    width, classes, in_channels: the paper has 16, 10 and 3.
    block: "basic" (two 3x3 convolutions), "one_layer" or "three_layer" (one or three of them), or "bottleneck" (1x1,
        3x3, 1x1). stride_on: of a bottleneck, see there.
    order: of norm, nonlinearity and addition in a block (He et al. 2016, figure 4); see `ReorderedBlock`.
    activation: the nonlinearity, see `make_activation`.
    shortcut, shortcut_subsample, shortcut_pad: see `make_shortcut`.
    shortcut_scale: λ, any finite number; the paper has 1. As long as activations are finite, 0 with option A computes
        the plain network bit for bit.
    scale_on: λ scales the shortcuts of "all" blocks (He et al. 2016), or those with "identity" shape only, so that
        the two transitions keep 1.
    norm, ghost_batch: see `make_norm`. Convolutions have biases only with norms "none" and "none_noisy".
    norm_momentum: of the running statistics of batch norm, see `set_momentum`.
    branch_scale: see `make_branch_scale`.
    zero_init_residual: every residual block starts as its shortcut, see `zero_residual_branches`.
    long_skips: the linear layer takes the pooled outputs of all stages, and not of the last alone.
    init, fan, generator: see `initialize`. Without a generator, PyTorch's global one is drawn from.
    image_size: height and width of the images in pixels. The network takes images of any size; init "he_border" must
        know it.

    Raises ValueError for any argument outside these.
    """

    family = "cifar"

    def __init__(
        self,
        depth: int,
        *,
        residual: bool = True,
        width: int = 16,
        classes: int = 10,
        in_channels: int = 3,
        block: str = "basic",
        stride_on: str = "3x3",
        order: str = "original",
        activation: str = "relu",
        shortcut: str = "A",
        shortcut_subsample: str = "slice",
        shortcut_pad: str = "append",
        shortcut_scale: float = 1.0,
        scale_on: str = "all",
        norm: str = "batch",
        ghost_batch: int | None = None,
        norm_momentum: float = 0.1,
        init: str = "he",
        fan: str = "fan_out",
        branch_scale: str = "one",
        zero_init_residual: bool = False,
        long_skips: bool = False,
        image_size: tuple[int, int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = {"depth": depth, "width": width, "classes": classes, "in_channels": in_channels}
        for name, value in sizes.items():
            check_positive(name, value)
        check_choice("block", block, BLOCKS)
        counts = stages(self.family, depth, block)
        shapes = block_shapes(counts, width, block)
        # PyTorch's layers draw initial weights of their own; these must not move the global generator.
        with torch.random.fork_rng(devices=[]):
            self.conv = self._first_convolution(norm, in_channels, width)
            self.norm = make_norm(norm, width, ghost_batch)
            self.activation = make_activation(activation)
            self.blocks = make_blocks(
                shapes, block=block, order=order, stride_on=stride_on, residual=residual, shortcut=shortcut,
                shortcut_subsample=shortcut_subsample, shortcut_pad=shortcut_pad, shortcut_scale=shortcut_scale,
                scale_on=scale_on, branch_scale=branch_scale, norm=norm, ghost_batch=ghost_batch, activation=activation,
            )  # fmt: skip
            lasts = [sum(counts[: k + 1]) - 1 for k in range(len(counts))] if long_skips else [len(shapes) - 1]
            self.early_ends = nn.ModuleDict(
                {str(last): make_end(order, norm, shapes[last][1], ghost_batch, activation) for last in lasts[:-1]}
            )
            self.end = make_end(order, norm, shapes[-1][1], ghost_batch, activation)
            self.linear = nn.Linear(sum(shapes[last][1] for last in lasts), classes)
        set_momentum(self, norm_momentum)
        image = None if image_size is None else (in_channels, *image_size)
        initialize(self, init, fan, generator or torch.default_generator, image)
        draw_keys(self, generator or torch.default_generator)
        if zero_init_residual:
            zero_residual_branches(self)

    @staticmethod
    def _first_convolution(norm: str, in_channels: int, width: int) -> nn.Conv2d:
        return make_conv(norm, in_channels, width, 3, padding=1)

    def stem(self, x: Tensor) -> Tensor:
        """What comes before the blocks: [N, in_channels, H, W] -> [N, width, H, W]."""
        return self.activation(self.norm(self.conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: [N, in_channels, H, W] -> [N, classes], for any H and W."""
        x, pooled = self.stem(x), []
        if not self.early_ends:
            x = self.blocks(x)
        else:
            for number, block in enumerate(self.blocks):
                x = block(x)
                if str(number) in self.early_ends:
                    pooled.append(self.early_ends[str(number)](x).mean(dim=(2, 3)))
        pooled.append(self.end(x).mean(dim=(2, 3)))
        return self.linear(torch.cat(pooled, 1) if len(pooled) > 1 else pooled[0])
