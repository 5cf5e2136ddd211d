"""How fast the gradient changes along a line of inputs (Balduzzi et al. 2017, arXiv 1702.08591, section 2)."""

import torch
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch, with_statistics_of

POINTS = 256
"""Inputs on a line, evenly spaced, from an image to another one."""
LINES = 8
LAGS = 15


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """For each lag, x = 1, ..., 15, in steps of the line: the autocorrelation of the gradient along a line of inputs.

    A line goes from one image of the batch to the next in 255 steps. The gradient is the derivative of the first logit
    along the line. Its autocorrelation is that of the 256 values less their mean, averaged over 8 lines: 1 for a
    gradient that stays as it is, about 0 at every lag for white noise.

    The network is in evaluation mode, so that the gradient at an input is that of this input alone. Batch norm has the
    statistics of
    gradient_acf: the 256 inputs of the line, as where the line is a batch in training mode;
    gradient_acf_images: the images of the batch, as in training.
    Computed in float32, autocorrelations in float64.
    """
    images = batch.images[: 2 * LINES]
    return [
        *_readings("gradient_acf", net, images, None),
        *_readings("gradient_acf_images", net, images, batch.images),
    ]


def _readings(metric: str, net: nn.Module, images: Tensor, seen: Tensor | None) -> list[Reading]:
    """seen: the inputs whose statistics batch norm has; None: those of each line."""
    found = []
    for start, end in zip(images[::2], images[1::2], strict=False):
        line = torch.lerp(
            start, end, torch.linspace(0, 1, POINTS, dtype=start.dtype, device=start.device).view(-1, 1, 1, 1)
        )
        fixed = with_statistics_of(line if seen is None else seen, net)
        found.append(autocorrelation(_slopes(fixed, line, end - start)))
    return [(metric, lag, None, value) for lag, value in enumerate(torch.stack(found).mean(0).tolist(), start=1)]


def _slopes(net: nn.Module, line: Tensor, direction: Tensor) -> Tensor:
    """The derivative of the first logit along the line, at each of its inputs: [POINTS]."""
    inputs = line.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(inputs)[:, 0].sum(), inputs)
    return (gradient * direction).flatten(1).sum(1)


def autocorrelation(values: Tensor) -> Tensor:
    """That of [N] values less their mean at lags 1, ..., LAGS, each sum over the one of lag 0; NaN of a constant."""
    centred = values.double() - values.double().mean()
    return torch.stack([centred[lag:] @ centred[:-lag] for lag in range(1, LAGS + 1)]) / (centred @ centred)
