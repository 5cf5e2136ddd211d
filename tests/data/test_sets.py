import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from resnet_repro.data import load
from resnet_repro.data.sets import shrunk
from resnet_repro.errors import UserError

NOWHERE = Path("/nonexistent")


def rows(images):
    return {image.numpy().tobytes() for image in images}


def test_digits_are_those_of_scikit_learn():
    images, digits = load("digits", NOWHERE), load_digits()
    assert images.train_x.shape == (1500, 1, 8, 8)
    assert images.test_x.shape == (297, 1, 8, 8)
    assert images.train_x.dtype == torch.uint8
    levels = torch.cat([images.train_x, images.test_x])[:, 0].numpy()
    np.testing.assert_allclose(levels * (16 / 255), digits.images, atol=0.5 * 16 / 255)
    np.testing.assert_array_equal(torch.cat([images.train_y, images.test_y]), digits.target)
    assert images.train_y.dtype == torch.int64
    assert (levels.min(), levels.max(), images.classes) == (0, 255, 10)


def test_full_split_has_no_validation_set():
    images = load("digits", NOWHERE)
    assert images.valid_x is None
    assert images.valid_y is None


def test_45k_split_holds_out_a_tenth_of_the_training_set_and_leaves_the_test_set():
    full, split = load("digits", NOWHERE), load("digits", NOWHERE, split="45k")
    assert (len(split.train_x), len(split.valid_x)) == (1350, 150)
    assert (len(split.train_y), len(split.valid_y)) == (1350, 150)
    assert torch.equal(split.test_x, full.test_x)
    assert torch.equal(split.test_y, full.test_y)


def test_45k_split_is_disjoint_complete_and_keeps_labels_with_images():
    full, split = load("digits", NOWHERE), load("digits", NOWHERE, split="45k")
    assert len(rows(full.train_x)) == 1500  # all different, so they can be told apart
    assert not rows(split.train_x) & rows(split.valid_x)
    assert rows(split.train_x) | rows(split.valid_x) == rows(full.train_x)
    label = {x.numpy().tobytes(): int(y) for x, y in zip(full.train_x, full.train_y, strict=True)}
    for images, labels in ((split.train_x, split.train_y), (split.valid_x, split.valid_y)):
        assert [label[x.numpy().tobytes()] for x in images] == labels.tolist()


def test_45k_split_mixes_the_classes():
    valid = load("digits", NOWHERE, split="45k").valid_y.bincount(minlength=10)
    assert valid.min() >= 5


def test_45k_split_depends_on_no_global_state_and_no_torch_release():
    torch.manual_seed(1)
    first = load("digits", NOWHERE, split="45k").valid_x
    torch.manual_seed(2)
    assert torch.equal(first, load("digits", NOWHERE, split="45k").valid_x)
    assert hashlib.sha256(first.numpy()).hexdigest()[:16] == "f3deaffca584399e"


def test_sha256_names_the_full_set_before_the_split():
    assert load("digits", NOWHERE).sha256 == load("digits", NOWHERE, split="45k").sha256
    assert load("digits", NOWHERE).sha256[:16] == "c56ae7cd9884d556"


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [("mnist", "full", "digits, cifar10, cifar100, folder"), ("digits", "40k", "full, 45k")],
)
def test_unknown_names_are_refused_with_the_known_ones(name, split, message):
    with pytest.raises(ValueError, match=message):
        load(name, NOWHERE, split=split)


def test_images_are_averaged_down_over_squares_of_pixels():
    images = load("digits", NOWHERE, split="45k")
    small = shrunk(images, 4)
    for part in ("train_x", "valid_x", "test_x"):
        squares = getattr(images, part).numpy().reshape(-1, 1, 4, 2, 4, 2)
        np.testing.assert_array_equal(getattr(small, part).numpy(), np.round(squares.mean((3, 5))))
    assert torch.equal(small.train_y, images.train_y)
    assert shrunk(images, None) is shrunk(images, 8) is images
    assert small.image_size == (4, 4)


@pytest.mark.parametrize(("shape", "size"), [((8, 8), 9), ((8, 6), 4)])
def test_images_are_not_enlarged_and_only_square_ones_averaged_down(shape, size):
    images = load("digits", NOWHERE)
    cut = dataclasses.replace(images, train_x=images.train_x[..., : shape[0], : shape[1]])
    with pytest.raises(UserError, match=rf"data.size is {size}, and the images have {shape[1]}x{shape[0]} pixels"):
        shrunk(cut, size)
