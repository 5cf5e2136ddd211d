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
    without: the settings of `config.Model` that say nothing of it.
    """

    stages: Callable[[int, str], list[int] | None]
    depths: dict[str, str]
    reduction: int
    kernel: int = 3
    stride: int = 1
    without: tuple[str, ...] = ("growth",)


def _cifar(depth: int, block: str) -> list[int] | None:
    n, rest = divmod(depth - 2, 3 * LAYERS[block])
    return [n, n, n] if n >= 1 and rest == 0 else None


def _dense(depth: int, block: str) -> list[int] | None:
    n, rest = divmod(depth - 4, 3)
    return [n, n, n] if n >= 1 and rest == 0 and block == "basic" else None


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
    # Huang et al. 2017 (arXiv:1608.06993), section 3 and table 2
    "dense": Family(
        _dense,
        {"basic": "3n + 4 (13, 22, 40, 52, 100, ...)"},
        reduction=1,
        without=(
            "residual", "shortcut", "shortcut_subsample", "shortcut_pad", "shortcut_scale", "scale_on", "branch_scale",
            "stride_on", "order", "starts_as", "zero_init_residual", "long_skips",
        ),
    ),
}  # fmt: skip


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
    growth: int = 12,
    channels: int = 3,
    classes: int = 10,
) -> Work:
    """The work of a network on an image of `side` x `side` pixels (He et al. 2015, table 1, calls it "FLOPs").

    Of convolutions, projections and the last layer; norms, nonlinearities, pooling and additions are left out. The
    arguments are those of `nets.CifarNet`, growth that of `nets.DenseNet`; what the last layer has more with long
    skips is left out, too. Raises ValueError for a depth that the family does not have.
    """
    if family == "dense":
        return _dense_work(depth, width, growth, side=side, channels=channels, classes=classes)
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


class Convolution(NamedTuple):
    """Pixels on a side of its kernel, its channels, and the stage that it lies in, from 0 on."""

    kernel: int
    inputs: int
    outputs: int
    stage: int


def dense_convolutions(depth: int, width: int, growth: int) -> list[Convolution]:
    """Those of a `nets.DenseNet` behind the first one: of each stage, and the transition that ends it."""
    found, channels = list[Convolution](), width
    for stage, layers in enumerate(stages("dense", depth, "basic")):
        if stage:
            found.append(Convolution(1, channels, channels, stage - 1))
        for _ in range(layers):
            found.append(Convolution(3, channels, growth, stage))
            channels += growth
    return found


def _dense_work(depth: int, width: int, growth: int, *, side: int, channels: int, classes: int) -> Work:
    layers = dense_convolutions(depth, width, growth)
    found = [_convolution(3, channels, width, side)]
    found += [_convolution(c.kernel, c.inputs, c.outputs, -(-side // 2**c.stage)) for c in layers]
    found.append(Work((layers[-1].inputs + growth) * classes, classes))
    return Work(sum(one.multiply_adds for one in found), sum(one.outputs for one in found))


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
