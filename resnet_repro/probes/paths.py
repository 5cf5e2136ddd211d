"""How much of the gradient comes back over short paths (Veit et al. 2016, arXiv:1605.06431, section 5)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch

DRAWS = 4


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """For each length x = 0, 1, ..., n of a path through the n blocks of a residual network, which is the number of
    residual branches on it, the Euclidean norm over all B C H W of the gradient of the loss by the images

    gradient_norm_path: that comes back over one path of this length: the branches of x blocks, the shortcuts of the
        others. The mean over 4 paths, drawn from one generator whose seed is fixed. Times the number of such paths, the
        binomial coefficient n over x, it is what the paper compares over x.
    gradient_norm_paths: that comes back over all paths of this length together, exact. Gradients over single paths
        partly cancel; those over all lengths add up to the gradient.

    A plain net has no paths to tell apart, and no readings. The loss is the mean cross-entropy of the batch, in nats.
    The network is in training mode, so that batch norm uses the statistics of this batch. Computed as the parameters
    are stored, float32, whatever training computes in; norms are summed in float64. A look costs some 3 n gradients.
    """
    blocks: Any = net.blocks
    if not blocks[0].residual:
        return []
    images, inputs, output, loss = _through(net.train(), batch)
    (at_end,) = torch.autograd.grad(loss, output, retain_graph=True)
    n, chosen = len(blocks), _paths(len(blocks))
    single, sums = [at_end] * len(chosen), [at_end]
    for k in reversed(range(n)):
        shortcut, branch = (_Over(blocks[k], cut, inputs[k]) for cut in ("branch_scale", "shortcut"))
        single = [(branch if k in some else shortcut)(g) for some, g in zip(chosen, single, strict=True)]
        sums = _shifted_sum([shortcut(g) for g in sums], [branch(g) for g in sums])
    paths, lengths = (_norms(images, inputs[0], gradients) for gradients in (single, sums))
    by_length = [paths[[len(some) == x for some in chosen]].mean().item() for x in range(n + 1)]
    readings: list[Reading] = [("gradient_norm_path", x, None, value) for x, value in enumerate(by_length)]
    return readings + [("gradient_norm_paths", x, None, value) for x, value in enumerate(lengths.tolist())]


def _through(net: Any, batch: Batch) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """The images, the input of each block, the output of the last one, and the loss."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    hooks = [block.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for block in net.blocks]
    hooks.append(net.blocks.register_forward_hook(lambda _, __, output: outputs.append(output)))
    images = batch.images.clone().requires_grad_()
    loss = F.cross_entropy(net(images), batch.labels)
    for hook in hooks:
        hook.remove()
    return images, inputs, outputs[0], loss


def _paths(n: int) -> list[set[int]]:
    """The blocks whose branches are on each path, by length: 4 paths of each, but one of 0 and one of n."""
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(n, generator=generator).tolist() for _ in range(DRAWS)]
    return [set(order[:x]) for x in range(n + 1) for order in (orders if 0 < x < n else orders[:1])]


class _Over:
    """From the gradient by a block's output to that by its input, with the output of one of its parts as a constant."""

    def __init__(self, block: nn.Module, constant: str, x: Tensor) -> None:
        hook = block.get_submodule(constant).register_forward_hook(lambda _, __, output: output.detach())
        self.x = x.detach().requires_grad_()
        self.y = block(self.x)
        hook.remove()

    def __call__(self, gradient: Tensor) -> Tensor:
        return torch.autograd.grad(self.y, self.x, gradient, retain_graph=True)[0]


def _shifted_sum(over_shortcut: Sequence[Tensor], over_branch: Sequence[Tensor]) -> list[Tensor]:
    """By length, from those by length up to here: a shortcut leaves the length as it is, a branch adds 1."""
    middle = [a + b for a, b in zip(over_shortcut[1:], over_branch[:-1], strict=True)]
    return [over_shortcut[0], *middle, over_branch[-1]]


def _norms(images: Tensor, first: Tensor, gradients: Sequence[Tensor]) -> Tensor:
    """The norms of the gradients by the images, of those by the first block's input."""
    at_images = [torch.autograd.grad(first, images, gradient, retain_graph=True)[0] for gradient in gradients]
    return torch.stack([torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in at_images])
