"""How alike two images are inside of a network, layer by layer."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch, with_statistics_of
from resnet_repro.probes.gradients import weighted_layers


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """For each weighted layer, x = 1, 2, ..., depth from the input on, over the B images of the batch:

    output_cosine: the cosine of the layer's outputs for two images, the mean over all pairs;
    output_rank: how many directions the outputs vary in, the effective dimension (sum l)^2 / sum l^2 of the eigenvalues
        l of their covariance over the images: from 1 to B - 1;
    gradient_cosine: the cosine of the gradients of the first logit by the layer's outputs for two images, the mean over
        all pairs: what Balduzzi et al. 2017 (arXiv 1702.08591, section 2) call the correlation between examples.

    An output is that of the convolution (or linear layer) itself, all C H W of it as one vector. The network is in
    evaluation mode with batch-norm statistics of this batch, so that the gradient at an image is that of this image
    alone. Computed in float32, cosines and dimensions in float64; of a gradient that is 0 there is no cosine.
    """
    fixed = with_statistics_of(batch.images, net)
    layers = weighted_layers(fixed)
    outputs: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda _, __, output: outputs.append(output)) for layer in layers]
    logits = fixed(batch.images.clone().requires_grad_())
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(logits[:, 0].sum(), outputs)
    vectors = [output.detach().flatten(1).double() for output in outputs]
    return [
        *_readings("output_cosine", map(mean_cosine, vectors)),
        *_readings("output_rank", map(effective_dimension, vectors)),
        *_readings("gradient_cosine", (mean_cosine(gradient.flatten(1).double()) for gradient in gradients)),
    ]


def _readings(metric: str, values: Iterable[float]) -> list[Reading]:
    return [(metric, x, None, value) for x, value in enumerate(values, start=1)]


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
