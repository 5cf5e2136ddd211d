"""Initial weights, drawn so that a plain network and its residual twins start from the same values."""

import math

import torch
from torch import Tensor, nn

from resnet_repro.nets.checks import check_choice

INITS = ("he", "xavier", "lecun", "torch")
FANS = ("fan_in", "fan_out")


@torch.no_grad()
def initialize(net: nn.Module, init: str, fan: str, generator: torch.Generator) -> None:
    """Draw every weight of `net` from `generator` (a CPU generator, whatever device the network is on).

    With fan_in = in_channels * k * k and fan_out = out_channels * k * k, the weights of a convolution are

    he: normal, variance 2 / `fan` (He et al. 2015, arXiv:1502.01852, eq. 10 and 14); `fan` is "fan_in", or
        "fan_out" as in the authors' KaimingHe/resnet-1k-layers. The other rules have no choice of fan and ignore it.
    xavier: normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, eq. 12).
    lecun: normal, variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp", section 4.6).
    torch: PyTorch's default, uniform with variance 1 / (3 fan_in).

    The final linear layer has PyTorch's default weights under every rule, and bias zero except under "torch", as in
    the authors' code (facebook/fb.resnet.torch, KaimingHe/resnet-1k-layers). Its output meets no ReLU, for which
    "he" doubles the variance, and larger logits at the start cost a deep ResNet its first hundreds of steps.

    Layers draw in their order in the network, projections of shortcuts after all others, and under "torch" a
    layer without a bias still draws one. Hence the same seed gives every layer that two networks share the same
    weight, be the network plain or residual, with or without norm.

    Raises ValueError for an unknown `init` or `fan`.
    """
    check_choice("init", init, INITS)
    check_choice("fan", fan, FANS)
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for _, layer in sorted(layers, key=lambda item: "shortcut" in item[0]):
        rule = init if isinstance(layer, nn.Conv2d) else "torch"
        weight, bias = _draw(layer.weight.shape, rule, fan, generator)
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(bias if init == "torch" else torch.zeros_like(bias))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.reset_parameters()


def _draw(shape: torch.Size, init: str, fan: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a weight of `shape` and the bias that belongs to it, [out_channels]."""
    fan_in, fan_out = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
    if init == "torch":
        bound = 1 / math.sqrt(fan_in)
        weight, bias = torch.empty(shape, device="cpu"), torch.empty(shape[0], device="cpu")
        return weight.uniform_(-bound, bound, generator=generator), bias.uniform_(-bound, bound, generator=generator)
    variance = {
        "he": 2 / (fan_in if fan == "fan_in" else fan_out),
        "xavier": 2 / (fan_in + fan_out),
        "lecun": 1 / fan_in,
    }[init]
    weight = torch.empty(shape, device="cpu").normal_(0, math.sqrt(variance), generator=generator)
    return weight, torch.zeros(shape[0], device="cpu")
