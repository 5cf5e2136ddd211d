"""The error of a network, by the definitions that reproductions mix up.

A training error can be read on the augmented batches while training (running), or afterwards in evaluation mode on
augmented images, on clean images, or on clean images with exact batch-norm statistics. They differ by a factor of
two on one and the same network, so all are recorded and every claim names its own.
"""

import copy
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from resnet_repro.data import Draws, Images, Transform, epoch_draws

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Starts one pass over ([N, C, H, W] float images, [N] labels)."""

BATCH = {"cpu": 500, "cuda": 2500}
"""Images at once: on a CPU what stays in its cache, on a GPU few launches."""


def final_errors(
    net: nn.Module, images: Images, transform: Transform, *, batch: int, flip: bool, seed: int, bf16: bool
) -> dict[str, float]:
    """Every error of a trained network, in percent; the network is left as it was.

    `train_error_augmented`, `train_error_clean`, `train_error_exact_bn`, `test_error`, `test_error_exact_bn` and,
    where a validation set is held out, `valid_error`. `batch` is the batch size for exact statistics.
    """
    device = next(net.parameters()).device
    train = clean_batches(transform, images.train_x, images.train_y, device)
    test = clean_batches(transform, images.test_x, images.test_y, device)
    augmented = _augmented_batches(transform, images, device, flip, seed)
    errors = {
        "train_error_augmented": error(net, augmented, bf16),
        "train_error_clean": error(net, train, bf16),
        "test_error": error(net, test, bf16),
    }
    if images.valid_x is not None and images.valid_y is not None:
        valid = clean_batches(transform, images.valid_x, images.valid_y, device)
        errors["valid_error"] = error(net, valid, bf16)
    exact = with_exact_statistics(net, clean_batches(transform, images.train_x, images.train_y, device, batch))
    errors["train_error_exact_bn"] = error(exact, train, bf16)
    errors["test_error_exact_bn"] = error(exact, test, bf16)
    return errors


@torch.no_grad()
def error(net: nn.Module, batches: Batches, bf16: bool = False) -> float:
    """Error in percent in evaluation mode over one pass; non-finite outputs are wrong answers."""
    training = net.training
    net.eval()
    seen = 0
    totals = []
    for images, labels in batches():
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            totals.append(wrong(net(images), labels))
        seen += len(labels)
    net.train(training)
    return 100.0 * int(torch.stack(totals).sum()) / seen


def wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of the [N, classes] outputs miss their [N] label; a non-finite output is a miss."""
    missed = (logits.argmax(1) != labels) | ~torch.isfinite(logits).all(1)
    return missed.sum()


def with_exact_statistics(net: nn.Module, batches: Batches) -> nn.Module:
    """A copy of the network whose batch-norm statistics are averages over one pass, not moving averages.

    As in the models He et al. released: means and variances of the training batches, averaged after training
    (github.com/KaimingHe/deep-residual-networks, readme). Without batch norm the copy equals the network.
    """
    exact = copy.deepcopy(net)
    update_bn(batches(), exact)
    return exact


def clean_batches(
    transform: Transform, images: Tensor, labels: Tensor, device: torch.device, batch: int | None = None
) -> Batches:
    """Passes over uint8 images in their order, normalised and not augmented; they are moved to the device once."""
    images, labels, size = images.to(device), labels.to(device), batch or BATCH[device.type]

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(labels), size):
            yield transform.clean(images[start : start + size]), labels[start : start + size]

    return one_pass


def _augmented_batches(transform: Transform, images: Images, device: torch.device, flip: bool, seed: int) -> Batches:
    """Passes over the training images, cropped and flipped as in an epoch that training never sees."""
    count = len(images.train_y)
    drawn = epoch_draws(seed, -1, count=count, crop_padding=transform.crop_padding, flip=flip)
    draws = Draws(*(part.to(device) for part in drawn))
    crops, labels, size = transform.prepare(images.train_x.to(device)), images.train_y.to(device), BATCH[device.type]

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, count, size):
            part = slice(start, start + size)
            index = draws.order[part]
            yield transform.augment(crops, index, draws.dy[part], draws.dx[part], draws.flip[part]), labels[index]

    return one_pass
