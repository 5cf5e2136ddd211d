import copy

import pytest
import torch
from torch.nn import functional as F

from resnet_repro.families import BARE
from resnet_repro.nets import CifarNet
from resnet_repro.nets.norms import NORMS

TABLE = {8: 75_290, 20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962, 1202: 19_421_274}
TABLE_B = {8: 78_042, 20: 272_474, 32: 466_906, 44: 661_338, 56: 855_770, 110: 1_730_714, 1202: 19_424_026}


def net(depth=8, seed=0, **options):
    return CifarNet(depth, **options, generator=torch.Generator().manual_seed(seed))


def count(model):
    return sum(p.numel() for p in model.parameters())


def meta_net(depth, **options):
    with torch.device("meta"):
        return net(depth, **options)


def images(n=6, channels=3, size=8, seed=1, **kind):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed), **kind)


def labels(n=6):
    return torch.arange(n) % 10


# Parameters


@pytest.mark.parametrize("depth", TABLE)
def test_plain_and_option_a_have_the_papers_parameter_count(depth):
    plain, residual = meta_net(depth, residual=False), meta_net(depth)
    assert count(plain) == count(residual) == TABLE[depth]
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in residual.named_parameters()]


@pytest.mark.parametrize("depth", TABLE_B)
def test_option_b_adds_two_projections(depth):
    assert count(meta_net(depth, shortcut="B")) == TABLE_B[depth]


@pytest.mark.parametrize("n", [1, 3])
def test_option_c_adds_a_projection_to_every_block(n):
    identity = n * 16 * 16 + (n - 1) * (32 * 32 + 64 * 64)
    transitions = 16 * 32 + 32 * 64
    affine = 2 * n * (16 + 32 + 64)
    assert count(meta_net(6 * n + 2, shortcut="C")) == TABLE[6 * n + 2] + identity + transitions + affine


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_without_norm_convolutions_have_biases_instead_of_affine_parameters(depth):
    n = (depth - 2) // 6
    biases = 16 + 2 * n * (16 + 32 + 64)
    plain, residual = meta_net(depth, residual=False, norm="none"), meta_net(depth, norm="none")
    assert count(plain) == count(residual) == TABLE[depth] - 2 * biases + biases
    assert all(count(meta_net(depth, norm=norm)) == TABLE[depth] for norm in NORMS if norm not in BARE)


def test_depth_20_with_biases_beside_the_affine_parameters_is_the_270410_of_others():
    biases = sum(
        p.numel() for name, p in meta_net(20, norm="none").named_parameters() if "conv" in name and "bias" in name
    )
    assert TABLE[20] + biases == 270_410


def test_only_networks_without_norm_have_convolution_biases():
    for norm in NORMS:
        convs = [m for m in net(norm=norm, shortcut="C").modules() if isinstance(m, torch.nn.Conv2d)]
        assert len(convs) == 1 + 2 * 3 + 3
        assert all((conv.bias is not None) == (norm in BARE) for conv in convs)


def test_width_classes_and_in_channels_set_the_layers():
    model = net(width=4, classes=7, in_channels=1)
    assert model.conv.weight.shape == (4, 1, 3, 3)
    assert model.linear.weight.shape == (7, 16)
    assert model(images(channels=1)).shape == (6, 7)


# The function computed


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("channels", "size", "final"), [(1, 8, 2), (3, 32, 8), (3, 11, 3)])
def test_maps_halve_twice_whatever_the_input_size(residual, channels, size, final):
    model, shapes = net(14, residual=residual, in_channels=channels), []
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, y: shapes.append(tuple(y.shape)))
    assert model(images(4, channels, size)).shape == (4, 10)
    middle = -(-size // 2)
    assert shapes == [(4, c, s, s) for c, s in [(16, size)] * 2 + [(32, middle)] * 2 + [(64, final)] * 2]


def by_hand(state, x, residual, scale):
    """The paper's network in functions of the state dict: batch statistics, option A by slicing."""

    def conv_norm(x, conv, norm, stride=1):
        x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=1)
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        x = (x - mean) / torch.sqrt(var + 1e-5)
        return x * state[f"{norm}.weight"][:, None, None] + state[f"{norm}.bias"][:, None, None]

    x = conv_norm(x, "conv", "norm").clamp(min=0)
    for i, stride in enumerate([1, 2, 2]):
        path = f"blocks.{i}"
        y = conv_norm(x, f"{path}.conv1", f"{path}.norm1", stride).clamp(min=0)
        y = conv_norm(y, f"{path}.conv2", f"{path}.norm2")
        if residual:
            x = x[:, :, ::stride, ::stride]
            y[:, : x.shape[1]] += scale * x
        x = y.clamp(min=0)
    return x.sum((2, 3)) / x[0, 0].numel() @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize(("residual", "scale"), [(False, 1.0), (True, 1.0), (True, 0.5), (True, 0.7)])
def test_a_depth_8_network_computes_what_the_paper_describes(residual, scale):
    model = net(residual=residual, shortcut_scale=scale).double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)), alpha=0.1)
    x = images(size=9, dtype=torch.float64)
    expected = by_hand(model.state_dict(), x, residual, scale)
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("subsample", "pad"), [("slice", "append"), ("avgpool", "split")])
def test_lambda_0_with_option_a_is_the_plain_network_bit_for_bit(norm, subsample, pad):
    options = {"norm": norm, "width": 8, "shortcut_subsample": subsample, "shortcut_pad": pad}
    plain, zero = net(14, residual=False, **options), net(14, shortcut_scale=0.0, **options)
    optimizers = [torch.optim.SGD(m.parameters(), 0.05, momentum=0.9, weight_decay=1e-4) for m in (plain, zero)]
    for step in range(3):
        outputs = [m(images(seed=step)) for m in (plain, zero)]
        assert torch.equal(*outputs)
        for output, optimizer in zip(outputs, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(output, labels()).backward()
        for p, q in zip(plain.parameters(), zero.parameters(), strict=True):
            assert torch.equal(p.grad, q.grad)
        for optimizer in optimizers:
            optimizer.step()
    for (name, p), (same_name, q) in zip(plain.state_dict().items(), zero.state_dict().items(), strict=True):
        assert name == same_name
        assert torch.equal(p, q)
    assert not torch.equal(plain.conv.weight, net(14, width=8).conv.weight)


def test_lambda_changes_the_residual_network_but_not_the_plain_one():
    def output(**options):
        return net(**options)(images())

    assert not torch.allclose(output(), output(residual=False))
    assert not torch.allclose(output(), output(shortcut_scale=0.5))
    assert torch.equal(output(residual=False), output(residual=False, shortcut_scale=0.5))


def test_lambda_is_on_every_shortcut_or_only_on_those_of_equal_shape():
    def scales(**options):
        return [block.shortcut_scale for block in net(14, shortcut_scale=0.5, **options).blocks]

    assert scales() == [0.5] * 6
    assert scales(scale_on="identity") == [0.5, 0.5, 1.0, 0.5, 1.0, 0.5]
    assert scales(scale_on="identity", shortcut="C") == [0.5, 0.5, 1.0, 0.5, 1.0, 0.5]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_block_adds_lambda_times_its_shortcut_before_the_last_relu(index):
    model = net(shortcut_scale=0.5, scale_on="identity", shortcut="B").eval()
    block, x = model.blocks[index], torch.rand(2, [16, 16, 32][index], 8, 8)
    branch = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(x)))))
    scale = 0.5 if index == 0 else 1.0  # products with these are exact
    assert torch.equal(block(x), F.relu(branch + scale * block.shortcut(x)))


# Ways to run it


@pytest.mark.parametrize("ghost_batch", [None, 4])
@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_in_evaluation_mode_a_sample_does_not_depend_on_its_batch(shortcut, ghost_batch):
    model = net(shortcut=shortcut, ghost_batch=ghost_batch)
    model(images())
    model.eval()
    before = copy.deepcopy(model.state_dict())
    together, again = model(images()), model(images())
    alone = torch.cat([model(image[None]) for image in images()])
    assert torch.equal(together, again)
    torch.testing.assert_close(together, alone)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


VARIANTS = [
    {"residual": False},
    {"ghost_batch": 4},
    {"norm": "instance"},
    {"norm": "group_ws", "shortcut": "B"},
    {"norm": "none"},
    {"shortcut": "B", "ghost_batch": 2},
    {"shortcut": "C"},
    {"shortcut_subsample": "avgpool", "shortcut_pad": "split"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_channels_last_gives_the_same_logits_and_stays_channels_last(options):
    kept = []
    expected = net(**options)(images())
    model = net(**options).to(memory_format=torch.channels_last)
    for block in model.blocks:
        block.register_forward_hook(
            lambda module, args, y: kept.append(y.is_contiguous(memory_format=torch.channels_last))
        )
    y = model(images().to(memory_format=torch.channels_last))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    assert kept == [True] * 3


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_autocast_gives_finite_bfloat16_logits_and_float32_gradients(options):
    model = net(**options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(images())
        loss = F.cross_entropy(y, labels())
    loss.backward()
    assert y.dtype == torch.bfloat16
    assert y.isfinite().all()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(y.float(), net(**options)(images()), rtol=0.1, atol=0.2)


@pytest.mark.parametrize(
    "options", [{"residual": False}, {"ghost_batch": 4, "shortcut_scale": 0.5}, {"norm": "group_ws"}], ids=str
)
def test_it_compiles_without_graph_breaks(options):
    model = net(**options)
    compiled = torch.compile(copy.deepcopy(model), backend="aot_eager", fullgraph=True)
    for _ in range(2):
        torch.testing.assert_close(compiled(images()), model(images()))
    for (_, p), (_, q) in zip(compiled.state_dict().items(), model.state_dict().items(), strict=True):
        torch.testing.assert_close(p, q)


# Bad arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 18}, r"depth must be 6n \+ 2 \(8, 14, 20, 32, 44, 56, 110, \.\.\.\), got 18"),
        ({"depth": 2}, "depth must be"),
        ({"depth": 20.0}, "depth must be a whole number"),
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"classes": 0}, "classes must be"),
        ({"in_channels": -1}, "in_channels must be"),
        ({"shortcut": "D"}, "shortcut must be one of A, B, C, got 'D'"),
        ({"shortcut": "AB"}, "shortcut must be one of"),
        ({"shortcut_subsample": "max"}, "shortcut_subsample must be one of slice, avgpool"),
        ({"shortcut_pad": "both"}, "shortcut_pad must be one of append, split"),
        ({"shortcut_pad": "split", "width": 5}, "even number of new channels, got 5"),
        ({"shortcut_scale": float("nan")}, "shortcut_scale must be finite, got nan"),
        ({"shortcut_scale": float("inf")}, "shortcut_scale must be finite"),
        ({"scale_on": "some"}, "scale_on must be one of all, identity"),
        ({"norm": "layers"}, "norm must be one of batch, layer, instance, group, group_ws, none"),
        ({"norm": "group", "width": 12}, "got 12: choose a width that is a multiple of 8"),
        ({"norm": "none", "ghost_batch": 4}, "ghost_batch is for norm 'batch'"),
        ({"ghost_batch": 0}, "ghost_batch must be a whole number of at least 1"),
        ({"init": "zero"}, "init must be one of he, xavier, lecun, torch, he_border"),
        ({"init": "he_border"}, "depends on the size of the maps: say image_size"),
        ({"branch_scale": "two"}, "branch_scale must be one of one, half, rsqrt_blocks, skipinit, learned"),
        ({"fan": "fan_avg"}, "fan must be one of fan_in, fan_out"),
    ],
    ids=str,
)
@pytest.mark.parametrize("residual", [False, True])
def test_a_bad_argument_is_named_with_its_rule(residual, options, message):
    with pytest.raises(ValueError, match=message):
        net(residual=residual, **options)
