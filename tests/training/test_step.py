import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_repro.training.step import NEVER, Tally, train_step


def linear(seed=0):
    """A net of one matrix, whose gradient has a closed form."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)))
    return net


def batch(count=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 2, 2, generator=generator), torch.randint(3, (count,), generator=generator)


def gradient(weight, images, labels):
    """Of the mean cross-entropy with respect to the matrix: (softmax - one hot)^T x / N, in float64."""
    x = images.flatten(1).double()
    missed = torch.softmax(x @ weight.double().T, 1) - F.one_hot(labels, 3)
    return missed.T @ x / len(labels)


def test_a_step_is_gradient_descent_on_the_mean_cross_entropy():
    net, (images, labels) = linear(), batch()
    before = net[1].weight.detach().clone()
    loss, logits = train_step(net, torch.optim.SGD(net.parameters(), lr=0.5), images, labels)
    expected = before.double() - 0.5 * gradient(before, images, labels)
    assert torch.allclose(net[1].weight.double(), expected, atol=1e-6)
    assert torch.equal(logits, images.flatten(1) @ before.T)
    probabilities = torch.softmax(logits.double(), 1).numpy()
    assert float(loss) == pytest.approx(-np.log(probabilities[range(6), labels.numpy()]).mean())


def test_gradients_of_an_earlier_step_are_forgotten():
    images, labels = batch()
    one, two = linear(), linear()
    two[1].weight.grad = torch.full((3, 4), 100.0)
    for net in (one, two):
        train_step(net, torch.optim.SGD(net.parameters(), lr=0.5), images, labels)
    assert torch.equal(one[1].weight, two[1].weight)


@pytest.mark.parametrize("clip", [0.01, 100.0])
def test_clip_shortens_a_longer_gradient_to_its_norm_and_leaves_a_shorter_one(clip):
    net, (images, labels) = linear(), batch()
    before = net[1].weight.detach().clone()
    train_step(net, torch.optim.SGD(net.parameters(), lr=1.0), images, labels, clip=clip)
    norm = gradient(before, images, labels).norm().item()
    assert 0.01 < norm < 100.0
    assert (before - net[1].weight).norm().item() == pytest.approx(min(norm, clip), rel=1e-4)


def test_bf16_computes_in_bfloat16_and_keeps_weights_and_loss_in_float32():
    images, labels = batch()
    losses = {}
    for bf16 in (False, True):
        net = linear()
        loss, logits = train_step(net, torch.optim.SGD(net.parameters(), lr=0.5), images, labels, bf16=bf16)
        assert logits.dtype == (torch.bfloat16 if bf16 else torch.float32)
        assert loss.dtype == net[1].weight.dtype == torch.float32
        losses[bf16] = float(loss)
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=0.02)  # 8 bits of mantissa


def test_the_tally_counts_misses_as_numpy_does():
    tally = Tally(torch.device("cpu"))
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(n, 5)).astype(np.float32) for n in (7, 3)]
    labels = [rng.integers(5, size=n) for n in (7, 3)]
    for loss, z, y in zip([1.0, 2.0], logits, labels, strict=True):
        tally.add(torch.tensor(loss), torch.from_numpy(z), torch.from_numpy(y))
    expected = sum(int((z.argmax(1) != y).sum()) for z, y in zip(logits, labels, strict=True))
    assert int(tally.wrong) == expected
    assert int(tally.seen) == 10
    assert float(tally.loss) == 7 * 1.0 + 3 * 2.0  # a mean over images, not over batches
    assert int(tally.first_bad) == NEVER


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_tally_remembers_the_first_non_finite_loss_beyond_a_reset(value):
    tally = Tally(torch.device("cpu"))
    images, labels = torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)
    tally.step.fill_(7)
    for loss in (1.0, value, 1.0, value):
        tally.add(torch.tensor(loss), images, labels)
    tally.reset()
    assert int(tally.first_bad) == 8
    assert int(tally.seen) == int(tally.wrong) == float(tally.loss) == 0


def test_outputs_that_are_no_numbers_are_misses():
    tally = Tally(torch.device("cpu"))
    logits = torch.tensor([[9.0, 0.0], [float("nan"), 0.0], [float("inf"), 0.0]])
    tally.add(torch.tensor(1.0), logits, torch.zeros(3, dtype=torch.int64))
    assert int(tally.wrong) == 2
