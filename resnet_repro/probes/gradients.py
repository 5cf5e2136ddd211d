"""How large the gradient and the signal are at each layer of a network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """For each weighted layer, x = 1, 2, ..., depth from the input on:

    gradient_norm_output: the Euclidean norm of the gradient of the loss by the layer's output, over all B C H W of it;
    gradient_norm_weight: the same by the layer's weight;
    output_rms: the root mean square of the layer's output.

    The loss is the mean cross-entropy of the batch, in nats. The output is that of the convolution (or the linear
    layer) itself, before normalisation and nonlinearity. The network is in training mode, so that batch norm uses the
    statistics of this batch, and computes as in training (`batch.bf16`); norms are summed in float64. Projections of
    shortcuts are no layers of the depth and left out (He et al. 2015, section 4.2).
    """
    net.train()
    layers = weighted_layers(net)
    rms: list[Tensor] = []
    by_output: dict[int, Tensor] = {}
    handles = [layer.register_forward_hook(_watch(x, rms, by_output)) for x, layer in enumerate(layers)]
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.bf16):
        logits = net(batch.images)
    loss = F.cross_entropy(logits.float(), batch.labels)
    by_weight = [_norm(g) for g in torch.autograd.grad(loss, [layer.weight for layer in layers])]
    for handle in handles:
        handle.remove()
    columns = {
        "gradient_norm_output": [by_output[x] for x in range(len(layers))],
        "gradient_norm_weight": by_weight,
        "output_rms": rms,
    }
    values = torch.stack([torch.stack(column) for column in columns.values()]).tolist()
    return [
        (metric, x, None, value)
        for metric, column in zip(columns, values, strict=True)
        for x, value in enumerate(column, start=1)
    ]


def weighted_layers(net: nn.Module) -> list[Any]:
    """The convolutions and linear layers that count as the network's depth, in order from the input."""
    return [
        module
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name.split(".")
    ]


def norm_together(gradient: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm over all parts together, in float64: those of deep networks leave float32's range."""
    return torch.stack([_norm(part) for part in gradient]).norm()


def _watch(x: int, rms: list[Tensor], by_output: dict[int, Tensor]) -> Callable[[Any, Any, Tensor], None]:
    """Notes a layer's output when it is computed, and the gradient by it when that is: neither is kept itself."""

    def note(_: Any, __: Any, output: Tensor) -> None:
        rms.append(_norm(output.detach()) / output.numel() ** 0.5)
        output.register_hook(lambda gradient: by_output.__setitem__(x, _norm(gradient)))

    return note


def _norm(values: Tensor) -> Tensor:
    """In float64: squares of the gradients of a deep network without normalisation leave the range of float32."""
    return torch.linalg.vector_norm(values, dtype=torch.float64)
