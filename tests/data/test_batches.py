import hashlib

import pytest
import torch

from resnet_repro.data import batch_slice, epoch_draws, steps_per_epoch


def draws(seed=0, epoch=0, count=1000, crop_padding=4, flip=True):
    return epoch_draws(seed, epoch, count=count, crop_padding=crop_padding, flip=flip)


def test_order_is_a_permutation():
    assert torch.equal(draws().order.sort().values, torch.arange(1000))


def test_same_seed_and_epoch_give_same_draws_whatever_was_drawn_before():
    first = draws(3, 7)
    torch.manual_seed(99)
    torch.rand(5)
    draws(3, 8)
    assert all(torch.equal(a, b) for a, b in zip(first, draws(3, 7), strict=True))


def test_draws_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draws()
    assert torch.equal(torch.rand(3), expected)


def test_draws_are_the_same_with_every_torch_release():
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in draws(1, 2)))
    assert digest.hexdigest()[:16] == "ea58546aa6334915"


def test_no_two_of_900_seeds_and_epochs_share_their_order():
    orders = {tuple(draws(seed, epoch, count=20).order.tolist()) for seed in range(30) for epoch in range(30)}
    assert len(orders) == 900


@pytest.mark.parametrize("other", [(0, 1), (1, 0), (2**32, 0)])
def test_order_of_another_seed_or_epoch_is_unrelated(other):
    # The number of fixed points of a random permutation is Poisson(1): 10 or more has probability 1e-7.
    assert (draws(0, 0).order == draws(*other).order).sum() < 10


def test_switching_flip_off_changes_nothing_else():
    on, off = draws(flip=True), draws(flip=False)
    assert all(torch.equal(a, b) for a, b in zip(on[:3], off[:3], strict=True))
    assert on.flip.any()
    assert not off.flip.any()


def test_crop_padding_changes_neither_order_nor_flip():
    padded, bare = draws(crop_padding=4), draws(crop_padding=0)
    assert torch.equal(padded.order, bare.order)
    assert torch.equal(padded.flip, bare.flip)
    assert not bare.dy.any()
    assert not bare.dx.any()


def test_crops_and_flips_are_uniform_and_independent():
    # Chi-square over the 9 * 9 * 2 joint outcomes; mean 161, standard deviation sqrt(2 * 161).
    d = draws(count=81_000)
    cells = torch.bincount((d.dy * 9 + d.dx) * 2 + d.flip, minlength=162)
    assert len(cells) == 162
    chi_square = ((cells - 500.0) ** 2 / 500).sum()
    assert abs(chi_square - 161) < 5 * (2 * 161) ** 0.5


def test_crop_of_an_image_is_independent_between_epochs():
    first, second = (draws(0, epoch, count=81_000) for epoch in (0, 1))
    of_image = [torch.empty(81_000, dtype=torch.int64).scatter_(0, d.order, d.dy) for d in (first, second)]
    cells = torch.bincount(of_image[0] * 9 + of_image[1], minlength=81)
    assert abs(((cells - 1000.0) ** 2 / 1000).sum() - 80) < 5 * (2 * 80) ** 0.5


@pytest.mark.parametrize("wrong", [{"count": 0}, {"crop_padding": -1}])
def test_impossible_draws_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1 and 0"):
        draws(**wrong)


@pytest.mark.parametrize(
    ("count", "batch", "last_batch", "steps"),
    [
        (50_000, 128, "drop", 390),
        (50_000, 128, "keep", 391),
        (256, 128, "drop", 2),
        (256, 128, "keep", 2),
        (3, 8, "keep", 1),
    ],
)
def test_steps_per_epoch(count, batch, last_batch, steps):
    assert steps_per_epoch(count, batch, last_batch) == steps


@pytest.mark.parametrize(("last_batch", "sizes"), [("drop", [4, 4]), ("keep", [4, 4, 2])])
def test_slices_of_an_epoch_are_disjoint_and_only_drop_leaves_images_out(last_batch, sizes):
    order = draws(count=10).order
    batches = [order[batch_slice(i, 4)] for i in range(steps_per_epoch(10, 4, last_batch))]
    assert [len(batch) for batch in batches] == sizes
    assert len(torch.cat(batches).unique()) == sum(sizes)


def test_drop_leaves_out_other_images_in_every_epoch():
    dropped = {tuple(sorted(draws(0, epoch, count=10).order[8:].tolist())) for epoch in range(20)}
    assert len(dropped) > 5


@pytest.mark.parametrize(
    ("count", "batch", "last_batch", "message"),
    [(100, 128, "drop", "at most 100"), (100, 0, "keep", "at least 1"), (100, 10, "pad", "drop, keep")],
)
def test_impossible_batches_are_refused(count, batch, last_batch, message):
    with pytest.raises(ValueError, match=message):
        steps_per_epoch(count, batch, last_batch)
