"""The CIFAR-10 networks of Huang et al. 2017 (DenseNet, arXiv:1608.06993), which concatenate where ResNets add."""

import torch
from torch import Tensor, nn

from resnet_repro.families import stages
from resnet_repro.nets.activations import make_activation
from resnet_repro.nets.checks import check_positive
from resnet_repro.nets.convolutions import make_conv
from resnet_repro.nets.inits import initialize
from resnet_repro.nets.noise import draw_keys
from resnet_repro.nets.norms import make_norm, set_momentum


class DenseLayer(nn.Module):
    """Norm, nonlinearity and a 3x3 convolution, whose `growth` channels are put behind those that came in (eq. 2)."""

    def __init__(self, in_channels: int, growth: int, *, norm: str, ghost_batch: int | None, activation: str) -> None:
        super().__init__()
        self.norm = make_norm(norm, in_channels, ghost_batch)
        self.activation = make_activation(activation)
        self.conv = make_conv(norm, in_channels, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, in_channels + growth, H, W]."""
        return torch.cat([x, self.conv(self.activation(self.norm(x)))], dim=1)


class Transition(nn.Module):
    """Norm, nonlinearity, a 1x1 convolution that keeps the number of channels, and 2x2 average pooling."""

    def __init__(self, channels: int, *, norm: str, ghost_batch: int | None, activation: str) -> None:
        super().__init__()
        self.norm = make_norm(norm, channels, ghost_batch)
        self.activation = make_activation(activation)
        self.conv = make_conv(norm, channels, channels, 1)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, channels, ceil(H / 2), ceil(W / 2)]."""
        return self.pool(self.conv(self.activation(self.norm(x))))


class DenseNet(nn.Module):
    """A network of 3n + 4 weighted layers, each of which sees the outputs of all layers before it in its stage.

    A 3x3 convolution of `width` channels; three stages of n layers (`DenseLayer`), transitions between them; norm and
    nonlinearity, global average pooling, a linear layer (Huang et al. 2017, section 3, without bottlenecks,
    compression and dropout). The paper's DenseNet of 40 layers has width 16, growth 12 and 1.0 million parameters.

    depth: one that the family has. block: "basic", the only one. activation, norm, ghost_batch, norm_momentum, init,
    fan, generator, image_size: as for `CifarNet`.

    Raises ValueError for any argument outside these.
    """

    family = "dense"

    def __init__(
        self,
        depth: int,
        *,
        width: int = 16,
        growth: int = 12,
        classes: int = 10,
        in_channels: int = 3,
        block: str = "basic",
        activation: str = "relu",
        norm: str = "batch",
        ghost_batch: int | None = None,
        norm_momentum: float = 0.1,
        init: str = "he",
        fan: str = "fan_out",
        image_size: tuple[int, int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("growth", growth), ("classes", classes), ("in_channels", in_channels)):
            check_positive(name, value)
        parts = {"norm": norm, "ghost_batch": ghost_batch, "activation": activation}
        with torch.random.fork_rng(devices=[]):  # as in CifarNet
            self.conv = make_conv(norm, in_channels, width, 3, padding=1)
            channels, layers = width, list[nn.Module]()
            for number, count in enumerate(stages(self.family, depth, block)):
                if number:
                    layers.append(Transition(channels, **parts))  # type: ignore[arg-type]
                for _ in range(count):
                    layers.append(DenseLayer(channels, growth, **parts))  # type: ignore[arg-type]
                    channels += growth
            self.blocks = nn.Sequential(*layers)
            self.end = nn.Sequential(make_norm(norm, channels, ghost_batch), make_activation(activation))
            self.linear = nn.Linear(channels, classes)
        set_momentum(self, norm_momentum)
        image = None if image_size is None else (in_channels, *image_size)
        initialize(self, init, fan, generator or torch.default_generator, image)
        draw_keys(self, generator or torch.default_generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: [N, in_channels, H, W] -> [N, classes], for any H and W."""
        x = self.end(self.blocks(self.conv(x)))
        return self.linear(x.mean(dim=(2, 3)))
