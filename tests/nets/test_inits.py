import math

import pytest
import torch
import torchvision
from torch import nn

from resnet_repro.nets import CifarNet, ImageNet
from resnet_repro.nets.imagenet import from_torchvision
from resnet_repro.nets.inits import initialize
from resnet_repro.nets.norms import NORMS

INITS = ("he", "xavier", "lecun", "torch")
ALL = (*INITS, "he_border", "orthogonal", "delta_orthogonal")
ARMS = [
    {"shortcut": "A"},
    {"shortcut": "A", "shortcut_scale": 0.5, "shortcut_subsample": "avgpool", "shortcut_pad": "split"},
    {"shortcut": "B"},
    {"shortcut": "C"},
]


def net(seed=0, **options):
    return CifarNet(14, **options, image_size=(8, 8), generator=torch.Generator().manual_seed(seed))


def layers(model):
    """The convolutions and the linear layer with their names, those on the main path first."""
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [f for f in found if "shortcut" not in f[0]] + [f for f in found if "shortcut" in f[0]]


@pytest.mark.parametrize("init", ALL)
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_the_same_seed_gives_plain_and_residual_networks_the_same_values(init, norm, arm):
    plain = net(residual=False, init=init, norm=norm).state_dict()
    residual = net(init=init, norm=norm, **arm).state_dict()
    assert all(torch.equal(residual[name], value) for name, value in plain.items())


@pytest.mark.parametrize("init", ALL)
@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_the_norm_does_not_change_the_weights(init, shortcut):
    networks = [layers(net(init=init, norm=norm, shortcut=shortcut)) for norm in NORMS]
    for (name, first), *others in zip(*networks, strict=True):
        assert all(torch.equal(first.weight, other.weight) for _, other in others), name


def test_another_seed_gives_other_weights():
    assert not torch.equal(net(seed=0).conv.weight, net(seed=1).conv.weight)


def test_the_global_generator_is_neither_used_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = net()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), net().parameters(), strict=True))


def variance(init, fan, weight, is_linear):
    k = 1 if is_linear else weight.shape[2] * weight.shape[3]
    fan_in, fan_out = weight.shape[1] * k, weight.shape[0] * k
    if init == "he" and not is_linear:
        return 2 / (fan_out if fan == "fan_out" else fan_in)
    if is_linear:
        return 1 / (3 * fan_in)
    return {"xavier": 2 / (fan_in + fan_out), "lecun": 1 / fan_in, "torch": 1 / (3 * fan_in)}[init]


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("fan", ["fan_in", "fan_out"])
def test_weights_have_the_analytic_variance_and_mean_zero(init, fan):
    for name, layer in layers(net(init=init, fan=fan, shortcut="C", width=32)):
        w, expected = layer.weight, variance(init, fan, layer.weight, name == "linear")
        sigmas = 5 / math.sqrt(w.numel())  # 5 standard errors; that of a normal's variance is sqrt(2 / n)
        assert w.var().item() == pytest.approx(expected, rel=sigmas * math.sqrt(2)), name
        assert abs(w.mean().item()) < sigmas * math.sqrt(expected), name


@pytest.mark.parametrize(
    ("init", "fan", "draw"),
    [
        ("he", "fan_in", lambda w, fan, g: nn.init.kaiming_normal_(w, 0, fan, "relu", generator=g)),
        ("he", "fan_out", lambda w, fan, g: nn.init.kaiming_normal_(w, 0, fan, "relu", generator=g)),
        ("xavier", "fan_in", lambda w, fan, g: nn.init.xavier_normal_(w, generator=g)),
        ("lecun", "fan_in", lambda w, fan, g: nn.init.kaiming_normal_(w, 0, "fan_in", "linear", generator=g)),
    ],
)
def test_the_normal_rules_are_those_of_torch_nn_init_in_the_stated_order(init, fan, draw):
    generator = torch.Generator().manual_seed(0)
    for name, layer in layers(net(init=init, fan=fan, shortcut="C")):
        if name != "linear":
            expected = draw(torch.empty(layer.weight.shape), fan, generator)
            torch.testing.assert_close(layer.weight.detach(), expected)
        else:  # PyTorch's default: weights, then a bias
            bound = layer.in_features**-0.5
            expected = torch.empty(layer.weight.shape).uniform_(-bound, bound, generator=generator)
            torch.testing.assert_close(layer.weight.detach(), expected)
            torch.empty(layer.out_features).uniform_(generator=generator)


def test_init_torch_is_what_pytorchs_own_layers_draw():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _, layer in layers(net(init="torch", norm="none", shortcut="C")):
            default = type(layer)(*layer.weight.shape[1::-1], *layer.weight.shape[2:3])
            torch.testing.assert_close(layer.weight, default.weight)
            torch.testing.assert_close(layer.bias, default.bias)


@pytest.mark.parametrize("init", ["he", "xavier", "lecun"])
def test_biases_are_zero_under_the_normal_rules(init):
    for _, layer in layers(net(init=init, norm="none", shortcut="C")):
        assert not layer.bias.any()


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_initialize_resets_what_training_changed(norm):
    model, fresh = net(norm=norm, shortcut="B"), net(norm=norm, shortcut="B")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(p, q) for p, q in zip(model.parameters(), fresh.parameters(), strict=True))
    initialize(model, "he", "fan_out", torch.Generator().manual_seed(0))
    for name, value in fresh.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_orthogonal_weights_keep_every_length_but_the_factor_of_the_relu():
    for name, layer in layers(net(init="orthogonal", shortcut="C")):
        if name != "linear":
            matrix = layer.weight.detach().flatten(1)
            gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
            torch.testing.assert_close(gram, 2 * torch.eye(len(gram)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("block", "depth", "power"), [("basic", 20, -1 / 2), ("three_layer", 29, -1 / 4), ("bottleneck", 29, -1 / 4)]
)
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_fixup_scales_the_weights_of_branches_and_starts_each_block_as_its_shortcut(block, depth, power, shortcut):
    """Nine branches (Zhang et al. 2019, section 2): L^(-1 / (2 m - 2)), and 0 for last layers and the linear one."""
    options = {"block": block, "shortcut": shortcut, "norm": "none", "width": 4, "image_size": (8, 8)}
    he, fixed = (
        CifarNet(depth, **options, init=init, generator=torch.Generator().manual_seed(0)) for init in ("he", "fixup")
    )
    branches = he.state_dict()
    last = {"basic": "conv2", "three_layer": "conv3", "bottleneck": "conv3"}[block]
    for name, found in fixed.state_dict().items():
        within = name.startswith("blocks.") and "shortcut" not in name and name.endswith("weight")
        factor = 0 if name == "linear.weight" or last in name else 9**power if within else 1
        torch.testing.assert_close(found, factor * branches[name], rtol=1e-6, atol=0)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert fixed(x).abs().max() == 0
    inner = fixed.stem(x)
    block = fixed.blocks[0]
    torch.testing.assert_close(block(inner), torch.relu(block.shortcut(inner)), rtol=0, atol=0)


def test_with_fixup_the_linear_layer_learns_first_then_the_last_of_each_branch_then_all():
    torch.manual_seed(0)
    model = CifarNet(
        20, width=4, norm="none", init="fixup", branch_scale="learned", generator=torch.Generator().manual_seed(0)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, labels = torch.randn(8, 3, 8, 8), torch.arange(8)
    moved = []
    for _ in range(3):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        moved.append({name for name, p in model.named_parameters() if not torch.equal(p, before[name])})
    assert moved[0] == {"linear.weight", "linear.bias"}
    assert "blocks.0.conv2.weight" in moved[1]
    assert moved[2] == set(before)


@pytest.mark.parametrize(
    "options",
    [
        {"residual": False},
        {"norm": "batch"},
        {"norm": "group"},
        {"block": "one_layer"},
        {"order": "full_preactivation"},
    ],
    ids=str,
)
def test_fixup_is_for_residual_blocks_without_norm_alone(options):
    with pytest.raises(ValueError, match="init 'fixup' needs residual blocks of two layers or more"):
        CifarNet(20, **{"norm": "none", "init": "fixup", "width": 8} | options)


def test_delta_orthogonal_kernels_are_an_isometry_of_every_pixel():
    conv = nn.Conv2d(16, 32, 3, padding=1, bias=False)
    initialize(conv, "delta_orthogonal", "fan_in", torch.Generator().manual_seed(0))
    x = torch.randn(4, 16, 2, 2)  # where zero padding takes most from other rules
    torch.testing.assert_close(conv(x).square().sum(1), 2 * x.square().sum(1))


def test_delta_orthogonal_weights_cannot_narrow_a_map():
    with pytest.raises(ValueError, match="channels do not become fewer, got one from 16 to 8: choose"):
        CifarNet(11, block="bottleneck", shortcut="B", width=4, init="delta_orthogonal")


@pytest.mark.parametrize(("side", "depth"), [(8, 20), (32, 56)])
def test_he_border_has_the_variance_of_he_over_the_taps_inside_each_map(side, depth):
    model = CifarNet(depth, width=32, init="he_border", norm="none", image_size=(side, side))
    maps = {32: side, 64: side // 2, 128: side // 4}
    for name, layer in layers(model):
        if name != "linear":
            n = maps[layer.out_channels]
            along_one_side = 3 - 1 / n if layer.stride == (2, 2) else 3 - 2 / n
            expected = 2 / (layer.in_channels * along_one_side**2)
            assert layer.weight.var().item() == pytest.approx(expected, rel=5 * (2 / layer.weight.numel()) ** 0.5), name


@pytest.mark.parametrize("side", [8, 4, 2])
def test_he_border_keeps_the_mean_square_that_he_loses_at_the_border(side):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 256, side, side, generator=generator)
    conv = nn.Conv2d(256, 256, 3, padding=1)

    def gain(init):
        initialize(conv, init, "fan_in", generator, (256, side, side))
        return (conv(x).relu().square().mean() / x.square().mean()).item()

    assert gain("he_border") == pytest.approx(1, rel=0.05)
    assert gain("he") == pytest.approx({8: 0.84, 4: 0.69, 2: 0.44}[side], rel=0.05)


def test_without_norm_56_plain_layers_on_8_pixels_tell_images_apart_only_with_he_border():
    x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    def spread(init, seed):
        """The deviation of the logits over images."""
        generator = torch.Generator().manual_seed(seed)
        options = {"residual": False, "width": 8, "in_channels": 1, "norm": "none", "fan": "fan_in"}
        model = CifarNet(56, **options, init=init, image_size=(8, 8), generator=generator)
        with torch.no_grad():
            return model(x).std(0).mean().item()

    assert all(spread("he", seed) < 1e-5 for seed in range(4))
    assert all(0.003 < spread("he_border", seed) < 3 for seed in range(4))


def test_zero_init_residual_is_that_of_torchvision():
    for depth, block in ((18, "basic"), (50, "bottleneck")):
        theirs = getattr(torchvision.models, f"resnet{depth}")(zero_init_residual=True).state_dict()
        ours = ImageNet(depth, block=block, shortcut="B", width=64, classes=1000, zero_init_residual=True).state_dict()
        for name, value in from_torchvision(theirs).items():
            if "norm" in name:
                assert torch.equal(ours[name], value), name


def test_with_zero_init_residual_the_blocks_compute_their_shortcuts_alone():
    model, x = net(zero_init_residual=True), torch.randn(4, 3, 8, 8)
    shortcuts = nn.functional.pad(model.stem(x)[:, :, ::4, ::4], (0, 0, 0, 0, 0, 48))
    torch.testing.assert_close(model(x), model.linear(shortcuts.mean(dim=(2, 3))))


@pytest.mark.parametrize("options", [{"residual": False}, {"norm": "none"}, {"order": "full_preactivation"}])
def test_zero_init_residual_needs_branches_that_end_in_a_norm(options):
    with pytest.raises(ValueError, match=r"zero_init_residual needs residual blocks .* leave it out"):
        net(zero_init_residual=True, **options)


@pytest.mark.parametrize(("init", "fan"), [("kaiming", "fan_in"), ("he", "both")])
def test_an_unknown_rule_or_fan_is_an_error(init, fan):
    with pytest.raises(ValueError, match="must be one of"):
        initialize(nn.Linear(2, 2), init, fan, torch.Generator())
