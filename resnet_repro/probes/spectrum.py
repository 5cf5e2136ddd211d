"""The singular values of what a network makes of a small change of its input."""

from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch, with_statistics_of
from resnet_repro.probes.gradients import weighted_layers

IMAGES = 16


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """jacobian_singular_value: x = 1, 2, ..., from the largest on; each the median over the first 16 images.

    They are those of the Jacobian of the features, which are what the final linear layer is given, by all C H W values
    of one image. The network is in evaluation mode with batch-norm statistics of the whole batch. Computed in float32,
    singular values in float64.
    """
    fixed = with_statistics_of(batch.images, net)
    values = torch.linalg.svdvals(jacobians(fixed, batch.images[:IMAGES]).double()).median(0).values
    return [("jacobian_singular_value", x, None, value) for x, value in enumerate(values.tolist(), start=1)]


def jacobians(net: nn.Module, images: Tensor) -> Tensor:
    """Of the features of each of [B, C, H, W] images by that image: [B, features, C H W]; net: in evaluation mode."""
    given: list[Tensor] = []
    handle = weighted_layers(net)[-1].register_forward_pre_hook(lambda _, args: given.append(args[0]))
    inputs = images.clone().requires_grad_()
    net(inputs)
    handle.remove()
    rows: list[Any] = [
        torch.autograd.grad(feature.sum(), inputs, retain_graph=True)[0].flatten(1) for feature in given[0].unbind(1)
    ]
    return torch.stack(rows, 1)
