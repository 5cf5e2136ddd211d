"""The loss around a network, on a line and on a plane through its weights (Li et al. 2018, arXiv:1712.09913)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch

LINE = tuple(k / 16 for k in range(-16, 17))
PLANE = tuple(k / 8 for k in range(-8, 9))


@torch.no_grad()
def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """At the weights θ + x δ + y η, with θ those of the network and δ, η two random directions (section 4):

    loss_on_line: the loss at x = -1, -15/16, ..., 1, y = 0;
    loss_on_plane: the loss at x = -1, -7/8, ..., 1 and y likewise.

    The directions are Gaussian (`batch.seed`), then every filter of them is as long as that filter of the network; what
    has one number for each channel, as batch norm's parameters and biases, stays as it is. x and y hence are distances
    in lengths of the filters. All networks of one seed and shape have the same directions but for these lengths.

    The loss is the mean cross-entropy of this batch, in nats, without weight decay. The network is in evaluation mode,
    with batch-norm statistics as trained, as in the paper's code: they do not follow the weights. Each metric again,
    with the ending `_recomputed`: in training mode, where batch norm has the statistics of this batch at each point,
    which is the loss that is trained. Computed as the parameters are stored, float32. A look costs 644 forward passes.
    """
    parameters = list(net.parameters())
    centre = [parameter.clone() for parameter in parameters]
    generator = torch.Generator().manual_seed(batch.seed)
    across, up = (filter_normalised(centre, generator) for _ in range(2))
    line: list[tuple[str, float, float | None]] = [("loss_on_line", x, None) for x in LINE]
    places = [*line, *(("loss_on_plane", x, y) for y in PLANE for x in PLANE)]
    names, losses = [], []
    for training, ending in ((False, ""), (True, "_recomputed")):  # the first uses statistics that the second changes
        net.train(training)
        for metric, x, y in places:
            for parameter, at, one, other in zip(parameters, centre, across, up, strict=True):
                parameter.copy_(at + x * one + (y or 0) * other)
            names.append((metric + ending, x, y))
            losses.append(F.cross_entropy(net(batch.images), batch.labels))
    return [(*name, loss) for name, loss in zip(names, torch.stack(losses).tolist(), strict=True)]


def filter_normalised(weights: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """A Gaussian direction d for these weights, each filter of it times |w| / |d| (section 4), in their shapes.

    A filter makes one output: those of a convolution or a linear layer lie along the first dimension. What has fewer
    than two dimensions has no filters; the direction is 0 there.
    """
    drawn = [torch.randn(weight.shape, generator=generator).to(weight) for weight in weights]
    return [
        d * (_lengths(weight) / _lengths(d)) if weight.dim() > 1 else torch.zeros_like(d)
        for d, weight in zip(drawn, weights, strict=True)
    ]


def _lengths(weight: Tensor) -> Tensor:
    """The Euclidean norm of each filter, with the dimensions of the weight."""
    return torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True)
