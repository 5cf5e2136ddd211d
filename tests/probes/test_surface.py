"""The loss around a network, by hand, against moved copies of it, and how convex a surface is."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_repro import data, records
from resnet_repro.config import run_id
from resnet_repro.nets import CifarNet
from resnet_repro.probes import PROBES, surface
from resnet_repro.probes.batch import Batch
from resnet_repro.settings import compose
from resnet_repro.train import train
from resnet_repro.training import engine
from resnet_repro.training.looks import Looks
from resnet_repro.training.network import build

TINY = ("task=digits", "model.depth=8", "model.width=4", "optim.steps=40", "optim.milestones=[20]")


def batch(seed=1):
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(8), bf16=False, seed=seed)


def net_of(**settings):
    net = CifarNet(8, width=2, in_channels=1, generator=torch.Generator().manual_seed(0), **settings).double()
    net(batch().images)  # running statistics that differ from the first ones
    return net


def losses(net, given):
    return {(metric, x, y): value for metric, x, y, value in surface.measure(copy.deepcopy(net), given)}


@pytest.mark.parametrize("settings", [{"residual": False}, {}, {"norm": "none"}, {"shortcut": "C"}])
def test_the_centre_is_the_loss_and_the_line_a_cut_of_the_plane(settings):
    net, given = net_of(**settings), batch()
    found = losses(net, given)
    assert {metric for metric, *_ in found} == set(PROBES["surface"].quantities)
    for training, ending in ((False, ""), (True, "_recomputed")):
        with torch.no_grad():
            loss = F.cross_entropy(copy.deepcopy(net).train(training)(given.images), given.labels).item()
        assert found[f"loss_on_line{ending}", 0, None] == found[f"loss_on_plane{ending}", 0, 0] == loss
        for x in surface.PLANE:
            assert found[f"loss_on_line{ending}", x, None] == found[f"loss_on_plane{ending}", x, 0]
    assert len(found) == 2 * (33 + 17 * 17)


def test_a_point_is_the_loss_of_a_network_with_these_weights():
    net, given = net_of(), batch(seed=5)
    found = losses(net, given)
    generator = torch.Generator().manual_seed(5)
    weights = list(net.parameters())
    across, up = (surface.filter_normalised(weights, generator) for _ in range(2))
    with torch.no_grad():
        for weight, one, other in zip(weights, across, up, strict=True):
            weight.add_(0.75 * one - 0.25 * other)
        loss = F.cross_entropy(net.eval()(given.images), given.labels).item()
    assert found["loss_on_plane", 0.75, -0.25] == pytest.approx(loss)


def test_every_filter_of_a_direction_is_as_long_as_that_of_the_network_and_the_rest_is_0():
    net = net_of(shortcut="B", branch_scale="skipinit")
    direction = surface.filter_normalised(list(net.parameters()), torch.Generator().manual_seed(0))
    for (name, weight), own in zip(net.named_parameters(), direction, strict=True):
        assert own.shape == weight.shape
        if isinstance(net.get_submodule(name.rpartition(".")[0]), nn.Conv2d | nn.Linear) and name.endswith("weight"):
            for k in range(len(weight)):
                assert own[k].norm().item() == pytest.approx(weight[k].norm().item())
                assert F.cosine_similarity(own[k].flatten(), weight[k].flatten(), dim=0).abs() < 1
        else:
            assert not own.any()


def test_a_linear_layer_by_hand():
    """One input of 1, two filters of one weight: a Gaussian number times |w| / |d| is w or -w."""
    net = nn.Linear(1, 2).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0], [0.5]]))
        net.bias.copy_(torch.tensor([0.25, 0.0]))
    given = Batch(torch.ones(1, 1, dtype=torch.float64), torch.tensor([0]), bf16=False, seed=3)
    signs = torch.randn(2, 1, generator=torch.Generator().manual_seed(3)).sign().flatten().tolist()
    found = losses(net, given)
    for x in surface.LINE:
        margin = 2 * (1 + x * signs[0]) + 0.25 - 0.5 * (1 + x * signs[1])
        assert found["loss_on_line", x, None] == pytest.approx(math.log1p(math.exp(-margin)))
        assert found["loss_on_line_recomputed", x, None] == found["loss_on_line", x, None]


def test_with_the_batchs_statistics_longer_filters_change_nothing_and_with_those_trained_they_do():
    net, given = net_of(residual=False), batch()
    longer = copy.deepcopy(net)
    with torch.no_grad():
        longer.conv.weight *= 3
    ours, theirs = losses(net, given), losses(longer, given)
    for metric, x, y in ours:
        if metric.endswith("recomputed"):
            assert theirs[metric, x, y] == pytest.approx(ours[metric, x, y], rel=1e-5)
    assert theirs["loss_on_line", 0.5, None] != pytest.approx(ours["loss_on_line", 0.5, None], rel=1e-2)


def test_directions_follow_from_the_seed_and_nothing_random_moves():
    net, state = net_of(), torch.get_rng_state()
    first, again, other = (losses(net, batch(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again
    assert first["loss_on_line", 0.5, None] != other["loss_on_line", 0.5, None]


def test_the_directions_of_a_run_are_not_those_that_its_weights_were_drawn_in(tmp_path):
    """From one seed both would be the same Gaussian numbers."""
    run = compose([*TINY, f"env.runs_dir={tmp_path}", "seed=7"])
    images = data.load("digits", Path("data"))
    net = build(run, images)
    seed = Looks(run, images, engine.feed(run, images, torch.device("cpu")), torch.device("cpu")).batch.seed
    direction = surface.filter_normalised([net.conv.weight], torch.Generator().manual_seed(seed))[0]
    cosines = F.cosine_similarity(direction.flatten(1), net.conv.weight.flatten(1))
    assert cosines.abs().max() < 0.99
    same = surface.filter_normalised([net.conv.weight], torch.Generator().manual_seed(7))[0]
    assert torch.allclose(same, net.conv.weight)


def test_measuring_curvature_and_surface_changes_no_bit_of_a_run(tmp_path):
    runs = [
        compose([*TINY, "env.wandb=disabled", f"env.runs_dir={tmp_path / name}", "measure.keep=net", *probes])
        for name, probes in (("bare", []), ("probed", ["measure.probes=[curvature,surface]"]))
    ]
    bare, probed = (train(run) for run in runs)
    assert probed["net_sha256"] == bare["net_sha256"]
    assert probed["metrics"] == bare["metrics"]
    points = records.read_points(records.folder(runs[1], run_id(runs[1])))
    assert {step for step, metric, *_ in points if metric == "hessian_eigenvalue"} == {0, 40}
    assert {step for step, metric, *_ in points if metric == "loss_on_plane"} == {40}
