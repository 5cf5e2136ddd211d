"""One training step, and the running tally of what its batches showed."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.probes.errors import wrong

NEVER = 2**62
"""`Tally.first_bad` of a run that has not diverged."""


class Tally:
    """Running training error and loss since `reset`, kept on the device so that counting never waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.wrong = torch.zeros((), dtype=torch.int64, device=device)
        self.seen = torch.zeros((), dtype=torch.int64, device=device)
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.first_bad = torch.full((), NEVER, dtype=torch.int64, device=device)
        self.never = torch.full((), NEVER, dtype=torch.int64, device=device)

    def tensors(self) -> list[Tensor]:
        """What counting changes."""
        return [self.wrong, self.seen, self.loss, self.step, self.first_bad]

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Counts the batch of step `step`, and that step; the first with a non-finite loss is noted."""
        self.wrong += wrong(logits, labels)
        self.seen += len(labels)
        self.loss += loss.double() * len(labels)
        bad = torch.where(torch.isfinite(loss), self.never, self.step)
        self.first_bad.copy_(torch.minimum(self.first_bad, bad))
        self.step += 1

    def reset(self) -> None:
        """Starts a new interval; that a run has diverged is kept."""
        for total in (self.wrong, self.seen, self.loss):
            total.zero_()


def train_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    *,
    bf16: bool = False,
    clip: float | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> tuple[Tensor, Tensor]:
    """Forward, cross-entropy, backward, SGD on images [N, C, H, W] and labels [N].

    backward: leaves the gradients of a loss at the parameters, over several ranks their mean.
    Returns the mean loss in nats (a scalar) and the outputs [N, classes] before the update, both detached.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        logits = net(images)
    loss = F.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    backward(loss)
    if clip is not None:
        nn.utils.clip_grad_norm_(net.parameters(), clip)
    optimizer.step()
    return loss.detach(), logits.detach()
