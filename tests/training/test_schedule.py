from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, MultiStepLR

from resnet_repro.config import Optim
from resnet_repro.training.schedule import learning_rate, next_look, pieces, shortened, warmup_end


def scheduled(optim, *make):
    """The learning rate of each step, by PyTorch's own schedulers."""
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=optim.lr)
    scheduler = ChainedScheduler([m(sgd) for m in make])
    rates = []
    for _ in range(optim.steps):
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("milestones", [[], [1], [32, 48], [32, 48, 63, 80]])
def test_steps_down_as_torch_multi_step_lr(milestones):
    optim = Optim(lr=0.1, steps=64, milestones=milestones, gamma=0.1)
    expected = scheduled(optim, lambda sgd: MultiStepLR(sgd, milestones, gamma=0.1))
    assert [learning_rate(step, optim, 0) for step in range(64)] == pytest.approx(expected, rel=1e-12)


def test_warm_up_is_torch_constant_lr_and_does_not_shift_the_milestones():
    optim = Optim(lr=0.1, steps=64, milestones=[32, 48], warmup="steps", warmup_lr=0.01, warmup_steps=10)
    expected = scheduled(
        optim,
        lambda sgd: ConstantLR(sgd, factor=0.1, total_iters=10),
        lambda sgd: MultiStepLR(sgd, [32, 48], gamma=0.1),
    )
    until = warmup_end(optim)
    assert [learning_rate(step, optim, until) for step in range(64)] == pytest.approx(expected, rel=1e-12)


def test_without_warm_up_its_settings_have_no_effect():
    optim = Optim(warmup="none", warmup_steps=400, warmup_lr=0.01)
    assert learning_rate(0, optim, warmup_end(optim)) == optim.lr


def warm_steps(optim, errors):
    """How many steps are warm when the running error of interval k (20 steps) is errors[k]."""
    until = warmup_end(optim)
    warm = 0
    for k, error in enumerate(errors):
        warm += sum(learning_rate(step, optim, until) == optim.warmup_lr for step in range(20 * k, 20 * k + 20))
        until = shortened(until, 20 * (k + 1), optim, error)
    return warm


@pytest.mark.parametrize(
    ("kind", "errors", "expected"),
    [
        ("error", [90, 85, 79.9, 60, 50], 60),  # ends after the interval that falls below 80 %
        ("error", [80, 80, 80, 79, 79], 80),  # 80 is not below 80
        ("error", [70, 90, 90, 90, 90], 20),  # and does not come back
        ("error", [90, 90, 90, 90, 90, 90, 90], 100),  # the cap
        ("steps", [50, 50, 50, 50, 50, 50, 50], 100),  # of a fixed length, whatever the error
    ],
)
def test_warm_up_ends_by_error_or_at_its_cap(kind, errors, expected):
    optim = Optim(warmup=kind, warmup_steps=100, warmup_error=80.0, warmup_lr=0.01, milestones=[])
    assert warm_steps(optim, errors) == expected


@pytest.mark.parametrize(("start", "stop"), [(0, 64), (5, 40), (33, 34), (47, 49), (10, 10)])
@pytest.mark.parametrize("warm_until", [0, 7, 64])
@pytest.mark.parametrize("epoch_steps", [1, 11, 400])
def test_pieces_are_the_longest_with_one_epoch_and_one_learning_rate(start, stop, warm_until, epoch_steps):
    optim = Optim(steps=64, milestones=[32, 48], warmup="steps", warmup_lr=0.01)
    cut = list(pieces(start, stop, optim, warm_until, epoch_steps))
    steps = [step for piece in cut for step in range(piece.start, piece.start + piece.steps)]
    assert steps == list(range(start, stop))
    state = {step: (step // epoch_steps, learning_rate(step, optim, warm_until)) for step in steps}
    for piece in cut:
        assert {state[step] for step in range(piece.start, piece.start + piece.steps)} == {
            (piece.start // epoch_steps, piece.lr)
        }
    assert all(state[one.start] != state[two.start] for one, two in pairwise(cut))


@pytest.mark.parametrize(
    ("step", "every", "warm_until", "expected"),
    [
        (0, 50, 400, 50),
        (50, 50, 400, 100),
        (399, 50, 400, 400),
        (7, 50, 400, 50),
        (400, 50, 400, 900),
        (0, None, 4, 900),
    ],
)
def test_a_warm_up_by_error_looks_every_so_many_steps_until_it_ends(step, every, warm_until, expected):
    optim = Optim(steps=900, warmup="error", warmup_every=every)
    assert next_look(step, optim, warm_until) == expected
    assert next_look(step, replace(optim, warmup="steps"), warm_until) == 900
