"""Initial weights, drawn so that a plain network and its residual twins start from the same values."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_repro.nets.blocks import Block, Bottleneck
from resnet_repro.nets.checks import check_choice
from resnet_repro.nets.noise import Noise, NoisyBatchNorm2d

INITS = ("he", "xavier", "lecun", "torch", "he_border", "orthogonal", "delta_orthogonal", "fixup")
FANS = ("fan_in", "fan_out")


@torch.no_grad()
def initialize(
    net: nn.Module, init: str, fan: str, generator: torch.Generator, image: tuple[int, int, int] | None = None
) -> None:
    """Draw every weight of `net` from `generator` (a CPU generator, whatever device the network is on).

    With fan_in = in_channels * k * k and fan_out = out_channels * k * k, the weights of a convolution are

    he: normal, variance 2 / `fan` (He et al. 2015, arXiv:1502.01852, eq. 10 and 14); `fan` is "fan_in", or
        "fan_out" as in the authors' KaimingHe/resnet-1k-layers. The other rules have no choice of fan and ignore it.
    xavier: normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, eq. 12).
    lecun: normal, variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp", section 4.6).
    torch: PyTorch's default, uniform with variance 1 / (3 fan_in).
    he_border: normal, variance 2 / (in_channels * t), where t is the number of taps of the kernel that lie inside the
        map, averaged over the positions of its output; `image` says how large the maps are.
    orthogonal: the matrix of [out_channels, in_channels * k * k] has orthogonal rows or columns, whichever are fewer
        (Saxe et al. 2014, arXiv:1312.6120), times sqrt(2) for the ReLU; where rows are fewer, they have the length of
        sqrt(2), which is the variance of "he" by fan_in.
    delta_orthogonal: kernels are 0 but at their centre, where the matrix of [out_channels, in_channels] has orthogonal
        columns, times sqrt(2) for the ReLU (Xiao et al. 2018, arXiv:1806.05393, algorithm 1). Each pixel then sees
        itself alone, so that zero padding takes nothing. Channels must not become fewer.
    fixup: those of "he", times L^(-1 / (2 m - 2)) in each of the L residual branches of m layers, whose last layers
        are 0, as are the weights of the final linear layer (Zhang, Dauphin and Ma 2019, arXiv:1901.09321, section 2,
        rules 1 and 2). For their multiplier of each branch choose branch_scale "learned". For their scalar biases
        before each layer stand the biases that convolutions without norm have, one per channel and behind it. Needs
        residual blocks in the original order, without norm, of two layers or more.

    he_border is He's derivation with zero padding taken into account. A pre-activation is a sum over taps, and at a tap
    outside the map the input is 0; so with inputs of mean square q at every pixel its variance is
    in_channels * (taps inside) * variance * q, whose mean over positions is 2 q, of which a ReLU keeps q. Where the map
    is large, t = k * k and the rule is "he" by fan_in. For a 3x3 kernel with padding 1 and stride 1 on n x n pixels
    t = (3 - 2 / n)^2, which is 96 % of 9 at n = 32 and 84, 69 and 44 % at 8, 4 and 2: what is left of the variance in
    each layer of "he". In a deep net the mean square becomes larger in the middle, which more positions see, so that it
    grows by up to 10 % in a layer of 8 or 4 pixels; and it spreads over seeds the more, the fewer the channels.

    The final linear layer has PyTorch's default weights under every rule but "fixup", and bias zero except under
    "torch", as in the authors' code (facebook/fb.resnet.torch, KaimingHe/resnet-1k-layers). Its output meets no ReLU,
    for which "he" doubles the variance, and larger logits at the start cost a deep ResNet its first hundreds of steps.

    Layers draw in their order in the network, projections of shortcuts after all others, and under "torch" a
    layer without a bias still draws one. Hence the same seed gives every layer that two networks share the same
    weight, be the network plain or residual, with or without norm.

    image: channels, height and width of the images, in pixels.

    Raises ValueError for an unknown `init` or `fan`, for "he_border" without `image`, for "delta_orthogonal" where
    a convolution has fewer channels at its output than at its input, and for "fixup" on another kind of network.
    """
    check_choice("init", init, INITS)
    check_choice("fan", fan, FANS)
    taps = _taps(net, image) if init == "he_border" else {}
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for _, layer in sorted(layers, key=lambda item: "shortcut" in item[0]):
        rule = "torch" if isinstance(layer, nn.Linear) else "he" if init == "fixup" else init
        weight, bias = _draw(layer.weight.shape, rule, fan, generator, taps.get(layer, math.nan))
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(bias if init == "torch" else torch.zeros_like(bias))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.reset_parameters()
    if init == "fixup":
        _fix_up(net)


def _fix_up(net: nn.Module) -> None:
    """Scale the weights of residual branches and set their last ones, and those of the linear layer, to 0."""
    branches = [[m for m in block.children() if isinstance(m, nn.Conv2d)] for block in _residual_blocks(net)]
    normed = any(isinstance(module, nn.BatchNorm2d | nn.GroupNorm) for module in net.modules())
    if not branches or normed or min(map(len, branches)) < 2:
        raise ValueError(
            "init 'fixup' needs residual blocks of two layers or more in the original order, without norm: choose norm "
            "'none', or another init"
        )
    for *layers, last in branches:
        for layer in layers:
            layer.weight.mul_(len(branches) ** (-1 / (2 * len(layers))))
        last.weight.zero_()
    for module in net.modules():
        if isinstance(module, nn.Linear):
            module.weight.zero_()


@torch.no_grad()
def zero_residual_branches(net: nn.Module) -> None:
    """Set the scale of the last norm of each residual branch to 0, so that every block starts as its shortcut.

    Goyal et al. 2017 (arXiv:1706.02677, section 5.1); torchvision's `zero_init_residual`. For blocks in the original
    order with a norm. Raises ValueError where there is none.
    """
    last: list[Any] = [
        getattr(block, f"norm{block.layers}") if isinstance(block, Block) else block.norm3
        for block in _residual_blocks(net)
    ]
    if not last or any(isinstance(norm, nn.Identity | Noise | NoisyBatchNorm2d) for norm in last):
        raise ValueError(
            "zero_init_residual needs residual blocks in the original order that end in a norm without noise: leave it "
            "out, or without norm choose branch_scale 'skipinit'"
        )
    for norm in last:
        norm.weight.zero_()


def _residual_blocks(net: nn.Module) -> list[Block | Bottleneck]:
    """Those in the original order."""
    return [block for block in net.modules() if isinstance(block, Block | Bottleneck) and block.residual]


def _taps(net: nn.Module, image: tuple[int, int, int] | None) -> dict[nn.Module, float]:
    """Of each convolution, the mean over the positions of its output of how many taps lie inside its input's map."""
    if image is None:
        raise ValueError("init 'he_border' depends on the size of the maps: say image_size, e.g. (8, 8)")
    found: dict[nn.Module, float] = {}

    def note(layer: nn.Conv2d, inputs: tuple[Tensor], _: Tensor) -> None:
        inside = F.conv2d(
            torch.ones(1, 1, *inputs[0].shape[2:]),
            torch.ones(1, 1, *layer.kernel_size),
            stride=layer.stride,
            padding=layer.padding,
        )
        found[layer] = inside.mean().item()

    hooks = [layer.register_forward_hook(note) for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    training = net.training
    net.eval()(torch.zeros(1, *image))
    net.train(training)
    for hook in hooks:
        hook.remove()
    return found


def _draw(shape: torch.Size, init: str, fan: str, generator: torch.Generator, taps: float) -> tuple[Tensor, Tensor]:
    """Return a weight of `shape` and the bias that belongs to it, [out_channels]."""
    fan_in, fan_out = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
    if init == "torch":
        bound = 1 / math.sqrt(fan_in)
        weight, bias = torch.empty(shape, device="cpu"), torch.empty(shape[0], device="cpu")
        return weight.uniform_(-bound, bound, generator=generator), bias.uniform_(-bound, bound, generator=generator)
    weight = torch.zeros(shape, device="cpu")
    if init == "orthogonal":
        return nn.init.orthogonal_(weight, math.sqrt(2), generator), torch.zeros(shape[0], device="cpu")
    if init == "delta_orthogonal":
        if shape[0] < shape[1]:
            raise ValueError(
                "init 'delta_orthogonal' needs convolutions whose channels do not become fewer, got one from "
                f"{shape[1]} to {shape[0]}: choose another init, a larger width or block 'basic'"
            )
        centre = nn.init.orthogonal_(torch.empty(shape[:2], device="cpu"), math.sqrt(2), generator)
        weight[:, :, shape[2] // 2, shape[3] // 2] = centre
        return weight, torch.zeros(shape[0], device="cpu")
    variance = {
        "he": 2 / (fan_in if fan == "fan_in" else fan_out),
        "xavier": 2 / (fan_in + fan_out),
        "lecun": 1 / fan_in,
        "he_border": 2 / (shape[1] * taps),
    }[init]
    return weight.normal_(0, math.sqrt(variance), generator=generator), torch.zeros(shape[0], device="cpu")
