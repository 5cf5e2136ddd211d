"""How far each layer's gradient and input move as the layers before it take their step (Santurkar et al. 2018)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch
from resnet_repro.probes.gradients import norm_together, weighted_layers


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """For each weighted layer, x = 2, ..., depth from the input on, with g the gradient by its weight, and g' the same
    once all that lies before the layer has taken its step, and the layer and what follows have not:

    covariate_shift: |g - g'|, a Euclidean norm (Santurkar et al. 2018, arXiv:1805.11604, definition 2.1);
    covariate_shift_cosine: the cosine of the angle between g and g', 1 where nothing shifts; NaN where one is 0;
    mean_shift: by how much the same step moves the mean of each channel of the layer's input, in that channel's
        standard deviations (over B H W, before the step), the root mean square over channels. Channels that are
        constant before the step are left out; NaN where all are.

    The step is one of plain descent on this batch at the run's learning rate before any milestone, clipped as the run
    is (`batch.lr`, `batch.clip`), without momentum or weight decay. Before a layer lies what is defined before it, the
    norms of earlier layers among them. The loss is the mean cross-entropy of this same batch, the network in training
    mode, so that batch norm uses the statistics of the batch, as at each of the paper's steps. Computed as the
    parameters are stored, float32, since differences are taken; norms and moments in float64. A look costs a gradient
    of the batch for each layer.
    """
    net.train()
    layers, parameters = weighted_layers(net), list(net.parameters())
    place = {id(parameter): i for i, parameter in enumerate(parameters)}
    gradient, inputs = _at(net, batch, parameters, layers)
    rate = batch.lr * _clipped(gradient, batch.clip)
    moved, readings = 0, list[Reading]()
    for x, layer in enumerate(layers[1:], start=2):
        own = place[id(layer.weight)]
        with torch.no_grad():
            for parameter, slope in zip(parameters[moved:own], gradient[moved:own], strict=True):
                parameter.sub_(rate * slope)
        moved = own
        (there,), (given,) = _at(net, batch, [layer.weight], [layer])
        before, after = gradient[own].flatten().double(), there.flatten().double()
        values = (
            ("covariate_shift", torch.linalg.vector_norm(before - after)),
            ("covariate_shift_cosine", before @ after / (before.norm() * after.norm())),
            ("mean_shift", _mean_shift(inputs[x - 1], given)),
        )
        readings += [(metric, x, None, value.item()) for metric, value in values]
    return readings


def _at(
    net: nn.Module, batch: Batch, parameters: Sequence[Tensor], layers: Sequence[nn.Module]
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Where the network is now: the gradients by these parameters; mean and deviation [2, C] of each layer's input."""
    found: list[Tensor] = []
    handles = [layer.register_forward_pre_hook(lambda _, args: found.append(_moments(args[0]))) for layer in layers]
    loss = F.cross_entropy(net(batch.images), batch.labels)
    for handle in handles:
        handle.remove()
    return torch.autograd.grad(loss, list(parameters)), found


def _moments(values: Tensor) -> Tensor:
    """Mean and standard deviation of each channel of [B, C, ...] values: [2, C]."""
    by_channel = values.detach().double().transpose(0, 1).flatten(1)
    return torch.stack([by_channel.mean(1), by_channel.std(1, correction=0)])


def _mean_shift(before: Tensor, after: Tensor) -> Tensor:
    varied = before[1] > 0
    return ((after[0] - before[0])[varied] / before[1][varied]).square().mean().sqrt()


def _clipped(gradient: Sequence[Tensor], largest: float | None) -> float:
    """What clipping multiplies the gradient by."""
    norm = norm_together(gradient).item()
    return 1.0 if largest is None or norm <= largest else largest / norm
