"""A deep network that starts as a shallower one: its further blocks are identities (He et al. 2015, section 1)."""

from typing import Any

import torch
from torch import nn

from resnet_repro.families import stages
from resnet_repro.nets.blocks import Block
from resnet_repro.nets.cifar import CifarNet
from resnet_repro.nets.noise import Noise, NoisyBatchNorm2d


@torch.no_grad()
def start_as(net: CifarNet, shallow: CifarNet, depth: int, shallow_depth: int) -> CifarNet:
    """Give `net`, of `depth` layers, the function of `shallow`: its layers, and behind them in each stage identities.

    He et al. 2015 argue from this construction that a deeper network should have no higher training error. Both
    networks consist of basic blocks in the original order, with ReLUs; they differ in their depth only. What comes into
    an identity block comes from a ReLU, so it is not below 0, and

    a residual one has a branch that gives 0: the scales of its last norm are 0, without norm its last weights. It is
        the identity bit for bit, in training as in evaluation mode (λ = 1).
    a plain one has convolutions whose kernels are 1 at the centre, from each channel to itself, and 0 elsewhere. It is
        the identity where there is no norm (to the bit where a convolution is computed as a sum of products). With
        batch norm there is none: in training mode it takes from every channel the batch's own mean and deviation,
        whatever they are. Raises ValueError.
    """
    for part in ("conv", "norm", "linear"):
        getattr(net, part).load_state_dict(getattr(shallow, part).state_dict())
    blocks, given = iter(net.blocks), iter(shallow.blocks)
    for count, few in zip(stages(net.family, depth, "basic"), stages(net.family, shallow_depth, "basic"), strict=True):
        for number in range(count):
            block = next(blocks)
            if number < few:
                block.load_state_dict(next(given).state_dict())
            else:
                _become_identity(block)
    return net


def _become_identity(block: nn.Module) -> None:
    assert isinstance(block, Block), "only basic blocks in the original order can start as identities"
    convs: list[Any] = [block.conv1, block.conv2]
    if isinstance(block.norm2, Noise | NoisyBatchNorm2d):
        raise ValueError("no block is an identity with noise: use norm 'batch' or 'none'")
    bare = isinstance(block.norm2, nn.Identity)
    if block.residual:
        last: Any = convs[1] if bare else block.norm2
        _zero(last.weight, last.bias)
        return
    if not bare:
        raise ValueError("a plain block with a norm is no identity: use norm 'none', or a residual network")
    for conv in convs:
        nn.init.dirac_(conv.weight)
        _zero(conv.bias)


def _zero(*parameters: Any) -> None:
    for parameter in parameters:
        if parameter is not None:
            parameter.zero_()
