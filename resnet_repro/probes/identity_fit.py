"""How near plain and residual blocks come to the identity when they are trained to be it."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch

COUNTS = (1, 2, 4)
"""Blocks that are trained together, one after the other."""
STEPS = 100
RATES = (0.03, 0.1, 0.3, 1.0)
IMAGES = 64


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """identity_error: for x = 1, 2 and 4 blocks in a row, as far as the first stage has them, how far their output is
    from their input after 100 steps of training towards it: |F(x) - x| / |x|, Euclidean norms over all B C H W. With
    0 they are the identity; 1 is what an output of 0 has.

    He et al. 2015 (arXiv:1512.03385, section 3.1) suspect that several nonlinear layers find the identity hard, and
    that with a shortcut their weights need only go to 0. The input is what comes into the first block that keeps its
    shape: of the first 64 images of the batch, in training mode, so not below 0 behind a ReLU. Copies of the blocks,
    with the weights that they have, are trained on it as one batch: the loss is the square of the error above, by SGD
    with momentum 0.9 and without weight decay, gradients clipped as in the run (`batch.clip`). Of the rates 0.03, 0.1,
    0.3 and 1 the one with the lowest error at the end counts; infinite where none ends with a number. Computed in
    float32. A look costs 400 steps for each number of blocks.
    """
    given, blocks = _first_that_keep_their_shape(net.train(), batch.images[:IMAGES])
    return [
        ("identity_error", count, None, min(_error(blocks[:count], given, rate, batch.clip) for rate in RATES))
        for count in COUNTS
        if count <= len(blocks)
    ]


@torch.no_grad()
def _first_that_keep_their_shape(net: Any, images: Tensor) -> tuple[Tensor, list[nn.Module]]:
    """The input of the first block that keeps its shape, [B, C, H, W], and all such blocks in a row from it on."""
    x, blocks = net.stem(images), list(net.blocks)
    while blocks and blocks[0](x).shape != x.shape:
        x = blocks.pop(0)(x)
    keeping, y = list[nn.Module](), x
    for block in blocks:
        y = block(y)
        if y.shape != x.shape:
            break
        keeping.append(block)
    return x, keeping


def _error(blocks: list[nn.Module], given: Tensor, rate: float, clip: float | None) -> float:
    learning = copy.deepcopy(nn.Sequential(*blocks)).train()
    optimizer = torch.optim.SGD(learning.parameters(), lr=rate, momentum=0.9)
    scale = given.square().sum()

    def loss() -> Tensor:
        return (learning(given) - given).square().sum() / scale

    for _ in range(STEPS):
        optimizer.zero_grad()
        loss().backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(learning.parameters(), clip)
        optimizer.step()
    with torch.no_grad():
        error = loss().sqrt().item()
    return error if math.isfinite(error) else math.inf
