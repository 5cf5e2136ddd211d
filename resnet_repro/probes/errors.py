"""The error of a network, by the definitions that reproductions mix up.

A training error can be read on the augmented batches while training (running), or afterwards in evaluation mode on
augmented images, on clean images, or on clean images with exact batch-norm statistics. They differ by a factor of
two on one and the same network, so all are recorded and every claim names its own.
"""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from resnet_repro.data import Batches, Feed

AUGMENTED = -1
"""The epoch whose crops and flips augmented errors are measured on: one that training never sees."""


def final_errors(net: nn.Module, feed: Feed, *, batch: int, valid: bool, bf16: bool) -> dict[str, float]:
    """Every error of a trained network, in percent; the network is left as it was.

    `train_error_augmented`, `train_error_clean`, `train_error_exact_bn`, `test_error`, `test_error_exact_bn` and,
    where a validation set is held out (`valid`), `valid_error`. `batch` is the batch size for exact statistics.
    """
    train, test = feed.clean("train"), feed.clean("test")
    errors = {
        "train_error_augmented": error(net, feed.augmented(AUGMENTED), bf16),
        "train_error_clean": error(net, train, bf16),
        "test_error": error(net, test, bf16),
    }
    if valid:
        errors["valid_error"] = error(net, feed.clean("valid"), bf16)
    exact = with_exact_statistics(net, feed.clean("train", batch))
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
