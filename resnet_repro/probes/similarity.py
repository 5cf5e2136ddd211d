"""How alike two images are inside of a network, layer by layer."""

import torch
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch, with_statistics_of
from resnet_repro.probes.gradients import weighted_layers


@torch.no_grad()
def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """For each weighted layer, x = 1, 2, ..., depth from the input on, over the B images of the batch:

    output_cosine: the cosine of the layer's outputs for two images, the mean over all pairs;
    output_rank: how many directions the outputs vary in, the effective dimension (sum l)^2 / sum l^2 of the eigenvalues
        l of their covariance over the images: from 1 to B - 1.

    An output is that of the convolution (or linear layer) itself, all C H W of it as one vector. The network is in
    evaluation mode with batch-norm statistics of this batch. Computed in float32, cosines and dimensions in float64.
    """
    fixed = with_statistics_of(batch.images, net)
    layers = weighted_layers(fixed)
    outputs: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda _, __, output: outputs.append(output)) for layer in layers]
    fixed(batch.images)
    for handle in handles:
        handle.remove()
    vectors = [output.flatten(1).double() for output in outputs]
    cosines: list[Reading] = [("output_cosine", x, None, mean_cosine(v)) for x, v in enumerate(vectors, start=1)]
    ranks: list[Reading] = [("output_rank", x, None, effective_dimension(v)) for x, v in enumerate(vectors, start=1)]
    return cosines + ranks


def mean_cosine(vectors: Tensor) -> float:
    """The mean over all pairs of two of [B, D] vectors of the cosine of the angle between them."""
    count = len(vectors)
    total = (vectors / vectors.norm(dim=1, keepdim=True)).sum(0)  # its square sums the cosines of all ordered pairs
    return float((total @ total - count) / (count * (count - 1)))


def effective_dimension(vectors: Tensor) -> float:
    """(sum l)^2 / sum l^2 over the eigenvalues l of the covariance of [B, D] vectors."""
    centred = vectors - vectors.mean(0)
    products = centred @ centred.T  # it has the same eigenvalues, up to zeros
    return float(products.trace() ** 2 / products.square().sum())
