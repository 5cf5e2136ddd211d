"""A deep net that starts as a shallower one computes the same, and what cannot start so is refused."""

import pytest
import torch
import torch.nn.functional as F

from resnet_repro.config import ConfigError
from resnet_repro.data.sets import load
from resnet_repro.settings import compose
from resnet_repro.training.network import build

IMAGES = load("digits", "nowhere")
X = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def net(*overrides):
    return build(compose(["task=digits", "model.width=8", "env.channels_last=false", "seed=3", *overrides]), IMAGES)


@pytest.mark.parametrize(
    "settings",
    [
        ("model=resnet",),
        ("model=resnet", "model.norm=none", "model.shortcut=B"),
        ("model=resnet", "model.norm=group_ws", "model.init=torch"),
        ("model=plain", "model.norm=none", "model.init=he_border"),
    ],
)
def test_it_computes_what_the_net_of_that_depth_and_seed_does_and_every_block_can_learn(settings):
    deep, shallow = net(*settings, "model.depth=20", "model.starts_as=8"), net(*settings, "model.depth=8")
    for training in (True, False):
        found, expected = (n.train(training)(X[:, :, :8, :8]) for n in (deep, shallow))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    F.cross_entropy(deep.train()(X[:, :, :8, :8]), torch.arange(8)).backward()
    for block in deep.blocks:
        assert any(p.grad.abs().sum() > 0 for p in block.parameters())


def test_an_imagenet_net_of_34_layers_can_start_as_one_of_18():
    family = ("model.family=imagenet", "model.width=4", "model.norm=batch", "model=resnet")
    deep, shallow = net(*family, "model.depth=34", "model.starts_as=18"), net(*family, "model.depth=18")
    assert torch.equal(deep(X), shallow(X))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model=plain",), r"no block of a plain net with norm is an identity.*; use model\.norm=none or model=resnet"),
        (("model.starts_as=20",), r"must be less than model\.depth=20, got 20"),
        (("model.starts_as=9",), r"starts_as: depth must be 6n \+ 2 .*, got 9"),
        (("model.shortcut_scale=0.5",), r"needs blocks that can be identities, got model\.shortcut_scale=0\.5"),
        (("model.shortcut=C",), r"got model\.shortcut=C"),
        (("model.branch_scale=skipinit",), r"got model\.branch_scale=skipinit"),
    ],
)
def test_what_cannot_start_so_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        compose(["model.depth=20", "model.starts_as=8", *settings])
