"""How strongly each layer responds (He et al. 2015, figure 7)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch
from resnet_repro.probes.gradients import weighted_layers


@torch.no_grad()
def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """response_std: for each convolution, x = 1, 2, ..., depth - 1 from the input on, the standard deviation of its
    response over all B C H W values.

    The response is the convolution's output, after the norm if one takes it as it is, and before nonlinearity and
    addition (He et al. 2015, section 4.2, "Analysis of Layer Responses"). Projections of shortcuts are left out. The
    paper does not say on which images and in which mode: here the network is in training mode, so that batch norm uses
    the statistics of this batch, and a response is then sqrt(mean of γ^2 + variance of β) over the channels. It
    computes as in training (`batch.bf16`), deviations in float64.
    """
    net.train()
    responses: list[Tensor] = []
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d | nn.GroupNorm)]
    handles = [layer.register_forward_hook(_note(responses)) for layer in weighted_layers(net)[:-1]]
    handles += [norm.register_forward_hook(_replace(responses)) for norm in norms]
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.bf16):
        net(batch.images)
    for handle in handles:
        handle.remove()
    deviations = torch.stack([response.double().std(correction=0) for response in responses])
    return [("response_std", x, None, value) for x, value in enumerate(deviations.tolist(), start=1)]


def _note(responses: list[Tensor]) -> Callable[[Any, Any, Tensor], None]:
    return lambda _, __, output: responses.append(output)


def _replace(responses: list[Tensor]) -> Callable[[Any, Any, Tensor], None]:
    """Of a norm: its output is the response of the convolution whose output it takes."""

    def note(_: Any, args: tuple[Tensor], output: Tensor) -> None:
        if responses and args[0] is responses[-1]:
            responses[-1] = output

    return note
