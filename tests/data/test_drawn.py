"""Which training images a run sees and with which labels, counted on the real digits."""

from pathlib import Path

import pytest
import torch

from resnet_repro.data import drawn, load
from resnet_repro.errors import UserError


@pytest.fixture(scope="module")
def digits():
    return load("digits", Path("/nonexistent"), split="45k")


def rows(images):
    return [image.numpy().tobytes() for image in images]


def untouched(one, two):
    return all(torch.equal(getattr(one, p), getattr(two, p)) for p in ("valid_x", "valid_y", "test_x", "test_y"))


def test_every_class_gives_as_many_images_and_no_image_comes_twice_or_with_another_label(digits):
    part = drawn(digits, 375, 0.0, 3)
    assert sorted(part.train_y.bincount(minlength=10).tolist()) == [37] * 5 + [38] * 5
    assert len(set(rows(part.train_x))) == 375
    label = dict(zip(rows(digits.train_x), digits.train_y.tolist(), strict=True))
    assert [label[row] for row in rows(part.train_x)] == part.train_y.tolist()
    assert untouched(part, digits)
    assert part.sha256 == digits.sha256


def test_a_part_lies_within_a_larger_one_of_its_seed_and_another_seed_draws_others(digits):
    small, large, other = (set(rows(drawn(digits, n, 0.0, s).train_x)) for n, s in ((70, 3), (375, 3), (70, 4)))
    assert small < large
    assert len(small & other) < 20  # 4 of 70 are expected


def test_more_images_than_the_smallest_class_allows_are_refused(digits):
    most = 10 * int(digits.train_y.bincount().min())
    assert len(drawn(digits, most, 0.0, 0).train_y) == most
    with pytest.raises(UserError, match=rf"data.images is {most + 1}.*use at most {most}"):
        drawn(digits, most + 1, 0.0, 0)


def test_a_share_of_the_training_labels_is_another_class_each_as_often(digits):
    given = drawn(digits, None, 0.2, 3)
    wrong = given.train_y != digits.train_y
    assert int(wrong.sum()) == 270  # 0.2 of 1,350
    assert torch.equal(given.train_x, digits.train_x)
    assert untouched(given, digits)
    every = torch.stack([drawn(digits, None, 1.0, seed).train_y - digits.train_y for seed in range(20)]) % 10
    counts = every.flatten().bincount(minlength=10)
    assert counts[0] == 0
    assert counts[1:].tolist() == pytest.approx([3000] * 9, abs=5 * 3000**0.5)
    wrong_by_class = digits.train_y[wrong].bincount(minlength=10) / digits.train_y.bincount(minlength=10)
    assert wrong_by_class.min() > 0.1
    assert wrong_by_class.max() < 0.3


def test_the_same_seed_gives_the_same_labels_whatever_else_was_drawn_and_another_seed_others(digits):
    torch.manual_seed(1)
    first = drawn(digits, 375, 0.2, 3)
    torch.manual_seed(2)
    again, other = drawn(digits, 375, 0.2, 3), drawn(digits, None, 0.2, 4)
    assert torch.equal(first.train_x, again.train_x)
    assert torch.equal(first.train_y, again.train_y)
    assert not torch.equal(drawn(digits, None, 0.2, 3).train_y, other.train_y)


def test_all_images_with_true_labels_are_the_data_set_itself(digits):
    assert drawn(digits, None, 0.0, 3) is digits
