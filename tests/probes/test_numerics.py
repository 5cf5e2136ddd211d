"""Every layer that the networks can have, in both layouts, beside float64; and that a wrong one would be seen."""

from dataclasses import fields

import pytest
import torch
from torch import nn

from resnet_repro.config import Model
from resnet_repro.nets import CifarNet
from resnet_repro.probes.numerics import Case, check, step_deviations

CHOICES = {f.name: f.metadata["choices"] for f in fields(Model) if "choices" in f.metadata}
SMALL = {"depth": 8, "in_channels": 1, "width": 4}


def cases():
    """Maps of 8, 4, 2 and of 32, 16, 8; widths below, at and above what a vector holds; batches of 128."""
    nets = [SMALL | {"shortcut": "C", "width": width} for width in (2, 3, 4, 5, 6, 7, 8, 9, 12, 16)]
    nets += [SMALL | {"depth": 14, "shortcut": shortcut} for shortcut in CHOICES["shortcut"]]
    nets += [SMALL | {"shortcut_subsample": s, "shortcut_pad": "split"} for s in CHOICES["shortcut_subsample"]]
    nets += [SMALL | {"shortcut": "C", "norm": norm, "width": 8} for norm in CHOICES["norm"]]
    nets += [SMALL | {"ghost_batch": 64}, SMALL | {"residual": False}]
    nets += [SMALL | {"shortcut": "C", "norm": "none", "width": 1}]  # with a norm, one channel's gradients cancel
    nets += [SMALL | {"depth": 11, "block": "bottleneck", "stride_on": s} for s in CHOICES["stride_on"]]
    nets += [SMALL | {"depth": 11, "block": "bottleneck", "order": order} for order in CHOICES["order"]]
    nets += [SMALL | {"activation": activation} for activation in CHOICES["activation"]]
    nets += [SMALL | {"branch_scale": scale} for scale in CHOICES["branch_scale"][1:]]
    imagenet = [{"depth": 18, "width": 8, "shortcut": "B"}, {"depth": 50, "width": 4, "block": "bottleneck"}]
    large = [{"depth": 8, "shortcut": "C", "width": width} for width in (2, 16)]
    all_cases = [Case(net, channels_last=layout) for net in nets for layout in (True, False)]
    all_cases += [Case(net, size=32, channels_last=layout) for net in large for layout in (True, False)]
    all_cases += [Case(net, "imagenet", 64, 32, channels_last=layout) for net in imagenet for layout in (True, False)]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():  # elsewhere it is emulated, by other kernels and slowly
        all_cases += [Case(net, bf16=True, channels_last=layout) for net in nets for layout in (True, False)]
    return all_cases


def test_every_layer_of_every_kind_of_network_is_right_in_both_layouts():
    assert [(str(o.case), o.worst, o.crash) for o in check(cases()) if not o.right] == []


@pytest.mark.parametrize("stride_on", CHOICES["stride_on"])
@pytest.mark.parametrize("shortcut", CHOICES["shortcut"])
def test_no_network_leaves_the_stride_to_a_1x1_convolution(shortcut, stride_on):
    for net in (
        CifarNet(14, width=4, shortcut=shortcut),
        CifarNet(20, width=4, shortcut=shortcut, block="bottleneck", stride_on=stride_on),
    ):
        convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) >= 13 + {"A": 0, "B": 2, "C": 6}[shortcut]
        assert all(conv.stride == (1, 1) for conv in convolutions if conv.kernel_size == (1, 1))


@pytest.mark.parametrize("result", ["output", "input gradient", "weight gradient"])
def test_a_layer_that_is_wrong_by_a_tenth_in_float32_is_found(result, monkeypatch):
    right = nn.Conv2d._conv_forward

    def wrong(self, x, weight, bias):
        if x.dtype == torch.float64 or self.in_channels != 8:
            return right(self, x, weight, bias)
        of = {"input gradient": x, "weight gradient": weight}
        if result in of:
            scaled = of[result].view_as(of[result])
            scaled.register_hook(lambda gradient: 1.1 * gradient)
            x, weight = (scaled, weight) if result == "input gradient" else (x, scaled)
        y = right(self, x, weight, bias)
        return 1.1 * y if result == "output" else y

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", wrong)
    found = {(d.layer, d.result) for d in step_deviations(Case(SMALL, batch=32)) if d.relative > 0.05}
    assert {layer for layer, kind in found if kind == result} >= {"blocks.1.conv2", "blocks.2.conv1"}
    assert {layer for layer, _ in found} == {"blocks.1.conv2", "blocks.2.conv1"}


def test_a_case_that_ends_its_process_is_an_outcome_and_the_next_go_on():
    first, second, third = check([Case(SMALL, batch=8), Case(SMALL | {"depth": 9}, batch=8), Case(SMALL, batch=8)])
    assert first.right
    assert third.right
    assert (second.right, second.worst) == (False, None)
    assert "depth must be 6n + 2" in second.crash
