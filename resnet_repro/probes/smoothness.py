"""How smooth the loss is along its gradient (Santurkar et al. 2018, section 3.1 and figure 4)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch
from resnet_repro.probes.gradients import norm_together

STEP_SIZES = (0.05, 0.1, 0.2, 0.4)
"""Half to four times 0.1, the learning rate of He et al. 2015, section 4.2."""


def measure(net: nn.Module, batch: Batch, step_sizes: Sequence[float] = STEP_SIZES) -> list[Reading]:
    """At the weights θ - x g, with θ those of the network and g the gradient at θ, for each step size x:

    loss_along_gradient: the loss there, in nats, also for x = 0;
    gradient_change: the Euclidean norm of the gradient there less g ("gradient predictiveness": small is predictive);
    gradient_smoothness: gradient_change over the distance moved, x |g|. Its largest value over x is the paper's
    "effective β-smoothness"; for a small x it is |H g| / |g|, with H the Hessian. NaN where g is 0.

    The loss is the mean cross-entropy of this batch, without weight decay; g is the gradient of plain descent, without
    momentum, by all parameters together. The network is in training mode, so that batch norm uses the statistics of
    this batch at each point. Computed as the parameters are stored, float32, whatever training computes in, since
    differences are taken; norms are summed in float64. A look costs five gradients of the batch.
    """
    net.train()
    parameters = list(net.parameters())
    start = [parameter.detach().clone() for parameter in parameters]
    loss, gradient = _at(net, batch)
    length = norm_together(gradient)
    readings: list[Reading] = [("loss_along_gradient", 0, None, loss)]
    for size in step_sizes:
        with torch.no_grad():
            for parameter, first, slope in zip(parameters, start, gradient, strict=True):
                parameter.copy_(first - size * slope)
        loss, there = _at(net, batch)
        change = norm_together([new - old for new, old in zip(there, gradient, strict=True)])
        readings += [
            ("loss_along_gradient", size, None, loss),
            ("gradient_change", size, None, change.item()),
            ("gradient_smoothness", size, None, (change / (size * length)).item()),
        ]
    return readings


def _at(net: nn.Module, batch: Batch) -> tuple[float, tuple[Tensor, ...]]:
    """The loss and its gradient by each parameter, where the network is now."""
    loss = F.cross_entropy(net(batch.images), batch.labels)
    return loss.item(), torch.autograd.grad(loss, list(net.parameters()))
