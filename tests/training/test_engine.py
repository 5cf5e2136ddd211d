"""The engine against a training loop written out by hand."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from resnet_repro import data
from resnet_repro.training.engine import Eager, compiled, optimizer
from resnet_repro.training.step import NEVER
from resnet_repro.training.train_state import build


def advanced(run, digits, *stops):
    """The engine after training to each of the stops in turn, and its net."""
    net = build(run, digits).train()
    engine = Eager(run, net, optimizer(run, net), digits)
    for start, stop in zip((0, *stops), stops, strict=False):
        engine.advance(start, stop, warm_until=0)
    return engine


def by_hand(run, digits, steps):
    """Net, losses and number of misses after `steps` steps: SGD as v = m v + g + wd p, p = p - lr v."""
    net = build(run, digits).train()
    optim = run.optim
    padded = F.pad(digits.train_x, (1, 1, 1, 1))
    scale = digits.train_x.double() / 255
    velocity = {p: torch.zeros_like(p) for p in net.parameters()}
    losses, missed = [], 0
    for step in range(steps):
        epoch, k = divmod(step, 1500 // optim.batch)
        draws = data.epoch_draws(run.seed, epoch, count=1500, crop_padding=1, flip=False)
        own = slice(k * optim.batch, (k + 1) * optim.batch)
        x = [padded[i, :, dy : dy + 8, dx : dx + 8] for i, dy, dx in zip(*(d[own] for d in draws[:3]), strict=True)]
        x = ((torch.stack(x).double() / 255 - scale.mean()) / scale.std(correction=0)).float()
        y = digits.train_y[draws.order[own]]
        logits = net(x)
        loss = F.cross_entropy(logits, y)
        losses.append(loss.item())
        missed += int((logits.detach().numpy().argmax(1) != y.numpy()).sum())
        lr = optim.lr * optim.gamma ** sum(step >= m for m in optim.milestones)
        gradients = torch.autograd.grad(loss, list(velocity))
        with torch.no_grad():
            for (p, v), g in zip(velocity.items(), gradients, strict=True):
                decayed = g + optim.weight_decay * p
                v.mul_(optim.momentum).add_(decayed)
                p.sub_(lr * (decayed + optim.momentum * v if optim.nesterov else v))
    return net, losses, missed


def same(one, two):
    """Whether two nets hold the same bits."""
    two = two.state_dict()
    return all(torch.equal(value, two[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("settings", [[], ["model=plain"], ["optim.nesterov=true"], ["optim.weight_decay=0.01"]])
def test_training_equals_a_loop_written_by_hand(tiny, digits, settings):
    run = tiny("optim.milestones=[14]", *settings)
    engine = advanced(run, digits, 16)  # the second epoch begins at step 11
    net, losses, missed = by_hand(run, digits, 16)
    for name, value in net.state_dict().items():
        assert torch.allclose(engine.net.state_dict()[name], value, rtol=0, atol=1e-6), name
    assert int(engine.tally.wrong) == missed
    assert int(engine.tally.seen) == 16 * 128
    assert float(engine.tally.loss) / (16 * 128) == pytest.approx(sum(losses) / 16, rel=1e-6)


def test_the_way_is_cut_into_pieces_without_a_trace(tiny, digits):
    run = tiny()
    assert same(advanced(run, digits, 40).net, advanced(run, digits, 7, 20, 40).net)


def test_training_twice_gives_the_same_bits_and_another_seed_does_not(tiny, digits):
    assert same(advanced(tiny(), digits, 5).net, advanced(tiny(), digits, 5).net)
    assert not same(advanced(tiny(), digits, 5).net, advanced(tiny("seed=1"), digits, 5).net)


def seen(run, digits, steps):
    """Every batch that reached the net."""
    net = build(run, digits).train()
    batches = []
    net.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0].clone()))
    Eager(run, net, optimizer(run, net), digits).advance(0, steps, warm_until=0)
    return batches


def test_both_arms_see_the_same_batches_from_the_same_initial_weights(tiny, digits):
    plain, resnet = (seen(tiny(f"model={arm}"), digits, 13) for arm in ("plain", "resnet"))
    assert all(torch.equal(p, r) for p, r in zip(plain, resnet, strict=True))
    assert same(build(tiny("model=plain"), digits), build(tiny("model=resnet"), digits))


@pytest.mark.parametrize(("last_batch", "sizes"), [("drop", [400, 400, 400, 400]), ("keep", [400, 400, 400, 300])])
def test_the_partial_batch_at_an_epoch_end_is_dropped_or_kept(tiny, digits, last_batch, sizes):
    batches = seen(tiny("optim.batch=400", f"data.last_batch={last_batch}"), digits, 4)
    assert [len(batch) for batch in batches] == sizes


def test_weight_decay_on_weights_leaves_biases_and_norms_alone(tiny, digits):
    after = {}
    for decay_on in ("all", "weights"):
        settings = ["optim.weight_decay=0.5", "optim.lr=0.1", f"optim.decay_on={decay_on}"]
        after[decay_on] = dict(advanced(tiny(*settings), digits, 1).net.named_parameters())
    before = dict(build(tiny(), digits).named_parameters())
    for name, value in before.items():
        extra = after["weights"][name] - after["all"][name]
        expected = 0.1 * 0.5 * value if value.ndim == 1 else torch.zeros_like(value)
        assert torch.allclose(extra, expected, atol=1e-7), name


def test_a_warm_up_uses_its_learning_rate(tiny, digits):
    run, slow = tiny(), tiny("optim.lr=0.01")
    net = build(run, digits).train()
    Eager(run, net, optimizer(run, net), digits).advance(0, 5, warm_until=5)
    assert same(net, advanced(slow, digits, 5).net)


def test_bf16_trains_near_fp32_with_weights_in_fp32(tiny, digits):
    loss = {}
    for precision in ("fp32", "bf16"):
        engine = advanced(tiny(f"optim.precision={precision}"), digits, 10)
        assert {p.dtype for p in engine.net.parameters()} == {torch.float32}
        loss[precision] = float(engine.tally.loss)
    assert loss["bf16"] != loss["fp32"]
    assert loss["bf16"] == pytest.approx(loss["fp32"], rel=0.02)


@pytest.mark.filterwarnings("ignore")  # torch.compile's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_net_trains_as_the_net_and_leaves_it_usable(tiny, digits):
    run = tiny("model.shortcut_scale=0.9", "optim.lr=0.01")
    plain, other = (
        advanced(tiny(*given), digits, 5)
        for given in (
            ["model.shortcut_scale=0.9", "optim.lr=0.01"],
            ["model.shortcut_scale=0.9", "optim.lr=0.01", "env.compile=true"],
        )
    )
    assert float(other.tally.loss) == pytest.approx(float(plain.tally.loss), rel=1e-5)
    net = build(run, digits)
    trained = compiled(net)
    assert {id(p) for p in trained.parameters()} == {id(p) for p in net.parameters()}
    assert not any(type(m).__name__ == "OptimizedModule" for m in net.modules())


def test_clip_reaches_the_step(tiny, digits):
    run = tiny("optim.clip=0.001", "optim.weight_decay=0", "optim.lr=0.1")
    before, after = build(run, digits), advanced(run, digits, 1).net
    moved = torch.cat([(a - b).flatten() for a, b in zip(after.parameters(), before.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.1 * 0.001, rel=1e-2)


class Operators(TorchDispatchMode):
    """Notes the operators that PyTorch is asked for, backward ones too."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


READ_FROM_THE_DEVICE = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero"}


@pytest.mark.parametrize(
    "settings",
    [
        ["model=plain"],
        ["model.shortcut_scale=0.5", "model.shortcut=B"],
        ["model.shortcut_subsample=avgpool", "model.shortcut_pad=split"],
        ["model.ghost_batch=64"],
        ["model.norm=group", "optim.precision=bf16"],
        ["model.norm=none", "optim.clip=0.1"],
        ["model.norm=batch_noisy"],
        ["data.pad=after", "data.normalize=pixel_mean", "data.flip=true"],
    ],
)
def test_a_step_reads_nothing_from_the_device_and_is_the_same_operators_every_time(tiny, digits, settings):
    # A CUDA graph can record nothing else.
    engine = advanced(tiny(*settings), digits, 1)
    seen = []
    for step in (1, 2):
        with Operators() as operators:
            engine.advance(step, step + 1, warm_until=0)
        seen.append(operators.names)
    assert seen[0] == seen[1]
    assert {"aten::convolution_backward", "aten::_fused_sgd_.tensor_lr"} <= set(seen[0])
    assert not READ_FROM_THE_DEVICE & set(seen[0])


def test_divergence_is_noted_with_its_first_step(tiny, digits):
    run = tiny("optim.lr=1e6", "model.norm=none")
    _, losses, _ = by_hand(run, digits, 8)
    first = next(step for step, loss in enumerate(losses) if not abs(loss) < float("inf"))
    assert int(advanced(run, digits, first).tally.first_bad) == NEVER
    assert int(advanced(run, digits, first + 1).tally.first_bad) == first
    assert int(advanced(run, digits, 8).tally.first_bad) == first
