"""The errors of a network against counts made with NumPy, and batch norm with statistics computed by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_repro import data
from resnet_repro.nets import CifarNet
from resnet_repro.probes.errors import error, final_errors, with_exact_statistics

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", Path("data"), split="45k")


@pytest.fixture(scope="module")
def transform(digits):
    return data.fit_transform(digits.train_x, normalize="channel", crop_padding=1)


@pytest.fixture
def net(digits, transform):
    """A network after a few steps, so that its running statistics are neither fresh nor exact."""
    net = CifarNet(8, width=4, in_channels=1, generator=torch.Generator().manual_seed(0)).train()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    for start in range(0, 1280, 128):
        images, labels = digits.train_x[start : start + 128], digits.train_y[start : start + 128]
        sgd.zero_grad()
        F.cross_entropy(net(transform.clean(images)), labels).backward()
        sgd.step()
    return net


def normalised(digits, images):
    """Pixels in 0..1, less the training set's mean, over its deviation; in float64 by NumPy."""
    train = digits.train_x.numpy() / 255
    return torch.from_numpy((images.numpy() / 255 - train.mean()) / train.std()).float()


def counted(net, images, labels):
    """The error by one forward pass over all images and NumPy's argmax."""
    with torch.no_grad():
        outputs = net.eval()(images).numpy()
    return 100 * float(np.mean(outputs.argmax(1) != labels.numpy()))


def measured(net, digits, transform, flip=False, seed=3):
    feed = data.Resident(digits, lambda _: transform, device=CPU, seed=seed, batch=128, flip=flip)
    return final_errors(net, feed, batch=128, valid=True, bf16=False)


def test_clean_errors_equal_an_independent_count(net, digits, transform):
    errors = measured(net, digits, transform)
    for name, images, labels in [
        ("train_error_clean", digits.train_x, digits.train_y),
        ("valid_error", digits.valid_x, digits.valid_y),
        ("test_error", digits.test_x, digits.test_y),
    ]:
        expected = counted(net, normalised(digits, images), labels)
        assert errors[name] == pytest.approx(expected, abs=101 / len(labels)), name  # one image may lie on the edge
        assert 0 < expected < 100


@pytest.mark.parametrize("flip", [False, True])
def test_the_augmented_error_is_that_of_one_epoch_of_crops_and_flips(net, digits, transform, flip):
    draws = data.epoch_draws(3, -1, count=1350, crop_padding=1, flip=flip)
    images = []
    for i, dy, dx, mirrored in zip(*(part.numpy() for part in draws), strict=True):
        crop = np.pad(digits.train_x[i, 0].numpy(), 1)[dy : dy + 8, dx : dx + 8]
        images.append(crop[:, ::-1] if mirrored else crop)
    stacked = torch.from_numpy(np.stack(images)[:, None].copy())
    expected = counted(net, normalised(digits, stacked), digits.train_y[draws.order])
    errors = measured(net, digits, transform, flip=flip)
    assert errors["train_error_augmented"] == pytest.approx(expected, abs=101 / 1350)
    assert errors["train_error_augmented"] != errors["train_error_clean"]


def test_exact_statistics_of_one_layer_are_the_mean_over_batches():
    x = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    batches = [x[:4], x[4:8], x[8:]]
    exact = with_exact_statistics(nn.BatchNorm2d(3), lambda: [(b, None) for b in batches])
    values = [b.numpy().transpose(1, 0, 2, 3).reshape(3, -1) for b in batches]
    assert np.allclose(exact.running_mean, np.mean([v.mean(1) for v in values], 0), atol=1e-6)
    assert np.allclose(exact.running_var, np.mean([v.var(1, ddof=1) for v in values], 0), atol=1e-6)


def test_exact_errors_equal_a_net_with_statistics_set_by_hand(net, digits, transform):
    errors = measured(net, digits, transform)
    layers = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    sums = {layer: [0.0, 0.0] for layer in layers}
    for layer in layers:
        layer.register_forward_pre_hook(lambda m, x: add(sums[m], x[0].double()))
    batches = normalised(digits, digits.train_x).split(128)
    with torch.no_grad():
        for batch in batches:
            net.train()(batch)
    for layer, (mean, variance) in sums.items():
        layer.running_mean.copy_(mean / len(batches))
        layer.running_var.copy_(variance / len(batches))
    for part, images, labels in [
        ("train", digits.train_x, digits.train_y),
        ("test", digits.test_x, digits.test_y),
    ]:
        expected = counted(net, normalised(digits, images), labels)
        assert errors[f"{part}_error_exact_bn"] == pytest.approx(expected, abs=0.2), part  # two images of 1,350
    assert errors["train_error_exact_bn"] != errors["train_error_clean"]


def add(total, x):
    total[0] = total[0] + x.mean((0, 2, 3))
    total[1] = total[1] + x.var((0, 2, 3), correction=1)


def test_measuring_leaves_the_network_as_it_was(net, digits, transform):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for training in (True, False):
        measured(net.train(training), digits, transform)
        assert all(module.training is training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_without_batch_norm_exact_statistics_change_nothing(digits, transform):
    net = CifarNet(8, width=4, in_channels=1, norm="group", generator=torch.Generator().manual_seed(0))
    errors = measured(net, digits, transform)
    assert errors["train_error_exact_bn"] == errors["train_error_clean"]
    assert errors["test_error_exact_bn"] == errors["test_error"]


def test_outputs_that_are_no_numbers_are_wrong_answers():
    outputs = torch.tensor([[1.0, 0.0], [float("nan"), 0.0], [float("inf"), 0.0], [-float("inf"), 1.0], [0.0, 1.0]])
    labels = torch.zeros(5, dtype=torch.int64)
    assert error(nn.Identity(), lambda: [(outputs[:2], labels[:2]), (outputs[2:], labels[2:])]) == 80.0


def test_the_error_counts_images_and_not_batches():
    outputs = torch.eye(3)[[0, 0, 0, 1]]
    labels = torch.zeros(4, dtype=torch.int64)
    assert error(nn.Identity(), lambda: [(outputs[:3], labels[:3]), (outputs[3:], labels[3:])]) == 25.0


def test_clean_batches_go_over_every_image_once_in_order(digits, transform):
    parts = list(data.clean_batches(transform, digits.test_x, digits.test_y, CPU, batch=100)())
    assert [len(labels) for _, labels in parts] == [100, 100, 97]
    assert torch.equal(torch.cat([labels for _, labels in parts]), digits.test_y)
    assert torch.allclose(torch.cat([images for images, _ in parts]), normalised(digits, digits.test_x), atol=1e-5)
