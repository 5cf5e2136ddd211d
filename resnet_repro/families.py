"""What networks there are: families with their depths, kinds of block and norm; without torch, for planning, too."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

LAYERS = {"basic": 2, "one_layer": 1, "three_layer": 3, "bottleneck": 3}
"""Convolutions of a block: all of 3x3, but for the bottleneck's 1x1, 3x3, 1x1."""
BLOCKS = tuple(LAYERS)
EXPANSION = {"basic": 1, "one_layer": 1, "three_layer": 1, "bottleneck": 4}
"""Channels of a block's output over those of its 3x3 convolution (He et al. 2015, figure 5)."""

BARE = ("none", "none_noisy")
"""The norms without a scale and a shift of their own: convolutions then have biases."""
NOISY = ("batch_noisy", "none_noisy")
"""The norms with noise behind them (nets/noise.py)."""


class Family(NamedTuple):
    """A kind of network.

    stages: from depth and kind of block to the number of blocks in each stage; None for a depth that it does not have.
    depths: those it has, in words, by kind of block; it has no other kinds.
    reduction: by how much the stem divides the height and width of an image, before the first stage.
    kernel, stride: of the stem's convolution.
    """

    stages: Callable[[int, str], list[int] | None]
    depths: dict[str, str]
    reduction: int
    kernel: int = 3
    stride: int = 1


def _cifar(depth: int, block: str) -> list[int] | None:
    n, rest = divmod(depth - 2, 3 * LAYERS[block])
    return [n, n, n] if n >= 1 and rest == 0 else None


_IMAGENET = {
    ("basic", 18): [2, 2, 2, 2],
    ("basic", 34): [3, 4, 6, 3],
    ("bottleneck", 50): [3, 4, 6, 3],
    ("bottleneck", 101): [3, 4, 23, 3],
    ("bottleneck", 152): [3, 8, 36, 3],
}

FAMILIES = {
    # He et al. 2015, section 4.2; with bottlenecks He et al. 2016, section 4
    "cifar": Family(
        _cifar,
        {
            "basic": "6n + 2 (8, 14, 20, 32, 44, 56, 110, ...)",
            "one_layer": "3n + 2 with blocks of one layer (8, 11, 20, 56, ...)",
            "three_layer": "9n + 2 with blocks of three layers (11, 20, 29, 56, ...)",
            "bottleneck": "9n + 2 with bottlenecks (11, 20, 29, 164, 1001, ...)",
        },
        reduction=1,
    ),
    # He et al. 2015, table 1
    "imagenet": Family(
        lambda depth, block: _IMAGENET.get((block, depth)),
        {"basic": "18 or 34 with basic blocks", "bottleneck": "50, 101 or 152 with bottlenecks"},
        reduction=4,
        kernel=7,
        stride=2,
    ),
}


def stages(family: str, depth: int, block: str) -> list[int]:
    """The number of blocks in each stage. Raises ValueError for a depth that the family does not have."""
    found = FAMILIES[family].stages(depth, block)
    if found is None:
        raise ValueError(wrong_depth(family, depth, block))
    return found


def wrong_depth(family: str, depth: int, block: str) -> str:
    """What is wrong with a depth, or a block, in words."""
    depths = FAMILIES[family].depths
    if block not in depths:
        return f"block must be {' or '.join(depths)} in the family {family}, got {block}: choose one of these"
    return f"depth must be {depths[block]}, got {depth}: choose one of these"


class Work(NamedTuple):
    """Of layers, for one image: the multiply-adds of a forward pass, and the numbers that they give."""

    multiply_adds: int
    outputs: int


@lru_cache(maxsize=10_000)
def work(
    family: str,
    depth: int,
    *,
    block: str,
    stride_on: str,
    width: int,
    residual: bool,
    shortcut: str,
    side: int,
    channels: int = 3,
    classes: int = 10,
) -> Work:
    """The work of a network on an image of `side` x `side` pixels (He et al. 2015, table 1, calls it "FLOPs").

    Of convolutions, projections and the last layer; norms, nonlinearities, pooling and additions are left out. The
    arguments are those of `nets.CifarNet`. Raises ValueError for a depth that the family does not have.
    """
    kind = FAMILIES[family]
    at, inputs = -(-side // kind.reduction), width
    found = [(1, [_convolution(kind.kernel, channels, width, -(-side // kind.stride))])]
    for number, blocks in enumerate(stages(family, depth, block)):
        before, at = at, -(-at // 2) if number else at
        narrow, outputs = width * 2**number, EXPANSION[block] * width * 2**number
        found.append((1, _block(block, inputs, narrow, before if stride_on == "3x3" else at, at)))
        found.append((blocks - 1, _block(block, outputs, narrow, at, at)))
        if residual and (shortcut == "C" or (shortcut == "B" and (number or inputs != outputs))):
            found.append((1, [_convolution(1, inputs, outputs, at)]))
        if residual and shortcut == "C":
            found.append((blocks - 1, [_convolution(1, outputs, outputs, at)]))
        inputs = outputs
    found.append((1, [Work(inputs * classes, classes)]))
    return Work(
        sum(times * one.multiply_adds for times, layers in found for one in layers),
        sum(times * one.outputs for times, layers in found for one in layers),
    )


def _block(block: str, inputs: int, narrow: int, before: int, after: int) -> list[Work]:
    """The convolutions of a block; before, after: pixels on a side in front of the strided one of a bottleneck's."""
    if block != "bottleneck":
        return [_convolution(3, inputs, narrow, after), *[_convolution(3, narrow, narrow, after)] * (LAYERS[block] - 1)]
    outputs = EXPANSION[block] * narrow
    return [
        _convolution(1, inputs, narrow, before), _convolution(3, narrow, narrow, after),
        _convolution(1, narrow, outputs, after),
    ]  # fmt: skip


def _convolution(kernel: int, inputs: int, outputs: int, side: int) -> Work:
    """side: pixels on a side of what comes out."""
    return Work(kernel**2 * inputs * outputs * side**2, outputs * side**2)
