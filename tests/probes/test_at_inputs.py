"""What a network makes of its inputs, against closed forms, NumPy, and torch's own Jacobian."""

import numpy as np
import pytest
import torch
from torch import nn

from resnet_repro.nets import CifarNet
from resnet_repro.probes import shattering, similarity, spectrum
from resnet_repro.probes.batch import Batch, with_statistics_of


def images(count=6, side=8, seed=1):
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_net(norm="batch"):
    net = CifarNet(8, width=4, in_channels=1, norm=norm, generator=torch.Generator().manual_seed(0))
    return net.double()


def batch_of(some):
    return Batch(some, torch.arange(len(some)) % 10, bf16=False)


def values(readings, metric):
    """Those of a metric, after a look that x counts them from 1."""
    found = {x: value for name, x, y, value in readings if name == metric and y is None}
    assert list(found) == list(range(1, len(found) + 1))
    return list(found.values())


def test_with_the_statistics_of_a_batch_a_net_computes_what_it_does_in_training_mode():
    net, some = small_net(), images(64)
    trained = net.train()(some)
    fixed = with_statistics_of(some, net)
    assert not fixed.training
    assert torch.allclose(fixed(some), trained, rtol=0.1, atol=0.02)  # 64 / 63 in each variance
    assert torch.allclose(fixed(some[:3]), fixed(some)[:3])


class Wave(nn.Module):
    """The first logit is sin(c * sum of the pixels), the other one 0."""

    def __init__(self, c):
        super().__init__()
        self.c = c

    def forward(self, x):
        wave = torch.sin(self.c * x.flatten(1).sum(1))
        return torch.stack([wave, 0 * wave], 1)


def test_the_autocorrelation_of_a_gradient_that_is_known_in_closed_form():
    some = images(2)
    found = values(shattering.measure(Wave(3.0), batch_of(some)), "gradient_acf")
    start, end = (float(image.sum()) for image in some)
    slopes = 3 * (end - start) * np.cos(3 * np.linspace(start, end, 256))
    centred = slopes - slopes.mean()
    full = np.correlate(centred, centred, "full")[255:]
    assert found == pytest.approx(full[1:16] / full[0], abs=1e-9)


def test_white_noise_has_no_autocorrelation_and_a_random_walk_has():
    noise = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    assert float(shattering.autocorrelation(noise).abs().max()) < 0.06
    assert float(shattering.autocorrelation(noise.cumsum(0)).min()) > 0.9


def test_batch_norm_has_the_statistics_of_the_line_or_of_the_images():
    """Images beside those that the lines join change the one kind of statistics only; without batch norm nothing."""
    some, more = images(16), torch.cat([images(16), 9 * images(4, seed=2)])
    few, many = (shattering.measure(small_net(), batch_of(given)) for given in (some, more))
    assert values(few, "gradient_acf") == values(many, "gradient_acf")
    assert values(few, "gradient_acf_images") != values(many, "gradient_acf_images")
    without = shattering.measure(small_net("none"), batch_of(more))
    assert values(without, "gradient_acf") == values(without, "gradient_acf_images")


def test_cosines_and_dimensions_are_those_of_numpy():
    some = images(6)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.Flatten(), nn.Linear(108, 2)).double()
    readings = similarity.measure(net, batch_of(some))
    with torch.no_grad():
        outputs = [net[0](some).flatten(1).numpy(), net(some).numpy()]
    for x, output in enumerate(outputs):
        unit = output / np.linalg.norm(output, axis=1, keepdims=True)
        pairs = [float(unit[i] @ unit[j]) for i in range(6) for j in range(i)]
        assert values(readings, "output_cosine")[x] == pytest.approx(np.mean(pairs))
        spread = np.linalg.eigvalsh(np.cov(output.T))
        assert values(readings, "output_rank")[x] == pytest.approx(spread.sum() ** 2 / (spread**2).sum())


def test_cosines_of_gradients_are_those_of_each_image_alone():
    some = images(5)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 2)).double()
    found = values(similarity.measure(net, batch_of(some)), "gradient_cosine")
    with torch.no_grad():  # by the chain rule
        gradients = (net[3].weight[0] * (1 - net[:3](some).square())).numpy()
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    pairs = [float(unit[i] @ unit[j]) for i in range(5) for j in range(i)]
    assert found == [pytest.approx(np.mean(pairs)), pytest.approx(1)]


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_singular_values_are_those_of_the_dense_jacobian_of_each_image(norm):
    net, some = small_net(norm), images(5)
    found = values(spectrum.measure(net, batch_of(some)), "jacobian_singular_value")
    linear = spectrum.weighted_layers(net)[-1]
    kept = []
    linear.register_forward_pre_hook(lambda _, args: kept.append(args[0]))

    def features(image):
        net(image[None])
        return kept.pop()[0]

    dense = [torch.func.jacrev(features)(image).flatten(1) for image in some]
    singular = np.array([np.linalg.svd(one.detach().numpy(), compute_uv=False) for one in dense])
    assert found == pytest.approx(np.sort(singular, 0)[2], rel=1e-6)  # the median of five
    assert len(found) == 16
