"""A network with blocks deleted, or in another order (Veit et al. 2016, arXiv:1605.06431, section 4)."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.nets.blocks import Shape
from resnet_repro.nets.shortcuts import make_shortcut
from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch
from resnet_repro.probes.errors import wrong

DRAWS = 4
SWAPS = (1, 2, 4, 8, 16)

Lesion = tuple[str, float, float | None, list[list[nn.Module]]]
"""Metric, x, y, and the blocks that the network has instead of its own, for each draw."""


@torch.no_grad()
def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """The error of the network in percent on the B images of the batch, which it was trained on:

    error_without_block: without the block x = 1, 2, ... from the input on, 0: with all of them; y = 1 where the block
        changes the shape (a transition), else 0 (section 4.1).
    error_without_blocks: without x of the blocks that keep their shape, x = 0, 1, ..., all of them (section 4.2).
    error_shuffled: after x swaps, 0, 1, 2, 4, 8 and 16 or as many as there are, each of another pair of blocks of the
        same shape (section 4.3). It is not measured where there is no pair.

    The last two are means over 4 draws, from one generator whose seed is fixed; a draw deletes or swaps one after the
    other. A residual block that is deleted keeps its shortcut, and what follows the addition; in its place a plain net
    has the shortcut that a residual one would have there, option A: the identity where the block keeps its shape.

    The network is in evaluation mode, with batch-norm statistics as trained, as in the paper. Each metric again, with
    the ending `_recomputed`: in training mode, with the statistics that these images have in what is left of it. It
    computes as in training (`batch.bf16`). A look at a network of n blocks costs some 10 n + 50 forward passes.
    """
    intact: Any = net.blocks
    readings: list[tuple[str, float, float | None, Tensor]] = []
    for training, ending in ((False, ""), (True, "_recomputed")):  # the first uses statistics that the second changes
        for metric, x, y, draws in _lesions(list(intact), _shapes(net.eval(), batch.images[:1])):
            errors = [_error(net, blocks, training, batch) for blocks in draws]
            readings.append((metric + ending, x, y, torch.stack(errors).mean()))
    net.blocks = intact
    values = torch.stack([value for *_, value in readings]).tolist()
    return [(metric, x, y, value) for (metric, x, y, _), value in zip(readings, values, strict=True)]


def _lesions(blocks: list[nn.Module], shapes: list[Shape]) -> Iterator[Lesion]:
    keeping = [k for k, (inputs, channels, stride) in enumerate(shapes) if inputs == channels and stride == 1]
    deleted = [_deleted(block, shape) for block, shape in zip(blocks, shapes, strict=True)]

    def without(gone: list[int]) -> list[nn.Module]:
        return [deleted[k] if k in gone else block for k, block in enumerate(blocks)]

    yield "error_without_block", 0, 0, [blocks]
    for k in range(len(blocks)):
        yield "error_without_block", k + 1, int(k not in keeping), [without([k])]
    generator = torch.Generator().manual_seed(0)
    orders = [[keeping[i] for i in _permutation(len(keeping), generator)] for _ in range(DRAWS)]
    for count in range(len(keeping) + 1):
        yield "error_without_blocks", count, None, [without(order[:count]) for order in orders]
    pairs = [(i, j) for j in keeping for i in keeping if i < j and shapes[i] == shapes[j]]
    if pairs:
        swaps = [[pairs[i] for i in _permutation(len(pairs), generator)] for _ in range(DRAWS)]
        for count in (0, *(some for some in SWAPS if some <= len(pairs))):
            yield "error_shuffled", count, None, [_swapped(blocks, some[:count]) for some in swaps]


def _permutation(count: int, generator: torch.Generator) -> list[int]:
    return torch.randperm(count, generator=generator).tolist()


def _swapped(blocks: list[nn.Module], pairs: list[tuple[int, int]]) -> list[nn.Module]:
    blocks = list(blocks)
    for i, j in pairs:
        blocks[i], blocks[j] = blocks[j], blocks[i]
    return blocks


class _Zeros(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return torch.zeros_like(y)  # a product with 0 would keep what is no number


def _deleted(block: Any, shape: Shape) -> nn.Module:
    """What stands in the place of a block that is deleted."""
    if not block.residual:
        return make_shortcut("A", *shape)
    block = copy.deepcopy(block)
    block.branch_scale = _Zeros()
    return block


def _shapes(net: Any, images: Tensor) -> list[Shape]:
    """The shape of each block, as it maps these images."""
    found: list[Shape] = []

    def note(_: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        found.append((args[0].shape[1], output.shape[1], -(-args[0].shape[2] // output.shape[2])))

    hooks = [block.register_forward_hook(note) for block in net.blocks]
    net(images)
    for hook in hooks:
        hook.remove()
    return found


def _error(net: Any, blocks: list[nn.Module], training: bool, batch: Batch) -> Tensor:
    net.blocks = nn.Sequential(*blocks)
    net.train(training)
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.bf16):
        logits = net(batch.images)
    return 100 * wrong(logits, batch.labels).double() / len(batch.labels)
