"""The families of networks, each with the depths it has: a table without torch, for planning as for building."""

from collections.abc import Callable
from typing import NamedTuple

BLOCKS = ("basic", "bottleneck")
EXPANSION = {"basic": 1, "bottleneck": 4}
"""Channels of a block's output over those of its 3x3 convolution (He et al. 2015, figure 5)."""


class Family(NamedTuple):
    """A kind of network.

    stages: from depth and kind of block to the number of blocks in each stage; None for a depth that it does not have.
    depths: those it has, in words, by kind of block.
    reduction: by how much the stem divides the height and width of an image, before the first stage.
    """

    stages: Callable[[int, str], list[int] | None]
    depths: dict[str, str]
    reduction: int


def _cifar(depth: int, block: str) -> list[int] | None:
    layers = {"basic": 6, "bottleneck": 9}[block]
    n, rest = divmod(depth - 2, layers)
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
            "bottleneck": "9n + 2 with bottlenecks (11, 20, 29, 164, 1001, ...)",
        },
        reduction=1,
    ),
    # He et al. 2015, table 1
    "imagenet": Family(
        lambda depth, block: _IMAGENET.get((block, depth)),
        {"basic": "18 or 34 with basic blocks", "bottleneck": "50, 101 or 152 with bottlenecks"},
        reduction=4,
    ),
}


def stages(family: str, depth: int, block: str) -> list[int]:
    """The number of blocks in each stage. Raises ValueError for a depth that the family does not have."""
    found = FAMILIES[family].stages(depth, block)
    if found is None:
        raise ValueError(wrong_depth(family, depth, block))
    return found


def wrong_depth(family: str, depth: int, block: str) -> str:
    """What is wrong with a depth, in words."""
    return f"depth must be {FAMILIES[family].depths[block]}, got {depth}: choose one of these"
