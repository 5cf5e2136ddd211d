"""How large the gradient is at each block, and how much of it comes back over shortcuts alone."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """For each block, x = 1, 2, ... from the input on, the Euclidean norm over all B C H W of the gradient of the loss

    gradient_norm_block: by the block's input;
    gradient_norm_shortcuts: by the block's input, of what comes back through shortcuts only: at each block from the
        last one to this one, the output of the branch is taken for a constant. A plain net has none.

    In y = F(x) + λ x the second is the gradient's first term in He et al. 2016 (arXiv:1603.05027, eq. 8), a factor of λ
    for each block; what follows the addition (a ReLU that is off, a norm) and transitions come to it.

    The loss is the mean cross-entropy of the batch, in nats. The network is in training mode, so that batch norm uses
    the statistics of this batch, and computes as in training (`batch.bf16`); norms are summed in float64.
    """
    net.train()
    readings: list[Reading] = _by_block("gradient_norm_block", net, batch)
    blocks: Any = net.blocks
    if blocks[0].residual:
        cuts = [block.branch_scale.register_forward_hook(_constant) for block in blocks]
        readings += _by_block("gradient_norm_shortcuts", net, batch)
        for cut in cuts:
            cut.remove()
    return readings


def _constant(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    return output.detach()


def _by_block(metric: str, net: Any, batch: Batch) -> list[Reading]:
    inputs: list[Tensor] = []
    hooks = [block.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for block in net.blocks]
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.bf16):
        logits = net(batch.images)
    for hook in hooks:
        hook.remove()
    found = torch.autograd.grad(F.cross_entropy(logits.float(), batch.labels), inputs)
    norms = torch.stack([torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in found])
    return [(metric, x, None, norm) for x, norm in enumerate(norms.tolist(), start=1)]
