"""The learning rate as a pure function of the step; the pieces of training within which it stays the same."""

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from resnet_repro.config import Optim


def learning_rate(step: int, optim: Optim, warm_until: int) -> float:
    """The learning rate of step `step` (the first is 0).

    1. warm-up: `warmup_lr` for the steps before `warm_until`;
    2. then `lr`, multiplied by `gamma` at each milestone passed (He et al. 2015, sec. 4.2: 32k and 48k of 64k).
    """
    if step < warm_until:
        return optim.warmup_lr
    return optim.lr * optim.gamma ** bisect_right(optim.milestones, step)


def warmup_end(optim: Optim) -> int:
    """The step at which the warm-up ends at the latest; 0 without one."""
    return 0 if optim.warmup == "none" else optim.warmup_steps


def next_look(step: int, optim: Optim, warm_until: int) -> int:
    """The step at which a warm-up by error looks at the error next; the end of the run where only curve points do."""
    if optim.warmup != "error" or optim.warmup_every is None or step >= warm_until:
        return optim.steps
    return step - step % optim.warmup_every + optim.warmup_every


def shortened(warm_until: int, step: int, optim: Optim, running_error: float) -> int:
    """The end of the warm-up, after `step` steps with this running training error (percent).

    Kind `error` ends once the error is below `warmup_error` (He et al. 2015, sec. 4.2: 0.01 "until the training
    error is below 80%"). `warmup_steps` stays the cap, since a deep plain net may never get there.
    """
    reached = optim.warmup == "error" and running_error < optim.warmup_error
    return min(warm_until, step) if reached else warm_until


class Piece(NamedTuple):
    """Consecutive steps within one epoch, at one learning rate."""

    start: int
    steps: int
    lr: float


def pieces(start: int, stop: int, optim: Optim, warm_until: int, epoch_steps: int) -> Iterator[Piece]:
    """The steps start, ..., stop - 1, cut where an epoch begins and where the learning rate changes."""
    epochs = range(start - start % epoch_steps + epoch_steps, stop, epoch_steps)
    rates = (warm_until, *(milestone for milestone in optim.milestones if milestone > warm_until))
    cuts = sorted({start, stop, *(cut for cut in (*epochs, *rates) if start < cut < stop)})
    for first, last in itertools.pairwise(cuts):
        yield Piece(first, last - first, learning_rate(first, optim, warm_until))
