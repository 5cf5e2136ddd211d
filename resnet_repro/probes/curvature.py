"""How the loss is curved where the network stands: the two ends of the spectrum of its Hessian."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.probes import Reading
from resnet_repro.probes.batch import Batch

TOLERANCE = 1e-4
"""How far either end may be off, in units of the larger magnitude."""
PRODUCTS = 100
"""At most so many products with the Hessian; trained networks need about 25."""


def measure(net: nn.Module, batch: Batch) -> list[Reading]:
    """hessian_eigenvalue: the smallest eigenvalue, x = -1, and the largest, x = 1, of the Hessian of the loss by all
    parameters together (Li et al. 2018, arXiv:1712.09913, section 6: their ratio says how far from convex the loss is).

    The loss is the mean cross-entropy of this batch, without weight decay. The network is in training mode, so that
    batch norm uses the statistics of this batch, and the Hessian is that through them. Before batch norm a filter that
    is s times as long computes the same, and the loss is 1 / s^2 times as curved along it: eigenvalues also say how
    long the weights are. A ReLU has no curvature; that of its corner is left out.

    By Lanczos' method from a random vector (`batch.seed`), to 1e-4 of the larger magnitude or as far as 100 products
    with the Hessian come, which lies between the true ends. Computed as the parameters are stored, float32, since
    second derivatives of bf16 would be noise; NaN where the loss is no number. A look costs two gradients of the batch
    for each product, and a vector of all parameters is held for each.
    """
    net.train()
    parameters = list(net.parameters())
    loss = F.cross_entropy(net(batch.images), batch.labels)
    gradient = _flat(torch.autograd.grad(loss, parameters, create_graph=True))

    def product(vector: Tensor) -> Tensor:
        return _flat(torch.autograd.grad(gradient, parameters, vector, retain_graph=True))

    start = torch.randn(len(gradient), generator=torch.Generator().manual_seed(batch.seed)).to(gradient)
    smallest, largest = extreme_eigenvalues(product, start)
    return [("hessian_eigenvalue", -1, None, smallest), ("hessian_eigenvalue", 1, None, largest)]


@torch.no_grad()
def extreme_eigenvalues(product: Callable[[Tensor], Tensor], start: Tensor) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of a symmetric matrix [D, D], given as its product with a vector [D].

    Lanczos' method, its basis kept orthogonal (Golub & Van Loan 2013, section 10.3): after k products, the ends of the
    spectrum of a tridiagonal matrix [k, k]. Each is as close to an eigenvalue as what is left of the last product
    times the last entry of its eigenvector. NaN where a product is no number.
    """
    basis = start.new_empty(min(PRODUCTS, len(start)), len(start))
    tridiagonal = torch.zeros(len(basis), len(basis), dtype=torch.float64)
    values, rest = tridiagonal.new_zeros(1), start
    for k in range(len(basis)):
        length = rest.norm().item()
        basis[k] = rest / length
        if k:
            tridiagonal[k, k - 1] = length  # eigh reads what is below the diagonal
        rest = product(basis[k])
        tridiagonal[k, k] = (basis[k] @ rest).item()
        for _ in range(2):  # the second time takes off what rounding has left
            rest = rest - (basis[: k + 1] @ rest) @ basis[: k + 1]
        left = rest.norm().item()
        if not math.isfinite(left):
            return math.nan, math.nan
        values, vectors = torch.linalg.eigh(tridiagonal[: k + 1, : k + 1])
        if left * vectors[-1, [0, -1]].abs().max() <= TOLERANCE * values.abs().max():
            break
    return values[0].item(), values[-1].item()


def _flat(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])
